//! Bootstrap: names the owner, the approvers, the keys and the first member. Entry 0 of a vault, once.

use std::collections::BTreeSet;

use fuda_core::{
    BucketId, BucketVersion, CallerId, Catalogue, KeyDomainId, RootVersion, Timestamp, TokenClass, VaultId, Window,
    limits,
};
use fuda_crypto::sha256;
use fuda_ledger::{Detail, DetailKey, VerifierKey};
use fuda_policy::{Conditions, Grant, GrantId, Policy, Role};
use minicbor::{Decode, Encode};

use super::add_member::AddMember;
use crate::access;
use crate::key::{self, Meta};
use crate::machine::Applying;
use crate::row::{
    BucketRow, CatalogueRow, GrantRow, Member, MembersRow, PolicyTextRow, PolicyTextVersionRow, VaultRow,
};
use crate::succession::{SuccessionKeys, SuccessionKeysRow};
use crate::{ClusterId, NodeId, Outcome, Refusal, TableError, TextVersion, Txn};

/// Callers of one role that a bootstrap may name.
pub const ROLE_CALLERS_MAX: usize = limits::APPROVERS_MAX;
/// Bytes of a sealed key (a bucket key, the checkpoint key).
pub const SEALED_KEY_BYTES_MAX: usize = 1_024;

/// Creates the vault. Everything random in it was drawn by the node that took the call.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Bootstrap {
    /// The vault's id.
    #[n(0)]
    pub vault: VaultId,
    /// The cluster's id.
    #[n(1)]
    pub cluster: ClusterId,
    /// Whether its tokens are live or test tokens.
    #[n(2)]
    #[cbor(with = "crate::row::token_class")]
    pub class: TokenClass,
    /// The origin line of checkpoints: a key name of the signed-note format.
    #[n(3)]
    pub origin: String,
    /// Creates tenants and proposes grants.
    #[n(4)]
    pub owner: CallerId,
    /// At least [`limits::APPROVERS_MIN`].
    #[n(5)]
    pub approvers: Vec<CallerId>,
    /// Add and remove members.
    #[n(6)]
    pub operators: Vec<CallerId>,
    /// Read the ledger.
    #[n(7)]
    pub auditors: Vec<CallerId>,
    /// The Cedar policies.
    #[n(8)]
    pub policy_text: String,
    /// The purpose catalogue.
    #[n(9)]
    pub catalogue: Catalogue,
    /// The Ed25519 key that verifies checkpoints.
    #[n(10)]
    #[cbor(with = "minicbor::bytes")]
    pub checkpoint_public_key: [u8; 32],
    /// The key that signs them, sealed under the root.
    #[n(11)]
    #[cbor(with = "minicbor::bytes")]
    pub sealed_checkpoint_key: Vec<u8>,
    /// The key domain of `buckets`.
    #[n(12)]
    pub domain: KeyDomainId,
    /// The root that seals them and the checkpoint key.
    #[n(13)]
    pub root_version: RootVersion,
    /// All buckets of the domain, numbered from 0 without a gap.
    #[n(14)]
    pub buckets: Vec<SealedBucket>,
    /// The node that took the call; it becomes [`NodeId::FIRST`].
    #[n(15)]
    pub first_member: AddMember,
    /// The offline keys that can appoint approvers; `None`: no succession until an order registers some.
    #[n(26)]
    pub succession: Option<SuccessionKeys>,
}

/// A bucket key, sealed under its domain's root.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SealedBucket {
    /// The bucket.
    #[n(0)]
    pub bucket: BucketId,
    /// The version of its key.
    #[n(1)]
    pub bucket_version: BucketVersion,
    /// The sealed key.
    #[n(2)]
    #[cbor(with = "minicbor::bytes")]
    pub sealed: Vec<u8>,
}

impl Bootstrap {
    /// Every caller with its role, in the order in which their grants are numbered.
    fn callers(&self) -> impl Iterator<Item = (&CallerId, Role)> {
        let approvers = self.approvers.iter().map(|caller| (caller, Role::Approver));
        let operators = self.operators.iter().map(|caller| (caller, Role::Operator));
        let auditors = self.auditors.iter().map(|caller| (caller, Role::Auditor));
        std::iter::once((&self.owner, Role::Owner)).chain(approvers).chain(operators).chain(auditors)
    }

    fn check(&self) -> Result<(), Refusal> {
        let [approvers, operators, auditors] = [&self.approvers, &self.operators, &self.auditors].map(Vec::as_slice);
        check_people(&self.owner, [approvers, operators, auditors], self.succession.as_ref())?;
        if Policy::check_text(&self.policy_text).is_err() {
            return Err(Refusal::PolicyInvalid);
        }
        let origin_names_a_key = VerifierKey::new(&self.origin, self.checkpoint_public_key).is_ok();
        let sealed = |bytes: &[u8]| !bytes.is_empty() && bytes.len() <= SEALED_KEY_BYTES_MAX;
        let mut places = self.buckets.iter().enumerate();
        let buckets_complete = !self.buckets.is_empty()
            && self.buckets.len() <= usize::from(limits::SHARED_BUCKETS)
            && places.all(|(at, bucket)| usize::from(bucket.bucket.get()) == at && sealed(&bucket.sealed));
        if origin_names_a_key && buckets_complete && sealed(&self.sealed_checkpoint_key) {
            self.first_member.check()
        } else {
            Err(Refusal::Invalid)
        }
    }
}

/// Checks who is named: the owner, then `[approvers, operators, auditors]`, and the offline keys. Whoever makes a vault
/// asks this before a key is drawn: a refused bootstrap would leave a root behind that stands in the way of the next.
///
/// # Errors
/// [`Refusal::RoleConflict`], [`Refusal::TooFewPeople`], [`Refusal::LimitReached`], [`Refusal::SuccessionInvalid`].
pub fn check_people(
    owner: &CallerId,
    roles: [&[CallerId]; 3],
    succession: Option<&SuccessionKeys>,
) -> Result<(), Refusal> {
    let named = || roles.iter().copied().flatten().chain(std::iter::once(owner));
    if named().collect::<BTreeSet<_>>().len() != named().count() {
        return Err(Refusal::RoleConflict);
    }
    let [approvers, ..] = roles;
    if approvers.len() < limits::APPROVERS_MIN {
        return Err(Refusal::TooFewPeople);
    }
    if roles.iter().any(|role| role.len() > ROLE_CALLERS_MAX) {
        return Err(Refusal::LimitReached);
    }
    succession.map_or(Ok(()), SuccessionKeys::check)
}

pub(crate) fn first_outcome<T: Txn>(applying: &Applying<'_, T>, body: &Bootstrap) -> Option<Outcome> {
    let vault = applying.machine.vault.as_ref()?;
    let same = vault.vault == body.vault && vault.cluster == body.cluster && applying.is_same_act(&vault.bootstrap);
    let first = Some(vault.bootstrap.sequence);
    same.then(|| Outcome::Applied { first, items: Vec::new(), node_id: Some(NodeId::FIRST) })
}

pub(crate) fn apply<T: Txn>(applying: &mut Applying<'_, T>, body: &Bootstrap) -> Result<Outcome, TableError> {
    // Nothing exists yet that could hold a denial entry: entry 0 is the bootstrap that succeeds.
    if let Err(refusal) = body.check() {
        return Ok(Outcome::refused_silently(refusal));
    }
    let act = applying.act();
    write_vault(applying, body);
    write_policy(applying, body);
    for bucket in &body.buckets {
        let row = BucketRow {
            bucket_version: bucket.bucket_version,
            root_version: body.root_version,
            sealed: bucket.sealed.clone(),
        };
        applying.put(key::bucket(body.domain, bucket.bucket), &row);
        applying.machine.buckets.insert((body.domain, bucket.bucket), bucket.bucket_version);
    }
    let member = Member {
        node_id: NodeId::FIRST,
        uuid: body.first_member.uuid,
        name: body.first_member.name.clone(),
        peer_address: body.first_member.peer_address.clone(),
        client_address: body.first_member.client_address.clone(),
        added: act,
        removed: None,
    };
    let members = MembersRow { next_node_id: NodeId(NodeId::FIRST.get() + 1), members: vec![member] };
    applying.put(key::meta(Meta::Members), &members);
    let version = applying.raise_policy_version()?;

    if let Some(keys) = body.succession.clone() {
        let row = SuccessionKeysRow { keys, registered: applying.act() };
        applying.put(key::meta(Meta::SuccessionKeys), &row);
    }
    let mut detail = vec![
        Detail::new(DetailKey::Vault, &body.vault.to_string()),
        Detail::new(DetailKey::Cluster, &body.cluster.to_string()),
        Detail::new(DetailKey::Origin, &body.origin),
        Detail::new(DetailKey::TokenClass, &body.class.to_string()),
        Detail::new(DetailKey::PolicyVersion, &version.to_string()),
    ];
    for (caller, role) in body.callers() {
        detail.push(Detail::new(DetailKey::Caller, caller.as_str()));
        detail.push(Detail::new(DetailKey::Role, role.code()));
    }
    detail.extend(body.first_member.detail(NodeId::FIRST));
    let first = applying.append_allowed(detail)?;
    Ok(Outcome::Applied { first: Some(first), items: Vec::new(), node_id: Some(NodeId::FIRST) })
}

fn write_vault<T: Txn>(applying: &mut Applying<'_, T>, body: &Bootstrap) {
    let vault = VaultRow {
        vault: body.vault,
        cluster: body.cluster,
        class: body.class,
        origin: body.origin.clone(),
        domain: body.domain,
        checkpoint_public_key: body.checkpoint_public_key,
        sealed_checkpoint_key: body.sealed_checkpoint_key.clone(),
        root_version: body.root_version,
        bootstrap: applying.act(),
    };
    applying.put(key::meta(Meta::Vault), &vault);
    applying.machine.vault = Some(vault);
}

fn write_policy<T: Txn>(applying: &mut Applying<'_, T>, body: &Bootstrap) {
    applying.put(key::meta(Meta::PolicyText), &PolicyTextRow { text: body.policy_text.clone() });
    let version = PolicyTextVersionRow {
        version: TextVersion::FIRST,
        text: body.policy_text.clone(),
        order: None,
        proposed: None,
        approved: applying.act(),
    };
    applying.put(key::policy_text(version.version), &version);
    applying.put(key::meta(Meta::Catalogue), &CatalogueRow { catalogue: body.catalogue.clone() });
    let sequence = applying.next_sequence();
    for (place, (caller, role)) in body.callers().enumerate() {
        let grant = Grant {
            id: grant_id(&body.vault, place),
            caller: caller.clone(),
            role,
            tenant: None,
            actions: role.actions().to_vec(),
            kinds: Vec::new(),
            purposes: Vec::new(),
            scopes: Vec::new(),
            window: window(role, applying.time),
            budget: None,
            verify_guesses_per_day: 0,
            end_user: None,
            conditions: Conditions::default(),
            circumstances: None,
        };
        applying.put(key::grant(grant.id), &GrantRow { grant, order: None, sequence });
    }
}

/// Nobody operates for ever: the first operators' grants end too, and owner and approver renew them (ADR 0060).
fn window(role: Role, now: Timestamp) -> Window {
    match role {
        Role::Operator => Window { not_before: None, not_after: Some(access::operator_end(now)) },
        _ => Window::ALWAYS,
    }
}

/// The ids of the bootstrap's grants follow from the vault's id: the command carries callers, not grants.
fn grant_id(vault: &VaultId, place: usize) -> GrantId {
    let digest = sha256(&[b"fuda/bootstrap grant\0", vault.as_bytes(), &(place as u64).to_be_bytes()]);
    let mut id = [0; 16];
    id.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
    GrantId(id)
}

#[cfg(test)]
mod tests {
    use fuda_ledger::Audited;
    use fuda_policy::{Action, Request, samples};

    use super::*;
    use crate::testing::{World, bootstrap, bootstrap_request, caller, facts};
    use crate::{Body, Command, reader};

    fn command(world: &World, request_id: u8, body: Bootstrap) -> Command {
        world.permitted(&bootstrap_request(), request_id, Body::Bootstrap(Box::new(body)))
    }

    #[test]
    fn a_vault_begins_with_its_bootstrap_as_the_first_entry() {
        // Phase 1: nothing else is accepted, not even a denial entry.
        let mut world = World::empty();
        assert_eq!(world.machine.policy_version().get(), 0);
        let denial = world.decide(&Request::vault(Action::AddMember, caller(samples::OPERATOR))).unwrap_err();
        let denied: Command = Audited::denied(&denial, facts(9), 1, |call| Body::Denied(call.into())).into();
        assert_eq!(world.apply(&denied), Outcome::refused_silently(Refusal::NotBootstrapped));
        assert_eq!(world.machine.tree_head().size, 0);

        // Phase 2: the bootstrap.
        let begin = command(&world, 1, bootstrap());
        let outcome = world.apply(&begin);
        let first = Some(fuda_core::Sequence(0));
        assert_eq!(outcome, Outcome::Applied { first, items: Vec::new(), node_id: Some(NodeId::FIRST) });
        let entry = reader::entry(&world.tables, fuda_core::Sequence(0)).unwrap().unwrap();
        assert_eq!(entry.common.action, Action::Bootstrap);
        assert!(entry.item.detail.contains(&Detail::new(DetailKey::Caller, caller(samples::AUDITOR).as_str())));
        let vault = reader::vault(&world.tables).unwrap().unwrap();
        assert_eq!(world.machine.vault(), Some(&vault));
        assert_eq!(reader::grants(&world.tables).unwrap().len(), 5);
        assert_eq!(reader::buckets(&world.tables, KeyDomainId::SHARED).unwrap().len(), 4);
        assert_eq!(world.machine.policy_version().get(), 1);
        world.decide(&Request::vault(Action::AddMember, caller(samples::OPERATOR))).unwrap();

        // Phase 3: forwarded twice, it returns its first outcome; by anybody else it is refused, with an entry.
        assert_eq!(world.apply(&begin), outcome);
        assert_eq!(world.machine.tree_head().size, 1);
        let unbootstrapped = World::empty();
        let again = command(&unbootstrapped, 2, bootstrap());
        let refused = world.apply(&again);
        let sequence = Some(fuda_core::Sequence(1));
        assert_eq!(refused, Outcome::Refused { refusal: Refusal::AlreadyBootstrapped, sequence });
    }

    #[test]
    fn a_bootstrap_that_breaks_a_rule_leaves_nothing_behind() {
        let mut twice = bootstrap();
        twice.auditors = vec![twice.owner.clone()];
        let mut alone = bootstrap();
        alone.approvers.truncate(1);
        let mut hasty = bootstrap();
        let keys = vec![crate::succession::PublicKey([1; 32]), crate::succession::PublicKey([2; 32])];
        hasty.succession = Some(SuccessionKeys { keys, threshold: 2, delay_hours: 23 });
        let mut text = bootstrap();
        text.policy_text = "permit everything".to_owned();
        let mut origin = bootstrap();
        origin.origin = "two words".to_owned();
        let mut gap = bootstrap();
        gap.buckets.remove(1);
        let mut nameless = bootstrap();
        nameless.first_member.name = String::new();
        let broken = [
            (twice, Refusal::RoleConflict),
            (alone, Refusal::TooFewPeople),
            (hasty, Refusal::SuccessionInvalid),
            (text, Refusal::PolicyInvalid),
            (origin, Refusal::Invalid),
            (gap, Refusal::Invalid),
            (nameless, Refusal::Invalid),
        ];
        let mut world = World::empty();
        for (body, refusal) in broken {
            let outcome = {
                let broken = command(&world, 1, body);
                world.apply(&broken)
            };
            assert_eq!(outcome, Outcome::refused_silently(refusal));
            assert_eq!(world.machine.tree_head().size, 0);
            assert!(world.machine.vault().is_none());
        }
        let unknown = world.machine.policy_data(&world.tables).unwrap();
        assert!(unknown.is_none());
    }
}
