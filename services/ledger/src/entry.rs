//! One line of the audit ledger and its canonical bytes.
//!
//! An entry never holds a token, a lookup key, a number, or a hash or MAC of a number: whoever keeps the ledger after
//! an erasure must not be able to confirm a guess. Every field below is an id minted by the vault, an opaque reference
//! of the caller, a closed code, a count or a time.

use fuda_core::{
    CallerId, Fingerprint, Kind, PolicyVersion, PurposeCode, RecordId, Relation, RequestId, ScopeId, Sequence,
    SourceZone, SubjectRef, TenantId, Timestamp, TraceId, WorkReference,
};
use fuda_policy::{Action, DenyReason, GrantId};
use minicbor::{Decode, Encode};

use crate::{Alarm, Credential, Detail, Error, Header, tree};

/// Outcome of one item as the ledger states it. The codes are part of the canonical bytes and never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
#[repr(u8)]
pub enum Decision {
    /// Allowed and carried out.
    #[n(0)]
    Allowed = 0,
    /// Refused; the entry's `reason` says why.
    #[n(1)]
    Denied = 1,
    /// An earlier reply was returned again for the same request.
    #[n(2)]
    Replayed = 2,
}

impl Decision {
    /// All of them.
    pub const ALL: [Self; 3] = [Decision::Allowed, Decision::Denied, Decision::Replayed];

    /// Stable code for exports and the command line.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Decision::Allowed => "allowed",
            Decision::Denied => "denied",
            Decision::Replayed => "replayed",
        }
    }
}

/// What one entry says beyond the facts its command's entries share.
///
/// Persisted: array encoding, new fields only at the end and optional.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct EntryItem {
    /// Position in the ledger.
    #[n(0)]
    pub sequence: Sequence,
    /// What happened.
    #[n(1)]
    pub decision: Decision,
    /// Why it was denied; set exactly when `decision` is [`Decision::Denied`].
    #[n(2)]
    pub reason: Option<DenyReason>,
    /// The caller's reference to the person.
    #[n(3)]
    pub subject: Option<SubjectRef>,
    /// Which kind of number.
    #[n(4)]
    pub kind: Option<Kind>,
    /// The record; `None` when none was found.
    #[n(5)]
    pub record: Option<RecordId>,
    /// Consuming system of the token.
    #[n(6)]
    pub scope: Option<ScopeId>,
    /// Relation of the person to the principal subject.
    #[n(7)]
    pub relation: Option<Relation>,
    /// Distinct persons counted against the budget, this item included.
    #[n(8)]
    pub budget_used: Option<u32>,
    /// Limit of that budget.
    #[n(9)]
    pub budget_max: Option<u32>,
    /// Facts of an administrative act.
    #[n(10)]
    pub detail: Vec<Detail>,
    /// The person on whose account the record is held (the employee of a dependant); `None` when that is the subject.
    #[n(11)]
    pub principal: Option<SubjectRef>,
    /// Alarms that this entry raises; never an empty list.
    #[n(14)]
    pub alarms: Option<Vec<Alarm>>,
}

impl EntryItem {
    /// An item with only a position and a decision; set the fields that apply.
    #[must_use]
    pub fn new(sequence: Sequence, decision: Decision) -> EntryItem {
        EntryItem {
            sequence,
            decision,
            reason: None,
            subject: None,
            kind: None,
            record: None,
            scope: None,
            relation: None,
            budget_used: None,
            budget_max: None,
            detail: Vec::new(),
            principal: None,
            alarms: None,
        }
    }

    /// Adds an alarm.
    pub fn raise(&mut self, alarm: Alarm) {
        self.alarms.get_or_insert_default().push(alarm);
    }

    /// An allowed item.
    #[must_use]
    pub fn allowed(sequence: Sequence) -> EntryItem {
        EntryItem::new(sequence, Decision::Allowed)
    }

    /// A denied item with its reason.
    #[must_use]
    pub fn denied(sequence: Sequence, reason: DenyReason) -> EntryItem {
        EntryItem { reason: Some(reason), ..EntryItem::new(sequence, Decision::Denied) }
    }
}

/// What all entries of one command share, with the replicated time it was applied at.
///
/// Persisted: array encoding, new fields only at the end and optional.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Common {
    /// Replicated time of the command.
    #[n(0)]
    pub time: Timestamp,
    /// Legal person the call is about; `None` for whole-vault actions.
    #[n(1)]
    pub tenant: Option<TenantId>,
    /// What the caller asked for.
    #[n(2)]
    pub action: Action,
    /// Who asked.
    #[n(3)]
    pub caller: CallerId,
    /// The person who answers for the call: its end user, or the handler of the approved job.
    #[n(4)]
    pub end_user: Option<String>,
    /// Purpose the caller named.
    #[n(5)]
    pub purpose: Option<PurposeCode>,
    /// The caller's own reference to the piece of work.
    #[n(6)]
    pub work_reference: Option<WorkReference>,
    /// Policy version that decided.
    #[n(7)]
    pub policy_version: PolicyVersion,
    /// Ids of the Cedar policies that decided.
    #[n(8)]
    pub policy_ids: Vec<String>,
    /// Grant that allowed the call.
    #[n(9)]
    pub grant: Option<GrantId>,
    /// Identifies the call.
    #[n(10)]
    pub request_id: RequestId,
    /// Trace of the call.
    #[n(11)]
    pub trace_id: Option<TraceId>,
    /// The approved job that the call ran as.
    #[n(15)]
    pub job: Option<WorkReference>,
    /// What the caller proved itself with; `None` for a certificate.
    #[n(16)]
    pub credential: Option<Credential>,
    /// The part of the network the call came from.
    #[n(22)]
    pub source_zone: Option<SourceZone>,
    /// To whom numbers were sealed: the fingerprint of the registered key.
    #[n(24)]
    pub recipient: Option<Fingerprint>,
}

impl Common {
    /// The entry's share of a command header, at the replicated time of the command.
    #[must_use]
    pub fn from_header(header: &Header, time: Timestamp) -> Common {
        Common {
            time,
            tenant: header.tenant.clone(),
            action: header.action,
            caller: header.caller.clone(),
            end_user: header.end_user.clone(),
            purpose: header.purpose.clone(),
            work_reference: header.work_reference.clone(),
            policy_version: header.policy_version,
            policy_ids: header.policy_ids.clone(),
            grant: header.grant,
            request_id: header.request_id,
            trace_id: header.trace.map(|trace| trace.trace_id),
            job: header.job.clone(),
            credential: header.credential.clone(),
            source_zone: header.source_zone.clone(),
            recipient: header.recipient,
        }
    }
}

/// One entry as read back from its canonical bytes.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Entry {
    /// What the entries of the command share.
    #[n(0)]
    pub common: Common,
    /// What this entry adds.
    #[n(1)]
    pub item: EntryItem,
}

impl Entry {
    /// Largest canonical form in bytes that is read (1 MiB). The fields' own limits keep real entries far below.
    pub const BYTES_MAX: usize = 1024 * 1024;

    /// The bytes the Merkle tree hashes: the CBOR array `[common, item]`, a pure function of the entry.
    #[must_use]
    pub fn canonical(&self) -> Vec<u8> {
        to_cbor(self)
    }

    /// The RFC 6962 leaf hash of the canonical bytes.
    #[must_use]
    pub fn leaf_hash(&self) -> tree::Hash {
        tree::leaf_hash(&self.canonical())
    }

    /// Reads canonical bytes.
    ///
    /// # Errors
    /// [`Error::Entry`] when the bytes are not an entry, [`Error::NotCanonical`] when they are one written in any
    /// other way than [`Entry::canonical`] writes it (so that two different leaves never show the same entry).
    pub fn decode(bytes: &[u8]) -> Result<Entry, Error> {
        if bytes.len() > Entry::BYTES_MAX {
            return Err(Error::TooLong { what: "entry", bytes: bytes.len(), bytes_max: Entry::BYTES_MAX });
        }
        let entry: Entry = minicbor::decode(bytes).map_err(Error::Entry)?;
        if entry.canonical() != bytes {
            return Err(Error::NotCanonical);
        }
        Ok(entry)
    }
}

/// Encodes into memory, which cannot fail: a `Vec` always takes more bytes and no type of this crate refuses itself.
pub(crate) fn to_cbor<T: Encode<()>>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(256);
    append_cbor(&mut bytes, value);
    bytes
}

/// As [`to_cbor`], behind what `bytes` already holds.
pub(crate) fn append_cbor<T: Encode<()>>(bytes: &mut Vec<u8>, value: &T) {
    #[expect(clippy::expect_used, reason = "writing to a Vec is infallible and the derived encoders add no error")]
    minicbor::encode(value, bytes).expect("encoding into memory cannot fail");
}

#[cfg(test)]
#[path = "entry_tests.rs"]
mod tests;
