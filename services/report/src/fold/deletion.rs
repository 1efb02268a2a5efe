//! 削除・廃棄記録: what was taken out of use. The vault does not erase yet, and the document says so.

use std::collections::{BTreeMap, BTreeSet};

use fuda_core::Timestamp;
use fuda_ledger::{Decision, Entry};
use fuda_policy::Action;

use super::{Context, Distinct, Fold, Parts, Seen, remember, who};
use crate::document::{Cell, Section, Table};
use crate::{DISTINCT_MAX, Error, Text};

/// One call's act on records of one kind.
struct Act {
    at: Timestamp,
    action: Action,
    kind: String,
    items: u64,
    persons: Distinct,
    handler: String,
    rule: String,
    work_reference: Option<String>,
    sequences: (u64, u64),
}

/// The fold.
#[derive(Default)]
pub(crate) struct Deletion {
    acts: BTreeMap<(Timestamp, String, String), Act>,
    totals: BTreeMap<(String, Action), u64>,
}

fn is_deletion(action: Action) -> bool {
    matches!(action, Action::Disable | Action::Enable | Action::Supersede | Action::UpdateNumber)
}

impl Fold for Deletion {
    fn take(&mut self, seen: &Seen<'_>) -> Result<(), Error> {
        let entry = seen.entry;
        let done = entry.item.decision == Decision::Allowed && entry.item.record.is_some();
        if !seen.in_period || !done || !is_deletion(entry.common.action) {
            return Ok(());
        }
        let kind = entry.item.kind.map(|kind| kind.code().to_owned()).unwrap_or_default();
        let total = self.totals.entry((kind.clone(), entry.common.action)).or_default();
        *total = total.saturating_add(1);
        let key = (entry.common.time, entry.common.request_id.to_string(), kind.clone());
        let act = self.acts.entry(key).or_insert_with(|| Act::of(entry, kind));
        act.items = act.items.saturating_add(1);
        act.sequences.1 = entry.item.sequence.0;
        act.persons.person(entry)?;
        if self.acts.len() > DISTINCT_MAX / 8 { Err(Error::TooMany(DISTINCT_MAX / 8)) } else { Ok(()) }
    }

    fn finish(self: Box<Self>, context: &Context<'_>) -> Parts {
        let acts = Table::new("deletions", &COLUMNS).filled(self.acts.values().map(|act| row(context, act)));
        let totals = Table::new("deletion_totals", &[Text::Kind, Text::Method, Text::Count]).filled(
            self.totals.iter().map(|((kind, action), count)| {
                vec![Cell::text(context.kind(kind)), Cell::text(context.say(method(*action))), Cell::Count(*count)]
            }),
        );
        Parts {
            sections: vec![
                Section::table(Text::SectionDeletions, acts).note(context.say(Text::NoteDeletion)),
                Section::table(Text::SectionDeletionTotals, totals),
                Section::table(Text::SectionCertificate, certificate(context)).note(context.say(Text::NoteCertificate)),
            ],
            signatures: vec![Text::SignResponsible],
            ..Parts::default()
        }
    }
}

impl Act {
    fn of(entry: &Entry, kind: String) -> Self {
        let common = &entry.common;
        let mut rules = BTreeSet::new();
        common.policy_ids.iter().for_each(|id| remember(&mut rules, id));
        let rules: Vec<String> = rules.into_iter().collect();
        Self {
            at: common.time,
            action: common.action,
            kind,
            items: 0,
            persons: Distinct::default(),
            handler: who(entry).to_owned(),
            rule: format!("{} (v{})", rules.join(", "), common.policy_version.0),
            work_reference: common.work_reference.as_ref().map(ToString::to_string),
            sequences: (entry.item.sequence.0, entry.item.sequence.0),
        }
    }
}

fn method(action: Action) -> Text {
    match action {
        Action::Disable => Text::MethodDisabled,
        Action::Enable => Text::MethodEnabled,
        Action::Supersede => Text::MethodSuperseded,
        _ => Text::MethodUpdated,
    }
}

const COLUMNS: [Text; 12] = [
    Text::DeletedOn,
    Text::FileKind,
    Text::Responsible,
    Text::Department,
    Text::Method,
    Text::Count,
    Text::Persons,
    Text::RuleBasis,
    Text::ApprovedBy,
    Text::Handler,
    Text::WorkReference,
    Text::Remarks,
];

fn row(context: &Context<'_>, act: &Act) -> Vec<Cell> {
    vec![
        Cell::Moment(act.at),
        Cell::text(context.kind(&act.kind)),
        context.tenant_fact(|facts| &facts.responsible),
        context.tenant_fact(|facts| &facts.department),
        Cell::text(context.say(method(act.action))),
        Cell::Count(act.items),
        act.persons.cell(),
        Cell::text(&act.rule),
        Cell::Missing(Text::WhyOnePerson),
        Cell::text(&act.handler),
        act.work_reference.as_deref().map_or(Cell::Empty, Cell::text),
        Cell::text(format!("#{}–#{}", act.sequences.0, act.sequences.1)),
    ]
}

/// The fields of a certificate, none of which can be filled while nothing is erased.
fn certificate(context: &Context<'_>) -> Table {
    let fields = [
        Text::CertificateCounts,
        Text::CertificateMethod,
        Text::CertificateCompacted,
        Text::CertificateBackups,
        Text::CertificateSignature,
    ];
    let known = [
        (Text::Tenant, Cell::text(context.request.tenant.as_str())),
        (Text::Period, Cell::text(format!("{} – {}", context.request.from, context.request.until))),
    ];
    let rows = known.into_iter().chain(fields.map(|field| (field, Cell::Missing(Text::WhyNoErasure))));
    Table::new("certificate", &[Text::Field, Text::Value])
        .filled(rows.map(|(field, value)| vec![Cell::text(context.say(field)), value]))
}
