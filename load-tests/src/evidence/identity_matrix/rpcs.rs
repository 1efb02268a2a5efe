//! Every RPC: its name from the descriptors, a request that an allowed caller gets an answer to, and how to read it.

use anyhow::{Context as _, Result};
use fuda_proto::access::v1 as access;
use fuda_proto::cluster::v1 as cluster;
use fuda_proto::guard::v1 as guard;
use fuda_proto::ledger::v1 as ledger;
use fuda_proto::peer::v1 as peer;
use fuda_proto::policy::v1 as policy;
use fuda_proto::purpose::v1 as purpose;
use fuda_proto::tenant::v1 as tenant;
use fuda_proto::transfer::v1 as transfer;
use fuda_proto::vault::v1 as vault;
use prost::Message;
use prost_types::FileDescriptorSet;

use crate::cluster::OTHER_TENANT;

/// google.rpc.Code of a denial.
const PERMISSION_DENIED: i32 = 7;
/// Services that are not ours and that every node offers to callers.
const EXCEPTIONS: [&str; 3] = [
    "grpc.health.v1.Health/Check",
    "grpc.health.v1.Health/Watch",
    "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
];

/// Names of all RPCs, `package.Service/Method`: those of the port for callers, and those of the port for nodes.
pub(super) fn all() -> Result<(Vec<String>, Vec<String>)> {
    let descriptors = FileDescriptorSet::decode(fuda_proto::DESCRIPTORS).context("the descriptors")?;
    let mut names = Vec::new();
    for file in &descriptors.file {
        for service in file.service.iter().filter(|_| file.package().starts_with("fuda.")) {
            let of = |method: &prost_types::MethodDescriptorProto| {
                format!("{}.{}/{}", file.package(), service.name(), method.name())
            };
            names.extend(service.method.iter().map(of));
        }
    }
    let (peer, mut client): (Vec<String>, Vec<String>) =
        names.into_iter().partition(|name| name.starts_with("fuda.peer."));
    client.extend(EXCEPTIONS.map(str::to_owned));
    Ok((client, peer))
}

/// What requests name.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    /// The tenant that the request names.
    pub(super) tenant: String,
    /// A token of the tenant under attack.
    pub(super) token: String,
    /// The number behind it.
    pub(super) number: String,
    /// Whose it is.
    pub(super) subject: String,
    /// A subject that has no record yet.
    pub(super) new_subject: String,
    /// A scope that the token may be exchanged to.
    pub(super) to_scope: String,
    /// Scope and purpose of the token.
    pub(super) scope: String,
    /// See `scope`.
    pub(super) purpose: String,
    /// An order that waits for approval.
    pub(super) order: String,
    /// A caller that nobody is.
    pub(super) nobody: String,
}

impl Facts {
    fn item(&self) -> vault::TokenizeItem {
        vault::TokenizeItem {
            kind: "my_number".to_owned(),
            number: self.number.clone(),
            subject: self.new_subject.clone(),
            relation: vault::Relation::Self_.into(),
            scope: self.scope.clone(),
            ..vault::TokenizeItem::default()
        }
    }

    fn verify_item(&self) -> vault::VerifyItem {
        vault::VerifyItem { token: self.token.clone(), number: self.number.clone() }
    }

    fn update_item(&self) -> vault::UpdateItem {
        vault::UpdateItem { token: self.token.clone(), number: self.number.clone(), verification: None }
    }

    fn name(&self) -> vault::RecordName {
        vault::RecordName { token: self.token.clone(), ..vault::RecordName::default() }
    }

    fn notice(&self) -> vault::NoticeItem {
        let purpose = vault::NotifiedPurpose { purpose: self.purpose.clone(), ..vault::NotifiedPurpose::default() };
        vault::NoticeItem { record: Some(self.name()), notified_purposes: vec![purpose] }
    }

    fn grant(&self) -> tenant::Grant {
        tenant::Grant {
            caller: self.nobody.clone(),
            role: tenant::Role::Workload.into(),
            tenant: self.tenant.clone(),
            actions: vec!["get_record".to_owned()],
            kinds: vec!["my_number".to_owned()],
            ..tenant::Grant::default()
        }
    }
}

/// The messages of a request; `None` for an RPC this program does not know, which fails the run.
pub(super) fn request(rpc: &str, facts: &Facts) -> Option<Vec<Vec<u8>>> {
    let (service, method) = rpc.split_once('/')?;
    match service {
        "fuda.vault.v1.TokenService" => token_request(method, facts).map(|message| vec![message]),
        "fuda.cluster.v1.ClusterService" => cluster_request(method, facts).map(|message| vec![message]),
        "fuda.tenant.v1.TenantService" => tenant_request(method, facts).map(|message| vec![message]),
        "fuda.ledger.v1.LedgerService" => ledger_request(method, facts).map(|message| vec![message]),
        "fuda.guard.v1.GuardService" => guard_request(method, facts).map(|message| vec![message]),
        "fuda.access.v1.AccessService" => access_request(method, facts).map(|message| vec![message]),
        "fuda.transfer.v1.TransferService" => transfer_request(method, facts).map(|message| vec![message]),
        "fuda.purpose.v1.PurposeService" => purpose_request(method, facts).map(|message| vec![message]),
        "fuda.policy.v1.PolicyService" => policy_request(method).map(|message| vec![message]),
        "fuda.peer.v1.PeerService" => peer_request(method),
        "grpc.health.v1.Health" => Some(vec![Vec::new()]),
        // ServerReflectionRequest { list_services: "" }.
        "grpc.reflection.v1.ServerReflection" => Some(vec![vec![0x3a, 0x00]]),
        _ => None,
    }
}

fn token_request(method: &str, facts: &Facts) -> Option<Vec<u8>> {
    let Facts { tenant, token, subject, scope, to_scope, purpose, .. } = facts.clone();
    let (tokens, verify) = (vec![token.clone()], facts.verify_item());
    Some(match method {
        "Tokenize" => vault::TokenizeRequest { tenant, item: Some(facts.item()), ..Default::default() }.encode_to_vec(),
        "BatchTokenize" => {
            vault::BatchTokenizeRequest { tenant, items: vec![facts.item()], ..Default::default() }.encode_to_vec()
        }
        "Detokenize" => {
            vault::DetokenizeRequest { tenant, purpose, scope, token, ..Default::default() }.encode_to_vec()
        }
        "BatchDetokenize" => {
            vault::BatchDetokenizeRequest { tenant, purpose, scope, tokens, ..Default::default() }.encode_to_vec()
        }
        "VerifyNumber" => {
            vault::VerifyNumberRequest { tenant, purpose, scope, item: Some(verify), ..Default::default() }
                .encode_to_vec()
        }
        "BatchVerifyNumbers" => {
            vault::BatchVerifyNumbersRequest { tenant, purpose, scope, items: vec![verify], ..Default::default() }
                .encode_to_vec()
        }
        "DescribeToken" => vault::DescribeTokenRequest { tenant, scope, token, ..Default::default() }.encode_to_vec(),
        "BatchDescribeTokens" => {
            vault::BatchDescribeTokensRequest { tenant, scope, tokens, ..Default::default() }.encode_to_vec()
        }
        "GetRecord" => {
            let kind = "my_number".to_owned();
            vault::GetRecordRequest { tenant, subject, kind, ..Default::default() }.encode_to_vec()
        }
        "Exchange" => vault::ExchangeRequest { tenant, scope, to_scope, token, ..Default::default() }.encode_to_vec(),
        "BatchExchange" => {
            vault::BatchExchangeRequest { tenant, scope, to_scope, tokens, ..Default::default() }.encode_to_vec()
        }
        "Rotate" => vault::RotateRequest { tenant, scope, token, ..Default::default() }.encode_to_vec(),
        "BatchRotate" => vault::BatchRotateRequest { tenant, scope, tokens, ..Default::default() }.encode_to_vec(),
        "UpdateNumber" => {
            let item = Some(facts.update_item());
            vault::UpdateNumberRequest { tenant, scope, item, ..Default::default() }.encode_to_vec()
        }
        "BatchUpdateNumbers" => {
            let items = vec![facts.update_item()];
            vault::BatchUpdateNumbersRequest { tenant, scope, items, ..Default::default() }.encode_to_vec()
        }
        "Disable" => {
            vault::DisableRequest { tenant, scope, record: Some(facts.name()), ..Default::default() }.encode_to_vec()
        }
        "BatchDisable" => {
            vault::BatchDisableRequest { tenant, scope, records: vec![facts.name()], ..Default::default() }
                .encode_to_vec()
        }
        "Enable" => {
            vault::EnableRequest { tenant, scope, record: Some(facts.name()), ..Default::default() }.encode_to_vec()
        }
        "BatchEnable" => vault::BatchEnableRequest { tenant, scope, records: vec![facts.name()], ..Default::default() }
            .encode_to_vec(),
        "Supersede" => {
            vault::SupersedeRequest { tenant, scope, record: Some(facts.name()), ..Default::default() }.encode_to_vec()
        }
        "BatchSupersede" => {
            vault::BatchSupersedeRequest { tenant, scope, records: vec![facts.name()], ..Default::default() }
                .encode_to_vec()
        }
        "AddNotice" => {
            vault::AddNoticeRequest { tenant, scope, item: Some(facts.notice()), ..Default::default() }.encode_to_vec()
        }
        "BatchAddNotices" => {
            vault::BatchAddNoticesRequest { tenant, scope, items: vec![facts.notice()], ..Default::default() }
                .encode_to_vec()
        }
        "RevealMasked" => {
            vault::RevealMaskedRequest { tenant, purpose, scope, token, ..Default::default() }.encode_to_vec()
        }
        "BatchRevealMasked" => {
            vault::BatchRevealMaskedRequest { tenant, purpose, scope, tokens, ..Default::default() }.encode_to_vec()
        }
        // Nobody was registered as a recipient: everybody is denied, the rules of recipients are tested where two people are.
        "Seal" => vault::SealRequest { tenant, purpose, scope, token, ..Default::default() }.encode_to_vec(),
        "BatchSeal" => vault::BatchSealRequest { tenant, purpose, scope, tokens, ..Default::default() }.encode_to_vec(),
        "ListRecords" => vault::ListRecordsRequest { tenant, page_size: 1, ..Default::default() }.encode_to_vec(),
        _ => return None,
    })
}

fn cluster_request(method: &str, facts: &Facts) -> Option<Vec<u8>> {
    let named = |name: &str| format!("{}-{name}", facts.nobody);
    Some(match method {
        "Bootstrap" => cluster::BootstrapRequest {
            owner: named("owner"),
            approvers: vec![named("one"), named("two")],
            test: true,
            ..Default::default()
        }
        .encode_to_vec(),
        // Nobody listens there.
        "JoinNode" => cluster::JoinNodeRequest { peer_address: "127.0.0.1:1".to_owned() }.encode_to_vec(),
        "RemoveNode" => cluster::RemoveNodeRequest { node_id: 999_999 }.encode_to_vec(),
        "GetStatus" => cluster::GetStatusRequest::default().encode_to_vec(),
        _ => return None,
    })
}

fn tenant_request(method: &str, facts: &Facts) -> Option<Vec<u8>> {
    Some(match method {
        "CreateTenant" => {
            let tenant = tenant::Tenant {
                tenant: "matrix".to_owned(),
                display_name: "Matrix".to_owned(),
                purposes: vec![facts.purpose.clone()],
                no_recovery: true,
                ..Default::default()
            };
            tenant::CreateTenantRequest { tenant: Some(tenant), ..Default::default() }.encode_to_vec()
        }
        "GetTenant" => tenant::GetTenantRequest { tenant: facts.tenant.clone() }.encode_to_vec(),
        "ProposeGrants" => {
            tenant::ProposeGrantsRequest { grants: vec![facts.grant()], ..Default::default() }.encode_to_vec()
        }
        "ApproveGrants" => {
            tenant::ApproveGrantsRequest { order: facts.order.clone(), ..Default::default() }.encode_to_vec()
        }
        "ListGrants" => {
            tenant::ListGrantsRequest { tenant: facts.tenant.clone(), ..Default::default() }.encode_to_vec()
        }
        _ => return None,
    })
}

/// Nothing is frozen by them: the reason is missing, which is looked at only after the decision.
fn guard_request(method: &str, facts: &Facts) -> Option<Vec<u8>> {
    let tenant = facts.tenant.clone();
    let target = Some(guard::FreezeTarget { tenant: tenant.clone(), ..Default::default() });
    Some(match method {
        "Freeze" => guard::FreezeRequest { target, ..Default::default() }.encode_to_vec(),
        "Thaw" => guard::ThawRequest { target, ..Default::default() }.encode_to_vec(),
        "ListFreezes" => guard::ListFreezesRequest { tenant }.encode_to_vec(),
        // The scope is missing, the id is none.
        "CreateCanary" => guard::CreateCanaryRequest { tenant, ..Default::default() }.encode_to_vec(),
        "RetireCanary" => guard::RetireCanaryRequest { tenant, ..Default::default() }.encode_to_vec(),
        "ListCanaries" => guard::ListCanariesRequest { tenant }.encode_to_vec(),
        _ => return None,
    })
}

/// Nothing is changed by them: the texts are no policies and the order does not exist, which is looked at only after the
/// decision.
fn policy_request(method: &str) -> Option<Vec<u8>> {
    let text = "no policy".to_owned();
    Some(match method {
        "ProposePolicy" => policy::ProposePolicyRequest { text, base: 1, ..Default::default() }.encode_to_vec(),
        "ApprovePolicy" => policy::ApprovePolicyRequest { order: "0".repeat(32), ..Default::default() }.encode_to_vec(),
        "GetPolicy" => policy::GetPolicyRequest::default().encode_to_vec(),
        "ListPolicyVersions" => policy::ListPolicyVersionsRequest {}.encode_to_vec(),
        "ShadowPolicy" => policy::ShadowPolicyRequest { text, ..Default::default() }.encode_to_vec(),
        "GetShadowReport" => policy::GetShadowReportRequest {}.encode_to_vec(),
        "ExplainDenial" => {
            let request_id = "00000000-0000-4000-8000-000000000000".to_owned();
            policy::ExplainDenialRequest { request_id, ..Default::default() }.encode_to_vec()
        }
        _ => return None,
    })
}

fn ledger_request(method: &str, facts: &Facts) -> Option<Vec<u8>> {
    let tenant = facts.tenant.clone();
    Some(match method {
        "ReadEntries" => ledger::ReadEntriesRequest { tenant, page_size: 1, ..Default::default() }.encode_to_vec(),
        "GetCheckpoint" => ledger::GetCheckpointRequest { tenant }.encode_to_vec(),
        "GetInclusionProof" => ledger::GetInclusionProofRequest { sequence: 0, tree_size: 2, tenant }.encode_to_vec(),
        "GetConsistencyProof" => {
            ledger::GetConsistencyProofRequest { from_size: 1, to_size: 2, tenant }.encode_to_vec()
        }
        "AddCosignature" => ledger::AddCosignatureRequest { checkpoint: "no note".to_owned() }.encode_to_vec(),
        _ => return None,
    })
}

/// Requests that nobody has made: whoever may decide on them is told that there is none, as everybody else is. So the
/// id is malformed, which only those see who were let through.
fn access_request(method: &str, facts: &Facts) -> Option<Vec<u8>> {
    let (tenant, id) = (facts.tenant.clone(), "none".to_owned());
    Some(match method {
        "RequestAccess" => access::RequestAccessRequest { tenant, ..Default::default() }.encode_to_vec(),
        "ApproveAccess" => access::ApproveAccessRequest { tenant, id, ..Default::default() }.encode_to_vec(),
        "DenyAccess" => access::DenyAccessRequest { tenant, id, ..Default::default() }.encode_to_vec(),
        "RevokeAccess" => access::RevokeAccessRequest { tenant, id, ..Default::default() }.encode_to_vec(),
        "ListAccessRequests" => access::ListAccessRequestsRequest { tenant, ..Default::default() }.encode_to_vec(),
        "BreakGlass" => access::BreakGlassRequest { tenant, ..Default::default() }.encode_to_vec(),
        "ReviewBreakGlass" => access::ReviewBreakGlassRequest { tenant, id, ..Default::default() }.encode_to_vec(),
        "StartSuccession" => access::StartSuccessionRequest::default().encode_to_vec(),
        "FinishSuccession" => access::FinishSuccessionRequest::default().encode_to_vec(),
        "CancelSuccession" => access::CancelSuccessionRequest::default().encode_to_vec(),
        "ConsentSubEntrust" => access::ConsentSubEntrustRequest { tenant, ..Default::default() }.encode_to_vec(),
        _ => return None,
    })
}

fn purpose_request(method: &str, facts: &Facts) -> Option<Vec<u8>> {
    let tenant = facts.tenant.clone();
    Some(match method {
        "ListPurposes" => purpose::ListPurposesRequest { tenant }.encode_to_vec(),
        // For a version that the catalogue never had.
        "ProposeCatalogueChange" => {
            purpose::ProposeCatalogueChangeRequest { retire: vec![facts.purpose.clone()], ..Default::default() }
                .encode_to_vec()
        }
        "SetTenantPurposes" => {
            let enable = vec!["matrix.no_such_purpose".to_owned()];
            purpose::SetTenantPurposesRequest { tenant, enable, ..Default::default() }.encode_to_vec()
        }
        "SetTenantRecipients" => {
            let withdraw = vec!["00".repeat(32)];
            purpose::SetTenantRecipientsRequest { tenant, withdraw, ..Default::default() }.encode_to_vec()
        }
        "ApprovePurposeOrder" => {
            purpose::ApprovePurposeOrderRequest { order: "00".repeat(16), ..Default::default() }.encode_to_vec()
        }
        "ListPurposeOrders" => purpose::ListPurposeOrdersRequest { tenant, ..Default::default() }.encode_to_vec(),
        _ => return None,
    })
}

/// Nobody here holds a grant to move numbers, but for who may take offers back: they are let through with an id that is none.
fn transfer_request(method: &str, facts: &Facts) -> Option<Vec<u8>> {
    let (tenant, purpose) = (facts.tenant.clone(), fuda_core::purpose::TRANSFER.to_owned());
    let (scope, token) = (facts.scope.clone(), facts.token.clone());
    Some(match method {
        "OfferTransfer" => {
            let destination = OTHER_TENANT.to_owned();
            let request =
                transfer::OfferTransferRequest { tenant, purpose, scope, token, destination, ..Default::default() };
            request.encode_to_vec()
        }
        "AcceptTransfer" => transfer::AcceptTransferRequest {
            tenant,
            purpose,
            scope,
            transfer: "00".repeat(16),
            transfer_token: token,
            subject: facts.new_subject.clone(),
            ..Default::default()
        }
        .encode_to_vec(),
        "CancelTransfer" => {
            transfer::CancelTransferRequest { tenant, transfer: "none".to_owned(), ..Default::default() }
                .encode_to_vec()
        }
        _ => return None,
    })
}

/// Requests that do nothing: a member is told that they are malformed, everybody else that they are denied.
fn peer_request(method: &str) -> Option<Vec<Vec<u8>>> {
    Some(match method {
        "Append" | "InstallSnapshot" => Vec::new(),
        "Vote" => vec![peer::VoteRequest::default().encode_to_vec()],
        "TransferLeader" => vec![peer::TransferLeaderRequest::default().encode_to_vec()],
        "Forward" => vec![peer::ForwardRequest::default().encode_to_vec()],
        "Clock" => vec![peer::ClockRequest::default().encode_to_vec()],
        "Identify" => vec![peer::IdentifyRequest::default().encode_to_vec()],
        "Assign" => vec![peer::AssignRequest::default().encode_to_vec()],
        "ChangeMembers" => vec![peer::ChangeMembersRequest::default().encode_to_vec()],
        _ => return None,
    })
}

/// Whether the first message of the answer is all there is to wait for: the stream may never end.
pub(super) fn endless(rpc: &str) -> bool {
    rpc.ends_with("Health/Watch") || rpc.ends_with("/ServerReflectionInfo")
}

/// Whether an allowed call leaves the token that it presents dead, so that it needs one of its own.
pub(super) fn spends_token(rpc: &str) -> bool {
    let spending = ["Rotate", "BatchRotate", "Disable", "BatchDisable", "Supersede", "BatchSupersede"];
    rpc.rsplit('/').next().is_some_and(|method| spending.contains(&method))
}

/// Status codes (google.rpc.Code) that only a caller who was let through sees.
pub(super) fn lets_through(rpc: &str) -> &'static [i32] {
    match rpc.rsplit('/').next().unwrap_or_default() {
        // Done already (FAILED_PRECONDITION).
        "Bootstrap" => &[9],
        // Nobody there (UNAVAILABLE).
        "JoinNode" => &[14],
        // No such node.
        "RemoveNode" => &[5, 9],
        // Let through, then refused for a missing field.
        "Freeze" | "Thaw" | "CreateCanary" | "RetireCanary" => &[3],
        // Let through, then refused for a text that is none.
        "ProposePolicy" | "ShadowPolicy" | "AddCosignature" => &[3],
        // No such order, no such denial.
        "ApprovePolicy" | "ExplainDenial" => &[5],
        // Stored by an earlier round.
        "Tokenize" | "BatchTokenize" | "CreateTenant" | "Exchange" | "BatchExchange" => &[0, 6],
        // Made for another catalogue; no such purpose; no such order.
        "ProposeCatalogueChange" => &[9],
        "SetTenantPurposes" | "SetTenantRecipients" => &[3],
        "ApprovePurposeOrder" => &[5],
        // The other tenant has no such subject.
        "GetRecord" => &[0, 5],
        // Malformed (INVALID_ARGUMENT), which only a caller who was let through is told.
        "ApproveAccess" | "DenyAccess" | "RevokeAccess" | "ReviewBreakGlass" | "ConsentSubEntrust"
        | "CancelTransfer" => &[3],
        // There are no keys, and nothing waits (FAILED_PRECONDITION).
        "StartSuccession" | "FinishSuccession" | "CancelSuccession" => &[9],
        // The request is malformed or empty.
        "Append" | "InstallSnapshot" => &[0, 1, 3, 10],
        "Vote" | "TransferLeader" | "Forward" | "Assign" | "ChangeMembers" => &[0, 3],
        _ => &[0],
    }
}

/// The status of a call whose own status is OK: that of its items, in the calls that have some.
///
/// # Errors
/// When the answer cannot be decoded.
pub(super) fn status_of_items(rpc: &str, answer: &[u8]) -> Result<i32> {
    let errors: Vec<Option<vault::ItemError>> = match rpc.rsplit('/').next().unwrap_or_default() {
        "BatchTokenize" => vault::BatchTokenizeResponse::decode(answer)?
            .results
            .into_iter()
            .map(|result| match result.result {
                Some(vault::tokenize_result::Result::Error(error)) => Some(error),
                _ => None,
            })
            .collect(),
        "BatchDetokenize" => vault::BatchDetokenizeResponse::decode(answer)?
            .results
            .into_iter()
            .map(|result| match result.result {
                Some(vault::detokenize_result::Result::Error(error)) => Some(error),
                _ => None,
            })
            .collect(),
        "BatchVerifyNumbers" => vault::BatchVerifyNumbersResponse::decode(answer)?
            .results
            .into_iter()
            .map(|result| match result.result {
                Some(vault::verify_result::Result::Error(error)) => Some(error),
                _ => None,
            })
            .collect(),
        "BatchDescribeTokens" => vault::BatchDescribeTokensResponse::decode(answer)?
            .results
            .into_iter()
            .map(|result| match result.result {
                Some(vault::describe_result::Result::Error(error)) => Some(error),
                _ => None,
            })
            .collect(),
        "BatchExchange" => vault::BatchExchangeResponse::decode(answer)?
            .results
            .into_iter()
            .map(|result| match result.result {
                Some(vault::exchange_result::Result::Error(error)) => Some(error),
                _ => None,
            })
            .collect(),
        "BatchRotate" => vault::BatchRotateResponse::decode(answer)?
            .results
            .into_iter()
            .map(|result| match result.result {
                Some(vault::rotate_result::Result::Error(error)) => Some(error),
                _ => None,
            })
            .collect(),
        "BatchDisable" => vault::BatchDisableResponse::decode(answer)?
            .results
            .into_iter()
            .map(|result| match result.result {
                Some(vault::disable_result::Result::Error(error)) => Some(error),
                _ => None,
            })
            .collect(),
        "BatchEnable" => vault::BatchEnableResponse::decode(answer)?
            .results
            .into_iter()
            .map(|result| match result.result {
                Some(vault::enable_result::Result::Error(error)) => Some(error),
                _ => None,
            })
            .collect(),
        "BatchSupersede" => vault::BatchSupersedeResponse::decode(answer)?
            .results
            .into_iter()
            .map(|result| match result.result {
                Some(vault::supersede_result::Result::Error(error)) => Some(error),
                _ => None,
            })
            .collect(),
        "BatchAddNotices" => vault::BatchAddNoticesResponse::decode(answer)?
            .results
            .into_iter()
            .map(|result| match result.result {
                Some(vault::add_notice_result::Result::Error(error)) => Some(error),
                _ => None,
            })
            .collect(),
        "BatchRevealMasked" => vault::BatchRevealMaskedResponse::decode(answer)?
            .results
            .into_iter()
            .map(|result| match result.result {
                Some(vault::reveal_masked_result::Result::Error(error)) => Some(error),
                _ => None,
            })
            .collect(),
        "BatchSeal" => vault::BatchSealResponse::decode(answer)?
            .results
            .into_iter()
            .map(|result| match result.result {
                Some(vault::seal_result::Result::Error(error)) => Some(error),
                _ => None,
            })
            .collect(),
        "BatchUpdateNumbers" => vault::BatchUpdateNumbersResponse::decode(answer)?
            .results
            .into_iter()
            .map(|result| match result.result {
                Some(vault::update_number_result::Result::Error(error)) => Some(error),
                _ => None,
            })
            .collect(),
        _ => return Ok(0),
    };
    let denied = errors.iter().flatten().all(|error| error.status == PERMISSION_DENIED);
    // One item that is not denied is a call that is not denied.
    let other = errors.iter().find(|error| error.as_ref().is_none_or(|error| error.status != PERMISSION_DENIED));
    Ok(match other {
        Some(error) => error.as_ref().map_or(0, |error| error.status),
        None if denied && !errors.is_empty() => PERMISSION_DENIED,
        None => 0,
    })
}
