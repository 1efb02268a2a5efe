//! 出力・持出し記録: what left the vault sealed to somebody or to another legal person, and what was shown.

use std::collections::{BTreeMap, BTreeSet};

use fuda_core::Timestamp;
use fuda_ledger::{Decision, DetailKey, Entry};
use fuda_policy::Action;

use super::grants::Grants;
use super::{Context, Distinct, Fold, Parts, Seen, fact, remember, who};
use crate::document::{Cell, Section, Table};
use crate::{DISTINCT_MAX, Error, Text};

/// Numbers that one call took out of the vault.
struct Parcel {
    at: Timestamp,
    action: Action,
    purpose: String,
    kinds: BTreeSet<String>,
    items: u64,
    persons: Distinct,
    recipient: String,
    handler: String,
    caller: String,
    grant: Option<String>,
    tracking: String,
    due: Option<String>,
    work_reference: Option<String>,
}

/// Numbers that were shown for one purpose to one caller.
#[derive(Default)]
struct Shown {
    items: u64,
    persons: Distinct,
    handlers: BTreeSet<String>,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
}

/// The fold.
#[derive(Default)]
pub(crate) struct Outputs {
    grants: Grants,
    parcels: BTreeMap<(Timestamp, String), Parcel>,
    shown: BTreeMap<(String, String, String), Shown>,
}

impl Fold for Outputs {
    fn take(&mut self, seen: &Seen<'_>) -> Result<(), Error> {
        self.grants.take(seen)?;
        let entry = seen.entry;
        if !seen.in_period || entry.item.decision == Decision::Denied {
            return Ok(());
        }
        match entry.common.action {
            // What a retry got again left once.
            Action::Seal | Action::OfferTransfer if entry.item.decision == Decision::Allowed => self.left(entry)?,
            Action::Detokenize | Action::RevealMasked | Action::VerifyNumber => self.was_shown(entry)?,
            _ => {}
        }
        let groups = self.parcels.len() + self.shown.len();
        if groups > DISTINCT_MAX / 8 { Err(Error::TooMany(DISTINCT_MAX / 8)) } else { Ok(()) }
    }

    fn finish(self: Box<Self>, context: &Context<'_>) -> Parts {
        let parcels = Table::new("outputs", &PARCEL_COLUMNS)
            .filled(self.parcels.values().map(|parcel| parcel_row(context, &self.grants, parcel)));
        let shown = Table::new("shown", &SHOWN_COLUMNS)
            .filled(self.shown.iter().map(|(key, shown)| shown_row(context, key, shown)));
        Parts {
            sections: vec![
                Section::table(Text::SectionOutputs, parcels).note(context.say(Text::NoteOutputs)),
                Section::table(Text::SectionShown, shown).note(context.say(Text::NoteShown)),
            ],
            signatures: vec![Text::SignHandler, Text::SignResponsible],
            ..Parts::default()
        }
    }
}

impl Outputs {
    fn left(&mut self, entry: &Entry) -> Result<(), Error> {
        let common = &entry.common;
        let key = (common.time, common.request_id.to_string());
        let parcel = self.parcels.entry(key).or_insert_with(|| Parcel {
            at: common.time,
            action: common.action,
            purpose: common.purpose.as_ref().map(ToString::to_string).unwrap_or_default(),
            kinds: BTreeSet::new(),
            items: 0,
            persons: Distinct::default(),
            recipient: recipient(entry),
            handler: who(entry).to_owned(),
            caller: common.caller.to_string(),
            grant: common.grant.map(|grant| grant.to_string()),
            tracking: fact(entry, DetailKey::Transfer).map_or_else(|| common.request_id.to_string(), str::to_owned),
            due: fact(entry, DetailKey::Until).map(str::to_owned),
            work_reference: common.work_reference.as_ref().map(ToString::to_string),
        });
        parcel.items = parcel.items.saturating_add(1);
        entry.item.kind.iter().for_each(|kind| remember(&mut parcel.kinds, kind.code()));
        parcel.persons.person(entry)
    }

    fn was_shown(&mut self, entry: &Entry) -> Result<(), Error> {
        let common = &entry.common;
        let purpose = common.purpose.as_ref().map(ToString::to_string).unwrap_or_default();
        let key = (common.action.code().to_owned(), purpose, common.caller.to_string());
        let shown = self.shown.entry(key).or_default();
        shown.items = shown.items.saturating_add(1);
        shown.first.get_or_insert(common.time);
        shown.last = Some(common.time);
        remember(&mut shown.handlers, who(entry));
        shown.persons.person(entry)
    }
}

/// To whom: the tenant of a transfer, or the fingerprint of the key numbers were sealed to.
fn recipient(entry: &Entry) -> String {
    let sealed = entry.common.recipient.map(|to| to.to_string());
    let moved = fact(entry, DetailKey::ToTenant).map(str::to_owned);
    moved.or(sealed).unwrap_or_default()
}

const PARCEL_COLUMNS: [Text; 13] = [
    Text::Time,
    Text::Purpose,
    Text::Kind,
    Text::Items,
    Text::Persons,
    Text::Recipient,
    Text::ApprovedBy,
    Text::Method,
    Text::Tracking,
    Text::Due,
    Text::Handler,
    Text::Caller,
    Text::WorkReference,
];

fn parcel_row(context: &Context<'_>, grants: &Grants, parcel: &Parcel) -> Vec<Cell> {
    let method = if parcel.action == Action::Seal { Text::MethodSealed } else { Text::MethodTransfer };
    let approved = parcel.grant.as_deref().and_then(|id| grants.get(id)).map(|held| &held.approved_by);
    let approved = approved.filter(|people| !people.is_empty());
    vec![
        Cell::Moment(parcel.at),
        Cell::text(context.purpose(&parcel.purpose)),
        Cell::list(parcel.kinds.iter().map(|kind| context.kind(kind))),
        Cell::Count(parcel.items),
        parcel.persons.cell(),
        Cell::text(&parcel.recipient),
        approved.map_or(Cell::Missing(Text::WhyNoApprover), Cell::list),
        Cell::text(context.say(method)),
        Cell::text(&parcel.tracking),
        Cell::or_missing(parcel.due.as_deref(), Text::WhyNoReturn),
        Cell::text(&parcel.handler),
        Cell::text(&parcel.caller),
        parcel.work_reference.as_deref().map_or(Cell::Empty, Cell::text),
    ]
}

const SHOWN_COLUMNS: [Text; 8] =
    [Text::Operation, Text::Purpose, Text::Caller, Text::Handlers, Text::Items, Text::Persons, Text::Start, Text::End];

fn shown_row(context: &Context<'_>, (action, purpose, caller): &(String, String, String), shown: &Shown) -> Vec<Cell> {
    vec![
        Cell::text(context.action(action)),
        Cell::text(context.purpose(purpose)),
        Cell::text(caller),
        Cell::list(&shown.handlers),
        Cell::Count(shown.items),
        shown.persons.cell(),
        Cell::moment(shown.first),
        Cell::moment(shown.last),
    ]
}
