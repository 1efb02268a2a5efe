//! Budgets of distinct persons and counters of guesses.
//!
//! Both live in memory; what a command adds is one row of `budget_log`, from which [`Budgets::load`] rebuilds them.
//! Windows are whole days of the tenant's time zone, `window_days` long and aligned to the day number, so that every
//! replica and every restart cuts them alike. A row is named by the first day behind its windows and is deleted, a few
//! at a time, by later commands that add rows.

use std::collections::{BTreeMap, BTreeSet};

use fuda_core::{CallerId, PersonId, PurposeCode, RecordId, Sequence, TenantId, Timestamp, Zone, time::DAY_MS};
use fuda_ledger::{Alarm, AlarmCode, Header};
use fuda_policy::{Action, DenyReason, GrantId};

use crate::key;
use crate::row::{BudgetRow, GuessesCounted, PersonsCounted, Row, StoppedWindow};
use crate::{Table, TableError, Txn, View};

/// Expired rows deleted by one command that adds a row. More than the one it adds, so that no backlog can grow.
const SWEEP_ROWS_MAX: usize = 64;

/// All budgets and guess counters of windows that may still be open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Budgets {
    persons: BTreeMap<PersonsKey, Counted>,
    guesses: BTreeMap<GuessesKey, BTreeMap<RecordId, u16>>,
    /// The end day of the first row of `budget_log`.
    oldest_end_day: Option<i32>,
}

/// What was counted in one window.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Counted {
    persons: BTreeSet<PersonId>,
    /// Whether the caller was stopped, so that this is told once.
    stopped: bool,
}

/// Ordered by end day first, so that closed windows are one range.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct PersonsKey {
    end_day: i32,
    tenant: TenantId,
    caller: CallerId,
    purpose: Option<PurposeCode>,
    /// Two grants of one caller and purpose may have windows of different length; each is a budget of its own.
    window_days: u16,
    /// Set for a budget that counts over the life of one grant, whatever day it is.
    grant: Option<GrantId>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct GuessesKey {
    end_day: i32,
    tenant: TenantId,
    caller: CallerId,
}

impl Budgets {
    /// Rebuilds all counters from `budget_log`, reading `rows_max` rows at a time.
    pub(crate) fn load(view: &impl View, rows_max: usize) -> Result<Self, TableError> {
        let mut budgets = Self::default();
        let mut from = Vec::new();
        loop {
            let rows = view.scan(Table::BudgetLog, &from, None, rows_max)?;
            for (key, value) in &rows {
                let end_day =
                    key::budget_end_day(key).ok_or(TableError::corrupt(Table::BudgetLog, "key has no day"))?;
                budgets.oldest_end_day.get_or_insert(end_day);
                budgets.add(&BudgetRow::from_bytes(value)?);
            }
            match rows.into_iter().last() {
                // The next possible key: the same one and a zero byte.
                Some((mut last, _)) => {
                    last.push(0);
                    from = last;
                }
                None => return Ok(budgets),
            }
        }
    }

    /// Counts a row of `budget_log`.
    fn add(&mut self, row: &BudgetRow) {
        let key = |end_day, window_days| PersonsKey {
            end_day,
            tenant: row.tenant.clone(),
            caller: row.caller.clone(),
            purpose: row.purpose.clone(),
            window_days,
            grant: row.grant,
        };
        if let Some(counted) = &row.persons {
            let window = self.persons.entry(key(counted.end_day, counted.window_days)).or_default();
            window.persons.extend(&counted.persons);
        }
        if let Some(StoppedWindow { window_days, end_day }) = row.stopped {
            self.persons.entry(key(end_day, window_days)).or_default().stopped = true;
        }
        if let Some(counted) = &row.guesses {
            let key = GuessesKey { end_day: counted.end_day, tenant: row.tenant.clone(), caller: row.caller.clone() };
            let guesses = self.guesses.entry(key).or_default();
            for record in &counted.records {
                let count = guesses.entry(*record).or_default();
                *count = count.saturating_add(1);
            }
        }
    }

    /// Starts counting for one command that reveals for `tenant`.
    ///
    /// `life` is set where the budget counts over the life of its grant: the grant, and the last moment of it.
    pub(crate) fn meter(
        &mut self,
        header: &Header,
        tenant: &TenantId,
        zone: &Zone,
        time: Timestamp,
        life: Option<(GrantId, Timestamp)>,
    ) -> Meter<'_> {
        let today = time.day_in(zone).number();
        let budget = header.budget.map(|budget| {
            let end_day = match life {
                Some((_, end)) => end.day_in(zone).number().saturating_add(1),
                None => window_end(today, budget.window_days),
            };
            let key = PersonsKey {
                end_day,
                tenant: tenant.clone(),
                caller: header.caller.clone(),
                purpose: header.purpose.clone(),
                window_days: budget.window_days,
                grant: life.map(|(grant, _)| grant),
            };
            PersonsMeter {
                end_day,
                window_days: budget.window_days,
                persons_max: budget.persons_max,
                alarm_persons: budget.alarm_persons(),
                grant: life.map(|(grant, _)| grant),
                counted: self.persons.entry(key).or_default(),
                added: Vec::new(),
                stopped: false,
                raised: None,
            }
        });
        let guesses = (header.action == Action::VerifyNumber).then(|| {
            let end_day = today.saturating_add(1);
            let key = GuessesKey { end_day, tenant: tenant.clone(), caller: header.caller.clone() };
            GuessesMeter {
                end_day,
                guesses_max: header.verify_guesses_per_day,
                counted: self.guesses.entry(key).or_default(),
                added: Vec::new(),
            }
        });
        Meter { budget, guesses }
    }

    /// Writes what a command counted, as one row, and deletes rows of windows that closed.
    pub(crate) fn record(
        &mut self,
        txn: &mut impl Txn,
        row: &BudgetRow,
        first: Sequence,
        time: Timestamp,
    ) -> Result<(), TableError> {
        self.sweep(txn, time)?;
        let ends = [
            row.persons.as_ref().map(|counted| counted.end_day),
            row.guesses.as_ref().map(|guesses| guesses.end_day),
            row.stopped.map(|stopped| stopped.end_day),
        ];
        let Some(end_day) = ends.into_iter().flatten().max() else {
            return Ok(());
        };
        txn.put(Table::BudgetLog, key::budget(end_day, first), row.to_bytes());
        self.oldest_end_day = Some(self.oldest_end_day.map_or(end_day, |oldest| oldest.min(end_day)));
        Ok(())
    }

    /// Deletes up to [`SWEEP_ROWS_MAX`] rows whose windows are closed in every time zone of the world.
    fn sweep(&mut self, txn: &mut impl Txn, time: Timestamp) -> Result<(), TableError> {
        // No zone is more than a day behind UTC: at UTC day n, day n - 1 has begun everywhere.
        let closed = closed_day(time);
        if self.oldest_end_day.is_none_or(|oldest| oldest >= closed) {
            return Ok(());
        }
        let to = key::budget_from(closed);
        for (key, _) in txn.scan(Table::BudgetLog, &[], Some(&to), SWEEP_ROWS_MAX)? {
            txn.delete(Table::BudgetLog, &key);
        }
        let oldest = txn.scan(Table::BudgetLog, &[], None, 1)?;
        self.oldest_end_day = oldest.first().and_then(|(key, _)| key::budget_end_day(key));
        self.persons.retain(|key, _| key.end_day >= closed);
        self.guesses.retain(|key, _| key.end_day >= closed);
        Ok(())
    }
}

/// Counts the items of one command.
pub(crate) struct Meter<'a> {
    budget: Option<PersonsMeter<'a>>,
    guesses: Option<GuessesMeter<'a>>,
}

struct PersonsMeter<'a> {
    end_day: i32,
    window_days: u16,
    persons_max: u32,
    alarm_persons: u32,
    grant: Option<GrantId>,
    counted: &'a mut Counted,
    added: Vec<PersonId>,
    /// Stopped by this command, as the first in the window.
    stopped: bool,
    /// The alarm of the item counted last.
    raised: Option<Alarm>,
}

struct GuessesMeter<'a> {
    end_day: i32,
    guesses_max: u16,
    counted: &'a mut BTreeMap<RecordId, u16>,
    added: Vec<RecordId>,
}

impl Meter<'_> {
    /// Counts one revealed item, or says why it may not be revealed; then nothing is counted.
    ///
    /// A person is counted once per window, so a retry costs nothing; every guess counts, right or wrong, because
    /// apply does not learn which it was.
    pub(crate) fn count(&mut self, person: PersonId, record: RecordId) -> Result<(), DenyReason> {
        let new = match &mut self.budget {
            Some(budget) => budget.is_new(person)?,
            None => false,
        };
        if let Some(guesses) = &mut self.guesses {
            let count = guesses.counted.entry(record).or_default();
            if *count >= guesses.guesses_max {
                return Err(DenyReason::GuessesExhausted);
            }
            *count += 1;
            guesses.added.push(record);
        }
        if let Some(budget) = self.budget.as_mut().filter(|_| new) {
            budget.add(person);
        }
        Ok(())
    }

    /// The alarm that the item counted last raised.
    pub(crate) fn take_alarm(&mut self) -> Option<Alarm> {
        self.budget.as_mut()?.raised.take()
    }

    /// Distinct persons counted so far and their limit, for entries; `None` without a budget.
    pub(crate) fn state(&self) -> Option<(u32, u32)> {
        let budget = self.budget.as_ref()?;
        Some((budget.used(), budget.persons_max))
    }

    /// What was added, as the command's one row; `None` if nothing was.
    pub(crate) fn into_row(self, header: &Header, tenant: &TenantId) -> Option<BudgetRow> {
        let stopped = self.budget.as_ref().filter(|budget| budget.stopped);
        let stopped = stopped.map(|budget| StoppedWindow { window_days: budget.window_days, end_day: budget.end_day });
        let grant = self.budget.as_ref().and_then(|budget| budget.grant);
        let persons = self.budget.filter(|budget| !budget.added.is_empty()).map(|budget| PersonsCounted {
            window_days: budget.window_days,
            end_day: budget.end_day,
            persons: budget.added,
        });
        let guesses = self.guesses.filter(|guesses| !guesses.added.is_empty());
        let guesses = guesses.map(|guesses| GuessesCounted { end_day: guesses.end_day, records: guesses.added });
        if persons.is_none() && guesses.is_none() && stopped.is_none() {
            return None;
        }
        Some(BudgetRow {
            tenant: tenant.clone(),
            caller: header.caller.clone(),
            purpose: header.purpose.clone(),
            persons,
            guesses,
            stopped,
            grant,
        })
    }
}

impl PersonsMeter<'_> {
    fn used(&self) -> u32 {
        u32::try_from(self.counted.persons.len()).unwrap_or(u32::MAX)
    }

    /// Whether the person would be counted; an error if that is one too many.
    fn is_new(&mut self, person: PersonId) -> Result<bool, DenyReason> {
        let new = !self.counted.persons.contains(&person);
        if new && self.used() >= self.persons_max {
            if !self.counted.stopped {
                self.counted.stopped = true;
                self.stopped = true;
                self.raised = Some(Alarm::counted(AlarmCode::BudgetStopped, self.used(), self.persons_max));
            }
            return Err(DenyReason::BudgetExhausted);
        }
        Ok(new)
    }

    fn add(&mut self, person: PersonId) {
        self.counted.persons.insert(person);
        self.added.push(person);
        // Persons of a window only become more, so it is passed once, also over restarts.
        if self.used() == self.alarm_persons {
            self.raised = Some(Alarm::counted(AlarmCode::BudgetSoft, self.used(), self.persons_max));
        }
    }
}

/// The number of the first day behind the window that contains `day`.
fn window_end(day: i32, window_days: u16) -> i32 {
    let length = i32::from(window_days.max(1));
    (day.div_euclid(length) + 1).saturating_mul(length)
}

/// Windows that end before this day number are closed in every time zone.
fn closed_day(time: Timestamp) -> i32 {
    i32::try_from(time.as_millis().div_euclid(DAY_MS)).unwrap_or(i32::MAX)
}
