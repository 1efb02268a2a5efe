//! RemoveMember: takes a node out of the cluster for good. Its node id and its identity are never accepted again.

use fuda_ledger::{Detail, DetailKey};
use minicbor::{Decode, Encode};

use crate::key::{self, Meta};
use crate::machine::Applying;
use crate::row::{Member, MembersRow};
use crate::{NodeId, Outcome, Refusal, TableError, Txn, reader};

/// Removes a member.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct RemoveMember {
    /// The member's node id.
    #[n(0)]
    pub node_id: NodeId,
}

pub(crate) fn first_outcome<T: Txn>(
    applying: &Applying<'_, T>,
    body: &RemoveMember,
) -> Result<Option<Outcome>, TableError> {
    let members = reader::members(&*applying.txn)?;
    let member = members.members.iter().find(|member| member.node_id == body.node_id);
    let removed = member.and_then(|member| member.removed.as_ref()).filter(|act| applying.is_same_act(act));
    Ok(removed.map(|act| outcome(body.node_id, act.sequence)))
}

pub(crate) fn apply<T: Txn>(applying: &mut Applying<'_, T>, body: &RemoveMember) -> Result<Outcome, TableError> {
    let mut members = reader::members(&*applying.txn)?;
    let detail = vec![Detail::new(DetailKey::NodeId, &body.node_id.to_string())];
    if let Err(refusal) = check(&members, body.node_id) {
        return applying.refuse(refusal, detail);
    }
    let act = applying.act();
    for member in members.members.iter_mut().filter(|member| member.node_id == body.node_id) {
        member.removed = Some(act.clone());
    }
    applying.put(key::meta(Meta::Members), &members);
    let first = applying.append_allowed(detail)?;
    Ok(outcome(body.node_id, first))
}

fn check(members: &MembersRow, node_id: NodeId) -> Result<(), Refusal> {
    let member: Option<&Member> = members.members.iter().find(|member| member.node_id == node_id);
    match member {
        None => Err(Refusal::MemberUnknown),
        Some(member) if member.removed.is_some() => Err(Refusal::MemberRemoved),
        Some(_) if members.live().count() == 1 => Err(Refusal::LastMember),
        Some(_) => Ok(()),
    }
}

const fn outcome(node_id: NodeId, sequence: fuda_core::Sequence) -> Outcome {
    Outcome::Applied { first: Some(sequence), items: Vec::new(), node_id: Some(node_id) }
}

#[cfg(test)]
mod tests {
    use fuda_policy::{Action, Request, samples};

    use super::*;
    use crate::command::AddMember;
    use crate::testing::{World, caller, member};
    use crate::{Body, MemberUuid};

    fn add(world: &mut World, request_id: u8, body: AddMember) -> Outcome {
        let request = Request::vault(Action::AddMember, caller(samples::OPERATOR));
        let command = world.permitted(&request, request_id, Body::AddMember(body));
        world.apply(&command)
    }

    fn remove(world: &mut World, request_id: u8, node_id: u64) -> Outcome {
        let request = Request::vault(Action::RemoveMember, caller(samples::OPERATOR));
        let body = Body::RemoveMember(RemoveMember { node_id: NodeId(node_id) });
        let command = world.permitted(&request, request_id, body);
        world.apply(&command)
    }

    fn node(outcome: &Outcome) -> Option<u64> {
        match outcome {
            Outcome::Applied { node_id, .. } => node_id.map(NodeId::get),
            _ => None,
        }
    }

    #[test]
    fn node_ids_are_given_once_and_never_again() {
        let mut world = World::bootstrapped();
        let version = world.machine.policy_version();
        assert_eq!(node(&add(&mut world, 1, member(2))), Some(2));
        let third = add(&mut world, 2, member(3));
        assert_eq!(node(&third), Some(3));
        assert_eq!(add(&mut world, 2, member(3)), third, "forwarded twice");

        // The same identity at a new address keeps its id.
        let moved = AddMember { peer_address: "elsewhere.test:7101".to_owned(), ..member(3) };
        assert_eq!(node(&add(&mut world, 3, moved)), Some(3));
        let stored = reader::members(&world.tables).unwrap();
        assert_eq!(stored.members.len(), 3);
        assert_eq!(stored.members[2].peer_address, "elsewhere.test:7101");

        // Removed, an identity is gone for good, and so is its id.
        let removed = remove(&mut world, 4, 3);
        assert_eq!(node(&removed), Some(3));
        assert_eq!(remove(&mut world, 4, 3), removed, "forwarded twice");
        assert!(matches!(remove(&mut world, 5, 3), Outcome::Refused { refusal: Refusal::MemberRemoved, .. }));
        assert!(matches!(add(&mut world, 6, member(3)), Outcome::Refused { refusal: Refusal::MemberRemoved, .. }));
        assert_eq!(node(&add(&mut world, 7, member(4))), Some(4));
        assert_eq!(world.machine.policy_version(), version, "members are not policy");
    }

    #[test]
    fn refusals_of_members_are_entries() {
        let mut world = World::bootstrapped();
        let size = world.machine.tree_head().size;
        assert!(matches!(remove(&mut world, 1, 1), Outcome::Refused { refusal: Refusal::LastMember, .. }));
        assert!(matches!(remove(&mut world, 2, 9), Outcome::Refused { refusal: Refusal::MemberUnknown, .. }));
        let nameless = AddMember { name: String::new(), ..member(9) };
        assert!(matches!(add(&mut world, 3, nameless), Outcome::Refused { refusal: Refusal::Invalid, .. }));
        for seed in 2..=crate::command::add_member::MEMBERS_MAX as u8 {
            let uuid = MemberUuid([seed; 16]);
            assert_eq!(node(&add(&mut world, seed, AddMember { uuid, ..member(seed) })), Some(u64::from(seed)));
        }
        assert!(matches!(add(&mut world, 99, member(99)), Outcome::Refused { refusal: Refusal::LimitReached, .. }));
        assert_eq!(world.machine.tree_head().size, size + 3 + 31 + 1);
    }
}
