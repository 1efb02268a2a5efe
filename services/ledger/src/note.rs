//! C2SP signed notes: a text and the signatures of those who vouch for it, as plain UTF-8.
//!
//! ```text
//! text, ends in a newline
//!
//! — key name base64(key id ‖ signature)
//! ```
//! Here Ed25519 (signature type 0x01) is made and verified, in [`crate::cosignature`] what witnesses add; signatures of
//! other types and of unknown keys are carried along unread.

use core::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use fuda_crypto::digest::{self, SigningKey};

use crate::Error;

/// Longest note in bytes that is read (256 KiB): 16 post-quantum signatures fit.
pub const NOTE_BYTES_MAX: usize = 256 * 1024;
/// Most signature lines that are read.
pub const SIGNATURES_MAX: usize = 64;
/// Longest key name in bytes.
pub const NAME_BYTES_MAX: usize = 255;

/// Signature type byte of plain Ed25519.
const ED25519: u8 = 0x01;
/// What a signature line starts with: em dash, space.
const LINE_START: &str = "\u{2014} ";
const KEY_ID_BYTES: usize = 4;

/// A public key that signs notes, with the name it signs under.
///
/// Its text is the vkey of `golang.org/x/mod/sumdb/note`: `name+key id in hexadecimal+base64(0x01 ‖ public key)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierKey(PublicNoteKey);

impl VerifierKey {
    /// Names an Ed25519 public key.
    ///
    /// # Errors
    /// [`Error::VerifierKey`] unless [`check_name`] accepts the name.
    pub fn new(name: &str, public_key: [u8; 32]) -> Result<VerifierKey, Error> {
        PublicNoteKey::new(ED25519, name, public_key).map(VerifierKey)
    }

    /// Reads the text form.
    ///
    /// # Errors
    /// [`Error::VerifierKey`] when a part is malformed, the type is not Ed25519, or the key id does not belong to name
    /// and key (which is how a mistyped key is noticed).
    pub fn parse(text: &str) -> Result<VerifierKey, Error> {
        PublicNoteKey::parse(ED25519, text).map(VerifierKey)
    }

    /// Name the key signs under.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The Ed25519 public key.
    #[must_use]
    pub fn public_key(&self) -> &[u8; 32] {
        &self.0.public_key
    }

    /// First four bytes of SHA-256(name ‖ newline ‖ type ‖ public key). Tells keys apart; proves nothing.
    #[must_use]
    pub fn key_id(&self) -> [u8; KEY_ID_BYTES] {
        self.0.key_id()
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What the keys of logs and of witnesses have in common: type, name, Ed25519 key, and the text and id they make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PublicNoteKey {
    kind: u8,
    name: String,
    public_key: [u8; 32],
}

impl PublicNoteKey {
    pub(crate) fn new(kind: u8, name: &str, public_key: [u8; 32]) -> Result<PublicNoteKey, Error> {
        check_name(name)?;
        Ok(PublicNoteKey { kind, name: name.to_owned(), public_key })
    }

    pub(crate) fn parse(kind: u8, text: &str) -> Result<PublicNoteKey, Error> {
        let parts: Vec<&str> = text.splitn(3, '+').collect();
        let &[name, key_id, key] = parts.as_slice() else {
            return Err(Error::VerifierKey("not of the form name+id+key"));
        };
        let key = STANDARD.decode(key).map_err(|_| Error::VerifierKey("key is not base64"))?;
        let (found, public_key) = key.split_first().ok_or(Error::VerifierKey("key is empty"))?;
        if *found != kind {
            return Err(Error::VerifierKey("signature type is another one"));
        }
        let public_key = public_key.try_into().map_err(|_| Error::VerifierKey("key does not have 32 bytes"))?;
        let key = PublicNoteKey::new(kind, name, public_key)?;
        if key_id != hex(key.key_id()) {
            return Err(Error::VerifierKey("key id does not belong to the name and key"));
        }
        Ok(key)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn public_key(&self) -> &[u8; 32] {
        &self.public_key
    }

    pub(crate) fn key_id(&self) -> [u8; KEY_ID_BYTES] {
        let [a, b, c, d, ..] = digest::sha256(&[self.name.as_bytes(), &[b'\n', self.kind], &self.public_key]);
        [a, b, c, d]
    }

    /// Whether the line says that it is by this key.
    pub(crate) fn claimed_by(&self, line: &NoteSignature) -> bool {
        line.name == self.name && line.key_id == self.key_id()
    }
}

impl fmt::Display for PublicNoteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = STANDARD.encode([&[self.kind], self.public_key.as_slice()].concat());
        write!(f, "{}+{}+{key}", self.name, hex(self.key_id()))
    }
}

/// One signature line of a note, by a known or unknown key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteSignature {
    name: String,
    key_id: [u8; KEY_ID_BYTES],
    signature: Vec<u8>,
}

impl NoteSignature {
    /// Name of the key.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Id of the key.
    #[must_use]
    pub fn key_id(&self) -> [u8; KEY_ID_BYTES] {
        self.key_id
    }

    /// The signature proper; its form depends on the key's type.
    #[must_use]
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// A line by this key.
    pub(crate) fn of(key: &PublicNoteKey, signature: Vec<u8>) -> NoteSignature {
        NoteSignature { name: key.name.clone(), key_id: key.key_id(), signature }
    }

    fn parse(line: &str) -> Result<NoteSignature, Error> {
        const MALFORMED: Error = Error::Note("malformed signature line");
        let (name, encoded) = line.strip_prefix(LINE_START).and_then(|rest| rest.split_once(' ')).ok_or(MALFORMED)?;
        check_name(name).map_err(|_| MALFORMED)?;
        let bytes = STANDARD.decode(encoded).map_err(|_| MALFORMED)?;
        let (key_id, signature) = bytes.split_first_chunk().ok_or(MALFORMED)?;
        if signature.is_empty() {
            return Err(MALFORMED);
        }
        Ok(NoteSignature { name: name.to_owned(), key_id: *key_id, signature: signature.to_vec() })
    }
}

/// A text with its signatures. Reading one proves nothing: only [`SignedNote::verify`] hands out trusted text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedNote {
    text: String,
    signatures: Vec<NoteSignature>,
}

impl SignedNote {
    /// Signs a text under a key name.
    ///
    /// # Errors
    /// [`Error::Note`] when the text does not end in a newline, holds another control character or is too long,
    /// [`Error::VerifierKey`] when the name is not a key name.
    pub fn sign(text: String, name: &str, key: &SigningKey) -> Result<SignedNote, Error> {
        check_text(&text)?;
        if text.len() > NOTE_BYTES_MAX / 2 {
            return Err(Error::Note("text is too long"));
        }
        let named = PublicNoteKey::new(ED25519, name, key.public_key())?;
        let signature = key.sign(text.as_bytes()).to_vec();
        Ok(SignedNote { text, signatures: vec![NoteSignature::of(&named, signature)] })
    }

    /// Reads a note without trusting it.
    ///
    /// # Errors
    /// [`Error::Note`] when the bytes are not a signed note, [`Error::TooLong`] above [`NOTE_BYTES_MAX`].
    pub fn parse(bytes: &[u8]) -> Result<SignedNote, Error> {
        if bytes.len() > NOTE_BYTES_MAX {
            return Err(Error::TooLong { what: "note", bytes: bytes.len(), bytes_max: NOTE_BYTES_MAX });
        }
        let note = core::str::from_utf8(bytes).map_err(|_| Error::Note("not UTF-8"))?;
        // The text may hold empty lines; the last one separates it from the signatures.
        let (text, lines) = note.rsplit_once("\n\n").ok_or(Error::Note("no signatures"))?;
        let text = format!("{text}\n");
        check_text(&text)?;
        let lines = lines.strip_suffix('\n').ok_or(Error::Note("does not end in a newline"))?;
        if lines.split('\n').count() > SIGNATURES_MAX {
            return Err(Error::Note("too many signatures"));
        }
        let signatures = lines.split('\n').map(NoteSignature::parse).collect::<Result<_, _>>()?;
        Ok(SignedNote { text, signatures })
    }

    /// The text, vouched for by `key`.
    ///
    /// # Errors
    /// [`Error::NoteUnsigned`] when no signature is by the key, [`Error::NoteSignature`] when one that claims to be
    /// is wrong: then the whole note is refused, also if another one is right.
    pub fn verify(&self, key: &VerifierKey) -> Result<&str, Error> {
        let mut signed = false;
        for signature in self.signatures.iter().filter(|line| key.0.claimed_by(line)) {
            if !digest::verify_ed25519(key.public_key(), self.text.as_bytes(), &signature.signature) {
                return Err(Error::NoteSignature(key.name().to_owned()));
            }
            signed = true;
        }
        if signed { Ok(&self.text) } else { Err(Error::NoteUnsigned(key.name().to_owned())) }
    }

    /// The text, vouched for by nobody yet.
    #[must_use]
    pub fn unverified_text(&self) -> &str {
        &self.text
    }

    /// The signature lines, in order.
    #[must_use]
    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }

    /// Adds the signature lines of `other` (a cosigned copy of the same text) that this note does not have yet.
    ///
    /// # Errors
    /// [`Error::Note`] when the texts differ or there would be more than [`SIGNATURES_MAX`] lines.
    pub fn merge(&mut self, other: &SignedNote) -> Result<(), Error> {
        if self.text != other.text {
            return Err(Error::Note("cosignature is of another text"));
        }
        let new: Vec<_> = other.signatures.iter().filter(|line| !self.signatures.contains(line)).cloned().collect();
        if self.signatures.len() + new.len() > SIGNATURES_MAX {
            return Err(Error::Note("too many signatures"));
        }
        self.signatures.extend(new);
        Ok(())
    }

    /// Adds a line.
    pub(crate) fn add(&mut self, line: NoteSignature) -> Result<(), Error> {
        if self.signatures.len() == SIGNATURES_MAX {
            return Err(Error::Note("too many signatures"));
        }
        self.signatures.push(line);
        Ok(())
    }

    /// The note as stored and served.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.to_string().into_bytes()
    }
}

impl fmt::Display for SignedNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        for NoteSignature { name, key_id, signature } in &self.signatures {
            let encoded = STANDARD.encode([key_id.as_slice(), signature].concat());
            writeln!(f, "{LINE_START}{name} {encoded}")?;
        }
        Ok(())
    }
}

/// Whether a text can name a key: 1 to 255 bytes without spaces, `+` and control characters.
///
/// # Errors
/// [`Error::VerifierKey`] when it cannot.
pub fn check_name(name: &str) -> Result<(), Error> {
    let refused = |c: char| c.is_whitespace() || c.is_control() || c == '+';
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains(refused) {
        return Err(Error::VerifierKey("name must have 1 to 255 bytes without spaces, `+` and control characters"));
    }
    Ok(())
}

fn check_text(text: &str) -> Result<(), Error> {
    if !text.ends_with('\n') {
        return Err(Error::Note("text does not end in a newline"));
    }
    if text.chars().any(|c| c < ' ' && c != '\n') {
        return Err(Error::Note("text holds a control character"));
    }
    Ok(())
}

fn hex(key_id: [u8; KEY_ID_BYTES]) -> String {
    format!("{:08x}", u32::from_be_bytes(key_id))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example in the documentation of Go's `golang.org/x/mod/sumdb/note`.
    const PETER: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const PETER_NOTE: &str = "If you think cryptography is the answer to your problem,\n\
        then you don't know what your problem is.\n\
        \n\
        — PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

    fn key() -> SigningKey {
        SigningKey::from_seed(&[7; 32]).unwrap()
    }

    #[test]
    fn a_note_and_key_made_by_others_verify() {
        let verifier = VerifierKey::parse(PETER).unwrap();
        assert_eq!(verifier.name(), "PeterNeumann");
        assert_eq!(verifier.to_string(), PETER);

        let note = SignedNote::parse(PETER_NOTE.as_bytes()).unwrap();
        assert!(note.verify(&verifier).unwrap().starts_with("If you think cryptography"));
        assert_eq!(note.to_string(), PETER_NOTE);

        let forged = SignedNote::parse(PETER_NOTE.replace("don't", "do").as_bytes()).unwrap();
        assert!(matches!(forged.verify(&verifier), Err(Error::NoteSignature(_))));
    }

    #[test]
    fn signing_is_read_back_and_only_by_its_key() {
        let note = SignedNote::sign("one\n\ntwo\n".to_owned(), "fuda.example/log", &key()).unwrap();
        let verifier = VerifierKey::new("fuda.example/log", key().public_key()).unwrap();
        assert_eq!(VerifierKey::parse(&verifier.to_string()).unwrap(), verifier);

        let read = SignedNote::parse(&note.to_bytes()).unwrap();
        assert_eq!(read, note);
        assert_eq!(read.verify(&verifier).unwrap(), "one\n\ntwo\n");

        let other_key = VerifierKey::new("fuda.example/log", [9; 32]).unwrap();
        assert!(matches!(read.verify(&other_key), Err(Error::NoteUnsigned(_))));
        let other_name = VerifierKey::new("fuda.example/other", key().public_key()).unwrap();
        assert!(matches!(read.verify(&other_name), Err(Error::NoteUnsigned(_))));
    }

    #[test]
    fn one_wrong_signature_of_a_known_key_refuses_the_note() {
        let mut note = SignedNote::sign("text\n".to_owned(), "fuda.example/log", &key()).unwrap();
        let verifier = VerifierKey::new("fuda.example/log", key().public_key()).unwrap();
        let mut wrong = note.signatures[0].clone();
        wrong.signature[10] ^= 1;
        note.signatures.push(wrong);
        assert!(matches!(note.verify(&verifier), Err(Error::NoteSignature(_))));
    }

    #[test]
    fn cosignatures_merge_once_and_only_onto_the_same_text() {
        let mut note = SignedNote::sign("text\n".to_owned(), "fuda.example/log", &key()).unwrap();
        let witness_key = SigningKey::from_seed(&[8; 32]).unwrap();
        let witness = SignedNote::sign("text\n".to_owned(), "witness.example", &witness_key).unwrap();
        note.merge(&witness).unwrap();
        note.merge(&witness).unwrap();
        assert_eq!(note.signatures().len(), 2);

        let read = SignedNote::parse(&note.to_bytes()).unwrap();
        for (name, key) in [("fuda.example/log", key()), ("witness.example", witness_key)] {
            read.verify(&VerifierKey::new(name, key.public_key()).unwrap()).unwrap();
        }
        let elsewhere = SignedNote::sign("other\n".to_owned(), "witness.example", &key()).unwrap();
        assert!(note.merge(&elsewhere).is_err());
    }

    #[test]
    fn malformed_notes_are_refused() {
        let good = SignedNote::sign("text\n".to_owned(), "fuda.example/log", &key()).unwrap().to_string();
        let line = good.lines().last().unwrap();
        let malformed = [
            String::new(),
            "text\n".to_owned(),
            format!("text\n{line}\n"),
            good.trim_end().to_owned(),
            good.replace("— ", "- "),
            good.replace("— ", "—"),
            good.replace("text", "te\txt"),
            good.replace("text", "te\rxt"),
            good.replace(line, "— fuda.example/log AAAA"),
            good.replace(line, "— fuda.example/log AAAAAA=="),
            good.replace(line, "— fuda.example/log !!!!"),
            good.replace("fuda.example/log", "fuda+example"),
            format!("{good}trailing\n"),
            format!("{good}\n"),
            format!("{good}{}", format!("{line}\n").repeat(SIGNATURES_MAX)),
        ];
        for note in &malformed {
            assert!(SignedNote::parse(note.as_bytes()).is_err(), "{note:?}");
        }
        assert!(SignedNote::parse(&[good.as_bytes(), b"\xff"].concat()).is_err());
        assert!(SignedNote::parse(&vec![b'a'; NOTE_BYTES_MAX + 1]).is_err());
        assert!(SignedNote::sign("text".to_owned(), "fuda.example/log", &key()).is_err());
        assert!(SignedNote::sign("text\n".to_owned(), "two words", &key()).is_err());
    }

    #[test]
    fn malformed_verifier_keys_are_refused() {
        let good = VerifierKey::new("fuda.example/log", key().public_key()).unwrap().to_string();
        let (name_and_id, key) = good.rsplit_once('+').unwrap();
        let raw = STANDARD.decode(key).unwrap();
        let with_key = |bytes: &[u8]| format!("{name_and_id}+{}", STANDARD.encode(bytes));
        let malformed = [
            String::new(),
            name_and_id.to_owned(),
            good.replace("fuda.example", "fuda.exemple"),
            good.replace("fuda.example/log", ""),
            with_key(&[]),
            with_key(&raw[..32]),
            with_key(&[&[4], &raw[1..]].concat()),
            with_key(&[&raw[..32], &[raw[32] ^ 1]].concat()),
            format!("{good} "),
        ];
        for text in &malformed {
            assert!(VerifierKey::parse(text).is_err(), "{text:?}");
        }
    }
}
