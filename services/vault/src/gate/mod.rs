//! The gate: the one natural way from a request to a reply.
//!
//! ```text
//! request ─policy─▶ Permit | Denial ─crypto: mint, seal─▶ Command ─ledger─▶ Audited<Command>
//!         ─propose─▶ log ─apply─▶ Outcome ─crypto: open─▶ reply
//! ```
//!
//! The node decides on its own state, the command carries what it relied on, apply checks it again. What moved in
//! between comes back stale and is decided once more, at most [`limits::PROPOSAL_ROUNDS_MAX`] times. Nothing that was
//! opened leaves this module before the outcome that names its entry is here.

mod access;
mod amend;
mod mint;
mod read;
mod reply;
mod reveal;
mod seal;
mod tokenize;
mod transfer;
mod update;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuda_consensus::{ClockReading, Replica};
use fuda_core::{
    CallerId, Code, LookupKey, PolicyVersion, RequestId, Sequence, TenantId, Timestamp, TokenClass, WorkReference,
};
use fuda_crypto::{Sha256, sha256};
use fuda_ledger::{Assertion, Audited, CallFacts, Credential, TraceContext};
use fuda_policy::{Action, Denial, Permit, Policy, Proof, RecordFacts, Request, Share};
use fuda_runtime::layer::Denials;
use fuda_state::command::Denied;
use fuda_state::{Body, Command, Outcome, reader};
use fuda_storage::Store;

pub(crate) use amend::Amended;
pub(crate) use mint::{NewToken, Wanted};
pub(crate) use reveal::{Described, Masked, Presented, Revealed, Verified};
pub(crate) use seal::Sealed;
pub(crate) use tokenize::Tokenized;
pub(crate) use transfer::{Accepting, Offering};
pub(crate) use update::{NewNumber, Updated};

use crate::blocking::heavy;
use crate::identity::Authenticated;
use crate::keys::Keys;
use crate::policy::PolicyCell;
use crate::refusal::Refusal;
use crate::source_zone::SourceZones;

/// How long a call waits for this node to apply what made it stale, in milliseconds.
const CATCH_UP_MS_MAX: u64 = 5_000;

/// How long a call waits for the majority's time, in milliseconds.
const TIME_KNOWN_MS_MAX: u64 = 1_000;

/// What every call says about itself.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) caller: CallerId,
    pub(crate) request_id: RequestId,
    pub(crate) trace: Option<TraceContext>,
    pub(crate) work_reference: Option<WorkReference>,
    credential: Option<Credential>,
    proof: Proof,
    assertion: Option<Assertion>,
    /// Where the call came from; `None` inside the process.
    address: Option<IpAddr>,
    /// What the call was denied, for the time its answer leaves.
    pub(crate) denials: Denials,
    /// The tokens it presents: when it is denied, apply looks for canaries among them.
    presented: Arc<[LookupKey]>,
}

const CALL_LABEL: &[u8] = b"fuda/assertion-call\0";

impl Call {
    /// A call of an established caller.
    pub(crate) fn new(
        known: &Authenticated,
        request_id: RequestId,
        trace: Option<TraceContext>,
        work_reference: Option<WorkReference>,
    ) -> Self {
        let assertion = known.assertion.map(|presented| {
            let call = sha256(&[CALL_LABEL, known.caller.as_str().as_bytes(), b"\0", request_id.as_bytes()]);
            Assertion { id: presented.id, expires: presented.expires, call: half(call) }
        });
        Self {
            caller: known.caller.clone(),
            request_id,
            trace,
            work_reference,
            credential: known.credential.clone(),
            proof: known.proof.clone(),
            assertion,
            address: None,
            denials: Denials::default(),
            presented: Arc::default(),
        }
    }

    /// The same call from an address.
    pub(crate) fn from(self, address: IpAddr) -> Self {
        Self { address: Some(address), ..self }
    }

    /// The same call, counting what it is denied.
    pub(crate) fn counting(self, denials: Denials) -> Self {
        Self { denials, ..self }
    }

    /// The same call, which presents these tokens.
    pub(crate) fn presenting(self, presented: impl Iterator<Item = LookupKey>) -> Self {
        Self { presented: presented.collect(), ..self }
    }

    /// A call made inside this process, by a caller who would hold a certificate.
    pub(crate) fn inside(caller: CallerId, request_id: RequestId) -> Self {
        let known = Authenticated { caller, credential: None, proof: Proof::NONE, assertion: None };
        Self::new(&known, request_id, None, None)
    }

    /// What the call proved beside its caller.
    pub(crate) fn proof(&self) -> Proof {
        self.proof.clone()
    }

    /// The same call, with its end-user assertion bound to what it is about: under the same request id it can then be
    /// used for nothing else. `parts` never hold a number or a hash of one, because the digest stands in the log.
    pub(crate) fn about<'a>(&self, action: Action, parts: impl Iterator<Item = Vec<u8>> + 'a) -> Self {
        let Some(assertion) = self.assertion else { return self.clone() };
        let mut digest = Sha256::new();
        digest.update(&assertion.call);
        digest.update(&[action.number()]);
        for part in parts {
            digest.update(&(part.len() as u64).to_be_bytes());
            digest.update(&part);
        }
        Self { assertion: Some(Assertion { call: half(digest.finish()), ..assertion }), ..self.clone() }
    }

    fn facts(&self) -> CallFacts {
        CallFacts {
            request_id: self.request_id,
            trace: self.trace,
            work_reference: self.work_reference.clone(),
            credential: self.credential.clone(),
            assertion: self.used_assertion(),
        }
    }

    fn used_assertion(&self) -> Option<Assertion> {
        #[cfg(feature = "failpoints")]
        if crate::failpoint::is_planted("skip-replay") {
            return None;
        }
        self.assertion
    }
}

fn half(digest: [u8; 32]) -> [u8; 16] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, ..] = digest;
    [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
}

/// A proposal's fate: the outcome and the log index at which it was reached.
pub(crate) struct Committed {
    pub(crate) outcome: Outcome,
    pub(crate) index: u64,
}

/// The gate of one node.
pub(crate) struct Gate {
    pub(crate) replica: Replica,
    pub(crate) store: Store,
    pub(crate) policy: PolicyCell,
    pub(crate) keys: Arc<Keys>,
    pub(crate) zones: SourceZones,
}

impl Gate {
    /// The cluster's time as this node knows it. A node whose clock is off decides nothing.
    pub(crate) fn now(&self) -> Result<Timestamp, Refusal> {
        self.replica.cluster_time().ok_or_else(|| match self.replica.ready() {
            Err(reason) => Refusal::new(reason.code()),
            Ok(()) => Refusal::new(Code::NoLeader),
        })
    }

    /// Whose tokens this cluster takes.
    pub(crate) fn class(&self) -> Result<TokenClass, Refusal> {
        self.keys.unsealed().map(|keys| keys.class).ok_or(Refusal::new(Code::Sealed))
    }

    /// Decides one request; a denial becomes an entry before anybody hears of it.
    pub(crate) async fn authorize(&self, call: &Call, request: Request, items: usize) -> Result<Permit, Refusal> {
        let request = self.located(call, request);
        self.decided(call, items, |policy, now| {
            let decided = policy.decide(&request, now);
            let active = decided.as_ref().map(|_| ()).map_err(Denial::reason);
            self.policy.shadow().compare(&request, now, active);
            decided
        })
        .await
    }

    /// The first step of a call whose items are decided one by one: refuses what no grant could carry, with one entry
    /// for all of them, before anybody looks at an item. The policy text is asked when the items are decided.
    pub(crate) async fn screen(&self, call: &Call, request: &Request, items: usize) -> Result<(), Refusal> {
        self.decided(call, items, |policy, now| policy.screen(request, now)).await
    }

    /// Decides the records of a call, see [`Policy::decide_records`].
    pub(crate) fn decide_records(
        &self,
        request: &Request,
        records: &[Option<RecordFacts<'_>>],
    ) -> Result<Vec<Share>, Refusal> {
        let now = self.now()?;
        let shares = self.policy.load().decide_records(request, records, now);
        self.policy.shadow().compare_records(request, records, now, &shares);
        Ok(shares)
    }

    /// The request with what the call proved and the part of the network it came from.
    pub(crate) fn located(&self, call: &Call, request: Request) -> Request {
        #[cfg(feature = "failpoints")]
        let request = crate::failpoint::lawless(request);
        request.proven(call.proof()).source(self.zones.of(call.address))
    }

    async fn decided<T>(
        &self,
        call: &Call,
        items: usize,
        decide: impl Fn(&Policy, Timestamp) -> Result<T, Denial>,
    ) -> Result<T, Refusal> {
        self.time_known().await;
        for _ in 0..fuda_core::limits::PROPOSAL_ROUNDS_MAX {
            let denial = match decide(&self.policy.load(), self.now()?) {
                Ok(decided) => return Ok(decided),
                Err(denial) => denial,
            };
            match self.enter_denial(call, &denial, items).await? {
                Entered::Yes => return Err(Refusal::denied(denial.reason())),
                Entered::PolicyMoved => {}
            }
        }
        Err(Refusal::new(Code::StaleRoundsExhausted))
    }

    /// Waits a moment when the majority's time is not known: it is exchanged anew whenever the membership changes.
    async fn time_known(&self) {
        let deadline = tokio::time::Instant::now() + Duration::from_millis(TIME_KNOWN_MS_MAX);
        while self.replica.clock() == ClockReading::Unknown && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Decides without entering anything.
    pub(crate) fn decide(&self, call: &Call, request: Request) -> Result<Result<Permit, Denial>, Refusal> {
        let policy: Arc<Policy> = self.policy.load();
        Ok(policy.decide(&self.located(call, request), self.now()?))
    }

    /// Commits the entry of a denial.
    pub(crate) async fn enter_denial(&self, call: &Call, denial: &Denial, items: usize) -> Result<Entered, Refusal> {
        let items = u32::try_from(items).unwrap_or(u32::MAX);
        let canaries =
            heavy(call.presented.len(), || Self::read(reader::canaries_among(&self.store, &call.presented)))?;
        let body = |denied| Body::Denied(Denied::from(denied).presenting(canaries));
        let audited = Audited::denied(denial, call.facts(), items, body);
        let committed = self.propose(Command::from(audited)).await?;
        match committed.outcome {
            Outcome::StalePolicy { version } => {
                self.policy_at(version, committed.index).await?;
                Ok(Entered::PolicyMoved)
            }
            // Before bootstrap there is no ledger to enter a denial in; the caller learns that.
            Outcome::Refused { refusal, .. } => Err(refusal.into()),
            Outcome::Applied { .. } | Outcome::Expired => Ok(Entered::Yes),
        }
    }

    /// Commits a permitted command.
    pub(crate) async fn commit(&self, call: &Call, permit: &Permit, body: Body) -> Result<Committed, Refusal> {
        self.propose(Command::from(Audited::permitted(permit, call.facts(), body))).await
    }

    /// Waits until this node has applied `index` and decides by a policy not older than `version`.
    async fn policy_at(&self, version: PolicyVersion, index: u64) -> Result<(), Refusal> {
        self.caught_up(index).await?;
        self.policy.wait_for(version).await.map_err(|_| Refusal::new(Code::NodeBehind))
    }

    /// Waits until this node has applied `index`.
    async fn caught_up(&self, index: u64) -> Result<(), Refusal> {
        let deadline = tokio::time::Instant::now() + Duration::from_millis(CATCH_UP_MS_MAX);
        self.replica.wait_applied(index, deadline).await.map_err(|error| Refusal::new(error.code()))
    }

    /// Waits until this node knows what made a proposal stale, a bucket key perhaps.
    async fn moved(&self, index: u64) -> Result<(), Refusal> {
        self.caught_up(index).await?;
        self.keys.refresh(&self.store)
    }

    async fn propose(&self, command: Command) -> Result<Committed, Refusal> {
        let proposed = self.replica.propose(command).await.map_err(|error| Refusal::new(error.code()))?;
        Ok(Committed { outcome: proposed.outcome, index: proposed.index })
    }

    /// Reads from this node's state. A failed read is the end of the process elsewhere; here it is INTERNAL.
    pub(crate) fn read<T, E: std::fmt::Display>(result: Result<T, E>) -> Result<T, Refusal> {
        result.map_err(|error| {
            tracing::error!(%error, "reading the state failed");
            Refusal::new(Code::Internal)
        })
    }
}

/// Whether a denial has its entry, or has to be decided again because the policy moved.
pub(crate) enum Entered {
    Yes,
    PolicyMoved,
}

/// Splits an applied outcome from one that has to be decided again.
pub(crate) enum Round {
    Applied { first: Option<Sequence>, items: Vec<fuda_state::ItemOutcome> },
    Again,
}

impl Gate {
    /// Reads a committed outcome: applied, refused for good, or to be decided again after this node has caught up.
    pub(crate) async fn round(&self, committed: Committed) -> Result<Round, Refusal> {
        match committed.outcome {
            Outcome::Applied { first, items, .. } => Ok(Round::Applied { first, items }),
            Outcome::StalePolicy { version } => {
                self.policy_at(version, committed.index).await?;
                Ok(Round::Again)
            }
            Outcome::Expired => {
                self.caught_up(committed.index).await?;
                Ok(Round::Again)
            }
            Outcome::Refused { refusal, .. } => {
                tracing::info!(refusal = refusal.code(), "a command was refused");
                Err(refusal.into())
            }
        }
    }

    /// The outcomes of a proposal's items, in their order; `None` if it has to be decided again as a whole.
    pub(super) async fn outcomes(
        &self,
        committed: Committed,
        items: usize,
    ) -> Result<Option<Vec<fuda_state::ItemOutcome>>, Refusal> {
        match self.round(committed).await? {
            Round::Applied { items: outcomes, .. } if outcomes.len() == items => Ok(Some(outcomes)),
            Round::Applied { .. } => Err(Refusal::new(Code::Internal)),
            Round::Again => Ok(None),
        }
    }

    /// The tenant as this node's policy knows it.
    pub(crate) fn key_domain(&self, tenant: &TenantId) -> Result<fuda_core::KeyDomainId, Refusal> {
        match self.policy.load().tenant(tenant) {
            Some(tenant) => Ok(tenant.key_domain),
            None => Err(Refusal::new(Code::DeniedOrNotFound)),
        }
    }
}

/// This machine's wall clock: good enough to show a status, never to decide on data.
pub(crate) fn local_time() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
