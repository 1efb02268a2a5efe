//! From arguments to a client: where the nodes are and which files say who we are.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use fuda_client::{Client, Credentials, Identity, Options, SpiffeMatcher, TokenIdentity};
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

    /// Trust domain of the nodes, where it is not the caller's own.
    #[arg(long, global = true, value_name = "DOMAIN")]
    node_domain: Option<String>,

    /// File with a bearer token (of a service account, or written by `fuda login`), instead of a certificate; needs --ca.
    #[arg(long, global = true, env = "FUDA_TOKEN_FILE", value_name = "FILE", conflicts_with_all = ["cert", "key"])]
    token_file: Option<PathBuf>,

    /// File with a signed assertion of the end user this call is made for; each is good for one call.
    #[arg(long, global = true, value_name = "FILE")]
    end_user_assertion_file: Option<PathBuf>,

    /// How long one call may take, retries included: 10 s by default, 60 s in `token` commands, which is also where the
    /// vault ends a call; `cluster join` asks again for 10 minutes.
    #[arg(long, global = true, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..))]
    deadline_ms: Option<u64>,
}

impl Connection {
    /// For commands that make no connection.
    #[cfg(test)]
    pub(crate) fn nowhere() -> Self {
        Self {
            address: Vec::new(),
            identity: None,
            cert: None,
            key: None,
            ca: None,
            node_domain: None,
            token_file: None,
            end_user_assertion_file: None,
            deadline_ms: None,
        }
    }

    /// A client of the nodes.
    pub(crate) async fn client(&self) -> Result<Client, Failure> {
        self.client_within(Duration::from_millis(DEADLINE_MS_DEFAULT)).await
    }

    /// A client of fuda-audit at these addresses. Its certificate is `spiffe://DOMAIN/audit/NAME`.
    pub(crate) async fn audit_client(&self, addresses: &[String]) -> Result<Client, Failure> {
        const PATH: &str = "audit";
        if addresses.is_empty() {
            return Err(Failure::Usage("no address: give --audit-address or set FUDA_AUDIT_ADDRESS".to_owned()));
        }
        let mut options = Options::new(addresses.iter().map(String::as_str), self.identity()?);
        // Looking through years takes its time.
        options.deadline = self.patience(Duration::from_millis(DEADLINE_MS_MAX));
        options.expected_path = PATH;
        let servers = |domain: &String| SpiffeMatcher::Under { trust_domain: domain.clone(), path: PATH.to_owned() };
        options.expected_server = self.node_domain.as_ref().map(servers);
        Ok(Client::connect(options).await?)
    }

    /// A client for large batches, which may take as long as the vault allows.
    pub(crate) async fn client_for_batches(&self) -> Result<Client, Failure> {
        self.client_within(Duration::from_millis(DEADLINE_MS_MAX)).await
    }

    /// How long a command may take that asks again until something is done, unless the command line says otherwise.
    pub(crate) fn patience(&self, default: Duration) -> Duration {
        self.deadline_ms.map_or(default, Duration::from_millis)
    }

    /// A client whose calls may take `deadline`, unless the command line says otherwise.
    pub(crate) async fn client_within(&self, deadline: Duration) -> Result<Client, Failure> {
        if self.address.is_empty() {
            return Err(Failure::Usage("no address: give --address or set FUDA_ADDRESS".to_owned()));
        }
        let mut options = Options::new(self.address.iter().map(String::as_str), self.identity()?);
        options.deadline = self.patience(deadline);
        let nodes = |domain: &String| SpiffeMatcher::Under { trust_domain: domain.clone(), path: "node".to_owned() };
        options.expected_server = self.node_domain.as_ref().map(nodes);
        let client = Client::connect(options).await?;
        match &self.end_user_assertion_file {
            None => Ok(client),
            Some(path) => {
                let unusable = || Failure::Identity(format!("`{}` holds no end-user assertion", path.display()));
                let assertion = std::fs::read_to_string(path).map_err(|_| unusable())?;
                client.on_behalf_of(assertion.trim()).map_err(|_| unusable())
            }
        }
    }

    fn identity(&self) -> Result<Credentials, Failure> {
        if let Some(token_file) = &self.token_file {
            let authority = self.ca.clone().ok_or_else(|| {
                Failure::Identity("no authority: give --ca with --token-file or FUDA_TOKEN_FILE".to_owned())
            })?;
            if !token_file.is_file() {
                return Err(Failure::Identity(format!("there is no `{}`; see `fuda login`", token_file.display())));
            }
            return Ok(TokenIdentity { token_file: token_file.clone(), authority }.into());
        }
        let directory = self.identity.as_deref();
        let within = |given: &Option<PathBuf>, name: &str| {
            given.clone().or_else(|| directory.map(|directory| directory.join(name)))
        };
        let authority = self.ca.clone().or_else(|| directory.map(authority_of));
        match (within(&self.cert, "cert.pem"), within(&self.key, "cert.key.pem"), authority) {
            (Some(certificate), Some(key), Some(authority)) => Ok(Identity { certificate, key, authority }.into()),
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
        let address = vec!["localhost:1".to_owned()];
        Connection { address, identity: identity.map(Path::to_path_buf), ..Connection::nowhere() }
    }

    #[test]
    fn files_come_from_the_directory_unless_they_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let certificate = |connection: Connection| match connection.identity().unwrap() {
            Credentials::Certificate(identity) => identity,
            Credentials::Token(_) => panic!("no token was given"),
        };
        let identity = certificate(connection(Some(dir.path())));
        assert_eq!(identity.certificate, dir.path().join("cert.pem"));
        assert_eq!(identity.authority, dir.path().join("../../ca/clients-ca.pem"));

        std::fs::write(dir.path().join("ca.pem"), "").unwrap();
        let named = Connection { key: Some("/elsewhere".into()), ..connection(Some(dir.path())) };
        let identity = certificate(named);
        assert_eq!(identity.authority, dir.path().join("ca.pem"));
        assert_eq!(identity.key, Path::new("/elsewhere"));
    }

    #[test]
    fn a_token_takes_the_place_of_a_certificate() {
        let dir = tempfile::tempdir().unwrap();
        let token_file = dir.path().join("token");
        let with_token = || Connection { token_file: Some(token_file.clone()), ..connection(None) };
        assert_eq!(with_token().identity().unwrap_err().exit(), Exit::Identity, "no authority");
        let complete = || Connection { ca: Some("ca.pem".into()), ..with_token() };
        assert_eq!(complete().identity().unwrap_err().exit(), Exit::Identity, "no token yet");
        std::fs::write(&token_file, "t").unwrap();
        assert!(matches!(complete().identity().unwrap(), Credentials::Token(token) if token.token_file == token_file));
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
