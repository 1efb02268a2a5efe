//! Who somebody says to be, and whether that is so: JSON Web Tokens of service accounts, of people and of the end users
//! behind workloads, and the rules for who may call at all.
//!
//! ```text
//! token ─parse, strictly─▶ issuer we know ─▶ key of that issuer by exact kid ─▶ algorithm allowed for that issuer
//!       ─signature─▶ audience, time, lifetime ─▶ ServiceAccount | Person | EndUser
//! ```
//!
//! The header of a token chooses nothing but the key, among the keys of an issuer we configured, and the algorithm,
//! among those we allowed for it. There is no symmetric algorithm and no `none` in the types. Whatever is not expected
//! is refused: unknown header members, duplicate members anywhere, a second form of the same value.
//!
//! The crate is pure: the time is an argument, key sets are given, nothing is read or fetched here. A [`Reason`] is for
//! logs and metrics; callers hear one message for all of them.

mod caller;
mod claims;
mod end_user;
mod issuer;
mod json;
mod keys;
mod reason;
mod rules;
mod token;

pub use caller::{Person, PersonClaims, ServiceAccount, ServiceAccountClaims};
pub use claims::Claims;
pub use end_user::{Binding, EndUser, EndUserClaims};
pub use issuer::{Issuer, IssuerError, IssuerSettings};
pub use keys::{KeySet, KeySetError};
pub use reason::Reason;
pub use rules::{CallerRule, CallerRules};
pub use token::issuer_of;
