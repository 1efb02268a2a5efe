//! The consent of a person to the provision of his number to the next employer (番号法19条4号): when, how, and where the
//! tenant keeps it. Codes, dates and the tenant's own reference only; what was signed never enters the vault.

use minicbor::{Decode, Encode};

use crate::{ids::WorkReference, time::Day, verification::listed};

listed! {
    /// How a person consented. Numbers are stored and never reused.
    ConsentMethod, "consent.method", "must be a code of a listed method",
    /// On paper (書面).
    1 Written "written"
    /// Electronically: a mail, a form that the person sent (電磁的方法).
    2 Electronic "electronic"
}

/// One consent to provide a number to one employer.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Consent {
    /// The day on which the destination was decided: no consent to a provision to nobody in particular.
    #[n(0)]
    pub decided_on: Day,
    /// The day on which the person consented. Both days are of the tenant's calendar.
    #[n(1)]
    pub given_on: Day,
    /// How.
    #[n(2)]
    pub method: ConsentMethod,
    /// Where the tenant keeps it, in the tenant's words.
    #[n(3)]
    pub reference: WorkReference,
}

impl Consent {
    /// Whether it is a consent on the day `today`: given, and given once the destination was decided.
    #[must_use]
    pub fn holds(&self, today: Day) -> bool {
        self.decided_on <= self.given_on && self.given_on <= today
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> Day {
        Day::parse(text).unwrap()
    }

    fn consent(decided_on: &str, given_on: &str) -> Consent {
        let reference = WorkReference::parse("consents/2026/0042").unwrap();
        Consent { decided_on: day(decided_on), given_on: day(given_on), method: ConsentMethod::Written, reference }
    }

    #[test]
    fn a_consent_follows_the_decision_and_is_not_of_the_future() {
        let today = day("2026-11-22");
        for (decided_on, given_on, holds) in [
            ("2026-11-20", "2026-11-21", true),
            ("2026-11-22", "2026-11-22", true),
            ("2026-11-21", "2026-11-20", false),
            ("2026-11-20", "2026-11-23", false),
            ("2026-11-23", "2026-11-23", false),
        ] {
            assert_eq!(consent(decided_on, given_on).holds(today), holds, "{decided_on} {given_on}");
        }
    }

    #[test]
    fn codes_are_known_and_bytes_are_golden() {
        for method in ConsentMethod::ALL {
            assert_eq!(ConsentMethod::from_code(method.code()), Ok(*method));
        }
        assert_eq!(ConsentMethod::from_code("spoken").map_err(|invalid| invalid.field), Err("consent.method"));
        let good = consent("2026-11-20", "2026-11-21");
        let bytes = minicbor::to_vec(&good).unwrap();
        assert_eq!(bytes[..8], [0x84, 0x19, 0x51, 0x29, 0x19, 0x51, 0x2a, 0x01]);
        assert_eq!(minicbor::decode::<Consent>(&bytes).unwrap(), good);
    }
}
