use fuda_core::{CallerId, Invalid};

use crate::GrantId;

/// Why [`crate::Policy::build`] refused policy data. Every message is for the owner who proposed the text or the
/// operator who reads the node's log; none reaches a caller.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The policy text is longer than [`crate::Policy::TEXT_BYTES_MAX`].
    #[error("policy text has {bytes} bytes, at most {max} are allowed")]
    TextTooLong {
        /// Its length.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The policy text is not Cedar.
    #[error("policy text does not parse: {0}")]
    Parse(String),
    /// A policy lacks `@id`, repeats one, or its id breaks the rule.
    #[error("policy {position} of the text {rule}")]
    PolicyId {
        /// Its place in the text, from 1.
        position: usize,
        /// The rule it broke.
        rule: &'static str,
    },
    /// The text has more than [`crate::Policy::POLICIES_MAX`] policies.
    #[error("policy text has {policies} policies, at most {max} are allowed")]
    TooManyPolicies {
        /// How many.
        policies: usize,
        /// The limit.
        max: usize,
    },
    /// The text contains a policy template; grants are data, not linked templates.
    #[error("policy text contains a template")]
    Template,
    /// A policy does not fit the schema, or can never apply.
    #[error("policy text does not fit the schema: {0}")]
    Schema(String),
    /// A grant has a shape that apply never stores.
    #[error("grant `{id}` is invalid: {invalid}")]
    Grant {
        /// The grant.
        id: GrantId,
        /// The field and the rule it broke.
        invalid: Invalid,
    },
    /// Two grants or two tenants have one id.
    #[error("{0} occurs twice in the policy data")]
    Duplicate(String),
    /// The grants give one caller two roles.
    #[error("caller `{0}` has two roles")]
    RoleConflict(CallerId),
    /// Our own schema or entities were refused by the policy engine: a defect of this release.
    #[error("policy engine refused the built-in model: {0}")]
    Engine(String),
}
