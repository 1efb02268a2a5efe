//! Counting entries by what they say and when it was, from columns alone where they suffice.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use fuda_core::Timestamp;

use super::bundle::{BUNDLE_ENTRIES, Column, Field};
use super::plan::{Candidate, Plan};
use super::search::Blocks;
use super::{Error, Reader, Row};
use crate::filter::Filter;
use crate::queries::Entered;

/// Zones change their clocks, and spans begin, on quarters of an hour: a moment's span is worked out once per quarter.
const QUARTER_MS: i64 = 15 * 60 * 1_000;
/// Fields that are counted together at most: their codes fit into a key.
pub(crate) const COUNTED_FIELDS_MAX: usize = 6;

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
    fn add(&mut self, time: Timestamp) {
        if self.entries == 0 {
            (self.first, self.last) = (time, time);
        }
        self.entries += 1;
        (self.first, self.last) = (self.first.min(time), self.last.max(time));
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

/// The beginning of the span that a moment belongs to.
pub(crate) type Span<'a> = &'a dyn Fn(Timestamp) -> Timestamp;

/// How entries are counted.
pub(crate) struct Counting<'a> {
    /// What is counted together, at most [`COUNTED_FIELDS_MAX`]. No [`Field::Record`].
    pub(crate) fields: &'a [Field],
    /// How time is cut, on quarters of an hour; `None`: it is not.
    pub(crate) span: Option<Span<'a>>,
    /// Whether distinct persons are counted.
    pub(crate) persons: bool,
    /// Groups that may come of it.
    pub(crate) groups_max: usize,
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
        let mut count = Count { counting, quarter: None, groups: Groups::new() };
        for row in self.live().rows.iter().filter(|row| filter.meets(&row.entry)) {
            count.take(row);
        }
        let plan = self.plan(filter, 0, u64::MAX)?;
        for candidate in &plan.bundles {
            if plan.in_columns {
                self.count_columns(&plan, *candidate, &mut count)?;
            } else {
                self.count_entries(&plan, *candidate, &mut count)?;
            }
            if count.groups.len() > counting.groups_max {
                return Ok(None);
            }
        }
        Ok((count.groups.len() <= counting.groups_max).then_some(count.groups))
    }

    fn count_columns(&self, plan: &Plan<'_>, candidate: Candidate, count: &mut Count<'_>) -> Result<(), Error> {
        let places = self.places(plan, candidate, true)?;
        if places.is_empty() {
            return Ok(());
        }
        let bundle = candidate.bundle;
        let fields = count.counting.fields.iter();
        let columns: Vec<Column> = fields.map(|field| self.column(*field, bundle)).collect::<Result<_, _>>()?;
        let people = match count.counting.persons {
            true => Some((self.column(Field::Tenant, bundle)?, self.column(Field::Subject, bundle)?)),
            false => None,
        };
        let times = self.times(bundle)?;
        // By the codes of this bundle first: texts are looked up once per group and bundle.
        let mut local: HashMap<(u128, Timestamp), Group> = HashMap::new();
        for place in places.into_iter().map(usize::from) {
            let time = times.get(place).copied().unwrap_or_default();
            let codes = columns.iter().fold(0, |codes, column| codes << 16 | u128::from(column.code_at(place)));
            let group = local.entry((codes, count.beginning(time))).or_default();
            group.add(time);
            if let Some((tenants, subjects)) = &people
                && let Some(subject) = subjects.value(subjects.code_at(place))
            {
                group.persons.insert(person(tenants.value(tenants.code_at(place)).unwrap_or_default(), subject));
            }
        }
        for ((codes, bucket), group) in local {
            let code = |place: usize| (codes >> (16 * (columns.len() - 1 - place))) as u16;
            let values = columns.iter().enumerate();
            let values = values.map(|(place, column)| column.value(code(place)).unwrap_or_default().to_owned());
            count.groups.entry(GroupKey { values: values.collect(), bucket }).or_default().merge(group);
        }
        Ok(())
    }

    /// Columns do not tell everything that the filter asks: the entries do.
    fn count_entries(&self, plan: &Plan<'_>, candidate: Candidate, count: &mut Count<'_>) -> Result<(), Error> {
        let mut blocks = Blocks::of(self);
        for place in self.places(plan, candidate, false)? {
            let row = blocks.row(candidate.bundle * BUNDLE_ENTRIES + u64::from(place))?;
            if plan.filter.meets(&row.entry) {
                count.take(&row);
            }
        }
        Ok(())
    }
}

/// Counting under way.
struct Count<'a> {
    counting: &'a Counting<'a>,
    /// The newest quarter of an hour, and where its span begins: entries are nearly in the order of time.
    quarter: Option<(i64, Timestamp)>,
    groups: Groups,
}

impl Count<'_> {
    fn beginning(&mut self, time: Timestamp) -> Timestamp {
        let Some(span) = self.counting.span else { return Timestamp::EPOCH };
        let quarter = time.as_millis().div_euclid(QUARTER_MS);
        match self.quarter {
            Some((known, beginning)) if known == quarter => beginning,
            _ => {
                let beginning = span(time);
                self.quarter = Some((quarter, beginning));
                beginning
            }
        }
    }

    fn take(&mut self, row: &Row) {
        let text = |field: Field| field.value(&row.entry).unwrap_or_default();
        let values = self.counting.fields.iter().map(|field| text(*field).into_owned()).collect();
        let time = row.entry.common.time;
        let bucket = self.beginning(time);
        let group = self.groups.entry(GroupKey { values, bucket }).or_default();
        group.add(time);
        if self.counting.persons && row.entry.item.subject.is_some() {
            group.persons.insert(person(&text(Field::Tenant), &text(Field::Subject)));
        }
    }
}

fn person(tenant: &str, subject: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (tenant, subject).hash(&mut hasher);
    hasher.finish()
}
