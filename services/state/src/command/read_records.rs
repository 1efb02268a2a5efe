//! ReadRecords: somebody reads what holds no number (records' facts, grants, the ledger, the cluster). Entries only.

use fuda_core::{RecordId, SubjectRef, limits};
use fuda_ledger::EntryItem;
use minicbor::{Decode, Encode};

use crate::machine::Applying;
use crate::{ItemOutcome, Outcome, Refusal, TableError, Txn};

/// Reads without revealing; the header says what.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ReadRecords {
    /// The subject asked for, if the call named one.
    #[n(0)]
    pub subject: Option<SubjectRef>,
    /// The records read, one entry each; a call that reads none (or something else) makes one entry.
    #[n(1)]
    pub records: Vec<RecordId>,
}

pub(crate) fn apply<T: Txn>(applying: &mut Applying<'_, T>, body: &ReadRecords) -> Result<Outcome, TableError> {
    if body.records.len() > limits::PAGE_SIZE_MAX {
        return applying.refuse(Refusal::ItemCount, Vec::new());
    }
    let records: Vec<Option<RecordId>> = match body.records.as_slice() {
        [] => vec![None],
        records => records.iter().copied().map(Some).collect(),
    };
    let mut sequence = applying.next_sequence();
    let mut entries = Vec::with_capacity(records.len());
    let mut items = Vec::with_capacity(records.len());
    for record in records {
        entries.push(EntryItem { subject: body.subject.clone(), record, ..EntryItem::allowed(sequence) });
        items.push(ItemOutcome::Done { sequence });
        sequence = sequence.next().ok_or(TableError::Exhausted { what: "sequence" })?;
    }
    let first = applying.append(entries)?;
    Ok(Outcome::Applied { first: Some(first), items, node_id: None })
}

#[cfg(test)]
mod tests {
    use fuda_core::Sequence;
    use fuda_policy::{Action, Request, samples};

    use super::*;
    use crate::testing::{World, caller, record, subject, tenant};
    use crate::{Body, reader};

    #[test]
    fn every_record_read_is_an_entry_and_so_is_reading_nothing() {
        let mut world = World::demo();
        let request = Request::tenant(Action::ListRecords, caller(samples::HR), tenant());
        let next = world.machine.next_sequence();
        let body = ReadRecords { subject: Some(subject("E-1")), records: vec![record(1), record(2)] };
        let command = world.permitted(&request, 1, Body::ReadRecords(body));
        let Outcome::Applied { first, items, .. } = world.apply(&command) else { panic!("not applied") };
        assert_eq!((first, items.len()), (Some(next), 2));
        let second = reader::entry(&world.tables, Sequence(next.get() + 1)).unwrap().unwrap();
        assert_eq!((second.item.record, second.item.subject), (Some(record(2)), Some(subject("E-1"))));

        let request = Request::vault(Action::ReadLedger, caller(samples::AUDITOR));
        let none = ReadRecords { subject: None, records: Vec::new() };
        let command = world.permitted(&request, 2, Body::ReadRecords(none));
        assert!(matches!(world.apply(&command), Outcome::Applied { items, .. } if items.len() == 1));
        let read = reader::entry(&world.tables, Sequence(next.get() + 2)).unwrap().unwrap();
        assert_eq!((read.common.action, read.item.record), (Action::ReadLedger, None));

        let request = Request::tenant(Action::ListRecords, caller(samples::HR), tenant());
        let many = ReadRecords { subject: None, records: vec![record(1); limits::PAGE_SIZE_MAX + 1] };
        let command = world.permitted(&request, 3, Body::ReadRecords(many));
        assert!(matches!(world.apply(&command), Outcome::Refused { refusal: Refusal::ItemCount, .. }));
    }
}
