use fuda_core::{Invalid, KeyDomainId, PurposeCode, TenantId, Timestamp, VerificationDemand, Zone};
use minicbor::{Decode, Encode};

use crate::{OfficeHours, Recipient};

/// Characters (Unicode scalar values) of a tenant's name.
pub const TENANT_NAME_CHARS_MAX: usize = 128;

/// One legal person (法人格) whose numbers the vault keeps apart from everybody else's.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Tenant {
    /// Its id, in every request.
    #[n(0)]
    pub id: TenantId,
    /// Its name for people, 1 to [`TENANT_NAME_CHARS_MAX`] characters.
    #[n(1)]
    pub name: String,
    /// The zone whose calendar days count for budgets, guesses and retention.
    #[n(2)]
    pub time_zone: Zone,
    /// The key domain its records are sealed in.
    #[n(3)]
    pub key_domain: KeyDomainId,
    /// What happens to records whose tokens are lost: a choice the tenant must have made.
    #[n(4)]
    pub recovery: RecoveryChoice,
    /// The purposes the tenant has enabled; a purpose outside this list reveals nothing of this tenant.
    #[n(5)]
    pub purposes: Vec<PurposeCode>,
    /// When it was created, by cluster time.
    #[n(6)]
    pub created: Timestamp,
    /// The numbers it takes only with the record of an identity check. Stored only when there are any.
    #[cbor(n(7), skip_if = "VerificationDemand::is_none")]
    pub demand: VerificationDemand,
    /// To whom its numbers may be sealed, at most [`fuda_core::limits::RECIPIENTS_PER_TENANT_MAX`]. Stored only when there are any.
    #[cbor(n(8), skip_if = "Vec::is_empty")]
    pub recipients: Vec<Recipient>,
    /// When its people work. Stored only when somebody set it.
    #[cbor(n(9), skip_if = "OfficeHours::is_default")]
    pub office_hours: OfficeHours,
}

/// Whether lost tokens can be recovered, and by whom.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum RecoveryChoice {
    /// Never: a number whose tokens are all lost is lost.
    #[n(0)]
    None,
    /// By the holder of the private key of this offline public key, in a two-person ceremony.
    #[n(1)]
    PublicKey(
        /// The public key.
        #[n(0)]
        #[cbor(with = "minicbor::bytes")]
        [u8; 32],
    ),
}

impl Tenant {
    /// Whether the tenant has enabled the purpose.
    #[must_use]
    pub fn enables(&self, purpose: &PurposeCode) -> bool {
        self.purposes.contains(purpose)
    }

    /// Checks name, demand and office hours. That the purposes are in the catalogue is checked by apply, which has it.
    pub fn validate(&self) -> Result<(), Invalid> {
        let chars = self.name.chars().count();
        if chars == 0 || chars > TENANT_NAME_CHARS_MAX {
            return Err(Invalid::new("tenant.name", "must have 1 to 128 characters"));
        }
        if self.name.chars().any(char::is_control) {
            return Err(Invalid::new("tenant.name", "must not contain control characters"));
        }
        self.demand.validate()?;
        self.office_hours.validate()
    }
}
