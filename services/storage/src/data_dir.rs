//! The directory of a node: private, and used by one process at a time.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::Error;

/// A locked data directory. The lock ends with the value, or with the process however it ends.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Makes `path` when missing (mode 0700) and locks it.
    ///
    /// # Errors
    /// [`Error::InUse`] when another process holds it, [`Error::File`] when it cannot be made or is open to others.
    pub fn lock(path: &Path) -> Result<Self, Error> {
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(Error::file(path, "make directory"))?;
        let mode = fs::metadata(path).map_err(Error::file(path, "read mode"))?.permissions().mode();
        if mode & 0o077 != 0 {
            // A volume is often mounted with a wider mode; the owner may narrow it.
            fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(Error::file(path, "set mode 0700"))?;
        }
        let lock_path = path.join("LOCK");
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock_path)
            .map_err(Error::file(&lock_path, "open"))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| Error::InUse(path.to_path_buf()))?;
        Ok(Self { path: path.to_path_buf(), _lock: lock })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Makes entries of a directory durable: a rename or unlink is not, until its directory is synced.
pub(crate) fn sync_dir(path: &Path) -> Result<(), Error> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(Error::file(path, "sync directory"))
}
