use fuda_core::{Kind, PurposeCode, RecordLabel, Relation, ScopeId, SubjectRef, TenantId, Window};
use minicbor::{Decode, Encode};

/// A purpose the person was notified of for one record, and when it may be used.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Notified {
    /// The purpose.
    #[n(0)]
    pub purpose: PurposeCode,
    /// When it may be used.
    #[n(1)]
    pub window: Window,
    /// The version of the notice (利用目的の通知), in the tenant's words: 1 to 64 characters.
    #[n(2)]
    pub notice_version: Option<String>,
}

/// What [`crate::Permit::check_record`] must know about a record: facts of the node's current row.
#[derive(Debug, Clone, Copy)]
pub struct RecordFacts<'a> {
    /// The record's tenant.
    pub tenant: &'a TenantId,
    /// Its kind of number.
    pub kind: Kind,
    /// The person.
    pub subject: &'a SubjectRef,
    /// Its label, if it has one.
    pub label: Option<&'a RecordLabel>,
    /// The relation of its subject to the principal subject.
    pub relation: Relation,
    /// The scope of the presented token; `None` when the record was named by subject or record id.
    pub scope: Option<&'a ScopeId>,
    /// The purposes the person was notified of.
    pub notified: &'a [Notified],
    /// Whether the record is disabled (superseded, or queued for erasure).
    pub disabled: bool,
    /// Whether the call brings the record of an identity check with a number; asked only of what brings numbers.
    pub verified: bool,
}
