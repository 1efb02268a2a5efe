//! The keys that bundles are sealed under: what is removed is gone when its key is, wherever its bytes still lie.
//!
//! ```text
//! audit.db       blocks and columns, each sealed under the key of its bundle
//! NAME.keys      32 bytes per bundle, at 32 times its number; zeros: no key, or one that was destroyed
//!
//! keeping        key drawn ─▶ on disk ─▶ its bundle is committed
//! removing       bundle deleted, committed ─▶ no reader of before is left ─▶ key overwritten, on disk
//! ```
//! SQLite moves rows between pages and leaves copies of them in free space, which overwriting what is deleted does not
//! reach. The file of keys is only ever written in place.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use fuda_crypto::{ArchiveContext, ArchiveKey, OsRandom, Pool, Random as _, open_archived, seal_archived};
use zeroize::Zeroizing;

use super::Error;

/// Bytes of a key.
const KEY_BYTES: u64 = 32;

/// What a part of a bundle is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// The block at this place of the bundle.
    Block(u8),
    /// The column of a field, or of times.
    Column(u8),
}

impl Part {
    const fn bytes(self) -> [u8; 2] {
        match self {
            Self::Block(place) => [0, place],
            Self::Column(field) => [1, field],
        }
    }
}

/// The file of keys of one log.
pub(crate) struct Keys {
    file: File,
    origin: String,
}

/// The key of one bundle; none for a bundle that was stored before there were keys, and lies open.
pub(crate) struct BundleKey<'k> {
    key: Option<ArchiveKey>,
    origin: &'k str,
    bundle: u64,
}

impl Keys {
    /// Makes an empty file with mode 0600 and gives its name.
    pub(super) fn make(dir: &Path) -> Result<String, Error> {
        let mut random = [0; 8];
        OsRandom::new().fill(&mut random).map_err(failed)?;
        let name = format!("audit-{}.keys", hex::encode(random));
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(dir.join(&name))?.sync_all()?;
        File::open(dir)?.sync_all()?;
        Ok(name)
    }

    /// Opens it; only to read for a log that has ended.
    pub(super) fn open(path: &Path, origin: &str, write: bool) -> Result<Self, Error> {
        let file = OpenOptions::new().read(true).write(write).open(path);
        let file = file.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::Damaged("the file of keys is missing"),
            _ => error.into(),
        })?;
        Ok(Self { file, origin: origin.to_owned() })
    }

    /// Draws the key of a bundle that is about to be stored. On disk after [`Keys::sync`].
    pub(super) fn draw(&self, bundle: u64) -> Result<BundleKey<'_>, Error> {
        let random = OsRandom::new();
        let key = ArchiveKey::generate(&mut Pool::new(&random)).map_err(failed)?;
        self.file.write_all_at(key.expose(), bundle * KEY_BYTES)?;
        Ok(BundleKey { key: Some(key), origin: &self.origin, bundle })
    }

    /// Puts what was written on disk.
    pub(super) fn sync(&self) -> Result<(), Error> {
        Ok(self.file.sync_data()?)
    }

    /// The key of a bundle.
    pub(crate) fn of(&self, bundle: u64) -> Result<BundleKey<'_>, Error> {
        let mut there = true;
        let key = ArchiveKey::filled_by(|key| match self.file.read_exact_at(key, bundle * KEY_BYTES) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                there = false;
                Ok(())
            }
            read => read,
        })?;
        let there = there && key.expose().iter().any(|byte| *byte != 0);
        Ok(BundleKey { key: there.then_some(key), origin: &self.origin, bundle })
    }

    /// Overwrites the keys of these bundles; how many there were. On disk when this returns.
    pub(super) fn destroy(&self, bundles: impl IntoIterator<Item = u64>) -> Result<usize, Error> {
        let mut kept = Zeroizing::new(Vec::new());
        let mut file = &self.file;
        file.seek(SeekFrom::Start(0))?;
        file.read_to_end(&mut kept)?;
        let mut destroyed = 0;
        for bundle in bundles {
            let at = usize::try_from(bundle * KEY_BYTES).unwrap_or(usize::MAX);
            let key = kept.get(at..).and_then(|rest| rest.first_chunk::<{ KEY_BYTES as usize }>());
            if key.is_some_and(|key| key.iter().any(|byte| *byte != 0)) {
                self.file.write_all_at(&[0; KEY_BYTES as usize], bundle * KEY_BYTES)?;
                destroyed += 1;
            }
        }
        if destroyed > 0 {
            self.sync()?;
        }
        Ok(destroyed)
    }
}

impl BundleKey<'_> {
    /// Seals a packed part. A bundle that lies open keeps doing so.
    pub(crate) fn seal(&self, part: Part, packed: Vec<u8>) -> Result<Vec<u8>, Error> {
        let Some(key) = &self.key else { return Ok(packed) };
        let random = OsRandom::new();
        seal_archived(&mut Pool::new(&random), key, &self.context(part), &packed).map_err(failed)
    }

    /// Opens a part as it lies on disk.
    pub(crate) fn open(&self, part: Part, stored: Vec<u8>) -> Result<Vec<u8>, Error> {
        let Some(key) = &self.key else { return Ok(stored) };
        open_archived(key, &self.context(part), &stored).map_err(|_| Error::Damaged("a sealed value does not open"))
    }

    /// The bytes by which evidences look for it in files.
    pub(crate) fn print(&self) -> Option<String> {
        self.key.as_ref().map(|key| hex::encode(key.expose()))
    }

    fn context(&self, part: Part) -> ArchiveContext<'_> {
        ArchiveContext { archive: self.origin, bundle: self.bundle, part: part.bytes() }
    }
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Io(io::Error::other(error))
}
