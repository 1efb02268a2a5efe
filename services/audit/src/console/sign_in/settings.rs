//! The table `console.oidc` of the settings.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use fuda_core::CallerId;
use fuda_crypto::SignatureAlgorithm;
use fuda_identity::{Issuer, IssuerSettings, Person};
use http::Uri;
use serde::Deserialize;

use super::SIGNED_IN_PATH;

/// Longest configurable life of an ID token, in seconds.
const TOKEN_LIFETIME_S_MAX: i64 = 86_400;
/// Bytes of any text of the table.
const TEXT_BYTES_MAX: usize = 512;

/// The OpenID provider at which auditors without a certificate sign in. Absent: a certificate is demanded.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OidcSettings {
    /// Our name of the provider, part of the ids of its people: `oidc:ALIAS/SUBJECT`, as `auditors` name them.
    pub(super) alias: String,
    /// `iss` of its tokens, and the address of its discovery document.
    pub(super) issuer: String,
    /// Our client at the provider, which is `aud` of tokens for us.
    pub(super) client_id: String,
    /// A file with the client's secret, read at every sign-in; absent: a public client. PKCE is used with both.
    pub(super) client_secret_file: Option<PathBuf>,
    /// Where the provider sends browsers back to: `https://HOST[:PORT]/signed-in`, as registered there.
    pub(super) redirect_url: String,
    /// Authorities of the provider, PEM.
    pub(super) authorities_file: Option<PathBuf>,
    /// Algorithms it signs with: RS256, PS256, ES256, EdDSA.
    algorithms: Vec<String>,
    /// The claim that names the person. Must never be given to another person later.
    #[serde(default = "subject")]
    subject_claim: String,
    /// Scopes to ask for; `openid` must be among them.
    #[serde(default = "openid")]
    pub(super) scope: String,
    /// Longest life of an ID token in seconds, 1..=86400.
    #[serde(default = "two_hours")]
    token_lifetime_s_max: i64,
    /// How far the provider's clock may be off, in seconds, 0..=60.
    #[serde(default = "leeway")]
    leeway_s: i64,
    /// A session ends when nothing was asked for so long, in minutes, 5..=30.
    #[serde(default = "quarter_hour")]
    session_idle_minutes: u64,
    /// A session ends so long after the sign-in, in hours, 1..=8.
    #[serde(default = "eight_hours")]
    session_hours_max: u64,
    /// Whether a session also ends with the ID token that began it.
    #[serde(default)]
    pub(super) session_ends_with_token: bool,
}

fn subject() -> String {
    "sub".to_owned()
}

fn openid() -> String {
    "openid".to_owned()
}

fn two_hours() -> i64 {
    7_200
}

fn leeway() -> i64 {
    30
}

fn quarter_hour() -> u64 {
    15
}

fn eight_hours() -> u64 {
    8
}

impl OidcSettings {
    /// Whether the provider's people have ids like this one.
    pub(crate) fn knows(&self, person: &CallerId) -> bool {
        let rest = person.as_str().strip_prefix("oidc:").and_then(|rest| rest.strip_prefix(self.alias.as_str()));
        rest.is_some_and(|rest| rest.starts_with('/'))
    }

    /// How its people become auditors.
    ///
    /// # Errors
    /// Names the first key that is wrong.
    pub(crate) fn person(&self) -> anyhow::Result<Person> {
        let texts = [&self.issuer, &self.client_id, &self.redirect_url, &self.subject_claim, &self.scope];
        ensure!(texts.iter().all(|text| (1..=TEXT_BYTES_MAX).contains(&text.len())), "texts must have 1 to 512 bytes");
        ensure!(self.scope.split(' ').any(|scope| scope == "openid"), "`scope` must hold `openid`");
        ensure!((5..=30).contains(&self.session_idle_minutes), "`session_idle_minutes` must be in 5..=30");
        ensure!((1..=8).contains(&self.session_hours_max), "`session_hours_max` must be in 1..=8");
        let back: Uri = self.redirect_url.parse().context("`redirect_url` is no address")?;
        let fits = back.scheme_str() == Some("https") && back.path() == SIGNED_IN_PATH && back.query().is_none();
        ensure!(fits, "`redirect_url` must be https://HOST[:PORT]{SIGNED_IN_PATH}");
        if let Some(path) = &self.client_secret_file {
            std::fs::metadata(path).with_context(|| format!("`client_secret_file` `{}`", path.display()))?;
        }
        let known = |name: &String| {
            SignatureAlgorithm::from_name(name).context("`algorithms` must be of RS256, PS256, ES256 and EdDSA")
        };
        let issuer = IssuerSettings {
            alias: self.alias.clone(),
            issuer: self.issuer.clone(),
            audience: self.client_id.clone(),
            algorithms: self.algorithms.iter().map(known).collect::<Result<_, _>>()?,
            lifetime_s_max: self.token_lifetime_s_max,
            leeway_s: self.leeway_s,
        };
        Ok(Person {
            issuer: Issuer::new(issuer, TOKEN_LIFETIME_S_MAX)?,
            subject_claim: self.subject_claim.clone(),
            // Nothing here asks for a fresh sign-in; how strong one must be is the provider's rule for this client.
            sign_in_age_s_max: 0,
            acr: Vec::new(),
            amr: Vec::new(),
        })
    }

    /// How long a session may be silent.
    pub(super) const fn idle(&self) -> Duration {
        Duration::from_secs(self.session_idle_minutes * 60)
    }

    /// How long a session may last.
    pub(super) const fn longest(&self) -> Duration {
        Duration::from_secs(self.session_hours_max * 3_600)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(change: &str) -> anyhow::Result<Person> {
        let mut table: serde_json::Value = serde_json::json!({
            "alias": "corp", "issuer": "https://idp.test", "client_id": "fuda-console", "algorithms": ["ES256"],
            "redirect_url": "https://audit.test:8443/signed-in",
        });
        let change: serde_json::Value = serde_json::from_str(change).unwrap();
        table.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        serde_json::from_value::<OidcSettings>(table)?.person()
    }

    #[test]
    fn settings_that_would_weaken_a_session_are_refused() {
        assert!(settings("{}").is_ok());
        for wrong in [
            r#"{"session_idle_minutes": 31}"#,
            r#"{"session_idle_minutes": 4}"#,
            r#"{"session_hours_max": 9}"#,
            r#"{"session_hours_max": 0}"#,
            r#"{"redirect_url": "http://audit.test/signed-in"}"#,
            r#"{"redirect_url": "https://audit.test/elsewhere"}"#,
            r#"{"redirect_url": "https://audit.test/signed-in?next=/"}"#,
            r#"{"scope": "email"}"#,
            r#"{"algorithms": []}"#,
            r#"{"algorithms": ["none"]}"#,
            r#"{"algorithms": ["HS256"]}"#,
            r#"{"alias": "Corp"}"#,
            r#"{"token_lifetime_s_max": 86401}"#,
            r#"{"leeway_s": 61}"#,
            r#"{"client_secret_file": "/nonexistent/secret"}"#,
            r#"{"client_secret": "in the settings"}"#,
        ] {
            assert!(settings(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn people_of_other_providers_are_not_known() {
        let settings: OidcSettings = serde_json::from_value(serde_json::json!({
            "alias": "corp", "issuer": "https://idp.test", "client_id": "c", "algorithms": ["ES256"],
            "redirect_url": "https://audit.test/signed-in",
        }))
        .unwrap();
        let knows = |id: &str| settings.knows(&CallerId::parse(id).unwrap());
        assert!(knows("oidc:corp/alice"));
        assert!(!knows("oidc:corp2/alice") && !knows("oidc:other/alice") && !knows("spiffe://corp/alice"));
    }
}
