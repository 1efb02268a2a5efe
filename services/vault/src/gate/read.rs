//! Metadata by subject, for reconciliation with HR. No number, no token; one entry per call.

use fuda_core::{Code, Kind, SubjectRef, TenantId, Timestamp, limits};
use fuda_policy::{Action, Permit, RecordFacts, Request};
use fuda_state::command::ReadRecords;
use fuda_state::row::{RecordRow, RecordStatus};
use fuda_state::{Body, reader};

use super::{Call, Gate, Round};
use crate::page::{decode, encode};
use crate::refusal::Refusal;
use crate::wire;

/// A page of records.
pub(crate) struct RecordPage {
    pub(crate) records: Vec<RecordRow>,
    /// Token of the next page; empty at the end.
    pub(crate) next: String,
}

impl Gate {
    /// One subject's record of one kind.
    pub(crate) async fn get_record(
        &self,
        call: &Call,
        tenant: &str,
        subject: &str,
        kind: &str,
    ) -> Result<RecordRow, Refusal> {
        let call = &call.about(Action::GetRecord, std::iter::empty());
        let mut permit = self.authorize_read(call, Action::GetRecord, tenant).await?;
        let tenant = tenant_of(&permit)?;
        let subject = SubjectRef::parse(subject)?;
        let kind = wire::kind(kind)?;
        for _ in 0..limits::PROPOSAL_ROUNDS_MAX {
            let now = self.now()?;
            let row = Self::read(reader::record_of(&self.store, &tenant, &subject, kind))?;
            let row = row.filter(|row| visible(&permit, row, now));
            let records = row.iter().map(|row| row.record).collect();
            let body = Body::ReadRecords(ReadRecords { subject: Some(subject.clone()), records });
            match self.round(self.commit(call, &permit, body).await?).await? {
                Round::Applied { .. } => return row.ok_or(Refusal::new(Code::NotFound)),
                Round::Again => permit = self.authorize_read(call, Action::GetRecord, tenant.as_str()).await?,
            }
        }
        Err(Refusal::new(Code::StaleRoundsExhausted))
    }

    /// A page of a tenant's records in subject order.
    pub(crate) async fn list_records(
        &self,
        call: &Call,
        tenant: &str,
        subject: &str,
        page_size: i32,
        page_token: &str,
    ) -> Result<RecordPage, Refusal> {
        let call = &call.about(Action::ListRecords, std::iter::empty());
        let mut permit = self.authorize_read(call, Action::ListRecords, tenant).await?;
        let tenant = tenant_of(&permit)?;
        let subject = match subject {
            "" => None,
            subject => Some(SubjectRef::parse(subject)?),
        };
        let size = wire::page_size(page_size)?;
        let listing = listing(&tenant, subject.as_ref());
        let after = match page_token {
            "" => None,
            token => Some(after(&listing, token)?),
        };
        for _ in 0..limits::PROPOSAL_ROUNDS_MAX {
            let now = self.now()?;
            let page = self.page(&tenant, subject.as_ref(), after.as_ref(), size)?;
            let next = match page.last() {
                Some(last) if page.len() == size && subject.is_none() => encode(&listing, &position(last)),
                _ => String::new(),
            };
            let records: Vec<RecordRow> = page.into_iter().filter(|row| visible(&permit, row, now)).collect();
            let body = Body::ReadRecords(ReadRecords {
                subject: subject.clone(),
                records: records.iter().map(|row| row.record).collect(),
            });
            match self.round(self.commit(call, &permit, body).await?).await? {
                Round::Applied { .. } => return Ok(RecordPage { records, next }),
                Round::Again => permit = self.authorize_read(call, Action::ListRecords, tenant.as_str()).await?,
            }
        }
        Err(Refusal::new(Code::StaleRoundsExhausted))
    }

    fn page(
        &self,
        tenant: &TenantId,
        subject: Option<&SubjectRef>,
        after: Option<&(SubjectRef, Kind)>,
        size: usize,
    ) -> Result<Vec<RecordRow>, Refusal> {
        let after = after.map(|(subject, kind)| (subject, *kind));
        Self::read(match subject {
            Some(subject) => reader::records_of(&self.store, tenant, subject),
            None => reader::list_records(&self.store, tenant, "", after, size),
        })
    }

    async fn authorize_read(&self, call: &Call, action: Action, tenant: &str) -> Result<Permit, Refusal> {
        let request = match wire::tenant(tenant) {
            Some(tenant) => Request::tenant(action, call.caller.clone(), tenant),
            None => Request::vault(action, call.caller.clone()),
        };
        self.authorize(call, request, 1).await
    }
}

/// Whether the grant is for the record: its kind, its person.
fn visible(permit: &Permit, row: &RecordRow, now: Timestamp) -> bool {
    let facts = RecordFacts {
        tenant: &row.tenant,
        kind: row.kind,
        subject: &row.subject,
        label: row.label.as_ref(),
        relation: row.relation,
        scope: None,
        notified: &row.notified,
        disabled: row.status != RecordStatus::Live,
        verified: false,
    };
    permit.check_record(&facts, now).is_ok()
}

fn tenant_of(permit: &Permit) -> Result<TenantId, Refusal> {
    permit.tenant().cloned().ok_or(Refusal::new(Code::DeniedOrNotFound))
}

/// What a page token is good for: the same tenant and the same subject.
fn listing(tenant: &TenantId, subject: Option<&SubjectRef>) -> String {
    format!("{tenant}/{}", subject.map(SubjectRef::as_str).unwrap_or_default())
}

/// Where a page ended: kind and subject of its last record.
fn position(last: &RecordRow) -> Vec<u8> {
    let mut position = vec![last.kind.number()];
    position.extend_from_slice(last.subject.as_str().as_bytes());
    position
}

fn after(listing: &str, token: &str) -> Result<(SubjectRef, Kind), Refusal> {
    let position = || {
        let bytes = decode(listing, token)?;
        let (kind, subject) = bytes.split_first()?;
        let subject = SubjectRef::parse(std::str::from_utf8(subject).ok()?).ok()?;
        Some((subject, Kind::from_number(*kind)?))
    };
    position().ok_or(Refusal::new(Code::PageTokenInvalid))
}
