//! End-user assertions that were used: what makes one good for one call, at whatever node it is brought.
//!
//! Rows live as long as their assertion could be used; the machine holds the same in memory and is rebuilt from them.

use std::collections::{BTreeMap, BTreeSet};

use fuda_core::{Timestamp, limits};
use fuda_ledger::Assertion;
use minicbor::{Decode, Encode};

use crate::row::Row;
use crate::{Refusal, Table, TableError, Txn, View, key};

/// Expired rows that one command removes at most: two for each it adds keep the table small, and no command long.
const FORGOTTEN_PER_COMMAND_MAX: usize = 16;

/// Where an assertion was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct AssertionRow {
    /// Digest of the one call.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub call: [u8; 16],
    /// When the assertion can no longer be used.
    #[n(1)]
    pub expires: Timestamp,
}

impl Row for AssertionRow {
    const TABLE: Table = Table::Assertions;
}

/// Every assertion that was used and could be used again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Assertions {
    used: BTreeMap<[u8; 16], AssertionRow>,
    due: BTreeSet<(Timestamp, [u8; 16])>,
}

impl Assertions {
    /// Reads the rows.
    pub(crate) fn load(view: &impl View) -> Result<Self, TableError> {
        let mut assertions = Self::default();
        for (key, value) in view.scan(Table::Assertions, &[], None, usize::MAX)? {
            let id = key.try_into().map_err(|_| TableError::corrupt(Table::Assertions, "key is no assertion"))?;
            assertions.keep(id, AssertionRow::from_bytes(&value)?);
        }
        Ok(assertions)
    }

    /// Uses an assertion for a call; `Ok` also when that very call used it before.
    pub(crate) fn take(&mut self, txn: &mut impl Txn, assertion: &Assertion, time: Timestamp) -> Result<(), Refusal> {
        self.forget(txn, time);
        match self.used.get(&assertion.id) {
            Some(row) if row.call == assertion.call => Ok(()),
            Some(_) => Err(Refusal::AssertionReplayed),
            None if self.used.len() >= limits::ASSERTIONS_REMEMBERED_MAX => Err(Refusal::AssertionsFull),
            None => {
                let row = AssertionRow { call: assertion.call, expires: assertion.expires };
                txn.put(Table::Assertions, key::assertion(&assertion.id), row.to_bytes());
                self.keep(assertion.id, row);
                Ok(())
            }
        }
    }

    fn keep(&mut self, id: [u8; 16], row: AssertionRow) {
        self.due.insert((row.expires, id));
        self.used.insert(id, row);
    }

    /// Drops what can no longer be used: a command that carried it would be [`crate::Outcome::Expired`].
    fn forget(&mut self, txn: &mut impl Txn, time: Timestamp) {
        for _ in 0..FORGOTTEN_PER_COMMAND_MAX {
            match self.due.first().copied() {
                Some((expires, id)) if expires < time => {
                    self.due.remove(&(expires, id));
                    self.used.remove(&id);
                    txn.delete(Table::Assertions, &key::assertion(&id));
                }
                _ => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use fuda_core::CallerId;
    use fuda_ledger::{Audited, CallFacts};
    use fuda_policy::{Action, DenyReason, EndUserProof, Proof, SignIn, samples};

    use super::*;
    use crate::command::Reveal;
    use crate::testing::{World, caller, facts, tenant};
    use crate::{Body, Command, Outcome, reader};

    const LIFE_MS: i64 = 300_000;

    fn assertion(world: &World, id: u8, call: u8) -> Assertion {
        Assertion { id: [id; 16], expires: Timestamp(world.now.0 + LIFE_MS), call: [call; 16] }
    }

    /// A reveal on behalf of an end user, as a node proposes it.
    fn reveal(world: &World, assertion: Assertion) -> Command {
        let user = CallerId::parse("oidc:corp/suzuki").unwrap();
        let end_user = EndUserProof::Verified { user, own: None, until: assertion.expires };
        let request = world.reveal_request(Action::Detokenize).proven(Proof { end_user, sign_in: SignIn::Lasting });
        let permit = world.decide(&request).map_err(|denial| denial.reason()).unwrap();
        let items = vec![world.claim(&permit, 0, 1)];
        let facts = CallFacts { assertion: Some(assertion), ..facts(9) };
        Audited::permitted(&permit, facts, Body::Reveal(Reveal { items })).into()
    }

    fn is_replay(outcome: &Outcome) -> bool {
        matches!(outcome, Outcome::Refused { refusal: Refusal::AssertionReplayed, sequence: Some(_) })
    }

    #[test]
    fn an_assertion_is_good_for_one_call_also_after_a_restart() {
        let mut world = World::demo();
        world.store(20, &[("E-1", 1)]);
        let first = reveal(&world, assertion(&world, 1, 1));
        let next = world.machine.next_sequence();
        assert!(matches!(world.apply(&first), Outcome::Applied { .. }));
        let entry = reader::entry(&world.tables, next).unwrap().unwrap();
        assert_eq!(entry.common.end_user.as_deref(), Some("oidc:corp/suzuki"));

        // The same call again is a retry; another call is a replay, and an entry that says so.
        assert!(matches!(world.apply(&first), Outcome::Applied { .. }));
        let stolen = reveal(&world, Assertion { call: [2; 16], ..assertion(&world, 1, 1) });
        for _ in 0..2 {
            let next = world.machine.next_sequence();
            assert!(is_replay(&world.apply(&stolen)));
            let entry = reader::entry(&world.tables, next).unwrap().unwrap();
            assert_eq!(entry.item.reason, Some(DenyReason::EndUserReplayed));
            assert_eq!(entry.common.end_user.as_deref(), Some("oidc:corp/suzuki"));
            world.restart();
        }
        let other = reveal(&world, assertion(&world, 2, 2));
        assert!(matches!(world.apply(&other), Outcome::Applied { .. }));
    }

    #[test]
    fn it_is_forgotten_only_when_nobody_could_use_it_any_more() {
        let mut world = World::demo();
        world.store(20, &[("E-1", 1)]);
        let first = reveal(&world, assertion(&world, 1, 1));
        let stolen = reveal(&world, Assertion { call: [2; 16], ..assertion(&world, 1, 1) });
        world.apply(&first);
        world.now = Timestamp(world.now.0 + LIFE_MS);
        assert!(is_replay(&world.apply(&stolen)));
        world.now = Timestamp(world.now.0 + 1);
        assert_eq!(world.apply(&stolen), Outcome::Expired);
        assert_eq!(world.tables.len(Table::Assertions), 1);
        // The next one takes it along.
        let next = reveal(&world, assertion(&world, 3, 3));
        assert!(matches!(world.apply(&next), Outcome::Applied { .. }));
        assert_eq!(world.tables.len(Table::Assertions), 1);
    }

    #[test]
    fn a_denied_call_uses_its_assertion_up_and_is_always_entered() {
        let mut world = World::demo();
        world.store(20, &[("E-1", 1)]);
        let request = fuda_policy::Request::tenant(Action::Detokenize, caller(samples::HR), tenant());
        let denial = world.decide(&request).unwrap_err();
        let used = assertion(&world, 1, 1);
        let denied = |call| {
            let facts = CallFacts { assertion: Some(Assertion { call: [call; 16], ..used }), ..facts(call) };
            Audited::denied(&denial, facts, 1, |denied| Body::Denied(denied.into())).into()
        };
        assert!(matches!(world.apply(&denied(1)), Outcome::Applied { .. }));
        assert!(matches!(world.apply(&denied(2)), Outcome::Applied { .. }), "a denial is never refused");
        assert!(is_replay(&world.apply(&reveal(&world, Assertion { call: [3; 16], ..used }))));
    }
}
