//! The lawful control: a vault is restored from an earlier copy, two people state so, and the witness follows its new
//! ledger with the gap listed. Every statement that is not exactly true, or not of two people, is refused.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fuda_core::Code;
use fuda_crypto::digest::SigningKey;
use fuda_ledger::tree::TreeHead;
use fuda_ledger::{Detail, Entry, OriginSuccession, SignedNote, VerifierKey};
use fuda_proto::audit::v1::{ListEntriesRequest, VerifyRequest, WhoAccessedRequest};
use fuda_runtime::dev_ca::DevCa;
use serde_json::{Value, json};

use super::liar::{Liars, Log, ORIGIN, entry};
use crate::cluster::{AuditProcess, AuditSpec, TENANT, TRUST_DOMAIN};
use crate::evidence::Ctx;
use crate::wire::is_code;

const NODES: usize = 3;
const WITHIN: Duration = Duration::from_secs(30);
const NEW_ORIGIN: &str = "fuda.test/restored";
/// Entries that the witness vouched for, those that were restored, and those of the new ledger.
const VOUCHED: u64 = 40;
const RESTORED: u64 = 30;
const NEW: u64 = 5;
/// The planted bug of a witness that one person persuades.
pub(super) const ONE_SIGNER: &str = "follow-one-signer";
/// Names and seeds of the people.
const PEOPLE: [(&str, u8); 2] = [("audit.test/tanaka", 1), ("audit.test/suzuki", 2)];

/// The statements that were refused, and what came of the true one; then a new ledger that does not say where it comes
/// from.
pub(super) async fn run(ctx: &Ctx) -> Result<Value> {
    let refused = Box::pin(restore(ctx, Restored::Told)).await?;
    Box::pin(restore(ctx, Restored::Untold)).await?;
    Ok(json!({ "statements_refused": refused, "followed_with_gap": [RESTORED, VOUCHED], "untold_found": true }))
}

/// The same with a planted bug: a statement that one person signed is accepted. What the checker says to it.
pub(super) async fn with_one_signer(ctx: &Ctx) -> Result<usize> {
    Box::pin(restore(ctx, Restored::ByOne)).await
}

/// How a vault comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Restored {
    /// The new ledger says where it comes from.
    Told,
    /// It does not.
    Untold,
    /// It does, and the witness has a planted bug.
    ByOne,
}

async fn restore(ctx: &Ctx, restored: Restored) -> Result<usize> {
    let (name, told) = (format!("{restored:?}").to_lowercase(), restored != Restored::Untold);
    let ca = DevCa::open(&ctx.dir(&name)?, TRUST_DOMAIN)?;
    let entries: Vec<Vec<u8>> = (0..VOUCHED).map(|sequence| entry(sequence, 0)).collect();
    let old = Log::honest(entries.clone());
    let liars = Liars::serving(&ca, NODES, &old).await?;
    let planted = restored == Restored::ByOne;
    let mut audit = AuditProcess::serving(AuditSpec {
        vault_binary: if planted { &ctx.mutant_binary } else { &ctx.binary },
        dir: ctx.work_dir.join(format!("{name}-audit")),
        ca: &ca,
        endpoints: liars.addresses.clone(),
        verifier_key: &liars.verifier_key,
        rollback_after_s: 2,
    })
    .await?;
    audit.wait(WITHIN, |status| status.cosigned_entries == VOUCHED).await?;
    let people: Vec<String> =
        PEOPLE.iter().map(|(name, seed)| Ok(public(name, *seed)?.to_string())).collect::<Result<_>>()?;
    audit.add_settings("audit", &format!("succession_keys = {people:?}"))?;
    audit.kill9()?;
    if planted {
        audit.plant(ONE_SIGNER);
    }

    // The vault comes back from a copy of 30 entries, as a new ledger.
    let (restored, cosigned) = (Log::honest(entries[..RESTORED as usize].to_vec()).head(), old.head());
    let stated = |first: TreeHead, new_key: VerifierKey| {
        let old_origin = ORIGIN.to_owned();
        OriginSuccession { old_origin, restored, cosigned, new_key, first }
    };
    let facts = stated(TreeHead::empty(), public(NEW_ORIGIN, 0x52)?).details();
    let new = Log::honest(begin(if told { &facts } else { &[] }, NEW)?);
    let (new_key, first) = liars.restored_as(NEW_ORIGIN, 0x52, &new)?;
    let good = stated(new.head(), new_key.clone());
    let refused = if told { refuses(&audit, &good, &first)? } else { 0 };
    audit.succeed(&signed(&good, &PEOPLE)?, &first).context("the true statement was refused")?;
    audit.set_verifier_key(&new_key.to_string())?;
    audit.start()?;
    audit.wait_ready().await?;
    if !told {
        let found = audit.wait(WITHIN, |status| status.alarms.iter().any(|alarm| alarm.kind == "succession")).await?;
        ensure!(
            found.entries == 0 && found.cosigned_entries == 0,
            "it follows a ledger that hides where it comes from"
        );
        return Ok(0);
    }
    let status = audit.wait(WITHIN, |status| status.cosigned_entries == NEW).await?;
    let before = status.predecessors.first().context("the old ledger is not listed")?;
    ensure!(status.origin == NEW_ORIGIN && status.alarms.is_empty() && !status.halted, "{status:?}");
    ensure!((before.gap_from, before.gap_before, before.entries) == (RESTORED, VOUCHED, VOUCHED), "{before:?}");
    ensure!(before.signers == "audit.test/tanaka, audit.test/suzuki" && before.origin == ORIGIN, "{before:?}");
    old_log_answers(&audit, &old).await?;
    Ok(refused)
}

/// What was vouched for before the restore is still found and verified, by whoever names its origin; and who asks about a
/// person is told that it was not read.
async fn old_log_answers(audit: &AuditProcess, old: &Log) -> Result<()> {
    let mut service = audit.service()?;
    let (origin, tenant) = (ORIGIN.to_owned(), TENANT.to_owned());
    let listing = ListEntriesRequest { origin: origin.clone(), ..ListEntriesRequest::default() };
    let page = service.list_entries(listing).await?.into_inner();
    let shown: Vec<&[u8]> = page.entries.iter().rev().map(|entry| entry.canonical.as_slice()).collect();
    ensure!(shown == old.signed.iter().map(Vec::as_slice).collect::<Vec<_>>(), "the old ledger shows other entries");
    let lost = page.entries.first().context("the last entry of the old ledger")?;
    let who = WhoAccessedRequest { tenant, subject: lost.subject.clone(), ..WhoAccessedRequest::default() };
    let now = service.who_accessed(who.clone()).await?.into_inner();
    ensure!(now.groups.is_empty() && now.earlier_origins == [ORIGIN], "it hides that there is an old ledger: {now:?}");
    let before = service.who_accessed(WhoAccessedRequest { origin: origin.clone(), ..who }).await?.into_inner();
    ensure!(before.groups.len() == 1, "the old ledger does not tell who accessed: {before:?}");
    let verify = |origin: String| VerifyRequest { origin, ..VerifyRequest::default() };
    let verified = service.verify(verify(origin)).await?.into_inner();
    ensure!(verified.verified && verified.root_found == old.head().root, "{verified:?}");
    let unknown = service.verify(verify("fuda.test/else".to_owned())).await;
    ensure!(unknown.is_err_and(|status| is_code(&status, Code::DeniedOrNotFound)), "an unknown log is verified");
    Ok(())
}

/// Everything that must be refused; the number of statements.
fn refuses(audit: &AuditProcess, good: &OriginSuccession, first: &str) -> Result<usize> {
    let other = |head: TreeHead| TreeHead { root: [9; 32], ..head };
    let wrong = [
        OriginSuccession { cosigned: other(good.cosigned), ..good.clone() },
        OriginSuccession { cosigned: TreeHead { size: VOUCHED - 1, ..good.cosigned }, ..good.clone() },
        OriginSuccession { restored: other(good.restored), ..good.clone() },
        OriginSuccession { restored: TreeHead { size: RESTORED + 1, ..good.restored }, ..good.clone() },
        OriginSuccession { first: other(good.first), ..good.clone() },
        OriginSuccession { old_origin: "fuda.test/else".to_owned(), ..good.clone() },
    ];
    let mut statements: Vec<Vec<u8>> = wrong.iter().map(|it| signed(it, &PEOPLE)).collect::<Result<_>>()?;
    let [tanaka, suzuki] = PEOPLE;
    for people in
        [vec![tanaka], vec![tanaka, tanaka], vec![tanaka, ("audit.test/stranger", 9)], vec![(suzuki.0, 9), tanaka]]
    {
        statements.push(signed(good, &people)?);
    }
    let both = String::from_utf8(signed(good, &PEOPLE)?)?;
    statements.push(both.replace("gap 30 40", "gap 30 39").into_bytes());
    statements.push(good.text().into_bytes());
    for (place, statement) in statements.iter().enumerate() {
        ensure!(audit.succeed(statement, first).is_err(), "statement {place} was accepted");
    }
    Ok(statements.len())
}

fn signed(statement: &OriginSuccession, people: &[(&str, u8)]) -> Result<Vec<u8>> {
    let sign = |(name, seed): &(&str, u8)| -> Result<SignedNote> {
        Ok(SignedNote::sign(statement.text(), name, &SigningKey::from_seed(&[*seed; 32])?)?)
    };
    let mut note = sign(people.first().context("nobody signs")?)?;
    for person in people.iter().skip(1) {
        note.merge(&sign(person)?)?;
    }
    Ok(note.to_bytes())
}

fn public(name: &str, seed: u8) -> Result<VerifierKey> {
    Ok(VerifierKey::new(name, SigningKey::from_seed(&[seed; 32])?.public_key())?)
}

/// The first entries of a ledger, of which the very first one tells these facts.
fn begin(facts: &[Detail], count: u64) -> Result<Vec<Vec<u8>>> {
    let mut entries: Vec<Vec<u8>> = (0..count).map(|sequence| entry(sequence, 7)).collect();
    let first = entries.first_mut().context("no entry")?;
    let mut told = Entry::decode(first)?;
    told.item.detail = facts.to_vec();
    *first = told.canonical();
    Ok(entries)
}
