//! The keys of one key domain that this node holds, found by bucket and bucket version.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use fuda_core::ids::{BucketId, BucketVersion, KeyDomainId, RootVersion, VaultId};
use minicbor::{Decode, Encode};

use crate::{
    BucketContext, BucketKey, BucketRef, Error, KeyArena, KeySlot, Pool, RootKey,
    seal::{open_bucket, seal_bucket},
};

/// Version of the bucket keys a domain starts with.
pub const FIRST_BUCKET_VERSION: BucketVersion = BucketVersion(1);

/// One row of a domain's bucket table: replicated, because it is worth nothing without its root.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SealedBucketRow {
    #[n(0)]
    pub bucket: BucketId,
    #[n(1)]
    pub bucket_version: BucketVersion,
    #[n(2)]
    pub root_version: RootVersion,
    /// The bucket key under that root.
    #[n(3)]
    #[cbor(with = "minicbor::bytes")]
    pub sealed: Vec<u8>,
}

/// Draws the first bucket keys of a domain and seals them under its first root.
pub fn new_bucket_table(
    rng: &mut Pool<'_>,
    root: &RootKey,
    vault: VaultId,
    domain: KeyDomainId,
    root_version: RootVersion,
    buckets: u16,
) -> Result<Vec<SealedBucketRow>, Error> {
    (0..buckets)
        .map(|number| {
            let bucket = BucketId(number);
            let key = BucketKey::generate(rng)?;
            let bucket_version = FIRST_BUCKET_VERSION;
            let context = BucketContext { vault, domain, bucket, bucket_version };
            let sealed = seal_bucket(rng, root, &key, &context, root_version)?;
            Ok(SealedBucketRow { bucket, bucket_version, root_version, sealed })
        })
        .collect()
}

/// The roots and bucket keys of one domain, lying in the arena.
///
/// A bucket key is held on the strength of the newest root it was sealed under. Erasing a root erases with it every
/// bucket key that no later table re-sealed: after a shred those are exactly the retired bucket versions.
pub struct Keyring {
    arena: Arc<KeyArena>,
    vault: VaultId,
    domain: KeyDomainId,
    table: RwLock<Table>,
}

#[derive(Default)]
struct Table {
    roots: BTreeMap<RootVersion, KeySlot<RootKey>>,
    buckets: BTreeMap<(BucketId, BucketVersion), HeldBucket>,
}

#[derive(Clone, Copy)]
struct HeldBucket {
    slot: KeySlot<BucketKey>,
    /// Newest root a loaded row sealed this key under.
    root_version: RootVersion,
}

/// A bucket key found in a keyring. Short-lived: after the key is erased it gives [`Error::KeyErased`].
#[derive(Clone, Copy)]
pub struct BucketHandle<'k> {
    arena: &'k KeyArena,
    slot: KeySlot<BucketKey>,
    bucket: BucketId,
    version: BucketVersion,
}

impl Keyring {
    /// An empty keyring: seals and opens nothing until a root and a table are loaded.
    pub fn new(arena: Arc<KeyArena>, vault: VaultId, domain: KeyDomainId) -> Self {
        Self { arena, vault, domain, table: RwLock::default() }
    }

    /// Takes a root a custodian opened. The same root again is accepted, another one under a held version refused.
    pub fn add_root(&self, version: RootVersion, root: RootKey) -> Result<(), Error> {
        let mut table = self.write();
        if let Some(held) = table.roots.get(&version) {
            let same = self.arena.with_key(*held, |held| held.same_as(&root))?;
            return if same { Ok(()) } else { Err(Error::RootConflict(version)) };
        }
        let slot = self.arena.store(root)?;
        table.roots.insert(version, slot);
        Ok(())
    }

    /// Loads rows of the bucket table, each under the root it names. Rows already held stay held; a row re-sealed under
    /// a newer root moves the key to it. On an error the rows before it remain loaded.
    pub fn load_table<'r>(&self, rows: impl IntoIterator<Item = &'r SealedBucketRow>) -> Result<(), Error> {
        for row in rows {
            self.hold(row, self.open_row(row)?)?;
        }
        Ok(())
    }

    /// The key of one bucket version, if held.
    pub fn bucket(&self, bucket: BucketId, version: BucketVersion) -> Option<BucketHandle<'_>> {
        let slot = self.read().buckets.get(&(bucket, version))?.slot;
        Some(BucketHandle { arena: &self.arena, slot, bucket, version })
    }

    /// The newest version held of a bucket: the one new rows are sealed under.
    pub fn current(&self, bucket: BucketId) -> Option<BucketVersion> {
        self.read().current(bucket).map(|(version, _)| version)
    }

    /// The key of [`Keyring::current`].
    pub fn current_bucket(&self, bucket: BucketId) -> Option<BucketHandle<'_>> {
        let (version, held) = self.read().current(bucket)?;
        Some(BucketHandle { arena: &self.arena, slot: held.slot, bucket, version })
    }

    /// The newest root held.
    pub fn current_root(&self) -> Option<RootVersion> {
        self.read().roots.last_key_value().map(|(version, _)| *version)
    }

    /// Roots held, oldest first: what this member attests to.
    pub fn roots(&self) -> Vec<RootVersion> {
        self.read().roots.keys().copied().collect()
    }

    /// Bucket versions held, in order.
    pub fn buckets(&self) -> Vec<(BucketId, BucketVersion)> {
        self.read().buckets.keys().copied().collect()
    }

    /// Draws the next key of a bucket and seals it under a held root. It is not held until its row comes back through
    /// the log and [`Keyring::load_table`].
    pub fn seal_new_bucket(
        &self,
        rng: &mut Pool<'_>,
        bucket: BucketId,
        bucket_version: BucketVersion,
        root_version: RootVersion,
    ) -> Result<SealedBucketRow, Error> {
        let key = BucketKey::generate(rng)?;
        let root = self.root_slot(root_version)?;
        let context = self.context(bucket, bucket_version);
        let sealed = self.arena.with_key(root, |root| seal_bucket(rng, root, &key, &context, root_version))??;
        Ok(SealedBucketRow { bucket, bucket_version, root_version, sealed })
    }

    /// Seals the newest key of every bucket under a held root: the table of the next root. Older bucket versions are
    /// left out on purpose, so that they end with their root.
    pub fn reseal(&self, rng: &mut Pool<'_>, root_version: RootVersion) -> Result<Vec<SealedBucketRow>, Error> {
        let root = self.root_slot(root_version)?;
        // Ascending keys: the last version of a bucket wins.
        let newest: BTreeMap<BucketId, (BucketVersion, HeldBucket)> =
            self.read().buckets.iter().map(|((bucket, version), held)| (*bucket, (*version, *held))).collect();
        newest
            .into_iter()
            .map(|(bucket, (bucket_version, held))| {
                let context = self.context(bucket, bucket_version);
                let sealed = self.arena.with_two_keys(root, held.slot, |root, key| {
                    seal_bucket(rng, root, key, &context, root_version)
                })??;
                Ok(SealedBucketRow { bucket, bucket_version, root_version, sealed })
            })
            .collect()
    }

    /// Erases a root and the bucket keys that end with it; gives the number of keys erased. When it returns, no call
    /// uses them any more.
    pub fn erase_root(&self, version: RootVersion) -> usize {
        let mut table = self.write();
        let mut erased = 0;
        if let Some(slot) = table.roots.remove(&version) {
            self.arena.erase(slot);
            erased += 1;
        }
        table.buckets.retain(|_, held| {
            let ends = held.root_version == version;
            if ends {
                self.arena.erase(held.slot);
                erased += 1;
            }
            !ends
        });
        erased
    }

    /// Erases everything: a member too long without a leader, and shutdown.
    pub fn erase_all(&self) {
        let mut table = self.write();
        for (_, slot) in std::mem::take(&mut table.roots) {
            self.arena.erase(slot);
        }
        for (_, held) in std::mem::take(&mut table.buckets) {
            self.arena.erase(held.slot);
        }
    }

    /// First half of loading a row, without the table's lock.
    pub(crate) fn open_row(&self, row: &SealedBucketRow) -> Result<BucketKey, Error> {
        let root = self.root_slot(row.root_version)?;
        let context = self.context(row.bucket, row.bucket_version);
        self.arena.with_key(root, |root| open_bucket(root, &row.sealed, &context, row.root_version))?
    }

    /// Second half: holds the key, unless its root was erased since the row was opened. Otherwise a slow load would
    /// bring back, after the attestation, a key that was to end with its root.
    pub(crate) fn hold(&self, row: &SealedBucketRow, key: BucketKey) -> Result<(), Error> {
        let mut table = self.write();
        if !table.roots.contains_key(&row.root_version) {
            return Err(Error::RootNotHeld(row.root_version));
        }
        if let Some(held) = table.buckets.get_mut(&(row.bucket, row.bucket_version)) {
            if !self.arena.with_key(held.slot, |held| held.same_as(&key))? {
                return Err(Error::BucketConflict { bucket: row.bucket, version: row.bucket_version });
            }
            held.root_version = held.root_version.max(row.root_version);
            return Ok(());
        }
        let slot = self.arena.store(key)?;
        table.buckets.insert((row.bucket, row.bucket_version), HeldBucket { slot, root_version: row.root_version });
        Ok(())
    }

    fn root_slot(&self, version: RootVersion) -> Result<KeySlot<RootKey>, Error> {
        self.read().roots.get(&version).copied().ok_or(Error::RootNotHeld(version))
    }

    fn context(&self, bucket: BucketId, bucket_version: BucketVersion) -> BucketContext {
        BucketContext { vault: self.vault, domain: self.domain, bucket, bucket_version }
    }

    // Every change of the table is a single map operation, so a poisoned lock is still a good table.
    // Lock order: table, then arena; no table lock is held while a key is in use for sealing or opening.
    fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Keyring {
    /// The arena may outlive a domain.
    fn drop(&mut self) {
        self.erase_all();
    }
}

impl Table {
    fn current(&self, bucket: BucketId) -> Option<(BucketVersion, HeldBucket)> {
        let versions = (bucket, BucketVersion(0))..=(bucket, BucketVersion(u32::MAX));
        self.buckets.range(versions).next_back().map(|((_, version), held)| (*version, *held))
    }
}

impl BucketHandle<'_> {
    /// Which bucket.
    pub fn bucket(&self) -> BucketId {
        self.bucket
    }

    /// Which version of its key.
    pub fn version(&self) -> BucketVersion {
        self.version
    }

    /// Lends the key. Short, without blocking, and without touching any keyring inside: see [`KeyArena::with_key`].
    pub fn with<R>(&self, use_key: impl FnOnce(BucketRef<'_>) -> R) -> Result<R, Error> {
        self.arena.with_key(self.slot, |key| use_key(BucketRef { key, bucket: self.bucket, version: self.version }))
    }

    /// Lends two keys of one arena at once, for rows under different bucket versions and for re-wraps.
    pub fn with_two<R>(
        &self,
        other: &BucketHandle<'_>,
        use_keys: impl FnOnce(BucketRef<'_>, BucketRef<'_>) -> R,
    ) -> Result<R, Error> {
        self.arena.with_two_keys(self.slot, other.slot, |key, other_key| {
            let first = BucketRef { key, bucket: self.bucket, version: self.version };
            use_keys(first, BucketRef { key: other_key, bucket: other.bucket, version: other.version })
        })
    }
}
