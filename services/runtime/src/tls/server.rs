//! The accepting side: a client certificate is required, or checked when there is one.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use opentelemetry::metrics::Meter;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::version::TLS13;
use rustls::{RootCertStore, ServerConfig};

use super::domains::ByTrustDomain;
use super::material::{Material, MaterialStore};
use super::reloading::Reloading;
use super::{ALPN_H2, ALPN_HTTP1, TlsError, TlsPaths, provider};

/// TLS for a listener.
pub type ServerTls = Reloading<Arc<ServerConfig>>;

impl ServerTls {
    /// Reads the files. `role` names the certificate in logs and metrics (`clients`, `peers`).
    ///
    /// # Errors
    /// When a file is missing or unusable, or our certificate has expired.
    pub fn load(paths: &TlsPaths, role: &'static str, meter: &Meter) -> Result<Self, TlsError> {
        let store = MaterialStore::load(paths, role, meter, |material| server_config(material, false, &[], ALPN_H2))?;
        Ok(Self { store: Arc::new(store) })
    }

    /// As [`ServerTls::load`], for a listener that speaks HTTP/1.1 to browsers. With `without_certificate` a browser may come
    /// without one, and whoever serves it must have another proof of identity.
    ///
    /// # Errors
    /// As [`ServerTls::load`].
    pub fn load_for_browsers(
        paths: &TlsPaths,
        without_certificate: bool,
        role: &'static str,
        meter: &Meter,
    ) -> Result<Self, TlsError> {
        let build = move |material| server_config(material, without_certificate, &[], ALPN_HTTP1);
        Ok(Self { store: Arc::new(MaterialStore::load(paths, role, meter, build)?) })
    }

    /// As [`ServerTls::load`], with other rules for callers.
    ///
    /// # Errors
    /// As [`ServerTls::load`]; also when trust domains are named and our own certificate carries no SPIFFE id, since
    /// nobody could say whose callers `authorities_file` is for.
    pub fn load_for(
        paths: &TlsPaths,
        clients: &ClientAuth,
        role: &'static str,
        meter: &Meter,
    ) -> Result<Self, TlsError> {
        let (without_certificate, names) = (clients.without_certificate, clients.names());
        let bundles = clients.trust_domains.iter().map(|domain| domain.authorities_file.clone()).collect();
        let build = move |material| server_config(material, without_certificate, &names, ALPN_H2);
        Ok(Self { store: Arc::new(MaterialStore::load_with(paths, bundles, role, meter, build)?) })
    }

    /// The configuration for the next handshake.
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.store.current().value)
    }
}

/// What callers must show.
#[derive(Clone, Debug, Default)]
pub struct ClientAuth {
    /// Whether a caller may come without a certificate. Whoever serves it must then have another proof of identity; a
    /// certificate that is shown must be good all the same.
    pub without_certificate: bool,
    /// Trust domains beside our own. With any of them, an authority is believed about its own domain only.
    pub trust_domains: Vec<TrustDomain>,
}

/// A trust domain and its authorities.
#[derive(Clone, Debug)]
pub struct TrustDomain {
    /// `example.org`.
    pub name: String,
    /// Its authorities, PEM.
    pub authorities_file: PathBuf,
}

impl ClientAuth {
    fn names(&self) -> Vec<String> {
        self.trust_domains.iter().map(|domain| domain.name.clone()).collect()
    }
}

/// `names` are those of `material.bundles`, in order.
fn server_config(
    material: Material,
    without_certificate: bool,
    names: &[String],
    alpn: &[u8],
) -> Result<Arc<ServerConfig>, TlsError> {
    let verifier = |authorities: Arc<RootCertStore>| {
        let verifier = WebPkiClientVerifier::builder_with_provider(authorities, provider());
        let verifier = if without_certificate { verifier.allow_unauthenticated() } else { verifier };
        verifier.build().map_err(|error| TlsError::Verifier(error.to_string()))
    };
    let verifier: Arc<dyn ClientCertVerifier> = if names.is_empty() {
        verifier(material.authorities)?
    } else {
        let own = material.identity.as_ref().map(|identity| identity.caller.trust_domain().to_owned());
        let own = own.ok_or_else(|| TlsError::Verifier("our certificate names no trust domain".to_owned()))?;
        let mut domains = BTreeMap::from([(own, verifier(material.authorities)?)]);
        for (name, bundle) in names.iter().zip(material.bundles) {
            if domains.insert(name.clone(), verifier(bundle)?).is_some() {
                return Err(TlsError::Verifier(format!("the trust domain `{name}` is named twice")));
            }
        }
        Arc::new(ByTrustDomain::new(domains, without_certificate))
    };
    let key = Arc::unwrap_or_clone(material.certified);
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
    config.alpn_protocols = vec![alpn.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(Arc::new(config))
}
