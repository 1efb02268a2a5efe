//! Asking: a question is read, entered into the ledger of questions, and only then answered. gRPC, console, exports and
//! reports all ask here; what they get the store's answers with is the [`Entered`] that comes of it.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use fuda_core::{Code, Invalid};
use fuda_proto::audit::v1 as pb;
use fuda_runtime::refusal;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;

use crate::auditors::Auditor;
use crate::queries::{Entered, Queries, Words};
use crate::question::{self, Question};
use crate::report::{self, Made, Reports};
use crate::store::{self, Store};

/// When a call that may be repeated should come again.
const AGAIN: Duration = Duration::from_millis(100);

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// It is refused; the code says why, and the rule which one it broke.
    #[error("refused: {0}")]
    Refused(Code, Option<Invalid>),
    /// The store cannot be read.
    #[error(transparent)]
    Store(store::Error),
    /// The question cannot be entered, or the answer not be made.
    #[error(transparent)]
    Internal(#[from] anyhow::Error),
}

impl From<Code> for Failure {
    fn from(code: Code) -> Self {
        Self::Refused(code, None)
    }
}

impl From<Invalid> for Failure {
    fn from(broken: Invalid) -> Self {
        Self::Refused(broken.code(), Some(broken))
    }
}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::Removed => Self::Refused(Code::EntryRemoved, None),
            error => Self::Store(error),
        }
    }
}

impl Failure {
    /// The code that a question is entered with when it could not be read.
    pub(crate) fn code_of<T>(read: &Result<T, Self>) -> Option<Code> {
        match read {
            Ok(_) => None,
            Err(Self::Refused(code, _)) => Some(*code),
            Err(_) => Some(Code::Internal),
        }
    }

    /// What the caller is told.
    pub(crate) fn status(self, method: &str) -> Status {
        match self {
            Self::Refused(code, broken) => refusal::status(code, broken, None, AGAIN),
            Self::Store(error) => internal(method, &error),
            Self::Internal(error) => internal(method, &format_args!("{error:#}")),
        }
    }
}

/// A refusal with nothing more to say than its code.
pub(crate) fn refused(code: Code) -> Status {
    refusal::status(code, None, None, AGAIN)
}

fn internal(method: &str, error: &dyn Display) -> Status {
    tracing::error!(%error, method, "a question was not answered");
    refused(Code::Internal)
}

/// Sums that are made at once unless the settings say otherwise.
pub(crate) const SUMS_AT_ONCE: usize = 16;

/// Asks the store, on the record.
#[derive(Clone)]
pub(crate) struct Asker {
    store: Arc<Store>,
    queries: Arc<Queries>,
    reports: Arc<Reports>,
    sums: Arc<Semaphore>,
}

/// The right to read any number of entries for one answer; given back when it is dropped.
#[must_use]
pub(crate) struct Turn(#[expect(dead_code, reason = "held until it is dropped")] OwnedSemaphorePermit);

impl Asker {
    /// Asks this store, and enters the questions there.
    pub(crate) fn new(store: Arc<Store>, queries: Arc<Queries>) -> Self {
        Self { store, queries, reports: Arc::default(), sums: Arc::new(Semaphore::new(SUMS_AT_ONCE)) }
    }

    /// With another number of sums that are made at once.
    pub(crate) fn with_sums_at_once(self, sums: usize) -> Self {
        Self { sums: Arc::new(Semaphore::new(sums)), ..self }
    }

    /// The right to make one more sum.
    ///
    /// # Errors
    /// FUDA-4002 when as many are being made as may be: whoever waits would hold a thread that pages need.
    pub(crate) fn turn(&self) -> Result<Turn, Failure> {
        let permit = Arc::clone(&self.sums).try_acquire_owned();
        permit.map(Turn).map_err(|_| Code::Overloaded.into())
    }

    /// With what reports are made with.
    pub(crate) fn with_reports(self, reports: Reports) -> Self {
        Self { reports: Arc::new(reports), ..self }
    }

    /// What reports are made with.
    pub(crate) fn reports(&self) -> &Reports {
        &self.reports
    }

    /// The verified entries. Reading any of them takes an [`Entered`].
    pub(crate) fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// The ledger of questions.
    pub(crate) fn queries(&self) -> &Arc<Queries> {
        &self.queries
    }

    /// The same, about an earlier log; the empty origin is the log that is followed.
    ///
    /// # Errors
    /// FUDA-2002 for what is no earlier log.
    pub(crate) fn over(&self, origin: &str) -> Result<Self, Failure> {
        if origin.is_empty() || origin == self.store.origin() {
            return Ok(self.clone());
        }
        let earlier = self.store.earlier(origin)?.ok_or(Code::DeniedOrNotFound)?;
        Ok(Self { store: Arc::new(earlier), ..self.clone() })
    }

    /// GetEntry: one entry with what proves it.
    pub(crate) async fn entry(
        &self,
        auditor: &Auditor,
        message: pb::GetEntryRequest,
    ) -> Result<pb::GetEntryResponse, Status> {
        self.ask(auditor, question::entry(&message).of_log(message.origin)).await
    }

    /// ListEntries: a page of entries.
    pub(crate) async fn list(
        &self,
        auditor: &Auditor,
        message: pb::ListEntriesRequest,
    ) -> Result<pb::ListEntriesResponse, Status> {
        self.ask(auditor, question::list(&message).of_log(message.origin)).await
    }

    /// Summarize: counts by fields and time.
    pub(crate) async fn summarize(
        &self,
        auditor: &Auditor,
        message: pb::SummarizeRequest,
    ) -> Result<pb::SummarizeResponse, Status> {
        self.ask(auditor, question::summarize(&message).of_log(message.origin)).await
    }

    /// WhoAccessed: who did what with one person's numbers.
    pub(crate) async fn who_accessed(
        &self,
        auditor: &Auditor,
        message: pb::WhoAccessedRequest,
    ) -> Result<pb::WhoAccessedResponse, Status> {
        self.ask(auditor, question::who_accessed(&message).of_log(message.origin)).await
    }

    /// ReadQueries: what auditors asked.
    pub(crate) async fn read_queries(
        &self,
        auditor: &Auditor,
        message: pb::ReadQueriesRequest,
    ) -> Result<pb::ReadQueriesResponse, Status> {
        self.ask(auditor, question::read_queries(&message, auditor)).await
    }

    /// MakeReport: a document from the entries.
    pub(crate) async fn report(&self, auditor: &Auditor, message: &pb::MakeReportRequest) -> Result<Made, Status> {
        self.ask(auditor, report::question(message, auditor)).await
    }

    /// Enters a question and answers it, beside the event loop. A question that could not be read is entered as refused.
    pub(crate) async fn ask<T: Send + 'static>(&self, auditor: &Auditor, question: Question<T>) -> Result<T, Status> {
        let (asker, auditor) = (self.clone(), auditor.clone());
        let method = question.words.method;
        let answered = tokio::task::spawn_blocking(move || {
            let Question { words, origin, is_sum, answer } = question;
            let turn = || is_sum.then(|| asker.turn()).transpose();
            let read = answer.and_then(|answer| Ok((asker.over(&origin)?, answer, turn()?)));
            let entered = asker.enter(&auditor, &words.of_log(&origin, &read), &read)?;
            let (asker, answer, _turn) = read?;
            answer(&asker, &entered)
        });
        answered.await.map_err(|error| internal(method, &error))?.map_err(|failure: Failure| failure.status(method))
    }

    /// Enters a question whose answer takes longer than a call, such as an export; the answer is made with what comes of
    /// it. Blocks for an fsync. `read` is how reading the question went.
    pub(crate) fn enter<T>(
        &self,
        auditor: &Auditor,
        words: &Words,
        read: &Result<T, Failure>,
    ) -> Result<Entered, Failure> {
        Ok(self.queries.enter(auditor, words, Failure::code_of(read))?)
    }
}

#[cfg(test)]
#[path = "ask_tests.rs"]
mod tests;
