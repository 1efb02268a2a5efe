//! Rows of orders about purposes, and about what a tenant asks of numbers and where it seals them.

use fuda_core::{CatalogueChange, Fingerprint, PurposeCode, Sequence, TenantId, VerificationDemand};
use fuda_policy::{OfficeHours, Recipient};
use minicbor::{Decode, Encode};

use super::Act;
use crate::OrderId;

/// A proposed change of purposes, and what became of it. Kept for ever: together they are the history.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct PurposeOrderRow {
    /// Its id.
    #[n(0)]
    pub order: OrderId,
    /// The act that proposed it.
    #[n(1)]
    pub proposed: Act,
    /// What is to change.
    #[n(2)]
    pub change: PurposeChange,
    /// The act that approved it and brought it into force.
    #[n(3)]
    pub approved: Option<Act>,
}

/// What an order changes about purposes.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum PurposeChange {
    /// The vault's catalogue.
    #[n(0)]
    Catalogue(#[n(0)] CatalogueChange),
    /// Which purposes a tenant uses, what it demands of numbers that come in, and when its people work.
    #[n(1)]
    Tenant(#[n(0)] TenantPurposes),
    /// To whom numbers of a tenant may be sealed.
    #[n(2)]
    Recipients(#[n(0)] TenantRecipients),
}

/// A change of the recipients of one tenant.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct TenantRecipients {
    /// The tenant.
    #[n(0)]
    pub tenant: TenantId,
    /// Recipients to register, in place of what is registered for the same keys.
    #[n(1)]
    pub register: Vec<Recipient>,
    /// Recipients to withdraw.
    #[n(2)]
    pub withdraw: Vec<Fingerprint>,
}

/// A change of the purposes of one tenant, of what it demands of numbers that come in, and of when its people work.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct TenantPurposes {
    /// The tenant.
    #[n(0)]
    pub tenant: TenantId,
    /// Purposes of the catalogue to enable.
    #[n(1)]
    pub enable: Vec<PurposeCode>,
    /// Purposes to disable.
    #[n(2)]
    pub disable: Vec<PurposeCode>,
    /// Which numbers it takes only with the record of an identity check from then on; `None` leaves it as it is.
    #[n(3)]
    pub demand: Option<VerificationDemand>,
    /// When its people work from then on; `None` leaves it as it is.
    #[n(4)]
    pub office_hours: Option<OfficeHours>,
}

/// Where a change of purposes stands in the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct PurposeOrderPlaceRow {
    /// The sequence of its proposal.
    #[n(0)]
    pub proposed: Sequence,
}
