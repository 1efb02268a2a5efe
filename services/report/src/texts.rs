//! Every text of every document, in both languages, in one table.

use crate::Language;

macro_rules! texts {
    ($($name:ident $ja:literal $en:literal)+) => {
        /// A text that a document may show.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        #[expect(missing_docs, reason = "the texts themselves say what they are")]
        pub enum Text { $($name),+ }

        impl Text {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// Its name in JSON, the same in both languages.
            #[must_use]
            pub const fn key(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)+ }
            }

            /// The text in a language.
            #[must_use]
            pub const fn of(self, language: Language) -> &'static str {
                match (self, language) {
                    $((Self::$name, Language::Japanese) => $ja, (Self::$name, Language::English) => $en,)+
                }
            }
        }
    };
}

impl Text {
    /// The name of an action, where there is a better one than its code.
    #[must_use]
    pub fn of_action(code: &str) -> Option<Self> {
        Some(match code {
            "tokenize" => Self::ActionTokenize,
            "detokenize" => Self::ActionDetokenize,
            "verify_number" => Self::ActionVerify,
            "describe_token" => Self::ActionDescribe,
            "get_record" | "list_records" => Self::ActionRead,
            "exchange" => Self::ActionExchange,
            "rotate" => Self::ActionRotate,
            "update_number" => Self::ActionUpdate,
            "disable" => Self::ActionDisable,
            "enable" => Self::ActionEnable,
            "supersede" => Self::ActionSupersede,
            "add_notice" => Self::ActionNotice,
            "reveal_masked" => Self::ActionMasked,
            "seal" => Self::ActionSeal,
            "offer_transfer" => Self::ActionOffer,
            "accept_transfer" => Self::ActionAccept,
            _ => return None,
        })
    }

    /// The name of a way of checking identity.
    #[must_use]
    pub fn of_verification(code: &str) -> Option<Self> {
        Some(match code {
            "individual_number_card" => Self::CheckCard,
            "notification_and_id" => Self::CheckNotification,
            "resident_record_and_id" => Self::CheckResident,
            "proxy" => Self::CheckProxy,
            "employee_as_proxy" => Self::CheckEmployee,
            "digital" => Self::CheckDigital,
            "known_in_person" => Self::CheckKnown,
            "declared_by_principal" => Self::CheckDeclared,
            _ => return None,
        })
    }
}

texts! {
    TitleRegister "特定個人情報ファイル管理台帳" "Register of files of My Numbers"
    TitleUsage "特定個人情報等 利用記録" "Record of use"
    TitleOutputs "特定個人情報等 出力・持出し記録" "Record of outputs"
    TitleDeletion "特定個人情報等 削除・廃棄記録" "Record of deletion"
    TitleRoster "事務取扱担当者一覧・権限棚卸し" "Roster of handlers and review of rights"
    TitleReview "点検・監査報告" "Review and audit pack"
    TitleEntrusted "委託先監督報告" "Supervision of entrusted parties"
    TitleIdentity "本人確認・利用目的通知の記録" "Identity checks and notices"
    TitleAbroad "外的環境の把握" "Countries where numbers are handled"
    TitleRules "特定個人情報等取扱規程 別紙（適用中の規則）" "Annex to the handling rules (rules in force)"
    TitleEncryption "暗号化状態の証明" "Attestation of the state of encryption"
    TitleDisclosure "本人の個人番号の利用履歴" "History of use of one person's number"
    TitleIncident "漏えい等事案 報告資料" "Incident pack"

    LawRegister "番号法ガイドライン 別添1 C-c（取扱状況を確認する手段の整備）" "Guideline to the Number Act, annex 1 C-c (means to check handling)"
    LawUsage "同 C-b（取扱規程等に基づく運用・利用状況の記録）、D-a（監督）" "Guideline, annex 1 C-b (records of operation), D-a (supervision)"
    LawOutputs "同 C-b（出力状況）、E-c（持ち運び）、番号法19条・29条" "Guideline, annex 1 C-b (outputs), E-c (carrying out); Number Act art. 19, 29"
    LawDeletion "同 E-d（削除・廃棄）、番号法20条" "Guideline, annex 1 E-d (deletion); Number Act art. 20"
    LawRoster "同 C-a（組織体制）、F-a（アクセス制御）、D-b（教育）" "Guideline, annex 1 C-a (organisation), F-a (access control), D-b (training)"
    LawReview "同 C-e（取扱状況の把握・安全管理措置の見直し）、F-c（ログ等の分析）" "Guideline, annex 1 C-e (review), F-c (analysis of logs)"
    LawEntrusted "番号法10条・11条、ガイドライン 第4-2（委託の取扱い）" "Number Act art. 10, 11; guideline 4-2 (entrusting)"
    LawIdentity "番号法14条・16条、個人情報保護法21条（利用目的の通知）" "Number Act art. 14, 16; APPI art. 21 (notice of purpose)"
    LawAbroad "番号法ガイドライン 別添1 G（外的環境の把握）" "Guideline, annex 1 G (external environment)"
    LawRules "同 B（取扱規程等の策定）" "Guideline, annex 1 B (handling rules)"
    LawEncryption "番号法29条の4、個人情報保護委員会Q&A Q17-14（高度な暗号化等の秘匿化）" "Number Act art. 29-4; PPC Q&A Q17-14 (advanced encryption)"
    LawDisclosure "個人情報保護法33条（開示）" "APPI art. 33 (disclosure)"
    LawIncident "番号法29条の4、特定個人情報の漏えい等の報告等に関する規則" "Number Act art. 29-4 and the rule on reporting of leaks"

    Tenant "事業者（テナント）" "Tenant"
    TenantName "事業者の名称" "Name of the organisation"
    Period "対象期間" "Period"
    TimeZone "時刻の基準" "Time zone"
    MadeAt "作成日時" "Made at"
    MadeBy "作成者" "Made by"
    LedgerOrigin "監査台帳" "Ledger"
    LedgerSize "台帳の件数" "Entries of the ledger"
    LedgerRoot "台帳のハッシュ（ルート）" "Root hash of the ledger"
    EntriesRead "参照した件数" "Entries read"
    CosignedBy "立会署名（署名者・件数・日時）" "Cosigned (witness, entries, time)"
    FooterMadeBy "Fuda 監査台帳から作成" "Made from the Fuda audit ledger"

    Yes "該当" "yes"
    No "非該当" "no"
    Never "なし" "never"
    NoRows "該当なし" "none"
    NotRecorded "記録なし" "not recorded"
    LeftOut "件数が多いため表示しない行" "rows left out because there are too many"
    Field "項目" "item"
    Value "内容" "value"
    Count "件数" "count"
    Date "日付" "date"
    DaysLeft "残日数" "days left"
    Month "月" "month"
    Remarks "備考（台帳番号）" "remarks (sequence)"
    Facts "内容（台帳の記載）" "facts of the entry"

    Time "日時" "time"
    Start "開始" "start"
    End "終了" "end"
    Sequence "台帳番号" "sequence"
    Operation "作業内容" "operation"
    Operations "作業内容" "operations"
    Decision "結果" "decision"
    DenyReason "拒否理由" "reason of denial"
    Purpose "利用目的（事務・手続）" "purpose"
    Purposes "利用目的（事務・手続）" "purposes"
    PurposesOfUse "利用目的" "purposes of use"
    PurposesUsed "実際の利用目的" "purposes used"
    Caller "システム（呼出元）" "caller"
    Callers "システム（呼出元）" "callers"
    Handler "担当者" "handler"
    Handlers "担当者" "handlers"
    Subject "本人の参照番号" "subject"
    Kind "番号の種類" "kind"
    Relation "続柄" "relation"
    Relations "対象者" "relations"
    WorkReference "作業" "work reference"
    RuleVersion "規則の版" "rule version"
    SourceZone "区域" "source zone"
    RequestId "要求番号" "request id"
    Persons "本人の数" "persons"
    Items "件数" "items"
    ItemsAllowed "件数（許可）" "items allowed"
    ItemsDenied "件数（拒否）" "items denied"
    ItemsReplayed "件数（再送）" "items replayed"
    ReviewedOn "責任者確認日" "reviewed by the responsible person"
    Scopes "利用システム" "scopes"

    FileKind "ファイルの種類・名称" "kind and name of the file"
    LegalClass "法的区分" "legal class"
    Responsible "責任者" "responsible person"
    Department "取扱部署" "department"
    AuditResponsible "個人情報保護監査責任者" "audit officer"
    Contact "苦情・相談窓口" "contact"
    LegalBasis "根拠法令" "legal basis"
    Retention "保存期間" "retention"
    Records "登録件数" "records"
    DeletionState "削除・廃棄の状況" "state of deletion"
    AccessHolders "アクセス権を有する者" "who has access"
    Location "保管場所（国・地域）" "location"
    Erased "消去" "erased"
    ClassTokutei "特定個人情報" "specific personal information (My Number)"
    ClassRestricted "告知要求制限のある番号" "number with restricted inquiry"
    ClassPersonal "個人情報" "personal information"
    ClassPublic "公開情報" "public"

    Recipient "受領者" "recipient"
    ApprovedBy "承認者" "approved by"
    Method "方法" "method"
    Tracking "追跡番号" "tracking id"
    Due "返却・期限" "due"
    MethodSealed "受領者の公開鍵による暗号化（HPKE）" "sealed to the recipient's key (HPKE)"
    MethodTransfer "他の事業者への提供（番号法19条4号、同意あり）" "provided to another tenant with consent (art. 19 iv)"
    DeletedOn "日時" "time"
    RuleBasis "根拠規則（版）" "rule (version)"
    MethodDisabled "利用停止（全トークン無効）" "disabled (no token answers)"
    MethodEnabled "利用停止の解除" "enabled again"
    MethodSuperseded "失効（後継記録あり、消去待ち）" "superseded (waits for erasure)"
    MethodUpdated "番号の変更（旧番号は参照不可）" "number replaced (the old one is not read)"
    CertificateCounts "種類別の消去件数" "erased numbers per kind"
    CertificateMethod "消去の方法（鍵の破壊）" "method (destruction of keys)"
    CertificateCompacted "ログ圧縮の位置" "compacted up to"
    CertificateBackups "バックアップの失効日" "backups expire on"
    CertificateSignature "証明者の署名" "signature"

    Role "役割" "role"
    GrantedBy "付与者（起案）" "proposed by"
    GrantedAt "付与日時" "granted at"
    Expiry "期限" "ends"
    LastUse "最終利用" "last use"
    Finding "指摘" "finding"
    Trained "教育（有効期限）" "trained until"
    Party "委託先" "entrusted party"
    PartyName "委託先の名称" "name of the party"
    Origin "付与の経路" "origin"
    Grant "権限番号" "grant"
    OriginOrder "二者承認" "order of two people"
    OriginRequest "申請と承認" "request and approval"
    OriginBreakGlass "緊急利用" "break glass"
    OriginBootstrap "初期設定" "bootstrap"
    OriginSeen "利用記録から判明" "seen in use"

    Alarm "警報" "alarm"
    Reason "理由" "reason"
    PersonsAllowed "対象人数の上限" "persons allowed"
    ReviewedAt "事後確認日時" "reviewed at"
    ReviewedBy "事後確認者" "reviewed by"
    ReviewFinding "事後確認の結果" "finding of the review"
    FindingOverdue "保存期間を過ぎた番号の未削除" "numbers kept beyond their retention"
    FindingUnused "90日以上利用のない権限" "rights unused for 90 days"
    FindingTraining "教育の有効期限が切れた権限" "rights of people whose training has run out"
    FindingDenials "拒否された要求" "denials"
    FindingOffHours "業務時間外の利用・拒否" "use or denial outside working hours"
    FindingAlarms "警報" "alarms"
    FindingChanges "規則・権限の変更" "changes of rules and rights"
    FindingBreakGlass "緊急利用" "broken glasses"
    FindingUnreviewed "事後確認のない緊急利用" "broken glasses without a review"
    FindingKeysRotated "更新日のある鍵" "keys with a date of rotation"
    FindingUnsigned "責任者確認のない月" "months without sign-off"

    Country "国" "country"
    Countries "国" "countries"
    Region "地域・データセンター" "region"
    OperatedBy "運用者" "operated by"
    SiteUse "用途" "use"
    SiteName "名称" "site"
    SiteNode "保管庫ノード" "vault node"
    SiteBackup "バックアップ" "backup"
    SiteKey "鍵管理" "key custodian"
    SiteAudit "監査台帳の写し" "copy of the ledger"
    Contract "契約" "contract"
    DeletionCertificate "削除証明書の受領" "deletion certificate received"
    Incidents "警報" "alarms"
    SubOf "委託元（再委託を行う者）" "entrusts on"
    ConsentState "再委託の許諾" "consent"

    Documents "確認書類" "documents"
    CheckedBy "確認者（登録者）" "registered by"
    NoticeVersion "通知の版" "version of the notice"
    CheckCard "個人番号カード" "individual number card"
    CheckNotification "通知カード等と身元確認書類" "notification card and identity document"
    CheckResident "住民票の写しと身元確認書類" "resident record and identity document"
    CheckProxy "代理人" "proxy"
    CheckEmployee "従業員が代理人" "employee as proxy"
    CheckDigital "電子的確認" "electronic certificate"
    CheckKnown "対面で本人と明らか" "known in person"
    CheckDeclared "従業員による確認（扶養控除等申告書）" "checked by the employee in the declaration"

    DocumentTitle "文書" "document"
    DocumentVersion "版" "version"
    Since "施行日" "in force since"
    PurposeCode "コード" "code"
    PurposeName "事務・手続" "name"
    Delivery "提供の方法" "delivery"
    TwoPersons "二者承認" "two persons"
    PolicyText "判断規則（Cedar）の版" "policy text"
    CatalogueVersion "利用目的一覧の版" "version of the catalogue"
    VerificationDemand "本人確認を必須とする番号" "identity check demanded of"
    OfficeHours "業務時間" "office hours"

    CipherUse "対象" "what for"
    Algorithm "方式" "algorithm"
    ListedIn "電子政府推奨暗号リスト（CRYPTREC）" "CRYPTREC list"
    ListedCryptrec "掲載の方式" "on the list"
    ListedPartly "AES-GCM・HKDF（HMAC）部分は掲載、X25519は要確認" "AES-GCM and HMAC are; X25519 is to be checked"
    CipherNumbers "番号・鍵の暗号化" "numbers and keys at rest"
    CipherDerivation "鍵の導出" "derivation of keys"
    CipherSealed "受領者への封緘" "sealing to recipients"
    CipherLedger "監査台帳の署名・ハッシュ" "signatures and hashes of the ledger"
    CipherTransport "通信（相互認証）" "transport (mutual authentication)"
    KeyId "鍵の識別名" "key id"
    Custodian "鍵の管理者" "custodian"
    Rotated "最終更新日" "last rotated"
    DestroyTested "遠隔破壊の試験日" "remote destruction tested"
    VaultId "保管庫の識別番号" "vault id"
    Recovery "事業者自身の復旧鍵" "tenant's own recovery key"
    KeySeparation "鍵と暗号文の分離" "separation of key and ciphertext"
    KeysSeparate "設定上、鍵の所在とデータの所在は別" "as configured, keys and data are at different sites"
    KeysShared "設定上、鍵とデータが同じ所在にある" "as configured, a site holds both keys and data"
    RemoteDestruction "遠隔での鍵の破壊（最も古い試験日）" "remote destruction (oldest test)"
    ThirdParties "第三者による鍵の行使の防止" "third parties cannot exercise the key"
    ThirdPartiesState "記録の鍵はトークンで包まれ、保管庫と全ての鍵だけでは復号できない（設計上の性質）" "each record key is wrapped under its token: store and keys alone open nothing (by design)"

    ClockKnown "事態を知った日時" "known at"
    ClockThree "速報（3日目）" "preliminary report, day 3"
    ClockFive "速報（5日目）" "preliminary report, day 5"
    ClockThirty "確報（30日目）" "final report, day 30"
    ClockSixty "確報（60日目、不正の目的のおそれ）" "final report, day 60 (improper purpose)"
    ClockApplies "本件の確報期限" "final report of this case"
    ReportableImproper "不正の目的のおそれ（1人から報告対象）" "improper purpose feared (any count)"
    ReportablePublic "不特定多数に閲覧されたおそれ" "open to the public"
    ReportableHundred "本人の数が100人を超える" "more than 100 persons"
    ReportableEncrypted "高度な暗号化等により報告不要か" "exempt by advanced encryption"
    ItemSummary "1 概要" "1 summary"
    ItemKinds "2 特定個人情報の項目" "2 items of information"
    ItemPersons "3 本人の数" "3 number of persons"
    ItemCause "4 原因" "4 cause"
    ItemSecondary "5 二次被害又はそのおそれ" "5 secondary damage"
    ItemResponse "6 本人への対応の実施状況" "6 response to the persons"
    ItemPublication "7 公表の実施状況" "7 publication"
    ItemPrevention "8 再発防止のための措置" "8 prevention"
    ItemOther "9 その他参考となる事項" "9 other"
    Filter "抽出条件" "filter"
    ExposedPlain "番号が表示・照合された本人" "persons whose number was shown or compared"
    ExposedSealed "受領者へ封緘して渡された本人" "persons whose number was sealed to a recipient"
    ExposedMoved "他の事業者へ提供された本人" "persons whose number was provided to another tenant"
    ExposedRecords "関係する記録の件数" "records touched"
    ExposedKeys "鍵・暗号文の漏えい" "leak of keys or ciphertext"

    SectionFiles "特定個人情報ファイル" "Files"
    SectionWorks "作業ごとの利用記録" "Use by work reference"
    SectionByPurpose "利用目的・システムごとの集計" "Use by purpose and caller"
    SectionEvents "利用記録の明細" "Entries"
    SectionOutputs "持出し（保管庫の外へ渡したもの）" "What left the vault"
    SectionShown "出力（表示・照合）" "What was shown or compared"
    SectionDeletions "利用停止・失効・変更の記録" "Acts"
    SectionDeletionTotals "種類別の集計" "Totals per kind"
    SectionCertificate "削除・廃棄証明書の項目" "Fields of a certificate of deletion"
    SectionGrants "適用中の権限" "Grants in force"
    SectionGrantsEnded "期間中に終了した権限" "Grants that ended in the period"
    SectionFindings "指摘事項の要約" "Findings"
    SectionUnused "利用のない権限" "Unused rights"
    SectionDenials "拒否の内訳" "Denials"
    SectionAlarms "警報の内訳" "Alarms"
    SectionBreakGlass "緊急利用と事後確認" "Broken glasses and their reviews"
    SectionChanges "規則・権限の変更" "Changes of rules and rights"
    SectionKeys "鍵" "Keys"
    SectionSignOffsMissing "責任者確認のない月" "Months without sign-off"
    SectionParties "委託先の一覧" "Entrusted parties"
    SectionEntrustedUse "委託先による利用" "Use by entrusted parties"
    SectionSubEntrusting "再委託の許諾" "Consents to entrust on"
    SectionChecks "本人確認の方法別集計" "Identity checks"
    SectionNotices "利用目的の通知" "Notices of purpose"
    SectionRegistrations "登録ごとの記録" "Registrations"
    SectionSites "所在" "Sites"
    SectionPartiesAbroad "委託先の所在国" "Countries of entrusted parties"
    SectionDocuments "規程・方針" "Documents of the organisation"
    SectionRules "適用中の設定" "Settings in force"
    SectionPurposes "利用できる事務・手続" "Purposes enabled"
    SectionCiphers "暗号方式" "Ciphers"
    SectionKeyState "鍵の管理" "Management of keys"
    SectionHistory "利用履歴" "History"
    SectionClocks "報告期限" "Clocks"
    SectionReportable "報告対象の判定" "Whether it is to be reported"
    SectionNineItems "報告事項（9項目）" "The nine items"
    SectionExposure "影響の範囲と暗号化の状態" "What was exposed"
    SectionIncidentUses "関係した者・目的" "Who, and for what"
    SectionIncidentPersons "本人の一覧（通知用）" "Persons (to be notified)"

    SignHandler "事務取扱担当者" "Handler"
    SignResponsible "特定個人情報責任者" "Responsible person"
    SignAuditor "個人情報保護監査責任者" "Audit officer"
    SignRepresentative "代表者" "Representative"
    SignParty "委託先" "Entrusted party"
    SignOperator "システム管理者" "Operator"
    SignDate "署名・日付" "Signature, date"

    NotePartial "作成者の閲覧範囲は台帳の一部です。範囲外の記載（保管庫全体の設定・権限の承認など）は含みません。" "Whoever made this sees only a part of the ledger. What lies outside (acts on the whole vault, approvals of grants) is not in it."
    NoteRemoved "保存期間の満了により削除された記載は含みません。対象の期間に記録された、削除済みの記載の数（どの事業者のものかは問わない）:" "Entries whose retention period was over are not in it. Removed entries of this time, of whatever legal person:"
    NoteNoNumbers "本書は個人番号、その一部、ハッシュ値及びトークンを含みません。" "This document contains no number, no part or hash of one, and no token."
    NoteWorks "作業（work reference）ごとに一行。作業の記載がない利用は、システムごとに一行にまとめます。本人の数は重複を除き、拒否を含みません。" "One line per work reference; use without one is one line per caller. Persons are distinct, denials not counted."
    NoteEvents "明細の全件と検証用の証明は、台帳のエクスポートで得られます。" "All entries, with proofs, are in an export of the ledger."
    NoteEventsGoOn "残りの明細は、CSV・JSON の続きのページ(events_from_sequence、fuda audit report は自動で全ページを取得)にあります。" "The other entries are in the further pages of the CSV and JSON forms (events_from_sequence; fuda audit report fetches all pages)."
    NextEvent "続きの先頭の番号" "the next page begins at"
    NoteOutputs "再送された応答は二度数えません。" "What a retry got again is counted once."
    NoteShown "VerifyNumber は照合のみで番号を表示しません。" "VerifyNumber compares and shows no number."
    NoteDeletion "この版の保管庫は番号を消去しません。利用停止と失効は消去ではありません。" "This version of the vault erases nothing. Disabled and superseded is not erased."
    NoteCertificate "消去の記録がないため、証明書は発行できません。" "No certificate can be issued, because nothing was erased."
    NoteGrants "対象期間の末日時点の権限です。" "As of the end of the period."
    NoteUntold "台帳に内容が記載されていない権限の数:" "Grants whose facts the entries do not tell:"
    NoteFiles "登録件数は台帳の登録・受入れの記載から数えた、期間末日までの累計です。" "Records are counted from entries of registration and acceptance, up to the end of the period."
    NoteFindings "件数は対象期間のものです。権限は期間末日時点です。" "Counts are of the period; rights are as of its end."
    NoteEntrusted "委託先に属するシステムは、権限の記載から判定します。" "Which callers belong to a party is told by their grants."
    NoteNotices "登録後に追加された通知です。登録時の通知の版は記録（レコード）に保持され、台帳にはありません。" "Notices added after registration. The version given at registration stands in the record, not in the ledger."
    NoteRegistrations "確認書類と登録時の通知の版は記録（レコード）に保持され、台帳にはありません。" "Documents shown and the version of the notice at registration stand in the record, not in the ledger."
    NoteAbroad "国・地域は設定に基づきます。保管庫は所在を自ら検証しません。" "Countries are as configured. The vault does not verify where it is."
    NoteRules "台帳の記載から導いた、期間末日時点の規則です。規則の全文は ListPolicies・ListPurposes で得られます。" "As the entries tell, at the end of the period. The full texts are with the vault (fuda policy, fuda purpose)."
    NotePurposes "名称・根拠・保存期間は設定された利用目的一覧によります。" "Names, basis and retention are those of the configured catalogue."
    NoteCiphers "製品が用いる方式です。実装の適切さの評価は含みません。" "What the product uses. This is no assessment of its implementation."
    NoteEncryption "報告不要の判断は事業者が行います。本書はその根拠資料です。" "Whether a case is exempt is for the organisation to decide; this is what it can rest on."
    NoteDisclosure "担当者の氏名は第三者の個人情報のため記載しません。" "Handlers are not named: they are persons too."
    NoteClocks "知った日を1日目とし、休日による延長をしない、最も早い数え方です。速報は「速やかに」（概ね3～5日以内）。" "The day of knowledge is day 1 and holidays prolong nothing: the earliest way to count. The preliminary report is due promptly, some 3 to 5 days."
    NoteNineItems "台帳から分かる項目のみ記入済みです。" "Filled in as far as the ledger knows."
    NoteExposure "本人の数は重複を除きます。" "Persons are distinct."
    NoteIncidentPersons "参照番号は事業者が付けたものです。" "References are the organisation's own."

    WhyNoConfiguration "設定（fuda-audit の [report]）に記載がありません。" "The configuration ([report] of fuda-audit) does not say."
    WhyNoWitness "立会署名を得ていません。" "No cosignature is known."
    WhyNoWorkReference "要求に作業の記載がありません。" "The requests named no work reference."
    WhyNotSignedOff "期間全体を覆う責任者確認がありません。" "Nobody has signed off the whole time of the work."
    WhyNoApprover "権限の承認者が台帳の参照範囲にありません。" "Who approved the grant is not among the entries read."
    WhyNoReturn "返却・期限の定めがありません。" "No return or end was stated."
    WhyOnePerson "一人で行う操作のため承認者の記録はありません。" "One person's act; no approver is recorded."
    WhyNoErasure "この版の保管庫には消去の機能がなく、台帳に記載がありません。" "This version of the vault does not erase, and no entry says so."
    WhyGrantUntold "権限の内容が台帳の参照範囲にありません。" "The facts of the grant are not among the entries read."
    WhyNoTraining "権限に教育の証明が付されていません。" "No training was attested with the grant."
    WhyNotReviewed "事後確認の記載がありません。" "No entry of a review."
    WhyNoKeys "鍵の情報が設定にありません。鍵の更新は台帳に記載されません。" "No key is configured, and rotation of keys is no entry of the ledger."
    WhyNoCertificate "委託先からの削除証明書の受領は設定にありません。" "No certificate of deletion of this party is configured."
    WhyNoCheck "本人確認の記録なしで登録されました。" "Registered without a record of a check."
    WhyInRecord "記録（レコード）に保持され、台帳にはありません。" "Stands in the record, not in the ledger."
    WhyNoVersion "版の記載なしで通知されました。" "Notified without a version."
    WhyNoPurposes "利用目的の設定変更が台帳の参照範囲にありません。" "No change of enabled purposes is among the entries read."
    WhyShippedPolicy "変更の記載がありません（出荷時の規則）。" "No change is recorded (the text shipped)."
    WhyShippedCatalogue "変更の記載がありません（出荷時の一覧）。" "No change is recorded (the catalogue shipped)."
    WhyNoChange "設定の変更が台帳の参照範囲にありません。" "No change of it is among the entries read."
    WhyNotInCatalogue "設定された利用目的一覧にありません。" "Not in the configured catalogue."
    WhyNoRetention "保存期間の定めがありません。" "No rule of retention."
    WhyNotRead "該当する台帳の記載が参照範囲にありません。" "The entry that says so is not among those read."
    WhyByHand "台帳からは分かりません。事業者が記入します。" "Not known to the ledger; to be filled in by hand."
    WhyKeysNotInLedger "台帳は鍵・暗号文の漏えいを記録しません。" "A leak of keys or ciphertext is no entry of the ledger."

    ActionTokenize "番号の登録" "registration"
    ActionDetokenize "番号の表示" "reveal"
    ActionVerify "番号の照合" "comparison"
    ActionDescribe "トークンの照会" "look at a token"
    ActionRead "記録の参照（番号なし）" "read of records, without numbers"
    ActionExchange "他システム用トークンの発行" "token for another scope"
    ActionRotate "トークンの交換" "rotation of a token"
    ActionUpdate "番号の変更" "change of the number"
    ActionDisable "利用停止" "disable"
    ActionEnable "利用停止の解除" "enable"
    ActionSupersede "記録の失効" "supersede"
    ActionNotice "利用目的の追加通知" "further notice"
    ActionMasked "番号の一部の表示" "masked reveal"
    ActionSeal "封緘（暗号化して提供）" "seal"
    ActionOffer "他事業者への提供" "offer to another tenant"
    ActionAccept "他事業者からの受入れ" "acceptance from another tenant"
}
