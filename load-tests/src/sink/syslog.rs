//! A receiver of syslog over TLS that is often unwell. It keeps a message when it has read it; what lies in its socket
//! when it dies, nobody has.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use fuda_runtime::dev_ca::{DevCa, Pems};
use parking_lot::Mutex;
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::{Kept, Server, line_of};

/// How often a hanging receiver looks whether it still hangs.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Bytes read at once, and by one that is about to reset its connection.
const READ_BYTES: usize = 16_384;
const HALF_READ_BYTES: usize = 6_000;
/// Bytes of a message that it believes.
const MESSAGE_BYTES_MAX: usize = 65_536;

/// How the receiver is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyslogMood {
    /// It reads everything.
    Takes,
    /// It neither reads nor shakes hands.
    Hangs,
    /// It closes every connection.
    Refuses,
    /// It reads a little and resets the connection.
    HalfReads,
}

impl SyslogMood {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Takes, Self::Hangs, Self::Refuses, Self::HalfReads];
}

struct Shared {
    kept: Mutex<Kept>,
    mood: Mutex<SyslogMood>,
    acceptor: TlsAcceptor,
}

/// The receiver.
pub struct UnwellSyslog {
    authority: std::path::PathBuf,
    server: Server,
    shared: Arc<Shared>,
}

impl UnwellSyslog {
    /// A receiver on a free loopback port, with a certificate of `ca`.
    ///
    /// # Errors
    /// When there is no port or no certificate.
    pub async fn start(ca: &DevCa) -> Result<Self> {
        let (pems, _) = ca.issue_node("syslog", &["127.0.0.1".to_owned()])?;
        let shared = Arc::new(Shared {
            kept: Mutex::default(),
            mood: Mutex::new(SyslogMood::Takes),
            acceptor: acceptor(&pems)?,
        });
        let server = Server::start({
            let shared = Arc::clone(&shared);
            move |listener| tokio::spawn(serve(listener, Arc::clone(&shared)))
        });
        Ok(Self { server: server.await?, authority: pems.authority, shared })
    }

    /// The table `to.syslog` of a sink `name`.
    pub fn settings(&self, name: &str, repeat_entries_max: u64) -> String {
        format!(
            "[export.{name}]\nbatch_wait_ms = 50\n[export.{name}.to.syslog]\naddress = \"{}\"\nauthorities_file = {:?}\n\
             deadline_ms = 400\nrepeat_entries_max = {repeat_entries_max}\n",
            self.server.address, self.authority
        )
    }

    /// From now on it is like this.
    pub fn set_mood(&self, mood: SyslogMood) {
        *self.shared.mood.lock() = mood;
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

fn acceptor(pems: &Pems) -> Result<TlsAcceptor> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let chain = CertificateDer::pem_slice_iter(&fs::read(&pems.certificate)?).collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(&fs::read(&pems.key)?)?;
    let config = config.with_no_client_auth().with_single_cert(chain, key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Its connections live and end with it.
async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            shared.well().await;
            // One that gave up, or a node that was killed: nobody is interested in how.
            if let Ok(stream) = shared.acceptor.accept(stream).await {
                let _ = shared.receive(stream).await;
            }
        });
    }
}

impl Shared {
    fn mood(&self) -> SyslogMood {
        *self.mood.lock()
    }

    /// Returns when it hangs no more.
    async fn well(&self) {
        while self.mood() == SyslogMood::Hangs {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn receive(&self, mut stream: TlsStream<TcpStream>) -> Result<()> {
        let (mut bytes, mut unread) = (vec![0; READ_BYTES], Vec::new());
        loop {
            self.well().await;
            let mood = self.mood();
            if mood == SyslogMood::Refuses {
                return Ok(());
            }
            let piece = if mood == SyslogMood::HalfReads { HALF_READ_BYTES } else { READ_BYTES };
            let count = stream.read(bytes.get_mut(..piece).context("a piece")?).await?;
            ensure!(count > 0, "closed");
            unread.extend_from_slice(bytes.get(..count).context("a piece")?);
            let taken = self.take(&unread)?;
            unread.drain(..taken);
            if mood == SyslogMood::HalfReads {
                stream.get_ref().0.set_zero_linger()?;
                return Ok(());
            }
        }
    }

    /// Keeps the whole messages, and returns how many bytes they are.
    fn take(&self, unread: &[u8]) -> Result<usize> {
        let (mut kept, mut taken) = (self.kept.lock(), 0);
        while let Some((length, message)) = frame(unread.get(taken..).unwrap_or_default())? {
            kept.requests += 1;
            kept.keep(read(message));
            taken += length;
        }
        Ok(taken)
    }
}

/// The first frame's length and message; `None` while it is not whole.
fn frame(bytes: &[u8]) -> Result<Option<(usize, &[u8])>> {
    let Some(space) = bytes.iter().position(|byte| *byte == b' ') else {
        ensure!(bytes.len() < 8, "no frame");
        return Ok(None);
    };
    let length: usize = std::str::from_utf8(bytes.get(..space).unwrap_or_default())?.parse().context("no length")?;
    ensure!(length <= MESSAGE_BYTES_MAX, "a message of {length} bytes");
    let end = space + 1 + length;
    Ok(bytes.get(space + 1..end).map(|message| (end, message)))
}

/// A message as RFC 5424 writes it, with JSON behind the structured data.
fn read(message: &[u8]) -> Result<(String, super::Copied)> {
    let text = std::str::from_utf8(message)?;
    let mut words = text.splitn(8, ' ');
    let mut next = || words.next().context("a field is missing");
    let (priority, time, _host, app) = (next()?, next()?, next()?, next()?);
    let (_process, name, id) = (next()?, next()?, next()?);
    ensure!(priority.starts_with('<') && priority.ends_with(">1") && app == "fuda", "{priority} {app}");
    ensure!(id == "[fuda@32473" && time.ends_with('Z'), "{id} {time}");
    let (parameter, json) = next()?.split_once("] ").context("no message")?;
    let (uid, copied) = line_of(json)?;
    if parameter != format!("log.record.uid=\"{uid}\"") || copied.event != format!("fuda.audit.{name}") {
        bail!("the head is of another entry than the message");
    }
    Ok((uid, copied))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_taken_whole_and_heads_must_fit_their_message() {
        let json = r#"{"event_name":"fuda.audit.seal","attributes":{"log.record.uid":"o/7","fuda.sequence":7,"fuda.leaf_hash":"ab"}}"#;
        let message = |uid: &str, name: &str| {
            format!("<110>1 2026-01-26T00:00:00.123Z - fuda - {name} [fuda@32473 log.record.uid=\"{uid}\"] {json}")
        };
        let good = message("o/7", "seal");
        let bytes = format!("{} {good}9 ", good.len());
        let (length, found) = frame(bytes.as_bytes()).unwrap().unwrap();
        assert_eq!((length, found), (bytes.len() - 2, good.as_bytes()));
        assert!(frame(&bytes.as_bytes()[..length - 1]).unwrap().is_none());
        assert!(frame(b"<110>1 2026").is_err() && frame(b"999999 ").is_err());
        assert_eq!(read(found).unwrap().1.sequence, 7);
        for bad in [message("o/8", "seal"), message("o/7", "rotate"), good.replace("32473", "1")] {
            assert!(read(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
