//! A token service that answers from a script, and clients of it.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use fuda_core::{Code, Retry};
use fuda_proto::vault::v1 as pb;
use fuda_proto::vault::v1::token_service_server::{TokenService, TokenServiceServer};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::nodes::{Nodes, endpoint};
use crate::{Client, Identity, Options};

/// What a node was asked, as far as a test may keep it: the numbers are synthetic.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) request_ids: Vec<String>,
    pub(crate) retry_secrets: Vec<Vec<u8>>,
    pub(crate) batch_sizes: Vec<usize>,
}

/// A node: refuses with the script's codes one after the other, then serves.
#[derive(Clone, Default)]
pub(crate) struct Scripted {
    pub(crate) script: Arc<Mutex<VecDeque<Code>>>,
    pub(crate) seen: Arc<Mutex<Seen>>,
}

impl Scripted {
    pub(crate) fn refusing(codes: impl IntoIterator<Item = Code>) -> Self {
        Self { script: Arc::new(Mutex::new(codes.into_iter().collect())), seen: Arc::default() }
    }

    pub(crate) async fn start(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = TokenServiceServer::new(self.clone());
        tokio::spawn(Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener)));
        address
    }

    fn next(&self, request_id: &str) -> Result<(), Status> {
        self.seen.lock().unwrap().request_ids.push(request_id.to_owned());
        match self.script.lock().unwrap().pop_front() {
            Some(code) => Err(refusal(code)),
            None => Ok(()),
        }
    }
}

/// A refusal in the form of the vault.
pub(crate) fn refusal(code: Code) -> Status {
    let retry = match code.retry() {
        Retry::Never => "never",
        Retry::Backoff => "backoff",
        Retry::OtherNode => "other_node",
    };
    let metadata = [("code", code.id()), ("retry", retry), ("docs", code.docs_page())];
    let metadata: HashMap<_, _> = metadata.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let details = ErrorDetails::with_error_info(code.reason(), "fuda", metadata);
    let message = format!("{} ({})", code.message(), code.id());
    Status::with_error_details(tonic::Code::from(code.status().number()), message, details)
}

fn unserved<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("not part of the script"))
}

#[tonic::async_trait]
impl TokenService for Scripted {
    async fn tokenize(&self, request: Request<pb::TokenizeRequest>) -> Result<Response<pb::TokenizeResponse>, Status> {
        let request = request.into_inner();
        self.seen.lock().unwrap().retry_secrets.push(request.retry_secret.clone());
        self.next(&request.request_id)?;
        Ok(Response::new(pb::TokenizeResponse { token: "fuda_test_token".to_owned(), ..Default::default() }))
    }

    /// Serves items whose subject does not start with `bad`.
    async fn batch_tokenize(
        &self,
        request: Request<pb::BatchTokenizeRequest>,
    ) -> Result<Response<pb::BatchTokenizeResponse>, Status> {
        let request = request.into_inner();
        self.seen.lock().unwrap().batch_sizes.push(request.items.len());
        self.next(&request.request_id)?;
        let result = |item: &pb::TokenizeItem| match item.subject.starts_with("bad") {
            false => pb::tokenize_result::Result::Ok(pb::TokenizeResponse {
                token: format!("token of {}", item.subject),
                ..Default::default()
            }),
            true => pb::tokenize_result::Result::Error(pb::ItemError {
                status: 3,
                code: Code::InvalidNumber.id().to_owned(),
                reason: Code::InvalidNumber.reason().to_owned(),
                message: format!("wrong ({})", Code::InvalidNumber.id()),
                field: "number".to_owned(),
                ..Default::default()
            }),
        };
        let results = request.items.iter().map(|item| pb::TokenizeResult { result: Some(result(item)) }).collect();
        Ok(Response::new(pb::BatchTokenizeResponse { results }))
    }

    async fn detokenize(
        &self,
        request: Request<pb::DetokenizeRequest>,
    ) -> Result<Response<pb::DetokenizeResponse>, Status> {
        self.next(&request.get_ref().request_id)?;
        Ok(Response::new(pb::DetokenizeResponse { subject: "E0001".to_owned(), ..Default::default() }))
    }

    async fn batch_detokenize(
        &self,
        _: Request<pb::BatchDetokenizeRequest>,
    ) -> Result<Response<pb::BatchDetokenizeResponse>, Status> {
        unserved()
    }

    async fn verify_number(
        &self,
        _: Request<pb::VerifyNumberRequest>,
    ) -> Result<Response<pb::VerifyNumberResponse>, Status> {
        unserved()
    }

    async fn batch_verify_numbers(
        &self,
        _: Request<pb::BatchVerifyNumbersRequest>,
    ) -> Result<Response<pb::BatchVerifyNumbersResponse>, Status> {
        unserved()
    }

    async fn describe_token(
        &self,
        _: Request<pb::DescribeTokenRequest>,
    ) -> Result<Response<pb::DescribeTokenResponse>, Status> {
        unserved()
    }

    async fn batch_describe_tokens(
        &self,
        _: Request<pb::BatchDescribeTokensRequest>,
    ) -> Result<Response<pb::BatchDescribeTokensResponse>, Status> {
        unserved()
    }

    async fn get_record(&self, _: Request<pb::GetRecordRequest>) -> Result<Response<pb::GetRecordResponse>, Status> {
        unserved()
    }

    async fn list_records(
        &self,
        _: Request<pb::ListRecordsRequest>,
    ) -> Result<Response<pb::ListRecordsResponse>, Status> {
        unserved()
    }

    async fn exchange(&self, _: Request<pb::ExchangeRequest>) -> Result<Response<pb::ExchangeResponse>, Status> {
        unserved()
    }

    async fn batch_exchange(
        &self,
        _: Request<pb::BatchExchangeRequest>,
    ) -> Result<Response<pb::BatchExchangeResponse>, Status> {
        unserved()
    }

    async fn rotate(&self, request: Request<pb::RotateRequest>) -> Result<Response<pb::RotateResponse>, Status> {
        let request = request.into_inner();
        self.seen.lock().unwrap().retry_secrets.push(request.retry_secret.clone());
        self.next(&request.request_id)?;
        Ok(Response::new(pb::RotateResponse { token: "fuda_test_rotated".to_owned(), ..Default::default() }))
    }

    async fn batch_rotate(
        &self,
        _: Request<pb::BatchRotateRequest>,
    ) -> Result<Response<pb::BatchRotateResponse>, Status> {
        unserved()
    }

    async fn update_number(
        &self,
        _: Request<pb::UpdateNumberRequest>,
    ) -> Result<Response<pb::UpdateNumberResponse>, Status> {
        unserved()
    }

    async fn batch_update_numbers(
        &self,
        _: Request<pb::BatchUpdateNumbersRequest>,
    ) -> Result<Response<pb::BatchUpdateNumbersResponse>, Status> {
        unserved()
    }

    async fn disable(&self, _: Request<pb::DisableRequest>) -> Result<Response<pb::DisableResponse>, Status> {
        unserved()
    }

    async fn batch_disable(
        &self,
        _: Request<pb::BatchDisableRequest>,
    ) -> Result<Response<pb::BatchDisableResponse>, Status> {
        unserved()
    }

    async fn enable(&self, _: Request<pb::EnableRequest>) -> Result<Response<pb::EnableResponse>, Status> {
        unserved()
    }

    async fn batch_enable(
        &self,
        _: Request<pb::BatchEnableRequest>,
    ) -> Result<Response<pb::BatchEnableResponse>, Status> {
        unserved()
    }

    async fn supersede(&self, _: Request<pb::SupersedeRequest>) -> Result<Response<pb::SupersedeResponse>, Status> {
        unserved()
    }

    async fn batch_supersede(
        &self,
        _: Request<pb::BatchSupersedeRequest>,
    ) -> Result<Response<pb::BatchSupersedeResponse>, Status> {
        unserved()
    }

    async fn add_notice(&self, _: Request<pb::AddNoticeRequest>) -> Result<Response<pb::AddNoticeResponse>, Status> {
        unserved()
    }

    async fn batch_add_notices(
        &self,
        _: Request<pb::BatchAddNoticesRequest>,
    ) -> Result<Response<pb::BatchAddNoticesResponse>, Status> {
        unserved()
    }

    async fn reveal_masked(
        &self,
        _: Request<pb::RevealMaskedRequest>,
    ) -> Result<Response<pb::RevealMaskedResponse>, Status> {
        unserved()
    }

    async fn seal(&self, _: Request<pb::SealRequest>) -> Result<Response<pb::SealResponse>, Status> {
        unserved()
    }

    async fn batch_seal(&self, _: Request<pb::BatchSealRequest>) -> Result<Response<pb::BatchSealResponse>, Status> {
        unserved()
    }

    async fn batch_reveal_masked(
        &self,
        _: Request<pb::BatchRevealMaskedRequest>,
    ) -> Result<Response<pb::BatchRevealMaskedResponse>, Status> {
        unserved()
    }
}

pub(crate) fn options() -> Options {
    Options::new(["unused:1"], Identity::in_directory("unused", "unused"))
}

/// A client without TLS.
pub(crate) fn client(addresses: &[SocketAddr], options: &Options) -> Client {
    let channel = |address: &SocketAddr| {
        let address = address.to_string();
        let channel = endpoint(&address).unwrap().connect_lazy();
        (address, channel)
    };
    Client::over(Nodes::new(addresses.iter().map(channel).collect(), None).unwrap(), options).unwrap()
}
