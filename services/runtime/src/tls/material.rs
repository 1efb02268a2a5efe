//! Certificates on disk → what rustls needs, and the store that swaps them while the process runs.

use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use opentelemetry::metrics::Meter;
use rustls::RootCertStore;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use super::identity::{self, PeerIdentity};
use super::{TlsError, TlsPaths, provider};
use crate::metrics::CertificateMetrics;

/// One consistent reading of the three files.
pub struct Material {
    pub(super) certified: Arc<CertifiedKey>,
    pub(super) authorities: Arc<RootCertStore>,
    /// Authorities of other trust domains, in the order of their files.
    pub(super) bundles: Vec<Arc<RootCertStore>>,
    /// Who we are to others; none for a certificate without a SPIFFE id.
    pub(super) identity: Option<PeerIdentity>,
    pub(super) not_after: SystemTime,
}

impl std::fmt::Debug for Material {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Material").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

/// The bytes of the three files, read once, so that what is compared is what is used.
struct Files {
    certificate: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
    authorities: Vec<u8>,
    bundles: Vec<Vec<u8>>,
}

impl Files {
    fn read(paths: &TlsPaths, bundles: &[PathBuf]) -> Result<Self, TlsError> {
        Ok(Self {
            certificate: read(&paths.certificate_file)?,
            key: Zeroizing::new(read(&paths.key_file)?),
            authorities: read(&paths.authorities_file)?,
            bundles: bundles.iter().map(|path| read(path)).collect::<Result<_, _>>()?,
        })
    }

    /// Tells changed files from unchanged ones; nothing secret rests on it.
    fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        let files = [&self.certificate, &*self.key, &self.authorities];
        for bytes in files.into_iter().chain(&self.bundles) {
            hasher.write_usize(bytes.len());
            hasher.write(bytes);
        }
        hasher.finish()
    }
}

impl Material {
    fn parse(paths: &TlsPaths, bundles: &[PathBuf], files: &Files, now: SystemTime) -> Result<Self, TlsError> {
        let chain = certificates(&paths.certificate_file, &files.certificate)?;
        let path = || display(&paths.certificate_file);
        let own = chain.first().ok_or_else(|| TlsError::Pem { path: path(), expected: "certificate" })?;
        let not_after = identity::not_after(own).map_err(|source| TlsError::Identity { path: path(), source })?;
        if not_after <= now {
            return Err(TlsError::Expired { path: path() });
        }
        let identity = PeerIdentity::from_certificate(own).ok();
        let key = PrivateKeyDer::from_pem_slice(&files.key)
            .map_err(|_| TlsError::Pem { path: display(&paths.key_file), expected: "private key" })?;
        let authorities = root_store(certificates(&paths.authorities_file, &files.authorities)?)?;
        let bundle = |(path, pem): (&PathBuf, &Vec<u8>)| certificates(path, pem).and_then(root_store).map(Arc::new);
        let bundles = bundles.iter().zip(&files.bundles).map(bundle).collect::<Result<_, _>>()?;
        let certified = CertifiedKey::from_der(chain, key, &provider())?;
        Ok(Self { certified: Arc::new(certified), authorities: Arc::new(authorities), bundles, identity, not_after })
    }
}

/// What was made of the newest usable files, replaced as a whole when they change.
pub(super) struct MaterialStore<T> {
    paths: TlsPaths,
    /// Files of other trust domains' authorities.
    bundles: Vec<PathBuf>,
    role: &'static str,
    build: Build<T>,
    current: ArcSwap<Loaded<T>>,
    /// Fingerprint of the files last tried, usable or not: broken files are reported once, not at every poll.
    last_tried: Mutex<u64>,
    metrics: CertificateMetrics,
}

/// Makes of the files what is used.
type Build<T> = Box<dyn Fn(Material) -> Result<T, TlsError> + Send + Sync>;

/// One generation.
pub(super) struct Loaded<T> {
    pub(super) value: T,
    pub(super) identity: Option<PeerIdentity>,
    pub(super) not_after: SystemTime,
}

impl<T> MaterialStore<T> {
    pub(super) fn load(
        paths: &TlsPaths,
        role: &'static str,
        meter: &Meter,
        build: impl Fn(Material) -> Result<T, TlsError> + Send + Sync + 'static,
    ) -> Result<Self, TlsError> {
        Self::load_with(paths, Vec::new(), role, meter, build)
    }

    pub(super) fn load_with(
        paths: &TlsPaths,
        bundles: Vec<PathBuf>,
        role: &'static str,
        meter: &Meter,
        build: impl Fn(Material) -> Result<T, TlsError> + Send + Sync + 'static,
    ) -> Result<Self, TlsError> {
        let files = Files::read(paths, &bundles)?;
        let build: Build<T> = Box::new(build);
        let loaded = make(paths, &bundles, &files, &build)?;
        let metrics = CertificateMetrics::new(meter, role);
        metrics.loaded(loaded.not_after);
        Ok(Self {
            paths: paths.clone(),
            bundles,
            role,
            build,
            current: ArcSwap::from_pointee(loaded),
            last_tried: Mutex::new(files.fingerprint()),
            metrics,
        })
    }

    pub(super) fn current(&self) -> Arc<Loaded<T>> {
        self.current.load_full()
    }

    /// The directories whose change may mean new files.
    pub(super) fn directories(&self) -> Vec<PathBuf> {
        let files = [&self.paths.certificate_file, &self.paths.key_file, &self.paths.authorities_file];
        let mut directories: Vec<PathBuf> =
            files.into_iter().chain(&self.bundles).filter_map(|file| file.parent()).map(Path::to_path_buf).collect();
        directories.sort();
        directories.dedup();
        directories
    }

    /// Reads the files again. `Ok(true)` when they changed and are in use now; on an error the old ones stay in use.
    pub(super) fn reload(&self) -> Result<bool, TlsError> {
        // Held throughout, so that two reloads cannot finish in the wrong order.
        let mut last_tried = self.last_tried.lock().unwrap_or_else(PoisonError::into_inner);
        let files = Files::read(&self.paths, &self.bundles).inspect_err(|_| self.metrics.reload_failed())?;
        let fingerprint = files.fingerprint();
        if *last_tried == fingerprint {
            return Ok(false);
        }
        *last_tried = fingerprint;
        let loaded =
            make(&self.paths, &self.bundles, &files, &self.build).inspect_err(|_| self.metrics.reload_failed())?;
        self.metrics.loaded(loaded.not_after);
        self.metrics.reload_changed();
        self.current.store(Arc::new(loaded));
        Ok(true)
    }

    /// [`MaterialStore::reload`] for the watcher: the outcome goes to the log.
    pub(super) fn reload_and_log(&self) {
        match self.reload() {
            Ok(true) => tracing::info!(certificate = self.role, "certificate reloaded"),
            Ok(false) => {}
            Err(error) => {
                tracing::error!(certificate = self.role, %error, "certificate not reloaded, the old one stays in use");
            }
        }
    }
}

fn make<T>(paths: &TlsPaths, bundles: &[PathBuf], files: &Files, build: &Build<T>) -> Result<Loaded<T>, TlsError> {
    let material = Material::parse(paths, bundles, files, SystemTime::now())?;
    let (identity, not_after) = (material.identity.clone(), material.not_after);
    Ok(Loaded { value: build(material)?, identity, not_after })
}

/// Reads a file of authorities.
pub(super) fn authorities(path: &Path) -> Result<RootCertStore, TlsError> {
    root_store(certificates(path, &read(path)?)?)
}

fn root_store(certificates: Vec<CertificateDer<'static>>) -> Result<RootCertStore, TlsError> {
    let mut authorities = RootCertStore::empty();
    for authority in certificates {
        authorities.add(authority)?;
    }
    Ok(authorities)
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Read { path: display(path), source })
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unusable = || TlsError::Pem { path: display(path), expected: "certificate" };
    let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().map_err(|_| unusable())?;
    if certificates.is_empty() { Err(unusable()) } else { Ok(certificates) }
}

fn display(path: &Path) -> String {
    path.display().to_string()
}
