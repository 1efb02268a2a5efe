//! Who may no longer call although a credential is still good: certificates on a revocation list, and callers or serial
//! numbers that somebody denied by hand. Asked at every handshake and at every request, so that a connection does not
//! outlive a revocation.
//!
//! The files are ours, like those of the authorities: the signature of a list is not checked again here, and a list can
//! only refuse, never admit.

use std::collections::BTreeSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use fuda_core::ids::CallerId;
use rustls_pki_types::CertificateRevocationListDer;
use rustls_pki_types::pem::PemObject as _;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use x509_parser::prelude::FromDer as _;
use x509_parser::revocation_list::CertificateRevocationList;

use crate::tls::{PeerIdentity, serial_of, watch};

/// What a line of denied serial numbers begins with.
const SERIAL: &str = "serial:";

/// Where revocations are.
#[derive(Clone, Debug, Default)]
pub struct RevocationPaths {
    /// Revocation lists (RFC 5280): PEM, any number of them, or one in DER.
    pub crl_file: Option<PathBuf>,
    /// One caller id or `serial:HEX` per line; `#` begins a comment.
    pub denied_file: Option<PathBuf>,
}

/// Why revocations could not be read.
#[derive(Debug, thiserror::Error)]
pub enum RevocationError {
    /// A file is missing or unreadable.
    #[error("`{path}` cannot be read: {source}")]
    Read {
        /// The path as configured.
        path: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A file is no revocation list.
    #[error("`{0}` holds no usable certificate revocation list")]
    Crl(String),
    /// A line is neither a caller id nor a serial number.
    #[error("`{path}` line {line}: must be a caller id, or serial:HEX")]
    Line {
        /// The path as configured.
        path: String,
        /// The line, from 1.
        line: usize,
    },
}

/// The newest usable revocations.
#[derive(Debug)]
pub struct Revocations {
    paths: RevocationPaths,
    current: ArcSwap<Revoked>,
    last_tried: Mutex<u64>,
}

#[derive(Debug, Default)]
struct Revoked {
    /// Issuer's name as DER, and serial number.
    certificates: BTreeSet<(Vec<u8>, Vec<u8>)>,
    /// Serial numbers of any issuer.
    serials: BTreeSet<Vec<u8>>,
    callers: BTreeSet<CallerId>,
}

impl Revocations {
    /// Reads the files.
    ///
    /// # Errors
    /// When one is missing or unusable: a node that cannot know whom to refuse does not start.
    pub fn open(paths: RevocationPaths) -> Result<Self, RevocationError> {
        let revocations = Self { paths, current: ArcSwap::default(), last_tried: Mutex::new(0) };
        revocations.reload()?;
        Ok(revocations)
    }

    /// Whether the caller, or the certificate it came with, is revoked.
    #[must_use]
    pub fn refuse(&self, caller: &CallerId, certificate: Option<&PeerIdentity>) -> bool {
        let revoked = self.current.load();
        let by_certificate = certificate.is_some_and(|certificate| {
            revoked.serials.contains(&certificate.serial)
                || revoked.certificates.contains(&(certificate.issuer.clone(), certificate.serial.clone()))
        });
        by_certificate || revoked.callers.contains(caller)
    }

    /// Reads the files again when they change, until `shutdown`.
    pub fn watch(self: &Arc<Self>, shutdown: CancellationToken) -> JoinHandle<()> {
        let files = self.paths.crl_file.iter().chain(&self.paths.denied_file);
        let directories = files.filter_map(|file| file.parent()).map(Path::to_path_buf).collect();
        let revocations = Arc::clone(self);
        let read = move || match revocations.reload() {
            Ok(true) => tracing::info!("revocations read again"),
            Ok(false) => {}
            Err(error) => tracing::error!(%error, "revocations not read, the old ones stay in use"),
        };
        watch::spawn(directories, watch::POLL_INTERVAL, read, shutdown)
    }

    /// Reads the files again now; `Ok(true)` when they changed and are in use. Blocking, small files.
    ///
    /// # Errors
    /// As [`Revocations::open`]; the old revocations then stay in use.
    pub fn reload(&self) -> Result<bool, RevocationError> {
        let mut last_tried = self.last_tried.lock().unwrap_or_else(PoisonError::into_inner);
        let crl = self.paths.crl_file.as_deref().map(read).transpose()?;
        let denied = self.paths.denied_file.as_deref().map(read).transpose()?;
        let mut hasher = DefaultHasher::new();
        for bytes in [&crl, &denied].into_iter().flatten() {
            hasher.write_usize(bytes.len());
            hasher.write(bytes);
        }
        if std::mem::replace(&mut *last_tried, hasher.finish()) == hasher.finish() {
            return Ok(false);
        }
        let mut revoked = Revoked::default();
        if let (Some(bytes), Some(path)) = (&crl, &self.paths.crl_file) {
            revoked.certificates = certificates(bytes).ok_or_else(|| RevocationError::Crl(display(path)))?;
        }
        if let (Some(bytes), Some(path)) = (&denied, &self.paths.denied_file) {
            revoked.read_lines(&String::from_utf8_lossy(bytes), path)?;
        }
        self.current.store(Arc::new(revoked));
        Ok(true)
    }
}

impl Revoked {
    fn read_lines(&mut self, text: &str, path: &Path) -> Result<(), RevocationError> {
        for (index, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let wrong = || RevocationError::Line { path: display(path), line: index + 1 };
            match line.strip_prefix(SERIAL) {
                Some(digits) => self.serials.insert(serial(digits).ok_or_else(wrong)?),
                None => self.callers.insert(CallerId::parse(line).map_err(|_| wrong())?),
            };
        }
        Ok(())
    }
}

fn certificates(bytes: &[u8]) -> Option<BTreeSet<(Vec<u8>, Vec<u8>)>> {
    let pem: Vec<_> = CertificateRevocationListDer::pem_slice_iter(bytes).collect::<Result<_, _>>().ok()?;
    let lists: Vec<&[u8]> = if pem.is_empty() { vec![bytes] } else { pem.iter().map(AsRef::as_ref).collect() };
    let mut certificates = BTreeSet::new();
    for der in lists {
        let (rest, list) = CertificateRevocationList::from_der(der).ok()?;
        if !rest.is_empty() {
            return None;
        }
        let issuer = list.issuer().as_raw();
        let serials = list.iter_revoked_certificates().map(|revoked| serial_of(revoked.raw_serial()));
        certificates.extend(serials.map(|serial| (issuer.to_vec(), serial)));
    }
    Some(certificates)
}

/// Hexadecimal digits, with or without colons.
fn serial(digits: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = digits.trim().bytes().filter(|byte| *byte != b':').collect();
    if digits.is_empty() || digits.len() > 64 {
        return None;
    }
    let padded = if digits.len().is_multiple_of(2) { digits } else { [b"0", digits.as_slice()].concat() };
    let value = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let bytes = padded.chunks_exact(2).map(|pair| match pair {
        [high, low] => Some(value(*high)? << 4 | value(*low)?),
        _ => None,
    });
    bytes.collect::<Option<Vec<u8>>>().map(|bytes| serial_of(&bytes))
}

fn read(path: &Path) -> Result<Vec<u8>, RevocationError> {
    std::fs::read(path).map_err(|source| RevocationError::Read { path: display(path), source })
}

fn display(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, IsCa, KeyIdMethod,
        KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
    };
    use rustls_pki_types::CertificateDer;

    use super::*;

    const CALLER: &str = "spiffe://fuda.test/workload/hr";

    struct Stage {
        ca: CertifiedIssuer<'static, KeyPair>,
        dir: tempfile::TempDir,
    }

    impl Stage {
        fn new() -> Self {
            let mut params = CertificateParams::default();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
            Self { ca, dir: tempfile::tempdir().unwrap() }
        }

        fn certificate(&self, serial: &[u8]) -> PeerIdentity {
            let mut params = CertificateParams::default();
            params.serial_number = Some(SerialNumber::from_slice(serial));
            params.subject_alt_names = vec![SanType::URI(CALLER.try_into().unwrap())];
            let key = KeyPair::generate().unwrap();
            let certificate = params.signed_by(&key, &self.ca).unwrap();
            PeerIdentity::from_certificate(&CertificateDer::from(certificate.der().to_vec())).unwrap()
        }

        fn list(&self, serials: &[&[u8]]) -> (Vec<u8>, String) {
            let now = std::time::SystemTime::now();
            let revoked = |serial: &&[u8]| RevokedCertParams {
                serial_number: SerialNumber::from_slice(serial),
                revocation_time: now.into(),
                reason_code: None,
                invalidity_date: None,
            };
            let params = CertificateRevocationListParams {
                this_update: now.into(),
                next_update: (now + std::time::Duration::from_secs(3_600)).into(),
                crl_number: SerialNumber::from(1_u64),
                issuing_distribution_point: None,
                revoked_certs: serials.iter().map(revoked).collect(),
                key_identifier_method: KeyIdMethod::Sha256,
            };
            let list = params.signed_by(&self.ca).unwrap();
            (list.der().to_vec(), list.pem().unwrap())
        }

        fn open(&self, crl: Option<&[u8]>, denied: Option<&str>) -> Result<Revocations, RevocationError> {
            let write = |name: &str, bytes: &[u8]| {
                let path = self.dir.path().join(name);
                std::fs::write(&path, bytes).unwrap();
                path
            };
            Revocations::open(RevocationPaths {
                crl_file: crl.map(|bytes| write("list.crl", bytes)),
                denied_file: denied.map(|text| write("denied.txt", text.as_bytes())),
            })
        }
    }

    fn refused(revocations: &Revocations, certificate: &PeerIdentity) -> bool {
        revocations.refuse(&certificate.caller, Some(certificate))
    }

    #[test]
    fn a_list_refuses_its_issuers_serials_in_either_form_and_is_read_again() {
        let (stage, other) = (Stage::new(), Stage::new());
        let (der, pem) = stage.list(&[&[0x0a, 0x0b], &[0xff, 0x01]]);
        for bytes in [der.as_slice(), pem.as_bytes()] {
            let revocations = stage.open(Some(bytes), None).unwrap();
            assert!(refused(&revocations, &stage.certificate(&[0x0a, 0x0b])));
            assert!(refused(&revocations, &stage.certificate(&[0xff, 0x01])), "the sign byte counts for nothing");
            assert!(!refused(&revocations, &stage.certificate(&[0x0a, 0x0c])));
        }
        let revocations = stage.open(Some(&stage.list(&[]).0), None).unwrap();
        assert!(!refused(&revocations, &stage.certificate(&[7])));
        std::fs::write(stage.dir.path().join("list.crl"), stage.list(&[&[7]]).1).unwrap();
        assert!(revocations.reload().unwrap());
        assert!(refused(&revocations, &stage.certificate(&[7])));
        // A broken file changes nothing.
        std::fs::write(stage.dir.path().join("list.crl"), "no list").unwrap();
        assert!(revocations.reload().is_err());
        assert!(refused(&revocations, &stage.certificate(&[7])));
        drop(other);
    }

    #[test]
    fn lines_deny_callers_and_serials() {
        let stage = Stage::new();
        let text = format!("# left in March\n{CALLER}  # hr\nserial:0A:0b\n\noidc:corp/alice\n");
        let revocations = stage.open(None, Some(&text)).unwrap();
        assert!(refused(&revocations, &stage.certificate(&[1])), "by its id");
        assert!(revocations.refuse(&CallerId::parse("oidc:corp/alice").unwrap(), None));
        assert!(!revocations.refuse(&CallerId::parse("oidc:corp/bob").unwrap(), None));
        let certificate = PeerIdentity {
            caller: CallerId::parse("spiffe://fuda.test/other").unwrap(),
            ..stage.certificate(&[0x0a, 0x0b])
        };
        assert!(refused(&revocations, &certificate), "by its serial");
        for (text, wrong) in [("x\n", 1), ("oidc:corp/a\nserial:\n", 2), ("serial:xyz", 1), ("spiffe://a", 1)] {
            let error = stage.open(None, Some(text)).unwrap_err();
            assert!(matches!(error, RevocationError::Line { line, .. } if line == wrong), "{text}: {error}");
        }
        assert!(
            Revocations::open(RevocationPaths { crl_file: Some("/nonexistent".into()), denied_file: None }).is_err()
        );
    }
}
