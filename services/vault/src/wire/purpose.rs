//! Purposes between the wire and the words of the domain.

use fuda_core::{
    Aspect, CatalogueChange, Day, Delivery, Invalid, Purpose, PurposeCode, Relation, RetentionRule, RetentionStart,
    TenantId, limits,
};
use fuda_proto::purpose::v1 as pb;
use fuda_state::row::{PurposeChange, PurposeOrderRow};

use super::condition::office_hours_to_wire;
use super::recipient::recipient_to_wire;
use crate::refusal::Refusal;
use crate::wire::{timestamp_to_wire, verification_demand_to_wire};

/// A change as proposed. Its rules are those of the catalogue, which checks them.
pub(crate) fn change(wire: &pb::ProposeCatalogueChangeRequest) -> Result<CatalogueChange, Refusal> {
    if wire.put.len() + wire.retire.len() > limits::PURPOSES_PER_CHANGE_MAX {
        return Err(Refusal::too_many("put", "must hold at most 64 purposes, together with retire"));
    }
    Ok(CatalogueChange {
        base: wire.base_version,
        put: wire.put.iter().map(purpose).collect::<Result<_, _>>()?,
        retire: wire.retire.iter().map(|code| PurposeCode::parse(code)).collect::<Result<_, _>>()?,
        override_reason: some(&wire.override_reason),
    })
}

fn purpose(wire: &pb::Purpose) -> Result<Purpose, Refusal> {
    Ok(Purpose {
        code: PurposeCode::parse(&wire.code)?,
        ja: wire.ja.clone(),
        en: wire.en.clone(),
        basis: wire.basis.clone(),
        relations: wire.relations.iter().map(|code| Relation::from_code(code)).collect::<Result<_, _>>()?,
        reveals: wire.reveals,
        retention: wire.retention.as_ref().map(retention).transpose()?,
        retention_text: some(&wire.retention_text),
        verified_on: some(&wire.verified_on).map(|day| Day::parse(&day)).transpose()?,
        verified_by: some(&wire.verified_by),
        two_person: wire.two_person,
        persons_max: (wire.persons_max > 0).then_some(wire.persons_max),
        delivery: delivery(&wire.delivery)?,
        retired: false,
        overridden: None,
        unverified: wire.unverified.iter().map(|code| aspect(code)).collect::<Result<_, _>>()?,
    })
}

fn retention(wire: &pb::Retention) -> Result<RetentionRule, Refusal> {
    let years = u8::try_from(wire.years).map_err(|_| Invalid::new("retention.years", "must be from 1 to 100"))?;
    let from = match wire.from.as_str() {
        "completion" => RetentionStart::Completion,
        "jan10_following_deadline" => RetentionStart::Jan10FollowingDeadline,
        _ => return Err(Invalid::new("retention.from", "must be completion or jan10_following_deadline").into()),
    };
    Ok(RetentionRule { years, from })
}

fn delivery(code: &str) -> Result<Delivery, Refusal> {
    let known = [Delivery::Shown, Delivery::Sealed, Delivery::Moved];
    let found = known.into_iter().find(|known| known.code() == code || (code.is_empty() && *known == Delivery::Shown));
    Ok(found.ok_or(Invalid::new("delivery", "must be shown, sealed or moved"))?)
}

fn aspect(code: &str) -> Result<Aspect, Refusal> {
    let known = [Aspect::Names, Aspect::Basis, Aspect::Relations, Aspect::Retention];
    let found = known.into_iter().find(|known| known.code() == code);
    Ok(found.ok_or(Invalid::new("unverified", "must be of names, basis, relations and retention"))?)
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// A purpose as the API writes it; `enabled` by the tenant that was asked about.
pub(crate) fn purpose_to_wire(row: &Purpose, enabled: bool) -> pb::Purpose {
    pb::Purpose {
        code: row.code.to_string(),
        ja: row.ja.clone(),
        en: row.en.clone(),
        basis: row.basis.clone(),
        relations: row.relations.iter().map(|relation| relation.code().to_owned()).collect(),
        reveals: row.reveals,
        retention: row.retention.map(|rule| pb::Retention {
            years: rule.years.into(),
            from: match rule.from {
                RetentionStart::Completion => "completion",
                RetentionStart::Jan10FollowingDeadline => "jan10_following_deadline",
            }
            .to_owned(),
        }),
        retention_text: row.retention_text.clone().unwrap_or_default(),
        verified_on: row.verified_on.map(|day| day.to_string()).unwrap_or_default(),
        verified_by: row.verified_by.clone().unwrap_or_default(),
        unverified: row.unverified.iter().map(|aspect| aspect.code().to_owned()).collect(),
        two_person: row.two_person,
        persons_max: row.persons_max.unwrap_or_default(),
        delivery: row.delivery.code().to_owned(),
        retired: row.retired,
        overridden: row.overridden.map(|forbidden| forbidden.code().to_owned()).unwrap_or_default(),
        enabled,
    }
}

/// Whether an order concerns the tenant: its own, and those of the catalogue, which is everybody's.
pub(crate) fn is_about(order: &PurposeOrderRow, tenant: &TenantId) -> bool {
    match &order.change {
        PurposeChange::Catalogue(_) => true,
        PurposeChange::Tenant(change) => change.tenant == *tenant,
        PurposeChange::Recipients(change) => change.tenant == *tenant,
    }
}

/// An order as the API writes it.
pub(crate) fn order_to_wire(row: &PurposeOrderRow) -> pb::PurposeOrder {
    let approved = row.approved.as_ref();
    let order = pb::PurposeOrder {
        order: row.order.to_string(),
        proposed_by: row.proposed.caller.to_string(),
        proposed_time: Some(timestamp_to_wire(row.proposed.time)),
        proposed_sequence: row.proposed.sequence.0,
        approved_by: approved.map(|act| act.caller.to_string()).unwrap_or_default(),
        approved_time: approved.map(|act| timestamp_to_wire(act.time)),
        approved_sequence: approved.map_or(0, |act| act.sequence.0),
        ..pb::PurposeOrder::default()
    };
    let texts = |codes: &[PurposeCode]| codes.iter().map(ToString::to_string).collect();
    match &row.change {
        PurposeChange::Catalogue(change) => pb::PurposeOrder {
            base_version: change.base,
            put: change.put.iter().map(|row| purpose_to_wire(row, false)).collect(),
            retire: texts(&change.retire),
            override_reason: change.override_reason.clone().unwrap_or_default(),
            ..order
        },
        PurposeChange::Tenant(change) => pb::PurposeOrder {
            tenant: change.tenant.to_string(),
            enable: texts(&change.enable),
            disable: texts(&change.disable),
            verification_demand: change.demand.as_ref().map(verification_demand_to_wire),
            office_hours: change.office_hours.as_ref().map(office_hours_to_wire),
            ..order
        },
        PurposeChange::Recipients(change) => pb::PurposeOrder {
            tenant: change.tenant.to_string(),
            register: change.register.iter().map(recipient_to_wire).collect(),
            withdraw: change.withdraw.iter().map(ToString::to_string).collect(),
            ..order
        },
    }
}

#[cfg(test)]
mod tests {
    use fuda_core::Catalogue;

    use super::*;

    #[test]
    fn every_shipped_purpose_survives_the_wire() {
        let catalogue = Catalogue::from_toml(Catalogue::default_text()).unwrap();
        for row in catalogue.iter() {
            let wire = purpose_to_wire(row, true);
            assert!(wire.enabled);
            assert_eq!(purpose(&wire).unwrap(), *row);
        }
    }

    #[test]
    fn a_wrong_word_is_named() {
        let good = pb::Purpose { code: "tax.slip".to_owned(), ..pb::Purpose::default() };
        assert!(purpose(&good).is_ok(), "empty texts are refused by the catalogue, not here");
        let retention = |years, from: &str| Some(pb::Retention { years, from: from.to_owned() });
        for wrong in [
            pb::Purpose { code: "slip".to_owned(), ..good.clone() },
            pb::Purpose { relations: vec!["friend".to_owned()], ..good.clone() },
            pb::Purpose { delivery: "posted".to_owned(), ..good.clone() },
            pb::Purpose { unverified: vec!["all".to_owned()], ..good.clone() },
            pb::Purpose { verified_on: "yesterday".to_owned(), ..good.clone() },
            pb::Purpose { retention: retention(300, "completion"), ..good.clone() },
            pb::Purpose { retention: retention(3, "whenever"), ..good.clone() },
        ] {
            assert!(purpose(&wrong).is_err(), "{wrong:?}");
        }
    }
}
