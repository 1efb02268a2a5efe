//! `fuda-audit dev`: a witness of a running `fuda-vault dev`, for an auditor's first hour: certificate, settings, key and
//! all, from the directory that the test vault wrote.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use fuda_ledger::VerifierKey;
use fuda_runtime::dev_ca::{Authority, DevCa, Pems, Subject};

use crate::config::Config;

/// SPIFFE paths that the demo vault knows; a client knows a `fuda-audit` by the beginning of its own.
const OWN_PATH: &str = "audit/dev";
const AUDITOR_PATH: &str = "demo/auditor";

/// Arguments of `dev`.
#[derive(Args)]
pub(crate) struct DevArguments {
    /// Directory of the `fuda-vault dev`.
    #[arg(long)]
    dir: PathBuf,
    /// Its address.
    #[arg(long, default_value = "localhost:7301")]
    vault: String,
    /// Port for auditors; the next one is for metrics, the one after for the console.
    #[arg(long, default_value_t = 7311, value_parser = clap::value_parser!(u16).range(1..=65_533))]
    port: u16,
}

/// Writes what `serve` needs, below `DIR/audit`, and says how to ask. A vault that was started anew is another log and
/// gets another directory.
pub(crate) fn prepare(arguments: &DevArguments) -> anyhow::Result<Config> {
    let (dir, port) = (arguments.dir.canonicalize().context("--dir")?, arguments.port);
    let ca = DevCa::existing(&dir)?;
    let key_file = dir.join("ledger.vkey");
    let key = std::fs::read_to_string(&key_file).with_context(|| format!("`{}`", key_file.display()))?;
    let log = VerifierKey::parse(key.trim()).with_context(|| format!("`{}`", key_file.display()))?;
    let place = dir.join("audit").join(log.name().rsplit('/').next().unwrap_or_default());
    let subject = Subject {
        uris: vec![ca.spiffe_id(OWN_PATH)],
        hosts: vec!["localhost".to_owned(), "127.0.0.1".to_owned()],
        ..Subject::default()
    };
    let own = ca.issue(Authority::Clients, &place, "cert", &subject)?;
    let settings = place.join("fuda-audit.toml");
    let text = settings_text(&place, &key_file, &own, arguments, &ca.spiffe_id(AUDITOR_PATH));
    std::fs::write(&settings, text).with_context(|| format!("`{}`", settings.display()))?;
    let config = Config::load(&settings)?;
    if !crate::key_file(&config).exists() {
        crate::init(&config)?;
    }
    greet(&dir, &arguments.vault, port)?;
    Ok(config)
}

fn settings_text(place: &Path, key_file: &Path, own: &Pems, arguments: &DevArguments, auditor: &str) -> String {
    let quoted = |path: &Path| format!("{:?}", path.display().to_string());
    let listen = [0, 1, 2].map(|more| format!("127.0.0.1:{}", arguments.port + more));
    format!(
        "[audit]\nname = \"dev\"\ndata_dir = {data}\nwitness_name = \"audit.fuda.test/dev\"\n\n\
         [vault]\nendpoints = [{vault:?}]\nverifier_key_file = {key}\ninterval_ms = 200\n\n\
         [listen]\nclient = {client:?}\nops = {ops:?}\nconsole = {console:?}\n\n\
         [tls]\ncertificate_file = {certificate}\nkey_file = {tls_key}\nauthorities_file = {authority}\n\n\
         [[auditors]]\ncaller = {auditor:?}\n\n\
         [telemetry]\nlog_format = \"text\"\nlog_filter = \"warn\"\n",
        data = quoted(&place.join("data")),
        vault = arguments.vault,
        key = quoted(key_file),
        client = listen[0],
        ops = listen[1],
        console = listen[2],
        certificate = quoted(&own.certificate),
        tls_key = quoted(&own.key),
        authority = quoted(&own.authority),
    )
}

fn greet(dir: &Path, vault: &str, port: u16) -> std::io::Result<()> {
    let (dir, console) = (dir.display(), port + 2);
    writeln!(
        std::io::stdout().lock(),
        "fuda-audit dev: verifies and cosigns the ledger of the test vault at {vault}. Ctrl-C ends it.\n\n  \
         export FUDA_AUDIT_ADDRESS=localhost:{port} FUDA_IDENTITY={dir}/identities/auditor\n  \
         fuda audit status\n  \
         fuda audit query 'decision = allowed'\n  \
         fuda audit who --tenant demo --subject E1\n  \
         fuda audit report usage --tenant demo --from $(date +%F) --until $(date +%F) --out usage.html\n\n\
         console: https://localhost:{console}, for a browser that trusts {dir}/ca/clients-ca.pem and has the auditor's \
         certificate:\n  \
         openssl pkcs12 -export -in {dir}/identities/auditor/cert.pem -inkey {dir}/identities/auditor/cert.key.pem \
         -out auditor.p12\n"
    )
}
