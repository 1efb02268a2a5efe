//! Real sockets, real certificates.

use std::io::Read;
use std::process::Command;
use std::sync::Mutex;

use fuda_core::ids::CallerId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::layer::{CallTrace, Deadline};
use crate::testing::*;

fn refusals(server: &TestServer, reason: &str) -> u64 {
    let reason = format!("reason=\"{reason}\"");
    server.metric("fuda_listener_refusals_total", &[&reason]).map_or(0, |count| count.parse().unwrap())
}

async fn served_with(server: &TestServer, authority: &Authority, certificate: Option<&Issued>) -> bool {
    match channel(server.address, bare_client(authority, certificate)).await {
        Ok(channel) => is_served(channel).await,
        Err(_) => false,
    }
}

#[tokio::test]
async fn only_one_spiffe_id_of_our_authority_is_a_caller() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let directory = tempfile::tempdir().unwrap();
    let paths = write(directory.path(), &authority.issue(&[SERVER], &["localhost"]), &authority);
    let server = TestServer::start(&paths, |_| {});

    let good = [authority.issue(&[CALLER], &[]), authority.issue(&[CALLER], &["payroll.example.org"])];
    for certificate in &good {
        assert!(served_with(&server, &authority, Some(certificate)).await);
    }

    let refused = [
        ("no certificate", None, "handshake"),
        ("wrong authority", Some(stranger.issue(&[CALLER], &[])), "handshake"),
        ("expired", Some(authority.issue_expired(&[CALLER])), "handshake"),
        ("two ids", Some(authority.issue(&[CALLER, "spiffe://example.org/admin"], &[])), "identity"),
        ("an id and another URI", Some(authority.issue(&[CALLER, "https://example.org/"], &[])), "identity"),
        ("no URI name", Some(authority.issue(&[], &["payroll.example.org"])), "identity"),
        ("not SPIFFE", Some(authority.issue(&["https://example.org/payroll"], &[])), "identity"),
        ("no path", Some(authority.issue(&["spiffe://example.org"], &[])), "identity"),
    ];
    for (name, certificate, reason) in &refused {
        let before = refusals(&server, reason);
        assert!(!served_with(&server, &authority, certificate.as_ref()).await, "{name} was served");
        assert_eq!(refusals(&server, reason), before + 1, "{name}");
    }

    assert!(served_with(&server, &authority, Some(&good[0])).await, "still serving afterwards");
    assert_eq!(server.metric("fuda_listener_handshakes_total", &[]).unwrap(), "3");
}

#[tokio::test]
async fn handlers_see_caller_trace_and_deadline_and_the_call_is_measured() {
    let authority = Authority::new();
    let directory = tempfile::tempdir().unwrap();
    let paths = write(directory.path(), &authority.issue(&[SERVER], &["localhost"]), &authority);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let observed = Arc::clone(&seen);
    let server = TestServer::start_observed(
        &paths,
        |_| {},
        move |extensions| {
            let peer = extensions.get::<PeerInfo>().unwrap().clone();
            let trace = *extensions.get::<CallTrace>().unwrap();
            assert!(extensions.get::<Deadline>().unwrap().remaining() > Duration::ZERO);
            observed.lock().unwrap().push((peer, trace));
        },
    );
    let client = bare_client(&authority, Some(&authority.issue(&[CALLER], &[])));
    let mut channel = channel(server.address, client).await.unwrap();

    // A known method, in a trace of the caller's.
    let mut request = tonic::Request::new(tonic_health::pb::HealthCheckRequest { service: String::new() });
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    request.metadata_mut().insert("traceparent", traceparent.parse().unwrap());
    tonic_health::pb::health_client::HealthClient::new(channel.clone()).check(request).await.unwrap();
    {
        let seen = seen.lock().unwrap();
        let (peer, trace) = &seen[0];
        let certificate = peer.certificate.clone().unwrap();
        assert_eq!(certificate.caller, CallerId::parse(CALLER).unwrap());
        assert!(peer.caller_at(SystemTime::now()).is_some() && peer.caller_at(certificate.not_after).is_none());
        assert!(trace.traceparent().starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"));
        assert_ne!(trace.traceparent(), traceparent, "the span is ours");
        assert!(!trace.sampled);
    }

    // A path of the caller's invention is measured, but not under its name.
    let request = http::Request::post("/fuda.Invented/123456789018")
        .header("content-type", "application/grpc")
        .body(tonic::body::Body::empty())
        .unwrap();
    let response = tower::Service::call(&mut ready(&mut channel).await, request).await.unwrap();
    assert_eq!(response.headers()["grpc-status"], "12");

    eventually("both calls are measured", async || {
        let count = |method: &str, status: &str| {
            let (method, status) =
                (format!("rpc_method=\"{method}\""), format!("rpc_response_status_code=\"{status}\""));
            server.metric("rpc_server_call_duration_seconds_count", &[&method, &status])
        };
        count(HEALTH_CHECK, "OK").as_deref() == Some("1") && count("_OTHER", "UNIMPLEMENTED").as_deref() == Some("1")
    })
    .await;
    let text = server.metrics.render().unwrap();
    assert!(text.contains("le=\"0.0005\"") && text.contains("le=\"10\""), "{text}");
    assert!(!text.contains("123456789018"), "{text}");
    let in_flight = format!("rpc_method=\"{HEALTH_CHECK}\"");
    assert_eq!(server.metric("fuda_rpc_server_calls_in_flight", &[&in_flight]).unwrap(), "0");
    assert_eq!(server.metric("fuda_listener_connections", &[]).unwrap(), "1");
    let expiry: u64 = server.metric("fuda_certificate_not_after_seconds", &[]).unwrap().parse().unwrap();
    assert_eq!(expiry, server.tls.not_after().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs());
}

async fn ready(channel: &mut tonic::transport::Channel) -> tonic::transport::Channel {
    std::future::poll_fn(|context| tower::Service::poll_ready(channel, context)).await.unwrap();
    std::mem::replace(channel, channel.clone())
}

#[tokio::test]
async fn garbage_and_silence_cost_only_their_own_connection() {
    let authority = Authority::new();
    let directory = tempfile::tempdir().unwrap();
    let paths = write(directory.path(), &authority.issue(&[SERVER], &["localhost"]), &authority);
    let server = TestServer::start(&paths, |options| {
        options.handshake_timeout = Duration::from_millis(300);
        options.connections_max = 8;
        options.handshakes_max = 4;
    });
    let certificate = authority.issue(&[CALLER], &[]);

    // Garbage instead of a ClientHello.
    for _ in 0..5 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
    }
    eventually("garbage is refused", async || refusals(&server, "handshake") == 5).await;

    // Half-open: more silent connections than handshakes at a time. The real caller waits for a turn, then is served.
    let mut silent = Vec::new();
    for _ in 0..6 {
        silent.push(TcpStream::connect(server.address).await.unwrap());
    }
    assert!(served_with(&server, &authority, Some(&certificate)).await);
    eventually("silence times out", async || refusals(&server, "handshake_timeout") == 6).await;

    // A closed connection in mid-handshake is nothing special.
    drop(TcpStream::connect(server.address).await.unwrap());
    eventually("a hang-up is refused", async || refusals(&server, "handshake") == 6).await;
    assert!(served_with(&server, &authority, Some(&certificate)).await);
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_and_their_places_come_back() {
    let authority = Authority::new();
    let directory = tempfile::tempdir().unwrap();
    let paths = write(directory.path(), &authority.issue(&[SERVER], &["localhost"]), &authority);
    let server = TestServer::start(&paths, |options| options.connections_max = 2);
    let client = bare_client(&authority, Some(&authority.issue(&[CALLER], &[])));

    let first = channel(server.address, client.clone()).await.unwrap();
    let second = channel(server.address, client.clone()).await.unwrap();
    assert!(is_served(first.clone()).await && is_served(second).await);
    assert!(channel(server.address, client.clone()).await.is_err());
    assert_eq!(refusals(&server, "connection_limit"), 1);

    // `second` was dropped with its only handle.
    eventually("its place is free", async || match channel(server.address, client.clone()).await {
        Ok(third) => is_served(third).await,
        Err(_) => false,
    })
    .await;
    assert!(is_served(first).await);
}

const CHILD: &str = "FUDA_TEST_DESCRIPTORS_CHILD";

/// Runs only inside the child process started below: the limit on descriptors is the whole process'.
#[tokio::test]
async fn descriptors_child() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    use rustix::process::{Resource, Rlimit, setrlimit};
    let authority = Authority::new();
    let directory = tempfile::tempdir().unwrap();
    let paths = write(directory.path(), &authority.issue(&[SERVER], &["localhost"]), &authority);
    let server = TestServer::start(&paths, |_| {});
    let client = bare_client(&authority, Some(&authority.issue(&[CALLER], &[])));
    assert!(is_served(channel(server.address, client.clone()).await.unwrap()).await);

    setrlimit(Resource::Nofile, Rlimit { current: Some(64), maximum: Some(64) }).unwrap();
    let mut fillers: Vec<_> = std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).collect();
    // One descriptor for the client's end; none for the server's.
    drop(fillers.pop());
    let stream = TcpStream::connect(server.address).await.unwrap();
    tokio::time::sleep(Duration::from_millis(400)).await;
    drop(fillers);

    let name = rustls_pki_types::ServerName::try_from("localhost").unwrap();
    let stream = tokio::time::timeout(Duration::from_secs(5), client.connect(name, stream)).await.unwrap().unwrap();
    drop(stream);
    assert!(refusals(&server, "accept") >= 1, "accept failed meanwhile");
    assert!(is_served(channel(server.address, client).await.unwrap()).await);
    std::process::exit(77);
}

#[test]
fn the_accept_loop_survives_running_out_of_descriptors() {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "listener::tests::descriptors_child", "--nocapture"])
        .env(CHILD, "1")
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = String::new();
    child.stderr.take().unwrap().read_to_string(&mut output).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(77), "{output}");
}
