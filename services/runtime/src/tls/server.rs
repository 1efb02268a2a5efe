//! The accepting side: a client certificate is required, or checked when there is one.

use std::sync::Arc;

use opentelemetry::metrics::Meter;
use rustls::ServerConfig;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::version::TLS13;

use super::material::{Material, MaterialStore};
use super::reloading::Reloading;
use super::{ALPN_H2, TlsError, TlsPaths, provider};

/// TLS for a listener.
pub type ServerTls = Reloading<Arc<ServerConfig>>;

impl ServerTls {
    /// Reads the files. `role` names the certificate in logs and metrics (`clients`, `peers`).
    ///
    /// # Errors
    /// When a file is missing or unusable, or our certificate has expired.
    pub fn load(paths: &TlsPaths, role: &'static str, meter: &Meter) -> Result<Self, TlsError> {
        let store = MaterialStore::load(paths, role, meter, |material| server_config(material, false))?;
        Ok(Self { store: Arc::new(store) })
    }

    /// As [`ServerTls::load`], but a caller may also come without a certificate. Whoever serves it must then have
    /// another proof of identity; one that shows a certificate must show a good one.
    ///
    /// # Errors
    /// As [`ServerTls::load`].
    pub fn load_optional(paths: &TlsPaths, role: &'static str, meter: &Meter) -> Result<Self, TlsError> {
        let store = MaterialStore::load(paths, role, meter, |material| server_config(material, true))?;
        Ok(Self { store: Arc::new(store) })
    }

    /// The configuration for the next handshake.
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.store.current().value)
    }
}

fn server_config(material: Material, without_certificate: bool) -> Result<Arc<ServerConfig>, TlsError> {
    let verifier = WebPkiClientVerifier::builder_with_provider(material.authorities, provider());
    let verifier = if without_certificate { verifier.allow_unauthenticated() } else { verifier };
    let verifier = verifier.build().map_err(|error| TlsError::Verifier(error.to_string()))?;
    let key = Arc::unwrap_or_clone(material.certified);
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
    config.alpn_protocols = vec![ALPN_H2.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(Arc::new(config))
}
