//! Requests for access: the row, its life, and what makes a grant of it.

use std::time::Duration;

use fuda_core::{CallerId, Purpose, TenantId, Timestamp, Window, WorkReference, limits};
use fuda_ledger::{Detail, DetailKey};
use fuda_policy::{Given, Grant, GrantId, Role, Terms, Wish};
use minicbor::{Decode, Encode};

use super::{DAY, remember_party, sweep_spent};
use crate::command::propose_grants::check_given;
use crate::machine::Applying;
use crate::row::{Act, GrantRow, Row};
use crate::{Refusal, Table, TableError, Txn, View, granted, key, reader};

/// Requests that are over, deleted by one command that makes a new one.
const FORGET_REQUESTS_MAX: usize = 64;

/// A request for access and what became of it. The grant it becomes has its id.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct AccessRow {
    /// Its id.
    #[n(0)]
    pub id: GrantId,
    /// The tenant.
    #[n(1)]
    pub tenant: TenantId,
    /// The act that asked, or that broke the glass.
    #[n(2)]
    pub requested: Act,
    /// The standing grant of the handler who asked.
    #[n(3)]
    pub under: GrantId,
    /// What was asked for.
    #[n(4)]
    pub wish: Wish,
    /// Why, in the handler's words.
    #[n(5)]
    pub reason: WorkReference,
    /// Approvers who must agree; 0 for a broken glass.
    #[n(6)]
    pub approvals_min: u8,
    /// The approvals so far, each of another approver.
    #[n(7)]
    pub approvals: Vec<Act>,
    /// When the grant is, or was, in force.
    #[n(8)]
    pub in_force: Option<Window>,
    /// How it was ended before its time.
    #[n(9)]
    pub closed: Option<Closed>,
    /// The review that a broken glass must have.
    #[n(10)]
    pub review: Option<Review>,
}

/// How a request ended before its time.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Closed {
    /// An approver denied it.
    #[n(0)]
    Denied(#[n(0)] Act),
    /// It was in force, and was revoked or given back.
    #[n(1)]
    Revoked(#[n(0)] Act),
}

/// The review of a broken glass.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Review {
    /// Until when it should be closed.
    #[n(0)]
    pub due: Timestamp,
    /// The act that closed it.
    #[n(1)]
    pub reviewed: Option<Act>,
    /// What the reviewer found.
    #[n(2)]
    pub finding: Option<WorkReference>,
}

/// Where a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessState {
    /// Waits for approvals.
    Open,
    /// Was not decided in time.
    Lapsed,
    /// The grant is in force.
    InForce,
    /// The grant's time is over.
    Expired,
    /// An approver denied it.
    Denied,
    /// The grant was ended before its time.
    Revoked,
}

impl Row for AccessRow {
    const TABLE: Table = Table::Meta;
}

impl AccessRow {
    /// Where it stands at a moment.
    pub fn state(&self, now: Timestamp) -> AccessState {
        match (&self.closed, &self.in_force) {
            (Some(Closed::Denied(_)), _) => AccessState::Denied,
            (Some(Closed::Revoked(_)), _) => AccessState::Revoked,
            (None, Some(window)) if window.contains(now) => AccessState::InForce,
            (None, Some(_)) => AccessState::Expired,
            (None, None) if now <= self.lapses() => AccessState::Open,
            (None, None) => AccessState::Lapsed,
        }
    }

    /// Whether it is a broken glass that nobody has reviewed.
    pub fn awaits_review(&self) -> bool {
        self.review.as_ref().is_some_and(|review| review.reviewed.is_none())
    }

    /// Whether its grant was taken without waiting.
    pub fn is_break_glass(&self) -> bool {
        self.review.is_some()
    }

    fn lapses(&self) -> Timestamp {
        self.requested.time.saturating_add(DAY * limits::ACCESS_OPEN_DAYS_MAX)
    }

    fn is_forgettable(&self, now: Timestamp) -> bool {
        let kept_until = self.requested.time.saturating_add(DAY * limits::ACCESS_CLOSED_KEPT_DAYS);
        let over = !matches!(self.state(now), AccessState::Open | AccessState::InForce);
        over && !self.awaits_review() && kept_until < now
    }

    /// The facts of an entry about it. Persons asked for are counts; subjects are not named.
    pub(crate) fn detail(&self) -> Vec<Detail> {
        let recipient = self.wish.recipient.map(|to| Detail::new(DetailKey::Recipient, &to.to_string()));
        let mut detail = vec![
            Detail::new(DetailKey::AccessRequest, &self.id.to_string()),
            Detail::new(DetailKey::Handler, self.requested.caller.as_str()),
            Detail::new(DetailKey::Caller, self.wish.caller.as_str()),
            Detail::new(DetailKey::Persons, &self.wish.persons_max.to_string()),
            Detail::new(DetailKey::Minutes, &self.wish.minutes.to_string()),
            Detail::new(DetailKey::Approvals, &format!("{}/{}", self.approvals.len(), self.approvals_min)),
        ];
        detail.extend(recipient);
        detail.push(Detail::new(DetailKey::Role, self.wish.role.code()));
        detail.push(Detail::new(DetailKey::Purpose, self.wish.purpose.as_str()));
        detail.extend(granted::listed(DetailKey::GrantActions, self.wish.actions.iter().map(|action| action.code())));
        detail.extend(granted::listed(DetailKey::GrantKinds, self.wish.kinds.iter().map(|kind| kind.code())));
        detail
    }
}

/// A request for access.
///
/// # Errors
/// [`TableError`] if it cannot be read.
pub fn request(view: &impl View, id: GrantId) -> Result<Option<AccessRow>, TableError> {
    view.get(Table::Meta, &key::access(id))?.map(|bytes| AccessRow::from_bytes(&bytes)).transpose()
}

/// All requests that are not forgotten, by id.
///
/// # Errors
/// [`TableError`] if they cannot be read.
pub fn requests(view: &impl View) -> Result<Vec<AccessRow>, TableError> {
    let from = key::meta(key::Meta::AccessRequest);
    let to = key::prefix_end(&from);
    let rows = view.scan(Table::Meta, &from, to.as_deref(), usize::MAX)?;
    rows.iter().map(|(_, bytes)| AccessRow::from_bytes(bytes)).collect()
}

/// The request that a command is about: of the command's tenant, or none.
pub(crate) fn of_tenant<T: Txn>(applying: &Applying<'_, T>, id: GrantId) -> Result<Option<AccessRow>, TableError> {
    let row = request(&*applying.txn, id)?;
    Ok(row.filter(|row| applying.header.tenant.as_ref() == Some(&row.tenant)))
}

/// The detail of an entry about a request that is not there.
pub(crate) fn unknown(id: GrantId) -> Vec<Detail> {
    vec![Detail::new(DetailKey::AccessRequest, &id.to_string())]
}

/// Checks a wish against the standing grant of the handler who asks.
pub(crate) fn check_wish<T: Txn>(
    applying: &Applying<'_, T>,
    under: GrantId,
    handler: &CallerId,
    wish: &Wish,
    terms: impl Fn(Terms) -> Terms,
) -> Result<Result<Terms, Refusal>, TableError> {
    let Some(standing) = reader::grant(&*applying.txn, under)?.map(|row| row.grant) else {
        return Ok(Err(Refusal::AccessCeiling));
    };
    let Some(purpose) = applying.catalogue()?.get(&wish.purpose).cloned() else {
        return Ok(Err(Refusal::AccessCeiling));
    };
    let terms = terms(standing.terms());
    let terms = Terms { approvals_min: terms.approvals_min.max(purpose.approvals_min()), ..terms };
    let holds = standing.caller == *handler
        && standing.role == Role::Handler
        && standing.tenant == applying.header.tenant
        && standing.window.contains(applying.time)
        && wish.check_under(&standing, terms).is_ok()
        && holder(applying, wish)?.is_some()
        && is_sealable(applying, wish, &purpose)?;
    Ok(if holds { Ok(terms) } else { Err(Refusal::AccessCeiling) })
}

/// Whether the tenant has the recipient that the wish names, for its purpose; and an export is of one kind.
fn is_sealable<T: Txn>(applying: &Applying<'_, T>, wish: &Wish, purpose: &Purpose) -> Result<bool, TableError> {
    let (Some(named), Some(tenant)) = (wish.recipient, &applying.header.tenant) else { return Ok(true) };
    let row = reader::tenant(&*applying.txn, tenant)?;
    let registered = row.as_ref().and_then(|row| row.tenant.recipient(named));
    let open = registered.is_some_and(|to| to.is_open(Some(&wish.purpose), applying.time));
    Ok(open && (wish.kinds.len() == 1 || !purpose.is_export()))
}

/// A grant that the caller who shall hold the new one holds already: nobody is brought into a tenant by a request.
fn holder<T: Txn>(applying: &Applying<'_, T>, wish: &Wish) -> Result<Option<Grant>, TableError> {
    let known = |grant: &Grant| {
        grant.caller == wish.caller
            && grant.role == wish.role
            && grant.tenant == applying.header.tenant
            && grant.given().is_none()
            && grant.window.contains(applying.time)
    };
    Ok(applying.grants()?.into_iter().find(known))
}

/// Makes the grant of a request and brings it into force now, unless a rule about grants forbids it. Sweeps away
/// grants whose time is over, since the policy version moves anyway.
pub(crate) fn bring_into_force<T: Txn>(
    applying: &mut Applying<'_, T>,
    row: &mut AccessRow,
) -> Result<Result<(), Refusal>, TableError> {
    let Some(holder) = holder(applying, &row.wish)? else { return Ok(Err(Refusal::AccessCeiling)) };
    let Some(standing) = reader::grant(&*applying.txn, row.under)? else { return Ok(Err(Refusal::AccessCeiling)) };
    let given = Given { handler: row.requested.caller.clone(), break_glass: row.is_break_glass() };
    let grant = row.wish.grant(row.id, applying.time, given, &row.reason, &standing.grant, holder.entrusted().cloned());
    if let Err(refusal) = check_given(applying, &grant)? {
        return Ok(Err(refusal));
    }
    sweep_spent(applying)?;
    row.in_force = Some(grant.window);
    let sequence = applying.next_sequence();
    remember_party(applying, &grant);
    applying.put(key::grant(grant.id), &GrantRow { grant, order: None, sequence });
    applying.raise_policy_version()?;
    Ok(Ok(()))
}

/// Whether a tenant may have one more open request; forgets some that are long over.
pub(crate) fn make_room<T: Txn>(applying: &mut Applying<'_, T>, tenant: &TenantId) -> Result<bool, TableError> {
    let (now, rows) = (applying.time, requests(&*applying.txn)?);
    for row in rows.iter().filter(|row| row.is_forgettable(now)).take(FORGET_REQUESTS_MAX) {
        applying.txn.delete(Table::Meta, &key::access(row.id));
    }
    let open = rows.iter().filter(|row| row.tenant == *tenant && row.state(now) == AccessState::Open).count();
    Ok(open < limits::ACCESS_OPEN_MAX)
}

/// When a review that begins now is due.
pub(crate) fn review_due(now: Timestamp) -> Timestamp {
    now.saturating_add(Duration::from_secs(86_400) * limits::BREAK_GLASS_REVIEW_DAYS_MAX)
}
