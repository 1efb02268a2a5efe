//! The proof that a command carries the facts of its own audit entry.

use fuda_core::{
    CallerId, Fingerprint, Kind, PolicyVersion, PurposeCode, RequestId, ScopeId, Sequence, SinkId, SourceZone,
    TenantId, Timestamp, TraceId, Window, WorkReference,
};
use fuda_policy::{Action, Budget, Denial, DenyReason, GrantId, Permit};
use minicbor::{Decode, Encode};

use crate::{Assertion, Credential};

/// Trace of the call, so that propose and apply on every replica belong to the caller's trace.
///
/// Baggage and trace state are not here on purpose: they are caller text and could carry a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct TraceContext {
    /// Trace the call belongs to; also written into the entry.
    #[n(0)]
    pub trace_id: TraceId,
    /// Span of the node that proposed; parent of the apply spans. Not written into the entry.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub span_id: [u8; 8],
    /// Whether the caller's trace is sampled.
    #[n(2)]
    pub sampled: bool,
}

/// What the call itself says, beside the decision on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallFacts {
    /// Identifies the call in entries, replies and traces.
    pub request_id: RequestId,
    /// Trace of the call, when the caller sent one.
    pub trace: Option<TraceContext>,
    /// The caller's own reference to the piece of work (a ticket, a payroll run).
    pub work_reference: Option<WorkReference>,
    /// What the caller proved itself with; `None` for a certificate.
    pub credential: Option<Credential>,
    /// The end-user assertion that the call used.
    pub assertion: Option<Assertion>,
}

/// Facts shared by all entries of one command, as decided by the node that took the call.
///
/// Persisted with the command: array encoding, new fields only at the end and optional.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Header {
    /// Legal person the call is about; `None` for whole-vault actions.
    #[n(0)]
    pub tenant: Option<TenantId>,
    /// What the caller asked for.
    #[n(1)]
    pub action: Action,
    /// Who asked.
    #[n(2)]
    pub caller: CallerId,
    /// The person who answers for the call: the end user the call proved, or the handler of the grant's approved job.
    /// Always the text of a [`CallerId`].
    #[n(3)]
    pub end_user: Option<String>,
    /// Purpose the caller named.
    #[n(4)]
    pub purpose: Option<PurposeCode>,
    /// The caller's own reference to the piece of work.
    #[n(5)]
    pub work_reference: Option<WorkReference>,
    /// Policy version the node decided on; apply refuses the command when it has moved.
    #[n(6)]
    pub policy_version: PolicyVersion,
    /// Ids of the Cedar policies that decided; empty when no policy forbade and none permitted.
    #[n(7)]
    pub policy_ids: Vec<String>,
    /// Grant that allowed the call; `None` for a denial.
    #[n(8)]
    pub grant: Option<GrantId>,
    /// Identifies the call.
    #[n(9)]
    pub request_id: RequestId,
    /// Trace of the call.
    #[n(10)]
    pub trace: Option<TraceContext>,
    /// The decision holds only inside this window; apply refuses the command outside it.
    #[n(11)]
    pub decided: Window,
    /// Distinct persons the caller may reveal for the purpose, counted in apply; `None` means no budget applies.
    #[n(12)]
    pub budget: Option<Budget>,
    /// VerifyNumber guesses allowed per caller, record and day, counted in apply.
    #[n(13)]
    pub verify_guesses_per_day: u16,
    /// Set exactly when the header was made from a [`Denial`]: apply accepts only a denial body under it, so a denial
    /// can never be dressed up as an allowed command.
    #[n(14)]
    pub denied: Option<DenyReason>,
    /// The approved job that the call runs as.
    #[n(15)]
    pub job: Option<WorkReference>,
    /// What the caller proved itself with; `None` for a certificate.
    #[n(16)]
    pub credential: Option<Credential>,
    /// The end-user assertion that the call used.
    #[n(17)]
    pub assertion: Option<Assertion>,
    /// The part of the network the call came from, as the node's configuration names it.
    #[n(22)]
    pub source_zone: Option<SourceZone>,
    /// To whom numbers are sealed: the fingerprint of the registered key.
    #[n(24)]
    pub recipient: Option<Fingerprint>,
    /// Calls that the grant allows in a minute, counted in apply; `None` means that there is no limit.
    #[n(25)]
    pub calls_per_minute_max: Option<u32>,
}

impl Header {
    fn permitted(permit: &Permit, facts: CallFacts) -> Header {
        Header {
            tenant: permit.tenant().cloned(),
            action: permit.action(),
            caller: permit.caller().clone(),
            end_user: permit.end_user().map(ToString::to_string),
            purpose: permit.purpose().cloned(),
            work_reference: facts.work_reference,
            policy_version: permit.policy_version(),
            policy_ids: permit.policy_ids().to_vec(),
            grant: Some(permit.grant()),
            request_id: facts.request_id,
            trace: facts.trace,
            decided: permit.window(),
            budget: permit.budget(),
            verify_guesses_per_day: permit.verify_guesses_per_day(),
            denied: None,
            job: permit.job().cloned(),
            credential: facts.credential,
            assertion: facts.assertion,
            source_zone: permit.source().cloned(),
            recipient: permit.recipient(),
            calls_per_minute_max: permit.calls_per_minute_max(),
        }
    }

    fn denied(denial: &Denial, facts: CallFacts) -> Header {
        Header {
            tenant: denial.tenant().cloned(),
            action: denial.action(),
            caller: denial.caller().clone(),
            end_user: denial.end_user().map(ToString::to_string),
            purpose: denial.purpose().cloned(),
            work_reference: facts.work_reference,
            policy_version: denial.policy_version(),
            policy_ids: denial.policy_ids().to_vec(),
            grant: None,
            request_id: facts.request_id,
            trace: facts.trace,
            decided: Window::ALWAYS,
            budget: None,
            verify_guesses_per_day: 0,
            denied: Some(denial.reason()),
            job: None,
            credential: facts.credential,
            assertion: facts.assertion,
            source_zone: denial.source().cloned(),
            recipient: denial.recipient(),
            calls_per_minute_max: None,
        }
    }
}

/// What a denial turns into: one denial entry, counting the refused items.
///
/// Made only by [`Audited::denied`], so holding one means that policy denied the call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeniedCall {
    reason: DenyReason,
    kind: Option<Kind>,
    scope: Option<ScopeId>,
    items: u32,
}

impl DeniedCall {
    /// Why policy denied the call.
    #[must_use]
    pub fn reason(&self) -> DenyReason {
        self.reason
    }

    /// The kind the call named.
    #[must_use]
    pub fn kind(&self) -> Option<Kind> {
        self.kind
    }

    /// The scope the call named.
    #[must_use]
    pub fn scope(&self) -> Option<&ScopeId> {
        self.scope.as_ref()
    }

    /// How many items the refused call carried; 1 for a call about one thing.
    #[must_use]
    pub fn items(&self) -> u32 {
        self.items
    }
}

/// A command body together with the facts of its audit entry.
///
/// The only ways to make one start from a [`Permit`] or a [`Denial`], which only policy makes. Consensus proposes
/// nothing else (beside [`Kept`] bookkeeping), so an unaudited command cannot be written:
///
/// ```compile_fail
/// # fn forge(header: fuda_ledger::Header) {
/// // error[E0451]: fields `header` and `body` of struct `Audited` are private
/// let forged = fuda_ledger::Audited { header, body: () };
/// # }
/// ```
///
/// ```compile_fail
/// # fn forge(header: fuda_ledger::Header) {
/// // error[E0277]: a header alone does not convert
/// let forged: fuda_ledger::Audited<()> = header.into();
/// # }
/// ```
///
/// Reading one is fine, which shows that the examples above fail for the right reason:
///
/// ```
/// fn caller<T>(audited: &fuda_ledger::Audited<T>) -> &fuda_core::CallerId {
///     &audited.header().caller
/// }
/// ```
#[derive(Debug)]
pub struct Audited<T> {
    header: Header,
    body: T,
}

impl<T> Audited<T> {
    /// Joins a permitted call with the body that carries it out.
    #[must_use]
    pub fn permitted(permit: &Permit, facts: CallFacts, body: T) -> Audited<T> {
        Audited { header: Header::permitted(permit, facts), body }
    }

    /// Makes the command that records a denied call; `items` is the number of items the call carried.
    ///
    /// `body` turns the denial into the caller's body type; the header's `denied` field lets apply refuse any body
    /// that is not a denial.
    #[must_use]
    pub fn denied(denial: &Denial, facts: CallFacts, items: u32, body: impl FnOnce(DeniedCall) -> T) -> Audited<T> {
        let call = DeniedCall { reason: denial.reason(), kind: denial.kind(), scope: denial.scope().cloned(), items };
        Audited { header: Header::denied(denial, facts), body: body(call) }
    }

    /// The facts shared by all entries of the command.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// What the command does.
    #[must_use]
    pub fn body(&self) -> &T {
        &self.body
    }

    /// Takes the command apart, for encoding. There is no way back.
    #[must_use]
    pub fn into_parts(self) -> (Header, T) {
        (self.header, self.body)
    }
}

/// What the vault may write without a caller. Closed: none of these reveals anything or changes policy.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Bookkeeping {
    /// A signed note with the tree head, see [`crate::Checkpoint`]. Apply verifies it against its own history.
    #[n(0)]
    Checkpoint(#[cbor(n(0), with = "minicbor::bytes")] Vec<u8>),
    /// Deletes stored replies that expired before this time, and counts of calls and denials that are over.
    #[n(1)]
    ExpireReplies {
        /// Replies with an expiry before this time are deleted.
        #[n(0)]
        before: Timestamp,
    },
    /// Has counted denials entered whose minute is over. Any other command does the same; this one is for when none comes.
    #[n(31)]
    EnterFolded,
    /// Says that the alarms of all entries up to this one were told.
    #[n(30)]
    AlarmsTold {
        /// The last entry whose alarms were told.
        #[n(0)]
        through: Sequence,
    },
    /// Says that a sink has acknowledged copies of the entries from `from` up to, and without, `to`. Apply refuses it
    /// unless the sink stands at `from`, so that a leader that was deposed meanwhile moves nothing.
    #[n(140)]
    SinkAcknowledged {
        /// The sink.
        #[n(0)]
        sink: SinkId,
        /// The first entry it acknowledged.
        #[n(1)]
        from: Sequence,
        /// The first entry it has still to get.
        #[n(2)]
        to: Sequence,
        /// Entries among them that it refused for good.
        #[n(3)]
        rejected: Vec<Sequence>,
    },
    /// A witness outside has seen a checkpoint of this ledger. Apply verifies both signatures; which witnesses count is
    /// told by each node's configuration.
    #[n(142)]
    Cosigned {
        /// The witness's public key, as text.
        #[n(0)]
        witness: String,
        /// The signed note with the ledger's signature and the witness's.
        #[cbor(n(1), with = "minicbor::bytes")]
        note: Vec<u8>,
    },
    /// Removes the oldest entries and keeps their hashes. Apply refuses it unless two people ordered it, the entries are
    /// old enough, and everybody they are kept for has them.
    #[n(154)]
    PruneEntries {
        /// The oldest entry that is kept; a leader that was deposed meanwhile moves nothing.
        #[n(0)]
        from: Sequence,
        /// The first entry that stays.
        #[n(1)]
        before: Sequence,
    },
}

/// The ledger-made proof that a command without a caller is bookkeeping: the only thing beside [`Audited`] that
/// consensus accepts. Since [`Bookkeeping`] is a closed list, wrapping one of its variants is all the proof there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept(Bookkeeping);

impl Kept {
    /// Wraps a bookkeeping step.
    #[must_use]
    pub fn new(bookkeeping: Bookkeeping) -> Kept {
        Kept(bookkeeping)
    }

    /// The step.
    #[must_use]
    pub fn bookkeeping(&self) -> &Bookkeeping {
        &self.0
    }

    /// Takes the step out, for encoding.
    #[must_use]
    pub fn into_bookkeeping(self) -> Bookkeeping {
        self.0
    }
}

#[cfg(test)]
#[path = "audited_tests.rs"]
mod tests;
