//! Copies of the committed ledger, told to others: every entry, in order, at least once, never in the way of a call.
//!
//! ```text
//! committed entries ─cursor─▶ records ─▶ sink: OTLP, files ─acknowledged─▶ bookkeeping: the cursor moves, in Raft
//!        leader died, sink dead, half an answer: the cursor stands, and whoever leads sends the same again ──┘
//! ```
//! A record carries the uid of its entry, so that receivers tell repetitions. The ledger is the truth and stays complete
//! whatever a sink does; how far each of them is behind is a metric, and may be a reason to reveal nothing.

mod file;
mod line;
mod otlp;
mod record;
mod settings;
mod standing;

use std::time::Duration;

use fuda_core::Sequence;

pub(crate) use line::{Line, run};
pub(crate) use settings::{SinkSettings, check, open};
pub(crate) use standing::{Exports, Standing, entry_time, observe, watch_limits};

use file::FileSink;
use otlp::OtlpSink;
use record::Record;

/// A receiver.
enum Sink {
    /// A collector.
    Otlp(OtlpSink),
    /// Files on the disk of whoever leads.
    File(FileSink),
}

/// What a sink said to some records.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// It has all of them, and will have them after a loss of power.
    Taken,
    /// It refused some of them for good, and does not say which.
    Refused,
    /// It takes them only in smaller pieces.
    TooMuch,
    /// It has, perhaps, none of them. They may be sent again, after this time if it named one.
    Later(&'static str, Option<Duration>),
    /// It will not take them before a person changes something.
    Never(&'static str),
}

impl Sink {
    async fn send(&mut self, records: &[Record]) -> Answer {
        match self {
            Self::Otlp(sink) => sink.send(records).await,
            Self::File(sink) => tokio::task::block_in_place(|| sink.send(records)),
        }
    }

    /// Sends records until each of them is taken or refused for good, and returns those that were refused.
    ///
    /// A sink that refuses some of several records does not say which. OTLP forbids to repeat that request; the two halves
    /// of it are sent instead, each as a request of its own: so one record that nobody can read costs none of its
    /// neighbours.
    async fn deliver(&mut self, records: &[Record]) -> Result<Vec<Sequence>, Answer> {
        let mut waiting = vec![records];
        let mut refused = Vec::new();
        while let Some(records) = waiting.pop() {
            match (self.send(records).await, records) {
                (Answer::Taken, _) => {}
                (Answer::Refused, [record]) => refused.push(record.sequence()),
                (Answer::TooMuch, [_]) => return Err(Answer::Never("one record is too much for it")),
                (Answer::Refused | Answer::TooMuch, records) => {
                    let (first, second) = records.split_at(records.len() / 2);
                    waiting.extend([second, first]);
                }
                (answer, _) => return Err(answer),
            }
        }
        Ok(refused)
    }
}
