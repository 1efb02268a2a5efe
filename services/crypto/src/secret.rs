use zeroize::Zeroize;

use crate::{Error, Pool, digest::constant_time_eq};

/// Length of every key and secret in this module.
pub const KEY_BYTES: usize = 32;

/// Declares a 32-byte secret: no Debug, Display, Clone or serde, zeroized on drop, `repr(transparent)` so that the key
/// arena can lend a typed reference to bytes it holds.
macro_rules! secret_key {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[repr(transparent)]
        pub struct $name([u8; KEY_BYTES]);

        impl $name {
            /// Draws a new key.
            pub fn generate(rng: &mut Pool<'_>) -> Result<Self, Error> {
                Self::filled_by(|bytes| rng.fill(bytes))
            }

            /// Lets `fill` write the key where it stays, so that no copy is left behind. Zeroized if `fill` fails.
            pub fn filled_by<E>(fill: impl FnOnce(&mut [u8; KEY_BYTES]) -> Result<(), E>) -> Result<Self, E> {
                let mut key = Self([0; KEY_BYTES]);
                fill(&mut key.0)?;
                Ok(key)
            }

            /// Takes over key bytes. The caller zeroizes its own copy.
            pub fn from_bytes(bytes: [u8; KEY_BYTES]) -> Self {
                Self(bytes)
            }

            /// The key bytes: for sealing and for custodians only.
            pub fn expose(&self) -> &[u8; KEY_BYTES] {
                &self.0
            }

            /// Compares in constant time.
            pub fn same_as(&self, other: &Self) -> bool {
                constant_time_eq(&self.0, &other.0)
            }
        }

        impl Drop for $name {
            fn drop(&mut self) {
                self.0.zeroize();
            }
        }
    };
}

secret_key! {
    /// E_v, the root of a key domain. Exists at custodians and in the locked arena only; destroying it is erasure.
    RootKey
}
secret_key! {
    /// B_{b,u}, the key of one bucket: seals the outer layer of every key row of its records.
    BucketKey
}
secret_key! {
    /// RK, the stable key of one record, stored only under its tokens.
    RecordKey
}
secret_key! {
    /// DEK_n, the key of one version of a record's number. Seals exactly one plaintext.
    DataKey
}
secret_key! {
    /// Drawn by the client library so that a repeated call finds its first reply. Never stored, logged or forwarded:
    /// a stored one would open the replies, and with them the tokens (promise P4).
    RetrySecret
}
secret_key! {
    /// The private key of a recipient of sealed numbers: an X25519 scalar. Held by the recipient, never by a vault.
    RecipientSecret
}
secret_key! {
    /// The key of one bundle of an archive of audit entries. Destroying it removes the bundle from whatever still holds its
    /// bytes: free space of the file, journals, copies without the keys.
    ArchiveKey
}
