//! Keys of this process: a file each, made once, in the form of Go's note signers, readable by its owner only.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use anyhow::{Context as _, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use fuda_crypto::digest::SigningKey;
use fuda_crypto::{OsRandom, Pool};
use fuda_ledger::{VerifierKey, WitnessKey};
use zeroize::Zeroizing;

/// What the file begins with.
const PREFIX: &str = "PRIVATE+KEY+";
const FILE_BYTES_MAX: u64 = 4_096;

/// What a key signs. It is part of the key's id: a key made for one use is refused for the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// Checkpoints of a log of our own.
    Sign,
    /// Timed cosignatures of others' checkpoints.
    Cosign,
}

impl Use {
    /// Type byte of its signatures (C2SP signed-note).
    const fn kind(self) -> u8 {
        match self {
            Self::Sign => 0x01,
            Self::Cosign => 0x04,
        }
    }

    /// The public key as text.
    fn public(self, name: &str, key: &SigningKey) -> anyhow::Result<String> {
        Ok(match self {
            Self::Sign => VerifierKey::new(name, key.public_key())?.to_string(),
            Self::Cosign => WitnessKey::new(name, key.public_key())?.to_string(),
        })
    }

    /// The id within that text.
    fn id(self, name: &str, key: &SigningKey) -> anyhow::Result<String> {
        Ok(self.public(name, key)?.split('+').nth(1).unwrap_or_default().to_owned())
    }
}

/// Draws a key and writes it to a new file, never over another one.
pub(crate) fn make(path: &Path, name: &str, purpose: Use) -> anyhow::Result<SigningKey> {
    fuda_ledger::note::check_name(name)?;
    let key = SigningKey::generate(&mut Pool::new(&OsRandom::new()))?;
    let mut seed = Zeroizing::new(vec![purpose.kind()]);
    seed.extend_from_slice(key.expose_seed());
    let encoded = Zeroizing::new(STANDARD.encode(&*seed));
    let text = Zeroizing::new(format!("{PREFIX}{name}+{}+{}\n", purpose.id(name, &key)?, *encoded));
    let shown = path.display();
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = file.with_context(|| format!("`{shown}` cannot be made"))?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).with_context(|| format!("`{shown}`"))?;
    Ok(key)
}

/// Reads a key. A file that anybody but its owner may read is refused, as is one made for another name or use.
pub(crate) fn load(path: &Path, name: &str, purpose: Use) -> anyhow::Result<SigningKey> {
    let shown = path.display();
    let file = File::open(path).with_context(|| format!("`{shown}`; `fuda-audit init` makes it"))?;
    let about = file.metadata()?;
    ensure!(about.mode() & 0o077 == 0, "`{shown}` must be readable by its owner only (mode 0600)");
    ensure!(about.len() <= FILE_BYTES_MAX, "`{shown}` is no key");
    let mut text = Zeroizing::new(String::with_capacity(FILE_BYTES_MAX as usize));
    file.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    let parts = text.trim_end().strip_prefix(PREFIX).map(|rest| rest.splitn(3, '+').collect::<Vec<_>>());
    let Some(&[found, id, encoded]) = parts.as_deref() else {
        anyhow::bail!("`{shown}` is no key");
    };
    ensure!(found == name, "`{shown}` was made for the name `{found}`, not for `{name}`");
    let bytes = Zeroizing::new(STANDARD.decode(encoded).with_context(|| format!("`{shown}` is no key"))?);
    let seed = bytes.split_first().filter(|(kind, _)| **kind == purpose.kind()).map(|(_, seed)| seed);
    let seed: Option<&[u8; 32]> = seed.and_then(|seed| seed.try_into().ok());
    let seed = seed.with_context(|| format!("`{shown}` is no key for this use"))?;
    let key = SigningKey::from_seed(seed)?;
    ensure!(purpose.id(name, &key)? == id, "`{shown}` is damaged: key and id do not belong together");
    Ok(key)
}
