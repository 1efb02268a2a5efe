//! The candidate policy text, evaluated beside the one in force. It answers nobody: it only counts and remembers where
//! it would have decided otherwise.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use fuda_core::{CallerId, PurposeCode, TenantId, Timestamp};
use fuda_policy::{Action, DenyReason, Policy, RecordFacts, Request, Share};
use fuda_state::command::propose_policy::digest;
use parking_lot::Mutex;

/// Differences that one node remembers.
const DIFFERENCES_MAX: usize = 256;

/// What stands for a decision that allows.
const ALLOWED: &str = "allowed";

/// The candidate of one node and what it found.
#[derive(Default)]
pub(crate) struct Shadow {
    candidate: ArcSwapOption<Candidate>,
    compared: AtomicU64,
    differing: AtomicU64,
    newest: Mutex<VecDeque<Difference>>,
}

struct Candidate {
    policy: Policy,
    digest: String,
}

/// A call that the candidate would have decided otherwise. No subject, no record, no token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) time: Timestamp,
    pub(crate) action: Action,
    pub(crate) caller: CallerId,
    pub(crate) tenant: Option<TenantId>,
    pub(crate) purpose: Option<PurposeCode>,
    pub(crate) active: &'static str,
    pub(crate) candidate: &'static str,
}

/// What [`Shadow::report`] tells.
pub(crate) struct Report {
    /// Of the candidate; `None` without one.
    pub(crate) digest: Option<String>,
    pub(crate) compared: u64,
    pub(crate) differing: u64,
    /// Newest first.
    pub(crate) differences: Vec<Difference>,
}

impl Shadow {
    /// Follows the candidate that the state now holds; another text starts the count anew.
    pub(crate) fn follow(&self, active: &Policy, text: Option<&str>) -> Result<(), fuda_policy::Error> {
        let Some(text) = text else {
            self.candidate.store(None);
            return Ok(());
        };
        let digest = digest(text);
        let same = self.candidate.load().as_ref().is_some_and(|candidate| candidate.digest == digest);
        let policy = active.under(text)?;
        if !same {
            self.compared.store(0, Ordering::Relaxed);
            self.differing.store(0, Ordering::Relaxed);
            self.newest.lock().clear();
        }
        self.candidate.store(Some(Arc::new(Candidate { policy, digest })));
        Ok(())
    }

    /// Compares the decision on a call without records.
    pub(crate) fn compare(&self, request: &Request, now: Timestamp, active: Result<(), DenyReason>) {
        if let Some(candidate) = self.candidate.load().as_ref() {
            let other = candidate.policy.decide(request, now).map(|_| ()).map_err(|denial| denial.reason());
            self.note(request, now, active, other);
        }
    }

    /// Compares the decisions on the records of a call.
    pub(crate) fn compare_records(
        &self,
        request: &Request,
        records: &[Option<RecordFacts<'_>>],
        now: Timestamp,
        active: &[Share],
    ) {
        if let Some(candidate) = self.candidate.load().as_ref() {
            let other = verdicts(&candidate.policy.decide_records(request, records, now), records.len());
            for (active, other) in verdicts(active, records.len()).into_iter().zip(other) {
                self.note(request, now, active, other);
            }
        }
    }

    /// Decisions compared, and how many differed, since the candidate was set.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.compared.load(Ordering::Relaxed), self.differing.load(Ordering::Relaxed))
    }

    /// What was found so far.
    pub(crate) fn report(&self) -> Report {
        let (compared, differing) = self.counts();
        Report {
            digest: self.candidate.load().as_ref().map(|candidate| candidate.digest.clone()),
            compared,
            differing,
            differences: self.newest.lock().iter().rev().cloned().collect(),
        }
    }

    fn note(&self, request: &Request, now: Timestamp, active: Result<(), DenyReason>, other: Result<(), DenyReason>) {
        self.compared.fetch_add(1, Ordering::Relaxed);
        if active.is_ok() == other.is_ok() {
            return;
        }
        self.differing.fetch_add(1, Ordering::Relaxed);
        let code = |decided: Result<(), DenyReason>| decided.map_or_else(DenyReason::code, |()| ALLOWED);
        let mut newest = self.newest.lock();
        if newest.len() >= DIFFERENCES_MAX {
            newest.pop_front();
        }
        newest.push_back(Difference {
            time: now,
            action: request.action,
            caller: request.caller.clone(),
            tenant: request.tenant.clone(),
            purpose: request.purpose.clone(),
            active: code(active),
            candidate: code(other),
        });
    }
}

fn verdicts(shares: &[Share], records: usize) -> Vec<Result<(), DenyReason>> {
    let mut verdicts = vec![Err(DenyReason::NoGrant); records];
    for (place, verdict) in shares.iter().flat_map(|share| &share.items) {
        if let Some(slot) = verdicts.get_mut(*place) {
            *slot = *verdict;
        }
    }
    verdicts
}

#[cfg(test)]
mod tests {
    use fuda_core::Catalogue;
    use fuda_policy::{PolicyData, samples};

    use super::*;

    const NOW: Timestamp = Timestamp(1_795_322_700_000);

    fn active() -> Policy {
        let catalogue = Catalogue::from_toml(Catalogue::default_text()).unwrap();
        Policy::build(PolicyData { ..samples::policy_data(catalogue, Timestamp::EPOCH).unwrap() }).unwrap()
    }

    fn describe() -> Request {
        let tenant = TenantId::parse(samples::TENANT).unwrap();
        Request::tenant(Action::GetRecord, samples::caller(samples::HR).unwrap(), tenant)
    }

    #[test]
    fn a_candidate_only_counts_and_remembers() {
        let (policy, shadow, request) = (active(), Shadow::default(), describe());
        let decide = || policy.decide(&request, NOW).map(|_| ()).map_err(|denial| denial.reason());
        // Phase 1: without a candidate nothing is compared.
        shadow.compare(&request, NOW, decide());
        assert_eq!((shadow.counts(), shadow.report().digest), ((0, 0), None));
        // Phase 2: the same text differs nowhere.
        shadow.follow(&policy, Some(Policy::DEFAULT_TEXT)).unwrap();
        shadow.compare(&request, NOW, decide());
        assert_eq!(shadow.counts(), (1, 0));
        // Phase 3: a text that forbids differs everywhere, and remembers a bounded number.
        let text = format!(
            "{}\n@id(\"no.reads\") forbid (principal, action == Action::\"get_record\", resource);",
            Policy::DEFAULT_TEXT
        );
        shadow.follow(&policy, Some(&text)).unwrap();
        for _ in 0..=DIFFERENCES_MAX {
            shadow.compare(&request, NOW, decide());
        }
        let report = shadow.report();
        assert_eq!((report.compared, report.differing), (257, 257));
        assert_eq!(report.differences.len(), DIFFERENCES_MAX);
        assert_eq!(
            report.differences.first().map(|it| (it.active, it.candidate)),
            Some(("allowed", "forbidden_by_policy"))
        );
        assert!(decide().is_ok(), "the answer is the active policy's");
        // Phase 4: cleared.
        shadow.follow(&policy, None).unwrap();
        assert!(shadow.report().digest.is_none());
    }
}
