//! The book of orders about purposes: what a proposal and an approval do alike, whatever the order changes.
//!
//! ```text
//! propose:  of this tenant? ─▶ id unused? ─▶ would it work? ─▶ stored, entered
//! approve:                     two people? ─▶ does it still work? ─▶ in force, entered
//! ```

use fuda_core::{Catalogue, TenantId};
use fuda_ledger::{Detail, DetailKey};
use fuda_policy::Tenant;

use crate::command::{propose_catalogue_change, set_tenant_purposes, set_tenant_recipients};
use crate::machine::Applying;
use crate::row::{PurposeChange, PurposeOrderPlaceRow, PurposeOrderRow};
use crate::{OrderId, Outcome, Refusal, TableError, Txn, key, reader};

/// What an order brings into force.
pub(crate) enum Effect {
    Catalogue(Catalogue),
    Tenant(Box<Tenant>),
}

impl PurposeChange {
    /// The tenant it is about; `None` for the whole vault.
    pub(crate) const fn tenant(&self) -> Option<&TenantId> {
        match self {
            Self::Catalogue(_) => None,
            Self::Tenant(change) => Some(&change.tenant),
            Self::Recipients(change) => Some(&change.tenant),
        }
    }

    /// What an entry says about it.
    pub(crate) fn detail(&self, order: OrderId) -> Vec<Detail> {
        let mut detail = vec![Detail::new(DetailKey::Order, &order.to_string())];
        detail.extend(match self {
            Self::Catalogue(change) => propose_catalogue_change::detail(change),
            Self::Tenant(change) => set_tenant_purposes::detail(change),
            Self::Recipients(change) => set_tenant_recipients::detail(change),
        });
        detail
    }

    /// What it leads to, or why it is refused. Asked when it is proposed and again when it is approved.
    pub(crate) fn effect<T: Txn>(&self, applying: &Applying<'_, T>) -> Result<Result<Effect, Refusal>, TableError> {
        let of_tenant = |changed: Result<Tenant, Refusal>| changed.map(|tenant| Effect::Tenant(Box::new(tenant)));
        Ok(match self {
            Self::Catalogue(change) => {
                propose_catalogue_change::changed(&applying.catalogue()?, change).map(Effect::Catalogue)
            }
            Self::Tenant(change) => of_tenant(set_tenant_purposes::changed(applying, change)?),
            Self::Recipients(change) => of_tenant(set_tenant_recipients::changed(applying, change)?),
        })
    }
}

/// What a proposal forwarded twice came to: the same order, proposed by the same request.
pub(crate) fn first_proposal<T: Txn>(
    applying: &Applying<'_, T>,
    order: OrderId,
    change: &PurposeChange,
) -> Result<Option<Outcome>, TableError> {
    let row = reader::purpose_order(&*applying.txn, order)?;
    Ok(applying.proposed_before(row, |row| row.change == *change))
}

/// Stores an order and its place in the history, if it would work.
pub(crate) fn propose<T: Txn>(
    applying: &mut Applying<'_, T>,
    order: OrderId,
    change: PurposeChange,
) -> Result<Outcome, TableError> {
    let detail = change.detail(order);
    if change.tenant().is_some() && applying.header.tenant.as_ref() != change.tenant() {
        return applying.refuse(Refusal::Invalid, detail);
    }
    if reader::purpose_order(&*applying.txn, order)?.is_some() {
        return applying.refuse(Refusal::OrderExists, detail);
    }
    if let Err(refusal) = change.effect(applying)? {
        return applying.refuse(refusal, detail);
    }
    let row = PurposeOrderRow { order, proposed: applying.act(), change, approved: None };
    let place = PurposeOrderPlaceRow { proposed: row.proposed.sequence };
    applying.put(key::purpose_order(place.proposed), &row);
    applying.put(key::purpose_order_place(order), &place);
    Ok(Outcome::applied(applying.append_allowed(detail)?))
}

/// Codes as one fact, parted by spaces; `None` without any. An overlong list is cut: the order's row has all of it.
pub(crate) fn listed<'a>(key: DetailKey, codes: impl Iterator<Item = &'a str>) -> Option<Detail> {
    let codes: Vec<&str> = codes.collect();
    (!codes.is_empty()).then(|| Detail::new(key, &codes.join(" ")))
}
