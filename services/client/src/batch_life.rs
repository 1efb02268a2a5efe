//! Jobs of any size on the life of tokens; see [`crate::batch`].

use fuda_proto::vault::v1::{
    BatchExchangeRequest, BatchRevealMaskedRequest, BatchRotateRequest, BatchSealRequest, BatchUpdateNumbersRequest,
    ExchangeResponse, RevealMaskedResponse, RotateResponse, SealResponse, UpdateItem, UpdateNumberResponse,
    exchange_result, reveal_masked_result, rotate_result, seal_result, update_number_result,
};
use prost::Message as _;
use zeroize::Zeroizing;

use crate::batch::{EMPTY, handed_over, per_item, refused, split};
use crate::call::keep_request_id;
use crate::{Client, Job, Results, Secret};

impl Client {
    /// Tokens of the scope `to_scope` for any number of tokens of the job's scope; with `replace` in the place of those
    /// that the records have of it. The presented tokens are wiped.
    ///
    /// A request that stays without an answer after all retries leaves its items in doubt; exchanging them again then
    /// answers [`fuda_core::Code::TokenExists`] or, with `replace`, gives new ones.
    pub async fn exchange_all(
        &self,
        job: &Job,
        to_scope: &str,
        replace: bool,
        tokens: Vec<Zeroizing<String>>,
    ) -> Results<Secret<ExchangeResponse>> {
        let requests = split(tokens, |token| token.len());
        let calls = requests.into_iter().map(|tokens| async move {
            let count = tokens.len();
            let mut request = BatchExchangeRequest {
                tenant: job.tenant.clone(),
                scope: job.scope.clone(),
                to_scope: to_scope.to_owned(),
                replace,
                tokens: handed_over(tokens),
                work_reference: job.work_reference.clone(),
                ..BatchExchangeRequest::default()
            };
            let (id, answer) = match keep_request_id(&mut request.request_id) {
                Ok(id) => (id, self.batch_exchange(request).await),
                Err(error) => (String::new(), Err(error)),
            };
            let results = answer.map(|mut answer| std::mem::take(&mut answer.results));
            per_item(count, results, |result| match result.result {
                Some(exchange_result::Result::Ok(reply)) => Ok(Secret::new(reply)),
                Some(exchange_result::Result::Error(error)) => Err(refused(&error, &id)),
                None => Err(EMPTY),
            })
        });
        self.run(calls).await
    }

    /// Tokens in the place of any number of tokens. The presented tokens are wiped, and dead when they were replaced.
    ///
    /// A request that stays without an answer after all retries leaves its items in doubt: the old tokens may be dead
    /// and the new ones lost. Who cannot afford that uses [`Client::batch_rotate`] with a request id and retry secret of
    /// its own, and repeats the request.
    pub async fn rotate_all(&self, job: &Job, tokens: Vec<Zeroizing<String>>) -> Results<Secret<RotateResponse>> {
        let requests = split(tokens, |token| token.len());
        let calls = requests.into_iter().map(|tokens| async move {
            let count = tokens.len();
            let mut request = BatchRotateRequest {
                tenant: job.tenant.clone(),
                scope: job.scope.clone(),
                tokens: handed_over(tokens),
                work_reference: job.work_reference.clone(),
                ..BatchRotateRequest::default()
            };
            let (id, answer) = match keep_request_id(&mut request.request_id) {
                Ok(id) => (id, self.batch_rotate(request).await),
                Err(error) => (String::new(), Err(error)),
            };
            let results = answer.map(|mut answer| std::mem::take(&mut answer.results));
            per_item(count, results, |result| match result.result {
                Some(rotate_result::Result::Ok(reply)) => Ok(Secret::new(reply)),
                Some(rotate_result::Result::Error(error)) => Err(refused(&error, &id)),
                None => Err(EMPTY),
            })
        });
        self.run(calls).await
    }

    /// The last characters of the numbers behind any number of tokens. The tokens are wiped.
    pub async fn reveal_masked_all(
        &self,
        job: &Job,
        tokens: Vec<Zeroizing<String>>,
    ) -> Results<Secret<RevealMaskedResponse>> {
        let requests = split(tokens, |token| token.len());
        let calls = requests.into_iter().map(|tokens| async move {
            let count = tokens.len();
            let mut request = BatchRevealMaskedRequest {
                tenant: job.tenant.clone(),
                purpose: job.purpose.clone(),
                scope: job.scope.clone(),
                tokens: handed_over(tokens),
                work_reference: job.work_reference.clone(),
                ..BatchRevealMaskedRequest::default()
            };
            let (id, answer) = match keep_request_id(&mut request.request_id) {
                Ok(id) => (id, self.batch_reveal_masked(request).await),
                Err(error) => (String::new(), Err(error)),
            };
            let results = answer.map(|mut answer| std::mem::take(&mut answer.results));
            per_item(count, results, |result| match result.result {
                Some(reveal_masked_result::Result::Ok(reply)) => Ok(Secret::new(reply)),
                Some(reveal_masked_result::Result::Error(error)) => Err(refused(&error, &id)),
                None => Err(EMPTY),
            })
        });
        self.run(calls).await
    }

    /// The numbers behind any number of tokens, sealed to a recipient of a fingerprint. The tokens are wiped.
    pub async fn seal_all(&self, job: &Job, recipient: &str, tokens: Vec<Zeroizing<String>>) -> Results<SealResponse> {
        let requests = split(tokens, |token| token.len());
        let calls = requests.into_iter().map(|tokens| async move {
            let count = tokens.len();
            let mut request = BatchSealRequest {
                tenant: job.tenant.clone(),
                purpose: job.purpose.clone(),
                scope: job.scope.clone(),
                recipient: recipient.to_owned(),
                tokens: handed_over(tokens),
                work_reference: job.work_reference.clone(),
                ..BatchSealRequest::default()
            };
            let (id, answer) = match keep_request_id(&mut request.request_id) {
                Ok(id) => (id, self.batch_seal(request).await),
                Err(error) => (String::new(), Err(error)),
            };
            per_item(count, answer.map(|answer| answer.results), |result| match result.result {
                Some(seal_result::Result::Ok(reply)) => Ok(reply),
                Some(seal_result::Result::Error(error)) => Err(refused(&error, &id)),
                None => Err(EMPTY),
            })
        });
        self.run(calls).await
    }

    /// New numbers for the records of any number of tokens.
    pub async fn update_all(&self, job: &Job, items: Vec<UpdateItem>) -> Results<UpdateNumberResponse> {
        let requests = split(items, UpdateItem::encoded_len);
        let calls = requests.into_iter().map(|items| async move {
            let count = items.len();
            let mut request = BatchUpdateNumbersRequest {
                tenant: job.tenant.clone(),
                scope: job.scope.clone(),
                items,
                work_reference: job.work_reference.clone(),
                ..BatchUpdateNumbersRequest::default()
            };
            let (id, answer) = match keep_request_id(&mut request.request_id) {
                Ok(id) => (id, self.batch_update_numbers(request).await),
                Err(error) => (String::new(), Err(error)),
            };
            per_item(count, answer.map(|answer| answer.results), |result| match result.result {
                Some(update_number_result::Result::Ok(reply)) => Ok(reply),
                Some(update_number_result::Result::Error(error)) => Err(refused(&error, &id)),
                None => Err(EMPTY),
            })
        });
        self.run(calls).await
    }
}
