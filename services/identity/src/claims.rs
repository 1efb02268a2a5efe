//! The claims of a token whose signature, audience and times held.

use std::collections::BTreeMap;
use std::fmt;

use fuda_core::Timestamp;

use crate::Reason;
use crate::json::Json;

/// Claims that can be believed: made only by [`crate::Issuer::verify`].
#[derive(Clone)]
pub struct Claims {
    members: BTreeMap<String, Json>,
    pub(crate) issued: Timestamp,
    pub(crate) expires: Timestamp,
}

impl Claims {
    pub(crate) const fn new(members: BTreeMap<String, Json>, issued: Timestamp, expires: Timestamp) -> Self {
        Self { members, issued, expires }
    }

    /// When the token was issued (`iat`).
    #[must_use]
    pub const fn issued(&self) -> Timestamp {
        self.issued
    }

    /// When it ends (`exp`), without leeway.
    #[must_use]
    pub const fn expires(&self) -> Timestamp {
        self.expires
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Json> {
        self.members.get(name)
    }

    /// A text claim that must be there.
    pub(crate) fn text(&self, name: &str) -> Result<&str, Reason> {
        self.get(name).and_then(Json::text).filter(|text| !text.is_empty()).ok_or(Reason::Claim)
    }

    /// A moment in seconds since 1970 that may be missing, but not of another type.
    pub(crate) fn moment(&self, name: &str) -> Result<Option<Timestamp>, Reason> {
        moment(&self.members, name)
    }
}

/// Claims name people: nothing of them is printed.
impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claims").field("issued", &self.issued).field("expires", &self.expires).finish_non_exhaustive()
    }
}

/// Reads a NumericDate (RFC 7519 §2) of whole seconds.
pub(crate) fn moment(members: &BTreeMap<String, Json>, name: &str) -> Result<Option<Timestamp>, Reason> {
    let Some(value) = members.get(name) else { return Ok(None) };
    let seconds = value.integer().filter(|seconds| *seconds >= 0).ok_or(Reason::Claim)?;
    seconds.checked_mul(1_000).map(|millis| Some(Timestamp(millis))).ok_or(Reason::Claim)
}
