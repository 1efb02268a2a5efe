//! The accepting side: a client certificate is always required.

use std::sync::Arc;
use std::time::SystemTime;

use fuda_core::ids::CallerId;
use opentelemetry::metrics::Meter;
use rustls::ServerConfig;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::version::TLS13;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::material::{Material, MaterialStore};
use super::{ALPN_H2, TlsError, TlsPaths, provider, watch};

/// TLS for a listener. Every handshake uses the newest usable certificate; connections made with an older one go on.
pub struct ServerTls {
    store: MaterialStore<Arc<ServerConfig>>,
}

impl ServerTls {
    /// Reads the files. `role` names the certificate in logs and metrics (`clients`, `peers`).
    ///
    /// # Errors
    /// When a file is missing or unusable, or our certificate has expired.
    pub fn load(paths: &TlsPaths, role: &'static str, meter: &Meter) -> Result<Self, TlsError> {
        Ok(Self { store: MaterialStore::load(paths, role, meter, server_config)? })
    }

    /// The configuration for the next handshake.
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.store.current().value)
    }

    /// Who we are to callers, if our certificate carries a SPIFFE id.
    #[must_use]
    pub fn own_identity(&self) -> Option<CallerId> {
        self.store.current().identity.as_ref().map(|identity| identity.caller.clone())
    }

    /// When our certificate ends.
    #[must_use]
    pub fn not_after(&self) -> SystemTime {
        self.store.current().not_after
    }

    /// Reads the files again now; `Ok(true)` when they changed and are in use. Blocking, a few small files.
    ///
    /// # Errors
    /// As [`ServerTls::load`]; the old certificate then stays in use.
    pub fn reload(&self) -> Result<bool, TlsError> {
        self.store.reload()
    }

    /// Reloads by itself when the files change, until `shutdown`.
    pub fn watch(self: &Arc<Self>, shutdown: CancellationToken) -> JoinHandle<()> {
        let tls = Arc::clone(self);
        watch::spawn(self.store.directories(), watch::POLL_INTERVAL, move || tls.store.reload_and_log(), shutdown)
    }
}

impl std::fmt::Debug for ServerTls {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("ServerTls").field("not_after", &self.not_after()).finish_non_exhaustive()
    }
}

fn server_config(material: Material) -> Result<Arc<ServerConfig>, TlsError> {
    let verifier = WebPkiClientVerifier::builder_with_provider(material.authorities, provider())
        .build()
        .map_err(|error| TlsError::Verifier(error.to_string()))?;
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
