//! A job in windows: asked for in batches, written as it goes, stopped when going on makes no sense.

use std::borrow::Cow;
use std::io::Write;

use fuda_client::Error;
use fuda_core::limits::BATCH_ITEMS_MAX;

use super::progress;
use crate::failure::{Exit, Failure, Tally, one_line};
use crate::rows::Results;

/// Items between two writes of results.
const WINDOW_ITEMS: usize = 4 * BATCH_ITEMS_MAX;
const NOT_ATTEMPTED: &str = "not attempted after the failure above";

/// What a reply shows: a value per column of results, but for a leading `line` and the closing `error`.
pub(super) type Cells<'r> = Vec<Cow<'r, str>>;

/// Cells of texts that the reply holds.
pub(super) fn cells<const N: usize>(texts: [&str; N]) -> Cells<'_> {
    texts.map(Cow::Borrowed).to_vec()
}

/// Asks for all items, window by window, and writes a row per item, in the order of the items.
pub(super) async fn each<I, R>(
    items: Vec<I>,
    mut results: Results<impl Write>,
    ask: impl AsyncFn(Vec<I>) -> Vec<Result<R, Error>>,
    mut show: impl for<'r> FnMut(&'r R) -> Cells<'r>,
) -> Result<(), Failure> {
    let (mut windows, mut line) = (Windows::of(items), 0_u64);
    while let Some((count, window)) = windows.next() {
        let replies = match window {
            Some(window) => ask(window).await,
            None => Vec::new(),
        };
        for reply in windows.settle(count, replies) {
            line += 1;
            match &reply {
                Ok(reply) => results.reply(line, &show(reply), "")?,
                Err(problem) => results.reply(line, &[], problem)?,
            }
        }
        results.flush()?;
    }
    windows.outcome()
}

/// A job in windows: what was asked, what failed, and whether going on makes sense.
struct Windows<T> {
    left: std::vec::IntoIter<T>,
    tally: Tally,
    stopped: bool,
    bar: indicatif::ProgressBar,
}

impl<T> Windows<T> {
    fn of(items: Vec<T>) -> Self {
        let bar = progress(items.len() as u64);
        Self { left: items.into_iter(), tally: Tally::default(), stopped: false, bar }
    }

    /// The next items and their number; the items are missing when asking for them makes no sense any more.
    fn next(&mut self) -> Option<(usize, Option<Vec<T>>)> {
        let window: Vec<T> = self.left.by_ref().take(WINDOW_ITEMS).collect();
        let count = window.len();
        (count > 0).then(|| (count, (!self.stopped).then_some(window)))
    }

    /// Counts the replies to a window, and gives every item either its reply or why there is none.
    fn settle<R>(&mut self, count: usize, replies: Vec<Result<R, Error>>) -> Vec<Result<R, String>> {
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

    fn outcome(&self) -> Result<(), Failure> {
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
