//! The worlds as replicated state: made by commands, asked by commands, with changes of policy and of the clock between
//! the decision and its commit.

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use fuda_core::{
    BucketId, BucketVersion, Catalogue, KeyDomainId, LookupKey, RecordId, RequestId, RootVersion, Timestamp,
    TokenClass, VaultId,
};
use fuda_crypto::{SigningKey, sha256};
use fuda_ledger::{Audited, CallFacts};
use fuda_policy::{Action, Conditions, Grant as ProductGrant, Policy, Request};
use fuda_state::command::{
    AddMember, ApproveGrants, Bootstrap, CreateTenant, Denied, ProposeGrants, Reveal, SealedBucket, Tokenize,
};
use fuda_state::{
    Body, Claim, ClusterId, Command, Context, ItemOutcome, Machine, MemberUuid, MemoryTables, OrderId, Outcome,
    Overlay, RevealItem, TokenizeItem, Verdict, reader,
};

use super::product::{self, Facts, caller};
use super::reference;
use super::world::{Call, Dice, Record, World};

const BUCKETS: u16 = 2;
/// The clock while the world is made: before everything that happens in it.
const START: i64 = 1_790_000_000_000;

/// What happened between decision and commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Race {
    Nothing,
    /// The policy moved: the deciding grant was revoked, or a tenant came.
    Policy,
    /// Time passed.
    Clock,
}

/// A replica that holds a world.
pub(super) struct Vault {
    machine: Machine,
    tables: MemoryTables,
    index: u64,
    now: i64,
    policy: Policy,
    records: Vec<(Record, LookupKey)>,
    acts: u64,
}

impl Vault {
    /// Makes the world by commands: bootstrap, tenants, grants, records.
    pub(super) fn of(world: &World, dice: &mut Dice) -> Result<Self> {
        let tables = MemoryTables::new();
        let machine = Machine::load(&tables)?;
        let policy = Policy::unbootstrapped();
        let mut vault = Self { machine, tables, index: 0, now: START, policy, records: Vec::new(), acts: 0 };
        let owner = caller("owner")?;
        vault.act(Request::vault(Action::Bootstrap, owner.clone()), Body::Bootstrap(Box::new(bootstrap(world)?)))?;
        for place in 0..2 {
            let tenant = product::tenant(world, place)?;
            vault.act(
                Request::vault(Action::CreateTenant, owner.clone()),
                Body::CreateTenant(CreateTenant { tenant }),
            )?;
        }
        let mut grants: Vec<ProductGrant> = world.grants.iter().map(product::grant).collect::<Result<_>>()?;
        grants.extend(collectors()?);
        vault.change(grants, Vec::new())?;
        for seed in 0..8 {
            let record = Record { disabled: false, ..dice.record() };
            vault.store(&record, seed)?;
        }
        Ok(vault)
    }

    /// A stored record.
    pub(super) fn record(&self, dice: &mut Dice) -> Option<(Record, LookupKey)> {
        self.records.get(dice.below(self.records.len())).cloned()
    }

    /// Plays one call through decision, race and commit, and compares what came of it with the reference. Returns
    /// whether the two agree; `world` loses the grant that the race revoked.
    pub(super) fn play(&mut self, world: &mut World, call: &Call, lookup: LookupKey, race: Race) -> Result<bool> {
        // Time of the log never goes back.
        let call = Call { now: call.now.max(self.now), ..call.clone() };
        self.now = call.now;
        let command = self.decided(&call, lookup)?;
        match race {
            Race::Nothing => {
                let outcome = self.apply(&command)?;
                Ok(done(&outcome)? == reference::decide(world, &call, None).is_some())
            }
            Race::Policy => {
                let version = self.machine.policy_version();
                self.move_policy(world, &command)?;
                ensure!(self.machine.policy_version() > version, "the race changed nothing");
                let entries = self.machine.tree_head().size;
                let stale = matches!(self.apply(&command)?, Outcome::StalePolicy { .. });
                let silent = self.machine.tree_head().size == entries;
                // Decided again, the call ends as the new policy says.
                let command = self.decided(&call, lookup)?;
                let outcome = self.apply(&command)?;
                Ok(stale && silent && done(&outcome)? == reference::decide(world, &call, None).is_some())
            }
            Race::Clock => {
                let late = Call { now: call.now + 3_600_000, ..call.clone() };
                self.now = late.now;
                let outcome = self.apply(&command)?;
                let allowed_late = reference::decide(world, &late, None).is_some();
                let was_allowed = reference::decide(world, &call, None).is_some();
                if outcome == Outcome::Expired {
                    // A decision may end before its reason does, and a denied item ends with the permit it stands under:
                    // decided again, the call ends as the late hour says.
                    let command = self.decided(&late, lookup)?;
                    return Ok(done(&self.apply(&command)?)? == allowed_late);
                }
                // What is no longer allowed is never done, and what was denied in time stays denied.
                Ok(if done(&outcome)? { was_allowed && allowed_late } else { !was_allowed })
            }
        }
    }

    /// Decides as a node does: on the rows it reads, with what it relied on in the command.
    fn decided(&self, call: &Call, lookup: LookupKey) -> Result<Command> {
        let (request, now) = (product::request(call)?, Timestamp(call.now));
        let found = reader::token_facts(&self.tables, &[lookup])?.into_iter().next().flatten();
        let facts = found.as_ref().map(|found| fuda_policy::RecordFacts {
            tenant: &found.token.tenant,
            kind: found.token.kind,
            subject: &found.token.subject,
            label: found.token.label.as_ref(),
            relation: found.token.relation,
            scope: Some(&found.token.scope),
            notified: &found.record.notified,
            disabled: false,
            verified: false,
        });
        let share = self.policy.decide_records(&request, &[facts], now).into_iter().next().context("no share")?;
        let call_facts = self.facts();
        let command = match share.decision {
            Err(denial) => Audited::denied(&denial, call_facts, 1, |denied| Body::Denied(Denied::from(denied))),
            Ok(permit) => {
                let verdict = share.items.first().map(|(_, verdict)| *verdict).context("no item")?;
                let claim = found.as_ref().map_or(Claim::Unknown, |found| Claim::Known {
                    record: found.token.record,
                    revision: found.token.revision,
                    verdict: verdict.map_or_else(Verdict::Deny, |()| Verdict::Allow),
                });
                let items = vec![RevealItem { item: 0, lookup, claim }];
                Audited::permitted(&permit, call_facts, Body::Reveal(Reveal { items }))
            }
        };
        Ok(Command::from(command))
    }

    fn move_policy(&mut self, world: &mut World, command: &Command) -> Result<()> {
        let used = command.header().and_then(|header| header.grant);
        if let Some(used) = used {
            world.grants.retain(|grant| product::grant_id(grant.id) != used);
            return self.change(Vec::new(), vec![used]);
        }
        let id = format!("late-{}", self.acts);
        let tenant = product::tenant(world, 0)?;
        let tenant = fuda_policy::Tenant { id: fuda_core::TenantId::parse(&id)?, ..tenant };
        self.act(Request::vault(Action::CreateTenant, caller("owner")?), Body::CreateTenant(CreateTenant { tenant }))
    }

    fn change(&mut self, grants: Vec<ProductGrant>, revoke: Vec<fuda_policy::GrantId>) -> Result<()> {
        let order = OrderId(u128::from(self.acts + 1).to_be_bytes());
        let body = Body::ProposeGrants(ProposeGrants { order, grants, revoke, succession: None, retention: None });
        self.act(Request::vault(Action::ProposeGrants, caller("owner")?), body)?;
        let body = Body::ApproveGrants(ApproveGrants { order });
        self.act(Request::vault(Action::ApproveGrants, caller("approver")?), body)
    }

    /// Stores a record under the token of `seed`, unless its subject has one of the kind already.
    fn store(&mut self, record: &Record, seed: u16) -> Result<()> {
        let facts = Facts::of(record)?;
        let lookup = LookupKey::from_bytes(sha256(&[b"token", &seed.to_be_bytes()]));
        let bucket = BucketId(seed % BUCKETS);
        let request = Request::tenant(Action::Tokenize, caller("collector")?, facts.tenant.clone())
            .kind(facts.kind)
            .scope(facts.scope.clone());
        let mut id = [0; 16];
        id.copy_from_slice(sha256(&[b"record", &seed.to_be_bytes()]).get(..16).context("16 bytes")?);
        let item = TokenizeItem {
            item: 0,
            record: RecordId::from_bytes(id),
            subject: facts.subject.clone(),
            principal: facts.subject,
            relation: facts.relation,
            kind: facts.kind,
            scope: facts.scope,
            notified: facts.notified,
            lookup,
            domain: KeyDomainId::SHARED,
            bucket,
            bucket_version: BucketVersion(1),
            token_wrap: vec![1; 88],
            version_wrap: vec![2; 88],
            number_row: vec![3; 73],
            reply: None,
            verification: None,
            label: facts.label,
        };
        let body = Body::Tokenize(Tokenize { items: vec![item], reply_days: 14 });
        let permit = self.policy.decide(&request, Timestamp(self.now));
        let permit = permit.map_err(|denial| anyhow!("the collector was denied: {}", denial.reason()))?;
        let command = Command::from(Audited::permitted(&permit, self.facts(), body));
        match self.apply(&command)? {
            Outcome::Applied { items, .. } if matches!(items.as_slice(), [ItemOutcome::Done { .. }]) => {
                self.records.push((record.clone(), lookup));
                Ok(())
            }
            Outcome::Applied { items, .. } if matches!(items.as_slice(), [ItemOutcome::AlreadyExists { .. }]) => Ok(()),
            other => bail!("a record was not stored: {other:?}"),
        }
    }

    /// An act that must succeed.
    fn act(&mut self, request: Request, body: Body) -> Result<()> {
        let permit = self.policy.decide(&request, Timestamp(self.now));
        let permit = permit.map_err(|denial| anyhow!("{} was denied: {}", request.action, denial.reason()))?;
        let command = Command::from(Audited::permitted(&permit, self.facts(), body));
        match self.apply(&command)? {
            Outcome::Applied { .. } => Ok(()),
            other => bail!("{} came to {other:?}", request.action),
        }
    }

    fn facts(&self) -> CallFacts {
        let request_id = RequestId::from_bytes(u128::from(self.index + 1).to_be_bytes());
        CallFacts { request_id, trace: None, work_reference: None, credential: None, assertion: None }
    }

    fn apply(&mut self, command: &Command) -> Result<Outcome> {
        self.index += 1;
        self.acts += 1;
        let ctx = Context { index: self.index, time: Timestamp(self.now) };
        let mut overlay = Overlay::new(&self.tables);
        let outcome = self.machine.apply(&mut overlay, command, ctx)?;
        let changes = overlay.into_changes();
        self.tables.commit(changes);
        if self.machine.policy_version() != self.policy.version()
            && let Some(data) = self.machine.policy_data(&self.tables)?
        {
            self.policy = self.policy.rebuild(data)?;
        }
        Ok(outcome)
    }
}

/// Whether the one item was carried out.
fn done(outcome: &Outcome) -> Result<bool> {
    match outcome {
        Outcome::Applied { items, .. } => match items.as_slice() {
            [ItemOutcome::Done { .. }] => Ok(true),
            [ItemOutcome::Denied { .. }] => Ok(false),
            other => bail!("an item came to {other:?}"),
        },
        other => bail!("a call came to {other:?}"),
    }
}

/// Whoever stores the records of the world; the oracle asks about others.
fn collectors() -> Result<Vec<ProductGrant>> {
    let sample = fuda_policy::samples::grants()?.into_iter().find(|grant| grant.actions.contains(&Action::Tokenize));
    let sample = sample.context("no sample of a collector")?;
    let of = |(place, tenant): (usize, &&str)| {
        Ok(ProductGrant {
            id: product::grant_id(200 + u8::try_from(place)?),
            caller: caller("collector")?,
            tenant: Some(fuda_core::TenantId::parse(tenant)?),
            actions: vec![Action::Tokenize],
            kinds: super::world::KINDS.iter().map(|code| fuda_core::Kind::from_code(code)).collect::<Result<_, _>>()?,
            scopes: super::world::SCOPES
                .iter()
                .map(|code| fuda_core::ScopeId::parse(code))
                .collect::<Result<_, _>>()?,
            conditions: Conditions::default(),
            ..sample.clone()
        })
    };
    super::world::TENANTS.iter().enumerate().map(of).collect()
}

fn bootstrap(world: &World) -> Result<Bootstrap> {
    let sealed =
        |bucket| SealedBucket { bucket: BucketId(bucket), bucket_version: BucketVersion(1), sealed: vec![5; 60] };
    Ok(Bootstrap {
        vault: VaultId::from_bytes([0xaa; 16]),
        cluster: ClusterId([0xbb; 16]),
        class: TokenClass::Test,
        origin: "oracle.test/vault".to_owned(),
        owner: caller("owner")?,
        approvers: vec![caller("approver")?, caller("approver-2")?],
        operators: Vec::new(),
        auditors: Vec::new(),
        policy_text: product::text(&world.text),
        catalogue: Catalogue::from_toml(Catalogue::default_text())?,
        checkpoint_public_key: SigningKey::from_seed(&[7; 32])?.public_key(),
        sealed_checkpoint_key: vec![4; 60],
        domain: KeyDomainId::SHARED,
        root_version: RootVersion(1),
        buckets: (0..BUCKETS).map(sealed).collect(),
        succession: None,
        first_member: AddMember {
            uuid: MemberUuid([1; 16]),
            name: "vault-1".to_owned(),
            peer_address: "vault-1.test:7101".to_owned(),
            client_address: "vault-1.test:7100".to_owned(),
        },
    })
}
