//! Conditions of grants between the wire and the words of the domain.

use fuda_core::{Day, Invalid, RecordLabel, Relation, SourceZone, SubjectRef, TenantId};
use fuda_policy::{Conditions, Hours, OfficeHours, Subjects, condition_limits};
use fuda_proto::tenant::v1 as pb;

use crate::refusal::Refusal;
use crate::wire;

/// The conditions of a grant to be proposed. What does not depend on other state is checked with the whole grant.
pub(crate) fn conditions(grant: &pb::Grant) -> Result<Conditions, Refusal> {
    let relations = grant.relations.iter().map(|code| Relation::from_code(code)).collect::<Result<Vec<_>, _>>()?;
    Ok(Conditions {
        relations: (!relations.is_empty()).then(|| relations.into_iter().collect()),
        subjects: subjects(&grant.subjects, &grant.label)?,
        hours: grant.hours.iter().map(hours).collect::<Result<_, _>>()?,
        source_zones: grant.source_zones.iter().map(|zone| SourceZone::parse(zone)).collect::<Result<_, _>>()?,
        trained_until: grant.trained_until.as_ref().map(wire::timestamp).transpose()?,
        recipients: wire::recipient::fingerprints(&grant.recipients)?,
        calls_per_minute_max: (grant.calls_per_minute_max != 0).then_some(grant.calls_per_minute_max),
        destination: match grant.destination.as_str() {
            "" => None,
            tenant => Some(TenantId::parse(tenant).map_err(|invalid| Invalid { field: "destination", ..invalid })?),
        },
    })
}

/// A grant that has only these conditions, to be filled up with the rest.
pub(crate) fn conditions_to_wire(conditions: &Conditions) -> pb::Grant {
    let relations = conditions.relations.map(|set| set.iter().map(|relation| relation.code().to_owned()).collect());
    pb::Grant {
        relations: relations.unwrap_or_default(),
        subjects: match &conditions.subjects {
            Subjects::Listed(subjects) => subjects.iter().map(ToString::to_string).collect(),
            Subjects::All | Subjects::Labelled(_) => Vec::new(),
        },
        label: match &conditions.subjects {
            Subjects::Labelled(label) => label.to_string(),
            Subjects::All | Subjects::Listed(_) => String::new(),
        },
        hours: conditions.hours.iter().map(|hours| hours_to_wire(*hours)).collect(),
        source_zones: conditions.source_zones.iter().map(ToString::to_string).collect(),
        trained_until: conditions.trained_until.map(wire::timestamp_to_wire),
        recipients: conditions.recipients.iter().map(ToString::to_string).collect(),
        calls_per_minute_max: conditions.calls_per_minute_max.unwrap_or_default(),
        destination: conditions.destination.as_ref().map(ToString::to_string).unwrap_or_default(),
        ..pb::Grant::default()
    }
}

fn subjects(listed: &[String], label: &str) -> Result<Subjects, Refusal> {
    if listed.len() > condition_limits::GRANT_SUBJECTS_MAX {
        return Err(Refusal::too_many("subjects", "must hold at most 1000 subjects"));
    }
    match (listed, label) {
        ([], "") => Ok(Subjects::All),
        ([], label) => Ok(Subjects::Labelled(RecordLabel::parse(label)?)),
        (listed, "") => {
            let mut subjects = listed.iter().map(|text| SubjectRef::parse(text)).collect::<Result<Vec<_>, _>>()?;
            subjects.sort_unstable();
            subjects.dedup();
            Ok(Subjects::Listed(subjects))
        }
        (_, _) => Err(Invalid::new("label", "must not be set together with subjects").into()),
    }
}

fn hours(hours: &pb::Hours) -> Result<Hours, Refusal> {
    let days = Hours::days_named(hours.days.iter().map(String::as_str))?;
    let minute = |minute: u32| {
        u16::try_from(minute).map_err(|_| Invalid::new("hours", "must be minutes of a day, at most 1440"))
    };
    Ok(Hours { days, from_minute: minute(hours.from_minute)?, to_minute: minute(hours.to_minute)? })
}

fn hours_to_wire(hours: Hours) -> pb::Hours {
    pb::Hours {
        days: hours.day_names().map(str::to_owned).collect(),
        from_minute: hours.from_minute.into(),
        to_minute: hours.to_minute.into(),
    }
}

/// When people of a tenant work.
pub(crate) fn office_hours(wire: &pb::OfficeHours) -> Result<OfficeHours, Refusal> {
    let default = OfficeHours::default();
    let spans = wire.hours.iter().map(hours).collect::<Result<Vec<_>, _>>()?;
    let mut holidays = wire.holidays.iter().map(|day| Day::parse(day)).collect::<Result<Vec<_>, _>>()?;
    holidays.sort_unstable();
    holidays.dedup();
    let office = OfficeHours { hours: if spans.is_empty() { default.hours } else { spans }, holidays };
    office.validate()?;
    Ok(office)
}

/// The same as the API writes it.
pub(crate) fn office_hours_to_wire(office: &OfficeHours) -> pb::OfficeHours {
    pb::OfficeHours {
        hours: office.hours.iter().map(|hours| hours_to_wire(*hours)).collect(),
        holidays: office.holidays.iter().map(ToString::to_string).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_come_back_as_they_were_sent() {
        let sent = pb::Grant {
            relations: vec!["self".to_owned(), "spouse".to_owned()],
            subjects: vec!["E-1".to_owned(), "E-2".to_owned()],
            hours: vec![pb::Hours {
                days: vec!["mon".to_owned(), "sun".to_owned()],
                from_minute: 540,
                to_minute: 1_440,
            }],
            source_zones: vec!["hq".to_owned()],
            trained_until: Some(prost_types::Timestamp { seconds: 7, nanos: 0 }),
            recipients: vec!["ab".repeat(32)],
            calls_per_minute_max: 60,
            destination: "globex".to_owned(),
            ..pb::Grant::default()
        };
        assert_eq!(conditions_to_wire(&conditions(&sent).unwrap_or_default()), sent);
        let labelled = pb::Grant { label: "executives".to_owned(), ..pb::Grant::default() };
        assert_eq!(conditions_to_wire(&conditions(&labelled).unwrap_or_default()), labelled);
        assert!(conditions(&pb::Grant::default()).is_ok_and(|conditions| conditions.are_none()));
    }

    #[test]
    fn office_hours_come_back_in_order() {
        let span = pb::Hours { days: vec!["mon".to_owned(), "fri".to_owned()], from_minute: 540, to_minute: 1_080 };
        let sent = |holidays: &[&str]| pb::OfficeHours {
            hours: vec![span.clone()],
            holidays: holidays.iter().map(|day| (*day).to_owned()).collect(),
        };
        let read = office_hours(&sent(&["2027-01-02", "2027-01-01", "2027-01-02"])).unwrap();
        assert_eq!(office_hours_to_wire(&read), sent(&["2027-01-01", "2027-01-02"]));
        assert!(office_hours(&pb::OfficeHours::default()).is_ok_and(|office| office.is_default()));
        let late = pb::Hours { days: Vec::new(), from_minute: 0, to_minute: 1_441 };
        for wrong in [sent(&["2027-02-30"]), pb::OfficeHours { hours: vec![late], holidays: Vec::new() }] {
            assert!(office_hours(&wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn mistakes_are_refused() {
        let both = pb::Grant { label: "x".to_owned(), subjects: vec!["E-1".to_owned()], ..pb::Grant::default() };
        let day = pb::Hours { days: vec!["monday".to_owned()], from_minute: 0, to_minute: 1 };
        let late = pb::Hours { days: Vec::new(), from_minute: 0, to_minute: 70_000 };
        let relation = pb::Grant { relations: vec!["friend".to_owned()], ..pb::Grant::default() };
        let with = |hours| pb::Grant { hours: vec![hours], ..pb::Grant::default() };
        for wrong in [both, with(day), with(late), relation] {
            assert!(conditions(&wrong).is_err(), "{wrong:?}");
        }
    }
}
