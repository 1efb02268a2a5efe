//! Free text: normalisation of typed digits, and the search for numbers and tokens in text that must hold none.

use crate::{check_digit, error::Invalid, ids::refuse_secrets, token};

/// Digits of a 128-bit identity.
const IDENTITY_CHARS: usize = 32;

/// Whether the text contains a valid My Number: 12 digits (ASCII or full-width) with a correct check digit, not all
/// zero, where any two neighbouring digits may be parted by one space or hyphen of any sort. A longer run of digits is
/// checked at every window of 12.
///
/// One in ten random runs of 12 digits is a valid My Number, so this also refuses some order and phone numbers. That
/// is intended: text that *may* be a number must not enter the ledger, a log or a trace. The only word that is passed over
/// is a 128-bit identity as this vault writes it, 32 lower-case hexadecimal digits with a letter among them: one record in
/// some hundred could not be asked about otherwise.
pub fn contains_my_number(text: &str) -> bool {
    if text.len() < 12 {
        return false;
    }
    let mut window = DigitWindow::default();
    let (mut rest, mut in_word) = (text, false);
    while let Some(c) = rest.chars().next() {
        if !in_word && let Some(behind) = behind_identity(rest) {
            window.clear();
            (rest, in_word) = (behind, true);
            continue;
        }
        (rest, in_word) = (rest.split_at(c.len_utf8()).1, c.is_alphanumeric());
        if let Some(digit) = digit(c) {
            if window.push(digit) {
                return true;
            }
        } else if !(is_separator(c) && window.allow_separator()) {
            window.clear();
        }
    }
    false
}

/// Checks a short text that goes into records and entries: 1 to `chars_max` characters, no control characters, no valid
/// My Number, no token.
///
/// # Errors
/// [`Invalid`] with `field` and the rule; `too_long` is the rule about the length.
pub fn check_short(field: &'static str, text: &str, chars_max: usize, too_long: &'static str) -> Result<(), Invalid> {
    if text.is_empty() || text.chars().count() > chars_max {
        return Err(Invalid::new(field, too_long));
    }
    if text.chars().any(char::is_control) {
        return Err(Invalid::new(field, "must not contain control characters"));
    }
    refuse_secrets(field, text)
}

/// Whether the text contains the shape of a token, whatever its checksum and the case of its letters: a token with
/// one wrong character still gives most of its secret away.
pub fn contains_token(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.windows(crate::limits::TOKEN_CHARS).any(token::has_token_shape)
}

/// Whether people use the character to part groups of digits: a space or a hyphen of any sort.
pub(crate) fn is_separator(c: char) -> bool {
    matches!(
        c,
        ' ' | '\u{00a0}' | '\u{3000}'          // spaces: ASCII, no-break, full-width
            | '-' | '\u{2010}'
            ..='\u{2015}'    // hyphens and dashes
            | '\u{2212}' | '\u{fe63}' | '\u{ff0d}' // minus, small and full-width hyphen
            | '\u{30fc}' | '\u{ff70}' // the long-vowel mark ー ｰ, which shares a key with the hyphen
    )
}

/// The ASCII form of full-width digits and letters; other characters stay as they are.
pub(crate) fn to_half_width(c: char) -> char {
    const OFFSET: u32 = '０' as u32 - '0' as u32;
    match c {
        '０'..='９' | 'Ａ'..='Ｚ' | 'ａ'..='ｚ' => char::from_u32(u32::from(c) - OFFSET).unwrap_or(c),
        _ => c,
    }
}

/// What follows the 128-bit identity that a text begins with.
fn behind_identity(text: &str) -> Option<&str> {
    let (word, behind) = text.split_at_checked(IDENTITY_CHARS)?;
    let hexadecimal = word.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let has_letter = word.bytes().any(|b| b.is_ascii_lowercase());
    let ends = !behind.chars().next().is_some_and(char::is_alphanumeric);
    (hexadecimal && has_letter && ends).then_some(behind)
}

fn digit(c: char) -> Option<u8> {
    to_half_width(c).to_digit(10).and_then(|digit| u8::try_from(digit).ok())
}

/// The last 12 digits of a run, as ASCII.
#[derive(Default)]
struct DigitWindow {
    digits: [u8; 12],
    filled: usize,
    after_separator: bool,
}

impl DigitWindow {
    /// Takes the next digit; true when the last 12 digits are a valid My Number.
    fn push(&mut self, digit: u8) -> bool {
        self.digits.rotate_left(1);
        if let Some(last) = self.digits.last_mut() {
            *last = b'0' + digit;
        }
        self.filled = (self.filled + 1).min(self.digits.len());
        self.after_separator = false;
        self.filled == self.digits.len() && check_digit::my_number(&self.digits)
    }

    /// Single separators between digits continue the run; a second one in a row ends it.
    fn allow_separator(&mut self) -> bool {
        !core::mem::replace(&mut self.after_separator, true)
    }

    fn clear(&mut self) {
        if self.filled > 0 {
            *self = Self::default();
        }
        self.after_separator = false;
    }
}

impl Drop for DigitWindow {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.digits);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_however_they_are_typed() {
        for text in [
            "123456789018",
            "1234 5678 9018",
            "1234-5678-9018",
            "1234－5678－9018",
            "１２３４　５６７８　９０１８",
            "1234ー5678ｰ9018",
            "1234‐5678–9018",
            "1 2 3 4 5 6 7 8 9 0 1 8",
            "社員123456789018さん",
            "ticket-1234-5678-9018.",
            "ref 000000000019",
            "９９９９９９９９９９９6",
        ] {
            assert!(contains_my_number(text), "{text}");
        }
    }

    #[test]
    fn long_runs_are_checked_at_every_window() {
        assert!(contains_my_number("7123456789018"));
        assert!(contains_my_number("1234567890187"));
        assert!(contains_my_number("0123-4567-8901-8000"));
    }

    #[test]
    fn identities_of_this_vault_are_no_numbers_and_hide_none() {
        let id = "6d5306af412dc5f88be5123456789018";
        assert!(!contains_my_number(id) && !contains_my_number(&format!("record = {id} AND record=\"{id}\"")));
        for text in [
            "6d5306af412dc5f88be512345678901",
            "123456789018",
            "12345678901800000000000000000000",
            "6D5306AF412DC5F88BE5123456789018",
            "6d5306af412dc5f88be5123456789018a",
            "x6d5306af412dc5f88be5123456789018",
            "6d5306af412dc5f88be5123456789018 1234-5678-9018",
            "1234 5678 9018 6d5306af412dc5f88be5123456789018",
        ] {
            assert_eq!(contains_my_number(text), text != "6d5306af412dc5f88be512345678901", "{text}");
        }
    }

    #[test]
    fn other_text_passes() {
        for text in [
            "",
            "123456789010",
            "12345678901",
            "000000000000",
            "1234  5678  9018",
            "1234.5678.9018",
            "1234 - 5678 - 9018",
            "12345678901a8",
            "年末調整 2026 第3回",
            "JIRA-4711 batch 12/40",
        ] {
            assert!(!contains_my_number(text), "{text}");
        }
    }

    #[test]
    fn tokens_are_found_even_when_mistyped() {
        let text = crate::Token::from_secret([7; 20], crate::TokenClass::Live).expose_text();
        assert!(contains_token(&text));
        assert!(contains_token(&format!("see {} please", *text)));
        assert!(contains_token(&text.to_uppercase()));
        assert!(contains_token(&format!("{}q", text.get(..47).unwrap())));
        assert!(!contains_token(text.get(..47).unwrap()));
        assert!(!contains_token("fuda_live_ is the prefix of a token of the live class, 48 chars"));
    }

    #[test]
    fn full_width_becomes_ascii() {
        assert_eq!("０９ＡＺａｚ漢".chars().map(to_half_width).collect::<String>(), "09AZaz漢");
    }
}
