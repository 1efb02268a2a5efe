//! A Python script with stubs generated from `proto/` works with a cluster: the API is the .proto files, not our client.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use fuda_core::Code;
use serde_json::{Value, json};
use tokio::process::Command;

use super::{Ctx, Evidence, Outcome, progress};
use crate::cluster::{LocalCluster, PURPOSE, SCOPES, TENANT};
use crate::synthetic::People;

/// A purpose of the catalogue that nobody here was granted.
const WRONG_PURPOSE: &str = "tax.salary_report";
/// Installing Python packages takes a download.
const INSTALL_WITHIN: Duration = Duration::from_secs(300);
/// Generating stubs, or the script itself.
const RUN_WITHIN: Duration = Duration::from_secs(120);

/// See the module.
pub(super) const EVIDENCE: Evidence = Evidence {
    name: "foreign-client",
    proves: "a Python client generated from proto/ tokenizes, detokenizes at another node and understands a refusal",
    target: "number returned, wrong purpose refused with its stable code; control: a changed authority is not trusted",
    mutants: &[],
    run: |ctx| Box::pin(run(ctx)),
};

async fn run(ctx: Ctx) -> Result<Outcome> {
    let python = match environment(&ctx).await {
        Ok(python) => python,
        Err(error) => return Ok(Outcome::skipped(format!("no Python with grpcio-tools: {error:#}"))),
    };
    let stubs = ctx.dir("stubs")?;
    generate(&python, &stubs).await?;
    let mut cluster = LocalCluster::serving(ctx.cluster("cluster")?).await?;
    let called = call(&python, &stubs, &cluster, "clients-ca.pem", ctx.seed).await?;
    ensure!(called.status.success(), "the script failed: {}", String::from_utf8_lossy(&called.stderr));
    let line = String::from_utf8_lossy(&called.stdout).into_owned();
    let value: Value = serde_json::from_str(line.trim()).with_context(|| format!("the script printed {line:?}"))?;
    // The control: the same script must fail when it is told to trust another authority than the nodes'.
    let distrusting = call(&python, &stubs, &cluster, "peers-ca.pem", ctx.seed + 1).await?;
    cluster.stop().await?;

    let is_true = |key: &str| value.get(key) == Some(&Value::Bool(true));
    let code = value.pointer("/error/code").and_then(Value::as_str);
    let understood = code == Some(Code::DeniedOrNotFound.id());
    let pass = is_true("detokenized")
        && is_true("entry_after_entry")
        && is_true("wrong_purpose_refused")
        && !is_true("number_in_error")
        && understood;
    Ok(Outcome {
        value: json!({"python": value}),
        pass,
        mutant_caught: Some(!distrusting.status.success()),
        skipped: None,
    })
}

/// A Python with the packages of `python/requirements.txt`, made once per machine in the cache.
async fn environment(ctx: &Ctx) -> Result<PathBuf> {
    let home = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    let venv = home.map_or_else(|| ctx.work_dir.join("python"), |home| home.join("fuda/python"));
    let python = venv.join("bin/python");
    let probe = ["-c", "import grpc, grpc_tools, google.rpc.error_details_pb2"];
    if output(Command::new(&python).args(probe), RUN_WITHIN).await.is_ok_and(|probed| probed.status.success()) {
        return Ok(python);
    }
    progress(&format!("installing grpcio-tools into {}", venv.display()));
    succeed(Command::new("python3").arg("-m").arg("venv").arg(&venv), RUN_WITHIN).await?;
    let requirements = source("load-tests/python/requirements.txt");
    let mut install = Command::new(&python);
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:", "-r"]);
    succeed(install.arg(requirements), INSTALL_WITHIN).await?;
    succeed(Command::new(&python).args(probe), RUN_WITHIN).await?;
    Ok(python)
}

async fn generate(python: &Path, stubs: &Path) -> Result<()> {
    let proto = source("proto");
    let mut generate = Command::new(python);
    generate.args(["-m", "grpc_tools.protoc", "-I"]).arg(&proto);
    generate.arg(format!("--python_out={}", stubs.display())).arg(format!("--grpc_python_out={}", stubs.display()));
    generate.arg(proto.join("fuda/vault/v1/token.proto"));
    succeed(&mut generate, RUN_WITHIN).await
}

/// Runs the script against the first two nodes, trusting the authority in the file `authority`.
async fn call(python: &Path, stubs: &Path, cluster: &LocalCluster, authority: &str, seed: u64) -> Result<Output> {
    let addresses = cluster.client_addresses();
    let [one, other, ..] = addresses.as_slice() else { bail!("fewer than two nodes") };
    let work_dir = &cluster.options().work_dir;
    let [scope, _] = SCOPES;
    let mut script = Command::new(python);
    script.arg(source("load-tests/python/foreign_client.py"));
    script.arg("--stubs").arg(stubs).args(["--endpoint", one, "--other-endpoint", other]);
    script.arg("--authority").arg(work_dir.join("ca").join(authority));
    script.arg("--hr").arg(work_dir.join("identities/hr"));
    script.arg("--payroll").arg(work_dir.join("identities/payroll"));
    script.args(["--tenant", TENANT, "--scope", scope, "--purpose", PURPOSE, "--wrong-purpose", WRONG_PURPOSE]);
    // A synthetic number on a command line of a test, never a real one.
    script.args(["--number", &People::new(seed).my_number(1)]);
    output(&mut script, RUN_WITHIN).await
}

fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

async fn succeed(command: &mut Command, within: Duration) -> Result<()> {
    let ended = output(command, within).await?;
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    ensure!(
        ended.status.success(),
        "{program} ended with {}: {}",
        ended.status,
        String::from_utf8_lossy(&ended.stderr)
    );
    Ok(())
}

async fn output(command: &mut Command, within: Duration) -> Result<Output> {
    let running = command.stdin(Stdio::null()).kill_on_drop(true).output();
    Ok(tokio::time::timeout(within, running).await.context("it did not end in time")??)
}
