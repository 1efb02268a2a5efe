//! The syslog sink: RFC 5424 messages over TLS, framed by their length (RFC 5425).
//!
//! Syslog acknowledges nothing. What can be known is that the other machine's kernel has all bytes, and on that the cursor
//! moves. A receiver that dies has read perhaps none of them: so whoever connects anew, be it after a failure or as a new
//! leader, first repeats the newest entries in front of the cursor, more than a socket holds.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use fuda_runtime::socket::unacknowledged_bytes;
use fuda_runtime::tls::TlsConnector;
use tokio::io::{AsyncRead as _, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::client::TlsStream;

use super::Answer;
use super::record::{Level, Record, Value};

/// How often the socket is asked whether everything arrived, at first and at most.
const ASK_AFTER: Duration = Duration::from_millis(1);
const ASK_AFTER_MAX: Duration = Duration::from_millis(20);
/// Bytes of what a receiver says, which it should not do, that are read at once.
const HEARD_BYTES: usize = 1_024;
/// Version of RFC 5424's format.
const VERSION: u8 = 1;

/// How messages are written.
#[derive(Debug, Clone)]
pub(super) struct Form {
    /// HOSTNAME, or `-`.
    pub(super) hostname: String,
    /// APP-NAME.
    pub(super) app_name: String,
    /// The facility's number, 0..=23.
    pub(super) facility: u8,
    /// Number behind the `@` of the structured data's name: whose names its parameters are.
    pub(super) enterprise_number: u32,
    /// Where the attributes are.
    pub(super) content: Content,
}

/// Where a message has the attributes of its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Content {
    /// In MSG, as the line of JSON that the file sink writes, in ASCII; the structured data holds the uid.
    Json,
    /// In the structured data, one parameter each; lists repeat theirs. MSG is empty.
    Structured,
}

/// A receiver.
pub(super) struct SyslogSink {
    address: (String, u16),
    connector: TlsConnector,
    form: Form,
    deadline: Duration,
    repeat_entries_max: u64,
    stream: Option<TlsStream<TcpStream>>,
}

impl SyslogSink {
    /// Sends to `address`. Bytes that its kernel has not acknowledged within `deadline` have not arrived;
    /// `repeat_entries_max` entries are sent again over every new connection.
    pub(super) fn new(
        address: (String, u16),
        connector: TlsConnector,
        form: Form,
        deadline: Duration,
        repeat_entries_max: u64,
    ) -> Self {
        Self { address, connector, form, deadline, repeat_entries_max, stream: None }
    }

    /// Connects unless there is a connection, and returns how many entries in front of the cursor may have been lost with
    /// the last one. They must be sent before anything else.
    pub(super) async fn connect(&mut self) -> Result<u64, Answer> {
        if let Some(stream) = &mut self.stream
            && is_open(stream).await
        {
            return Ok(0);
        }
        self.stream = None;
        let (host, port) = &self.address;
        match timeout(self.deadline, self.connector.connect(host, *port)).await {
            Err(_) => Err(Answer::Later("it did not shake hands in time", None)),
            Ok(Err(error)) => {
                tracing::debug!(%error, "connecting to a syslog receiver failed");
                Err(Answer::Later("connecting failed", None))
            }
            Ok(Ok(stream)) => {
                self.stream = Some(stream);
                Ok(self.repeat_entries_max)
            }
        }
    }

    /// Forgets the connection: what it repeated says nothing about later.
    pub(super) fn disconnect(&mut self) {
        self.stream = None;
    }

    pub(super) async fn send(&mut self, records: &[Record]) -> Answer {
        // It is put back only when everything arrived: on a new one everything is repeated.
        let Some(mut stream) = self.stream.take() else { return Answer::Later("not connected", None) };
        let frames: Vec<u8> = records.iter().flat_map(|record| frame(&self.form, record)).collect();
        match timeout(self.deadline, arrive(&mut stream, &frames)).await {
            Err(_) => Answer::Later("its kernel did not acknowledge in time", None),
            Ok(Err(error)) => {
                tracing::debug!(%error, "sending to a syslog receiver failed");
                Answer::Later("sending failed", None)
            }
            Ok(Ok(())) => {
                self.stream = Some(stream);
                Answer::Taken
            }
        }
    }
}

/// Writes, and waits until the other kernel has every byte.
async fn arrive(stream: &mut TlsStream<TcpStream>, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await?;
    let mut ask_after = ASK_AFTER;
    let mut asked = Instant::now();
    loop {
        let (socket, _) = stream.get_ref();
        let unacknowledged = unacknowledged_bytes(socket)?;
        // After a reset the queue tells nothing, and the runtime may not have noticed yet.
        if let Some(error) = socket.take_error()? {
            return Err(error);
        }
        if unacknowledged == 0 {
            break;
        }
        asked += ask_after;
        tokio::time::sleep_until(asked).await;
        ask_after = (ask_after * 2).min(ASK_AFTER_MAX);
    }
    if is_open(stream).await { Ok(()) } else { Err(io::ErrorKind::ConnectionReset.into()) }
}

/// Whether the other side has neither closed nor reset the connection, as far as this machine knows. What it says is read
/// and ignored.
async fn is_open(stream: &mut TlsStream<TcpStream>) -> bool {
    poll_fn(|context| {
        let mut heard = [0; HEARD_BYTES];
        loop {
            let mut heard = ReadBuf::new(&mut heard);
            match Pin::new(&mut *stream).poll_read(context, &mut heard) {
                Poll::Pending => return Poll::Ready(true),
                Poll::Ready(Ok(())) if !heard.filled().is_empty() => {}
                Poll::Ready(_) => return Poll::Ready(false),
            }
        }
    })
    .await
}

/// `LENGTH SP MESSAGE`.
fn frame(form: &Form, record: &Record) -> Vec<u8> {
    let message = message(form, record);
    format!("{} {message}", message.len()).into_bytes()
}

fn message(form: &Form, record: &Record) -> String {
    let priority = form.facility * 8 + severity(record.level);
    let (time, name) = (record.time.to_rfc3339(), record.name());
    let head = format!("<{priority}>{VERSION} {time} {} {} - {name}", form.hostname, form.app_name);
    let id = format!("fuda@{}", form.enterprise_number);
    let parameters = parameters(form.content, record);
    match form.content {
        Content::Json => format!("{head} [{id}{parameters}] {}", ascii(record.line().trim_end())),
        Content::Structured => format!("{head} [{id}{parameters}]"),
    }
}

fn parameters(content: Content, record: &Record) -> String {
    let mut text = String::new();
    let mut add = |name: &str, value: &str| text.push_str(&format!(" {name}=\"{}\"", escaped(value)));
    for (name, value) in &record.attributes {
        if content == Content::Json && *name != "log.record.uid" {
            continue;
        }
        match value {
            Value::Text(value) => add(name, value),
            Value::Number(value) => add(name, &value.to_string()),
            Value::List(values) => values.iter().for_each(|value| add(name, value)),
        }
    }
    if let (Content::Structured, Some(trace)) = (content, record.trace) {
        add("trace_id", &trace.to_string());
    }
    text
}

/// A value between quotes: RFC 5424 escapes three characters, and no others.
fn escaped(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for character in value.chars() {
        if matches!(character, '"' | '\\' | ']') {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

/// JSON in ASCII, so that MSG needs no mark of its encoding, which many receivers take for a part of the JSON.
fn ascii(json: &str) -> String {
    let mut ascii = String::with_capacity(json.len());
    for character in json.chars() {
        if character.is_ascii() {
            ascii.push(character);
        } else {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                ascii.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    ascii
}

/// Numbers of RFC 5424: informational, warning, error.
fn severity(level: Level) -> u8 {
    match level {
        Level::Info => 6,
        Level::Warn => 4,
        Level::Error => 3,
    }
}

#[cfg(test)]
#[path = "syslog_tests.rs"]
mod tests;
