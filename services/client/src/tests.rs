//! Stories of calls that meet failing nodes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use fuda_core::{Code, RequestId};
use fuda_proto::tenant::v1::CreateTenantRequest;
use fuda_proto::vault::v1::token_service_server::TokenServiceServer;
use fuda_proto::vault::v1::{DetokenizeRequest, RotateRequest, TokenizeItem, TokenizeRequest};
use fuda_runtime::dev_ca::DevCa;
use fuda_runtime::listener::{ListenerOptions, TlsListener};
use fuda_runtime::tls::{ServerTls, TlsPaths};
use prost::Message as _;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;

use crate::testing::{Scripted, client, options};
use crate::{Client, Error, Identity, Job, Options};

fn tokenize() -> TokenizeRequest {
    TokenizeRequest { tenant: "acme".to_owned(), ..Default::default() }
}

#[tokio::test]
async fn a_repeated_call_keeps_its_request_id_and_retry_secret() {
    // Phase 1: unavailable twice, then an answer.
    let node = Scripted::refusing([Code::NoLeader, Code::NodeBehind]);
    let client = client(&[node.start().await], &options());
    let reply = client.tokenize(tokenize()).await.unwrap();
    assert_eq!(reply.token, "fuda_test_token");
    {
        let seen = node.seen.lock().unwrap();
        assert_eq!(seen.request_ids.len(), 3);
        assert_eq!(seen.request_ids.iter().collect::<BTreeSet<_>>().len(), 1);
        assert!(RequestId::parse(&seen.request_ids[0]).is_ok());
        assert_eq!(seen.retry_secrets.iter().collect::<BTreeSet<_>>().len(), 1);
        assert!(seen.retry_secrets[0].len() == 32 && seen.retry_secrets[0] != [0; 32]);
    }

    // Phase 2: another logical call has its own.
    client.tokenize(tokenize()).await.unwrap();
    {
        let seen = node.seen.lock().unwrap();
        assert_ne!(seen.request_ids[3], seen.request_ids[0]);
        assert_ne!(seen.retry_secrets[3], seen.retry_secrets[0]);
    }

    // Phase 3: what the caller gives is kept.
    let request_id = "0190c0de-0000-4000-8000-000000000001".to_owned();
    let request = TokenizeRequest { request_id: request_id.clone(), retry_secret: vec![9; 32], ..tokenize() };
    client.tokenize(request).await.unwrap();
    let seen = node.seen.lock().unwrap();
    assert_eq!((&seen.request_ids[4], &seen.retry_secrets[4]), (&request_id, &vec![9; 32]));
}

/// A rotation whose reply is lost would lose the token: the repeated call must be recognised.
#[tokio::test]
async fn a_repeated_rotation_keeps_its_request_id_and_retry_secret() {
    let node = Scripted::refusing([Code::NoLeader]);
    let client = client(&[node.start().await], &options());
    let reply = client.rotate(RotateRequest::default()).await.unwrap();
    assert_eq!(reply.token, "fuda_test_rotated");
    let seen = node.seen.lock().unwrap();
    assert_eq!((seen.request_ids.len(), seen.retry_secrets[0].len()), (2, 32));
    assert_eq!((&seen.request_ids[0], &seen.retry_secrets[0]), (&seen.request_ids[1], &seen.retry_secrets[1]));
}

#[tokio::test]
async fn a_denial_is_not_repeated_and_names_its_request() {
    let node = Scripted::refusing([Code::DeniedOrNotFound]);
    let client = client(&[node.start().await], &options());
    let error = client.detokenize(DetokenizeRequest::default()).await.err().unwrap();
    assert_eq!(error.code(), Some(Code::DeniedOrNotFound));
    let refused = error.refused().unwrap();
    assert_eq!(refused.status, tonic::Code::PermissionDenied);
    assert_eq!(refused.message, Code::DeniedOrNotFound.message());
    assert_eq!(refused.docs_page, "docs/src/errors/FUDA-2002.md");
    let seen = node.seen.lock().unwrap();
    assert_eq!(*seen.request_ids, std::slice::from_ref(&refused.request_id)[..]);
}

#[tokio::test]
async fn a_full_queue_is_repeated_and_a_used_up_budget_is_not() {
    let node = Scripted::refusing([Code::Overloaded, Code::BudgetExhausted]);
    let client = client(&[node.start().await], &options());
    let error = client.detokenize(DetokenizeRequest::default()).await.err().unwrap();
    assert_eq!(error.code(), Some(Code::BudgetExhausted));
    assert_eq!(node.seen.lock().unwrap().request_ids.len(), 2);
}

#[tokio::test]
async fn calls_take_turns_and_pass_over_a_dead_node() {
    let (one, two) = (Scripted::default(), Scripted::default());
    let dead = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let client = client(&[one.start().await, dead, two.start().await], &options());
    for _ in 0..6 {
        client.detokenize(DetokenizeRequest::default()).await.unwrap();
    }
    let served = |node: &Scripted| node.seen.lock().unwrap().request_ids.len();
    assert_eq!(served(&one) + served(&two), 6);
    assert!(served(&one) >= 2 && served(&two) >= 2, "both living nodes serve");
}

#[tokio::test]
async fn attempts_and_time_are_bounded() {
    // Phase 1: one attempt and two repetitions.
    let node = Scripted::refusing([Code::NoLeader; 100]);
    let address = node.start().await;
    let impatient = Options { retries: 2, ..options() };
    let error = client(&[address], &impatient).detokenize(DetokenizeRequest::default()).await.err().unwrap();
    assert_eq!(error.code(), Some(Code::NoLeader));
    assert_eq!(node.seen.lock().unwrap().request_ids.len(), 3);

    // Phase 2: no repetition starts behind the deadline. On a machine that is busy elsewhere, the last one ends at it.
    let hurried = Options { deadline: Duration::from_millis(300), retries: 90, ..options() };
    let error = client(&[address], &hurried).detokenize(DetokenizeRequest::default()).await.err().unwrap();
    assert!(matches!(error.code(), Some(Code::NoLeader | Code::Deadline)));
    assert!(node.seen.lock().unwrap().request_ids.len() < 50, "the deadline came before the last repetition");

    // Phase 3: a node that accepts and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let hurried = Options { deadline: Duration::from_millis(300), ..options() };
    let silent = client(&[silent.local_addr().unwrap()], &hurried);
    let error = silent.detokenize(DetokenizeRequest::default()).await.err().unwrap();
    assert_eq!(error.code(), Some(Code::Deadline));
    assert!(!error.refused().unwrap().request_id.is_empty());
}

#[tokio::test]
async fn an_act_is_repeated_only_when_it_had_no_effect() {
    // The scripted node does not know the service: an answer, so no repetition. The dead node was never reached.
    let node = Scripted::default();
    let dead = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let living = node.start().await;
    let client = client(&[dead, living], &options());
    let error = client.create_tenant(CreateTenantRequest::default()).await.err().unwrap();
    assert_eq!(error.refused().unwrap().status, tonic::Code::Unimplemented);
    assert_eq!(error.refused().unwrap().endpoint, living.to_string());

    // Phase 2: what a node may have proposed is repeated for calls that the vault recognises, and for no act.
    let methods = crate::service::methods();
    let method = |name: &str| *methods.iter().find(|method| method.path.ends_with(name)).unwrap();
    let refused = |code: Code| crate::Refused::from_status(&crate::testing::refusal(code), "n");
    for code in [Code::NodeBehind, Code::Sealed, Code::ClockSkew, Code::ShuttingDown, Code::Overloaded] {
        assert!(method("/CreateTenant").may_repeat(&refused(code)), "{code}");
    }
    for code in [Code::NoLeader, Code::StaleRoundsExhausted] {
        assert!(!method("/ApproveGrants").may_repeat(&refused(code)), "{code}");
        assert!(method("/Tokenize").may_repeat(&refused(code)), "{code}");
    }
    assert!(!method("/Tokenize").may_repeat(&refused(Code::DeniedOrNotFound)));
    // Asked to wait for the next minute, the client leaves that to its caller.
    let later = |seconds| {
        let retry_after = Some(Duration::from_secs(seconds));
        crate::Refused { retry_after, ..refused(Code::GrantRate) }
    };
    assert!(method("/Tokenize").may_repeat(&later(1)) && !method("/Tokenize").may_repeat(&later(10)));
}

#[tokio::test]
async fn a_job_of_any_size_has_one_result_per_item() {
    let node = Scripted::default();
    let client = client(&[node.start().await], &options());
    let item = |index: usize| TokenizeItem {
        subject: if index == 1_500 { "bad".to_owned() } else { format!("E{index}") },
        ..Default::default()
    };
    let job = Job { tenant: "acme".to_owned(), ..Job::default() };
    let results = client.tokenize_all(&job, (0..2_500).map(item).collect()).await;
    assert_eq!(results.len(), 2_500);
    for (index, result) in results.iter().enumerate() {
        match result {
            Ok(reply) => assert_eq!(reply.token, format!("token of E{index}")),
            Err(error) => {
                assert_eq!((index, error.code()), (1_500, Some(Code::InvalidNumber)));
                assert_eq!(error.to_string(), "wrong");
            }
        }
    }
    let mut sizes = node.seen.lock().unwrap().batch_sizes.clone();
    sizes.sort_unstable();
    assert_eq!(sizes, [500, 1_000, 1_000]);

    // Phase 2: a request that fails as a whole leaves the others alone.
    let node = Scripted::refusing([Code::DeniedOrNotFound]);
    let client = self::client(&[node.start().await], &Options { batches_inflight_max: 1, ..options() });
    let results = client.tokenize_all(&job, (0..1_200).map(item).collect()).await;
    assert_eq!(results.iter().filter(|result| result.is_err()).count(), 1_000);
    assert!(results[1_000..].iter().all(Result::is_ok));
}

#[tokio::test]
async fn only_a_node_of_our_authority_and_name_is_spoken_to() {
    let dir = tempfile::tempdir().unwrap();
    let ca = DevCa::open(dir.path(), "fuda.test").unwrap();
    let caller = ca.issue_identity("payroll", "workload/payroll").unwrap();
    let identity = || Identity {
        certificate: caller.certificate.clone(),
        key: caller.key.clone(),
        authority: caller.authority.clone(),
    };
    let hurried = |address: &std::net::SocketAddr| Options {
        retries: 0,
        deadline: Duration::from_secs(5),
        ..Options::new([address.to_string()], identity())
    };

    // Phase 1: a node.
    let (server, _) = ca.issue_node("one", &["localhost".to_owned()]).unwrap();
    let (node, address) = start_tls(&server);
    let client = Client::connect(hurried(&address)).await.unwrap();
    client.tokenize(tokenize()).await.unwrap();
    assert_eq!(node.seen.lock().unwrap().request_ids.len(), 1);

    // Phase 2: another workload of the same authority plays node.
    let impostor = ca.issue_identity("impostor", "workload/impostor").unwrap();
    let (impostor, address) = start_tls(&impostor);
    let client = Client::connect(hurried(&address)).await.unwrap();
    let error = client.tokenize(tokenize()).await.err().unwrap();
    assert_eq!(error.refused().unwrap().status, tonic::Code::Unavailable);
    assert!(impostor.seen.lock().unwrap().request_ids.is_empty());

    // Phase 3: files that are not there.
    let missing = Identity { key: dir.path().join("none.pem"), ..identity() };
    let error = Client::connect(Options::new(["localhost:1"], missing)).await.err().unwrap();
    assert!(matches!(error, Error::Identity(_)));
}

fn start_tls(pems: &fuda_runtime::dev_ca::Pems) -> (Scripted, std::net::SocketAddr) {
    let paths = TlsPaths {
        certificate_file: pems.certificate.clone(),
        key_file: pems.key.clone(),
        authorities_file: pems.authority.clone(),
    };
    let meter = opentelemetry::global::meter("test");
    let tls = Arc::new(ServerTls::load(&paths, "clients", &meter).unwrap());
    let options = ListenerOptions::new("127.0.0.1:0".parse().unwrap(), "clients");
    let listener = TlsListener::bind(options, tls, &meter, CancellationToken::new()).unwrap();
    let address = listener.local_addr().unwrap();
    let node = Scripted::default();
    let service = TokenServiceServer::new(node.clone());
    tokio::spawn(Server::builder().add_service(service).serve_with_incoming(listener.into_incoming()));
    (node, address)
}

#[test]
fn every_method_of_the_api_has_a_function() {
    let descriptors = prost_types::FileDescriptorSet::decode(fuda_proto::DESCRIPTORS).unwrap();
    let mut expected = BTreeSet::new();
    for file in descriptors.file.iter().filter(|file| file.package() != "fuda.peer.v1") {
        for service in &file.service {
            for method in &service.method {
                expected.insert(format!("/{}.{}/{}", file.package(), service.name(), method.name()));
            }
        }
    }
    assert!(expected.len() >= 34, "{} methods", expected.len());
    let ours: BTreeSet<_> = crate::service::methods().iter().map(|method| method.path.to_owned()).collect();
    assert_eq!(ours, expected);
}
