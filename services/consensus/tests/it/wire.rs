//! The peer service does nothing for a call that is not meant for it.

use bytes::Bytes;
use fuda_consensus::{HEADER_KEY, Tuning};
use fuda_proto::peer::v1 as wire;
use fuda_proto::peer::v1::peer_service_client::PeerServiceClient;
use prost::Message;
use tonic::metadata::BinaryMetadataValue;
use tonic::{Code, Request};

use crate::cluster::{CLUSTER, Cluster, Kind};

fn with<T>(message: T, header: &wire::Header) -> Request<T> {
    let mut request = Request::new(message);
    let value = BinaryMetadataValue::from_bytes(&header.encode_to_vec());
    request.metadata_mut().insert_bin(HEADER_KEY, value);
    request
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_for_others_and_from_strangers_are_refused() {
    let cluster = Cluster::start(2, Kind::Memory, &Tuning::default()).await;
    let leader = cluster.leader().await;
    let (target, source) = (cluster.nodes[leader].replica(), cluster.nodes[1 - leader].replica());
    let address = cluster.nodes[leader].address();
    let mut client = PeerServiceClient::connect(format!("http://{address}")).await.unwrap();
    let id = |bytes: [u8; 16]| Bytes::copy_from_slice(&bytes);
    let good = wire::Header {
        cluster: id(CLUSTER.0),
        target_node_id: target.assignment().unwrap().node_id,
        target_uuid: id(target.member().uuid),
        source_node_id: source.assignment().unwrap().node_id,
        source_uuid: id(source.member().uuid),
    };

    // Phase 1: the good header passes; each part of it, when wrong, does not.
    client.clock(with(wire::ClockRequest {}, &good)).await.unwrap();
    let none = client.clock(Request::new(wire::ClockRequest {})).await.unwrap_err();
    assert_eq!(none.code(), Code::InvalidArgument);
    for wrong in [
        wire::Header { cluster: id([0; 16]), ..good.clone() },
        wire::Header { target_node_id: 99, ..good.clone() },
        wire::Header { target_uuid: id([0; 16]), ..good.clone() },
        wire::Header { source_uuid: id([0; 16]), ..good.clone() },
    ] {
        let refused = client.clock(with(wire::ClockRequest {}, &wrong)).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition, "{wrong:?}");
    }

    // Phase 2: who is no member cannot make the cluster do anything, and nobody can make it apply nonsense.
    let stranger = wire::Header { source_node_id: 99, source_uuid: id([9; 16]), ..good.clone() };
    let nonsense = || wire::ForwardRequest { commands: vec![Bytes::from_static(b"?")], deadline_ms: 1_000 };
    let refused = client.forward(with(nonsense(), &stranger)).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let refused = client.forward(with(nonsense(), &good)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let remove = wire::change_members_request::Change::Remove(wire::change_members_request::Remove { node_id: 1 });
    let change = wire::ChangeMembersRequest { change: Some(remove) };
    let refused = client.change_members(with(change, &stranger)).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);

    // Phase 3: a member cannot be made a member of another cluster.
    let assign = wire::AssignRequest { cluster: id([7; 16]), vault: id([7; 16]), node_id: 5 };
    let joining = wire::Header { cluster: Bytes::new(), target_node_id: 0, ..good };
    let refused = client.assign(with(assign, &joining)).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    drop(client);
    cluster.shut_down().await;
}
