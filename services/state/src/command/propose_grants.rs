//! ProposeGrants: stores an order, a proposed change of grants. Nothing changes until another person approves it.

use std::collections::{BTreeMap, BTreeSet};

use fuda_core::{CallerId, Catalogue, Invalid, Window, limits};
use fuda_ledger::{Detail, DetailKey};
use fuda_policy::{Grant, GrantId, Role, roles_conflict};
use minicbor::{Decode, Encode};

use crate::access;
use crate::key;
use crate::machine::Applying;
use crate::retention::LedgerRetention;
use crate::row::OrderRow;
use crate::succession::SuccessionKeys;
use crate::{OrderId, Outcome, Refusal, TableError, Txn, reader};

/// Grants that one order may add or revoke.
pub const ORDER_GRANTS_MAX: usize = 1_000;
/// Grants in force in one vault.
pub const GRANTS_PER_VAULT_MAX: usize = 100_000;

/// Proposes to add and to revoke grants, both or neither.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ProposeGrants {
    /// The order's id, minted by the node.
    #[n(0)]
    pub order: OrderId,
    /// Grants to add, their ids minted by the node.
    #[n(1)]
    pub grants: Vec<Grant>,
    /// Grants to revoke.
    #[n(2)]
    pub revoke: Vec<GrantId>,
    /// Replaces the offline keys that can appoint approvers.
    #[n(23)]
    pub succession: Option<SuccessionKeys>,
    /// Sets how long the nodes keep entries.
    #[n(24)]
    pub retention: Option<LedgerRetention>,
}

pub(crate) fn first_outcome<T: Txn>(
    applying: &Applying<'_, T>,
    body: &ProposeGrants,
) -> Result<Option<Outcome>, TableError> {
    let row = reader::order(&*applying.txn, body.order)?;
    Ok(applying.proposed_before(row, |row| {
        row.grants == body.grants
            && row.revoke == body.revoke
            && row.succession == body.succession
            && row.retention == body.retention
    }))
}

pub(crate) fn apply<T: Txn>(applying: &mut Applying<'_, T>, body: &ProposeGrants) -> Result<Outcome, TableError> {
    let mut detail = detail(body.order, body.grants.len(), body.revoke.len());
    let settings = usize::from(body.succession.is_some()) + usize::from(body.retention.is_some());
    let count = body.grants.len() + body.revoke.len() + settings;
    if count == 0 || count > ORDER_GRANTS_MAX {
        return applying.refuse(Refusal::ItemCount, detail);
    }
    if reader::order(&*applying.txn, body.order)?.is_some() {
        return applying.refuse(Refusal::OrderExists, detail);
    }
    if let Err(refusal) = check_change(applying, &body.grants, &body.revoke)? {
        return applying.refuse(refusal, detail);
    }
    if let Some(Err(refusal)) = body.succession.as_ref().map(SuccessionKeys::check) {
        return applying.refuse(refusal, detail);
    }
    if let Some(Err(refusal)) = body.retention.as_ref().map(LedgerRetention::check) {
        return applying.refuse(refusal, detail);
    }
    // Whoever approves sees in the ledger what.
    detail.extend(body.retention.iter().flat_map(LedgerRetention::detail));
    let row = OrderRow {
        succession: body.succession.clone(),
        retention: body.retention.clone(),
        order: body.order,
        proposed: applying.act(),
        grants: body.grants.clone(),
        revoke: body.revoke.clone(),
        approved: None,
    };
    applying.put(key::order(body.order), &row);
    Ok(Outcome::applied(applying.append_allowed(detail)?))
}

/// Checks the grants that would be in force after a change. Checked when it is proposed and again when it is
/// approved, because the grants may have moved between.
pub(crate) fn check_change<T: Txn>(
    applying: &Applying<'_, T>,
    add: &[Grant],
    revoke: &[GrantId],
) -> Result<Result<(), Refusal>, TableError> {
    check_with(applying, add, revoke, |grant, catalogue| grant.validate(catalogue, applying.time))
}

/// The same for the grant that comes of a request.
pub(crate) fn check_given<T: Txn>(
    applying: &Applying<'_, T>,
    grant: &Grant,
) -> Result<Result<(), Refusal>, TableError> {
    check_with(applying, std::slice::from_ref(grant), &[], Grant::validate_given)
}

fn check_with<T: Txn>(
    applying: &Applying<'_, T>,
    add: &[Grant],
    revoke: &[GrantId],
    validate: impl Fn(&Grant, &Catalogue) -> Result<(), Invalid>,
) -> Result<Result<(), Refusal>, TableError> {
    let mut grants: BTreeMap<GrantId, Grant> = applying.grants()?.into_iter().map(|grant| (grant.id, grant)).collect();
    if revoke.iter().any(|id| grants.remove(id).is_none()) {
        return Ok(Err(Refusal::GrantUnknown));
    }
    // Grants given on request whose time is over are swept with the next change; they count for nothing.
    let kept: Vec<Grant> = grants.into_values().filter(|grant| !grant.is_spent(applying.time)).collect();
    let catalogue = applying.catalogue()?;
    let valid = |grant: &Grant| validate(grant, &catalogue).is_ok();
    let tenants = &applying.machine.tenants;
    let tenant_known = |grant: &Grant| grant.tenant.as_ref().is_none_or(|tenant| tenants.contains_key(tenant));
    let mut ids: BTreeSet<GrantId> = kept.iter().map(|grant| grant.id).collect();
    Ok(if !add.iter().all(valid) {
        Err(Refusal::GrantInvalid)
    } else if !add.iter().all(tenant_known) {
        Err(Refusal::TenantUnknown)
    } else if !add.iter().all(|grant| ids.insert(grant.id)) {
        Err(Refusal::GrantExists)
    } else if roles_conflict(&kept, add).is_some() {
        Err(Refusal::RoleConflict)
    } else if let Some(refusal) = access::refuse_entrusted(applying, &kept, add)? {
        Err(refusal)
    } else {
        check_counts(kept.iter().chain(add))
    })
}

/// Limits, and that the vault keeps an owner and enough approvers: without them it could never be changed again.
fn check_counts<'a>(grants: impl Iterator<Item = &'a Grant>) -> Result<(), Refusal> {
    let mut per_caller: BTreeMap<&CallerId, usize> = BTreeMap::new();
    let (mut owners, mut approvers) = (BTreeSet::new(), BTreeSet::new());
    for grant in grants {
        *per_caller.entry(&grant.caller).or_default() += 1;
        // A grant for one tenant, for some time or under a condition does not keep the vault governable.
        let bounded = grant.window != Window::ALWAYS || !grant.conditions.are_none();
        let lasting = grant.tenant.is_none() && !bounded;
        match grant.role {
            Role::Owner if lasting => owners.insert(&grant.caller),
            Role::Approver if lasting => approvers.insert(&grant.caller),
            _ => false,
        };
    }
    if owners.is_empty() || approvers.len() < limits::APPROVERS_MIN {
        return Err(Refusal::TooFewPeople);
    }
    let within = per_caller.values().all(|count| *count <= limits::GRANTS_PER_CALLER_MAX);
    let total: usize = per_caller.values().sum();
    if within && total <= GRANTS_PER_VAULT_MAX { Ok(()) } else { Err(Refusal::LimitReached) }
}

pub(crate) fn detail(order: OrderId, added: usize, revoked: usize) -> Vec<Detail> {
    vec![
        Detail::new(DetailKey::Order, &order.to_string()),
        Detail::new(DetailKey::GrantsAdded, &added.to_string()),
        Detail::new(DetailKey::GrantsRevoked, &revoked.to_string()),
    ]
}

#[cfg(test)]
mod tests {
    use fuda_policy::samples;

    use super::*;
    use crate::testing::{World, caller, other_tenant, refused, workload_grants};

    const ORDER: OrderId = OrderId([8; 16]);

    fn propose(world: &mut World, grants: Vec<Grant>, revoke: Vec<GrantId>) -> Outcome {
        let request = fuda_policy::Request::vault(fuda_policy::Action::ProposeGrants, caller(samples::OWNER));
        let body = crate::Body::ProposeGrants(ProposeGrants {
            order: ORDER,
            grants,
            revoke,
            succession: None,
            retention: None,
        });
        let command = world.permitted(&request, 8, body);
        world.apply(&command)
    }

    #[test]
    fn a_proposal_changes_nothing_until_somebody_approves() {
        let mut world = World::demo();
        let version = world.machine.policy_version();
        let grants = reader::grants(&world.tables).unwrap();
        let new = Grant { id: GrantId([77; 16]), ..workload_grants().remove(0) };
        let command = world.propose(samples::OWNER, ORDER, vec![new.clone()], 8);
        let outcome = world.apply(&command);
        assert!(matches!(outcome, Outcome::Applied { first: Some(_), .. }));
        assert_eq!(reader::grants(&world.tables).unwrap(), grants);
        assert_eq!(world.machine.policy_version(), version);

        let order = reader::order(&world.tables, ORDER).unwrap().unwrap();
        assert_eq!((order.grants, order.approved), (vec![new], None));
        assert_eq!(world.apply(&command), outcome, "forwarded twice");
        let orders = reader::orders(&world.tables, Some(OrderId([1; 16])), 10).unwrap();
        assert_eq!(orders.len(), 1);
    }

    #[test]
    fn proposals_that_could_never_be_approved_are_refused() {
        let mut world = World::demo();
        let grant = Grant { id: GrantId([77; 16]), ..workload_grants().remove(0) };
        let owner_too = Grant { caller: caller(samples::OWNER), ..grant.clone() };
        let stranger = Grant { tenant: Some(other_tenant("nobody").id), ..grant.clone() };
        let shapeless = Grant { actions: Vec::new(), ..grant.clone() };
        let same_id = workload_grants();
        assert_eq!(refused(&propose(&mut world, vec![owner_too], vec![])), Some(Refusal::RoleConflict));
        assert_eq!(refused(&propose(&mut world, vec![stranger], vec![])), Some(Refusal::TenantUnknown));
        assert_eq!(refused(&propose(&mut world, vec![shapeless], vec![])), Some(Refusal::GrantInvalid));
        assert_eq!(refused(&propose(&mut world, same_id, vec![])), Some(Refusal::GrantExists));
        assert_eq!(refused(&propose(&mut world, vec![], vec![GrantId([99; 16])])), Some(Refusal::GrantUnknown));
        assert_eq!(refused(&propose(&mut world, vec![], vec![])), Some(Refusal::ItemCount));
        let many: Vec<Grant> =
            (0..=ORDER_GRANTS_MAX as u128).map(|id| Grant { id: GrantId(id.to_be_bytes()), ..grant.clone() }).collect();
        assert_eq!(refused(&propose(&mut world, many[..64].to_vec(), vec![])), Some(Refusal::GrantExists));
        let per_caller = (1_000..1_064_u128).map(|id| Grant { id: GrantId(id.to_be_bytes()), ..grant.clone() });
        assert_eq!(refused(&propose(&mut world, per_caller.collect(), vec![])), Some(Refusal::LimitReached));
        assert_eq!(refused(&propose(&mut world, many, vec![])), Some(Refusal::ItemCount));
        assert_eq!(reader::order(&world.tables, ORDER).unwrap(), None);
    }

    #[test]
    fn the_vault_always_keeps_an_owner_and_two_approvers() {
        let mut world = World::demo();
        let stored = reader::grants(&world.tables).unwrap();
        let of = |name| stored.iter().map(|row| &row.grant).find(|grant| grant.caller == caller(name)).unwrap();
        let (owner, approver) = (of(samples::OWNER), of(samples::APPROVER));
        assert_eq!(refused(&propose(&mut world, vec![], vec![owner.id])), Some(Refusal::TooFewPeople));
        assert_eq!(refused(&propose(&mut world, vec![], vec![approver.id])), Some(Refusal::TooFewPeople));

        // A successor for a limited time is no successor; a lasting one is.
        let successor = Grant { id: GrantId([78; 16]), caller: caller("new-approver"), ..approver.clone() };
        let window = Window { not_after: Some(fuda_core::Timestamp::MAX), ..Window::ALWAYS };
        let limited = Grant { window, ..successor.clone() };
        assert_eq!(refused(&propose(&mut world, vec![limited], vec![approver.id])), Some(Refusal::TooFewPeople));
        let outcome = propose(&mut world, vec![successor], vec![approver.id]);
        assert!(matches!(outcome, Outcome::Applied { .. }));
    }
}
