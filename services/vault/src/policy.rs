//! The policy this node decides by: rebuilt from replicated state whenever apply says that it moved.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use fuda_core::PolicyVersion;
use fuda_policy::Policy;
use fuda_state::reader;
use fuda_storage::Store;
use tokio::sync::watch;

use crate::shadow::Shadow;

/// How long a call waits for this node's policy to catch up with the one that refused it, in milliseconds.
const WAIT_MS_MAX: u64 = 2_000;

/// The current policy; cheap to read on every call.
#[derive(Clone)]
pub(crate) struct PolicyCell {
    current: Arc<ArcSwap<Policy>>,
    version: watch::Sender<PolicyVersion>,
    shadow: Arc<Shadow>,
}

/// The policy did not catch up in time.
#[derive(Debug)]
pub(crate) struct Behind;

impl PolicyCell {
    /// The policy before bootstrap: only bootstrap itself is permitted.
    pub(crate) fn unbootstrapped() -> Self {
        Self {
            current: Arc::new(ArcSwap::from_pointee(Policy::unbootstrapped())),
            version: watch::Sender::new(PolicyVersion(0)),
            shadow: Arc::default(),
        }
    }

    /// The policy to decide one call by.
    pub(crate) fn load(&self) -> Arc<Policy> {
        self.current.load_full()
    }

    /// The candidate beside it.
    pub(crate) fn shadow(&self) -> &Shadow {
        &self.shadow
    }

    /// Follows the version in force.
    pub(crate) fn watch(&self) -> watch::Receiver<PolicyVersion> {
        self.version.subscribe()
    }

    /// Builds the policy that the state now holds. The state was validated in apply, so a failure is a bug.
    pub(crate) fn rebuild(&self, store: &Store) -> anyhow::Result<()> {
        let Some(data) = reader::policy_data(store)? else { return Ok(()) };
        let version = data.version;
        if version <= *self.version.borrow() {
            return Ok(());
        }
        let policy = self.load().rebuild(data)?;
        let candidate = reader::policy_candidate(store)?.map(|row| row.text);
        if let Err(error) = self.shadow.follow(&policy, candidate.as_deref()) {
            // A candidate answers nobody, so that it can stop nothing either.
            tracing::warn!(%error, "the candidate policy cannot be built");
        }
        self.current.store(Arc::new(policy));
        self.version.send_replace(version);
        tracing::info!(version = version.0, "policy in force");
        Ok(())
    }

    /// Waits until the policy is at least `version`.
    pub(crate) async fn wait_for(&self, version: PolicyVersion) -> Result<(), Behind> {
        let mut changes = self.version.subscribe();
        let wait = changes.wait_for(|current| *current >= version);
        match tokio::time::timeout(Duration::from_millis(WAIT_MS_MAX), wait).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Behind),
        }
    }
}
