use std::sync::Arc;

use fuda_policy::Action;
use fuda_runtime::dev_ca::{DevCa, Pems};
use fuda_runtime::tls::{ClientTls, TlsPaths};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::super::record::tests::records;
use super::*;

const REPEATED: u64 = 5;

fn form(content: Content) -> Form {
    Form { hostname: "-".to_owned(), app_name: "fuda".to_owned(), facility: 13, enterprise_number: 32_473, content }
}

#[test]
fn a_message_has_the_fields_of_the_standard() {
    let [record] = records(42..43).try_into().unwrap();
    let text = message(&form(Content::Json), &record);
    let head = "<107>1 2026-01-26T00:00:00.123Z - fuda - detokenize [fuda@32473 log.record.uid=\"fuda/";
    assert!(text.starts_with(head), "{text}");
    let (_, json) = text.split_once("/42\"] ").unwrap();
    assert_eq!(json, record.line().trim_end());

    let text = message(&form(Content::Structured), &record);
    assert!(text.ends_with("\"]"), "{text}");
    for part in [" fuda.sequence=\"42\"", " fuda.detail=\"caller=a\" fuda.detail=\"caller=b\"", " trace_id=\"3333"] {
        assert!(text.contains(part), "{part}");
    }
    let framed = String::from_utf8(frame(&form(Content::Structured), &record)).unwrap();
    assert_eq!(framed, format!("{} {text}", text.len()));
}

#[test]
fn names_are_as_short_as_the_standard_wants_them() {
    for action in Action::ALL {
        assert!(action.code().len() <= 32, "{action} is no MSGID");
    }
    for (name, _) in &records(1..2)[0].attributes {
        assert!(name.len() <= 32 && name.bytes().all(|byte| byte.is_ascii_graphic()), "{name}");
        assert!(!name.contains(['=', ']', '"']), "{name}");
    }
}

#[test]
fn values_cannot_end_their_parameter_and_json_stays_ascii() {
    assert_eq!(escaped(r#"a"] [x@1 b="c\"#), r#"a\"\] [x@1 b=\"c\\"#);
    let text = ascii("{\"a\":\"山🗻\"}");
    assert_eq!(text, r#"{"a":"\u5c71\ud83d\uddfb"}"#);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap()["a"], "山🗻");
}

/// A receiver that is driven by hand.
struct Receiver {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    dir: TempDir,
    theirs: Pems,
    ours: Pems,
}

impl Receiver {
    async fn start(asks_for_certificate: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ca = DevCa::open(dir.path(), "fuda.test").unwrap();
        let (theirs, _) = ca.issue_node("receiver", &["127.0.0.1".to_owned()]).unwrap();
        let ours = ca.issue_identity("vault", "workload/vault").unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
        let config = if asks_for_certificate {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_file(&theirs.authority).unwrap()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            config.unwrap().with_client_cert_verifier(verifier)
        } else {
            config.unwrap().with_no_client_auth()
        };
        let chain = CertificateDer::pem_file_iter(&theirs.certificate).unwrap().map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_file(&theirs.key).unwrap();
        let mut config = config.with_single_cert(chain, key).unwrap();
        // One that speaks something is not frightened by what we do not offer.
        config.alpn_protocols = vec![b"syslog".to_vec()];
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { listener, acceptor: TlsAcceptor::from(Arc::new(config)), dir, theirs, ours }
    }

    fn sink(&self, certificate: bool, deadline_ms: u64) -> SyslogSink {
        let connector = if certificate {
            let paths = TlsPaths {
                certificate_file: self.ours.certificate.clone(),
                key_file: self.ours.key.clone(),
                authorities_file: self.ours.authority.clone(),
            };
            let tls = ClientTls::load(&paths, "sink", &opentelemetry::global::meter("test")).unwrap();
            tls.connector_for(None).unwrap()
        } else {
            TlsConnector::anonymous(&self.theirs.authority, None).unwrap()
        };
        let address = ("127.0.0.1".to_owned(), self.listener.local_addr().unwrap().port());
        let deadline = Duration::from_millis(deadline_ms);
        SyslogSink::new(address, connector.for_other_protocols(), form(Content::Json), deadline, REPEATED)
    }

    async fn accept(&self) -> tokio_rustls::server::TlsStream<TcpStream> {
        let (stream, _) = self.listener.accept().await.unwrap();
        self.acceptor.accept(stream).await.unwrap()
    }
}

/// Reads frames until one of `last` was read, and returns the places of their entries.
async fn read_until(stream: &mut tokio_rustls::server::TlsStream<TcpStream>, last: u64) -> Vec<u64> {
    let (mut text, mut sequences) = (String::new(), Vec::new());
    let mut bytes = [0; 4_096];
    while sequences.last() != Some(&last) {
        let count = stream.read(&mut bytes).await.unwrap();
        assert!(count > 0, "closed after {sequences:?}");
        text.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
        while let Some((length, rest)) = text.split_once(' ')
            && let length = length.parse::<usize>().unwrap()
            && rest.len() >= length
        {
            let (message, rest) = rest.split_at(length);
            let (_, uid) = message.split_once("log.record.uid=\"").unwrap();
            let (_, sequence) = uid.split_once('"').unwrap().0.rsplit_once('/').unwrap();
            sequences.push(sequence.parse().unwrap());
            text = rest.to_owned();
        }
    }
    sequences
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_arrive_in_order_and_a_new_connection_asks_for_repetition() {
    for certificate in [true, false] {
        let receiver = Receiver::start(certificate).await;
        let mut sink = receiver.sink(certificate, 5_000);
        assert!(matches!(sink.send(&records(0..1)).await, Answer::Later(..)), "not connected");
        let (connected, mut stream) = tokio::join!(sink.connect(), receiver.accept());
        assert_eq!(connected, Ok(REPEATED));
        for from in 0..3 {
            let (sent, read) = (records(from * 4..from * 4 + 4), read_until(&mut stream, from * 4 + 3));
            let (sent, read) = tokio::join!(sink.send(&sent), read);
            assert_eq!((sent, read), (Answer::Taken, (from * 4..from * 4 + 4).collect()));
            assert_eq!(sink.connect().await, Ok(0), "the same connection");
        }
        drop(stream);
        tokio::time::sleep(Duration::from_millis(100)).await;
        let (connected, mut stream) = tokio::join!(sink.connect(), receiver.accept());
        assert_eq!(connected, Ok(REPEATED), "a close is noticed before anything is sent");
        let sent = records(12..13);
        assert_eq!(tokio::join!(sink.send(&sent), read_until(&mut stream, 12)), (Answer::Taken, vec![12]));
        sink.disconnect();
        assert_eq!(tokio::join!(sink.connect(), receiver.accept()).0, Ok(REPEATED), "leading anew");
        assert!(receiver.dir.path().is_dir());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_reads_nothing_is_full_at_last_and_one_that_resets_took_nothing() {
    let receiver = Receiver::start(false).await;
    let mut sink = receiver.sink(false, 400);
    let (_, stream) = tokio::join!(sink.connect(), receiver.accept());
    let batch = records(0..512);
    let mut taken = 0;
    let answer = loop {
        match sink.send(&batch).await {
            Answer::Taken => taken += batch.len(),
            answer => break answer,
        }
    };
    assert!(matches!(answer, Answer::Later(..)), "{answer:?}");
    assert!(taken < 65_536, "{taken} entries lie in a buffer that nobody reads");
    assert!(matches!(sink.send(&batch).await, Answer::Later("not connected", _)), "the connection is given up");
    // Nobody shakes hands any more: what hangs is no second time filled.
    assert!(matches!(sink.connect().await, Err(Answer::Later(..))));
    drop(stream);

    let mut sink = receiver.sink(false, 5_000);
    // The first in the queue is the one that gave up.
    let (connected, _) = tokio::join!(sink.connect(), async {
        let (given_up, _) = receiver.listener.accept().await.unwrap();
        drop(given_up);
        let (stream, _) = receiver.listener.accept().await.unwrap();
        let mut stream = receiver.acceptor.accept(stream).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        stream.get_mut().0.set_zero_linger().unwrap();
    });
    assert_eq!(connected, Ok(REPEATED));
    assert!(matches!(sink.send(&batch).await, Answer::Later("sending failed", _)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_of_another_authority_gets_nothing() {
    let (receiver, stranger) = (Receiver::start(false).await, Receiver::start(false).await);
    let mut sink = receiver.sink(false, 2_000);
    sink.address = ("127.0.0.1".to_owned(), stranger.listener.local_addr().unwrap().port());
    let (connected, _) = tokio::join!(sink.connect(), async {
        let (stream, _) = stranger.listener.accept().await.unwrap();
        stranger.acceptor.accept(stream).await.err()
    });
    assert!(matches!(connected, Err(Answer::Later("connecting failed", _))));
}
