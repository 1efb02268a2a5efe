//! Settings of fuda-audit. Every key has its default, unit and range here; `docs/src/reference/config.md` repeats them.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use fuda_core::{CallerId, TenantId};
use fuda_ledger::VerifierKey;
use fuda_report::Facts;
use fuda_runtime::telemetry::TelemetryConfig;
use fuda_runtime::tls::TlsPaths;
use fuda_wire::Sight;
use serde::Deserialize;

use crate::ask::SUMS_AT_ONCE;
use crate::auditors::Auditors;
use crate::console::OidcSettings;
use crate::export::Limits;

/// Bytes of a file that holds a verifier key.
const KEY_FILE_BYTES_MAX: u64 = 4_096;
/// Nodes of one vault.
const ENDPOINTS_MAX: usize = 16;
/// People who may state a succession.
const SUCCESSION_KEYS_MAX: usize = 16;
/// Bytes of an export that a killed process writes again at most.
const PART_BYTES: u64 = 4 << 20;
/// Auditors of one fuda-audit.
const AUDITORS_MAX: usize = 1_000;

/// The whole file. Unknown keys are refused: a knob that does nothing is a bug.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Who this process is and where its data lies.
    pub(crate) audit: Audit,
    /// The vault it follows.
    pub(crate) vault: Vault,
    /// The listeners.
    pub(crate) listen: Listen,
    /// Certificate `spiffe://DOMAIN/audit/NAME`, shown to auditors and to the vault.
    pub(crate) tls: TlsPaths,
    /// Who may ask; nobody else is answered.
    #[serde(default)]
    pub(crate) auditors: Vec<Auditor>,
    /// What reports tell that entries do not: names, countries, keys, entrusted parties. Never a key or a number.
    #[serde(default)]
    pub(crate) report: Facts,
    /// Files that auditors ask for.
    #[serde(default)]
    pub(crate) export: Export,
    /// Who may look at pages without a certificate.
    #[serde(default)]
    pub(crate) console: Console,
    /// How long entries are kept.
    #[serde(default)]
    pub(crate) retention: Retention,
    /// Logs, traces and metrics.
    #[serde(default)]
    pub(crate) telemetry: TelemetryConfig,
}

/// Who this process is.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Audit {
    /// Name of the instance in telemetry.
    pub(crate) name: String,
    /// Directory for the store, the evidence and the witness's key. Made with mode 0700 when missing.
    pub(crate) data_dir: PathBuf,
    /// Name the witness cosigns under, such as `audit.example.jp/one`: 1 to 255 bytes without spaces and `+`.
    pub(crate) witness_name: String,
    /// Public keys of the people who may state that one log succeeds another (`fuda audit succession keygen` prints them),
    /// at most 16. Two of them must sign. Absent: no succession is accepted.
    #[serde(default)]
    pub(crate) succession_keys: Vec<String>,
    /// Sums, reports and verifications that are made at once, 1..=256; one more is refused (FUDA-4002).
    #[serde(default = "sums_at_once_max")]
    pub(crate) sums_at_once_max: usize,
}

/// The vault it follows.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Vault {
    /// `host:port` of every node, 1 to 16. Each is asked for its checkpoints: a fork shows in their differences.
    pub(crate) endpoints: Vec<String>,
    /// File with the ledger's verifier key, kept from `fuda cluster init`.
    pub(crate) verifier_key_file: PathBuf,
    /// How often the nodes are asked, in milliseconds, 100..=60000.
    #[serde(default = "interval_ms")]
    pub(crate) interval_ms: u64,
    /// How long most nodes may show less than was verified before it counts as a rollback, in seconds, 1..=3600.
    #[serde(default = "rollback_after_s")]
    pub(crate) rollback_after_s: u64,
    /// How long a node may have entries that no checkpoint signs before it counts as withheld, in seconds, 5..=3600.
    #[serde(default = "withheld_after_s")]
    pub(crate) withheld_after_s: u64,
}

/// The listeners.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listen {
    /// gRPC for auditors, mTLS.
    pub(crate) client: SocketAddr,
    /// Plaintext `/metrics`, `/livez`, `/readyz`; keep it inside the pod network.
    pub(crate) ops: SocketAddr,
    /// Pages for auditors with a browser, mTLS or sign-in at `console.oidc`; absent: none are served.
    pub(crate) console: Option<SocketAddr>,
}

/// Who may look at pages without a certificate.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Console {
    /// The provider at which they sign in; absent: a certificate is demanded.
    pub(crate) oidc: Option<OidcSettings>,
}

/// Files that auditors ask for.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Export {
    /// How long a file is kept from the start of its export, in hours, 1..=720.
    keep_hours: u64,
    /// Size of one file, in MiB, 1..=1048576.
    file_mib_max: u64,
    /// Size of all files together, those being written counted as full, in MiB, 1..=16777216.
    total_mib_max: u64,
}

impl Default for Export {
    fn default() -> Self {
        Self { keep_hours: 72, file_mib_max: 4_096, total_mib_max: 20_480 }
    }
}

impl Export {
    /// The bounds of exports.
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            keep: Duration::from_secs(self.keep_hours * 3_600),
            file_bytes_max: self.file_mib_max << 20,
            total_bytes_max: self.total_mib_max << 20,
            part_bytes: PART_BYTES,
        }
    }
}

/// How long entries are kept.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Retention {
    /// In years, 1..=100. A change is announced in the ledger of questions; a shorter period is in force 14 days later.
    pub(crate) years: u8,
}

impl Default for Retention {
    fn default() -> Self {
        Self { years: 10 }
    }
}

/// Somebody who may ask, and how far he sees.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Auditor {
    /// His SPIFFE id; or `oidc:ALIAS/SUBJECT`, who signs in at the provider of the console.
    caller: String,
    /// Only entries of this tenant; absent: of all tenants and the vault itself.
    tenant: Option<String>,
    /// Only entries of these callers (those of an entrusted party); absent: of everybody.
    callers: Option<Vec<String>>,
}

fn sums_at_once_max() -> usize {
    SUMS_AT_ONCE
}

fn interval_ms() -> u64 {
    1_000
}

fn rollback_after_s() -> u64 {
    10
}

fn withheld_after_s() -> u64 {
    60
}

impl Config {
    /// Reads and checks the settings. Nothing is opened or bound before this succeeds.
    pub(crate) fn load(path: &Path) -> anyhow::Result<Self> {
        let config: Self = fuda_runtime::config::load(Some(path), "FUDA_AUDIT")?;
        config.check()?;
        Ok(config)
    }

    /// The ledger's verifier key.
    pub(crate) fn verifier_key(&self) -> anyhow::Result<VerifierKey> {
        let path = &self.vault.verifier_key_file;
        let shown = path.display();
        let length = std::fs::metadata(path).with_context(|| format!("`{shown}`"))?.len();
        ensure!(length <= KEY_FILE_BYTES_MAX, "`{shown}` is too long for a verifier key");
        let text = std::fs::read_to_string(path).with_context(|| format!("`{shown}`"))?;
        VerifierKey::parse(text.trim()).with_context(|| format!("`{shown}`"))
    }

    /// The keys of the people who may state a succession.
    pub(crate) fn succession_keys(&self) -> anyhow::Result<Vec<VerifierKey>> {
        let texts = &self.audit.succession_keys;
        let range = "configuration key `audit.succession_keys` must name none or 2 to 16 different people";
        ensure!(texts.is_empty() || (2..=SUCCESSION_KEYS_MAX).contains(&texts.len()), range);
        let parsed: Result<Vec<VerifierKey>, _> = texts.iter().map(|text| VerifierKey::parse(text)).collect();
        let keys = parsed.context("configuration key `audit.succession_keys`")?;
        let same = |a: &VerifierKey, b: &VerifierKey| a.name() == b.name() || a.public_key() == b.public_key();
        let twice = keys.iter().enumerate().any(|(place, key)| keys.iter().take(place).any(|it| same(it, key)));
        ensure!(!twice, range);
        Ok(keys)
    }

    /// The auditors and how far they see.
    pub(crate) fn auditors(&self) -> anyhow::Result<Auditors> {
        ensure!(self.auditors.len() <= AUDITORS_MAX, "configuration key `auditors` may have {AUDITORS_MAX} tables");
        let mut auditors = Auditors::default();
        for Auditor { caller, tenant, callers } in &self.auditors {
            let tenant = tenant.as_deref().map(TenantId::parse).transpose()?;
            let parse = |callers: &Vec<String>| callers.iter().map(|caller| CallerId::parse(caller)).collect();
            let callers: Option<BTreeSet<CallerId>> = callers.as_ref().map(parse).transpose()?;
            let caller = CallerId::parse(caller)?;
            let comes = caller.is_spiffe() || self.console.oidc.as_ref().is_some_and(|oidc| oidc.knows(&caller));
            ensure!(comes, "configuration key `auditors` names a person of no provider in `console.oidc`");
            let fresh = auditors.add(caller, Sight { tenant, callers });
            ensure!(fresh, "configuration key `auditors` names a caller twice");
        }
        Ok(auditors)
    }

    /// How long the follower waits between two rounds.
    pub(crate) fn interval(&self) -> Duration {
        Duration::from_millis(self.vault.interval_ms)
    }

    fn check(&self) -> anyhow::Result<()> {
        let in_range = |key: &str, value: u64, low: u64, high: u64| {
            ensure!((low..=high).contains(&value), "configuration key `{key}` must be in {low}..={high}");
            Ok(())
        };
        in_range("audit.sums_at_once_max", self.audit.sums_at_once_max as u64, 1, 256)?;
        in_range("vault.interval_ms", self.vault.interval_ms, 100, 60_000)?;
        in_range("vault.rollback_after_s", self.vault.rollback_after_s, 1, 3_600)?;
        in_range("retention.years", self.retention.years.into(), 1, 100)?;
        in_range("export.keep_hours", self.export.keep_hours, 1, 720)?;
        in_range("export.file_mib_max", self.export.file_mib_max, 1, 1 << 20)?;
        in_range("export.total_mib_max", self.export.total_mib_max, self.export.file_mib_max, 1 << 24)?;
        in_range("vault.withheld_after_s", self.vault.withheld_after_s, 5, 3_600)?;
        ensure!(
            (1..=ENDPOINTS_MAX).contains(&self.vault.endpoints.len()),
            "configuration key `vault.endpoints` must name 1 to {ENDPOINTS_MAX} nodes"
        );
        fuda_ledger::note::check_name(&self.audit.witness_name).context("configuration key `audit.witness_name`")?;
        self.auditors()?;
        if let Some(oidc) = &self.console.oidc {
            ensure!(self.listen.console.is_some(), "configuration table `console.oidc` needs `listen.console`");
            oidc.person().context("configuration table `console.oidc`")?;
        }
        self.report.check().context("configuration section `report`")?;
        self.succession_keys()?;
        Ok(())
    }
}
