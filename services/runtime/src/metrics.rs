//! Every instrument of this crate, with unit and attribute values.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Meter};

/// `fuda.certificate.*`: attributes `certificate` (the role given at load) and `result` (`changed`, `failed`).
pub(crate) struct CertificateMetrics {
    not_after_unix_seconds: Arc<AtomicI64>,
    reloads: Counter<u64>,
    changed: [KeyValue; 2],
    failed: [KeyValue; 2],
}

impl CertificateMetrics {
    pub(crate) fn new(meter: &Meter, role: &'static str) -> Self {
        let not_after_unix_seconds = Arc::new(AtomicI64::new(0));
        let observed = Arc::clone(&not_after_unix_seconds);
        let attributes = [KeyValue::new("certificate", role)];
        // The provider keeps the callback; the returned handle has nothing more to do.
        let _registered = meter
            .i64_observable_gauge("fuda.certificate.not_after")
            .with_unit("s")
            .with_description("When our certificate expires, in seconds since 1970")
            .with_callback(move |observer| observer.observe(observed.load(Ordering::Relaxed), &attributes))
            .build();
        let result = |value| [KeyValue::new("certificate", role), KeyValue::new("result", value)];
        Self {
            not_after_unix_seconds,
            reloads: meter
                .u64_counter("fuda.certificate.reloads")
                .with_description("Certificate files that changed, by whether they could be used")
                .build(),
            changed: result("changed"),
            failed: result("failed"),
        }
    }

    pub(crate) fn loaded(&self, not_after: SystemTime) {
        let seconds = not_after.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        self.not_after_unix_seconds.store(i64::try_from(seconds).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    pub(crate) fn reload_changed(&self) {
        self.reloads.add(1, &self.changed);
    }

    pub(crate) fn reload_failed(&self) {
        self.reloads.add(1, &self.failed);
    }
}

/// Why a connection was not served: the `reason` of `fuda.listener.refusals`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// `connections_max` of the listener are open.
    ConnectionLimit,
    /// The handshake took longer than allowed.
    HandshakeTimeout,
    /// Not TLS, no certificate, wrong authority, expired, …
    Handshake,
    /// The certificate does not name exactly one caller.
    Identity,
    /// The certificate or its caller is revoked.
    Revoked,
    /// `accept` failed, for example for lack of file descriptors.
    Accept,
}

impl Refusal {
    const ALL: [Self; 6] =
        [Self::ConnectionLimit, Self::HandshakeTimeout, Self::Handshake, Self::Identity, Self::Revoked, Self::Accept];

    fn name(self) -> &'static str {
        match self {
            Self::ConnectionLimit => "connection_limit",
            Self::HandshakeTimeout => "handshake_timeout",
            Self::Handshake => "handshake",
            Self::Identity => "identity",
            Self::Revoked => "revoked",
            Self::Accept => "accept",
        }
    }
}

/// `fuda.listener.*`: attributes `listener` (its name) and `reason`.
pub(crate) struct ListenerMetrics {
    accepted: Counter<u64>,
    accepted_attributes: [KeyValue; 1],
    refusals: Counter<u64>,
    refusal_attributes: Vec<(Refusal, [KeyValue; 2])>,
    open: Arc<AtomicI64>,
}

impl ListenerMetrics {
    pub(crate) fn new(meter: &Meter, listener: &'static str) -> Arc<Self> {
        let open = Arc::new(AtomicI64::new(0));
        let observed = Arc::clone(&open);
        let attributes = [KeyValue::new("listener", listener)];
        let _registered = meter
            .i64_observable_up_down_counter("fuda.listener.connections")
            .with_description("Open connections, handshakes included")
            .with_callback(move |observer| observer.observe(observed.load(Ordering::Relaxed), &attributes))
            .build();
        let reason = |refusal: Refusal| [KeyValue::new("listener", listener), KeyValue::new("reason", refusal.name())];
        Arc::new(Self {
            accepted: meter
                .u64_counter("fuda.listener.handshakes")
                .with_description("Connections whose caller was established")
                .build(),
            accepted_attributes: [KeyValue::new("listener", listener)],
            refusals: meter
                .u64_counter("fuda.listener.refusals")
                .with_description("Connections not served, by reason")
                .build(),
            refusal_attributes: Refusal::ALL.iter().map(|refusal| (*refusal, reason(*refusal))).collect(),
            open,
        })
    }

    pub(crate) fn accepted(&self) {
        self.accepted.add(1, &self.accepted_attributes);
    }

    pub(crate) fn refused(&self, refusal: Refusal) {
        if let Some((_, attributes)) = self.refusal_attributes.iter().find(|(known, _)| *known == refusal) {
            self.refusals.add(1, attributes);
        }
    }

    /// Counts a connection as open until the returned value is dropped.
    pub(crate) fn opened(&self) -> OpenConnection {
        self.open.fetch_add(1, Ordering::Relaxed);
        OpenConnection { open: Arc::clone(&self.open) }
    }
}

/// One open connection of a listener's gauge.
pub(crate) struct OpenConnection {
    open: Arc<AtomicI64>,
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}
