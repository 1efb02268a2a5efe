//! A `fuda-audit` process: settings, key, identity, and its status as an auditor sees it.

use std::fs::{self, OpenOptions};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use fuda_crypto::digest::SigningKey;
use fuda_ledger::VerifierKey;
use fuda_proto::audit::v1::audit_service_client::AuditServiceClient;
use fuda_proto::audit::v1::{GetCheckpointRequest, GetCheckpointResponse, GetStatusRequest, GetStatusResponse};
use fuda_proto::tenant::v1::{Grant, Role};
use fuda_runtime::dev_ca::{Authority, DevCa, Pems, Subject};
use tonic::transport::Channel;

use super::spawn::{bound_command, spawn};
use super::{CALL_DEADLINE, LocalCluster, TRUST_DOMAIN};
use crate::evidence::MUTANT_ENV;
use crate::wire::{channel, connector_to, get_page, path_text};

/// SPIFFE path of the process; the vault must have an auditor of this name.
pub const AUDIT_PATH: &str = "audit/one";
/// Name that its witness cosigns under.
pub const WITNESS_NAME: &str = "audit.fuda.test/one";
/// How often a waiting loop looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// What a process is made of.
#[derive(Clone, Debug)]
pub struct AuditSpec<'a> {
    /// The `fuda-vault` beside which `fuda-audit` lies.
    pub vault_binary: &'a Path,
    /// An empty or missing directory of its own.
    pub dir: PathBuf,
    /// Authority of all certificates.
    pub ca: &'a DevCa,
    /// Nodes of the vault.
    pub endpoints: Vec<String>,
    /// The ledger's verifier key.
    pub verifier_key: &'a str,
    /// Seconds until most nodes behind it are a rollback.
    pub rollback_after_s: u64,
}

/// A `fuda-audit`, running or not. Dropping it kills the process.
pub struct AuditProcess {
    binary: PathBuf,
    dir: PathBuf,
    settings: PathBuf,
    client: String,
    ops: String,
    console: String,
    auditor: Pems,
    process: Option<Child>,
    witness_key: String,
    mutant: Option<&'static str>,
}

impl AuditProcess {
    /// Writes the settings, makes the key with `fuda-audit init`, and starts it.
    ///
    /// # Errors
    /// When a step fails or it is not ready in time.
    pub async fn serving(spec: AuditSpec<'_>) -> Result<Self> {
        let mut audit = Self::prepared(spec)?;
        audit.start()?;
        audit.wait_ready().await?;
        Ok(audit)
    }

    /// Lets a `fuda-audit` read the ledger of a cluster: the ids of its grants.
    ///
    /// # Errors
    /// When the grant is not approved.
    pub async fn admit(cluster: &LocalCluster) -> Result<Vec<String>> {
        let auditor = Grant {
            caller: cluster.ca().spiffe_id(AUDIT_PATH),
            role: Role::Auditor.into(),
            actions: vec!["read_ledger".to_owned()],
            ..Grant::default()
        };
        cluster.grant(vec![auditor]).await
    }

    /// One that follows a cluster which admitted it, ready to answer.
    ///
    /// # Errors
    /// As [`AuditProcess::serving`].
    pub async fn following(
        cluster: &LocalCluster,
        vault_binary: &Path,
        dir: PathBuf,
        rollback_after_s: u64,
    ) -> Result<Self> {
        let mut audit = Self::beside(cluster, vault_binary, dir, rollback_after_s)?;
        audit.start()?;
        audit.wait_ready().await?;
        Ok(audit)
    }

    /// The same, not started yet.
    ///
    /// # Errors
    /// As [`AuditProcess::prepared`].
    pub fn beside(cluster: &LocalCluster, vault_binary: &Path, dir: PathBuf, rollback_after_s: u64) -> Result<Self> {
        Self::prepared(AuditSpec {
            vault_binary,
            dir,
            ca: cluster.ca(),
            endpoints: cluster.client_addresses(),
            verifier_key: cluster.ledger_verifier_key().context("the ledger has a key")?,
            rollback_after_s,
        })
    }

    /// Writes the settings and makes the key with `fuda-audit init`; [`AuditProcess::start`] starts it.
    ///
    /// # Errors
    /// When a step fails.
    pub fn prepared(spec: AuditSpec<'_>) -> Result<Self> {
        let binary = spec.vault_binary.with_file_name("fuda-audit");
        ensure!(binary.is_file(), "there is no `{}`; run deploy/evidence, it builds", binary.display());
        fs::create_dir_all(&spec.dir)?;
        let subject = Subject {
            uris: vec![spec.ca.spiffe_id(AUDIT_PATH)],
            hosts: vec!["localhost".to_owned(), "127.0.0.1".to_owned()],
            ..Subject::default()
        };
        let own = spec.ca.issue(Authority::Clients, &spec.dir.join("tls"), "cert", &subject)?;
        let auditor = Subject { uris: vec![spec.ca.spiffe_id("person/auditor")], ..Subject::default() };
        let auditor = spec.ca.issue(Authority::Clients, &spec.dir.join("auditor"), "cert", &auditor)?;
        let bind = || TcpListener::bind("127.0.0.1:0");
        let bound = [bind()?, bind()?, bind()?];
        let addresses =
            bound.iter().map(|it| it.local_addr().map(|it| it.to_string())).collect::<Result<Vec<_>, _>>()?;
        let [client, ops, console] = <[String; 3]>::try_from(addresses).map_err(|_| anyhow!("three addresses"))?;
        drop(bound);
        fs::write(spec.dir.join("verifier-key"), format!("{}\n", spec.verifier_key))?;
        let settings = spec.dir.join("fuda-audit.toml");
        fs::write(&settings, settings_text(&spec, &own, [&client, &ops, &console]))?;
        let mut audit = Self {
            binary,
            dir: spec.dir,
            settings,
            client,
            ops,
            console,
            auditor,
            process: None,
            witness_key: String::new(),
            mutant: None,
        };
        audit.witness_key = audit.command("init", &[])?.trim().to_owned();
        Ok(audit)
    }

    /// Plants a bug in every process that is started from now on; its binary must have failpoints.
    pub fn plant(&mut self, mutant: &'static str) {
        self.mutant = Some(mutant);
    }

    /// One of a synthetic log that no vault serves, not started, for a store that `fuda-audit-scale` fills.
    ///
    /// # Errors
    /// When a step fails.
    pub fn alone(vault_binary: &Path, dir: PathBuf) -> Result<Self> {
        let ca = DevCa::open(&dir.join("authority"), TRUST_DOMAIN)?;
        // The key that the filled store's checkpoint is signed with.
        let key = SigningKey::from_seed(&[7; 32])?;
        Self::prepared(AuditSpec {
            vault_binary,
            dir,
            ca: &ca,
            // Nobody listens there.
            endpoints: vec!["127.0.0.1:9".to_owned()],
            verifier_key: &VerifierKey::new("fuda.test/scale", key.public_key())?.to_string(),
            rollback_after_s: 10,
        })
    }

    /// The authority of one that is alone.
    ///
    /// # Errors
    /// When it is not.
    pub fn authority(&self) -> Result<DevCa> {
        Ok(DevCa::existing(&self.dir.join("authority"))?)
    }

    /// File with the ledger's verifier key.
    pub fn verifier_key_file(&self) -> PathBuf {
        self.dir.join("verifier-key")
    }

    /// The public key that `init` printed.
    pub fn witness_key(&self) -> &str {
        &self.witness_key
    }

    /// Where the console listens.
    pub fn console(&self) -> &str {
        &self.console
    }

    /// Where auditors ask.
    pub fn address(&self) -> &str {
        &self.client
    }

    /// The certificate of its auditor.
    pub fn auditor(&self) -> &Pems {
        &self.auditor
    }

    /// Where the store and the evidence lie.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// Starts it without waiting.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&mut self) -> Result<()> {
        let append = |name: &str| OpenOptions::new().create(true).append(true).open(self.dir.join(name));
        let mut command = bound_command(&self.binary);
        command.arg("serve").arg("--config").arg(&self.settings).envs(self.planted());
        command.stdin(Stdio::null()).stdout(append("stdout.log")?).stderr(append("stderr.log")?);
        self.process = Some(spawn(command)?);
        Ok(())
    }

    /// SIGKILL, and waits for the end.
    ///
    /// # Errors
    /// When the process cannot be waited for.
    pub fn kill9(&mut self) -> Result<()> {
        if let Some(mut child) = self.process.take() {
            // It may have ended by itself.
            let _ = child.kill();
            child.wait()?;
        }
        Ok(())
    }

    /// Waits until it is ready.
    ///
    /// # Errors
    /// When it ends, or is not ready in a minute; the end of its log is in the message.
    pub async fn wait_ready(&mut self) -> Result<()> {
        let until = Instant::now() + Duration::from_secs(60);
        while !matches!(get_page(&self.ops, "/readyz").await, Ok((200, _))) {
            let ended = self.process.as_mut().map(Child::try_wait).transpose()?.flatten();
            if ended.is_some() || Instant::now() > until {
                bail!(
                    "fuda-audit is not ready: {}",
                    fs::read_to_string(self.dir.join("stderr.log")).unwrap_or_default()
                );
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Ok(())
    }

    /// What it tells an auditor.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn status(&self) -> Result<GetStatusResponse> {
        Ok(self.service()?.get_status(GetStatusRequest::default()).await?.into_inner())
    }

    /// Its newest cosigned checkpoint.
    ///
    /// # Errors
    /// When it does not answer, or has none.
    pub async fn checkpoint(&self) -> Result<GetCheckpointResponse> {
        Ok(self.service()?.get_checkpoint(GetCheckpointRequest {}).await?.into_inner())
    }

    /// AuditService as its auditor calls it.
    ///
    /// # Errors
    /// When the certificate cannot be read.
    pub fn service(&self) -> Result<AuditServiceClient<Channel>> {
        let connector = connector_to(&self.auditor, TRUST_DOMAIN, "audit")?;
        Ok(AuditServiceClient::new(channel(&self.client, connector, CALL_DEADLINE)?))
    }

    /// Waits until the status fulfils a condition.
    ///
    /// # Errors
    /// When it does not within `within`; with the last status.
    pub async fn wait(&self, within: Duration, so: impl Fn(&GetStatusResponse) -> bool) -> Result<GetStatusResponse> {
        let until = Instant::now() + within;
        loop {
            let status = self.status().await;
            match status {
                Ok(status) if so(&status) => return Ok(status),
                Ok(status) if Instant::now() > until => bail!("fuda-audit never came to it; its status: {status:?}"),
                Err(error) if Instant::now() > until => return Err(error.context("fuda-audit does not answer")),
                _ => tokio::time::sleep(LOOK_AGAIN).await,
            }
        }
    }

    /// Settles an alarm as a person does.
    ///
    /// # Errors
    /// When the command refuses.
    pub fn settle(&self, alarm: u64) -> Result<()> {
        self.command("settle", &["--alarm", &alarm.to_string(), "--by", "auditor", "--reason", "looked into"])?;
        Ok(())
    }

    /// Adds lines to a table of its settings, which it reads when it starts again.
    ///
    /// # Errors
    /// When the file has no such table or cannot be written.
    pub fn add_settings(&self, table: &str, lines: &str) -> Result<()> {
        let (text, head) = (fs::read_to_string(&self.settings)?, format!("[{table}]\n"));
        ensure!(text.contains(&head), "the settings have no table `{table}`");
        Ok(fs::write(&self.settings, text.replacen(&head, &format!("{head}{lines}\n"), 1))?)
    }

    /// Adds a table to its settings, which it reads when it starts again.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn add_table(&self, table: &str, lines: &str) -> Result<()> {
        let text = fs::read_to_string(&self.settings)?;
        Ok(fs::write(&self.settings, format!("{text}\n[{table}]\n{lines}\n"))?)
    }

    /// Gives it another verifier key, which it reads when it starts again.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn set_verifier_key(&self, key: &str) -> Result<()> {
        Ok(fs::write(self.verifier_key_file(), format!("{key}\n"))?)
    }

    /// Has it take a statement of succession, while it does not run.
    ///
    /// # Errors
    /// When the command refuses.
    pub fn succeed(&self, statement: &[u8], first: &str) -> Result<String> {
        let (statement_file, first_file) = (self.dir.join("statement"), self.dir.join("first"));
        fs::write(&statement_file, statement)?;
        fs::write(&first_file, first)?;
        self.command("succeed", &["--statement", &path_text(&statement_file), "--first", &path_text(&first_file)])
    }

    /// Runs `fuda-audit-scale` on its settings, while it does not serve, and returns the line of JSON.
    ///
    /// # Errors
    /// When the command fails.
    pub fn scale(&self, name: &str, more: &[&str]) -> Result<serde_json::Value> {
        let line = self.run(&self.binary.with_file_name("fuda-audit-scale"), name, more)?;
        serde_json::from_str(&line).context("standard output")
    }

    fn planted(&self) -> Option<(&str, &str)> {
        self.mutant.map(|mutant| (MUTANT_ENV, mutant))
    }

    fn command(&self, name: &str, more: &[&str]) -> Result<String> {
        self.run(&self.binary, name, more)
    }

    fn run(&self, binary: &Path, name: &str, more: &[&str]) -> Result<String> {
        let mut command = Command::new(binary);
        let ended = command.arg(name).arg("--config").arg(&self.settings).args(more).envs(self.planted()).output();
        let ended = ended.with_context(|| format!("`{}`", binary.display()))?;
        let error = String::from_utf8_lossy(&ended.stderr);
        ensure!(ended.status.success(), "`{} {name}` ended with {}: {error}", binary.display(), ended.status);
        String::from_utf8(ended.stdout).context("standard output")
    }
}

impl Drop for AuditProcess {
    fn drop(&mut self) {
        // Nothing more can be done here; the kernel kills it with us at the latest.
        let _ = self.kill9();
    }
}

fn settings_text(spec: &AuditSpec<'_>, own: &Pems, [client, ops, console]: [&str; 3]) -> String {
    let quoted = |path: &Path| format!("{:?}", path_text(path));
    format!(
        "[audit]\nname = \"one\"\ndata_dir = {data}\nwitness_name = {WITNESS_NAME:?}\n\n\
         [vault]\nendpoints = {endpoints:?}\nverifier_key_file = {key}\ninterval_ms = 100\n\
         rollback_after_s = {rollback}\nwithheld_after_s = 60\n\n\
         [listen]\nclient = {client:?}\nops = {ops:?}\nconsole = {console:?}\n\n\
         [tls]\ncertificate_file = {certificate}\nkey_file = {tls_key}\nauthorities_file = {authority}\n\n\
         [[auditors]]\ncaller = {auditor:?}\n",
        data = quoted(&spec.dir.join("data")),
        endpoints = spec.endpoints,
        key = quoted(&spec.dir.join("verifier-key")),
        rollback = spec.rollback_after_s,
        certificate = quoted(&own.certificate),
        tls_key = quoted(&own.key),
        authority = quoted(&own.authority),
        auditor = spec.ca.spiffe_id("person/auditor"),
    )
}
