//! Random worlds in plain words: texts, minutes and milliseconds. The reference reads them as they are, the product
//! gets them translated, so that the two share nothing but the case.

use crate::synthetic::Chance;

/// 2026-11-16T00:00:00Z, a Monday: every case happens in the week behind it.
const WEEK: i64 = 1_794_787_200_000;
const WEEK_MS: u64 = 7 * 86_400_000;
const MINUTE_MS: i64 = 60_000;

pub(super) const TENANTS: [&str; 2] = ["acme", "umbrella"];
pub(super) const UNKNOWN_TENANT: &str = "nobody";
pub(super) const CALLERS: [&str; 4] = ["payroll", "accounting", "hr", "auditor"];
pub(super) const KINDS: [&str; 3] = ["my_number", "bank_account", "corporate_number"];
pub(super) const SCOPES: [&str; 3] = ["payroll", "accounting", "crm"];
pub(super) const PURPOSES: [&str; 4] = ["op.collect", "tax.withholding_slip", "tax.fee_record", "tax.yearend_decl"];
pub(super) const UNKNOWN_PURPOSE: &str = "tax.never_listed";
const RELATIONS: [&str; 4] = ["self", "spouse", "dependant", "payee"];
const SUBJECTS: [&str; 4] = ["E-1", "E-2", "E-3", "E-4"];
const LABELS: [&str; 2] = ["executives", "interns"];
const ZONES: [&str; 3] = ["hq", "batch", "guest"];
const WORKLOAD: [&str; 6] = ["tokenize", "detokenize", "verify_number", "describe_token", "get_record", "list_records"];
const AUDITOR: [&str; 4] = ["read_ledger", "list_grants", "get_tenant", "cluster_status"];

/// The moment that a text may name: in the middle of the week.
pub(super) const WEDNESDAY_NOON: i64 = WEEK + 5 * 43_200_000;

/// What a policy text may forbid beyond the default: for each fact that a text can see, something that nothing else
/// looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Text {
    /// Nobody reveals bank accounts.
    NoBankAccounts,
    /// Nobody reveals the numbers of executives.
    NoExecutives,
    /// Nobody does anything from the guests' network.
    NoGuests,
    /// Nobody verifies a number.
    NoGuesses,
    /// Nobody reveals numbers in the CRM's scope.
    NoCrm,
    /// Nobody uses the purpose of the payment records of fees.
    NoFees,
    /// Nobody reads the ledger or the facts of the second tenant.
    NoUmbrella,
    /// Nobody reveals a number before the middle of the week.
    NotEarly,
    /// Nobody reveals one behind it, said with a sum: to such a text, every moment is another one.
    NotLate,
}

impl Text {
    const ALL: [Self; 9] = [
        Self::NoBankAccounts,
        Self::NoExecutives,
        Self::NoGuests,
        Self::NoGuesses,
        Self::NoCrm,
        Self::NoFees,
        Self::NoUmbrella,
        Self::NotEarly,
        Self::NotLate,
    ];
}

#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) text: Vec<Text>,
    /// The purposes that each of [`TENANTS`] has enabled.
    pub(super) enabled: [Vec<&'static str>; 2],
    /// In the order of their ids.
    pub(super) grants: Vec<Grant>,
}

#[derive(Clone, Debug)]
pub(super) struct Grant {
    pub(super) id: u8,
    pub(super) caller: &'static str,
    pub(super) tenant: Option<&'static str>,
    pub(super) actions: Vec<&'static str>,
    pub(super) kinds: Vec<&'static str>,
    pub(super) purposes: Vec<&'static str>,
    pub(super) scopes: Vec<&'static str>,
    pub(super) from: Option<i64>,
    pub(super) until: Option<i64>,
    pub(super) relations: Option<Vec<&'static str>>,
    pub(super) subjects: Option<Vec<&'static str>>,
    pub(super) label: Option<&'static str>,
    /// Days (Monday 0), first minute, minute behind the last.
    pub(super) hours: Vec<(Vec<u8>, u16, u16)>,
    pub(super) zones: Vec<&'static str>,
    pub(super) trained_until: Option<i64>,
}

#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) action: &'static str,
    pub(super) caller: &'static str,
    pub(super) tenant: Option<&'static str>,
    pub(super) purpose: Option<&'static str>,
    pub(super) scope: Option<&'static str>,
    pub(super) zone: Option<&'static str>,
    pub(super) now: i64,
    /// What the presented token answers to, or what is to be stored; `None`: the token is unknown, or the action is
    /// about no record.
    pub(super) record: Option<Record>,
}

#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) tenant: &'static str,
    pub(super) kind: &'static str,
    pub(super) subject: &'static str,
    pub(super) label: Option<&'static str>,
    pub(super) relation: &'static str,
    pub(super) scope: &'static str,
    pub(super) notified: Vec<(&'static str, Option<i64>, Option<i64>)>,
    pub(super) disabled: bool,
}

/// Draws worlds and calls.
pub(super) struct Dice(pub(super) Chance);

impl Dice {
    pub(super) fn one_in(&mut self, n: u64) -> bool {
        self.0.below(n) == 0
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.0.below(end as u64)).unwrap_or(0)
    }

    fn pick(&mut self, from: &[&'static str]) -> &'static str {
        self.0.pick(from).copied().unwrap_or_default()
    }

    /// At least one of them, in their order.
    fn some_of(&mut self, from: &[&'static str]) -> Vec<&'static str> {
        let kept = self.pick(from);
        from.iter().copied().filter(|it| *it == kept || self.one_in(2)).collect()
    }

    fn perhaps<T>(&mut self, n: u64, draw: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.one_in(n) { Some(draw(self)) } else { None }
    }

    /// A moment of the week, every other one on a whole minute.
    pub(super) fn moment(&mut self) -> i64 {
        let at = WEEK + i64::try_from(self.0.below(WEEK_MS)).unwrap_or(0);
        if self.one_in(2) { at - at % MINUTE_MS } else { at }
    }

    /// `storable`: only what apply takes, so that the world can be made by commands.
    pub(super) fn world(&mut self, storable: bool) -> World {
        // Apply checks the bounds of a decision again, and a text that compares the clock bounds it. One that calculates
        // with the clock does not: what it says holds when decided.
        let lasting = |text: &Text| !storable || *text != Text::NotLate;
        let text = Text::ALL.into_iter().filter(lasting).filter(|_| self.one_in(6)).collect();
        let mut enabled = [self.some_of(&PURPOSES), self.some_of(&PURPOSES)];
        if !storable {
            enabled.iter_mut().for_each(|enabled| enabled.push(UNKNOWN_PURPOSE));
        }
        let count = 3 + self.below(8);
        let grants = (1..=u8::try_from(count).unwrap_or(3)).map(|id| self.grant(id, storable)).collect();
        World { text, enabled, grants }
    }

    fn grant(&mut self, id: u8, storable: bool) -> Grant {
        let caller = self.pick(&CALLERS);
        if caller == "auditor" {
            return self.auditor(id);
        }
        let mut purposes = self.some_of(&PURPOSES);
        if !storable && self.one_in(4) {
            purposes.push(UNKNOWN_PURPOSE);
        }
        let subjects = self.perhaps(4, |dice| dice.some_of(&SUBJECTS));
        let label = if subjects.is_none() { self.perhaps(4, |dice| dice.pick(&LABELS)) } else { None };
        Grant {
            id,
            caller,
            tenant: Some(self.pick(&TENANTS)),
            actions: self.some_of(&WORKLOAD),
            kinds: if self.one_in(6) { vec!["corporate_number"] } else { self.some_of(&KINDS) },
            purposes,
            scopes: self.some_of(&SCOPES),
            relations: self.perhaps(4, |dice| dice.some_of(&RELATIONS)),
            subjects,
            label,
            ..self.bounds(id)
        }
    }

    fn auditor(&mut self, id: u8) -> Grant {
        let tenant = self.perhaps(2, |dice| dice.pick(&TENANTS));
        let end = if tenant.is_some() { 3 } else { 4 };
        let actions = self.some_of(AUDITOR.get(..end).unwrap_or(&AUDITOR));
        Grant { id, caller: "auditor", tenant, actions, ..self.bounds(id) }
    }

    /// The conditions that every role can have.
    fn bounds(&mut self, id: u8) -> Grant {
        let (one, other) = (self.moment(), self.moment());
        let span = |dice: &mut Self| {
            let days = (0..7).filter(|_| !dice.one_in(3)).collect::<Vec<u8>>();
            let from = u16::try_from(dice.below(20 * 60)).unwrap_or(0);
            let to = (from + 1 + u16::try_from(dice.below(12 * 60)).unwrap_or(0)).min(1_440);
            (if days.is_empty() { vec![2] } else { days }, from, to)
        };
        Grant {
            id,
            caller: "",
            tenant: None,
            actions: Vec::new(),
            kinds: Vec::new(),
            purposes: Vec::new(),
            scopes: Vec::new(),
            from: self.perhaps(3, |_| one.min(other)),
            until: self.perhaps(3, |_| one.max(other)),
            relations: None,
            subjects: None,
            label: None,
            hours: if self.one_in(3) { (0..=self.below(2)).map(|_| span(self)).collect() } else { Vec::new() },
            zones: if self.one_in(3) { self.some_of(&ZONES) } else { Vec::new() },
            trained_until: self.perhaps(4, Self::moment),
        }
    }

    pub(super) fn record(&mut self) -> Record {
        let kind = if self.one_in(2) { "my_number" } else { self.pick(&KINDS) };
        let purposes = self.some_of(&PURPOSES);
        let notified = purposes.into_iter().map(|purpose| {
            let (from, until) = self.notice_window();
            (purpose, from, until)
        });
        let notified = notified.collect();
        Record {
            tenant: self.pick(&TENANTS),
            kind,
            subject: self.pick(&SUBJECTS),
            label: self.perhaps(2, |dice| dice.pick(&LABELS)),
            relation: self.pick(&RELATIONS),
            scope: self.pick(&SCOPES),
            notified,
            disabled: self.one_in(12),
        }
    }

    /// A call shaped after a grant, then bent in none, one or two places: near misses are what tells legs apart.
    pub(super) fn call(&mut self, world: &World, record: &Record) -> Call {
        let index = self.below(world.grants.len());
        let Some(grant) = world.grants.get(index) else { return self.wild(record) };
        if self.one_in(8) {
            return self.wild(record);
        }
        // Every other call reveals, if the grant does: most rules are about that.
        let revealing = grant.actions.iter().find(|action| ["detokenize", "verify_number"].contains(action));
        let action = revealing.copied().filter(|_| self.one_in(2)).unwrap_or_else(|| self.pick(&grant.actions));
        let about_record = WORKLOAD.get(..4).is_some_and(|of_tokens| of_tokens.contains(&action));
        let mut call = Call {
            action,
            caller: grant.caller,
            tenant: grant.tenant.or_else(|| self.perhaps(2, |dice| dice.pick(&TENANTS))),
            purpose: None,
            scope: None,
            zone: if grant.zones.is_empty() {
                self.perhaps(2, |dice| dice.pick(&ZONES))
            } else {
                Some(self.pick(&grant.zones))
            },
            now: self.moment(),
            record: about_record.then(|| record.clone()),
        };
        let exempt = grant.kinds.iter().all(|kind| *kind == "corporate_number") && self.one_in(2);
        if !grant.purposes.is_empty() && !exempt && ["detokenize", "verify_number"].contains(&action) || self.one_in(6)
        {
            call.purpose = if grant.purposes.is_empty() { None } else { Some(self.pick(&grant.purposes)) };
        }
        for _ in 0..self.below(3) {
            self.bend(&mut call);
        }
        call
    }

    /// Bends the call's record towards the grant that the call was shaped after, most of the way: without it, a record
    /// would mostly be refused for several reasons at once, and no rule alone would count.
    pub(super) fn fit(&mut self, world: &World, call: &mut Call) {
        let grants: Vec<&Grant> =
            world.grants.iter().filter(|it| it.caller == call.caller && !it.kinds.is_empty()).collect();
        let index = self.below(grants.len());
        let (Some(grant), Some(tenant)) = (grants.get(index), call.tenant) else { return };
        let relations = match call.purpose {
            Some("tax.fee_record") => &["payee"][..],
            Some("tax.yearend_decl") => &["spouse", "dependant"],
            _ => &["self", "spouse", "dependant"],
        };
        let (kind, relation, window) = (self.pick(&grant.kinds), self.pick(relations), self.notice_window());
        let Some(record) = &mut call.record else { return };
        let notice = call.purpose.map(|purpose| (purpose, window.0, window.1));
        *record = Record {
            tenant: TENANTS.iter().copied().find(|known| *known == tenant).unwrap_or(record.tenant),
            kind,
            subject: grant.subjects.as_ref().and_then(|subjects| subjects.first().copied()).unwrap_or(record.subject),
            label: grant.label.or(record.label),
            relation,
            scope: call.scope.or_else(|| grant.scopes.first().copied()).unwrap_or(record.scope),
            notified: notice.into_iter().collect(),
            disabled: false,
        };
        if self.one_in(8) && grant.kinds.contains(&"corporate_number") {
            record.kind = "corporate_number";
            call.purpose = None;
        }
        if self.one_in(2) {
            let (other, scope) = (self.record(), self.pick(&grant.scopes));
            let Some(record) = &mut call.record else { return };
            match self.below(14) {
                // Whom the purpose is not about, though the grant may be.
                11.. => record.relation = if call.purpose == Some("tax.fee_record") { "self" } else { "payee" },
                8 => record.notified.clear(),
                9 => record.scope = scope,
                10 => {
                    record.scope = scope;
                    call.scope = grant.scopes.first().copied();
                }
                0 => record.tenant = other.tenant,
                1 => record.kind = other.kind,
                2 => record.subject = other.subject,
                3 => record.label = other.label,
                4 => record.relation = other.relation,
                5 => record.scope = other.scope,
                6 => record.notified = other.notified,
                _ => record.disabled = true,
            }
        }
    }

    fn notice_window(&mut self) -> (Option<i64>, Option<i64>) {
        let (one, other) = (self.moment(), self.moment());
        (self.perhaps(4, |_| one.min(other)), self.perhaps(4, |_| one.max(other)))
    }

    fn bend(&mut self, call: &mut Call) {
        match self.below(7) {
            0 => call.now = self.moment(),
            1 => call.zone = self.perhaps(2, |dice| dice.pick(&ZONES)),
            2 => call.purpose = self.perhaps(2, |dice| dice.pick(&PURPOSES)),
            3 => call.scope = self.perhaps(2, |dice| dice.pick(&SCOPES)),
            4 => call.tenant = Some(if self.one_in(3) { UNKNOWN_TENANT } else { self.pick(&TENANTS) }),
            5 => call.purpose = Some(UNKNOWN_PURPOSE),
            _ => {
                if call.record.is_some() && self.one_in(8) {
                    call.record = None;
                }
            }
        }
    }

    /// The same call with at most one fact changed: what tells a remembered answer from one to a similar question.
    pub(super) fn again(&mut self, world: &World, call: &Call) -> Call {
        let mut call = call.clone();
        let looked_at = match world.text.get(self.below(2 * world.text.len().max(1))) {
            Some(Text::NotEarly | Text::NotLate) => 0,
            Some(Text::NoGuests) => 1,
            Some(Text::NoFees) => 2,
            Some(Text::NoGuesses | Text::NoUmbrella) => 4,
            Some(Text::NoBankAccounts) => 5,
            Some(Text::NoExecutives) => 7,
            Some(Text::NoCrm) => 8,
            None => self.below(11),
        };
        match (looked_at, &mut call.record) {
            (0, _) => call.now = self.moment(),
            (1, _) => call.zone = self.perhaps(2, |dice| dice.pick(&ZONES)),
            (2, _) => call.purpose = self.perhaps(2, |dice| dice.pick(&PURPOSES)),
            (3, _) => call.scope = self.perhaps(2, |dice| dice.pick(&SCOPES)),
            (4, Some(_)) => call.action = if call.action == "detokenize" { "verify_number" } else { "detokenize" },
            (5 | 6, Some(record)) => record.kind = self.pick(&KINDS),
            (7, Some(record)) => record.label = self.perhaps(2, |dice| dice.pick(&LABELS)),
            (8 | 9, Some(record)) => {
                record.scope = self.pick(&SCOPES);
                call.scope = call.scope.map(|_| record.scope);
            }
            (4..8, None) => call.tenant = Some(self.pick(&TENANTS)),
            _ => {}
        }
        call
    }

    fn wild(&mut self, record: &Record) -> Call {
        let action = if self.one_in(4) { self.pick(&AUDITOR) } else { self.pick(&WORKLOAD) };
        let about_record = WORKLOAD.get(..4).is_some_and(|of_tokens| of_tokens.contains(&action));
        Call {
            action,
            caller: self.pick(&CALLERS),
            tenant: self.perhaps(1, |dice| dice.pick(&TENANTS)),
            purpose: self.perhaps(2, |dice| dice.pick(&PURPOSES)),
            scope: self.perhaps(2, |dice| dice.pick(&SCOPES)),
            zone: self.perhaps(2, |dice| dice.pick(&ZONES)),
            now: self.moment(),
            record: about_record.then(|| record.clone()),
        }
    }
}
