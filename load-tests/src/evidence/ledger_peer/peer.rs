//! The peer: the crates `signed_note` and `tlog_tiles`, which share no line with ours.
//!
//! It believes in one key and in nothing else that a node says: it hashes the entries itself, keeps its own tree of
//! them, and judges checkpoints and proofs by that.

use anyhow::{Context as _, Result, anyhow, ensure};
use signed_note::{Note, StandardVerifier, VerifierList};
use tlog_tiles::{
    Checkpoint, Hash, HashReader, Tile, check_record, check_tree, prove_record, prove_tree, record_hash, stored_hashes,
    tree_hash,
};

/// Height of the tiles of C2SP tlog-tiles: 256 hashes.
const TILE_HEIGHT: u8 = 8;
/// Hashes of a full tile.
const TILE_WIDTH: u32 = 256;

/// An independent reader of one ledger.
pub(super) struct Peer {
    vkey: String,
    stored: Stored,
    size: u64,
}

/// The hashes of all complete subtrees, in the order in which they become complete.
struct Stored(Vec<Hash>);

impl HashReader for Stored {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, tlog_tiles::Error> {
        let one = |index: &u64| usize::try_from(*index).ok().and_then(|index| self.0.get(index).copied());
        let missing = || tlog_tiles::Error::InvalidInput("a hash beyond the tree".to_owned());
        indexes.iter().map(|index| one(index).ok_or_else(missing)).collect()
    }
}

impl Peer {
    /// Trusts the key whose text form is `vkey`.
    pub(super) fn new(vkey: &str) -> Result<Self> {
        verifiers(vkey)?;
        Ok(Self { vkey: vkey.to_owned(), stored: Stored(Vec::new()), size: 0 })
    }

    /// Takes the next entry's canonical bytes into its tree.
    pub(super) fn append(&mut self, canonical: &[u8]) -> Result<()> {
        let hashes = stored_hashes(self.size, canonical, &self.stored)?;
        self.stored.0.extend(hashes);
        self.size += 1;
        Ok(())
    }

    /// Number of entries taken.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Accepts a checkpoint: signed by the key, about the log of that name, with the root of its own tree.
    pub(super) fn accept(&self, note: &str, origin: &str) -> Result<Head> {
        let note = Note::from_bytes(note.as_bytes())?;
        note.verify(&verifiers(&self.vkey)?)?;
        let checkpoint = Checkpoint::from_bytes(note.text()).map_err(|_| anyhow!("the note is no checkpoint"))?;
        ensure!(checkpoint.origin() == origin, "a checkpoint of another log");
        let head = Head { size: checkpoint.size(), root: *checkpoint.hash() };
        ensure!(head.root == self.head(head.size)?.root, "the root is not that of the entries");
        Ok(head)
    }

    /// Its own tree of the first `size` entries.
    pub(super) fn head(&self, size: u64) -> Result<Head> {
        Ok(Head { size, root: tree_hash(size, &self.stored)? })
    }

    /// Accepts an inclusion proof of the entry, and only the one it would have made itself.
    pub(super) fn included(&self, path: &[Vec<u8>], head: Head, sequence: u64, canonical: &[u8]) -> Result<()> {
        let path = hashes(path)?;
        check_record(&path, head.size, head.root, sequence, record_hash(canonical))?;
        ensure!(path == prove_record(head.size, sequence, &self.stored)?, "another proof than the peer's");
        Ok(())
    }

    /// Accepts a consistency proof, and only the one it would have made itself.
    pub(super) fn consistent(&self, path: &[Vec<u8>], older: Head, newer: Head) -> Result<()> {
        let path = hashes(path)?;
        check_tree(&path, newer.size, newer.root, older.size, older.root)?;
        ensure!(path == prove_tree(newer.size, older.size, &self.stored)?, "another proof than the peer's");
        Ok(())
    }

    /// The bytes of a full tile, as its own tree has them.
    pub(super) fn tile(&self, level: u8, index: u64) -> Result<Vec<u8>> {
        Ok(Tile::new(TILE_HEIGHT, level, index, TILE_WIDTH, false).read_data(&self.stored)?)
    }
}

/// Made where it is used: what the crate makes of a key cannot be shared between threads.
fn verifiers(vkey: &str) -> Result<VerifierList> {
    let verifier = StandardVerifier::new(vkey).map_err(|error| anyhow!("the peer refuses the key: {error}"))?;
    Ok(VerifierList::new(vec![Box::new(verifier)]))
}

/// A tree head as the peer understood it.
#[derive(Clone, Copy)]
pub(super) struct Head {
    pub(super) size: u64,
    pub(super) root: Hash,
}

fn hashes(path: &[Vec<u8>]) -> Result<Vec<Hash>> {
    let one = |bytes: &Vec<u8>| bytes.as_slice().try_into().map(Hash).context("a hash without 32 bytes");
    path.iter().map(one).collect()
}
