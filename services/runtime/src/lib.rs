//! The server chassis every Fuda process stands on.
//!
//! It knows callers and error codes (`fuda-core`) and nothing else of the domain. What a binary takes from here, in
//! the order it takes it:
//!
//! 1. [`process::harden`] before anything secret is in memory,
//! 2. [`config::load`] for its settings,
//! 3. [`telemetry::Telemetry::init`] for logs, traces and metrics,
//! 4. [`tls::ServerTls`] and [`tls::ClientTls`] for certificates that reload while the process runs,
//! 5. [`listener::TlsListener`] with [`layer::CallLayer`] and [`layer::AdmissionLayer`] in front of its services,
//! 6. [`ops::OpsServer`] for `/metrics`, `/livez`, `/readyz`,
//! 7. [`shutdown`] to stop in order.

pub mod config;
pub mod dev_ca;
pub mod dev_issuer;
pub mod fetch;
pub mod health;
pub mod key_source;
pub mod layer;
pub mod listener;
mod metrics;
pub mod ops;
pub mod process;
pub mod refusal;
pub mod revocation;
pub mod shutdown;
pub mod socket;
pub mod telemetry;
pub mod tls;
pub mod webhook;

#[cfg(test)]
mod testing;
