//! The fold over the ledger: which entries count, and what every document says about itself.

use fuda_core::{Catalogue, Sequence, Timestamp};
use fuda_ledger::Entry;

use crate::document::{Cell, Document};
use crate::fold::{self, Context, Fold, Parts, Seen};
use crate::{Basis, Error, Facts, Request, Text};

/// Takes entries in the order of the ledger and makes a document of them.
pub struct Collector {
    request: Request,
    facts: Facts,
    catalogue: Catalogue,
    first: Timestamp,
    behind: Timestamp,
    last: Option<Sequence>,
    read: u64,
    fold: Box<dyn Fold + Send>,
}

/// What is asked for; the fold holds people.
impl std::fmt::Debug for Collector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let report = self.request.report.code();
        f.debug_struct("Collector").field("report", &report).field("read", &self.read).finish_non_exhaustive()
    }
}

impl Collector {
    /// Begins a document.
    ///
    /// # Errors
    /// [`Error::Invalid`] when request or facts break a rule.
    pub fn new(request: Request, facts: Facts) -> Result<Self, Error> {
        request.check()?;
        facts.check()?;
        let catalogue = facts.catalogue()?;
        let (first, behind) = request.moments();
        let fold = fold::of(&request);
        Ok(Self { request, facts, catalogue, first, behind, last: None, read: 0, fold })
    }

    /// The moments between which entries are wanted: from the beginning of the ledger where the report tells what is in
    /// force. The second moment is behind the last.
    #[must_use]
    pub fn wanted(&self) -> (Timestamp, Timestamp) {
        let first = if self.request.report.reads_history() { Timestamp::EPOCH } else { self.first };
        (first, self.behind)
    }

    /// Takes the next entry. Entries of other tenants and behind the period are passed over, so that nothing of another
    /// legal person can get into a document whatever is fed.
    ///
    /// # Errors
    /// [`Error::Order`] for an entry that is not behind the last one, [`Error::TooMany`] when there is more to count
    /// than a document can.
    pub fn take(&mut self, entry: &Entry) -> Result<(), Error> {
        let found = entry.item.sequence;
        if let Some(last) = self.last.filter(|last| *last >= found) {
            return Err(Error::Order { last, found });
        }
        self.last = Some(found);
        let ours = entry.common.tenant.as_ref().is_none_or(|tenant| *tenant == self.request.tenant);
        if !ours || entry.common.time >= self.behind {
            return Ok(());
        }
        self.read = self.read.saturating_add(1);
        let in_period = entry.common.time >= self.first;
        self.fold.take(&Seen { entry, zone: &self.request.zone, in_period })
    }

    /// Whether no further entry changes the document: a page that is not the first is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.fold.is_full()
    }

    /// The document.
    #[must_use]
    pub fn finish(self, basis: &Basis) -> Document {
        let Self { request, facts, catalogue, behind, read, fold, .. } = self;
        let context = Context { request: &request, facts: &facts, catalogue: &catalogue, behind, basis };
        let Parts { sections, mut notes, signatures, next_event } = fold.finish(&context);
        if request.partial {
            notes.insert(0, context.say(Text::NotePartial).to_owned());
        }
        if let Some((entries, first, last)) = basis.removed {
            let (first, last) = (context.day(first), context.day(last));
            notes.insert(0, format!("{} {entries} ({first} – {last})", context.say(Text::NoteRemoved)));
        }
        notes.push(context.say(Text::NoteNoNumbers).to_owned());
        Document {
            report: request.report.code(),
            language: request.language,
            title: request.report.title(),
            basis: request.report.basis(),
            head: head(&context, read),
            notes,
            sections,
            signatures,
            next_event,
            zone: request.zone.clone(),
        }
    }
}

/// What it is about and rests on.
fn head(context: &Context<'_>, read: u64) -> Vec<(Text, Cell)> {
    let (request, basis) = (context.request, context.basis);
    let name = context.tenant().and_then(|facts| facts.name.as_deref());
    let mut head = vec![
        (Text::Tenant, Cell::text(request.tenant.as_str())),
        (Text::TenantName, Cell::or_missing(name, Text::WhyNoConfiguration)),
        (Text::Period, Cell::text(format!("{} – {}", request.from, request.until))),
        (Text::TimeZone, Cell::text(request.zone.name())),
        (Text::MadeAt, Cell::Moment(basis.made_at)),
        (Text::MadeBy, Cell::text(&basis.made_by)),
        (Text::LedgerOrigin, Cell::text(&basis.origin)),
        (Text::LedgerSize, Cell::Count(basis.size)),
        (Text::LedgerRoot, Cell::text(hex::encode(basis.root))),
        (Text::EntriesRead, Cell::Count(read)),
    ];
    for witness in &context.facts.witnesses {
        let at = crate::document::moment_shown(witness.at, &request.zone);
        head.push((Text::CosignedBy, Cell::text(format!("{} · {} · {at}", witness.name, witness.size))));
    }
    if context.facts.witnesses.is_empty() {
        head.push((Text::CosignedBy, Cell::Missing(Text::WhyNoWitness)));
    }
    head
}
