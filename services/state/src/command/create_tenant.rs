//! CreateTenant: one more legal person.

use fuda_core::{BucketId, limits};
use fuda_ledger::{Detail, DetailKey};
use fuda_policy::{RecoveryChoice, Tenant};
use minicbor::{Decode, Encode};

use crate::granted;
use crate::key;
use crate::machine::{Applying, TenantFacts};
use crate::row::TenantRow;
use crate::{Outcome, Refusal, TableError, Txn, reader};

/// Creates a tenant. Its `created` is set by apply to the time of the log entry.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct CreateTenant {
    /// The tenant.
    #[n(0)]
    pub tenant: Tenant,
}

pub(crate) fn first_outcome<T: Txn>(
    applying: &Applying<'_, T>,
    body: &CreateTenant,
) -> Result<Option<Outcome>, TableError> {
    let Some(row) = reader::tenant(&*applying.txn, &body.tenant.id)? else {
        return Ok(None);
    };
    let asked = Tenant { created: row.tenant.created, ..body.tenant.clone() };
    let same = row.tenant == asked && applying.is_same_act(&row.created);
    Ok(same.then(|| Outcome::applied(row.created.sequence)))
}

pub(crate) fn apply<T: Txn>(applying: &mut Applying<'_, T>, body: &CreateTenant) -> Result<Outcome, TableError> {
    if let Err(refusal) = check(applying, &body.tenant)? {
        return applying.refuse(refusal, detail(&body.tenant));
    }
    let row = TenantRow { tenant: Tenant { created: applying.time, ..body.tenant.clone() }, created: applying.act() };
    applying.put(key::tenant(&row.tenant.id), &row);
    applying.machine.tenants.insert(row.tenant.id.clone(), TenantFacts::of(&row.tenant));
    let version = applying.raise_policy_version()?;

    let mut detail = detail(&row.tenant);
    detail.push(Detail::new(DetailKey::PolicyVersion, &version.to_string()));
    Ok(Outcome::applied(applying.append_allowed(detail)?))
}

fn check<T: Txn>(applying: &Applying<'_, T>, tenant: &Tenant) -> Result<Result<(), Refusal>, TableError> {
    let machine = &applying.machine;
    // Recipients are registered by two people, in an order.
    if applying.header.tenant.as_ref().is_some_and(|named| *named != tenant.id)
        || !tenant.recipients.is_empty()
        || tenant.validate().is_err()
    {
        return Ok(Err(Refusal::Invalid));
    }
    if machine.tenants.contains_key(&tenant.id) {
        return Ok(Err(Refusal::TenantExists));
    }
    if machine.tenants.len() >= limits::TENANTS_PER_VAULT_MAX {
        return Ok(Err(Refusal::LimitReached));
    }
    // Buckets are numbered from 0, so a domain that has any has this one.
    if !machine.buckets.contains_key(&(tenant.key_domain, BucketId(0))) {
        return Ok(Err(Refusal::KeyDomainUnknown));
    }
    let catalogue = applying.catalogue()?;
    let known = tenant.purposes.iter().all(|purpose| catalogue.get(purpose).is_some());
    Ok(if known { Ok(()) } else { Err(Refusal::PurposeUnknown) })
}

fn detail(tenant: &Tenant) -> Vec<Detail> {
    let recovery = match tenant.recovery {
        RecoveryChoice::None => "none",
        RecoveryChoice::PublicKey(_) => "public_key",
    };
    let mut detail = vec![Detail::new(DetailKey::TenantName, &tenant.name), Detail::new(DetailKey::Recovery, recovery)];
    if !tenant.demand.is_none() {
        detail.push(Detail::new(DetailKey::VerificationDemand, &tenant.demand.to_string()));
    }
    detail.extend(granted::listed(DetailKey::PurposeEnabled, tenant.purposes.iter().map(|purpose| purpose.as_str())));
    detail
}

#[cfg(test)]
mod tests {
    use fuda_core::{KeyDomainId, PurposeCode};

    use super::*;
    use crate::testing::{START, World, other_tenant};

    #[test]
    fn a_tenant_is_created_once_and_changes_policy() {
        let mut world = World::bootstrapped();
        let command = world.create_tenant(&other_tenant("acme"), 3);
        let version = world.machine.policy_version();
        world.now = fuda_core::Timestamp(START.as_millis() + 5_000);
        let outcome = world.apply(&command);
        assert!(matches!(outcome, Outcome::Applied { .. }));
        assert_eq!(world.machine.policy_version(), version.next().unwrap());
        let row = reader::tenant(&world.tables, &other_tenant("acme").id).unwrap().unwrap();
        assert_eq!(row.tenant.created, world.now, "the time of the log entry, not the node's");

        // Forwarded twice, although the policy moved since: the first outcome, and no second entry.
        let size = world.machine.tree_head().size;
        assert_eq!(world.apply(&command), outcome);
        assert_eq!(world.machine.tree_head().size, size);

        // Another request for the same tenant is refused with an entry.
        let again = world.create_tenant(&other_tenant("acme"), 4);
        let refused = world.apply(&again);
        assert!(matches!(refused, Outcome::Refused { refusal: Refusal::TenantExists, sequence: Some(_) }));
        assert_eq!(world.machine.tree_head().size, size + 1);
    }

    #[test]
    fn a_tenant_needs_a_key_domain_and_purposes_that_exist() {
        let mut world = World::bootstrapped();
        let version = world.machine.policy_version();
        let foreign = Tenant { key_domain: KeyDomainId(9), ..other_tenant("acme") };
        let purposes = vec![PurposeCode::parse("no.such").unwrap()];
        let purposeless = Tenant { purposes, ..other_tenant("acme") };
        let nameless = Tenant { name: String::new(), ..other_tenant("acme") };
        let broken = [
            (foreign, Refusal::KeyDomainUnknown),
            (purposeless, Refusal::PurposeUnknown),
            (nameless, Refusal::Invalid),
        ];
        for (tenant, expected) in broken {
            let command = world.create_tenant(&tenant, 5);
            let outcome = world.apply(&command);
            assert!(matches!(outcome, Outcome::Refused { refusal, sequence: Some(_) } if refusal == expected));
        }
        assert_eq!(world.machine.policy_version(), version);
        assert!(reader::tenants(&world.tables).unwrap().is_empty());
    }
}
