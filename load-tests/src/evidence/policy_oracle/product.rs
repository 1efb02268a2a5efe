//! The same worlds in the words of the product, and the product's decision.

use anyhow::{Result, anyhow};
use fuda_core::{
    CallerId, Catalogue, KeyDomainId, Kind, PolicyVersion, PurposeCode, RecordLabel, Relation, ScopeId, SourceZone,
    SubjectRef, TenantId, Timestamp, VerificationDemand, Window, WorkReference, Zone,
};
use fuda_policy::{
    Action, ApprovedJob, Budget, Conditions, EndUserRule, Grant as ProductGrant, GrantId, Hours, Notified, Policy,
    PolicyData, RecordFacts, RecoveryChoice, Request, Role, Subjects, Tenant, limits,
};

use super::world::{Call, Grant, Record, TENANTS, Text, WEDNESDAY_NOON, World};

/// The time zones of [`TENANTS`].
const ZONES: [&str; 2] = ["Asia/Tokyo", "UTC"];
/// 2027-01-15, in milliseconds.
const BEHIND_EVERY_CASE: i64 = 1_800_000_000_000;

pub(super) fn caller(name: &str) -> Result<CallerId> {
    Ok(CallerId::parse(&format!("spiffe://oracle.test/{name}"))?)
}

pub(super) fn text(more: &[Text]) -> String {
    let more: Vec<String> = more.iter().map(|text| forbid(*text)).collect();
    format!("{}\n{}", Policy::DEFAULT_TEXT, more.join("\n"))
}

fn forbid(text: Text) -> String {
    let reveals = r#"action in Action::"reveal""#;
    let reads = r#"action in [Action::"read_ledger", Action::"get_tenant"]"#;
    let (action, when) = match text {
        Text::NoBankAccounts => (reveals, r#"context has kind && context.kind == "bank_account""#.to_owned()),
        Text::NoExecutives => (reveals, r#"context has label && context.label == "executives""#.to_owned()),
        Text::NoGuests => ("action", r#"context has source_zone && context.source_zone == "guest""#.to_owned()),
        Text::NoGuesses => ("action", r#"context.action == "verify_number""#.to_owned()),
        Text::NoCrm => (reveals, r#"context has scope && context.scope == "crm""#.to_owned()),
        Text::NoFees => ("action", r#"context has purpose && context.purpose == "tax.fee_record""#.to_owned()),
        Text::NoUmbrella => (reads, r#"resource == Tenant::"umbrella""#.to_owned()),
        Text::NotEarly => (reveals, format!("context.now < {WEDNESDAY_NOON}")),
        Text::NotLate => (reveals, format!("context.now - {WEDNESDAY_NOON} > 0")),
    };
    let id = format!("{text:?}").to_lowercase();
    format!(r#"@id("oracle.{id}") forbid (principal, {action}, resource) when {{ {when} }};"#)
}

pub(super) fn tenant(world: &World, place: usize) -> Result<Tenant> {
    let (id, zone) = (TENANTS.get(place), ZONES.get(place));
    let enabled = world.enabled.get(place).map_or(&[][..], Vec::as_slice);
    Ok(Tenant {
        id: TenantId::parse(id.copied().unwrap_or_default())?,
        name: "Oracle K.K.".to_owned(),
        time_zone: Zone::parse(zone.copied().unwrap_or_default())?,
        key_domain: KeyDomainId::SHARED,
        recovery: RecoveryChoice::None,
        purposes: enabled.iter().map(|code| PurposeCode::parse(code)).collect::<Result<_, _>>()?,
        created: Timestamp::EPOCH,
        demand: VerificationDemand::default(),
        recipients: Vec::new(),
        office_hours: fuda_policy::OfficeHours::default(),
    })
}

#[allow(clippy::needless_update, reason = "a later field shall not need a change here")]
pub(super) fn grant(grant: &Grant) -> Result<ProductGrant> {
    let workload = grant.caller != "auditor";
    let actions: Vec<Action> = grant.actions.iter().filter_map(|code| Action::from_code(code)).collect();
    let reveals = actions.iter().any(|action| action.reveals());
    // What hands numbers out must be counted and end; neither is ever reached here.
    let hands_out = actions.iter().any(|action| action.hands_out());
    Ok(ProductGrant {
        id: grant_id(grant.id),
        caller: caller(grant.caller)?,
        role: if workload { Role::Workload } else { Role::Auditor },
        tenant: grant.tenant.map(TenantId::parse).transpose()?,
        kinds: grant.kinds.iter().map(|code| Kind::from_code(code)).collect::<Result<_, _>>()?,
        purposes: grant.purposes.iter().map(|code| PurposeCode::parse(code)).collect::<Result<_, _>>()?,
        scopes: grant.scopes.iter().map(|code| ScopeId::parse(code)).collect::<Result<_, _>>()?,
        window: window(grant.from, grant.until.or(hands_out.then_some(BEHIND_EVERY_CASE))),
        budget: hands_out.then(|| Budget::new(limits::BUDGET_PERSONS_MAX, limits::BUDGET_WINDOW_DAYS_MAX)),
        // Guesses are counted in apply and are not what this is about.
        verify_guesses_per_day: if actions.contains(&Action::VerifyNumber) { 100 } else { 0 },
        end_user: if reveals { Some(job()?) } else { None },
        actions,
        conditions: Conditions {
            relations: grant.relations.as_ref().map(|codes| relations(codes)).transpose()?,
            subjects: subjects(grant)?,
            hours: grant.hours.iter().map(hours).collect(),
            source_zones: grant.zones.iter().map(|zone| SourceZone::parse(zone)).collect::<Result<_, _>>()?,
            trained_until: grant.trained_until.map(Timestamp),
            ..Conditions::default()
        },
        ..template()?
    })
}

/// Grants that reveal must say who answers; whether end users are proven is not what this is about.
fn job() -> Result<EndUserRule> {
    Ok(EndUserRule::ApprovedJob(ApprovedJob {
        job: WorkReference::parse("oracle")?,
        handler: CallerId::parse("oidc:corp/tanaka")?,
        window: Window::ALWAYS,
    }))
}

/// Whatever a grant has beyond what the oracle is about.
fn template() -> Result<ProductGrant> {
    fuda_policy::samples::grants()?.into_iter().last().ok_or(anyhow!("no sample grant"))
}

fn relations(codes: &[&str]) -> Result<fuda_core::RelationSet> {
    Ok(codes.iter().map(|code| Relation::from_code(code)).collect::<Result<_, _>>()?)
}

fn subjects(grant: &Grant) -> Result<Subjects> {
    Ok(match (&grant.subjects, grant.label) {
        (Some(subjects), _) => {
            Subjects::Listed(subjects.iter().map(|text| SubjectRef::parse(text)).collect::<Result<_, _>>()?)
        }
        (None, Some(label)) => Subjects::Labelled(RecordLabel::parse(label)?),
        (None, None) => Subjects::All,
    })
}

fn hours((days, from_minute, to_minute): &(Vec<u8>, u16, u16)) -> Hours {
    let days = days.iter().fold(0, |days, day| days | 1 << day);
    Hours { days, from_minute: *from_minute, to_minute: *to_minute }
}

pub(super) fn grant_id(id: u8) -> GrantId {
    // The first byte keeps them apart from the grants that the state machine makes at bootstrap.
    let mut bytes = [0; 16];
    bytes[15] = id;
    GrantId(bytes)
}

#[allow(clippy::needless_update, reason = "a later field shall not need a change here")]
pub(super) fn data(world: &World) -> Result<PolicyData> {
    let catalogue = Catalogue::from_toml(Catalogue::default_text())?;
    Ok(PolicyData {
        version: PolicyVersion(1),
        text: text(&world.text),
        tenants: vec![tenant(world, 0)?, tenant(world, 1)?],
        grants: world.grants.iter().map(grant).collect::<Result<_>>()?,
        catalogue,
        ..fuda_policy::samples::policy_data(Catalogue::default(), Timestamp::EPOCH)?
    })
}

pub(super) fn request(call: &Call) -> Result<Request> {
    let action = Action::from_code(call.action).ok_or(anyhow!("no action `{}`", call.action))?;
    let caller = caller(call.caller)?;
    let request = match call.tenant {
        Some(tenant) => Request::tenant(action, caller, TenantId::parse(tenant)?),
        None => Request::vault(action, caller),
    };
    Ok(Request {
        purpose: call.purpose.map(PurposeCode::parse).transpose()?,
        scope: call.scope.map(ScopeId::parse).transpose()?,
        source: call.zone.map(SourceZone::parse).transpose()?,
        ..request
    })
}

/// A record's facts, owned.
pub(super) struct Facts {
    pub(super) tenant: TenantId,
    pub(super) kind: Kind,
    pub(super) subject: SubjectRef,
    pub(super) label: Option<RecordLabel>,
    pub(super) relation: Relation,
    pub(super) scope: ScopeId,
    pub(super) notified: Vec<Notified>,
    disabled: bool,
}

impl Facts {
    pub(super) fn of(record: &Record) -> Result<Self> {
        let notified = record.notified.iter().map(|(purpose, from, until)| {
            Ok(Notified { purpose: PurposeCode::parse(purpose)?, window: window(*from, *until), notice_version: None })
        });
        Ok(Self {
            tenant: TenantId::parse(record.tenant)?,
            kind: Kind::from_code(record.kind)?,
            subject: SubjectRef::parse(record.subject)?,
            label: record.label.map(RecordLabel::parse).transpose()?,
            relation: Relation::from_code(record.relation)?,
            scope: ScopeId::parse(record.scope)?,
            notified: notified.collect::<Result<_>>()?,
            disabled: record.disabled,
        })
    }

    pub(super) fn facts(&self) -> RecordFacts<'_> {
        RecordFacts {
            tenant: &self.tenant,
            kind: self.kind,
            subject: &self.subject,
            label: self.label.as_ref(),
            relation: self.relation,
            scope: Some(&self.scope),
            notified: &self.notified,
            disabled: self.disabled,
            verified: false,
        }
    }
}

/// The grant that allows the call, as the product decides it.
pub(super) fn decide(policy: &Policy, call: &Call) -> Result<Option<GrantId>> {
    let (request, now) = (request(call)?, Timestamp(call.now));
    if !request.action.needs_scope() {
        return Ok(policy.decide(&request, now).ok().map(|permit| permit.grant()));
    }
    let owned = call.record.as_ref().map(Facts::of).transpose()?;
    let records = [owned.as_ref().map(Facts::facts)];
    let mut shares = policy.decide_records(&request, &records, now).into_iter();
    let (Some(share), None) = (shares.next(), shares.next()) else { return Err(anyhow!("one record is one share")) };
    let allowed = matches!(share.items.as_slice(), [(0, Ok(()))]) && owned.is_some();
    Ok(share.decision.ok().filter(|_| allowed).map(|permit| permit.grant()))
}

fn window(from: Option<i64>, until: Option<i64>) -> Window {
    Window { not_before: from.map(Timestamp), not_after: until.map(Timestamp) }
}
