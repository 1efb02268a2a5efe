//! The policy text as an engine: the only file that knows Cedar.

mod clock;
mod facts;
mod memo;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use cedar_policy::{
    Authorizer, Context, Decision, Entities, Entity, EntityId, EntityTypeName, EntityUid, PolicyId, PolicySet,
    ResourceConstraint, RestrictedExpression, Schema, ValidationMode, Validator, pst,
};
use fuda_core::{Delivery, TenantId, Timestamp, Window};

use self::{clock::Clock, facts::text, memo::Memo};
use crate::{Action, EndUserRule, Error, Grant, Policy, Request};

pub(crate) use self::facts::{Class, Facts};

/// The model of this release, see the file.
const SCHEMA: &str = include_str!("../data/policy.cedarschema");

/// Bytes of one policy id: it stands in every ledger entry its policy decides.
const POLICY_ID_BYTES_MAX: usize = 64;

/// A validated policy text with its schema. Building one takes milliseconds; it depends on the text alone.
pub(crate) struct Engine {
    schema: Schema,
    slices: BTreeMap<Action, Slice>,
    /// The action entities of the schema, part of every store of entities.
    hierarchy: Entities,
    authorizer: Authorizer,
    types: Types,
    vault: EntityUid,
    counts: Counts,
}

/// The policies whose scope can match one action. Cedar evaluates every policy of a set, so that slicing here halves
/// the work of a decision.
struct Slice {
    action: EntityUid,
    policies: PolicySet,
    clock: Clock,
}

#[derive(Default)]
struct Counts {
    asked: AtomicU64,
    evaluated: AtomicU64,
}

/// How often a policy text was asked since it is in force, by all versions of the policy with the same text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextCounts {
    /// Questions.
    pub asked: u64,
    /// Those that were evaluated; the others were answered as the same question before.
    pub evaluated: u64,
}

/// A grant in the engine's words, and what the text said about it. Built once per grant, because its sets cost more
/// than a decision.
pub(crate) struct Subject {
    /// The text the answers are by: a grant under another text is another subject.
    engine: Arc<Engine>,
    entities: Entities,
    caller: EntityUid,
    grant: RestrictedExpression,
    window: Window,
    /// When the grant's approved job may run.
    job: Option<Window>,
    memo: Memo,
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Permitted(PolicyIds),
    /// Empty when no policy permitted, and none forbade.
    Forbidden(PolicyIds),
}

/// Ids of policies. Shared, because every decision hands them on.
pub(crate) type PolicyIds = Arc<[String]>;

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
        let mut slices = BTreeMap::new();
        // No role has Bootstrap, the schema does not know it, and no text can permit it.
        for action in Action::ALL.into_iter().filter(|action| *action != Action::Bootstrap) {
            let uid = EntityUid::from_type_name_and_id(action_type.clone(), EntityId::new(action.code()));
            slices.insert(action, slice(&all, action, uid, &hierarchy)?);
        }
        let (authorizer, counts) = (Authorizer::new(), Counts::default());
        Ok(Self { schema, slices, hierarchy, authorizer, types, vault, counts })
    }

    /// How often the text was asked.
    pub(crate) fn counts(&self) -> TextCounts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        TextCounts { asked: read(&self.counts.asked), evaluated: read(&self.counts.evaluated) }
    }

    /// Translates a grant, one of so many.
    pub(crate) fn subject(self: &Arc<Self>, grant: &Grant, grants: usize) -> Result<Subject, Error> {
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
        Ok(Subject {
            engine: Arc::clone(self),
            entities,
            caller,
            grant: RestrictedExpression::new_entity_uid(uid),
            window: grant.window,
            job,
            memo: Memo::among(grants),
        })
    }

    /// Evaluates the text for the facts of a call inside one grant.
    ///
    /// Everything unexpected forbids. In particular a policy that fails to evaluate (an overflow, say) forbids, where
    /// Cedar would skip it: a skipped `forbid` would permit.
    fn evaluate(&self, subject: &Subject, slice: &Slice, facts: &Facts) -> Verdict {
        self.counts.evaluated.fetch_add(1, Ordering::Relaxed);
        let none = || Verdict::Forbidden(PolicyIds::default());
        let resource = facts.tenant.as_ref();
        let resource =
            resource.map_or_else(|| self.vault.clone(), |tenant| self.types.uid(&self.types.tenant, tenant.as_str()));
        let grant = ("grant".to_owned(), subject.grant.clone());
        let Ok(context) = Context::from_pairs(facts.context().chain([grant])) else { return none() };
        // The question is built from types, so that checking it against the schema would cost 2.5 µs to learn nothing.
        // The unit tests do check every question; and were one ill-typed, its policies would fail and so forbid.
        let schema = cfg!(test).then_some(&self.schema);
        let (principal, action) = (subject.caller.clone(), slice.action.clone());
        let Ok(question) = cedar_policy::Request::new(principal, action, resource, context, schema) else {
            return none();
        };
        let answer = self.authorizer.is_authorized(&question, &slice.policies, &subject.entities);
        let diagnostics = answer.diagnostics();
        let reasons: BTreeSet<&str> = diagnostics.reason().map(AsRef::as_ref).collect();
        let ids = reasons.into_iter().map(str::to_owned).collect();
        let permitted = answer.decision() == Decision::Allow && diagnostics.errors().next().is_none();
        if permitted { Verdict::Permitted(ids) } else { Verdict::Forbidden(ids) }
    }
}

impl Subject {
    /// Asks the text about a class of the request's records inside this grant. `resource` is the tenant, or `None` for
    /// the whole vault. Where the same was asked before, at a moment that the text cannot tell from `now`, the answer is
    /// the one given then.
    pub(crate) fn ask(
        &self,
        request: &Request,
        class: Class<'_>,
        resource: Option<&TenantId>,
        purpose: PurposeFlags,
        now: Timestamp,
    ) -> Verdict {
        let engine = &self.engine;
        let Some(slice) = engine.slices.get(&request.action) else {
            return Verdict::Forbidden(PolicyIds::default());
        };
        engine.counts.asked.fetch_add(1, Ordering::Relaxed);
        let facts = Facts::of(request, class, resource, purpose, self.job, now);
        let Some(span) = slice.clock.span(now, self.window) else { return engine.evaluate(self, slice, &facts) };
        let facts = facts.at(span.not_before.unwrap_or(Timestamp(i64::MIN)));
        if let Some(verdict) = self.memo.recall(&facts) {
            return verdict;
        }
        let verdict = engine.evaluate(self, slice, &facts);
        self.memo.keep(facts, &verdict);
        verdict
    }

    /// How long what the text says about this grant at `now` goes for. A text that calculates with the clock does not
    /// tell: what it says of the clock is checked when it is decided, and not when it is applied.
    pub(crate) fn span(&self, action: Action, now: Timestamp) -> Window {
        let slice = self.engine.slices.get(&action);
        // The bounds of the grant are the legs' already.
        slice.and_then(|slice| slice.clock.span(now, Window::ALWAYS)).unwrap_or(Window::ALWAYS)
    }

    /// Asks as if nothing was ever asked, at the very moment.
    #[cfg(test)]
    pub(crate) fn ask_anew(
        &self,
        request: &Request,
        class: Class<'_>,
        resource: Option<&TenantId>,
        purpose: PurposeFlags,
        now: Timestamp,
    ) -> Verdict {
        let facts = Facts::of(request, class, resource, purpose, self.job, now);
        let slice = self.engine.slices.get(&request.action);
        slice.map_or(Verdict::Forbidden(PolicyIds::default()), |slice| self.engine.evaluate(self, slice, &facts))
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
/// microsecond per evaluation.
fn slice(all: &PolicySet, action: Action, uid: EntityUid, hierarchy: &Entities) -> Result<Slice, Error> {
    use cedar_policy::ActionConstraint::{Any, Eq, In};
    let under = |group: &EntityUid| *group == uid || hierarchy.is_ancestor_of(group, &uid);
    let about = |policy: &cedar_policy::Policy| match policy.resource_constraint() {
        ResourceConstraint::Is(only) if action.needs_tenant() => only.basename() == "Tenant",
        ResourceConstraint::Is(only) if action.whole_vault() => only.basename() == "Vault",
        _ => true,
    };
    let matches = |policy: &&cedar_policy::Policy| {
        let acts = match policy.action_constraint() {
            Any => true,
            Eq(only) => only == uid,
            In(groups) => groups.iter().any(under),
        };
        acts && about(policy)
    };
    let (mut policies, mut clock) = (PolicySet::new(), Clock::UNSEEN);
    for policy in all.policies().filter(matches) {
        let tree = policy.to_pst().map_err(engine)?;
        clock.see(&tree);
        policies.add(lean(policy, &tree)?).map_err(engine)?;
    }
    Ok(Slice { action: uid, policies, clock })
}

/// The policy without where each of its parts stands in the text, and without asking for the action again: a sixth of
/// the time of an evaluation.
fn lean(policy: &cedar_policy::Policy, tree: &pst::Policy) -> Result<cedar_policy::Policy, Error> {
    let lean = cedar_policy::Policy::from_pst(tree.clone()).map_err(engine)?;
    if lean != *policy {
        return Err(Error::Engine("a policy lost its meaning".to_owned()));
    }
    let mut body = tree.body().clone();
    body.action = pst::ActionConstraint::Any;
    let body = pst::StaticPolicy::try_from(body).map_err(engine)?;
    cedar_policy::Policy::from_pst(pst::Policy::Static(body)).map_err(engine)
}

fn is_policy_id(id: &str) -> bool {
    (1..=POLICY_ID_BYTES_MAX).contains(&id.len())
        && id.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'))
}

fn type_name(name: &str) -> Result<EntityTypeName, Error> {
    EntityTypeName::from_str(name).map_err(engine)
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
