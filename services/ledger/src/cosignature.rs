//! Cosignatures of witnesses, C2SP tlog-cosignature `cosignature/v1`: somebody outside states when he saw a checkpoint,
//! and that it extends every other one he ever cosigned.
//!
//! ```text
//! signed   cosignature/v1⏎ time 1763802000⏎ origin⏎ size⏎ root⏎
//! line     — witness name base64(key id ‖ time, 8 bytes ‖ Ed25519 signature)
//! ```

use core::fmt;

use fuda_crypto::digest::{self, SigningKey};

use crate::Error;
use crate::note::{NoteSignature, PublicNoteKey, SignedNote};

/// Signature type byte of a timed Ed25519 cosignature.
const COSIGNATURE: u8 = 0x04;

/// A witness's public key with the name it cosigns under.
///
/// Its text is a vkey as of [`crate::VerifierKey`], with the type 0x04: a witness's key never passes for a log's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WitnessKey(PublicNoteKey);

impl WitnessKey {
    /// Names an Ed25519 public key.
    ///
    /// # Errors
    /// [`Error::VerifierKey`] unless [`crate::note::check_name`] accepts the name.
    pub fn new(name: &str, public_key: [u8; 32]) -> Result<WitnessKey, Error> {
        PublicNoteKey::new(COSIGNATURE, name, public_key).map(WitnessKey)
    }

    /// Reads the text form.
    ///
    /// # Errors
    /// [`Error::VerifierKey`] as for [`crate::VerifierKey::parse`].
    pub fn parse(text: &str) -> Result<WitnessKey, Error> {
        PublicNoteKey::parse(COSIGNATURE, text).map(WitnessKey)
    }

    /// Name the witness cosigns under.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.name()
    }

    /// When the witness cosigned the note, in seconds since 1970; the newest time when it did so more than once.
    ///
    /// # Errors
    /// [`Error::NoteUnsigned`] when it never did, [`Error::NoteSignature`] when a line that claims to be its is wrong.
    pub fn cosigned_at(&self, note: &SignedNote) -> Result<u64, Error> {
        let mut newest = None;
        for line in note.signatures().iter().filter(|line| self.0.claimed_by(line)) {
            let wrong = || Error::NoteSignature(self.name().to_owned());
            let (time, signature) = line.signature().split_first_chunk::<8>().ok_or_else(wrong)?;
            let time = u64::from_be_bytes(*time);
            let message = message(note.unverified_text(), time);
            if !digest::verify_ed25519(self.0.public_key(), message.as_bytes(), signature) {
                return Err(wrong());
            }
            newest = newest.max(Some(time));
        }
        newest.ok_or_else(|| Error::NoteUnsigned(self.name().to_owned()))
    }
}

impl fmt::Display for WitnessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl SignedNote {
    /// Adds a witness's statement that it saw this text at `time_s` (seconds since 1970). The witness must have checked
    /// before that the text extends everything it ever cosigned.
    ///
    /// # Errors
    /// [`Error::VerifierKey`] when the name is not a key name, [`Error::Note`] when there are too many signatures.
    pub fn cosign(&mut self, name: &str, key: &SigningKey, time_s: u64) -> Result<(), Error> {
        let witness = WitnessKey::new(name, key.public_key())?;
        let signature = key.sign(message(self.unverified_text(), time_s).as_bytes());
        self.add(NoteSignature::of(&witness.0, [time_s.to_be_bytes().as_slice(), &signature].concat()))
    }
}

fn message(text: &str, time_s: u64) -> String {
    format!("cosignature/v1\ntime {time_s}\n{text}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Checkpoint, VerifierKey, tree::TreeHead};

    fn key() -> SigningKey {
        SigningKey::from_seed(&[9; 32]).unwrap()
    }

    fn note() -> SignedNote {
        let checkpoint =
            Checkpoint { origin: "fuda.example/log".to_owned(), head: TreeHead { size: 70_000, root: [3; 32] } };
        checkpoint.sign(&SigningKey::from_seed(&[7; 32]).unwrap()).unwrap()
    }

    #[test]
    fn a_cosigned_checkpoint_still_opens_and_tells_when_it_was_seen() {
        let mut note = note();
        let witness = WitnessKey::new("witness.example/w1", key().public_key()).unwrap();
        assert!(matches!(witness.cosigned_at(&note), Err(Error::NoteUnsigned(_))));

        note.cosign(witness.name(), &key(), 1_763_802_000).unwrap();
        note.cosign(witness.name(), &key(), 1_763_801_000).unwrap();
        let note = SignedNote::parse(&note.to_bytes()).unwrap();
        assert_eq!(witness.cosigned_at(&note).unwrap(), 1_763_802_000);
        let log = SigningKey::from_seed(&[7; 32]).unwrap().public_key();
        let log = VerifierKey::new("fuda.example/log", log).unwrap();
        assert_eq!(Checkpoint::open(&note.to_bytes(), &log).unwrap().head.size, 70_000);

        // The same key under another name, another key under the same name: neither is the witness.
        let renamed = WitnessKey::new("witness.example/w2", key().public_key()).unwrap();
        let other = WitnessKey::new("witness.example/w1", [1; 32]).unwrap();
        assert!(renamed.cosigned_at(&note).is_err() && other.cosigned_at(&note).is_err());
    }

    #[test]
    fn a_line_of_another_time_or_text_is_wrong() {
        let witness = WitnessKey::new("w", key().public_key()).unwrap();
        let mut cosigned = note();
        cosigned.cosign("w", &key(), 1_763_802_000).unwrap();
        let text = cosigned.to_string();
        let line = text.lines().last().unwrap();
        let mut bytes =
            base64::Engine::decode(&base64::engine::general_purpose::STANDARD, line.rsplit(' ').next().unwrap())
                .unwrap();
        bytes[11] ^= 1;
        let moved = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &bytes);
        let moved = SignedNote::parse(text.replace(line.rsplit(' ').next().unwrap(), &moved).as_bytes()).unwrap();
        assert!(matches!(witness.cosigned_at(&moved), Err(Error::NoteSignature(_))));
        let grown = SignedNote::parse(text.replace("70000", "70001").as_bytes()).unwrap();
        assert!(matches!(witness.cosigned_at(&grown), Err(Error::NoteSignature(_))));
    }

    /// Made with the same seed by Python's `cryptography` from the C2SP text alone.
    #[test]
    fn a_cosignature_and_its_key_are_byte_for_byte_what_an_independent_implementation_makes() {
        const WITNESS_KEY: &str = "witness.example/w1+24b5d9fe+BP0XJDhaoMdbZPt4zWAvodmR/ev3axPFjtcC6sg16fYY";
        const LINE: &str = "\u{2014} witness.example/w1 JLXZ/gAAAABpIXuQP3rodKGOgBOM/sS9WH4Ht0KN6fBjz2P9YI3c0zQlMvr1+pr7VKu41FK2Tq9gNAse6D7gM6ujpntuLQ/xuPLtCg==";
        let witness = WitnessKey::new("witness.example/w1", key().public_key()).unwrap();
        assert_eq!(witness.to_string(), WITNESS_KEY);
        assert_eq!(WitnessKey::parse(WITNESS_KEY).unwrap(), witness);
        let mut note = note();
        note.cosign("witness.example/w1", &key(), 1_763_802_000).unwrap();
        assert_eq!(note.to_string().lines().last().unwrap(), LINE);
    }

    #[test]
    fn a_logs_key_is_no_witness_and_the_other_way_round() {
        let public = key().public_key();
        let (log, witness) = (VerifierKey::new("a", public).unwrap(), WitnessKey::new("a", public).unwrap());
        assert!(WitnessKey::parse(&log.to_string()).is_err());
        assert!(VerifierKey::parse(&witness.to_string()).is_err());
    }
}
