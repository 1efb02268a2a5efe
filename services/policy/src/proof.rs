use fuda_core::{CallerId, SubjectRef, Timestamp, Window, WorkReference};
use minicbor::{Decode, Encode};

use crate::{Action, DenyReason};

/// What a call proved beside the caller's identity: the end user behind it, and how recent the caller's sign-in is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The end user behind a workload.
    pub end_user: EndUserProof,
    /// How recent and strong the caller's own sign-in is.
    pub sign_in: SignIn,
}

/// The end user behind a workload, as far as the call proved one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EndUserProof {
    /// The call brought no assertion.
    Absent,
    /// It brought one that does not hold. Nothing is allowed then: whoever sends a false assertion is not served as if
    /// he had sent none.
    Refused,
    /// It brought one that holds until then.
    Verified {
        /// The end user.
        user: CallerId,
        /// The subject of the end user's own records, where the assertion names it.
        own: Option<SubjectRef>,
        /// The last moment at which the assertion can be used.
        until: Timestamp,
    },
}

/// How long a caller's sign-in is good for actions that need a recent one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignIn {
    /// A certificate or a service account: there is no sign-in to grow old.
    Lasting,
    /// A person's, good for sensitive actions until then.
    Until(Timestamp),
    /// A person's that is not strong enough for them, or does not say when it was.
    Weak,
}

impl Proof {
    /// Nothing beside the identity of a caller with a certificate.
    pub const NONE: Self = Self { end_user: EndUserProof::Absent, sign_in: SignIn::Lasting };

    /// The verified end user.
    #[must_use]
    pub const fn end_user(&self) -> Option<&CallerId> {
        match &self.end_user {
            EndUserProof::Verified { user, .. } => Some(user),
            EndUserProof::Absent | EndUserProof::Refused => None,
        }
    }

    /// The subject of the end user's own records, where the assertion names it.
    pub(crate) const fn own_subject(&self) -> Option<&SubjectRef> {
        match &self.end_user {
            EndUserProof::Verified { own, .. } => own.as_ref(),
            EndUserProof::Absent | EndUserProof::Refused => None,
        }
    }

    /// Why nothing can be allowed on this proof, whatever is granted.
    pub(crate) fn refusal(&self, action: Action, now: Timestamp) -> Option<DenyReason> {
        match &self.end_user {
            EndUserProof::Refused => return Some(DenyReason::EndUserRefused),
            EndUserProof::Verified { until, .. } if now > *until => return Some(DenyReason::EndUserRefused),
            EndUserProof::Verified { .. } | EndUserProof::Absent => {}
        }
        let recent = match self.sign_in {
            SignIn::Lasting => true,
            SignIn::Until(until) => now <= until,
            SignIn::Weak => false,
        };
        (action.is_sensitive() && !recent).then_some(DenyReason::StepUpRequired)
    }

    /// When a decision on this proof holds.
    pub(crate) fn window(&self, action: Action) -> Window {
        let of_user = match &self.end_user {
            EndUserProof::Verified { until, .. } => Some(*until),
            EndUserProof::Absent | EndUserProof::Refused => None,
        };
        let of_sign_in = match self.sign_in {
            SignIn::Until(until) if action.is_sensitive() => Some(until),
            SignIn::Until(_) | SignIn::Lasting | SignIn::Weak => None,
        };
        let not_after = match (of_user, of_sign_in) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        Window { not_before: None, not_after }
    }
}

/// Whom a grant wants to see behind the workload. A grant without a rule wants nobody, and may then not reveal.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum EndUserRule {
    /// Every call brings a signed assertion of its end user.
    #[n(1)]
    Required,
    /// Calls without an end user run as an approved job, for which its handler answers.
    #[n(2)]
    ApprovedJob(#[n(0)] ApprovedJob),
}

impl EndUserRule {
    /// The code of a grant's rule, `none` without one.
    #[must_use]
    pub const fn code(rule: Option<&Self>) -> &'static str {
        match rule {
            None => "none",
            Some(Self::Required) => "required",
            Some(Self::ApprovedJob(_)) => "approved_job",
        }
    }
}

/// A job that two people approved with the grant that names it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ApprovedJob {
    /// What the job is called where it runs; it stands in every entry the job makes.
    #[n(0)]
    pub job: WorkReference,
    /// The person who handles it (担当者); stands in every entry as the end user, unless the call proves another.
    #[n(1)]
    pub handler: CallerId,
    /// When the job may run.
    #[n(2)]
    pub window: Window,
}
