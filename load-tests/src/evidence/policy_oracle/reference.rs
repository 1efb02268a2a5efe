//! The rules once more, from the law notes and the issue, as one table of yes and no per grant: no engine, no index, no
//! early return, no calendar library, and no line of `fuda-policy`.
//!
//! Every rule is a [`Leg`]. An evaluator with one leg dropped is the planted bug: it must be found out.

use std::collections::BTreeMap;

use super::world::{Call, Grant, Record, TENANTS, Text, WEDNESDAY_NOON, World};

const DAY_MS: i64 = 86_400_000;
/// 1970-01-01 was a Thursday.
const EPOCH_WEEKDAY: i64 = 3;
/// The clocks of the two tenants, in hours ahead of UTC, and of the whole vault.
const CLOCKS: [i64; 2] = [9, 0];
const VAULT_CLOCK: i64 = 9;

/// One rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leg {
    TenantExists,
    GrantOfTenant,
    Action,
    PurposeNamed,
    PurposeKnown,
    PurposeGranted,
    PurposeEnabled,
    PurposeReveals,
    ScopeNamed,
    Validity,
    Training,
    Hours,
    SourceZone,
    TokenKnown,
    RecordTenant,
    RecordScopeGranted,
    RecordScopeNamed,
    RecordDisabled,
    Kind,
    Relation,
    Subject,
    Label,
    RelationOfPurpose,
    Notified,
    NotifiedTime,
    PolicyText,
}

impl Leg {
    pub(super) const ALL: [Self; 26] = [
        Self::TenantExists,
        Self::GrantOfTenant,
        Self::Action,
        Self::PurposeNamed,
        Self::PurposeKnown,
        Self::PurposeGranted,
        Self::PurposeEnabled,
        Self::PurposeReveals,
        Self::ScopeNamed,
        Self::Validity,
        Self::Training,
        Self::Hours,
        Self::SourceZone,
        Self::TokenKnown,
        Self::RecordTenant,
        Self::RecordScopeGranted,
        Self::RecordScopeNamed,
        Self::RecordDisabled,
        Self::Kind,
        Self::Relation,
        Self::Subject,
        Self::Label,
        Self::RelationOfPurpose,
        Self::Notified,
        Self::NotifiedTime,
        Self::PolicyText,
    ];
}

/// One fact of a call that a policy text can see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fact {
    Action,
    Tenant,
    Kind,
    Scope,
    Label,
    SourceZone,
    Purpose,
    Now,
}

impl Fact {
    pub(super) const ALL: [Self; 8] =
        [Self::Action, Self::Tenant, Self::Kind, Self::Scope, Self::Label, Self::SourceZone, Self::Purpose, Self::Now];
}

/// What an evaluator that remembers answers of the text under too few facts remembers.
pub(super) type Remembered = BTreeMap<(Fact, u8, Seen), bool>;

/// The grant that allows the call: the first by id; `None` when none does.
pub(super) fn decide(world: &World, call: &Call, dropped: Option<Leg>) -> Option<u8> {
    first(world, call, dropped, |_, seen| forbidden(&world.text, &seen))
}

/// The same by an evaluator that asks the text once for all calls that differ in the forgotten fact only.
pub(super) fn decide_forgetting(
    world: &World,
    call: &Call,
    forgotten: Fact,
    remembered: &mut Remembered,
) -> Option<u8> {
    first(world, call, None, |grant, seen| {
        let answer = forbidden(&world.text, &seen);
        *remembered.entry((forgotten, grant, seen.without(forgotten))).or_insert(answer)
    })
}

/// The text is asked last: of what no rule refuses.
fn first(world: &World, call: &Call, dropped: Option<Leg>, mut forbids: impl FnMut(u8, Seen) -> bool) -> Option<u8> {
    let allows = |grant: &&Grant| {
        let legs = legs(world, call, grant);
        grant.caller == call.caller
            && legs.iter().all(|(leg, holds)| *holds || Some(*leg) == dropped)
            && (dropped == Some(Leg::PolicyText) || !forbids(grant.id, Seen::of(call)))
    };
    world.grants.iter().find(allows).map(|grant| grant.id)
}

fn legs(world: &World, call: &Call, grant: &Grant) -> Vec<(Leg, bool)> {
    let whole_vault = is_about_vault(call.action);
    let about = if whole_vault { None } else { call.tenant };
    let place = about.and_then(|id| TENANTS.iter().position(|known| *known == id));
    let without_tenant = whole_vault || ["read_ledger", "list_grants"].contains(&call.action);
    let enabled = place.and_then(|place| world.enabled.get(place)).cloned().unwrap_or_default();
    let reveals = reveals(call.action);
    let only_public = !grant.kinds.is_empty() && grant.kinds.iter().all(|kind| is_public(kind));
    let named = call.purpose;
    let clock = place.and_then(|place| CLOCKS.get(place)).copied().unwrap_or(VAULT_CLOCK);
    let mut legs = vec![
        (Leg::TenantExists, place.is_some() || (about.is_none() && without_tenant)),
        (Leg::GrantOfTenant, grant.tenant.is_none() || grant.tenant == about),
        (Leg::Action, grant.actions.contains(&call.action)),
        (Leg::PurposeNamed, named.is_some() || !reveals || only_public),
        (Leg::PurposeKnown, named.is_none_or(|code| allowed_relations(code).is_some())),
        (Leg::PurposeGranted, named.is_none_or(|code| grant.purposes.contains(&code))),
        (Leg::PurposeEnabled, named.is_none_or(|code| enabled.contains(&code))),
        (
            Leg::PurposeReveals,
            !reveals || named.is_none_or(|code| allowed_relations(code).is_some_and(|r| !r.is_empty())),
        ),
        (Leg::ScopeNamed, call.scope.is_none_or(|scope| grant.scopes.contains(&scope))),
        (
            Leg::Validity,
            grant.from.is_none_or(|from| from <= call.now) && grant.until.is_none_or(|end| call.now <= end),
        ),
        (Leg::Training, grant.trained_until.is_none_or(|until| call.now <= until)),
        (Leg::Hours, grant.hours.is_empty() || is_open(&grant.hours, call.now + clock * 3_600_000)),
        (Leg::SourceZone, grant.zones.is_empty() || call.zone.is_some_and(|zone| grant.zones.contains(&zone))),
    ];
    if ["tokenize", "detokenize", "verify_number", "describe_token"].contains(&call.action) {
        legs.push((Leg::TokenKnown, call.record.is_some()));
        legs.extend(call.record.iter().flat_map(|record| record_legs(call, grant, record, reveals)));
    }
    legs
}

fn record_legs(call: &Call, grant: &Grant, record: &Record, reveals: bool) -> [(Leg, bool); 11] {
    // 利用制限: a number that is not public comes back for a purpose that is lawful for this relation and was notified.
    let bound = reveals && !is_public(record.kind);
    let purpose = call.purpose.unwrap_or_default();
    let mut notices = record.notified.iter().filter(|(code, ..)| *code == purpose);
    let in_time = notices.clone().any(|(_, from, until)| {
        from.is_none_or(|from| from <= call.now) && until.is_none_or(|until| call.now <= until)
    });
    let notified = notices.next().is_some();
    [
        (Leg::RecordTenant, call.tenant == Some(record.tenant)),
        (Leg::RecordScopeGranted, grant.scopes.contains(&record.scope)),
        (Leg::RecordScopeNamed, call.scope.is_none_or(|scope| scope == record.scope)),
        (Leg::RecordDisabled, !record.disabled),
        (Leg::Kind, grant.kinds.contains(&record.kind)),
        (Leg::Relation, grant.relations.as_ref().is_none_or(|relations| relations.contains(&record.relation))),
        (Leg::Subject, grant.subjects.as_ref().is_none_or(|subjects| subjects.contains(&record.subject))),
        (Leg::Label, grant.label.is_none_or(|label| record.label == Some(label))),
        (
            Leg::RelationOfPurpose,
            !bound || allowed_relations(purpose).is_some_and(|relations| relations.contains(&record.relation)),
        ),
        (Leg::Notified, !bound || notified),
        (Leg::NotifiedTime, !bound || !notified || in_time),
    ]
}

fn is_public(kind: &str) -> bool {
    kind == "corporate_number"
}

/// Whose numbers a purpose may reveal, by `my-number-law.md` §3; `None` for what is no purpose, empty for one that
/// reveals nothing.
fn allowed_relations(purpose: &str) -> Option<&'static [&'static str]> {
    match purpose {
        "op.collect" => Some(&[]),
        "tax.withholding_slip" => Some(&["self", "spouse", "dependant"]),
        "tax.fee_record" => Some(&["payee"]),
        // The employee's own number is not on the declaration.
        "tax.yearend_decl" => Some(&["spouse", "dependant"]),
        _ => None,
    }
}

/// Whether local time (milliseconds as if the clocks showed UTC) lies in one of the spans.
fn is_open(hours: &[(Vec<u8>, u16, u16)], local: i64) -> bool {
    let weekday = (local.div_euclid(DAY_MS) + EPOCH_WEEKDAY).rem_euclid(7);
    let minute = local.rem_euclid(DAY_MS) / 60_000;
    hours.iter().any(|(days, from, to)| {
        days.iter().any(|day| i64::from(*day) == weekday) && i64::from(*from) <= minute && minute < i64::from(*to)
    })
}

/// What a text sees of a call.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Seen {
    action: &'static str,
    tenant: Option<&'static str>,
    kind: Option<&'static str>,
    scope: Option<&'static str>,
    label: Option<&'static str>,
    zone: Option<&'static str>,
    purpose: Option<&'static str>,
    now: i64,
}

impl Seen {
    fn of(call: &Call) -> Self {
        // Of a record only what belongs to the tenant of the call.
        let record = call.record.as_ref().filter(|record| Some(record.tenant) == call.tenant);
        Self {
            action: call.action,
            tenant: if is_about_vault(call.action) { None } else { call.tenant },
            kind: record.map(|record| record.kind),
            scope: record.map(|record| record.scope).or(call.scope),
            label: record.and_then(|record| record.label),
            zone: call.zone,
            purpose: call.purpose,
            now: call.now,
        }
    }

    fn without(mut self, forgotten: Fact) -> Self {
        match forgotten {
            Fact::Action => self.action = "",
            Fact::Tenant => self.tenant = None,
            Fact::Kind => self.kind = None,
            Fact::Scope => self.scope = None,
            Fact::Label => self.label = None,
            Fact::SourceZone => self.zone = None,
            Fact::Purpose => self.purpose = None,
            Fact::Now => self.now = 0,
        }
        self
    }
}

fn forbidden(text: &[Text], seen: &Seen) -> bool {
    let reveals = reveals(seen.action);
    text.iter().any(|text| match text {
        Text::NoBankAccounts => reveals && seen.kind == Some("bank_account"),
        Text::NoExecutives => reveals && seen.label == Some("executives"),
        Text::NoGuests => seen.zone == Some("guest"),
        Text::NoGuesses => seen.action == "verify_number",
        Text::NoCrm => reveals && seen.scope == Some("crm"),
        Text::NoFees => seen.purpose == Some("tax.fee_record"),
        Text::NoUmbrella => ["read_ledger", "get_tenant"].contains(&seen.action) && seen.tenant == Some("umbrella"),
        Text::NotEarly => reveals && seen.now < WEDNESDAY_NOON,
        Text::NotLate => reveals && seen.now > WEDNESDAY_NOON,
    })
}

fn reveals(action: &str) -> bool {
    ["detokenize", "verify_number"].contains(&action)
}

fn is_about_vault(action: &str) -> bool {
    action == "cluster_status"
}
