//! A grant as a file says it: the fields of the API in TOML. One form for what is proposed, what is exported, and what
//! decides in `fuda policy test`.

use fuda_client::tenant as pb;
use fuda_core::{
    CallerId, Fingerprint, Kind, PartyId, PurposeCode, RecordLabel, Relation, ScopeId, SourceZone, SubjectRef,
    TenantId, Timestamp, Window, WorkReference,
};
use fuda_policy::{
    Action, ApprovedJob, Budget, Circumstances, Conditions, EndUserRule, Entrusted, Given, Grant, GrantId, Hours, Role,
    Subjects, Terms,
};
use serde::{Deserialize, Serialize};

use crate::wire;

/// One `[[grant]]` table.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GrantTable {
    caller: String,
    role: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    tenant: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    actions: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    kinds: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    purposes: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    scopes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_before: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_after: Option<String>,
    #[serde(default, skip_serializing_if = "is_zero")]
    verify_guesses_per_day: u32,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    end_user: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    relations: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    subjects: Vec<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    label: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    source_zones: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trained_until: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    recipients: Vec<String>,
    #[serde(default, skip_serializing_if = "is_zero")]
    calls_per_minute_max: u32,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    destination: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    person: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    party: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    sub_of: String,
    /// The handler whose request the grant came of; only in exports, since nobody can propose such a grant.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    given_to: String,
    /// Whether he took it without waiting for approval.
    #[serde(default, skip_serializing_if = "is_false")]
    break_glass: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    budget: Option<BudgetTable>,
    #[serde(skip_serializing_if = "Option::is_none")]
    approved_job: Option<JobTable>,
    #[serde(skip_serializing_if = "Option::is_none")]
    terms: Option<TermsTable>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    hours: Vec<HoursTable>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BudgetTable {
    persons_max: u32,
    window_days: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    alarm_percent: u32,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct JobTable {
    job: String,
    handler: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_before: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_after: Option<String>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TermsTable {
    approvals_min: u32,
    persons_max: u32,
    minutes_max: u32,
}

/// `{ days = ["mon", "fri"], from = "09:00", to = "18:00" }`
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HoursTable {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    days: Vec<String>,
    from: String,
    to: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_false(truth: &bool) -> bool {
    !truth
}

impl From<pb::Grant> for GrantTable {
    fn from(grant: pb::Grant) -> Self {
        let moment = |moment: &Option<prost_types::Timestamp>| moment.as_ref().map(wire::moment_text);
        Self {
            role: wire::role_code(grant.role()),
            end_user: wire::end_user_code(grant.end_user()),
            not_before: moment(&grant.not_before),
            not_after: moment(&grant.not_after),
            trained_until: moment(&grant.trained_until),
            caller: grant.caller,
            tenant: grant.tenant,
            actions: grant.actions,
            kinds: grant.kinds,
            purposes: grant.purposes,
            scopes: grant.scopes,
            verify_guesses_per_day: grant.verify_guesses_per_day,
            relations: grant.relations,
            subjects: grant.subjects,
            label: grant.label,
            source_zones: grant.source_zones,
            recipients: grant.recipients,
            calls_per_minute_max: grant.calls_per_minute_max,
            destination: grant.destination,
            person: grant.person,
            party: grant.party,
            sub_of: grant.sub_of,
            given_to: grant.given_to,
            break_glass: grant.break_glass,
            budget: grant.budget.map(|it| BudgetTable {
                persons_max: it.persons_max,
                window_days: it.window_days,
                alarm_percent: it.alarm_percent,
            }),
            approved_job: grant.approved_job.map(|it| JobTable {
                not_before: moment(&it.not_before),
                not_after: moment(&it.not_after),
                job: it.job,
                handler: it.handler,
            }),
            terms: grant.terms.map(|it| TermsTable {
                approvals_min: it.approvals_min,
                persons_max: it.persons_max,
                minutes_max: it.minutes_max,
            }),
            hours: grant.hours.into_iter().map(HoursTable::from).collect(),
        }
    }
}

impl From<pb::Hours> for HoursTable {
    fn from(hours: pb::Hours) -> Self {
        let (from, to) = (wire::clock_text(hours.from_minute), wire::clock_text(hours.to_minute));
        Self { days: hours.days, from, to }
    }
}

impl GrantTable {
    /// The grant to be proposed.
    ///
    /// # Errors
    /// The field at fault, and its rule.
    pub(crate) fn into_wire(self) -> Result<pb::Grant, String> {
        let role = wire::role(&self.role)
            .ok_or("role must be owner, approver, operator, auditor, workload, handler or entrusted_party")?;
        if !self.given_to.is_empty() {
            return Err("given_to must not be proposed: such a grant comes of a request for access".to_owned());
        }
        let moment = |name: &str, text: Option<String>| {
            text.map(|text| wire::moment(&text).map_err(|rule| format!("{name} {rule}"))).transpose()
        };
        let end_user = match self.end_user.as_str() {
            "" | "none" => pb::EndUserRule::None,
            "required" => pb::EndUserRule::Required,
            "approved_job" => pb::EndUserRule::ApprovedJob,
            _ => return Err("end_user must be none, required or approved_job".to_owned()),
        };
        let approved_job = match self.approved_job {
            Some(it) => Some(pb::ApprovedJob {
                job: it.job,
                handler: it.handler,
                not_before: moment("approved_job.not_before", it.not_before)?,
                not_after: moment("approved_job.not_after", it.not_after)?,
            }),
            None => None,
        };
        Ok(pb::Grant {
            caller: self.caller,
            role: role.into(),
            tenant: self.tenant,
            actions: self.actions,
            kinds: self.kinds,
            purposes: self.purposes,
            scopes: self.scopes,
            not_before: moment("not_before", self.not_before)?,
            not_after: moment("not_after", self.not_after)?,
            budget: self.budget.map(|it| pb::Budget {
                persons_max: it.persons_max,
                window_days: it.window_days,
                alarm_percent: it.alarm_percent,
            }),
            verify_guesses_per_day: self.verify_guesses_per_day,
            end_user: end_user.into(),
            approved_job,
            relations: self.relations,
            subjects: self.subjects,
            label: self.label,
            hours: self.hours.iter().map(HoursTable::to_wire).collect::<Result<_, _>>()?,
            source_zones: self.source_zones,
            recipients: self.recipients,
            calls_per_minute_max: self.calls_per_minute_max,
            destination: self.destination,
            trained_until: moment("trained_until", self.trained_until)?,
            person: self.person,
            party: self.party,
            sub_of: self.sub_of,
            terms: self.terms.map(|it| pb::AccessTerms {
                approvals_min: it.approvals_min,
                persons_max: it.persons_max,
                minutes_max: it.minutes_max,
            }),
            ..pb::Grant::default()
        })
    }

    /// The grant as policy decides by it. `number` stands for the id.
    ///
    /// # Errors
    /// The field at fault, and its rule.
    pub(crate) fn to_policy(&self, number: u32) -> Result<Grant, String> {
        let action = |code: &String| Action::from_code(code).ok_or("actions must be codes of actions".to_owned());
        let narrow = |name: &str, value: u32| u16::try_from(value).map_err(|_| format!("{name} must be at most 65535"));
        let budget = match &self.budget {
            Some(it) => Some(Budget::new(it.persons_max, narrow("budget.window_days", it.window_days)?)),
            None => None,
        };
        let guesses = match self.verify_guesses_per_day {
            0 if self.actions.iter().any(|code| code == Action::VerifyNumber.code()) => 5,
            guesses => narrow("verify_guesses_per_day", guesses)?,
        };
        Ok(Grant {
            id: GrantId(u128::from(number).to_be_bytes()),
            caller: CallerId::parse(&self.caller).map_err(told)?,
            role: Role::from_code(&self.role).ok_or("role must be the code of a role")?,
            tenant: some(&self.tenant, TenantId::parse)?,
            actions: self.actions.iter().map(action).collect::<Result<_, _>>()?,
            kinds: all(&self.kinds, Kind::from_code)?,
            purposes: all(&self.purposes, PurposeCode::parse)?,
            scopes: all(&self.scopes, ScopeId::parse)?,
            window: window(self.not_before.as_ref(), self.not_after.as_ref())?,
            budget,
            verify_guesses_per_day: guesses,
            end_user: self.end_user_rule()?,
            conditions: self.conditions()?,
            circumstances: self.circumstances()?,
        })
    }

    fn circumstances(&self) -> Result<Option<Circumstances>, String> {
        let terms = self.terms.as_ref().map(|it| {
            let approvals_min =
                u8::try_from(it.approvals_min).map_err(|_| "terms.approvals_min must be from 1 to 8")?;
            Ok::<_, String>(Terms { approvals_min, persons_max: it.persons_max, minutes_max: it.minutes_max })
        });
        let entrusted = some(&self.party, PartyId::parse)?;
        let sub_of = some(&self.sub_of, PartyId::parse)?;
        let handler = some(&self.given_to, CallerId::parse)?;
        let circumstances = Circumstances {
            person: (!self.person.is_empty()).then(|| self.person.clone()),
            entrusted: entrusted.map(|party| Entrusted { party, sub_of }),
            terms: terms.transpose()?,
            given: handler.map(|handler| Given { handler, break_glass: self.break_glass }),
        };
        Ok((circumstances != Circumstances::default()).then_some(circumstances))
    }

    fn end_user_rule(&self) -> Result<Option<EndUserRule>, String> {
        match (self.end_user.as_str(), &self.approved_job) {
            ("" | "none", None) => Ok(None),
            ("required", None) => Ok(Some(EndUserRule::Required)),
            ("approved_job", Some(job)) => Ok(Some(EndUserRule::ApprovedJob(ApprovedJob {
                job: WorkReference::parse(&job.job).map_err(told)?,
                handler: CallerId::parse(&job.handler).map_err(told)?,
                window: window(job.not_before.as_ref(), job.not_after.as_ref())?,
            }))),
            _ => Err("end_user must be none, required, or approved_job together with approved_job = { job, handler }"
                .to_owned()),
        }
    }

    fn conditions(&self) -> Result<Conditions, String> {
        Ok(Conditions {
            relations: match self.relations.as_slice() {
                [] => None,
                codes => Some(all(codes, Relation::from_code)?.into_iter().collect()),
            },
            subjects: match (self.subjects.as_slice(), self.label.as_str()) {
                ([], "") => Subjects::All,
                ([], label) => Subjects::Labelled(RecordLabel::parse(label).map_err(told)?),
                (listed, "") => {
                    let mut subjects = all(listed, SubjectRef::parse)?;
                    subjects.sort_unstable();
                    subjects.dedup();
                    Subjects::Listed(subjects)
                }
                _ => return Err("label must not stand beside subjects".to_owned()),
            },
            hours: self.hours.iter().map(HoursTable::to_policy).collect::<Result<_, _>>()?,
            source_zones: all(&self.source_zones, SourceZone::parse)?,
            trained_until: self.trained_until.as_deref().map(moment).transpose()?,
            recipients: all(&self.recipients, Fingerprint::parse)?,
            calls_per_minute_max: (self.calls_per_minute_max != 0).then_some(self.calls_per_minute_max),
            destination: match self.destination.as_str() {
                "" => None,
                tenant => Some(TenantId::parse(tenant).map_err(told)?),
            },
        })
    }
}

impl HoursTable {
    fn to_wire(&self) -> Result<pb::Hours, String> {
        let minute = |name: &str, text: &str| wire::clock(text).map_err(|rule| format!("hours.{name} {rule}"));
        Ok(pb::Hours {
            days: self.days.clone(),
            from_minute: minute("from", &self.from)?,
            to_minute: minute("to", &self.to)?,
        })
    }

    fn to_policy(&self) -> Result<Hours, String> {
        let days = Hours::days_named(self.days.iter().map(String::as_str)).map_err(told)?;
        let minute = |minute: u32| u16::try_from(minute).map_err(|error| error.to_string());
        let hours = self.to_wire()?;
        Ok(Hours { days, from_minute: minute(hours.from_minute)?, to_minute: minute(hours.to_minute)? })
    }
}

/// A moment in the words of policy.
pub(crate) fn moment(text: &str) -> Result<Timestamp, String> {
    let moment = wire::moment(text).map_err(|rule| format!("time {rule}"))?;
    Ok(Timestamp(moment.seconds.saturating_mul(1_000).saturating_add(i64::from(moment.nanos / 1_000_000))))
}

fn window(from: Option<&String>, to: Option<&String>) -> Result<Window, String> {
    let open = |text: Option<&String>| text.map(|text| moment(text)).transpose();
    Ok(Window { not_before: open(from)?, not_after: open(to)? })
}

/// What a text means; `None` when it is empty.
pub(crate) fn some<T>(text: &str, parse: impl Fn(&str) -> Result<T, fuda_core::Invalid>) -> Result<Option<T>, String> {
    if text.is_empty() { Ok(None) } else { parse(text).map(Some).map_err(told) }
}

/// What texts mean.
pub(crate) fn all<T>(
    texts: &[String],
    parse: impl Fn(&str) -> Result<T, fuda_core::Invalid>,
) -> Result<Vec<T>, String> {
    texts.iter().map(|text| parse(text).map_err(told)).collect()
}

/// The rule that was broken, in words.
pub(crate) fn told(invalid: fuda_core::Invalid) -> String {
    invalid.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: &str = r#"
        caller = "spiffe://fuda.test/workload/payroll"
        role = "workload"
        tenant = "acme"
        actions = ["detokenize", "verify_number"]
        kinds = ["my_number"]
        purposes = ["tax.withholding_slip"]
        scopes = ["payroll"]
        not_before = "2027-01-01T00:00:00.000Z"
        not_after = "2027-01-31T14:59:59.000Z"
        verify_guesses_per_day = 5
        end_user = "approved_job"
        relations = ["self", "spouse"]
        label = "executives"
        source_zones = ["hq"]
        recipients = ["abababababababababababababababababababababababababababababababab"]
        calls_per_minute_max = 60
        destination = "globex"
        trained_until = "2027-03-31T14:59:59.000Z"
        budget = { persons_max = 500, window_days = 31, alarm_percent = 90 }
        approved_job = { job = "payroll-monthly", handler = "oidc:corp/tanaka" }
        hours = [{ days = ["mon", "fri"], from = "09:30", to = "24:00" }]
    "#;

    #[test]
    fn what_the_api_says_of_a_grant_is_written_as_it_is_read() {
        let wire = toml::from_str::<GrantTable>(FULL).unwrap().into_wire().unwrap();
        let exported = GrantTable::from(wire.clone());
        let text = toml::to_string(&exported).unwrap();
        let again = toml::from_str::<GrantTable>(&text).unwrap();
        let (one, other) = (exported.to_policy(7).unwrap(), again.to_policy(7).unwrap());
        assert_eq!(one, other);
        assert_eq!((one.budget, one.conditions.hours.len()), (Some(Budget::new(500, 31)), 1));
        assert_eq!(one.conditions.calls_per_minute_max, Some(60));
        assert_eq!(again.into_wire().unwrap(), wire, "an export of an ordinary grant can be proposed");
    }

    #[test]
    fn a_grant_that_came_of_a_request_is_shown_and_not_proposed() {
        let wire = pb::Grant {
            given_to: "oidc:corp/tanaka".to_owned(),
            party: "bureau".to_owned(),
            ..toml::from_str::<GrantTable>(FULL).unwrap().into_wire().unwrap()
        };
        let table = GrantTable::from(wire);
        assert!(toml::to_string(&table).unwrap().contains("given_to"));
        let grant = table.to_policy(1).unwrap();
        assert!(grant.given().is_some() && grant.entrusted().is_some());
        assert!(table.into_wire().unwrap_err().starts_with("given_to must not be proposed"));
    }
}
