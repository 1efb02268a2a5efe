//! 委託先監督: what entrusted parties did, for what, and who entrusted on to whom.

use std::collections::BTreeMap;

use fuda_core::Timestamp;
use fuda_ledger::{Decision, DetailKey, Entry};
use fuda_policy::Action;

use super::grants::Grants;
use super::{Context, Distinct, Fold, Parts, Seen, fact, is_use};
use crate::document::{Cell, Section, Table};
use crate::{DISTINCT_MAX, Error, Party, Text};

/// What one caller did for one purpose.
#[derive(Default)]
struct Use {
    persons: Distinct,
    allowed: u64,
    denied: u64,
    alarms: u64,
    last: Option<Timestamp>,
}

/// The fold.
#[derive(Default)]
pub(crate) struct Entrusted {
    grants: Grants,
    uses: BTreeMap<(String, String), Use>,
    consents: Vec<Vec<Cell>>,
}

impl Fold for Entrusted {
    fn take(&mut self, seen: &Seen<'_>) -> Result<(), Error> {
        self.grants.take(seen)?;
        let entry = seen.entry;
        if entry.common.action == Action::ConsentSubEntrust && entry.item.decision == Decision::Allowed {
            self.consents.push(consent(entry));
        }
        if !seen.in_period || !is_use(entry.common.action) {
            return Ok(());
        }
        let purpose = entry.common.purpose.as_ref().map(ToString::to_string).unwrap_or_default();
        let used = self.uses.entry((entry.common.caller.to_string(), purpose)).or_default();
        used.last = Some(entry.common.time);
        let alarms = entry.item.alarms.as_ref().map_or(0, Vec::len);
        used.alarms = used.alarms.saturating_add(u64::try_from(alarms).unwrap_or(u64::MAX));
        if entry.item.decision == Decision::Denied {
            used.denied = used.denied.saturating_add(1);
        } else {
            used.allowed = used.allowed.saturating_add(1);
            used.persons.person(entry)?;
        }
        if self.uses.len() > DISTINCT_MAX / 8 { Err(Error::TooMany(DISTINCT_MAX / 8)) } else { Ok(()) }
    }

    fn finish(self: Box<Self>, context: &Context<'_>) -> Parts {
        let uses = self.uses.iter().filter_map(|((caller, purpose), used)| {
            let party = self.grants.party_of(caller)?;
            Some(row(context, party, caller, purpose, used))
        });
        let uses = Table::new("entrusted_use", &USE_COLUMNS).filled(uses);
        let consents = Table::new("sub_entrusting", &CONSENT_COLUMNS).filled(self.consents.iter().cloned());
        let parties = Table::new("parties", &PARTY_COLUMNS).filled(self.parties(context));
        Parts {
            sections: vec![
                Section::table(Text::SectionParties, parties),
                Section::table(Text::SectionEntrustedUse, uses).note(context.say(Text::NoteEntrusted)),
                Section::table(Text::SectionSubEntrusting, consents),
            ],
            signatures: vec![Text::SignResponsible, Text::SignParty],
            ..Parts::default()
        }
    }
}

impl Entrusted {
    /// Every party that holds or held a grant of the tenant, or that is configured.
    fn parties(&self, context: &Context<'_>) -> Vec<Vec<Cell>> {
        let mut named: BTreeMap<&str, Option<&Party>> =
            context.facts.party.iter().map(|party| (party.id.as_str(), Some(party))).collect();
        for (_, held) in self.grants.of_tenant(context.request.tenant.as_str()) {
            if let Some(party) = held.party.as_deref() {
                named.entry(party).or_default();
            }
        }
        let row = |(id, party): (&str, Option<&Party>)| {
            let words = |value: Option<&String>| Cell::or_missing(value, Text::WhyNoConfiguration);
            let certificate = party.and_then(|party| party.deletion_certificate);
            vec![
                Cell::text(id),
                words(party.map(|party| &party.name)),
                words(party.and_then(|party| party.country.as_ref())),
                words(party.and_then(|party| party.contract.as_ref())),
                certificate.map_or(Cell::Missing(Text::WhyNoCertificate), Cell::Day),
            ]
        };
        named.into_iter().map(row).collect()
    }
}

const PARTY_COLUMNS: [Text; 5] =
    [Text::Party, Text::PartyName, Text::Country, Text::Contract, Text::DeletionCertificate];

const USE_COLUMNS: [Text; 8] = [
    Text::Party,
    Text::Caller,
    Text::Purpose,
    Text::Persons,
    Text::ItemsAllowed,
    Text::ItemsDenied,
    Text::Incidents,
    Text::LastUse,
];

fn row(context: &Context<'_>, party: &str, caller: &str, purpose: &str, used: &Use) -> Vec<Cell> {
    vec![
        Cell::text(party),
        Cell::text(caller),
        Cell::text(context.purpose(purpose)),
        used.persons.cell(),
        Cell::Count(used.allowed),
        Cell::Count(used.denied),
        Cell::Count(used.alarms),
        Cell::moment(used.last),
    ]
}

const CONSENT_COLUMNS: [Text; 5] = [Text::Time, Text::SubOf, Text::Party, Text::ConsentState, Text::Handler];

/// A consent, or its withdrawal, which tells how many grants it ended.
fn consent(entry: &Entry) -> Vec<Cell> {
    let ended = fact(entry, DetailKey::GrantsRevoked);
    let state = ended.map_or_else(|| "consented".to_owned(), |grants| format!("withdrawn (grants_revoked={grants})"));
    vec![
        Cell::Moment(entry.common.time),
        Cell::text(fact(entry, DetailKey::SubOf).unwrap_or_default()),
        Cell::text(fact(entry, DetailKey::Party).unwrap_or_default()),
        Cell::text(state),
        Cell::text(entry.common.caller.as_str()),
    ]
}
