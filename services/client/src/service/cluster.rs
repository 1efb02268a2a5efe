//! `fuda.cluster.v1.ClusterService`: for operators.

use fuda_proto::cluster::v1::{
    BootstrapRequest, BootstrapResponse, GetStatusRequest, GetStatusResponse, JoinNodeRequest, JoinNodeResponse,
    RemoveNodeRequest, RemoveNodeResponse,
};

use super::{once, repeatable};
use crate::call::Method;
use crate::{Client, Error};

static BOOTSTRAP: Method = once("/fuda.cluster.v1.ClusterService/Bootstrap");
static JOIN_NODE: Method = repeatable("/fuda.cluster.v1.ClusterService/JoinNode");
static REMOVE_NODE: Method = repeatable("/fuda.cluster.v1.ClusterService/RemoveNode");
static GET_STATUS: Method = repeatable("/fuda.cluster.v1.ClusterService/GetStatus");

#[cfg(test)]
pub(super) const METHODS: &[&Method] = &[&BOOTSTRAP, &JOIN_NODE, &REMOVE_NODE, &GET_STATUS];

impl Client {
    /// Makes a new vault on the node that receives the call: use a client with one endpoint. Never repeated when its
    /// outcome is unknown.
    ///
    /// # Errors
    /// As the API says.
    pub async fn bootstrap(&self, request: BootstrapRequest) -> Result<BootstrapResponse, Error> {
        self.call(&BOOTSTRAP, request, "").await
    }

    /// Makes an empty node a member. May take as long as a snapshot: give the client a long deadline.
    ///
    /// # Errors
    /// As the API says.
    pub async fn join_node(&self, request: JoinNodeRequest) -> Result<JoinNodeResponse, Error> {
        self.call(&JOIN_NODE, request, "").await
    }

    /// Removes a node for ever.
    ///
    /// # Errors
    /// As the API says.
    pub async fn remove_node(&self, request: RemoveNodeRequest) -> Result<RemoveNodeResponse, Error> {
        self.call(&REMOVE_NODE, request, "").await
    }

    /// The cluster as the answering node sees it; with one endpoint, as that node does.
    ///
    /// # Errors
    /// As the API says.
    pub async fn get_status(&self, request: GetStatusRequest) -> Result<GetStatusResponse, Error> {
        self.call(&GET_STATUS, request, "").await
    }
}
