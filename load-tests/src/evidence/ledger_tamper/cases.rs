//! One tamper after the other, drawn by chance, each against a `fuda-audit` of its own that had verified the honest log.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use fuda_runtime::dev_ca::DevCa;
use futures::StreamExt as _;
use serde_json::{Value, json};

use super::liar::{Liars, Log, entry, moved};
use crate::cluster::{AuditProcess, AuditSpec, TRUST_DOMAIN};
use crate::evidence::Ctx;
use crate::synthetic::Chance;

/// Nodes of the lying vault.
const NODES: usize = 3;
/// Processes at once.
const AT_ONCE: usize = 3;
/// How long a finding may take.
const WITHIN: Duration = Duration::from_secs(30);
/// How long a control is watched for alarms: several rounds and longer than a rollback takes to be called one.
const WATCHED: Duration = Duration::from_secs(5);

/// What is done to the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tamper {
    /// An entry that was verified is another one, and everything is signed anew.
    Edit,
    /// An entry that was verified is gone, the rest moves up, and everything is signed anew.
    Delete,
    /// Two entries that were verified change places, and everything is signed anew.
    Reorder,
    /// The end of the log is cut off at all nodes, and the rest is signed.
    Truncate,
    /// All nodes are put back and go on with other entries.
    RollBack,
    /// One node goes another way than the others.
    Fork,
    /// Nodes show another new entry than the one that is signed.
    EditUnsigned,
    /// Nodes leave out a new entry.
    DeleteUnsigned,
    /// Nodes swap two new entries.
    ReorderUnsigned,
    /// Control: the log grows.
    HonestGrowth,
    /// Control: the log grows, and one node lags.
    HonestLag,
    /// Control: nothing is done, and a fork is looked for.
    UnnoticedControl,
}

impl Tamper {
    /// What is found, and where nothing may be.
    const fn expected(self) -> &'static [&'static str] {
        match self {
            Self::Edit | Self::Delete | Self::Reorder | Self::RollBack | Self::Fork | Self::UnnoticedControl => {
                &["fork"]
            }
            Self::Truncate => &["rollback"],
            Self::EditUnsigned | Self::ReorderUnsigned => &["entries"],
            Self::DeleteUnsigned => &["gap", "entries"],
            Self::HonestGrowth | Self::HonestLag => &[],
        }
    }
}

/// Tampers in turn, then controls.
const TAMPERS: [Tamper; 9] = [
    Tamper::Edit,
    Tamper::Delete,
    Tamper::Reorder,
    Tamper::Truncate,
    Tamper::RollBack,
    Tamper::Fork,
    Tamper::EditUnsigned,
    Tamper::DeleteUnsigned,
    Tamper::ReorderUnsigned,
];
const CONTROLS: [Tamper; 2] = [Tamper::HonestGrowth, Tamper::HonestLag];

/// What came of all cases.
#[derive(Default)]
pub(super) struct Found {
    detected: BTreeMap<Tamper, u64>,
    missed: Vec<String>,
    quiet: u64,
    false_alarms: Vec<String>,
}

impl Found {
    pub(super) fn pass(&self) -> bool {
        self.missed.is_empty() && self.false_alarms.is_empty() && !self.detected.is_empty() && self.quiet > 0
    }

    pub(super) fn value(&self) -> Value {
        let by: BTreeMap<String, u64> = self.detected.iter().map(|(tamper, n)| (format!("{tamper:?}"), *n)).collect();
        json!({
            "detected": self.detected.values().sum::<u64>(),
            "detected_by_tamper": by,
            "missed": self.missed,
            "controls_quiet": self.quiet,
            "false_alarms": self.false_alarms,
        })
    }
}

/// Runs `count` tampers and a tenth as many controls.
pub(super) async fn run(ctx: &Ctx, count: u64) -> Result<Found> {
    let ca = DevCa::open(&ctx.dir("liars")?, TRUST_DOMAIN)?;
    let controls = (count / 10).max(2);
    let tampers = (0..count).map(|number| (number, TAMPERS[number as usize % TAMPERS.len()]));
    let controls = (count..count + controls).map(|number| (number, CONTROLS[number as usize % CONTROLS.len()]));
    let cases = tampers.chain(controls).map(|(number, tamper)| {
        let ca = ca.clone();
        async move { (number, tamper, Box::pin(case(ctx, &ca, number, tamper)).await) }
    });
    let mut running = futures::stream::iter(cases).buffer_unordered(AT_ONCE);
    let mut found = Found::default();
    while let Some((number, tamper, outcome)) = running.next().await {
        let control = tamper.expected().is_empty();
        match outcome {
            Ok(()) if control => found.quiet += 1,
            Ok(()) => *found.detected.entry(tamper).or_default() += 1,
            Err(error) if control => found.false_alarms.push(format!("{number} {tamper:?}: {error:#}")),
            Err(error) => found.missed.push(format!("{number} {tamper:?}: {error:#}")),
        }
    }
    Ok(found)
}

/// One case: verify, tamper, see.
pub(super) async fn case(ctx: &Ctx, ca: &DevCa, number: u64, tamper: Tamper) -> Result<()> {
    Box::pin(case_of(ctx, ca, number, tamper, None)).await
}

/// One case against a `fuda-audit` that may have a planted bug.
pub(super) async fn case_of(
    ctx: &Ctx,
    ca: &DevCa,
    number: u64,
    tamper: Tamper,
    mutant: Option<&'static str>,
) -> Result<()> {
    let mut chance = Chance::new(ctx.seed ^ number.wrapping_mul(0x9e37_79b9));
    let size = 20 + chance.below(600);
    let honest: Vec<Vec<u8>> = (0..size).map(|sequence| entry(sequence, 0)).collect();
    let log = Log::honest(honest.clone());
    let liars = Liars::serving(ca, NODES, &log).await?;
    let mut audit = AuditProcess::prepared(AuditSpec {
        vault_binary: if mutant.is_some() { &ctx.mutant_binary } else { &ctx.binary },
        dir: ctx.work_dir.join(format!("case-{number}")),
        ca,
        endpoints: liars.addresses.clone(),
        verifier_key: &liars.verifier_key,
        rollback_after_s: 2,
    })?;
    mutant.into_iter().for_each(|mutant| audit.plant(mutant));
    audit.start()?;
    audit.wait_ready().await?;
    let verified = audit.wait(WITHIN, |status| status.cosigned_entries == size).await?;
    ensure!(verified.alarms.is_empty() && verified.root == log.head().root, "the honest log was not verified");

    let grown = honest_growth(&honest, 1 + chance.below(80));
    let (tampered, nodes) = tampered(tamper, &honest, &grown, &mut chance);
    let lagging = matches!(tamper, Tamper::HonestLag | Tamper::Fork);
    liars.serve(if tamper == Tamper::HonestLag { 1..NODES } else { 0..NODES }, &Log::honest(grown.clone()));
    if !tamper.expected().is_empty() {
        liars.serve(nodes, &tampered);
    }
    if tamper.expected().is_empty() {
        let status = audit.wait(WITHIN, |status| status.cosigned_entries == grown.len() as u64).await?;
        ensure!(status.root == Log::honest(grown).head().root, "another log was verified");
        tokio::time::sleep(WATCHED).await;
        let alarms = audit.status().await?.alarms;
        ensure!(alarms.is_empty(), "{alarms:?}");
        return Ok(());
    }
    let found = |kind: &str| tamper.expected().contains(&kind);
    let status = audit.wait(WITHIN, |status| status.alarms.iter().any(|alarm| found(&alarm.kind))).await?;
    // What is visible is what was verified before, or what honest nodes still show; never the tampered log.
    let seen = usize::try_from(status.entries)?;
    let honest_head = grown.get(..seen).map(|entries| Log::honest(entries.to_vec()).head());
    ensure!(honest_head.is_some_and(|head| head.root.to_vec() == status.root), "tampered entries are visible");
    ensure!(lagging || status.entries == size, "the witness went on past a finding");
    for alarm in &status.alarms {
        let evidence = audit.data_dir().join("evidence").join(&alarm.evidence);
        let text = std::fs::read_to_string(evidence)?;
        ensure!(serde_json::from_str::<Value>(&text)?.get("kind").is_some(), "the evidence file proves nothing");
    }
    Ok(())
}

fn honest_growth(honest: &[Vec<u8>], more: u64) -> Vec<Vec<u8>> {
    let size = honest.len() as u64;
    honest.iter().cloned().chain((size..size + more).map(|sequence| entry(sequence, 0))).collect()
}

/// The tampered log and the nodes that show it.
fn tampered(
    tamper: Tamper,
    honest: &[Vec<u8>],
    grown: &[Vec<u8>],
    chance: &mut Chance,
) -> (Log, std::ops::Range<usize>) {
    let (old, all) = (honest.len() as u64, grown.len() as u64);
    let mut entries = grown.to_vec();
    let salt = 1 + chance.below(1_000);
    let places = |chance: &mut Chance, low: u64, high: u64| (low + chance.below(high - low)) as usize;
    match tamper {
        Tamper::Edit => {
            let place = places(chance, 0, old);
            entries[place] = entry(place as u64, salt);
        }
        Tamper::Delete => {
            entries.remove(places(chance, 0, old));
            entries.push(entry(all, salt));
            renumber(&mut entries);
        }
        Tamper::Reorder => {
            let place = places(chance, 0, old - 1);
            entries.swap(place, place + 1);
            renumber(&mut entries);
        }
        Tamper::Truncate => entries.truncate(places(chance, 1, old)),
        Tamper::RollBack => {
            let back = places(chance, 1, old);
            entries.truncate(back);
            entries.extend((back as u64..all).map(|sequence| entry(sequence, salt)));
        }
        Tamper::Fork => {
            // Behind what was verified, so that only the comparison of nodes shows it, or the way back to one of them.
            let from = places(chance, old, all);
            entries.truncate(from);
            entries.extend((from as u64..all).map(|sequence| entry(sequence, salt)));
            return (Log::honest(entries), 0..1);
        }
        Tamper::EditUnsigned => {
            let place = places(chance, old, all);
            entries[place] = entry(place as u64, salt);
            return (Log { shown: entries, signed: grown.to_vec() }, 0..NODES);
        }
        Tamper::DeleteUnsigned => {
            entries.remove(places(chance, old, all));
            return (Log { shown: entries, signed: grown.to_vec() }, 0..NODES);
        }
        Tamper::ReorderUnsigned => {
            let place = places(chance, old, all);
            let twin = (place + 1).min(entries.len() - 1).max(old as usize);
            entries.swap(place, twin);
            if twin == place {
                entries[place] = entry(place as u64, salt);
            }
            renumber(&mut entries);
            return (Log { shown: entries, signed: grown.to_vec() }, 0..NODES);
        }
        Tamper::HonestGrowth | Tamper::HonestLag | Tamper::UnnoticedControl => {}
    }
    (Log::honest(entries), 0..NODES)
}

fn renumber(entries: &mut [Vec<u8>]) {
    for (sequence, entry) in (0..).zip(entries) {
        *entry = moved(entry, sequence);
    }
}
