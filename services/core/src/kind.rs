//! The kinds of number the vault stores, and [`Number`], the secret itself.

use core::{fmt, hint::black_box};

use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::{
    check_digit,
    error::{FIELD_KIND, FIELD_NUMBER, Invalid},
    limits::{NUMBER_BYTES_MAX, NUMBER_INPUT_BYTES_MAX},
    text,
};

/// How the law looks at a kind. Purposes, token formats and logging rules hang on this, not on the kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LegalClass {
    /// 特定個人情報: the individual number.
    Tokutei,
    /// Numbers whose disclosure may be asked for only by named bodies (告知要求制限).
    RestrictedInquiry,
    /// Other personal or unpublished business data.
    Personal,
    /// Published for everyone's use; needs no purpose.
    Public,
}

impl LegalClass {
    /// The stable code.
    pub const fn code(self) -> &'static str {
        match self {
            LegalClass::Tokutei => "tokutei",
            LegalClass::RestrictedInquiry => "restricted_inquiry",
            LegalClass::Personal => "personal",
            LegalClass::Public => "public",
        }
    }
}

impl fmt::Display for LegalClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.code())
    }
}

macro_rules! kinds {
    ($($number:literal $name:ident $code:literal $class:ident $ja:literal $en:literal)+) => {
        /// A kind of number. Stored numbers and codes are stable and never reused.
        ///
        /// The resident record code (住民票コード) is missing on purpose: asking others for it is prohibited.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Kind {
            $(#[doc = concat!($en, " (", $ja, "), code `", $code, "`.")] $name = $number,)+
        }

        impl Kind {
            /// All kinds, in ascending order of their stored number.
            pub const ALL: &'static [Kind] = &[$(Kind::$name),+];

            /// The stable code, as in the API and in policies.
            pub const fn code(self) -> &'static str {
                match self { $(Kind::$name => $code,)+ }
            }

            /// The kind with this code.
            pub fn from_code(code: &str) -> Result<Kind, Invalid> {
                match code {
                    $($code => Ok(Kind::$name),)+
                    _ => Err(Invalid::new(FIELD_KIND, "must be the code of a kind")),
                }
            }

            /// The kind with this stored number.
            pub const fn from_number(number: u8) -> Option<Kind> {
                match number { $($number => Some(Kind::$name),)+ _ => None }
            }

            /// How the law looks at it.
            pub const fn legal_class(self) -> LegalClass {
                match self { $(Kind::$name => LegalClass::$class,)+ }
            }

            /// The Japanese name.
            pub const fn name_ja(self) -> &'static str {
                match self { $(Kind::$name => $ja,)+ }
            }

            /// The English name.
            pub const fn name_en(self) -> &'static str {
                match self { $(Kind::$name => $en,)+ }
            }
        }
    };
}

kinds! {
    1 MyNumber "my_number" Tokutei "個人番号" "Individual number (My Number)"
    2 CorporateNumber "corporate_number" Public "法人番号" "Corporate number"
    3 InvoiceReg "invoice_reg" Public "適格請求書発行事業者登録番号" "Qualified invoice issuer registration number"
    4 BasicPensionNo "basic_pension_no" RestrictedInquiry "基礎年金番号" "Basic pension number"
    5 EiInsuredNo "ei_insured_no" Personal "雇用保険被保険者番号" "Employment insurance insured person's number"
    6 EiEstablishmentNo "ei_establishment_no" Personal "雇用保険適用事業所番号" "Employment insurance establishment number"
    7 LaborInsuranceNo "labor_insurance_no" Personal "労働保険番号" "Labour insurance number"
    8 InsurerNo "insurer_no" RestrictedInquiry "保険者番号" "Health insurer number"
    9 HealthInsuredSymbol "health_insured_symbol" RestrictedInquiry "被保険者等記号・番号・枝番"
        "Health insurance symbol, number and branch"
    10 CareInsuredNo "care_insured_no" Personal "介護保険被保険者番号" "Long-term care insured person's number"
    11 ResidenceCard "residence_card" Personal "在留カード・特別永住者証明書番号" "Residence card number"
    12 DriverLicense "driver_license" Personal "運転免許証番号" "Driving licence number"
    13 Passport "passport" Personal "旅券番号" "Passport number"
    14 MunicipalityCode "municipality_code" Public "全国地方公共団体コード" "Local government code"
    15 BankAccount "bank_account" Personal "銀行口座番号" "Bank account"
    16 Pan "pan" Personal "クレジットカード番号" "Payment card number"
}

impl Kind {
    /// The stored number.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Whether a request for such a number must name a purpose. Only published numbers need none.
    pub const fn needs_purpose(self) -> bool {
        !matches!(self.legal_class(), LegalClass::Public)
    }

    /// Whether [`parse_number`] verifies a check digit. Kinds whose algorithm is not published have length and
    /// alphabet only, as has `invoice_reg`, where only corporations' numbers carry one and the number does not say
    /// whether its holder is a corporation.
    pub const fn has_check_digit(self) -> bool {
        matches!(
            self,
            Kind::MyNumber
                | Kind::CorporateNumber
                | Kind::InsurerNo
                | Kind::DriverLicense
                | Kind::MunicipalityCode
                | Kind::Pan
        )
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.code())
    }
}

impl<C> Encode<C> for Kind {
    fn encode<W: encode::Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
        e.u8(self.number())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Kind {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        Self::from_number(d.u8()?).ok_or_else(|| decode::Error::message("unknown kind"))
    }
}

impl serde::Serialize for Kind {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl<'de> serde::Deserialize<'de> for Kind {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_code(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// A normalised number of some kind. A secret: no `Debug`, no `Display`, no `Clone`, no `PartialEq`, no serde, wiped
/// on drop. It lives inline, so opening one allocates nothing.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Number {
    bytes: [u8; NUMBER_BYTES_MAX],
    len: u8,
    #[zeroize(skip)]
    kind: Kind,
}

impl Number {
    /// Takes a number as it was stored. It must be in normal form and valid for its kind: what the vault opens was
    /// valid when it was sealed, so a refusal here means the wrong bytes were opened.
    pub fn from_normalised(kind: Kind, bytes: &[u8]) -> Result<Self, Invalid> {
        let number = parse_number(kind, bytes)?;
        if number.expose() == bytes { Ok(number) } else { Err(Invalid::new(FIELD_NUMBER, "must be in normal form")) }
    }

    /// The number in normal form. Every use of this is a place to review.
    pub fn expose(&self) -> &[u8] {
        self.bytes.split_at(usize::from(self.len)).0
    }

    /// The kind.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether both are the same number of the same kind, in a time that does not depend on where they differ.
    pub fn matches(&self, other: &Number) -> bool {
        let mut difference = (self.len ^ other.len) | (self.kind.number() ^ other.kind.number());
        for (a, b) in self.bytes.iter().zip(&other.bytes) {
            difference = black_box(difference | (a ^ b));
        }
        difference == 0
    }

    const fn empty(kind: Kind) -> Self {
        Self { bytes: [0; NUMBER_BYTES_MAX], len: 0, kind }
    }

    fn push(&mut self, c: char) -> Result<(), Invalid> {
        const TOO_LONG: Invalid = Invalid::new(FIELD_NUMBER, "must have at most 40 bytes");
        let start = usize::from(self.len);
        let place = self.bytes.get_mut(start..start + c.len_utf8()).ok_or(TOO_LONG)?;
        let written = c.encode_utf8(place).len();
        self.len = u8::try_from(start + written).map_err(|_| TOO_LONG)?;
        Ok(())
    }
}

/// Parses a number as people type it: full-width digits and letters, lower-case letters, spaces and hyphens of all
/// usual sorts are accepted; length, alphabet and, where its algorithm is published, the check digit are verified.
///
/// Normal forms: digits and upper-case letters without separators; a bank account is bank (4), branch (3), type (1,
/// one of `1` `2` `4`) and account (7, zero-padded), a Japan Post account symbol (5) and number (8, zero-padded); a
/// health insurance symbol keeps one `-` between its parts.
pub fn parse_number(kind: Kind, input: impl AsRef<[u8]>) -> Result<Number, Invalid> {
    let input = input.as_ref();
    if input.len() > NUMBER_INPUT_BYTES_MAX {
        return refuse("must have at most 256 bytes");
    }
    let Ok(text) = core::str::from_utf8(input) else { return refuse("must be UTF-8") };
    match kind {
        Kind::HealthInsuredSymbol => parse_parts(kind, text),
        Kind::BankAccount => parse_bank_account(text),
        _ => {
            let mut number = Number::empty(kind);
            text.chars().filter(|c| !text::is_separator(*c)).try_for_each(|c| number.push(fold(c)))?;
            check(kind, number.expose())?;
            Ok(number)
        }
    }
}

/// ASCII, upper case.
fn fold(c: char) -> char {
    text::to_half_width(c).to_ascii_uppercase()
}

fn refuse<T>(rule: &'static str) -> Result<T, Invalid> {
    Err(Invalid::new(FIELD_NUMBER, rule))
}

fn require(fits: bool, rule: &'static str) -> Result<(), Invalid> {
    if fits { Ok(()) } else { refuse(rule) }
}

fn check(kind: Kind, number: &[u8]) -> Result<(), Invalid> {
    const CHECK_DIGIT: &str = "must have a correct check digit";
    match kind {
        Kind::MyNumber => {
            digits(number, 12, "must have 12 digits")?;
            require(number.as_array().is_some_and(check_digit::my_number), CHECK_DIGIT)
        }
        Kind::CorporateNumber => {
            digits(number, 13, "must have 13 digits")?;
            require(check_digit::corporate_number(number), CHECK_DIGIT)
        }
        Kind::InvoiceReg => match number.split_first() {
            Some((b'T', rest)) => digits(rest, 13, "must have T and 13 digits"),
            _ => refuse("must have T and 13 digits"),
        },
        Kind::BasicPensionNo | Kind::CareInsuredNo => digits(number, 10, "must have 10 digits"),
        // Numbers from before 1981-07-06 have 10 digits and are written with a trailing 0; adding it here would turn
        // a dropped digit into a valid number.
        Kind::EiInsuredNo | Kind::EiEstablishmentNo => digits(number, 11, "must have 11 digits"),
        Kind::LaborInsuranceNo => digits(number, 14, "must have 14 digits"),
        Kind::InsurerNo if number.len() == 6 => digits(number, 6, "must have 8 or 6 digits"),
        Kind::InsurerNo => {
            digits(number, 8, "must have 8 or 6 digits")?;
            require(check_digit::luhn(number), CHECK_DIGIT)
        }
        Kind::ResidenceCard => pattern(number, b"AA00000000AA", "must have 2 letters, 8 digits and 2 letters"),
        Kind::DriverLicense => {
            digits(number, 12, "must have 12 digits")?;
            require(check_digit::driver_license(number), CHECK_DIGIT)
        }
        Kind::Passport => pattern(number, b"AA0000000", "must have 2 letters and 7 digits"),
        Kind::MunicipalityCode => {
            digits(number, 6, "must have 6 digits")?;
            require(check_digit::municipality_code(number), CHECK_DIGIT)
        }
        Kind::Pan => {
            digits(number, number.len().clamp(12, 19), "must have 12 to 19 digits")?;
            require(check_digit::luhn(number), CHECK_DIGIT)
        }
        Kind::BankAccount | Kind::HealthInsuredSymbol => Ok(()),
    }
}

/// Exactly `count` digits, not all zero: a row of zeros is what forms hold when nobody knows the number.
fn digits(number: &[u8], count: usize, rule: &'static str) -> Result<(), Invalid> {
    require(number.len() == count && number.iter().all(u8::is_ascii_digit), rule)?;
    require(number.iter().any(|digit| *digit != b'0'), "must not be all zeros")
}

/// `A` stands for a letter, `0` for a digit.
fn pattern(number: &[u8], pattern: &[u8], rule: &'static str) -> Result<(), Invalid> {
    let fits = |(byte, class): (&u8, &u8)| match class {
        b'A' => byte.is_ascii_uppercase(),
        _ => byte.is_ascii_digit(),
    };
    require(number.len() == pattern.len() && number.iter().zip(pattern).all(fits), rule)
}

/// Symbol, number and branch of a health insurance card: letters (the symbol may be Japanese) and digits in parts,
/// one `-` between the parts.
fn parse_parts(kind: Kind, text: &str) -> Result<Number, Invalid> {
    let mut number = Number::empty(kind);
    for part in text.split(is_part_separator).filter(|part| !part.is_empty()) {
        if number.len > 0 {
            number.push('-')?;
        }
        for c in part.chars().map(fold) {
            require(c.is_alphanumeric(), "must have letters and digits in parts, parted by spaces or hyphens")?;
            number.push(c)?;
        }
    }
    require(number.expose().iter().any(u8::is_ascii_digit), "must contain a digit")?;
    Ok(number)
}

fn is_part_separator(c: char) -> bool {
    text::is_separator(c) || matches!(c, '・' | '･' | '/' | '／')
}

fn parse_bank_account(text: &str) -> Result<Number, Invalid> {
    const RULE: &str =
        "must have bank 4, branch 3, type 1, 2 or 4, account 7 digits; or a Japan Post symbol 5, number 8";
    let mut number = Number::empty(Kind::BankAccount);
    let parts = || text.split(text::is_separator).filter(|part| !part.is_empty());
    // People drop leading zeros of the last part, which is possible to mend only where the parts are visible.
    let last_width = match parts().count() {
        4 => 7,
        2 => 8,
        _ => 0,
    };
    let last = parts().count().saturating_sub(1);
    for (index, part) in parts().enumerate() {
        let padding = if index == last { usize::saturating_sub(last_width, part.chars().count()) } else { 0 };
        core::iter::repeat_n('0', padding).chain(part.chars().map(fold)).try_for_each(|c| number.push(c))?;
    }
    let widths_fit = match parts().count() {
        4 => parts().map(|part| part.chars().count()).zip([4, 3, 1]).all(|(width, expected)| width == expected),
        2 => parts().next().is_some_and(|symbol| symbol.chars().count() == 5),
        _ => true,
    };
    require(widths_fit, RULE)?;
    match number.expose().len() {
        13 => digits(number.expose(), 13, RULE)?,
        _ => {
            digits(number.expose(), 15, RULE)?;
            require(matches!(number.expose().get(7), Some(b'1' | b'2' | b'4')), RULE)?;
        }
    }
    Ok(number)
}

#[cfg(test)]
#[path = "kind_tests.rs"]
mod tests;
