//! Mutual TLS between callers, nodes and us: TLS 1.3 on ring, SPIFFE identities, certificates that reload.
//!
//! Sessions are never resumed: a resumed session would carry the client certificate of an earlier handshake past its
//! expiry and past a change of the authorities.

mod client;
mod domains;
mod identity;
mod material;
mod reloading;
mod server;
pub(crate) mod watch;

use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use serde::Deserialize;
use thiserror::Error;

pub use client::{ClientTls, TlsConnector};
pub(crate) use identity::serial_of;
pub use identity::{IdentityError, PeerIdentity, SpiffeMatcher};
pub use reloading::Reloading;
pub use server::{ClientAuth, ServerTls, TrustDomain};

/// The only application protocol spoken: HTTP/2.
const ALPN_H2: &[u8] = b"h2";
const ALPN_HTTP1: &[u8] = b"http/1.1";

/// Where a certificate lives. All files are PEM.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsPaths {
    /// The certificate chain, our own certificate first.
    pub certificate_file: PathBuf,
    /// The private key of the first certificate (PKCS#8, SEC1 or PKCS#1).
    pub key_file: PathBuf,
    /// The authorities whose certificates we accept from the other side.
    pub authorities_file: PathBuf,
}

/// Why certificates could not be used. Key material is never part of it.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file is missing or unreadable.
    #[error("`{path}` cannot be read: {source}")]
    Read {
        /// The path as configured.
        path: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A file is not PEM or lacks the expected section.
    #[error("`{path}` holds no usable {expected} in PEM")]
    Pem {
        /// The path as configured.
        path: String,
        /// `certificate` or `private key`.
        expected: &'static str,
    },
    /// Our own certificate is past its end.
    #[error("the certificate in `{path}` has expired")]
    Expired {
        /// The path as configured.
        path: String,
    },
    /// Our own certificate cannot be parsed, or names us in a way no peer would accept.
    #[error("the certificate in `{path}` is unusable: {source}")]
    Identity {
        /// The path as configured.
        path: String,
        /// What is wrong with it.
        source: IdentityError,
    },
    /// rustls refused the combination, for example a key of another certificate.
    #[error("certificate, key and authorities do not work together: {0}")]
    Rustls(#[from] rustls::Error),
    /// The authorities cannot be used to verify callers.
    #[error("the authorities cannot be used: {0}")]
    Verifier(String),
}

/// ring, and nothing installed process-wide: a library must not change what the binary chose.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

#[cfg(test)]
mod tests;
