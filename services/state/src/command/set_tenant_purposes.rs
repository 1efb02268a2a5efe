//! SetTenantPurposes: stores an order to enable and disable purposes of one tenant, to demand the record of an identity
//! check, or to say when its people work. Nothing changes until another person approves it ([`super::approve_purpose_order`]).

use std::collections::BTreeSet;

use fuda_core::limits::PURPOSES_PER_CHANGE_MAX;
use fuda_ledger::{Detail, DetailKey};
use fuda_policy::Tenant;
use minicbor::{Decode, Encode};

use crate::machine::Applying;
use crate::purpose_order::{first_proposal, listed, propose};
use crate::row::{PurposeChange, TenantPurposes};
use crate::{OrderId, Outcome, Refusal, TableError, Txn, reader};

/// Proposes which purposes a tenant uses from now on, which numbers it takes only with the record of a check, and when
/// its people work.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SetTenantPurposes {
    /// The order's id, minted by the node.
    #[n(0)]
    pub order: OrderId,
    /// What is to change.
    #[n(1)]
    pub change: TenantPurposes,
}

pub(crate) fn first_outcome<T: Txn>(
    applying: &Applying<'_, T>,
    body: &SetTenantPurposes,
) -> Result<Option<Outcome>, TableError> {
    first_proposal(applying, body.order, &PurposeChange::Tenant(body.change.clone()))
}

pub(crate) fn apply<T: Txn>(applying: &mut Applying<'_, T>, body: &SetTenantPurposes) -> Result<Outcome, TableError> {
    propose(applying, body.order, PurposeChange::Tenant(body.change.clone()))
}

/// The tenant after the change, or why it was refused.
pub(crate) fn changed<T: Txn>(
    applying: &Applying<'_, T>,
    change: &TenantPurposes,
) -> Result<Result<Tenant, Refusal>, TableError> {
    let Some(row) = reader::tenant(&*applying.txn, &change.tenant)? else {
        return Ok(Err(Refusal::TenantUnknown));
    };
    let count = change.enable.len() + change.disable.len();
    let distinct: BTreeSet<_> = change.enable.iter().chain(&change.disable).collect();
    let few = count <= PURPOSES_PER_CHANGE_MAX && distinct.len() == count;
    let demand = change.demand.as_ref();
    // Demanding what is demanded is a mistake, too.
    let demands = demand.is_none_or(|demand| demand.validate().is_ok() && *demand != row.tenant.demand);
    let office = change.office_hours.as_ref();
    let works = office.is_none_or(|office| office.validate().is_ok() && *office != row.tenant.office_hours);
    if !few || !demands || !works || (count == 0 && demand.is_none() && office.is_none()) {
        return Ok(Err(Refusal::PurposeChangeInvalid));
    }
    let catalogue = applying.catalogue()?;
    let in_force = |code| catalogue.get(code).is_some_and(|purpose| !purpose.retired);
    if !change.enable.iter().all(in_force) {
        return Ok(Err(Refusal::PurposeUnknown));
    }
    let mut tenant = row.tenant;
    // Enabling what is enabled, or disabling what is not, is a mistake: the proposer read an older list.
    if change.enable.iter().any(|code| tenant.enables(code)) || !change.disable.iter().all(|code| tenant.enables(code))
    {
        return Ok(Err(Refusal::PurposeChangeInvalid));
    }
    tenant.purposes.retain(|code| !change.disable.contains(code));
    tenant.purposes.extend(change.enable.iter().cloned());
    if let Some(demand) = demand {
        tenant.demand.clone_from(demand);
    }
    if let Some(office) = office {
        tenant.office_hours.clone_from(office);
    }
    Ok(if tenant.purposes.is_empty() { Err(Refusal::PurposeChangeInvalid) } else { Ok(tenant) })
}

/// What an entry says about a change.
pub(crate) fn detail(change: &TenantPurposes) -> Vec<Detail> {
    let facts = [
        listed(DetailKey::PurposeEnabled, change.enable.iter().map(fuda_core::PurposeCode::as_str)),
        listed(DetailKey::PurposeDisabled, change.disable.iter().map(fuda_core::PurposeCode::as_str)),
        change.demand.as_ref().map(|demand| Detail::new(DetailKey::VerificationDemand, &demand.to_string())),
        change.office_hours.as_ref().map(|office| Detail::new(DetailKey::OfficeHours, &office.to_string())),
    ];
    facts.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use fuda_core::VerificationDemand;
    use fuda_policy::{DenyReason, samples};

    use super::*;
    use crate::ItemOutcome;
    use crate::row::TenantPurposes;
    use crate::testing::{World, approve_purposes, items_of, purpose, refused, set_purposes, set_tenant, tenant};

    const ORDER: OrderId = OrderId([8; 16]);

    #[test]
    fn a_mistaken_change_is_refused_with_an_entry() {
        let mut world = World::demo();
        let enabled = samples::PURPOSE;
        let cases: [(&[&str], &[&str], Refusal); 7] = [
            (&["tax.no_such_form"], &[], Refusal::PurposeUnknown),
            (&[enabled], &[], Refusal::PurposeChangeInvalid),
            (&[], &["tax.zaikei"], Refusal::PurposeChangeInvalid),
            (&["tax.zaikei", "tax.zaikei"], &[], Refusal::PurposeChangeInvalid),
            (&["tax.zaikei"], &["tax.zaikei"], Refusal::PurposeChangeInvalid),
            (&[], &[], Refusal::PurposeChangeInvalid),
            (&[], &["op.collect", enabled, "tax.salary_report", "tax.fee_record"], Refusal::PurposeChangeInvalid),
        ];
        for (enable, disable, expected) in cases {
            let command = set_purposes(&world, samples::OWNER, ORDER, enable, disable, 8);
            let outcome = world.apply(&command);
            assert!(
                matches!(outcome, Outcome::Refused { refusal, sequence: Some(_) } if refusal == expected),
                "{enable:?} {disable:?}: {outcome:?}"
            );
        }
        assert!(reader::purpose_orders(&world.tables, None, 10).unwrap().is_empty());
    }

    #[test]
    fn a_proposal_changes_nothing() {
        let mut world = World::demo();
        let version = world.machine.policy_version();
        let command = set_purposes(&world, samples::OWNER, ORDER, &["tax.zaikei"], &["tax.fee_record"], 8);
        let outcome = world.apply(&command);
        assert!(matches!(outcome, Outcome::Applied { first: Some(_), .. }));
        assert_eq!(world.apply(&command), outcome, "forwarded twice");
        assert_eq!(world.machine.policy_version(), version);
        assert!(!world.policy().tenant(&tenant()).unwrap().enables(&purpose("tax.zaikei")));
    }

    #[test]
    fn a_demand_for_identity_checks_takes_two_people_too() {
        let mut world = World::demo();
        world.store(20, &[("E-1", 1)]);
        let law = VerificationDemand::of_the_law();
        let change = |demand: &VerificationDemand| TenantPurposes {
            tenant: tenant(),
            enable: Vec::new(),
            disable: Vec::new(),
            demand: Some(demand.clone()),
            office_hours: None,
        };
        // What is so already, and what makes no sense.
        let of_nobody = VerificationDemand { relations: fuda_core::RelationSet::EMPTY, ..law.clone() };
        for wrong in [VerificationDemand::default(), of_nobody] {
            let command = set_tenant(&world, samples::OWNER, ORDER, change(&wrong), 8);
            assert_eq!(refused(&world.apply(&command)), Some(Refusal::PurposeChangeInvalid));
        }
        let unverified = world.tokenize(30, world.tokenize_body(&[("E-2", 2)]));
        let command = set_tenant(&world, samples::OWNER, ORDER, change(&law), 9);
        assert!(matches!(world.apply(&command), Outcome::Applied { .. }));
        assert!(world.policy().tenant(&tenant()).unwrap().demand.is_none(), "a proposal demands nothing");
        let command = approve_purposes(&world, samples::APPROVER, ORDER, 10);
        assert!(matches!(world.apply(&command), Outcome::Applied { .. }));
        assert_eq!(world.policy().tenant(&tenant()).unwrap().demand, law);

        // What was decided before is decided again; a new number without its check is then refused with an entry.
        let version = world.machine.policy_version();
        assert_eq!(world.apply(&unverified), Outcome::StalePolicy { version });
        let command = world.update(31, &[1]);
        let items = items_of(world.apply(&command));
        assert!(
            matches!(items[..], [ItemOutcome::Denied { reason: DenyReason::VerificationMissing, .. }]),
            "{items:?}"
        );
        world.restart();
        assert_eq!(world.policy().tenant(&tenant()).unwrap().demand, law);
    }
}
