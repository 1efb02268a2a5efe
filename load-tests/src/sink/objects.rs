//! An object store that is often unwell: the part of S3 that puts an object where there is none, and reads it.

use std::collections::BTreeMap;
use std::future::pending;
use std::io;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::{Kept, Server, line_of};

/// How the store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreMood {
    /// It keeps objects and says so.
    Takes,
    /// It keeps nothing and says nothing.
    Hangs,
    /// It keeps objects and says nothing.
    LosesAnswers,
    /// 503.
    Refuses,
    /// It reads the beginning of an object and breaks off.
    HalfReads,
}

impl StoreMood {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Takes, Self::Hangs, Self::LosesAnswers, Self::Refuses, Self::HalfReads];
}

struct Shared {
    objects: Mutex<BTreeMap<String, Bytes>>,
    /// Puts that would have overwritten an object.
    careless: Mutex<u64>,
    mood: Mutex<StoreMood>,
}

/// The store.
pub struct UnwellStore {
    server: Server,
    shared: Arc<Shared>,
}

impl UnwellStore {
    /// A store on a free loopback port.
    ///
    /// # Errors
    /// When there is no port.
    pub async fn start() -> Result<Self> {
        let shared = Arc::new(Shared {
            objects: Mutex::default(),
            careless: Mutex::default(),
            mood: Mutex::new(StoreMood::Takes),
        });
        let server = Server::start({
            let shared = Arc::clone(&shared);
            move |listener| tokio::spawn(serve(listener, Arc::clone(&shared)))
        });
        Ok(Self { server: server.await?, shared })
    }

    /// The address.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.server.address)
    }

    /// From now on it is like this.
    pub fn set_mood(&self, mood: StoreMood) {
        *self.shared.mood.lock() = mood;
    }

    /// The objects by name.
    pub fn objects(&self) -> BTreeMap<String, Bytes> {
        self.shared.objects.lock().clone()
    }

    /// Puts without the condition that there is no such object.
    pub fn careless(&self) -> u64 {
        *self.shared.careless.lock()
    }

    /// What can die.
    pub fn server(&mut self) -> &mut Server {
        &mut self.server
    }
}

/// Tables of a sink `name` that puts into `bucket` at `endpoint`; its credentials are written to `credentials`.
///
/// # Errors
/// When they cannot be written.
pub fn settings(name: &str, endpoint: &str, bucket: &str, credentials: &Path) -> Result<String> {
    std::fs::write(credentials, "aws_access_key_id = evidence\naws_secret_access_key = evidence\n")?;
    Ok(format!(
        "[export.{name}]\nbatch_wait_ms = 50\n[export.{name}.to.object_store]\nurl = \"s3://{bucket}/ledger\"\n\
         endpoint = {endpoint:?}\nregion = \"us-east-1\"\ncredentials_file = {credentials:?}\nobject_mib_max = 1\n\
         object_seconds_max = 1\ndeadline_ms = 400\n"
    ))
}

/// What is in `objects`, in the order of their names. An object whose name says something else than its lines is
/// unreadable as a whole.
pub fn kept_in<'a>(objects: impl IntoIterator<Item = (&'a String, &'a Bytes)>) -> Kept {
    let mut kept = Kept::default();
    for (name, object) in objects {
        match lines(name, object) {
            Ok(lines) => lines.into_iter().for_each(|line| kept.keep(Ok(line))),
            Err(_) => kept.unreadable += 1,
        }
        kept.requests += 1;
    }
    kept
}

fn lines(name: &str, object: &[u8]) -> Result<Vec<(String, super::Copied)>> {
    let name = name.rsplit('/').next().unwrap_or_default();
    let place = name.strip_prefix("entries-").and_then(|rest| rest.strip_suffix(".ndjson.zst")).context("name")?;
    let (from, count) = place.split_once('-').context("name")?;
    ensure!(from.len() == 20, "the first entry has 20 digits");
    let (from, count): (u64, u64) = (from.parse()?, count.parse()?);
    let text = String::from_utf8(zstd::decode_all(object)?)?;
    let lines: Vec<_> = text.lines().map(line_of).collect::<Result<_>>()?;
    let places: Vec<u64> = lines.iter().map(|(_, copied)| copied.sequence).collect();
    ensure!(places.iter().copied().eq(from..from + count), "{name} holds {places:?}");
    Ok(lines)
}

/// Its connections live and end with it.
async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let service = service_fn(move |request| answer(Arc::clone(&shared), request));
            // A node that was killed tears its connection: nobody is interested in how.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> io::Result<Response<Full<Bytes>>> {
    let (head, mut body) = request.into_parts();
    let mood = *shared.mood.lock();
    match mood {
        StoreMood::Takes | StoreMood::LosesAnswers => {}
        StoreMood::Hangs => return pending().await,
        StoreMood::Refuses => return Ok(status(StatusCode::SERVICE_UNAVAILABLE)),
        StoreMood::HalfReads => {
            let _beginning = body.frame().await;
            return Err(io::ErrorKind::BrokenPipe.into());
        }
    }
    let name = head.uri.path().to_owned();
    let answered = match head.method {
        Method::PUT => {
            let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
            *shared.careless.lock() += u64::from(!head.headers.contains_key(http::header::IF_NONE_MATCH));
            shared.put(name, body)
        }
        Method::GET => shared.get(&name),
        _ => status(StatusCode::METHOD_NOT_ALLOWED),
    };
    if mood == StoreMood::LosesAnswers { pending().await } else { Ok(answered) }
}

fn status(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

impl Shared {
    fn put(&self, name: String, body: Bytes) -> Response<Full<Bytes>> {
        let mut objects = self.objects.lock();
        if objects.contains_key(&name) {
            return status(StatusCode::PRECONDITION_FAILED);
        }
        objects.insert(name, body);
        tagged(Bytes::new())
    }

    fn get(&self, name: &str) -> Response<Full<Bytes>> {
        let found = self.objects.lock().get(name).cloned();
        found.map_or_else(|| status(StatusCode::NOT_FOUND), tagged)
    }
}

/// With the headers that clients want.
fn tagged(body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    let headers = response.headers_mut();
    headers.insert(http::header::ETAG, http::HeaderValue::from_static("\"0\""));
    headers.insert(http::header::LAST_MODIFIED, http::HeaderValue::from_static("Mon, 26 Jan 2026 00:00:00 GMT"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_must_tell_what_is_inside() {
        let line = |sequence: u64| {
            format!(
                "{{\"event_name\":\"e\",\"attributes\":{{\"log.record.uid\":\"o/{sequence}\",\
                 \"fuda.sequence\":{sequence},\"fuda.leaf_hash\":\"ab\"}}}}\n"
            )
        };
        let text: String = (3..6).map(line).collect();
        let object = Bytes::from(zstd::encode_all(text.as_bytes(), 3).unwrap());
        let name = |rest: &str| format!("/bucket/ledger/entries-{rest}.ndjson.zst");
        let kept = |name: String| kept_in([(&name, &object)]);
        let good = kept(name("00000000000000000003-3"));
        assert_eq!(good.by_sequence().keys().copied().collect::<Vec<_>>(), [3, 4, 5]);
        assert_eq!(good.unreadable, 0);
        for bad in ["00000000000000000003-4", "00000000000000000002-3", "3-3", "x"] {
            assert_eq!(kept(name(bad)).unreadable, 1, "{bad}");
        }
    }
}
