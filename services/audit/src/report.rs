//! MakeReport: a document of [`fuda_report`] from the verified entries, within what the auditor may see.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::anyhow;
use fuda_core::{Code, Day, Invalid, SubjectRef, TenantId, Timestamp, Zone};
use fuda_ledger::{DetailKey, Entry};
use fuda_policy::Action;
use fuda_proto::audit::v1 as pb;
use fuda_report::{
    Basis, Collector, Document, Events, Facts, Incident, Language, ReportKind, Request, SignOff, Witness,
};
use parking_lot::Mutex;

use crate::ask::{Asker, Failure};
use crate::auditors::Auditor;
use crate::filter::{Clause, Filter};
use crate::queries::{Entered, Words};
use crate::question::{Answer, Question, moment};
use crate::store::{Field, Reader, Removed};

/// Acts on the whole vault of which every tenant's reports tell. They are few, and are kept in memory while one is made.
const VAULT_ACTS: [Action; 14] = [
    Action::Bootstrap,
    Action::CreateTenant,
    Action::ProposeGrants,
    Action::ApproveGrants,
    Action::ProposePolicy,
    Action::ApprovePolicy,
    Action::ProposeCatalogueChange,
    Action::ApprovePurposeOrder,
    Action::AddMember,
    Action::RemoveMember,
    Action::Freeze,
    Action::Thaw,
    Action::StartSuccession,
    Action::FinishSuccession,
];
/// Of these at most as many are told.
const VAULT_ACTS_MAX: usize = 200_000;
/// Sign-offs of one tenant that are looked at.
const SIGN_OFFS_MAX: usize = 10_000;
/// Bytes of one document: it is one answer.
const DOCUMENT_BYTES_MAX: usize = 12 << 20;

/// What reports are made with.
#[derive(Default)]
pub(crate) struct Reports {
    /// What entries do not hold.
    facts: Facts,
    /// The name the witness cosigns under.
    witness: String,
    /// One document is made at a time: each may count millions of persons.
    turn: Mutex<()>,
}

impl Reports {
    /// Reports with these facts.
    pub(crate) fn new(facts: Facts, witness: String) -> Self {
        Self { facts, witness, turn: Mutex::new(()) }
    }
}

/// A document in the form that was asked for.
pub(crate) struct Made {
    /// Its name as a file, without anything a caller chose but the tenant.
    pub(crate) file_name: String,
    /// Its media type.
    pub(crate) media_type: &'static str,
    /// Its bytes.
    pub(crate) bytes: Vec<u8>,
    /// What was removed of the time it tells of.
    pub(crate) removed: Option<Removed>,
    /// The first entry that is in no page yet; 0: all are told.
    pub(crate) next_sequence: u64,
}

/// What was asked for, read.
struct Plan {
    request: Request,
    filter: Filter,
    form: pb::ReportFormat,
}

/// Which reports there are.
pub(crate) fn list() -> pb::ListReportsResponse {
    let info = |kind: &ReportKind| pb::ReportInfo {
        report: kind.code().to_owned(),
        title_ja: kind.title().of(Language::Japanese).to_owned(),
        title_en: kind.title().of(Language::English).to_owned(),
        basis_ja: kind.basis().of(Language::Japanese).to_owned(),
        basis_en: kind.basis().of(Language::English).to_owned(),
    };
    pb::ListReportsResponse { reports: ReportKind::ALL.iter().map(info).collect() }
}

/// The question for a document.
pub(crate) fn question(message: &pb::MakeReportRequest, auditor: &Auditor) -> Question<Made> {
    let plan = Plan::read(message, auditor);
    let (question, shape) = match &plan {
        Ok(plan) => plan.words(message),
        // Not read, so not known to be harmless: the method and the refusal are enough.
        Err(_) => (String::new(), String::new()),
    };
    let auditor = auditor.caller.to_string();
    let answer = plan.map(|plan| -> Answer<Made> { Box::new(move |asker, asked| plan.make(asker, asked, auditor)) });
    Question { words: Words { method: "MakeReport", question, shape }, origin: String::new(), is_sum: true, answer }
}

impl Plan {
    fn read(message: &pb::MakeReportRequest, auditor: &Auditor) -> Result<Self, Failure> {
        let tenant = TenantId::parse(&message.tenant)?;
        let sight = &auditor.sight;
        // Another's tenant is one that does not exist.
        if sight.tenant.as_ref().is_some_and(|seen| *seen != tenant) {
            return Err(Code::DeniedOrNotFound.into());
        }
        let language = match message.language.as_str() {
            "" => Language::Japanese,
            code => Language::from_code(code)?,
        };
        let zone = match message.time_zone.as_str() {
            "" => Zone::tokyo(),
            name => Zone::parse(name)?,
        };
        let subject = match message.subject.as_str() {
            "" => None,
            subject => Some(SubjectRef::parse(subject)?),
        };
        let day = |field, text: &str| Day::parse(text).map_err(|_| Invalid::new(field, "must be a date, YYYY-MM-DD"));
        let form = pb::ReportFormat::try_from(message.format);
        let form = form.map_err(|_| Invalid::new("format", "must be html, csv or json"))?;
        let request = Request {
            report: ReportKind::from_code(&message.report)?,
            tenant,
            from: day("from_date", &message.from_date)?,
            until: day("until_date", &message.until_date)?,
            zone,
            language,
            subject,
            incident: message.incident.as_ref().map(incident).transpose()?,
            partial: sight.tenant.is_some() || sight.callers.is_some(),
            events: events(form, message.events_from_sequence)?,
        };
        request.check().map_err(failure)?;
        let filter = message.incident.as_ref().map_or("", |incident| &incident.filter);
        Ok(Self { request, filter: Filter::parse(filter)?, form })
    }

    /// The question as the ledger of questions keeps it.
    fn words(&self, message: &pb::MakeReportRequest) -> (String, String) {
        let Request { report, tenant, from, until, language, subject, incident, .. } = &self.request;
        let mut question = format!("tenant = \"{tenant}\"");
        if let Some(subject) = subject {
            question += &format!(" AND subject = \"{subject}\"");
        }
        if let Some(incident) = incident.as_ref().filter(|incident| !incident.filter.is_empty()) {
            question += &format!(" AND {}", incident.filter);
        }
        let form = message.format().as_str_name();
        let page = match self.request.events.from {
            0 => String::new(),
            from => format!(" from {from}"),
        };
        (question, format!("{} {from} {until} {} {form}{page}", report.code(), language.code()))
    }

    fn make(self, asker: &Asker, asked: &Entered, made_by: String) -> Result<Made, Failure> {
        let reports = asker.reports();
        let _turn = reports.turn.lock();
        let name = format!(
            "{}-{}-{}-{}",
            self.request.report.code(),
            self.request.tenant,
            self.request.from,
            self.request.until
        );
        let name = match self.request.events.from {
            0 => name,
            from => format!("{name}-from-{from}"),
        };
        let (document, removed) = asker.store().read_with(|reader| self.document(asker, reader, asked, made_by))?;
        let (extension, media_type, bytes) = match self.form {
            pb::ReportFormat::Unspecified | pb::ReportFormat::Html => {
                ("html", "text/html; charset=utf-8", document.html().into_bytes())
            }
            pb::ReportFormat::Csv => ("csv", "text/csv; charset=utf-8", document.csv().map_err(failure)?),
            pb::ReportFormat::Json => ("json", "application/json", document.json().map_err(failure)?),
        };
        if bytes.len() > DOCUMENT_BYTES_MAX {
            return Err(too_much());
        }
        // On paper there are no further pages.
        let next_sequence = document.next_event.filter(|_| extension != "html").unwrap_or_default();
        Ok(Made { file_name: format!("{name}.{extension}"), media_type, bytes, removed, next_sequence })
    }

    fn document(
        &self,
        asker: &Asker,
        reader: &Reader<'_>,
        asked: &Entered,
        made_by: String,
    ) -> Result<(Document, Option<Removed>), Failure> {
        let reports = asker.reports();
        let live = reader.live();
        let cosigned = live.cosigned.as_ref().map(|newest| Witness {
            name: reports.witness.clone(),
            size: newest.size,
            at: Timestamp::from_millis(i64::try_from(newest.time_s.saturating_mul(1_000)).unwrap_or(i64::MAX)),
        });
        let sign_offs = sign_offs(asker, asked, &self.request)?;
        let facts = Facts { witnesses: cosigned.into_iter().collect(), sign_offs, ..reports.facts.clone() };
        let mut collector = Collector::new(self.request.clone(), facts).map_err(failure)?;
        let (from, until) = collector.wanted();
        let first = self.request.events.from;
        // A further page of entries tells of none of these acts.
        let vault = if first == 0 { vault_acts(reader, asked, until)? } else { Vec::new() };
        let mut filter = self.filter.clone().and(Field::Tenant, self.request.tenant.as_str());
        (filter.from, filter.until) = (filter.from.max(from), filter.until.min(until));
        feed(reader, asked, (&filter, first), vault, &mut collector)?;
        let removed = reader.removed_within(filter.from, filter.until)?;
        let head = live.head();
        let basis = Basis {
            made_at: now(),
            made_by,
            origin: asker.store().origin().to_owned(),
            size: head.size,
            root: head.root,
            removed: removed.map(|removed| (removed.entries, removed.first, removed.last)),
        };
        Ok((collector.finish(&basis), removed))
    }
}

/// What was signed off of the tenant, in whole days of the document's zone.
fn sign_offs(asker: &Asker, asked: &Entered, request: &Request) -> Result<Vec<SignOff>, Failure> {
    let filter = Filter::ALL.and(Field::Tenant, request.tenant.as_str());
    let mut kept = Vec::new();
    asker.queries().read_with(|reader| {
        reader.scan(asked, &filter, 0, &mut |row| {
            kept.extend(sign_off(&row.entry, request));
            if kept.len() < SIGN_OFFS_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })
    })?;
    Ok(kept)
}

fn sign_off(entry: &Entry, request: &Request) -> Option<SignOff> {
    let period = entry.item.detail.iter().find(|fact| fact.key() == DetailKey::SignedOffPeriod)?;
    let (from, until) = period.value().split_once('/')?;
    let moment = |text: &str| {
        let at: jiff::Timestamp = text.parse().ok()?;
        Some(Timestamp::from_millis(at.as_millisecond()))
    };
    let (from, until) = (moment(from)?, moment(until)?);
    let first = from.day_in(&request.zone);
    let begins = request.zone.moment_of(first.date(), 0) == Some(from);
    Some(SignOff {
        tenant: request.tenant.clone(),
        from: if begins { first } else { first.saturating_add(1) },
        // The period ends before this moment, so the day it lies in is not a whole one.
        until: until.day_in(&request.zone).saturating_add(-1),
        by: entry.common.caller.to_string(),
        at: entry.common.time,
    })
}

/// The acts on the whole vault, in their order. Whoever sees one tenant sees none of them.
fn vault_acts(reader: &Reader<'_>, asked: &Entered, until: Timestamp) -> Result<Vec<Entry>, Failure> {
    let acts: BTreeSet<String> = VAULT_ACTS.iter().map(|action| action.code().to_owned()).collect();
    let clause: Clause = BTreeMap::from([(Field::Action, acts)]);
    let filter = Filter { clauses: vec![clause], until, ..Filter::ALL };
    let mut found = Vec::new();
    reader.scan(asked, &filter, 0, &mut |row| {
        if row.entry.common.tenant.is_none() {
            found.push(row.entry.clone());
        }
        if found.len() > VAULT_ACTS_MAX { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    if found.len() > VAULT_ACTS_MAX { Err(too_much()) } else { Ok(found) }
}

/// Feeds the tenant's entries and the acts on the whole vault in the order of the ledger.
fn feed(
    reader: &Reader<'_>,
    asked: &Entered,
    (filter, first): (&Filter, u64),
    vault: Vec<Entry>,
    collector: &mut Collector,
) -> Result<(), Failure> {
    let mut vault = vault.into_iter().peekable();
    let mut taken = Ok(());
    reader.scan(asked, filter, first, &mut |row| {
        let before = core::iter::from_fn(|| vault.next_if(|act| act.item.sequence < row.entry.item.sequence));
        taken = before.into_iter().try_for_each(|act| collector.take(&act)).and_then(|()| collector.take(&row.entry));
        if taken.is_ok() && !collector.is_full() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    taken.map_err(failure)?;
    vault.try_for_each(|act| collector.take(&act)).map_err(failure)
}

/// Which entries a record of use shows one by one; on paper there is one page.
fn events(form: pb::ReportFormat, from: u64) -> Result<Events, Invalid> {
    match form {
        pb::ReportFormat::Csv | pb::ReportFormat::Json => Ok(Events { from, max: Events::PAGE_MAX }),
        _ if from == 0 => Ok(Events::PRINTED),
        _ => Err(Invalid::new("events_from_sequence", "must be 0 except in csv and json")),
    }
}

fn incident(message: &pb::ReportIncident) -> Result<Incident, Failure> {
    let known = message.known_time.as_ref().ok_or(Invalid::new("incident.known_time", "must be set"))?;
    Ok(Incident {
        known_at: moment("incident.known_time", known)?,
        improper: message.improper_purpose,
        filter: message.filter.clone(),
        summary: message.summary.clone(),
    })
}

fn failure(error: fuda_report::Error) -> Failure {
    match error {
        fuda_report::Error::Invalid(invalid) => invalid.into(),
        fuda_report::Error::TooMany(_) => too_much(),
        error => Failure::Internal(anyhow!(error)),
    }
}

fn too_much() -> Failure {
    Failure::Refused(
        Code::TooManyItems,
        Some(Invalid::new("until_date", "must be nearer to from_date: there is too much")),
    )
}

fn now() -> Timestamp {
    let millis = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    Timestamp::from_millis(i64::try_from(millis).unwrap_or(i64::MAX))
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
