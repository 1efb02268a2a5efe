//! The one table from what went wrong to what a caller is told: stable code, retry class, docs page, never a value.

use std::time::Duration;

use fuda_core::{Code, Invalid, RequestId, Sequence};
use fuda_policy::DenyReason;
use fuda_proto::vault::v1::ItemError;
use fuda_runtime::layer::Denials;
use fuda_runtime::refusal;
use tonic::Status;

use crate::gate::Call;

/// How long a client should wait before it tries again.
const RETRY_DELAY: Duration = Duration::from_millis(100);
/// The same where a minute has to pass: asking again costs an entry.
const RETRY_NEXT_MINUTE: Duration = Duration::from_secs(10);
/// What must come with an offer to another tenant.
const CONSENT: Invalid =
    Invalid::new("consent", "must be given: not in the future, and once the destination was decided");

/// Why a call or an item of it was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal {
    code: Code,
    broken: Option<Invalid>,
    /// The oldest entry that is kept, where older ones were asked for.
    first_kept: Option<Sequence>,
}

impl Refusal {
    /// A refusal with nothing more to say than its code.
    pub(crate) const fn new(code: Code) -> Self {
        Self { code, broken: None, first_kept: None }
    }

    /// A refusal that names the field and the rule it broke.
    pub(crate) const fn about(code: Code, broken: Invalid) -> Self {
        Self { code, broken: Some(broken), first_kept: None }
    }

    /// The entry asked for was pruned; this is the oldest one that is kept.
    pub(crate) const fn pruned(first_kept: Sequence) -> Self {
        Self { code: Code::EntriesPruned, broken: None, first_kept: Some(first_kept) }
    }

    /// A required field is missing.
    pub(crate) const fn missing(field: &'static str) -> Self {
        Self::about(Code::MissingField, Invalid::new(field, "is required"))
    }

    /// Too many of something.
    pub(crate) const fn too_many(field: &'static str, rule: &'static str) -> Self {
        Self::about(Code::TooManyItems, Invalid::new(field, rule))
    }

    /// What a denial looks like from outside: budgets, guesses and what is missing of the caller's own proof are told
    /// apart, everything else looks as if it did not exist. The reason itself is in the ledger, under the request id.
    pub(crate) const fn denied(reason: DenyReason) -> Self {
        Self::new(match reason {
            // Whoever may bring the number is told what must come with it.
            DenyReason::VerificationMissing => return Self::missing("verification"),
            DenyReason::TransferConsent => return Self::about(Code::InvalidField, CONSENT),
            DenyReason::BudgetExhausted => Code::BudgetExhausted,
            DenyReason::GuessesExhausted => Code::GuessesExhausted,
            DenyReason::NotBootstrapped => Code::NotBootstrapped,
            // Only a caller who presented a token of the record, and may have another, is told about it.
            DenyReason::TokenExists => Code::TokenExists,
            DenyReason::TooManyTokens => Code::TooManyTokens,
            DenyReason::TooManyNotices => Code::TooManyNotices,
            DenyReason::RecordSuperseded => Code::RecordSuperseded,
            // Only what would be allowed is told; a caller that is itself frozen learns nothing.
            DenyReason::Frozen => Code::Frozen,
            DenyReason::StepUpRequired => Code::StepUpRequired,
            DenyReason::EndUserRequired
            | DenyReason::EndUserRefused
            | DenyReason::EndUserReplayed
            | DenyReason::JobExpired => Code::EndUserRequired,
            _ => Code::DeniedOrNotFound,
        })
    }

    /// The stable code.
    pub(crate) const fn code(self) -> Code {
        self.code
    }

    /// The refusal of a whole call.
    pub(crate) fn status(self, request_id: Option<RequestId>) -> Status {
        let again = if self.code == Code::GrantRate { RETRY_NEXT_MINUTE } else { RETRY_DELAY };
        let first_kept = self.first_kept.map(|first_kept| ("first_kept_sequence", first_kept.get()));
        refusal::status_stating(self.code, self.broken, first_kept, request_id, again)
    }

    /// The refusal of one item of a batch.
    pub(crate) fn item(self, call: &Call) -> ItemError {
        self.count(&call.denials);
        ItemError {
            status: self.code.status().number(),
            code: self.code.id().to_owned(),
            reason: self.code.reason().to_owned(),
            message: refusal::message(self.code, self.broken),
            field: self.broken.map(|broken| broken.field.to_owned()).unwrap_or_default(),
            request_id: call.request_id.to_string(),
            docs: self.code.docs_page().to_owned(),
        }
    }

    /// Counts what may not tell by its time whether anything exists.
    pub(crate) fn count(self, denials: &Denials) {
        if self.code == Code::DeniedOrNotFound {
            denials.add();
        }
    }
}

impl From<Invalid> for Refusal {
    fn from(broken: Invalid) -> Self {
        Self { code: broken.code(), broken: Some(broken), first_kept: None }
    }
}

impl From<fuda_state::Refusal> for Refusal {
    fn from(refusal: fuda_state::Refusal) -> Self {
        Self { code: refusal.error_code(), broken: refusal.broken(), first_kept: None }
    }
}

impl From<Code> for Refusal {
    fn from(code: Code) -> Self {
        Self::new(code)
    }
}
