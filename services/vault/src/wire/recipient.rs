//! Recipients of sealed numbers between the wire and the words of the domain.

use fuda_core::{Fingerprint, Invalid, PurposeCode, TenantId, limits};
use fuda_crypto::RecipientKey;
use fuda_policy::Recipient;
use fuda_proto::purpose::v1 as pb;
use fuda_proto::tenant::v1 as tenant_pb;
use fuda_state::row::TenantRecipients;

use crate::refusal::Refusal;
use crate::wire;

/// A change as proposed. Apply checks the same again; here the caller is told which field and which rule.
pub(crate) fn change(tenant: TenantId, wire: &pb::SetTenantRecipientsRequest) -> Result<TenantRecipients, Refusal> {
    if wire.register.len() + wire.withdraw.len() > limits::RECIPIENTS_PER_CHANGE_MAX {
        return Err(Refusal::too_many("register", "must hold at most 16 recipients, together with withdraw"));
    }
    Ok(TenantRecipients {
        tenant,
        register: wire.register.iter().map(recipient).collect::<Result<_, _>>()?,
        withdraw: fingerprints(&wire.withdraw)?,
    })
}

fn recipient(wire: &tenant_pb::Recipient) -> Result<Recipient, Refusal> {
    const RULE: &str = "must be an X25519 public key of 32 bytes that keeps a secret";
    let bytes = wire.public_key.as_slice().try_into().map_err(|_| Invalid::new("public_key", RULE))?;
    let key = RecipientKey::from_bytes(bytes).map_err(|_| Invalid::new("public_key", RULE))?;
    let recipient = Recipient {
        fingerprint: key.fingerprint(),
        key: bytes,
        name: wire.name.clone(),
        purposes: wire.purposes.iter().map(|code| PurposeCode::parse(code)).collect::<Result<_, _>>()?,
        not_after: wire::timestamp(wire.not_after.as_ref().ok_or(Refusal::missing("not_after"))?)?,
    };
    recipient.validate()?;
    Ok(recipient)
}

/// Fingerprints as the wire writes them.
pub(crate) fn fingerprints(wire: &[String]) -> Result<Vec<Fingerprint>, Refusal> {
    Ok(wire.iter().map(|text| Fingerprint::parse(text)).collect::<Result<_, _>>()?)
}

/// A recipient as the API writes it.
pub(crate) fn recipient_to_wire(recipient: &Recipient) -> tenant_pb::Recipient {
    tenant_pb::Recipient {
        fingerprint: recipient.fingerprint.to_string(),
        public_key: recipient.key.to_vec(),
        name: recipient.name.clone(),
        purposes: recipient.purposes.iter().map(ToString::to_string).collect(),
        not_after: Some(wire::timestamp_to_wire(recipient.not_after)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent() -> tenant_pb::Recipient {
        let key = fuda_crypto::RecipientSecret::from_bytes([7; 32]).public_key().unwrap();
        tenant_pb::Recipient {
            fingerprint: key.fingerprint().to_string(),
            public_key: key.as_bytes().to_vec(),
            name: "next vault".to_owned(),
            purposes: vec!["op.migrate".to_owned()],
            not_after: Some(prost_types::Timestamp { seconds: 9, nanos: 0 }),
        }
    }

    #[test]
    fn a_recipient_comes_back_as_it_was_sent() {
        assert_eq!(recipient(&sent()).map(|recipient| recipient_to_wire(&recipient)).ok(), Some(sent()));
    }

    #[test]
    fn mistakes_are_refused() {
        for wrong in [
            tenant_pb::Recipient { public_key: vec![1; 31], ..sent() },
            tenant_pb::Recipient { public_key: vec![0; 32], ..sent() },
            tenant_pb::Recipient { name: "No. 123456789018".to_owned(), ..sent() },
            tenant_pb::Recipient { purposes: Vec::new(), ..sent() },
            tenant_pb::Recipient { not_after: None, ..sent() },
        ] {
            assert!(recipient(&wrong).is_err(), "{wrong:?}");
        }
        assert!(fingerprints(&["ab".to_owned()]).is_err());
    }
}
