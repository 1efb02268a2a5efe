//! Callers by token: Kubernetes service accounts and people.

use fuda_core::{CallerId, Timestamp};

use crate::json::Json;
use crate::{Claims, Issuer, KeySet, Reason};

/// Bytes of a Kubernetes name or uid.
const KUBERNETES_NAME_BYTES_MAX: usize = 253;
/// What `sub` of a service account begins with.
const SERVICE_ACCOUNT: &str = "system:serviceaccount:";
/// Values of `amr` that are looked at.
const METHODS_MAX: usize = 16;

/// How a cluster's service accounts become callers.
#[derive(Clone, Debug)]
pub struct ServiceAccount {
    /// The API server.
    pub issuer: Issuer,
    /// Trust domain of the callers' ids: `spiffe://TRUST_DOMAIN/ns/NAMESPACE/sa/NAME`, the id that SPIRE and service
    /// meshes give the same account in a certificate.
    pub trust_domain: String,
    /// Whether the token must be bound to a pod. Tokens made by hand (`kubectl create token`) are not.
    pub pod_required: bool,
}

/// A service account that proved itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceAccountClaims {
    /// Who calls.
    pub caller: CallerId,
    /// The uid of the pod the token is bound to.
    pub pod_uid: Option<String>,
    /// When the token ends.
    pub expires: Timestamp,
}

impl ServiceAccount {
    /// Verifies a projected service-account token.
    ///
    /// # Errors
    /// [`Reason`] is the first check that failed.
    pub fn verify(&self, token: &str, keys: &KeySet, now: Timestamp) -> Result<ServiceAccountClaims, Reason> {
        self.read(&self.issuer.verify(token, keys, now)?)
    }

    /// What verified claims say.
    ///
    /// # Errors
    /// [`Reason::Claim`] or [`Reason::Subject`].
    pub fn read(&self, claims: &Claims) -> Result<ServiceAccountClaims, Reason> {
        let kubernetes = claims.get("kubernetes.io").and_then(Json::members).ok_or(Reason::Claim)?;
        let named = |what: &str, field: &str| {
            let object = kubernetes.get(what).and_then(Json::members);
            object.and_then(|object| object.get(field)).and_then(Json::text)
        };
        let namespace = kubernetes.get("namespace").and_then(Json::text).ok_or(Reason::Claim)?;
        let name = named("serviceaccount", "name").ok_or(Reason::Claim)?;
        // The same twice: a token in which the two differ was made by no API server.
        if claims.text("sub")? != format!("{SERVICE_ACCOUNT}{namespace}:{name}") {
            return Err(Reason::Subject);
        }
        if !is_kubernetes_name(namespace) || !is_kubernetes_name(name) {
            return Err(Reason::Subject);
        }
        let pod_uid = named("pod", "uid").map(str::to_owned);
        if pod_uid.as_deref().map_or(self.pod_required, |uid| !is_uid(uid)) {
            return Err(Reason::Claim);
        }
        let id = format!("spiffe://{}/ns/{namespace}/sa/{name}", self.trust_domain);
        let caller = CallerId::parse(&id).map_err(|_| Reason::Subject)?;
        Ok(ServiceAccountClaims { caller, pod_uid, expires: claims.expires() })
    }
}

/// How people of a provider become callers, and how recent and strong a sign-in must be for sensitive actions.
#[derive(Clone, Debug)]
pub struct Person {
    /// The provider.
    pub issuer: Issuer,
    /// The claim that names the person, `sub` unless the provider's are unusable.
    pub subject_claim: String,
    /// Longest time between signing in (`auth_time`) and a sensitive action, in seconds.
    pub sign_in_age_s_max: i64,
    /// `acr` must be one of these for a sensitive action; empty: any.
    pub acr: Vec<String>,
    /// `amr` must hold all of these for a sensitive action; empty: any.
    pub amr: Vec<String>,
}

/// A person who proved who he is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersonClaims {
    /// Who calls, `oidc:PROVIDER/SUBJECT`.
    pub caller: CallerId,
    /// When the person signed in, if the token says so.
    pub signed_in: Option<Timestamp>,
    /// Until when sensitive actions are open to this sign-in; `None`: they are not.
    pub sensitive_until: Option<Timestamp>,
    /// When the token ends.
    pub expires: Timestamp,
}

impl Person {
    /// Verifies a person's token.
    ///
    /// # Errors
    /// [`Reason`] is the first check that failed.
    pub fn verify(&self, token: &str, keys: &KeySet, now: Timestamp) -> Result<PersonClaims, Reason> {
        self.read(&self.issuer.verify(token, keys, now)?)
    }

    /// Verifies the ID token of a sign-in that we began ourselves (OpenID Connect Core §3.1.3.7): a person's token, made for
    /// us as the client that asked (`azp`), in answer to this very sign-in (`nonce`). The issuer's audience is our client id.
    ///
    /// # Errors
    /// [`Reason`] is the first check that failed.
    pub fn verify_sign_in(
        &self,
        token: &str,
        keys: &KeySet,
        nonce: &str,
        now: Timestamp,
    ) -> Result<PersonClaims, Reason> {
        let claims = self.issuer.verify(token, keys, now)?;
        let party = claims.get("azp");
        let shared = claims.get("aud").and_then(Json::elements).is_some_and(|audiences| audiences.len() > 1);
        let ours = party.and_then(Json::text) == Some(self.issuer.audience());
        if (party.is_some() || shared) && !ours {
            return Err(Reason::Binding);
        }
        if nonce.is_empty() || claims.text("nonce").map_err(|_| Reason::Nonce)? != nonce {
            return Err(Reason::Nonce);
        }
        self.read(&claims)
    }

    /// What verified claims say.
    ///
    /// # Errors
    /// [`Reason::Claim`] or [`Reason::Subject`].
    pub fn read(&self, claims: &Claims) -> Result<PersonClaims, Reason> {
        let caller = person_id(&self.issuer, claims.text(&self.subject_claim)?)?;
        // A sign-in in the future is as good as one now, not better.
        let signed_in = claims.moment("auth_time")?.map(|at| at.min(claims.issued()));
        let strong = self.is_strong(claims);
        let until = |at: Timestamp| Timestamp(at.0.saturating_add(self.sign_in_age_s_max.saturating_mul(1_000)));
        let sensitive_until = signed_in.filter(|_| strong).map(until);
        Ok(PersonClaims { caller, signed_in, sensitive_until, expires: claims.expires() })
    }

    fn is_strong(&self, claims: &Claims) -> bool {
        let acr = claims.get("acr").and_then(Json::text);
        let listed = claims.get("amr").and_then(Json::elements).unwrap_or_default();
        let amr: Vec<&str> = listed.iter().take(METHODS_MAX).filter_map(Json::text).collect();
        let acr_fits = self.acr.is_empty() || acr.is_some_and(|acr| self.acr.iter().any(|wanted| wanted == acr));
        acr_fits && self.amr.iter().all(|wanted| amr.contains(&wanted.as_str()))
    }
}

/// The id of a provider's person.
pub(crate) fn person_id(issuer: &Issuer, subject: &str) -> Result<CallerId, Reason> {
    CallerId::parse(&format!("oidc:{}/{subject}", issuer.alias())).map_err(|_| Reason::Subject)
}

fn is_kubernetes_name(name: &str) -> bool {
    (1..=KUBERNETES_NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.'))
}

/// A UUID in the form Kubernetes writes: it goes into entries and must not be free text.
fn is_uid(uid: &str) -> bool {
    uid.split('-').map(str::len).eq([8, 4, 4, 4, 12])
        && uid.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-'))
}

#[cfg(test)]
#[path = "caller_tests.rs"]
mod tests;
