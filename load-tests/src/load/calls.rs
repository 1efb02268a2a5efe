//! The calls themselves: made from a stock of synthetic people, answers checked against it.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result, bail};
use fuda_core::limits::BATCH_ITEMS_MAX;
use fuda_proto::vault::v1::{
    BatchDetokenizeRequest, BatchTokenizeRequest, DetokenizeRequest, DetokenizeResponse, NotifiedPurpose, Relation,
    TokenizeItem, TokenizeRequest, detokenize_result, token_service_client::TokenServiceClient, tokenize_result,
};
use tonic::Status;
use tonic::transport::Channel;

use super::{Identity, Plan, Target, Work};
use crate::synthetic::{Chance, People};
use crate::wire::{describe, fuda_code};

/// An answer that is not the number that went in. Never seen, always looked for.
const WRONG_NUMBER: &str = "WRONG_NUMBER";

/// Synthetic people, and the tokens of those who were tokenized beforehand.
pub struct Stock {
    people: People,
    /// Makes the subjects of this run differ from those of any other. Letters only: no check digit can appear in it.
    tag: String,
    next: AtomicU64,
    tokens: Vec<(u64, String)>,
}

impl Stock {
    /// People of a seed; `run` tells runs on the same cluster apart.
    pub fn new(seed: u64, run: u64) -> Self {
        let letter = |place: u32| char::from(b'a' + u8::try_from(run >> (place * 4) & 0xf).unwrap_or(0));
        let tag = (0..16).map(letter).collect();
        Self { people: People::new(seed), tag, next: AtomicU64::new(0), tokens: Vec::new() }
    }

    /// Whether nothing can be detokenized yet.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Number of people so far, each of whom is at most one record.
    pub fn people(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }

    /// Tokenizes `count` people in full batches.
    ///
    /// # Errors
    /// When anything is refused.
    pub async fn fill(&mut self, target: &Target, count: usize) -> Result<()> {
        let mut lanes = target.lanes();
        let lane = lanes.first_mut().context("a target without connections")?;
        while self.tokens.len() < count {
            let size = (count - self.tokens.len()).min(BATCH_ITEMS_MAX);
            let indexes: Vec<u64> = (0..size).map(|_| self.next_index()).collect();
            let request = BatchTokenizeRequest {
                tenant: lane.identity.tenant.clone(),
                items: indexes.iter().map(|index| self.item(*index, &lane.identity)).collect(),
                ..BatchTokenizeRequest::default()
            };
            let answer = lane.tokenizer()?.batch_tokenize(request).await;
            let answer = answer.map_err(|status| anyhow::anyhow!("stocking tokens: {}", describe(&status)))?;
            for (index, result) in indexes.into_iter().zip(answer.into_inner().results) {
                match result.result {
                    Some(tokenize_result::Result::Ok(ok)) => self.tokens.push((index, ok.token)),
                    Some(tokenize_result::Result::Error(error)) => {
                        bail!("stocking tokens: {} {}", error.code, error.message)
                    }
                    None => bail!("stocking tokens: an item without a result"),
                }
            }
        }
        Ok(())
    }

    fn next_index(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    fn item(&self, index: u64, identity: &Identity) -> TokenizeItem {
        TokenizeItem {
            kind: "my_number".to_owned(),
            number: self.people.my_number(index),
            subject: format!("{}.{index:08}", self.tag),
            principal_subject: String::new(),
            relation: Relation::Self_.into(),
            scope: identity.scope.clone(),
            notified_purposes: vec![NotifiedPurpose {
                purpose: identity.purpose.clone(),
                ..NotifiedPurpose::default()
            }],
            ..TokenizeItem::default()
        }
    }

    /// A stocked token and whose it is.
    fn draw(&self, chance: &mut Chance) -> (u64, String) {
        chance.pick(&self.tokens).cloned().unwrap_or_default()
    }

    fn is_right(&self, index: u64, answer: &DetokenizeResponse) -> bool {
        answer.number == self.people.my_number(index)
    }
}

/// What became of one request.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// Items that went well.
    pub(super) done: u64,
    /// Items that did not, by error code.
    pub(super) failed: Vec<(Cow<'static, str>, u64)>,
}

impl Answer {
    /// All items failed for one reason.
    pub(super) fn failed(code: impl Into<Cow<'static, str>>, items: usize) -> Self {
        Self { done: 0, failed: vec![(code.into(), items as u64)] }
    }

    fn refused(status: &Status, items: usize) -> Self {
        match fuda_code(status) {
            Some(code) => Self::failed(code, items),
            None => Self::failed(format!("{:?}", status.code()), items),
        }
    }

    fn item(&mut self, code: Option<Cow<'static, str>>) {
        match code {
            None => self.done += 1,
            Some(code) => match self.failed.iter_mut().find(|(known, _)| *known == code) {
                Some((_, count)) => *count += 1,
                None => self.failed.push((code, 1)),
            },
        }
    }
}

/// One caller: a connection as each identity, and chance of its own.
pub(super) struct Lane {
    identity: Arc<Identity>,
    tokenizer: Option<TokenServiceClient<Channel>>,
    revealer: Option<TokenServiceClient<Channel>>,
    chance: Chance,
}

impl Lane {
    pub(super) fn new(
        identity: &Identity,
        tokenizer: Option<TokenServiceClient<Channel>>,
        revealer: Option<TokenServiceClient<Channel>>,
        number: u64,
    ) -> Self {
        Self { identity: Arc::new(identity.clone()), tokenizer, revealer, chance: Chance::new(number) }
    }

    /// The same connections for another call at the same time.
    pub(super) fn again(&self, seed: u64) -> Self {
        Self {
            identity: Arc::clone(&self.identity),
            tokenizer: self.tokenizer.clone(),
            revealer: self.revealer.clone(),
            chance: Chance::new(seed),
        }
    }

    /// Makes the next call of a plan and checks its answer.
    pub(super) async fn call(&mut self, stock: &Stock, plan: &Plan) -> Answer {
        let tokenizes = match plan.work {
            Work::Tokenize => true,
            Work::Detokenize => false,
            Work::Mixed => self.chance.percent(25),
        };
        let called = match (tokenizes, plan.batch) {
            (true, 1) => self.tokenize(stock, plan.retry_secret).await,
            (true, items) => self.batch_tokenize(stock, items, plan.retry_secret).await,
            (false, 1) => self.detokenize(stock).await,
            (false, items) => self.batch_detokenize(stock, items).await,
        };
        called.unwrap_or_else(|status| Answer::refused(&status, plan.batch))
    }

    async fn tokenize(&mut self, stock: &Stock, with_secret: bool) -> Result<Answer, Status> {
        let request = TokenizeRequest {
            tenant: self.identity.tenant.clone(),
            item: Some(stock.item(stock.next_index(), &self.identity)),
            request_id: self.request_id(),
            retry_secret: self.retry_secret(with_secret),
            ..TokenizeRequest::default()
        };
        connected(&mut self.tokenizer)?.tokenize(request).await?;
        Ok(Answer { done: 1, failed: Vec::new() })
    }

    async fn batch_tokenize(&mut self, stock: &Stock, items: usize, with_secret: bool) -> Result<Answer, Status> {
        let request = BatchTokenizeRequest {
            tenant: self.identity.tenant.clone(),
            items: (0..items).map(|_| stock.item(stock.next_index(), &self.identity)).collect(),
            request_id: self.request_id(),
            retry_secret: self.retry_secret(with_secret),
            ..BatchTokenizeRequest::default()
        };
        let response = connected(&mut self.tokenizer)?.batch_tokenize(request).await?;
        let mut answer = Answer::default();
        for result in response.into_inner().results {
            answer.item(match result.result {
                Some(tokenize_result::Result::Ok(_)) => None,
                Some(tokenize_result::Result::Error(error)) => Some(error.code.into()),
                None => Some("NO_RESULT".into()),
            });
        }
        Ok(answer)
    }

    async fn detokenize(&mut self, stock: &Stock) -> Result<Answer, Status> {
        let (index, token) = stock.draw(&mut self.chance);
        let request = DetokenizeRequest {
            tenant: self.identity.tenant.clone(),
            purpose: self.identity.purpose.clone(),
            scope: self.identity.scope.clone(),
            token,
            request_id: self.request_id(),
            ..DetokenizeRequest::default()
        };
        let response = connected(&mut self.revealer)?.detokenize(request).await?;
        Ok(match stock.is_right(index, response.get_ref()) {
            true => Answer { done: 1, failed: Vec::new() },
            false => Answer::failed(WRONG_NUMBER, 1),
        })
    }

    async fn batch_detokenize(&mut self, stock: &Stock, items: usize) -> Result<Answer, Status> {
        let (indexes, tokens): (Vec<u64>, Vec<String>) = (0..items).map(|_| stock.draw(&mut self.chance)).unzip();
        let request = BatchDetokenizeRequest {
            tenant: self.identity.tenant.clone(),
            purpose: self.identity.purpose.clone(),
            scope: self.identity.scope.clone(),
            tokens,
            request_id: self.request_id(),
            ..BatchDetokenizeRequest::default()
        };
        let response = connected(&mut self.revealer)?.batch_detokenize(request).await?;
        let mut answer = Answer::default();
        for (index, result) in indexes.into_iter().zip(response.into_inner().results) {
            answer.item(match result.result {
                Some(detokenize_result::Result::Ok(ok)) if stock.is_right(index, &ok) => None,
                Some(detokenize_result::Result::Ok(_)) => Some(WRONG_NUMBER.into()),
                Some(detokenize_result::Result::Error(error)) => Some(error.code.into()),
                None => Some("NO_RESULT".into()),
            });
        }
        Ok(answer)
    }

    /// A version 4 UUID. From the load's own chance: nothing secret depends on it.
    fn request_id(&mut self) -> String {
        let (high, low) = (self.chance.bits(), self.chance.bits());
        let (a, b, c) = (high >> 32, high >> 16 & 0xffff, high & 0xfff);
        let (d, e) = (low >> 48 & 0x3fff | 0x8000, low & 0xffff_ffff_ffff);
        format!("{a:08x}-{b:04x}-4{c:03x}-{d:04x}-{e:012x}")
    }

    fn retry_secret(&mut self, wanted: bool) -> Vec<u8> {
        let words = if wanted { 4 } else { 0 };
        (0..words).flat_map(|_| self.chance.bits().to_be_bytes()).collect()
    }

    fn tokenizer(&mut self) -> Result<&mut TokenServiceClient<Channel>> {
        self.tokenizer.as_mut().context("a target without connections")
    }
}

fn connected(client: &mut Option<TokenServiceClient<Channel>>) -> Result<&mut TokenServiceClient<Channel>, Status> {
    client.as_mut().ok_or_else(|| Status::internal("a target without connections"))
}

#[cfg(test)]
mod tests {
    use fuda_core::{RequestId, SubjectRef};

    use super::*;

    #[test]
    fn subjects_of_runs_differ_and_are_subjects() {
        let identity = Identity { tenant: "acme".to_owned(), scope: "payroll".to_owned(), purpose: "p".to_owned() };
        let (one, two) = (Stock::new(1, 0x0123_4567_89ab_cdef), Stock::new(1, 2));
        assert_eq!(one.item(7, &identity).subject, "ponmlkjihgfedcba.00000007");
        assert_ne!(one.item(7, &identity).subject, two.item(7, &identity).subject);
        assert!(SubjectRef::parse(&one.item(99_999_999, &identity).subject).is_ok());
        assert_eq!((one.next_index(), one.next_index(), one.people()), (0, 1, 2));
    }

    #[test]
    fn request_ids_are_uuids_and_differ() {
        let identity = Identity { tenant: String::new(), scope: String::new(), purpose: String::new() };
        let mut lane = Lane::new(&identity, None, None, 3);
        let (first, second) = (lane.request_id(), lane.request_id());
        assert_ne!(first, second);
        assert!(RequestId::parse(&first).is_ok(), "{first}");
        assert_eq!((lane.retry_secret(true).len(), lane.retry_secret(false).len()), (32, 0));
    }

    #[test]
    fn errors_are_counted_by_code() {
        let mut answer = Answer::default();
        for code in [None, Some("FUDA-2002"), None, Some("FUDA-2002"), Some("FUDA-4001")] {
            answer.item(code.map(Cow::from));
        }
        assert_eq!(answer.done, 2);
        assert_eq!(answer.failed, [("FUDA-2002".into(), 2), ("FUDA-4001".into(), 1)]);
    }
}
