//! Check digits. Every function takes ASCII digits of the right length and answers whether the check digit fits;
//! anything else answers `false`. Sources: `my-number-law.md` §1.

/// Individual number: ministerial ordinance 85 of 2014, article 5. All zero passes the formula but is a sentinel.
pub(crate) fn my_number(digits: &[u8; 12]) -> bool {
    let Some((check, sum)) = weighted::<11>(digits, [6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2]) else { return false };
    let expected = match sum % 11 {
        0 | 1 => 0,
        remainder => 11 - remainder,
    };
    check == expected && digits.iter().any(|d| *d != b'0')
}

/// Corporate number: finance ordinance 70 of 2014, article 2. The check digit leads and is never 0.
pub(crate) fn corporate_number(digits: &[u8]) -> bool {
    let Some((first, base)) = digits.split_first() else { return false };
    if base.len() != 12 || !digits.iter().all(u8::is_ascii_digit) {
        return false;
    }
    let sum: u32 = base.iter().rev().zip([1, 2].into_iter().cycle()).map(|(d, weight)| value(*d) * weight).sum();
    value(*first) == 9 - sum % 9
}

/// Driving licence: the 11th of 12 digits checks the first ten; the 12th counts re-issues.
pub(crate) fn driver_license(digits: &[u8]) -> bool {
    let Some((_, checked)) = digits.split_last() else { return false };
    weighted::<10>(checked, [5, 4, 3, 2, 7, 6, 5, 4, 3, 2]).is_some_and(|(check, sum)| check == (11 - sum % 11) % 10)
}

/// Local government code, 6 digits.
pub(crate) fn municipality_code(digits: &[u8]) -> bool {
    weighted::<5>(digits, [6, 5, 4, 3, 2]).is_some_and(|(check, sum)| check == (11 - sum % 11) % 10)
}

/// Luhn, as used by payment cards (ISO/IEC 7812) and by insurers' numbers.
pub(crate) fn luhn(digits: &[u8]) -> bool {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return false;
    }
    let digit_sum = |n: u32| n / 10 + n % 10;
    let weights = [1, 2].into_iter().cycle();
    let sum: u32 = digits.iter().rev().zip(weights).map(|(d, weight)| digit_sum(value(*d) * weight)).sum();
    sum.is_multiple_of(10)
}

/// The last digit and the weighted sum of the `N` digits before it.
fn weighted<const N: usize>(digits: &[u8], weights: [u32; N]) -> Option<(u32, u32)> {
    let (check, body) = digits.split_last()?;
    if body.len() != N || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some((value(*check), body.iter().zip(weights).map(|(d, weight)| value(*d) * weight).sum()))
}

fn value(ascii_digit: u8) -> u32 {
    u32::from(ascii_digit - b'0')
}
