//! The end user behind a workload: a signed assertion that lives minutes, is bound to one workload and works once.

use fuda_core::limits::ASSERTION_LIFETIME_S_MAX;
use fuda_core::{CallerId, SubjectRef, Timestamp};
use fuda_crypto::sha256;

use crate::caller::person_id;
use crate::json::Json;
use crate::{Claims, Issuer, KeySet, Reason};

/// Bytes of a `jti`.
const ID_BYTES_MAX: usize = 256;
const ASSERTION_LABEL: &[u8] = b"fuda/end-user-assertion\0";

/// Which claim says for which workload an assertion was made. One per issuer: a token with two such claims must not be
/// good for two workloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding {
    /// `azp`, the authorized party.
    Azp,
    /// `client_id` (RFC 9068).
    ClientId,
    /// `act.sub`, the acting party of a token exchange (RFC 8693).
    Act,
}

impl Binding {
    /// The binding of a setting: `azp`, `client_id` or `act`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "azp" => Some(Self::Azp),
            "client_id" => Some(Self::ClientId),
            "act" => Some(Self::Act),
            _ => None,
        }
    }

    fn read(self, claims: &Claims) -> Option<&str> {
        match self {
            Self::Azp => claims.get("azp").and_then(Json::text),
            Self::ClientId => claims.get("client_id").and_then(Json::text),
            Self::Act => claims.get("act").and_then(Json::members)?.get("sub").and_then(Json::text),
        }
    }
}

/// Whose assertions are accepted.
#[derive(Clone, Debug)]
pub struct EndUser {
    /// The issuer; its tokens live at most [`ASSERTION_LIFETIME_S_MAX`] seconds.
    pub issuer: Issuer,
    /// The claim that names the end user.
    pub subject_claim: String,
    /// The claim that names the workload.
    pub binding: Binding,
    /// The claim that names the subject of the end user's own records, such as an employee number. An assertion without
    /// it names none.
    pub own_subject_claim: Option<String>,
}

/// An assertion that held. That it is used once is checked where it is applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndUserClaims {
    /// The end user, `oidc:ISSUER/SUBJECT`.
    pub end_user: CallerId,
    /// The subject of the end user's own records.
    pub own: Option<SubjectRef>,
    /// A digest of issuer and `jti`: what identifies the assertion.
    pub id: [u8; 16],
    /// When it can no longer be used, leeway included.
    pub expires: Timestamp,
}

impl EndUser {
    /// Verifies an assertion that the workload `caller` brought.
    ///
    /// # Errors
    /// [`Reason`] is the first check that failed.
    pub fn verify(
        &self,
        token: &str,
        keys: &KeySet,
        caller: &CallerId,
        now: Timestamp,
    ) -> Result<EndUserClaims, Reason> {
        self.read(&self.issuer.verify(token, keys, now)?, caller)
    }

    /// What verified claims say.
    ///
    /// # Errors
    /// [`Reason::Lifetime`], [`Reason::Claim`], [`Reason::Binding`] or [`Reason::Subject`].
    pub fn read(&self, claims: &Claims, caller: &CallerId) -> Result<EndUserClaims, Reason> {
        // The issuer's settings say the same; this line holds even if they did not.
        if claims.expires().0.saturating_sub(claims.issued().0) > ASSERTION_LIFETIME_S_MAX * 1_000 {
            return Err(Reason::Lifetime);
        }
        if self.binding.read(claims) != Some(caller.as_str()) {
            return Err(Reason::Binding);
        }
        let id = claims.text("jti")?;
        if id.len() > ID_BYTES_MAX {
            return Err(Reason::Claim);
        }
        let end_user = person_id(&self.issuer, claims.text(&self.subject_claim)?)?;
        let leeway = self.issuer.leeway_s().saturating_mul(1_000);
        let expires = Timestamp(claims.expires().0.saturating_add(leeway));
        let own = self.own_subject(claims)?;
        Ok(EndUserClaims { end_user, own, id: assertion_id(self.issuer.name(), id), expires })
    }
}

impl EndUser {
    fn own_subject(&self, claims: &Claims) -> Result<Option<SubjectRef>, Reason> {
        let claim = self.own_subject_claim.as_ref().and_then(|name| claims.get(name));
        let Some(claim) = claim else { return Ok(None) };
        let subject = claim.text().and_then(|text| SubjectRef::parse(text).ok());
        subject.map(Some).ok_or(Reason::Subject)
    }
}

/// Two issuers may use the same `jti`; the zero byte keeps the two texts apart.
fn assertion_id(issuer: &str, id: &str) -> [u8; 16] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, ..] =
        sha256(&[ASSERTION_LABEL, issuer.as_bytes(), b"\0", id.as_bytes()]);
    [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
}

#[cfg(test)]
#[path = "end_user_tests.rs"]
mod tests;
