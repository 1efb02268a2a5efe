//! The entries of one command as one stored value.

use fuda_core::{Sequence, Timestamp};
use fuda_crypto::digest::Sha256;
use minicbor::{Decoder, Encoder};

use crate::{
    Common, Decision, Entry, EntryItem, Error,
    entry::{append_cbor, to_cbor},
    tree::{self, Hash},
};

/// Format of stored blocks. A change of the layout takes the next number.
const FORMAT: u8 = 1;
/// CBOR head of the array `[common, item]` that a leaf hashes.
const ENTRY_HEAD: u8 = 0x82;

/// All entries of one command: the shared facts once, then one item per entry.
///
/// Stored as `format byte ‖ CBOR [first, common, [item, …]]`. The canonical bytes of entry *i* are
/// `CBOR [common, itemᵢ]`; both are put together from the same encoded pieces, so common is encoded once for a
/// command and every item once, whether it is stored, hashed or both.
///
/// ```text
/// stored:  01 83 first │ common │ 9x │ item₀ │ item₁ │ …
/// leaf 0:           82 │ common │    │ item₀ │
/// leaf 1:           82 │ common │            │ item₁ │
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    first: Sequence,
    common: Common,
    items: Vec<EntryItem>,
    common_cbor: Vec<u8>,
    /// All items' encodings, one behind the other; `ends[i]` is where item *i* stops.
    items_cbor: Vec<u8>,
    ends: Vec<usize>,
}

impl Block {
    /// Most entries in one block. Commands are bounded to far fewer items; this bounds what a decoder allocates.
    pub const ENTRIES_MAX: usize = 65_536;

    /// Puts the entries of one command together.
    ///
    /// # Errors
    /// [`Error::BlockSequence`] unless the items' sequences count up from `first` without a gap.
    pub fn new(first: Sequence, common: Common, items: Vec<EntryItem>) -> Result<Block, Error> {
        check_sequences(first, &items)?;
        let mut items_cbor = Vec::with_capacity(items.len() * 96);
        let mut ends = Vec::with_capacity(items.len());
        for item in &items {
            append_cbor(&mut items_cbor, item);
            ends.push(items_cbor.len());
        }
        let common_cbor = to_cbor(&common);
        Ok(Block { first, common, items, common_cbor, items_cbor, ends })
    }

    /// Reads a stored block.
    ///
    /// # Errors
    /// [`Error::Block`], [`Error::BlockFormat`] or [`Error::BlockLength`] when the bytes are not a block,
    /// [`Error::BlockSequence`] when its entries do not count up, [`Error::NotCanonical`] when it is written in any
    /// other way than [`Block::encode`] writes it.
    pub fn decode(bytes: &[u8]) -> Result<Block, Error> {
        let (format, cbor) = bytes.split_first().ok_or(Error::BlockLength)?;
        if *format != FORMAT {
            return Err(Error::BlockFormat(*format));
        }
        let mut decoder = Decoder::new(cbor);
        let (first, common, items) = decode_parts(&mut decoder).map_err(Error::Block)?;
        if decoder.position() != cbor.len() {
            return Err(Error::BlockLength);
        }
        let block = Block::new(first, common, items)?;
        if block.encode() != bytes {
            return Err(Error::NotCanonical);
        }
        Ok(block)
    }

    /// The stored form.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(1 + 1 + 9 + self.common_cbor.len() + 9 + self.items_cbor.len());
        bytes.push(FORMAT);
        append_array_head(&mut bytes, 3);
        append_cbor(&mut bytes, &self.first);
        bytes.extend_from_slice(&self.common_cbor);
        append_array_head(&mut bytes, self.items.len());
        bytes.extend_from_slice(&self.items_cbor);
        bytes
    }

    /// Sequence of the first entry; the key of the stored row.
    #[must_use]
    pub fn first(&self) -> Sequence {
        self.first
    }

    /// Replicated time of the command.
    #[must_use]
    pub fn time(&self) -> Timestamp {
        self.common.time
    }

    /// What the entries share.
    #[must_use]
    pub fn common(&self) -> &Common {
        &self.common
    }

    /// The entries' own parts, in sequence order.
    #[must_use]
    pub fn items(&self) -> &[EntryItem] {
        &self.items
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is no entry. Such a block is never stored.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Number of entries with this decision.
    #[must_use]
    pub fn count(&self, decision: Decision) -> usize {
        self.items.iter().filter(|item| item.decision == decision).count()
    }

    /// The entry at a place within the block, from 0.
    #[must_use]
    pub fn entry(&self, place: usize) -> Option<Entry> {
        let item = self.items.get(place)?.clone();
        Some(Entry { common: self.common.clone(), item })
    }

    /// The canonical bytes of the entry at a place within the block, from 0.
    #[must_use]
    pub fn canonical(&self, place: usize) -> Option<Vec<u8>> {
        let item = self.item_cbor(place)?;
        Some([&[ENTRY_HEAD], self.common_cbor.as_slice(), item].concat())
    }

    /// The leaf hashes of all entries, in sequence order, for [`tree::Edge::append`].
    #[must_use]
    pub fn leaf_hashes(&self) -> Vec<Hash> {
        let mut shared = Sha256::new();
        shared.update(&[tree::LEAF_PREFIX, ENTRY_HEAD]);
        shared.update(&self.common_cbor);
        let hash = |item: &[u8]| {
            let mut leaf = shared.clone();
            leaf.update(item);
            leaf.finish()
        };
        self.items_in_cbor().map(hash).collect()
    }

    fn item_cbor(&self, place: usize) -> Option<&[u8]> {
        let end = *self.ends.get(place)?;
        let start = place.checked_sub(1).map_or(Some(0), |before| self.ends.get(before).copied())?;
        self.items_cbor.get(start..end)
    }

    fn items_in_cbor(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.items_cbor.as_slice();
        let mut start = 0;
        self.ends.iter().map(move |end| {
            let (item, behind) = rest.split_at(end - start);
            (rest, start) = (behind, *end);
            item
        })
    }
}

fn check_sequences(first: Sequence, items: &[EntryItem]) -> Result<(), Error> {
    let mut expected = first.get();
    for (place, item) in items.iter().enumerate() {
        let found = item.sequence.get();
        if found != expected {
            return Err(Error::BlockSequence { place, expected, found });
        }
        expected = expected.checked_add(1).ok_or(Error::BlockLength)?;
    }
    Ok(())
}

fn decode_parts(decoder: &mut Decoder<'_>) -> Result<(Sequence, Common, Vec<EntryItem>), minicbor::decode::Error> {
    use minicbor::decode::Error;
    if decoder.array()? != Some(3) {
        return Err(Error::message("block must have 3 parts"));
    }
    let first = decoder.decode()?;
    let common = decoder.decode()?;
    let count = decoder.array()?.and_then(|count| usize::try_from(count).ok());
    let Some(count) = count.filter(|count| *count <= Block::ENTRIES_MAX) else {
        return Err(Error::message("block has too many entries"));
    };
    let items = (0..count).map(|_| decoder.decode()).collect::<Result<_, _>>()?;
    Ok((first, common, items))
}

fn append_array_head(bytes: &mut Vec<u8>, len: usize) {
    #[expect(clippy::expect_used, reason = "writing a head to a Vec is infallible")]
    Encoder::new(bytes).array(len as u64).expect("encoding into memory cannot fail");
}

#[cfg(test)]
#[path = "block_tests.rs"]
mod tests;
