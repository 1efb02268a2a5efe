//! One node: a process, its settings file and its directories.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use fuda_runtime::dev_ca::Pems;
use rustix::process::{Pid, Signal, kill_process};

use super::spawn::{bound_command, spawn};
use crate::wire::{accepts, get_page, path_text};

/// How often a waiting loop looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(25);
/// How long a stopped node may take after SIGTERM.
const STOP_WITHIN: Duration = Duration::from_secs(60);
/// Bytes of the end of a log that an error shows.
const LOG_TAIL_BYTES: usize = 2_000;

/// Where a node listens, `host:port` each.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// gRPC for callers.
    pub client: String,
    /// gRPC between nodes.
    pub peer: String,
    /// `/metrics`, `/livez`, `/readyz`.
    pub ops: String,
}

/// What a node is made of. Everything can be changed between two starts.
#[derive(Clone, Debug)]
pub struct NodeSpec {
    /// Its name and the last segment of its SPIFFE id.
    pub name: String,
    /// The `fuda-vault` to run.
    pub binary: PathBuf,
    /// Its data directory.
    pub data_dir: PathBuf,
    /// Where settings, standard output and standard error go.
    pub run_dir: PathBuf,
    /// Where it listens.
    pub addresses: Addresses,
    /// Environment variables on top of ours.
    pub env: Vec<(String, String)>,
    /// What it shows to callers.
    pub client_tls: Pems,
    /// What it shows to nodes.
    pub peer_tls: Pems,
    /// Directory of the file custodian, shared by the nodes.
    pub custodian_dir: PathBuf,
    /// Who may bootstrap.
    pub bootstrap_operator: String,
    /// OTLP endpoint, if telemetry is collected.
    pub otlp_endpoint: Option<String>,
    /// Share of calls that are traced.
    pub trace_sample_ratio: f64,
    /// Filter of its log.
    pub log_filter: String,
    /// More tables of its settings, in TOML.
    pub settings: String,
}

/// A node, running or not. Dropping it kills the process.
#[derive(Debug)]
pub struct Node {
    spec: NodeSpec,
    process: Option<Child>,
    starts: u32,
}

impl Node {
    /// A node that was not started yet.
    pub fn new(spec: NodeSpec) -> Self {
        Self { spec, process: None, starts: 0 }
    }

    /// What it is made of.
    pub fn spec(&self) -> &NodeSpec {
        &self.spec
    }

    /// Changes what the next start uses.
    pub fn spec_mut(&mut self) -> &mut NodeSpec {
        &mut self.spec
    }

    /// Process id while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// The file its standard error (the log) is appended to.
    pub fn log_file(&self) -> PathBuf {
        self.spec.run_dir.join("stderr.log")
    }

    /// Writes the settings and starts the process. Returns at once; see [`Node::wait_live`].
    ///
    /// # Errors
    /// When it runs already or cannot be started.
    pub fn start(&mut self) -> Result<()> {
        if self.process.is_some() {
            bail!("node {} runs already", self.spec.name);
        }
        let spec = &self.spec;
        fs::create_dir_all(&spec.run_dir)?;
        let settings = spec.run_dir.join("fuda-vault.toml");
        fs::write(&settings, settings_text(spec))?;
        let append = |name: &str| OpenOptions::new().create(true).append(true).open(spec.run_dir.join(name));
        let mut command = bound_command(&spec.binary);
        command.arg("serve").arg("--config").arg(&settings);
        command.envs(spec.env.iter().map(|(key, value)| (key, value)));
        command.stdin(Stdio::null()).stdout(append("stdout.log")?).stderr(append("stderr.log")?);
        self.process = Some(spawn(command)?);
        self.starts += 1;
        Ok(())
    }

    /// How often it was started.
    pub fn starts(&self) -> u32 {
        self.starts
    }

    /// SIGKILL, and waits for the end. Nothing happens when it does not run.
    ///
    /// # Errors
    /// When the process cannot be waited for.
    pub fn kill9(&mut self) -> Result<()> {
        if let Some(mut child) = self.process.take() {
            // It may have ended by itself: then there is nobody to signal, and waiting is all that is left.
            let _ = child.kill();
            child.wait().context("waiting for a killed node")?;
        }
        Ok(())
    }

    /// Sends SIGTERM and waits up to 60 s.
    ///
    /// # Errors
    /// When it does not end in time (it is killed then) or ends with another code than 0.
    pub async fn stop(&mut self) -> Result<()> {
        let Some(status) = self.terminate().await? else { return Ok(()) };
        if !status.success() {
            bail!("node {} ended with {status} after SIGTERM: {}", self.spec.name, self.log_tail());
        }
        Ok(())
    }

    async fn terminate(&mut self) -> Result<Option<ExitStatus>> {
        self.signal(Signal::TERM)?;
        let until = Instant::now() + STOP_WITHIN;
        while Instant::now() < until {
            if let Some(status) = self.exited()? {
                self.process = None;
                return Ok(Some(status));
            }
            if self.process.is_none() {
                return Ok(None);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        self.kill9()?;
        bail!("node {} did not end within {STOP_WITHIN:?} after SIGTERM: {}", self.spec.name, self.log_tail())
    }

    /// Sends a signal (`STOP` and `CONT` pause and resume). Nothing happens when it does not run.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.pid().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            kill_process(pid, signal).with_context(|| format!("signalling node {}", self.spec.name))?;
        }
        Ok(())
    }

    /// The exit status, when the process ended by itself.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn exited(&mut self) -> Result<Option<ExitStatus>> {
        match &mut self.process {
            Some(child) => Ok(child.try_wait()?),
            None => Ok(None),
        }
    }

    /// Waits until the ops listener says alive and the client listener accepts connections.
    ///
    /// # Errors
    /// When the process ends, or time is over; the end of its log is in the message.
    pub async fn wait_live(&mut self, within: Duration) -> Result<()> {
        let until = Instant::now() + within;
        let (ops, client) = (self.spec.addresses.ops.clone(), self.spec.addresses.client.clone());
        loop {
            if matches!(get_page(&ops, "/livez").await, Ok((200, _))) && accepts(&client).await {
                return Ok(());
            }
            self.still_waiting("live", until, "").await?;
        }
    }

    /// Waits until the ops listener says ready.
    ///
    /// # Errors
    /// As [`Node::wait_live`], with the reasons that `/readyz` gave.
    pub async fn wait_ready(&mut self, within: Duration) -> Result<()> {
        let until = Instant::now() + within;
        let ops = self.spec.addresses.ops.clone();
        loop {
            let reasons = match get_page(&ops, "/readyz").await {
                Ok((200, _)) => return Ok(()),
                Ok((_, body)) => String::from_utf8_lossy(&body).into_owned(),
                Err(error) => error.to_string(),
            };
            self.still_waiting("ready", until, &reasons).await?;
        }
    }

    async fn still_waiting(&mut self, what: &str, until: Instant, reasons: &str) -> Result<()> {
        if let Some(status) = self.exited()? {
            self.process = None;
            bail!("node {} ended with {status} before it was {what}: {}", self.spec.name, self.log_tail());
        }
        if self.process.is_none() {
            bail!("node {} does not run", self.spec.name);
        }
        if Instant::now() > until {
            bail!("node {} was not {what} in time ({reasons}): {}", self.spec.name, self.log_tail());
        }
        tokio::time::sleep(LOOK_AGAIN).await;
        Ok(())
    }

    /// The end of its log, for error messages.
    pub fn log_tail(&self) -> String {
        let bytes = fs::read(self.log_file()).unwrap_or_default();
        let tail = bytes.get(bytes.len().saturating_sub(LOG_TAIL_BYTES)..).unwrap_or_default();
        format!("\n--- end of {}\n{}", self.log_file().display(), String::from_utf8_lossy(tail))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Nothing more can be done here; the kernel kills it with us at the latest.
        let _ = self.kill9();
    }
}

fn settings_text(spec: &NodeSpec) -> String {
    let quoted = |path: &Path| format!("{:?}", path_text(path));
    let pems = |pems: &Pems| {
        let (certificate, key, authority) = (quoted(&pems.certificate), quoted(&pems.key), quoted(&pems.authority));
        format!("certificate_file = {certificate}\nkey_file = {key}\nauthorities_file = {authority}\n")
    };
    let Addresses { client, peer, ops } = &spec.addresses;
    let otlp = spec.otlp_endpoint.as_ref().map(|to| format!("otlp_endpoint = {to:?}\n")).unwrap_or_default();
    format!(
        "bootstrap_operator = {operator:?}\n\n\
         [node]\nname = {name:?}\ndata_dir = {data}\npeer_address = {peer:?}\nclient_address = {client:?}\n\n\
         [listen]\nclient = {client:?}\npeer = {peer:?}\nops = {ops:?}\n\n\
         [tls.client]\n{client_tls}\n[tls.peer]\n{peer_tls}\n\
         [custodian.file]\ndir = {custodian}\n\n\
         [telemetry]\n{otlp}log_format = \"json\"\nlog_filter = {filter:?}\nsample_ratio = {ratio:?}\n{settings}",
        operator = spec.bootstrap_operator,
        name = spec.name,
        data = quoted(&spec.data_dir),
        client_tls = pems(&spec.client_tls),
        peer_tls = pems(&spec.peer_tls),
        custodian = quoted(&spec.custodian_dir),
        filter = spec.log_filter,
        ratio = spec.trace_sample_ratio,
        settings = spec.settings,
    )
}
