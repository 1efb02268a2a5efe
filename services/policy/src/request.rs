use fuda_core::{CallerId, Fingerprint, Kind, PurposeCode, RecordLabel, ScopeId, SourceZone, TenantId};

use crate::{Action, Proof};

/// One question to [`crate::Policy::decide`]: the facts of a call, or of a class of a call's items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What is asked.
    pub action: Action,
    /// Who asks, as authenticated.
    pub caller: CallerId,
    /// For which tenant; `None` asks for the whole vault.
    pub tenant: Option<TenantId>,
    /// The kind of number. `None` where it is not known yet: a token's kind is known after its row is read, and is
    /// then checked by [`crate::Permit::check_record`].
    pub kind: Option<Kind>,
    /// The purpose; needed to reveal anything that is not public, and checked whenever it is named.
    pub purpose: Option<PurposeCode>,
    /// The scope; `None` where it is not known before the token's row is read.
    pub scope: Option<ScopeId>,
    /// The scope a new token is asked for (Exchange); the same grant must cover it.
    pub to_scope: Option<ScopeId>,
    /// To whom numbers are to be sealed (Seal).
    pub recipient: Option<Fingerprint>,
    /// The tenant to which numbers are to be offered (OfferTransfer).
    pub destination: Option<TenantId>,
    /// What the call proved beside the caller's identity.
    pub proof: Proof,
    /// The label of the record; `None` where it has none or is not known yet.
    pub label: Option<RecordLabel>,
    /// The part of the network the call came from; `None` for an address that the node's configuration does not name.
    pub source: Option<SourceZone>,
}

impl Request {
    /// A request about the whole vault: no tenant, no kind, no purpose, no scope.
    #[must_use]
    pub const fn vault(action: Action, caller: CallerId) -> Self {
        Self {
            action,
            caller,
            tenant: None,
            kind: None,
            purpose: None,
            scope: None,
            to_scope: None,
            recipient: None,
            destination: None,
            proof: Proof::NONE,
            label: None,
            source: None,
        }
    }

    /// A request about a tenant.
    #[must_use]
    pub fn tenant(action: Action, caller: CallerId, tenant: TenantId) -> Self {
        Self { tenant: Some(tenant), ..Self::vault(action, caller) }
    }

    /// The same request with a kind of number.
    #[must_use]
    pub fn kind(self, kind: Kind) -> Self {
        Self { kind: Some(kind), ..self }
    }

    /// The same request with a purpose.
    #[must_use]
    pub fn purpose(self, purpose: PurposeCode) -> Self {
        Self { purpose: Some(purpose), ..self }
    }

    /// The same request from a part of the network.
    #[must_use]
    pub fn source(self, source: Option<SourceZone>) -> Self {
        Self { source, ..self }
    }

    /// The same request with a scope.
    #[must_use]
    pub fn scope(self, scope: ScopeId) -> Self {
        Self { scope: Some(scope), ..self }
    }

    /// The same request with the scope of a token to be made.
    #[must_use]
    pub fn to_scope(self, to_scope: ScopeId) -> Self {
        Self { to_scope: Some(to_scope), ..self }
    }

    /// The same request with a recipient of sealed numbers.
    #[must_use]
    pub fn recipient(self, recipient: Option<Fingerprint>) -> Self {
        Self { recipient, ..self }
    }

    /// The same request with a tenant to which numbers are to be offered.
    #[must_use]
    pub fn destination(self, destination: Option<TenantId>) -> Self {
        Self { destination, ..self }
    }

    /// The same request with what the call proved.
    #[must_use]
    pub fn proven(self, proof: Proof) -> Self {
        Self { proof, ..self }
    }
}
