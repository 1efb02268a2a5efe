//! Custodians: who holds the roots of a key domain.
//!
//! A root exists at its custodians and in locked memory of the nodes, nowhere else; destroying it at every custodian is
//! what makes erasure final. All custodians of a domain hold the same root, so a root is drawn by the vault and imported.
//!
//! [`FileCustodian`] is for development and tests: files can be restored, so its receipts support a deletion record, not
//! an erasure certificate.

mod codec;
mod error;
mod file;

use async_trait::async_trait;
use fuda_core::ids::{KeyDomainId, RootVersion};
use fuda_crypto::RootKey;
use serde::{Deserialize, Serialize};

pub use error::Error;
pub use file::FileCustodian;

/// Something that keeps roots, gives them to the vault's nodes, and destroys them.
///
/// Every call may be repeated after a lost reply: it then gives the first result.
#[async_trait]
pub trait Custodian: Send + Sync {
    /// The sort of custodian, as in configuration and receipts: `file`, …
    fn kind(&self) -> &'static str;

    /// Imports a root. The same root again is accepted; another root under a known version is [`Error::Exists`]. A
    /// version once destroyed never comes back.
    async fn create_root(&self, domain: KeyDomainId, version: RootVersion, root: &RootKey) -> Result<(), Error>;

    /// Gives an enabled root.
    async fn open_root(&self, domain: KeyDomainId, version: RootVersion) -> Result<RootKey, Error>;

    /// Stops giving a root out. It still exists.
    async fn disable_root(&self, domain: KeyDomainId, version: RootVersion) -> Result<(), Error>;

    /// Destroys a disabled root and gives the receipt. An enabled root is refused: nodes may still be starting with it.
    async fn destroy_root(&self, domain: KeyDomainId, version: RootVersion) -> Result<Receipt, Error>;

    /// All roots this custodian knows, destroyed ones too, by domain and version.
    async fn list(&self) -> Result<Vec<RootInfo>, Error>;

    /// Whether the custodian could serve now.
    async fn health(&self) -> Result<(), Error>;
}

/// A custodian's word that it destroyed a root. Goes into the certificate of every erasure that waited for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// Sort and place of the custodian.
    pub custodian: String,
    pub domain: KeyDomainId,
    pub version: RootVersion,
    /// When it was destroyed, by the custodian's clock: RFC 3339, UTC.
    pub at_text: String,
    /// Whether copies outside the custodian's control (backups, disk images) may bring the root back.
    pub restorable_copies: bool,
}

/// One root as its custodian sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RootInfo {
    pub domain: KeyDomainId,
    pub version: RootVersion,
    pub state: RootState,
}

/// The life of a root: it only moves forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RootState {
    /// Given out.
    Enabled,
    /// Kept, not given out.
    Disabled,
    /// Gone; the receipt remains.
    Destroyed,
}
