//! A headless Chromium, driven by the W3C WebDriver protocol through Debian's `chromedriver`: a person's clicks and keys,
//! and what the browser itself has to say about pages.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::cluster::spawn::{bound_command, spawn};

/// What is said where neither is here nor can be installed.
pub const MISSING: &str = "chromium and chromedriver are not installed and apt cannot install them";
/// The key that sends a form.
pub const ENTER: &str = "\u{e007}";
/// The key that goes on to the next control.
pub const TAB: &str = "\u{e004}";
/// The key that goes to the next choice of a list.
pub const DOWN: &str = "\u{e015}";
/// The key that makes the others mean something else.
const CONTROL: &str = "\u{e009}";
/// Stops of the keyboard until it must have come to what is looked for.
const STOPS_MAX: usize = 600;
/// How an element is named in the protocol.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";
/// Longest wait for one command; a page may have to be made.
const COMMAND_WITHIN: Duration = Duration::from_secs(60);
/// How often a waiting loop looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// A browser with one window. Dropping it ends it.
pub struct Browser {
    driver: Child,
    address: String,
    session: String,
}

/// The browser and its driver; installed by apt when they are missing and we may.
pub async fn installed() -> bool {
    let find = || ["/usr/bin/chromium", "/usr/bin/chromedriver"].iter().all(|file| Path::new(file).is_file());
    if find() {
        return true;
    }
    crate::evidence::progress("installing with apt: chromium chromium-driver fonts-ipafont-gothic");
    let packages = "chromium chromium-driver fonts-ipafont-gothic";
    let apt = format!("apt-get update -qq && apt-get install -y -qq --no-install-recommends {packages}");
    let mut install = tokio::process::Command::new("sh");
    install.args(["-c", &apt]).env("DEBIAN_FRONTEND", "noninteractive");
    let ended = install.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().await;
    ended.is_ok_and(|status| status.success()) && find()
}

impl Browser {
    /// Starts a browser that reaches nobody but this machine, with its files in the empty or missing directory `dir`. With
    /// `any_certificate` it takes the certificates of servers as they come: authorities made for a test are not installed.
    ///
    /// # Errors
    /// When driver or browser do not start.
    pub async fn start(dir: &Path, language: &str, any_certificate: bool) -> Result<Self> {
        std::fs::create_dir_all(dir)?;
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut command = bound_command(Path::new("/usr/bin/chromedriver"));
        let log = std::fs::File::create(dir.join("driver.log"))?;
        command.arg(format!("--port={port}")).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let driver = spawn(command)?;
        let mut browser = Self { driver, address: format!("127.0.0.1:{port}"), session: String::new() };
        let until = Instant::now() + COMMAND_WITHIN;
        while TcpStream::connect(&browser.address).await.is_err() {
            ensure!(Instant::now() < until, "chromedriver does not listen");
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        let made = browser.command(Method::POST, "/session", &capabilities(dir, language, any_certificate)).await?;
        browser.session = made["sessionId"].as_str().context("no session")?.to_owned();
        Ok(browser)
    }

    /// Goes to an address.
    ///
    /// # Errors
    /// When the page does not load.
    pub async fn open(&self, address: &str) -> Result<()> {
        self.act("url", json!({ "url": address })).await.map(drop)
    }

    /// Goes to what a selector finds as a keyboard does, stop by stop from where it is.
    ///
    /// # Errors
    /// When the keyboard does not come there.
    pub async fn reach(&self, selector: &str) -> Result<()> {
        let here = format!("document.activeElement !== null && document.activeElement.matches({selector:?})");
        for _ in 0..STOPS_MAX {
            if self.look(&here).await? == true {
                return Ok(());
            }
            self.keys(TAB).await?;
        }
        bail!("the keyboard does not come to `{selector}`")
    }

    /// Goes to a link, button or field and presses Enter.
    ///
    /// # Errors
    /// When the keyboard does not come there.
    pub async fn enter(&self, selector: &str) -> Result<()> {
        self.reach(selector).await?;
        self.keys(ENTER).await
    }

    /// Goes to a field and types, in the place of what is there.
    ///
    /// # Errors
    /// When the keyboard does not come there.
    pub async fn write(&self, selector: &str, text: &str) -> Result<()> {
        self.reach(selector).await?;
        let chord = [("keyDown", CONTROL), ("keyDown", "a"), ("keyUp", "a"), ("keyUp", CONTROL)];
        self.strokes(&chord.map(|(stroke, key)| json!({ "type": stroke, "value": key }))).await?;
        self.keys(text).await
    }

    /// Goes to a list and down to a choice of it.
    ///
    /// # Errors
    /// When the keyboard does not come there, or there is no such choice.
    pub async fn choose(&self, selector: &str, value: &str) -> Result<()> {
        self.reach(selector).await?;
        let chosen = format!("document.activeElement.value === {value:?}");
        for _ in 0..STOPS_MAX {
            if self.look(&chosen).await? == true {
                return Ok(());
            }
            self.keys(DOWN).await?;
        }
        bail!("`{selector}` has no choice `{value}`")
    }

    /// Presses keys, one after the other, wherever the keyboard is.
    ///
    /// # Errors
    /// When the browser does not answer.
    pub async fn keys(&self, keys: &str) -> Result<()> {
        let stroke = |key: char| ["keyDown", "keyUp"].map(|stroke| json!({ "type": stroke, "value": key.to_string() }));
        self.strokes(&keys.chars().flat_map(stroke).collect::<Vec<_>>()).await
    }

    async fn strokes(&self, strokes: &[Value]) -> Result<()> {
        let keyboard = json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": strokes }] });
        self.act("actions", keyboard).await.map(drop)
    }

    /// Asks the browser itself, by the protocol of its developer tools.
    ///
    /// # Errors
    /// When it refuses.
    pub async fn devtools(&self, command: &str, parameters: Value) -> Result<Value> {
        self.act("goog/cdp/execute", json!({ "cmd": command, "params": parameters })).await
    }

    /// Runs a script in the page.
    ///
    /// # Errors
    /// When it throws.
    pub async fn run(&self, script: &str) -> Result<()> {
        self.act("execute/sync", json!({ "script": script, "args": [] })).await.map(drop)
    }

    /// What a promise of the page's language comes to.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn promised(&self, promise: &str) -> Result<Value> {
        let script = format!(
            "const done = arguments[0]; ({promise}).then(value => done([value]), error => done(String(error)));"
        );
        let value = self.act("execute/async", json!({ "script": script, "args": [] })).await?;
        value.get(0).cloned().with_context(|| format!("refused: {value}"))
    }

    /// What an expression of the page's language comes to.
    ///
    /// # Errors
    /// When it throws.
    pub async fn look(&self, expression: &str) -> Result<Value> {
        self.act("execute/sync", json!({ "script": format!("return {expression}"), "args": [] })).await
    }

    /// The text of what a selector finds; empty when there is nothing.
    ///
    /// # Errors
    /// When the browser does not answer.
    pub async fn text(&self, selector: &str) -> Result<String> {
        let found = self.look(&format!("(document.querySelector({selector:?}) || {{}}).innerText || ''")).await?;
        Ok(found.as_str().unwrap_or_default().to_owned())
    }

    /// The cells of a table's body; of a code and its name, the code.
    ///
    /// # Errors
    /// When the browser does not answer.
    pub async fn rows(&self, table: &str) -> Result<Vec<Vec<String>>> {
        let rows = format!(
            "Array.from(document.querySelectorAll({:?}), row => \
             Array.from(row.cells, cell => (cell.querySelector('code') || cell).innerText.trim()))",
            format!("{table} tbody tr")
        );
        Ok(serde_json::from_value(self.look(&rows).await?)?)
    }

    /// Waits until an expression is true.
    ///
    /// # Errors
    /// When it is not within 30 s; with what `tell` comes to then.
    pub async fn wait(&self, expression: &str, tell: &str) -> Result<()> {
        let until = Instant::now() + Duration::from_secs(30);
        while self.look(expression).await? != Value::Bool(true) {
            if Instant::now() > until {
                bail!("`{expression}` never came true: {}", self.look(tell).await.unwrap_or_default());
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Ok(())
    }

    /// What the browser complained about since it was asked last: blocked scripts, failed requests, errors of scripts.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn complaints(&self) -> Result<Vec<String>> {
        let found = self.act("se/log", json!({ "type": "browser" })).await?;
        let message = |entry: &Value| entry["message"].as_str().unwrap_or_default().to_owned();
        Ok(found.as_array().map(|entries| entries.iter().map(message).collect()).unwrap_or_default())
    }

    /// Every address that was asked for since this was called last.
    ///
    /// # Errors
    /// When the browser does not answer.
    pub async fn requests(&self) -> Result<Vec<String>> {
        let found = self.act("se/log", json!({ "type": "performance" })).await?;
        let mut addresses = Vec::new();
        for entry in found.as_array().into_iter().flatten() {
            let event: Value = serde_json::from_str(entry["message"].as_str().unwrap_or_default())?;
            let event = &event["message"];
            if event["method"] == "Network.requestWillBeSent" {
                addresses.push(event["params"]["request"]["url"].as_str().unwrap_or_default().to_owned());
            }
        }
        Ok(addresses)
    }

    /// The page as it is printed.
    ///
    /// # Errors
    /// When it cannot be printed.
    pub async fn print(&self) -> Result<Vec<u8>> {
        let page = json!({ "page": { "width": 21.0, "height": 29.7 }, "background": true });
        decoded(&self.act("print", page).await?)
    }

    /// What is seen, as PNG.
    ///
    /// # Errors
    /// When the browser does not answer.
    pub async fn screenshot(&self) -> Result<Vec<u8>> {
        decoded(&self.command(Method::GET, &format!("/session/{}/screenshot", self.session), &Value::Null).await?)
    }

    /// Lets every command work within a frame, or within the page again.
    ///
    /// # Errors
    /// When there is no such frame.
    pub async fn enter_frame(&self, selector: Option<&str>) -> Result<()> {
        let frame = match selector {
            Some(selector) => json!({ ELEMENT: self.element(selector).await? }),
            None => Value::Null,
        };
        self.act("frame", json!({ "id": frame })).await.map(drop)
    }

    async fn element(&self, selector: &str) -> Result<String> {
        let found = self.act("element", json!({ "using": "css selector", "value": selector })).await?;
        Ok(found[ELEMENT].as_str().with_context(|| format!("no element `{selector}`"))?.to_owned())
    }

    async fn act(&self, command: &str, body: Value) -> Result<Value> {
        self.command(Method::POST, &format!("/session/{}/{command}", self.session), &body).await
    }

    async fn command(&self, method: Method, path: &str, body: &Value) -> Result<Value> {
        let exchange = async {
            let stream = TcpStream::connect(&self.address).await?;
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
            let request = Request::builder().method(method).uri(path).header("host", &self.address);
            let request = request.header("content-type", "application/json").body(Full::new(body))?;
            let answer = sender.send_request(request).await?.into_body().collect().await?.to_bytes();
            let answer: Value = serde_json::from_slice(&answer)?;
            let value = &answer["value"];
            ensure!(value["error"].is_null(), "{path}: {}: {}", value["error"], value["message"]);
            Ok(value.clone())
        };
        tokio::time::timeout(COMMAND_WITHIN, exchange).await.with_context(|| format!("{path}: no answer"))?
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // chromedriver ends its browser with the session; ended by a signal alone, it would leave the browser behind.
        // Where it does not answer, nothing more can be done here.
        let _ = self.end_session();
        let _ = kill_process(Pid::from_child(&self.driver), Signal::TERM);
        let until = Instant::now() + Duration::from_secs(2);
        while Instant::now() < until && matches!(self.driver.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(20));
        }
        // It may have ended by itself.
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

impl Browser {
    /// Deletes the session, and waits until it is gone. No async: values are dropped outside of it as well.
    fn end_session(&self) -> std::io::Result<()> {
        use std::io::{Read as _, Write as _};
        let mut stream = std::net::TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let (session, address) = (&self.session, &self.address);
        let request = format!("DELETE /session/{session} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        // The answer comes when the browser has ended.
        let mut first = [0];
        stream.read_exact(&mut first)
    }
}

fn decoded(value: &Value) -> Result<Vec<u8>> {
    Ok(STANDARD.decode(value.as_str().context("no bytes")?)?)
}

fn capabilities(dir: &Path, language: &str, any_certificate: bool) -> Value {
    let profile: PathBuf = dir.join("profile");
    let arguments = [
        "--headless=new".to_owned(),
        "--no-sandbox".to_owned(),
        "--disable-gpu".to_owned(),
        "--disable-dev-shm-usage".to_owned(),
        "--disable-background-networking".to_owned(),
        "--disable-component-update".to_owned(),
        "--no-first-run".to_owned(),
        "--hide-scrollbars".to_owned(),
        "--window-size=1180,900".to_owned(),
        // Whatever is not on this machine does not exist.
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost".to_owned(),
        format!("--accept-lang={language}"),
        format!("--user-data-dir={}", profile.display()),
    ];
    json!({ "capabilities": { "alwaysMatch": {
        "browserName": "chrome",
        "acceptInsecureCerts": any_certificate,
        "goog:chromeOptions": { "binary": "/usr/bin/chromium", "args": arguments },
        "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
    } } })
}
