use ring::rand::{SecureRandom, SystemRandom};
use zeroize::{Zeroize, Zeroizing};

use crate::Error;

/// The source of randomness, passed in so that tests and the simulation can be deterministic.
pub trait Random: Send + Sync {
    /// Fills `dest` completely with unpredictable bytes, or fails without promising anything about `dest`.
    fn fill(&self, dest: &mut [u8]) -> Result<(), Error>;
}

/// The operating system's generator: the only source of a live vault.
pub struct OsRandom(SystemRandom);

impl OsRandom {
    /// Opens nothing and cannot fail; the system call happens in `fill`.
    pub fn new() -> Self {
        Self(SystemRandom::new())
    }
}

impl Default for OsRandom {
    fn default() -> Self {
        Self::new()
    }
}

impl Random for OsRandom {
    fn fill(&self, dest: &mut [u8]) -> Result<(), Error> {
        self.0.fill(dest).map_err(|_| Error::Random)
    }
}

/// Random bytes of one new record: token secret, record key, data key and five nonces.
pub const RECORD_RANDOM_BYTES: usize = 20 + 32 + 32 + 5 * 12;

/// One draw of a pool. Larger blocks gain nothing: at 4 KiB the system call is already a few percent of the cost.
pub const POOL_BLOCK_BYTES_MAX: usize = 4096;

/// Draws blocks from a [`Random`] and hands out slices of them, so that a batch does not pay a system call per nonce.
///
/// No byte is handed out twice: a byte is overwritten in the pool when it is handed out, a request that does not fit
/// into the rest of a block starts a new block, and what is left is zeroized. A pool belongs to one call and one
/// thread; it must not be kept across a fork.
pub struct Pool<'a> {
    source: &'a dyn Random,
    block: Zeroizing<Vec<u8>>,
    next: usize,
}

impl<'a> Pool<'a> {
    /// A pool that draws 4 KiB at a time, for bulk work.
    pub fn new(source: &'a dyn Random) -> Self {
        Self::with_block_bytes(source, POOL_BLOCK_BYTES_MAX)
    }

    /// A pool that draws just enough for `records` new records (at most 4 KiB at a time), so that a single call does
    /// not draw a whole block.
    pub fn for_records(source: &'a dyn Random, records: usize) -> Self {
        Self::with_block_bytes(source, records.saturating_mul(RECORD_RANDOM_BYTES))
    }

    /// Fills `dest` with bytes nobody else gets.
    pub fn fill(&mut self, dest: &mut [u8]) -> Result<(), Error> {
        if dest.len() > self.block.len() {
            return self.source.fill(dest);
        }
        if dest.len() > self.block.len() - self.next {
            self.refill()?;
        }
        let end = self.next + dest.len();
        let taken = self.block.get_mut(self.next..end).ok_or(Error::Random)?;
        dest.copy_from_slice(taken);
        taken.zeroize();
        self.next = end;
        Ok(())
    }

    /// `N` fresh bytes that are not secret, for example a nonce or an id. Secrets use `fill` into their own buffer.
    pub fn take<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn with_block_bytes(source: &'a dyn Random, block_bytes: usize) -> Self {
        let block_bytes = block_bytes.clamp(RECORD_RANDOM_BYTES, POOL_BLOCK_BYTES_MAX);
        Self { source, block: Zeroizing::new(vec![0; block_bytes]), next: block_bytes }
    }

    fn refill(&mut self) -> Result<(), Error> {
        // A failed draw leaves the pool empty, so that the zeros of a used block can never be handed out.
        self.next = self.block.len();
        self.source.fill(&mut self.block)?;
        self.next = 0;
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod fake {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// Bytes 0, 1, 2, … 250, 0, …: reproducible by hand and by another language, for golden bytes.
    #[derive(Default)]
    pub(crate) struct Counting(AtomicU64);

    impl Random for Counting {
        fn fill(&self, dest: &mut [u8]) -> Result<(), Error> {
            for byte in dest {
                *byte = (self.0.fetch_add(1, Ordering::Relaxed) % 251) as u8;
            }
            Ok(())
        }
    }

    /// Fails from the second draw on.
    #[derive(Default)]
    pub(crate) struct FailsLater(AtomicU64);

    impl Random for FailsLater {
        fn fill(&self, dest: &mut [u8]) -> Result<(), Error> {
            if self.0.fetch_add(1, Ordering::Relaxed) > 0 {
                return Err(Error::Random);
            }
            dest.fill(7);
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{fake::*, *};

    #[test]
    fn a_pool_never_hands_out_a_byte_twice() {
        // Phase 1: the pool's output is the source's output, minus the rests of blocks that were too short.
        let source = Counting::default();
        let mut pool = Pool::for_records(&source, 1);
        let first: [u8; 100] = pool.take().unwrap();
        assert_eq!(first[..3], [0, 1, 2]);
        let second: [u8; 100] = pool.take().unwrap();
        assert_eq!(second[0], RECORD_RANDOM_BYTES as u8, "the rest of block one is dropped, not reused");

        // Phase 2: handed-out bytes are gone from the pool.
        assert!(pool.block.iter().take(100).all(|byte| *byte == 0));

        // Phase 3: nonces of the real generator do not repeat.
        let os = OsRandom::new();
        let mut pool = Pool::new(&os);
        let nonces: BTreeSet<[u8; 12]> = (0..2000).map(|_| pool.take().unwrap()).collect();
        assert_eq!(nonces.len(), 2000);
    }

    #[test]
    fn a_request_above_the_block_goes_to_the_source() {
        let source = Counting::default();
        let mut pool = Pool::for_records(&source, 1);
        let mut big = vec![0; 10_000];
        pool.fill(&mut big).unwrap();
        assert_eq!(big[250], 250);
        assert_eq!(big[251], 0);
    }

    #[test]
    fn a_failed_draw_is_an_error_now_and_later() {
        let source = FailsLater::default();
        let mut pool = Pool::for_records(&source, 1);
        assert_eq!(pool.take::<RECORD_RANDOM_BYTES>().unwrap()[0], 7);
        assert_eq!(pool.take::<12>(), Err(Error::Random));
        assert_eq!(pool.take::<12>(), Err(Error::Random), "zeros of a used block must not come out");
    }
}
