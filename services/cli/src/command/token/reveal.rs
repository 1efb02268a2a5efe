//! `fuda token detokenize`, `describe` and `verify`: what a token gives.

use clap::Args;
use fuda_client::{Error, Job, Secret};
use fuda_core::Relation;
use fuda_core::limits::BATCH_ITEMS_MAX;

use super::{Asking, Context, Files, progress, results};
use crate::failure::{Exit, Failure, Tally, one_line};
use crate::input;
use crate::rows::{pairs, tokens};
use crate::wire;

const NUMBER_COLUMNS: &[&str] = &["subject", "kind", "number", "error"];
const RECORD_COLUMNS: &[&str] =
    &["subject", "kind", "record", "record_version", "status", "relation", "principal_subject", "error"];
const MATCH_COLUMNS: &[&str] = &["line", "matched", "error"];
/// Items between two writes of results.
const WINDOW_ITEMS: usize = 4 * BATCH_ITEMS_MAX;
const NOT_ATTEMPTED: &str = "not attempted after the failure above";

#[derive(Debug, Args)]
pub(crate) struct Detokenize {
    #[command(flatten)]
    asking: Asking,
    /// Code of the purpose, such as tax.withholding_slip. Required unless the kind is public.
    #[arg(long, value_name = "CODE", default_value = "")]
    purpose: String,
    #[command(flatten)]
    files: Files,
}

#[derive(Debug, Args)]
pub(crate) struct Describe {
    #[command(flatten)]
    asking: Asking,
    #[command(flatten)]
    files: Files,
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    #[command(flatten)]
    asking: Asking,
    /// Code of the purpose, such as op.collect.
    #[arg(long, value_name = "CODE")]
    purpose: String,
    #[command(flatten)]
    files: Files,
}

pub(super) async fn detokenize(arguments: Detokenize, context: &mut Context) -> Result<(), Failure> {
    let client = context.connection.client_for_batches().await?;
    let job = arguments.asking.job(&arguments.purpose);
    let tokens = tokens(&input::read(arguments.files.input.as_deref())?)?;
    let mut results = results(arguments.files.out.as_deref(), &mut context.output, NUMBER_COLUMNS)?;
    let mut windows = Windows::of(tokens);
    while let Some((count, window)) = windows.next() {
        let replies = match window {
            Some(window) => client.detokenize_all(&job, window).await,
            None => Vec::new(),
        };
        for reply in windows.settle(count, replies) {
            match reply {
                Ok(reply) => results.row(&[&reply.subject, &reply.kind, &reply.number, ""])?,
                Err(problem) => results.row(&["", "", "", &problem])?,
            }
        }
        results.flush()?;
    }
    windows.outcome()
}

pub(super) async fn describe(arguments: Describe, context: &mut Context) -> Result<(), Failure> {
    let client = context.connection.client_for_batches().await?;
    let job = arguments.asking.job("");
    let tokens = tokens(&input::read(arguments.files.input.as_deref())?)?;
    let mut results = results(arguments.files.out.as_deref(), &mut context.output, RECORD_COLUMNS)?;
    let mut windows = Windows::of(tokens);
    while let Some((count, window)) = windows.next() {
        let replies = match window {
            Some(window) => client.describe_all(&job, window).await,
            None => Vec::new(),
        };
        for reply in windows.settle(count, replies) {
            let record = match reply {
                Ok(reply) => reply.record.unwrap_or_default(),
                Err(problem) => {
                    results.row(&["", "", "", "", "", "", "", &problem])?;
                    continue;
                }
            };
            let status = wire::status(record.status());
            let relation = wire::relation_known(record.relation()).map_or("", Relation::code);
            let version = record.record_version.to_string();
            let principal = &record.principal_subject;
            results.row(&[&record.subject, &record.kind, &record.record, &version, status, relation, principal, ""])?;
        }
        results.flush()?;
    }
    windows.outcome()
}

pub(super) async fn verify(arguments: Verify, context: &mut Context) -> Result<(), Failure> {
    let client = context.connection.client_for_batches().await?;
    let job: Job = arguments.asking.job(&arguments.purpose);
    let items = pairs(&input::read(arguments.files.input.as_deref())?)?;
    let mut results = results(arguments.files.out.as_deref(), &mut context.output, MATCH_COLUMNS)?;
    let mut windows = Windows::of(items);
    let (mut line, mut mismatched) = (0u64, 0u64);
    while let Some((count, window)) = windows.next() {
        let replies = match window {
            Some(window) => client.verify_all(&job, window.into_iter().map(Secret::into_inner).collect()).await,
            None => Vec::new(),
        };
        for reply in windows.settle(count, replies) {
            line += 1;
            let place = line.to_string();
            match reply {
                Ok(reply) => {
                    mismatched += u64::from(!reply.matched);
                    results.row(&[&place, if reply.matched { "true" } else { "false" }, ""])?;
                }
                Err(problem) => results.row(&[&place, "", &problem])?,
            }
        }
        results.flush()?;
    }
    windows.outcome()?;
    match mismatched {
        0 => Ok(()),
        count => Err(Failure::Verification(format!("{count} of {line} numbers are not the ones behind their tokens"))),
    }
}

/// A job in windows: what was asked, what failed, and whether going on makes sense.
pub(super) struct Windows<T> {
    left: std::vec::IntoIter<T>,
    tally: Tally,
    stopped: bool,
    bar: indicatif::ProgressBar,
}

impl<T> Windows<T> {
    pub(super) fn of(items: Vec<T>) -> Self {
        let bar = progress(items.len() as u64);
        Self { left: items.into_iter(), tally: Tally::default(), stopped: false, bar }
    }

    /// The next items and their number; the items are missing when asking for them makes no sense any more.
    pub(super) fn next(&mut self) -> Option<(usize, Option<Vec<T>>)> {
        let window: Vec<T> = self.left.by_ref().take(WINDOW_ITEMS).collect();
        let count = window.len();
        (count > 0).then(|| (count, (!self.stopped).then_some(window)))
    }

    /// Counts the replies to a window, and gives every item either its reply or why there is none.
    pub(super) fn settle<R>(&mut self, count: usize, replies: Vec<Result<R, Error>>) -> Vec<Result<R, String>> {
        self.bar.inc(count as u64);
        // A denied caller stays denied, and every further batch would be another entry in the ledger. Denials of a
        // single item look alike, so one reply or one other error keeps the job going.
        let is_final = |error: &Error| matches!(Exit::of(error), Exit::Denied | Exit::Unavailable | Exit::Identity);
        self.stopped |= !replies.is_empty() && replies.iter().all(|reply| reply.as_ref().is_err_and(is_final));
        let mut settled: Vec<_> = replies
            .into_iter()
            .map(|reply| match reply {
                Ok(reply) => {
                    self.tally.done();
                    Ok(reply)
                }
                Err(error) => {
                    self.tally.refused(Exit::of(&error));
                    Err(one_line(&error))
                }
            })
            .collect();
        while settled.len() < count {
            self.tally.skipped();
            settled.push(Err(NOT_ATTEMPTED.to_owned()));
        }
        settled
    }

    pub(super) fn outcome(&self) -> Result<(), Failure> {
        self.bar.finish_and_clear();
        self.tally.outcome()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_stops_when_everything_is_refused_for_good() {
        // Phase 1: something was answered; the job goes on.
        let mut windows = Windows::of((0..WINDOW_ITEMS * 3).collect());
        let (count, window) = windows.next().unwrap();
        assert_eq!((count, window.map(|window| window.len())), (WINDOW_ITEMS, Some(WINDOW_ITEMS)));
        let settled =
            windows.settle(count, (0..count).map(|n| if n == 0 { Ok(()) } else { Err(unavailable()) }).collect());
        assert_eq!(settled.iter().filter(|reply| reply.is_err()).count(), WINDOW_ITEMS - 1);

        // Phase 2: nothing was; the rest is not attempted and says so.
        let (count, window) = windows.next().unwrap();
        assert!(window.is_some());
        windows.settle::<()>(count, (0..count).map(|_| Err(unavailable())).collect());
        let (count, window) = windows.next().unwrap();
        assert!(window.is_none());
        let settled = windows.settle::<()>(count, Vec::new());
        assert!(settled.iter().all(|reply| reply.as_ref().is_err_and(|problem| problem == NOT_ATTEMPTED)));
        assert!(windows.next().is_none());
        assert_eq!(windows.outcome().unwrap_err().exit(), Exit::Refused);
    }

    fn unavailable() -> Error {
        Error::Refused(Box::new(fuda_client::Refused {
            status: tonic::Code::Unavailable,
            code: "FUDA-4001".to_owned(),
            reason: String::new(),
            message: "the cluster has no leader at the moment".to_owned(),
            fields: Vec::new(),
            request_id: String::new(),
            docs_page: String::new(),
            retry: fuda_core::Retry::Backoff,
            retry_after: None,
            endpoint: String::new(),
            without_effect: false,
        }))
    }
}
