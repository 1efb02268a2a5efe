//! Reports of a real cluster's day, held against what the driver of that day did and not against the ledger.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, anyhow, ensure};
use fuda_proto::audit::v1::{ListReportsRequest, MakeReportRequest, ReadQueriesRequest, ReportFormat, ReportIncident};
use fuda_proto::vault::v1::DetokenizeRequest;
use serde_json::{Value, json};

use super::{Ctx, Evidence, Outcome, progress};
use crate::cluster::{AuditProcess, LocalCluster, PATIENCE, PURPOSE, SCOPES, TENANT};
use crate::journal::read_ledger;
use crate::synthetic::People;
use crate::wire::describe;
use crate::workload::store;

/// Whose number is read more than once.
const EMPLOYEE: usize = 3;
/// Times it is read beyond the first.
const AGAIN: u64 = 3;
/// Calls for a purpose that nobody granted.
const DENIALS: u64 = 6;
/// A purpose of the catalogue that the tenant does not use.
const FOREIGN_PURPOSE: &str = "tax.dependents_decl";
/// The work that reads numbers.
const WORK: &str = "slips-2026";
/// The work that is denied.
const DENIED_WORK: &str = "denied-2026";
const DAY_S: i64 = 86_400;

/// See the module.
pub(super) const EVIDENCE: Evidence = Evidence {
    name: "reports",
    proves: "the figures of reports are what was done, and no number and no token is in any report",
    target: "figures of usage, incident, roster, review and disclosure that differ from what the driver did 0; reports with a \
             number or a token 0 of all kinds and forms; every asking is entered; controls: doctored documents are found wrong",
    mutants: &[],
    run: |ctx| Box::pin(run(ctx)),
};

/// What the driver did.
struct Day {
    persons: u64,
    employee: String,
    payroll: String,
    /// Grants it had approved, by id.
    grants: Vec<String>,
    /// What no report may contain.
    secrets: Vec<String>,
}

async fn run(ctx: Ctx) -> Result<Outcome> {
    let cluster = LocalCluster::serving(ctx.cluster("cluster")?).await?;
    let grants = AuditProcess::admit(&cluster).await?;
    let day = Box::pin(act(&ctx, &cluster, grants)).await?;
    progress("a day of acts is done; fuda-audit follows it");
    let audit = AuditProcess::following(&cluster, &ctx.binary, ctx.work_dir.join("audit"), 10).await?;
    let mut size = 0;
    read_ledger(&cluster.caller("auditor")?, |_| size += 1).await?;
    audit.wait(PATIENCE, |status| status.cosigned_entries >= size).await?;

    let documents = Documents::made(&audit, &day).await?;
    let wrong = documents.wrong(&day);
    let (forms, leaks) = Box::pin(leaks(&audit, &day)).await?;
    let asked = audit.status().await?.queries;
    let entered = entered(&audit).await?;
    progress(&format!("figures that differ: {}; now doctored documents", wrong.len()));
    let controls = documents.controls(&day);
    let caught = controls.iter().all(|(_, caught)| *caught);
    let all_entered = entered == forms + 5 && asked >= entered;
    Ok(Outcome {
        value: json!({
            "persons": day.persons, "differences": wrong, "documents": forms, "leaks": leaks,
            "askings_entered": entered, "controls": controls.iter().map(|(name, caught)| json!({ *name: caught })).collect::<Vec<_>>(),
        }),
        pass: wrong.is_empty() && leaks.is_empty() && all_entered,
        mutant_caught: Some(caught),
        skipped: None,
    })
}

/// Numbers go in, are read for one piece of work, and are asked for in vain.
async fn act(ctx: &Ctx, cluster: &LocalCluster, grants: Vec<String>) -> Result<Day> {
    let persons = ctx.pick(12, 120);
    let (payroll, people) = (cluster.caller("payroll")?, People::new(ctx.seed));
    let tokens = store(cluster, people, 0..persons).await?;
    let mut secrets: Vec<String> = (0..persons).map(|person| people.my_number(person)).collect();
    secrets.extend(tokens.iter().cloned());
    let reveal = |person: usize, purpose: &str, work: &str| DetokenizeRequest {
        tenant: TENANT.to_owned(),
        purpose: purpose.to_owned(),
        scope: SCOPES[0].to_owned(),
        token: tokens.get(person).cloned().unwrap_or_default(),
        work_reference: work.to_owned(),
        ..DetokenizeRequest::default()
    };
    for person in (0..tokens.len()).chain((0..AGAIN).map(|_| EMPLOYEE)) {
        let revealed = payroll.tokens(1).detokenize(reveal(person, PURPOSE, WORK)).await;
        revealed.map_err(|status| anyhow!("Detokenize: {}", describe(&status)))?;
    }
    for _ in 0..DENIALS {
        let denied = payroll.tokens(0).detokenize(reveal(5, FOREIGN_PURPOSE, DENIED_WORK)).await;
        ensure!(denied.is_err(), "a purpose that nobody granted was served");
    }
    let employee = People::subject(EMPLOYEE as u64);
    Ok(Day { persons, employee, payroll: cluster.spiffe("payroll")?, grants, secrets })
}

/// Today and its neighbours, so that midnight changes nothing.
fn request(report: &str, day: &Day) -> Result<MakeReportRequest> {
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
    let date = |seconds: i64| fuda_core::Timestamp::from_millis(seconds * 1_000).day_in(&fuda_core::Zone::tokyo());
    let incident = ReportIncident {
        known_time: Some(prost_types::Timestamp { seconds: now, nanos: 0 }),
        filter: format!("caller = \"{}\" AND decision = allowed", day.payroll),
        ..ReportIncident::default()
    };
    Ok(MakeReportRequest {
        report: report.to_owned(),
        tenant: TENANT.to_owned(),
        from_date: date(now - DAY_S).to_string(),
        until_date: date(now + DAY_S).to_string(),
        language: "en".to_owned(),
        format: ReportFormat::Json.into(),
        subject: if report == "disclosure" { day.employee.clone() } else { String::new() },
        incident: (report == "incident").then_some(incident),
        ..MakeReportRequest::default()
    })
}

/// The documents whose figures the driver knows.
#[derive(Clone)]
struct Documents {
    usage: Value,
    incident: Value,
    roster: Value,
    review: Value,
    disclosure: Value,
}

impl Documents {
    async fn made(audit: &AuditProcess, day: &Day) -> Result<Self> {
        let made = async |report: &str| -> Result<Value> {
            let answer = audit.service()?.max_decoding_message_size(16 << 20).make_report(request(report, day)?).await;
            let answer = answer.map_err(|status| anyhow!("{report}: {}", describe(&status)))?.into_inner();
            Ok(serde_json::from_slice(&answer.data)?)
        };
        Ok(Self {
            usage: made("usage").await?,
            incident: made("incident").await?,
            roster: made("roster").await?,
            review: made("review").await?,
            disclosure: made("disclosure").await?,
        })
    }

    /// Every figure that is not what the driver did.
    fn wrong(&self, day: &Day) -> Vec<String> {
        let reads = day.persons + AGAIN;
        let figures = [
            ("usage persons", field(&self.usage, "works", WORK, 7), json!(day.persons)),
            ("usage allowed", field(&self.usage, "works", WORK, 8), json!(reads)),
            ("usage denied", field(&self.usage, "works", DENIED_WORK, 9), json!(DENIALS)),
            ("usage persons of what was denied", field(&self.usage, "works", DENIED_WORK, 7), json!(0)),
            ("incident persons", field(&self.incident, "nine_items", "3 number of persons", 1), json!(day.persons)),
            ("incident denied", field(&self.incident, "exposure", "items denied", 1), json!(0)),
            ("disclosure uses", json!(rows(&self.disclosure, "history").len()), json!(2 + AGAIN)),
            ("denials by payroll", denials(&self.review, &day.payroll), json!(DENIALS)),
        ];
        let differs = |(name, found, expected): &(&str, Value, Value)| {
            (found != expected).then(|| format!("{name}: {found} instead of {expected}"))
        };
        let mut wrong: Vec<String> = figures.iter().filter_map(differs).collect();
        let told: BTreeSet<String> = rows(&self.roster, "grants").iter().map(|row| text(row, 15)).collect();
        let untold = day.grants.iter().filter(|grant| !told.contains(*grant));
        wrong.extend(untold.map(|grant| format!("the roster does not tell grant {grant}")));
        let payroll = rows(&self.roster, "grants").into_iter().find(|row| text(row, 0) == day.payroll);
        let in_full = payroll.is_some_and(|row| {
            text(&row, 1) == "workload" && text(&row, 2).contains(PURPOSE) && row[10].is_string() && row[7].is_string()
        });
        if !in_full {
            wrong.push("the roster does not tell payroll's grant with its purpose, approver and use".to_owned());
        }
        wrong
    }

    /// Doctored documents, and whether the same look finds them wrong.
    fn controls(&self, day: &Day) -> Vec<(&'static str, bool)> {
        let found = |doctor: fn(&mut Self)| {
            let mut doctored = self.clone();
            doctor(&mut doctored);
            doctored.wrong(day).len() > self.wrong(day).len()
        };
        vec![
            ("a person less in usage", found(|it| less(&mut it.usage, "works", WORK, 7))),
            (
                "a person less in the incident",
                found(|it| less(&mut it.incident, "nine_items", "3 number of persons", 1)),
            ),
            ("a use left out of the disclosure", found(|it| drop(pop(&mut it.disclosure, "history")))),
            ("the roster without grants", found(|it| while pop(&mut it.roster, "grants").is_some() {})),
            ("the pack without denials", found(|it| while pop(&mut it.review, "denials").is_some() {})),
            ("a number in a page", holds(day.secrets.first().map(String::as_bytes).unwrap_or_default(), day)),
        ]
    }
}

/// Makes every report in every form and language, and looks for secrets in them: how many there were, and which held one.
async fn leaks(audit: &AuditProcess, day: &Day) -> Result<(u64, Vec<String>)> {
    let kinds = audit.service()?.list_reports(ListReportsRequest {}).await?.into_inner().reports;
    ensure!(kinds.len() == 13, "there are {} reports", kinds.len());
    let (mut made, mut leaks) = (0, Vec::new());
    for kind in &kinds {
        for language in ["ja", "en"] {
            for format in [ReportFormat::Html, ReportFormat::Csv, ReportFormat::Json] {
                let request = MakeReportRequest {
                    language: language.to_owned(),
                    format: format.into(),
                    ..request(&kind.report, day)?
                };
                let mut service = audit.service()?.max_decoding_message_size(16 << 20);
                let answer = service.make_report(request).await;
                let answer = answer.map_err(|status| anyhow!("{}: {}", kind.report, describe(&status)))?.into_inner();
                made += 1;
                if answer.data.is_empty() || holds(&answer.data, day) {
                    leaks.push(answer.file_name);
                }
            }
        }
    }
    Ok((made, leaks))
}

/// Whether bytes hold a number or a token of the day.
fn holds(bytes: &[u8], day: &Day) -> bool {
    day.secrets.iter().any(|secret| bytes.windows(secret.len()).any(|window| window == secret.as_bytes()))
}

/// Askings of reports in the ledger of questions.
async fn entered(audit: &AuditProcess) -> Result<u64> {
    let (mut count, mut token) = (0, String::new());
    loop {
        let request = ReadQueriesRequest { page_size: 1_000, page_token: token, ..ReadQueriesRequest::default() };
        let page = audit.service()?.read_queries(request).await?.into_inner();
        let is_report =
            |entry: &&fuda_proto::ledger::v1::Entry| entry.detail.values().any(|value| value == "MakeReport");
        count += page.entries.iter().filter(is_report).count() as u64;
        token = page.next_page_token;
        if token.is_empty() {
            return Ok(count);
        }
    }
}

/// Rows of a table, none when there is no such table.
fn rows(document: &Value, table: &str) -> Vec<Value> {
    let sections = document["sections"].as_array().map(Vec::as_slice).unwrap_or_default();
    let found = sections.iter().map(|section| &section["table"]).find(|found| found["name"] == table);
    found.and_then(|table| table["rows"].as_array()).cloned().unwrap_or_default()
}

fn text(row: &Value, column: usize) -> String {
    row[column].as_str().unwrap_or_default().to_owned()
}

/// A field of the row that begins so.
fn field(document: &Value, table: &str, first: &str, column: usize) -> Value {
    rows(document, table).into_iter().find(|row| row[0] == first).map(|row| row[column].clone()).unwrap_or_default()
}

/// Denials of a caller, over all reasons.
fn denials(document: &Value, caller: &str) -> Value {
    let of_caller = rows(document, "denials").into_iter().filter(|row| row[1] == caller);
    json!(of_caller.filter_map(|row| row[2].as_u64()).sum::<u64>())
}

/// The rows of a table, to be doctored.
fn rows_mut<'a>(document: &'a mut Value, table: &str) -> Option<&'a mut Vec<Value>> {
    let sections = document["sections"].as_array_mut()?;
    let found = sections.iter_mut().find(|section| section["table"]["name"] == table)?;
    found["table"]["rows"].as_array_mut()
}

fn pop(document: &mut Value, table: &str) -> Option<Value> {
    rows_mut(document, table)?.pop()
}

fn less(document: &mut Value, table: &str, first: &str, column: usize) {
    let row = rows_mut(document, table).and_then(|rows| rows.iter_mut().find(|row| row[0] == first));
    if let Some(row) = row {
        row[column] = json!(row[column].as_u64().unwrap_or_default().saturating_sub(1));
    }
}
