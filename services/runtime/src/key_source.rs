//! Where the keys of token issuers come from, and how they stay new: a file that is watched, or an address that is asked.
//!
//! A source that cannot be read keeps its keys: an issuer that is down for an hour must not lock everybody out. Keys that
//! nobody could confirm for a day are dropped.

use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use fuda_identity::{KeySet, KeySetError};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::fetch::{FetchError, HttpsAddress, Request};
use crate::tls::watch;

/// How long a set is good that could not be read again.
const UNCONFIRMED_MAX: Duration = Duration::from_secs(86_400);
/// An unknown key id makes us look again, but not more often than this: an attacker chooses key ids.
const ASKED_AGAIN_MIN: Duration = Duration::from_secs(30);
/// How often an address is asked until it answered once.
const FIRST_ANSWER_EVERY: Duration = Duration::from_secs(5);

/// Where a key set is.
#[derive(Clone, Debug)]
pub enum KeyPlace {
    /// A JWKS file. It is read again when it changes.
    File(PathBuf),
    /// An address that answers with a JWKS.
    Address {
        /// The address.
        address: HttpsAddress,
        /// A file with a bearer token to show there, read at every request (an API server asks for one).
        bearer_file: Option<PathBuf>,
        /// How often it is asked.
        refresh: Duration,
    },
}

/// Why a key set could not be read.
#[derive(Debug, thiserror::Error)]
pub enum KeySourceError {
    /// The file cannot be read.
    #[error("`{path}` cannot be read: {source}")]
    Read {
        /// The path as configured.
        path: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// It is no key set.
    #[error("{0}")]
    Keys(#[from] KeySetError),
    /// The address did not answer well.
    #[error("{0}")]
    Fetch(#[from] FetchError),
}

/// The newest keys of one issuer.
#[derive(Debug)]
pub struct KeySource {
    issuer: String,
    place: KeyPlace,
    current: ArcSwap<Known>,
    /// Fingerprint of the bytes last tried, usable or not: a broken file is reported once.
    last_tried: Mutex<u64>,
    wanted: Notify,
}

#[derive(Debug)]
struct Known {
    keys: Arc<KeySet>,
    /// When the source last confirmed them.
    confirmed: Instant,
}

impl KeySource {
    /// Reads a file now; an address is asked by [`KeySource::watch`], and until it answers there is no key. `issuer` names
    /// it in logs.
    ///
    /// # Errors
    /// When the file cannot be read or is no key set.
    pub fn open(issuer: &str, place: KeyPlace) -> Result<Self, KeySourceError> {
        let source = Self {
            issuer: issuer.to_owned(),
            place,
            current: ArcSwap::from_pointee(Known { keys: Arc::default(), confirmed: Instant::now() }),
            last_tried: Mutex::new(0),
            wanted: Notify::new(),
        };
        if let KeyPlace::File(path) = &source.place {
            source.take(&read(path)?)?;
        }
        Ok(source)
    }

    /// The keys to verify with.
    #[must_use]
    pub fn current(&self) -> Arc<KeySet> {
        let known = self.current.load();
        match known.confirmed.elapsed() < UNCONFIRMED_MAX {
            true => Arc::clone(&known.keys),
            false => Arc::default(),
        }
    }

    /// Somebody named a key that is not here: look again soon.
    pub fn look_again(&self) {
        self.wanted.notify_one();
    }

    /// Keeps the keys new until `shutdown`.
    pub fn watch(self: &Arc<Self>, shutdown: CancellationToken) -> JoinHandle<()> {
        let source = Arc::clone(self);
        match &self.place {
            KeyPlace::File(path) => {
                let directories = path.parent().map(Path::to_path_buf).into_iter().collect();
                watch::spawn(directories, watch::POLL_INTERVAL, move || source.read_again(), shutdown)
            }
            KeyPlace::Address { .. } => tokio::spawn(async move {
                tokio::select! {
                    () = shutdown.cancelled() => {}
                    () = source.ask_forever() => {}
                }
            }),
        }
    }

    fn read_again(&self) {
        let KeyPlace::File(path) = &self.place else { return };
        self.report(read(path).and_then(|bytes| self.take(&bytes)));
    }

    async fn ask_forever(&self) {
        let KeyPlace::Address { address, bearer_file, refresh } = &self.place else { return };
        loop {
            let asked = Instant::now();
            let answer = self.ask(address, bearer_file.as_deref()).await;
            self.report(answer.and_then(|bytes| self.take(&bytes)));
            let pause = if self.current.load().keys.is_empty() { FIRST_ANSWER_EVERY } else { *refresh };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.wanted.notified() => {
                    tokio::time::sleep(ASKED_AGAIN_MIN.saturating_sub(asked.elapsed())).await;
                }
            }
        }
    }

    async fn ask(&self, address: &HttpsAddress, bearer_file: Option<&Path>) -> Result<Vec<u8>, KeySourceError> {
        let bearer = match bearer_file {
            Some(path) => Some(String::from_utf8_lossy(&read(path)?).trim().to_owned()),
            None => None,
        };
        Ok(address.send(Request::get(bearer.as_deref()), KeySet::BYTES_MAX).await?)
    }

    /// Uses bytes as the key set. `Ok(true)` when the keys changed.
    fn take(&self, bytes: &[u8]) -> Result<bool, KeySourceError> {
        let mut last_tried = self.last_tried.lock().unwrap_or_else(PoisonError::into_inner);
        let mut hasher = DefaultHasher::new();
        hasher.write(bytes);
        let changed = std::mem::replace(&mut *last_tried, hasher.finish()) != hasher.finish();
        let keys = match changed {
            true => Arc::new(KeySet::parse(bytes)?),
            false if self.current.load().keys.is_empty() => return Ok(false),
            false => Arc::clone(&self.current.load().keys),
        };
        let changed = *keys != *self.current.load().keys;
        self.current.store(Arc::new(Known { keys, confirmed: Instant::now() }));
        Ok(changed)
    }

    fn report(&self, taken: Result<bool, KeySourceError>) {
        match taken {
            Ok(true) => {
                let keys = self.current.load().keys.len();
                tracing::info!(issuer = self.issuer, keys, "keys of an issuer changed");
            }
            Ok(false) => {}
            Err(error) => {
                tracing::error!(issuer = self.issuer, %error, "keys of an issuer not read, the old ones stay in use");
            }
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, KeySourceError> {
    std::fs::read(path).map_err(|source| KeySourceError::Read { path: path.display().to_string(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dev_issuer::DevIssuer;

    #[test]
    fn a_file_is_read_again_and_a_broken_one_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("jwks.json");
        assert!(KeySource::open("corp", KeyPlace::File(path.clone())).is_err());
        let write = |key_id: &str| std::fs::write(&path, DevIssuer::new(key_id).unwrap().jwks().unwrap()).unwrap();
        write("k1");
        let source = KeySource::open("corp", KeyPlace::File(path.clone())).unwrap();
        assert!(source.current().has("k1"));
        write("k2");
        source.read_again();
        assert!(source.current().has("k2") && !source.current().has("k1"), "a withdrawn key is gone");
        std::fs::write(&path, "{}").unwrap();
        source.read_again();
        assert!(source.current().has("k2"));
        std::fs::remove_file(&path).unwrap();
        source.read_again();
        assert!(source.current().has("k2"));
    }
}
