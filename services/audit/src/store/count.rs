//! Counting entries by what they say and when it was, from columns alone where they suffice.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use fuda_core::Timestamp;

use super::bundle::{BUNDLE_ENTRIES, Column, Field};
use super::search::{Blocks, in_columns};
use super::{Error, Reader, Row};
use crate::filter::Filter;
use crate::queries::Entered;

/// What is counted together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct GroupKey {
    /// Values of the fields asked for, in their order; empty where an entry has none.
    pub(crate) values: Vec<String>,
    /// Beginning of the span of time; the epoch when time is not cut.
    pub(crate) bucket: Timestamp,
}

/// What came of a group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Group {
    /// Entries.
    pub(crate) entries: u64,
    /// Time of the earliest.
    pub(crate) first: Timestamp,
    /// Time of the latest.
    pub(crate) last: Timestamp,
    /// 64-bit hashes of tenant and subject, where persons are counted.
    pub(crate) persons: HashSet<u64>,
}

impl Group {
    fn add(&mut self, time: Timestamp, person: Option<u64>) {
        if self.entries == 0 {
            (self.first, self.last) = (time, time);
        }
        self.entries += 1;
        (self.first, self.last) = (self.first.min(time), self.last.max(time));
        self.persons.extend(person);
    }

    fn merge(&mut self, other: Self) {
        if self.entries == 0 {
            *self = other;
            return;
        }
        self.entries += other.entries;
        (self.first, self.last) = (self.first.min(other.first), self.last.max(other.last));
        self.persons.extend(other.persons);
    }
}

/// How entries are counted.
pub(crate) struct Counting<'a> {
    /// What is counted together. No [`Field::Record`].
    pub(crate) fields: &'a [Field],
    /// The beginning of the span that a moment belongs to; `None`: time is not cut.
    pub(crate) bucket: Option<&'a dyn Fn(Timestamp) -> Timestamp>,
    /// Whether distinct persons are counted.
    pub(crate) persons: bool,
    /// Groups that may come of it.
    pub(crate) groups_max: usize,
}

impl Counting<'_> {
    fn bucket(&self, time: Timestamp) -> Timestamp {
        self.bucket.map_or(Timestamp::EPOCH, |bucket| bucket(time))
    }

    fn of(&self, row: &Row) -> (GroupKey, Option<u64>) {
        let value = |field: &Field| field.value(&row.entry).unwrap_or_default().into_owned();
        let (tenant, subject) = (Field::Tenant.value(&row.entry), Field::Subject.value(&row.entry));
        let subject = subject.filter(|_| self.persons);
        let person = subject.map(|subject| person(&tenant.unwrap_or_default(), &subject));
        let values = self.fields.iter().map(value).collect();
        (GroupKey { values, bucket: self.bucket(row.entry.common.time) }, person)
    }
}

/// Groups by their key, in its order.
pub(crate) type Groups = BTreeMap<GroupKey, Group>;

impl Reader<'_> {
    /// Counts the entries that meet the filter; `None` when there are more groups than asked for.
    pub(crate) fn count(
        &self,
        asked: &Entered,
        filter: &Filter,
        counting: &Counting<'_>,
    ) -> Result<Option<Groups>, Error> {
        let filter = &filter.clone().within(asked.sight());
        let mut groups = Groups::new();
        for row in self.live().rows.iter().filter(|row| filter.meets(&row.entry)) {
            let (key, person) = counting.of(row);
            groups.entry(key).or_default().add(row.entry.common.time, person);
        }
        let in_columns = filter.clauses.iter().all(in_columns);
        for bundle in self.candidates(filter, 0, u64::MAX)? {
            if in_columns {
                self.count_columns(filter, counting, bundle, &mut groups)?;
            } else {
                self.count_entries(filter, counting, bundle, &mut groups)?;
            }
            if groups.len() > counting.groups_max {
                return Ok(None);
            }
        }
        Ok((groups.len() <= counting.groups_max).then_some(groups))
    }

    fn count_columns(
        &self,
        filter: &Filter,
        counting: &Counting<'_>,
        bundle: u64,
        groups: &mut Groups,
    ) -> Result<(), Error> {
        let places = self.places(filter, bundle)?;
        if places.is_empty() {
            return Ok(());
        }
        let columns: Vec<Column> =
            counting.fields.iter().map(|field| self.column(*field, bundle)).collect::<Result<_, _>>()?;
        let people = match counting.persons {
            true => Some((self.column(Field::Tenant, bundle)?, self.column(Field::Subject, bundle)?)),
            false => None,
        };
        let times = self.times(bundle)?;
        let mut local: HashMap<(Vec<u16>, Timestamp), Group> = HashMap::new();
        for place in places.into_iter().map(usize::from) {
            let code = |column: &Column| column.codes.get(place).copied().unwrap_or_default();
            let time = times.get(place).copied().unwrap_or_default();
            let person = people.as_ref().and_then(|(tenants, subjects)| {
                let subject = value(subjects, code(subjects))?;
                Some(person(value(tenants, code(tenants)).unwrap_or_default(), subject))
            });
            local.entry((columns.iter().map(code).collect(), counting.bucket(time))).or_default().add(time, person);
        }
        for ((codes, bucket), group) in local {
            let values = columns.iter().zip(codes);
            let values = values.map(|(column, code)| value(column, code).unwrap_or_default().to_owned());
            groups.entry(GroupKey { values: values.collect(), bucket }).or_default().merge(group);
        }
        Ok(())
    }

    /// Columns do not tell everything that the filter asks: the entries do.
    fn count_entries(
        &self,
        filter: &Filter,
        counting: &Counting<'_>,
        bundle: u64,
        groups: &mut Groups,
    ) -> Result<(), Error> {
        let mut blocks = Blocks::of(self);
        for place in self.places(filter, bundle)? {
            let row = blocks.row(bundle * BUNDLE_ENTRIES + u64::from(place))?;
            if filter.meets(&row.entry) {
                let (key, person) = counting.of(&row);
                groups.entry(key).or_default().add(row.entry.common.time, person);
            }
        }
        Ok(())
    }
}

fn value(column: &Column, code: u16) -> Option<&str> {
    let place = usize::from(code).checked_sub(1)?;
    column.dictionary.get(place).map(String::as_str)
}

fn person(tenant: &str, subject: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (tenant, subject).hash(&mut hasher);
    hasher.finish()
}
