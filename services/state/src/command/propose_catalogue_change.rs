//! ProposeCatalogueChange: stores an order to change the purpose catalogue. Nothing changes until another person
//! approves it ([`super::approve_purpose_order`]).

use fuda_core::{Catalogue, CatalogueChange, ChangeError};
use fuda_ledger::{Detail, DetailKey};
use minicbor::{Decode, Encode};

use crate::machine::Applying;
use crate::purpose_order::{first_proposal, listed, propose};
use crate::row::PurposeChange;
use crate::{OrderId, Outcome, Refusal, TableError, Txn};

/// Proposes to add, edit and retire purposes, all or nothing.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ProposeCatalogueChange {
    /// The order's id, minted by the node.
    #[n(0)]
    pub order: OrderId,
    /// What is to change, and for which version of the catalogue.
    #[n(1)]
    pub change: CatalogueChange,
}

pub(crate) fn first_outcome<T: Txn>(
    applying: &Applying<'_, T>,
    body: &ProposeCatalogueChange,
) -> Result<Option<Outcome>, TableError> {
    first_proposal(applying, body.order, &PurposeChange::Catalogue(body.change.clone()))
}

pub(crate) fn apply<T: Txn>(
    applying: &mut Applying<'_, T>,
    body: &ProposeCatalogueChange,
) -> Result<Outcome, TableError> {
    propose(applying, body.order, PurposeChange::Catalogue(body.change.clone()))
}

/// The catalogue after the change, or why it was refused.
pub(crate) fn changed(catalogue: &Catalogue, change: &CatalogueChange) -> Result<Catalogue, Refusal> {
    catalogue.changed(change).map_err(|error| refusal(&error))
}

/// What an entry says about a change. The reason of an override stands in the approval's own entry too.
pub(crate) fn detail(change: &CatalogueChange) -> Vec<Detail> {
    let forbidden = change.put.iter().filter_map(fuda_core::Purpose::forbidden_use);
    let reason = change.override_reason.as_ref().map(|reason| Detail::new(DetailKey::OverrideReason, reason));
    let facts = [
        Some(Detail::new(DetailKey::CatalogueVersion, &change.base.to_string())),
        listed(DetailKey::Purpose, change.put.iter().map(|row| row.code.as_str())),
        listed(DetailKey::PurposeRetired, change.retire.iter().map(fuda_core::PurposeCode::as_str)),
        listed(DetailKey::ForbiddenUse, forbidden.map(fuda_core::ForbiddenUse::code)),
        reason,
    ];
    facts.into_iter().flatten().collect()
}

const fn refusal(error: &ChangeError) -> Refusal {
    match error {
        ChangeError::Moved { .. } => Refusal::CatalogueMoved,
        ChangeError::Forbidden { .. } => Refusal::PurposeForbidden,
        ChangeError::Purpose { .. } | ChangeError::Change(_) | ChangeError::Syntax(_) => Refusal::PurposeChangeInvalid,
    }
}

#[cfg(test)]
mod tests {
    use fuda_policy::{Action, samples};

    use super::*;
    use crate::reader;
    use crate::testing::{World, caller, propose_change, purpose, row_named};

    const ORDER: OrderId = OrderId([8; 16]);

    #[test]
    fn a_proposal_changes_nothing() {
        let mut world = World::demo();
        let (version, before) = (world.machine.policy_version(), world.policy().catalogue().cloned());
        let change = CatalogueChange {
            base: 1,
            put: vec![row_named("tax.new_form", "新しい様式")],
            retire: vec![purpose("tax.zaikei")],
            override_reason: None,
        };
        let command = propose_change(&world, samples::OWNER, ORDER, &change, 8);
        let outcome = world.apply(&command);
        assert!(matches!(outcome, Outcome::Applied { first: Some(_), .. }));
        assert_eq!(world.apply(&command), outcome, "forwarded twice");
        assert_eq!((world.machine.policy_version(), world.policy().catalogue().cloned()), (version, before));

        let order = reader::purpose_order(&world.tables, ORDER).unwrap().unwrap();
        assert_eq!((order.change, order.approved), (PurposeChange::Catalogue(change), None));
        let entry = reader::entry(&world.tables, order.proposed.sequence).unwrap().unwrap();
        let value = |key| entry.item.detail.iter().find(|detail| detail.key() == key).map(Detail::value);
        assert_eq!(value(DetailKey::Purpose), Some("tax.new_form"));
        assert_eq!(value(DetailKey::PurposeRetired), Some("tax.zaikei"));
        assert_eq!(entry.common.action, Action::ProposeCatalogueChange);
    }

    #[test]
    fn what_breaks_a_rule_is_refused_with_an_entry() {
        let mut world = World::demo();
        let put = |row| CatalogueChange { base: 1, put: vec![row], ..CatalogueChange::default() };
        let cases = [
            (CatalogueChange { base: 2, ..put(row_named("tax.new_form", "様式")) }, Refusal::CatalogueMoved),
            (put(row_named("hr.badge", "社員番号")), Refusal::PurposeForbidden),
            (put(row_named("tax.other", "その他")), Refusal::PurposeChangeInvalid),
            (put(row_named("tax.slip.copy_to_person", "票")), Refusal::PurposeChangeInvalid),
            (CatalogueChange { base: 1, ..CatalogueChange::default() }, Refusal::PurposeChangeInvalid),
        ];
        for (change, expected) in cases {
            let command = propose_change(&world, samples::OWNER, ORDER, &change, 8);
            let outcome = world.apply(&command);
            assert!(
                matches!(outcome, Outcome::Refused { refusal, sequence: Some(_) } if refusal == expected),
                "{expected:?}: {outcome:?}"
            );
        }
        assert!(reader::purpose_orders(&world.tables, None, 10).unwrap().is_empty());
    }

    #[test]
    fn only_owners_propose() {
        let world = World::demo();
        for name in [samples::APPROVER, samples::AUDITOR, samples::OPERATOR, samples::HR] {
            let request = fuda_policy::Request::vault(Action::ProposeCatalogueChange, caller(name));
            assert!(world.decide(&request).is_err(), "{name}");
        }
    }
}
