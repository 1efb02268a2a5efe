//! `fuda login`: signs a person in at an OpenID provider by the device flow (RFC 8628) and leaves the token in a file
//! that `--token-file` names. No browser is needed on this machine; the password never comes near it.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use fuda_runtime::fetch::{FetchError, HttpsAddress, Request};
use serde_json::Value;
use zeroize::Zeroizing;

use super::Context;
use crate::failure::Failure;
use crate::output::text;

/// Bytes of an answer of the provider.
const ANSWER_BYTES_MAX: usize = 65_536;
/// How long a person may take, whatever the provider allows.
const PATIENCE_MAX: Duration = Duration::from_secs(900);
/// Pause between two questions when the provider names none, and what a `slow_down` adds.
const PAUSE: Duration = Duration::from_secs(5);
const DEVICE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Address of the provider, as in the node's `identity.oidc.issuer`.
    #[arg(long, env = "FUDA_OIDC_ISSUER", value_name = "URL")]
    issuer: String,
    /// Our client at the provider: a public client with the device flow.
    #[arg(long, env = "FUDA_OIDC_CLIENT_ID", value_name = "ID")]
    client_id: String,
    /// Scopes to ask for.
    #[arg(long, default_value = "openid", value_name = "SCOPES")]
    scope: String,
    /// Strength to ask for, for actions that need it.
    #[arg(long, value_name = "ACR")]
    acr_values: Option<String>,
    /// Authorities of the provider, PEM.
    #[arg(long, default_value = "/etc/ssl/certs/ca-certificates.crt", value_name = "FILE")]
    provider_ca: PathBuf,
    /// Which token the nodes take: the ID token, or the access token.
    #[arg(long, value_parser = ["id_token", "access_token"], default_value = "id_token")]
    take: String,
    /// File to write the token to, mode 0600.
    #[arg(long, env = "FUDA_TOKEN_FILE", value_name = "FILE")]
    out: PathBuf,
}

pub(super) async fn run(arguments: Arguments, context: &mut Context) -> Result<(), Failure> {
    let provider = Provider::discover(&arguments).await?;
    let started = provider.start(&arguments).await?;
    tell(&started)?;
    let token = provider.wait(&arguments, &started).await?;
    write(&arguments.out, &token)?;
    context.output.facts(vec![("token_file", text(arguments.out.display().to_string()))])
}

/// The two endpoints of the flow.
struct Provider {
    device: HttpsAddress,
    token: HttpsAddress,
}

/// A flow under way.
struct Started {
    device_code: Zeroizing<String>,
    user_code: String,
    verification_uri: String,
    pause: Duration,
    until: Instant,
}

impl Provider {
    async fn discover(arguments: &Arguments) -> Result<Self, Failure> {
        let base = arguments.issuer.trim_end_matches('/');
        let authority = Some(arguments.provider_ca.as_path()).filter(|_| base.starts_with("https://"));
        let address = |url: &str| HttpsAddress::new(url, authority).map_err(unusable);
        let discovery = address(&format!("{base}/.well-known/openid-configuration"))?;
        let document = ask(&discovery, Request::get(None)).await?;
        // A provider that describes another issuer would get us tokens the nodes do not take.
        if member(&document, "issuer")? != arguments.issuer {
            return Err(Failure::Usage("the provider describes itself as another issuer".to_owned()));
        }
        Ok(Self {
            device: address(member(&document, "device_authorization_endpoint")?)?,
            token: address(member(&document, "token_endpoint")?)?,
        })
    }

    async fn start(&self, arguments: &Arguments) -> Result<Started, Failure> {
        let mut form = vec![("client_id", arguments.client_id.as_str()), ("scope", arguments.scope.as_str())];
        form.extend(arguments.acr_values.as_deref().map(|values| ("acr_values", values)));
        let answer = ask(&self.device, Request::post(&encoded(&form))).await?;
        let seconds = |name: &str| answer.get(name).and_then(Value::as_u64).map(Duration::from_secs);
        let complete = answer.get("verification_uri_complete").and_then(Value::as_str);
        let uri = complete.map_or_else(|| member(&answer, "verification_uri"), Ok)?;
        Ok(Started {
            device_code: Zeroizing::new(member(&answer, "device_code")?.to_owned()),
            user_code: printable(member(&answer, "user_code")?),
            verification_uri: printable(uri),
            pause: seconds("interval").unwrap_or(PAUSE),
            until: Instant::now() + seconds("expires_in").unwrap_or(PATIENCE_MAX).min(PATIENCE_MAX),
        })
    }

    async fn wait(&self, arguments: &Arguments, started: &Started) -> Result<Zeroizing<String>, Failure> {
        let form = Zeroizing::new(encoded(&[
            ("grant_type", DEVICE_GRANT),
            ("device_code", &started.device_code),
            ("client_id", &arguments.client_id),
        ]));
        let mut pause = started.pause;
        while Instant::now() + pause < started.until {
            tokio::time::sleep(pause).await;
            let answer = ask(&self.token, Request::post(&form)).await?;
            match answer.get("error").and_then(Value::as_str) {
                None => return Ok(Zeroizing::new(member(&answer, &arguments.take)?.to_owned())),
                Some("authorization_pending") => {}
                Some("slow_down") => pause += PAUSE,
                Some(error) => return Err(Failure::Usage(format!("the provider refused: {}", printable(error)))),
            }
        }
        Err(Failure::Usage("nobody signed in in time".to_owned()))
    }
}

async fn ask(address: &HttpsAddress, request: Request<'_>) -> Result<Value, Failure> {
    let bytes = address.send(request, ANSWER_BYTES_MAX).await.map_err(unusable)?;
    serde_json::from_slice(&bytes).map_err(|_| Failure::Usage("the provider's answer is no JSON".to_owned()))
}

fn unusable(error: FetchError) -> Failure {
    Failure::Usage(error.to_string())
}

fn member<'a>(answer: &'a Value, name: &str) -> Result<&'a str, Failure> {
    let missing = || Failure::Usage(format!("the provider's answer has no `{name}`"));
    answer.get(name).and_then(Value::as_str).filter(|value| !value.is_empty()).ok_or_else(missing)
}

/// `application/x-www-form-urlencoded`.
fn encoded(form: &[(&str, &str)]) -> String {
    let escaped = |text: &str| -> String {
        let byte = |byte: u8| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        };
        text.bytes().map(byte).collect()
    };
    form.iter().map(|(name, value)| format!("{}={}", escaped(name), escaped(value))).collect::<Vec<_>>().join("&")
}

/// What a provider says goes to a terminal: without anything that could steer it.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(512).collect()
}

/// On standard error, since standard output may be read by a program.
fn tell(started: &Started) -> Result<(), Failure> {
    let line = format!("open {} and enter the code {}\n", started.verification_uri, started.user_code);
    let written = std::io::stderr().lock().write_all(line.as_bytes());
    written.map_err(|error| Failure::Usage(format!("standard error cannot be written: {error}")))
}

/// Beside the file and renamed, so that nobody reads half a token.
fn write(path: &Path, token: &str) -> Result<(), Failure> {
    let beside = path.with_extension("tmp");
    let attempt = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(token.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&beside, path)
    };
    attempt().map_err(|error| Failure::Usage(format!("`{}` cannot be written: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// A provider that lets the person in at the second question.
    async fn provider(issuer_suffix: &'static str) -> (String, tokio::task::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let base = issuer.clone();
        let served = tokio::spawn(async move {
            let (mut asked, mut polls) = (Vec::new(), 0);
            while polls < 2 {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = vec![0; 8_192];
                let read = stream.read(&mut request).await.unwrap();
                let request = String::from_utf8_lossy(&request[..read]).into_owned();
                let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
                let (status, body) = match path.as_str() {
                    "/device" => (200, r#"{"device_code":"d&1","user_code":"ABCD-EFGH","verification_uri":"https://idp/x","interval":0,"expires_in":60}"#.to_owned()),
                    "/token" => {
                        polls += 1;
                        match polls {
                            1 => (400, r#"{"error":"authorization_pending"}"#.to_owned()),
                            _ => (200, r#"{"access_token":"a","id_token":"header.claims.signature"}"#.to_owned()),
                        }
                    }
                    _ => (200, format!(r#"{{"issuer":"{base}{issuer_suffix}","device_authorization_endpoint":"{base}/device","token_endpoint":"{base}/token"}}"#)),
                };
                let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                stream.write_all(answer.as_bytes()).await.unwrap();
                asked.push(request);
            }
            asked
        });
        (issuer, served)
    }

    fn arguments(issuer: &str, out: PathBuf) -> Arguments {
        Arguments {
            issuer: issuer.to_owned(),
            client_id: "fuda cli".to_owned(),
            scope: "openid".to_owned(),
            acr_values: Some("urn:mfa".to_owned()),
            provider_ca: PathBuf::new(),
            take: "id_token".to_owned(),
            out,
        }
    }

    #[tokio::test]
    async fn the_device_flow_ends_with_a_private_file() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("token");
        let (issuer, served) = provider("").await;
        let arguments = arguments(&issuer, out.clone());
        let provider = Provider::discover(&arguments).await.ok().unwrap();
        let started = provider.start(&arguments).await.ok().unwrap();
        assert_eq!(started.user_code, "ABCD-EFGH");
        let token = provider.wait(&arguments, &started).await.ok().unwrap();
        write(&out, &token).ok().unwrap();
        assert_eq!(std::fs::read_to_string(&out).unwrap(), "header.claims.signature");
        assert_eq!(std::fs::metadata(&out).unwrap().permissions().mode() & 0o777, 0o600);

        let asked = served.await.unwrap();
        assert!(asked[1].contains("client_id=fuda%20cli&scope=openid&acr_values=urn%3Amfa"), "{}", asked[1]);
        assert!(asked[2].contains("device_code=d%261"), "{}", asked[2]);
    }

    #[tokio::test]
    async fn a_provider_that_names_another_issuer_is_refused() {
        let (issuer, served) = provider("/other").await;
        let refused = Provider::discover(&arguments(&issuer, PathBuf::new())).await;
        assert!(matches!(refused, Err(Failure::Usage(problem)) if problem.contains("another issuer")));
        served.abort();
    }

    #[test]
    fn nothing_of_a_provider_steers_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\nc"), "a[2Jbc");
    }
}
