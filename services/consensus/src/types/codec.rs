//! The byte forms of the Raft types, for the log and for the peer channel. Every form starts with a format byte; an
//! unknown one is refused, never guessed. All integers are big-endian.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{BufMut, Bytes, BytesMut};
use minicbor::{Decode, Encode};

use super::{
    Entry, EntryPayload, LeaderId, LogId, Member, Membership, NodeId, Proposal, SnapshotMeta, StoredMembership, Vote,
    log_id,
};

/// The format byte of every form in this file.
pub const FORMAT: u8 = 1;

/// Length of an encoded log id in bytes.
pub const LOG_ID_BYTES: usize = 25;
/// Length of an encoded vote in bytes.
pub const VOTE_BYTES: usize = 18;
/// Length of what precedes the payload body in an encoded entry, in bytes.
pub const ENTRY_HEADER_BYTES: usize = 26;

/// Why bytes could not be read as a Raft type. Carries no content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The bytes end too early or go on too long.
    #[error("`{what}` has a wrong length")]
    Length {
        /// What was being read.
        what: &'static str,
    },
    /// The format byte is not one this build knows.
    #[error("`{what}` has the unknown format {format}")]
    Format {
        /// What was being read.
        what: &'static str,
        /// The format byte found.
        format: u8,
    },
    /// The bytes have the right format and make no sense.
    #[error("`{what}` cannot be read")]
    Content {
        /// What was being read.
        what: &'static str,
    },
}

/// What kind of payload an entry carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadKind {
    /// Nothing; the first entry of a leader.
    Blank,
    /// A [`Proposal`].
    Normal,
    /// A [`Membership`].
    Membership,
}

impl PayloadKind {
    /// The byte that stands for this kind.
    #[must_use]
    pub fn byte(self) -> u8 {
        match self {
            Self::Blank => 0,
            Self::Normal => 1,
            Self::Membership => 2,
        }
    }

    /// The kind a byte stands for.
    ///
    /// # Errors
    /// [`CodecError::Content`] for an unknown byte.
    pub fn from_byte(byte: u8) -> Result<Self, CodecError> {
        match byte {
            0 => Ok(Self::Blank),
            1 => Ok(Self::Normal),
            2 => Ok(Self::Membership),
            _ => Err(CodecError::Content { what: "payload kind" }),
        }
    }
}

/// A payload as bytes; a proposal is shared, not copied.
#[derive(Clone, PartialEq, Eq)]
pub struct EncodedPayload {
    /// What the body is.
    pub kind: PayloadKind,
    /// Empty, the proposal's bytes, or an encoded membership.
    pub body: Bytes,
}

impl std::fmt::Debug for EncodedPayload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} payload of {} bytes", self.kind, self.body.len())
    }
}

impl EncodedPayload {
    /// Encodes a payload.
    ///
    /// # Errors
    /// [`CodecError::Content`] if a membership cannot be encoded.
    pub fn encode(payload: &EntryPayload) -> Result<Self, CodecError> {
        Ok(match payload {
            EntryPayload::Blank => Self { kind: PayloadKind::Blank, body: Bytes::new() },
            EntryPayload::Normal(proposal) => Self { kind: PayloadKind::Normal, body: proposal.clone().into_bytes() },
            EntryPayload::Membership(membership) => {
                Self { kind: PayloadKind::Membership, body: encode_membership(membership)? }
            }
        })
    }

    /// Decodes the payload; a proposal shares the body.
    ///
    /// # Errors
    /// Any [`CodecError`] for a body that does not fit its kind.
    pub fn decode(&self) -> Result<EntryPayload, CodecError> {
        match self.kind {
            PayloadKind::Blank if self.body.is_empty() => Ok(EntryPayload::Blank),
            PayloadKind::Blank => Err(CodecError::Length { what: "blank payload" }),
            PayloadKind::Normal => Ok(EntryPayload::Normal(Proposal::new(self.body.clone()))),
            PayloadKind::Membership => Ok(EntryPayload::Membership(decode_membership(&self.body)?)),
        }
    }
}

/// Encodes a log id: format, term, node, index.
#[must_use]
pub fn encode_log_id(id: &LogId) -> [u8; LOG_ID_BYTES] {
    let mut out = [0; LOG_ID_BYTES];
    let mut rest = out.as_mut_slice();
    rest.put_u8(FORMAT);
    rest.put_u64(id.leader_id.term);
    rest.put_u64(id.leader_id.node_id);
    rest.put_u64(id.index);
    out
}

/// Decodes a log id.
///
/// # Errors
/// [`CodecError::Length`] or [`CodecError::Format`].
pub fn decode_log_id(bytes: &[u8]) -> Result<LogId, CodecError> {
    let what = "log id";
    let body = versioned(bytes, what)?;
    let (term, body) = take_u64(body, what)?;
    let (node, body) = take_u64(body, what)?;
    let (index, body) = take_u64(body, what)?;
    ended(body, what)?;
    Ok(log_id(term, node, index))
}

/// Encodes a vote: format, committed, term, node.
#[must_use]
pub fn encode_vote(vote: &Vote) -> [u8; VOTE_BYTES] {
    let mut out = [0; VOTE_BYTES];
    let mut rest = out.as_mut_slice();
    rest.put_u8(FORMAT);
    rest.put_u8(u8::from(vote.committed));
    rest.put_u64(vote.leader_id.term);
    rest.put_u64(vote.leader_id.node_id);
    out
}

/// Decodes a vote.
///
/// # Errors
/// Any [`CodecError`].
pub fn decode_vote(bytes: &[u8]) -> Result<Vote, CodecError> {
    let what = "vote";
    let (&committed, body) = versioned(bytes, what)?.split_first().ok_or(CodecError::Length { what })?;
    let (term, body) = take_u64(body, what)?;
    let (node_id, body) = take_u64(body, what)?;
    ended(body, what)?;
    let committed = match committed {
        0 => false,
        1 => true,
        _ => return Err(CodecError::Content { what }),
    };
    Ok(Vote { leader_id: LeaderId { term, node_id }, committed })
}

/// Encodes an entry: format, payload kind, term, node, index, body.
///
/// # Errors
/// [`CodecError::Content`] if a membership cannot be encoded.
pub fn encode_entry(entry: &Entry) -> Result<Bytes, CodecError> {
    let payload = EncodedPayload::encode(&entry.payload)?;
    let mut out = BytesMut::with_capacity(ENTRY_HEADER_BYTES + payload.body.len());
    out.put_u8(FORMAT);
    out.put_u8(payload.kind.byte());
    out.put_u64(entry.log_id.leader_id.term);
    out.put_u64(entry.log_id.leader_id.node_id);
    out.put_u64(entry.log_id.index);
    out.put_slice(&payload.body);
    Ok(out.freeze())
}

/// Decodes an entry; a proposal shares the bytes.
///
/// # Errors
/// Any [`CodecError`].
pub fn decode_entry(bytes: &Bytes) -> Result<Entry, CodecError> {
    let what = "entry";
    let (&kind, rest) = versioned(bytes, what)?.split_first().ok_or(CodecError::Length { what })?;
    let (term, rest) = take_u64(rest, what)?;
    let (node, rest) = take_u64(rest, what)?;
    let (index, rest) = take_u64(rest, what)?;
    let payload = EncodedPayload { kind: PayloadKind::from_byte(kind)?, body: bytes.slice_ref(rest) };
    Ok(Entry { log_id: log_id(term, node, index), payload: payload.decode()? })
}

/// Encodes a membership: format, then CBOR.
///
/// # Errors
/// [`CodecError::Content`], which a membership held by openraft does not cause.
pub fn encode_membership(membership: &Membership) -> Result<Bytes, CodecError> {
    encode_cbor(&MembershipForm::from(membership), "membership")
}

/// Decodes a membership.
///
/// # Errors
/// Any [`CodecError`]; also for a voter without a member.
pub fn decode_membership(bytes: &[u8]) -> Result<Membership, CodecError> {
    decode_cbor::<MembershipForm>(bytes, "membership")?.into_membership()
}

/// Encodes a membership with its log id: format, then CBOR.
///
/// # Errors
/// [`CodecError::Content`], which a membership held by openraft does not cause.
pub fn encode_stored_membership(stored: &StoredMembership) -> Result<Bytes, CodecError> {
    encode_cbor(&StoredMembershipForm::from(stored), "stored membership")
}

/// Decodes a membership with its log id.
///
/// # Errors
/// Any [`CodecError`].
pub fn decode_stored_membership(bytes: &[u8]) -> Result<StoredMembership, CodecError> {
    decode_cbor::<StoredMembershipForm>(bytes, "stored membership")?.into_stored()
}

/// Encodes what a snapshot covers: format, then CBOR.
///
/// # Errors
/// [`CodecError::Content`], which a membership held by openraft does not cause.
pub fn encode_snapshot_meta(meta: &SnapshotMeta) -> Result<Bytes, CodecError> {
    let form = SnapshotMetaForm {
        last: meta.last_log_id.as_ref().map(LogIdForm::from),
        membership: StoredMembershipForm::from(&meta.last_membership),
    };
    encode_cbor(&form, "snapshot meta")
}

/// Decodes what a snapshot covers.
///
/// # Errors
/// Any [`CodecError`].
pub fn decode_snapshot_meta(bytes: &[u8]) -> Result<SnapshotMeta, CodecError> {
    let form = decode_cbor::<SnapshotMetaForm>(bytes, "snapshot meta")?;
    Ok(SnapshotMeta {
        last_log_id: form.last.map(LogIdForm::into_log_id),
        last_membership: form.membership.into_stored()?,
    })
}

#[derive(Encode, Decode)]
struct LogIdForm {
    #[n(0)]
    term: u64,
    #[n(1)]
    node: NodeId,
    #[n(2)]
    index: u64,
}

impl From<&LogId> for LogIdForm {
    fn from(id: &LogId) -> Self {
        Self { term: id.leader_id.term, node: id.leader_id.node_id, index: id.index }
    }
}

impl LogIdForm {
    fn into_log_id(self) -> LogId {
        log_id(self.term, self.node, self.index)
    }
}

#[derive(Encode, Decode)]
struct MembershipForm {
    #[n(0)]
    voters: Vec<BTreeSet<NodeId>>,
    #[n(1)]
    members: BTreeMap<NodeId, Member>,
}

impl From<&Membership> for MembershipForm {
    fn from(membership: &Membership) -> Self {
        Self {
            voters: membership.get_joint_config().clone(),
            members: membership.nodes().map(|(id, member)| (*id, member.clone())).collect(),
        }
    }
}

impl MembershipForm {
    fn into_membership(self) -> Result<Membership, CodecError> {
        // A pristine state has no membership at all; openraft's constructor refuses that as invalid.
        if self.voters.is_empty() && self.members.is_empty() {
            return Ok(Membership::default());
        }
        Membership::new(self.voters, self.members).map_err(|_invalid| CodecError::Content { what: "membership" })
    }
}

#[derive(Encode, Decode)]
struct StoredMembershipForm {
    #[n(0)]
    log_id: Option<LogIdForm>,
    #[n(1)]
    membership: MembershipForm,
}

impl From<&StoredMembership> for StoredMembershipForm {
    fn from(stored: &StoredMembership) -> Self {
        Self {
            log_id: stored.log_id().as_ref().map(LogIdForm::from),
            membership: MembershipForm::from(stored.membership()),
        }
    }
}

impl StoredMembershipForm {
    fn into_stored(self) -> Result<StoredMembership, CodecError> {
        Ok(StoredMembership::new(self.log_id.map(LogIdForm::into_log_id), self.membership.into_membership()?))
    }
}

#[derive(Encode, Decode)]
struct SnapshotMetaForm {
    #[n(0)]
    last: Option<LogIdForm>,
    #[n(1)]
    membership: StoredMembershipForm,
}

fn encode_cbor<T: Encode<()>>(value: &T, what: &'static str) -> Result<Bytes, CodecError> {
    let mut out = vec![FORMAT];
    minicbor::encode(value, &mut out).map_err(|_infallible| CodecError::Content { what })?;
    Ok(out.into())
}

fn decode_cbor<'b, T: Decode<'b, ()>>(bytes: &'b [u8], what: &'static str) -> Result<T, CodecError> {
    let body = versioned(bytes, what)?;
    let mut decoder = minicbor::Decoder::new(body);
    let value = decoder.decode().map_err(|_source| CodecError::Content { what })?;
    if decoder.position() == body.len() { Ok(value) } else { Err(CodecError::Length { what }) }
}

fn versioned<'b>(bytes: &'b [u8], what: &'static str) -> Result<&'b [u8], CodecError> {
    match bytes.split_first() {
        Some((&FORMAT, body)) => Ok(body),
        Some((&format, _)) => Err(CodecError::Format { what, format }),
        None => Err(CodecError::Length { what }),
    }
}

fn take_u64<'b>(bytes: &'b [u8], what: &'static str) -> Result<(u64, &'b [u8]), CodecError> {
    let (head, rest) = bytes.split_first_chunk::<8>().ok_or(CodecError::Length { what })?;
    Ok((u64::from_be_bytes(*head), rest))
}

fn ended(rest: &[u8], what: &'static str) -> Result<(), CodecError> {
    if rest.is_empty() { Ok(()) } else { Err(CodecError::Length { what }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str) -> Member {
        Member { name: name.into(), peer_address: "p:1".into(), client_address: "c:2".into(), uuid: [9; 16] }
    }

    fn membership() -> Membership {
        Membership::new(vec![BTreeSet::from([1])], BTreeMap::from([(1, member("a")), (2, member("b"))])).unwrap()
    }

    #[test]
    fn log_id_and_vote_have_golden_bytes() {
        let id = log_id(1, 2, 3);
        let golden = [1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3];
        assert_eq!(encode_log_id(&id), golden);
        assert_eq!(decode_log_id(&golden), Ok(id));

        let vote = Vote { leader_id: LeaderId { term: 5, node_id: 6 }, committed: true };
        let golden = [1, 1, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 6];
        assert_eq!(encode_vote(&vote), golden);
        assert_eq!(decode_vote(&golden), Ok(vote));
    }

    #[test]
    fn entries_have_golden_bytes_and_share_the_proposal() {
        let entry = Entry { log_id: log_id(1, 2, 3), payload: EntryPayload::Normal(Proposal::new(vec![0xAA, 0xBB])) };
        let bytes = encode_entry(&entry).unwrap();
        let mut golden = vec![1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3];
        golden.extend([0xAA, 0xBB]);
        assert_eq!(bytes, golden);

        let back = decode_entry(&bytes).unwrap();
        assert_eq!(back, entry);
        let EntryPayload::Normal(proposal) = back.payload else { panic!("a proposal") };
        assert_eq!(proposal.as_bytes().as_ptr(), bytes[ENTRY_HEADER_BYTES..].as_ptr(), "no copy");

        for payload in [EntryPayload::Blank, EntryPayload::Membership(membership())] {
            let entry = Entry { log_id: log_id(4, 5, 6), payload };
            assert_eq!(decode_entry(&encode_entry(&entry).unwrap()).unwrap(), entry);
        }
    }

    #[test]
    fn a_membership_has_golden_bytes() {
        let bytes = encode_membership(&membership()).unwrap();
        let mut golden = vec![1, 0x82, 0x81, 0x81, 1, 0xA2];
        for (id, name) in [(1_u8, b'a'), (2, b'b')] {
            golden.extend([id, 0x84, 0x61, name, 0x63, b'p', b':', b'1', 0x63, b'c', b':', b'2', 0x50]);
            golden.extend([9; 16]);
        }
        assert_eq!(bytes, golden);
        assert_eq!(decode_membership(&bytes).unwrap(), membership());
    }

    #[test]
    fn snapshot_meta_survives_the_trip_also_when_pristine() {
        let pristine = SnapshotMeta::default();
        assert_eq!(decode_snapshot_meta(&encode_snapshot_meta(&pristine).unwrap()).unwrap(), pristine);

        let meta = SnapshotMeta {
            last_log_id: Some(log_id(3, 1, 9)),
            last_membership: StoredMembership::new(Some(log_id(2, 1, 4)), membership()),
        };
        assert_eq!(decode_snapshot_meta(&encode_snapshot_meta(&meta).unwrap()).unwrap(), meta);
        let stored = encode_stored_membership(&meta.last_membership).unwrap();
        assert_eq!(decode_stored_membership(&stored).unwrap(), meta.last_membership);
    }

    #[test]
    fn damage_is_refused() {
        let bytes = encode_log_id(&log_id(1, 2, 3));
        assert_eq!(decode_log_id(&bytes[..24]), Err(CodecError::Length { what: "log id" }));
        assert_eq!(decode_log_id(&[2; 25]), Err(CodecError::Format { what: "log id", format: 2 }));
        assert_eq!(decode_vote(&[1; 18].map(|b: u8| b * 7)), Err(CodecError::Format { what: "vote", format: 7 }));
        assert_eq!(decode_entry(&Bytes::from_static(&[1, 9])), Err(CodecError::Length { what: "entry" }));
        let mut long = encode_membership(&membership()).unwrap().to_vec();
        long.push(0);
        assert_eq!(decode_membership(&long), Err(CodecError::Length { what: "membership" }));
        // A voter nobody knows: voters {1}, no members.
        assert_eq!(decode_membership(&[1, 0x82, 0x81, 0x81, 1, 0xA0]), Err(CodecError::Content { what: "membership" }));
    }
}
