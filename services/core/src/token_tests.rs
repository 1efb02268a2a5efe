use proptest::prelude::*;

use super::*;
use crate::kind::{Kind, parse_number};

const GOLDEN_LIVE: &str = "fuda_live_qu2zzt3mfp2kymmu3xt28v9aett7fu07ktuv9d";
const GOLDEN_TEST: &str = "fuda_test_qu2zzt3mfp2kymmu3xt28v9aett7fu07tm9y03";

const CLASSES: [TokenClass; 2] = [TokenClass::Live, TokenClass::Test];

fn secret() -> [u8; 20] {
    core::array::from_fn(|index| u8::try_from(index * 13 + 7).unwrap())
}

fn text_of(secret: [u8; 20], class: TokenClass) -> String {
    Token::from_secret(secret, class).expose_text().to_string()
}

fn with_chars(chars: &[char]) -> String {
    chars.iter().collect()
}

#[test]
fn the_text_form_is_fixed() {
    // Computed independently with the reference implementation of BIP 350, prefix `fuda_live` / `fuda_test`.
    for (class, expected) in CLASSES.into_iter().zip([GOLDEN_LIVE, GOLDEN_TEST]) {
        assert_eq!(text_of(secret(), class), expected);
        let token = Token::parse(expected).unwrap_or_else(|invalid| panic!("{invalid}"));
        assert_eq!((token.secret(), token.class()), (&secret(), class));
    }
    assert_eq!(GOLDEN_LIVE.len(), TOKEN_CHARS);
}

#[test]
fn every_single_substitution_is_caught() {
    for class in CLASSES {
        let original: Vec<char> = text_of(secret(), class).chars().collect();
        for place in 0..original.len() {
            for wrong in (' '..='~').filter(|c| *c != original[place]) {
                let mut chars = original.clone();
                chars[place] = wrong;
                assert!(Token::parse(&with_chars(&chars)).is_err(), "place {place} to {wrong}");
            }
        }
    }
}

#[test]
fn every_transposition_is_caught() {
    for class in CLASSES {
        let original: Vec<char> = text_of(secret(), class).chars().collect();
        for a in 0..original.len() {
            for b in (a + 1..original.len()).filter(|b| original[a] != original[*b]) {
                let mut chars = original.clone();
                chars.swap(a, b);
                assert!(Token::parse(&with_chars(&chars)).is_err(), "places {a} and {b}");
            }
        }
    }
}

#[test]
fn a_live_token_is_no_test_token() {
    let live = text_of(secret(), TokenClass::Live);
    assert!(Token::parse(&live.replace("live", "test")).is_err());
}

#[test]
fn only_the_exact_form_is_accepted() {
    let text = text_of(secret(), TokenClass::Live);
    for wrong in [
        String::new(),
        text.to_uppercase(),
        format!(" {text}"),
        format!("{text} "),
        format!("{text}q"),
        text.get(1..).unwrap().to_owned(),
        text.get(..47).unwrap().to_owned(),
        text.replace('_', "-"),
        "é".repeat(24),
    ] {
        assert!(Token::parse(&wrong).is_err());
    }
}

#[test]
fn the_scanner_regex_names_the_alphabet() {
    let class = SCANNER_REGEX.split(['[', ']']).nth(1).unwrap();
    assert_eq!(class, "02-9ac-hj-np-z");
    let listed = |b: u8| matches!(b, b'0' | b'2'..=b'9' | b'a' | b'c'..=b'h' | b'j'..=b'n' | b'p'..=b'z');
    for byte in 0..=255u8 {
        assert_eq!(listed(byte), ALPHABET.contains(&byte), "{byte}");
    }
    assert!(SCANNER_REGEX.starts_with("fuda_(?:live|test)_[") && SCANNER_REGEX.ends_with("]{38}"));
}

/// Fails to compile when `Debug`, `Display` or `Serialize` is added to `Token`, `Number` or `LookupKey`: the inferred
/// parameter is then ambiguous.
#[test]
fn secrets_cannot_be_printed() {
    trait Ambiguous<A> {
        fn check() {}
    }
    struct Printable;
    impl<T: ?Sized> Ambiguous<()> for T {}
    impl<T: ?Sized + fmt::Debug> Ambiguous<Printable> for T {}
    struct Shown;
    struct Serialized;
    impl<T: ?Sized + fmt::Display> Ambiguous<Shown> for T {}
    impl<T: ?Sized + serde::Serialize> Ambiguous<Serialized> for T {}
    <Token as Ambiguous<_>>::check();
    <crate::Number as Ambiguous<_>>::check();
    <crate::LookupKey as Ambiguous<_>>::check();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn tokens_round_trip_and_are_no_numbers(secret: [u8; 20], live: bool) {
        let class = if live { TokenClass::Live } else { TokenClass::Test };
        let text = text_of(secret, class);
        prop_assert_eq!(text.len(), TOKEN_CHARS);
        let token = Token::parse(&text).map_err(|invalid| TestCaseError::fail(invalid.to_string()))?;
        prop_assert_eq!(token.secret(), &secret);
        prop_assert_eq!(token.class(), class);
        for kind in Kind::ALL {
            prop_assert!(parse_number(*kind, &text).is_err());
        }
    }

    #[test]
    fn up_to_four_wrong_characters_are_caught(
        secret: [u8; 20],
        errors in proptest::collection::btree_map(PREFIX_CHARS..TOKEN_CHARS, 1usize..32, 1..=4),
    ) {
        let mut bytes = text_of(secret, TokenClass::Live).into_bytes();
        for (place, shift) in errors {
            let symbol = usize::from(SYMBOLS[usize::from(bytes[place])]);
            bytes[place] = ALPHABET[(symbol + shift) % 32];
        }
        prop_assert!(Token::parse(&String::from_utf8(bytes).unwrap()).is_err());
    }

    #[test]
    fn swapped_characters_are_caught(secret: [u8; 20], a in 0..TOKEN_CHARS, b in 0..TOKEN_CHARS) {
        let mut bytes = text_of(secret, TokenClass::Test).into_bytes();
        prop_assume!(bytes[a] != bytes[b]);
        bytes.swap(a, b);
        prop_assert!(Token::parse(&String::from_utf8(bytes).unwrap()).is_err());
    }

    #[test]
    fn parsing_never_panics(text in "(fuda_live_)?\\PC{0,60}") {
        let _ = Token::parse(&text);
    }
}
