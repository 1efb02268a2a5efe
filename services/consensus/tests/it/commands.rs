//! Real audited commands: policy decides, the ledger makes the proof.

use fuda_core::{BucketId, BucketVersion, CallerId, Catalogue, KeyDomainId, RequestId, RootVersion, TokenClass};
use fuda_ledger::{Audited, CallFacts};
use fuda_policy::{Action, Policy, Request, samples};
use fuda_state::command::{AddMember, Bootstrap, Denied, SealedBucket};
use fuda_state::{Body, Command, MemberUuid};

use crate::cluster::Node;

fn caller(name: &str) -> CallerId {
    samples::caller(name).unwrap()
}

fn facts(request: u64) -> CallFacts {
    let mut id = [0; 16];
    id[8..].copy_from_slice(&request.to_be_bytes());
    CallFacts {
        request_id: RequestId::from_bytes(id),
        trace: None,
        work_reference: None,
        credential: None,
        assertion: None,
    }
}

/// Entry 0 of the node's cluster.
pub(crate) fn bootstrap(node: &Node) -> Command {
    let replica = node.replica();
    let assignment = replica.assignment().unwrap();
    let me = replica.member();
    let sealed =
        |bucket| SealedBucket { bucket: BucketId(bucket), bucket_version: BucketVersion(1), sealed: vec![5; 60] };
    let body = Bootstrap {
        vault: assignment.vault,
        cluster: assignment.cluster,
        class: TokenClass::Test,
        origin: "fuda.test/vault".to_owned(),
        owner: caller(samples::OWNER),
        approvers: vec![caller(samples::APPROVER), caller(samples::SECOND_APPROVER)],
        operators: vec![caller(samples::OPERATOR)],
        auditors: vec![caller(samples::AUDITOR)],
        policy_text: Policy::DEFAULT_TEXT.to_owned(),
        catalogue: Catalogue::from_toml(Catalogue::default_text()).unwrap(),
        checkpoint_public_key: [9; 32],
        sealed_checkpoint_key: vec![4; 60],
        domain: KeyDomainId::SHARED,
        root_version: RootVersion(1),
        buckets: (0..4).map(sealed).collect(),
        succession: None,
        first_member: AddMember {
            uuid: MemberUuid(me.uuid),
            name: me.name,
            peer_address: me.peer_address,
            client_address: me.client_address,
        },
    };
    let request = Request::vault(Action::Bootstrap, caller(samples::OWNER));
    let now = replica.cluster_time().unwrap();
    let permit = Policy::unbootstrapped().decide(&request, now).map_err(|denial| denial.reason()).unwrap();
    Audited::permitted(&permit, facts(0), Body::Bootstrap(Box::new(body))).into()
}

/// A denied call, which is one entry of the ledger; `request` tells calls apart.
pub(crate) fn denied(node: &Node, request: u64) -> Command {
    let replica = node.replica();
    let data = replica.with_machine(|machine| machine.policy_data(replica.store())).unwrap().unwrap();
    let policy = data.map_or_else(Policy::unbootstrapped, |data| Policy::build(data).unwrap());
    // Another caller each time: the denials of one caller would be counted instead of entered.
    let call = Request::vault(Action::ReadLedger, caller(&format!("nobody-{request}")));
    let now = fuda_core::Timestamp::from_millis(0);
    let denial = policy.decide(&call, replica.cluster_time().unwrap_or(now)).unwrap_err();
    Audited::denied(&denial, facts(request), 1, |call| Body::Denied(Denied::from(call))).into()
}
