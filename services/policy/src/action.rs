use std::fmt;

use fuda_core::Delivery;
use minicbor::{Decode, Encode};

use crate::Role;

/// What a caller asks the vault to do. The number of a variant is stored in grants and ledger entries and never
/// changes its meaning; a retired action keeps its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
#[repr(u8)]
pub enum Action {
    /// Name the owner, the approvers and the first member: entry 1 of a vault, once.
    #[n(1)]
    Bootstrap = 1,
    /// Create a tenant (one legal person).
    #[n(2)]
    CreateTenant = 2,
    /// Read a tenant's settings.
    #[n(3)]
    GetTenant = 3,
    /// Propose grants and revocations; nothing changes until somebody else approves.
    #[n(4)]
    ProposeGrants = 4,
    /// Approve proposed grants; never the proposer (checked by apply).
    #[n(5)]
    ApproveGrants = 5,
    /// List the grants in force.
    #[n(6)]
    ListGrants = 6,
    /// Add a member to the cluster.
    #[n(7)]
    AddMember = 7,
    /// Remove a member from the cluster.
    #[n(8)]
    RemoveMember = 8,
    /// Read the cluster's members, leader and log positions.
    #[n(9)]
    ClusterStatus = 9,
    /// Store numbers and get tokens.
    #[n(10)]
    Tokenize = 10,
    /// Get numbers back for tokens and a purpose.
    #[n(11)]
    Detokenize = 11,
    /// Compare a presented number with the stored one; a right guess reveals it, so it needs a purpose too.
    #[n(12)]
    VerifyNumber = 12,
    /// Read what is known about a token, without its number.
    #[n(13)]
    DescribeToken = 13,
    /// Read a record's facts by subject or record id, without its number.
    #[n(14)]
    GetRecord = 14,
    /// List records of a tenant, without their numbers.
    #[n(15)]
    ListRecords = 15,
    /// Read ledger entries, proofs and checkpoints.
    #[n(16)]
    ReadLedger = 16,
    /// Get a token of another scope for a presented token, without revealing the number.
    #[n(17)]
    Exchange = 17,
    /// Replace a presented token by a new one of the same scope.
    #[n(18)]
    Rotate = 18,
    /// Store a new number for the record of a presented token; every token of the record then reads it.
    #[n(19)]
    UpdateNumber = 19,
    /// Let a record answer to none of its tokens.
    #[n(20)]
    Disable = 20,
    /// Let a disabled record answer again.
    #[n(21)]
    Enable = 21,
    /// Give up a record whose tokens are lost, so that the subject can have a new one.
    #[n(22)]
    Supersede = 22,
    /// Record purposes that a person was notified of later.
    #[n(23)]
    AddNotice = 23,
    /// Get the last characters of numbers; never of a My Number.
    #[n(24)]
    RevealMasked = 24,
    /// Stop the use of a scope, caller, purpose, tenant or the whole vault at once; one person's act.
    #[n(30)]
    Freeze = 30,
    /// Lift a freeze; never by who froze (checked by apply).
    #[n(31)]
    Thaw = 31,
    /// List what is frozen.
    #[n(32)]
    ListFreezes = 32,
    /// Make a token that belongs to no number, to be planted where nobody should read.
    #[n(33)]
    CreateCanary = 33,
    /// Let such a token be an unknown one from now on.
    #[n(34)]
    RetireCanary = 34,
    /// List these tokens, without the tokens.
    #[n(35)]
    ListCanaries = 35,
    /// Propose a policy text; nothing changes until somebody else approves.
    #[n(50)]
    ProposePolicy = 50,
    /// Approve a proposed policy text; never the proposer (checked by apply).
    #[n(51)]
    ApprovePolicy = 51,
    /// Read the policy text, its versions and what the candidate would change.
    #[n(52)]
    GetPolicy = 52,
    /// Have a denial explained by its request id.
    #[n(53)]
    ExplainDenial = 53,
    /// Set or clear the candidate policy text that is evaluated without effect.
    #[n(54)]
    ShadowPolicy = 54,
    /// Ask for a grant that is short and counted, for oneself or for a workload.
    #[n(60)]
    RequestAccess = 60,
    /// Approve such a request; never one's own (checked by apply).
    #[n(61)]
    ApproveAccess = 61,
    /// Deny such a request.
    #[n(62)]
    DenyAccess = 62,
    /// End a grant that was given on request before its time; a handler gives back only his own.
    #[n(63)]
    RevokeAccess = 63,
    /// List requests and what became of them; a handler sees his own.
    #[n(64)]
    ListAccessRequests = 64,
    /// Take a short, counted grant without waiting for anybody, with an alarm and a review that must follow.
    #[n(65)]
    BreakGlass = 65,
    /// Close the review of a broken glass with a finding.
    #[n(66)]
    ReviewBreakGlass = 66,
    /// Consent (or withdraw it) that an entrusted party entrusts the work on to another (再委託).
    #[n(67)]
    ConsentSubEntrust = 67,
    /// Hand in a succession statement signed by the offline owner keys; nothing changes before its delay is over.
    #[n(68)]
    StartSuccession = 68,
    /// Bring a succession into force whose delay is over.
    #[n(69)]
    FinishSuccession = 69,
    /// Cancel a succession that waits.
    #[n(70)]
    CancelSuccession = 70,
    /// List the purposes of the catalogue and the orders that changed them.
    #[n(80)]
    ListPurposes = 80,
    /// Propose a change of the catalogue; nothing changes until somebody else approves.
    #[n(81)]
    ProposeCatalogueChange = 81,
    /// Propose which purposes a tenant uses; nothing changes until somebody else approves.
    #[n(82)]
    SetTenantPurposes = 82,
    /// Approve a change of the catalogue or of a tenant's purposes; never the proposer (checked by apply).
    #[n(83)]
    ApprovePurposeOrder = 83,
    /// Get numbers encrypted to a registered recipient, without seeing them.
    #[n(90)]
    Seal = 90,
    /// Propose to whom a tenant's numbers may be sealed; nothing changes until somebody else approves.
    #[n(91)]
    SetTenantRecipients = 91,
    /// Offer the number of a presented token to one other tenant, under the person's consent (番号法19条4号).
    #[n(115)]
    OfferTransfer = 115,
    /// Take an offered number into a record of one's own tenant.
    #[n(116)]
    AcceptTransfer = 116,
    /// Take an offer back that nobody has accepted.
    #[n(117)]
    CancelTransfer = 117,
}

impl Action {
    /// Every action, in the order of its number.
    pub const ALL: [Self; 55] = [
        Self::Bootstrap,
        Self::CreateTenant,
        Self::GetTenant,
        Self::ProposeGrants,
        Self::ApproveGrants,
        Self::ListGrants,
        Self::AddMember,
        Self::RemoveMember,
        Self::ClusterStatus,
        Self::Tokenize,
        Self::Detokenize,
        Self::VerifyNumber,
        Self::DescribeToken,
        Self::GetRecord,
        Self::ListRecords,
        Self::ReadLedger,
        Self::Exchange,
        Self::Rotate,
        Self::UpdateNumber,
        Self::Disable,
        Self::Enable,
        Self::Supersede,
        Self::AddNotice,
        Self::RevealMasked,
        Self::Freeze,
        Self::Thaw,
        Self::ListFreezes,
        Self::CreateCanary,
        Self::RetireCanary,
        Self::ListCanaries,
        Self::ProposePolicy,
        Self::ApprovePolicy,
        Self::GetPolicy,
        Self::ExplainDenial,
        Self::ShadowPolicy,
        Self::RequestAccess,
        Self::ApproveAccess,
        Self::DenyAccess,
        Self::RevokeAccess,
        Self::ListAccessRequests,
        Self::BreakGlass,
        Self::ReviewBreakGlass,
        Self::ConsentSubEntrust,
        Self::StartSuccession,
        Self::FinishSuccession,
        Self::CancelSuccession,
        Self::ListPurposes,
        Self::ProposeCatalogueChange,
        Self::SetTenantPurposes,
        Self::ApprovePurposeOrder,
        Self::Seal,
        Self::SetTenantRecipients,
        Self::OfferTransfer,
        Self::AcceptTransfer,
        Self::CancelTransfer,
    ];

    /// The stable name in policies, proto, metrics and ledger exports.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Bootstrap => "bootstrap",
            Self::CreateTenant => "create_tenant",
            Self::GetTenant => "get_tenant",
            Self::ProposeGrants => "propose_grants",
            Self::ApproveGrants => "approve_grants",
            Self::ListGrants => "list_grants",
            Self::AddMember => "add_member",
            Self::RemoveMember => "remove_member",
            Self::ClusterStatus => "cluster_status",
            Self::Tokenize => "tokenize",
            Self::Detokenize => "detokenize",
            Self::VerifyNumber => "verify_number",
            Self::DescribeToken => "describe_token",
            Self::GetRecord => "get_record",
            Self::ListRecords => "list_records",
            Self::ReadLedger => "read_ledger",
            Self::Exchange => "exchange",
            Self::Rotate => "rotate",
            Self::UpdateNumber => "update_number",
            Self::Disable => "disable",
            Self::Enable => "enable",
            Self::Supersede => "supersede",
            Self::AddNotice => "add_notice",
            Self::RevealMasked => "reveal_masked",
            Self::ProposePolicy => "propose_policy",
            Self::ApprovePolicy => "approve_policy",
            Self::GetPolicy => "get_policy",
            Self::ExplainDenial => "explain_denial",
            Self::ShadowPolicy => "shadow_policy",
            Self::Freeze => "freeze",
            Self::Thaw => "thaw",
            Self::ListFreezes => "list_freezes",
            Self::CreateCanary => "create_canary",
            Self::RetireCanary => "retire_canary",
            Self::ListCanaries => "list_canaries",
            Self::RequestAccess => "request_access",
            Self::ApproveAccess => "approve_access",
            Self::DenyAccess => "deny_access",
            Self::RevokeAccess => "revoke_access",
            Self::ListAccessRequests => "list_access_requests",
            Self::BreakGlass => "break_glass",
            Self::ReviewBreakGlass => "review_break_glass",
            Self::ConsentSubEntrust => "consent_sub_entrust",
            Self::StartSuccession => "start_succession",
            Self::FinishSuccession => "finish_succession",
            Self::CancelSuccession => "cancel_succession",
            Self::ListPurposes => "list_purposes",
            Self::ProposeCatalogueChange => "propose_catalogue_change",
            Self::SetTenantPurposes => "set_tenant_purposes",
            Self::ApprovePurposeOrder => "approve_purpose_order",
            Self::Seal => "seal",
            Self::SetTenantRecipients => "set_tenant_recipients",
            Self::OfferTransfer => "offer_transfer",
            Self::AcceptTransfer => "accept_transfer",
            Self::CancelTransfer => "cancel_transfer",
        }
    }

    /// The action of a code, `None` for an unknown one.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.code() == code)
    }

    /// The stored number.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Whether a number leaves its tenant with the answer: told to the caller, confirmed, sealed to somebody else, or
    /// offered to another tenant. All of these take a purpose, a notice, a person who answers, and count in budgets.
    #[must_use]
    pub const fn reveals(self) -> bool {
        self.delivers().is_some()
    }

    /// Whether the answer hands out numbers that can be kept: what files are made of. A confirmed guess is none.
    #[must_use]
    pub fn hands_out(self) -> bool {
        self.delivers().is_some() && self != Self::VerifyNumber
    }

    /// Whether the call brings a number to be stored, with or without the record of an identity check.
    #[must_use]
    pub const fn brings_number(self) -> bool {
        matches!(self, Self::Tokenize | Self::UpdateNumber)
    }

    /// Whether the action can widen what somebody may do: half of a change of policy. No role that has one of these
    /// touches tokens, and no role has two that together need nobody else.
    #[must_use]
    pub const fn governs(self) -> bool {
        matches!(
            self,
            Self::Bootstrap
                | Self::CreateTenant
                | Self::ProposeGrants
                | Self::ApproveGrants
                | Self::ApproveAccess
                | Self::ConsentSubEntrust
                | Self::ProposeCatalogueChange
                | Self::SetTenantPurposes
                | Self::ApprovePurposeOrder
                | Self::SetTenantRecipients
                | Self::ProposePolicy
                | Self::ApprovePolicy
                | Self::StartSuccession
                | Self::FinishSuccession
                | Self::CancelSuccession
        )
    }

    /// How the answer delivers a number; `None` when it delivers none.
    #[must_use]
    pub const fn delivers(self) -> Option<Delivery> {
        match self {
            Self::Detokenize | Self::VerifyNumber | Self::RevealMasked => Some(Delivery::Shown),
            Self::Seal => Some(Delivery::Sealed),
            Self::OfferTransfer => Some(Delivery::Moved),
            _ => None,
        }
    }

    /// Whether the action is a step of a number's way to another tenant, for which there is one purpose.
    #[must_use]
    pub const fn moves(self) -> bool {
        matches!(self, Self::OfferTransfer | Self::AcceptTransfer)
    }

    /// Whether the action takes or makes tokens, which always belong to a scope; its grants must name scopes.
    #[must_use]
    pub const fn needs_scope(self) -> bool {
        matches!(
            self,
            Self::Tokenize
                | Self::Detokenize
                | Self::VerifyNumber
                | Self::DescribeToken
                | Self::Exchange
                | Self::Rotate
                | Self::UpdateNumber
                | Self::RevealMasked
                | Self::Seal
                | Self::OfferTransfer
                | Self::AcceptTransfer
        )
    }

    /// Whether the action is always about one existing tenant, so that a request without a tenant is denied.
    #[must_use]
    pub const fn needs_tenant(self) -> bool {
        self.needs_scope()
            || matches!(
                self,
                Self::GetTenant
                    | Self::GetRecord
                    | Self::ListRecords
                    | Self::RequestAccess
                    | Self::ApproveAccess
                    | Self::DenyAccess
                    | Self::RevokeAccess
                    | Self::ListAccessRequests
                    | Self::BreakGlass
                    | Self::ReviewBreakGlass
                    | Self::ConsentSubEntrust
                    | Self::SetTenantPurposes
                    | Self::SetTenantRecipients
                    | Self::Disable
                    | Self::Enable
                    | Self::Supersede
                    | Self::AddNotice
                    | Self::CreateCanary
                    | Self::RetireCanary
                    | Self::CancelTransfer
            )
    }

    /// Whether a freeze of a scope, purpose, tenant or of the whole vault stops the action. Everything is stopped but
    /// what people need to see what happened, to mend it and to thaw: one person freezes, so a freeze must never lock
    /// the others out. (A frozen caller is stopped whatever it asks.)
    #[must_use]
    pub const fn stopped_by_freeze(self) -> bool {
        !matches!(
            self,
            Self::Bootstrap
                | Self::GetTenant
                | Self::ProposeGrants
                | Self::ApproveGrants
                | Self::ListGrants
                | Self::AddMember
                | Self::RemoveMember
                | Self::ClusterStatus
                | Self::ReadLedger
                | Self::Freeze
                | Self::Thaw
                | Self::ListFreezes
                | Self::CreateCanary
                | Self::RetireCanary
                | Self::ListCanaries
                | Self::DenyAccess
                | Self::RevokeAccess
                | Self::CancelTransfer
                | Self::ListAccessRequests
                | Self::ReviewBreakGlass
                | Self::ConsentSubEntrust
                | Self::ListPurposes
                | Self::ProposeCatalogueChange
                | Self::SetTenantPurposes
                | Self::SetTenantRecipients
                | Self::ApprovePurposeOrder
                | Self::ProposePolicy
                | Self::ApprovePolicy
                | Self::GetPolicy
                | Self::ExplainDenial
                | Self::ShadowPolicy
        )
    }

    /// Whether a person must have signed in recently and strongly to do it: everything that changes something and is
    /// not a workload's. Actions that are added later are among these until they are listed here.
    #[must_use]
    pub fn is_sensitive(self) -> bool {
        let reads = matches!(
            self,
            Self::GetTenant
                | Self::ListGrants
                | Self::ClusterStatus
                | Self::ReadLedger
                | Self::ListFreezes
                | Self::ListCanaries
                | Self::ListAccessRequests
                | Self::ListPurposes
                | Self::GetPolicy
                | Self::ExplainDenial
        );
        !reads && !Role::Workload.allows(self)
    }

    /// Whether the action is about the whole vault, never about one existing tenant: only a grant for the whole
    /// vault gives it, and a tenant named in the request is not required to exist (`CreateTenant` names a new one).
    #[must_use]
    pub const fn whole_vault(self) -> bool {
        matches!(
            self,
            Self::Bootstrap
                | Self::CreateTenant
                | Self::AddMember
                | Self::RemoveMember
                | Self::ClusterStatus
                | Self::ProposeCatalogueChange
                | Self::ProposePolicy
                | Self::ApprovePolicy
                | Self::GetPolicy
                | Self::ShadowPolicy
                | Self::StartSuccession
                | Self::FinishSuccession
                | Self::CancelSuccession
        )
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}
