//! Which object store, and how it is opened: its address, its authorities, and where its credentials are.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path;
use object_store::{BackoffConfig, Certificate, ClientOptions, ObjectStore, RetryConfig};
use serde::Deserialize;
use zeroize::Zeroizing;

/// Bytes of a file of credentials; a Google service account's key is the longest.
const CREDENTIALS_BYTES_MAX: usize = 16_384;
/// From the first packet to the end of the handshake.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// Names of credentials that are taken from the environment or a file. Nothing else is: not what turns off signatures or
/// the check of certificates.
const CREDENTIALS: [(Kind, &[&str]); 3] = [
    (
        Kind::S3,
        &[
            "aws_access_key_id",
            "aws_secret_access_key",
            "aws_session_token",
            "aws_web_identity_token_file",
            "aws_role_arn",
            "aws_role_session_name",
            "aws_container_credentials_relative_uri",
            "aws_container_credentials_full_uri",
            "aws_container_authorization_token_file",
        ],
    ),
    (
        Kind::Azure,
        &[
            "azure_storage_account_name",
            "azure_storage_account_key",
            "azure_storage_client_id",
            "azure_storage_client_secret",
            "azure_storage_tenant_id",
            "azure_storage_sas_key",
            "azure_federated_token_file",
        ],
    ),
    (Kind::Google, &["google_service_account", "google_service_account_key", "google_application_credentials"]),
];

/// A place in an object store.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoreSettings {
    /// `s3://BUCKET/PREFIX`, `az://CONTAINER/PREFIX` or `gs://BUCKET/PREFIX`.
    pub(super) url: String,
    /// `https://HOST[:PORT]`, for a store that is not its cloud's own; `http://` on this machine only.
    pub(super) endpoint: Option<String>,
    /// The region, where the store has some.
    pub(super) region: Option<String>,
    /// PEM: the only authorities that may vouch for the store; absent: those of the system.
    pub(super) authorities_file: Option<PathBuf>,
    /// Lines `name = value`; absent: the environment, then the machine's own role.
    pub(super) credentials_file: Option<PathBuf>,
    /// Size at which an object ends, in MiB of lines before compression, 1..=64.
    #[serde(default = "object_mib")]
    pub(super) object_mib_max: u64,
    /// How long after its first entry an object ends, in seconds, 1..=86400.
    #[serde(default = "object_seconds")]
    pub(super) object_seconds_max: u64,
    /// How long the store may take for one object, in milliseconds, 100..=600000.
    #[serde(default = "deadline_ms")]
    pub(super) deadline_ms: u64,
}

fn object_mib() -> u64 {
    8
}

fn object_seconds() -> u64 {
    300
}

fn deadline_ms() -> u64 {
    30_000
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    S3,
    Azure,
    Google,
}

impl Kind {
    fn credentials(self) -> &'static [&'static str] {
        CREDENTIALS.iter().find(|(kind, _)| *kind == self).map(|(_, names)| *names).unwrap_or_default()
    }
}

impl StoreSettings {
    /// Checks what can be checked without opening anything.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        let (kind, _, prefix) = self.parts()?;
        Path::parse(prefix).context("`url` has a prefix that no object can have")?;
        let Some(endpoint) = &self.endpoint else { return Ok(()) };
        ensure!(kind != Kind::Google, "`endpoint` cannot be set with gs://");
        let uri: http::Uri = endpoint.parse().context("`endpoint` is not an address")?;
        let here = matches!(uri.host(), Some("localhost" | "127.0.0.1" | "[::1]"));
        match uri.scheme_str() {
            Some("https") => Ok(()),
            Some("http") if here => Ok(()),
            _ => bail!("`endpoint` must be https://HOST[:PORT]; http only for this machine"),
        }
    }

    /// The kind of store, its bucket and the prefix in it.
    fn parts(&self) -> anyhow::Result<(Kind, &str, &str)> {
        let (scheme, place) = self.url.split_once("://").context("`url` has no scheme")?;
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        ensure!(!bucket.is_empty(), "`url` names no bucket");
        let kind = match scheme {
            "s3" => Kind::S3,
            "az" => Kind::Azure,
            "gs" => Kind::Google,
            _ => bail!("`url` must start with s3://, az:// or gs://"),
        };
        Ok((kind, bucket, prefix.trim_end_matches('/')))
    }

    /// The path of the object `name`.
    pub(super) fn path(&self, name: &str) -> Path {
        let prefix = self.parts().map(|(_, _, prefix)| prefix).unwrap_or_default();
        Path::parse(prefix).unwrap_or_default().join(name)
    }

    /// Opens the store with the credentials there are now; connects to nobody yet.
    pub(super) fn open(&self) -> anyhow::Result<Arc<dyn ObjectStore>> {
        // The only client of reqwest here; everything else brings its own. A second attempt finds the first one's.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (kind, bucket, _) = self.parts()?;
        let credentials = self.credentials(kind)?;
        let client = self.client()?;
        Ok(match kind {
            Kind::S3 => {
                let builder = AmazonS3Builder::new().with_bucket_name(bucket).with_client_options(client);
                let builder = with(builder, credentials, AmazonS3Builder::with_config)?;
                let builder = with_some(builder, self.endpoint.as_ref(), AmazonS3Builder::with_endpoint);
                let builder = with_some(builder, self.region.as_ref(), AmazonS3Builder::with_region);
                Arc::new(builder.with_retry(once()).build()?)
            }
            Kind::Azure => {
                let builder = MicrosoftAzureBuilder::new().with_container_name(bucket).with_client_options(client);
                let builder = with(builder, credentials, MicrosoftAzureBuilder::with_config)?;
                let builder = with_some(builder, self.endpoint.as_ref(), MicrosoftAzureBuilder::with_endpoint);
                Arc::new(builder.with_retry(once()).build()?)
            }
            Kind::Google => {
                let builder = GoogleCloudStorageBuilder::new().with_bucket_name(bucket).with_client_options(client);
                let builder = with(builder, credentials, GoogleCloudStorageBuilder::with_config)?;
                Arc::new(builder.with_retry(once()).build()?)
            }
        })
    }

    fn client(&self) -> anyhow::Result<ClientOptions> {
        let plain = self.endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://"));
        let mut client = ClientOptions::new().with_allow_http(plain).with_connect_timeout(CONNECT_WITHIN);
        if let Some(file) = &self.authorities_file {
            client = client.with_no_system_certificates(true);
            let pem = fs::read(file).with_context(|| format!("`{}` cannot be read", file.display()))?;
            let authorities = Certificate::from_pem_bundle(&pem)?;
            ensure!(!authorities.is_empty(), "`{}` holds no certificate in PEM", file.display());
            client = authorities.into_iter().fold(client, ClientOptions::with_root_certificate);
        }
        Ok(client)
    }

    /// Names and values of credentials. The store's client copies them into memory of its own.
    fn credentials(&self, kind: Kind) -> anyhow::Result<Vec<(&'static str, Zeroizing<String>)>> {
        let Some(file) = &self.credentials_file else {
            let of = |name: &&'static str| {
                let value = std::env::var(name.to_ascii_uppercase()).ok()?;
                Some((*name, Zeroizing::new(value)))
            };
            return Ok(kind.credentials().iter().filter_map(of).collect());
        };
        let text = fs::read_to_string(file).map(Zeroizing::new);
        let text = text.with_context(|| format!("`{}` cannot be read", file.display()))?;
        ensure!(text.len() <= CREDENTIALS_BYTES_MAX, "`{}` is longer than 16 KiB", file.display());
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        // What is wrong with a line is told without the line.
        let credential = |line: &str| {
            let (name, value) = line.split_once('=').context("not `name = value`")?;
            let known = kind.credentials().iter().find(|known| name.trim().eq_ignore_ascii_case(known));
            let name = known.context("not the name of a credential of this kind of store")?;
            Ok((*name, Zeroizing::new(value.trim().to_owned())))
        };
        let credentials: anyhow::Result<Vec<_>> = lines.map(credential).collect();
        credentials.with_context(|| format!("a line of `{}`", file.display()))
    }
}

fn with<B, K: std::str::FromStr<Err = object_store::Error>>(
    builder: B,
    credentials: Vec<(&'static str, Zeroizing<String>)>,
    add: impl Fn(B, K, String) -> B,
) -> anyhow::Result<B> {
    credentials.into_iter().try_fold(builder, |builder, (name, value)| {
        let key = name.parse::<K>().map_err(|_| anyhow::anyhow!("`{name}` is not known to the store's client"))?;
        Ok(add(builder, key, value.to_string()))
    })
}

fn with_some<B>(builder: B, value: Option<&String>, add: impl Fn(B, String) -> B) -> B {
    match value {
        Some(value) => add(builder, value.clone()),
        None => builder,
    }
}

/// Attempts are made by the line to the sink, which asks first who leads.
fn once() -> RetryConfig {
    RetryConfig { backoff: BackoffConfig::default(), max_retries: 0, retry_timeout: Duration::from_secs(60) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(url: &str, endpoint: Option<&str>) -> StoreSettings {
        StoreSettings {
            url: url.to_owned(),
            endpoint: endpoint.map(str::to_owned),
            region: None,
            authorities_file: None,
            credentials_file: None,
            object_mib_max: object_mib(),
            object_seconds_max: object_seconds(),
            deadline_ms: deadline_ms(),
        }
    }

    #[test]
    fn places_are_buckets_with_prefixes_over_tls() {
        for url in ["s3://bucket", "s3://bucket/a/b/", "az://container/a", "gs://bucket"] {
            settings(url, None).check().unwrap();
        }
        assert_eq!(settings("s3://bucket/a/b/", None).path("x").as_ref(), "a/b/x");
        assert_eq!(settings("s3://bucket", None).path("x").as_ref(), "x");
        for url in ["bucket", "s3:///a", "file:///etc", "https://bucket.example.org/a", "s3://bucket/a//b"] {
            assert!(settings(url, None).check().is_err(), "{url}");
        }
        for endpoint in ["https://store.example.org", "http://127.0.0.1:9000", "http://[::1]:9000"] {
            settings("s3://bucket", Some(endpoint)).check().unwrap();
        }
        for endpoint in ["http://store.example.org", "store.example.org", "ftp://localhost"] {
            assert!(settings("s3://bucket", Some(endpoint)).check().is_err(), "{endpoint}");
        }
        assert!(settings("gs://bucket", Some("https://store.example.org")).check().is_err());
    }

    #[test]
    fn a_file_holds_credentials_of_its_store_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("credentials");
        let with = |url: &str, text: &str| {
            fs::write(&file, text).unwrap();
            let settings = StoreSettings { credentials_file: Some(file.clone()), ..settings(url, None) };
            settings.open().map(|_| ()).map_err(|error| format!("{error:#}"))
        };
        for (kind, names) in CREDENTIALS {
            for name in names {
                let known = match kind {
                    Kind::S3 => name.parse::<object_store::aws::AmazonS3ConfigKey>().is_ok(),
                    Kind::Azure => name.parse::<object_store::azure::AzureConfigKey>().is_ok(),
                    Kind::Google => name.parse::<object_store::gcp::GoogleConfigKey>().is_ok(),
                };
                assert!(known, "{name}");
            }
        }
        with("s3://b", "# ours\naws_access_key_id = a\nAWS_SECRET_ACCESS_KEY=b=c\n").unwrap();
        with("az://b", "azure_storage_account_name = a\nazure_storage_account_key = Zm9v\n").unwrap();
        for line in ["aws_skip_signature = true", "allow_invalid_certificates = true", "no value"] {
            let error = with("s3://b", line).unwrap_err();
            assert!(!error.contains(line), "{error}");
        }
        assert!(with("gs://b", "aws_access_key_id = a").is_err(), "credentials of another kind of store");
    }
}
