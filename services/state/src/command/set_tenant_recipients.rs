//! SetTenantRecipients: stores an order to register and withdraw recipients of sealed numbers of one tenant. Nothing
//! changes until another person approves it ([`super::approve_purpose_order`]): recipients are registered for purposes,
//! and their orders stand in the same history.

use std::collections::BTreeSet;

use fuda_core::{Catalogue, Delivery, Fingerprint, Timestamp, limits, time::DAY};
use fuda_crypto::RecipientKey;
use fuda_ledger::{Detail, DetailKey};
use fuda_policy::{Recipient, Tenant};
use minicbor::{Decode, Encode};

use crate::machine::Applying;
use crate::purpose_order::{first_proposal, listed, propose};
use crate::row::{PurposeChange, TenantRecipients};
use crate::{OrderId, Outcome, Refusal, TableError, Txn, reader};

/// Proposes to whom numbers of a tenant may be sealed from now on.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SetTenantRecipients {
    /// The order's id, minted by the node.
    #[n(0)]
    pub order: OrderId,
    /// What is to change.
    #[n(1)]
    pub change: TenantRecipients,
}

pub(crate) fn first_outcome<T: Txn>(
    applying: &Applying<'_, T>,
    body: &SetTenantRecipients,
) -> Result<Option<Outcome>, TableError> {
    first_proposal(applying, body.order, &PurposeChange::Recipients(body.change.clone()))
}

pub(crate) fn apply<T: Txn>(applying: &mut Applying<'_, T>, body: &SetTenantRecipients) -> Result<Outcome, TableError> {
    propose(applying, body.order, PurposeChange::Recipients(body.change.clone()))
}

/// The tenant after the change, or why it was refused. Registering a key again replaces what was registered for it.
pub(crate) fn changed<T: Txn>(
    applying: &Applying<'_, T>,
    change: &TenantRecipients,
) -> Result<Result<Tenant, Refusal>, TableError> {
    let Some(row) = reader::tenant(&*applying.txn, &change.tenant)? else {
        return Ok(Err(Refusal::TenantUnknown));
    };
    let mut tenant = row.tenant;
    let named: Vec<Fingerprint> = change.register.iter().map(|recipient| recipient.fingerprint).collect();
    let distinct: BTreeSet<_> = named.iter().chain(&change.withdraw).collect();
    let count = named.len() + change.withdraw.len();
    let catalogue = applying.catalogue()?;
    let fits = (1..=limits::RECIPIENTS_PER_CHANGE_MAX).contains(&count)
        && distinct.len() == count
        && change.register.iter().all(|recipient| is_sound(recipient, &catalogue, applying.time))
        && change.withdraw.iter().all(|known| tenant.recipient(*known).is_some());
    tenant.recipients.retain(|recipient| !distinct.contains(&recipient.fingerprint));
    tenant.recipients.extend(change.register.iter().cloned());
    let few = tenant.recipients.len() <= limits::RECIPIENTS_PER_TENANT_MAX;
    Ok(match (fits, few) {
        (false, _) => Err(Refusal::RecipientInvalid),
        (true, false) => Err(Refusal::LimitReached),
        (true, true) => Ok(tenant),
    })
}

/// Whether the key is what its fingerprint says and keeps a secret, its time is in reach, and every purpose lets numbers
/// leave the vault sealed.
fn is_sound(recipient: &Recipient, catalogue: &Catalogue, now: Timestamp) -> bool {
    let key = RecipientKey::from_bytes(recipient.key);
    let last = now.saturating_add(DAY * limits::RECIPIENT_DAYS_MAX);
    let seals = |code| {
        catalogue
            .get(code)
            .is_some_and(|purpose| purpose.reveals && !purpose.retired && purpose.delivery != Delivery::Moved)
    };
    recipient.validate().is_ok()
        && key.is_ok_and(|key| key.fingerprint() == recipient.fingerprint)
        && (now..=last).contains(&recipient.not_after)
        && recipient.purposes.iter().all(seals)
}

/// What an entry says about a change.
pub(crate) fn detail(change: &TenantRecipients) -> Vec<Detail> {
    let texts = |named: Vec<Fingerprint>| named.iter().map(ToString::to_string).collect::<Vec<_>>();
    let registered = texts(change.register.iter().map(|recipient| recipient.fingerprint).collect());
    let withdrawn = texts(change.withdraw.clone());
    let facts = [
        listed(DetailKey::RecipientRegistered, registered.iter().map(String::as_str)),
        listed(DetailKey::RecipientWithdrawn, withdrawn.iter().map(String::as_str)),
    ];
    facts.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use fuda_policy::{Action, DenyReason, samples};

    use super::*;
    use crate::ItemOutcome;
    use crate::testing::{
        HOUR_MS, START, World, approve_purposes, caller, items_of, purpose, recipient, refused, register, tenant,
        workload_grants,
    };

    const ORDER: OrderId = OrderId([8; 16]);

    /// The demo vault where payroll may seal too.
    fn world() -> World {
        let mut grants = workload_grants();
        let payroll = grants.iter_mut().filter(|grant| grant.caller == caller(samples::PAYROLL));
        payroll.for_each(|grant| {
            grant.actions.push(Action::Seal);
            grant.purposes.push(purpose("tax.salary_report"));
        });
        World::with_grants(grants)
    }

    fn registered() -> World {
        let mut world = world();
        let command = register(&world, samples::OWNER, ORDER, vec![recipient(1)], Vec::new(), 8);
        assert!(matches!(world.apply(&command), Outcome::Applied { .. }));
        let command = approve_purposes(&world, samples::APPROVER, ORDER, 9);
        assert!(matches!(world.apply(&command), Outcome::Applied { .. }));
        world
    }

    fn seal(world: &World, to: &Recipient) -> Result<fuda_policy::Permit, DenyReason> {
        let request = world.reveal_request(Action::Seal).recipient(Some(to.fingerprint));
        world.decide(&request).map_err(|denial| denial.reason())
    }

    #[test]
    fn numbers_are_sealed_to_whom_two_people_registered() {
        let mut world = world();
        world.store(20, &[("E-1", 1)]);
        let command = register(&world, samples::OWNER, ORDER, vec![recipient(1)], Vec::new(), 8);
        let outcome = world.apply(&command);
        assert_eq!(world.apply(&command), outcome, "forwarded twice");
        assert_eq!(seal(&world, &recipient(1)).err(), Some(DenyReason::RecipientUnknown), "nobody approved");

        let command = approve_purposes(&world, samples::APPROVER, ORDER, 9);
        assert!(matches!(world.apply(&command), Outcome::Applied { .. }));
        let permit = seal(&world, &recipient(1)).unwrap();
        assert_eq!(permit.window().not_after, Some(recipient(1).not_after));
        let next = world.machine.next_sequence();
        let command = world.reveal_by(&permit, &[1, 77], 30);
        let items = items_of(world.apply(&command));
        assert!(matches!(items[..], [ItemOutcome::Done { .. }, ItemOutcome::Denied { .. }]), "{items:?}");
        let entry = reader::entry(&world.tables, next).unwrap().unwrap();
        assert_eq!(entry.common.recipient, Some(recipient(1).fingerprint));
        assert_eq!((entry.item.budget_used, entry.common.action), (Some(1), Action::Seal));

        // Withdrawn by two people, it gets nothing more; what was decided before is decided again.
        let stale = world.reveal_by(&seal(&world, &recipient(1)).unwrap(), &[1], 31);
        let order = OrderId([9; 16]);
        let command = register(&world, samples::OWNER, order, Vec::new(), vec![recipient(1).fingerprint], 10);
        world.apply(&command);
        let command = approve_purposes(&world, samples::SECOND_APPROVER, order, 11);
        world.apply(&command);
        assert!(matches!(world.apply(&stale), Outcome::StalePolicy { .. }));
        assert_eq!(seal(&world, &recipient(1)).err(), Some(DenyReason::RecipientUnknown));
        assert_eq!(reader::purpose_orders(&world.tables, None, 10).unwrap().len(), 2);
    }

    #[test]
    fn a_registration_is_for_its_purposes_and_its_time() {
        let mut world = registered();
        world.store(20, &[("E-1", 1)]);
        let request = |code| world.reveal_request(Action::Seal).purpose(purpose(code)).recipient(None);
        let unnamed = world.decide(&request(samples::PURPOSE)).map_err(|denial| denial.reason());
        assert_eq!(unnamed.err(), Some(DenyReason::RecipientUnknown));
        assert_eq!(seal(&world, &recipient(2)).err(), Some(DenyReason::RecipientUnknown));
        let other = request("tax.salary_report").recipient(Some(recipient(1).fingerprint));
        let denied = world.decide(&other).map_err(|denial| denial.reason());
        assert_eq!(denied.err(), Some(DenyReason::RecipientNotForPurpose));

        // What was decided in time is refused when it comes too late.
        let late = world.reveal_by(&seal(&world, &recipient(1)).unwrap(), &[1], 30);
        world.now = Timestamp(recipient(1).not_after.as_millis() + 1);
        assert_eq!(world.apply(&late), Outcome::Expired);
        assert_eq!(seal(&world, &recipient(1)).err(), Some(DenyReason::RecipientExpired));
    }

    #[test]
    fn a_node_that_names_another_key_seals_nothing() {
        let mut world = registered();
        world.store(20, &[("E-1", 1)]);
        let mut command = world.reveal_by(&seal(&world, &recipient(1)).unwrap(), &[1], 30);
        if let crate::command::Inner::Audited(header, _) = &mut command.0 {
            header.recipient = Some(recipient(2).fingerprint);
        }
        let items = items_of(world.apply(&command));
        assert!(matches!(items[..], [ItemOutcome::Denied { reason: DenyReason::RecipientUnknown, .. }]), "{items:?}");
        assert_eq!(world.tables.len(crate::Table::BudgetLog), 0);
    }

    #[test]
    fn a_mistaken_change_is_refused_with_an_entry() {
        let mut world = world();
        let good = recipient(1);
        let key =
            |key| Recipient { key, fingerprint: Fingerprint::from_bytes(fuda_crypto::sha256(&[&key])), ..recipient(1) };
        let until = |ms| Recipient { not_after: Timestamp(ms), ..recipient(1) };
        let for_purpose = |code| Recipient { purposes: vec![purpose(code)], ..recipient(1) };
        let year = START.as_millis() + 367 * 24 * HOUR_MS;
        let cases: Vec<(Vec<Recipient>, Vec<Fingerprint>)> = vec![
            (Vec::new(), Vec::new()),
            (vec![Recipient { fingerprint: recipient(2).fingerprint, ..recipient(1) }], Vec::new()),
            (vec![key([0; 32])], Vec::new()),
            (vec![until(START.as_millis() - 1)], Vec::new()),
            (vec![until(year)], Vec::new()),
            (vec![for_purpose("op.transfer_19_4")], Vec::new()),
            (vec![for_purpose("op.collect")], Vec::new()),
            (vec![for_purpose("tax.no_such_form")], Vec::new()),
            (vec![Recipient { name: String::new(), ..recipient(1) }], Vec::new()),
            (vec![good.clone(), good.clone()], Vec::new()),
            (Vec::new(), vec![good.fingerprint]),
            ((1..=17).map(recipient).collect(), Vec::new()),
        ];
        for (place, (add, withdraw)) in cases.into_iter().enumerate() {
            let command = register(&world, samples::OWNER, ORDER, add, withdraw, 8);
            assert_eq!(refused(&world.apply(&command)), Some(Refusal::RecipientInvalid), "case {place}");
        }
        assert!(reader::purpose_orders(&world.tables, None, 10).unwrap().is_empty());
    }

    #[test]
    fn registering_again_renews_and_an_approval_checks_again() {
        let mut world = registered();
        let renewed = Recipient { not_after: Timestamp(recipient(1).not_after.as_millis() + 7), ..recipient(1) };
        let order = OrderId([9; 16]);
        let command = register(&world, samples::OWNER, order, vec![renewed.clone()], Vec::new(), 10);
        world.apply(&command);
        let now = world.now;
        world.now = Timestamp(renewed.not_after.as_millis() + 1);
        let late = approve_purposes(&world, samples::APPROVER, order, 11);
        assert_eq!(refused(&world.apply(&late)), Some(Refusal::RecipientInvalid));
        assert_ne!(now, world.now);
        let policy = world.policy();
        assert_eq!(policy.tenant(&tenant()).unwrap().recipients, [recipient(1)]);
    }
}
