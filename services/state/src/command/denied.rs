//! Denied: policy said no to a call. One entry stands for all its items, and one more for each canary token among them.

use fuda_core::{Kind, LookupKey, ScopeId, Sequence, limits};
use fuda_ledger::{DeniedCall, Detail, DetailKey, EntryItem};
use fuda_policy::DenyReason;
use minicbor::{Decode, Encode};

use super::presented;
use crate::machine::Applying;
use crate::{ItemOutcome, Outcome, TableError, Txn};

/// Records that a call was denied. Apply takes it only under the header of that very denial.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct Denied {
    /// Why.
    #[n(0)]
    pub reason: DenyReason,
    /// How many items the call carried; 1 for a call about one thing.
    #[n(1)]
    pub items: u32,
    /// The kind the call named.
    #[n(2)]
    pub kind: Option<Kind>,
    /// The scope the call named.
    #[n(3)]
    pub scope: Option<ScopeId>,
    /// Tokens among those the call presented that the node took for canaries; apply looks for itself.
    #[n(4)]
    pub canaries: Option<Vec<LookupKey>>,
}

impl Denied {
    /// The same denial of a call that presented these canary tokens.
    #[must_use]
    pub fn presenting(self, canaries: Vec<LookupKey>) -> Self {
        Self { canaries: Some(canaries).filter(|canaries| !canaries.is_empty()), ..self }
    }
}

impl From<DeniedCall> for Denied {
    fn from(call: DeniedCall) -> Self {
        Self {
            reason: call.reason(),
            items: call.items(),
            kind: call.kind(),
            scope: call.scope().cloned(),
            canaries: None,
        }
    }
}

pub(crate) fn apply<T: Txn>(applying: &mut Applying<'_, T>, body: &Denied) -> Result<Outcome, TableError> {
    let detail = match body.items {
        0 | 1 => Vec::new(),
        items => vec![Detail::new(DetailKey::Items, &items.to_string())],
    };
    let sequence = applying.next_sequence();
    let (kind, scope) = (body.kind, body.scope.clone());
    let own = (!applying.folds(body.reason)).then_some(sequence);
    let entry = |sequence| EntryItem { kind, scope, detail, ..EntryItem::denied(sequence, body.reason) };
    let mut entries: Vec<EntryItem> = own.map(entry).into_iter().collect();
    // A canary is an entry of its own, whatever the call was denied for.
    for lookup in body.canaries.iter().flatten().take(limits::BATCH_ITEMS_MAX) {
        let next = sequence.get().checked_add(entries.len() as u64);
        let next = next.ok_or(TableError::Exhausted { what: "sequence" })?;
        if applying.hits.look(&applying.machine.canaries, lookup) == DenyReason::CanaryToken {
            entries.push(EntryItem::denied(Sequence(next), DenyReason::CanaryToken));
        }
    }
    let items = vec![ItemOutcome::Denied { sequence: own, reason: body.reason }];
    presented::finish(applying, entries, items)
}

#[cfg(test)]
mod tests {
    use fuda_ledger::{Audited, Decision};
    use fuda_policy::{Action, Request, samples};

    use super::*;
    use crate::testing::{World, caller, facts, tenant};
    use crate::{Body, Refusal, reader};

    #[test]
    fn a_denied_call_is_one_entry_that_counts_its_items() {
        let mut world = World::demo();
        let request = Request::tenant(Action::Detokenize, caller(samples::HR), tenant());
        let denial = world.decide(&request).unwrap_err();
        let reason = denial.reason();
        let command = Audited::denied(&denial, facts(1), 250, |call| Body::Denied(call.into())).into();
        let sequence = world.machine.next_sequence();

        let outcome = world.apply(&command);
        let items = vec![ItemOutcome::Denied { sequence: Some(sequence), reason }];
        assert_eq!(outcome, Outcome::Applied { first: Some(sequence), items, node_id: None });
        let entry = reader::entry(&world.tables, sequence).unwrap().unwrap();
        assert_eq!((entry.item.decision, entry.item.reason), (Decision::Denied, Some(reason)));
        assert_eq!(entry.item.detail, [Detail::new(DetailKey::Items, "250")]);
        assert_eq!(entry.common.caller, caller(samples::HR));
    }

    #[test]
    fn a_denial_cannot_be_dressed_up_as_something_else() {
        let mut world = World::demo();
        let request = Request::tenant(Action::Tokenize, caller(samples::PAYROLL), tenant());
        let denial = world.decide(&request).unwrap_err();

        // A denial's header over the body of the action that was denied.
        let body = Body::Tokenize(world.tokenize_body(&[("E-1", 1)]));
        let forged = Audited::denied(&denial, facts(1), 1, |_| body).into();
        assert!(matches!(world.apply(&forged), Outcome::Refused { refusal: Refusal::ActionMismatch, .. }));

        // And over a denial with another reason.
        let other = Denied { reason: DenyReason::UnknownOrder, items: 1, kind: None, scope: None, canaries: None };
        let forged = Audited::denied(&denial, facts(2), 1, |_| Body::Denied(other)).into();
        assert!(matches!(world.apply(&forged), Outcome::Refused { refusal: Refusal::ActionMismatch, .. }));

        // A denial of a version of the policy that is gone must be decided again.
        world.raise_policy_version();
        let stale = Audited::denied(&denial, facts(3), 1, |call| Body::Denied(call.into())).into();
        assert!(matches!(world.apply(&stale), Outcome::StalePolicy { .. }));
    }
}
