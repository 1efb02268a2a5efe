//! Where the load goes: endpoints, who calls them, and the processes behind them.

use std::time::Duration;

use anyhow::{Result, ensure};
use fuda_proto::vault::v1::token_service_client::TokenServiceClient;
use fuda_runtime::dev_ca::Pems;
use tonic::transport::Channel;

use super::calls::Lane;
use crate::cluster::{LocalCluster, PURPOSE, SCOPES, TENANT, TRUST_DOMAIN};
use crate::wire::{channel, connector};

/// HTTP/2 connections of a target, unless others are asked for.
pub const CONNECTIONS: usize = 16;
/// Deadline of one call.
const CALL_DEADLINE: Duration = Duration::from_secs(20);
/// Largest answer accepted, in bytes.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// What the calls name.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The tenant.
    pub tenant: String,
    /// The scope of all tokens.
    pub scope: String,
    /// The purpose notified for every record and named in every reveal.
    pub purpose: String,
}

/// Connections to a cluster. A connection belongs to one caller and one endpoint.
pub struct Target {
    identity: Identity,
    tokenizer: Vec<TokenServiceClient<Channel>>,
    revealer: Vec<TokenServiceClient<Channel>>,
    pids: Vec<u32>,
    ops: Vec<String>,
}

impl Target {
    /// `connections` connections per caller, taking turns over the endpoints (`host:port`). `tokenizer` may tokenize,
    /// `revealer` may detokenize; both check nodes against `trust_domain`.
    ///
    /// # Errors
    /// When a certificate cannot be read or an endpoint is no address.
    pub fn new(
        endpoints: &[String],
        tokenizer: &Pems,
        revealer: &Pems,
        trust_domain: &str,
        identity: Identity,
        connections: usize,
    ) -> Result<Self> {
        ensure!(!endpoints.is_empty() && connections > 0, "a target has at least one endpoint and one connection");
        let clients = |pems: &Pems| -> Result<Vec<TokenServiceClient<Channel>>> {
            let connector = connector(pems, trust_domain)?;
            let connect = |address: &String| {
                let channel = channel(address, connector.clone(), CALL_DEADLINE)?;
                Ok(TokenServiceClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX))
            };
            endpoints.iter().cycle().take(connections).map(connect).collect()
        };
        Ok(Self {
            identity,
            tokenizer: clients(tokenizer)?,
            revealer: clients(revealer)?,
            pids: Vec::new(),
            ops: Vec::new(),
        })
    }

    /// All nodes of a cluster of ours, as hr and payroll, with its processes and metrics.
    ///
    /// # Errors
    /// When a certificate cannot be read.
    pub fn of(cluster: &LocalCluster) -> Result<Self> {
        let [scope, _] = SCOPES;
        let identity = Identity { tenant: TENANT.to_owned(), scope: scope.to_owned(), purpose: PURPOSE.to_owned() };
        let (hr, payroll) = (cluster.pems("hr")?, cluster.pems("payroll")?);
        let target = Self::new(&cluster.client_addresses(), hr, payroll, TRUST_DOMAIN, identity, CONNECTIONS)?;
        let pids = cluster.nodes().iter().filter_map(|node| node.pid()).collect();
        let ops = cluster.nodes().iter().map(|node| node.spec().addresses.ops.clone()).collect();
        Ok(target.measuring(pids, ops))
    }

    /// The same, measuring the processor time of `pids` and the log counters of the ops listeners `ops`.
    #[must_use]
    pub fn measuring(mut self, pids: Vec<u32>, ops: Vec<String>) -> Self {
        self.pids = pids;
        self.ops = ops;
        self
    }

    /// What the calls name.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Processes of the nodes.
    pub fn pids(&self) -> &[u32] {
        &self.pids
    }

    /// Ops listeners of the nodes.
    pub fn ops(&self) -> &[String] {
        &self.ops
    }

    /// What caller `number` calls with.
    pub(super) fn lane(&self, number: usize) -> Lane {
        let pick =
            |clients: &[TokenServiceClient<Channel>]| clients.iter().cycle().nth(number % clients.len()).cloned();
        Lane::new(&self.identity, pick(&self.tokenizer), pick(&self.revealer), number as u64)
    }

    /// One lane per connection.
    pub(super) fn lanes(&self) -> Vec<Lane> {
        (0..self.tokenizer.len()).map(|number| self.lane(number)).collect()
    }
}
