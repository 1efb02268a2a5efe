//! Whether this process should be sent calls, and if not, why.
//!
//! Components report; `/readyz`, gRPC health and systemd read. Reasons are fixed texts written by us, so that a
//! health page can never carry a caller's value.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

/// What is wrong, by component. Ready means: nothing is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    reasons: BTreeMap<&'static str, &'static str>,
}

impl Health {
    /// Whether calls should be sent here.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.reasons.is_empty()
    }

    /// Component → reason, in order of component.
    pub fn reasons(&self) -> impl Iterator<Item = (&'static str, &'static str)> + '_ {
        self.reasons.iter().map(|(component, reason)| (*component, *reason))
    }
}

/// The writing end of [`Health`]; cheap to clone, shared by all components of a process.
#[derive(Clone, Debug)]
pub struct HealthState {
    sender: Arc<watch::Sender<Health>>,
}

impl HealthState {
    /// Starts not ready, for a reason each of `components` has to clear with [`HealthState::ready`].
    #[must_use]
    pub fn starting(components: &[&'static str]) -> Self {
        let reasons = components.iter().map(|component| (*component, "starting")).collect();
        Self { sender: Arc::new(watch::Sender::new(Health { reasons })) }
    }

    /// `component` has nothing against calls (any more).
    pub fn ready(&self, component: &'static str) {
        self.sender.send_if_modified(|health| health.reasons.remove(component).is_some());
    }

    /// `component` wants no calls, for this fixed `reason`.
    pub fn not_ready(&self, component: &'static str, reason: &'static str) {
        self.sender.send_if_modified(|health| health.reasons.insert(component, reason) != Some(reason));
    }

    /// The reading end.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Health> {
        self.sender.subscribe()
    }

    /// What is wrong now.
    #[must_use]
    pub fn current(&self) -> Health {
        self.sender.borrow().clone()
    }
}

/// Keeps the `grpc.health.v1` service in step with `health` for `services` (fully qualified names) and for the
/// server as a whole (the empty name). Ends, with everything reported as not serving, when `shutdown` is cancelled
/// or the writing end is gone: load balancers then move away while the last calls finish.
pub async fn drive_grpc_health(
    mut health: watch::Receiver<Health>,
    reporter: HealthReporter,
    services: Vec<&'static str>,
    shutdown: CancellationToken,
) {
    loop {
        let ready = health.borrow_and_update().is_ready();
        report(&reporter, &services, if ready { ServingStatus::Serving } else { ServingStatus::NotServing }).await;
        tokio::select! {
            () = shutdown.cancelled() => break,
            changed = health.changed() => if changed.is_err() { break },
        }
    }
    report(&reporter, &services, ServingStatus::NotServing).await;
}

async fn report(reporter: &HealthReporter, services: &[&'static str], status: ServingStatus) {
    reporter.set_service_status("", status).await;
    for service in services {
        reporter.set_service_status(service, status).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_once_every_component_said_so() {
        let state = HealthState::starting(&["store", "consensus"]);
        assert!(!state.current().is_ready());

        state.ready("store");
        assert_eq!(state.current().reasons().collect::<Vec<_>>(), [("consensus", "starting")]);

        state.ready("consensus");
        assert!(state.current().is_ready());

        state.not_ready("clock", "more than 2 s from the majority");
        assert!(!state.current().is_ready());
    }

    #[test]
    fn repeating_the_same_state_wakes_nobody() {
        let state = HealthState::starting(&[]);
        let mut reader = state.subscribe();
        reader.mark_unchanged();
        state.ready("store");
        assert!(!reader.has_changed().unwrap());
        state.not_ready("store", "closed");
        assert!(reader.has_changed().unwrap());
        reader.mark_unchanged();
        state.not_ready("store", "closed");
        assert!(!reader.has_changed().unwrap());
    }
}
