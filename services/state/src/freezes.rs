//! What is frozen: one small row, and in memory the same arranged for look-ups.

use fuda_core::{FreezeReason, limits};
use fuda_policy::{FreezeTarget, Frozen};
use minicbor::{Decode, Encode};

use crate::key::{self, Meta};
use crate::row::{Act, Row};
use crate::{Refusal, Table, TableError, Txn, View, reader};

/// Thaws that are remembered, so that one forwarded twice finds its first outcome.
const THAWS_KEPT: usize = 32;

/// Everything that is frozen, and the last thaws.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct FreezesRow {
    /// In the order of their targets; at most [`limits::FREEZES_PER_VAULT_MAX`].
    #[n(0)]
    pub freezes: Vec<FreezeRow>,
    /// The last thaws, the oldest first.
    #[n(1)]
    pub thaws: Vec<ThawRow>,
}

impl Row for FreezesRow {
    const TABLE: Table = Table::Meta;
}

/// One freeze in force.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct FreezeRow {
    /// What is frozen.
    #[n(0)]
    pub target: FreezeTarget,
    /// Why, in the words of who froze; `None` when the vault did.
    #[n(1)]
    pub reason: Option<FreezeReason>,
    /// The act. When the vault froze, it is the call that made it do so.
    #[n(2)]
    pub frozen: Act,
}

/// A thaw.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ThawRow {
    /// What was thawed.
    #[n(0)]
    pub target: FreezeTarget,
    /// The act.
    #[n(1)]
    pub thawed: Act,
}

/// The freezes of the machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Freezes {
    row: FreezesRow,
    frozen: Frozen,
}

impl Freezes {
    pub(crate) fn load(view: &impl View) -> Result<Self, TableError> {
        Ok(Self::of(reader::freezes(view)?))
    }

    fn of(row: FreezesRow) -> Self {
        let frozen = Frozen::of(row.freezes.iter().map(|freeze| &freeze.target));
        Self { row, frozen }
    }

    /// What decisions ask.
    pub(crate) fn frozen(&self) -> &Frozen {
        &self.frozen
    }

    pub(crate) fn find(&self, target: &FreezeTarget) -> Option<&FreezeRow> {
        self.row.freezes.iter().find(|freeze| freeze.target == *target)
    }

    pub(crate) fn find_thaw(&self, target: &FreezeTarget) -> impl Iterator<Item = &ThawRow> {
        self.row.thaws.iter().filter(move |thaw| thaw.target == *target)
    }

    /// Freezes; the caller raises the policy version, so that what was decided before is decided again.
    pub(crate) fn add(&mut self, txn: &mut impl Txn, freeze: FreezeRow) -> Result<(), Refusal> {
        if self.find(&freeze.target).is_some() {
            return Err(Refusal::AlreadyFrozen);
        }
        if self.row.freezes.len() >= limits::FREEZES_PER_VAULT_MAX {
            return Err(Refusal::LimitReached);
        }
        let mut row = std::mem::take(&mut self.row);
        row.freezes.push(freeze);
        row.freezes.sort_by(|one, other| one.target.cmp(&other.target));
        self.replace(txn, row);
        Ok(())
    }

    /// Thaws; nothing happens when it is not frozen.
    pub(crate) fn remove(&mut self, txn: &mut impl Txn, thaw: ThawRow) {
        let mut row = std::mem::take(&mut self.row);
        row.freezes.retain(|freeze| freeze.target != thaw.target);
        row.thaws.push(thaw);
        let beyond = row.thaws.len().saturating_sub(THAWS_KEPT);
        row.thaws.drain(..beyond);
        self.replace(txn, row);
    }

    fn replace(&mut self, txn: &mut impl Txn, row: FreezesRow) {
        txn.put(Table::Meta, key::meta(Meta::Freezes), row.to_bytes());
        *self = Self::of(row);
    }
}
