//! Keeps long computations off the threads that serve sockets.

/// From so many items on, the crypto of a call takes longer than half a millisecond.
const HEAVY_ITEMS: usize = 32;

/// Runs `work` in place, telling the runtime first when it will take long.
pub(crate) fn heavy<T>(items: usize, work: impl FnOnce() -> T) -> T {
    if items >= HEAVY_ITEMS { tokio::task::block_in_place(work) } else { work() }
}
