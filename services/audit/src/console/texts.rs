//! Every word of the console, in both languages, in one table.

use super::language::Language;

/// One text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Text {
    ja: &'static str,
    en: &'static str,
}

impl Text {
    /// The text in a language.
    pub(crate) const fn in_language(self, language: Language) -> &'static str {
        match language {
            Language::Japanese => self.ja,
            Language::English => self.en,
        }
    }
}

macro_rules! texts {
    ($($name:ident: $ja:literal, $en:literal;)*) => {
        $(pub(crate) const $name: Text = Text { ja: $ja, en: $en };)*
        #[cfg(test)]
        const ALL: &[(&str, Text)] = &[$((stringify!($name), $name)),*];
    };
}

texts! {
    CONSOLE: "Fuda 監査", "Fuda audit";
    SKIP: "本文へ移動", "Skip to the content";
    MENU: "メニュー", "Menu";
    LANGUAGES: "言語", "Language";
    ZONE_NOTE: "時刻は日本時間（Asia/Tokyo）です。", "Times are Japan time (Asia/Tokyo).";
    ENTERED_NOTE: "このコンソールでの照会は、すべて照会台帳に記録されます。",
        "Every question asked here is entered in the ledger of questions.";
    NONE: "なし", "none";
    NEVER: "まだありません", "not yet";
    SHOW: "表示", "Show";
    SEQUENCE: "番号", "No.";
    TIME: "時刻", "Time";
    TENANT: "法人", "Tenant";
    ACTION: "操作", "Action";
    DECISION: "結果", "Decision";
    REASON: "拒否理由", "Reason of denial";
    CALLER: "呼出元", "Caller";
    END_USER: "担当者", "End user";
    JOB: "承認済みジョブ", "Approved job";
    PURPOSE: "利用目的", "Purpose";
    SUBJECT: "本人（対象者）", "Subject";
    PRINCIPAL: "関係する本人", "On account of";
    KIND: "番号の種類", "Kind of number";
    RECORD: "記録", "Record";
    SCOPE: "利用システム", "Scope";
    RELATION: "本人との関係", "Relation";
    WORK_REFERENCE: "業務番号", "Work reference";
    POLICY_VERSION: "方針の版", "Policy version";
    GRANT: "権限", "Grant";
    REQUEST_ID: "要求ID", "Request id";
    TRACE_ID: "トレースID", "Trace id";
    SOURCE_ZONE: "接続元区域", "Source zone";
    RECIPIENT: "提供先の鍵", "Recipient's key";
    BUDGET: "人数枠", "Budget of persons";
    DETAIL: "詳細", "Details";

    OVERVIEW: "概況", "Overview";
    ALL_WELL: "台帳は検証済みです。未解決の警報はありません。", "The ledger is verified. No alarm is open.";
    ALARMS_OPEN: "未解決の警報があります。", "Alarms are open.";
    HALTED: "台帳が以前の署名と矛盾しています。人が確認するまで、検証と副署を停止しています。",
        "The ledger contradicts what was signed before. Nothing is verified or cosigned until a person has settled it.";
    STALE: "副署が古くなっています。金庫に接続できない可能性があります。",
        "The cosignature is old. The vault may be out of reach.";
    UNSIGNED_YET: "副署した検証点がまだありません。", "No checkpoint has been cosigned yet.";
    ORIGIN: "台帳", "Ledger";
    KEPT_FOR: "保存期間", "Retention period";
    YEARS: "年", "years";
    NOT_YET_REMOVED: "未適用（何も削除されません）", "none in force, nothing is removed";
    OLDEST_ENTRY: "最も古い記録", "Oldest entry";
    REMOVED_ENTRIES: "期間満了により削除された記録", "Entries removed when their period was over";
    HOLDS: "有効な保全措置（リーガルホールド）", "Legal holds in force";
    REMOVED_NOTE: "保存期間の満了により、この期間の記録の一部は削除されています。この回答は完全とは限りません。削除された記録の数（どの事業者のものかは問わない）:",
        "Entries of this time were removed when their retention period was over; this answer may lack some. Removed entries, of whatever legal person:";
    VERIFIED_ENTRIES: "検証済みの記録", "Verified entries";
    SIGNED_ENTRIES: "署名された記録", "Signed entries";
    BEHIND: "未検証の記録", "Entries not verified yet";
    COSIGNED: "最新の副署", "Last cosignature";
    AGE: "経過", "Age";
    SECONDS: "秒", "s";
    ROOT: "ハッシュ木の根", "Root of the tree";
    NODES: "金庫のノード", "Nodes of the vault";
    ADDRESS: "接続先", "Address";
    LAST_SEEN: "最終確認", "Last seen";
    PROBLEM: "問題", "Problem";
    WITNESS: "立会者", "Witness";
    LOG_KEY: "台帳の公開鍵", "Public key of the ledger";
    WITNESS_KEY: "立会者の公開鍵", "Public key of the witness";
    COMPARE_KEYS: "お手元に保管している鍵と比べてください。別の鍵を貼り付けて検証することもできます。",
        "Compare the keys with those you keep. You may paste yours and check again.";
    OPEN_ENTRY: "記録を開く", "Open an entry";

    ALARMS: "警報", "Alarms";
    ALARMS_INTRO: "立会者が台帳について見つけた異常です。証拠ファイルはこの装置の evidence ディレクトリにあります。解決の記録は fuda-audit settle で行います。",
        "What the witness found wrong with the ledger. Evidence files lie in the directory `evidence` of this process. `fuda-audit settle` records that somebody looked into an alarm.";
    NO_ALARMS: "警報はありません。", "There are no alarms.";
    STATE: "状態", "State";
    OPEN: "未解決", "open";
    SETTLED: "解決済み", "settled";
    FOUND_AT: "発見場所", "Found at";
    CLUSTER: "クラスター全体", "the cluster";
    FINDING: "内容", "Finding";
    EVIDENCE: "証拠", "Evidence";
    SETTLED_BY: "解決者・理由", "Settled by, and why";
    ALARM_KIND: "種類", "Kind";

    ENTRY: "記録", "Entry";
    PROOF: "証明の検証", "Proof";
    PROOF_INTRO: "この端末のブラウザーが、次の四つを順に検証します。",
        "Your browser checks these four things, one after the other.";
    STEP_BYTES: "画面の各項目が、台帳に記録された正規バイト列と一致する",
        "Every field shown is what the canonical bytes in the ledger say";
    STEP_PATH: "正規バイト列が、検証点のハッシュ木に含まれる（RFC 6962）",
        "The canonical bytes are in the tree of the checkpoint (RFC 6962)";
    STEP_LOG: "検証点に、台帳の鍵による署名がある（Ed25519）",
        "The checkpoint is signed by the key of the ledger (Ed25519)";
    STEP_WITNESS: "検証点に、立会者の副署がある（Ed25519）",
        "The checkpoint is cosigned by the witness (Ed25519)";
    PENDING: "検証中", "checking";
    PASS: "一致", "holds";
    FAIL: "不一致", "FAILS";
    VERDICT_PENDING: "検証しています…", "Checking…";
    KEY_NEEDED: "以前の台帳の公開鍵を下の欄に貼り付けて、検証してください。",
        "Paste the public key of the earlier ledger below, then check.";
    VERDICT_PASS: "検証しました。この記録は、表示された鍵で署名された台帳に含まれています。",
        "Verified. This entry is in the ledger that the keys shown have signed.";
    VERDICT_FAIL: "検証に失敗しました。この記録を信用しないでください。",
        "VERIFICATION FAILED. Do not trust this entry.";
    NO_SCRIPT: "証明の検証には JavaScript が必要です。fuda audit verify でも検証できます。",
        "Checking the proof here needs JavaScript. `fuda audit verify` checks it as well.";
    CHECK_AGAIN: "もう一度検証", "Check again";
    PREVIOUS: "前の記録", "Previous entry";
    NEXT: "次の記録", "Next entry";
    DENIED_BECAUSE: "拒否された理由", "Why it was denied";

    SEARCH: "検索", "Search";
    OLDER: "さらに前の記録", "Older entries";
    FILTER: "条件式（AIP-160）", "Filter (AIP-160)";
    FROM: "開始日", "From";
    UNTIL: "終了日", "Until";
    ALL_OF_THEM: "すべて", "all";
    NOTHING_FOUND: "該当する記録はありません。", "Nothing was found.";
    ENTRIES: "記録数", "Entries";
    PERSONS: "人数", "Persons";
    TIMES: "回数", "Times";
    FIRST: "最初", "First";
    LAST: "最後", "Last";

    PATTERNS: "利用状況", "Patterns of use";
    TIMELINE: "日ごとの表示件数", "Reveals by day";
    TIMELINE_NOTE: "青は許可、赤は拒否された件数です。", "Blue was allowed, red was denied.";
    BY_HOUR: "曜日と時刻", "By weekday and hour";
    BY_PURPOSE: "呼出元と利用目的", "By caller and purpose";
    MONDAY: "月曜", "Monday";
    TUESDAY: "火曜", "Tuesday";
    WEDNESDAY: "水曜", "Wednesday";
    THURSDAY: "木曜", "Thursday";
    FRIDAY: "金曜", "Friday";
    SATURDAY: "土曜", "Saturday";
    SUNDAY: "日曜", "Sunday";

    WHO: "本人の照会", "Who accessed a person";
    WHO_INTRO: "ある人の番号を、誰が、どの目的で扱ったかを示します。扶養親族など、その人に関わる記録も含みます。",
        "Who handled the numbers of one person, and for which purpose; with those of the person's dependants.";
    DENIALS: "拒否の集中", "Bursts of denials";
    DENIALS_INTRO: "拒否された要求を、呼出元・理由・時間帯ごとに多い順に示します。",
        "Denied requests by caller, reason and hour, the most frequent first.";
    NO_DENIALS: "この期間に拒否された要求はありません。", "Nothing was denied in this time.";
    BURSTS: "呼出元・理由・時間帯", "By caller, reason and hour";
    BURST: "集中", "burst";
    HOUR: "時間帯", "Hour";

    SIGN_OFFS: "責任者確認", "Sign-off";
    SIGN_OFF_INTRO: "法人のひと月の記録を確認し、責任者確認を残します。確認は照会台帳に記録され、この装置が署名します。",
        "Look through a month of a tenant and sign it off. It is kept in the ledger of questions, which this process signs.";
    MONTH: "対象月", "Month";
    NOTE: "所見", "Remarks";
    SIGN_OFF: "確認しました", "Sign off";
    SIGNED_OFF: "これまでの責任者確認", "Signed off before";
    SIGNED_OFF_NOW: "責任者確認を記録しました。", "The period is signed off.";
    REVIEWER: "確認者", "Reviewer";
    REVIEWED: "確認した内容", "What was reviewed";

    REPORTS: "帳票", "Reports";
    REPORTS_INTRO: "台帳の記録から帳票を作ります。記録にない事項は「記録なし」と示します。",
        "Documents made from the entries of the ledger. What no entry says is shown as not recorded.";
    REPORT: "帳票の種類", "Document";
    REPORT_SUBJECT: "本人（開示用のみ）", "Subject (disclosure only)";
    REPORT_KNOWN: "事態を知った日（漏えい等のみ）", "Known since (incident only)";
    REPORT_SUMMARY: "事態の概要（漏えい等のみ）", "What happened (incident only)";
    PREVIEW: "プレビュー", "Preview";
    OPEN_TO_PRINT: "印刷用に開く", "Open to print";

    QUESTIONS: "照会台帳", "Questions asked";
    QUESTIONS_INTRO: "監査人がこの装置に行った照会の台帳です。この画面の表示も記録されます。",
        "The ledger of what auditors asked this process. Looking at this page is an entry too.";
    AUDITOR: "監査人", "Auditor";

    ALLOWED: "許可", "allowed";
    DENIED: "拒否", "denied";
    REPLAYED: "再送", "replayed";

    EXPORTS: "エクスポート", "Exports";
    EXPORTS_INTRO: "条件に合う記録をファイルに書き出します。ファイルはこの装置に一定時間だけ保管され、始めた本人のみが受け取れます。",
        "Writes entries to a file. It is kept here for a while, and only who started it can take it away.";
    NO_EXPORTS: "書き出したファイルはありません。", "There are no files.";
    START_EXPORT: "書き出す", "Start";
    LOOK_AGAIN: "表示を更新", "Look again";
    FORM: "形式", "Form";
    FORM_CSV: "CSV（表計算用）", "CSV for spreadsheets";
    FORM_NDJSON: "NDJSON（一行一件）", "NDJSON, an entry per line";
    FORM_PARQUET: "Parquet（分析用）", "Parquet for analysis";
    FORM_OCSF: "OCSF（監視基盤用）", "OCSF for a SIEM";
    FORM_LEDGER: "台帳（証明付き、オフライン検証用）", "Ledger with proofs, for fuda audit verify";
    BYTES: "バイト数", "Bytes";
    STARTED: "開始", "Started";
    KEPT_UNTIL: "保管期限", "Kept until";
    DIGEST: "ハッシュ値（SHA-256）", "SHA-256";
    REMOVE: "削除", "Remove";
    DOWNLOAD: "ダウンロード", "Download";
    EXPORT_WAITING: "順番待ち", "waiting";
    EXPORT_RUNNING: "書き出し中", "being written";
    EXPORT_FAILED: "失敗", "failed";

    PREDECESSORS: "以前の台帳", "Earlier ledgers";
    PREDECESSORS_INTRO: "復元の際に、二人の責任者の署名によりこの台帳へ引き継がれた、以前の台帳です。",
        "Ledgers that this one succeeds after a restore, as two people stated with their signatures.";
    NO_PREDECESSORS: "以前の台帳はありません。", "There is no earlier ledger.";
    EARLIER_LEDGER: "以前の台帳を表示しています。", "This is an earlier ledger:";
    EARLIER_UNREAD: "次の以前の台帳の記録は、下の表に含まれていません。", "Entries of these earlier ledgers are not in the table:";
    LOST_ENTRIES: "失われた記録", "Entries lost";
    SUCCESSOR: "後継の台帳", "Successor";
    STATED_BY: "署名者", "Stated by";

    SIGN_IN: "サインイン", "Sign in";
    SIGN_IN_INTRO: "登録された監査人としてサインインしてください。認証は、貴社の認証基盤で行います。",
        "Please sign in as a registered auditor. Your organisation's provider asks who you are.";
    SIGN_IN_FAILED: "サインインできませんでした。もう一度お試しください。", "You could not be signed in. Please try again.";
    SIGN_OUT: "サインアウト", "Sign out";
    SIGNED_OUT: "サインアウトしました。認証基盤では、サインインしたままの場合があります。",
        "You are signed out here. The provider may still know you.";

    STRANGER: "このコンソールは、登録された監査人のみが利用できます。",
        "This console is for registered auditors only.";
    REFUSED: "お答えできません", "Cannot be answered";
    NOT_FOUND: "見つからないか、閲覧の範囲外です。", "It does not exist, or you may not see it.";
    BAD_QUESTION: "照会の内容に誤りがあります。", "The question is not well formed.";
    FORBIDDEN: "この要求は、このコンソールの画面から送られたものではありません。もう一度お試しください。",
        "This request did not come from a page of this console. Please try again.";
    BUSY: "ただいま混み合っています。しばらくしてからお試しください。", "Too many questions at a time. Please try again soon.";
    FAILED: "内部で問題が起きました。", "Something went wrong inside.";
    BACK: "概況へ戻る", "Back to the overview";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_is_missing_in_either_language() {
        for (name, text) in ALL {
            let (ja, en) = (text.in_language(Language::Japanese), text.in_language(Language::English));
            assert!(!ja.trim().is_empty() && !en.trim().is_empty(), "{name}");
            assert!(
                ja.chars().any(|letter| ('\u{3040}'..'\u{9fff}').contains(&letter)),
                "{name}: `{ja}` is not Japanese"
            );
            assert!(en.chars().all(|letter| (letter as u32) < 0x3000), "{name}: `{en}` is not English");
        }
    }
}
