//! Values of rows: a format byte, then deterministic CBOR. The bytes are the same on every replica, so a change of any
//! of these types is a change of data: it takes a new format byte, a migration and new golden bytes.

mod purpose;

use fuda_core::{
    BucketId, BucketVersion, CallerId, Catalogue, KeyDomainId, Kind, LookupKey, PersonId, PolicyVersion, PurposeCode,
    RecordId, RecordLabel, RecordVersion, Relation, RequestId, Revision, RootVersion, ScopeId, Sequence, SubjectRef,
    TenantId, Timestamp, TokenClass, VaultId, Verification,
};
use fuda_policy::{Grant, GrantId, Notified, Tenant};
use minicbor::{Decode, Encode, bytes::ByteVec};

use crate::{ClusterId, MemberUuid, NodeId, OrderId, Table, TableError, TextVersion};

pub use purpose::{PurposeChange, PurposeOrderPlaceRow, PurposeOrderRow, TenantPurposes, TenantRecipients};

/// A value of one table.
pub trait Row: Sized + Encode<()> + for<'b> Decode<'b, ()> {
    /// The table it lives in.
    const TABLE: Table;
    /// Its format byte.
    const FORMAT: u8 = 1;

    /// The stored bytes.
    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(256);
        bytes.push(Self::FORMAT);
        append_cbor(&mut bytes, self);
        bytes
    }

    /// Reads stored bytes.
    ///
    /// # Errors
    /// [`TableError::Format`] for another format, [`TableError::Corrupt`] for anything that is not one whole row.
    fn from_bytes(bytes: &[u8]) -> Result<Self, TableError> {
        let (format, cbor) = bytes.split_first().ok_or(TableError::corrupt(Self::TABLE, "empty value"))?;
        if *format != Self::FORMAT {
            return Err(TableError::Format { table: Self::TABLE, format: *format, known: Self::FORMAT });
        }
        let mut decoder = minicbor::Decoder::new(cbor);
        let row = decoder.decode().map_err(|_| TableError::corrupt(Self::TABLE, "value is not its row"))?;
        if decoder.position() != cbor.len() {
            return Err(TableError::corrupt(Self::TABLE, "value has bytes behind its row"));
        }
        Ok(row)
    }
}

/// Encodes behind what `bytes` already holds.
pub(crate) fn append_cbor<T: Encode<()>>(bytes: &mut Vec<u8>, value: &T) {
    #[expect(clippy::expect_used, reason = "a Vec takes all bytes and no encoder of these types refuses a value")]
    minicbor::encode(value, bytes).expect("encoding into memory cannot fail");
}

/// `TokenClass` on disk: 0 live, 1 test.
pub(crate) mod token_class {
    use fuda_core::TokenClass;
    use minicbor::{Decoder, Encoder, decode::Error as DecodeError, encode::Error as EncodeError, encode::Write};

    pub(crate) fn encode<C, W: Write>(
        class: &TokenClass,
        encoder: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        let number = match class {
            TokenClass::Live => 0,
            TokenClass::Test => 1,
        };
        encoder.u8(number)?.ok()
    }

    pub(crate) fn decode<C>(decoder: &mut Decoder<'_>, _: &mut C) -> Result<TokenClass, DecodeError> {
        match decoder.u8()? {
            0 => Ok(TokenClass::Live),
            1 => Ok(TokenClass::Test),
            _ => Err(DecodeError::message("unknown token class")),
        }
    }
}

macro_rules! rows {
    ($($row:ty => $table:ident;)+) => {
        $(impl Row for $row { const TABLE: Table = Table::$table; })+
    };
}

rows! {
    VaultRow => Meta;
    ProgressRow => Meta;
    MembersRow => Meta;
    PolicyVersionRow => Meta;
    PolicyTextRow => Meta;
    PolicyTextVersionRow => Meta;
    PolicyOrderRow => Meta;
    PolicyCandidateRow => Meta;
    DenialRow => Meta;
    CatalogueRow => Meta;
    PurposeOrderRow => Meta;
    PurposeOrderPlaceRow => Meta;
    TenantRow => Tenants;
    GrantRow => Grants;
    OrderRow => Orders;
    RecordRow => Records;
    SubjectRow => Subjects;
    TokenRow => Tokens;
    TokenWrapRow => TokenWraps;
    VersionRow => Versions;
    ReplyRow => Replies;
    BucketRow => Buckets;
    BudgetRow => BudgetLog;
}

/// Who made a row, so that a command forwarded twice finds its first outcome.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Act {
    /// The caller.
    #[n(0)]
    pub caller: CallerId,
    /// The caller's request.
    #[n(1)]
    pub request: RequestId,
    /// The entry.
    #[n(2)]
    pub sequence: Sequence,
    /// The time of the log entry.
    #[n(3)]
    pub time: Timestamp,
}

/// What never changes about a vault after bootstrap. Public facts, but for the sealed key, which is only sealed.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct VaultRow {
    /// The vault.
    #[n(0)]
    pub vault: VaultId,
    /// The cluster.
    #[n(1)]
    pub cluster: ClusterId,
    /// Live or test.
    #[n(2)]
    #[cbor(with = "token_class")]
    pub class: TokenClass,
    /// The origin line of checkpoints.
    #[n(3)]
    pub origin: String,
    /// The key domain whose root seals the vault's own secrets.
    #[n(4)]
    pub domain: KeyDomainId,
    /// The Ed25519 key that verifies checkpoints.
    #[n(5)]
    #[cbor(with = "minicbor::bytes")]
    pub checkpoint_public_key: [u8; 32],
    /// The key that signs checkpoints, sealed under the domain's root.
    #[n(6)]
    #[cbor(with = "minicbor::bytes")]
    pub sealed_checkpoint_key: Vec<u8>,
    /// The root version that seals it.
    #[n(7)]
    pub root_version: RootVersion,
    /// The bootstrap.
    #[n(8)]
    pub bootstrap: Act,
}

/// What moves with commands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
pub struct ProgressRow {
    /// The time of the last applied command; time never goes back.
    #[n(0)]
    pub time: Timestamp,
    /// Entries in the ledger.
    #[n(1)]
    pub tree_size: u64,
    /// The last revision given to a row.
    #[n(2)]
    pub revision: Revision,
}

/// All members, past ones included.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct MembersRow {
    /// The node id of the next new member.
    #[n(0)]
    pub next_node_id: NodeId,
    /// In the order of node ids.
    #[n(1)]
    pub members: Vec<Member>,
}

impl MembersRow {
    /// The members that were not removed.
    pub fn live(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| member.removed.is_none())
    }
}

/// One member of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Member {
    /// Its Raft node id.
    #[n(0)]
    pub node_id: NodeId,
    /// Its persisted identity.
    #[n(1)]
    pub uuid: MemberUuid,
    /// Its name for people, which its certificate also carries.
    #[n(2)]
    pub name: String,
    /// `host:port` other members reach it at.
    #[n(3)]
    pub peer_address: String,
    /// `host:port` callers reach it at.
    #[n(4)]
    pub client_address: String,
    /// The act that added it, or last changed its addresses.
    #[n(5)]
    pub added: Act,
    /// The act that removed it; a removed member never comes back.
    #[n(6)]
    pub removed: Option<Act>,
}

/// The version of the policy in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct PolicyVersionRow {
    /// Raised by every change of policy text, catalogue, tenants or grants.
    #[n(0)]
    pub version: PolicyVersion,
}

/// The Cedar policies in force.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct PolicyTextRow {
    /// Their text.
    #[n(0)]
    pub text: String,
}

/// One version of the policy text, and who brought it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct PolicyTextVersionRow {
    /// Its version.
    #[n(0)]
    pub version: TextVersion,
    /// The text.
    #[n(1)]
    pub text: String,
    /// The order that brought it; `None` for the bootstrap's.
    #[n(2)]
    pub order: Option<OrderId>,
    /// Who proposed it; `None` for the bootstrap's.
    #[n(3)]
    pub proposed: Option<Act>,
    /// Who brought it into force.
    #[n(4)]
    pub approved: Act,
}

/// A proposed policy text. Once approved the row stays, without the text, for commands that come twice.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct PolicyOrderRow {
    /// Its id.
    #[n(0)]
    pub order: OrderId,
    /// The version it was written against.
    #[n(1)]
    pub base: TextVersion,
    /// The text; empty once approved.
    #[n(2)]
    pub text: String,
    /// Who proposed it.
    #[n(3)]
    pub proposed: Act,
    /// Who approved it.
    #[n(4)]
    pub approved: Option<Act>,
    /// The version it became.
    #[n(5)]
    pub version: Option<TextVersion>,
}

/// Where the ledger denies a request; only requests with a denied item have one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct DenialRow {
    /// The first entry of the newest command of the request that denied anything.
    #[n(0)]
    pub first: Sequence,
}

/// The candidate text that nodes evaluate beside the one in force.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct PolicyCandidateRow {
    /// The text.
    #[n(0)]
    pub text: String,
    /// Who set it.
    #[n(1)]
    pub set: Act,
}

/// The purpose catalogue in force.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct CatalogueRow {
    /// The catalogue.
    #[n(0)]
    pub catalogue: Catalogue,
}

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct TenantRow {
    /// The tenant.
    #[n(0)]
    pub tenant: Tenant,
    /// The act that created it.
    #[n(1)]
    pub created: Act,
}

/// A grant in force.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct GrantRow {
    /// The grant.
    #[n(0)]
    pub grant: Grant,
    /// The order that brought it; `None` for those of the bootstrap.
    #[n(1)]
    pub order: Option<OrderId>,
    /// The entry that brought it into force.
    #[n(2)]
    pub sequence: Sequence,
}

/// A proposed change of grants.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct OrderRow {
    /// Its id.
    #[n(0)]
    pub order: OrderId,
    /// The act that proposed it.
    #[n(1)]
    pub proposed: Act,
    /// Grants to add.
    #[n(2)]
    pub grants: Vec<Grant>,
    /// Grants to revoke.
    #[n(3)]
    pub revoke: Vec<GrantId>,
    /// The act that approved it and brought it into force.
    #[n(4)]
    pub approved: Option<Act>,
    /// Offline keys that can appoint approvers, to be registered.
    #[n(23)]
    pub succession: Option<crate::succession::SuccessionKeys>,
    /// How long the nodes are to keep entries.
    #[n(24)]
    pub retention: Option<crate::retention::LedgerRetention>,
}

/// Whether a record answers to its tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
#[repr(u8)]
pub enum RecordStatus {
    /// It does.
    #[n(0)]
    Live = 0,
    /// It does not, until it is enabled.
    #[n(1)]
    Disabled = 1,
    /// It does not and never will again: another record took, or may take, its place. It waits for its erasure.
    #[n(2)]
    Superseded = 2,
}

/// A record: one number of one subject.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct RecordRow {
    /// Its tenant.
    #[n(0)]
    pub tenant: TenantId,
    /// Its id.
    #[n(1)]
    pub record: RecordId,
    /// The person.
    #[n(2)]
    pub subject: SubjectRef,
    /// Which number.
    #[n(3)]
    pub kind: Kind,
    /// The person on whose account the tenant holds it (the employee of a dependant); the subject itself for `self`.
    #[n(4)]
    pub principal: SubjectRef,
    /// What the subject is to the principal.
    #[n(5)]
    pub relation: Relation,
    /// The purposes the person was notified of.
    #[n(6)]
    pub notified: Vec<Notified>,
    /// The person as budgets count them.
    #[n(7)]
    pub person: PersonId,
    /// The key domain it is sealed in.
    #[n(8)]
    pub domain: KeyDomainId,
    /// The bucket it is sealed in.
    #[n(9)]
    pub bucket: BucketId,
    /// The version its tokens read.
    #[n(10)]
    pub current: RecordVersion,
    /// Raised by every change that a decision could depend on.
    #[n(11)]
    pub revision: Revision,
    /// Whether it answers.
    #[n(12)]
    pub status: RecordStatus,
    /// When it was made.
    #[n(13)]
    pub created: Timestamp,
    /// The entry that made it.
    #[n(14)]
    pub created_sequence: Sequence,
    /// Its tokens, one per scope.
    #[n(15)]
    pub tokens: Vec<TokenOfScope>,
    /// The key of the sealed reply of the call that made it, for its tombstone.
    #[n(16)]
    #[cbor(with = "minicbor::bytes")]
    pub reply: Option<Vec<u8>>,
    /// The entry that brought the current number; `None` for the first one.
    #[n(17)]
    pub updated: Option<Sequence>,
    /// Keys of the sealed replies of later calls that made tokens of it, oldest first, for its tombstone. At most
    /// [`fuda_core::limits::REPLIES_PER_RECORD_MAX`].
    #[n(18)]
    pub later_replies: Option<Vec<ByteVec>>,
    /// How the person's identity was checked when the current number came in (番号法16条).
    #[n(19)]
    pub verification: Option<Verification>,
    /// The entry that superseded it.
    #[n(20)]
    pub superseded: Option<Sequence>,
    /// Its label, by which grants and policies pick people.
    #[n(26)]
    pub label: Option<RecordLabel>,
}

impl RecordRow {
    /// The principal, where that is another person than the subject.
    #[must_use]
    pub fn other_principal(&self) -> Option<SubjectRef> {
        other_principal(&self.principal, &self.subject)
    }
}

/// The principal, where that is another person than the subject: what an entry says beside the subject.
pub(crate) fn other_principal(principal: &SubjectRef, subject: &SubjectRef) -> Option<SubjectRef> {
    (principal != subject).then(|| principal.clone())
}

/// One token of a record.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct TokenOfScope {
    /// The scope that holds the token.
    #[n(0)]
    pub scope: ScopeId,
    /// The key of the token's rows.
    #[n(1)]
    pub lookup: LookupKey,
}

/// The live record of a subject and kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct SubjectRow {
    /// The record.
    #[n(0)]
    pub record: RecordId,
}

/// Everything apply needs to know about a token, in one point read. Any change of the record that a decision could
/// depend on rewrites it with the record's new revision.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct TokenRow {
    /// The record's tenant.
    #[n(0)]
    pub tenant: TenantId,
    /// The record.
    #[n(1)]
    pub record: RecordId,
    /// Which number.
    #[n(2)]
    pub kind: Kind,
    /// The scope the token was made for.
    #[n(3)]
    pub scope: ScopeId,
    /// The person as budgets count them.
    #[n(4)]
    pub person: PersonId,
    /// What the subject is to the principal.
    #[n(5)]
    pub relation: Relation,
    /// The person.
    #[n(6)]
    pub subject: SubjectRef,
    /// The record's revision.
    #[n(7)]
    pub revision: Revision,
    /// Whether the record answers.
    #[n(8)]
    pub status: RecordStatus,
    /// The entry that made the token; `None` for the record's first one, which the record's own entry made.
    #[n(9)]
    pub made: Option<Sequence>,
    /// The person on whose account the record is held, for entries; `None` when that is the subject.
    #[n(10)]
    pub principal: Option<SubjectRef>,
    /// The record's label.
    #[n(18)]
    pub label: Option<RecordLabel>,
}

/// The record key wrapped under a token, inside the outer wrap of a bucket.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct TokenWrapRow {
    /// The bucket.
    #[n(0)]
    pub bucket: BucketId,
    /// The version of its key.
    #[n(1)]
    pub bucket_version: BucketVersion,
    /// The outer wrap.
    #[n(2)]
    #[cbor(with = "minicbor::bytes")]
    pub wrap: Vec<u8>,
}

/// One version of a record's number.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct VersionRow {
    /// The bucket.
    #[n(0)]
    pub bucket: BucketId,
    /// The version of its key.
    #[n(1)]
    pub bucket_version: BucketVersion,
    /// The version's key under the record key, inside the outer wrap.
    #[n(2)]
    #[cbor(with = "minicbor::bytes")]
    pub wrap: Vec<u8>,
    /// The number under the version's key.
    #[n(3)]
    #[cbor(with = "minicbor::bytes")]
    pub number_row: Vec<u8>,
}

/// The reply of one item of a call that made tokens, sealed under the caller's retry secret inside the outer wrap.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct ReplyRow {
    /// The record the item made.
    #[n(0)]
    pub record: RecordId,
    /// The bucket.
    #[n(1)]
    pub bucket: BucketId,
    /// The version of its key.
    #[n(2)]
    pub bucket_version: BucketVersion,
    /// The outer wrap.
    #[n(3)]
    #[cbor(with = "minicbor::bytes")]
    pub sealed: Vec<u8>,
    /// When it may be deleted.
    #[n(4)]
    pub expires: Timestamp,
}

/// A bucket key, sealed under its root.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct BucketRow {
    /// The version of the bucket key; sealing commands must carry it.
    #[n(0)]
    pub bucket_version: BucketVersion,
    /// The version of the root that seals it.
    #[n(1)]
    pub root_version: RootVersion,
    /// The sealed key.
    #[n(2)]
    #[cbor(with = "minicbor::bytes")]
    pub sealed: Vec<u8>,
}

/// What one command added to budgets and guess counters. Written only when it added anything.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct BudgetRow {
    /// The tenant.
    #[n(0)]
    pub tenant: TenantId,
    /// The caller.
    #[n(1)]
    pub caller: CallerId,
    /// The purpose; `None` where public numbers were read without one.
    #[n(2)]
    pub purpose: Option<PurposeCode>,
    /// The budget's window and the persons newly counted in it.
    #[n(3)]
    pub persons: Option<PersonsCounted>,
    /// The day of the guesses and the records guessed, one per guess.
    #[n(4)]
    pub guesses: Option<GuessesCounted>,
    /// The window in which the caller was stopped by this command, as the first to be.
    #[n(20)]
    pub stopped: Option<StoppedWindow>,
    /// The grant, where the persons count over the life of one.
    #[n(9)]
    pub grant: Option<GrantId>,
}

/// Persons newly counted in a window.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct PersonsCounted {
    /// The window's length in days.
    #[n(0)]
    pub window_days: u16,
    /// The number of the first day behind the window.
    #[n(1)]
    pub end_day: i32,
    /// The persons.
    #[n(2)]
    pub persons: Vec<PersonId>,
}

/// A budget's window in which a caller was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct StoppedWindow {
    /// The window's length in days.
    #[n(0)]
    pub window_days: u16,
    /// The number of the first day behind the window.
    #[n(1)]
    pub end_day: i32,
}

/// Guesses of one day.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct GuessesCounted {
    /// The number of the day after.
    #[n(0)]
    pub end_day: i32,
    /// The records, one per guess.
    #[n(1)]
    pub records: Vec<RecordId>,
}
