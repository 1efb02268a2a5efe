//! From arguments to a client: where the nodes are and which files say who we are.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use fuda_client::{Client, Identity, Options};
use fuda_core::limits::{DEADLINE_MS_DEFAULT, DEADLINE_MS_MAX};

use crate::failure::Failure;

/// Where the nodes are, and who is calling.
#[derive(Debug, Clone, Args)]
pub(crate) struct Connection {
    /// Client listeners of the nodes; calls go to them in turn.
    #[arg(long, global = true, env = "FUDA_ADDRESS", value_name = "HOST:PORT", value_delimiter = ',')]
    pub(crate) address: Vec<String>,

    /// Directory with cert.pem and cert.key.pem; the authority is its ca.pem or ../../ca/clients-ca.pem.
    #[arg(long, global = true, env = "FUDA_IDENTITY", value_name = "DIR")]
    identity: Option<PathBuf>,

    /// Certificate chain, instead of the one in --identity.
    #[arg(long, global = true, value_name = "FILE")]
    cert: Option<PathBuf>,

    /// Private key, instead of the one in --identity.
    #[arg(long, global = true, value_name = "FILE")]
    key: Option<PathBuf>,

    /// Authority of the nodes, instead of the one in --identity.
    #[arg(long, global = true, value_name = "FILE")]
    ca: Option<PathBuf>,

    /// How long one call may take, retries included; 10 s by default, `cluster join` 10 minutes.
    #[arg(long, global = true, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..))]
    deadline_ms: Option<u64>,
}

impl Connection {
    /// A client of the nodes.
    pub(crate) async fn client(&self) -> Result<Client, Failure> {
        self.client_within(Duration::from_millis(DEADLINE_MS_DEFAULT)).await
    }

    /// A client for large batches, which may take as long as the vault allows.
    pub(crate) async fn client_for_batches(&self) -> Result<Client, Failure> {
        self.client_within(Duration::from_millis(DEADLINE_MS_MAX)).await
    }

    /// A client whose calls may take `deadline`, unless the command line says otherwise.
    pub(crate) async fn client_within(&self, deadline: Duration) -> Result<Client, Failure> {
        if self.address.is_empty() {
            return Err(Failure::Usage("no address: give --address or set FUDA_ADDRESS".to_owned()));
        }
        let mut options = Options::new(self.address.iter().map(String::as_str), self.identity()?);
        options.deadline = self.deadline_ms.map_or(deadline, Duration::from_millis);
        Ok(Client::connect(options).await?)
    }

    fn identity(&self) -> Result<Identity, Failure> {
        let directory = self.identity.as_deref();
        let within = |given: &Option<PathBuf>, name: &str| {
            given.clone().or_else(|| directory.map(|directory| directory.join(name)))
        };
        let authority = self.ca.clone().or_else(|| directory.map(authority_of));
        match (within(&self.cert, "cert.pem"), within(&self.key, "cert.key.pem"), authority) {
            (Some(certificate), Some(key), Some(authority)) => Ok(Identity { certificate, key, authority }),
            _ => Err(Failure::Identity(
                "no identity: give --identity or set FUDA_IDENTITY, or give --cert, --key and --ca".to_owned(),
            )),
        }
    }
}

/// The authority beside the certificate, or where `fuda dev` puts it.
fn authority_of(directory: &Path) -> PathBuf {
    let beside = directory.join("ca.pem");
    if beside.exists() { beside } else { directory.join("../../ca/clients-ca.pem") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Exit;

    fn connection(identity: Option<&Path>) -> Connection {
        Connection {
            address: vec!["localhost:1".to_owned()],
            identity: identity.map(Path::to_path_buf),
            cert: None,
            key: None,
            ca: None,
            deadline_ms: None,
        }
    }

    #[test]
    fn files_come_from_the_directory_unless_they_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let identity = connection(Some(dir.path())).identity().unwrap();
        assert_eq!(identity.certificate, dir.path().join("cert.pem"));
        assert_eq!(identity.authority, dir.path().join("../../ca/clients-ca.pem"));

        std::fs::write(dir.path().join("ca.pem"), "").unwrap();
        let named = Connection { key: Some("/elsewhere".into()), ..connection(Some(dir.path())) };
        let identity = named.identity().unwrap();
        assert_eq!(identity.authority, dir.path().join("ca.pem"));
        assert_eq!(identity.key, Path::new("/elsewhere"));
    }

    #[tokio::test]
    async fn missing_arguments_and_files_have_their_exit_codes() {
        assert_eq!(connection(None).client().await.err().unwrap().exit(), Exit::Identity);
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(connection(Some(dir.path())).client().await.err().unwrap().exit(), Exit::Identity);
        let nowhere = Connection { address: Vec::new(), ..connection(Some(dir.path())) };
        assert_eq!(nowhere.client().await.err().unwrap().exit(), Exit::Usage);
    }
}
