//! Who a certificate says it is: exactly one SPIFFE id in exactly one URI name.

use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuda_core::ids::CallerId;
use rustls_pki_types::CertificateDer;
use thiserror::Error;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

/// Why a certificate names no caller. The names inside it are not repeated: they come from the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum IdentityError {
    /// Not a certificate.
    #[error("certificate cannot be parsed")]
    Malformed,
    /// No URI name at all.
    #[error("certificate has no URI name")]
    NoUriName,
    /// More than one URI name: the SPIFFE rules forbid choosing.
    #[error("certificate has more than one URI name")]
    SeveralUriNames,
    /// The URI name is not a SPIFFE id.
    #[error("the URI name of the certificate is not a SPIFFE id")]
    NotSpiffe,
}

/// What a verified certificate says about the other side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerIdentity {
    /// Its SPIFFE id.
    pub caller: CallerId,
    /// When the certificate ends.
    pub not_after: SystemTime,
    /// Its issuer's name, as DER.
    pub issuer: Vec<u8>,
    /// Its serial number, big endian without leading zeros.
    pub serial: Vec<u8>,
}

impl PeerIdentity {
    /// Reads the identity out of an end-entity certificate that was already verified to chain to an authority.
    /// DNS names and others may be present; they identify nobody.
    ///
    /// # Errors
    /// Unless there is exactly one URI name and it is a SPIFFE id.
    pub fn from_certificate(certificate: &CertificateDer<'_>) -> Result<Self, IdentityError> {
        let certificate = parse(certificate)?;
        let names = certificate.subject_alternative_name().map_err(|_| IdentityError::Malformed)?;
        let mut uris = names.iter().flat_map(|names| &names.value.general_names).filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        });
        let uri = uris.next().ok_or(IdentityError::NoUriName)?;
        if uris.next().is_some() {
            return Err(IdentityError::SeveralUriNames);
        }
        // A URI of another form of caller id (`oidc:…`) would let an authority of certificates name a person.
        let caller = CallerId::parse(uri).ok().filter(CallerId::is_spiffe).ok_or(IdentityError::NotSpiffe)?;
        let (issuer, serial) = (certificate.issuer().as_raw().to_vec(), serial_of(certificate.raw_serial()));
        Ok(Self { caller, not_after: end_of(&certificate)?, issuer, serial })
    }
}

/// When a certificate ends, also for one that names nobody (a DNS-only client certificate towards a collector).
pub(super) fn not_after(certificate: &CertificateDer<'_>) -> Result<SystemTime, IdentityError> {
    end_of(&parse(certificate)?)
}

/// The number without the zero bytes that only say it is positive.
pub(crate) fn serial_of(raw: &[u8]) -> Vec<u8> {
    raw.iter().copied().skip_while(|byte| *byte == 0).collect()
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, IdentityError> {
    let (rest, certificate) = X509Certificate::from_der(certificate).map_err(|_| IdentityError::Malformed)?;
    if rest.is_empty() { Ok(certificate) } else { Err(IdentityError::Malformed) }
}

fn end_of(certificate: &X509Certificate<'_>) -> Result<SystemTime, IdentityError> {
    let seconds = u64::try_from(certificate.validity().not_after.timestamp()).map_err(|_| IdentityError::Malformed)?;
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).ok_or(IdentityError::Malformed)
}

/// Whom an outgoing connection accepts on the other side.
#[derive(Clone, Debug)]
pub enum SpiffeMatcher {
    /// This one peer.
    Exact(CallerId),
    /// Any of these peers, for calls that any node may serve.
    AnyOf(BTreeSet<CallerId>),
    /// Any peer of this trust domain whose path is `path` or lies below it, for clients that know no node by name.
    Under {
        /// `example.org`.
        trust_domain: String,
        /// Without a slash at either end, `fuda/vault`.
        path: String,
    },
}

/// Whom it names, for messages.
impl fmt::Display for SpiffeMatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(caller) => write!(f, "{caller}"),
            Self::AnyOf(callers) => write!(f, "one of {} named identities", callers.len()),
            Self::Under { trust_domain, path } => write!(f, "spiffe://{trust_domain}/{path}/…"),
        }
    }
}

impl SpiffeMatcher {
    /// Whether `caller` is accepted.
    #[must_use]
    pub fn matches(&self, caller: &CallerId) -> bool {
        match self {
            Self::Exact(expected) => expected == caller,
            Self::AnyOf(expected) => expected.contains(caller),
            Self::Under { trust_domain, path } => {
                let below = caller.path().strip_prefix(path.as_str());
                caller.trust_domain() == trust_domain
                    && below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(text: &str) -> CallerId {
        CallerId::parse(text).unwrap()
    }

    #[test]
    fn matchers_accept_whom_they_name_and_nobody_else() {
        let (one, two) = (caller("spiffe://example.org/fuda/vault/1"), caller("spiffe://example.org/fuda/vault/2"));
        let exact = SpiffeMatcher::Exact(one.clone());
        assert!(exact.matches(&one) && !exact.matches(&two));
        let any = SpiffeMatcher::AnyOf(BTreeSet::from([one.clone()]));
        assert!(any.matches(&one) && !any.matches(&two));

        let under = SpiffeMatcher::Under { trust_domain: "example.org".to_owned(), path: "fuda/vault".to_owned() };
        assert!(under.matches(&one) && under.matches(&caller("spiffe://example.org/fuda/vault")));
        for other in ["spiffe://example.org/fuda/vault2", "spiffe://example.com/fuda/vault/1", "spiffe://example.org/x"]
        {
            assert!(!under.matches(&caller(other)), "{other}");
        }
    }
}
