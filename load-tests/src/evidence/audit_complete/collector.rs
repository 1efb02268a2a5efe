//! The collector of `deploy/collector` between the vault and the one who watches: killed at random, it loses nothing that
//! it acknowledged, and masks what looks like a number.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use fuda_proto::vault::v1::DetokenizeRequest;
use fuda_runtime::dev_ca::{DevCa, Pems};
use serde_json::{Value, json};
use tokio::process::Command;

use super::super::{Ctx, Evidence, Outcome, progress};
use super::sinks::{Copies, in_files};
use super::{DEADLINE, PERSONS, Revealing, SETTLED_WITHIN, settled};
use crate::cluster::spawn::{bound_command, spawn};
use crate::cluster::{LocalCluster, Options, TRUST_DOMAIN};
use crate::journal::whole_ledger;
use crate::sink::{Kept, Mood, UnwellSink};
use crate::synthetic::{Chance, People};
use crate::workload::{reveal, store};

/// One build at a time takes this on a busy machine.
const BUILT_WITHIN: Duration = Duration::from_secs(1_800);
/// How long the collector may take to listen.
const UP_WITHIN: Duration = Duration::from_secs(60);
/// What the next one may be like. What it refuses for good a collector drops, so that is not among them.
const MOODS: [Mood; 5] = [Mood::Takes, Mood::Hangs, Mood::LosesAnswers, Mood::Refuses, Mood::HalfKeeps];
/// A reference as it must never be: twelve digits, though no My Number (the check digit is wrong), so that the vault takes it.
const PLANTED: &str = "123456789010";
const CONFIG: &str = include_str!("../../../../deploy/collector/config.yaml");
const MANIFEST: &str = include_str!("../../../../deploy/collector/builder.yaml");
/// The line of the configuration without which the queue is in memory.
const ON_DISK: &str = "      storage: file_storage\n";

/// See the module.
pub(in crate::evidence) const EVIDENCE: Evidence = Evidence {
    name: "collector",
    proves: "a real OpenTelemetry Collector with the shipped configuration, killed at random, passes on every entry once \
             or again, and masks what looks like a number",
    target: "entries missing behind the collector 0, different repetitions 0, a planted run of 12 digits masked; control: \
             with its queue in memory entries are missing; skipped without Go",
    mutants: &[],
    run: |ctx| Box::pin(run(ctx)),
};

async fn run(ctx: Ctx) -> Result<Outcome> {
    let program = match built().await {
        Ok(program) => program,
        Err(error) => return Ok(Outcome::skipped(format!("no collector: {error:#}"))),
    };
    let kept = Box::pin(through(&ctx, "disk", &program, CONFIG, ctx.pick(3, 15))).await?;
    progress(&format!("behind the collector: {:?}; now with its queue in memory", kept.copies));
    let in_memory = CONFIG.replace(ON_DISK, "");
    ensure!(in_memory != CONFIG, "the configuration has no queue on a disk");
    let lost = Box::pin(through(&ctx, "memory", &program, &in_memory, 1)).await?;
    let mut value = kept.json();
    if let Some(fields) = value.as_object_mut() {
        fields.insert("missing_with_queue_in_memory".to_owned(), json!(lost.copies.missing));
        fields.insert("seed".to_owned(), json!(ctx.seed));
    }
    Ok(Outcome { value, pass: kept.pass(), mutant_caught: Some(lost.copies.missing > 0), skipped: None })
}

/// What came through.
struct Through {
    copies: Copies,
    deaths: usize,
    revealed: u64,
    /// Records that hold the planted digits: behind the collector, and as the vault sends them.
    planted_behind: usize,
    planted_before: usize,
}

impl Through {
    fn pass(&self) -> bool {
        self.copies.are_whole() && self.deaths > 0 && self.planted_behind == 0 && self.planted_before > 0
    }

    fn json(&self) -> Value {
        json!({"behind_collector": self.copies.json(), "deaths_of_collector": self.deaths, "revealed": self.revealed,
            "planted_behind_collector": self.planted_behind, "planted_before_collector": self.planted_before})
    }
}

async fn through(ctx: &Ctx, name: &str, program: &Path, config: &str, turns: usize) -> Result<Through> {
    let mut options = ctx.cluster(name)?;
    let mut next = UnwellSink::start().await?;
    let mut collector = Collector::prepare(&options, program, config, &next)?;
    let files = options.work_dir.join("files");
    fs::create_dir(&files)?;
    options.settings = collector.settings(&files);
    collector.start().await?;
    let cluster = Box::pin(LocalCluster::serving(options)).await?;
    let tokens = store(&cluster, People::new(ctx.seed), 0..PERSONS).await?;
    plant(&cluster, &tokens).await?;
    let revealing = Revealing::start(&cluster.caller_within("payroll", DEADLINE)?, tokens, ctx.seed);
    let mut chance = Chance::new(ctx.seed);
    for turn in 0..turns {
        collector.live_and_die(&mut next, turn, &mut chance).await?;
        progress(&format!("turn {} of {turns}: {} numbers revealed", turn + 1, revealing.revealed()));
    }
    next.set_mood(Mood::Takes);
    let (revealed, _) = revealing.stop().await?;
    settled(&cluster, 2).await?;
    let entries = whole_ledger(&cluster.caller("auditor")?).await?;
    let until = Instant::now() + SETTLED_WITHIN.min(Duration::from_secs(ctx.pick(30, 120)));
    while next.kept().records.len() < entries.len() && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let kept = next.kept();
    let planted = |kept: &Kept| kept.records.values().filter(|copied| copied.holds(PLANTED)).count();
    Ok(Through {
        copies: Copies::of("collector", &entries, &kept),
        deaths: turns,
        revealed,
        planted_behind: planted(&kept),
        planted_before: planted(&in_files(&files)?),
    })
}

/// A call with a reference that holds twelve digits.
async fn plant(cluster: &LocalCluster, tokens: &[String]) -> Result<()> {
    let token = tokens.first().context("a token")?;
    let request = DetokenizeRequest { work_reference: format!("run-{PLANTED}"), ..reveal(token) };
    let planted = cluster.caller("payroll")?.tokens(0).detokenize(request).await;
    planted.map(|_| ()).map_err(|status| anyhow::anyhow!("planting a reference: {}", crate::wire::describe(&status)))
}

/// A collector's process and what it needs. Dropping it kills the process.
struct Collector {
    program: PathBuf,
    dir: PathBuf,
    listen: String,
    metrics_port: u16,
    next: String,
    theirs: Pems,
    ours: Pems,
    process: Option<Child>,
}

impl Collector {
    fn prepare(options: &Options, program: &Path, config: &str, next: &UnwellSink) -> Result<Self> {
        let ca = DevCa::open(&options.work_dir, TRUST_DOMAIN)?;
        let (theirs, _) = ca.issue_node("collector", &["127.0.0.1".to_owned()])?;
        let ours = ca.issue_identity("exporter", "workload/exporter")?;
        let dir = options.work_dir.join("collector");
        fs::create_dir(&dir)?;
        fs::write(dir.join("config.yaml"), config)?;
        // Ports that were free a moment ago.
        let bound = [TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?];
        let [listen, metrics] = [bound[0].local_addr()?, bound[1].local_addr()?];
        let next = next.endpoint().trim_start_matches("http://").to_owned();
        let (listen, metrics_port, program) = (listen.to_string(), metrics.port(), program.to_path_buf());
        Ok(Self { program, dir, listen, metrics_port, next, theirs, ours, process: None })
    }

    /// Tables of two sinks: the collector, and files that show what the vault sends.
    fn settings(&self, files: &Path) -> String {
        let Pems { certificate, key, authority } = &self.ours;
        format!(
            "[export.siem]\nbatch_wait_ms = 50\n[export.siem.to.otlp]\nendpoint = \"https://{}\"\ndeadline_ms = 2000\n\
             tls = {{ certificate_file = {certificate:?}, key_file = {key:?}, authorities_file = {authority:?} }}\n\
             [export.files.to.file]\ndir = \"{}/{{node}}\"\n",
            self.listen,
            files.display()
        )
    }

    async fn start(&mut self) -> Result<()> {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.dir.join("stderr.log"))?;
        let mut command = bound_command(&self.program);
        command.arg("--config").arg(self.dir.join("config.yaml"));
        command.env("FUDA_COLLECTOR_QUEUE", self.dir.join("queue"));
        command.env("FUDA_COLLECTOR_LISTEN", &self.listen);
        command.env("FUDA_COLLECTOR_CERTIFICATE", &self.theirs.certificate);
        command.env("FUDA_COLLECTOR_KEY", &self.theirs.key);
        command.env("FUDA_COLLECTOR_CLIENT_AUTHORITIES", &self.theirs.authority);
        command.env("FUDA_COLLECTOR_NEXT", &self.next).env("FUDA_COLLECTOR_NEXT_INSECURE", "true");
        command.env("FUDA_COLLECTOR_NEXT_COMPRESSION", "none");
        command.env("FUDA_COLLECTOR_METRICS_PORT", self.metrics_port.to_string());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.process = Some(spawn(command)?);
        let until = Instant::now() + UP_WITHIN;
        while tokio::net::TcpStream::connect(&self.listen).await.is_err() {
            ensure!(Instant::now() < until, "the collector does not listen; see {}", self.dir.display());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    fn kill9(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            // It may have ended by itself: then there is nobody to signal, and waiting is all that is left.
            let _ = process.kill();
            process.wait()?;
        }
        Ok(())
    }

    /// Some moods of the next one and its death, and in the middle of one of them the death of the collector, always with
    /// something in its queue.
    async fn live_and_die(&mut self, next: &mut UnwellSink, turn: usize, chance: &mut Chance) -> Result<()> {
        let dies_in = MOODS.get(1 + turn % (MOODS.len() - 1)).copied().unwrap_or(Mood::Hangs);
        for mood in MOODS {
            next.set_mood(mood);
            tokio::time::sleep(Duration::from_millis(200 + chance.below(500))).await;
            if mood == dies_in {
                self.kill9()?;
                tokio::time::sleep(Duration::from_millis(chance.below(500))).await;
                self.start().await?;
            }
        }
        next.server().die().await;
        tokio::time::sleep(Duration::from_millis(300 + chance.below(500))).await;
        next.server().revive().await
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        // Nothing can be done about one that cannot be killed.
        let _ = self.kill9();
    }
}

/// The collector of `deploy/collector/builder.yaml`, built once per machine in the cache, slowly and alone.
async fn built() -> Result<PathBuf> {
    let home = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    let tools = home.context("no home directory")?.join("fuda/tools/collector");
    let (build, stamp) = (tools.join("build"), tools.join("built-from.yaml"));
    let program = build.join("fuda-collector");
    if program.is_file() && fs::read_to_string(&stamp).is_ok_and(|of| of == MANIFEST) {
        return Ok(program);
    }
    let version = MANIFEST.split("builder@v").nth(1).and_then(|rest| rest.split_whitespace().next());
    let version = version.context("the manifest names no builder")?;
    progress(&format!("building a collector in {} (several minutes)", tools.display()));
    fs::create_dir_all(&build)?;
    let manifest = tools.join("builder.yaml");
    fs::write(&manifest, MANIFEST)?;
    let builder = format!("go.opentelemetry.io/collector/cmd/builder@v{version}");
    go(&tools, Command::new("nice").args(["go", "install", &builder])).await?;
    let mut command = Command::new("nice");
    go(&tools, command.arg(tools.join("bin/builder")).arg("--config").arg(&manifest)).await?;
    fs::write(&stamp, MANIFEST)?;
    Ok(program)
}

/// Runs a step of the build, wherever Go is.
async fn go(tools: &Path, command: &mut Command) -> Result<()> {
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/local/go/bin")).env("GOBIN", tools.join("bin"));
    command.env("FUDA_COLLECTOR_BUILD", tools.join("build"));
    command.env("CGO_ENABLED", "0").env("GOMAXPROCS", "1").env("GOFLAGS", "-p=1 -buildvcs=false");
    let running = command.current_dir(tools).stdin(Stdio::null()).kill_on_drop(true).output();
    let ended = tokio::time::timeout(BUILT_WITHIN, running).await.context("it was not built in time")??;
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    let last = said.lines().last().unwrap_or_default().to_owned();
    ensure!(ended.status.success(), "building ended with {}: {last}", ended.status);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_came_through_or_a_collector_that_never_died_is_no_pass() {
        let through =
            || Through { copies: Copies::default(), deaths: 1, revealed: 9, planted_behind: 0, planted_before: 1 };
        assert!(through().pass());
        for broken in [
            Through { copies: Copies { missing: 1, ..Copies::default() }, ..through() },
            Through { deaths: 0, ..through() },
            Through { planted_behind: 1, ..through() },
            Through { planted_before: 0, ..through() },
        ] {
            assert!(!broken.pass());
        }
    }

    #[test]
    fn the_shipped_pipeline_has_a_synced_queue_and_no_batches() {
        assert!(CONFIG.contains(ON_DISK) && CONFIG.contains("fsync: true"));
        assert!(CONFIG.contains("max_elapsed_time: 0s") && CONFIG.contains("processors: [redaction]"));
        assert!(!CONFIG.lines().any(|line| line.trim_start().starts_with("batch")));
    }
}
