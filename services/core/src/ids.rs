//! Identifiers. Each one is its own type, so that two ids of different meaning never meet in one signature.
//!
//! On disk a 16-byte id is a CBOR byte string, a text id a CBOR text string (validated again when it is read), an
//! integer a CBOR unsigned integer. In JSON and configuration (serde) ids are their text, integers are numbers.

use core::{fmt, str::FromStr};
use std::sync::Arc;

use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};

use crate::{
    error::{FIELD_SUBJECT, Invalid, RULE_NO_NUMBER, RULE_NO_TOKEN},
    kind::{self, Kind},
    limits, text,
};

/// How the id of a person signed in at an OpenID provider begins.
const PERSON_PREFIX: &str = "oidc:";

macro_rules! byte_id {
    ($(#[$doc:meta])* $name:ident, $field:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 16]);

        impl $name {
            /// Wraps 16 bytes.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// The 16 bytes.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = Invalid;

            fn from_str(text: &str) -> Result<Self, Invalid> {
                Self::parse(text)
            }
        }

        impl<C> Encode<C> for $name {
            fn encode<W: encode::Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
                e.bytes(&self.0)?.ok()
            }
        }

        impl<'b, C> Decode<'b, C> for $name {
            fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
                <[u8; 16]>::try_from(d.bytes()?)
                    .map(Self)
                    .map_err(|_| decode::Error::message(concat!($field, " must have 16 bytes")))
            }
        }

        serde_as_text!($name);
    };
}

macro_rules! hex_text {
    ($name:ident, $field:literal) => {
        impl $name {
            /// Parses 32 hexadecimal digits of either case.
            pub fn parse(text: &str) -> Result<Self, Invalid> {
                parse_hex(text).map(Self).ok_or(Invalid::new($field, "must be 32 hexadecimal digits"))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", u128::from_be_bytes(self.0))
            }
        }
    };
}

macro_rules! serde_as_text {
    ($name:ident) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $check:path) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Validates the text. The error names the field and the rule, never the text.
            pub fn parse(text: &str) -> Result<Self, Invalid> {
                $check(text)?;
                Ok(Self(Arc::from(text)))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:?})"), &*self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        /// Lets a map keyed by this id be looked up by `&str`; equality and order are those of the text.
        impl core::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Invalid;

            fn from_str(text: &str) -> Result<Self, Invalid> {
                Self::parse(text)
            }
        }

        impl<C> Encode<C> for $name {
            fn encode<W: encode::Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
                e.str(&self.0)?.ok()
            }
        }

        impl<'b, C> Decode<'b, C> for $name {
            fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
                Self::parse(d.str()?).map_err(|invalid| decode::Error::message(invalid.rule))
            }
        }

        serde_as_text!($name);
    };
}

macro_rules! integer {
    ($(#[$doc:meta])* $name:ident($int:ident)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[derive(serde::Serialize, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $int);

        impl $name {
            /// The integer.
            pub const fn get(self) -> $int {
                self.0
            }

            /// The following one, or `None` at the end of the range.
            #[must_use]
            pub const fn next(self) -> Option<Self> {
                match self.0.checked_add(1) {
                    Some(next) => Some(Self(next)),
                    None => None,
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl<C> Encode<C> for $name {
            fn encode<W: encode::Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
                e.$int(self.0)?.ok()
            }
        }

        impl<'b, C> Decode<'b, C> for $name {
            fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
                d.$int().map(Self)
            }
        }
    };
}

byte_id! {
    /// One vault. It survives a restore and is bound into every sealed byte; it is not the Raft cluster id.
    VaultId, "vault"
}
hex_text!(VaultId, "vault");

byte_id! {
    /// One number of one subject: 128 random bits minted by the node that took the call.
    RecordId, "record"
}
hex_text!(RecordId, "record");

byte_id! {
    /// A person as budgets count them: a digest of tenant and subject, computed elsewhere.
    PersonId, "person"
}
hex_text!(PersonId, "person");

byte_id! {
    /// A W3C trace id, so that apply on every replica belongs to the caller's trace.
    TraceId, "trace_id"
}

impl TraceId {
    /// Parses 32 hexadecimal digits, not all zero (W3C Trace Context §3.2.2.3).
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        match parse_hex(text) {
            Some(bytes) if bytes != [0; 16] => Ok(Self(bytes)),
            _ => Err(Invalid::new("trace_id", "must be 32 hexadecimal digits, not all zero")),
        }
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

byte_id! {
    /// The caller's id of one request: a UUID, in entries and traces, and the key of a retry.
    RequestId, "request_id"
}

impl RequestId {
    /// Parses a UUID of 36 characters (8-4-4-4-12) or of 32 hexadecimal digits. The nil UUID is refused: it is what
    /// an uninitialised client sends, and retries of unrelated requests would collide on it.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        const INVALID: Invalid = Invalid::new("request_id", "must be a UUID, not nil");
        let bytes = match text.len() {
            32 => parse_hex(text),
            36 => parse_uuid(text),
            _ => None,
        };
        bytes.filter(|bytes| *bytes != [0; 16]).map(Self).ok_or(INVALID)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = u128::from_be_bytes(self.0);
        // The lowest so many bits behind a shift: 8-4-4-4-12 digits.
        let part = |shift: u32, bits: u32| (all >> shift) & ((1 << bits) - 1);
        let [a, b, c, d, e] = [part(96, 32), part(80, 16), part(64, 16), part(48, 16), part(0, 48)];
        write!(f, "{a:08x}-{b:04x}-{c:04x}-{d:04x}-{e:012x}")
    }
}

/// The key under which a token is found: a digest of the token's secret. It is never printed: whoever sees it in a
/// log could test a guessed token offline. Hence no `Debug`, no `Display`, no serde.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LookupKey([u8; 32]);

impl LookupKey {
    /// Wraps a digest.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The digest, for table keys.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl<C> Encode<C> for LookupKey {
    fn encode<W: encode::Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
        e.bytes(&self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for LookupKey {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        <[u8; 32]>::try_from(d.bytes()?).map(Self).map_err(|_| decode::Error::message("lookup key must have 32 bytes"))
    }
}

/// Names a recipient of sealed numbers: SHA-256 of its public key. Two keys never share one, and it names the key in
/// grants, requests and entries.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Wraps a digest.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The digest.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Parses 64 hexadecimal digits of either case.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        const INVALID: Invalid = Invalid::new("recipient", "must be 64 hexadecimal digits");
        let half = |range| text.get(range).and_then(parse_hex).ok_or(INVALID);
        let (high, low) = (half(0..32)?, half(32..text.len())?);
        let mut bytes = [0; 32];
        bytes.iter_mut().zip(high.iter().chain(&low)).for_each(|(to, from)| *to = *from);
        Ok(Self(bytes))
    }
}

/// 64 lowercase hexadecimal digits.
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

impl<C> Encode<C> for Fingerprint {
    fn encode<W: encode::Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
        e.bytes(&self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Fingerprint {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        <[u8; 32]>::try_from(d.bytes()?).map(Self).map_err(|_| decode::Error::message("fingerprint must have 32 bytes"))
    }
}

text_id! {
    /// One legal person (法人格): `[a-z][a-z0-9-]{1,38}[a-z0-9]`.
    TenantId, check_tenant
}
text_id! {
    /// An entrusted party (委託先), who handles numbers for tenants: `[a-z][a-z0-9-]{1,38}[a-z0-9]`.
    PartyId, check_party
}
text_id! {
    /// One consuming system or group of them: `[a-z][a-z0-9_-]{0,31}`.
    ScopeId, check_scope
}
text_id! {
    /// A receiver of copies of the ledger's entries, as the nodes' configuration names it (`siem`): `[a-z][a-z0-9_-]{0,31}`.
    SinkId, check_sink
}
text_id! {
    /// A label of a record, by which grants and policies pick people (`executives`): `[a-z][a-z0-9_-]{0,31}`, without a
    /// valid My Number in it.
    RecordLabel, check_label
}
text_id! {
    /// A part of the network as the nodes' configuration names it (`hq`, `batch-subnet`): `[a-z][a-z0-9_-]{0,31}`.
    SourceZone, check_source_zone
}
text_id! {
    /// A caller, at most 255 bytes, in one of two forms that never meet:
    ///
    /// - `spiffe://trust-domain/path`: a workload or a person with a certificate, or a Kubernetes service account
    ///   (`spiffe://trust-domain/ns/NAMESPACE/sa/NAME`);
    /// - `oidc:PROVIDER/SUBJECT`: a person signed in at an OpenID provider, by the provider's alias
    ///   (`[a-z][a-z0-9-]{0,31}`) and its name for the person (`[A-Za-z0-9._~@|:+=-]`, no My Number, no token).
    ///
    /// No certificate can name the second form ([`CallerId::is_spiffe`]), and no sign-in the first.
    CallerId, check_caller
}
text_id! {
    /// The code of a purpose, `tax.withholding_slip`: `[a-z][a-z0-9_]*(\.[a-z0-9_]+)+`, at most 64 bytes.
    PurposeCode, check_purpose
}
text_id! {
    /// The caller's own opaque reference to a person, 1 to 64 bytes of `[A-Za-z0-9._:@/-]`.
    ///
    /// Refused when it contains a token or a valid My Number (with or without hyphens), or when all of it parses as a
    /// kind of number with a check digit. An employee number of 12 digits has a chance of one in ten to be a valid My
    /// Number and is then refused by design: nobody could tell the two apart in a log. Codes of institutions
    /// (`municipality_code`, `insurer_no`) are let through, because they name nobody and would take every tenth
    /// employee number of 6 or 8 digits with them.
    SubjectRef, check_subject
}
text_id! {
    /// Free text that ties a call to the caller's work (a ticket, a batch): 1 to 128 characters, no control or
    /// direction-changing characters, no valid My Number, no token.
    WorkReference, check_work_reference
}
text_id! {
    /// Why a person froze or thawed something, for the ledger: 1 to 256 characters, no control or direction-changing
    /// characters, no valid My Number, no token.
    FreezeReason, check_freeze_reason
}

impl CallerId {
    /// Whether this is a SPIFFE id, which a certificate may carry.
    pub fn is_spiffe(&self) -> bool {
        !self.is_person()
    }

    /// Whether this is a person signed in at an OpenID provider.
    pub fn is_person(&self) -> bool {
        self.0.starts_with(PERSON_PREFIX)
    }

    /// The trust domain, `example.org` of `spiffe://example.org/payroll`; empty for a person of a provider.
    pub fn trust_domain(&self) -> &str {
        split_spiffe(&self.0).map_or("", |(domain, _)| domain)
    }

    /// The path without its leading slash, `payroll` of `spiffe://example.org/payroll`; empty for a person of a
    /// provider.
    pub fn path(&self) -> &str {
        split_spiffe(&self.0).map_or("", |(_, path)| path)
    }
}

integer! {
    /// A key domain: the shared one, or one tenant's own.
    KeyDomainId(u32)
}
integer! {
    /// A bucket of a key domain.
    BucketId(u16)
}
integer! {
    /// The version of a bucket key; a shred raises it.
    BucketVersion(u32)
}
integer! {
    /// The version of a key domain's root.
    RootVersion(u32)
}
integer! {
    /// The version of a record's number; an update raises it.
    RecordVersion(u32)
}
integer! {
    /// The version of a tenant's policy.
    PolicyVersion(u64)
}
integer! {
    /// Counts the changes of one row, for re-checks in apply.
    Revision(u64)
}
integer! {
    /// The place of an entry in the ledger, from 0.
    Sequence(u64)
}

impl KeyDomainId {
    /// The domain of all tenants without custodians of their own.
    pub const SHARED: KeyDomainId = KeyDomainId(0);
}

/// The bucket of a record in a domain of `buckets` buckets: the first two bytes of the record id, big endian, modulo
/// `buckets`. Ids are random, so buckets fill evenly. A domain has at least one bucket; 0 is read as 1.
pub fn bucket_of(record: RecordId, buckets: u16) -> BucketId {
    let [first, second, ..] = record.0;
    BucketId(u16::from_be_bytes([first, second]) % buckets.max(1))
}

fn parse_hex(text: &str) -> Option<[u8; 16]> {
    let digits = text.as_bytes();
    if digits.len() != 32 {
        return None;
    }
    let mut bytes = [0; 16];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *byte = hex_value(*high)? << 4 | hex_value(*low)?;
    }
    Some(bytes)
}

fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let groups_fit = text.split('-').map(str::len).eq([8, 4, 4, 4, 12]);
    groups_fit.then(|| parse_hex(&text.replace('-', ""))).flatten()
}

fn hex_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

fn check_tenant(text: &str) -> Result<(), Invalid> {
    let bytes = text.as_bytes();
    let fits = (3..=limits::TENANT_BYTES_MAX).contains(&bytes.len())
        && bytes.first().is_some_and(u8::is_ascii_lowercase)
        && bytes.iter().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
        && bytes.last() != Some(&b'-');
    fits.then_some(()).ok_or(Invalid::new("tenant", "must match [a-z][a-z0-9-]{1,38}[a-z0-9]"))
}

fn check_party(text: &str) -> Result<(), Invalid> {
    let fits = text.len() <= limits::PARTY_BYTES_MAX && check_tenant(text).is_ok();
    fits.then_some(()).ok_or(Invalid::new("party", "must match [a-z][a-z0-9-]{1,38}[a-z0-9]"))
}

fn check_scope(text: &str) -> Result<(), Invalid> {
    check_word("scope", text)
}

fn check_label(text: &str) -> Result<(), Invalid> {
    check_word("label", text)?;
    refuse_secrets("label", text)
}

fn check_source_zone(text: &str) -> Result<(), Invalid> {
    check_word("source_zone", text)
}

fn check_sink(text: &str) -> Result<(), Invalid> {
    check_word("sink", text)
}

fn check_word(field: &'static str, text: &str) -> Result<(), Invalid> {
    let bytes = text.as_bytes();
    let fits = bytes.len() <= limits::SCOPE_BYTES_MAX
        && bytes.first().is_some_and(u8::is_ascii_lowercase)
        && bytes.iter().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'));
    fits.then_some(()).ok_or(Invalid::new(field, "must match [a-z][a-z0-9_-]{0,31}"))
}

fn check_purpose(text: &str) -> Result<(), Invalid> {
    let segment_fits =
        |segment: &str| !segment.is_empty() && segment.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'));
    let fits = text.len() <= limits::PURPOSE_CODE_BYTES_MAX
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.contains('.')
        && text.split('.').all(segment_fits);
    fits.then_some(())
        .ok_or(Invalid::new("purpose", r"must match [a-z][a-z0-9_]*(\.[a-z0-9_]+)+ and have at most 64 bytes"))
}

fn check_caller(text: &str) -> Result<(), Invalid> {
    const FIELD: &str = "caller";
    if text.len() > limits::CALLER_BYTES_MAX {
        return Err(Invalid::new(FIELD, "must have at most 255 bytes"));
    }
    match text.strip_prefix(PERSON_PREFIX) {
        Some(person) => check_person(person),
        None => check_spiffe(text),
    }
}

/// `PROVIDER/SUBJECT` of a person. The subject is the provider's text and not ours: it is searched for numbers.
fn check_person(text: &str) -> Result<(), Invalid> {
    const FIELD: &str = "caller";
    const INVALID: Invalid =
        Invalid::new(FIELD, "must be oidc:PROVIDER/SUBJECT with a subject of [A-Za-z0-9._~@|:+=-]");
    let (provider, subject) = text.split_once('/').ok_or(INVALID)?;
    let provider_fits = (1..=limits::PROVIDER_BYTES_MAX).contains(&provider.len())
        && provider.starts_with(|c: char| c.is_ascii_lowercase())
        && provider.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    let subject_char =
        |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'~' | b'@' | b'|' | b':' | b'+' | b'=' | b'-');
    if !provider_fits || subject.is_empty() || !subject.bytes().all(subject_char) {
        return Err(INVALID);
    }
    refuse_secrets(FIELD, subject)
}

/// The SPIFFE-ID standard §2, narrowed to ids that name a workload (with a path) and to 255 bytes.
fn check_spiffe(text: &str) -> Result<(), Invalid> {
    const FIELD: &str = "caller";
    let (domain, path) =
        split_spiffe(text).ok_or(Invalid::new(FIELD, "must be a SPIFFE id, spiffe://trust-domain/path"))?;
    let domain_char = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_');
    if domain.is_empty() || !domain.bytes().all(domain_char) {
        return Err(Invalid::new(FIELD, "must have a trust domain of [a-z0-9._-] without user or port"));
    }
    let path_char = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    let segment_fits =
        |segment: &str| !segment.is_empty() && segment != "." && segment != ".." && segment.bytes().all(path_char);
    if !path.split('/').all(segment_fits) {
        return Err(Invalid::new(FIELD, "must have path segments of [A-Za-z0-9._-], none empty, `.` or `..`"));
    }
    Ok(())
}

fn split_spiffe(text: &str) -> Option<(&str, &str)> {
    text.strip_prefix("spiffe://")?.split_once('/')
}

fn check_subject(text: &str) -> Result<(), Invalid> {
    let fits = (1..=limits::SUBJECT_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'@' | b'/' | b'-'));
    if !fits {
        return Err(Invalid::new(FIELD_SUBJECT, "must be 1 to 64 bytes of [A-Za-z0-9._:@/-]"));
    }
    refuse_secrets(FIELD_SUBJECT, text)?;
    // All kinds with a check digit are digits alone, and most references are not: they need no second look.
    if !text.bytes().all(|b| b.is_ascii_digit() || b == b'-') {
        return Ok(());
    }
    let names_institution = |kind: Kind| matches!(kind, Kind::MunicipalityCode | Kind::InsurerNo);
    let is_number =
        |kind: &Kind| kind.has_check_digit() && !names_institution(*kind) && kind::parse_number(*kind, text).is_ok();
    if Kind::ALL.iter().any(is_number) {
        return Err(Invalid::new(FIELD_SUBJECT, "must not be a number of a kind the vault stores"));
    }
    Ok(())
}

fn check_work_reference(text: &str) -> Result<(), Invalid> {
    let length = (limits::WORK_REFERENCE_CHARS_MAX, "must have 1 to 128 characters");
    check_line("work_reference", text, length)
}

fn check_freeze_reason(text: &str) -> Result<(), Invalid> {
    check_line("reason", text, (limits::FREEZE_REASON_CHARS_MAX, "must have 1 to 256 characters"))
}

/// One line of free text for the ledger.
fn check_line(field: &'static str, text: &str, (chars_max, rule): (usize, &'static str)) -> Result<(), Invalid> {
    if text.is_empty() || text.chars().count() > chars_max {
        return Err(Invalid::new(field, rule));
    }
    // Line breaks and direction marks would let a caller forge what an auditor reads in a report.
    let forges_layout = |c: char| {
        c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if text.chars().any(forges_layout) {
        return Err(Invalid::new(field, "must not contain control characters"));
    }
    refuse_secrets(field, text)
}

pub(crate) fn refuse_secrets(field: &'static str, text: &str) -> Result<(), Invalid> {
    if text::contains_my_number(text) {
        return Err(Invalid::new(field, RULE_NO_NUMBER));
    }
    if text::contains_token(text) {
        return Err(Invalid::new(field, RULE_NO_TOKEN));
    }
    Ok(())
}

#[cfg(test)]
#[path = "ids_tests.rs"]
mod tests;
