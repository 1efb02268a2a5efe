//! Several trust domains on one listener: each has its own authorities, and an authority is believed about its own domain
//! only. Otherwise any of them could make certificates for the callers of all others.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};

use super::identity::PeerIdentity;
use super::provider;

/// Chooses the verifier by the trust domain that the certificate names; the chosen one then checks everything.
#[derive(Debug)]
pub(super) struct ByTrustDomain {
    domains: BTreeMap<String, Arc<dyn ClientCertVerifier>>,
    hints: Vec<DistinguishedName>,
    without_certificate: bool,
}

impl ByTrustDomain {
    pub(super) fn new(domains: BTreeMap<String, Arc<dyn ClientCertVerifier>>, without_certificate: bool) -> Self {
        let hints = domains.values().flat_map(|verifier| verifier.root_hint_subjects().to_vec()).collect();
        Self { domains, hints, without_certificate }
    }
}

impl ClientCertVerifier for ByTrustDomain {
    fn client_auth_mandatory(&self) -> bool {
        !self.without_certificate
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let refused = || rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let identity = PeerIdentity::from_certificate(end_entity).map_err(|_| refused())?;
        let verifier = self.domains.get(identity.caller.trust_domain()).ok_or_else(refused)?;
        verifier.verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose, SanType};
    use rustls::RootCertStore;
    use rustls::server::WebPkiClientVerifier;

    use super::*;

    type Authority = CertifiedIssuer<'static, KeyPair>;

    fn authority() -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    fn verifier(authority: &Authority) -> Arc<dyn ClientCertVerifier> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(authority.der().to_vec())).unwrap();
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).build().unwrap()
    }

    fn leaf(authority: &Authority, uri: &str) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
        params.signed_by(&KeyPair::generate().unwrap(), authority).unwrap().der().clone()
    }

    #[test]
    fn an_authority_makes_callers_of_its_own_domain_only() {
        let (one, two) = (authority(), authority());
        let domains =
            BTreeMap::from([("one.test".to_owned(), verifier(&one)), ("two.test".to_owned(), verifier(&two))]);
        let both = ByTrustDomain::new(domains, false);
        assert!(both.client_auth_mandatory());
        assert_eq!(both.root_hint_subjects().len(), 2);
        let accepts = |authority: &Authority, uri: &str| {
            both.verify_client_cert(&leaf(authority, uri), &[], UnixTime::now()).is_ok()
        };
        assert!(accepts(&one, "spiffe://one.test/a") && accepts(&two, "spiffe://two.test/a"));
        assert!(!accepts(&one, "spiffe://two.test/a"), "an authority of another domain");
        assert!(!accepts(&one, "spiffe://three.test/a"), "a domain nobody named");
        assert!(!accepts(&one, "https://one.test/a"));
        assert!(!accepts(&one, "oidc:corp/alice"));
    }
}
