//! The policy text as an engine: the only file that knows Cedar.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    str::FromStr,
};

use cedar_policy::{
    Authorizer, Context, Decision, Entities, Entity, EntityId, EntityTypeName, EntityUid, PolicyId, PolicySet,
    ResourceConstraint, RestrictedExpression, Schema, ValidationMode, Validator,
};
use fuda_core::{Delivery, TenantId, Timestamp, Window};

use crate::{Action, EndUserRule, Error, Grant, Policy, Request};

/// The model of this release, see the file.
const SCHEMA: &str = include_str!("../data/policy.cedarschema");

/// Bytes of one policy id: it stands in every ledger entry its policy decides.
const POLICY_ID_BYTES_MAX: usize = 64;

/// A validated policy text with its schema. Building one takes milliseconds; it depends on the text alone.
pub(crate) struct Engine {
    schema: Schema,
    /// One set per action: the policies whose scope can match it. Cedar evaluates every policy of a set, so that
    /// slicing here halves the work of a decision.
    policies: BTreeMap<Action, PolicySet>,
    actions: BTreeMap<Action, EntityUid>,
    /// The action entities of the schema, part of every store of entities.
    hierarchy: Entities,
    authorizer: Authorizer,
    types: Types,
    vault: EntityUid,
}

/// A grant in the engine's words. Built once per grant, because its sets cost more than a decision.
pub(crate) struct Subject {
    entities: Entities,
    caller: EntityUid,
    grant: RestrictedExpression,
    /// When the grant's approved job may run.
    job: Option<Window>,
}

/// What the catalogue and the tenant say about the purpose and the recipient of a request; all false without them.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct PurposeFlags {
    pub(crate) known: bool,
    pub(crate) retired: bool,
    pub(crate) enabled: bool,
    pub(crate) reveals: bool,
    /// How a number may leave the vault for it.
    pub(crate) delivery: Delivery,
    /// Persons that one occasion may cover, if it needs two people.
    pub(crate) occasion_persons_max: Option<u32>,
    /// The recipient that the request names, if the tenant has it.
    pub(crate) recipient: Option<Registered>,
}

/// What the tenant says about a recipient.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Registered {
    /// Whether it is registered for the request's purpose.
    pub(crate) for_purpose: bool,
    pub(crate) not_after: Timestamp,
}

impl Registered {
    /// Whether numbers may be sealed to it now, as far as the registration goes.
    fn is_open(self, now: Timestamp) -> bool {
        self.for_purpose && now <= self.not_after
    }
}

impl PurposeFlags {
    /// Whether a number may be delivered this way: what may be shown may also be sealed, and nothing else differs.
    pub(crate) fn takes(self, way: Delivery) -> bool {
        self.delivery == way || (self.delivery == Delivery::Shown && way == Delivery::Sealed)
    }

    /// Whether the grant will do: any grant, unless the purpose needs two people and so a grant of its own.
    pub(crate) fn is_occasion(self, grant: &Grant) -> bool {
        let Some(persons_max) = self.occasion_persons_max else { return true };
        grant.occasion_persons().is_some_and(|persons| persons <= persons_max)
    }
}

/// The ids of the policies that decided, in order.
pub(crate) enum Verdict {
    Permitted(Vec<String>),
    /// Empty when no policy permitted, and none forbade.
    Forbidden(Vec<String>),
}

struct Types {
    caller: EntityTypeName,
    tenant: EntityTypeName,
    grant: EntityTypeName,
}

impl Engine {
    /// Parses and strictly validates a policy text.
    pub(crate) fn build(text: &str) -> Result<Self, Error> {
        let schema = Schema::from_str(SCHEMA).map_err(engine)?;
        let all = parse(text)?;
        validate(&schema, &all)?;
        let types = Types { caller: type_name("Caller")?, tenant: type_name("Tenant")?, grant: type_name("Grant")? };
        let vault = EntityUid::from_type_name_and_id(type_name("Vault")?, EntityId::new("vault"));
        let action_type = type_name("Action")?;
        let hierarchy = schema.action_entities().map_err(engine)?;
        let mut actions = BTreeMap::new();
        let mut policies = BTreeMap::new();
        // No role has Bootstrap, the schema does not know it, and no text can permit it.
        for action in Action::ALL.into_iter().filter(|action| *action != Action::Bootstrap) {
            let uid = EntityUid::from_type_name_and_id(action_type.clone(), EntityId::new(action.code()));
            policies.insert(action, slice(&all, action, &uid, &hierarchy)?);
            actions.insert(action, uid);
        }
        Ok(Self { schema, policies, actions, hierarchy, authorizer: Authorizer::new(), types, vault })
    }

    /// Translates a grant.
    pub(crate) fn subject(&self, grant: &Grant) -> Result<Subject, Error> {
        let caller = self.types.uid(&self.types.caller, grant.caller.as_str());
        let uid = self.types.uid(&self.types.grant, &grant.id.to_string());
        let mut attributes = HashMap::from([
            ("caller".to_owned(), RestrictedExpression::new_entity_uid(caller.clone())),
            ("role".to_owned(), text(grant.role.code())),
            ("actions".to_owned(), set(grant.actions.iter().map(|action| action.code()))),
            ("kinds".to_owned(), set(grant.kinds.iter().map(|kind| kind.code()))),
            ("only_public_kinds".to_owned(), RestrictedExpression::new_bool(grant.only_public_kinds())),
            ("purposes".to_owned(), set(grant.purposes.iter().map(|purpose| purpose.as_str()))),
            ("scopes".to_owned(), set(grant.scopes.iter().map(|scope| scope.as_str()))),
            ("end_user".to_owned(), text(EndUserRule::code(grant.end_user.as_ref()))),
            (
                "occasion_persons".to_owned(),
                RestrictedExpression::new_long(grant.occasion_persons().map_or(0, i64::from)),
            ),
            ("not_before".to_owned(), moment(grant.window.not_before, i64::MIN)),
            ("not_after".to_owned(), moment(grant.window.not_after, i64::MAX)),
        ]);
        if let Some(tenant) = &grant.tenant {
            let tenant = self.types.uid(&self.types.tenant, tenant.as_str());
            attributes.insert("tenant".to_owned(), RestrictedExpression::new_entity_uid(tenant));
        }
        if let Some(destination) = &grant.conditions.destination {
            attributes.insert("destination".to_owned(), text(destination.as_str()));
        }
        let role = HashMap::from([("role".to_owned(), text(grant.role.code()))]);
        let entities = [
            Entity::new(caller.clone(), role, HashSet::new()).map_err(engine)?,
            Entity::new(uid.clone(), attributes, HashSet::new()).map_err(engine)?,
        ];
        let entities = self.hierarchy.clone().add_entities(entities, Some(&self.schema)).map_err(engine)?;
        let job = match &grant.end_user {
            Some(EndUserRule::ApprovedJob(job)) => Some(job.window),
            Some(EndUserRule::Required) | None => None,
        };
        Ok(Subject { entities, caller, grant: RestrictedExpression::new_entity_uid(uid), job })
    }

    /// Evaluates the text for a request inside one grant. `resource` is the tenant, or `None` for the whole vault.
    ///
    /// Everything unexpected forbids. In particular a policy that fails to evaluate (an overflow, say) forbids, where
    /// Cedar would skip it: a skipped `forbid` would permit.
    pub(crate) fn evaluate(
        &self,
        subject: &Subject,
        request: &Request,
        resource: Option<&TenantId>,
        purpose: PurposeFlags,
        now: Timestamp,
    ) -> Verdict {
        let none = || Verdict::Forbidden(Vec::new());
        let (Some(action), Some(policies)) = (self.actions.get(&request.action), self.policies.get(&request.action))
        else {
            return none();
        };
        let resource =
            resource.map_or_else(|| self.vault.clone(), |tenant| self.types.uid(&self.types.tenant, tenant.as_str()));
        let Ok(context) = Context::from_pairs(facts(subject, request, purpose, now)) else { return none() };
        // The question is built from types, so that checking it against the schema would cost 2.5 µs to learn nothing.
        // The unit tests do check every question; and were one ill-typed, its policies would fail and so forbid.
        let (principal, schema) = (subject.caller.clone(), cfg!(test).then_some(&self.schema));
        let Ok(question) = cedar_policy::Request::new(principal, action.clone(), resource, context, schema) else {
            return none();
        };
        let answer = self.authorizer.is_authorized(&question, policies, &subject.entities);
        let diagnostics = answer.diagnostics();
        let reasons: BTreeSet<&str> = diagnostics.reason().map(AsRef::as_ref).collect();
        let ids = reasons.into_iter().map(str::to_owned).collect();
        let permitted = answer.decision() == Decision::Allow && diagnostics.errors().next().is_none();
        if permitted { Verdict::Permitted(ids) } else { Verdict::Forbidden(ids) }
    }
}

impl Types {
    fn uid(&self, name: &EntityTypeName, id: &str) -> EntityUid {
        EntityUid::from_type_name_and_id(name.clone(), EntityId::new(id))
    }
}

/// Parses the text and gives each policy its `@id` as id, since Cedar's own ids are positions.
fn parse(text: &str) -> Result<PolicySet, Error> {
    if text.len() > Policy::TEXT_BYTES_MAX {
        return Err(Error::TextTooLong { bytes: text.len(), max: Policy::TEXT_BYTES_MAX });
    }
    let parsed = PolicySet::from_str(text).map_err(|error| Error::Parse(error.to_string()))?;
    if parsed.num_of_templates() > 0 {
        return Err(Error::Template);
    }
    let policies = parsed.num_of_policies();
    if policies > Policy::POLICIES_MAX {
        return Err(Error::TooManyPolicies { policies, max: Policy::POLICIES_MAX });
    }
    let mut named = PolicySet::new();
    for position in 0..policies {
        // Cedar numbers the policies of a text in order: `policy0`, `policy1`, …
        let Some(policy) = parsed.policy(&PolicyId::new(format!("policy{position}"))) else {
            return Err(Error::Engine("policy numbering changed".to_owned()));
        };
        let position = position + 1;
        let Some(id) = policy.annotation("id").filter(|id| is_policy_id(id)) else {
            return Err(Error::PolicyId { position, rule: "must have an `@id` of 1 to 64 characters [a-z0-9._-]" });
        };
        named
            .add(policy.new_id(PolicyId::new(id)))
            .map_err(|_| Error::PolicyId { position, rule: "must not repeat an `@id`" })?;
    }
    Ok(named)
}

/// A warning is an error here: it says that a policy can never apply or contains look-alike characters, and a rule
/// that does not do what it seems to say must not become law.
fn validate(schema: &Schema, policies: &PolicySet) -> Result<(), Error> {
    let result = Validator::new(schema.clone()).validate(policies, ValidationMode::Strict);
    if result.validation_passed_without_warnings() {
        return Ok(());
    }
    let errors = result.validation_errors().map(ToString::to_string);
    let findings: BTreeSet<String> = errors.chain(result.validation_warnings().map(ToString::to_string)).collect();
    Err(Error::Schema(findings.into_iter().collect::<Vec<_>>().join("; ")))
}

/// The policies whose scope can match the action and what it is about. Each policy that stays costs about a
/// microsecond per decision.
fn slice(all: &PolicySet, action: Action, uid: &EntityUid, hierarchy: &Entities) -> Result<PolicySet, Error> {
    use cedar_policy::ActionConstraint::{Any, Eq, In};
    let under = |group: &EntityUid| group == uid || hierarchy.is_ancestor_of(group, uid);
    let about = |policy: &cedar_policy::Policy| match policy.resource_constraint() {
        ResourceConstraint::Is(only) if action.needs_tenant() => only.basename() == "Tenant",
        ResourceConstraint::Is(only) if action.whole_vault() => only.basename() == "Vault",
        _ => true,
    };
    let matches = |policy: &&cedar_policy::Policy| {
        let acts = match policy.action_constraint() {
            Any => true,
            Eq(only) => only == *uid,
            In(groups) => groups.iter().any(under),
        };
        acts && about(policy)
    };
    PolicySet::from_policies(all.policies().filter(matches).cloned()).map_err(engine)
}

fn facts(
    subject: &Subject,
    request: &Request,
    purpose: PurposeFlags,
    now: Timestamp,
) -> impl Iterator<Item = (String, RestrictedExpression)> {
    let named = [
        ("kind", request.kind.map(|kind| text(kind.code()))),
        ("scope", request.scope.as_ref().map(|scope| text(scope.as_str()))),
        ("to_scope", request.to_scope.as_ref().map(|scope| text(scope.as_str()))),
        ("recipient", request.recipient.map(|recipient| text(&recipient.to_string()))),
        ("destination", request.destination.as_ref().map(|tenant| text(tenant.as_str()))),
        ("label", request.label.as_ref().map(|label| text(label.as_str()))),
        ("source_zone", request.source.as_ref().map(|zone| text(zone.as_str()))),
        ("purpose", request.purpose.as_ref().map(|purpose| text(purpose.as_str()))),
        ("action", Some(text(request.action.code()))),
        ("grant", Some(subject.grant.clone())),
        ("now", Some(RestrictedExpression::new_long(now.as_millis()))),
        ("end_user_proven", Some(RestrictedExpression::new_bool(request.proof.end_user().is_some()))),
        ("job_open", Some(RestrictedExpression::new_bool(subject.job.is_some_and(|job| job.contains(now))))),
        ("recipient_open", Some(RestrictedExpression::new_bool(purpose.recipient.is_some_and(|to| to.is_open(now))))),
        ("purpose_known", Some(RestrictedExpression::new_bool(purpose.known && !purpose.retired))),
        ("purpose_enabled", Some(RestrictedExpression::new_bool(purpose.enabled))),
        ("purpose_reveals", Some(RestrictedExpression::new_bool(purpose.reveals))),
        ("purpose_delivery", Some(text(purpose.delivery.code()))),
        ("purpose_two_person", Some(RestrictedExpression::new_bool(purpose.occasion_persons_max.is_some()))),
        (
            "purpose_persons_max",
            Some(RestrictedExpression::new_long(purpose.occasion_persons_max.map_or(0, i64::from))),
        ),
    ];
    named.into_iter().filter_map(|(name, value)| value.map(|value| (name.to_owned(), value)))
}

fn is_policy_id(id: &str) -> bool {
    (1..=POLICY_ID_BYTES_MAX).contains(&id.len())
        && id.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'))
}

fn type_name(name: &str) -> Result<EntityTypeName, Error> {
    EntityTypeName::from_str(name).map_err(engine)
}

fn text(value: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(value.to_owned())
}

fn set<'a>(values: impl Iterator<Item = &'a str>) -> RestrictedExpression {
    RestrictedExpression::new_set(values.map(text))
}

fn moment(at: Option<Timestamp>, open_end: i64) -> RestrictedExpression {
    RestrictedExpression::new_long(at.map_or(open_end, Timestamp::as_millis))
}

fn engine(error: impl std::fmt::Display) -> Error {
    Error::Engine(error.to_string())
}
