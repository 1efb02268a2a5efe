//! Which documents there are.

use fuda_core::Invalid;

use crate::Text;

macro_rules! reports {
    ($($(#[$doc:meta])* $name:ident $code:literal $title:ident $law:ident $history:literal)+) => {
        /// A document. The codes are part of the API and never change.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum ReportKind {
            $($(#[$doc])* $name,)+
        }

        impl ReportKind {
            /// All of them, in the order in which they are offered.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The stable code.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)+ }
            }

            /// Its title.
            #[must_use]
            pub const fn title(self) -> Text {
                match self { $(Self::$name => Text::$title,)+ }
            }

            /// What asks for it.
            #[must_use]
            pub const fn basis(self) -> Text {
                match self { $(Self::$name => Text::$law,)+ }
            }

            /// Whether it needs the entries from before its period too, because it tells what is in force.
            #[must_use]
            pub const fn reads_history(self) -> bool {
                match self { $(Self::$name => $history,)+ }
            }
        }
    };
}

reports! {
    /// 特定個人情報ファイル管理台帳: which files there are, for what, and who has access.
    Register "register" TitleRegister LawRegister true
    /// 利用記録: one line per work reference.
    Usage "usage" TitleUsage LawUsage false
    /// 出力・持出し記録: what left the vault and to whom.
    Outputs "outputs" TitleOutputs LawOutputs true
    /// 削除・廃棄記録: what is no longer used, and what can be certified.
    Deletion "deletion" TitleDeletion LawDeletion false
    /// 担当者一覧・権限棚卸し: who may do what on a day.
    Roster "roster" TitleRoster LawRoster true
    /// 点検・監査: the annual pack.
    Review "review" TitleReview LawReview true
    /// 委託先監督: what entrusted parties did.
    Entrusted "entrusted" TitleEntrusted LawEntrusted true
    /// 本人確認・利用目的通知の版: identity checks and notices.
    Identity "identity" TitleIdentity LawIdentity false
    /// 外的環境: the countries where nodes, keys and copies are.
    Abroad "abroad" TitleAbroad LawAbroad true
    /// 取扱規程 annex: the rules in force.
    Rules "rules" TitleRules LawRules true
    /// The state of encryption (高度な暗号化等, PPC Q17-14).
    Encryption "encryption" TitleEncryption LawEncryption true
    /// One person's history of use, for disclosure.
    Disclosure "disclosure" TitleDisclosure LawDisclosure false
    /// 漏えい等: the pack for an incident.
    Incident "incident" TitleIncident LawIncident false
}

impl ReportKind {
    /// The report of a code.
    ///
    /// # Errors
    /// [`Invalid`] for an unknown code.
    pub fn from_code(code: &str) -> Result<Self, Invalid> {
        let found = Self::ALL.iter().copied().find(|kind| kind.code() == code);
        found.ok_or(Invalid::new("report", "must be the code of a report"))
    }
}
