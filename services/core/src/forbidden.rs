//! Uses of a number that the law forbids and that somebody will ask for all the same.
//!
//! A purpose that names such a use is refused when it is proposed. It can be made only by an override: a reason in
//! words, two people, and an entry of its own in the ledger. The search looks for words, so it is a net and no proof:
//! whoever approves a purpose still reads it.

use core::fmt;

use minicbor::{Decode, Encode};

use crate::text::to_half_width;

/// A forbidden use. The number is stored and never changes its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
#[repr(u8)]
pub enum ForbiddenUse {
    /// As an employee number (社員番号).
    #[n(1)]
    EmployeeNumber = 1,
    /// To match or manage customers (名寄せ・顧客管理).
    #[n(2)]
    CustomerMatching = 2,
    /// For sales results or personnel evaluation (営業成績・人事評価).
    #[n(3)]
    Evaluation = 3,
    /// As the number of an identity document (本人確認の身分証番号).
    #[n(4)]
    IdentityDocument = 4,
    /// Printed on the copy that the person gets (本人交付用の写し).
    #[n(5)]
    CopyToPerson = 5,
    /// On a form that carries no number since 2016-04-01 (保険料控除申告書・住宅借入金等特別控除申告書).
    #[n(6)]
    NumberlessForm = 6,
}

/// What gives a forbidden use away: words of the Japanese name or basis, and words of the code or the English name.
struct Words {
    of: ForbiddenUse,
    japanese: &'static [&'static str],
    english: &'static [&'static str],
}

// INVARIANT: apply searches by this list, so a change of it is a change of apply: all members must run it at once.
const WORDS: &[Words] = &[
    Words {
        of: ForbiddenUse::EmployeeNumber,
        japanese: &["社員番号", "従業員番号", "職員番号", "社員コード", "社員ID"],
        english: &["employee number", "employee id", "employee code", "staff number", "staff id"],
    },
    Words {
        of: ForbiddenUse::CustomerMatching,
        japanese: &["名寄せ", "顧客管理", "顧客の管理", "会員管理", "マーケティング"],
        english: &["customer", "customers", "crm", "marketing", "deduplication", "record linkage", "name matching"],
    },
    Words {
        of: ForbiddenUse::Evaluation,
        japanese: &["営業成績", "人事評価", "人事考課", "勤務評定", "査定"],
        english: &["evaluation", "appraisal", "performance review", "sales performance", "sales results"],
    },
    Words {
        of: ForbiddenUse::IdentityDocument,
        japanese: &["身分証", "本人確認書類の番号", "本人確認書類番号"],
        english: &["identity document", "identity card", "id document", "id card"],
    },
    Words {
        of: ForbiddenUse::CopyToPerson,
        japanese: &["本人交付", "受給者交付", "本人控"],
        english: &["copy to person", "copy to the person", "person s copy", "employee s copy", "employee copy"],
    },
    Words {
        of: ForbiddenUse::NumberlessForm,
        japanese: &["保険料控除申告書", "住宅借入金等特別控除", "住宅ローン控除"],
        english: &["insurance premium deduction", "insurance premiums deduction", "housing loan", "mortgage"],
    },
];

impl ForbiddenUse {
    /// All forbidden uses, in the order of their numbers.
    pub const ALL: [Self; 6] = [
        Self::EmployeeNumber,
        Self::CustomerMatching,
        Self::Evaluation,
        Self::IdentityDocument,
        Self::CopyToPerson,
        Self::NumberlessForm,
    ];

    /// The stable code in entries, the API and reports.
    pub const fn code(self) -> &'static str {
        match self {
            Self::EmployeeNumber => "employee_number",
            Self::CustomerMatching => "customer_matching",
            Self::Evaluation => "evaluation",
            Self::IdentityDocument => "identity_document",
            Self::CopyToPerson => "copy_to_person",
            Self::NumberlessForm => "numberless_form",
        }
    }

    /// The name in Japanese, as in reports.
    pub const fn ja(self) -> &'static str {
        match self {
            Self::EmployeeNumber => "社員番号としての利用",
            Self::CustomerMatching => "名寄せ・顧客管理",
            Self::Evaluation => "営業成績・人事評価",
            Self::IdentityDocument => "本人確認の身分証番号としての利用",
            Self::CopyToPerson => "本人交付用の写しへの記載",
            Self::NumberlessForm => "保険料控除申告書・住宅借入金等特別控除申告書",
        }
    }

    /// The stored number.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The first forbidden use that the texts name, if any: `japanese` are names and bases, `english` are codes and
    /// English names.
    pub(crate) fn named_in(japanese: &[&str], english: &[&str]) -> Option<Self> {
        let japanese: Vec<String> = japanese.iter().map(|text| squeezed(text)).collect();
        let english: Vec<String> = english.iter().map(|text| spaced(text)).collect();
        let names = |words: &&Words| {
            let in_japanese = words.japanese.iter().any(|word| japanese.iter().any(|text| text.contains(word)));
            in_japanese
                || words.english.iter().any(|word| english.iter().any(|text| text.contains(&format!(" {word} "))))
        };
        WORDS.iter().find(names).map(|words| words.of)
    }
}

impl fmt::Display for ForbiddenUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// Without white space, in half width where there is one: `社員　番号` and `社員ＩＤ` hide nothing.
fn squeezed(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).map(to_half_width).collect()
}

/// Lower case words parted by one space, with a space at both ends: `tax.Employee_ID` becomes ` tax employee id `.
fn spaced(text: &str) -> String {
    let mut words = String::with_capacity(text.len() + 2);
    words.push(' ');
    for c in text.chars().map(to_half_width).flat_map(char::to_lowercase) {
        match c.is_alphanumeric() {
            true => words.push(c),
            false if !words.ends_with(' ') => words.push(' '),
            false => {}
        }
    }
    if !words.ends_with(' ') {
        words.push(' ');
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forbidden_uses_are_found_however_they_are_written() {
        use ForbiddenUse::*;
        let cases = [
            (&["社員番号の付番"][..], &["hr.badge"][..], Some(EmployeeNumber)),
            (&["社員　ＩＤ"], &["hr.badge"], Some(EmployeeNumber)),
            (&["番号"], &["hr.employee_id"], Some(EmployeeNumber)),
            (&["番号"], &["hr.Employee-ID"], Some(EmployeeNumber)),
            (&["顧客管理"], &["x.y"], Some(CustomerMatching)),
            (&["名寄せ"], &["x.y"], Some(CustomerMatching)),
            (&["管理"], &["sales.crm"], Some(CustomerMatching)),
            (&["人事評価"], &["x.y"], Some(Evaluation)),
            (&["営業成績の集計"], &["x.y"], Some(Evaluation)),
            (&["身分証明書の番号"], &["x.y"], Some(IdentityDocument)),
            (&["源泉徴収票(本人交付用)"], &["x.y"], Some(CopyToPerson)),
            (&["票"], &["tax.slip.copy_to_person"], Some(CopyToPerson)),
            (&["給与所得者の保険料控除申告書"], &["x.y"], Some(NumberlessForm)),
            (&["住宅借入金等特別控除申告書"], &["x.y"], Some(NumberlessForm)),
            // Words inside other words, and lawful uses, are left alone.
            (&["健康保険 被扶養者(異動)届"], &["si.dependents"], None),
            (&["票"], &["tax.scrum", "Employee income", "customised"], None),
        ];
        for (japanese, english, expected) in cases {
            assert_eq!(ForbiddenUse::named_in(japanese, english), expected, "{japanese:?} {english:?}");
        }
    }

    #[test]
    fn codes_and_numbers_are_stable_and_every_use_has_words() {
        for (index, forbidden) in ForbiddenUse::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(forbidden.number()), index + 1);
            assert_eq!(minicbor::to_vec(forbidden).unwrap(), [forbidden.number()]);
            assert!(WORDS.iter().any(|words| words.of == forbidden), "{forbidden}");
        }
        assert_eq!(ForbiddenUse::CopyToPerson.code(), "copy_to_person");
    }
}
