//! The witness's key: a file of its own, made once, and what it signs.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use anyhow::{Context as _, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use fuda_crypto::digest::SigningKey;
use fuda_crypto::{OsRandom, Pool};
use fuda_ledger::{SignedNote, WitnessKey};
use zeroize::Zeroizing;

/// What the file begins with; the form of Go's note signers.
const PREFIX: &str = "PRIVATE+KEY+";
/// Signature type byte of a timed cosignature.
const COSIGNATURE: u8 = 0x04;
const FILE_BYTES_MAX: u64 = 4_096;

/// A key that cosigns, under its name.
pub(crate) struct Witness {
    name: String,
    key: SigningKey,
}

impl Witness {
    /// Draws a key and writes it to a new file that only its owner may read.
    pub(crate) fn make(path: &Path, name: &str) -> anyhow::Result<Self> {
        fuda_ledger::note::check_name(name)?;
        let key = SigningKey::generate(&mut Pool::new(&OsRandom::new()))?;
        let witness = Self { name: name.to_owned(), key };
        let mut seed = Zeroizing::new(vec![COSIGNATURE]);
        seed.extend_from_slice(witness.key.expose_seed());
        let encoded = Zeroizing::new(STANDARD.encode(&*seed));
        let public = witness.public_key()?.to_string();
        let id = public.split('+').nth(1).unwrap_or_default().to_owned();
        let text = Zeroizing::new(format!("{PREFIX}{name}+{id}+{}\n", *encoded));
        let shown = path.display();
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let mut file = file.with_context(|| format!("`{shown}` cannot be made"))?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).with_context(|| format!("`{shown}`"))?;
        Ok(witness)
    }

    /// Reads the key. A file that anybody but its owner may read is refused, as is one made for another name.
    pub(crate) fn load(path: &Path, name: &str) -> anyhow::Result<Self> {
        let shown = path.display();
        let file = File::open(path).with_context(|| format!("`{shown}`; `fuda-audit init` makes it"))?;
        let about = file.metadata()?;
        ensure!(about.mode() & 0o077 == 0, "`{shown}` must be readable by its owner only (mode 0600)");
        ensure!(about.len() <= FILE_BYTES_MAX, "`{shown}` is no witness key");
        let mut text = Zeroizing::new(String::with_capacity(FILE_BYTES_MAX as usize));
        file.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
        let parts = text.trim_end().strip_prefix(PREFIX).map(|rest| rest.splitn(3, '+').collect::<Vec<_>>());
        let Some(&[found, id, encoded]) = parts.as_deref() else {
            anyhow::bail!("`{shown}` is no witness key");
        };
        ensure!(found == name, "`{shown}` was made for the name `{found}`, not for `{name}`");
        let bytes = Zeroizing::new(STANDARD.decode(encoded).with_context(|| format!("`{shown}` is no witness key"))?);
        let seed = bytes.split_first().filter(|(kind, _)| **kind == COSIGNATURE).map(|(_, seed)| seed);
        let seed: Option<&[u8; 32]> = seed.and_then(|seed| seed.try_into().ok());
        let seed = seed.with_context(|| format!("`{shown}` is no witness key"))?;
        let witness = Self { name: name.to_owned(), key: SigningKey::from_seed(seed)? };
        let public = witness.public_key()?.to_string();
        ensure!(public.split('+').nth(1) == Some(id), "`{shown}` is damaged: key and id do not belong together");
        Ok(witness)
    }

    /// The public key, for those who check cosignatures.
    pub(crate) fn public_key(&self) -> anyhow::Result<WitnessKey> {
        Ok(WitnessKey::new(&self.name, self.key.public_key())?)
    }

    /// The note with our cosignature. Whoever calls this has checked that it extends everything cosigned before.
    pub(crate) fn cosign(&self, note: &SignedNote, time_s: u64) -> Result<SignedNote, fuda_ledger::Error> {
        let mut note = note.clone();
        note.cosign(&self.name, &self.key, time_s)?;
        Ok(note)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_is_made_once_kept_private_and_bound_to_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("witness.key");
        let made = Witness::make(&path, "audit.test/one").unwrap().public_key().unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(Witness::load(&path, "audit.test/one").unwrap().public_key().unwrap(), made);
        assert!(Witness::make(&path, "audit.test/one").is_err(), "never over an existing key");
        assert!(Witness::load(&path, "audit.test/two").is_err());

        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("AAA", "BBB").replacen("+B", "+C", 1)).unwrap();
        let damaged = std::fs::read_to_string(&path).unwrap();
        assert!(damaged == text || Witness::load(&path, "audit.test/one").is_err());
        std::fs::write(&path, &text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(Witness::load(&path, "audit.test/one").err().unwrap().to_string().contains("0600"));
    }
}
