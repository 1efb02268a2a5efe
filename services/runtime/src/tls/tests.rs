//! Reloading, and the connecting side's choice of servers.

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fuda_core::ids::CallerId;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::telemetry::MetricsRegistry;
use crate::testing::*;

fn caller(text: &str) -> CallerId {
    CallerId::parse(text).unwrap()
}

fn client_tls(directory: &Path, authority: &Authority) -> ClientTls {
    let paths = write(directory, &authority.issue(&[CALLER], &[]), authority);
    ClientTls::load(&paths, "outgoing", &MetricsRegistry::local("fuda-test").unwrap().meter()).unwrap()
}

async fn connects(server: &TestServer, client: &ClientTls, host: &str, expected: Option<SpiffeMatcher>) -> bool {
    client.connector_for(expected).unwrap().connect(host, server.address.port()).await.is_ok()
}

#[tokio::test]
async fn nodes_are_known_by_spiffe_id_and_others_by_name() {
    let authority = Authority::new();
    let (own, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let client = client_tls(own.path(), &authority);
    assert_eq!(client.own_identity(), Some(caller(CALLER)));
    let exactly = |id: &str| Some(SpiffeMatcher::Exact(caller(id)));
    let impostor = "spiffe://example.org/fuda/vault/2";

    // A certificate without any DNS name is enough between nodes, and nothing towards others.
    let server = TestServer::start(&write(theirs.path(), &authority.issue(&[SERVER], &[]), &authority), |_| {});
    assert!(connects(&server, &client, "localhost", exactly(SERVER)).await);
    assert!(connects(&server, &client, "127.0.0.1", exactly(SERVER)).await);
    assert!(!connects(&server, &client, "localhost", exactly(impostor)).await);
    assert!(!connects(&server, &client, "localhost", Some(SpiffeMatcher::AnyOf(BTreeSet::new()))).await);
    assert!(!connects(&server, &client, "localhost", None).await);

    // The right DNS name does not make up for the wrong id.
    let issued = authority.issue(&[impostor], &["localhost"]);
    let server = TestServer::start(&write(theirs.path(), &issued, &authority), |_| {});
    assert!(!connects(&server, &client, "localhost", exactly(SERVER)).await);
    assert!(connects(&server, &client, "localhost", None).await);
    assert!(!connects(&server, &client, "127.0.0.1", None).await);

    // Two ids are none, also when one is right.
    let issued = authority.issue(&[SERVER, impostor], &["localhost"]);
    let server = TestServer::start(&write(theirs.path(), &issued, &authority), |_| {});
    assert!(!connects(&server, &client, "localhost", exactly(SERVER)).await);

    // The right id of another authority is nobody.
    let stranger = Authority::new();
    let issued = stranger.issue(&[SERVER], &["localhost"]);
    let server = TestServer::start(&write(theirs.path(), &issued, &stranger), |_| {});
    assert!(!connects(&server, &client, "localhost", exactly(SERVER)).await);
}

#[tokio::test]
async fn a_connector_serves_as_tonic_transport() {
    let authority = Authority::new();
    let (own, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let client = client_tls(own.path(), &authority);
    let server = TestServer::start(&write(theirs.path(), &authority.issue(&[SERVER], &[]), &authority), |_| {});
    let connector = client.connector_for(Some(SpiffeMatcher::Exact(caller(SERVER)))).unwrap();
    assert!(is_served(endpoint(server.address).connect_with_connector_lazy(connector)).await);
}

/// Kubernetes mounts `tls.crt → ..data/tls.crt` and renames a new symlink over `..data`.
fn mount(root: &Path, generation: &str, issued: &Issued, authority: &Authority) -> TlsPaths {
    let data = root.join(generation);
    std::fs::create_dir(&data).unwrap();
    write(&data, issued, authority);
    symlink(generation, root.join("..data_tmp")).unwrap();
    std::fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
    let paths = paths_in(root);
    for file in [&paths.certificate_file, &paths.key_file, &paths.authorities_file] {
        if !file.exists() {
            symlink(Path::new("..data").join(file.file_name().unwrap()), file).unwrap();
        }
    }
    paths
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_certificate_is_served_without_dropping_listener_or_connections() {
    let authority = Authority::new();
    let (own, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let client = client_tls(own.path(), &authority);
    let paths = mount(theirs.path(), "..first", &authority.issue(&[SERVER], &[]), &authority);
    let server = TestServer::start(&paths, |_| {});
    server.tls.watch(server.shutdown.clone());
    let renamed = "spiffe://example.org/fuda/vault/renamed";
    let to = |id: &str| client.connector_for(Some(SpiffeMatcher::Exact(caller(id)))).unwrap();
    let old = endpoint(server.address).connect_with_connector(to(SERVER)).await.unwrap();
    assert!(is_served(old.clone()).await);
    // The watch has to be in place before the change it should notice.
    tokio::time::sleep(Duration::from_millis(300)).await;

    mount(theirs.path(), "..second", &authority.issue(&[renamed], &[]), &authority);
    eventually("the new certificate is served", async || {
        to(renamed).connect("127.0.0.1", server.address.port()).await.is_ok()
    })
    .await;
    assert_eq!(server.tls.own_identity(), Some(caller(renamed)));
    assert!(to(SERVER).connect("127.0.0.1", server.address.port()).await.is_err());
    assert!(is_served(old).await, "the old connection goes on");
    assert_eq!(server.metric("fuda_certificate_reloads_total", &["result=\"changed\""]).unwrap(), "1");
}

#[tokio::test]
async fn unusable_files_keep_the_old_certificate() {
    let authority = Authority::new();
    let (own, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let client = client_tls(own.path(), &authority);
    let paths = write(theirs.path(), &authority.issue(&[SERVER], &[]), &authority);
    let server = TestServer::start(&paths, |_| {});
    assert!(!server.tls.reload().unwrap(), "nothing changed");

    let other = authority.issue(&[SERVER], &[]);
    std::fs::write(&paths.key_file, &other.key).unwrap();
    assert!(matches!(server.tls.reload(), Err(TlsError::Rustls(_))), "a key of another certificate");
    assert!(!server.tls.reload().unwrap(), "reported once");
    std::fs::write(&paths.certificate_file, "garbage").unwrap();
    assert!(matches!(server.tls.reload(), Err(TlsError::Pem { .. })));
    std::fs::write(&paths.certificate_file, &authority.issue_expired(&[SERVER]).certificate).unwrap();
    assert!(matches!(server.tls.reload(), Err(TlsError::Expired { .. })));
    std::fs::remove_file(&paths.certificate_file).unwrap();
    assert!(matches!(server.tls.reload(), Err(TlsError::Read { .. })));
    assert!(connects(&server, &client, "localhost", Some(SpiffeMatcher::Exact(caller(SERVER)))).await);
    assert_eq!(server.metric("fuda_certificate_reloads_total", &["result=\"failed\""]).unwrap(), "4");

    std::fs::write(&paths.certificate_file, &other.certificate).unwrap();
    assert!(server.tls.reload().unwrap(), "whole again");
}

#[tokio::test]
async fn the_connecting_side_reloads_certificate_and_authorities() {
    let (first, second) = (Authority::new(), Authority::new());
    let (own, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let client = client_tls(own.path(), &first);
    let connector = client.connector_for(Some(SpiffeMatcher::Exact(caller(SERVER)))).unwrap();
    let server = TestServer::start(&write(theirs.path(), &second.issue(&[SERVER], &[]), &second), |_| {});
    assert!(connector.connect("localhost", server.address.port()).await.is_err());

    write(own.path(), &second.issue(&[CALLER], &[]), &second);
    assert!(client.reload().unwrap());
    let channel = endpoint(server.address).connect_with_connector(connector).await.unwrap();
    assert!(is_served(channel).await, "the same connector, both sides of the new authority");
}

#[tokio::test]
async fn files_are_looked_at_without_events_too() {
    let reloads = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = Arc::clone(&reloads);
    let shutdown = CancellationToken::new();
    let reload = move || {
        counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    };
    let interval = Duration::from_millis(20);
    let watching = watch::spawn(vec!["/nonexistent".into()], interval, reload, shutdown.clone());
    eventually("the files are looked at", async || reloads.load(std::sync::atomic::Ordering::SeqCst) >= 3).await;
    shutdown.cancel();
    watching.await.unwrap();
}
