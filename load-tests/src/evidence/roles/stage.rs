//! A cluster that knows two providers of people, two Kubernetes clusters, a partner's trust domain and a revocation list;
//! two tenants, and everybody's grants.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use fuda_proto::tenant::v1::{Grant, Role};
use fuda_proto::vault::v1::{DescribeTokenRequest, TokenizeRequest};
use fuda_runtime::dev_ca::{Authority, DevCa, Pems};
use fuda_runtime::dev_issuer::DevIssuer;
use tonic::Status;

use super::super::{Ctx, progress};
use super::provider::{BEARER, CLIENT, KeySet, Provider};
use crate::cli::Cli;
use crate::cluster::{CALL_DEADLINE, LocalCluster, OTHER_TENANT, PURPOSE, SCOPES, TENANT, TRUST_DOMAIN};
use crate::synthetic::People;
use crate::wire::{Caller, describe, path_text};
use crate::workload;

/// The partner's trust domain.
pub(super) const PARTNER: &str = "partner.test";
/// Service account of the clusters.
pub(super) const ACCOUNT: (&str, &str) = ("payroll", "batch");
/// The longest time between a change of a grant or a file and its effect that a check waits out before it gives up.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
/// Documented time from a changed file to its effect, with a margin for a busy machine.
pub(super) const FILES_WITHIN: Duration = Duration::from_millis(11_500);

/// The keys that clusters sign with: the old one, the present one, the one to come.
pub(super) struct Keys {
    pub(super) old: DevIssuer,
    pub(super) present: DevIssuer,
    pub(super) coming: DevIssuer,
}

pub(super) struct Stage {
    pub(super) cluster: LocalCluster,
    pub(super) dir: PathBuf,
    pub(super) cli: Cli,
    pub(super) provider_ca: PathBuf,
    pub(super) corp: Provider,
    /// As `corp`, but the nodes ask nothing of its people's sign-ins: the control.
    pub(super) lax: Provider,
    pub(super) keys: Keys,
    pub(super) prod: KeySet,
    /// As `prod`, but it never drops a key: the control.
    pub(super) stale: KeySet,
    pub(super) partner: DevCa,
    /// A token of each tenant.
    pub(super) token: String,
    pub(super) other_token: String,
}

impl Stage {
    pub(super) async fn set(ctx: &Ctx) -> Result<Self> {
        let mut options = ctx.cluster("roles")?;
        options.nodes = ctx.pick(1, 3);
        let dir = options.work_dir.clone();
        let providers = DevCa::open(&ctx.dir("providers")?, TRUST_DOMAIN)?;
        let (pems, _) = providers.issue_node("provider", &["localhost".to_owned()])?;
        let (corp, lax) = (Provider::start(&pems).await?, Provider::start(&pems).await?);
        let keys = Keys { old: key("k1")?, present: key("k2")?, coming: key("k3")? };
        let before = [&keys.old, &keys.present];
        let (prod, stale) = (KeySet::start(&pems, &before).await?, KeySet::start(&pems, &before).await?);
        let partner = DevCa::open(&ctx.dir("partner")?, PARTNER)?;
        let ca = DevCa::open(&dir, TRUST_DOMAIN)?;
        std::fs::write(dir.join("clients.crl"), ca.revocation_list(Authority::Clients, &[])?)?;
        std::fs::write(dir.join("denied.txt"), "# nobody\n")?;
        std::fs::copy(partner.root_path(Authority::Clients), dir.join("partner-ca.pem"))?;
        std::fs::write(dir.join("bearer"), BEARER)?;
        let provider_ca = providers.root_path(Authority::Clients);
        options.settings = settings(&dir, &provider_ca, [&corp, &lax], [&prod, &stale]);
        let cli = Cli::beside(&options.binary)?;
        let cluster = LocalCluster::serving(options).await?;
        let mut stage = Self {
            cluster,
            dir,
            cli,
            provider_ca,
            corp,
            lax,
            keys,
            prod,
            stale,
            partner,
            token: String::new(),
            other_token: String::new(),
        };
        stage.cluster.found(OTHER_TENANT).await?;
        stage.cluster.grant(stage.grants()).await?;
        stage.token = stage.store("hr", "workload/hr", TENANT).await?;
        stage.other_token = stage.store("other-hr", "workload/other-hr", OTHER_TENANT).await?;
        progress("a cluster with its issuers, callers and tenants");
        Ok(stage)
    }

    /// The certificate of somebody of our own trust domain, issued at the first call.
    pub(super) fn pems(&self, path: &str) -> Result<Pems> {
        let name = path.rsplit('/').next().unwrap_or(path);
        let dir = self.dir.join("identities").join(name);
        let pems = Pems {
            certificate: dir.join("cert.pem"),
            key: dir.join("cert.key.pem"),
            authority: self.cluster.ca().root_path(Authority::Clients),
        };
        if pems.certificate.exists() { Ok(pems) } else { Ok(self.cluster.ca().issue_identity(name, path)?) }
    }

    /// Somebody with a certificate of his own and open connections.
    pub(super) fn caller(&self, path: &str) -> Result<Caller> {
        self.caller_with(&self.pems(path)?, &self.cluster.ca().spiffe_id(path))
    }

    /// The same with a certificate of any sort.
    pub(super) fn caller_with(&self, pems: &Pems, spiffe: &str) -> Result<Caller> {
        let pems = Pems { authority: self.cluster.ca().root_path(Authority::Clients), ..pems.clone() };
        Caller::abroad(&pems, spiffe, TRUST_DOMAIN, &self.cluster.client_addresses(), CALL_DEADLINE)
    }

    /// Somebody who comes with a token.
    pub(super) fn anonymous(&self) -> Result<Caller> {
        let authority = self.cluster.ca().root_path(Authority::Clients);
        Caller::anonymous(&authority, TRUST_DOMAIN, &self.cluster.client_addresses(), CALL_DEADLINE)
    }

    /// The command line in the hands of somebody with a certificate. Always at the first node: where a node speaks of
    /// what it saw itself, everybody must mean the same one.
    pub(super) fn person(&self, path: &str) -> Result<Cli> {
        self.pems(path)?;
        let name = path.rsplit('/').next().unwrap_or(path);
        Ok(self.cli.with_identity(&self.dir.join("identities").join(name), &self.first_node()))
    }

    pub(super) fn first_node(&self) -> Vec<String> {
        self.cluster.client_addresses().into_iter().take(1).collect()
    }

    /// A new file in the work directory.
    pub(super) fn file(&self, name: &str, text: &str) -> Result<String> {
        let path = self.dir.join(name);
        std::fs::write(&path, text)?;
        Ok(path_text(&path))
    }

    /// Replaces a file of the nodes' settings as an operator does: beside it, and renamed.
    pub(super) fn replace(&self, name: &str, text: &str) -> Result<()> {
        let beside = self.dir.join(format!("{name}.new"));
        std::fs::write(&beside, text)?;
        Ok(std::fs::rename(beside, self.dir.join(name))?)
    }

    fn grants(&self) -> Vec<Grant> {
        let ca = self.cluster.ca();
        let texts = |codes: &[&str]| codes.iter().map(|code| (*code).to_owned()).collect::<Vec<_>>();
        let person = |caller: String, role: Role, tenant: &str, actions: &[&str]| Grant {
            caller,
            role: role.into(),
            tenant: tenant.to_owned(),
            actions: texts(actions),
            ..Grant::default()
        };
        let workload = |caller: String, tenant: &str, actions: &[&str]| Grant {
            kinds: texts(&["my_number"]),
            purposes: texts(&[PURPOSE]),
            scopes: texts(&SCOPES),
            ..person(caller, Role::Workload, tenant, actions)
        };
        let looks = |caller: String, tenant: &str| workload(caller, tenant, &["describe_token"]);
        let of_party = |grant: Grant, role: Role| Grant { role: role.into(), party: "bureau".to_owned(), ..grant };
        let (namespace, account) = ACCOUNT;
        let reads = ["read_ledger", "explain_denial"];
        vec![
            person("oidc:corp/approver".to_owned(), Role::Approver, "", &["approve_grants", "list_grants"]),
            person("oidc:lax/approver".to_owned(), Role::Approver, "", &["approve_grants", "list_grants"]),
            looks(ca.spiffe_id(&format!("ns/{namespace}/sa/{account}")), OTHER_TENANT),
            looks(ca.spiffe_id("workload/leaver"), OTHER_TENANT),
            looks(ca.spiffe_id("workload/stayer"), OTHER_TENANT),
            looks(ca.spiffe_id("workload/expiring"), OTHER_TENANT),
            looks(ca.spiffe_id("workload/dismissed"), OTHER_TENANT),
            looks(format!("spiffe://{PARTNER}/workload/bureau"), OTHER_TENANT),
            // A grant is not enough: no rule of the nodes names people of the partner.
            looks(format!("spiffe://{PARTNER}/person/guest"), OTHER_TENANT),
            of_party(looks(ca.spiffe_id("workload/bureau"), TENANT), Role::EntrustedParty),
            of_party(person(ca.spiffe_id("person/bureau-auditor"), Role::Auditor, "", &["read_ledger"]), Role::Auditor),
            person(ca.spiffe_id("person/acme-auditor"), Role::Auditor, TENANT, &reads),
            person(ca.spiffe_id("person/umbrella-auditor"), Role::Auditor, OTHER_TENANT, &reads),
            workload(ca.spiffe_id("workload/other-hr"), OTHER_TENANT, &["tokenize"]),
        ]
    }

    async fn store(&self, name: &str, path: &str, tenant: &str) -> Result<String> {
        let hr = self.caller(path)?;
        let until = Instant::now() + PATIENCE;
        loop {
            let request = TokenizeRequest {
                tenant: tenant.to_owned(),
                item: Some(workload::item(People::new(11), 0)),
                ..Default::default()
            };
            match hr.tokens(0).tokenize(request).await {
                Ok(stored) => return Ok(stored.into_inner().token),
                Err(status) if Instant::now() > until => {
                    return Err(anyhow!("Tokenize by {name}: {}", describe(&status)));
                }
                // The newest grants reach a node a moment after they were approved.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// One look at the other tenant's token.
    pub(super) fn look(&self) -> DescribeTokenRequest {
        DescribeTokenRequest {
            tenant: OTHER_TENANT.to_owned(),
            scope: SCOPES[0].to_owned(),
            token: self.other_token.clone(),
            ..Default::default()
        }
    }

    /// One reveal of the first tenant's number.
    pub(super) async fn reveal(&self, by: &Caller, node: usize) -> Result<(), Status> {
        by.tokens(node).detokenize(workload::reveal(&self.token)).await.map(drop)
    }
}

fn key(id: &str) -> Result<DevIssuer> {
    Ok(DevIssuer::new(id)?)
}

/// What every node is told.
fn settings(dir: &Path, provider_ca: &Path, people: [&Provider; 2], clusters: [&KeySet; 2]) -> String {
    let quoted = |path: &Path| format!("{:?}", path_text(path));
    let authorities = quoted(provider_ca);
    let mut settings = format!(
        "\n[identity]\ncallers = [\"spiffe://{TRUST_DOMAIN}/*\", \"spiffe://{PARTNER}/workload/*\", \"oidc:corp/*\", \
         \"oidc:lax/*\"]\n\n\
         [[identity.trust_domains]]\nname = \"{PARTNER}\"\nauthorities_file = {}\n\n\
         [identity.revoked]\ncrl_file = {}\ndenied_file = {}\n",
        quoted(&dir.join("partner-ca.pem")),
        quoted(&dir.join("clients.crl")),
        quoted(&dir.join("denied.txt")),
    );
    let [corp, lax] = people.map(Provider::issuer);
    for (alias, issuer, rules) in [
        ("corp", corp, "sign_in_age_s_max = 900\nsensitive_amr = [\"hwk\"]\n"),
        ("lax", lax, "sign_in_age_s_max = 86400\n"),
    ] {
        settings.push_str(&format!(
            "\n[[identity.oidc]]\nalias = \"{alias}\"\nissuer = \"{issuer}\"\naudience = \"{CLIENT}\"\n\
             algorithms = [\"ES256\"]\n{rules}\
             keys = {{ url = \"{issuer}/jwks\", authorities_file = {authorities} }}\n"
        ));
    }
    let [prod, stale] = clusters.map(KeySet::issuer);
    for (alias, issuer) in [("prod", prod), ("stale", stale)] {
        settings.push_str(&format!(
            "\n[[identity.kubernetes]]\nalias = \"{alias}\"\nissuer = \"{issuer}\"\naudience = \"fuda\"\n\
             algorithms = [\"ES256\"]\ntrust_domain = \"{TRUST_DOMAIN}\"\n\
             keys = {{ url = \"{issuer}/openid/v1/jwks\", authorities_file = {authorities}, bearer_file = {} }}\n",
            quoted(&dir.join("bearer")),
        ));
    }
    settings
}
