//! Outcomes: what applying a command comes to. They travel back to the node that proposed; none is stored.

use fuda_core::{BucketId, BucketVersion, Code, Invalid, PolicyVersion, RecordId, Sequence};
use fuda_policy::DenyReason;
use minicbor::{Decode, Encode};

use crate::NodeId;

/// What applying one command came to.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Outcome {
    /// The command was carried out; single items may still be denied or stale.
    #[n(0)]
    Applied {
        /// Sequence of the command's first entry; `None` if it made none (all items stale, or bookkeeping).
        #[n(0)]
        first: Option<Sequence>,
        /// One per item of the command, in its order; empty for commands without items.
        #[n(1)]
        items: Vec<ItemOutcome>,
        /// The node id of the member an AddMember is about.
        #[n(2)]
        node_id: Option<NodeId>,
    },
    /// The policy moved since the node decided: nothing was done. Decide again at this version or a later one.
    #[n(1)]
    StalePolicy {
        /// The version in force.
        #[n(0)]
        version: PolicyVersion,
    },
    /// The time of the decision passed (or has not begun) at the time of the log entry: nothing was done.
    #[n(2)]
    Expired,
    /// The whole command was refused. Where a caller acted, a denial entry says so.
    #[n(3)]
    Refused {
        /// Why.
        #[n(0)]
        refusal: Refusal,
        /// Sequence of the denial entry, if one was made; many of one sort are counted ([`crate::folds`]).
        #[n(1)]
        sequence: Option<Sequence>,
    },
}

/// What applying one item came to.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum ItemOutcome {
    /// Carried out; for a reveal: the node may now open the number.
    #[n(0)]
    Done {
        /// Its entry.
        #[n(0)]
        sequence: Sequence,
    },
    /// Denied.
    #[n(1)]
    Denied {
        /// Its entry; `None` when it was counted with others of its sort ([`crate::folds`]).
        #[n(0)]
        sequence: Option<Sequence>,
        /// Why.
        #[n(1)]
        reason: DenyReason,
    },
    /// What the node relied on moved, or the node lagged: no entry. Decide this item again on newer state.
    #[n(2)]
    Stale,
    /// The subject already has a live record of this kind.
    #[n(3)]
    AlreadyExists {
        /// Its (denial) entry; `None` when it was counted with others of its sort ([`crate::folds`]).
        #[n(0)]
        sequence: Option<Sequence>,
    },
    /// The request came before; this is its reply, sealed for whoever holds the retry secret.
    #[n(4)]
    Replayed {
        /// Its entry.
        #[n(0)]
        sequence: Sequence,
        /// The record the first call made.
        #[n(1)]
        record: RecordId,
        /// The bucket whose key opens the outer wrap of the reply.
        #[n(2)]
        bucket: BucketId,
        /// The version of that bucket key.
        #[n(3)]
        bucket_version: BucketVersion,
        /// The reply: outer wrap over the seal under the retry secret.
        #[cbor(n(4), with = "minicbor::bytes")]
        sealed: Vec<u8>,
    },
    /// The minted record id is taken by another record: no entry. Mint again.
    #[n(5)]
    RecordCollision,
}

/// Why a whole command was refused. Numbers are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
#[repr(u8)]
pub enum Refusal {
    /// The vault has no owner yet.
    #[n(1)]
    NotBootstrapped = 1,
    /// The vault has an owner already.
    #[n(2)]
    AlreadyBootstrapped = 2,
    /// The command's body is not what its header permits.
    #[n(3)]
    ActionMismatch = 3,
    /// A field breaks a rule that a node checks before it proposes.
    #[n(4)]
    Invalid = 4,
    /// The command carries more items than [`fuda_core::limits`] allow, or none.
    #[n(5)]
    ItemCount = 5,
    /// The policy that would result cannot be built.
    #[n(6)]
    PolicyInvalid = 6,
    /// A tenant of this id exists.
    #[n(7)]
    TenantExists = 7,
    /// The named tenant does not exist.
    #[n(8)]
    TenantUnknown = 8,
    /// The named key domain has no buckets.
    #[n(9)]
    KeyDomainUnknown = 9,
    /// An order of this id exists.
    #[n(10)]
    OrderExists = 10,
    /// No order has this id.
    #[n(11)]
    OrderUnknown = 11,
    /// The order was approved before.
    #[n(12)]
    OrderClosed = 12,
    /// The approver is the proposer.
    #[n(13)]
    SamePerson = 13,
    /// A caller would get a second role.
    #[n(14)]
    RoleConflict = 14,
    /// A grant of this id exists.
    #[n(15)]
    GrantExists = 15,
    /// The grant to revoke does not exist.
    #[n(16)]
    GrantUnknown = 16,
    /// The vault would be left without an owner or with fewer than two approvers.
    #[n(17)]
    TooFewPeople = 17,
    /// A limit of [`fuda_core::limits`] would be passed.
    #[n(18)]
    LimitReached = 18,
    /// No member has this node id.
    #[n(19)]
    MemberUnknown = 19,
    /// The member was removed; its identity is not accepted again.
    #[n(20)]
    MemberRemoved = 20,
    /// The last member cannot be removed.
    #[n(21)]
    LastMember = 21,
    /// The checkpoint is not signed by the vault's key for its origin.
    #[n(22)]
    CheckpointUnsigned = 22,
    /// The checkpoint's root is not the ledger's at its size.
    #[n(23)]
    CheckpointWrongRoot = 23,
    /// The checkpoint is not newer than the last one.
    #[n(24)]
    CheckpointNotNewer = 24,
    /// The checkpoint is ahead of the ledger.
    #[n(25)]
    CheckpointAhead = 25,
    /// A proposed grant breaks a rule.
    #[n(26)]
    GrantInvalid = 26,
    /// A purpose is not in the catalogue.
    #[n(27)]
    PurposeUnknown = 27,
    /// This is frozen already.
    #[n(40)]
    AlreadyFrozen = 40,
    /// This is not frozen.
    #[n(41)]
    NotFrozen = 41,
    /// What the command needs is frozen.
    #[n(42)]
    Frozen = 42,
    /// No canary token of this tenant has this id, or it is retired.
    #[n(43)]
    CanaryUnknown = 43,
    /// The end-user assertion was used before, for another call.
    #[n(50)]
    AssertionReplayed = 50,
    /// More unexpired end-user assertions are remembered than [`fuda_core::limits`] allow.
    #[n(51)]
    AssertionsFull = 51,
    /// No request for access of this tenant has this id.
    #[n(70)]
    AccessUnknown = 70,
    /// The request for access was decided before, or has lapsed.
    #[n(71)]
    AccessClosed = 71,
    /// The request asks for more than the requester's own grant lets it ask for.
    #[n(72)]
    AccessCeiling = 72,
    /// A request for access of this id exists.
    #[n(73)]
    AccessExists = 73,
    /// A break-glass of the tenant has waited too long for its review.
    #[n(74)]
    ReviewOverdue = 74,
    /// The tenant has not consented that the entrusted party entrusts the work on.
    #[n(75)]
    ConsentMissing = 75,
    /// A caller would belong to a second entrusted party.
    #[n(76)]
    PartyConflict = 76,
    /// The catalogue moved since the change was made for it.
    #[n(80)]
    CatalogueMoved = 80,
    /// A change of purposes breaks a rule.
    #[n(81)]
    PurposeChangeInvalid = 81,
    /// A proposed purpose names a forbidden use and the change has no override.
    #[n(82)]
    PurposeForbidden = 82,
    /// A change of recipients breaks a rule.
    #[n(90)]
    RecipientInvalid = 90,
    /// A policy text does not fit the schema.
    #[n(60)]
    PolicyTextInvalid = 60,
    /// The policy text that a proposal was written against is not in force any more.
    #[n(61)]
    PolicyMoved = 61,
    /// Under the policy text nobody could propose, or fewer than two people approve, another one.
    #[n(62)]
    PolicyLocksOut = 62,
    /// The statement or the keys of a succession break a rule, or too few keys signed.
    #[n(78)]
    SuccessionInvalid = 78,
    /// There are no keys for a succession, none waits, another one does, or its delay is not over.
    #[n(79)]
    SuccessionState = 79,
    /// No open offer of this tenant has this id.
    #[n(115)]
    TransferUnknown = 115,
    /// As many calls were made under the grant within the minute as it allows.
    #[n(125)]
    GrantRate = 125,
    /// The sink does not stand where the step of its cursor begins.
    #[n(140)]
    SinkMoved = 140,
    /// The step of a sink's cursor is none, or leads past the end of the ledger.
    #[n(141)]
    SinkStepInvalid = 141,
    /// The witness did not sign this note, or not yet.
    #[n(142)]
    CosignatureInvalid = 142,
    /// The witness has cosigned a later checkpoint, or this one later.
    #[n(143)]
    CosignatureNotNewer = 143,
    /// The period for which entries are kept breaks a rule.
    #[n(154)]
    RetentionInvalid = 154,
    /// Entries may not be pruned yet.
    #[n(155)]
    PruneHeld = 155,
    /// The oldest entry is not where the step of pruning begins.
    #[n(156)]
    PruneMoved = 156,
}

impl Refusal {
    /// The stable name in entries, metrics and logs.
    pub const fn code(self) -> &'static str {
        match self {
            Self::NotBootstrapped => "not_bootstrapped",
            Self::AlreadyBootstrapped => "already_bootstrapped",
            Self::ActionMismatch => "action_mismatch",
            Self::Invalid => "invalid",
            Self::ItemCount => "item_count",
            Self::PolicyInvalid => "policy_invalid",
            Self::TenantExists => "tenant_exists",
            Self::TenantUnknown => "tenant_unknown",
            Self::KeyDomainUnknown => "key_domain_unknown",
            Self::OrderExists => "order_exists",
            Self::OrderUnknown => "order_unknown",
            Self::OrderClosed => "order_closed",
            Self::SamePerson => "same_person",
            Self::RoleConflict => "role_conflict",
            Self::GrantExists => "grant_exists",
            Self::GrantUnknown => "grant_unknown",
            Self::TooFewPeople => "too_few_people",
            Self::LimitReached => "limit_reached",
            Self::MemberUnknown => "member_unknown",
            Self::MemberRemoved => "member_removed",
            Self::LastMember => "last_member",
            Self::CheckpointUnsigned => "checkpoint_unsigned",
            Self::CheckpointWrongRoot => "checkpoint_wrong_root",
            Self::CheckpointNotNewer => "checkpoint_not_newer",
            Self::CheckpointAhead => "checkpoint_ahead",
            Self::GrantInvalid => "grant_invalid",
            Self::PurposeUnknown => "purpose_unknown",
            Self::PolicyTextInvalid => "policy_text_invalid",
            Self::PolicyMoved => "policy_moved",
            Self::PolicyLocksOut => "policy_locks_out",
            Self::AlreadyFrozen => "already_frozen",
            Self::NotFrozen => "not_frozen",
            Self::Frozen => "frozen",
            Self::CanaryUnknown => "canary_unknown",
            Self::AssertionReplayed => "assertion_replayed",
            Self::AssertionsFull => "assertions_full",
            Self::AccessUnknown => "access_unknown",
            Self::AccessClosed => "access_closed",
            Self::AccessCeiling => "access_ceiling",
            Self::AccessExists => "access_exists",
            Self::ReviewOverdue => "review_overdue",
            Self::ConsentMissing => "consent_missing",
            Self::PartyConflict => "party_conflict",
            Self::CatalogueMoved => "catalogue_moved",
            Self::PurposeChangeInvalid => "purpose_change_invalid",
            Self::PurposeForbidden => "purpose_forbidden",
            Self::RecipientInvalid => "recipient_invalid",
            Self::SuccessionInvalid => "succession_invalid",
            Self::SuccessionState => "succession_state",
            Self::TransferUnknown => "transfer_unknown",
            Self::GrantRate => "grant_rate",
            Self::SinkMoved => "sink_moved",
            Self::SinkStepInvalid => "sink_step_invalid",
            Self::CosignatureInvalid => "cosignature_invalid",
            Self::CosignatureNotNewer => "cosignature_not_newer",
            Self::RetentionInvalid => "retention_invalid",
            Self::PruneHeld => "prune_held",
            Self::PruneMoved => "prune_moved",
        }
    }

    /// The error a caller gets.
    pub const fn error_code(self) -> Code {
        match self {
            Self::NotBootstrapped => Code::NotBootstrapped,
            Self::AlreadyBootstrapped => Code::AlreadyBootstrapped,
            Self::TenantExists => Code::TenantExists,
            Self::TenantUnknown | Self::SamePerson | Self::AccessUnknown | Self::TransferUnknown => {
                Code::DeniedOrNotFound
            }
            Self::OrderUnknown | Self::GrantUnknown | Self::MemberUnknown | Self::KeyDomainUnknown => Code::NotFound,
            Self::Invalid
            | Self::PolicyInvalid
            | Self::GrantInvalid
            | Self::PurposeChangeInvalid
            | Self::RecipientInvalid
            | Self::SuccessionInvalid
            | Self::RetentionInvalid => Code::InvalidField,
            Self::AccessClosed => Code::AccessClosed,
            Self::AccessCeiling => Code::AccessCeiling,
            Self::ReviewOverdue => Code::ReviewOverdue,
            Self::ConsentMissing => Code::ConsentMissing,
            Self::CatalogueMoved => Code::CatalogueMoved,
            Self::PurposeForbidden => Code::PurposeForbidden,
            Self::PurposeUnknown => Code::UnknownPurpose,
            Self::PolicyTextInvalid | Self::PolicyLocksOut => Code::PolicyInvalid,
            Self::PolicyMoved => Code::PolicyMoved,
            Self::AlreadyFrozen => Code::AlreadyFrozen,
            Self::NotFrozen | Self::CanaryUnknown => Code::NotFound,
            Self::Frozen => Code::Frozen,
            Self::AssertionReplayed => Code::EndUserRequired,
            Self::AssertionsFull => Code::Overloaded,
            Self::ItemCount => Code::TooManyItems,
            Self::GrantRate => Code::GrantRate,
            Self::ActionMismatch
            | Self::CheckpointUnsigned
            | Self::CheckpointWrongRoot
            | Self::CheckpointNotNewer
            | Self::CheckpointAhead
            | Self::SinkMoved
            | Self::SinkStepInvalid
            | Self::CosignatureInvalid
            | Self::CosignatureNotNewer
            | Self::PruneHeld
            | Self::PruneMoved => Code::Internal,
            Self::OrderExists
            | Self::OrderClosed
            | Self::RoleConflict
            | Self::GrantExists
            | Self::AccessExists
            | Self::PartyConflict
            | Self::SuccessionState
            | Self::TooFewPeople
            | Self::LimitReached
            | Self::MemberRemoved
            | Self::LastMember => Code::PreconditionFailed,
        }
    }

    /// The rule that was broken, for refusals that only apply can find and whose code promises one.
    pub const fn broken(self) -> Option<Invalid> {
        match self {
            Self::SuccessionInvalid => Some(Invalid::new(
                "succession",
                "must be a statement for this vault under the signatures of enough registered keys; keys must be 2 to 16 \
                 different ones, of which at least 2 sign, with a delay of 24 to 720 hours",
            )),
            Self::RetentionInvalid => Some(Invalid::new(
                "retention",
                "must name 1 to 3650 days, 1 to 16 different witnesses' keys and at most 16 different ended sinks",
            )),
            _ => None,
        }
    }

    /// The reason in the denial entry. Entries of reasons that policy has no word for name the refusal in a detail.
    pub const fn deny_reason(self) -> Option<DenyReason> {
        match self {
            Self::NotBootstrapped => Some(DenyReason::NotBootstrapped),
            Self::TenantUnknown => Some(DenyReason::TenantUnknown),
            Self::OrderUnknown | Self::OrderClosed => Some(DenyReason::UnknownOrder),
            Self::SamePerson => Some(DenyReason::SamePerson),
            Self::RoleConflict | Self::PartyConflict => Some(DenyReason::RoleConflict),
            Self::GrantInvalid => Some(DenyReason::GrantInvalid),
            Self::PurposeUnknown => Some(DenyReason::PurposeUnknown),
            Self::TenantExists | Self::OrderExists | Self::GrantExists | Self::AccessExists | Self::AlreadyFrozen => {
                Some(DenyReason::AlreadyExists)
            }
            Self::Frozen => Some(DenyReason::Frozen),
            Self::AssertionReplayed => Some(DenyReason::EndUserReplayed),
            Self::AccessUnknown => Some(DenyReason::AccessUnknown),
            Self::AccessClosed => Some(DenyReason::AccessClosed),
            Self::AccessCeiling => Some(DenyReason::AccessCeiling),
            Self::ReviewOverdue => Some(DenyReason::ReviewOverdue),
            Self::ConsentMissing => Some(DenyReason::ConsentMissing),
            Self::CatalogueMoved | Self::PurposeChangeInvalid => Some(DenyReason::PurposeChangeInvalid),
            Self::PurposeForbidden => Some(DenyReason::PurposeForbidden),
            Self::RecipientInvalid => Some(DenyReason::RecipientInvalid),
            Self::TransferUnknown => Some(DenyReason::TransferUnknown),
            Self::GrantRate => Some(DenyReason::GrantRate),
            _ => None,
        }
    }
}

impl Outcome {
    /// A command without items was carried out.
    pub(crate) const fn applied(first: Sequence) -> Self {
        Self::Applied { first: Some(first), items: Vec::new(), node_id: None }
    }

    /// What a command about one item came to.
    pub(crate) fn of_one(first: Option<Sequence>, item: ItemOutcome) -> Self {
        Self::Applied { first, items: vec![item], node_id: None }
    }

    /// A refusal without an entry of its own.
    pub(crate) const fn refused_silently(refusal: Refusal) -> Self {
        Self::Refused { refusal, sequence: None }
    }
}
