//! One fold per report, and what they share: the context a document is finished in, and how facts are read from entries.

mod abroad;
mod deletion;
mod disclosure;
mod encryption;
mod entrusted;
mod grants;
mod identity;
mod incident;
mod outputs;
mod register;
mod review;
mod roster;
mod rules;
mod usage;

use std::collections::BTreeSet;

use fuda_core::{Catalogue, Day, Kind, PurposeCode, SubjectRef, Timestamp, Zone};
use fuda_ledger::{DetailKey, Entry, tree};
use fuda_policy::Action;

use crate::document::{Cell, Section};
use crate::{Basis, DISTINCT_MAX, Error, Facts, Language, ReportKind, Request, TenantFacts, Text};

/// An entry, and whether it lies in the period or before it.
pub(crate) struct Seen<'a> {
    pub(crate) entry: &'a Entry,
    pub(crate) zone: &'a Zone,
    pub(crate) in_period: bool,
}

/// What a fold comes to.
#[derive(Default)]
pub(crate) struct Parts {
    pub(crate) sections: Vec<Section>,
    pub(crate) notes: Vec<String>,
    pub(crate) signatures: Vec<Text>,
    pub(crate) next_event: Option<u64>,
}

/// One report.
pub(crate) trait Fold {
    /// Takes the next entry of the tenant or of the whole vault.
    fn take(&mut self, seen: &Seen<'_>) -> Result<(), Error>;

    /// Whether it takes nothing more.
    fn is_full(&self) -> bool {
        false
    }

    /// What it comes to.
    fn finish(self: Box<Self>, context: &Context<'_>) -> Parts;
}

/// The fold of a report.
pub(crate) fn of(request: &Request) -> Box<dyn Fold + Send> {
    match request.report {
        ReportKind::Register => Box::<register::Register>::default(),
        ReportKind::Usage => Box::new(usage::Usage::of(request.events)),
        ReportKind::Outputs => Box::<outputs::Outputs>::default(),
        ReportKind::Deletion => Box::<deletion::Deletion>::default(),
        ReportKind::Roster => Box::<roster::Roster>::default(),
        ReportKind::Review => Box::<review::Review>::default(),
        ReportKind::Entrusted => Box::<entrusted::Entrusted>::default(),
        ReportKind::Identity => Box::<identity::Identity>::default(),
        ReportKind::Abroad => Box::<abroad::Abroad>::default(),
        ReportKind::Rules => Box::<rules::Rules>::default(),
        ReportKind::Encryption => Box::<encryption::Encryption>::default(),
        ReportKind::Disclosure => Box::new(disclosure::Disclosure::of(request.subject.clone())),
        ReportKind::Incident => Box::<incident::Pack>::default(),
    }
}

/// What a document is finished in.
pub(crate) struct Context<'a> {
    pub(crate) request: &'a Request,
    pub(crate) facts: &'a Facts,
    pub(crate) catalogue: &'a Catalogue,
    pub(crate) behind: Timestamp,
    pub(crate) basis: &'a Basis,
}

impl<'a> Context<'a> {
    /// A text in the document's language.
    pub(crate) fn say(&self, text: Text) -> &'static str {
        text.of(self.request.language)
    }

    /// The day of a moment in the document's zone.
    pub(crate) fn day(&self, at: Timestamp) -> Day {
        at.day_in(&self.request.zone)
    }

    /// What is configured of the tenant.
    pub(crate) fn tenant(&self) -> Option<&'a TenantFacts> {
        self.facts.tenant.get(self.request.tenant.as_str())
    }

    /// A fact of the tenant, or that nobody configured it.
    pub(crate) fn tenant_fact(&self, fact: impl Fn(&'a TenantFacts) -> &'a Option<String>) -> Cell {
        Cell::or_missing(self.tenant().and_then(|facts| fact(facts).as_deref()), Text::WhyNoConfiguration)
    }

    /// A purpose with its name.
    pub(crate) fn purpose(&self, code: &str) -> String {
        let known = PurposeCode::parse(code).ok().and_then(|code| self.catalogue.get(&code));
        let Some(purpose) = known else { return code.to_owned() };
        match self.request.language {
            Language::Japanese => format!("{} ({code})", purpose.ja),
            Language::English => format!("{} ({code})", purpose.en),
        }
    }

    /// The names of purposes, in the order of their codes.
    pub(crate) fn purposes<'b>(&self, codes: impl IntoIterator<Item = &'b String>) -> Cell {
        Cell::list(codes.into_iter().map(|code| self.purpose(code)))
    }

    /// The name of a kind of number.
    pub(crate) fn kind(&self, code: &str) -> String {
        let Ok(kind) = Kind::from_code(code) else { return code.to_owned() };
        match self.request.language {
            Language::Japanese => format!("{} ({code})", kind.name_ja()),
            Language::English => format!("{} ({code})", kind.name_en()),
        }
    }

    /// An action with its name.
    pub(crate) fn action(&self, code: &str) -> String {
        Text::of_action(code).map_or_else(|| code.to_owned(), |text| format!("{} ({code})", self.say(text)))
    }
}

/// Distinct persons or records, by digest: exact, and small for large tenants.
#[derive(Debug, Default, Clone)]
pub(crate) struct Distinct(BTreeSet<[u8; 16]>);

impl Distinct {
    /// Counts a value once.
    pub(crate) fn insert(&mut self, value: &[u8]) -> Result<(), Error> {
        self.0.insert(digest(value));
        if self.0.len() > DISTINCT_MAX { Err(Error::TooMany(DISTINCT_MAX)) } else { Ok(()) }
    }

    /// Counts the person of an entry, if it names one.
    pub(crate) fn person(&mut self, entry: &Entry) -> Result<(), Error> {
        entry.item.subject.as_ref().map_or(Ok(()), |subject: &SubjectRef| self.insert(subject.as_str().as_bytes()))
    }

    /// Takes a value back.
    pub(crate) fn remove(&mut self, value: &[u8]) {
        self.0.remove(&digest(value));
    }

    /// How many.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// As a cell.
    pub(crate) fn cell(&self) -> Cell {
        Cell::count(self.len())
    }
}

/// The first half of the SHA-256 that the ledger takes of leaves: collisions of 128 bits do not happen.
fn digest(value: &[u8]) -> [u8; 16] {
    let mut half = [0; 16];
    half.iter_mut().zip(tree::leaf_hash(value)).for_each(|(to, from)| *to = from);
    half
}

/// The first fact under a key.
pub(crate) fn fact(entry: &Entry, key: DetailKey) -> Option<&str> {
    entry.item.detail.iter().find(|fact| fact.key() == key).map(fuda_ledger::Detail::value)
}

/// The codes of all facts under a key, which stand parted by spaces.
pub(crate) fn codes(entry: &Entry, key: DetailKey) -> impl Iterator<Item = &str> {
    let facts = entry.item.detail.iter().filter(move |fact| fact.key() == key);
    facts.flat_map(|fact| fact.value().split(' ')).filter(|code| !code.is_empty())
}

/// A moment as entries write it.
pub(crate) fn moment(text: &str) -> Option<Timestamp> {
    let at: jiff::Timestamp = text.parse().ok()?;
    Some(Timestamp::from_millis(at.as_millisecond()))
}

/// Whether the action handles numbers or tokens of the tenant: what a record of use is about.
pub(crate) fn is_use(action: Action) -> bool {
    action.reveals()
        || action.hands_out()
        || action.brings_number()
        || matches!(
            action,
            Action::DescribeToken
                | Action::GetRecord
                | Action::ListRecords
                | Action::Exchange
                | Action::Rotate
                | Action::Disable
                | Action::Enable
                | Action::Supersede
                | Action::AddNotice
                | Action::RevealMasked
                | Action::AcceptTransfer
                | Action::CancelTransfer
        )
}

/// Who answers for an entry: the person behind the call, or the caller himself.
pub(crate) fn who(entry: &Entry) -> &str {
    entry.common.end_user.as_deref().unwrap_or(entry.common.caller.as_str())
}

/// Adds a text to a set once, up to what a cell can show.
pub(crate) fn remember(set: &mut BTreeSet<String>, value: &str) {
    const SHOWN_MAX: usize = 64;
    if set.len() < SHOWN_MAX && !set.contains(value) {
        set.insert(value.to_owned());
    }
}
