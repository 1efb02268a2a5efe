use std::fmt;

use minicbor::{Decode, Encode};

use crate::Action;

/// What a caller is to the vault. A caller has exactly one role, and the action sets of roles that could abuse each
/// other do not meet: who owns or operates cannot reveal, who proposes cannot approve, who reveals cannot read the
/// ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
#[repr(u8)]
pub enum Role {
    /// Creates tenants and proposes grants.
    #[n(1)]
    Owner = 1,
    /// Approves what somebody else proposed.
    #[n(2)]
    Approver = 2,
    /// Runs the cluster; sees no tenant data.
    #[n(3)]
    Operator = 3,
    /// Reads the ledger and the grants; sees no token and no number.
    #[n(4)]
    Auditor = 4,
    /// A consuming system of one tenant.
    #[n(5)]
    Workload = 5,
    /// 担当者: a person who handles numbers of one tenant. May ask for access, and reveals what a grant gives him,
    /// standing or on request; approves nothing.
    #[n(6)]
    Handler = 6,
    /// 委託先: a system of an entrusted party, with grants from each tenant that entrusts it.
    #[n(7)]
    EntrustedParty = 7,
}

impl Role {
    /// Every role, in the order of its number.
    pub const ALL: [Self; 7] = [
        Self::Owner,
        Self::Approver,
        Self::Operator,
        Self::Auditor,
        Self::Workload,
        Self::Handler,
        Self::EntrustedParty,
    ];

    /// The stable name in policies, proto and exports.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Approver => "approver",
            Self::Operator => "operator",
            Self::Auditor => "auditor",
            Self::Workload => "workload",
            Self::Handler => "handler",
            Self::EntrustedParty => "entrusted_party",
        }
    }

    /// The role of a code, `None` for an unknown one.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.code() == code)
    }

    /// The stored number.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Every action a grant of this role may contain; fixed by the vault, not by policy text.
    #[must_use]
    pub const fn actions(self) -> &'static [Action] {
        match self {
            Self::Owner => &[
                Action::CreateTenant,
                Action::GetTenant,
                Action::ProposeGrants,
                Action::ListGrants,
                Action::Freeze,
                Action::ListFreezes,
                Action::CreateCanary,
                Action::ListCanaries,
                Action::RevokeAccess,
                Action::ListAccessRequests,
                Action::ConsentSubEntrust,
                Action::ListPurposes,
                Action::ProposeCatalogueChange,
                Action::SetTenantPurposes,
                Action::SetTenantRecipients,
                Action::ProposePolicy,
                Action::GetPolicy,
                Action::ShadowPolicy,
                Action::StartSuccession,
                Action::FinishSuccession,
            ],
            Self::Approver => &[
                Action::ApproveGrants,
                Action::GetTenant,
                Action::ListGrants,
                Action::Freeze,
                Action::Thaw,
                Action::ListFreezes,
                Action::CreateCanary,
                Action::RetireCanary,
                Action::ListCanaries,
                Action::ApproveAccess,
                Action::DenyAccess,
                Action::RevokeAccess,
                Action::ListAccessRequests,
                Action::ReviewBreakGlass,
                Action::ConsentSubEntrust,
                Action::ListPurposes,
                Action::ApprovePurposeOrder,
                Action::ApprovePolicy,
                Action::GetPolicy,
                Action::ExplainDenial,
                Action::CancelSuccession,
                Action::CancelTransfer,
            ],
            Self::Operator => &[
                Action::AddMember,
                Action::RemoveMember,
                Action::ClusterStatus,
                Action::StartSuccession,
                Action::FinishSuccession,
                Action::Freeze,
                Action::ListFreezes,
            ],
            Self::Auditor => &[
                Action::ReadLedger,
                Action::ListGrants,
                Action::GetTenant,
                Action::ClusterStatus,
                Action::ListFreezes,
                Action::ListCanaries,
                Action::ListAccessRequests,
                Action::ListPurposes,
                Action::GetPolicy,
                Action::ExplainDenial,
            ],
            Self::Workload => &[
                Action::Tokenize,
                Action::Detokenize,
                Action::VerifyNumber,
                Action::DescribeToken,
                Action::GetRecord,
                Action::ListRecords,
                Action::Exchange,
                Action::Rotate,
                Action::UpdateNumber,
                Action::Disable,
                Action::Enable,
                Action::Supersede,
                Action::AddNotice,
                Action::RevealMasked,
                Action::Seal,
                Action::OfferTransfer,
                Action::AcceptTransfer,
            ],
            Self::Handler => &[
                Action::RequestAccess,
                Action::BreakGlass,
                Action::RevokeAccess,
                Action::ListAccessRequests,
                Action::Tokenize,
                Action::Detokenize,
                Action::VerifyNumber,
                Action::DescribeToken,
                Action::GetRecord,
                Action::ListRecords,
                Action::Seal,
                Action::OfferTransfer,
                Action::AcceptTransfer,
                Action::CancelTransfer,
            ],
            Self::EntrustedParty => Self::Workload.actions(),
        }
    }

    /// Whether callers of this role touch tokens and numbers. Such a role is always of one tenant per grant, and
    /// governs nothing.
    #[must_use]
    pub const fn handles_numbers(self) -> bool {
        matches!(self, Self::Workload | Self::Handler | Self::EntrustedParty)
    }

    /// Whether a grant of this role may contain the action.
    #[must_use]
    pub fn allows(self, action: Action) -> bool {
        self.actions().contains(&action)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}
