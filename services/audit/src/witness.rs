//! The witness's key: a file of its own, made once, and what it signs.

use std::path::Path;

use fuda_crypto::digest::SigningKey;
use fuda_ledger::{SignedNote, WitnessKey};

use crate::keyfile::{self, Use};

/// A key that cosigns, under its name.
pub(crate) struct Witness {
    name: String,
    key: SigningKey,
}

impl Witness {
    /// Draws a key and writes it to a new file that only its owner may read.
    pub(crate) fn make(path: &Path, name: &str) -> anyhow::Result<Self> {
        Ok(Self { name: name.to_owned(), key: keyfile::make(path, name, Use::Cosign)? })
    }

    /// Reads the key.
    pub(crate) fn load(path: &Path, name: &str) -> anyhow::Result<Self> {
        Ok(Self { name: name.to_owned(), key: keyfile::load(path, name, Use::Cosign)? })
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
        assert!(keyfile::load(&path, "audit.test/one", Use::Sign).is_err(), "made to cosign, not to sign");

        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("AAA", "BBB").replacen("+B", "+C", 1)).unwrap();
        let damaged = std::fs::read_to_string(&path).unwrap();
        assert!(damaged == text || Witness::load(&path, "audit.test/one").is_err());
        std::fs::write(&path, &text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(Witness::load(&path, "audit.test/one").err().unwrap().to_string().contains("0600"));
    }
}
