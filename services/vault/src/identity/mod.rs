//! Who calls: established for every request from the certificate of its connection or from a bearer token, together with
//! the end user behind the caller. Whoever fails here is counted and logged and never enters the ledger; a *known* caller
//! who brings a false end-user assertion is denied by policy, and that is an entry.

mod settings;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuda_core::{CallerId, Code, Timestamp};
use fuda_identity::{Claims, EndUserClaims, Issuer, Reason, issuer_of};
use fuda_ledger::{Credential, CredentialKind};
use fuda_policy::{EndUserProof, Proof, SignIn};
use fuda_runtime::key_source::KeySource;
use fuda_runtime::layer::Authenticate;
use fuda_runtime::listener::PeerInfo;
use fuda_runtime::revocation::Revocations;
use http::header::AUTHORIZATION;
use http::{Extensions, HeaderMap};
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Meter};
use tokio_util::sync::CancellationToken;
use tonic::Status;

pub(crate) use settings::Identity;
use settings::Opened;

use crate::refusal::Refusal;

/// Metadata with the signed assertion of the end user.
const END_USER_ASSERTION: &str = "fuda-end-user-assertion";

/// The time that tokens and certificates are checked against.
pub(crate) type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// A caller as established, in the extensions of every request.
#[derive(Debug, Clone)]
pub(crate) struct Authenticated {
    pub(crate) caller: CallerId,
    /// `None` for a certificate.
    pub(crate) credential: Option<Credential>,
    pub(crate) proof: Proof,
    /// The end-user assertion that the call may use.
    pub(crate) assertion: Option<Presented>,
}

/// A verified assertion.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Presented {
    pub(crate) id: [u8; 16],
    pub(crate) expires: Timestamp,
}

/// Everybody who may be known here.
pub(crate) struct Callers {
    opened: Opened,
    revocations: Option<Arc<Revocations>>,
    clock: Clock,
    refused: Counter<u64>,
}

/// Which proof failed, for metrics and logs.
#[derive(Clone, Copy)]
enum Proven {
    Certificate,
    Bearer,
    EndUser,
}

impl Callers {
    /// Opens what the settings name. `clock` tells the majority's time.
    pub(crate) fn open(
        identity: &Identity,
        revocations: Option<Arc<Revocations>>,
        clock: Clock,
        meter: &Meter,
    ) -> anyhow::Result<Self> {
        let refused = meter
            .u64_counter("fuda.identity.refused")
            .with_description("Credentials that were not believed, by credential and reason")
            .build();
        Ok(Self { opened: identity.open()?, revocations, clock, refused })
    }

    /// Keeps keys new until `stop`.
    pub(crate) fn watch(&self, stop: &CancellationToken) {
        let accounts = self.opened.accounts.iter().map(|known| &known.keys);
        let people = self.opened.people.iter().map(|known| &known.keys);
        let end_users = self.opened.end_users.iter().map(|known| &known.keys);
        for keys in accounts.chain(people).chain(end_users) {
            // Ends with `stop`; it never fails.
            drop(keys.watch(stop.clone()));
        }
        if let Some(revocations) = &self.revocations {
            drop(revocations.watch(stop.clone()));
        }
    }

    fn establish(&self, headers: &HeaderMap, extensions: &Extensions) -> Result<Authenticated, (Proven, Reason)> {
        let now = (self.clock)();
        let certificate = extensions.get::<PeerInfo>().and_then(|peer| peer.certificate.as_ref());
        let established = match (certificate, bearer(headers)) {
            (Some(_), Ok(Some(_)) | Err(_)) => return Err((Proven::Bearer, Reason::TwoCredentials)),
            (Some(identity), Ok(None)) => {
                if identity.not_after <= system_time(now) {
                    return Err((Proven::Certificate, Reason::CertificateExpired));
                }
                Authenticated { caller: identity.caller.clone(), credential: None, proof: Proof::NONE, assertion: None }
            }
            (None, Ok(Some(token))) => self.by_token(token, now).map_err(|reason| (Proven::Bearer, reason))?,
            (None, Ok(None)) => return Err((Proven::Bearer, Reason::NoCredential)),
            (None, Err(reason)) => return Err((Proven::Bearer, reason)),
        };
        let revoked = |revocations: &Arc<Revocations>| {
            revocations.refuse(&established.caller, certificate.map(|identity| identity.as_ref()))
        };
        if self.revocations.as_ref().is_some_and(revoked) {
            return Err((Proven::Certificate, Reason::Revoked));
        }
        if !self.opened.callers.allow(&established.caller) {
            return Err((Proven::Certificate, Reason::NotAllowed));
        }
        Ok(self.with_end_user(established, headers, now))
    }

    /// A service account or a person: the token says whose, the settings say whether that issuer may.
    fn by_token(&self, token: &str, now: Timestamp) -> Result<Authenticated, Reason> {
        let issuer = issuer_of(token)?;
        if let Some(known) = self.opened.accounts.iter().find(|known| known.rules.issuer.name() == issuer) {
            let claims = known.rules.read(&verify(&known.rules.issuer, &known.keys, token, now)?)?;
            let credential = Credential { kind: CredentialKind::ServiceAccount, pod: claims.pod_uid, signed_in: None };
            let (caller, credential) = (claims.caller, Some(credential));
            return Ok(Authenticated { caller, credential, proof: Proof::NONE, assertion: None });
        }
        let known = self.opened.people.iter().find(|known| known.rules.issuer.name() == issuer);
        let known = known.ok_or(Reason::UnknownIssuer)?;
        let claims = known.rules.read(&verify(&known.rules.issuer, &known.keys, token, now)?)?;
        let credential = Credential { kind: CredentialKind::Person, pod: None, signed_in: claims.signed_in };
        let sign_in = claims.sensitive_until.map_or(SignIn::Weak, SignIn::Until);
        Ok(Authenticated {
            caller: claims.caller,
            credential: Some(credential),
            proof: Proof { end_user: EndUserProof::Absent, sign_in },
            assertion: None,
        })
    }

    /// Adds the end user, or that the assertion was refused: then policy denies the call, with an entry.
    fn with_end_user(&self, mut caller: Authenticated, headers: &HeaderMap, now: Timestamp) -> Authenticated {
        let mut brought = headers.get_all(END_USER_ASSERTION).iter();
        let Some(token) = brought.next() else { return caller };
        let verified = match (token.to_str(), brought.next()) {
            (Ok(token), None) => self.end_user(token, &caller.caller, now),
            (Ok(_), Some(_)) => Err(Reason::TwoCredentials),
            (Err(_), _) => Err(Reason::Malformed),
        };
        match verified {
            Ok(claims) => {
                let EndUserClaims { end_user, own, id, expires } = claims;
                caller.proof.end_user = EndUserProof::Verified { user: end_user, own, until: expires };
                caller.assertion = Some(Presented { id, expires });
            }
            Err(reason) => {
                self.count(Proven::EndUser, reason);
                tracing::info!(caller = %caller.caller, %reason, "an end-user assertion was refused");
                caller.proof.end_user = EndUserProof::Refused;
            }
        }
        caller
    }

    fn end_user(&self, token: &str, caller: &CallerId, now: Timestamp) -> Result<EndUserClaims, Reason> {
        let issuer = issuer_of(token)?;
        let known = self.opened.end_users.iter().find(|known| known.rules.issuer.name() == issuer);
        let known = known.ok_or(Reason::UnknownIssuer)?;
        known.rules.read(&verify(&known.rules.issuer, &known.keys, token, now)?, caller)
    }

    fn count(&self, proven: Proven, reason: Reason) {
        let credential = match proven {
            Proven::Certificate => "caller",
            Proven::Bearer => "bearer",
            Proven::EndUser => "end_user",
        };
        self.refused.add(1, &[KeyValue::new("credential", credential), KeyValue::new("reason", reason.code())]);
    }
}

impl Authenticate for Callers {
    type Identity = Authenticated;

    fn authenticate(&self, headers: &HeaderMap, extensions: &Extensions) -> Result<Authenticated, Box<Status>> {
        self.establish(headers, extensions).map_err(|(proven, reason)| {
            self.count(proven, reason);
            let remote_addr = extensions.get::<PeerInfo>().map(|peer| peer.remote_addr.to_string());
            tracing::info!(remote_addr, %reason, "a caller was not authenticated");
            // One answer for every reason.
            Box::new(Refusal::new(Code::Unauthenticated).status(None))
        })
    }
}

/// The one bearer token of a request, if it brings any `authorization` at all.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Reason> {
    let mut brought = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = brought.next() else { return Ok(None) };
    if brought.next().is_some() {
        return Err(Reason::TwoCredentials);
    }
    let (scheme, token) = value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or(Reason::Malformed)?;
    if scheme.eq_ignore_ascii_case("bearer") { Ok(Some(token)) } else { Err(Reason::Malformed) }
}

fn verify(issuer: &Issuer, keys: &KeySource, token: &str, now: Timestamp) -> Result<Claims, Reason> {
    #[cfg(feature = "failpoints")]
    if crate::failpoint::is_planted("accept-any-alg") {
        return issuer.verify_any_algorithm(token, &keys.current(), now);
    }
    let verified = issuer.verify(token, &keys.current(), now);
    if verified.as_ref().is_err_and(|reason| *reason == Reason::UnknownKey) {
        keys.look_again();
    }
    verified
}

fn system_time(at: Timestamp) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(at.0).unwrap_or(0))
}

#[cfg(test)]
mod tests;
