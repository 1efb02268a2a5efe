//! The succession of one log by another: what a restored vault is to those who vouched for the vault before.
//!
//! A restore makes a new log, because the old one may have gone on behind the backup: its last entries are lost, and a
//! tree over other entries in their place would be a fork. Two people state which head was restored, what was vouched for
//! at last, and therefore which entries are missing; a witness that finds all of it true follows the new log from then on.
//!
//! ```text
//! fuda origin succession
//! old fuda/0011…eeff
//! restored 120 CsUYapGG…        head of the old log that the new vault was restored from
//! cosigned 150 Xajj7h2f…        last head of the old log that the witness vouched for
//! gap 120 150                   entries of the old log that the new vault does not know: from, and before
//! new fuda/8899…ccdd+1f2e3d4c+AQ…    verifier key of the new log
//! first 9 Qm9vdHN0…             first checkpoint of the new log
//! ```

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::tree::TreeHead;
use crate::{Detail, DetailKey, Entry, Error, SignedNote, VerifierKey};

/// People who must have signed.
pub const SIGNERS_MIN: usize = 2;
/// Most entries that the first checkpoint of a new log may cover: those of its bootstrap.
pub const FIRST_ENTRIES_MAX: u64 = 4_096;

const TITLE: &str = "fuda origin succession";

/// What the people state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginSuccession {
    /// The log that ends.
    pub old_origin: String,
    /// Its head that the new vault was restored from.
    pub restored: TreeHead,
    /// Its last head that the witness vouched for.
    pub cosigned: TreeHead,
    /// Name and key of the log that begins.
    pub new_key: VerifierKey,
    /// The first head that it signed.
    pub first: TreeHead,
}

impl OriginSuccession {
    /// The text that is signed.
    #[must_use]
    pub fn text(&self) -> String {
        let head = |head: &TreeHead| format!("{} {}", head.size, STANDARD.encode(head.root));
        let (from, before) = self.gap();
        format!(
            "{TITLE}\nold {}\nrestored {}\ncosigned {}\ngap {from} {before}\nnew {}\nfirst {}\n",
            self.old_origin,
            head(&self.restored),
            head(&self.cosigned),
            self.new_key,
            head(&self.first)
        )
    }

    /// The entries of the old log that were vouched for and that the new vault does not know: the first one, and the one
    /// behind the last.
    #[must_use]
    pub fn gap(&self) -> (u64, u64) {
        (self.restored.size, self.cosigned.size)
    }

    /// Reads the text. Nobody has vouched for it yet.
    ///
    /// # Errors
    /// [`Error::Succession`] when it is not a statement in exactly this form, or one that cannot be true.
    pub fn parse(text: &str) -> Result<OriginSuccession, Error> {
        let lines: Vec<&str> = text.lines().collect();
        let &[TITLE, old, restored, cosigned, gap, new, first] = lines.as_slice() else {
            return Err(Error::Succession("is not a statement of seven lines"));
        };
        let succession = OriginSuccession {
            old_origin: value(old, "old ")?.to_owned(),
            restored: head(value(restored, "restored ")?)?,
            cosigned: head(value(cosigned, "cosigned ")?)?,
            new_key: VerifierKey::parse(value(new, "new ")?)?,
            first: head(value(first, "first ")?)?,
        };
        let (from, before) = succession.gap();
        if value(gap, "gap ")? != format!("{from} {before}") {
            return Err(Error::Succession(
                "names another gap than that between what was restored and what was cosigned",
            ));
        }
        succession.check()?;
        if succession.text() == text { Ok(succession) } else { Err(Error::Succession("is not in canonical form")) }
    }

    /// Reads a signed statement and trusts it as far as two different people among `keys` vouch for it. Returns their
    /// names with it, in the order of `keys`.
    ///
    /// # Errors
    /// Those of [`SignedNote::parse`], [`SignedNote::verify`] and [`OriginSuccession::parse`]; [`Error::Succession`] when
    /// fewer than two people signed. One person does not become two by a second name for the same key.
    pub fn open(note: &[u8], keys: &[VerifierKey]) -> Result<(OriginSuccession, Vec<String>), Error> {
        let note = SignedNote::parse(note)?;
        let mut signers: Vec<&VerifierKey> = Vec::new();
        for key in keys {
            match note.verify(key) {
                Ok(_) => {
                    let known = |it: &&VerifierKey| it.name() == key.name() || it.public_key() == key.public_key();
                    if !signers.iter().any(known) {
                        signers.push(key);
                    }
                }
                Err(Error::NoteUnsigned(_)) => {}
                Err(error) => return Err(error),
            }
        }
        if signers.len() < SIGNERS_MIN {
            return Err(Error::Succession("needs the signatures of two different people"));
        }
        let succession = OriginSuccession::parse(note.unverified_text())?;
        Ok((succession, signers.into_iter().map(|key| key.name().to_owned()).collect()))
    }

    /// What the first entry of the new log says about it.
    #[must_use]
    pub fn details(&self) -> [Detail; 4] {
        let head = |head: &TreeHead| format!("{} {}", head.size, STANDARD.encode(head.root));
        let (from, before) = self.gap();
        [
            Detail::new(DetailKey::RestoredOrigin, &self.old_origin),
            Detail::new(DetailKey::RestoredHead, &head(&self.restored)),
            Detail::new(DetailKey::CosignedHead, &head(&self.cosigned)),
            Detail::new(DetailKey::LedgerGap, &format!("{from} {before}")),
        ]
    }

    /// Whether an entry is the first one of the new log: it names what was restored, and what is missing.
    #[must_use]
    pub fn is_told_by(&self, first: &Entry) -> bool {
        let told = &first.item.detail;
        let is_ours = |detail: &&Detail| {
            matches!(
                detail.key(),
                DetailKey::RestoredOrigin | DetailKey::RestoredHead | DetailKey::CosignedHead | DetailKey::LedgerGap
            )
        };
        first.item.sequence.get() == 0 && told.iter().filter(is_ours).eq(self.details().iter())
    }

    fn check(&self) -> Result<(), Error> {
        if self.old_origin == self.new_key.name() {
            return Err(Error::Succession("names one log as both the old and the new one"));
        }
        if self.restored.size > self.cosigned.size {
            return Err(Error::Succession("restores more than was vouched for"));
        }
        if self.restored.size == self.cosigned.size && self.restored.root != self.cosigned.root {
            return Err(Error::Succession("names two roots of one size"));
        }
        if !(1..=FIRST_ENTRIES_MAX).contains(&self.first.size) {
            return Err(Error::Succession("must name a first checkpoint of 1 to 4096 entries"));
        }
        Ok(())
    }
}

fn value<'a>(line: &'a str, name: &str) -> Result<&'a str, Error> {
    line.strip_prefix(name).ok_or(Error::Succession("has its lines in another order"))
}

fn head(text: &str) -> Result<TreeHead, Error> {
    const MALFORMED: Error = Error::Succession("names a head that is not `size root`");
    let (size, root) = text.split_once(' ').ok_or(MALFORMED)?;
    let root = STANDARD.decode(root).ok().and_then(|root| root.try_into().ok()).ok_or(MALFORMED)?;
    Ok(TreeHead { size: size.parse().map_err(|_| MALFORMED)?, root })
}

#[cfg(test)]
mod tests {
    use fuda_core::Sequence;
    use fuda_crypto::digest::SigningKey;

    use super::*;
    use crate::EntryItem;
    use crate::samples;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(&[seed; 32]).unwrap()
    }

    fn person(name: &str, seed: u8) -> VerifierKey {
        VerifierKey::new(name, key(seed).public_key()).unwrap()
    }

    fn statement() -> OriginSuccession {
        OriginSuccession {
            old_origin: "fuda/old".to_owned(),
            restored: TreeHead { size: 120, root: [1; 32] },
            cosigned: TreeHead { size: 150, root: [2; 32] },
            new_key: person("fuda/new", 7),
            first: TreeHead { size: 9, root: [3; 32] },
        }
    }

    fn signed(text: &str, by: &[(&str, u8)]) -> Vec<u8> {
        let mut notes = by.iter().map(|(name, seed)| SignedNote::sign(text.to_owned(), name, &key(*seed)).unwrap());
        let mut note = notes.next().unwrap();
        notes.for_each(|other| note.merge(&other).unwrap());
        note.to_bytes()
    }

    #[test]
    fn a_statement_of_two_people_is_read_as_it_was_written() {
        let text = statement().text();
        assert!(text.contains("\ngap 120 150\n"), "{text}");
        assert_eq!(OriginSuccession::parse(&text).unwrap(), statement());
        let keys = [person("tanaka", 1), person("suzuki", 2), person("sato", 3)];
        let (read, signers) = OriginSuccession::open(&signed(&text, &[("sato", 3), ("tanaka", 1)]), &keys).unwrap();
        assert_eq!((read, signers), (statement(), vec!["tanaka".to_owned(), "sato".to_owned()]));
    }

    #[test]
    fn one_person_is_not_two_and_strangers_do_not_count() {
        let (text, keys) = (statement().text(), [person("tanaka", 1), person("suzuki", 2)]);
        let refused = |by: &[(&str, u8)], keys: &[VerifierKey]| {
            matches!(OriginSuccession::open(&signed(&text, by), keys), Err(Error::Succession(_)))
        };
        assert!(refused(&[("tanaka", 1)], &keys));
        assert!(refused(&[("tanaka", 1), ("stranger", 9)], &keys));
        // The same key under two names, two keys under one name, the same line twice.
        assert!(refused(&[("tanaka", 1), ("twin", 1)], &[person("tanaka", 1), person("twin", 1)]));
        assert!(refused(&[("tanaka", 1), ("tanaka", 4)], &[person("tanaka", 1), person("tanaka", 4)]));
        assert!(refused(&[("tanaka", 1), ("tanaka", 1)], &keys));
        assert!(OriginSuccession::open(text.as_bytes(), &keys).is_err(), "unsigned");
        // A changed text under right names: the whole note is refused.
        let note = String::from_utf8(signed(&text, &[("tanaka", 1), ("suzuki", 2)])).unwrap();
        let changed = note.replace("restored 120", "restored 121").replace("gap 120", "gap 121");
        assert!(matches!(OriginSuccession::open(changed.as_bytes(), &keys), Err(Error::NoteSignature(_))));
    }

    #[test]
    fn statements_that_cannot_be_true_are_refused() {
        let good = statement().text();
        for (from, to) in [
            ("gap 120 150", "gap 121 150"),
            ("gap 120 150", "gap 120 151"),
            ("gap 120 150\n", ""),
            ("restored 120", "restored 151"),
            ("restored 120", "restored 0120"),
            ("first 9", "first 0"),
            ("first 9", "first 4097"),
            ("old fuda/old", "old fuda/new"),
            ("old ", "of "),
            ("fuda origin succession", "fuda succession"),
        ] {
            let text = good.replace(from, to);
            assert!(text != good && OriginSuccession::parse(&text).is_err(), "{text}");
        }
        let two_roots = OriginSuccession { restored: TreeHead { size: 150, root: [1; 32] }, ..statement() };
        assert!(OriginSuccession::parse(&two_roots.text()).is_err());
        let nothing_lost = OriginSuccession { restored: statement().cosigned, ..statement() };
        assert_eq!(OriginSuccession::parse(&nothing_lost.text()).unwrap().gap(), (150, 150));
        assert!(OriginSuccession::parse(&format!("{good}more\n")).is_err());
    }

    #[test]
    fn the_first_entry_of_the_new_log_must_tell_it() {
        let entry = |sequence: u64, detail: Vec<Detail>| {
            let item = EntryItem { detail, ..EntryItem::allowed(Sequence(sequence)) };
            Entry { common: samples::common(), item }
        };
        let mut told = vec![Detail::new(DetailKey::Origin, "fuda/new")];
        told.extend(statement().details());
        assert!(statement().is_told_by(&entry(0, told.clone())));
        assert!(!statement().is_told_by(&entry(1, told.clone())));
        assert!(!statement().is_told_by(&entry(0, Vec::new())));
        told.pop();
        told.push(Detail::new(DetailKey::LedgerGap, "120 149"));
        assert!(!statement().is_told_by(&entry(0, told)));
    }
}
