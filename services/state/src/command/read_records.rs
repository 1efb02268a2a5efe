//! ReadRecords: somebody reads what holds no number (records' facts, grants, the ledger, the cluster). Entries only.

use fuda_core::{RecordId, SubjectRef, TenantId, limits};
use fuda_ledger::EntryItem;
use minicbor::{Decode, Encode};

use crate::key;
use crate::machine::Applying;
use crate::row::{RecordRow, Row as _};
use crate::{ItemOutcome, Outcome, Refusal, Table, TableError, Txn, View};

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
    let mut rows = read_rows(&*applying.txn, applying.header.tenant.as_ref(), &body.records)?.into_iter();
    let mut sequence = applying.next_sequence();
    let mut entries = Vec::with_capacity(records.len());
    let mut items = Vec::with_capacity(records.len());
    for record in records {
        let entry = EntryItem { subject: body.subject.clone(), record, ..EntryItem::allowed(sequence) };
        entries.push(with_row(entry, rows.next().flatten()));
        items.push(ItemOutcome::Done { sequence });
        sequence = sequence.next().ok_or(TableError::Exhausted { what: "sequence" })?;
    }
    let first = applying.append(entries)?;
    Ok(Outcome::Applied { first: Some(first), items, node_id: None })
}

/// The records that there are, each at the place of its id.
fn read_rows(
    view: &impl View,
    tenant: Option<&TenantId>,
    records: &[RecordId],
) -> Result<Vec<Option<RecordRow>>, TableError> {
    let Some(tenant) = tenant else { return Ok(Vec::new()) };
    let keys: Vec<Vec<u8>> = records.iter().map(|record| key::record(tenant, *record)).collect();
    let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
    let rows = view.multi_get(Table::Records, &keys)?;
    rows.into_iter().map(|row| row.map(|bytes| RecordRow::from_bytes(&bytes)).transpose()).collect()
}

/// The entry names the person, so that "who read this person's records" has its answer.
fn with_row(entry: EntryItem, row: Option<RecordRow>) -> EntryItem {
    let Some(row) = row else { return entry };
    EntryItem {
        principal: row.other_principal(),
        subject: Some(row.subject),
        kind: Some(row.kind),
        relation: Some(row.relation),
        ..entry
    }
}

#[cfg(test)]
mod tests {
    use fuda_core::{Relation, Sequence};
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

    #[test]
    fn entries_of_a_dependant_name_the_person_on_whose_account_the_record_is_held() {
        let mut world = World::demo();
        let first = world.machine.next_sequence();
        let mut body = world.tokenize_body(&[("E-1", 1), ("D-9", 2)]);
        (body.items[1].principal, body.items[1].relation) = (subject("E-1"), Relation::Dependant);
        world.apply(&world.tokenize(20, body));
        world.revealed(Action::Detokenize, &[1, 2]);
        let request = Request::tenant(Action::ListRecords, caller(samples::HR), tenant());
        let body = ReadRecords { subject: None, records: vec![record(1), record(2)] };
        let command = world.permitted(&request, 21, Body::ReadRecords(body));
        world.apply(&command);

        let entry = |place| reader::entry(&world.tables, Sequence(first.get() + place)).unwrap().unwrap();
        for (place, action) in [Action::Tokenize, Action::Detokenize, Action::ListRecords].into_iter().enumerate() {
            let (own, dependants) = (entry(2 * place as u64), entry(2 * place as u64 + 1));
            assert_eq!((own.common.action, dependants.common.action), (action, action));
            assert_eq!((own.item.subject, own.item.principal), (Some(subject("E-1")), None));
            let told = (dependants.item.subject, dependants.item.relation, dependants.item.principal);
            assert_eq!(told, (Some(subject("D-9")), Some(Relation::Dependant), Some(subject("E-1"))), "{action}");
        }
    }
}
