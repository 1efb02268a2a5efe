//! Somebody with the disk of `fuda-audit` changes what its searches rest on, so that an entry is passed by while every hash
//! still holds. Verify names the bundle and the field.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fuda_core::Timestamp;
use fuda_ledger::Entry;
use fuda_proto::audit::v1::{ListEntriesRequest, VerifyRequest};
use fuda_runtime::dev_ca::DevCa;
use serde_json::{Value, json};
use tonic::Code;

use super::liar::{Liars, Log, entry};
use crate::cluster::{AuditProcess, AuditSpec, TRUST_DOMAIN};
use crate::evidence::Ctx;
use crate::synthetic::Chance;

/// Two bundles of 4,096 entries and some that are in none.
const ENTRIES: u64 = 8_500;
/// An entry of the second bundle, which the tampers hide.
const HIDDEN: u64 = 5_000;
/// How long following may take.
const WITHIN: Duration = Duration::from_secs(120);

/// What is done to the store.
struct Tamper {
    /// In SQL; once more undoes it, unless `undo` does.
    change: String,
    undo: Option<String>,
    /// What Verify must say.
    finding: &'static str,
    /// A question that does not find [`HIDDEN`] any more, or is not answered; `None` where chance chooses what is hidden.
    question: Option<Question>,
}

#[derive(Clone, Copy)]
enum Question {
    Subject,
    Record,
    Time,
}

/// The tampers that were found, of all.
pub(super) async fn run(ctx: &Ctx) -> Result<Value> {
    let ca = DevCa::open(&ctx.dir("stored")?, TRUST_DOMAIN)?;
    let entries: Vec<Vec<u8>> = (0..ENTRIES).map(|sequence| entry(sequence, 0)).collect();
    let hidden = Entry::decode(entries.get(HIDDEN as usize).context("an entry")?)?;
    let liars = Liars::serving(&ca, 1, &Log::honest(entries)).await?;
    let audit = AuditProcess::serving(AuditSpec {
        vault_binary: &ctx.binary,
        dir: ctx.work_dir.join("stored-audit"),
        ca: &ca,
        endpoints: liars.addresses.clone(),
        verifier_key: &liars.verifier_key,
        rollback_after_s: 10,
    })
    .await?;
    audit.wait(WITHIN, |status| status.cosigned_entries == ENTRIES).await?;
    ensure!(problem(&audit).await?.is_empty(), "the honest store does not verify");
    let (mut found, mut refused, mut chance) = (0, 0, Chance::new(ctx.seed));
    for tamper in tampers(&mut chance, ctx.pick(2, 20)) {
        let asked = tamper.question.map(|question| filter(question, &hidden));
        if let Some(asked) = &asked {
            ensure!(finds(&audit, asked).await? == Some(true), "`{asked}` finds nothing before the store is changed");
        }
        audit.scale("edit", &["--sql", &tamper.change])?;
        if let Some(asked) = &asked {
            let answer = finds(&audit, asked).await?;
            ensure!(answer != Some(true), "{} hides nothing", tamper.change);
            refused += usize::from(answer.is_none());
        }
        let said = problem(&audit).await?;
        ensure!(said.contains(tamper.finding), "{}: Verify says `{said}`", tamper.change);
        found += 1;
        audit.scale("edit", &["--sql", tamper.undo.as_ref().unwrap_or(&tamper.change)])?;
        // Whoever always objects would have found everything.
        let said = problem(&audit).await?;
        ensure!(said.is_empty(), "the store is as it was, and Verify says `{said}`");
    }
    Ok(json!({ "entries": ENTRIES, "store_tampers_found": found, "searches_refused": refused }))
}

fn tampers(chance: &mut Chance, postings: u64) -> Vec<Tamper> {
    let tamper = |change: &str, finding, question| Tamper {
        change: change.to_owned(),
        undo: None,
        finding,
        question: Some(question),
    };
    // The columns of both bundles change places.
    let swapped = |field: u8| {
        format!(
            "UPDATE columns SET bundle = bundle - 100 WHERE field = {field} AND bundle < 2; \
             UPDATE columns SET bundle = -99 - bundle WHERE field = {field} AND bundle < 0;"
        )
    };
    let mut tampers = vec![
        tamper(&swapped(8), "bundle 0: the column of `subject`", Question::Subject),
        tamper(&swapped(10), "bundle 0: the column of `record`", Question::Record),
        tamper(&swapped(0), "bundle 0: the column of `time`", Question::Time),
        tamper(
            "UPDATE columns SET field = field + 100 WHERE bundle = 1 AND field IN (5, 8); \
             UPDATE columns SET field = 113 - field WHERE bundle = 1 AND field > 100;",
            "bundle 1: the column of `caller`",
            Question::Subject,
        ),
        tamper(
            "UPDATE columns SET bundle = -1 - bundle WHERE field = 8 AND bundle IN (1, -2);",
            "bundle 1: the column of `subject`",
            Question::Subject,
        ),
        tamper(
            "UPDATE postings SET bundle = -1 - bundle WHERE bundle IN (1, -2);",
            "bundle 1: the posting of",
            Question::Subject,
        ),
        Tamper {
            undo: Some("UPDATE bundles SET time_last = time_last + 4000000 WHERE bundle = 1;".to_owned()),
            ..tamper(
                "UPDATE bundles SET time_last = time_last - 4000000 WHERE bundle = 1;",
                "bundle 1: the span of `time`",
                Question::Time,
            )
        },
    ];
    for _ in 0..postings {
        let place = chance.below(8_000);
        tampers.push(Tamper {
            change: format!(
                "UPDATE postings SET bundle = -2 WHERE bundle = 1 AND term = \
                 (SELECT term FROM postings WHERE bundle = 1 ORDER BY term LIMIT 1 OFFSET {place});"
            ),
            undo: Some("UPDATE postings SET bundle = 1 WHERE bundle = -2;".to_owned()),
            finding: "bundle 1: the posting of",
            question: None,
        });
    }
    tampers.push(Tamper {
        change: "UPDATE blocks SET block = -1 - block WHERE block IN (20, 21); \
                 UPDATE blocks SET block = 42 + block WHERE block IN (-21, -22);"
            .to_owned(),
        undo: None,
        finding: "does not open",
        question: None,
    });
    tampers
}

fn filter(question: Question, hidden: &Entry) -> String {
    let time = hidden.common.time;
    match question {
        Question::Subject => format!("subject = {}", hidden.item.subject.as_ref().map_or("", |it| it.as_str())),
        Question::Record => format!("record = {}", hidden.item.record.map(|it| it.to_string()).unwrap_or_default()),
        Question::Time => {
            let until = Timestamp::from_millis(time.as_millis() + 1);
            format!("time >= {} AND time < {}", time.to_rfc3339(), until.to_rfc3339())
        }
    }
}

/// Whether a listing shows the entry; `None` when what it is looked up by does not open where it lies, so that nothing is
/// answered.
async fn finds(audit: &AuditProcess, filter: &str) -> Result<Option<bool>> {
    let request = ListEntriesRequest { filter: filter.to_owned(), ..ListEntriesRequest::default() };
    match audit.service()?.list_entries(request).await {
        Ok(page) => Ok(Some(page.into_inner().entries.iter().any(|entry| entry.sequence == HIDDEN))),
        Err(status) if status.code() == Code::Internal => Ok(None),
        Err(status) => Err(status.into()),
    }
}

/// What Verify says about the whole store.
async fn problem(audit: &AuditProcess) -> Result<String> {
    let said = audit.service()?.verify(VerifyRequest::default()).await?.into_inner();
    ensure!(said.verified == said.problem.is_empty(), "Verify contradicts itself: {said:?}");
    Ok(said.problem)
}
