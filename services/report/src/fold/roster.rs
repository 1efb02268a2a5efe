//! 担当者一覧・権限棚卸し: every grant as of the end of the period, its use, and what does not look right about it.

use fuda_core::Timestamp;
use fuda_core::time::DAY;

use super::grants::{Grants, Held, Origin};
use super::{Context, Fold, Parts, Seen};
use crate::document::{Cell, Section, Table};
use crate::{Error, Text};

/// Days without use after which a right is questioned.
pub(super) const UNUSED_DAYS: u32 = 90;

/// The fold.
#[derive(Default)]
pub(crate) struct Roster {
    grants: Grants,
}

impl Fold for Roster {
    fn take(&mut self, seen: &Seen<'_>) -> Result<(), Error> {
        self.grants.take(seen)
    }

    fn finish(self: Box<Self>, context: &Context<'_>) -> Parts {
        let tenant = context.request.tenant.as_str();
        let held: Vec<_> = self.grants.of_tenant(tenant).collect();
        let (live, over): (Vec<_>, Vec<_>) = held.iter().copied().partition(|(_, held)| held.in_force(context.behind));
        let (first, _) = context.request.moments();
        let recent = over.into_iter().filter(|(_, held)| end(held).is_some_and(|end| end >= first));
        let in_force =
            Table::new("grants", &COLUMNS).filled(live.iter().map(|(id, held)| row(context, &self.grants, id, held)));
        let ended =
            Table::new("grants_ended", &COLUMNS).filled(recent.map(|(id, held)| row(context, &self.grants, id, held)));
        let mut in_force = Section::table(Text::SectionGrants, in_force).note(context.say(Text::NoteGrants));
        if self.grants.untold > 0 {
            in_force = in_force.note(format!("{} {}", context.say(Text::NoteUntold), self.grants.untold));
        }
        Parts {
            sections: vec![in_force, Section::table(Text::SectionGrantsEnded, ended)],
            signatures: vec![Text::SignResponsible, Text::SignAuditor],
            ..Parts::default()
        }
    }
}

/// When a grant ended or runs out.
pub(super) fn end(held: &Held) -> Option<Timestamp> {
    held.ended.or(held.until)
}

/// Whether a grant that is older than the limit was not used within it.
pub(super) fn is_unused(grants: &Grants, held: &Held, behind: Timestamp) -> bool {
    let limit = behind.saturating_sub(DAY * UNUSED_DAYS);
    let old = held.since.is_none_or(|since| since < limit);
    old && grants.last_use(held).is_none_or(|last| last < limit)
}

pub(super) const COLUMNS: [Text; 16] = [
    Text::Handler,
    Text::Role,
    Text::Purposes,
    Text::Operations,
    Text::Kind,
    Text::Scopes,
    Text::GrantedBy,
    Text::ApprovedBy,
    Text::GrantedAt,
    Text::Expiry,
    Text::LastUse,
    Text::Finding,
    Text::Trained,
    Text::Party,
    Text::Origin,
    Text::Grant,
];

pub(super) fn row(context: &Context<'_>, grants: &Grants, id: &str, held: &Held) -> Vec<Cell> {
    let told = held.origin != Origin::SeenInUse;
    let role = (!held.role.is_empty()).then_some(held.role.as_str());
    let everything = |known: bool| if known { Cell::Empty } else { Cell::Missing(Text::WhyGrantUntold) };
    let approved = if held.approved_by.is_empty() { everything(told) } else { Cell::list(&held.approved_by) };
    vec![
        Cell::text(&held.caller),
        Cell::or_missing(role, Text::WhyGrantUntold),
        context.purposes(&held.purposes),
        Cell::list(&held.actions),
        Cell::list(held.kinds.iter().map(|kind| context.kind(kind))),
        Cell::list(&held.scopes),
        held.proposed_by.as_deref().map_or(everything(told), Cell::text),
        approved,
        held.since.map_or(Cell::Missing(Text::WhyGrantUntold), Cell::Moment),
        end(held).map_or_else(|| everything(told), Cell::Moment),
        grants.last_use(held).map_or_else(|| Cell::text(context.say(Text::Never)), Cell::Moment),
        finding(context, grants, held),
        held.trained_until.map_or(Cell::Missing(Text::WhyNoTraining), |until| Cell::Day(context.day(until))),
        held.party.as_deref().map_or(Cell::Empty, Cell::text),
        Cell::text(context.say(origin(held.origin))),
        Cell::text(id),
    ]
}

/// What to look at.
fn finding(context: &Context<'_>, grants: &Grants, held: &Held) -> Cell {
    let mut found = Vec::new();
    if held.in_force(context.behind) && is_unused(grants, held, context.behind) {
        found.push(context.say(Text::FindingUnused));
    }
    if held.trained_until.is_some_and(|until| until < context.behind) {
        found.push(context.say(Text::FindingTraining));
    }
    Cell::list(found)
}

fn origin(origin: Origin) -> Text {
    match origin {
        Origin::Order => Text::OriginOrder,
        Origin::Request => Text::OriginRequest,
        Origin::BreakGlass => Text::OriginBreakGlass,
        Origin::Bootstrap => Text::OriginBootstrap,
        Origin::SeenInUse => Text::OriginSeen,
    }
}
