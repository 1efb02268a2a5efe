//! Signed tree heads in the C2SP tlog-checkpoint form.

use base64::{Engine, engine::general_purpose::STANDARD};
use fuda_crypto::digest::SigningKey;

use crate::{
    Error, SignedNote, VerifierKey,
    tree::{HASH_BYTES, TreeHead},
};

/// Which log, how many entries, which root: the statement that a checkpoint signs.
///
/// ```text
/// fuda.example/00112233445566778899aabbccddeeff
/// 20852163
/// CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Identity of the log; also the name its key signs under.
    pub origin: String,
    /// Size and root of the tree.
    pub head: TreeHead,
}

impl Checkpoint {
    /// Signs the statement under its origin. A log must never sign two heads of which neither extends the other:
    /// the caller signs only heads of its own applied history.
    ///
    /// # Errors
    /// [`Error::VerifierKey`] when the origin cannot name a key.
    pub fn sign(&self, key: &SigningKey) -> Result<SignedNote, Error> {
        SignedNote::sign(self.text(), &self.origin, key)
    }

    /// Reads a signed checkpoint and trusts it as far as `key` vouches for it; the origin must be the key's name.
    ///
    /// # Errors
    /// Those of [`SignedNote::parse`], [`SignedNote::verify`] and [`Checkpoint::parse`]; [`Error::Origin`] when the
    /// statement is about another log.
    pub fn open(note: &[u8], key: &VerifierKey) -> Result<Checkpoint, Error> {
        let note = SignedNote::parse(note)?;
        let checkpoint = Checkpoint::parse(note.verify(key)?)?;
        if checkpoint.origin != key.name() {
            return Err(Error::Origin { expected: key.name().to_owned(), found: checkpoint.origin });
        }
        Ok(checkpoint)
    }

    /// Reads the text of a checkpoint. Extension lines of other logs are ignored, as the format demands.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when the text is not one.
    pub fn parse(text: &str) -> Result<Checkpoint, Error> {
        let body = text.strip_suffix('\n').ok_or(Error::Checkpoint("does not end in a newline"))?;
        let mut lines = body.split('\n');
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next()) else {
            return Err(Error::Checkpoint("has fewer than three lines"));
        };
        if origin.is_empty() || lines.any(str::is_empty) {
            return Err(Error::Checkpoint("has an empty line"));
        }
        let head = TreeHead { size: parse_size(size)?, root: parse_root(root)? };
        Ok(Checkpoint { origin: origin.to_owned(), head })
    }

    /// The text that is signed.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.head.size, STANDARD.encode(self.head.root))
    }
}

fn parse_size(line: &str) -> Result<u64, Error> {
    // One size has one text: no sign, no leading zero.
    let size: u64 = line.parse().map_err(|_| Error::Checkpoint("size is not a number"))?;
    if size.to_string() == line { Ok(size) } else { Err(Error::Checkpoint("size is not written canonically")) }
}

fn parse_root(line: &str) -> Result<[u8; HASH_BYTES], Error> {
    let bytes = STANDARD.decode(line).map_err(|_| Error::Checkpoint("root is not base64"))?;
    bytes.try_into().map_err(|_| Error::Checkpoint("root does not have 32 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the C2SP tlog-checkpoint page.
    const EXAMPLE: &str = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";

    fn key() -> SigningKey {
        SigningKey::from_seed(&[7; 32]).unwrap()
    }

    fn verifier(name: &str) -> VerifierKey {
        VerifierKey::new(name, key().public_key()).unwrap()
    }

    #[test]
    fn the_example_of_the_specification_reads_and_writes() {
        let checkpoint = Checkpoint::parse(EXAMPLE).unwrap();
        assert_eq!((checkpoint.origin.as_str(), checkpoint.head.size), ("example.com/behind-the-sofa", 20_852_163));
        assert_eq!(checkpoint.text(), EXAMPLE);
        let extended = Checkpoint::parse(&format!("{EXAMPLE}extension 1\n")).unwrap();
        assert_eq!(extended, checkpoint);
    }

    #[test]
    fn a_signed_checkpoint_opens_only_with_its_key_and_name() {
        let checkpoint = Checkpoint { origin: "fuda.example/log".to_owned(), head: TreeHead::empty() };
        let note = checkpoint.sign(&key()).unwrap().to_bytes();
        assert_eq!(Checkpoint::open(&note, &verifier("fuda.example/log")).unwrap(), checkpoint);
        assert!(matches!(Checkpoint::open(&note, &verifier("fuda.example/b")), Err(Error::NoteUnsigned(_))));

        // Phase 2: the same key vouches for the text under another name; the origin line gives it away.
        let foreign = SignedNote::sign(checkpoint.text(), "fuda.example/b", &key()).unwrap().to_bytes();
        assert!(matches!(Checkpoint::open(&foreign, &verifier("fuda.example/b")), Err(Error::Origin { .. })));
    }

    /// Made with the same seed by Go's `golang.org/x/mod/sumdb/note`.
    #[test]
    fn a_checkpoint_and_its_key_are_byte_for_byte_what_an_independent_implementation_makes() {
        const VERIFIER_KEY: &str = "fuda.example/log+ec85f85d+AepKbGPinFIKvvVQexMuxfmVR3auvr57kkIe6mkURtIs";
        const NOTE: &str = "fuda.example/log\n70000\nB1kWeg+Y416ALUb/fH0p0sPwOmOiVt62q7/zV6kbY7E=\n\n\
            — fuda.example/log 7IX4XUUHS7KWuk546pFprOegOO7uLe5m/uOqagRdqBpHQ6J+fZlGqBdVXfIzzGxwRJFBQHI5UtST5AOk/11wiLUX5ws=\n";
        let verifier = verifier("fuda.example/log");
        assert_eq!(verifier.to_string(), VERIFIER_KEY);
        let checkpoint = Checkpoint::open(NOTE.as_bytes(), &verifier).unwrap();
        assert_eq!(checkpoint.head.size, 70_000);
        assert_eq!(checkpoint.sign(&key()).unwrap().to_string(), NOTE);
    }

    #[test]
    fn changing_any_byte_of_a_signed_checkpoint_is_noticed() {
        let checkpoint =
            Checkpoint { origin: "fuda.example/log".to_owned(), head: TreeHead { size: 9, root: [3; 32] } };
        let note = checkpoint.sign(&key()).unwrap().to_bytes();
        for place in 0..note.len() {
            let mut changed = note.clone();
            changed[place] ^= 1;
            assert!(Checkpoint::open(&changed, &verifier("fuda.example/log")).is_err(), "byte {place}");
        }
    }

    #[test]
    fn malformed_texts_are_refused() {
        let malformed = [
            EXAMPLE.trim_end().to_owned(),
            EXAMPLE.replace("example.com/behind-the-sofa", ""),
            EXAMPLE.replace("20852163", "020852163"),
            EXAMPLE.replace("20852163", "+20852163"),
            EXAMPLE.replace("20852163", "-1"),
            EXAMPLE.replace("20852163", ""),
            EXAMPLE.replace("20852163", "18446744073709551616"),
            EXAMPLE.replace("CsUY", ""),
            EXAMPLE.replace("2I=", "2I"),
            EXAMPLE.replace("2I=", "2J="),
            format!("{EXAMPLE}\n"),
            format!("{EXAMPLE}\nextension\n"),
            "example.com\n1\n".to_owned(),
            String::new(),
        ];
        for text in &malformed {
            assert!(Checkpoint::parse(text).is_err(), "{text:?}");
        }
    }
}
