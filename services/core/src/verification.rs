//! The record of an identity check (番号法16条 本人確認): how it was done, with which sorts of documents, by whom and when.
//! Codes and dates only; copies of documents never enter the vault.

use core::fmt;

use minicbor::{Decode, Encode};

use crate::{
    error::Invalid,
    kind::Kind,
    limits::{VERIFICATION_DOCUMENTS_MAX, VERIFIER_CHARS_MAX},
    relation::{Relation, RelationSet},
    text::check_short,
    time::Day,
};

macro_rules! listed {
    ($(#[$doc:meta])* $name:ident, $field:literal, $rule:literal, $($(#[$variant_doc:meta])* $number:literal $variant:ident $code:literal)+) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
        #[cbor(index_only)]
        #[repr(u8)]
        pub enum $name {
            $($(#[$variant_doc])* #[n($number)] $variant = $number,)+
        }

        impl $name {
            /// All of them, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The stable code, as in the API.
            pub const fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)+ }
            }

            /// The one with this code.
            ///
            /// # Errors
            /// [`Invalid`] for an unknown code.
            pub fn from_code(code: &str) -> Result<Self, $crate::Invalid> {
                let known = Self::ALL.iter().copied().find(|known| known.code() == code);
                known.ok_or($crate::Invalid::new($field, $rule))
            }
        }

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.pad(self.code())
            }
        }
    };
}
pub(crate) use listed;

listed! {
    /// How number and person were checked. Numbers are stored and never reused.
    VerificationMethod, "verification.method", "must be a code of a listed method",
    /// The individual number card alone (個人番号カード): number and person in one.
    1 IndividualNumberCard "individual_number_card"
    /// The notification card or its certificate (通知カード等) and a proof of identity.
    2 NotificationAndId "notification_and_id"
    /// A copy of the resident record with the number (住民票) and a proof of identity.
    3 ResidentRecordAndId "resident_record_and_id"
    /// A proxy presented the number, the power of attorney and their own proof of identity (代理人).
    4 Proxy "proxy"
    /// The employee as proxy of a dependant (第3号被保険者), checked once as an employee.
    5 EmployeeAsProxy "employee_as_proxy"
    /// The certificate of the card, read electronically (公的個人認証・マイナポータル連携).
    6 Digital "digital"
    /// The employer knows the person in sight (対面確認、雇用関係により人違いでないことが明らか); the number was checked.
    7 KnownInPerson "known_in_person"
    /// The employee checks the number of a dependant in the declaration (扶養控除等申告書).
    8 DeclaredByPrincipal "declared_by_principal"
}

listed! {
    /// A sort of document that was shown; never a copy of it. Numbers are stored and never reused.
    VerificationDocument, "verification.documents", "must be codes of listed documents",
    /// The individual number card (個人番号カード).
    1 IndividualNumberCard "individual_number_card"
    /// The notification card (通知カード), while its details are still true.
    2 NotificationCard "notification_card"
    /// A copy of the resident record with the number (住民票の写し).
    3 ResidentRecord "resident_record"
    /// A driving licence (運転免許証).
    4 DrivingLicence "driving_licence"
    /// A passport (旅券).
    5 Passport "passport"
    /// A residence card or special permanent resident certificate (在留カード等).
    6 ResidenceCard "residence_card"
    /// A health insurance certificate (資格確認書等).
    7 HealthInsurance "health_insurance"
    /// A pension book or certificate (年金手帳・基礎年金番号通知書).
    8 PensionBook "pension_book"
    /// A power of attorney (委任状).
    9 PowerOfAttorney "power_of_attorney"
    /// A family register certificate (戸籍謄本), of a legal representative.
    10 FamilyRegister "family_register"
    /// A disability certificate (身体障害者手帳等).
    11 DisabilityCertificate "disability_certificate"
    /// An electronic certificate (電子証明書).
    12 ElectronicCertificate "electronic_certificate"
    /// An employee identity card (社員証).
    13 EmployeeCard "employee_card"
    /// Another document that the rules allow, two of a kind (その他2点).
    14 OtherTwo "other_two"
}

listed! {
    /// What a proxy is to the person. Numbers are stored and never reused.
    ProxyRelation, "verification.proxy", "must be a code of a listed relation",
    /// A legal representative: parent of a minor, guardian (法定代理人).
    1 LegalRepresentative "legal_representative"
    /// A proxy by power of attorney (任意代理人).
    2 Attorney "attorney"
    /// The employee, for a family member (従業員).
    3 Employee "employee"
}

/// One identity check.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Verification {
    /// How.
    #[n(0)]
    pub method: VerificationMethod,
    /// What was shown; at most [`VERIFICATION_DOCUMENTS_MAX`].
    #[n(1)]
    pub documents: Vec<VerificationDocument>,
    /// Who checked: the tenant's own reference to the handler (担当者).
    #[n(2)]
    pub verifier: String,
    /// On which day, in the tenant's calendar.
    #[n(3)]
    pub verified_on: Day,
    /// What the proxy is to the person; set exactly for the methods with a proxy.
    #[n(4)]
    pub proxy: Option<ProxyRelation>,
}

impl Verification {
    /// Checks everything that the types leave open.
    ///
    /// # Errors
    /// [`Invalid`] with field and rule.
    pub fn validate(&self) -> Result<(), Invalid> {
        const VERIFIER: &str = "verification.verifier";
        if self.documents.len() > VERIFICATION_DOCUMENTS_MAX {
            return Err(Invalid::new("verification.documents", "must be at most 8"));
        }
        check_short(VERIFIER, &self.verifier, VERIFIER_CHARS_MAX, "must have 1 to 64 characters")?;
        let by_proxy = matches!(self.method, VerificationMethod::Proxy | VerificationMethod::EmployeeAsProxy);
        if by_proxy == self.proxy.is_some() {
            Ok(())
        } else {
            Err(Invalid::new("verification.proxy", "must be set exactly for a method with a proxy"))
        }
    }
}

/// Which numbers a tenant takes only with the record of an identity check. The default demands it of none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct VerificationDemand {
    /// Of these kinds.
    #[n(0)]
    pub kinds: Vec<Kind>,
    /// Of persons who are this to the principal subject. An employee checks the numbers of dependants himself.
    #[n(1)]
    pub relations: RelationSet,
}

impl VerificationDemand {
    /// What 番号法16条 asks of an employer: the My Numbers of persons in their own right.
    #[must_use]
    pub fn of_the_law() -> Self {
        Self { kinds: vec![Kind::MyNumber], relations: [Relation::SelfRelation].into_iter().collect() }
    }

    /// Whether nothing is demanded.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a number of this kind, of a person in this relation, must come with the record of a check.
    #[must_use]
    pub fn covers(&self, kind: Kind, relation: Relation) -> bool {
        self.kinds.contains(&kind) && self.relations.contains(relation)
    }

    /// Checks that it demands something of somebody, or nothing at all.
    ///
    /// # Errors
    /// [`Invalid`] with field and rule.
    pub fn validate(&self) -> Result<(), Invalid> {
        const FIELD: &str = "verification_demand";
        if self.kinds.is_empty() != self.relations.is_empty() {
            return Err(Invalid::new(FIELD, "must name both kinds and relations, or neither"));
        }
        let repeats =
            (1..self.kinds.len()).any(|at| self.kinds.iter().take(at).any(|kind| self.kinds.get(at) == Some(kind)));
        if repeats { Err(Invalid::new(FIELD, "must not repeat a kind")) } else { Ok(()) }
    }
}

/// `my_number,bank_account:self,spouse`; `none` when nothing is demanded.
impl fmt::Display for VerificationDemand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_none() {
            return f.write_str("none");
        }
        let kinds: Vec<&str> = self.kinds.iter().map(|kind| kind.code()).collect();
        let relations: Vec<&str> = self.relations.iter().map(Relation::code).collect();
        write!(f, "{}:{}", kinds.join(","), relations.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Code;

    /// The field that a breach is refused for, and the breach.
    type Breach<'a> = (&'a str, &'a dyn Fn(&mut Verification));

    fn good() -> Verification {
        Verification {
            method: VerificationMethod::NotificationAndId,
            documents: vec![VerificationDocument::NotificationCard, VerificationDocument::DrivingLicence],
            verifier: "hr/tanaka".to_owned(),
            verified_on: Day::parse("2026-11-22").unwrap(),
            proxy: None,
        }
    }

    #[test]
    fn each_rule_refuses_its_breach() {
        assert_eq!(good().validate(), Ok(()));
        let broken: [Breach<'_>; 6] = [
            ("verification.documents", &|it| it.documents = vec![VerificationDocument::Passport; 9]),
            ("verification.verifier", &|it| it.verifier.clear()),
            ("verification.verifier", &|it| it.verifier = "x".repeat(65)),
            ("verification.verifier", &|it| it.verifier = "a\nb".to_owned()),
            ("verification.proxy", &|it| it.proxy = Some(ProxyRelation::Attorney)),
            ("verification.proxy", &|it| it.method = VerificationMethod::EmployeeAsProxy),
        ];
        for (index, (field, breach)) in broken.iter().enumerate() {
            let mut verification = good();
            breach(&mut verification);
            assert_eq!(verification.validate().map_err(|invalid| invalid.field), Err(*field), "breach {index}");
        }
        let number = Verification { verifier: "1234 5678 9018".to_owned(), ..good() };
        assert_eq!(number.validate().map_err(|invalid| invalid.code()), Err(Code::TextContainsNumber));
    }

    #[test]
    fn a_demand_covers_what_it_names_and_nothing_else() {
        let law = VerificationDemand::of_the_law();
        assert!(law.covers(Kind::MyNumber, Relation::SelfRelation));
        assert!(
            !law.covers(Kind::MyNumber, Relation::Spouse) && !law.covers(Kind::BankAccount, Relation::SelfRelation)
        );
        let none = VerificationDemand::default();
        assert!(none.is_none() && !none.covers(Kind::MyNumber, Relation::SelfRelation));
        assert_eq!((law.validate(), none.validate()), (Ok(()), Ok(())));
        assert_eq!((law.to_string(), none.to_string()), ("my_number:self".to_owned(), "none".to_owned()));
        let of_nobody = VerificationDemand { relations: RelationSet::EMPTY, ..law.clone() };
        let of_nothing = VerificationDemand { kinds: Vec::new(), ..law.clone() };
        let twice = VerificationDemand { kinds: vec![Kind::MyNumber, Kind::Pan, Kind::MyNumber], ..law.clone() };
        for wrong in [of_nobody, of_nothing, twice] {
            assert_eq!(wrong.validate().map_err(|invalid| invalid.field), Err("verification_demand"));
        }
        assert_eq!(minicbor::to_vec(&law).unwrap(), [0x82, 0x81, 0x01, 0x01]);
    }

    #[test]
    fn codes_are_known_and_bytes_are_golden() {
        for method in VerificationMethod::ALL {
            assert_eq!(VerificationMethod::from_code(method.code()), Ok(*method));
        }
        for document in VerificationDocument::ALL {
            assert_eq!(VerificationDocument::from_code(document.code()), Ok(*document));
        }
        assert!(ProxyRelation::from_code("friend").is_err());
        let bytes = minicbor::to_vec(good()).unwrap();
        assert_eq!(bytes[..5], [0x84, 0x02, 0x82, 0x02, 0x04]);
        assert_eq!(minicbor::decode::<Verification>(&bytes).unwrap(), good());
    }
}
