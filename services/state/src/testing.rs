//! A small vault for tests: real permits from real policy, real audited commands, tables in memory.

use std::cell::RefCell;
use std::rc::Rc;

use fuda_core::{
    BucketId, BucketVersion, CallerId, Catalogue, KeyDomainId, Kind, LookupKey, PurposeCode, RecordId, Relation,
    RequestId, RootVersion, ScopeId, SubjectRef, TenantId, Timestamp, TokenClass, VaultId, Window,
};
use fuda_crypto::{SigningKey, sha256};
use fuda_ledger::{Audited, Bookkeeping, CallFacts, Checkpoint, Kept};
use fuda_policy::{
    Action, Denial, Grant, Notified, Permit, Policy, Recipient, RecordFacts, Request, Role, Tenant, samples,
};

use crate::command::{
    AddMember, ApproveGrants, Bootstrap, CreateTenant, Mint, MintItem, NewTokenRows, NewVersionRows, ProposeGrants,
    Reveal, SealedBucket, Tokenize, UpdateItem, UpdateNumber,
};
use crate::row::RecordStatus;
use crate::{
    Body, Claim, ClusterId, Command, Context, ItemOutcome, Machine, MemberUuid, MemoryTables, OrderId, Outcome,
    Overlay, Refusal, RevealItem, TokenizeItem, Verdict, reader,
};

pub(crate) const ORIGIN: &str = "fuda.test/vault";
/// 2026-11-22T04:45:00Z, 13:45 in Tokyo.
pub(crate) const START: Timestamp = Timestamp(1_795_322_700_000);
pub(crate) const HOUR_MS: i64 = 3_600_000;
pub(crate) const BUCKETS: u16 = 4;
const SEED: [u8; 32] = [7; 32];

/// A replica: the machine, its tables, and the clock of the log entries that tests hand it.
pub(crate) struct World {
    pub(crate) machine: Machine,
    pub(crate) tables: MemoryTables,
    pub(crate) now: Timestamp,
    /// What was applied so far, as the log would hold it, with what came of it.
    pub(crate) log: Vec<Logged>,
    /// The policy last built, for as long as its version is in force.
    policy: RefCell<Option<Rc<Policy>>>,
}

/// One applied command.
pub(crate) struct Logged {
    pub(crate) bytes: Vec<u8>,
    pub(crate) ctx: Context,
    pub(crate) outcome: Outcome,
}

impl World {
    /// Nothing yet.
    pub(crate) fn empty() -> Self {
        let tables = MemoryTables::new();
        let machine = Machine::load(&tables).unwrap();
        Self { machine, tables, now: START, log: Vec::new(), policy: RefCell::new(None) }
    }

    /// Bootstrapped: owner, approvers, operator and auditor of the samples.
    pub(crate) fn bootstrapped() -> Self {
        let mut world = Self::empty();
        let command = world.permitted(&bootstrap_request(), 1, Body::Bootstrap(Box::new(bootstrap())));
        assert!(matches!(world.apply(&command), Outcome::Applied { .. }));
        world
    }

    /// With the demo tenant and the workloads of the samples, all brought in by commands.
    pub(crate) fn demo() -> Self {
        Self::with_grants(workload_grants())
    }

    /// With the demo tenant and these grants.
    pub(crate) fn with_grants(grants: Vec<Grant>) -> Self {
        let mut world = Self::bootstrapped();
        let command = world.create_tenant(&samples::tenant(START).unwrap(), 2);
        assert!(matches!(world.apply(&command), Outcome::Applied { .. }));
        world.grant(OrderId([1; 16]), grants);
        world
    }

    /// Applies one command over an overlay of its own and commits it.
    pub(crate) fn apply(&mut self, command: &Command) -> Outcome {
        let ctx = Context { index: self.log.len() as u64 + 1, time: self.now };
        let mut overlay = Overlay::new(&self.tables);
        let outcome = self.machine.apply(&mut overlay, command, ctx).unwrap();
        let changes = overlay.into_changes();
        self.tables.commit(changes);
        self.log.push(Logged { bytes: command.encode(), ctx, outcome: outcome.clone() });
        outcome
    }

    /// Starts the replica again from its tables.
    pub(crate) fn restart(&mut self) {
        self.machine = Machine::load(&self.tables).unwrap();
    }

    pub(crate) fn policy(&self) -> Rc<Policy> {
        let mut built = self.policy.borrow_mut();
        match &*built {
            Some(policy) if policy.version() == self.machine.policy_version() => Rc::clone(policy),
            _ => {
                let data = self.machine.policy_data(&self.tables).unwrap();
                let policy = Rc::new(data.map_or_else(Policy::unbootstrapped, |data| Policy::build(data).unwrap()));
                Rc::clone(built.insert(policy))
            }
        }
    }

    pub(crate) fn decide(&self, request: &Request) -> Result<Permit, Denial> {
        self.policy().decide(request, self.now)
    }

    /// The audited command of a request that policy permits; `request_id` tells requests apart.
    pub(crate) fn permitted(&self, request: &Request, request_id: u8, body: Body) -> Command {
        let permit = self.decide(request).map_err(|denial| denial.reason()).unwrap();
        Audited::permitted(&permit, facts(request_id), body).into()
    }

    pub(crate) fn create_tenant(&self, tenant: &Tenant, request_id: u8) -> Command {
        let request = Request::tenant(Action::CreateTenant, caller(samples::OWNER), tenant.id.clone());
        self.permitted(&request, request_id, Body::CreateTenant(CreateTenant { tenant: tenant.clone() }))
    }

    pub(crate) fn propose(&self, by: &str, order: OrderId, grants: Vec<Grant>, request_id: u8) -> Command {
        let request = Request::vault(Action::ProposeGrants, caller(by));
        self.permitted(
            &request,
            request_id,
            Body::ProposeGrants(ProposeGrants { order, grants, revoke: Vec::new(), succession: None, retention: None }),
        )
    }

    pub(crate) fn approve(&self, by: &str, order: OrderId, request_id: u8) -> Command {
        let request = Request::vault(Action::ApproveGrants, caller(by));
        self.permitted(&request, request_id, Body::ApproveGrants(ApproveGrants { order }))
    }

    /// Proposes and approves grants.
    pub(crate) fn grant(&mut self, order: OrderId, grants: Vec<Grant>) {
        let command = self.propose(samples::OWNER, order, grants, order.0[0]);
        assert!(matches!(self.apply(&command), Outcome::Applied { .. }));
        let command = self.approve(samples::APPROVER, order, order.0[0]);
        assert!(matches!(self.apply(&command), Outcome::Applied { .. }));
    }

    /// Changes policy in some way: one more tenant.
    pub(crate) fn raise_policy_version(&mut self) {
        let tenants = self.machine.tenants.len();
        let tenant = other_tenant(&format!("other-{tenants}"));
        let command = self.create_tenant(&tenant, 200);
        assert!(matches!(self.apply(&command), Outcome::Applied { .. }));
    }

    /// A body that stores one My Number per (subject, seed of record and token), all in the payroll scope.
    pub(crate) fn tokenize_body(&self, subjects: &[(&str, u16)]) -> Tokenize {
        let places = subjects.iter().zip(0..);
        let items = places.map(|((subject, seed), item)| self.item(item, subject, *seed)).collect();
        Tokenize { items, reply_days: 14 }
    }

    pub(crate) fn item(&self, item: u32, subject: &str, seed: u16) -> TokenizeItem {
        let bucket = BucketId(seed % BUCKETS);
        TokenizeItem {
            item,
            record: record(seed),
            subject: self::subject(subject),
            principal: self::subject(subject),
            relation: Relation::SelfRelation,
            kind: Kind::MyNumber,
            scope: scope(samples::PAYROLL_SCOPE),
            notified: vec![Notified {
                purpose: purpose(samples::PURPOSE),
                window: Window::ALWAYS,
                notice_version: None,
            }],
            lookup: lookup(seed),
            domain: KeyDomainId::SHARED,
            bucket,
            bucket_version: self.machine.bucket_version(KeyDomainId::SHARED, bucket).unwrap(),
            token_wrap: vec![1; 88],
            version_wrap: vec![2; 88],
            number_row: vec![3; 73],
            reply: None,
            verification: None,
            label: None,
        }
    }

    pub(crate) fn tokenize(&self, request_id: u8, body: Tokenize) -> Command {
        let request = Request::tenant(Action::Tokenize, caller(samples::HR), tenant());
        let request = request.kind(Kind::MyNumber).scope(scope(samples::PAYROLL_SCOPE));
        self.permitted(&request, request_id, Body::Tokenize(body))
    }

    /// Stores numbers and returns what became of each.
    pub(crate) fn store(&mut self, request_id: u8, subjects: &[(&str, u16)]) -> Vec<ItemOutcome> {
        let command = self.tokenize(request_id, self.tokenize_body(subjects));
        items_of(self.apply(&command))
    }

    pub(crate) fn reveal_request(&self, action: Action) -> Request {
        let request = Request::tenant(action, caller(samples::PAYROLL), tenant());
        request.purpose(purpose(samples::PURPOSE)).scope(scope(samples::PAYROLL_SCOPE))
    }

    /// Presents the tokens of these seeds the way a node does: reads, decides, claims.
    pub(crate) fn reveal(&self, action: Action, seeds: &[u16]) -> Command {
        let permit = self.decide(&self.reveal_request(action)).map_err(|denial| denial.reason()).unwrap();
        self.reveal_by(&permit, seeds, 9)
    }

    /// The same under a permit.
    pub(crate) fn reveal_by(&self, permit: &Permit, seeds: &[u16], request_id: u8) -> Command {
        let items = seeds.iter().zip(0..).map(|(seed, item)| self.claim(permit, item, *seed)).collect();
        Audited::permitted(permit, facts(request_id), Body::Reveal(Reveal { items })).into()
    }

    /// What HR asks about a token of the payroll scope.
    pub(crate) fn life_request(&self, action: Action) -> Request {
        let request = Request::tenant(action, caller(samples::HR), tenant()).scope(scope(samples::PAYROLL_SCOPE));
        if action == Action::Exchange { request.to_scope(scope(samples::ACCOUNTING_SCOPE)) } else { request }
    }

    /// A token of the new seed for the token of the old one, the way a node makes it.
    pub(crate) fn mint_item(&self, permit: &Permit, item: u32, old: u16, new: u16) -> MintItem {
        let RevealItem { lookup, claim, .. } = self.claim(permit, item, old);
        let found = reader::token_facts(&self.tables, &[lookup]).unwrap().remove(0);
        let new = found.filter(|_| claim.allows()).map(|found| NewTokenRows {
            lookup: self::lookup(new),
            bucket: found.record.bucket,
            bucket_version: self.machine.bucket_version(KeyDomainId::SHARED, found.record.bucket).unwrap(),
            token_wrap: vec![7; 88],
            reply: None,
        });
        MintItem { item, lookup, claim, new }
    }

    /// Mints tokens for (old, new) seeds, to the accounting scope for Exchange.
    pub(crate) fn mint(&self, action: Action, request_id: u8, seeds: &[(u16, u16)]) -> Command {
        let request = self.life_request(action);
        let permit = self.decide(&request).map_err(|denial| denial.reason()).unwrap();
        let items = seeds.iter().zip(0..).map(|((old, new), item)| self.mint_item(&permit, item, *old, *new)).collect();
        let to = if action == Action::Exchange { samples::ACCOUNTING_SCOPE } else { samples::PAYROLL_SCOPE };
        let body = Mint { items, scope: scope(to), replace: false, retry: false, reply_days: 14 };
        Audited::permitted(&permit, facts(request_id), Body::Mint(body)).into()
    }

    /// New numbers for the records of the tokens of these seeds.
    pub(crate) fn update(&self, request_id: u8, seeds: &[u16]) -> Command {
        let permit = self.decide(&self.life_request(Action::UpdateNumber)).map_err(|denial| denial.reason()).unwrap();
        let items = seeds.iter().zip(0..).map(|(seed, item)| {
            let RevealItem { lookup, claim, .. } = self.claim(&permit, item, *seed);
            let found = reader::token_facts(&self.tables, &[lookup]).unwrap().remove(0);
            let new = found.filter(|_| claim.allows()).map(|found| NewVersionRows {
                version: found.record.current.next().unwrap(),
                bucket: found.record.bucket,
                bucket_version: self.machine.bucket_version(KeyDomainId::SHARED, found.record.bucket).unwrap(),
                version_wrap: vec![request_id; 88],
                number_row: vec![request_id; 73],
            });
            UpdateItem { item, lookup, claim, new, verification: None }
        });
        let body = Body::UpdateNumber(UpdateNumber { items: items.collect() });
        Audited::permitted(&permit, facts(request_id), body).into()
    }

    pub(crate) fn claim(&self, permit: &Permit, item: u32, seed: u16) -> RevealItem {
        let lookup = lookup(seed);
        let facts = reader::token_facts(&self.tables, &[lookup]).unwrap().remove(0);
        let claim = facts.map_or(Claim::Unknown, |facts| {
            let record = RecordFacts {
                tenant: &facts.token.tenant,
                kind: facts.token.kind,
                subject: &facts.token.subject,
                label: facts.token.label.as_ref(),
                relation: facts.token.relation,
                scope: Some(&facts.token.scope),
                notified: &facts.record.notified,
                disabled: facts.token.status != RecordStatus::Live,
                verified: false,
            };
            let verdict = permit.check_record(&record, self.now).map_or_else(Verdict::Deny, |()| Verdict::Allow);
            Claim::Known { record: facts.token.record, revision: facts.token.revision, verdict }
        });
        RevealItem { item, lookup, claim }
    }

    /// Reveals and returns what became of each token.
    pub(crate) fn revealed(&mut self, action: Action, seeds: &[u16]) -> Vec<ItemOutcome> {
        let command = self.reveal(action, seeds);
        items_of(self.apply(&command))
    }

    /// The vault's own signed tree head.
    pub(crate) fn checkpoint(&self) -> Checkpoint {
        Checkpoint { origin: ORIGIN.to_owned(), head: self.machine.tree_head() }
    }
}

pub(crate) fn checkpoint_command(checkpoint: &Checkpoint, key: &SigningKey) -> Command {
    Kept::new(Bookkeeping::Checkpoint(checkpoint.sign(key).unwrap().to_bytes())).into()
}

pub(crate) fn signing_key() -> SigningKey {
    SigningKey::from_seed(&SEED).unwrap()
}

pub(crate) fn items_of(outcome: Outcome) -> Vec<ItemOutcome> {
    match outcome {
        Outcome::Applied { items, .. } => items,
        other => panic!("not applied: {other:?}"),
    }
}

pub(crate) fn bootstrap_request() -> Request {
    Request::vault(Action::Bootstrap, caller(samples::OWNER))
}

pub(crate) fn bootstrap() -> Bootstrap {
    let sealed =
        |bucket| SealedBucket { bucket: BucketId(bucket), bucket_version: BucketVersion(1), sealed: vec![5; 60] };
    Bootstrap {
        vault: VaultId::from_bytes([0xaa; 16]),
        cluster: ClusterId([0xbb; 16]),
        class: TokenClass::Test,
        origin: ORIGIN.to_owned(),
        owner: caller(samples::OWNER),
        approvers: vec![caller(samples::APPROVER), caller(samples::SECOND_APPROVER)],
        operators: vec![caller(samples::OPERATOR)],
        auditors: vec![caller(samples::AUDITOR)],
        policy_text: Policy::DEFAULT_TEXT.to_owned(),
        catalogue: catalogue(),
        checkpoint_public_key: signing_key().public_key(),
        sealed_checkpoint_key: vec![4; 60],
        domain: KeyDomainId::SHARED,
        root_version: RootVersion(1),
        buckets: (0..BUCKETS).map(sealed).collect(),
        first_member: member(1),
        succession: None,
    }
}

pub(crate) fn member(seed: u8) -> AddMember {
    AddMember {
        uuid: MemberUuid([seed; 16]),
        name: format!("vault-{seed}"),
        peer_address: format!("vault-{seed}.test:7101"),
        client_address: format!("vault-{seed}.test:7100"),
    }
}

/// The grants of the samples that a bootstrap does not make; what must end ends a year after the start.
pub(crate) fn workload_grants() -> Vec<Grant> {
    let mut grants = samples::grants().unwrap();
    grants.retain(|grant| grant.role == Role::Workload);
    for grant in grants.iter_mut().filter(|grant| grant.makes_files()) {
        grant.window.not_after = Some(Timestamp(START.as_millis() + 366 * 24 * HOUR_MS));
    }
    grants
}

pub(crate) fn other_tenant(id: &str) -> Tenant {
    Tenant { id: TenantId::parse(id).unwrap(), ..samples::tenant(START).unwrap() }
}

pub(crate) fn catalogue() -> Catalogue {
    Catalogue::from_toml(Catalogue::default_text()).unwrap()
}

pub(crate) fn facts(request_id: u8) -> CallFacts {
    CallFacts {
        request_id: RequestId::from_bytes([request_id; 16]),
        trace: None,
        work_reference: None,
        credential: None,
        assertion: None,
    }
}

pub(crate) fn caller(name: &str) -> CallerId {
    samples::caller(name).unwrap()
}

pub(crate) fn tenant() -> TenantId {
    TenantId::parse(samples::TENANT).unwrap()
}

pub(crate) fn scope(text: &str) -> ScopeId {
    ScopeId::parse(text).unwrap()
}

pub(crate) fn purpose(text: &str) -> PurposeCode {
    PurposeCode::parse(text).unwrap()
}

pub(crate) fn subject(text: &str) -> SubjectRef {
    SubjectRef::parse(text).unwrap()
}

pub(crate) fn record(seed: u16) -> RecordId {
    let digest = sha256(&[b"record", &seed.to_be_bytes()]);
    RecordId::from_bytes(std::array::from_fn(|at| digest[at]))
}

pub(crate) fn lookup(seed: u16) -> LookupKey {
    LookupKey::from_bytes(sha256(&[b"token", &seed.to_be_bytes()]))
}

/// A lawful row of the catalogue under another code and Japanese name.
pub(crate) fn row_named(code: &str, ja: &str) -> fuda_core::Purpose {
    let template = catalogue().get(&purpose("tax.salary_report")).unwrap().clone();
    fuda_core::Purpose { code: purpose(code), ja: ja.to_owned(), ..template }
}

pub(crate) fn propose_change(
    world: &World,
    by: &str,
    order: OrderId,
    change: &fuda_core::CatalogueChange,
    request_id: u8,
) -> Command {
    let request = Request::vault(Action::ProposeCatalogueChange, caller(by));
    let body = crate::command::ProposeCatalogueChange { order, change: change.clone() };
    world.permitted(&request, request_id, Body::ProposeCatalogueChange(body))
}

pub(crate) fn set_purposes(
    world: &World,
    by: &str,
    order: OrderId,
    enable: &[&str],
    disable: &[&str],
    request_id: u8,
) -> Command {
    let codes = |codes: &[&str]| codes.iter().map(|code| purpose(code)).collect();
    let (enable, disable) = (codes(enable), codes(disable));
    let change = crate::row::TenantPurposes { tenant: tenant(), enable, disable, demand: None, office_hours: None };
    set_tenant(world, by, order, change, request_id)
}

pub(crate) fn set_tenant(
    world: &World,
    by: &str,
    order: OrderId,
    change: crate::row::TenantPurposes,
    request_id: u8,
) -> Command {
    let request = Request::tenant(Action::SetTenantPurposes, caller(by), tenant());
    let body = crate::command::SetTenantPurposes { order, change };
    world.permitted(&request, request_id, Body::SetTenantPurposes(body))
}

pub(crate) fn approve_purposes(world: &World, by: &str, order: OrderId, request_id: u8) -> Command {
    let request = Request::vault(Action::ApprovePurposeOrder, caller(by));
    let body = crate::command::ApprovePurposeOrder { order };
    world.permitted(&request, request_id, Body::ApprovePurposeOrder(body))
}

/// A recipient of sealed numbers for the demo purpose, with a key of its own, for three days.
pub(crate) fn recipient(seed: u8) -> Recipient {
    let secret = fuda_crypto::RecipientSecret::from_bytes([seed; 32]);
    let key = secret.public_key().unwrap();
    Recipient {
        fingerprint: key.fingerprint(),
        key: *key.as_bytes(),
        name: "next vault".to_owned(),
        purposes: vec![purpose(samples::PURPOSE)],
        not_after: Timestamp(START.as_millis() + 72 * HOUR_MS),
    }
}

pub(crate) fn register(
    world: &World,
    by: &str,
    order: OrderId,
    register: Vec<Recipient>,
    withdraw: Vec<fuda_core::Fingerprint>,
    request_id: u8,
) -> Command {
    let change = crate::row::TenantRecipients { tenant: tenant(), register, withdraw };
    let request = Request::tenant(Action::SetTenantRecipients, caller(by), tenant());
    let body = crate::command::SetTenantRecipients { order, change };
    world.permitted(&request, request_id, Body::SetTenantRecipients(body))
}

/// Why a command was refused as a whole, with an entry.
pub(crate) fn refused(outcome: &Outcome) -> Option<Refusal> {
    match outcome {
        Outcome::Refused { refusal, sequence: Some(_) } => Some(*refusal),
        _ => None,
    }
}
