//! A receiver of the exported ledger that is often unwell: it hangs, refuses, keeps half, loses its answers and dies.
//!
//! What it has kept it has kept for ever, as a disk would; it believes no second record of a uid before it has compared
//! the two.
//!
//! This one speaks OTLP; those of other sinks are below.

pub mod objects;
pub mod syslog;

use std::collections::BTreeMap;
use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use parking_lot::Mutex;
use prost::Message as _;
use serde_json::Value as Json;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tonic::{Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// How long the port of a dead sink may take to be free again.
const REVIVE_WITHIN: Duration = Duration::from_secs(5);
/// What a busy sink asks its client to wait.
const BUSY: Duration = Duration::from_millis(300);
/// Records that a sink with small messages takes at once.
const SMALL: usize = 40;

/// How the sink is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// It keeps everything and says so.
    Takes,
    /// It keeps nothing and says nothing.
    Hangs,
    /// It keeps everything and says nothing.
    LosesAnswers,
    /// UNAVAILABLE.
    Refuses,
    /// RESOURCE_EXHAUSTED with RetryInfo.
    Busy,
    /// RESOURCE_EXHAUSTED without RetryInfo, for more than a few records.
    SmallMessages,
    /// It keeps the first half, and says that it refused the others.
    HalfAccepts,
    /// It keeps the first half, and says that it is unavailable.
    HalfKeeps,
}

impl Mood {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Takes,
        Self::Hangs,
        Self::LosesAnswers,
        Self::Refuses,
        Self::Busy,
        Self::SmallMessages,
        Self::HalfAccepts,
        Self::HalfKeeps,
    ];
}

/// One record as the sink has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// `fuda.sequence`.
    pub sequence: u64,
    /// `fuda.leaf_hash`, hexadecimal.
    pub leaf_hash: String,
    /// Name of the event.
    pub event: String,
    /// How often it came.
    pub times: u64,
    /// The record's bytes, without the time at which it was sent.
    bytes: Vec<u8>,
}

/// What a sink has.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// Records by uid.
    pub records: BTreeMap<String, Copied>,
    /// Records that came again and were another.
    pub differing: u64,
    /// Records without uid, sequence or leaf hash.
    pub unreadable: u64,
    /// Requests received.
    pub requests: u64,
}

struct Shared {
    kept: Mutex<Kept>,
    mood: Mutex<Mood>,
    /// Events that are refused for good, whatever the mood.
    poison: Mutex<Option<&'static str>>,
}

/// A server on a loopback port that can die with all its connections and come back at the same address. Ends when
/// dropped.
pub struct Server {
    address: SocketAddr,
    serve: Box<dyn Fn(TcpListener) -> JoinHandle<()> + Send + Sync>,
    serving: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves on a free port; `serve` begins with a listener.
    async fn start(serve: impl Fn(TcpListener) -> JoinHandle<()> + Send + Sync + 'static) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let serving = Some(serve(listener));
        Ok(Self { address, serve: Box::new(serve), serving })
    }

    /// It is gone with all its connections and what it had not read; what it has kept, stays.
    pub async fn die(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
            // It was aborted: how it ended is no news.
            let _ = serving.await;
        }
    }

    /// It is there again, once its port is free.
    ///
    /// # Errors
    /// When the port is not free again.
    pub async fn revive(&mut self) -> Result<()> {
        let until = Instant::now() + REVIVE_WITHIN;
        let listener = loop {
            match TcpListener::bind(self.address).await {
                Ok(listener) => break listener,
                Err(error) if Instant::now() > until => return Err(error).context("the sink's port is taken"),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        };
        self.serving = Some((self.serve)(listener));
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(serving) = &self.serving {
            serving.abort();
        }
    }
}

/// The sink.
pub struct UnwellSink {
    server: Server,
    shared: Arc<Shared>,
}

impl UnwellSink {
    /// A sink on a free loopback port that takes everything.
    ///
    /// # Errors
    /// When there is no port.
    pub async fn start() -> Result<Self> {
        let shared =
            Arc::new(Shared { kept: Mutex::default(), mood: Mutex::new(Mood::Takes), poison: Mutex::new(None) });
        let server = Server::start({
            let shared = Arc::clone(&shared);
            move |listener| tokio::spawn(serve(listener, Arc::clone(&shared)))
        });
        Ok(Self { server: server.await?, shared })
    }

    /// The address for a node's settings.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.server.address)
    }

    /// From now on it is like this.
    pub fn set_mood(&self, mood: Mood) {
        *self.shared.mood.lock() = mood;
    }

    /// From now on it refuses this event for good, also when it comes alone.
    pub fn poison(&self, event: &'static str) {
        *self.shared.poison.lock() = Some(event);
    }

    /// What it has.
    pub fn kept(&self) -> Kept {
        self.shared.kept.lock().clone()
    }

    /// What can die.
    pub fn server(&mut self) -> &mut Server {
        &mut self.server
    }
}

/// Its connections live and end with it.
async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let service = TowerToHyperService::new(LogsServiceServer::from_arc(Arc::new(Receiver(Arc::clone(&shared)))));
        connections.spawn(async move {
            // A node that was killed tears its connection: nobody is interested in how.
            let _ = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

struct Receiver(Arc<Shared>);

#[tonic::async_trait]
impl LogsService for Receiver {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        let scopes = request.into_inner().resource_logs.into_iter().flat_map(|resource| resource.scope_logs);
        let records: Vec<LogRecord> = scopes.flat_map(|scope| scope.log_records).collect();
        self.0.kept.lock().requests += 1;
        let mood = *self.0.mood.lock();
        let half = records.len().div_ceil(2);
        match mood {
            Mood::Takes => Ok(self.0.accept(&records, records.len())),
            Mood::SmallMessages if records.len() <= SMALL => Ok(self.0.accept(&records, records.len())),
            Mood::HalfAccepts => Ok(self.0.accept(&records, half)),
            Mood::Hangs => pending().await,
            Mood::LosesAnswers => {
                self.0.accept(&records, records.len());
                pending().await
            }
            Mood::HalfKeeps => {
                self.0.accept(&records, half);
                Err(Status::unavailable("half of it was kept"))
            }
            Mood::Refuses => Err(Status::unavailable("not now")),
            Mood::SmallMessages => Err(Status::resource_exhausted("too large")),
            Mood::Busy => {
                let details = ErrorDetails::with_retry_info(Some(BUSY));
                Err(Status::with_error_details(tonic::Code::ResourceExhausted, "busy", details))
            }
        }
    }
}

impl Shared {
    /// Keeps the first `count` records that are no poison, and says how many it did not keep.
    fn accept(&self, records: &[LogRecord], count: usize) -> Response<ExportLogsServiceResponse> {
        let poison = *self.poison.lock();
        let good = |record: &&LogRecord| poison != Some(record.event_name.as_str());
        let mut kept = self.kept.lock();
        let mut taken = 0;
        for record in records.iter().take(count).filter(good) {
            kept.keep(read(record));
            taken += 1;
        }
        let rejected = i64::try_from(records.len() - taken).unwrap_or(i64::MAX);
        let partial = ExportLogsPartialSuccess { rejected_log_records: rejected, error_message: "refused".to_owned() };
        Response::new(ExportLogsServiceResponse { partial_success: (rejected > 0).then_some(partial) })
    }
}

impl Copied {
    /// Whether `text` is anywhere in the record.
    pub fn holds(&self, text: &str) -> bool {
        self.bytes.windows(text.len().max(1)).any(|window| window == text.as_bytes())
    }
}

impl Kept {
    fn keep(&mut self, read: Result<(String, Copied)>) {
        let Ok((uid, copied)) = read else {
            self.unreadable += 1;
            return;
        };
        match self.records.get_mut(&uid) {
            None => {
                self.records.insert(uid, copied);
            }
            Some(first) => {
                first.times += 1;
                self.differing += u64::from(first.bytes != copied.bytes);
            }
        }
    }

    /// Keeps a record as the file sink writes it.
    pub fn keep_line(&mut self, line: &str) {
        self.keep(line_of(line));
    }

    /// Records by the place of their entry. Two uids of one place show the first.
    pub fn by_sequence(&self) -> BTreeMap<u64, &Copied> {
        self.records.values().rev().map(|copied| (copied.sequence, copied)).collect()
    }

    /// How many records came more than once.
    pub fn repeated(&self) -> usize {
        self.records.values().filter(|copied| copied.times > 1).count()
    }
}

fn read(record: &LogRecord) -> Result<(String, Copied)> {
    let value = |key: &str| {
        let attribute = record.attributes.iter().find(|attribute| attribute.key == key);
        attribute.and_then(|attribute| attribute.value.as_ref()?.value.clone()).with_context(|| format!("no `{key}`"))
    };
    let text = |key: &str| match value(key)? {
        Value::StringValue(text) => Ok(text),
        _ => bail!("`{key}` is no text"),
    };
    let Value::IntValue(sequence) = value("fuda.sequence")? else { bail!("`fuda.sequence` is no number") };
    let bytes = LogRecord { observed_time_unix_nano: 0, ..record.clone() }.encode_to_vec();
    let copied = Copied {
        sequence: u64::try_from(sequence)?,
        leaf_hash: text("fuda.leaf_hash")?,
        event: record.event_name.clone(),
        times: 1,
        bytes,
    };
    Ok((text("log.record.uid")?, copied))
}

/// A record as the file sink writes it: a line of JSON.
fn line_of(line: &str) -> Result<(String, Copied)> {
    let json: Json = serde_json::from_str(line).context("no JSON")?;
    let attribute = |key: &str| json.pointer(&format!("/attributes/{key}")).with_context(|| format!("no `{key}`"));
    let text = |value: &Json| value.as_str().map(str::to_owned).context("no text");
    let copied = Copied {
        sequence: attribute("fuda.sequence")?.as_u64().context("no number")?,
        leaf_hash: text(attribute("fuda.leaf_hash")?)?,
        event: text(json.get("event_name").context("no event")?)?,
        times: 1,
        bytes: line.as_bytes().to_vec(),
    };
    Ok((text(attribute("log.record.uid")?)?, copied))
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};

    use super::*;

    fn record(sequence: i64, event: &str) -> LogRecord {
        let attribute = |key: &str, value| KeyValue {
            key: key.to_owned(),
            value: Some(AnyValue { value: Some(value) }),
            ..KeyValue::default()
        };
        LogRecord {
            observed_time_unix_nano: 7,
            event_name: event.to_owned(),
            attributes: vec![
                attribute("log.record.uid", Value::StringValue(format!("o/{sequence}"))),
                attribute("fuda.leaf_hash", Value::StringValue("ab".to_owned())),
                attribute("fuda.sequence", Value::IntValue(sequence)),
            ],
            ..LogRecord::default()
        }
    }

    #[test]
    fn a_repetition_is_counted_and_another_record_of_the_same_uid_is_found() {
        let mut kept = Kept::default();
        kept.keep(read(&record(1, "a")));
        kept.keep(read(&LogRecord { observed_time_unix_nano: 8, ..record(1, "a") }));
        assert_eq!((kept.records.len(), kept.repeated(), kept.differing), (1, 1, 0));
        kept.keep(read(&record(1, "b")));
        kept.keep(read(&LogRecord::default()));
        assert_eq!((kept.records.len(), kept.differing, kept.unreadable), (1, 1, 1));
    }

    #[tokio::test]
    async fn it_dies_and_comes_back_with_what_it_had() {
        let mut sink = UnwellSink::start().await.unwrap();
        let shared = Arc::clone(&sink.shared);
        sink.poison("poison");
        let answer = shared.accept(&[record(1, "a"), record(2, "poison"), record(3, "a")], 3).into_inner();
        assert_eq!(answer.partial_success.unwrap().rejected_log_records, 1);
        let address = sink.server.address;
        sink.server().die().await;
        assert!(tokio::net::TcpStream::connect(address).await.is_err());
        sink.server().revive().await.unwrap();
        tokio::net::TcpStream::connect(address).await.unwrap();
        assert_eq!(sink.kept().by_sequence().keys().copied().collect::<Vec<_>>(), [1, 3]);
    }
}
