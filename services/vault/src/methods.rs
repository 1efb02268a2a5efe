//! The names of all services and methods of the client listener.

/// Fully qualified services, for `grpc.health.v1`.
pub(crate) const SERVICES: &[&str] = &[
    "fuda.vault.v1.TokenService",
    "fuda.cluster.v1.ClusterService",
    "fuda.tenant.v1.TenantService",
    "fuda.ledger.v1.LedgerService",
    "fuda.policy.v1.PolicyService",
    "fuda.guard.v1.GuardService",
    "fuda.access.v1.AccessService",
    "fuda.purpose.v1.PurposeService",
    "fuda.transfer.v1.TransferService",
];

/// Fully qualified methods, as telemetry names them.
pub(crate) const METHODS: &[&str] = &[
    "fuda.vault.v1.TokenService/Tokenize",
    "fuda.vault.v1.TokenService/BatchTokenize",
    "fuda.vault.v1.TokenService/Detokenize",
    "fuda.vault.v1.TokenService/BatchDetokenize",
    "fuda.vault.v1.TokenService/VerifyNumber",
    "fuda.vault.v1.TokenService/BatchVerifyNumbers",
    "fuda.vault.v1.TokenService/DescribeToken",
    "fuda.vault.v1.TokenService/BatchDescribeTokens",
    "fuda.vault.v1.TokenService/GetRecord",
    "fuda.vault.v1.TokenService/ListRecords",
    "fuda.vault.v1.TokenService/Exchange",
    "fuda.vault.v1.TokenService/BatchExchange",
    "fuda.vault.v1.TokenService/Rotate",
    "fuda.vault.v1.TokenService/BatchRotate",
    "fuda.vault.v1.TokenService/UpdateNumber",
    "fuda.vault.v1.TokenService/BatchUpdateNumbers",
    "fuda.vault.v1.TokenService/Disable",
    "fuda.vault.v1.TokenService/BatchDisable",
    "fuda.vault.v1.TokenService/Enable",
    "fuda.vault.v1.TokenService/BatchEnable",
    "fuda.vault.v1.TokenService/Supersede",
    "fuda.vault.v1.TokenService/BatchSupersede",
    "fuda.vault.v1.TokenService/AddNotice",
    "fuda.vault.v1.TokenService/BatchAddNotices",
    "fuda.vault.v1.TokenService/RevealMasked",
    "fuda.vault.v1.TokenService/BatchRevealMasked",
    "fuda.vault.v1.TokenService/Seal",
    "fuda.vault.v1.TokenService/BatchSeal",
    "fuda.cluster.v1.ClusterService/Bootstrap",
    "fuda.cluster.v1.ClusterService/JoinNode",
    "fuda.cluster.v1.ClusterService/RemoveNode",
    "fuda.cluster.v1.ClusterService/GetStatus",
    "fuda.tenant.v1.TenantService/CreateTenant",
    "fuda.tenant.v1.TenantService/GetTenant",
    "fuda.tenant.v1.TenantService/ProposeGrants",
    "fuda.tenant.v1.TenantService/ApproveGrants",
    "fuda.tenant.v1.TenantService/ListGrants",
    "fuda.ledger.v1.LedgerService/ReadEntries",
    "fuda.ledger.v1.LedgerService/GetCheckpoint",
    "fuda.ledger.v1.LedgerService/GetInclusionProof",
    "fuda.ledger.v1.LedgerService/GetConsistencyProof",
    "fuda.ledger.v1.LedgerService/AddCosignature",
    "fuda.guard.v1.GuardService/Freeze",
    "fuda.guard.v1.GuardService/Thaw",
    "fuda.guard.v1.GuardService/ListFreezes",
    "fuda.guard.v1.GuardService/CreateCanary",
    "fuda.guard.v1.GuardService/RetireCanary",
    "fuda.guard.v1.GuardService/ListCanaries",
    "fuda.access.v1.AccessService/RequestAccess",
    "fuda.access.v1.AccessService/ApproveAccess",
    "fuda.access.v1.AccessService/DenyAccess",
    "fuda.access.v1.AccessService/RevokeAccess",
    "fuda.access.v1.AccessService/ListAccessRequests",
    "fuda.access.v1.AccessService/BreakGlass",
    "fuda.access.v1.AccessService/ReviewBreakGlass",
    "fuda.access.v1.AccessService/ConsentSubEntrust",
    "fuda.purpose.v1.PurposeService/ListPurposes",
    "fuda.purpose.v1.PurposeService/ProposeCatalogueChange",
    "fuda.purpose.v1.PurposeService/SetTenantPurposes",
    "fuda.purpose.v1.PurposeService/SetTenantRecipients",
    "fuda.purpose.v1.PurposeService/ApprovePurposeOrder",
    "fuda.purpose.v1.PurposeService/ListPurposeOrders",
    "fuda.policy.v1.PolicyService/ProposePolicy",
    "fuda.policy.v1.PolicyService/ApprovePolicy",
    "fuda.policy.v1.PolicyService/GetPolicy",
    "fuda.policy.v1.PolicyService/ListPolicyVersions",
    "fuda.policy.v1.PolicyService/ShadowPolicy",
    "fuda.policy.v1.PolicyService/GetShadowReport",
    "fuda.policy.v1.PolicyService/ExplainDenial",
    "fuda.access.v1.AccessService/StartSuccession",
    "fuda.access.v1.AccessService/FinishSuccession",
    "fuda.access.v1.AccessService/CancelSuccession",
    "fuda.transfer.v1.TransferService/OfferTransfer",
    "fuda.transfer.v1.TransferService/AcceptTransfer",
    "fuda.transfer.v1.TransferService/CancelTransfer",
    "grpc.health.v1.Health/Check",
    "grpc.health.v1.Health/Watch",
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost::Message as _;

    use super::*;

    /// A new method fails here until telemetry knows it.
    #[test]
    fn every_method_of_the_client_services_is_named() {
        let descriptors = prost_types::FileDescriptorSet::decode(fuda_proto::DESCRIPTORS).unwrap();
        let mut found = BTreeSet::new();
        for file in &descriptors.file {
            for service in &file.service {
                let name = format!("{}.{}", file.package(), service.name());
                if name.starts_with("fuda.") && !name.starts_with("fuda.peer.") {
                    assert!(SERVICES.contains(&name.as_str()), "{name} is missing");
                    found.extend(service.method.iter().map(|method| format!("{name}/{}", method.name())));
                }
            }
        }
        let named: BTreeSet<String> =
            METHODS.iter().filter(|name| name.starts_with("fuda.")).map(|name| (*name).to_owned()).collect();
        assert_eq!(named, found);
    }
}
