//! Who may receive numbers that the caller never sees.

use fuda_core::{Fingerprint, Invalid, PurposeCode, Timestamp, limits, text};
use minicbor::{Decode, Encode};

use crate::Tenant;
use crate::grant::{distinct, ensure};

/// Somebody outside the vault to whom a tenant's numbers may be sealed. Two people register it; a caller names it by its
/// fingerprint and can name no other key.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Recipient {
    /// SHA-256 of the key, by which it is named. Apply checks that it is.
    #[n(0)]
    pub fingerprint: Fingerprint,
    /// Its X25519 public key.
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    pub key: [u8; 32],
    /// Its name for people, 1 to [`limits::RECIPIENT_NAME_CHARS_MAX`] characters.
    #[n(2)]
    pub name: String,
    /// The purposes for which numbers may be sealed to it, 1 to [`limits::RECIPIENT_PURPOSES_MAX`].
    #[n(3)]
    pub purposes: Vec<PurposeCode>,
    /// The last moment at which numbers are sealed to it.
    #[n(4)]
    pub not_after: Timestamp,
}

impl Recipient {
    /// Checks what does not depend on other state. What the error names never contains a value.
    pub fn validate(&self) -> Result<(), Invalid> {
        text::check_short(
            "recipient.name",
            &self.name,
            limits::RECIPIENT_NAME_CHARS_MAX,
            "must have 1 to 64 characters",
        )?;
        let some = (1..=limits::RECIPIENT_PURPOSES_MAX).contains(&self.purposes.len());
        ensure(some, "recipient.purposes", "must be from 1 to 64")?;
        ensure(distinct(&self.purposes), "recipient.purposes", "must not repeat")
    }

    /// Whether a number may be sealed to it for the purpose at `now`.
    #[must_use]
    pub fn is_open(&self, purpose: Option<&PurposeCode>, now: Timestamp) -> bool {
        self.takes(purpose) && now <= self.not_after
    }

    /// Whether it is registered for the purpose; a kind that needs none may always.
    #[must_use]
    pub fn takes(&self, purpose: Option<&PurposeCode>) -> bool {
        purpose.is_none_or(|purpose| self.purposes.contains(purpose))
    }
}

impl Tenant {
    /// The registered recipient of a fingerprint.
    #[must_use]
    pub fn recipient(&self, fingerprint: Fingerprint) -> Option<&Recipient> {
        self.recipients.iter().find(|recipient| recipient.fingerprint == fingerprint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipient() -> Recipient {
        Recipient {
            fingerprint: Fingerprint::from_bytes([7; 32]),
            key: [8; 32],
            name: "移行先 Next vault".to_owned(),
            purposes: vec![PurposeCode::parse("op.migrate").unwrap()],
            not_after: Timestamp(9),
        }
    }

    #[test]
    fn each_rule_refuses_its_breach() {
        assert_eq!(recipient().validate(), Ok(()));
        let long = vec![PurposeCode::parse("op.migrate").unwrap(); 2];
        for (wrong, field) in [
            (Recipient { name: String::new(), ..recipient() }, "recipient.name"),
            (Recipient { name: "n".repeat(65), ..recipient() }, "recipient.name"),
            (Recipient { name: "No. 123456789018".to_owned(), ..recipient() }, "recipient.name"),
            (Recipient { purposes: Vec::new(), ..recipient() }, "recipient.purposes"),
            (Recipient { purposes: long, ..recipient() }, "recipient.purposes"),
        ] {
            assert_eq!(wrong.validate().map_err(|invalid| invalid.field), Err(field));
        }
        let other = PurposeCode::parse("op.authority").unwrap();
        assert!(recipient().takes(None) && !recipient().takes(Some(&other)));
    }
}
