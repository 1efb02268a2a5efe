//! What can go wrong for a caller: one stable [`Code`] per error, and [`Invalid`], the error of every parse.

use core::fmt;

use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};

/// The rule broken by text that contains a number or a token; [`Invalid::code`] recognises it.
pub(crate) const RULE_NO_NUMBER: &str = "must not contain a valid My Number";
pub(crate) const RULE_NO_TOKEN: &str = "must not contain a token";
pub(crate) const FIELD_NUMBER: &str = "number";
pub(crate) const FIELD_SUBJECT: &str = "subject";
pub(crate) const FIELD_TOKEN: &str = "token";
pub(crate) const FIELD_KIND: &str = "kind";

/// A value that was refused. It names the field and the rule and never the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} {rule}")]
pub struct Invalid {
    /// The field, in the vocabulary of the API (`subject`, `number`, …).
    pub field: &'static str,
    /// The rule the value broke, as a phrase that continues the field's name (`must have 12 digits`).
    pub rule: &'static str,
}

impl Invalid {
    /// Names a broken rule of a field.
    pub const fn new(field: &'static str, rule: &'static str) -> Self {
        Self { field, rule }
    }

    /// The error code a caller sees for this refusal.
    pub fn code(&self) -> Code {
        if self.rule == RULE_NO_NUMBER || self.rule == RULE_NO_TOKEN {
            return Code::TextContainsNumber;
        }
        match self.field {
            FIELD_NUMBER => Code::InvalidNumber,
            FIELD_SUBJECT => Code::InvalidSubject,
            FIELD_TOKEN => Code::TokenMalformed,
            FIELD_KIND => Code::UnknownKind,
            _ => Code::InvalidField,
        }
    }
}

/// What a client should do with the same call after an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The same call will fail again; change it first.
    Never,
    /// The same call may succeed later, on any node.
    Backoff,
    /// The same call may succeed at once on another node.
    OtherNode,
}

/// The status names of google.rpc.Code, mirrored so that this crate needs no RPC library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "the names are those of google.rpc.Code, documented there")]
pub enum GrpcStatus {
    Cancelled = 1,
    Unknown = 2,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Aborted = 10,
    OutOfRange = 11,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    DataLoss = 15,
    Unauthenticated = 16,
}

impl GrpcStatus {
    /// The number of google.rpc.Code.
    pub const fn number(self) -> i32 {
        self as i32
    }
}

macro_rules! codes {
    ($($number:literal $name:ident $reason:literal $status:ident $retry:ident $message:literal)+) => {
        /// Every error a caller can meet. Numbers and reasons are stable: they are never reused or renamed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u16)]
        pub enum Code {
            $(#[doc = $message] $name = $number,)+
        }

        impl Code {
            /// All codes, in ascending order.
            pub const ALL: &'static [Code] = &[$(Code::$name),+];

            /// The stable identifier, `FUDA-1001`.
            pub const fn id(self) -> &'static str {
                match self { $(Code::$name => concat!("FUDA-", $number),)+ }
            }

            /// The reason in UPPER_SNAKE case for google.rpc.ErrorInfo, at most 63 characters.
            pub const fn reason(self) -> &'static str {
                match self { $(Code::$name => $reason,)+ }
            }

            /// The status the call ends with.
            pub const fn status(self) -> GrpcStatus {
                match self { $(Code::$name => GrpcStatus::$status,)+ }
            }

            /// What a client should do with the same call.
            pub const fn retry(self) -> Retry {
                match self { $(Code::$name => Retry::$retry,)+ }
            }

            /// One line for people: lower case, no full stop, never a value of the request.
            pub const fn message(self) -> &'static str {
                match self { $(Code::$name => $message,)+ }
            }

            /// The path of the page that explains the error, from the root of the repository.
            pub const fn docs_page(self) -> &'static str {
                match self { $(Code::$name => concat!("docs/src/errors/FUDA-", $number, ".md"),)+ }
            }

            /// The code with this number, if there is one.
            pub const fn from_number(number: u16) -> Option<Code> {
                match number { $($number => Some(Code::$name),)+ _ => None }
            }
        }
    };
}

codes! {
    1001 InvalidNumber "INVALID_NUMBER" InvalidArgument Never
        "the number does not have the form its kind requires, or its check digit is wrong"
    1002 InvalidSubject "INVALID_SUBJECT" InvalidArgument Never
        "the subject reference breaks the rule named in the details"
    1003 InvalidField "INVALID_FIELD" InvalidArgument Never
        "a field breaks the rule named in the details"
    1004 TooManyItems "TOO_MANY_ITEMS" InvalidArgument Never
        "the request carries more items or bytes than the limit named in the details"
    1005 RequestIdReused "REQUEST_ID_REUSED" InvalidArgument Never
        "the request id was used before by a different request"
    1006 PageTokenInvalid "PAGE_TOKEN_INVALID" InvalidArgument Never
        "the page token was not issued for this listing or has expired"
    1007 TextContainsNumber "TEXT_CONTAINS_NUMBER" InvalidArgument Never
        "the text contains something that is a valid My Number or a token"
    1008 TokenMalformed "TOKEN_MALFORMED" InvalidArgument Never
        "the token is mistyped or truncated: its form or checksum is wrong"
    1009 TokenClassMismatch "TOKEN_CLASS_MISMATCH" InvalidArgument Never
        "a test token was presented to a live cluster, or a live token to a test cluster"
    1010 UnknownKind "UNKNOWN_KIND" InvalidArgument Never
        "no kind of number has this code"
    1011 UnknownPurpose "UNKNOWN_PURPOSE" InvalidArgument Never
        "no purpose of the tenant's catalogue has this code"
    1012 MissingField "MISSING_FIELD" InvalidArgument Never
        "a required field is missing"
    1051 PolicyInvalid "POLICY_INVALID" InvalidArgument Never
        "the policy text does not fit the schema, or would lock everybody out; check it with `fuda policy validate`"
    1070 PurposeForbidden "PURPOSE_FORBIDDEN" InvalidArgument Never
        "a proposed purpose names a use that the law forbids; it takes an override with a reason"

    2001 Unauthenticated "UNAUTHENTICATED" Unauthenticated Never
        "the caller did not prove who it is"
    2002 DeniedOrNotFound "DENIED_OR_NOT_FOUND" PermissionDenied Never
        "denied, or it does not exist"
    2003 BudgetExhausted "BUDGET_EXHAUSTED" ResourceExhausted Never
        "the caller's budget of distinct persons for this purpose is used up for the current window"
    2004 GuessesExhausted "GUESSES_EXHAUSTED" ResourceExhausted Never
        "the caller has used up today's verifications of this record"
    2031 Frozen "FROZEN" PermissionDenied Never
        "a person froze what the call needs; another person has to thaw it first"
    2060 AccessCeiling "ACCESS_CEILING" PermissionDenied Never
        "the request asks for more than the requester's own grant lets it ask for"

    2041 StepUpRequired "STEP_UP_REQUIRED" PermissionDenied Never
        "the action needs a more recent or stronger sign-in; sign in again"
    2042 EndUserRequired "END_USER_REQUIRED" PermissionDenied Never
        "the call needs a valid, unused assertion of the end user behind it"

    3001 AlreadyExists "ALREADY_EXISTS" AlreadyExists Never
        "a live record of this subject and kind already exists"
    3002 TenantExists "TENANT_EXISTS" AlreadyExists Never
        "a tenant with this id already exists or existed"
    3003 NotBootstrapped "NOT_BOOTSTRAPPED" FailedPrecondition Never
        "the vault has no owner yet; bootstrap it first"
    3004 AlreadyBootstrapped "ALREADY_BOOTSTRAPPED" FailedPrecondition Never
        "the vault is bootstrapped already; this happens once"
    3005 PreconditionFailed "PRECONDITION_FAILED" FailedPrecondition Never
        "the state named in the request is not the current one; read it again"
    3006 NotFound "NOT_FOUND" NotFound Never
        "what the request names does not exist"
    3021 TokenExists "TOKEN_EXISTS" AlreadyExists Never
        "the record already has a token of this scope"
    3022 TooManyTokens "TOO_MANY_TOKENS" FailedPrecondition Never
        "the record has as many tokens as a record may have"
    3023 TooManyNotices "TOO_MANY_NOTICES" FailedPrecondition Never
        "the record has as many notified purposes as a record may have"
    3024 RecordSuperseded "RECORD_SUPERSEDED" FailedPrecondition Never
        "the record is superseded and does not come back"
    3031 AlreadyFrozen "ALREADY_FROZEN" AlreadyExists Never
        "this is frozen already; the entry of the first freeze stands"
    3051 PolicyMoved "POLICY_MOVED" FailedPrecondition Never
        "the policy text named as base is not the one in force; read it again"
    3060 AccessClosed "ACCESS_CLOSED" FailedPrecondition Never
        "the request for access was decided before, or has lapsed"
    3061 ReviewOverdue "REVIEW_OVERDUE" FailedPrecondition Never
        "a break-glass of this tenant has waited too long for its review; close the review first"
    3062 ConsentMissing "CONSENT_MISSING" FailedPrecondition Never
        "the tenant has not consented that the entrusted party entrusts the work on"
    3070 CatalogueMoved "CATALOGUE_MOVED" FailedPrecondition Never
        "the purpose catalogue changed since the change was made for it; read it again"
    3146 EntryRemoved "ENTRY_REMOVED" NotFound Never
        "the entry was removed from fuda-audit when its retention period was over; its hash is kept"
    3154 EntriesPruned "ENTRIES_PRUNED" FailedPrecondition Never
        "the nodes keep these entries no more, only their hashes; ask fuda-audit for them"

    4001 NoLeader "NO_LEADER" Unavailable Backoff
        "the cluster has no leader at the moment"
    4002 Overloaded "OVERLOADED" ResourceExhausted Backoff
        "a queue of this node is full"
    4003 StaleRoundsExhausted "STALE_ROUNDS_EXHAUSTED" Unavailable Backoff
        "the state kept moving while the call was decided"
    4004 ClockSkew "CLOCK_SKEW" Unavailable OtherNode
        "the clock of this node differs too much from the majority's"
    4005 Sealed "SEALED" Unavailable OtherNode
        "this node holds no root key at the moment"
    4006 Deadline "DEADLINE" DeadlineExceeded Backoff
        "the deadline passed before the outcome was known; retry with the same request id"
    4007 ShuttingDown "SHUTTING_DOWN" Unavailable OtherNode
        "this node is shutting down"
    4008 NodeBehind "NODE_BEHIND" Unavailable OtherNode
        "this node has not applied enough of the log yet"
    4009 NodeUnreachable "NODE_UNREACHABLE" Unavailable Backoff
        "the node named in the request cannot be reached"
    4031 RateLimited "RATE_LIMITED" ResourceExhausted Backoff
        "the caller makes more calls per second than this node allows it"
    4032 CallerConcurrency "CALLER_CONCURRENCY" ResourceExhausted Backoff
        "the caller has as many calls in flight as this node allows it"
    4033 GrantRate "GRANT_RATE" ResourceExhausted Backoff
        "as many calls were made under the grant within the minute as it allows"
    4140 ExportBehind "EXPORT_BEHIND" Unavailable Backoff
        "the export of the ledger is further behind than this vault may be to reveal anything"
    4141 WitnessBehind "WITNESS_BEHIND" Unavailable Backoff
        "no witness has cosigned the ledger as recently as this vault needs to reveal anything"

    5001 Internal "INTERNAL" Internal Never
        "an internal error; the operator finds the cause in the log under the request id"
    5002 Integrity "INTEGRITY" DataLoss Never
        "stored bytes failed their integrity check; nothing was revealed"
}

impl Code {
    /// The number alone, for storage and metrics.
    pub const fn number(self) -> u16 {
        self as u16
    }
}

/// Writes the identifier and the message: `FUDA-1001: the number does not …`.
impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.id(), self.message())
    }
}

impl std::error::Error for Code {}

impl<C> Encode<C> for Code {
    fn encode<W: encode::Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
        e.u16(self.number())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Code {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        Code::from_number(d.u16()?).ok_or_else(|| decode::Error::message("unknown error code"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ids_and_reasons_are_unique_and_well_formed() {
        let ids: BTreeSet<_> = Code::ALL.iter().map(|c| c.id()).collect();
        let reasons: BTreeSet<_> = Code::ALL.iter().map(|c| c.reason()).collect();
        assert_eq!(ids.len(), Code::ALL.len());
        assert_eq!(reasons.len(), Code::ALL.len());
        for code in Code::ALL {
            assert_eq!(code.id(), format!("FUDA-{}", code.number()));
            assert_eq!(code.docs_page(), format!("docs/src/errors/{}.md", code.id()));
            assert_eq!(Code::from_number(code.number()), Some(*code));
            assert!(code.reason().len() <= 63);
            assert!(code.reason().chars().all(|c| c.is_ascii_uppercase() || c == '_'));
            assert!(!code.message().ends_with('.') && !code.message().contains('\n'));
        }
        assert_eq!(Code::from_number(1000), None);
    }

    #[test]
    fn only_availability_errors_are_retried() {
        for code in Code::ALL {
            assert_eq!(code.number() / 1000 == 4, code.retry() != Retry::Never, "{}", code.id());
        }
    }

    #[test]
    fn denied_and_missing_look_the_same() {
        assert_eq!(Code::DeniedOrNotFound.to_string(), "FUDA-2002: denied, or it does not exist");
        assert_eq!(Code::DeniedOrNotFound.status(), GrpcStatus::PermissionDenied);
        assert_eq!(GrpcStatus::Unauthenticated.number(), 16);
    }

    #[test]
    fn stored_codes_are_their_numbers() {
        let bytes = minicbor::to_vec(Code::InvalidNumber).unwrap();
        assert_eq!(bytes, [0x19, 0x03, 0xe9]);
        assert_eq!(decode::<Code>(&bytes).unwrap(), Code::InvalidNumber);
        assert!(decode::<Code>(&[0x19, 0xff, 0xff]).is_err());
    }

    #[test]
    fn refusals_map_to_codes() {
        assert_eq!(Invalid::new("subject", "must be short").code(), Code::InvalidSubject);
        assert_eq!(Invalid::new("subject", RULE_NO_NUMBER).code(), Code::TextContainsNumber);
        assert_eq!(Invalid::new("scope", "must be short").code(), Code::InvalidField);
        assert_eq!(Invalid::new("number", "must have 12 digits").to_string(), "number must have 12 digits");
    }
}
