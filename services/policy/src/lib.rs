//! Who may do what: a caller's request and the vault's replicated policy go in, a [`Permit`] or a [`Denial`]
//! comes out.
//!
//! Two locks guard every decision, and both must open:
//!
//! 1. **The legs** ([`Policy::decide`]): the rules that no policy text may loosen. The caller's role has the action,
//!    a grant gives it for this tenant, purpose, kind and scope, and the grant's window is open.
//! 2. **The policy text**: Cedar policies, strictly validated against our schema, replicated with a version. They say
//!    the same rules again in a form that a compliance officer reads, and an owner narrows them by adding `forbid`s.
//!
//! What neither lock opens is denied. A [`Permit`] is made only by [`Policy::decide`]; `fuda-ledger` makes an audited
//! command from nothing else, so that no code path reaches the log, and through it a number, without a decision.
//! The conditions that need the record itself (relation, notified purposes) follow in [`Permit::check_record`].
//!
//! The crate is pure: no clock, no I/O, no randomness, no `HashMap` order in anything it returns.

mod action;
mod cedar;
mod circumstances;
mod condition;
mod error;
mod freeze;
mod grant;
mod legs;
mod office_hours;
mod permit;
mod policy;
mod proof;
mod reason;
mod recipient;
mod record;
mod records;
mod request;
mod role;
pub mod samples;
mod tenant;

pub use action::Action;
pub use cedar::TextCounts;
pub use circumstances::{Circumstances, Entrusted, Given, Terms, Wish};
pub use condition::{Conditions, Hours, Subjects, limits as condition_limits};
pub use error::Error;
pub use freeze::{FreezeTarget, Frozen, Touched};
pub use grant::{Budget, Grant, GrantId, grants_over_limit, limits, roles_conflict};
pub use office_hours::OfficeHours;
pub use permit::{Denial, Permit, may_be_masked};
pub use policy::{GrantOutcome, Policy, PolicyData, Share};
pub use proof::{ApprovedJob, EndUserProof, EndUserRule, Proof, SignIn};
pub use reason::DenyReason;
pub use recipient::Recipient;
pub use record::{Notified, RecordFacts};
pub use request::Request;
pub use role::Role;
pub use tenant::{RecoveryChoice, TENANT_NAME_CHARS_MAX, Tenant};
