//! Synthetic people and numbers, the same on every run for the same seed, and a small generator of chance.
//!
//! The numbers are valid in form only. Nobody's number is used: they are drawn from the whole space, which a test must
//! do to pass the check digit.

/// Numbers per seed: the size of the space they are drawn from without repetition.
const SPACE: u64 = 90_000_000_000;
/// Coprime to [`SPACE`] (a prime), so that the sequence visits every number once.
const STRIDE: u64 = 38_654_705_713;

/// Numbers of one run, addressed by index.
#[derive(Clone, Copy, Debug)]
pub struct People {
    offset: u64,
}

impl People {
    /// People of a seed.
    pub fn new(seed: u64) -> Self {
        Self { offset: Chance::new(seed).below(SPACE) }
    }

    /// The My Number of person `index`: 12 digits, the first not zero, with its check digit.
    pub fn my_number(&self, index: u64) -> String {
        let step = u128::from(index % SPACE) * u128::from(STRIDE);
        let place = (u128::from(self.offset) + step) % u128::from(SPACE);
        let base = u64::try_from(place).unwrap_or(0) + 10_000_000_000;
        format!("{base}{}", check_digit(base))
    }

    /// The subject of person `index`, as an HR system would name an employee.
    pub fn subject(index: u64) -> String {
        format!("E{index:08}")
    }

    /// The person of a subject made by [`People::subject`].
    pub fn index_of(subject: &str) -> Option<u64> {
        subject.strip_prefix('E')?.parse().ok()
    }
}

/// The check digit of the 11 digits of `base`, as the law's ordinance computes it.
fn check_digit(base: u64) -> u64 {
    let mut rest = base;
    let mut sum = 0;
    for place in 1..=11_u64 {
        let weight = if place <= 6 { place + 1 } else { place - 5 };
        sum += rest % 10 * weight;
        rest /= 10;
    }
    match sum % 11 {
        0 | 1 => 0,
        remainder => 11 - remainder,
    }
}

/// SplitMix64: chance that can be repeated from its seed. Never used for anything secret.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// Chance of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end` (0 when `end` is 0).
    pub fn below(&mut self, end: u64) -> u64 {
        self.bits().checked_rem(end).unwrap_or(0)
    }

    /// An element of a slice.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        let index = usize::try_from(self.below(from.len() as u64)).ok()?;
        from.get(index)
    }

    /// True in `percent` of 100 cases.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use fuda_core::{Kind, parse_number};

    use super::*;

    #[test]
    fn numbers_are_valid_distinct_and_repeatable() {
        let people = People::new(7);
        let numbers: BTreeSet<String> = (0..5_000).map(|index| people.my_number(index)).collect();
        assert_eq!(numbers.len(), 5_000);
        for number in &numbers {
            assert_eq!(number.len(), 12);
            assert!(parse_number(Kind::MyNumber, number).is_ok(), "{number}");
        }
        assert_eq!(People::new(7).my_number(4_321), people.my_number(4_321));
        assert_ne!(People::new(8).my_number(1), people.my_number(1));
        assert_eq!(People::index_of(&People::subject(42)), Some(42));
        assert_eq!(People::index_of("other"), None);
    }

    #[test]
    fn chance_repeats_from_its_seed() {
        let draw = |seed| (0..4).map(|_| Chance::new(seed).bits()).collect::<Vec<_>>();
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        assert_eq!(Chance::new(1).below(0), 0);
        assert_eq!(Chance::new(1).pick::<u8>(&[]), None);
    }
}
