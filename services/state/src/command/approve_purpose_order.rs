//! ApprovePurposeOrder: a second person brings a change of purposes into force.

use fuda_ledger::{Detail, DetailKey, EntryItem};
use minicbor::{Decode, Encode};

use crate::key::{self, Meta};
use crate::machine::{Applying, TenantFacts};
use crate::purpose_order::Effect;
use crate::row::{CatalogueRow, PurposeChange, PurposeOrderRow, TenantRow};
use crate::{OrderId, Outcome, Refusal, Table, TableError, Txn, reader};

/// Approves an order as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ApprovePurposeOrder {
    /// The order.
    #[n(0)]
    pub order: OrderId,
}

pub(crate) fn first_outcome<T: Txn>(
    applying: &Applying<'_, T>,
    body: &ApprovePurposeOrder,
) -> Result<Option<Outcome>, TableError> {
    Ok(applying.approved_before(reader::purpose_order(&*applying.txn, body.order)?))
}

pub(crate) fn apply<T: Txn>(applying: &mut Applying<'_, T>, body: &ApprovePurposeOrder) -> Result<Outcome, TableError> {
    let Some(order) = reader::purpose_order(&*applying.txn, body.order)? else {
        let detail = vec![Detail::new(DetailKey::Order, &body.order.to_string())];
        return applying.refuse(Refusal::OrderUnknown, detail);
    };
    let mut detail = order.change.detail(order.order);
    // Whoever approves for one tenant only cannot approve what is about another, or about all.
    let asked = applying.header.tenant.as_ref();
    let foreign = asked.is_some() && asked != order.change.tenant();
    let checked = if foreign { Err(Refusal::OrderUnknown) } else { applying.may_approve(&order) };
    let effect = match checked {
        Ok(()) => order.change.effect(applying)?,
        Err(refusal) => Err(refusal),
    };
    match effect {
        Err(refusal) => return applying.refuse(refusal, detail),
        Ok(Effect::Catalogue(catalogue)) => {
            // The version it brings into force, in place of the one it was made for.
            detail.retain(|fact| fact.key() != DetailKey::CatalogueVersion);
            detail.push(Detail::new(DetailKey::CatalogueVersion, &catalogue.version().to_string()));
            applying.put(key::meta(Meta::Catalogue), &CatalogueRow { catalogue });
        }
        Ok(Effect::Tenant(tenant)) => {
            let row = reader::tenant(&*applying.txn, &tenant.id)?;
            let created = row.ok_or(TableError::corrupt(Table::Tenants, "a tenant that was there is gone"))?.created;
            applying.machine.tenants.insert(tenant.id.clone(), TenantFacts::of(&tenant));
            applying.put(key::tenant(&tenant.id), &TenantRow { tenant: *tenant, created });
        }
    }
    close(applying, order, detail)
}

/// Each override is an entry of its own: nobody finds it only by reading between the lines of a larger change.
fn override_details(change: &PurposeChange) -> Vec<Vec<Detail>> {
    let PurposeChange::Catalogue(change) = change else { return Vec::new() };
    let of = |row: &fuda_core::Purpose| {
        let forbidden = row.forbidden_use()?;
        let reason = change.override_reason.as_deref().unwrap_or_default();
        Some(vec![
            Detail::new(DetailKey::Purpose, row.code.as_str()),
            Detail::new(DetailKey::ForbiddenUse, forbidden.code()),
            Detail::new(DetailKey::OverrideReason, reason),
        ])
    };
    change.put.iter().filter_map(of).collect()
}

/// Closes the order, raises the policy version and appends the entries: that of the change, and one per override.
fn close<T: Txn>(
    applying: &mut Applying<'_, T>,
    order: PurposeOrderRow,
    mut detail: Vec<Detail>,
) -> Result<Outcome, TableError> {
    let place = order.proposed.sequence;
    let closed = PurposeOrderRow { approved: Some(applying.act()), ..order };
    applying.put(key::purpose_order(place), &closed);
    let version = applying.raise_policy_version()?;
    detail.push(Detail::new(DetailKey::PolicyVersion, &version.to_string()));
    let mut sequence = applying.next_sequence();
    let mut items = vec![EntryItem { detail, ..EntryItem::allowed(sequence) }];
    for mut detail in override_details(&closed.change) {
        sequence = sequence.next().ok_or(TableError::Exhausted { what: "sequence" })?;
        detail.insert(0, Detail::new(DetailKey::Order, &closed.order.to_string()));
        items.push(EntryItem { detail, ..EntryItem::allowed(sequence) });
    }
    Ok(Outcome::applied(applying.append(items)?))
}

#[cfg(test)]
mod tests {
    use fuda_core::{CatalogueChange, ForbiddenUse, Sequence};
    use fuda_policy::{Action, DenyReason, samples};

    use super::*;
    use crate::testing::{
        World, approve_purposes, caller, propose_change, purpose, refused, row_named, set_purposes, tenant,
    };

    const ORDER: OrderId = OrderId([8; 16]);
    const REASON: &str = "顧問弁護士の意見書 2026-11-20 により総務部長が承認した";

    fn applied(world: &mut World, command: &crate::Command) -> Outcome {
        let outcome = world.apply(command);
        assert!(matches!(outcome, Outcome::Applied { first: Some(_), .. }), "{outcome:?}");
        outcome
    }

    #[test]
    fn a_tenant_uses_what_two_people_agreed_on() {
        let mut world = World::demo();
        world.store(20, &[("E-1", 1)]);
        assert_eq!(world.revealed(Action::Detokenize, &[1]).len(), 1);
        let command = set_purposes(&world, samples::OWNER, ORDER, &["tax.zaikei"], &[samples::PURPOSE], 8);
        applied(&mut world, &command);
        let stale = world.reveal(Action::Detokenize, &[1]);

        let command = approve_purposes(&world, samples::APPROVER, ORDER, 9);
        let outcome = applied(&mut world, &command);
        let version = world.machine.policy_version();
        assert_eq!(world.apply(&stale), Outcome::StalePolicy { version }, "decided before the change");
        let denial = world.decide(&world.reveal_request(Action::Detokenize)).unwrap_err();
        assert_eq!(denial.reason(), DenyReason::PurposeNotEnabled);
        let now = world.policy();
        let now = now.tenant(&tenant()).unwrap();
        assert!(now.enables(&purpose("tax.zaikei")) && !now.enables(&purpose(samples::PURPOSE)));

        assert_eq!(world.apply(&command), outcome, "forwarded twice");
        let again = approve_purposes(&world, samples::SECOND_APPROVER, ORDER, 10);
        assert_eq!(refused(&world.apply(&again)), Some(Refusal::OrderClosed));
        world.restart();
        assert_eq!(world.machine.policy_version(), version);
        assert_eq!(reader::purpose_orders(&world.tables, None, 10).unwrap().len(), 1);
    }

    #[test]
    fn a_retired_purpose_reveals_nothing() {
        let mut world = World::demo();
        let change = CatalogueChange { base: 1, retire: vec![purpose(samples::PURPOSE)], ..CatalogueChange::default() };
        let command = propose_change(&world, samples::OWNER, ORDER, &change, 8);
        applied(&mut world, &command);
        let command = approve_purposes(&world, samples::APPROVER, ORDER, 9);
        applied(&mut world, &command);
        let denial = world.decide(&world.reveal_request(Action::Detokenize)).unwrap_err();
        assert_eq!(denial.reason(), DenyReason::PurposeRetired);
    }

    #[test]
    fn an_override_is_an_entry_of_its_own() {
        let mut world = World::demo();
        let change = CatalogueChange {
            base: 1,
            put: vec![row_named("hr.badge", "社員番号"), row_named("tax.new_form", "様式")],
            retire: Vec::new(),
            override_reason: Some(REASON.to_owned()),
        };
        let command = propose_change(&world, samples::OWNER, ORDER, &change, 8);
        applied(&mut world, &command);
        let next = world.machine.next_sequence();
        let command = approve_purposes(&world, samples::APPROVER, ORDER, 9);
        applied(&mut world, &command);
        assert_eq!(world.machine.next_sequence(), Sequence(next.get() + 2), "the change and its override");
        let entry = reader::entry(&world.tables, Sequence(next.get() + 1)).unwrap().unwrap();
        let value = |key| entry.item.detail.iter().find(|detail| detail.key() == key).map(Detail::value);
        assert_eq!(value(DetailKey::Purpose), Some("hr.badge"));
        assert_eq!(value(DetailKey::ForbiddenUse), Some(ForbiddenUse::EmployeeNumber.code()));
        assert_eq!(value(DetailKey::OverrideReason), Some(REASON));
        let policy = world.policy();
        let catalogue = policy.catalogue().unwrap();
        assert_eq!(catalogue.version(), 2);
        assert_eq!(catalogue.get(&purpose("hr.badge")).unwrap().overridden, Some(ForbiddenUse::EmployeeNumber));
    }

    #[test]
    fn orders_are_approved_by_another_person_and_for_the_catalogue_they_were_made_for() {
        let mut world = World::demo();
        let unknown = approve_purposes(&world, samples::APPROVER, OrderId([55; 16]), 9);
        assert_eq!(refused(&world.apply(&unknown)), Some(Refusal::OrderUnknown));

        let change =
            |code| CatalogueChange { base: 1, put: vec![row_named(code, "様式")], ..CatalogueChange::default() };
        let rival = OrderId([9; 16]);
        for (order, code, request) in [(ORDER, "tax.one", 8), (rival, "tax.two", 9)] {
            let command = propose_change(&world, samples::OWNER, order, &change(code), request);
            applied(&mut world, &command);
        }
        // The proposer's own approval is denied by policy already; apply holds without it.
        let mut row = reader::purpose_order(&world.tables, ORDER).unwrap().unwrap();
        row.proposed.caller = caller(samples::APPROVER);
        let mut overlay = crate::Overlay::new(&world.tables);
        overlay.put(Table::Meta, key::purpose_order(row.proposed.sequence), crate::row::Row::to_bytes(&row));
        let changes = overlay.into_changes();
        world.tables.commit(changes);
        let own = approve_purposes(&world, samples::APPROVER, ORDER, 10);
        assert_eq!(refused(&world.apply(&own)), Some(Refusal::SamePerson));

        let second = approve_purposes(&world, samples::SECOND_APPROVER, ORDER, 11);
        applied(&mut world, &second);
        let moved = approve_purposes(&world, samples::APPROVER, rival, 12);
        assert_eq!(refused(&world.apply(&moved)), Some(Refusal::CatalogueMoved));
    }
}
