//! How a caller proved itself and its end user, as entries and commands carry it.

use fuda_core::Timestamp;
use minicbor::{Decode, Encode};

/// What a caller without a certificate proved itself with. An entry without one is of a caller with a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Credential {
    /// Which sort.
    #[n(0)]
    pub kind: CredentialKind,
    /// Uid of the pod that the service account's token is bound to.
    #[n(1)]
    pub pod: Option<String>,
    /// When the person signed in at the provider.
    #[n(2)]
    pub signed_in: Option<Timestamp>,
}

/// Sorts of credentials. The codes are part of the canonical bytes and never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
#[repr(u8)]
pub enum CredentialKind {
    /// A projected token of a Kubernetes service account.
    #[n(1)]
    ServiceAccount = 1,
    /// A person's token of an OpenID provider.
    #[n(2)]
    Person = 2,
}

impl CredentialKind {
    /// Stable code for exports and the command line.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::ServiceAccount => "service_account",
            Self::Person => "person",
        }
    }
}

/// The use of an end-user assertion. Apply refuses the same assertion for another call, at whatever node.
///
/// Persisted with the command and not in the entry: the assertion's own text was never kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Assertion {
    /// Digest of issuer and `jti`.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub id: [u8; 16],
    /// When it can no longer be used, leeway included. The decision's window ends no later.
    #[n(1)]
    pub expires: Timestamp,
    /// Digest of caller, request id and what the call is about (never of a number): the one call it may be used for,
    /// which may be repeated.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub call: [u8; 16],
}
