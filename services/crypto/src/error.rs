use fuda_core::ids::{BucketId, BucketVersion, RootVersion};

use crate::aead::Layer;

/// Why a cryptographic operation was refused. Carries layers, versions and sizes, never key, token or plaintext bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The operating system gave no random bytes. Nothing was sealed; the caller must not continue with weaker bytes.
    #[error("the operating system gave no random bytes")]
    Random,

    /// The bytes are not a sealed blob of this layer: wrong format byte or wrong length. Storage is damaged.
    #[error("sealed {0} is malformed")]
    Malformed(Layer),

    /// The key, the token, the context or the bytes are not the ones that were sealed. Which of them it was cannot be
    /// known, and is not guessed.
    #[error("sealed {0} does not open with this key and context")]
    Unopened(Layer),

    /// The plaintext is longer than this layer allows, in bytes.
    #[error("{layer} of `{bytes}` bytes is above the limit of `{bytes_max}`")]
    TooLong { layer: Layer, bytes: usize, bytes_max: usize },

    /// The opened plaintext is not a number of its kind: written by a defective node, since the seal held.
    #[error("opened number is not valid for its kind")]
    NotANumber,

    /// The key was erased while the caller still held its handle; look the row up again.
    #[error("the key was erased")]
    KeyErased,

    /// All slots of the key arena are taken; the arena was sized too small at start.
    #[error("all `{slots}` slots of the key arena are in use")]
    ArenaFull { slots: usize },

    /// The table names a root that this node does not hold.
    #[error("root version `{}` is not held", .0.0)]
    RootNotHeld(RootVersion),

    /// Another root is already held under this version: two custodians disagree, or a root was drawn twice.
    #[error("another root is already held as version `{}`", .0.0)]
    RootConflict(RootVersion),

    /// Another key is already held under this bucket and bucket version.
    #[error("another key is already held for bucket `{}` version `{}`", .bucket.0, .version.0)]
    BucketConflict { bucket: BucketId, version: BucketVersion },

    /// The bucket version is not in the table this node has loaded.
    #[error("bucket `{}` version `{}` is not held", .bucket.0, .version.0)]
    BucketNotHeld { bucket: BucketId, version: BucketVersion },

    /// A defect of the cryptographic library's contract (a fixed-size key or output was refused).
    #[error("cryptographic primitive refused fixed-size input")]
    Primitive,
}
