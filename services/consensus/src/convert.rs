//! Between the words of `fuda.peer.v1` and those of Raft. What a peer sends is checked here once; nothing that fails
//! reaches Raft.

use std::collections::{BTreeMap, BTreeSet};

use fuda_proto::peer::v1 as wire;
use openraft::raft::{StreamAppendError, TransferLeaderError};

use crate::types::{
    AppendEntriesRequest, Entry, EntryPayload, LogId, Member, Membership, NodeId, Proposal, SnapshotMeta,
    StoredMembership, StreamAppendResult, TransferLeaderRequest, TypeConfig, Vote, VoteRequest, VoteResponse, log_id,
};

/// A message of a peer that makes no sense. Names the part, never the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a peer's message is malformed: {0}")]
pub(crate) struct Malformed(pub(crate) &'static str);

pub(crate) fn to_vote(vote: &Vote) -> wire::Vote {
    wire::Vote { term: vote.leader_id.term, node_id: vote.leader_id.node_id, committed: vote.committed }
}

pub(crate) fn from_vote(vote: Option<wire::Vote>) -> Result<Vote, Malformed> {
    let vote = vote.ok_or(Malformed("a vote is missing"))?;
    Ok(if vote.committed { Vote::new_committed(vote.term, vote.node_id) } else { Vote::new(vote.term, vote.node_id) })
}

pub(crate) fn to_log_id(id: &LogId) -> wire::LogId {
    wire::LogId { term: id.leader_id.term, node_id: id.leader_id.node_id, index: id.index }
}

pub(crate) fn from_log_id(id: wire::LogId) -> LogId {
    log_id(id.term, id.node_id, id.index)
}

pub(crate) fn to_member(member: &Member) -> wire::Member {
    wire::Member {
        name: member.name.clone(),
        peer_address: member.peer_address.clone(),
        client_address: member.client_address.clone(),
        uuid: member.uuid.to_vec().into(),
    }
}

pub(crate) fn from_member(member: Option<wire::Member>) -> Result<Member, Malformed> {
    let member = member.ok_or(Malformed("a member is missing"))?;
    Ok(Member {
        name: member.name,
        peer_address: member.peer_address,
        client_address: member.client_address,
        uuid: from_id(&member.uuid)?,
    })
}

pub(crate) fn from_id(bytes: &[u8]) -> Result<[u8; 16], Malformed> {
    bytes.try_into().map_err(|_| Malformed("an identity does not have 16 bytes"))
}

fn to_membership(membership: &Membership) -> wire::Membership {
    let configs = membership.get_joint_config().iter();
    let nodes = membership.nodes();
    wire::Membership {
        configs: configs.map(|voters| wire::membership::Config { voters: voters.iter().copied().collect() }).collect(),
        nodes: nodes
            .map(|(node_id, member)| wire::membership::Node { node_id: *node_id, member: Some(to_member(member)) })
            .collect(),
    }
}

fn from_membership(membership: wire::Membership) -> Result<Membership, Malformed> {
    let configs: Vec<BTreeSet<NodeId>> =
        membership.configs.into_iter().map(|config| config.voters.into_iter().collect()).collect();
    let mut nodes = BTreeMap::new();
    for node in membership.nodes {
        nodes.insert(node.node_id, from_member(node.member)?);
    }
    if configs.is_empty() && nodes.is_empty() {
        return Ok(Membership::default());
    }
    Membership::new(configs, nodes).map_err(|_| Malformed("a membership contradicts itself"))
}

pub(crate) fn to_stored_membership(stored: &StoredMembership) -> wire::StoredMembership {
    wire::StoredMembership {
        log_id: stored.log_id().as_ref().map(to_log_id),
        membership: Some(to_membership(stored.membership())),
    }
}

pub(crate) fn from_snapshot_meta(
    last_log_id: Option<wire::LogId>,
    membership: Option<wire::StoredMembership>,
) -> Result<SnapshotMeta, Malformed> {
    let stored = membership.ok_or(Malformed("a snapshot's membership is missing"))?;
    let membership = from_membership(stored.membership.unwrap_or_default())?;
    Ok(SnapshotMeta {
        last_log_id: last_log_id.map(from_log_id),
        last_membership: StoredMembership::new(stored.log_id.map(from_log_id), membership),
    })
}

fn to_entry(entry: Entry) -> wire::Entry {
    let log_id = Some(to_log_id(&entry.log_id));
    let payload = match entry.payload {
        EntryPayload::Blank => None,
        EntryPayload::Normal(proposal) => Some(wire::entry::Payload::Proposal(proposal.into_bytes())),
        EntryPayload::Membership(membership) => Some(wire::entry::Payload::Membership(to_membership(&membership))),
    };
    wire::Entry { log_id, payload }
}

fn from_entry(entry: wire::Entry) -> Result<Entry, Malformed> {
    let log_id = from_log_id(entry.log_id.ok_or(Malformed("an entry has no log id"))?);
    let payload = match entry.payload {
        None => EntryPayload::Blank,
        Some(wire::entry::Payload::Proposal(bytes)) => EntryPayload::Normal(Proposal::new(bytes)),
        Some(wire::entry::Payload::Membership(membership)) => EntryPayload::Membership(from_membership(membership)?),
    };
    Ok(Entry { log_id, payload })
}

pub(crate) fn to_append_request(request: AppendEntriesRequest) -> wire::AppendRequest {
    wire::AppendRequest {
        vote: Some(to_vote(&request.vote)),
        previous: request.prev_log_id.as_ref().map(to_log_id),
        entries: request.entries.into_iter().map(to_entry).collect(),
        leader_commit: request.leader_commit.as_ref().map(to_log_id),
    }
}

pub(crate) fn from_append_request(request: wire::AppendRequest) -> Result<AppendEntriesRequest, Malformed> {
    let request = AppendEntriesRequest {
        vote: from_vote(request.vote)?,
        prev_log_id: request.previous.map(from_log_id),
        entries: request.entries.into_iter().map(from_entry).collect::<Result<_, _>>()?,
        leader_commit: request.leader_commit.map(from_log_id),
    };
    let mut next = request.prev_log_id.as_ref().map_or(0, |previous| previous.index.saturating_add(1));
    for entry in &request.entries {
        if entry.log_id.index != next {
            return Err(Malformed("entries are not consecutive"));
        }
        next = next.saturating_add(1);
    }
    Ok(request)
}

pub(crate) fn to_append_response(result: StreamAppendResult) -> wire::AppendResponse {
    use wire::append_response::{Matching, Result as Answer};
    let result = match result {
        Ok(matching) => Answer::Matching(Matching { log_id: matching.as_ref().map(to_log_id) }),
        Err(StreamAppendError::Conflict(at)) => Answer::Conflict(to_log_id(&at)),
        Err(StreamAppendError::HigherVote(vote)) => Answer::HigherVote(to_vote(&vote)),
    };
    wire::AppendResponse { result: Some(result) }
}

pub(crate) fn from_append_response(response: wire::AppendResponse) -> Result<StreamAppendResult, Malformed> {
    use wire::append_response::Result as Answer;
    match response.result.ok_or(Malformed("an answer to an append is empty"))? {
        Answer::Matching(matching) => Ok(Ok(matching.log_id.map(from_log_id))),
        Answer::Conflict(at) => Ok(Err(StreamAppendError::Conflict(from_log_id(at)))),
        Answer::HigherVote(vote) => Ok(Err(StreamAppendError::HigherVote(from_vote(Some(vote))?))),
    }
}

pub(crate) fn to_vote_request(request: &VoteRequest, pre_vote: bool) -> wire::VoteRequest {
    wire::VoteRequest {
        vote: Some(to_vote(&request.vote)),
        last_log_id: request.last_log_id.as_ref().map(to_log_id),
        leadership_transfer: request.leadership_transfer,
        pre_vote,
    }
}

pub(crate) fn from_vote_request(request: wire::VoteRequest) -> Result<VoteRequest, Malformed> {
    let last_log_id = request.last_log_id.map(from_log_id);
    let mut vote = VoteRequest::new(from_vote(request.vote)?, last_log_id);
    vote.leadership_transfer = request.leadership_transfer;
    Ok(vote)
}

pub(crate) fn to_vote_response(response: &VoteResponse) -> wire::VoteResponse {
    wire::VoteResponse {
        vote: Some(to_vote(&response.vote)),
        granted: response.vote_granted,
        last_log_id: response.last_log_id.as_ref().map(to_log_id),
    }
}

pub(crate) fn from_vote_response(response: wire::VoteResponse) -> Result<VoteResponse, Malformed> {
    let last_log_id = response.last_log_id.map(from_log_id);
    Ok(VoteResponse::new(from_vote(response.vote)?, last_log_id, response.granted))
}

pub(crate) fn to_transfer_request(request: &TransferLeaderRequest) -> wire::TransferLeaderRequest {
    wire::TransferLeaderRequest {
        from_leader: Some(to_vote(request.from_leader())),
        to_node_id: *request.to_node_id(),
        last_log_id: request.last_log_id().map(to_log_id),
    }
}

pub(crate) fn from_transfer_request(request: wire::TransferLeaderRequest) -> Result<TransferLeaderRequest, Malformed> {
    let last_log_id = request.last_log_id.map(from_log_id);
    Ok(TransferLeaderRequest::new(from_vote(request.from_leader)?, request.to_node_id, last_log_id))
}

pub(crate) fn to_transfer_response(
    result: Result<(), TransferLeaderError<TypeConfig>>,
) -> wire::TransferLeaderResponse {
    use wire::transfer_leader_response::{LogNotFlushed, Refused, VoteChanged};
    let refused = result.err().map(|error| match error {
        TransferLeaderError::VoteChanged { expected, actual } => {
            Refused::VoteChanged(VoteChanged { expected: Some(to_vote(&expected)), actual: Some(to_vote(&actual)) })
        }
        TransferLeaderError::LogNotFlushed { expected, actual } => Refused::LogNotFlushed(LogNotFlushed {
            expected: expected.as_ref().map(to_log_id),
            actual: actual.as_ref().map(to_log_id),
        }),
    });
    wire::TransferLeaderResponse { refused }
}

pub(crate) fn from_transfer_response(
    response: wire::TransferLeaderResponse,
) -> Result<Result<(), TransferLeaderError<TypeConfig>>, Malformed> {
    use wire::transfer_leader_response::Refused;
    Ok(match response.refused {
        None => Ok(()),
        Some(Refused::VoteChanged(changed)) => Err(TransferLeaderError::VoteChanged {
            expected: from_vote(changed.expected)?,
            actual: from_vote(changed.actual)?,
        }),
        Some(Refused::LogNotFlushed(behind)) => Err(TransferLeaderError::LogNotFlushed {
            expected: behind.expected.map(from_log_id),
            actual: behind.actual.map(from_log_id),
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str) -> Member {
        Member {
            name: name.to_owned(),
            peer_address: format!("{name}:1"),
            client_address: format!("{name}:2"),
            uuid: [7; 16],
        }
    }

    fn membership() -> Membership {
        let nodes = BTreeMap::from([(1, member("a")), (2, member("b")), (5, member("c"))]);
        Membership::new(vec![BTreeSet::from([1, 2])], nodes).unwrap()
    }

    fn request(indexes: [u64; 3]) -> AppendEntriesRequest {
        let [first, second, third] = indexes;
        AppendEntriesRequest {
            vote: Vote::new_committed(4, 1),
            prev_log_id: Some(log_id(3, 2, 9)),
            entries: vec![
                Entry { log_id: log_id(4, 1, first), payload: EntryPayload::Blank },
                Entry { log_id: log_id(4, 1, second), payload: EntryPayload::Normal(Proposal::new(vec![1, 2])) },
                Entry { log_id: log_id(4, 1, third), payload: EntryPayload::Membership(membership()) },
            ],
            leader_commit: Some(log_id(3, 2, 8)),
        }
    }

    #[test]
    fn an_append_survives_the_trip() {
        let sent = request([10, 11, 12]);
        let back = from_append_request(to_append_request(sent.clone())).unwrap();
        assert_eq!(
            (back.vote, back.prev_log_id, back.leader_commit),
            (sent.vote, sent.prev_log_id, sent.leader_commit)
        );
        assert_eq!(back.entries, sent.entries);
    }

    #[test]
    fn entries_that_do_not_follow_each_other_never_reach_raft() {
        for indexes in [[11, 12, 13], [10, 12, 13], [10, 10, 11]] {
            let error = from_append_request(to_append_request(request(indexes))).err();
            assert_eq!(error, Some(Malformed("entries are not consecutive")), "{indexes:?}");
        }
    }

    #[test]
    fn answers_survive_the_trip() {
        for result in [
            Ok(None),
            Ok(Some(log_id(4, 1, 12))),
            Err(StreamAppendError::Conflict(log_id(3, 2, 9))),
            Err(StreamAppendError::HigherVote(Vote::new(9, 3))),
        ] {
            assert_eq!(from_append_response(to_append_response(result.clone())).unwrap(), result);
        }
        let vote = VoteResponse::new(Vote::new(2, 1), Some(log_id(1, 1, 1)), true);
        assert_eq!(from_vote_response(to_vote_response(&vote)).unwrap(), vote);
        let refused = Err(TransferLeaderError::LogNotFlushed { expected: Some(log_id(1, 1, 1)), actual: None });
        assert_eq!(from_transfer_response(to_transfer_response(refused.clone())).unwrap(), refused);
        assert_eq!(from_transfer_response(to_transfer_response(Ok(()))).unwrap(), Ok(()));
    }

    #[test]
    fn requests_survive_the_trip() {
        let mut vote = VoteRequest::new(Vote::new(7, 3), Some(log_id(6, 2, 40)));
        vote.leadership_transfer = true;
        assert_eq!(from_vote_request(to_vote_request(&vote, true)).unwrap(), vote);
        let transfer = TransferLeaderRequest::new(Vote::new_committed(7, 3), 2, Some(log_id(7, 3, 41)));
        assert_eq!(from_transfer_request(to_transfer_request(&transfer)).unwrap(), transfer);
    }

    #[test]
    fn a_snapshot_names_its_membership_also_when_there_is_none() {
        for stored in [StoredMembership::default(), StoredMembership::new(Some(log_id(1, 1, 3)), membership())] {
            let wire = to_stored_membership(&stored);
            let meta = from_snapshot_meta(Some(to_log_id(&log_id(1, 1, 4))), Some(wire)).unwrap();
            assert_eq!(meta.last_membership, stored);
        }
        assert!(from_snapshot_meta(None, None).is_err());
    }
}
