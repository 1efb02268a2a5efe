use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use fuda_core::{
    ids::{KeyDomainId, RootVersion},
    time::Timestamp,
};
use fuda_crypto::RootKey;
use rustix::{
    fs::{FlockOperation, OFlags, flock},
    process::geteuid,
};
use zeroize::Zeroizing;

use crate::{Custodian, Error, Receipt, RootInfo, RootState, codec};

/// Longest receipt file, in bytes.
const RECEIPT_BYTES_MAX: usize = 8192;
const ENABLED: &str = "key";
const DISABLED: &str = "disabled";
const DESTROYED: &str = "destroyed";
const TEMPORARY: &str = "tmp";

/// The development custodian: one directory, one file per root.
///
/// `root-<domain>-<version>.key` is an enabled root, `.disabled` a disabled one, `.destroyed` the receipt of one that is
/// gone, `.tmp` the leftover of a crash, which is overwritten and removed at the next start. The directory has mode 0700
/// and files 0600; anything laxer is refused. Every change is synced, file and directory, before the call returns, and
/// is made under a lock of the directory, so several nodes of one machine may share it.
///
/// Overwriting a file does not reach copies made by the file system, the device or a backup: receipts say so.
#[derive(Clone)]
pub struct FileCustodian {
    store: Arc<Store>,
}

impl FileCustodian {
    /// Opens a directory, making it if it is missing, and clears the leftovers of a crash. Blocks on the disk and on
    /// other users of the directory: call it at start.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, Error> {
        let store = Store { dir: dir.into() };
        store.make_dir()?;
        let _lock = store.lock()?;
        for name in store.names()? {
            if let Some((_, _, TEMPORARY)) = parse_name(&name) {
                store.wipe(&store.dir.join(&name))?;
            }
        }
        Ok(Self { store: Arc::new(store) })
    }

    /// Runs file work off the async threads.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let store = self.store.clone();
        tokio::task::spawn_blocking(move || work(&store)).await.map_err(|_| Error::Interrupted)?
    }
}

#[async_trait]
impl Custodian for FileCustodian {
    fn kind(&self) -> &'static str {
        "file"
    }

    async fn create_root(&self, domain: KeyDomainId, version: RootVersion, root: &RootKey) -> Result<(), Error> {
        // Boxed, so that moving it to the other thread leaves no copy of the key on a stack.
        let root = Box::new(RootKey::from_bytes(*root.expose()));
        self.run(move |store| store.create(domain, version, &root)).await
    }

    async fn open_root(&self, domain: KeyDomainId, version: RootVersion) -> Result<RootKey, Error> {
        self.run(move |store| {
            let _lock = store.lock()?;
            store.require_enabled(domain, version)?;
            store.read_root(domain, version, ENABLED)
        })
        .await
    }

    async fn disable_root(&self, domain: KeyDomainId, version: RootVersion) -> Result<(), Error> {
        self.run(move |store| store.disable(domain, version)).await
    }

    async fn destroy_root(&self, domain: KeyDomainId, version: RootVersion) -> Result<Receipt, Error> {
        let receipt = self.run(move |store| store.destroy(domain, version)).await?;
        tracing::info!(%domain, %version, custodian = self.kind(), "root destroyed");
        Ok(receipt)
    }

    async fn list(&self) -> Result<Vec<RootInfo>, Error> {
        self.run(|store| {
            let _lock = store.lock()?;
            store.list()
        })
        .await
    }

    async fn health(&self) -> Result<(), Error> {
        self.run(|store| {
            let _lock = store.lock()?;
            store.list().map(drop)
        })
        .await
    }
}

/// The directory, with blocking calls.
struct Store {
    dir: PathBuf,
}

impl Store {
    fn create(&self, domain: KeyDomainId, version: RootVersion, root: &RootKey) -> Result<(), Error> {
        let _lock = self.lock()?;
        match self.state(domain, version)? {
            None => {}
            Some(RootState::Enabled) if self.read_root(domain, version, ENABLED)?.same_as(root) => return Ok(()),
            Some(RootState::Destroyed) => return Err(Error::Destroyed { domain, version }),
            Some(_) => return Err(Error::Exists { domain, version }),
        }
        let path = self.path(domain, version, ENABLED);
        let file = codec::encode(domain, version, root)
            .ok_or_else(|| Error::Damaged { path: path.clone(), rule: "its header must be JSON" })?;
        self.write_synced(domain, version, &path, &file)
    }

    fn disable(&self, domain: KeyDomainId, version: RootVersion) -> Result<(), Error> {
        let _lock = self.lock()?;
        match self.state(domain, version)? {
            None => Err(Error::NotFound { domain, version }),
            Some(RootState::Destroyed) => Err(Error::Destroyed { domain, version }),
            Some(RootState::Disabled) => self.sync_dir(),
            Some(RootState::Enabled) => {
                let (from, to) = (self.path(domain, version, ENABLED), self.path(domain, version, DISABLED));
                fs::rename(&from, &to).map_err(io_error("rename", &from))?;
                self.sync_dir()
            }
        }
    }

    /// Overwrite, sync; receipt, sync; unlink, sync. The receipt is written when no key byte is left in the file, and
    /// before the name disappears, so that a crash at any point leaves either a root to destroy again or its receipt.
    fn destroy(&self, domain: KeyDomainId, version: RootVersion) -> Result<Receipt, Error> {
        let _lock = self.lock()?;
        let disabled = self.path(domain, version, DISABLED);
        let receipt = match self.state(domain, version)? {
            None => return Err(Error::NotFound { domain, version }),
            Some(RootState::Enabled) => return Err(Error::StillEnabled { domain, version }),
            Some(RootState::Destroyed) => self.read_receipt(domain, version)?,
            Some(RootState::Disabled) => {
                self.overwrite(&disabled)?;
                let receipt = Receipt {
                    custodian: format!("file {}", self.dir.display()),
                    domain,
                    version,
                    at_text: now_text(),
                    restorable_copies: true,
                };
                let path = self.path(domain, version, DESTROYED);
                let bytes = serde_json::to_vec(&receipt)
                    .map_err(|_| Error::Damaged { path: path.clone(), rule: "it must be JSON" })?;
                self.write_synced(domain, version, &path, &bytes)?;
                receipt
            }
        };
        // Also after a crash between receipt and unlink.
        for leftover in [self.path(domain, version, ENABLED), disabled, self.path(domain, version, TEMPORARY)] {
            self.wipe(&leftover)?;
        }
        Ok(receipt)
    }

    fn list(&self) -> Result<Vec<RootInfo>, Error> {
        let mut roots = Vec::new();
        for name in self.names()? {
            let Some((domain, version, extension)) = parse_name(&name) else { continue };
            // A root whose receipt exists is destroyed, whatever else a crash left behind.
            if extension == TEMPORARY
                || roots.iter().any(|root: &RootInfo| (root.domain, root.version) == (domain, version))
            {
                continue;
            }
            if let Some(state) = self.state(domain, version)? {
                roots.push(RootInfo { domain, version, state });
            }
        }
        roots.sort_unstable();
        Ok(roots)
    }

    fn state(&self, domain: KeyDomainId, version: RootVersion) -> Result<Option<RootState>, Error> {
        // In this order: see `destroy`. A disabled root must not come back when its file was copied back as enabled.
        for (extension, state) in
            [(DESTROYED, RootState::Destroyed), (DISABLED, RootState::Disabled), (ENABLED, RootState::Enabled)]
        {
            let path = self.path(domain, version, extension);
            match fs::symlink_metadata(&path) {
                Ok(_) => return Ok(Some(state)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(io_error("look at", &path)(error)),
            }
        }
        Ok(None)
    }

    fn require_enabled(&self, domain: KeyDomainId, version: RootVersion) -> Result<(), Error> {
        match self.state(domain, version)? {
            Some(RootState::Enabled) => Ok(()),
            Some(RootState::Disabled) => Err(Error::Disabled { domain, version }),
            Some(RootState::Destroyed) => Err(Error::Destroyed { domain, version }),
            None => Err(Error::NotFound { domain, version }),
        }
    }

    fn read_root(&self, domain: KeyDomainId, version: RootVersion, extension: &str) -> Result<RootKey, Error> {
        let path = self.path(domain, version, extension);
        let file = self.read_private(&path, codec::FILE_BYTES_MAX)?;
        codec::decode(&file, domain, version).map_err(|rule| Error::Damaged { path, rule })
    }

    fn read_receipt(&self, domain: KeyDomainId, version: RootVersion) -> Result<Receipt, Error> {
        let path = self.path(domain, version, DESTROYED);
        let bytes = self.read_private(&path, RECEIPT_BYTES_MAX)?;
        match serde_json::from_slice::<Receipt>(&bytes) {
            Ok(receipt) if (receipt.domain, receipt.version) == (domain, version) => Ok(receipt),
            _ => Err(Error::Damaged { path, rule: "it must be the receipt of this root" }),
        }
    }

    /// Reads a file nobody else may read, into one buffer that is wiped.
    fn read_private(&self, path: &Path, bytes_max: usize) -> Result<Zeroizing<Vec<u8>>, Error> {
        let file = open_private(path, OpenOptions::new().read(true))?;
        let mut bytes = Zeroizing::new(Vec::with_capacity(bytes_max + 1));
        file.take(bytes_max as u64 + 1).read_to_end(&mut bytes).map_err(io_error("read", path))?;
        if bytes.len() > bytes_max {
            return Err(Error::Damaged { path: path.to_owned(), rule: "it must not be longer than its format" });
        }
        Ok(bytes)
    }

    /// Temporary file, sync, rename, sync of the directory: the name never shows half a file.
    fn write_synced(&self, domain: KeyDomainId, version: RootVersion, path: &Path, bytes: &[u8]) -> Result<(), Error> {
        let temporary = self.path(domain, version, TEMPORARY);
        self.wipe(&temporary)?;
        let mut file = open_private(&temporary, OpenOptions::new().write(true).create_new(true).mode(0o600))?;
        let written = file.write_all(bytes).and_then(|()| file.sync_all()).map_err(io_error("write", &temporary));
        let renamed = written.and_then(|()| fs::rename(&temporary, path).map_err(io_error("rename", &temporary)));
        if let Err(error) = renamed {
            // The first error tells more than one about the leftover, which the next start wipes anyway.
            let _ = self.wipe(&temporary);
            return Err(error);
        }
        self.sync_dir()
    }

    /// Overwrites with zeros and syncs; the file keeps its length, so that no old block is freed before.
    fn overwrite(&self, path: &Path) -> Result<(), Error> {
        let mut file = open_private(path, OpenOptions::new().write(true))?;
        let length = file.metadata().map_err(io_error("look at", path))?.len();
        file.seek(SeekFrom::Start(0))
            .and_then(|_| io::copy(&mut io::repeat(0).take(length), &mut file))
            .and_then(|_| file.sync_all())
            .map_err(io_error("overwrite", path))
    }

    /// Overwrites and removes a file that may be missing.
    fn wipe(&self, path: &Path) -> Result<(), Error> {
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(io_error("look at", path)(error)),
            Ok(_) => {}
        }
        self.overwrite(path)?;
        fs::remove_file(path).map_err(io_error("remove", path))?;
        self.sync_dir()
    }

    fn make_dir(&self) -> Result<(), Error> {
        match DirBuilder::new().mode(0o700).create(&self.dir) {
            Ok(()) => {
                let parent = self.dir.parent().filter(|parent| !parent.as_os_str().is_empty());
                sync_dir(parent.unwrap_or(Path::new(".")))
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(io_error("make", &self.dir)(error)),
        }
    }

    /// Opens, checks and locks the directory; the lock ends with the file, also when the process dies.
    fn lock(&self) -> Result<File, Error> {
        let dir = File::open(&self.dir).map_err(io_error("open", &self.dir))?;
        require_private(&self.dir, &dir, 0o700)?;
        flock(&dir, FlockOperation::LockExclusive).map_err(|error| io_error("lock", &self.dir)(error.into()))?;
        Ok(dir)
    }

    fn sync_dir(&self) -> Result<(), Error> {
        sync_dir(&self.dir)
    }

    fn names(&self) -> Result<Vec<String>, Error> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(io_error("list", &self.dir))? {
            let entry = entry.map_err(io_error("list", &self.dir))?;
            names.extend(entry.file_name().into_string());
        }
        Ok(names)
    }

    fn path(&self, domain: KeyDomainId, version: RootVersion, extension: &str) -> PathBuf {
        self.dir.join(format!("root-{}-{}.{extension}", domain.0, version.0))
    }
}

fn parse_name(name: &str) -> Option<(KeyDomainId, RootVersion, &'static str)> {
    let (stem, extension) = name.strip_prefix("root-")?.split_once('.')?;
    let extension = [ENABLED, DISABLED, DESTROYED, TEMPORARY].into_iter().find(|known| *known == extension)?;
    let (domain, version) = stem.split_once('-')?;
    Some((KeyDomainId(domain.parse().ok()?), RootVersion(version.parse().ok()?), extension))
}

/// Opens without following a symbolic link and checks the file that was opened, not the name.
fn open_private(path: &Path, options: &mut OpenOptions) -> Result<File, Error> {
    let no_follow = OFlags::NOFOLLOW.bits().cast_signed();
    let file = options.custom_flags(no_follow).open(path).map_err(io_error("open", path))?;
    require_private(path, &file, 0o600)?;
    Ok(file)
}

fn require_private(path: &Path, file: &File, mode_max: u32) -> Result<(), Error> {
    let metadata = file.metadata().map_err(io_error("look at", path))?;
    let (seen_uid, seen_mode, uid) = (metadata.uid(), metadata.mode() & 0o7777, geteuid().as_raw());
    if seen_uid != uid || seen_mode & !mode_max != 0 {
        return Err(Error::Permissions { path: path.to_owned(), uid, mode_max, seen_uid, seen_mode });
    }
    Ok(())
}

fn sync_dir(dir: &Path) -> Result<(), Error> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(io_error("sync", dir))
}

fn io_error(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { step, path, source }
}

fn now_text() -> String {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)).to_rfc3339()
}

#[cfg(test)]
mod tests;
