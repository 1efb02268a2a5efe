//! Questions as auditors ask them, with values that the store holds, and what their answers must agree in.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use fuda_proto::audit::v1::audit_service_client::AuditServiceClient;
use fuda_proto::audit::v1::{ListEntriesRequest, SummarizeRequest, TimeBucket, WhoAccessedRequest};
use fuda_proto::ledger::v1::Entry;
use prost_types::Timestamp;
use serde_json::{Value, json};
use tonic::transport::Channel;

use crate::cluster::AuditProcess;
use crate::synthetic::Chance;

/// Entries that values are taken from.
const LEARNED: usize = 64;
const DAY_S: i64 = 86_400;
/// Sorts of filters.
const SORTS: [&str; 8] = ["person", "record", "work", "caller_month", "denials", "end_user", "alternatives", "reason"];

/// Asks one `fuda-audit`.
pub(super) struct Asking {
    client: AuditServiceClient<Channel>,
    chance: Chance,
    /// The first and the last second of the ledger.
    first_s: i64,
    last_s: i64,
    entries: u64,
    known: Vec<Entry>,
    learning: u64,
}

/// How long pages took.
pub(super) struct Pages {
    pub(super) p99_ms: f64,
    pub(super) asked: u64,
    pub(super) value: Value,
}

/// How long sums took.
pub(super) struct Sums {
    pub(super) slowest_ms: f64,
    pub(super) asked: u64,
    pub(super) value: Value,
}

/// Whether answers agree.
pub(super) struct Checked {
    pub(super) right: bool,
    pub(super) asked: u64,
    pub(super) value: Value,
}

/// Whether an entry is what was asked for.
type Met = Box<dyn Fn(&Entry) -> bool + Send>;

impl Asking {
    /// Learns when the ledger begins and ends, and some of its values.
    pub(super) async fn begin(audit: &AuditProcess, chance: Chance, entries: u64) -> Result<Self> {
        let mut client = audit.service()?;
        let all = client.summarize(SummarizeRequest::default()).await?.into_inner().groups;
        let all = all.first().context("an empty ledger")?;
        ensure!(all.entries == entries, "a sum of {} entries", all.entries);
        let [first, last] = [all.first_time, all.last_time].map(|time| time.map(|time| time.seconds));
        let (first_s, last_s) = (first.context("no time")?, last.context("no time")?);
        let mut asking = Self { client, chance, first_s, last_s, entries, known: Vec::new(), learning: 1 };
        while asking.known.len() < LEARNED {
            asking.learning += 1;
            let (from, until) = asking.span(7 * DAY_S);
            let page = asking.list(&format!("time >= {from} AND time < {until}"), "", 8).await?;
            asking.known.extend(page.0.into_iter().filter(|entry| !entry.subject.is_empty()));
            ensure!(asking.learning < 1_000, "the ledger shows nothing");
        }
        Ok(asking)
    }

    /// Questions asked before anything was measured.
    pub(super) fn asked_to_learn(&self) -> u64 {
        self.learning
    }

    /// Asks for filtered pages of 100 entries, and for every next page once; `held_back` delays each answer.
    pub(super) async fn pages(&mut self, count: usize, held_back: Duration) -> Result<Pages> {
        let (mut all, mut by_sort, mut shown) = (Vec::new(), BTreeMap::<&str, Vec<f64>>::new(), 0);
        for number in 0..count {
            let sort = SORTS[number % SORTS.len()];
            let (filter, fits) = self.question(sort)?;
            let mut token = String::new();
            for _ in 0..2 {
                let begun = Instant::now();
                let (entries, next) = self.list(&filter, &token, 0).await?;
                tokio::time::sleep(held_back).await;
                let took = begun.elapsed().as_secs_f64() * 1_000.0;
                ensure!(entries.iter().all(&fits), "`{filter}` was answered with other entries");
                ensure!(entries.is_sorted_by(|a, b| a.sequence > b.sequence), "`{filter}`: not the newest first");
                shown += entries.len();
                all.push(took);
                by_sort.entry(sort).or_default().push(took);
                token = next;
                if token.is_empty() {
                    break;
                }
            }
        }
        let sorts: BTreeMap<&str, Value> = by_sort
            .iter_mut()
            .map(|(sort, took)| (*sort, json!({ "p50_ms": at(took, 50), "max_ms": at(took, 100) })))
            .collect();
        let p99_ms = at(&mut all, 99);
        let value = json!({
            "pages": all.len(), "entries": shown, "p50_ms": at(&mut all, 50), "p99_ms": p99_ms, "max_ms": at(&mut all, 100),
            "by_filter": sorts,
        });
        Ok(Pages { p99_ms, asked: all.len() as u64, value })
    }

    /// Sums over a month, of two sorts each time.
    pub(super) async fn sums(&mut self, months: usize) -> Result<Sums> {
        let (mut all, mut counted) = (Vec::new(), 0);
        for _ in 0..months {
            let (from, until) = self.span(30 * DAY_S);
            let filter = format!("time >= {from} AND time < {until}");
            for (fields, bucket) in [
                (&["tenant", "purpose", "decision"][..], TimeBucket::Day),
                (&["caller", "action"][..], TimeBucket::Hour),
            ] {
                let message = SummarizeRequest {
                    filter: filter.clone(),
                    group_by: fields.iter().map(|field| (*field).to_owned()).collect(),
                    time_bucket: bucket.into(),
                    distinct_persons: bucket == TimeBucket::Day,
                    ..SummarizeRequest::default()
                };
                let begun = Instant::now();
                // Hours of a month by caller may be more groups than one answer holds: then the refusal is the answer.
                let answer = self.client.summarize(message).await;
                all.push(begun.elapsed().as_secs_f64() * 1_000.0);
                match answer {
                    Ok(answer) => counted += answer.into_inner().groups.iter().map(|group| group.entries).sum::<u64>(),
                    Err(status) => ensure!(status.message().contains("FUDA-1004"), "{status}"),
                }
            }
        }
        ensure!(counted > 0, "months without entries");
        let slowest_ms = at(&mut all, 100);
        let value =
            json!({ "sums": all.len(), "entries": counted, "p50_ms": at(&mut all, 50), "slowest_ms": slowest_ms });
        Ok(Sums { slowest_ms, asked: all.len() as u64, value })
    }

    /// That sums and pages agree: by tenant everything together, and one person's entries one by one.
    pub(super) async fn check(&mut self, persons: usize) -> Result<Checked> {
        let by_tenant = SummarizeRequest { group_by: vec!["tenant".to_owned()], ..SummarizeRequest::default() };
        let by_tenant = self.client.summarize(by_tenant).await?.into_inner().groups;
        let together: u64 = by_tenant.iter().map(|group| group.entries).sum();
        let (mut asked, mut wrong, mut listed) = (1, Vec::new(), 0);
        let mut slowest_ms: f64 = 0.0;
        for _ in 0..persons {
            let entry = self.one()?;
            let (tenant, subject) = (entry.tenant, entry.subject);
            let filter = format!("tenant = {tenant} AND (subject = {subject} OR principal = {subject})");
            let (mut token, mut found) = (String::new(), 0);
            loop {
                let (entries, next) = self.list(&filter, &token, 1_000).await?;
                asked += 1;
                found += entries.len() as u64;
                if next.is_empty() {
                    break;
                }
                token = next;
            }
            let message = WhoAccessedRequest { tenant, subject, ..WhoAccessedRequest::default() };
            let begun = Instant::now();
            let groups = self.client.who_accessed(message).await?.into_inner().groups;
            slowest_ms = slowest_ms.max(begun.elapsed().as_secs_f64() * 1_000.0);
            asked += 1;
            let counted: u64 = groups.iter().map(|group| group.entries).sum();
            if counted != found || found == 0 {
                wrong.push(format!("{filter}: {counted} counted, {found} listed"));
            }
            listed += found;
        }
        let right = wrong.is_empty() && together == self.entries;
        let value = json!({
            "by_tenant_together": together, "persons": persons, "their_entries": listed, "wrong": wrong,
            "who_accessed_slowest_ms": slowest_ms,
        });
        Ok(Checked { right, asked, value })
    }

    async fn list(&mut self, filter: &str, token: &str, page_size: i32) -> Result<(Vec<Entry>, String)> {
        let (asked, page_token) = (filter.to_owned(), token.to_owned());
        let message = ListEntriesRequest { filter: asked, page_size, page_token, ..ListEntriesRequest::default() };
        let answer = self.client.list_entries(message).await.with_context(|| format!("`{filter}`"))?.into_inner();
        Ok((answer.entries, answer.next_page_token))
    }

    /// A filter of a sort, and what its entries must be like.
    fn question(&mut self, sort: &str) -> Result<(String, Met)> {
        let like = self.one()?;
        let (from, until) = self.span(30 * DAY_S);
        let Entry { tenant, subject, record, work_reference, caller, end_user, purpose, .. } = like;
        Ok(match sort {
            "person" => (
                format!("tenant = {tenant} AND subject = {subject}"),
                Box::new(move |entry| entry.tenant == tenant && entry.subject == subject),
            ),
            "record" => (format!("record = {record}"), Box::new(move |entry| entry.record == record)),
            "work" => {
                let filter = format!("work_reference = {work_reference} AND decision = allowed");
                (filter, Box::new(move |entry| entry.work_reference == work_reference && entry.decision == "allowed"))
            }
            "caller_month" => (
                format!("caller = \"{caller}\" AND time >= {from} AND time < {until}"),
                Box::new(move |entry| entry.caller == caller),
            ),
            "denials" => (
                format!("tenant = {tenant} AND decision = denied AND time < {until}"),
                Box::new(move |entry| entry.tenant == tenant && entry.decision == "denied"),
            ),
            "end_user" => (
                format!("end_user = \"{end_user}\" AND purpose = {purpose}"),
                Box::new(move |entry| entry.end_user == end_user && entry.purpose == purpose),
            ),
            "alternatives" => (
                format!("tenant = {tenant} AND (action = tokenize OR decision = denied) AND purpose = {purpose}"),
                Box::new(move |entry| {
                    entry.tenant == tenant && (entry.action == "tokenize" || entry.decision == "denied")
                }),
            ),
            _ => {
                let filter = format!("reason = outside_hours AND end_user = \"{end_user}\"");
                (filter, Box::new(move |entry| entry.decision == "denied" && entry.end_user == end_user))
            }
        })
    }

    fn one(&mut self) -> Result<Entry> {
        let place = self.chance.below(self.known.len() as u64) as usize;
        self.known.get(place).cloned().context("nothing is known")
    }

    /// A span of time within the ledger's.
    fn span(&mut self, seconds: i64) -> (String, String) {
        let room = (self.last_s - self.first_s - seconds).max(1);
        let from = self.first_s + i64::try_from(self.chance.below(room.unsigned_abs())).unwrap_or_default();
        let text = |seconds| Timestamp { seconds, nanos: 0 }.to_string();
        (text(from), text(from + seconds))
    }
}

/// A percentile of what was measured.
fn at(took_ms: &mut [f64], percent: usize) -> f64 {
    took_ms.sort_by(f64::total_cmp);
    let place = (took_ms.len() * percent).div_ceil(100).saturating_sub(1);
    took_ms.get(place).map_or(f64::NAN, |ms| (ms * 100.0).round() / 100.0)
}
