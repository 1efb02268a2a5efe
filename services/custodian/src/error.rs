use std::{io, path::PathBuf};

use fuda_core::ids::{KeyDomainId, RootVersion};

/// Why a custodian refused. Names roots and places, never key bytes.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another root is held under this version, or the version is no longer enabled. Never overwritten.
    #[error("root `{version}` of key domain `{domain}` already exists")]
    Exists { domain: KeyDomainId, version: RootVersion },

    /// The custodian never heard of this root.
    #[error("root `{version}` of key domain `{domain}` is unknown to the custodian")]
    NotFound { domain: KeyDomainId, version: RootVersion },

    /// The root is kept but no longer given out: an erasure is under way.
    #[error("root `{version}` of key domain `{domain}` is disabled")]
    Disabled { domain: KeyDomainId, version: RootVersion },

    /// Only disabled roots are destroyed.
    #[error("root `{version}` of key domain `{domain}` must be disabled before it is destroyed")]
    StillEnabled { domain: KeyDomainId, version: RootVersion },

    /// The root is gone for good.
    #[error("root `{version}` of key domain `{domain}` was destroyed")]
    Destroyed { domain: KeyDomainId, version: RootVersion },

    /// Others could read or replace the keys.
    #[error("`{}` must belong to user `{uid}` with mode {mode_max:04o} or stricter, it belongs to `{seen_uid}` with mode {seen_mode:04o}", .path.display())]
    Permissions { path: PathBuf, uid: u32, mode_max: u32, seen_uid: u32, seen_mode: u32 },

    /// A key or receipt file is not what this program wrote.
    #[error("`{}` is damaged: {rule}", .path.display())]
    Damaged { path: PathBuf, rule: &'static str },

    /// The file system refused.
    #[error("cannot {step} `{}`", .path.display())]
    Io { step: &'static str, path: PathBuf, source: io::Error },

    /// A custodian behind a network cannot be reached or refuses; retry with backoff.
    #[error("custodian `{custodian}` is unavailable: {reason}")]
    Unavailable { custodian: String, reason: String },

    /// The process is shutting down; whether the call took effect is unknown, and repeating it is safe.
    #[error("the custodian call was interrupted")]
    Interrupted,
}
