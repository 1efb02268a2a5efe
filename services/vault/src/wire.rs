//! Between the wire and the words of the domain. Every parse names field and rule; none repeats a value.

pub(crate) mod access;
pub(crate) mod condition;
pub(crate) mod purpose;
pub(crate) mod recipient;

use fuda_core::text::check_short;
use fuda_core::{
    CallerId, Day, Kind, Number, ProxyRelation, PurposeCode, RecordLabel, Relation, RequestId, ScopeId, SubjectRef,
    TenantId, Timestamp, Verification, VerificationDemand, VerificationDocument, VerificationMethod, Window,
    WorkReference, Zone, limits, parse_number,
};
use fuda_policy::{Action, ApprovedJob, Budget, EndUserRule, Grant, GrantId, Notified, RecoveryChoice, Role, Tenant};
use fuda_proto::tenant::v1 as tenant_pb;
use fuda_proto::vault::v1 as pb;
use fuda_state::row::{RecordRow, RecordStatus};
pub(crate) use fuda_wire::timestamp_to_wire;
use prost_types::Timestamp as ProtoTimestamp;

use crate::refusal::Refusal;

/// One number to store, checked.
pub(crate) struct NewNumber {
    pub(crate) kind: Kind,
    pub(crate) number: Number,
    pub(crate) subject: SubjectRef,
    pub(crate) principal: SubjectRef,
    pub(crate) relation: Relation,
    pub(crate) scope: ScopeId,
    pub(crate) notified: Vec<Notified>,
    pub(crate) verification: Option<Verification>,
    pub(crate) label: Option<RecordLabel>,
}

impl NewNumber {
    pub(crate) fn parse(item: &pb::TokenizeItem) -> Result<Self, Refusal> {
        let kind = kind(&item.kind)?;
        let subject = SubjectRef::parse(&item.subject)?;
        let principal = match item.principal_subject.as_str() {
            "" => subject.clone(),
            other => SubjectRef::parse(other)?,
        };
        let relation = relation(item.relation)?;
        if relation == Relation::SelfRelation && principal != subject {
            return Err(
                fuda_core::Invalid::new("principal_subject", "must be the subject for the relation self").into()
            );
        }
        Ok(Self {
            kind,
            number: parse_number(kind, &item.number)?,
            subject,
            principal,
            relation,
            scope: ScopeId::parse(&item.scope)?,
            notified: notified_purposes(&item.notified_purposes)?,
            verification: item.verification.as_ref().map(verification).transpose()?,
            label: match item.label.as_str() {
                "" => None,
                label => Some(RecordLabel::parse(label)?),
            },
        })
    }
}

/// The tenant of a call, when it is one at all. An impossible tenant is answered like an unknown one.
pub(crate) fn tenant(text: &str) -> Option<TenantId> {
    TenantId::parse(text).ok()
}

/// The request id of a call; drawn by the caller of this function when the field is empty.
pub(crate) fn request_id(text: &str) -> Result<Option<RequestId>, Refusal> {
    match text {
        "" => Ok(None),
        text => Ok(Some(RequestId::parse(text)?)),
    }
}

/// The caller's reference to the piece of work.
pub(crate) fn work_reference(text: &str) -> Result<Option<WorkReference>, Refusal> {
    match text {
        "" => Ok(None),
        text => Ok(Some(WorkReference::parse(text)?)),
    }
}

/// A kind by its code.
pub(crate) fn kind(code: &str) -> Result<Kind, Refusal> {
    Ok(Kind::from_code(code)?)
}

/// Page size as the API promises: default, lowered to the maximum, negative refused.
pub(crate) fn page_size(asked: i32) -> Result<usize, Refusal> {
    match usize::try_from(asked) {
        Ok(0) => Ok(limits::PAGE_SIZE_DEFAULT),
        Ok(asked) => Ok(asked.min(limits::PAGE_SIZE_MAX)),
        Err(_) => Err(fuda_core::Invalid::new("page_size", "must not be negative").into()),
    }
}

fn relation(number: i32) -> Result<Relation, Refusal> {
    Ok(match pb::Relation::try_from(number) {
        Ok(pb::Relation::Self_) => Relation::SelfRelation,
        Ok(pb::Relation::Spouse) => Relation::Spouse,
        Ok(pb::Relation::Dependant) => Relation::Dependant,
        Ok(pb::Relation::Payee) => Relation::Payee,
        Ok(pb::Relation::Landlord) => Relation::Landlord,
        Ok(pb::Relation::Shareholder) => Relation::Shareholder,
        Ok(pb::Relation::Unspecified) => return Err(Refusal::missing("relation")),
        Err(_) => return Err(fuda_core::Invalid::new("relation", "must be one of the listed relations").into()),
    })
}

fn relation_to_wire(relation: Relation) -> pb::Relation {
    match relation {
        Relation::SelfRelation => pb::Relation::Self_,
        Relation::Spouse => pb::Relation::Spouse,
        Relation::Dependant => pb::Relation::Dependant,
        Relation::Payee => pb::Relation::Payee,
        Relation::Landlord => pb::Relation::Landlord,
        Relation::Shareholder => pb::Relation::Shareholder,
    }
}

/// The notices of one record.
pub(crate) fn notified_purposes(purposes: &[pb::NotifiedPurpose]) -> Result<Vec<Notified>, Refusal> {
    if purposes.len() > limits::NOTIFIED_PURPOSES_MAX {
        return Err(Refusal::too_many("notified_purposes", "must hold at most 64 purposes"));
    }
    purposes.iter().map(notified).collect()
}

/// The record of an identity check.
pub(crate) fn verification(wire: &pb::Verification) -> Result<Verification, Refusal> {
    let documents = wire.documents.iter().map(|code| VerificationDocument::from_code(code));
    let verification = Verification {
        method: VerificationMethod::from_code(&wire.method)?,
        documents: documents.collect::<Result<_, _>>()?,
        verifier: wire.verifier.clone(),
        verified_on: Day::parse(&wire.verified_on)
            .map_err(|invalid| fuda_core::Invalid::new("verification.verified_on", invalid.rule))?,
        proxy: match wire.proxy.as_str() {
            "" => None,
            code => Some(ProxyRelation::from_code(code)?),
        },
    };
    verification.validate()?;
    Ok(verification)
}

fn verification_to_wire(verification: &Verification) -> pb::Verification {
    pb::Verification {
        method: verification.method.code().to_owned(),
        documents: verification.documents.iter().map(|document| document.code().to_owned()).collect(),
        verifier: verification.verifier.clone(),
        verified_on: verification.verified_on.to_string(),
        proxy: verification.proxy.map(|proxy| proxy.code().to_owned()).unwrap_or_default(),
    }
}

fn notified(purpose: &pb::NotifiedPurpose) -> Result<Notified, Refusal> {
    Ok(Notified {
        purpose: PurposeCode::parse(&purpose.purpose)?,
        window: window(purpose.not_before.as_ref(), purpose.not_after.as_ref())?,
        notice_version: match purpose.notice_version.as_str() {
            "" => None,
            text => {
                const RULE: &str = "must have at most 64 characters";
                check_short("notice_version", text, limits::NOTICE_VERSION_CHARS_MAX, RULE)?;
                Some(text.to_owned())
            }
        },
    })
}

fn window(from: Option<&ProtoTimestamp>, to: Option<&ProtoTimestamp>) -> Result<Window, Refusal> {
    let window = Window { not_before: from.map(timestamp).transpose()?, not_after: to.map(timestamp).transpose()? };
    match (window.not_before, window.not_after) {
        (Some(from), Some(to)) if from > to => {
            Err(fuda_core::Invalid::new("not_after", "must not be before not_before").into())
        }
        _ => Ok(window),
    }
}

pub(crate) fn timestamp(time: &ProtoTimestamp) -> Result<Timestamp, Refusal> {
    let bad = || Refusal::from(fuda_core::Invalid::new("time", "must be a valid protobuf timestamp"));
    if !(0..1_000_000_000).contains(&time.nanos) {
        return Err(bad());
    }
    let milliseconds = time.seconds.checked_mul(1_000).and_then(|ms| ms.checked_add(i64::from(time.nanos) / 1_000_000));
    milliseconds.map(Timestamp).ok_or_else(bad)
}

/// A record's metadata.
pub(crate) fn record_to_wire(row: &RecordRow) -> pb::Record {
    pb::Record {
        record: row.record.to_string(),
        tenant: row.tenant.to_string(),
        kind: row.kind.code().to_owned(),
        subject: row.subject.to_string(),
        principal_subject: row.principal.to_string(),
        relation: relation_to_wire(row.relation).into(),
        notified_purposes: row
            .notified
            .iter()
            .map(|notified| pb::NotifiedPurpose {
                purpose: notified.purpose.to_string(),
                not_before: notified.window.not_before.map(timestamp_to_wire),
                not_after: notified.window.not_after.map(timestamp_to_wire),
                notice_version: notified.notice_version.clone().unwrap_or_default(),
            })
            .collect(),
        scopes: row.tokens.iter().map(|token| token.scope.to_string()).collect(),
        record_version: row.current.0,
        status: match row.status {
            RecordStatus::Live => pb::RecordStatus::Live,
            RecordStatus::Disabled => pb::RecordStatus::Disabled,
            RecordStatus::Superseded => pb::RecordStatus::Superseded,
        }
        .into(),
        create_time: Some(timestamp_to_wire(row.created)),
        verification: row.verification.as_ref().map(verification_to_wire),
        label: row.label.as_ref().map(ToString::to_string).unwrap_or_default(),
    }
}

/// A tenant to be made.
pub(crate) fn new_tenant(wire: &tenant_pb::Tenant, created: Timestamp) -> Result<Tenant, Refusal> {
    let recovery = match (wire.recovery_public_key.as_slice(), wire.no_recovery) {
        ([], true) => RecoveryChoice::None,
        ([], false) => return Err(Refusal::missing("recovery_public_key or no_recovery")),
        (_, true) => {
            return Err(fuda_core::Invalid::new("no_recovery", "must not be set together with a recovery key").into());
        }
        (key, false) => RecoveryChoice::PublicKey(
            key.try_into().map_err(|_| fuda_core::Invalid::new("recovery_public_key", "must have 32 bytes"))?,
        ),
    };
    let tenant = Tenant {
        id: TenantId::parse(&wire.tenant)?,
        name: wire.display_name.clone(),
        time_zone: match wire.time_zone.as_str() {
            "" => Zone::tokyo(),
            name => Zone::parse(name)?,
        },
        key_domain: fuda_core::KeyDomainId::SHARED,
        recovery,
        purposes: wire.purposes.iter().map(|code| PurposeCode::parse(code)).collect::<Result<_, _>>()?,
        created,
        demand: wire.verification_demand.as_ref().map(verification_demand).transpose()?.unwrap_or_default(),
        recipients: Vec::new(),
        office_hours: wire.office_hours.as_ref().map(condition::office_hours).transpose()?.unwrap_or_default(),
    };
    tenant.validate()?;
    Ok(tenant)
}

/// A tenant as the API writes it.
pub(crate) fn tenant_to_wire(tenant: &Tenant) -> tenant_pb::Tenant {
    let (recovery_public_key, no_recovery) = match &tenant.recovery {
        RecoveryChoice::None => (Vec::new(), true),
        RecoveryChoice::PublicKey(key) => (key.to_vec(), false),
    };
    tenant_pb::Tenant {
        tenant: tenant.id.to_string(),
        display_name: tenant.name.clone(),
        time_zone: tenant.time_zone.name().to_owned(),
        purposes: tenant.purposes.iter().map(ToString::to_string).collect(),
        recovery_public_key,
        no_recovery,
        create_time: Some(timestamp_to_wire(tenant.created)),
        verification_demand: (!tenant.demand.is_none()).then(|| verification_demand_to_wire(&tenant.demand)),
        recipients: tenant.recipients.iter().map(recipient::recipient_to_wire).collect(),
        office_hours: Some(condition::office_hours_to_wire(&tenant.office_hours)),
    }
}

/// Which numbers a tenant takes only with the record of an identity check.
pub(crate) fn verification_demand(wire: &tenant_pb::VerificationDemand) -> Result<VerificationDemand, Refusal> {
    let demand = VerificationDemand {
        kinds: wire.kinds.iter().map(|code| Kind::from_code(code)).collect::<Result<_, _>>()?,
        relations: wire.relations.iter().map(|code| Relation::from_code(code)).collect::<Result<_, _>>()?,
    };
    demand.validate()?;
    Ok(demand)
}

/// The same as the API writes it.
pub(crate) fn verification_demand_to_wire(demand: &VerificationDemand) -> tenant_pb::VerificationDemand {
    tenant_pb::VerificationDemand {
        kinds: demand.kinds.iter().map(|kind| kind.code().to_owned()).collect(),
        relations: demand.relations.iter().map(|relation| relation.code().to_owned()).collect(),
    }
}

/// A grant to be proposed, under an id drawn by the node.
pub(crate) fn new_grant(wire: &tenant_pb::Grant, id: GrantId) -> Result<Grant, Refusal> {
    Ok(Grant {
        id,
        caller: CallerId::parse(&wire.caller)?,
        role: role(wire.role)?,
        tenant: match wire.tenant.as_str() {
            "" => None,
            tenant => Some(TenantId::parse(tenant)?),
        },
        actions: wire
            .actions
            .iter()
            .map(|code| {
                Action::from_code(code).ok_or(fuda_core::Invalid::new("actions", "must be codes of known actions"))
            })
            .collect::<Result<_, _>>()?,
        kinds: wire.kinds.iter().map(|code| kind(code)).collect::<Result<_, _>>()?,
        purposes: wire.purposes.iter().map(|code| PurposeCode::parse(code)).collect::<Result<_, _>>()?,
        scopes: wire.scopes.iter().map(|code| ScopeId::parse(code)).collect::<Result<_, _>>()?,
        window: window(wire.not_before.as_ref(), wire.not_after.as_ref())?,
        budget: wire.budget.as_ref().map(budget).transpose()?,
        verify_guesses_per_day: match wire.verify_guesses_per_day {
            0 if wire.actions.iter().any(|code| code == Action::VerifyNumber.code()) => {
                guesses(limits::VERIFY_GUESSES_PER_DAY_DEFAULT)?
            }
            asked => guesses(asked)?,
        },
        end_user: end_user_rule(wire)?,
        conditions: condition::conditions(wire)?,
        circumstances: access::circumstances(wire)?,
    })
}

fn end_user_rule(wire: &tenant_pb::Grant) -> Result<Option<EndUserRule>, Refusal> {
    use tenant_pb::EndUserRule as Wire;
    let rule = Wire::try_from(wire.end_user)
        .map_err(|_| fuda_core::Invalid::new("end_user", "must be one of the listed rules"))?;
    match (rule, &wire.approved_job) {
        (Wire::Unspecified | Wire::None, None) => Ok(None),
        (Wire::Required, None) => Ok(Some(EndUserRule::Required)),
        (Wire::ApprovedJob, Some(job)) => Ok(Some(EndUserRule::ApprovedJob(ApprovedJob {
            job: WorkReference::parse(&job.job)?,
            handler: CallerId::parse(&job.handler)?,
            window: window(job.not_before.as_ref(), job.not_after.as_ref())?,
        }))),
        (Wire::ApprovedJob, None) => Err(Refusal::missing("approved_job")),
        (_, Some(_)) => Err(fuda_core::Invalid::new("approved_job", "must stand with the rule approved_job").into()),
    }
}

fn end_user_rule_to_wire(rule: Option<&EndUserRule>) -> (tenant_pb::EndUserRule, Option<tenant_pb::ApprovedJob>) {
    match rule {
        None => (tenant_pb::EndUserRule::None, None),
        Some(EndUserRule::Required) => (tenant_pb::EndUserRule::Required, None),
        Some(EndUserRule::ApprovedJob(job)) => {
            let wire = tenant_pb::ApprovedJob {
                job: job.job.to_string(),
                handler: job.handler.to_string(),
                not_before: job.window.not_before.map(timestamp_to_wire),
                not_after: job.window.not_after.map(timestamp_to_wire),
            };
            (tenant_pb::EndUserRule::ApprovedJob, Some(wire))
        }
    }
}

/// A grant as the API writes it.
pub(crate) fn grant_to_wire(grant: &Grant) -> tenant_pb::Grant {
    let (end_user, approved_job) = end_user_rule_to_wire(grant.end_user.as_ref());
    let conditions = condition::conditions_to_wire(&grant.conditions);
    tenant_pb::Grant {
        grant: grant.id.to_string(),
        caller: grant.caller.to_string(),
        role: role_to_wire(grant.role).into(),
        tenant: grant.tenant.as_ref().map(ToString::to_string).unwrap_or_default(),
        actions: grant.actions.iter().map(|action| action.code().to_owned()).collect(),
        kinds: grant.kinds.iter().map(|kind| kind.code().to_owned()).collect(),
        purposes: grant.purposes.iter().map(ToString::to_string).collect(),
        scopes: grant.scopes.iter().map(ToString::to_string).collect(),
        not_before: grant.window.not_before.map(timestamp_to_wire),
        not_after: grant.window.not_after.map(timestamp_to_wire),
        budget: grant.budget.map(|budget| tenant_pb::Budget {
            persons_max: budget.persons_max,
            window_days: budget.window_days.into(),
            alarm_percent: budget.alarm_percent.map(u32::from).unwrap_or_default(),
        }),
        verify_guesses_per_day: grant.verify_guesses_per_day.into(),
        end_user: end_user.into(),
        approved_job,
        ..access::circumstances_to_wire(grant, conditions)
    }
}

fn guesses(asked: u32) -> Result<u16, Refusal> {
    Ok(u16::try_from(asked).map_err(|_| fuda_core::Invalid::new("verify_guesses_per_day", "must be at most 65535"))?)
}

fn budget(wire: &tenant_pb::Budget) -> Result<Budget, Refusal> {
    let window_days = u16::try_from(wire.window_days)
        .map_err(|_| fuda_core::Invalid::new("budget.window_days", "must be at most 65535"))?;
    let alarm_percent = match wire.alarm_percent {
        0 => None,
        percent => Some(
            u8::try_from(percent)
                .map_err(|_| fuda_core::Invalid::new("budget.alarm_percent", "must be at most 100"))?,
        ),
    };
    Ok(Budget { persons_max: wire.persons_max, window_days, alarm_percent })
}

fn role(number: i32) -> Result<Role, Refusal> {
    Ok(match tenant_pb::Role::try_from(number) {
        Ok(tenant_pb::Role::Owner) => Role::Owner,
        Ok(tenant_pb::Role::Approver) => Role::Approver,
        Ok(tenant_pb::Role::Operator) => Role::Operator,
        Ok(tenant_pb::Role::Auditor) => Role::Auditor,
        Ok(tenant_pb::Role::Workload) => Role::Workload,
        Ok(tenant_pb::Role::Handler) => Role::Handler,
        Ok(tenant_pb::Role::EntrustedParty) => Role::EntrustedParty,
        Ok(tenant_pb::Role::Unspecified) => return Err(Refusal::missing("role")),
        Err(_) => return Err(fuda_core::Invalid::new("role", "must be one of the listed roles").into()),
    })
}

fn role_to_wire(role: Role) -> tenant_pb::Role {
    match role {
        Role::Owner => tenant_pb::Role::Owner,
        Role::Approver => tenant_pb::Role::Approver,
        Role::Operator => tenant_pb::Role::Operator,
        Role::Auditor => tenant_pb::Role::Auditor,
        Role::Workload => tenant_pb::Role::Workload,
        Role::Handler => tenant_pb::Role::Handler,
        Role::EntrustedParty => tenant_pb::Role::EntrustedParty,
    }
}
