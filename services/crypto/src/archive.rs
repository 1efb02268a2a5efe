//! Sealing what `fuda-audit` keeps for years, a bundle of entries under a key of its own.

use crate::{
    ArchiveKey, Error, Pool,
    aead::{self, Aad, Layer},
};

/// Longest part of an archive, in bytes: some hundred entries, packed.
pub const ARCHIVED_BYTES_MAX: usize = 512 << 20;

/// Where a part of an archive lies. It opens nowhere else.
#[derive(Clone, Copy, Debug)]
pub struct ArchiveContext<'a> {
    /// Identity of the log whose entries are kept.
    pub archive: &'a str,
    /// The bundle that the key is for.
    pub bundle: u64,
    /// What it is: a block of entries or a column, and which.
    pub part: [u8; 2],
}

/// Seals a part of a bundle.
pub fn seal_archived(
    rng: &mut Pool<'_>,
    key: &ArchiveKey,
    context: &ArchiveContext<'_>,
    part: &[u8],
) -> Result<Vec<u8>, Error> {
    aead::within(Layer::Archive, part.len(), ARCHIVED_BYTES_MAX)?;
    aead::seal(rng, key.expose(), &aad(context), part)
}

/// Opens a part of a bundle.
pub fn open_archived(key: &ArchiveKey, context: &ArchiveContext<'_>, sealed: &[u8]) -> Result<Vec<u8>, Error> {
    let mut part = vec![0; aead::plaintext_bytes(Layer::Archive, sealed, ARCHIVED_BYTES_MAX)?];
    aead::open_into(key.expose(), &aad(context), sealed, &mut part)?;
    Ok(part)
}

fn aad(ArchiveContext { archive, bundle, part }: &ArchiveContext<'_>) -> Aad {
    Aad::new(Layer::Archive).field(archive.as_bytes()).field(&bundle.to_be_bytes()).field(part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OsRandom;

    #[test]
    fn a_part_opens_in_its_place_under_its_key_only() {
        let random = OsRandom::new();
        let mut rng = Pool::new(&random);
        let (key, other) = (ArchiveKey::generate(&mut rng).unwrap(), ArchiveKey::generate(&mut rng).unwrap());
        let context = ArchiveContext { archive: "fuda/a", bundle: 7, part: [0, 3] };
        let sealed = seal_archived(&mut rng, &key, &context, b"entries").unwrap();
        assert_eq!(open_archived(&key, &context, &sealed).unwrap(), b"entries");
        assert!(open_archived(&other, &context, &sealed).is_err());
        for moved in [
            ArchiveContext { archive: "fuda/b", ..context },
            ArchiveContext { bundle: 8, ..context },
            ArchiveContext { part: [1, 3], ..context },
            ArchiveContext { part: [0, 4], ..context },
        ] {
            assert!(open_archived(&key, &moved, &sealed).is_err());
        }
        assert!(open_archived(&key, &context, &sealed[..sealed.len() - 1]).is_err());
        assert!(open_archived(&key, &context, &[]).is_err());
    }
}
