//! Two samples of times: whether anybody could tell which is which.

use crate::synthetic::Chance;

/// √(-ln(0.0001 / 2) / 2): the critical value of the two-sample test at one error in 10,000.
const KS_ONCE_IN_10_000: f64 = 2.2253;

/// What two samples have and have not in common.
pub(super) struct Comparison {
    /// Largest distance of the two empirical distributions, 0 to 1.
    pub(super) ks: f64,
    /// What that distance exceeds by chance once in 10,000 pairs of samples of this size.
    pub(super) ks_max: f64,
    /// The distance for the first sample split in two at random: what chance does.
    pub(super) ks_by_chance: f64,
    /// Medians in nanoseconds.
    pub(super) medians_ns: (u64, u64),
    /// Difference of the medians as a share of the smaller.
    pub(super) median_difference: f64,
}

/// Compares two samples.
pub(super) fn compare(a: &[u64], b: &[u64], chance: &mut Chance) -> Comparison {
    let (mut one, mut other) = (a.to_vec(), b.to_vec());
    one.sort_unstable();
    other.sort_unstable();
    let (left, right): (Vec<_>, Vec<_>) = a.iter().map(|time| (chance.percent(50), *time)).partition(|(left, _)| *left);
    let half = |half: Vec<(bool, u64)>| {
        let mut half: Vec<u64> = half.into_iter().map(|(_, time)| time).collect();
        half.sort_unstable();
        half
    };
    let medians_ns = (median(&one), median(&other));
    let (low, high) = (medians_ns.0.min(medians_ns.1), medians_ns.0.max(medians_ns.1));
    Comparison {
        ks: distance(&one, &other),
        ks_max: KS_ONCE_IN_10_000 * ((one.len() + other.len()) as f64 / (one.len() as f64 * other.len() as f64)).sqrt(),
        ks_by_chance: distance(&half(left), &half(right)),
        medians_ns,
        median_difference: (high as f64 - low as f64) / (low as f64).max(1.0),
    }
}

impl Comparison {
    /// Whether the samples differ by more than `margin` times what chance explains.
    pub(super) fn tells_apart(&self, margin: f64) -> bool {
        self.ks > self.ks_max * margin
    }
}

/// The statistic of Kolmogorov and Smirnov for two sorted samples.
fn distance(a: &[u64], b: &[u64]) -> f64 {
    let (mut at_a, mut at_b, mut largest) = (0_usize, 0_usize, 0_f64);
    while let (Some(one), Some(other)) = (a.get(at_a), b.get(at_b)) {
        let here = *one.min(other);
        at_a += a.iter().skip(at_a).take_while(|time| **time <= here).count();
        at_b += b.iter().skip(at_b).take_while(|time| **time <= here).count();
        largest = largest.max((at_a as f64 / a.len() as f64 - at_b as f64 / b.len() as f64).abs());
    }
    largest
}

fn median(sorted: &[u64]) -> u64 {
    sorted.get(sorted.len() / 2).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(chance: &mut Chance, shift: u64) -> Vec<u64> {
        (0..5_000).map(|_| 1_000_000 + shift + chance.below(400_000)).collect()
    }

    #[test]
    fn equal_samples_are_not_told_apart_and_a_shift_is() {
        let chance = &mut Chance::new(5);
        let (one, same, shifted) = (sample(chance, 0), sample(chance, 0), sample(chance, 60_000));
        let equal = compare(&one, &same, chance);
        assert!(!equal.tells_apart(1.0), "{} {}", equal.ks, equal.ks_max);
        let apart = compare(&one, &shifted, chance);
        assert!(apart.tells_apart(1.0) && apart.median_difference > 0.03, "{}", apart.ks);
        assert!((distance(&[1, 2], &[3, 4]) - 1.0).abs() < 1e-9);
        assert!(distance(&[1, 2, 3], &[1, 2, 3]) < 1e-9);
    }
}
