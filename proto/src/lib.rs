//! The wire: code generated from the `.proto` files beside this crate, and their descriptors for reflection.
#![allow(
    missing_docs,
    unused_qualifications,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    reason = "generated code"
)]

/// Encoded `FileDescriptorSet` of `fuda.audit.v1`, which fuda-audit serves.
pub const AUDIT_DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/audit-descriptors.bin"));

/// Encoded `FileDescriptorSet` of all services of the vault, for gRPC reflection and for tests that walk every method.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// `fuda.vault.v1`: what applications call.
pub mod vault {
    /// First version.
    pub mod v1 {
        tonic::include_proto!("fuda.vault.v1");
    }
}

/// `fuda.cluster.v1`: what operators call.
pub mod cluster {
    /// First version.
    pub mod v1 {
        tonic::include_proto!("fuda.cluster.v1");
    }
}

/// `fuda.tenant.v1`: what owners and approvers call.
pub mod tenant {
    /// First version.
    pub mod v1 {
        tonic::include_proto!("fuda.tenant.v1");
    }
}

/// `fuda.ledger.v1`: what auditors call.
pub mod ledger {
    /// First version.
    pub mod v1 {
        tonic::include_proto!("fuda.ledger.v1");
    }
}

/// `fuda.audit.v1`: what auditors ask fuda-audit.
pub mod audit {
    /// First version.
    pub mod v1 {
        tonic::include_proto!("fuda.audit.v1");
    }
}

/// `fuda.guard.v1`: what the people who look after the vault call.
pub mod guard {
    /// First version.
    pub mod v1 {
        tonic::include_proto!("fuda.guard.v1");
    }
}

/// `fuda.access.v1`: what handlers and approvers call.
pub mod access {
    /// First version.
    pub mod v1 {
        tonic::include_proto!("fuda.access.v1");
    }
}

/// `fuda.purpose.v1`: what owners, approvers and auditors call about purposes.
pub mod purpose {
    /// First version.
    pub mod v1 {
        tonic::include_proto!("fuda.purpose.v1");
    }
}

/// `fuda.policy.v1`: what owners, approvers and auditors of the policy text call.
pub mod policy {
    /// First version.
    pub mod v1 {
        tonic::include_proto!("fuda.policy.v1");
    }
}

/// `fuda.transfer.v1`: what both sides of a move to another tenant call.
pub mod transfer {
    /// First version.
    pub mod v1 {
        tonic::include_proto!("fuda.transfer.v1");
    }
}

/// `fuda.peer.v1`: what nodes say to each other, on a listener of its own.
pub mod peer {
    /// First version.
    pub mod v1 {
        tonic::include_proto!("fuda.peer.v1");
    }
}
