//! What a client is told: where the nodes are, who it is itself, and how patient it is.

use std::path::{Path, PathBuf};
use std::time::Duration;

use fuda_core::limits::DEADLINE_MS_DEFAULT;
use fuda_runtime::tls::{SpiffeMatcher, TlsPaths};

/// First part of the path of the SPIFFE ids of nodes.
const NODE_PATH: &str = "node";
/// Attempts after the first one, unless told otherwise.
const RETRIES_DEFAULT: usize = 5;
/// Batches of one job under way at once, unless told otherwise.
const BATCHES_INFLIGHT_DEFAULT: usize = 4;
/// Most endpoints of one client.
pub(crate) const ENDPOINTS_MAX: usize = 64;

/// Where the nodes are, who we are, and how patient we are.
#[derive(Debug, Clone)]
pub struct Options {
    /// `host:port` of the client listeners; 1 to 64. Calls go to them in turn.
    pub endpoints: Vec<String>,
    /// Who we are, and the authority of the nodes.
    pub identity: Credentials,
    /// Whom to accept as a node. `None`: SPIFFE ids of our own trust domain whose path starts with `/node/`; for a
    /// caller without a certificate, whoever's certificate is valid for the name in the endpoint.
    pub expected_server: Option<SpiffeMatcher>,
    /// First part of the path of the servers' SPIFFE ids, where `expected_server` is `None`: `node` by default, `audit` for a
    /// fuda-audit.
    pub expected_path: &'static str,
    /// How long one logical call may take, all attempts included. 10 s by default; the vault itself stops at 60 s.
    pub deadline: Duration,
    /// Attempts after the first one; 5 by default.
    pub retries: usize,
    /// Batches of one job under way at once; 4 by default, at least 1.
    pub batches_inflight_max: usize,
}

impl Options {
    /// The defaults for these endpoints.
    pub fn new(endpoints: impl IntoIterator<Item = impl Into<String>>, identity: impl Into<Credentials>) -> Self {
        Self {
            endpoints: endpoints.into_iter().map(Into::into).collect(),
            identity: identity.into(),
            expected_server: None,
            expected_path: NODE_PATH,
            deadline: Duration::from_millis(DEADLINE_MS_DEFAULT),
            retries: RETRIES_DEFAULT,
            batches_inflight_max: BATCHES_INFLIGHT_DEFAULT,
        }
    }
}

/// How we prove who we are.
#[derive(Debug, Clone)]
pub enum Credentials {
    /// By a certificate.
    Certificate(Identity),
    /// By a bearer token: of a Kubernetes service account, or of a person's sign-in.
    Token(TokenIdentity),
}

impl From<Identity> for Credentials {
    fn from(identity: Identity) -> Self {
        Self::Certificate(identity)
    }
}

impl From<TokenIdentity> for Credentials {
    fn from(identity: TokenIdentity) -> Self {
        Self::Token(identity)
    }
}

/// A file with a bearer token, and the authority of the nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenIdentity {
    /// The token. Read at every attempt: kubelet and `fuda login` replace it.
    pub token_file: PathBuf,
    /// The authorities that a node's certificate must chain to, as PEM; read once.
    pub authority: PathBuf,
}

/// Our certificate, its key and the authority of the nodes, as PEM files. They are read again when they change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The certificate chain, our own certificate first.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
    /// The authorities that a node's certificate must chain to.
    pub authority: PathBuf,
}

impl Identity {
    /// `cert.pem` and `cert.key.pem` of a directory, with an authority elsewhere.
    pub fn in_directory(directory: impl AsRef<Path>, authority: impl Into<PathBuf>) -> Self {
        let directory = directory.as_ref();
        Self {
            certificate: directory.join("cert.pem"),
            key: directory.join("cert.key.pem"),
            authority: authority.into(),
        }
    }

    pub(crate) fn tls_paths(&self) -> TlsPaths {
        TlsPaths {
            certificate_file: self.certificate.clone(),
            key_file: self.key.clone(),
            authorities_file: self.authority.clone(),
        }
    }
}
