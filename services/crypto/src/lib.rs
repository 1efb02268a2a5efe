//! The key tree, seals and secret types of Fuda. The only importer of ring and hpke.
//!
//! Pure: no async, no I/O but the locking of memory, randomness only through a [`Random`] passed in.
//!
//! ```text
//! root E_v                     RootKey     custodians and the arena only
//!  └ B_{b,u}                   BucketKey   sealed under E_v in the bucket table           seal_bucket
//!     └ outer wrap of key rows             what rotation and erasure replace              seal_outer
//!        ├ token wrap          RecordKey   under HKDF(token secret)                       wrap_for_token
//!        └ version wrap        DataKey     under the record key                           wrap_version
//!             └ number row                 under the data key, used once                  seal_number
//! ```

pub mod archive;
pub mod arena;
pub mod digest;
pub mod keyring;
pub mod random;
pub mod recipient;
pub mod record;
pub mod seal;
pub mod secret;
pub mod signature;

mod aead;
mod error;

#[cfg(test)]
mod test_hex;
#[cfg(test)]
mod tests;

pub use aead::{Layer, SEAL_OVERHEAD_BYTES};
pub use archive::{ARCHIVED_BYTES_MAX, ArchiveContext, open_archived, seal_archived};
pub use arena::{ArenaError, KeyArena, KeySlot};
pub use digest::{Sha256, SigningKey, constant_time_eq, hkdf, hmac_sha256, person_id, sha256, verify_ed25519};
pub use error::Error;
pub use keyring::{BucketHandle, FIRST_BUCKET_VERSION, Keyring, SealedBucketRow, new_bucket_table};
pub use random::{OsRandom, Pool, RECORD_RANDOM_BYTES, Random};
pub use recipient::{
    RecipientKey, SEALED_NUMBER_BYTES, SealedContext, SealedNumber, open_as_recipient, seal_to_recipient,
};
pub use record::{
    BucketRef, NewRecord, NewToken, NewVersion, SealedRecord, open_record, open_record_key, rewrap, seal_new_record,
    seal_new_token, seal_new_version, verify_guess,
};
pub use seal::{
    BucketContext, Holder, RecordContext, ReplyContext, RootContext, lookup_key, open_bucket, open_number, open_outer,
    open_reply, open_secret, seal_bucket, seal_number, seal_outer, seal_reply, seal_secret, unwrap_version,
    unwrap_with_token, wrap_for_token, wrap_version,
};
pub use secret::{ArchiveKey, BucketKey, DataKey, RecipientSecret, RecordKey, RetrySecret, RootKey};
pub use signature::{PublicKey, SignatureAlgorithm};
