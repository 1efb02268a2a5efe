//! AddMember: gives a node its id in the cluster. Consensus then adds it as a learner and promotes it.

use fuda_ledger::{Detail, DetailKey};
use minicbor::{Decode, Encode};

use crate::key::{self, Meta};
use crate::machine::Applying;
use crate::row::{Member, MembersRow};
use crate::{MemberUuid, NodeId, Outcome, Refusal, TableError, Txn, reader};

/// Members at one time, learners included.
pub const MEMBERS_MAX: usize = 32;
/// Bytes of a member's name or address.
pub const MEMBER_TEXT_BYTES_MAX: usize = 255;

/// Adds a member, or moves one to new addresses. One identity keeps one node id; a node id is never given twice.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct AddMember {
    /// The identity the node drew once and keeps on its disk.
    #[n(0)]
    pub uuid: MemberUuid,
    /// Its name for people, which its certificate also carries.
    #[n(1)]
    pub name: String,
    /// `host:port` other members reach it at.
    #[n(2)]
    pub peer_address: String,
    /// `host:port` callers reach it at.
    #[n(3)]
    pub client_address: String,
}

impl AddMember {
    pub(crate) fn check(&self) -> Result<(), Refusal> {
        let texts = [&self.name, &self.peer_address, &self.client_address];
        let fits = |text: &&String| {
            !text.is_empty() && text.len() <= MEMBER_TEXT_BYTES_MAX && !text.chars().any(char::is_control)
        };
        if texts.iter().all(fits) { Ok(()) } else { Err(Refusal::Invalid) }
    }

    pub(crate) fn detail(&self, node_id: NodeId) -> Vec<Detail> {
        vec![
            Detail::new(DetailKey::MemberUuid, &self.uuid.to_string()),
            Detail::new(DetailKey::NodeId, &node_id.to_string()),
            Detail::new(DetailKey::NodeName, &self.name),
            Detail::new(DetailKey::PeerAddress, &self.peer_address),
            Detail::new(DetailKey::ClientAddress, &self.client_address),
        ]
    }

    fn describes(&self, member: &Member) -> bool {
        self.uuid == member.uuid
            && self.name == member.name
            && self.peer_address == member.peer_address
            && self.client_address == member.client_address
    }
}

pub(crate) fn first_outcome<T: Txn>(
    applying: &Applying<'_, T>,
    body: &AddMember,
) -> Result<Option<Outcome>, TableError> {
    let members = reader::members(&*applying.txn)?;
    let same = |member: &&Member| body.describes(member) && applying.is_same_act(&member.added);
    Ok(members.members.iter().find(same).map(outcome))
}

pub(crate) fn apply<T: Txn>(applying: &mut Applying<'_, T>, body: &AddMember) -> Result<Outcome, TableError> {
    let members = reader::members(&*applying.txn)?;
    let node_id = match place(&members, body) {
        Ok(node_id) => node_id,
        Err(refusal) => {
            let detail = vec![Detail::new(DetailKey::MemberUuid, &body.uuid.to_string())];
            return applying.refuse(refusal, detail);
        }
    };
    let member = Member {
        node_id,
        uuid: body.uuid,
        name: body.name.clone(),
        peer_address: body.peer_address.clone(),
        client_address: body.client_address.clone(),
        added: applying.act(),
        removed: None,
    };
    let outcome = outcome(&member);
    let members = with(members, member)?;
    applying.put(key::meta(Meta::Members), &members);
    applying.append_allowed(body.detail(node_id))?;
    Ok(outcome)
}

/// The node id of a known identity, or the next one.
fn place(members: &MembersRow, body: &AddMember) -> Result<NodeId, Refusal> {
    body.check()?;
    let known = members.members.iter().find(|member| member.uuid == body.uuid);
    match known {
        Some(member) if member.removed.is_some() => Err(Refusal::MemberRemoved),
        Some(member) => Ok(member.node_id),
        None if members.live().count() >= MEMBERS_MAX => Err(Refusal::LimitReached),
        None => Ok(members.next_node_id),
    }
}

fn with(mut members: MembersRow, member: Member) -> Result<MembersRow, TableError> {
    match members.members.iter_mut().find(|known| known.node_id == member.node_id) {
        Some(known) => *known = member,
        None => {
            let next = member.node_id.get().checked_add(1).ok_or(TableError::Exhausted { what: "node id" })?;
            members.next_node_id = NodeId(next);
            members.members.push(member);
        }
    }
    Ok(members)
}

fn outcome(member: &Member) -> Outcome {
    Outcome::Applied { first: Some(member.added.sequence), items: Vec::new(), node_id: Some(member.node_id) }
}
