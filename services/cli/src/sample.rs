//! Synthetic people with numbers whose check digits are right, for trying things out.
//!
//! Deterministic by seed. A number with a right check digit may belong to a real person by chance, so the files are
//! for test clusters only.

use std::io::Write;

use fuda_core::{Kind, parse_number};

use crate::failure::Failure;
use crate::rows::NUMBER_COLUMNS;

/// Numbers have eleven digits before the check digit.
const BODIES: u64 = 100_000_000_000;
/// Odd and not a multiple of five, so that stepping by it meets every body once: no two people share a number.
const STEP: u64 = 48_271_203_911;
/// Most employees of one file; with three dependants each, all bodies still differ.
pub(crate) const COUNT_MAX: u64 = 10_000_000;

const OWN_PURPOSES: &str = "tax.withholding_slip;tax.dependents_decl;si.acquire;ei.acquire;op.disclose_self";
const SPOUSE_PURPOSES: &str = "tax.dependents_decl;tax.yearend_decl;si.dependents;si.np3";
const DEPENDANT_PURPOSES: &str = "tax.dependents_decl;tax.yearend_decl;si.dependents";

/// Method, documents, verifier, day and proxy of the identity check: employees show their cards, and check the numbers
/// of dependants themselves.
const OWN_CHECK: [&str; 5] = ["individual_number_card", "individual_number_card", "hr/sample", "2026-04-01", ""];
const DEPENDANT_CHECK: [&str; 5] = ["declared_by_principal", "", "hr/sample", "2026-04-01", ""];

/// Writes `count` employees, each followed by 0 to 3 dependants, as input of `fuda token tokenize`.
pub(crate) fn write(count: u64, seed: u64, to: impl Write) -> Result<u64, Failure> {
    let mut writer = csv::Writer::from_writer(to);
    let unwritable = |error: csv::Error| Failure::Internal(format!("the output cannot be written: {error}"));
    writer.write_record(NUMBER_COLUMNS).map_err(unwritable)?;
    let mut random = Random(seed);
    let mut people = People { next: random.next() % BODIES };
    let mut rows = 0;
    for employee in 1..=count {
        let subject = format!("E{employee:04}");
        let number = people.number()?;
        let own = [subject.as_str(), &number, "", "self", OWN_PURPOSES, ""];
        writer.write_record(own.into_iter().chain(OWN_CHECK)).map_err(unwritable)?;
        rows += 1;
        for index in 1..=dependants(&mut random) {
            let (relation, purposes) =
                if index == 1 { ("spouse", SPOUSE_PURPOSES) } else { ("dependant", DEPENDANT_PURPOSES) };
            let dependant = format!("{subject}-{index}");
            let number = people.number()?;
            let row = [dependant.as_str(), &number, &subject, relation, purposes, ""];
            writer.write_record(row.into_iter().chain(DEPENDANT_CHECK)).map_err(unwritable)?;
            rows += 1;
        }
    }
    writer.flush().map_err(|error| Failure::output(&error))?;
    Ok(rows)
}

/// Half have none; the others one to three.
fn dependants(random: &mut Random) -> u64 {
    match random.next() % 6 {
        chance @ 3..=5 => chance - 2,
        _ => 0,
    }
}

/// New numbers, each once.
struct People {
    next: u64,
}

impl People {
    fn number(&mut self) -> Result<String, Failure> {
        let body = self.next;
        self.next = (self.next + STEP) % BODIES;
        // The check digit is found by trying: the rule itself lives in `fuda-core` alone.
        let candidates = (0..10).map(|digit| format!("{body:011}{digit}"));
        let mut valid = candidates.filter(|number| parse_number(Kind::MyNumber, number).is_ok());
        match valid.next() {
            Some(number) => Ok(number),
            // Only the body of zeros has none.
            None if body == 0 => self.number(),
            None => Err(Failure::Internal("a number has no check digit".to_owned())),
        }
    }
}

/// SplitMix64: a few lines that give the same file in every release.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use fuda_core::{Catalogue, PurposeCode, SubjectRef, VerificationMethod};
    use zeroize::Zeroizing;

    use super::*;
    use crate::rows::{Check, NumberRows, Stored};

    fn file(count: u64, seed: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(count, seed, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn a_sample_is_valid_input_and_no_two_people_share_a_number() {
        let bytes = Zeroizing::new(file(500, 1));
        let (kind, scope) = ("my_number".to_owned(), "payroll".to_owned());
        let stored = Stored { kind, scope, label: String::new(), check: Check::default() };
        let mut rows = NumberRows::open(&bytes, stored).unwrap();
        let catalogue = Catalogue::from_toml(Catalogue::default_text()).unwrap();
        let (mut numbers, mut subjects) = (BTreeSet::new(), BTreeSet::new());
        while let Some(row) = rows.next().unwrap() {
            let item = row.item.ok().unwrap();
            assert!(parse_number(Kind::MyNumber, &item.number).is_ok());
            assert!(SubjectRef::parse(&item.subject).is_ok());
            for notified in &item.notified_purposes {
                assert!(catalogue.get(&PurposeCode::parse(&notified.purpose).unwrap()).is_some());
            }
            let method = &item.verification.as_ref().unwrap().method;
            assert!(VerificationMethod::from_code(method).is_ok(), "{method}");
            assert!(numbers.insert(item.number.clone()), "shared number");
            assert!(subjects.insert(item.subject.clone()), "shared subject");
        }
        assert!(numbers.len() > 600, "there are dependants");
        assert!(subjects.contains("E0001") && subjects.contains("E0500"));
    }

    #[test]
    fn a_seed_makes_one_file() {
        assert_eq!(file(20, 7), file(20, 7));
        assert_ne!(file(20, 7), file(20, 8));
    }
}
