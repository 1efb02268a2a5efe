//! The manifest of a snapshot: which files it consists of, and what must be in them.
//!
//! ```text
//! SNAPSHOT = SHA-256 of what follows (32 bytes) ‖ format byte ‖ CBOR [ [[name, length, sha256] …], applied ]
//! ```

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::Path;

use fuda_crypto::digest::{Sha256, sha256};
use minicbor::{Decode, Encode};

use crate::Error;
use crate::data_dir::sync_dir;

/// Name of the manifest inside a snapshot's directory.
const MANIFEST: &str = "SNAPSHOT";
const FORMAT: u8 = 1;
const DIGEST_BYTES: usize = 32;
/// Files of a snapshot; RocksDB at 130 million records stays far below.
const FILES_MAX: usize = 100_000;
const READ_BYTES: usize = 1 << 20;

/// One file of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SnapshotFile {
    /// Plain file name.
    #[n(0)]
    pub name: String,
    /// Length in bytes.
    #[n(1)]
    pub length: u64,
    /// SHA-256 of the contents.
    #[n(2)]
    #[cbor(with = "minicbor::bytes")]
    pub sha256: [u8; 32],
}

/// What a snapshot consists of.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SnapshotManifest {
    /// Its files in order of name, without the manifest itself.
    #[n(0)]
    pub files: Vec<SnapshotFile>,
    /// The position of the state in it.
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    pub applied: Option<Vec<u8>>,
}

/// Describes every file of `dir`, syncs them and writes the manifest beside them.
pub(crate) fn write_snapshot(dir: &Path, applied: Option<Vec<u8>>) -> Result<(), Error> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(Error::file(dir, "list"))? {
        let entry = entry.map_err(Error::file(dir, "list"))?;
        let name = entry.file_name().into_string().map_err(|_| damaged(dir, "a file name is not UTF-8"))?;
        files.push(describe(&entry.path(), name)?);
    }
    files.sort_by(|one, other| one.name.cmp(&other.name));
    let manifest = SnapshotManifest { files, applied };
    let mut body = vec![FORMAT];
    minicbor::encode(&manifest, &mut body).map_err(|_| damaged(dir, "the manifest cannot be encoded"))?;
    let path = dir.join(MANIFEST);
    let write = || -> std::io::Result<()> {
        let mut file = File::create_new(&path)?;
        file.write_all(&sha256(&[&body]))?;
        file.write_all(&body)?;
        file.sync_all()
    };
    write().map_err(Error::file(&path, "write"))?;
    sync_dir(dir)
}

/// Reads the manifest of the snapshot in `dir` without looking at its files.
///
/// # Errors
/// [`Error::Snapshot`] when it is damaged.
pub fn read_snapshot(dir: &Path) -> Result<SnapshotManifest, Error> {
    let path = dir.join(MANIFEST);
    let bytes = fs::read(&path).map_err(Error::file(&path, "read"))?;
    let (digest, body) =
        bytes.split_at_checked(DIGEST_BYTES).ok_or_else(|| damaged(dir, "the manifest is too short"))?;
    if digest != sha256(&[body]) {
        return Err(damaged(dir, "the manifest does not match its digest"));
    }
    let Some((&FORMAT, cbor)) = body.split_first() else {
        return Err(damaged(dir, "the manifest has a format this build does not know"));
    };
    let manifest: SnapshotManifest =
        minicbor::decode(cbor).map_err(|_| damaged(dir, "the manifest cannot be understood"))?;
    if manifest.files.len() > FILES_MAX {
        return Err(damaged(dir, "the manifest names too many files"));
    }
    if manifest.files.iter().any(|file| !is_plain_name(&file.name)) {
        return Err(damaged(dir, "the manifest names a file outside the snapshot"));
    }
    Ok(manifest)
}

/// Checks every file of the snapshot in `dir` against the manifest. Reads everything.
///
/// # Errors
/// [`Error::Snapshot`] names the first file that is missing, too many or different.
pub fn verify_snapshot(dir: &Path) -> Result<SnapshotManifest, Error> {
    let manifest = read_snapshot(dir)?;
    for expected in &manifest.files {
        let path = dir.join(&expected.name);
        if !path.is_file() {
            return Err(damaged(dir, &format!("file `{}` is missing", expected.name)));
        }
        if describe(&path, expected.name.clone())? != *expected {
            return Err(damaged(dir, &format!("file `{}` is not what the manifest says", expected.name)));
        }
    }
    let found = fs::read_dir(dir).map_err(Error::file(dir, "list"))?.count();
    if found != manifest.files.len() + 1 {
        return Err(damaged(dir, "there are files that the manifest does not name"));
    }
    Ok(manifest)
}

/// Takes the manifest away, leaving the plain files.
pub(crate) fn strip_manifest(dir: &Path) -> Result<(), Error> {
    let path = dir.join(MANIFEST);
    fs::remove_file(&path).map_err(Error::file(&path, "remove"))?;
    sync_dir(dir)
}

fn describe(path: &Path, name: String) -> Result<SnapshotFile, Error> {
    let mut file = File::open(path).map_err(Error::file(path, "open"))?;
    file.sync_all().map_err(Error::file(path, "sync"))?;
    let mut digest = Sha256::new();
    let mut length = 0_u64;
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let read = file.read(&mut buffer).map_err(Error::file(path, "read"))?;
        match buffer.get(..read) {
            None | Some([]) => break,
            Some(bytes) => {
                digest.update(bytes);
                length += bytes.len() as u64;
            }
        }
    }
    Ok(SnapshotFile { name, length, sha256: digest.finish() })
}

fn is_plain_name(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && name != MANIFEST && !name.contains(['/', '\0'])
}

pub(crate) fn damaged(dir: &Path, problem: &str) -> Error {
    Error::Snapshot { path: dir.to_path_buf(), problem: problem.to_owned() }
}
