//! Where the entries of a question can be: in which bundles, and where in them.

use std::collections::BTreeSet;

use fuda_core::Timestamp;
use rusqlite::{OptionalExtension as _, params};

use super::bundle::{
    BUNDLE_ENTRIES, Column, Field, TIMES, record_print, unpack_column, unpack_record_prints, unpack_times,
};
use super::keys::Part;
use super::read::MISSING;
use super::{Error, Reader, key};
use crate::filter::{Clause, Filter};

/// Where entries are looked at anyway, columns that leave fewer places than this say enough.
const FEW_PLACES: usize = 4;

/// How a question is looked up.
pub(super) struct Plan<'f> {
    pub(super) filter: &'f Filter,
    /// Bundles where every clause may be met and the time is right, in order.
    pub(super) bundles: Vec<Candidate>,
    /// The filter's clauses, the rarest first.
    clauses: Vec<&'f Clause>,
    /// Whether columns tell everything that the filter asks; of records they tell only where they may be.
    pub(super) in_columns: bool,
}

/// A bundle to look into.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    pub(super) bundle: u64,
    /// Whether all of its entries are in the filter's time.
    in_time: bool,
}

impl Reader<'_> {
    /// Plans for entries in `from..before`.
    pub(super) fn plan<'f>(&self, filter: &'f Filter, from: u64, before: u64) -> Result<Plan<'f>, Error> {
        let mut bundles = self.bundles_in_time(filter, from, before)?;
        let mut clauses = Vec::new();
        for clause in &filter.clauses {
            if bundles.is_empty() {
                break;
            }
            let holds = self.bundles_with(clause)?;
            bundles.retain(|candidate| holds.contains(&candidate.bundle));
            clauses.push((holds.len(), clause));
        }
        clauses.sort_by_key(|(bundles, _)| *bundles);
        let clauses = clauses.into_iter().map(|(_, clause)| clause).collect();
        Ok(Plan { filter, bundles, clauses, in_columns: filter.clauses.iter().all(is_in_columns) })
    }

    fn bundles_in_time(&self, filter: &Filter, from: u64, before: u64) -> Result<Vec<Candidate>, Error> {
        // The disk may be ahead of what was visible: what is in memory is not looked for there.
        let sealed = self.live().first / BUNDLE_ENTRIES;
        let Some(newest) = sealed.min(before.div_ceil(BUNDLE_ENTRIES)).checked_sub(1) else { return Ok(Vec::new()) };
        let timed = "SELECT bundle, time_first >= ?3 AND time_last < ?4 FROM bundles \
                     WHERE bundle BETWEEN ?1 AND ?2 AND time_last >= ?3 AND time_first < ?4 ORDER BY bundle";
        let mut query = self.connection().prepare_cached(timed)?;
        let span = params![key(from / BUNDLE_ENTRIES), key(newest), filter.from.as_millis(), filter.until.as_millis()];
        let found = query.query_map(span, |row| {
            Ok(Candidate { bundle: row.get::<_, i64>(0)?.unsigned_abs(), in_time: row.get(1)? })
        })?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    fn bundles_with(&self, clause: &Clause) -> Result<BTreeSet<u64>, Error> {
        let mut holds = BTreeSet::new();
        let mut query = self.connection().prepare_cached("SELECT bundle FROM postings WHERE term = ?1")?;
        for (field, values) in clause {
            for value in values {
                for bundle in query.query_map([field.term(value)], |row| row.get::<_, i64>(0))? {
                    holds.insert(bundle?.unsigned_abs());
                }
            }
        }
        Ok(holds)
    }

    /// Places within a bundle where every clause is met, and the time is right. Not `exact`: the entries are looked at
    /// anyway, and a few places too many cost less than columns that would rule them out.
    pub(super) fn places(&self, plan: &Plan<'_>, candidate: Candidate, exact: bool) -> Result<Vec<u16>, Error> {
        let mut places: Vec<u16> = (0..BUNDLE_ENTRIES as u16).collect();
        let enough = if exact { 0 } else { FEW_PLACES };
        for clause in &plan.clauses {
            if places.len() <= enough {
                return Ok(places);
            }
            let met = self.met(clause, candidate.bundle)?;
            places.retain(|place| met.get(usize::from(*place)).copied().unwrap_or_default());
        }
        if !candidate.in_time && places.len() > enough {
            let times = self.times(candidate.bundle)?;
            places.retain(|place| times.get(usize::from(*place)).is_some_and(|time| plan.filter.spans(*time)));
        }
        Ok(places)
    }

    /// Which entries of a bundle meet a clause.
    fn met(&self, clause: &Clause, bundle: u64) -> Result<Vec<bool>, Error> {
        let mut met = vec![false; BUNDLE_ENTRIES as usize];
        for (field, values) in clause {
            if !field.has_column() {
                self.mark_records(values, bundle, &mut met)?;
                continue;
            }
            let column = self.column(*field, bundle)?;
            // Code 0 is no value, and never wanted.
            let wanted: Vec<bool> =
                core::iter::once(false).chain(column.values().map(|value| values.contains(value))).collect();
            for (met, code) in met.iter_mut().zip(column.codes()) {
                *met |= wanted.get(usize::from(*code)).copied().unwrap_or_default();
            }
        }
        Ok(met)
    }

    /// Marks entries that may be about one of these records; all where no prints were written.
    fn mark_records(&self, records: &BTreeSet<String>, bundle: u64, met: &mut [bool]) -> Result<(), Error> {
        let Some(prints) = self.record_prints(bundle)? else {
            met.fill(true);
            return Ok(());
        };
        let wanted: Vec<u16> = records.iter().map(|record| record_print(Some(record))).collect();
        for (met, print) in met.iter_mut().zip(prints) {
            *met |= wanted.contains(&print);
        }
        Ok(())
    }

    /// A column. Where nothing was written, no entry says anything about the field: it may be younger than the bundle.
    pub(super) fn column(&self, field: Field, bundle: u64) -> Result<Column, Error> {
        self.packed(field as u8, bundle)?.map_or_else(|| Ok(Column::silent()), |packed| unpack_column(&packed))
    }

    /// The prints of the records of a bundle's entries; `None` where none were written.
    pub(super) fn record_prints(&self, bundle: u64) -> Result<Option<Vec<u16>>, Error> {
        self.packed(Field::Record as u8, bundle)?.as_deref().map(unpack_record_prints).transpose()
    }

    /// The times of a bundle's entries.
    pub(super) fn times(&self, bundle: u64) -> Result<Vec<Timestamp>, Error> {
        unpack_times(&self.packed(TIMES, bundle)?.ok_or(MISSING)?)
    }

    fn packed(&self, field: u8, bundle: u64) -> Result<Option<Vec<u8>>, Error> {
        let query = "SELECT data FROM columns WHERE field = ?1 AND bundle = ?2";
        let mut query = self.connection().prepare_cached(query)?;
        let stored: Option<Vec<u8>> = query.query_row(params![field, key(bundle)], |row| row.get(0)).optional()?;
        stored.map(|stored| self.keys().of(bundle)?.open(Part::Column(field), stored)).transpose()
    }
}

/// Whether columns alone tell if the clause is met: they tell of records only where they may be.
fn is_in_columns(clause: &Clause) -> bool {
    clause.keys().all(|field| field.has_column())
}
