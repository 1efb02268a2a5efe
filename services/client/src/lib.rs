//! The Rust client of the vault: any node, retries that are safe, batches of any size.
//!
//! ```no_run
//! # async fn example() -> Result<(), fuda_client::Error> {
//! use fuda_client::{Client, Identity, Options};
//! use fuda_client::vault::DetokenizeRequest;
//!
//! let identity = Identity::in_directory("/etc/fuda/payroll", "/etc/fuda/clients-ca.pem");
//! let client = Client::connect(Options::new(["vault-1:7001", "vault-2:7001"], identity)).await?;
//! let reply = client
//!     .detokenize(DetokenizeRequest {
//!         tenant: "acme".to_owned(),
//!         purpose: "tax.withholding_slip".to_owned(),
//!         scope: "payroll".to_owned(),
//!         ..DetokenizeRequest::default()
//!     })
//!     .await?;
//! drop(reply); // wipes the number
//! # Ok(())
//! # }
//! ```
//!
//! **Any node.** A call starts at the next endpoint in turn and moves on to another one when a node cannot serve it.
//! Nodes are recognised by their SPIFFE id, never by their DNS name.
//!
//! **Retries.** Only availability errors are tried again, as the error's retry class says. One logical call keeps one
//! `request_id` and, where tokens are made, one `retry_secret`, so that the vault answers a repeated Tokenize with its
//! first reply. Acts that the vault cannot recognise again (making a tenant, proposing or approving grants,
//! bootstrapping) are repeated only when it is certain that nothing was proposed.
//!
//! **Secrets.** Messages that hold numbers, tokens or retry secrets travel as [`Secret`], which wipes them when it is
//! dropped. Requests are encoded by reference, so that a retry makes no second copy. The buffers of the HTTP/2 and TLS
//! libraries are out of this crate's reach and are not wiped.

mod batch;
mod batch_life;
mod call;
mod codec;
mod error;
mod nodes;
mod options;
mod secret;
mod service;

pub use batch::{Job, Results};
pub use call::Client;
pub use error::{Error, Refused};
pub use options::{Credentials, Identity, Options, TokenIdentity};
pub use secret::{Secret, Wipe};
pub use service::Audit;

/// Messages of `fuda.vault.v1`.
pub use fuda_proto::vault::v1 as vault;

/// Messages of `fuda.cluster.v1`.
pub use fuda_proto::cluster::v1 as cluster;

/// Messages of `fuda.tenant.v1`.
pub use fuda_proto::tenant::v1 as tenant;

/// Messages of `fuda.policy.v1`.
pub use fuda_proto::policy::v1 as policy;

/// Messages of `fuda.ledger.v1`.
pub use fuda_proto::ledger::v1 as ledger;

/// Messages of `fuda.audit.v1`.
pub use fuda_proto::audit::v1 as audit;

/// Messages of `fuda.guard.v1`.
pub use fuda_proto::guard::v1 as guard;

/// Messages of `fuda.transfer.v1`.
pub use fuda_proto::transfer::v1 as transfer;

/// Messages of `fuda.access.v1`.
pub use fuda_proto::access::v1 as access;
/// Messages of `fuda.purpose.v1`.
pub use fuda_proto::purpose::v1 as purpose;

/// Whom a client accepts as a node.
pub use fuda_runtime::tls::SpiffeMatcher;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
