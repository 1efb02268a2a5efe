//! Messages that are wiped when they are dropped.

use std::ops::{Deref, DerefMut};

use fuda_proto::vault::v1 as vault;
use fuda_proto::{
    access::v1 as access, cluster::v1 as cluster, guard::v1 as guard, ledger::v1 as ledger, policy::v1 as policy,
    purpose::v1 as purpose, tenant::v1 as tenant, transfer::v1 as transfer,
};
use zeroize::Zeroize;

/// A message that can overwrite the numbers, tokens and retry secrets it holds.
pub trait Wipe {
    /// Overwrites every secret field; the message is of no use afterwards.
    fn wipe(&mut self);
}

/// A message whose secrets are overwritten when it is dropped. It has neither `Debug` nor `Clone`.
pub struct Secret<M: Wipe>(M);

impl<M: Wipe> Secret<M> {
    /// Takes the message over.
    pub const fn new(message: M) -> Self {
        Self(message)
    }

    /// Hands the message out; wiping it is up to the caller from here on.
    pub fn into_inner(mut self) -> M
    where
        M: Default,
    {
        std::mem::take(&mut self.0)
    }
}

impl<M: Wipe> Deref for Secret<M> {
    type Target = M;

    fn deref(&self) -> &M {
        &self.0
    }
}

impl<M: Wipe> DerefMut for Secret<M> {
    fn deref_mut(&mut self) -> &mut M {
        &mut self.0
    }
}

impl<M: Wipe> Drop for Secret<M> {
    fn drop(&mut self) {
        self.0.wipe();
    }
}

impl<M: Wipe> Wipe for Vec<M> {
    fn wipe(&mut self) {
        self.iter_mut().for_each(Wipe::wipe);
    }
}

impl<M: Wipe> Wipe for Option<M> {
    fn wipe(&mut self) {
        self.iter_mut().for_each(Wipe::wipe);
    }
}

/// Fields that are overwritten, and fields that are messages with such fields.
macro_rules! wiped {
    ($package:ident: $($message:ident { $($secret:ident)* ; $($nested:ident)* })+) => {
        $(impl Wipe for $package::$message {
            fn wipe(&mut self) {
                $(self.$secret.zeroize();)*
                $(self.$nested.wipe();)*
            }
        })+
    };
}

wiped! { vault:
    TokenizeItem { number; }
    TokenizeRequest { retry_secret; item }
    TokenizeResponse { token; }
    BatchTokenizeRequest { retry_secret; items }
    TokenizeResult { ; result }
    BatchTokenizeResponse { ; results }
    DetokenizeRequest { token; }
    DetokenizeResponse { number; }
    BatchDetokenizeRequest { tokens; }
    DetokenizeResult { ; result }
    BatchDetokenizeResponse { ; results }
    VerifyItem { token number; }
    VerifyNumberRequest { ; item }
    BatchVerifyNumbersRequest { ; items }
    DescribeTokenRequest { token; }
    BatchDescribeTokensRequest { tokens; }
    ExchangeRequest { token retry_secret; }
    ExchangeResponse { token; }
    BatchExchangeRequest { tokens retry_secret; }
    ExchangeResult { ; result }
    BatchExchangeResponse { ; results }
    RotateRequest { token retry_secret; }
    RotateResponse { token; }
    BatchRotateRequest { tokens retry_secret; }
    RotateResult { ; result }
    BatchRotateResponse { ; results }
    UpdateItem { token number; }
    UpdateNumberRequest { ; item }
    BatchUpdateNumbersRequest { ; items }
    RecordName { token; }
    DisableRequest { ; record }
    BatchDisableRequest { ; records }
    EnableRequest { ; record }
    BatchEnableRequest { ; records }
    SupersedeRequest { ; record }
    BatchSupersedeRequest { ; records }
    NoticeItem { ; record }
    AddNoticeRequest { ; item }
    BatchAddNoticesRequest { ; items }
    RevealMaskedRequest { token; }
    RevealMaskedResponse { masked; }
    BatchRevealMaskedRequest { tokens; }
    SealRequest { token; }
    BatchSealRequest { tokens; }
    RevealMaskedResult { ; result }
    BatchRevealMaskedResponse { ; results }
}

wiped! { transfer:
    OfferTransferRequest { token; }
    OfferTransferResponse { transfer_token; }
    AcceptTransferRequest { transfer_token retry_secret; }
    AcceptTransferResponse { token; }
}

impl Wipe for vault::reveal_masked_result::Result {
    fn wipe(&mut self) {
        match self {
            Self::Ok(reply) => reply.wipe(),
            Self::Error(_) => {}
        }
    }
}

impl Wipe for vault::exchange_result::Result {
    fn wipe(&mut self) {
        match self {
            Self::Ok(reply) => reply.wipe(),
            Self::Error(_) => {}
        }
    }
}

impl Wipe for vault::rotate_result::Result {
    fn wipe(&mut self) {
        match self {
            Self::Ok(reply) => reply.wipe(),
            Self::Error(_) => {}
        }
    }
}

impl Wipe for vault::tokenize_result::Result {
    fn wipe(&mut self) {
        match self {
            Self::Ok(reply) => reply.wipe(),
            Self::Error(_) => {}
        }
    }
}

impl Wipe for vault::detokenize_result::Result {
    fn wipe(&mut self) {
        match self {
            Self::Ok(reply) => reply.wipe(),
            Self::Error(_) => {}
        }
    }
}

/// Requests without a secret.
macro_rules! nothing_to_wipe {
    ($($message:path)*) => {
        $(impl Wipe for $message {
            fn wipe(&mut self) {}
        })*
    };
}

nothing_to_wipe! {
    vault::GetRecordRequest
    vault::ListRecordsRequest
    cluster::BootstrapRequest
    cluster::JoinNodeRequest
    cluster::RemoveNodeRequest
    cluster::GetStatusRequest
    tenant::CreateTenantRequest
    tenant::GetTenantRequest
    tenant::ProposeGrantsRequest
    tenant::ApproveGrantsRequest
    tenant::ListGrantsRequest
    ledger::ReadEntriesRequest
    ledger::GetCheckpointRequest
    ledger::GetInclusionProofRequest
    ledger::AddCosignatureRequest
    ledger::GetConsistencyProofRequest
    guard::FreezeRequest
    guard::ThawRequest
    guard::ListFreezesRequest
    guard::CreateCanaryRequest
    guard::RetireCanaryRequest
    guard::ListCanariesRequest
    access::RequestAccessRequest
    access::ApproveAccessRequest
    access::DenyAccessRequest
    access::RevokeAccessRequest
    access::ListAccessRequestsRequest
    access::BreakGlassRequest
    access::ReviewBreakGlassRequest
    access::ConsentSubEntrustRequest
    purpose::ListPurposesRequest
    purpose::ProposeCatalogueChangeRequest
    purpose::SetTenantPurposesRequest
    purpose::SetTenantRecipientsRequest
    purpose::ApprovePurposeOrderRequest
    purpose::ListPurposeOrdersRequest
    policy::ProposePolicyRequest
    policy::ApprovePolicyRequest
    policy::GetPolicyRequest
    policy::ListPolicyVersionsRequest
    policy::ShadowPolicyRequest
    policy::GetShadowReportRequest
    policy::ExplainDenialRequest
    access::StartSuccessionRequest
    access::FinishSuccessionRequest
    access::CancelSuccessionRequest
    transfer::CancelTransferRequest
}

#[cfg(test)]
mod tests {
    use super::*;

    const NUMBER: &str = "123456789018";

    #[test]
    fn every_secret_of_a_message_is_overwritten() {
        let item = || vault::TokenizeItem { number: NUMBER.to_owned(), ..Default::default() };
        let mut request = vault::BatchTokenizeRequest {
            items: vec![item(), item()],
            retry_secret: vec![7; 32],
            ..Default::default()
        };
        request.wipe();
        assert!(request.retry_secret.is_empty());
        assert!(request.items.iter().all(|item| item.number.is_empty()));

        let ok = vault::DetokenizeResponse { number: NUMBER.to_owned(), ..Default::default() };
        let result = vault::DetokenizeResult { result: Some(vault::detokenize_result::Result::Ok(ok)) };
        let mut response = vault::BatchDetokenizeResponse { results: vec![result] };
        response.wipe();
        let Some(vault::detokenize_result::Result::Ok(ok)) = &response.results[0].result else { panic!("was ok") };
        assert!(ok.number.is_empty());
    }

    #[test]
    fn a_message_handed_out_is_whole() {
        let secret = Secret::new(vault::DetokenizeResponse { number: NUMBER.to_owned(), ..Default::default() });
        assert_eq!(secret.number, NUMBER);
        assert_eq!(secret.into_inner().number, NUMBER);
    }
}
