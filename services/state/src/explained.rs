//! The index of denials by request id, and its bound: the newest [`limits::DENIALS_EXPLAINED_MAX`] are found. An older one
//! is still in the ledger, under its time and caller.

use fuda_core::{RequestId, Sequence, limits};
use minicbor::{Decode, Encode};

use crate::key;
use crate::row::{DenialRow, Row};
use crate::{Pair, Table, TableError, Txn, View};

/// Whose denial an entry is; its key is the entry's sequence, so that the oldest comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub(crate) struct DenialPlaceRow {
    /// The request.
    #[n(0)]
    pub request: RequestId,
}

impl Row for DenialPlaceRow {
    const TABLE: Table = Table::Meta;
}

/// How many are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Explained {
    kept: usize,
}

impl Explained {
    pub(crate) fn load(view: &impl View) -> Result<Self, TableError> {
        let (from, to) = key::denial_place_range();
        Ok(Self { kept: view.scan(Table::Meta, &from, Some(&to), usize::MAX)?.len() })
    }

    /// Remembers where a request was denied; the oldest gives way.
    pub(crate) fn remember(
        &mut self,
        txn: &mut impl Txn,
        request: RequestId,
        first: Sequence,
    ) -> Result<(), TableError> {
        txn.put(Table::Meta, key::denial(request), DenialRow { first }.to_bytes());
        txn.put(Table::Meta, key::denial_place(first), DenialPlaceRow { request }.to_bytes());
        self.kept += 1;
        if self.kept > limits::DENIALS_EXPLAINED_MAX {
            self.forget_oldest(txn)?;
        }
        Ok(())
    }

    fn forget_oldest(&mut self, txn: &mut impl Txn) -> Result<(), TableError> {
        let (from, to) = key::denial_place_range();
        match txn.scan(Table::Meta, &from, Some(&to), 1)?.into_iter().next() {
            Some(oldest) => self.forget(txn, oldest),
            None => Ok(()),
        }
    }

    /// Forgets denials whose entries are pruned: those in front of `before`.
    pub(crate) fn forget_before(&mut self, txn: &mut impl Txn, before: Sequence) -> Result<(), TableError> {
        let (from, _) = key::denial_place_range();
        for place in txn.scan(Table::Meta, &from, Some(&key::denial_place(before)), usize::MAX)? {
            self.forget(txn, place)?;
        }
        Ok(())
    }

    fn forget(&mut self, txn: &mut impl Txn, (place, value): Pair) -> Result<(), TableError> {
        let key = key::denial(DenialPlaceRow::from_bytes(&value)?.request);
        let newest = txn.get(Table::Meta, &key)?.map(|bytes| DenialRow::from_bytes(&bytes)).transpose()?;
        // The request may have been denied again since.
        if newest.is_some_and(|row| key::denial_place(row.first) == place) {
            txn.delete(Table::Meta, &key);
        }
        txn.delete(Table::Meta, &place);
        self.kept = self.kept.saturating_sub(1);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MemoryTables, Overlay, reader};

    fn request(number: u64) -> RequestId {
        let mut bytes = [0; 16];
        bytes[8..].copy_from_slice(&number.to_be_bytes());
        RequestId::from_bytes(bytes)
    }

    #[test]
    fn the_newest_denials_are_found_and_the_index_does_not_grow() {
        let max = limits::DENIALS_EXPLAINED_MAX as u64;
        let mut tables = MemoryTables::default();
        let mut explained = Explained::default();
        let mut overlay = Overlay::new(&tables);
        // Request 0 is denied again in the end.
        for (sequence, number) in (0..max).chain([0, max]).enumerate() {
            explained.remember(&mut overlay, request(number), Sequence(sequence as u64)).unwrap();
        }
        let changes = overlay.into_changes();
        tables.commit(changes);
        let found = |number| reader::denial(&tables, request(number)).unwrap();
        assert_eq!((found(0), found(1), found(2)), (Some(Sequence(max)), None, Some(Sequence(2))));
        assert_eq!(found(max), Some(Sequence(max + 1)));
        assert_eq!(Explained::load(&tables).unwrap(), explained);
        assert_eq!(explained.kept, limits::DENIALS_EXPLAINED_MAX);
        assert_eq!(tables.len(Table::Meta), 2 * limits::DENIALS_EXPLAINED_MAX);

        // Entries are pruned: of requests denied before, only what was denied again later is left.
        let mut overlay = Overlay::new(&tables);
        explained.forget_before(&mut overlay, Sequence(max)).unwrap();
        let changes = overlay.into_changes();
        tables.commit(changes);
        let found = |number| reader::denial(&tables, request(number)).unwrap();
        assert_eq!((found(0), found(2), found(max)), (Some(Sequence(max)), None, Some(Sequence(max + 1))));
        assert_eq!((Explained::load(&tables).unwrap(), tables.len(Table::Meta)), (explained, 4));
    }
}
