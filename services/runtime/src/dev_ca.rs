//! A certificate authority for development and tests. Production certificates come from cert-manager or SPIRE; nothing
//! in a node depends on this module.
//!
//! Two authorities, because a peer certificate must be worthless on the client listener and the other way round:
//!
//! ```text
//! DIR/ca/trust-domain                                            of all identities, chosen once
//! DIR/ca/clients-ca.pem  ── identities/NAME/{cert,cert.key}.pem  callers
//!                        └─ nodes/NAME/{server,server.key}.pem   what a node shows to callers
//! DIR/ca/peers-ca.pem    ── nodes/NAME/{peer,peer.key}.pem       what a node shows to nodes, both ways
//! ```

use std::fs;
use std::io::Write as _;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType,
    SerialNumber, string::Ia5String,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

/// How long a certificate of this authority is valid, in days.
pub const VALIDITY_DAYS: u64 = 365;

/// File in which an authority keeps its trust domain.
const DOMAIN_FILE: &str = "ca/trust-domain";

/// Why a certificate could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read or written.
    #[error("`{path}`: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The directory holds no authority.
    #[error("`{}` holds no authority; make one with: fuda dev ca --dir {}", .0.display(), .0.display())]
    Missing(PathBuf),
    /// The directory holds an authority of another trust domain.
    #[error("the authority exists already, with the trust domain `{0}`")]
    OtherDomain(String),
    /// The certificate library refused.
    #[error("certificate: {0}")]
    Certificate(#[from] rcgen::Error),
}

/// Paths of a certificate, its key and the authority that the other side is checked against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pems {
    /// Certificate chain.
    pub certificate: PathBuf,
    /// Private key, mode 0600.
    pub key: PathBuf,
    /// Authority of the other side.
    pub authority: PathBuf,
}

/// What a certificate says.
#[derive(Debug, Clone, Default)]
pub struct Subject {
    /// URI names; a valid identity has exactly one, tests ask for others.
    pub uris: Vec<String>,
    /// DNS names or addresses of a server.
    pub hosts: Vec<String>,
    /// Moves the whole validity by so many days; tests make expired certificates with it.
    pub shift_days: i64,
    /// Ends so long after now, instead of after [`VALIDITY_DAYS`].
    pub lifetime: Option<Duration>,
}

/// Which of the two authorities signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authority {
    /// Signs callers and the certificates that nodes show to them.
    Clients,
    /// Signs what nodes show to each other.
    Peers,
}

impl Authority {
    fn name(self) -> &'static str {
        match self {
            Self::Clients => "clients-ca",
            Self::Peers => "peers-ca",
        }
    }
}

/// The development authority: a directory.
#[derive(Debug, Clone)]
pub struct DevCa {
    dir: PathBuf,
    trust_domain: String,
}

impl DevCa {
    /// Opens the authority in `dir`.
    ///
    /// # Errors
    /// [`Error::Missing`] when there is none.
    pub fn existing(dir: &Path) -> Result<Self, Error> {
        let domain = fs::read_to_string(dir.join(DOMAIN_FILE)).map_err(|_| Error::Missing(dir.to_path_buf()))?;
        Self::open(dir, domain.trim())
    }

    /// Opens the authority in `dir`, making its two roots when they do not exist yet.
    ///
    /// # Errors
    /// [`Error::OtherDomain`] when it was made for another trust domain.
    pub fn open(dir: &Path, trust_domain: &str) -> Result<Self, Error> {
        let ca = Self { dir: dir.to_path_buf(), trust_domain: trust_domain.to_owned() };
        let path = dir.join(DOMAIN_FILE);
        match fs::read_to_string(&path) {
            Ok(domain) if domain.trim() != trust_domain => return Err(Error::OtherDomain(domain.trim().to_owned())),
            Ok(_) => {}
            Err(_) => {
                make_private_dir(&dir.join("ca"))?;
                write(&path, &format!("{trust_domain}\n"), 0o644)?;
            }
        }
        for authority in [Authority::Clients, Authority::Peers] {
            if !ca.root_path(authority).exists() {
                ca.make_root(authority)?;
            }
        }
        Ok(ca)
    }

    /// The trust domain of its identities.
    pub fn trust_domain(&self) -> &str {
        &self.trust_domain
    }

    /// The SPIFFE id of a path in this authority's trust domain.
    pub fn spiffe_id(&self, path: &str) -> String {
        format!("spiffe://{}/{path}", self.trust_domain)
    }

    /// The certificate of an authority.
    pub fn root_path(&self, authority: Authority) -> PathBuf {
        self.dir.join("ca").join(format!("{}.pem", authority.name()))
    }

    /// Issues (or issues again) the identity of a caller: `identities/NAME`, SPIFFE path `PATH`.
    pub fn issue_identity(&self, name: &str, path: &str) -> Result<Pems, Error> {
        let subject = Subject { uris: vec![self.spiffe_id(path)], ..Subject::default() };
        self.issue(Authority::Clients, &self.dir.join("identities").join(name), "cert", &subject)
    }

    /// Issues both certificates of a node: (client listener, peer listener).
    pub fn issue_node(&self, name: &str, hosts: &[String]) -> Result<(Pems, Pems), Error> {
        let subject = Subject {
            uris: vec![self.spiffe_id(&format!("node/{name}"))],
            hosts: hosts.to_vec(),
            ..Subject::default()
        };
        let dir = self.dir.join("nodes").join(name);
        Ok((
            self.issue(Authority::Clients, &dir, "server", &subject)?,
            self.issue(Authority::Peers, &dir, "peer", &subject)?,
        ))
    }

    /// Issues one certificate into `dir/STEM.pem` and `dir/STEM.key.pem`.
    pub fn issue(&self, authority: Authority, dir: &Path, stem: &str, subject: &Subject) -> Result<Pems, Error> {
        make_private_dir(dir)?;
        let key = KeyPair::generate()?;
        let certificate = leaf_params(subject)?.signed_by(&key, &self.issuer(authority)?)?;
        let pems = Pems {
            certificate: dir.join(format!("{stem}.pem")),
            key: dir.join(format!("{stem}.key.pem")),
            authority: self.root_path(authority),
        };
        // The key first: whoever watches the certificate file then finds a pair that fits.
        write(&pems.key, &key.serialize_pem(), 0o600)?;
        write(&pems.certificate, &certificate.pem(), 0o644)?;
        Ok(pems)
    }

    /// A list (PEM) that revokes these certificates, good for a day.
    ///
    /// # Errors
    /// When a file holds no certificate.
    pub fn revocation_list(&self, authority: Authority, certificates: &[&Path]) -> Result<String, Error> {
        let now = SystemTime::now();
        let revoked = |path: &&Path| -> Result<RevokedCertParams, Error> {
            let unusable = |_| Error::Certificate(rcgen::Error::CouldNotParseCertificate);
            let der = CertificateDer::from_pem_slice(read(path)?.as_bytes()).map_err(unusable)?;
            let (_, certificate) = X509Certificate::from_der(&der)
                .map_err(|_| Error::Certificate(rcgen::Error::CouldNotParseCertificate))?;
            Ok(RevokedCertParams {
                serial_number: SerialNumber::from_slice(certificate.raw_serial()),
                revocation_time: now.into(),
                reason_code: None,
                invalidity_date: None,
            })
        };
        let params = CertificateRevocationListParams {
            this_update: now.into(),
            next_update: (now + Duration::from_secs(86_400)).into(),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: certificates.iter().map(revoked).collect::<Result<_, _>>()?,
            key_identifier_method: KeyIdMethod::Sha256,
        };
        Ok(params.signed_by(&self.issuer(authority)?)?.pem()?)
    }

    fn issuer(&self, authority: Authority) -> Result<Issuer<'static, KeyPair>, Error> {
        let key = KeyPair::from_pem(&read(&self.dir.join("ca").join(format!("{}.key.pem", authority.name())))?)?;
        Ok(Issuer::from_ca_cert_pem(&read(&self.root_path(authority))?, key)?)
    }

    fn make_root(&self, authority: Authority) -> Result<(), Error> {
        let dir = self.dir.join("ca");
        make_private_dir(&dir)?;
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name = common_name(&format!("fuda development {}", authority.name()));
        set_validity(&mut params, 0);
        let certificate = params.self_signed(&key)?;
        write(&dir.join(format!("{}.key.pem", authority.name())), &key.serialize_pem(), 0o600)?;
        write(&self.root_path(authority), &certificate.pem(), 0o644)
    }
}

fn leaf_params(subject: &Subject) -> Result<CertificateParams, Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name("fuda development");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
    set_validity(&mut params, subject.shift_days);
    if let Some(lifetime) = subject.lifetime {
        params.not_after = (SystemTime::now() + lifetime).into();
    }
    for uri in &subject.uris {
        params.subject_alt_names.push(SanType::URI(Ia5String::try_from(uri.as_str())?));
    }
    for host in &subject.hosts {
        params.subject_alt_names.push(match host.parse::<IpAddr>() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(Ia5String::try_from(host.as_str())?),
        });
    }
    Ok(params)
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

/// Valid from an hour ago (clocks of a laptop and a container differ) for [`VALIDITY_DAYS`].
fn set_validity(params: &mut CertificateParams, shift_days: i64) {
    const DAY: Duration = Duration::from_secs(86_400);
    let shift = DAY * u32::try_from(shift_days.unsigned_abs()).unwrap_or(u32::MAX);
    let now = if shift_days < 0 { SystemTime::now() - shift } else { SystemTime::now() + shift };
    let not_before = now - Duration::from_secs(3_600);
    params.not_before = not_before.into();
    params.not_after = (not_before + DAY * u32::try_from(VALIDITY_DAYS).unwrap_or(u32::MAX)).into();
}

fn make_private_dir(dir: &Path) -> Result<(), Error> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|source| Error::File { path: dir.to_path_buf(), source })
}

fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|source| Error::File { path: path.to_path_buf(), source })
}

/// Writes beside the file and renames, so that a watcher never reads half a certificate.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), Error> {
    let beside = path.with_extension("tmp");
    let attempt = || -> std::io::Result<()> {
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    attempt().map_err(|source| Error::File { path: path.to_path_buf(), source })
}
