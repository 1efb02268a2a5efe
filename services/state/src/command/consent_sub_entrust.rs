//! ConsentSubEntrust: the tenant consents that an entrusted party entrusts its work on (再委託), or withdraws it.

use fuda_core::PartyId;
use fuda_ledger::{Detail, DetailKey};
use fuda_policy::{Entrusted, Grant};
use minicbor::{Decode, Encode};

use crate::access::{ConsentRow, consent, sweep_spent};
use crate::machine::Applying;
use crate::{Outcome, Refusal, Table, TableError, Txn, key};

/// Consents, or withdraws a consent.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ConsentSubEntrust {
    /// The party that shall be entrusted.
    #[n(0)]
    pub party: PartyId,
    /// The party that entrusts on to it.
    #[n(1)]
    pub sub_of: PartyId,
    /// Takes the consent back; all grants that hang on it end.
    #[n(2)]
    pub withdraw: bool,
}

pub(crate) fn first_outcome<T: Txn>(
    applying: &Applying<'_, T>,
    body: &ConsentSubEntrust,
) -> Result<Option<Outcome>, TableError> {
    let Some(tenant) = &applying.header.tenant else { return Ok(None) };
    let Some(row) = consent(&*applying.txn, tenant, &body.sub_of, &body.party)? else { return Ok(None) };
    let act = if body.withdraw { row.withdrawn } else { Some(row.consented) };
    Ok(act.filter(|act| applying.is_same_act(act)).map(|act| Outcome::applied(act.sequence)))
}

pub(crate) fn apply<T: Txn>(applying: &mut Applying<'_, T>, body: &ConsentSubEntrust) -> Result<Outcome, TableError> {
    let Some(tenant) = applying.header.tenant.clone() else {
        return applying.refuse(Refusal::TenantUnknown, Vec::new());
    };
    let mut detail =
        vec![Detail::new(DetailKey::Party, body.party.as_str()), Detail::new(DetailKey::SubOf, body.sub_of.as_str())];
    let live = consent(&*applying.txn, &tenant, &body.sub_of, &body.party)?.filter(|row| row.withdrawn.is_none());
    let row = match (live, body.withdraw) {
        (None, false) if body.party != body.sub_of => ConsentRow { consented: applying.act(), withdrawn: None },
        (None, false) => return applying.refuse(Refusal::Invalid, detail),
        (Some(row), true) => ConsentRow { withdrawn: Some(applying.act()), ..row },
        (None, true) => return applying.refuse(Refusal::ConsentMissing, detail),
        // Consenting twice changes nothing, and the first act stays the one that counts.
        (Some(row), false) => row,
    };
    applying.put(key::consent(&tenant, &body.sub_of, &body.party), &row);
    if body.withdraw {
        let hangs = |grant: &Grant| {
            let entrusted = Some(&Entrusted { party: body.party.clone(), sub_of: Some(body.sub_of.clone()) });
            grant.tenant.as_ref() == Some(&tenant) && grant.entrusted() == entrusted
        };
        let ended: Vec<Grant> = applying.grants()?.into_iter().filter(hangs).collect();
        for grant in &ended {
            applying.txn.delete(Table::Grants, &key::grant(grant.id));
        }
        sweep_spent(applying)?;
        let version = applying.raise_policy_version()?;
        detail.push(Detail::new(DetailKey::GrantsRevoked, &ended.len().to_string()));
        detail.push(Detail::new(DetailKey::PolicyVersion, &version.to_string()));
    }
    Ok(Outcome::applied(applying.append_allowed(detail)?))
}
