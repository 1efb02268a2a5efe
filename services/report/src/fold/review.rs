//! 点検・監査: the annual pack. Findings first, each with what it rests on behind it.

use std::collections::{BTreeMap, BTreeSet};

use fuda_core::{Day, Timestamp};
use fuda_ledger::{Alarm, AlarmCode, Decision, DetailKey, Entry};
use fuda_policy::{Action, DenyReason};

use super::grants::{Grants, Held};
use super::{Context, Fold, Parts, Seen, fact, is_use, roster, who};
use crate::document::{Cell, Section, Table};
use crate::{DISTINCT_MAX, Error, Text};

/// A broken glass.
struct Glass {
    at: Timestamp,
    handler: String,
    reason: String,
    persons: String,
    reviewed: Option<(Timestamp, String, String)>,
}

/// How often something was, and from when to when.
#[derive(Default)]
struct Times {
    count: u64,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
}

/// The fold.
#[derive(Default)]
pub(crate) struct Review {
    grants: Grants,
    denials: BTreeMap<(String, String), Times>,
    alarms: BTreeMap<(AlarmCode, String), Times>,
    glasses: BTreeMap<String, Glass>,
    changes: Vec<Vec<Cell>>,
    off_hours: u64,
    months_used: BTreeSet<(i16, i8)>,
}

impl Times {
    fn count(&mut self, at: Timestamp, times: u64) {
        self.count = self.count.saturating_add(times);
        self.first.get_or_insert(at);
        self.last = Some(at);
    }
}

impl Fold for Review {
    fn take(&mut self, seen: &Seen<'_>) -> Result<(), Error> {
        self.grants.take(seen)?;
        if !seen.in_period {
            return Ok(());
        }
        let entry = seen.entry;
        self.glass(entry);
        self.denied(entry);
        let alarms: &[Alarm] = entry.item.alarms.as_deref().unwrap_or_default();
        for alarm in alarms {
            let key = (alarm.code, entry.common.caller.to_string());
            self.alarms.entry(key).or_default().count(entry.common.time, 1);
        }
        let late = alarms.iter().any(|alarm| alarm.code == AlarmCode::OffHours)
            || entry.item.reason == Some(DenyReason::OutsideHours);
        self.off_hours = self.off_hours.saturating_add(u64::from(late));
        if changes_rules(entry.common.action) && entry.item.decision == Decision::Allowed {
            self.changes.push(change(entry));
        }
        if is_use(entry.common.action) {
            let date = entry.common.time.date_in(seen.zone);
            self.months_used.insert((date.year(), date.month()));
        }
        let groups = self.denials.len() + self.alarms.len() + self.changes.len() + self.glasses.len();
        if groups > DISTINCT_MAX / 8 { Err(Error::TooMany(DISTINCT_MAX / 8)) } else { Ok(()) }
    }

    fn finish(mut self: Box<Self>, context: &Context<'_>) -> Parts {
        let unused = self.unused(context);
        let missing = self.months_without_sign_off(context);
        let findings = self.findings(context, unused.len(), missing.len());
        let unused = Table::new("unused_rights", &roster::COLUMNS)
            .filled(unused.iter().map(|(id, held)| roster::row(context, &self.grants, id, held)));
        let months = Table::new("sign_offs_missing", &[Text::Month])
            .filled(missing.into_iter().map(|(year, month)| vec![Cell::text(format!("{year}-{month:02}"))]));
        let denials = Table::new("denials", &[Text::DenyReason, Text::Caller, Text::Count, Text::Start, Text::End])
            .filled(self.denials.iter().map(|((reason, caller), times)| times_row(reason, caller, times)));
        let alarms = Table::new("alarms", &[Text::Alarm, Text::Caller, Text::Count, Text::Start, Text::End])
            .filled(self.alarms.iter().map(|((code, caller), times)| times_row(code.code(), caller, times)));
        let glasses = Table::new("break_glass", &GLASS_COLUMNS).filled(self.glasses.iter().map(glass_row));
        let changes = Table::new("rule_changes", &CHANGE_COLUMNS).filled(std::mem::take(&mut self.changes));
        Parts {
            sections: vec![
                Section::table(Text::SectionFindings, findings).note(context.say(Text::NoteFindings)),
                Section::table(Text::SectionUnused, unused),
                Section::table(Text::SectionDenials, denials),
                Section::table(Text::SectionAlarms, alarms),
                Section::table(Text::SectionBreakGlass, glasses),
                Section::table(Text::SectionChanges, changes),
                Section::table(Text::SectionKeys, super::encryption::keys(context)),
                Section::table(Text::SectionSignOffsMissing, months),
            ],
            signatures: vec![Text::SignAuditor, Text::SignRepresentative],
            ..Parts::default()
        }
    }
}

impl Review {
    fn denied(&mut self, entry: &Entry) {
        let Some(reason) = entry.item.reason else { return };
        let key = (reason.code().to_owned(), entry.common.caller.to_string());
        let folded = [DetailKey::FoldedDenials, DetailKey::Items].into_iter().find_map(|key| fact(entry, key));
        let times = folded.and_then(|count| count.parse().ok()).unwrap_or(1);
        self.denials.entry(key).or_default().count(entry.common.time, times);
    }

    fn glass(&mut self, entry: &Entry) {
        let Some(id) = fact(entry, DetailKey::AccessRequest) else { return };
        let reason = || fact(entry, DetailKey::Reason).unwrap_or_default().to_owned();
        match (entry.common.action, entry.item.decision) {
            (Action::BreakGlass, Decision::Allowed) => {
                let glass = Glass {
                    at: entry.common.time,
                    handler: entry.common.caller.to_string(),
                    reason: reason(),
                    persons: fact(entry, DetailKey::Persons).unwrap_or_default().to_owned(),
                    reviewed: None,
                };
                self.glasses.insert(id.to_owned(), glass);
            }
            (Action::ReviewBreakGlass, Decision::Allowed) => {
                if let Some(glass) = self.glasses.get_mut(id) {
                    glass.reviewed = Some((entry.common.time, entry.common.caller.to_string(), reason()));
                }
            }
            _ => {}
        }
    }

    fn unused<'a>(&'a self, context: &'a Context<'_>) -> Vec<(&'a String, &'a Held)> {
        let unused = |(_, held): &(&String, &Held)| {
            held.in_force(context.behind) && roster::is_unused(&self.grants, held, context.behind)
        };
        self.grants.of_tenant(context.request.tenant.as_str()).filter(unused).collect()
    }

    /// Months that had use, are over by the end of the period, and that nobody signed off as a whole.
    fn months_without_sign_off(&self, context: &Context<'_>) -> Vec<(i16, i8)> {
        let signed = |(year, month): &(i16, i8)| {
            let first = jiff::civil::Date::new(*year, *month, 1).map(Day::from_date);
            let Ok(first) = first else { return true };
            let last = Day::from_date(first.date().last_of_month());
            let (first, last) = (first.max(context.request.from), last.min(context.request.until));
            let covers = |sign_off: &crate::SignOff| {
                sign_off.tenant == context.request.tenant && sign_off.from <= first && last <= sign_off.until
            };
            context.facts.sign_offs.iter().any(covers)
        };
        self.months_used.iter().copied().filter(|month| !signed(month)).collect()
    }

    fn findings(&self, context: &Context<'_>, unused: usize, unsigned: usize) -> Table {
        let total = |times: Vec<&Times>| times.iter().map(|times| times.count).fold(0, u64::saturating_add);
        let glasses = self.glasses.len();
        let unreviewed = self.glasses.values().filter(|glass| glass.reviewed.is_none()).count();
        let training = |held: &Held| held.trained_until.is_some_and(|until| until < context.behind);
        let tenant = context.request.tenant.as_str();
        let untrained =
            self.grants.of_tenant(tenant).filter(|(_, held)| held.in_force(context.behind) && training(held));
        let rotated = context.facts.key.iter().filter(|key| key.rotated.is_some()).count();
        let keys = if rotated > 0 { Cell::count(rotated) } else { Cell::Missing(Text::WhyNoKeys) };
        let rows = [
            (Text::FindingOverdue, Cell::Missing(Text::WhyNoErasure)),
            (Text::FindingUnused, Cell::count(unused)),
            (Text::FindingTraining, Cell::count(untrained.count())),
            (Text::FindingDenials, Cell::Count(total(self.denials.values().collect()))),
            (Text::FindingOffHours, Cell::Count(self.off_hours)),
            (Text::FindingAlarms, Cell::Count(total(self.alarms.values().collect()))),
            (Text::FindingChanges, Cell::count(self.changes.len())),
            (Text::FindingBreakGlass, Cell::count(glasses)),
            (Text::FindingUnreviewed, Cell::count(unreviewed)),
            (Text::FindingKeysRotated, keys),
            (Text::FindingUnsigned, Cell::count(unsigned)),
        ];
        Table::new("findings", &[Text::Finding, Text::Count])
            .filled(rows.map(|(name, value)| vec![Cell::text(context.say(name)), value]))
    }
}

fn times_row(what: &str, caller: &str, times: &Times) -> Vec<Cell> {
    let (first, last) = (Cell::moment(times.first), Cell::moment(times.last));
    vec![Cell::text(what), Cell::text(caller), Cell::Count(times.count), first, last]
}

const GLASS_COLUMNS: [Text; 7] = [
    Text::Time,
    Text::Handler,
    Text::Reason,
    Text::PersonsAllowed,
    Text::ReviewedAt,
    Text::ReviewedBy,
    Text::ReviewFinding,
];

fn glass_row((_, glass): (&String, &Glass)) -> Vec<Cell> {
    let mut row =
        vec![Cell::Moment(glass.at), Cell::text(&glass.handler), Cell::text(&glass.reason), Cell::text(&glass.persons)];
    match &glass.reviewed {
        Some((at, by, finding)) => row.extend([Cell::Moment(*at), Cell::text(by), Cell::text(finding)]),
        None => row.extend([Cell::Missing(Text::WhyNotReviewed), Cell::Empty, Cell::Empty]),
    }
    row
}

/// Whether an act changes what is allowed, or to whom.
pub(super) fn changes_rules(action: Action) -> bool {
    matches!(
        action,
        Action::ApproveGrants
            | Action::ApprovePolicy
            | Action::ApprovePurposeOrder
            | Action::ConsentSubEntrust
            | Action::CreateTenant
            | Action::FinishSuccession
            | Action::Freeze
            | Action::Thaw
    )
}

pub(super) const CHANGE_COLUMNS: [Text; 5] = [Text::Time, Text::Operation, Text::Handler, Text::Facts, Text::Sequence];

/// A change of rules as a row, its facts as the entry has them. Single grants, which come last, stand in the roster.
pub(super) fn change(entry: &Entry) -> Vec<Cell> {
    let of_a_grant = |key: DetailKey| matches!(key, DetailKey::Granted | DetailKey::GrantRevoked);
    let shown = entry.item.detail.iter().take_while(|fact| !of_a_grant(fact.key()));
    vec![
        Cell::Moment(entry.common.time),
        Cell::text(entry.common.action.code()),
        Cell::text(who(entry)),
        Cell::list(shown.map(|fact| format!("{}={}", fact.key().code(), fact.value()))),
        Cell::Count(entry.item.sequence.0),
    ]
}
