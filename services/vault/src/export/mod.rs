//! Copies of the committed ledger, told to others: every entry, in order, at least once, never in the way of a call.
//!
//! ```text
//! committed entries ─cursor─▶ records ─▶ sink: OTLP, files, syslog, objects ─acknowledged─▶ bookkeeping: the cursor moves, in Raft
//!        leader died, sink dead, half an answer: the cursor stands, and whoever leads sends the same again ──┘
//! ```
//! A record carries the uid of its entry, so that receivers tell repetitions. The ledger is the truth and stays complete
//! whatever a sink does; how far each of them is behind is a metric, and may be a reason to reveal nothing.

mod file;
mod line;
mod object;
mod otlp;
mod record;
mod settings;
mod standing;
mod store;
mod syslog;

use std::time::Duration;

use fuda_core::{Sequence, Timestamp};

pub(crate) use line::{Line, run};
pub(crate) use settings::{SinkSettings, check, open};
pub(crate) use standing::{Exports, Standing, entry_time, observe, watch_limits};

use file::FileSink;
use object::ObjectSink;
use otlp::OtlpSink;
use record::Record;
use syslog::SyslogSink;

/// A receiver.
enum Sink {
    /// A collector.
    Otlp(OtlpSink),
    /// Files on the disk of whoever leads.
    File(FileSink),
    /// A receiver of syslog over TLS.
    Syslog(Box<SyslogSink>),
    /// A store like S3.
    Object(Box<ObjectSink>),
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

/// What a sink has after a delivery.
#[derive(Debug, PartialEq, Eq)]
struct Delivered {
    /// The first entry that it has not got.
    to: Sequence,
    /// Entries in front of it that it refused for good.
    refused: Vec<Sequence>,
}

impl Sink {
    /// Connects where that is known, and returns how many entries in front of the cursor must be sent once more before
    /// all others: those that a sink which acknowledges nothing may have lost.
    async fn connect(&mut self) -> Result<u64, Answer> {
        match self {
            Self::Syslog(sink) => sink.connect().await,
            Self::Otlp(_) | Self::File(_) | Self::Object(_) => Ok(0),
        }
    }

    /// Somebody else leads: what is known about this sink ends here.
    fn rest(&mut self) {
        match self {
            Self::Syslog(sink) => sink.disconnect(),
            Self::Object(sink) => sink.forget(),
            Self::Otlp(_) | Self::File(_) => {}
        }
    }

    /// The entry that it wants next, with the cursor at `cursor`.
    fn reads_from(&mut self, cursor: Sequence) -> Sequence {
        match self {
            Self::Object(sink) => sink.reads_from(cursor),
            Self::Otlp(_) | Self::File(_) | Self::Syslog(_) => cursor,
        }
    }

    /// Delivers what was read from [`Sink::reads_from`] on, at the time `now` or later.
    async fn deliver(&mut self, cursor: Sequence, records: &[Record], now: Timestamp) -> Result<Delivered, Answer> {
        if let Self::Object(sink) = self {
            return Ok(Delivered { to: sink.deliver(records, now).await?, refused: Vec::new() });
        }
        let to = records.last().and_then(|last| last.sequence().next()).unwrap_or(cursor);
        Ok(Delivered { to, refused: self.deliver_all(records).await? })
    }

    async fn send(&mut self, records: &[Record]) -> Answer {
        match self {
            Self::Otlp(sink) => sink.send(records).await,
            Self::File(sink) => tokio::task::block_in_place(|| sink.send(records)),
            Self::Syslog(sink) => sink.send(records).await,
            // It is given everything by `deliver`.
            Self::Object(_) => Answer::Never("it takes no single records"),
        }
    }

    /// Sends records until each of them is taken or refused for good, and returns those that were refused.
    ///
    /// A sink that refuses some of several records does not say which. OTLP forbids to repeat that request; the two halves
    /// of it are sent instead, each as a request of its own: so one record that nobody can read costs none of its
    /// neighbours.
    async fn deliver_all(&mut self, records: &[Record]) -> Result<Vec<Sequence>, Answer> {
        if records.is_empty() {
            return Ok(Vec::new());
        }
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
