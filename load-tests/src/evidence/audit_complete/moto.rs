//! The object store sink against a server of S3's protocol that was not written here: moto, from PyPI.
//!
//! Two sinks put into one place. Where objects end follows from the ledger, so whichever is later finds its object there,
//! with the same lines: in the end each entry is there once.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use super::super::{Ctx, progress};
use super::sinks::Copies;
use super::{DEADLINE, PERSONS, Revealing, settled};
use crate::cluster::LocalCluster;
use crate::journal::whole_ledger;
use crate::sink::objects;
use crate::synthetic::People;
use crate::workload::store;

/// Installing a Python package takes a download.
const INSTALLED_WITHIN: Duration = Duration::from_secs(300);
const UP_WITHIN: Duration = Duration::from_secs(60);
const PACKAGE: &str = "moto[server]==5.2.5";
const BUCKET: &str = "evidence";
/// Longer than the time of two objects.
const REVEALED_FOR: Duration = Duration::from_millis(3_500);

/// What came of it: the figures and whether they are good; without Python or the package, why there are none.
pub(super) async fn two_sinks_of_one_place(ctx: &Ctx) -> Result<(Value, bool)> {
    let program = match installed().await {
        Ok(program) => program,
        Err(error) => {
            progress(&format!("no S3 server of others: {error:#}"));
            return Ok((json!({"skipped": format!("{error:#}")}), true));
        }
    };
    let server = Server::start(&program).await?;
    let conditional = server.puts_only_where_there_is_none().await?;
    let mut options = ctx.cluster("moto")?;
    options.nodes = 1;
    let credentials = options.work_dir.join("credentials");
    let sink = |name| objects::settings(name, &server.endpoint(), BUCKET, &credentials);
    options.settings =
        format!("{}{}", sink("first")?, sink("second")?).replace("deadline_ms = 400", "deadline_ms = 5000");
    let mut cluster = Box::pin(LocalCluster::serving(options)).await?;
    let tokens = store(&cluster, People::new(ctx.seed), 0..PERSONS).await?;
    let revealing = Revealing::start(&cluster.caller_within("payroll", DEADLINE)?, tokens, ctx.seed);
    tokio::time::sleep(REVEALED_FOR).await;
    revealing.stop().await?;
    settled(&cluster, 2).await?;
    let entries = whole_ledger(&cluster.caller("auditor")?).await?;
    cluster.stop().await?;
    let found = server.objects().await?;
    let copies = Copies::of("moto", &entries, &objects::kept_in(&found));
    let good = copies.are_whole() && copies.repeated == 0 && conditional && found.len() > 1;
    Ok((json!({"objects": copies.json(), "puts_only_where_there_is_none": conditional}), good))
}

/// A running server. Ends when dropped.
struct Server {
    address: String,
    _process: Child,
}

impl Server {
    async fn start(program: &PathBuf) -> Result<Self> {
        // A port that was free a moment ago.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut command = Command::new(program);
        command.args(["-H", "127.0.0.1", "-p", &address.port().to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let server = Self { address: address.to_string(), _process: command.spawn()? };
        let until = Instant::now() + UP_WITHIN;
        while server.ask(Method::PUT, &format!("/{BUCKET}"), false, "").await.is_err() {
            ensure!(Instant::now() < until, "moto does not listen");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(server)
    }

    fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Whether it refuses the second of two puts that do not want to overwrite.
    async fn puts_only_where_there_is_none(&self) -> Result<bool> {
        let path = format!("/{BUCKET}/probe");
        let (first, _) = self.ask(Method::PUT, &path, true, "one").await?;
        let (second, _) = self.ask(Method::PUT, &path, true, "two").await?;
        Ok(first == StatusCode::OK && second == StatusCode::PRECONDITION_FAILED)
    }

    /// All objects of the sinks.
    async fn objects(&self) -> Result<BTreeMap<String, Bytes>> {
        let (_, list) = self.ask(Method::GET, &format!("/{BUCKET}?list-type=2&prefix=ledger/"), false, "").await?;
        let list = String::from_utf8(list.to_vec())?;
        let keys = list.split("<Key>").skip(1).filter_map(|rest| rest.split("</Key>").next());
        let mut objects = BTreeMap::new();
        for key in keys {
            let (status, object) = self.ask(Method::GET, &format!("/{BUCKET}/{key}"), false, "").await?;
            ensure!(status == StatusCode::OK, "an object that was listed is not there");
            objects.insert(key.to_owned(), object);
        }
        Ok(objects)
    }

    async fn ask(&self, method: Method, path: &str, create: bool, body: &str) -> Result<(StatusCode, Bytes)> {
        let stream = tokio::net::TcpStream::connect(&self.address).await?;
        let (mut client, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        // Any signature will do: it is the form of one that makes it a request of S3.
        let mut request = Request::builder().method(method).uri(path).header(http::header::HOST, &self.address);
        request = request.header(
            http::header::AUTHORIZATION,
            "AWS4-HMAC-SHA256 Credential=evidence/20260126/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0",
        );
        if create {
            request = request.header(http::header::IF_NONE_MATCH, "*");
        }
        let answer = client.send_request(request.body(Full::new(Bytes::from(body.to_owned())))?).await?;
        let status = answer.status();
        Ok((status, answer.into_body().collect().await?.to_bytes()))
    }
}

/// The program `moto_server`, installed once per machine in the cache.
async fn installed() -> Result<PathBuf> {
    let home = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    let venv = home.context("no home directory")?.join("fuda/moto");
    let program = venv.join("bin/moto_server");
    if program.is_file() {
        return Ok(program);
    }
    progress(&format!("installing {PACKAGE} into {}", venv.display()));
    succeed(Command::new("python3").arg("-m").arg("venv").arg(&venv)).await?;
    let mut install = Command::new(venv.join("bin/python"));
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", PACKAGE]);
    succeed(&mut install).await?;
    if program.is_file() { Ok(program) } else { bail!("the package has no server") }
}

async fn succeed(command: &mut Command) -> Result<()> {
    let running = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let ended = tokio::time::timeout(INSTALLED_WITHIN, running).await.context("it did not end in time")??;
    ensure!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr).lines().last().unwrap_or_default());
    Ok(())
}
