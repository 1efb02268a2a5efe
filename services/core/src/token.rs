//! Tokens: what other systems hold instead of a number.
//!
//! A token is `fuda_live_` or `fuda_test_`, 32 characters (160 random bits) and 6 check characters, 48 in all, in the
//! character set of bech32: lower-case letters and digits without `1`, `b`, `i`, `o`. The check characters are the
//! bech32m BCH code over class and data: any error in up to 4 characters is caught, so any single wrong character and
//! any two swapped ones, and a live token never passes as a test token.
//!
//! For secret scanners: `fuda_(?:live|test)_[02-9ac-hj-np-z]{38}`.

use core::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::{
    error::{FIELD_TOKEN, Invalid},
    limits::TOKEN_CHARS,
};

/// The regular expression secret scanners find tokens with.
pub const SCANNER_REGEX: &str = "fuda_(?:live|test)_[02-9ac-hj-np-z]{38}";

const ALPHABET: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
const GENERATOR: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
const BECH32M: u32 = 0x2bc8_30a3;
const PREFIX_CHARS: usize = 10;
const DATA_CHARS: usize = 32;
const CHECK_CHARS: usize = 6;
const NO_SYMBOL: u8 = 0xff;

/// The symbol of every byte, or [`NO_SYMBOL`].
const SYMBOLS: [u8; 256] = {
    let mut symbols = [NO_SYMBOL; 256];
    let mut symbol = 0;
    while symbol < 32 {
        symbols[ALPHABET[symbol as usize] as usize] = symbol;
        symbol += 1;
    }
    symbols
};

/// Whether a token belongs to a live or to a test cluster. Live clusters refuse test tokens and the reverse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenClass {
    /// `fuda_live_`
    Live,
    /// `fuda_test_`
    Test,
}

impl TokenClass {
    /// The text every token of the class starts with.
    pub const fn prefix(self) -> &'static str {
        match self {
            TokenClass::Live => "fuda_live_",
            TokenClass::Test => "fuda_test_",
        }
    }
}

impl fmt::Display for TokenClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            TokenClass::Live => "live",
            TokenClass::Test => "test",
        })
    }
}

/// A token. A secret: no `Debug`, no `Display`, no `Clone`, no serde, wiped on drop.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Token {
    secret: [u8; 20],
    #[zeroize(skip)]
    class: TokenClass,
}

impl Token {
    /// The token with this secret: 160 bits drawn from the operating system by the caller.
    pub const fn from_secret(secret: [u8; 20], class: TokenClass) -> Self {
        Self { secret, class }
    }

    /// Parses the text form strictly: 48 characters, lower case, correct check characters. Whether the class is the
    /// cluster's is the caller's question ([`crate::Code::TokenClassMismatch`]).
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if text.len() != TOKEN_CHARS {
            return Err(Invalid::new(FIELD_TOKEN, "must have 48 characters"));
        }
        let (class, body) = [TokenClass::Live, TokenClass::Test]
            .into_iter()
            .find_map(|class| Some((class, text.strip_prefix(class.prefix())?)))
            .ok_or(Invalid::new(FIELD_TOKEN, "must start with fuda_live_ or fuda_test_"))?;
        let mut symbols = Zeroizing::new([0u8; DATA_CHARS + CHECK_CHARS]);
        for (symbol, byte) in symbols.iter_mut().zip(body.bytes()) {
            *symbol = SYMBOLS[usize::from(byte)];
            if *symbol == NO_SYMBOL {
                return Err(Invalid::new(FIELD_TOKEN, "must use the characters of bech32 in lower case"));
            }
        }
        if polymod(class, symbols.iter().copied()) != BECH32M {
            return Err(Invalid::new(FIELD_TOKEN, "must have correct check characters"));
        }
        let mut token = Self::from_secret([0; 20], class);
        // 8 symbols of 5 bits are 5 bytes; the 6 check symbols are cut off by the secret's length.
        for (bytes, group) in token.secret.chunks_exact_mut(5).zip(symbols.chunks_exact(8)) {
            let bits = group.iter().fold(0u64, |bits, symbol| bits << 5 | u64::from(*symbol));
            bytes.copy_from_slice(&bits.to_be_bytes()[3..]);
        }
        Ok(token)
    }

    /// The text form, wiped when it is dropped.
    pub fn expose_text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(TOKEN_CHARS));
        self.expose_into(&mut text);
        text
    }

    /// Appends the text form to a buffer the caller wipes. Reserve 48 bytes before, so that no copy stays behind.
    pub fn expose_into(&self, text: &mut String) {
        let mut data = Zeroizing::new([0u8; DATA_CHARS]);
        for (group, bytes) in data.chunks_exact_mut(8).zip(self.secret.chunks_exact(5)) {
            let bits = bytes.iter().fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
            for (index, symbol) in group.iter_mut().rev().enumerate() {
                *symbol = low_symbol(bits >> (5 * index));
            }
        }
        let check = polymod(self.class, data.iter().copied().chain([0; CHECK_CHARS])) ^ BECH32M;
        let check_symbols = (0..CHECK_CHARS).rev().map(|index| low_symbol(u64::from(check) >> (5 * index)));
        text.push_str(self.class.prefix());
        text.extend(data.iter().copied().chain(check_symbols).map(|symbol| char::from(ALPHABET[usize::from(symbol)])));
    }

    /// The 160 random bits.
    pub const fn secret(&self) -> &[u8; 20] {
        &self.secret
    }

    /// The class.
    pub const fn class(&self) -> TokenClass {
        self.class
    }
}

/// Whether 48 bytes look like a token, whatever the case of their letters and their check characters.
pub(crate) fn has_token_shape(window: &[u8]) -> bool {
    let Some((prefix, body)) = window.split_at_checked(PREFIX_CHARS) else { return false };
    let starts = |class: TokenClass| prefix.eq_ignore_ascii_case(class.prefix().as_bytes());
    body.len() == DATA_CHARS + CHECK_CHARS
        && (starts(TokenClass::Live) || starts(TokenClass::Test))
        && body.iter().all(|byte| SYMBOLS[usize::from(byte.to_ascii_lowercase())] != NO_SYMBOL)
}

fn low_symbol(bits: u64) -> u8 {
    bits.to_be_bytes()[7] & 31
}

/// The BCH remainder of bech32 over the expanded prefix (BIP 173) and the symbols.
fn polymod(class: TokenClass, symbols: impl Iterator<Item = u8>) -> u32 {
    let prefix = class.prefix().as_bytes();
    let human = prefix.strip_suffix(b"_").unwrap_or(prefix);
    let high = human.iter().map(|byte| byte >> 5);
    let low = human.iter().map(|byte| byte & 31);
    high.chain([0]).chain(low).chain(symbols).fold(1, |remainder, symbol| {
        let top = remainder >> 25;
        let shifted = (remainder & 0x01ff_ffff) << 5 ^ u32::from(symbol);
        GENERATOR
            .iter()
            .enumerate()
            .filter(|(bit, _)| top >> bit & 1 == 1)
            .fold(shifted, |sum, (_, generator)| sum ^ generator)
    })
}

#[cfg(test)]
#[path = "token_tests.rs"]
mod tests;
