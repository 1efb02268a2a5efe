//! Identifiers of cluster members and orders: words of the state machine that callers never see as such.

use std::fmt;

use minicbor::{Decode, Encode};

macro_rules! byte_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
        #[cbor(transparent)]
        pub struct $name(
            /// The 16 bytes.
            #[n(0)]
            #[cbor(with = "minicbor::bytes")]
            pub [u8; 16],
        );

        impl $name {
            /// The 16 bytes, for table keys.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }

            /// Reads the 32 lowercase hexadecimal digits; `None` for anything else.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                let canonical = text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
                let number = u128::from_str_radix(text, 16).ok().filter(|_| canonical)?;
                Some(Self(number.to_be_bytes()))
            }
        }

        /// 32 lowercase hexadecimal digits.
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", u128::from_be_bytes(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    };
}

byte_id! {
    /// The Raft cluster: replication only talks inside one. It changes with a restore; the vault id does not.
    ClusterId
}
byte_id! {
    /// The identity a node draws once and keeps on its disk: a wiped disk is a new member.
    MemberUuid
}
byte_id! {
    /// A proposed change of grants: 128 random bits minted by the node that took the proposal.
    OrderId
}

byte_id! {
    /// An offer of a number to another tenant: 128 random bits minted by the node that took it.
    TransferId
}

/// The version of the policy text, from 1 at bootstrap: what a proposal names as its base, like an etag. Unlike
/// [`fuda_core::PolicyVersion`] it does not move with tenants and grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct TextVersion(
    /// The number.
    #[n(0)]
    pub u64,
);

impl TextVersion {
    /// The text of the bootstrap.
    pub const FIRST: Self = Self(1);

    /// The version behind this one; `None` at the end of the range.
    pub fn next(self) -> Option<Self> {
        self.0.checked_add(1).map(Self)
    }
}

impl fmt::Display for TextVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The Raft node id of a member, from 1. Never given twice, also after a member is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct NodeId(
    /// The number.
    #[n(0)]
    pub u64,
);

impl NodeId {
    /// The member named at bootstrap.
    pub const FIRST: Self = Self(1);

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
