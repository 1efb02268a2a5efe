//! Jobs of any size: split into requests that the API takes, a few under way at once, one result per item.

use fuda_core::limits::{BATCH_ITEMS_MAX, REQUEST_BYTES_MAX};
use fuda_proto::vault::v1::{
    BatchDescribeTokensRequest, BatchDetokenizeRequest, BatchTokenizeRequest, BatchVerifyNumbersRequest,
    DescribeTokenResponse, DetokenizeResponse, ItemError, TokenizeItem, TokenizeResponse, VerifyItem,
    VerifyNumberResponse, describe_result, detokenize_result, tokenize_result, verify_result,
};
use futures::{StreamExt as _, stream};
use prost::Message;
use zeroize::Zeroizing;

use crate::call::keep_request_id;
use crate::{Client, Error, Refused, Secret};

/// Room of a request for everything but its items, in bytes.
const REQUEST_HEAD_BYTES: usize = 4_096;
/// Most bytes that one item adds to its own encoding: tag and length.
const ITEM_FRAME_BYTES: usize = 8;

/// What the items of a job have in common.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Job {
    /// The legal person.
    pub tenant: String,
    /// Code of the purpose; not used for tokenizing and describing.
    pub purpose: String,
    /// The scope of the tokens; not used for tokenizing, where every item names its own.
    pub scope: String,
    /// The caller's reference to the piece of work; may be empty.
    pub work_reference: String,
}

/// One result per item, in the order of the items. A request that failed as a whole is the error of each of its items.
pub type Results<T> = Vec<Result<T, Error>>;

impl Client {
    /// Stores any number of items.
    ///
    /// A request that stays without an answer after all retries leaves its items in doubt: the vault may have stored
    /// them. Storing them again then answers [`fuda_core::Code::AlreadyExists`]; to be able to repeat a request after
    /// a crash, use [`Client::batch_tokenize`] with a request id and retry secret of your own.
    pub async fn tokenize_all(&self, job: &Job, items: Vec<TokenizeItem>) -> Results<Secret<TokenizeResponse>> {
        let requests = split(items, TokenizeItem::encoded_len);
        let calls = requests.into_iter().map(|items| async move {
            let count = items.len();
            let mut request = BatchTokenizeRequest {
                tenant: job.tenant.clone(),
                items,
                work_reference: job.work_reference.clone(),
                ..BatchTokenizeRequest::default()
            };
            let (id, answer) = match keep_request_id(&mut request.request_id) {
                Ok(id) => (id, self.batch_tokenize(request).await),
                Err(error) => (String::new(), Err(error)),
            };
            let results = answer.map(|mut answer| std::mem::take(&mut answer.results));
            per_item(count, results, |result| match result.result {
                Some(tokenize_result::Result::Ok(reply)) => Ok(Secret::new(reply)),
                Some(tokenize_result::Result::Error(error)) => Err(refused(&error, &id)),
                None => Err(EMPTY),
            })
        });
        self.run(calls).await
    }

    /// The numbers behind any number of tokens. The tokens are wiped.
    pub async fn detokenize_all(
        &self,
        job: &Job,
        tokens: Vec<Zeroizing<String>>,
    ) -> Results<Secret<DetokenizeResponse>> {
        let requests = split(tokens, |token| token.len());
        let calls = requests.into_iter().map(|tokens| async move {
            let count = tokens.len();
            let mut request = BatchDetokenizeRequest {
                tenant: job.tenant.clone(),
                purpose: job.purpose.clone(),
                scope: job.scope.clone(),
                tokens: handed_over(tokens),
                work_reference: job.work_reference.clone(),
                ..BatchDetokenizeRequest::default()
            };
            let (id, answer) = match keep_request_id(&mut request.request_id) {
                Ok(id) => (id, self.batch_detokenize(request).await),
                Err(error) => (String::new(), Err(error)),
            };
            let results = answer.map(|mut answer| std::mem::take(&mut answer.results));
            per_item(count, results, |result| match result.result {
                Some(detokenize_result::Result::Ok(reply)) => Ok(Secret::new(reply)),
                Some(detokenize_result::Result::Error(error)) => Err(refused(&error, &id)),
                None => Err(EMPTY),
            })
        });
        self.run(calls).await
    }

    /// Whether numbers are the ones behind their tokens, for any number of pairs.
    pub async fn verify_all(&self, job: &Job, items: Vec<VerifyItem>) -> Results<VerifyNumberResponse> {
        let requests = split(items, VerifyItem::encoded_len);
        let calls = requests.into_iter().map(|items| async move {
            let count = items.len();
            let mut request = BatchVerifyNumbersRequest {
                tenant: job.tenant.clone(),
                purpose: job.purpose.clone(),
                scope: job.scope.clone(),
                items,
                work_reference: job.work_reference.clone(),
                ..BatchVerifyNumbersRequest::default()
            };
            let (id, answer) = match keep_request_id(&mut request.request_id) {
                Ok(id) => (id, self.batch_verify_numbers(request).await),
                Err(error) => (String::new(), Err(error)),
            };
            per_item(count, answer.map(|answer| answer.results), |result| match result.result {
                Some(verify_result::Result::Ok(reply)) => Ok(reply),
                Some(verify_result::Result::Error(error)) => Err(refused(&error, &id)),
                None => Err(EMPTY),
            })
        });
        self.run(calls).await
    }

    /// What is known about any number of tokens. The tokens are wiped.
    pub async fn describe_all(&self, job: &Job, tokens: Vec<Zeroizing<String>>) -> Results<DescribeTokenResponse> {
        let requests = split(tokens, |token| token.len());
        let calls = requests.into_iter().map(|tokens| async move {
            let count = tokens.len();
            let mut request = BatchDescribeTokensRequest {
                tenant: job.tenant.clone(),
                scope: job.scope.clone(),
                tokens: handed_over(tokens),
                work_reference: job.work_reference.clone(),
                ..BatchDescribeTokensRequest::default()
            };
            let (id, answer) = match keep_request_id(&mut request.request_id) {
                Ok(id) => (id, self.batch_describe_tokens(request).await),
                Err(error) => (String::new(), Err(error)),
            };
            per_item(count, answer.map(|answer| answer.results), |result| match result.result {
                Some(describe_result::Result::Ok(reply)) => Ok(reply),
                Some(describe_result::Result::Error(error)) => Err(refused(&error, &id)),
                None => Err(EMPTY),
            })
        });
        self.run(calls).await
    }

    /// A few requests at once, results in order.
    pub(crate) async fn run<T, F>(&self, calls: impl Iterator<Item = F>) -> Results<T>
    where
        F: Future<Output = Results<T>>,
    {
        let done: Vec<Results<T>> =
            stream::iter(calls.map(Box::pin)).buffered(self.batches_inflight_max).collect().await;
        done.into_iter().flatten().collect()
    }
}

pub(crate) const EMPTY: Error = Error::Answer("a result is neither a reply nor an error");

pub(crate) fn refused(error: &ItemError, request_id: &str) -> Error {
    Error::Refused(Box::new(Refused::from_item(error, request_id)))
}

/// Spreads the answer of one request over its items.
pub(crate) fn per_item<W, T>(
    count: usize,
    answer: Result<Vec<W>, Error>,
    read: impl Fn(W) -> Result<T, Error>,
) -> Results<T> {
    let failed = |error: &Error| (0..count).map(|_| Err(error.clone())).collect();
    match answer {
        Ok(results) if results.len() == count => results.into_iter().map(read).collect(),
        Ok(_) => failed(&Error::Answer("the number of results is not the number of items")),
        Err(error) => failed(&error),
    }
}

/// Cuts items into requests that keep the limits on items and bytes.
pub(crate) fn split<T>(items: Vec<T>, encoded_len: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    let mut requests: Vec<Vec<T>> = Vec::new();
    let mut bytes = 0;
    for item in items {
        let added = encoded_len(&item) + ITEM_FRAME_BYTES;
        match requests.last_mut() {
            Some(request)
                if request.len() < BATCH_ITEMS_MAX && bytes + added <= REQUEST_BYTES_MAX - REQUEST_HEAD_BYTES =>
            {
                bytes += added;
                request.push(item);
            }
            _ => {
                bytes = added;
                requests.push(vec![item]);
            }
        }
    }
    requests
}

/// Moves the tokens into a message, which wipes them itself.
pub(crate) fn handed_over(tokens: Vec<Zeroizing<String>>) -> Vec<String> {
    tokens.into_iter().map(|mut token| std::mem::take(&mut *token)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_keep_both_limits_and_the_order() {
        let counts: Vec<_> = split((0..2_500).collect(), |_: &usize| 10).iter().map(Vec::len).collect();
        assert_eq!(counts, [1_000, 1_000, 500]);

        // Items of 200 KB: five fit into 1 MiB.
        let requests = split((0..12).collect(), |_: &usize| 200_000);
        assert_eq!(requests.iter().map(Vec::len).collect::<Vec<_>>(), [5, 5, 2]);
        assert_eq!(requests.concat(), (0..12).collect::<Vec<_>>());
        assert!(split(Vec::<usize>::new(), |_| 1).is_empty());

        // One item above the limit goes out alone, for the vault to refuse.
        assert_eq!(split(vec![0, 1], |_| REQUEST_BYTES_MAX).len(), 2);
    }

    #[test]
    fn an_answer_of_the_wrong_length_fails_every_item() {
        let results = per_item(2, Ok(vec![1]), Ok);
        assert_eq!(results.len(), 2);
        assert!(results.iter().all(|result| matches!(result, Err(Error::Answer(_)))));
    }
}
