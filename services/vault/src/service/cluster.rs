//! ClusterService: making and running the cluster. Reveals nothing, changes no policy.

use std::sync::Arc;

use fuda_consensus::types::Member;
use fuda_consensus::{ClockReading, ReplicaStatus};
use fuda_core::{CallerId, Catalogue, Code, KeyDomainId, Sequence, TokenClass, limits};
use fuda_crypto::{OsRandom, Random as _};
use fuda_ledger::WitnessKey;
use fuda_policy::{Action, Policy, Request as PolicyRequest};
use fuda_proto::cluster::v1 as pb;
use fuda_proto::cluster::v1::cluster_service_server::ClusterService;
use fuda_state::command::bootstrap::check_people;
use fuda_state::command::{AddMember, Bootstrap, RemoveMember, SealedBucket};
use fuda_state::retention::{self, Holder};
use fuda_state::succession::SuccessionKeys;
use fuda_state::{Body, ClusterId, MemberUuid, NodeId, Outcome, TableError, reader};
use fuda_storage::Store;
use tonic::{Request, Response, Status};

use super::ledger::verifier_key;
use super::{call, refused};
use crate::digests::Digests;
use crate::export::{Exports, Standing};
use crate::gate::{Call, Gate};
use crate::refusal::Refusal;
use crate::witness::Vouching;

/// Serves ClusterService on this node.
pub(crate) struct Cluster {
    gate: Arc<Gate>,
    exports: Arc<Exports>,
    bootstrap_operator: Option<CallerId>,
    /// One bootstrap at a time.
    bootstrapping: tokio::sync::Mutex<()>,
    digests: Digests,
}

impl Cluster {
    /// A service over `gate`; only `bootstrap_operator` may make a vault here.
    pub(crate) fn new(gate: Arc<Gate>, exports: Arc<Exports>, bootstrap_operator: Option<CallerId>) -> Self {
        let digests = Digests::new(gate.store.clone());
        Self { gate, exports, bootstrap_operator, bootstrapping: tokio::sync::Mutex::new(()), digests }
    }

    /// Draws the keys of a new vault, starts its first member and commits entry 0.
    pub(crate) async fn make_vault(&self, call: &Call, people: People) -> Result<pb::BootstrapResponse, Refusal> {
        let _one = self.bootstrapping.lock().await;
        if self.bootstrap_operator.as_ref() != Some(&call.caller) {
            return Err(Refusal::new(Code::DeniedOrNotFound));
        }
        if Gate::read(reader::vault(&self.gate.store))?.is_some() {
            return Err(Refusal::new(Code::AlreadyBootstrapped));
        }
        let fresh = self.gate.keys.draw_vault().await.map_err(internal("the custodian did not take a new root"))?;
        let mut cluster = [0; 16];
        OsRandom::new().fill(&mut cluster).map_err(|_| Refusal::new(Code::Internal))?;
        let assignment =
            self.gate.replica.initialize(ClusterId(cluster), fresh.vault).await.map_err(|error| match error {
                fuda_consensus::Error::AlreadyMember => Refusal::new(Code::AlreadyBootstrapped),
                error => internal("the first member did not start")(error),
            })?;
        if assignment.vault != fresh.vault {
            // An interrupted attempt left its ids on the volume; its root is not this one.
            return Err(Refusal::new(Code::PreconditionFailed));
        }
        let origin = format!("fuda/{}", fresh.vault);
        let member = self.gate.replica.member();
        let ledger_verifier_key = verifier_key(&origin, fresh.ledger_public_key)?;
        let bootstrap = Bootstrap {
            vault: fresh.vault,
            cluster: assignment.cluster,
            class: people.class,
            origin,
            owner: people.owner,
            approvers: people.approvers,
            operators: people.operators,
            auditors: people.auditors,
            policy_text: Policy::DEFAULT_TEXT.to_owned(),
            catalogue: Catalogue::from_toml(Catalogue::default_text()).map_err(internal("the catalogue"))?,
            checkpoint_public_key: fresh.ledger_public_key,
            sealed_checkpoint_key: fresh.sealed_ledger_key,
            domain: KeyDomainId::SHARED,
            root_version: fresh.root_version,
            buckets: fresh
                .buckets
                .into_iter()
                .map(|row| SealedBucket { bucket: row.bucket, bucket_version: row.bucket_version, sealed: row.sealed })
                .collect(),
            first_member: add_member(&member),
            succession: people.succession,
        };
        let permit = self
            .gate
            .decide(call, PolicyRequest::vault(Action::Bootstrap, call.caller.clone()))?
            .map_err(|denial| Refusal::denied(denial.reason()))?;
        let committed = self.gate.commit(call, &permit, Body::Bootstrap(Box::new(bootstrap))).await?;
        match committed.outcome {
            Outcome::Applied { .. } => Ok(pb::BootstrapResponse {
                vault: fresh.vault.to_string(),
                cluster: assignment.cluster.to_string(),
                ledger_verifier_key,
            }),
            Outcome::Refused { refusal, .. } => Err(refusal.into()),
            Outcome::StalePolicy { .. } | Outcome::Expired => Err(Refusal::new(Code::StaleRoundsExhausted)),
        }
    }

    /// Commits an act of an operator and returns its outcome.
    async fn act(&self, call: &Call, action: Action, body: impl Fn() -> Body) -> Result<Option<NodeId>, Refusal> {
        for _ in 0..limits::PROPOSAL_ROUNDS_MAX {
            let permit = self.gate.authorize(call, PolicyRequest::vault(action, call.caller.clone()), 1).await?;
            let committed = self.gate.commit(call, &permit, body()).await?;
            if let Outcome::Applied { node_id, .. } = &committed.outcome {
                return Ok(*node_id);
            }
            self.gate.round(committed).await?;
        }
        Err(Refusal::new(Code::StaleRoundsExhausted))
    }

    async fn status(&self, with_digest: bool) -> Result<pb::GetStatusResponse, Refusal> {
        let state_digest = match with_digest {
            true => self.digests.current().await.map_err(internal("the state cannot be read"))?.unwrap_or_default(),
            false => String::new(),
        };
        let status: ReplicaStatus = self.gate.replica.status();
        let ready = self.gate.replica.ready();
        let unsealed = self.gate.keys.unsealed().is_some();
        Ok(pb::GetStatusResponse {
            vault: status.vault.map(|vault| vault.to_string()).unwrap_or_default(),
            cluster: status.cluster.map(|cluster| cluster.to_string()).unwrap_or_default(),
            node_id: status.node_id.unwrap_or(0),
            name: status.name,
            leader_id: status.leader.unwrap_or(0),
            term: status.term,
            last_log_index: status.last_log.unwrap_or(0),
            applied_index: status.applied.unwrap_or(0),
            snapshot_index: status.snapshot.unwrap_or(0),
            ledger_size: Gate::read(reader::progress(&self.gate.store))?.tree_size,
            clock_skew_ms: match status.clock {
                ClockReading::Agreed { skew_ms, .. } | ClockReading::Skewed { skew_ms } => skew_ms,
                ClockReading::Unknown => 0,
            },
            ready: ready.is_ok() && unsealed,
            not_ready_reason: match (ready, unsealed) {
                (Err(reason), _) => reason.to_string(),
                (Ok(()), false) => "the node is sealed".to_owned(),
                (Ok(()), true) => String::new(),
            },
            members: status
                .members
                .into_iter()
                .map(|known| pb::Member {
                    node_id: known.node_id,
                    name: known.member.name,
                    peer_address: known.member.peer_address,
                    client_address: known.member.client_address,
                    voter: known.voter,
                    matched_index: known.matched.unwrap_or(0),
                })
                .collect(),
            state_digest,
            seal: if unsealed { "unsealed" } else { "sealed" }.to_owned(),
            sinks: Gate::read(self.exports.standings(&self.gate))?.into_iter().map(sink_to_wire).collect(),
            witnesses: Gate::read(self.exports.witnesses().vouching(&self.gate))?
                .into_iter()
                .map(witness_to_wire)
                .collect(),
            keeping: Some(Gate::read(keeping(&self.gate.store))?),
        })
    }
}

#[tonic::async_trait]
impl ClusterService for Cluster {
    async fn bootstrap(
        &self,
        request: Request<pb::BootstrapRequest>,
    ) -> Result<Response<pb::BootstrapResponse>, Status> {
        let call = call(&request, "", "")?;
        let refused = refused(&call);
        // Who may bootstrap is checked before what is asked for.
        if self.bootstrap_operator.as_ref() != Some(&call.caller) {
            return Err(refused(Refusal::new(Code::DeniedOrNotFound)));
        }
        let people = People::parse(&request.into_inner()).and_then(People::checked).map_err(&refused)?;
        let response = Box::pin(self.make_vault(&call, people)).await.map_err(&refused)?;
        Ok(Response::new(response))
    }

    async fn join_node(&self, request: Request<pb::JoinNodeRequest>) -> Result<Response<pb::JoinNodeResponse>, Status> {
        let call = call(&request, "", "")?;
        let refused = refused(&call);
        let peer_address = request.into_inner().peer_address;
        let ask = PolicyRequest::vault(Action::AddMember, call.caller.clone());
        self.gate.authorize(&call, ask, 1).await.map_err(&refused)?;
        let found = self.gate.replica.identify(&peer_address).await;
        let found = found.map_err(unreachable_node).map_err(&refused)?;
        let member =
            Member { name: found.name.clone(), peer_address, client_address: found.client_address, uuid: found.uuid };
        let node_id =
            self.act(&call, Action::AddMember, || Body::AddMember(add_member(&member))).await.map_err(&refused)?;
        let node_id = node_id.ok_or(Refusal::new(Code::Internal)).map_err(&refused)?;
        self.gate.replica.add_member(node_id.get(), member).await.map_err(|error| {
            tracing::warn!(%error, "a node was not made a member");
            refused(Refusal::new(error.code()))
        })?;
        Ok(Response::new(pb::JoinNodeResponse { node_id: node_id.get(), name: found.name }))
    }

    async fn remove_node(
        &self,
        request: Request<pb::RemoveNodeRequest>,
    ) -> Result<Response<pb::RemoveNodeResponse>, Status> {
        let call = call(&request, "", "")?;
        let refused = refused(&call);
        let node_id = NodeId(request.into_inner().node_id);
        self.act(&call, Action::RemoveMember, || Body::RemoveMember(RemoveMember { node_id }))
            .await
            .map_err(&refused)?;
        self.gate.replica.remove_member(node_id.get()).await.map_err(|error| {
            tracing::warn!(%error, "a member was not removed");
            refused(Refusal::new(error.code()))
        })?;
        Ok(Response::new(pb::RemoveNodeResponse {}))
    }

    async fn get_status(
        &self,
        request: Request<pb::GetStatusRequest>,
    ) -> Result<Response<pb::GetStatusResponse>, Status> {
        let call = call(&request, "", "")?;
        let refused = refused(&call);
        self.may_see_status(&call).await.map_err(&refused)?;
        Ok(Response::new(self.status(request.into_inner().with_digest).await.map_err(&refused)?))
    }
}

impl Cluster {
    /// Status must be seen when nothing can be committed, so only a permitted look is free of the quorum; before
    /// bootstrap and while the policy is out of reach the bootstrap operator may look.
    async fn may_see_status(&self, call: &Call) -> Result<(), Refusal> {
        if self.bootstrap_operator.as_ref() == Some(&call.caller) {
            return Ok(());
        }
        let ask = PolicyRequest::vault(Action::ClusterStatus, call.caller.clone());
        let now = self.gate.replica.cluster_time().unwrap_or_else(crate::gate::local_time);
        match self.gate.policy.load().decide(&self.gate.located(call, ask.clone()), now) {
            Ok(_) => Ok(()),
            Err(_) => self.gate.authorize(call, ask, 1).await.map(|_| ()),
        }
    }
}

/// Who is named at bootstrap.
pub(crate) struct People {
    pub(crate) owner: CallerId,
    pub(crate) approvers: Vec<CallerId>,
    pub(crate) operators: Vec<CallerId>,
    pub(crate) auditors: Vec<CallerId>,
    pub(crate) class: TokenClass,
    pub(crate) succession: Option<SuccessionKeys>,
}

impl People {
    fn parse(wire: &pb::BootstrapRequest) -> Result<Self, Refusal> {
        let all = |ids: &[String]| -> Result<Vec<CallerId>, Refusal> {
            ids.iter().map(|id| CallerId::parse(id).map_err(Refusal::from)).collect()
        };
        Ok(Self {
            owner: CallerId::parse(&wire.owner)?,
            approvers: all(&wire.approvers)?,
            operators: all(&wire.operators)?,
            auditors: all(&wire.auditors)?,
            class: if wire.test { TokenClass::Test } else { TokenClass::Live },
            succession: wire.succession.as_ref().map(crate::wire::access::succession_keys).transpose()?,
        })
    }

    /// Those who would be refused by apply are refused before a root is drawn for them.
    fn checked(self) -> Result<Self, Refusal> {
        let [approvers, operators, auditors] = [&self.approvers, &self.operators, &self.auditors].map(Vec::as_slice);
        let checked = check_people(&self.owner, [approvers, operators, auditors], self.succession.as_ref());
        checked.map(|()| self).map_err(Refusal::from)
    }
}

fn sink_to_wire(standing: Standing) -> pb::Sink {
    pb::Sink {
        sink: standing.sink.to_string(),
        configured: standing.configured,
        next_sequence: standing.row.next.get(),
        lag_entries: standing.lag_entries,
        lag_seconds: standing.lag.as_secs(),
        rejected: standing.row.rejected,
        rejected_sequences: standing.row.rejected_last.into_iter().map(Sequence::get).collect(),
    }
}

fn keeping(store: &Store) -> Result<pb::LedgerKeeping, TableError> {
    let limit = retention::limit(store, reader::progress(store)?.tree_size)?;
    let order = retention::retention(store)?.map(|row| row.retention);
    let pruned = retention::pruned(store)?;
    let (holder, name) = match limit.holder {
        Holder::NoOrder => ("no_order", String::new()),
        Holder::LegalHold => ("legal_hold", String::new()),
        Holder::Tree => ("tree", String::new()),
        Holder::Alarm => ("alarm", String::new()),
        Holder::Sink(sink) => ("sink", sink.to_string()),
        Holder::Witness(key) => ("witness", WitnessKey::parse(&key).map_or(key, |key| key.name().to_owned())),
    };
    Ok(pb::LedgerKeeping {
        days: order.as_ref().map_or(0, |order| order.days),
        legal_hold: order.is_some_and(|order| order.legal_hold),
        first_kept_sequence: pruned.map_or(0, |row| row.first_kept.get()),
        newest_pruned_time: pruned.map(|row| fuda_wire::timestamp_to_wire(row.newest_pruned)),
        held_sequence: limit.before.get(),
        holder: holder.to_owned(),
        holder_name: name,
    })
}

fn witness_to_wire(vouching: Vouching) -> pb::Witness {
    let row = vouching.row;
    pb::Witness {
        name: vouching.key.name().to_owned(),
        entries: row.as_ref().map(|row| row.size).unwrap_or_default(),
        cosigned_time: row.map(|row| fuda_wire::timestamp_to_wire(row.time)),
        age_seconds: vouching.age.map(|age| age.as_secs()).unwrap_or_default(),
    }
}

fn add_member(member: &Member) -> AddMember {
    AddMember {
        uuid: MemberUuid(member.uuid),
        name: member.name.clone(),
        peer_address: member.peer_address.clone(),
        client_address: member.client_address.clone(),
    }
}

fn unreachable_node(error: fuda_consensus::PeerError) -> Refusal {
    tracing::warn!(%error, "a node to be joined cannot be reached");
    Refusal::new(Code::NodeUnreachable)
}

fn internal<E: std::fmt::Display>(what: &'static str) -> impl FnOnce(E) -> Refusal {
    move |error| {
        tracing::error!(%error, what, "internal error");
        Refusal::new(Code::Internal)
    }
}
