//! Test aids and planted bugs, compiled only with the feature `failpoints`, which no shipped binary has. This is the one
//! place that reads their environment variables.

use std::time::Duration;

/// Found in every binary built with this feature, so that a shipped binary can be checked to lack it.
pub(super) const MARKER: &str = "FUDA-FAILPOINTS-COMPILED-IN";

/// Holds every fsync of the log by this many milliseconds.
const FSYNC_DELAY: &str = "FUDA_FAIL_FSYNC_DELAY_MS";
/// Flushes the state after every apply.
const FLUSH_STATE: &str = "FUDA_FAIL_FLUSH_STATE";
/// Plants a bug: `ack-before-fsync`, `apply-ahead`, `ack-local`, `budget-forgotten`, `brakes-forgotten` or
/// `believe-witness`; the vault knows others.
const MUTANT: &str = "FUDA_MUTANT";

/// The aids in force, read once when a log is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Failpoints {
    /// How long every fsync of the log is held.
    pub(super) fsync_delay: Duration,
    /// Planted bug: a write is reported durable before its fsync.
    pub(super) ack_before_fsync: bool,
    /// Planted bug: entries are applied before the local log is durable through them.
    pub(super) apply_ahead: bool,
}

impl Failpoints {
    pub(super) fn from_env() -> Self {
        let points = Self::parse(std::env::var(FSYNC_DELAY).ok().as_deref(), std::env::var(MUTANT).ok().as_deref());
        tracing::warn!(marker = MARKER, ?points, "this binary has failpoints; it must not hold real data");
        points
    }

    fn parse(fsync_delay_ms: Option<&str>, mutant: Option<&str>) -> Self {
        Self {
            fsync_delay: Duration::from_millis(fsync_delay_ms.and_then(|ms| ms.parse().ok()).unwrap_or(0)),
            ack_before_fsync: mutant == Some("ack-before-fsync"),
            apply_ahead: mutant == Some("apply-ahead"),
        }
    }
}

/// Aid: every apply is flushed to disk at once, so that a state ahead of its log is there to be seen after a power cut.
pub(crate) fn flush_state() -> bool {
    std::env::var_os(FLUSH_STATE).is_some()
}

/// Planted bug: a leader acknowledges what only itself has written.
pub(crate) fn ack_local() -> bool {
    std::env::var(MUTANT).is_ok_and(|mutant| mutant == "ack-local")
}

/// Planted bug: persons counted in budgets are forgotten whenever a leader takes over.
pub(crate) fn budget_forgotten() -> bool {
    std::env::var(MUTANT).is_ok_and(|mutant| mutant == "budget-forgotten")
}

/// Planted bug: canary tokens and counted denials are forgotten whenever a leader takes over.
pub(crate) fn brakes_forgotten() -> bool {
    std::env::var(MUTANT).is_ok_and(|mutant| mutant == "brakes-forgotten")
}

/// Planted bug: whoever claims to be a witness is believed.
pub(crate) fn believe_witness() -> bool {
    std::env::var(MUTANT).is_ok_and(|mutant| mutant == "believe-witness")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aids_are_off_unless_asked_for() {
        assert_eq!(Failpoints::parse(None, None), Failpoints::default());
        assert_eq!(Failpoints::parse(Some("x"), Some("other")), Failpoints::default());
        let points = Failpoints::parse(Some("20"), Some("ack-before-fsync"));
        assert_eq!((points.fsync_delay, points.ack_before_fsync), (Duration::from_millis(20), true));
        assert!(Failpoints::parse(None, Some("apply-ahead")).apply_ahead);
    }
}
