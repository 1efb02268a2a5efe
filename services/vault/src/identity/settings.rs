//! The table `identity` of the settings: who may call beside holders of certificates, and how they prove it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use fuda_core::CallerId;
use fuda_core::limits::ASSERTION_LIFETIME_S_MAX;
use fuda_crypto::SignatureAlgorithm;
use fuda_identity::{Binding, CallerRules, EndUser, Issuer, IssuerSettings, Person, ServiceAccount};
use fuda_runtime::fetch::HttpsAddress;
use fuda_runtime::key_source::{KeyPlace, KeySource};
use fuda_runtime::revocation::{RevocationPaths, Revocations};
use fuda_runtime::tls::{ClientAuth, TrustDomain};
use serde::Deserialize;

/// Longest configurable life of a bearer token, in seconds.
const BEARER_LIFETIME_S_MAX: i64 = 86_400;
/// Longest time between signing in and a sensitive action, in seconds.
const SIGN_IN_AGE_S_MAX: i64 = 86_400;
/// Issuers of one sort.
const ISSUERS_MAX: usize = 16;

/// Who may call, and how callers prove who they are. Without it: whoever holds a certificate of the client authority.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Identity {
    /// Callers who may call at all: ids, or prefixes that end in `/*`. Absent: everybody who proved who he is.
    pub(crate) callers: Option<Vec<String>>,
    /// Trust domains of certificates beside the node's own.
    pub(crate) trust_domains: Vec<TrustDomainSettings>,
    /// Certificates and callers that are refused although their credential is good.
    pub(crate) revoked: Option<RevokedSettings>,
    /// Kubernetes clusters whose service accounts may call.
    pub(crate) kubernetes: Vec<KubernetesSettings>,
    /// OpenID providers whose people may call.
    pub(crate) oidc: Vec<OidcSettings>,
    /// Issuers of end-user assertions.
    pub(crate) end_user: Vec<EndUserSettings>,
}

/// A trust domain and its authorities.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TrustDomainSettings {
    /// `example.org`.
    name: String,
    /// Its authorities, PEM.
    authorities_file: PathBuf,
}

/// Where revocations are.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RevokedSettings {
    /// Certificate revocation lists, PEM or DER, read again when the file changes.
    crl_file: Option<PathBuf>,
    /// One caller id or `serial:HEX` per line, read again when the file changes.
    denied_file: Option<PathBuf>,
}

/// A cluster whose service accounts may call.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KubernetesSettings {
    /// Our name of the cluster, `[a-z][a-z0-9-]{0,31}`.
    alias: String,
    /// `iss` of its tokens.
    issuer: String,
    /// `aud` of tokens for us.
    audience: String,
    /// Algorithms it signs with: RS256, PS256, ES256, EdDSA.
    algorithms: Vec<String>,
    /// Where its keys are.
    keys: KeySettings,
    /// Trust domain of the callers' ids `spiffe://TRUST_DOMAIN/ns/NAMESPACE/sa/NAME`.
    trust_domain: String,
    /// Whether tokens must be bound to a pod.
    #[serde(default = "yes")]
    pod_required: bool,
    /// Longest life of a token in seconds, 1..=86400.
    #[serde(default = "two_hours")]
    lifetime_s_max: i64,
    /// How far its clock may be off, in seconds, 0..=60.
    #[serde(default = "leeway")]
    leeway_s: i64,
}

/// A provider of people.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OidcSettings {
    /// Our name of the provider, part of the ids of its people: `oidc:ALIAS/SUBJECT`.
    alias: String,
    /// `iss` of its tokens.
    issuer: String,
    /// `aud` of tokens for us.
    audience: String,
    /// Algorithms it signs with.
    algorithms: Vec<String>,
    /// Where its keys are.
    keys: KeySettings,
    /// The claim that names the person. Must never be given to another person later.
    #[serde(default = "subject")]
    subject_claim: String,
    /// Longest time between signing in (`auth_time`) and a sensitive action, in seconds, 60..=86400.
    #[serde(default = "quarter_hour")]
    sign_in_age_s_max: i64,
    /// One of these `acr` is needed for a sensitive action; empty: any.
    #[serde(default)]
    sensitive_acr: Vec<String>,
    /// All of these `amr` are needed for a sensitive action; empty: none.
    #[serde(default)]
    sensitive_amr: Vec<String>,
    /// Longest life of a token in seconds, 1..=86400.
    #[serde(default = "two_hours")]
    lifetime_s_max: i64,
    /// How far its clock may be off, in seconds, 0..=60.
    #[serde(default = "leeway")]
    leeway_s: i64,
}

/// An issuer of end-user assertions.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EndUserSettings {
    /// Our name of the issuer, part of the ids of its people. The same alias as in `oidc` means the same people.
    alias: String,
    /// `iss` of its assertions.
    issuer: String,
    /// `aud` of assertions for us; another one than that of bearer tokens of the same issuer.
    audience: String,
    /// Algorithms it signs with.
    algorithms: Vec<String>,
    /// Where its keys are.
    keys: KeySettings,
    /// The claim that names the end user.
    #[serde(default = "subject")]
    subject_claim: String,
    /// The claim that names the workload: azp, client_id or act.
    #[serde(default = "azp")]
    binding_claim: String,
    /// The claim that names the subject of the end user's own records, such as an employee number. An end user it names
    /// gets no other number disclosed as his own.
    own_subject_claim: Option<String>,
    /// Longest life of an assertion in seconds, 1..=300.
    #[serde(default = "five_minutes")]
    lifetime_s_max: i64,
    /// How far its clock may be off, in seconds, 0..=60.
    #[serde(default = "leeway")]
    leeway_s: i64,
}

/// Where keys are: a file, or an address.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeySettings {
    /// A JWKS file, read again when it changes.
    file: Option<PathBuf>,
    /// An address that answers with a JWKS.
    url: Option<String>,
    /// Authorities of that address, PEM.
    authorities_file: Option<PathBuf>,
    /// A bearer token to show there, read at every request.
    bearer_file: Option<PathBuf>,
    /// How often it is asked, in seconds, 60..=86400.
    #[serde(default = "five_minutes")]
    refresh_s: i64,
}

fn yes() -> bool {
    true
}

fn leeway() -> i64 {
    30
}

fn five_minutes() -> i64 {
    300
}

fn quarter_hour() -> i64 {
    900
}

fn two_hours() -> i64 {
    7_200
}

fn subject() -> String {
    "sub".to_owned()
}

fn azp() -> String {
    "azp".to_owned()
}

/// An issuer with its keys.
pub(crate) struct Known<T> {
    pub(crate) rules: T,
    pub(crate) keys: Arc<KeySource>,
}

/// Everything the settings name, opened.
pub(crate) struct Opened {
    pub(crate) callers: CallerRules,
    pub(crate) accounts: Vec<Known<ServiceAccount>>,
    pub(crate) people: Vec<Known<Person>>,
    pub(crate) end_users: Vec<Known<EndUser>>,
}

impl Identity {
    /// Whether callers may come without a certificate.
    pub(crate) fn takes_tokens(&self) -> bool {
        !self.kubernetes.is_empty() || !self.oidc.is_empty()
    }

    /// What callers must show on the client listener.
    pub(crate) fn client_auth(&self) -> anyhow::Result<ClientAuth> {
        for domain in &self.trust_domains {
            CallerId::parse(&format!("spiffe://{}/x", domain.name))
                .context("configuration key `identity.trust_domains.name`")?;
        }
        let domain = |domain: &TrustDomainSettings| TrustDomain {
            name: domain.name.clone(),
            authorities_file: domain.authorities_file.clone(),
        };
        Ok(ClientAuth {
            without_certificate: self.takes_tokens(),
            trust_domains: self.trust_domains.iter().map(domain).collect(),
        })
    }

    /// Reads the revocations, if there are any.
    pub(crate) fn revocations(&self) -> anyhow::Result<Option<Arc<Revocations>>> {
        let Some(revoked) = &self.revoked else { return Ok(None) };
        let paths = RevocationPaths { crl_file: revoked.crl_file.clone(), denied_file: revoked.denied_file.clone() };
        Ok(Some(Arc::new(Revocations::open(paths).context("configuration table `identity.revoked`")?)))
    }

    /// Checks the settings and reads key files.
    pub(crate) fn open(&self) -> anyhow::Result<Opened> {
        let count = [self.kubernetes.len(), self.oidc.len(), self.end_user.len()];
        ensure!(count.iter().all(|count| *count <= ISSUERS_MAX), "`identity` may name at most 16 issuers of a sort");
        let opened = Opened {
            callers: match &self.callers {
                Some(rules) => CallerRules::parse(rules).context("configuration key `identity.callers`")?,
                None => CallerRules::everybody(),
            },
            accounts: all("kubernetes", &self.kubernetes, KubernetesSettings::open)?,
            people: all("oidc", &self.oidc, OidcSettings::open)?,
            end_users: all("end_user", &self.end_user, EndUserSettings::open)?,
        };
        opened.check_apart()?;
        Ok(opened)
    }
}

fn all<S, T>(table: &str, settings: &[S], open: fn(&S) -> anyhow::Result<T>) -> anyhow::Result<Vec<T>> {
    let opened = settings.iter().enumerate().map(|(index, settings)| {
        open(settings).with_context(|| format!("configuration table `identity.{table}` number {}", index + 1))
    });
    opened.collect()
}

impl Opened {
    /// No token may be taken for one of another sort, and no name may mean two people.
    fn check_apart(&self) -> anyhow::Result<()> {
        let bearers = self.accounts.iter().map(|known| &known.rules.issuer);
        let bearers: Vec<&Issuer> = bearers.chain(self.people.iter().map(|known| &known.rules.issuer)).collect();
        let assertions: Vec<&Issuer> = self.end_users.iter().map(|known| &known.rules.issuer).collect();
        for (list, what) in [(&bearers, "bearer tokens"), (&assertions, "assertions")] {
            let names: std::collections::BTreeSet<&str> = list.iter().map(|issuer| issuer.name()).collect();
            ensure!(names.len() == list.len(), "`identity` names an issuer of {what} twice");
        }
        for assertion in &assertions {
            let twin = bearers.iter().find(|bearer| bearer.name() == assertion.name());
            let apart = twin.is_none_or(|bearer| bearer.audience() != assertion.audience());
            ensure!(apart, "an issuer of `identity.end_user` needs another audience than its bearer tokens have");
        }
        let mut aliases: BTreeMap<&str, &str> = BTreeMap::new();
        for issuer in self.people.iter().map(|known| &known.rules.issuer).chain(assertions) {
            let known = aliases.insert(issuer.alias(), issuer.name());
            let same = known.is_none_or(|name| name == issuer.name());
            ensure!(same, "the alias `{}` of `identity` stands for two issuers", issuer.alias());
        }
        Ok(())
    }
}

impl KubernetesSettings {
    fn open(&self) -> anyhow::Result<Known<ServiceAccount>> {
        CallerId::parse(&format!("spiffe://{}/ns/a/sa/b", self.trust_domain)).context("`trust_domain`")?;
        let issuer = IssuerSettings {
            alias: self.alias.clone(),
            issuer: self.issuer.clone(),
            audience: self.audience.clone(),
            algorithms: algorithms(&self.algorithms)?,
            lifetime_s_max: self.lifetime_s_max,
            leeway_s: self.leeway_s,
        };
        Ok(Known {
            rules: ServiceAccount {
                issuer: Issuer::new(issuer, BEARER_LIFETIME_S_MAX)?,
                trust_domain: self.trust_domain.clone(),
                pod_required: self.pod_required,
            },
            keys: self.keys.open(&self.alias)?,
        })
    }
}

impl OidcSettings {
    fn open(&self) -> anyhow::Result<Known<Person>> {
        let ages = 60..=SIGN_IN_AGE_S_MAX;
        ensure!(ages.contains(&self.sign_in_age_s_max), "`sign_in_age_s_max` must be in 60..=86400");
        let issuer = IssuerSettings {
            alias: self.alias.clone(),
            issuer: self.issuer.clone(),
            audience: self.audience.clone(),
            algorithms: algorithms(&self.algorithms)?,
            lifetime_s_max: self.lifetime_s_max,
            leeway_s: self.leeway_s,
        };
        Ok(Known {
            rules: Person {
                issuer: Issuer::new(issuer, BEARER_LIFETIME_S_MAX)?,
                subject_claim: self.subject_claim.clone(),
                sign_in_age_s_max: self.sign_in_age_s_max,
                acr: self.sensitive_acr.clone(),
                amr: self.sensitive_amr.clone(),
            },
            keys: self.keys.open(&self.alias)?,
        })
    }
}

impl EndUserSettings {
    fn open(&self) -> anyhow::Result<Known<EndUser>> {
        let issuer = IssuerSettings {
            alias: self.alias.clone(),
            issuer: self.issuer.clone(),
            audience: self.audience.clone(),
            algorithms: algorithms(&self.algorithms)?,
            lifetime_s_max: self.lifetime_s_max,
            leeway_s: self.leeway_s,
        };
        Ok(Known {
            rules: EndUser {
                issuer: Issuer::new(issuer, ASSERTION_LIFETIME_S_MAX)?,
                subject_claim: self.subject_claim.clone(),
                binding: Binding::from_name(&self.binding_claim)
                    .context("`binding_claim` must be azp, client_id or act")?,
                own_subject_claim: self.own_subject_claim.clone(),
            },
            keys: self.keys.open(&self.alias)?,
        })
    }
}

impl KeySettings {
    fn open(&self, alias: &str) -> anyhow::Result<Arc<KeySource>> {
        let place = match (&self.file, &self.url) {
            (Some(file), None) => {
                let alone = self.authorities_file.is_none() && self.bearer_file.is_none();
                ensure!(alone, "`keys.file` needs neither authorities nor a bearer token");
                KeyPlace::File(file.clone())
            }
            (None, Some(url)) => {
                ensure!((60..=86_400).contains(&self.refresh_s), "`keys.refresh_s` must be in 60..=86400");
                KeyPlace::Address {
                    address: HttpsAddress::new(url, self.authorities_file.as_deref()).context("`keys.url`")?,
                    bearer_file: self.bearer_file.clone(),
                    refresh: Duration::from_secs(self.refresh_s.unsigned_abs()),
                }
            }
            _ => anyhow::bail!("`keys` must name either `file` or `url`"),
        };
        Ok(Arc::new(KeySource::open(alias, place)?))
    }
}

fn algorithms(names: &[String]) -> anyhow::Result<Vec<SignatureAlgorithm>> {
    let known = |name: &String| {
        SignatureAlgorithm::from_name(name).context("`algorithms` must be of RS256, PS256, ES256 and EdDSA")
    };
    names.iter().map(known).collect()
}
