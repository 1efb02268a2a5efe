//! The difference of two texts, line by line.

/// Lines of one text; a longer one is compared as a whole.
const LINES_MAX: usize = 4_096;

/// The lines of both texts in order: ` ` kept, `-` only in the first, `+` only in the second. Empty when they are equal.
pub(super) fn lines(a: &str, b: &str) -> Vec<String> {
    if a == b {
        return Vec::new();
    }
    let (a, b): (Vec<&str>, Vec<&str>) = (a.lines().collect(), b.lines().collect());
    if a.len() > LINES_MAX || b.len() > LINES_MAX {
        return a.iter().map(|line| format!("-{line}")).chain(b.iter().map(|line| format!("+{line}"))).collect();
    }
    let common = common(&a, &b);
    let (mut at_a, mut at_b, mut shown) = (0, 0, Vec::new());
    loop {
        let length = |a: usize, b: usize| common.get(a).and_then(|row| row.get(b)).copied().unwrap_or(0);
        match (a.get(at_a), b.get(at_b)) {
            (Some(one), Some(other)) if one == other => {
                shown.push(format!(" {one}"));
                (at_a, at_b) = (at_a + 1, at_b + 1);
            }
            (Some(one), other) if other.is_none() || length(at_a + 1, at_b) >= length(at_a, at_b + 1) => {
                shown.push(format!("-{one}"));
                at_a += 1;
            }
            (_, Some(other)) => {
                shown.push(format!("+{other}"));
                at_b += 1;
            }
            (_, None) => return shown,
        }
    }
}

/// For each pair of places, the length of the longest common subsequence behind them.
fn common(a: &[&str], b: &[&str]) -> Vec<Vec<u16>> {
    let mut rows: Vec<Vec<u16>> = vec![vec![0; b.len() + 1]];
    for one in a.iter().rev() {
        let mut row = vec![0_u16];
        let below = rows.last().map(Vec::as_slice).unwrap_or_default();
        for (place, other) in b.iter().enumerate().rev() {
            let skipped = row.last().copied().unwrap_or(0).max(below.get(place).copied().unwrap_or(0));
            let taken = below.get(place + 1).copied().unwrap_or(0) + 1;
            row.push(if one == other { taken } else { skipped });
        }
        row.reverse();
        rows.push(row);
    }
    rows.reverse();
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_shows_what_went_and_what_came() {
        assert!(lines("a\nb", "a\nb").is_empty());
        assert_eq!(lines("a\nb\nc", "a\nx\nc\nd"), [" a", "-b", "+x", " c", "+d"]);
        assert_eq!(lines("", "a"), ["+a"]);
        assert_eq!(lines("a", ""), ["-a"]);
    }
}
