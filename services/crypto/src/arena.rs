//! Locked memory for roots and bucket keys: never swapped, never in a core dump, empty in a forked child, zeroized when
//! a key is erased and when the arena ends. Record keys, data keys and tokens live only for one call and stay outside.

use std::{
    ffi::c_void,
    io,
    marker::PhantomData,
    ptr::{self, NonNull},
    sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use rustix::{
    mm::{Advice, MapFlags, ProtFlags, madvise, mlock, mmap_anonymous, munlock, munmap},
    param::page_size,
    process::{Resource, getrlimit},
};
use zeroize::Zeroize;

use crate::{BucketKey, Error, RootKey, secret::KEY_BYTES};

/// Largest arena: 32,768 keys, one MiB of locked memory.
pub const ARENA_SLOTS_MAX: usize = ARENA_BYTES_MAX / KEY_BYTES;

const ARENA_BYTES_MAX: usize = 1 << 20;

/// Why the arena could not be made. The process must not start: keys would reach swap or core dumps.
#[derive(Debug, thiserror::Error)]
pub enum ArenaError {
    /// A configuration that needs more keys than the arena may hold.
    #[error("`{slots}` key slots requested, the arena holds between 1 and `{slots_max}`")]
    Slots { slots: usize, slots_max: usize },

    /// `RLIMIT_MEMLOCK` (ulimit -l, LimitMEMLOCK=) is too low and the process lacks CAP_IPC_LOCK.
    #[error(
        "cannot lock `{needed_memlock_bytes}` bytes of memory for keys: RLIMIT_MEMLOCK is {}; raise it to at least \
         the needed bytes or grant CAP_IPC_LOCK",
        limit_text(.limit_memlock_bytes)
    )]
    Lock { needed_memlock_bytes: usize, limit_memlock_bytes: Option<u64>, source: io::Error },

    /// The kernel refused the mapping or its protection.
    #[error("cannot {step} `{bytes}` bytes of memory for keys")]
    Map { step: &'static str, bytes: usize, source: io::Error },
}

/// Keys that may live in the arena: 32 transparent bytes. Closed, because the arena reinterprets its bytes as them.
pub trait ArenaKey: sealed::Sealed {
    #[doc(hidden)]
    fn bytes(&self) -> &[u8; KEY_BYTES];
}

impl ArenaKey for RootKey {
    fn bytes(&self) -> &[u8; KEY_BYTES] {
        self.expose()
    }
}

impl ArenaKey for BucketKey {
    fn bytes(&self) -> &[u8; KEY_BYTES] {
        self.expose()
    }
}

/// Handle of one key. It dies with `erase`: the slot's next key has another generation, so a stale handle gives
/// [`Error::KeyErased`], never somebody else's key.
pub struct KeySlot<K> {
    index: u32,
    generation: u32,
    key: PhantomData<fn() -> K>,
}

impl<K> Clone for KeySlot<K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K> Copy for KeySlot<K> {}

/// The locked area. Shared by all keyrings of a process.
pub struct KeyArena {
    region: RwLock<Region>,
}

impl KeyArena {
    /// Maps and locks room for `slots` keys. Both shared-domain tables of a rotation need 2 × 4,096 slots and a few
    /// roots.
    pub fn new(slots: usize) -> Result<Self, ArenaError> {
        if slots == 0 || slots > ARENA_SLOTS_MAX {
            return Err(ArenaError::Slots { slots, slots_max: ARENA_SLOTS_MAX });
        }
        Ok(Self { region: RwLock::new(Region::map(slots)?) })
    }

    /// Locked memory an arena of `slots` keys needs, in bytes: whole pages.
    pub fn needed_memlock_bytes(slots: usize) -> usize {
        slots.saturating_mul(KEY_BYTES).next_multiple_of(page_size())
    }

    /// Moves a key into the arena. The passed key is zeroized.
    pub fn store<K: ArenaKey>(&self, key: K) -> Result<KeySlot<K>, Error> {
        let mut region = self.write();
        let slots = region.slots.len();
        let index = region.free.pop().ok_or(Error::ArenaFull { slots })?;
        region.write_key(index, key.bytes());
        let generation = region.occupy(index);
        Ok(KeySlot { index, generation, key: PhantomData })
    }

    /// Lends a key to `use_key`, in place.
    ///
    /// The arena is read-locked meanwhile: `use_key` is short, does not block, and does not call the arena (a second
    /// read behind a waiting writer would deadlock; [`KeyArena::with_two_keys`] exists for that). `erase` waits for it,
    /// so after `erase` returns no call uses the key.
    pub fn with_key<K: ArenaKey, R>(&self, slot: KeySlot<K>, use_key: impl FnOnce(&K) -> R) -> Result<R, Error> {
        let region = self.read();
        let key = region.key(slot).ok_or(Error::KeyErased)?;
        Ok(use_key(key))
    }

    /// Lends two keys at once; see [`KeyArena::with_key`].
    pub fn with_two_keys<K: ArenaKey, L: ArenaKey, R>(
        &self,
        first: KeySlot<K>,
        second: KeySlot<L>,
        use_keys: impl FnOnce(&K, &L) -> R,
    ) -> Result<R, Error> {
        let region = self.read();
        let first = region.key(first).ok_or(Error::KeyErased)?;
        let second = region.key(second).ok_or(Error::KeyErased)?;
        Ok(use_keys(first, second))
    }

    /// Zeroizes a key, after every use under way has ended. Erasing a stale handle does nothing.
    pub fn erase<K: ArenaKey>(&self, slot: KeySlot<K>) {
        let mut region = self.write();
        if region.is_live(slot.index, slot.generation) {
            region.write_key(slot.index, &[0; KEY_BYTES]);
            region.vacate(slot.index);
        }
    }

    /// Keys held now, for metrics and attestations.
    pub fn keys_held(&self) -> usize {
        let region = self.read();
        region.slots.len() - region.free.len()
    }

    // A closure that panics under the read lock cannot poison it, and writers keep the region consistent at every
    // step, so a poisoned lock is still a good region.
    fn read(&self) -> RwLockReadGuard<'_, Region> {
        self.region.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Region> {
        self.region.write().unwrap_or_else(PoisonError::into_inner)
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for crate::RootKey {}
    impl Sealed for crate::BucketKey {}
}

#[derive(Clone, Copy, Default)]
struct SlotState {
    /// Counts the keys that ever lived here.
    generation: u32,
    live: bool,
}

struct Region {
    base: NonNull<u8>,
    bytes: usize,
    slots: Vec<SlotState>,
    free: Vec<u32>,
}

#[expect(unsafe_code, reason = "a raw pointer to a private mapping")]
// SAFETY: the mapping belongs to this Region alone and is not bound to the thread that made it.
unsafe impl Send for Region {}

#[expect(unsafe_code, reason = "a raw pointer to a private mapping")]
// SAFETY: through `&Region` the mapping is only read; writes need `&mut Region`.
unsafe impl Sync for Region {}

impl Region {
    fn map(slots: usize) -> Result<Self, ArenaError> {
        let bytes = KeyArena::needed_memlock_bytes(slots);
        let failed = |step| move |error: rustix::io::Errno| ArenaError::Map { step, bytes, source: error.into() };
        #[expect(unsafe_code, reason = "mmap is the only way to whole private pages")]
        // SAFETY: a new anonymous mapping at an address the kernel chooses touches no existing memory.
        let base =
            unsafe { mmap_anonymous(ptr::null_mut(), bytes, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE) }
                .map_err(failed("map"))?;
        let base = NonNull::new(base.cast::<u8>()).ok_or_else(|| failed("map")(rustix::io::Errno::NOMEM))?;
        // From here on the Region's drop unmaps.
        let free = (0..slots as u32).rev().collect();
        let region = Self { base, bytes, slots: vec![SlotState::default(); slots], free };
        #[expect(unsafe_code, reason = "the mapping must be locked before a key is written to it")]
        // SAFETY: exactly the pages mapped above.
        unsafe { mlock(region.address(), bytes) }.map_err(|error| ArenaError::Lock {
            needed_memlock_bytes: bytes,
            limit_memlock_bytes: getrlimit(Resource::Memlock).current,
            source: error.into(),
        })?;
        for (step, advice) in
            [("exclude from core dumps", Advice::LinuxDontDump), ("wipe on fork", Advice::LinuxWipeOnFork)]
        {
            #[expect(unsafe_code, reason = "keys must stay out of core dumps and forked children")]
            // SAFETY: exactly the pages mapped above; neither advice changes their content in this process.
            unsafe { madvise(region.address(), bytes, advice) }.map_err(failed(step))?;
        }
        Ok(region)
    }

    fn address(&self) -> *mut c_void {
        self.base.as_ptr().cast()
    }

    fn is_live(&self, index: u32, generation: u32) -> bool {
        self.slots.get(index as usize).is_some_and(|slot| slot.live && slot.generation == generation)
    }

    fn key<K: ArenaKey>(&self, slot: KeySlot<K>) -> Option<&K> {
        const { assert!(size_of::<K>() == KEY_BYTES && align_of::<K>() == 1) };
        if !self.is_live(slot.index, slot.generation) {
            return None;
        }
        #[expect(unsafe_code, reason = "keys are used where they lie, not copied out of locked memory")]
        // SAFETY: a live index is below the slot count, so the 32 bytes lie inside the mapping and were initialised by
        // `store`. K is one of the two `repr(transparent)` wrappers of [u8; 32] (sealed trait, checked above), valid for
        // every bit pattern and of alignment 1; a slot's generation ties it to the K it was stored as. The reference
        // borrows `self` shared, and writing needs `&mut self`.
        let key = unsafe { &*self.base.as_ptr().add(slot.index as usize * KEY_BYTES).cast::<K>() };
        Some(key)
    }

    /// `index` is below the slot count: it came from the free list or from a live slot.
    fn write_key(&mut self, index: u32, key: &[u8; KEY_BYTES]) {
        #[expect(unsafe_code, reason = "the only write into the mapping")]
        // SAFETY: the index is below the slot count, so the 32 bytes lie inside the mapping; `&mut self` excludes
        // readers. The compiler cannot drop it as dead: the mapping stays reachable through the region.
        unsafe {
            ptr::copy_nonoverlapping(key.as_ptr(), self.base.as_ptr().add(index as usize * KEY_BYTES), KEY_BYTES);
        }
    }

    fn occupy(&mut self, index: u32) -> u32 {
        let Some(slot) = self.slots.get_mut(index as usize) else { return 0 };
        slot.live = true;
        slot.generation
    }

    fn vacate(&mut self, index: u32) {
        if let Some(slot) = self.slots.get_mut(index as usize) {
            slot.live = false;
            // A slot whose generations are used up is retired rather than letting an old handle fit again.
            if let Some(next) = slot.generation.checked_add(1) {
                slot.generation = next;
                self.free.push(index);
            }
        }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        #[expect(unsafe_code, reason = "the mapping is zeroized and given back")]
        // SAFETY: the mapping is `bytes` long, initialised (anonymous pages are zero), and nobody can borrow from a
        // Region that is being dropped. An unmap error leaves zeroized pages behind, which harm nobody.
        unsafe {
            std::slice::from_raw_parts_mut(self.base.as_ptr(), self.bytes).zeroize();
            let _ = munlock(self.address(), self.bytes);
            let _ = munmap(self.address(), self.bytes);
        }
    }
}

fn limit_text(limit_bytes: &Option<u64>) -> String {
    limit_bytes.map_or_else(|| "unlimited".to_owned(), |bytes| format!("`{bytes}` bytes"))
}

#[cfg(test)]
mod tests {
    use std::{fs, thread};

    use super::*;

    fn bucket(byte: u8) -> BucketKey {
        BucketKey::from_bytes([byte; KEY_BYTES])
    }

    #[test]
    fn a_slot_lives_from_store_to_erase_and_stale_handles_open_nothing() {
        // Phase 1: stored keys come back, each its own.
        let arena = KeyArena::new(2).unwrap();
        let first = arena.store(bucket(1)).unwrap();
        let root = arena.store(RootKey::from_bytes([9; KEY_BYTES])).unwrap();
        assert_eq!(arena.with_key(first, |key| *key.expose()).unwrap(), [1; KEY_BYTES]);
        assert_eq!(arena.with_two_keys(root, first, |r, b| (r.expose()[0], b.expose()[0])).unwrap(), (9, 1));

        // Phase 2: full is an error, not growth.
        assert_eq!(arena.store(bucket(3)).err(), Some(Error::ArenaFull { slots: 2 }));

        // Phase 3: erased bytes are gone from memory, and the reused slot does not answer the old handle.
        let position = first.index as usize * KEY_BYTES;
        arena.erase(first);
        assert_eq!(peek(&arena, position), [0; KEY_BYTES]);
        assert_eq!(arena.with_key(first, |_| ()), Err(Error::KeyErased));
        let third = arena.store(bucket(3)).unwrap();
        assert_eq!(third.index, first.index);
        assert_eq!(arena.with_key(first, |_| ()), Err(Error::KeyErased));
        arena.erase(first);
        assert_eq!(arena.with_key(third, |key| key.expose()[0]).unwrap(), 3, "a stale erase erases nothing");
        assert_eq!(arena.keys_held(), 2);
    }

    #[test]
    fn the_mapping_is_locked_and_excluded_from_dumps_and_forks() {
        let arena = KeyArena::new(8192 + 8).unwrap();
        let address = arena.read().base.as_ptr() as usize;
        let smaps = fs::read_to_string("/proc/self/smaps").unwrap();
        let mut inside = false;
        let mut flags = None;
        for line in smaps.lines() {
            if let Some((from, to)) = line.split_once(' ').and_then(|(range, _)| range.split_once('-'))
                && let (Ok(from), Ok(to)) = (usize::from_str_radix(from, 16), usize::from_str_radix(to, 16))
            {
                inside = (from..to).contains(&address);
            }
            if inside && line.starts_with("VmFlags:") {
                flags = Some(line.to_owned());
            }
        }
        let flags = flags.expect("the mapping is listed");
        for flag in ["lo", "dd", "wf"] {
            assert!(flags.split_whitespace().any(|word| word == flag), "`{flag}` missing in {flags}");
        }
    }

    #[test]
    fn an_impossible_size_is_refused_and_the_need_is_stated() {
        assert!(matches!(KeyArena::new(0), Err(ArenaError::Slots { .. })));
        assert!(matches!(KeyArena::new(ARENA_SLOTS_MAX + 1), Err(ArenaError::Slots { .. })));
        assert_eq!(KeyArena::needed_memlock_bytes(1), page_size());
        assert_eq!(KeyArena::needed_memlock_bytes(ARENA_SLOTS_MAX), 1 << 20);
        let error = ArenaError::Lock {
            needed_memlock_bytes: 266_240,
            limit_memlock_bytes: Some(65_536),
            source: io::ErrorKind::OutOfMemory.into(),
        };
        let text = error.to_string();
        assert!(text.contains("`266240` bytes") && text.contains("RLIMIT_MEMLOCK is `65536` bytes"), "{text}");
    }

    #[test]
    fn threads_see_whole_keys_while_others_come_and_go() {
        let arena = KeyArena::new(4).unwrap();
        let fixed = arena.store(bucket(0x55)).unwrap();
        thread::scope(|scope| {
            for byte in 1..=2 {
                let arena = &arena;
                scope.spawn(move || {
                    for _ in 0..2000 {
                        let slot = arena.store(bucket(byte)).unwrap();
                        assert!(arena.with_key(slot, |key| *key.expose() == [byte; KEY_BYTES]).unwrap());
                        arena.erase(slot);
                    }
                });
            }
            for _ in 0..2000 {
                assert!(arena.with_key(fixed, |key| *key.expose() == [0x55; KEY_BYTES]).unwrap());
            }
        });
        assert_eq!(arena.keys_held(), 1);
    }

    fn peek(arena: &KeyArena, position: usize) -> [u8; KEY_BYTES] {
        let region = arena.read();
        #[expect(unsafe_code, reason = "the test looks at erased memory")]
        // SAFETY: the position is inside the mapping, which outlives the guard.
        unsafe {
            region.base.as_ptr().add(position).cast::<[u8; KEY_BYTES]>().read()
        }
    }
}
