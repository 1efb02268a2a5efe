//! Who may do what, as the entries tell it: grants of orders, of requests and of bootstrap, their use and their end.

use std::collections::{BTreeMap, BTreeSet};

use fuda_core::Timestamp;
use fuda_ledger::{Decision, Detail, DetailKey, Entry};
use fuda_policy::Action;

use super::{Seen, fact, moment, remember};
use crate::{DISTINCT_MAX, Error};

/// How a grant came to be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Two people: an order.
    #[default]
    Order,
    /// A request that others approved.
    Request,
    /// A broken glass.
    BreakGlass,
    /// Named when the vault began.
    Bootstrap,
    /// Only seen in use: the entry that gave it tells no facts of it, or was not among those read.
    SeenInUse,
}

/// One grant.
#[derive(Debug, Clone, Default)]
pub(crate) struct Held {
    pub(crate) caller: String,
    pub(crate) role: String,
    pub(crate) tenant: Option<String>,
    pub(crate) actions: BTreeSet<String>,
    pub(crate) kinds: BTreeSet<String>,
    pub(crate) purposes: BTreeSet<String>,
    pub(crate) scopes: BTreeSet<String>,
    pub(crate) until: Option<Timestamp>,
    pub(crate) trained_until: Option<Timestamp>,
    pub(crate) party: Option<String>,
    pub(crate) sub_of: Option<String>,
    pub(crate) proposed_by: Option<String>,
    pub(crate) approved_by: BTreeSet<String>,
    pub(crate) since: Option<Timestamp>,
    pub(crate) ended: Option<Timestamp>,
    pub(crate) last_use: Option<Timestamp>,
    pub(crate) origin: Origin,
}

impl Held {
    /// Whether it is in force just before a moment.
    pub(crate) fn in_force(&self, behind: Timestamp) -> bool {
        self.ended.is_none() && self.until.is_none_or(|until| until >= behind)
    }
}

/// All grants that concern the tenant, by id.
#[derive(Debug, Default)]
pub(crate) struct Grants {
    held: BTreeMap<String, Held>,
    proposers: BTreeMap<String, String>,
    approvers: BTreeMap<String, BTreeSet<String>>,
    last_use_of: BTreeMap<String, Timestamp>,
    /// Orders whose grants the entries do not tell in full.
    pub(crate) untold: u64,
}

impl Grants {
    /// Takes the next entry.
    pub(crate) fn take(&mut self, seen: &Seen<'_>) -> Result<(), Error> {
        let entry = seen.entry;
        let done = entry.item.decision == Decision::Allowed;
        match entry.common.action {
            Action::ProposeGrants if done => self.proposed(entry),
            Action::ApproveGrants if done => self.ordered(entry),
            Action::Bootstrap if done => self.bootstrapped(entry),
            Action::RequestAccess if done => self.asked(entry),
            Action::ApproveAccess if done => self.agreed(entry),
            Action::BreakGlass if done => self.given(entry, Origin::BreakGlass),
            Action::RevokeAccess if done => self.ended(fact(entry, DetailKey::AccessRequest), entry.common.time),
            Action::ConsentSubEntrust if done => self.withdrawn(entry),
            _ => self.used(entry),
        }
        if self.held.len() > DISTINCT_MAX / 8 { Err(Error::TooMany(DISTINCT_MAX / 8)) } else { Ok(()) }
    }

    /// The grants of the tenant and of the whole vault, by id.
    pub(crate) fn of_tenant<'a>(&'a self, tenant: &'a str) -> impl Iterator<Item = (&'a String, &'a Held)> {
        self.held.iter().filter(move |(_, held)| held.tenant.as_deref().is_none_or(|of| of == tenant))
    }

    /// One grant.
    pub(crate) fn get(&self, id: &str) -> Option<&Held> {
        self.held.get(id)
    }

    /// The entrusted party of a caller, by any grant it ever held.
    pub(crate) fn party_of(&self, caller: &str) -> Option<&str> {
        self.held.values().find(|held| held.caller == caller && held.party.is_some())?.party.as_deref()
    }

    /// When a grant was last used; for one that is known by its holder alone, when he last acted.
    pub(crate) fn last_use(&self, held: &Held) -> Option<Timestamp> {
        match held.origin {
            Origin::Bootstrap => self.last_use_of.get(&held.caller).copied(),
            _ => held.last_use,
        }
    }

    fn proposed(&mut self, entry: &Entry) {
        if let Some(order) = fact(entry, DetailKey::Order) {
            self.proposers.insert(order.to_owned(), entry.common.caller.to_string());
        }
        self.used(entry);
    }

    /// An order in force: the facts of each grant stand behind its id.
    fn ordered(&mut self, entry: &Entry) {
        let proposed_by = fact(entry, DetailKey::Order).and_then(|order| self.proposers.get(order)).cloned();
        let mut told = 0_u64;
        let mut current: Option<(String, Held)> = None;
        for detail in &entry.item.detail {
            match detail.key() {
                DetailKey::Granted => {
                    self.keep(current.take());
                    told = told.saturating_add(1);
                    let held = Held {
                        proposed_by: proposed_by.clone(),
                        approved_by: [entry.common.caller.to_string()].into(),
                        since: Some(entry.common.time),
                        ..Held::default()
                    };
                    current = Some((detail.value().to_owned(), held));
                }
                DetailKey::GrantRevoked => {
                    self.keep(current.take());
                    self.ended(Some(detail.value()), entry.common.time);
                }
                _ => {
                    if let Some((_, held)) = &mut current {
                        held.learn(detail);
                    }
                }
            }
        }
        self.keep(current);
        let added = fact(entry, DetailKey::GrantsAdded).and_then(|count| count.parse::<u64>().ok()).unwrap_or(0);
        self.untold = self.untold.saturating_add(added.saturating_sub(told));
        self.used(entry);
    }

    fn keep(&mut self, grant: Option<(String, Held)>) {
        if let Some((id, held)) = grant {
            self.held.insert(id, held);
        }
    }

    /// Entry 1 names people and their roles in pairs.
    fn bootstrapped(&mut self, entry: &Entry) {
        let mut caller = None;
        for detail in &entry.item.detail {
            match (detail.key(), caller.take()) {
                (DetailKey::Caller, _) => caller = Some(detail.value().to_owned()),
                (DetailKey::Role, Some(named)) => {
                    let held = Held {
                        caller: named.clone(),
                        role: detail.value().to_owned(),
                        since: Some(entry.common.time),
                        approved_by: [entry.common.caller.to_string()].into(),
                        origin: Origin::Bootstrap,
                        ..Held::default()
                    };
                    self.held.insert(format!("{}:{named}", Action::Bootstrap.code()), held);
                }
                _ => {}
            }
        }
    }

    fn asked(&mut self, entry: &Entry) {
        if let Some(id) = fact(entry, DetailKey::AccessRequest) {
            self.proposers.insert(id.to_owned(), entry.common.caller.to_string());
        }
        self.used(entry);
    }

    /// An approval; the one that brings the grant into force names its end.
    fn agreed(&mut self, entry: &Entry) {
        let Some(id) = fact(entry, DetailKey::AccessRequest) else { return };
        self.approvers.entry(id.to_owned()).or_default().insert(entry.common.caller.to_string());
        if fact(entry, DetailKey::Until).is_some() {
            self.given(entry, Origin::Request);
        }
        self.used(entry);
    }

    /// A grant that came of a request, or was taken.
    fn given(&mut self, entry: &Entry, origin: Origin) {
        let Some(id) = fact(entry, DetailKey::AccessRequest) else { return };
        let mut held = Held {
            tenant: entry.common.tenant.as_ref().map(ToString::to_string),
            proposed_by: fact(entry, DetailKey::Handler).map(str::to_owned),
            approved_by: self.approvers.remove(id).unwrap_or_default(),
            since: Some(entry.common.time),
            origin,
            ..Held::default()
        };
        entry.item.detail.iter().for_each(|detail| held.learn(detail));
        self.held.insert(id.to_owned(), held);
    }

    fn ended(&mut self, id: Option<&str>, at: Timestamp) {
        if let Some(held) = id.and_then(|id| self.held.get_mut(id)) {
            held.ended = Some(at);
        }
    }

    /// A withdrawn consent ends all grants that hang on it.
    fn withdrawn(&mut self, entry: &Entry) {
        if fact(entry, DetailKey::GrantsRevoked).is_some() {
            let (party, sub_of) = (fact(entry, DetailKey::Party), fact(entry, DetailKey::SubOf));
            let tenant = entry.common.tenant.as_ref().map(fuda_core::TenantId::as_str);
            let hangs = |held: &&mut Held| {
                held.party.as_deref() == party && held.sub_of.as_deref() == sub_of && held.tenant.as_deref() == tenant
            };
            self.held.values_mut().filter(hangs).for_each(|held| held.ended = Some(entry.common.time));
        }
        self.used(entry);
    }

    /// A use of the grant that allowed the call.
    fn used(&mut self, entry: &Entry) {
        if entry.item.decision == Decision::Denied {
            return;
        }
        let (caller, at) = (entry.common.caller.as_str(), entry.common.time);
        match self.last_use_of.get_mut(caller) {
            Some(last) => *last = at,
            None => drop(self.last_use_of.insert(caller.to_owned(), at)),
        }
        let Some(id) = entry.common.grant else { return };
        // Whoever was named at bootstrap stands in a row of his own already.
        if self.held.contains_key(&format!("{}:{caller}", Action::Bootstrap.code())) {
            return;
        }
        let held = self.held.entry(id.to_string()).or_insert_with(|| Held {
            caller: caller.to_owned(),
            tenant: entry.common.tenant.as_ref().map(ToString::to_string),
            origin: Origin::SeenInUse,
            ..Held::default()
        });
        held.last_use = Some(at);
        if held.origin == Origin::SeenInUse {
            remember(&mut held.actions, entry.common.action.code());
            entry.common.purpose.iter().for_each(|purpose| remember(&mut held.purposes, purpose.as_str()));
            entry.item.kind.iter().for_each(|kind| remember(&mut held.kinds, kind.code()));
            entry.item.scope.iter().for_each(|scope| remember(&mut held.scopes, scope.as_str()));
        }
    }
}

impl Held {
    /// Learns one fact.
    fn learn(&mut self, detail: &Detail) {
        let value = detail.value();
        let words = || value.split(' ').filter(|word| !word.is_empty()).map(str::to_owned);
        match detail.key() {
            DetailKey::Caller => value.clone_into(&mut self.caller),
            DetailKey::Role => value.clone_into(&mut self.role),
            DetailKey::GrantTenant => self.tenant = Some(value.to_owned()),
            DetailKey::GrantActions => self.actions.extend(words()),
            DetailKey::GrantKinds => self.kinds.extend(words()),
            DetailKey::Purpose => self.purposes.extend(words()),
            DetailKey::GrantScopes => self.scopes.extend(words()),
            DetailKey::Until => self.until = moment(value),
            DetailKey::TrainedUntil => self.trained_until = moment(value),
            DetailKey::Party => self.party = Some(value.to_owned()),
            DetailKey::SubOf => self.sub_of = Some(value.to_owned()),
            _ => {}
        }
    }
}
