//! What one log entry carries: the leader's stamp and the commands of many calls; and what apply answers to it.

use bytes::Bytes;
use fuda_core::time::Timestamp;
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

use crate::types::{Proposal, Reply};

/// The format byte of groups and of replies.
const FORMAT: u8 = 1;

/// The commands of one log entry. Persisted in the log.
#[derive(Encode, Decode)]
struct GroupRow {
    #[n(0)]
    stamp: Timestamp,
    #[n(1)]
    commands: Vec<ByteVec>,
}

/// The outcomes of one log entry, in the order of its commands.
#[derive(Encode, Decode)]
struct ReplyRow {
    #[n(0)]
    outcomes: Vec<ByteVec>,
}

/// Bytes that are not a group or a reply. A node that meets them in its log stops.
#[derive(Debug, thiserror::Error)]
#[error("`{what}` cannot be read")]
pub(crate) struct GroupError {
    what: &'static str,
    #[source]
    source: Option<minicbor::decode::Error>,
}

/// Encodes a log entry's proposal.
pub(crate) fn encode_group<'a>(stamp: Timestamp, commands: impl ExactSizeIterator<Item = &'a Bytes>) -> Proposal {
    // Written by hand rather than from a `GroupRow`: the commands are copied once, into their place in the entry.
    let count = commands.len();
    let commands: Vec<&Bytes> = commands.collect();
    let length: usize = commands.iter().map(|command| command.len() + 9).sum();
    let mut bytes = Vec::with_capacity(length + 32);
    bytes.push(FORMAT);
    let mut encoder = minicbor::Encoder::new(&mut bytes);
    let written = (|| {
        encoder.array(2)?.encode(stamp)?.array(u64::try_from(count).unwrap_or(u64::MAX))?;
        for command in commands {
            encoder.bytes(command)?;
        }
        Ok::<_, minicbor::encode::Error<std::convert::Infallible>>(())
    })();
    // Writing to memory and encoding these types cannot fail; an empty proposal would be refused by `decode_group`.
    if written.is_err() {
        bytes.clear();
    }
    Proposal::new(bytes)
}

/// Decodes a log entry's proposal.
///
/// # Errors
/// [`GroupError`] if it is not one.
pub(crate) fn decode_group(proposal: &Proposal) -> Result<(Timestamp, Vec<ByteVec>), GroupError> {
    let row: GroupRow = decode(proposal.as_bytes(), "group of commands")?;
    Ok((row.stamp, row.commands))
}

/// Encodes the outcomes of a log entry.
///
/// # Errors
/// [`GroupError`] if an outcome cannot be encoded.
pub(crate) fn encode_reply(outcomes: &[fuda_state::Outcome]) -> Result<Reply, GroupError> {
    let failed = |_| GroupError { what: "outcome", source: None };
    let outcomes = outcomes.iter().map(|outcome| minicbor::to_vec(outcome).map(ByteVec::from));
    let row = ReplyRow { outcomes: outcomes.collect::<Result<_, _>>().map_err(failed)? };
    let mut bytes = vec![FORMAT];
    minicbor::encode(&row, &mut bytes).map_err(failed)?;
    Ok(Reply::new(bytes))
}

/// Splits a reply into encoded outcomes.
///
/// # Errors
/// [`GroupError`] if it is not one.
pub(crate) fn decode_reply(reply: &Reply) -> Result<Vec<Bytes>, GroupError> {
    let row: ReplyRow = decode(reply.as_bytes(), "reply")?;
    Ok(row.outcomes.into_iter().map(|outcome| Bytes::from(Vec::from(outcome))).collect())
}

/// Decodes one outcome.
///
/// # Errors
/// [`GroupError`] if the bytes are not one.
pub(crate) fn decode_outcome(bytes: &[u8]) -> Result<fuda_state::Outcome, GroupError> {
    decode_cbor(bytes, "outcome")
}

fn decode<T: for<'b> Decode<'b, ()>>(bytes: &[u8], what: &'static str) -> Result<T, GroupError> {
    match bytes.split_first() {
        Some((&FORMAT, cbor)) => decode_cbor(cbor, what),
        _ => Err(GroupError { what, source: None }),
    }
}

fn decode_cbor<T: for<'b> Decode<'b, ()>>(cbor: &[u8], what: &'static str) -> Result<T, GroupError> {
    let mut decoder = minicbor::Decoder::new(cbor);
    let value = decoder.decode().map_err(|error| GroupError { what, source: Some(error) })?;
    if decoder.position() != cbor.len() {
        return Err(GroupError { what, source: None });
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use fuda_core::Sequence;
    use fuda_state::Outcome;

    use super::*;

    #[test]
    fn a_group_has_these_bytes() {
        let commands = [Bytes::from_static(b"ab"), Bytes::from_static(b"c")];
        let proposal = encode_group(Timestamp::from_millis(1_000), commands.iter());
        assert_eq!(proposal.as_bytes(), [1, 0x82, 0x19, 0x03, 0xE8, 0x82, 0x42, b'a', b'b', 0x41, b'c']);
        let (stamp, back) = decode_group(&proposal).unwrap();
        assert_eq!(stamp, Timestamp::from_millis(1_000));
        assert_eq!(back.iter().map(|command| command.as_slice()).collect::<Vec<_>>(), [b"ab".as_slice(), b"c"]);
    }

    #[test]
    fn a_reply_gives_back_its_outcomes() {
        let outcomes = [Outcome::Expired, Outcome::Applied { first: Some(Sequence(7)), items: vec![], node_id: None }];
        let split = decode_reply(&encode_reply(&outcomes).unwrap()).unwrap();
        let back: Vec<Outcome> = split.iter().map(|bytes| decode_outcome(bytes).unwrap()).collect();
        assert_eq!(back, outcomes);
    }

    #[test]
    fn damage_is_refused() {
        for bytes in [&[][..], &[2, 0x82, 0, 0x80], &[1, 0x82, 0], &[1, 0x82, 0, 0x80, 0]] {
            assert!(decode_group(&Proposal::new(bytes.to_vec())).is_err(), "{bytes:?}");
        }
    }
}
