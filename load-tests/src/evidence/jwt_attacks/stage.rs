//! A cluster that trusts three issuers, and everybody who calls it.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, anyhow, ensure};
use fuda_core::Code;
use fuda_proto::cluster::v1::GetStatusRequest;
use fuda_proto::ledger::v1::{Entry, ReadEntriesRequest};
use fuda_proto::tenant::v1::{ApproveGrantsRequest, EndUserRule, Grant, ProposeGrantsRequest, Role};
use fuda_proto::vault::v1::{DescribeTokenRequest, DetokenizeRequest};
use fuda_runtime::dev_ca::Authority;
use fuda_runtime::dev_issuer::DevIssuer;
use serde_json::{Value, json};
use tonic::{Request, Status};

use super::forgeries::{Forger, Forgery};
use crate::cluster::{CALL_DEADLINE, LocalCluster, Options, PURPOSE, SCOPES, TENANT};
use crate::synthetic::People;
use crate::wire::{Caller, bearing, describe, get_page, is_code, new_request_id};
use crate::workload::store;

/// A key of the issuer whose algorithm attackers like to confuse; it signs nothing but tests.
const RSA: &str = include_str!("../../../../services/identity/testdata/rsa2048.pem");
const KEY_ID: &str = "k1";
const POD: &str = "6f1c9c8e-2a0b-4a3f-9d1e-0c5b7a8d9e0f";
/// Path of the workload that needs an end user.
const WORKLOAD: &str = "workload/interactive";
const BEARER_LIFETIME_S: i64 = 3_600;
const ASSERTION_LIFETIME_S: i64 = 300;

/// Sorts of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Person,
    ServiceAccount,
    EndUser,
}

impl Sort {
    pub(super) const ALL: [Self; 3] = [Self::Person, Self::ServiceAccount, Self::EndUser];

    pub(super) fn is_bearer(self) -> bool {
        self != Self::EndUser
    }

    /// What a bad token of the sort is answered with.
    pub(super) fn refusal(self) -> Code {
        if self.is_bearer() { Code::Unauthenticated } else { Code::EndUserRequired }
    }

    /// Sorts whose refusals must look the same.
    pub(super) fn group(self) -> &'static str {
        if self.is_bearer() { "bearer" } else { "end user" }
    }
}

/// The cluster, its issuers and its callers.
pub(super) struct Stage {
    cluster: LocalCluster,
    people: DevIssuer,
    kubernetes: DevIssuer,
    end_users: DevIssuer,
    attacker: DevIssuer,
    anonymous: Caller,
    workload: Caller,
    tokens: Arc<Vec<String>>,
}

impl Stage {
    pub(super) async fn set(mut options: Options) -> Result<Self> {
        let people = DevIssuer::from_pem(KEY_ID, RSA)?;
        let (kubernetes, end_users) = (DevIssuer::new(KEY_ID)?, DevIssuer::ed25519(KEY_ID)?);
        options.settings = settings(&options.work_dir, &people, &kubernetes, &end_users)?;
        let cluster = LocalCluster::serving(options).await?;
        let addresses = cluster.client_addresses();
        let authority = cluster.ca().root_path(Authority::Clients);
        let pems = cluster.ca().issue_identity("interactive", WORKLOAD)?;
        let workload = Caller::new(&pems, &cluster.ca().spiffe_id(WORKLOAD), &addresses, CALL_DEADLINE)?;
        let anonymous = Caller::anonymous(&authority, crate::cluster::TRUST_DOMAIN, &addresses, CALL_DEADLINE)?;
        cluster.grant(grants(&cluster)).await?;
        let tokens = Arc::new(store(&cluster, People::new(7), 0..2).await?);
        let attacker = DevIssuer::new(KEY_ID)?;
        let stage = Self { cluster, people, kubernetes, end_users, attacker, anonymous, workload, tokens };
        stage.wait_for_grants().await?;
        Ok(stage)
    }

    pub(super) fn nodes(&self) -> usize {
        self.cluster.size()
    }

    /// The newest grants reach every node a moment after they were approved.
    async fn wait_for_grants(&self) -> Result<()> {
        let until = SystemTime::now() + Duration::from_secs(30);
        for node in 0..self.nodes() {
            while let Err(status) = self.call(Sort::Person, node, &self.good(Sort::Person)?).await {
                ensure!(SystemTime::now() < until, "a good token was never accepted: {}", describe(&status));
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        Ok(())
    }

    fn issuer(&self, sort: Sort) -> &DevIssuer {
        match sort {
            Sort::Person => &self.people,
            Sort::ServiceAccount => &self.kubernetes,
            Sort::EndUser => &self.end_users,
        }
    }

    /// A new good token.
    pub(super) fn good(&self, sort: Sort) -> Result<String> {
        Ok(self.issuer(sort).sign(&self.claims(sort)?)?)
    }

    fn claims(&self, sort: Sort) -> Result<Value> {
        let now = now_s()?;
        Ok(match sort {
            Sort::Person => json!({"iss": "https://idp.test", "aud": "fuda", "sub": "alice", "iat": now,
                "exp": now + 600, "auth_time": now, "amr": ["hwk"]}),
            Sort::ServiceAccount => json!({"iss": "https://kubernetes.test", "aud": ["fuda"], "iat": now, "nbf": now,
                "exp": now + 600, "sub": "system:serviceaccount:payroll:batch",
                "kubernetes.io": {"namespace": "payroll", "serviceaccount": {"name": "batch", "uid": POD},
                    "pod": {"name": "batch-0", "uid": POD}}}),
            Sort::EndUser => json!({"iss": "https://sts.test", "aud": "fuda-end-user", "sub": "suzuki", "iat": now,
                "exp": now + ASSERTION_LIFETIME_S, "jti": new_request_id()?, "azp": self.workload.spiffe()}),
        })
    }

    /// Makes forgeries of tokens of a sort.
    pub(super) fn forger(&self, sort: Sort) -> Result<Forger<'_>> {
        Ok(Forger {
            issuer: self.issuer(sort),
            key_id: KEY_ID,
            attacker: &self.attacker,
            claims: self.claims(sort)?,
            lifetime_s_max: if sort.is_bearer() { BEARER_LIFETIME_S } else { ASSERTION_LIFETIME_S },
            now_s: now_s()?,
        })
    }

    /// Forgeries that only make sense for one sort, and good tokens of the other sorts in its place.
    pub(super) fn special(&self, sort: Sort) -> Result<Vec<Forgery>> {
        let mut forgeries = Vec::new();
        for other in Sort::ALL.into_iter().filter(|other| *other != sort && (!other.is_bearer() || !sort.is_bearer())) {
            forgeries.push((format!("a good token of sort {other:?}"), self.good(other)?));
        }
        for other in Sort::ALL.into_iter().filter(|other| *other != sort) {
            forgeries
                .push((format!("signed by the issuer of {other:?}"), self.issuer(other).sign(&self.claims(sort)?)?));
        }
        let sign = |changes: Value| -> Result<String> {
            let mut claims = self.claims(sort)?;
            let members = claims.as_object_mut().context("claims are an object")?;
            members.extend(changes.as_object().context("changes are an object")?.clone());
            Ok(self.issuer(sort).sign(&claims)?)
        };
        let specials = match sort {
            Sort::Person => vec![
                ("a name with a slash", json!({"sub": "alice/root"})),
                ("a SPIFFE id as name", json!({"sub": "spiffe://fuda.test/person/owner"})),
                ("a number as name", json!({"sub": "123456789018"})),
            ],
            Sort::ServiceAccount => vec![
                ("another account in sub", json!({"sub": "system:serviceaccount:payroll:root"})),
                ("no pod", json!({"kubernetes.io": {"namespace": "payroll", "serviceaccount": {"name": "batch"}}})),
                ("no kubernetes claims", json!({"kubernetes.io": null})),
            ],
            Sort::EndUser => vec![
                ("bound to another workload", json!({"azp": self.cluster.spiffe("payroll")?})),
                ("bound to nobody", json!({"azp": null})),
                ("bound by another claim", json!({"azp": null, "client_id": self.workload.spiffe()})),
                ("no id", json!({"jti": null})),
                ("empty id", json!({"jti": ""})),
                ("long id", json!({"jti": "x".repeat(300)})),
            ],
        };
        for (name, changes) in specials {
            forgeries.push((name.to_owned(), sign(changes)?));
        }
        Ok(forgeries)
    }

    /// The call that a token of the sort is good for.
    pub(super) async fn call(&self, sort: Sort, node: usize, token: &str) -> Result<(), Status> {
        match sort {
            Sort::Person => {
                let request = bearing(GetStatusRequest { with_digest: false }, token)?;
                self.anonymous.cluster(node).get_status(request).await.map(|_| ())
            }
            Sort::ServiceAccount => {
                let message = DescribeTokenRequest {
                    tenant: TENANT.to_owned(),
                    scope: SCOPES[0].to_owned(),
                    token: self.tokens[0].clone(),
                    ..Default::default()
                };
                self.anonymous.tokens(node).describe_token(bearing(message, token)?).await.map(|_| ())
            }
            Sort::EndUser => {
                let request_id = new_request_id().map_err(|_| Status::internal("no randomness"))?;
                self.reveal(node, Some(token), &request_id, 0).await
            }
        }
    }

    /// The workload reveals one of the numbers.
    pub(super) async fn reveal(
        &self,
        node: usize,
        assertion: Option<&str>,
        request_id: &str,
        token: usize,
    ) -> Result<(), Status> {
        reveal(&self.workload, &self.tokens, node, assertion, request_id, token).await
    }

    /// The same for a task of its own.
    pub(super) fn racer(&self) -> Racer {
        Racer { workload: self.workload.clone(), tokens: Arc::clone(&self.tokens), nodes: self.nodes() }
    }

    /// A certificate and a token, both good.
    pub(super) async fn two_credentials(&self, node: usize) -> Result<(String, Result<(), Status>)> {
        let auditor = self.cluster.caller("auditor")?;
        let request = bearing(GetStatusRequest { with_digest: false }, &self.good(Sort::Person)?)?;
        let answer = auditor.cluster(node).get_status(request).await.map(|_| ());
        Ok(("certificate and token".to_owned(), answer))
    }

    /// Neither a certificate nor a token.
    pub(super) async fn nobody_is_refused(&self) -> Result<bool> {
        let answer = self.anonymous.cluster(0).get_status(GetStatusRequest { with_digest: false }).await;
        Ok(answer.is_err_and(|status| is_code(&status, Code::Unauthenticated)))
    }

    /// An approver who signed in an hour ago may not approve; one who signed in now may.
    pub(super) async fn steps_up(&self) -> Result<bool> {
        let nobody = Grant {
            caller: self.cluster.ca().spiffe_id("workload/nobody"),
            role: Role::Workload.into(),
            tenant: TENANT.to_owned(),
            actions: vec!["get_record".to_owned()],
            kinds: vec!["my_number".to_owned()],
            ..Grant::default()
        };
        let request = ProposeGrantsRequest { grants: vec![nobody], ..Default::default() };
        let proposed = self.cluster.caller("owner")?.tenants(0).propose_grants(request).await;
        let order = proposed.map_err(|status| anyhow!("ProposeGrants: {}", describe(&status)))?.into_inner().order;
        let now = now_s()?;
        let mut answers = Vec::new();
        for signed_in in [now - 3_000, now] {
            let token = self.people.sign(&json!({"iss": "https://idp.test", "aud": "fuda", "sub": "approver",
                "iat": now, "exp": now + 600, "auth_time": signed_in, "amr": ["hwk"]}))?;
            let request = ApproveGrantsRequest { order: order.clone(), ..Default::default() };
            answers.push(self.anonymous.tenants(0).approve_grants(bearing(request, &token)?).await.map(|_| ()));
        }
        let old = answers
            .first()
            .is_some_and(|answer| answer.as_ref().is_err_and(|status| is_code(status, Code::StepUpRequired)));
        Ok(old && answers.last().is_some_and(Result::is_ok))
    }

    /// The entries of the controls say who answered and how callers proved themselves.
    pub(super) async fn entries_name_them(&self) -> Result<bool> {
        let auditor = self.cluster.caller("auditor")?;
        let (mut entries, mut from): (Vec<Entry>, u64) = (Vec::new(), 0);
        loop {
            let request = ReadEntriesRequest { from_sequence: from, page_size: 1_000, ..Default::default() };
            let page = auditor.ledger(0).read_entries(request).await;
            let page = page.map_err(|status| anyhow!("ReadEntries: {}", describe(&status)))?.into_inner();
            let Some(last) = page.entries.last() else { break };
            from = last.sequence + 1;
            entries.extend(page.entries);
        }
        let of = |action: &str, caller: &str| {
            entries.iter().find(|entry| entry.action == action && entry.caller == caller && entry.decision == "allowed")
        };
        let end_user = of("detokenize", self.workload.spiffe()).map(|entry| entry.end_user.as_str());
        let account = of("describe_token", &self.cluster.ca().spiffe_id("ns/payroll/sa/batch"));
        let account = account.map(|entry| (entry.credential.as_str(), entry.pod.as_str()));
        Ok(end_user == Some("oidc:sts/suzuki") && account == Some(("service_account", POD)))
    }

    /// How many refused bearer tokens the nodes count.
    pub(super) async fn refusals_counted(&self) -> Result<u64> {
        let mut counted = 0;
        for node in self.cluster.nodes() {
            let (_, page) = get_page(&node.spec().addresses.ops, "/metrics").await?;
            let page = String::from_utf8_lossy(&page);
            let lines = page.lines().filter(|line| line.starts_with("fuda_identity_refused_total"));
            for line in lines.filter(|line| line.contains("credential=\"bearer\"")) {
                counted += line.rsplit(' ').next().and_then(|count| count.parse::<f64>().ok()).map_or(0, |count| {
                    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
                    let count = count as u64;
                    count
                });
            }
        }
        Ok(counted)
    }
}

/// One of many who use the same assertion at once.
pub(super) struct Racer {
    workload: Caller,
    tokens: Arc<Vec<String>>,
    nodes: usize,
}

impl Racer {
    pub(super) async fn reveal(&self, place: usize, assertion: &str, request_id: &str) -> Result<(), Status> {
        reveal(&self.workload, &self.tokens, place % self.nodes, Some(assertion), request_id, 0).await
    }
}

async fn reveal(
    workload: &Caller,
    tokens: &[String],
    node: usize,
    assertion: Option<&str>,
    request_id: &str,
    token: usize,
) -> Result<(), Status> {
    let mut request = Request::new(DetokenizeRequest {
        tenant: TENANT.to_owned(),
        scope: SCOPES[0].to_owned(),
        purpose: PURPOSE.to_owned(),
        token: tokens.get(token).cloned().unwrap_or_default(),
        request_id: request_id.to_owned(),
        ..Default::default()
    });
    if let Some(assertion) = assertion {
        let value = assertion.parse().map_err(|_| Status::internal("not a header value"))?;
        request.metadata_mut().insert("fuda-end-user-assertion", value);
    }
    workload.tokens(node).detokenize(request).await.map(|_| ())
}

fn now_s() -> Result<i64> {
    Ok(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?)
}

/// The table `identity` of every node, and the key sets it names.
fn settings(dir: &Path, people: &DevIssuer, kubernetes: &DevIssuer, end_users: &DevIssuer) -> Result<String> {
    let keys = |name: &str, issuer: &DevIssuer| -> Result<String> {
        let path = dir.join(format!("{name}-jwks.json"));
        std::fs::write(&path, issuer.jwks()?)?;
        Ok(format!("keys = {{ file = {:?} }}", path.display().to_string()))
    };
    Ok(format!(
        "\n[[identity.oidc]]\nalias = \"corp\"\nissuer = \"https://idp.test\"\naudience = \"fuda\"\n\
         algorithms = [\"RS256\"]\nlifetime_s_max = {BEARER_LIFETIME_S}\nsensitive_amr = [\"hwk\"]\n{}\n\
         \n[[identity.kubernetes]]\nalias = \"cluster\"\nissuer = \"https://kubernetes.test\"\naudience = \"fuda\"\n\
         algorithms = [\"ES256\"]\ntrust_domain = \"fuda.test\"\nlifetime_s_max = {BEARER_LIFETIME_S}\n{}\n\
         \n[[identity.end_user]]\nalias = \"sts\"\nissuer = \"https://sts.test\"\naudience = \"fuda-end-user\"\n\
         algorithms = [\"EdDSA\"]\n{}\n",
        keys("people", people)?,
        keys("kubernetes", kubernetes)?,
        keys("end-users", end_users)?,
    ))
}

fn grants(cluster: &LocalCluster) -> Vec<Grant> {
    let texts = |codes: &[&str]| codes.iter().map(|code| (*code).to_owned()).collect::<Vec<_>>();
    let person = |caller: &str, role: Role, actions: &[&str]| Grant {
        caller: caller.to_owned(),
        role: role.into(),
        actions: texts(actions),
        ..Grant::default()
    };
    let workload = |path: &str, actions: &[&str]| Grant {
        caller: cluster.ca().spiffe_id(path),
        role: Role::Workload.into(),
        tenant: TENANT.to_owned(),
        actions: texts(actions),
        kinds: texts(&["my_number"]),
        purposes: texts(&[PURPOSE]),
        scopes: texts(&[SCOPES[0]]),
        ..Grant::default()
    };
    vec![
        person("oidc:corp/alice", Role::Auditor, &["read_ledger", "cluster_status"]),
        person("oidc:corp/approver", Role::Approver, &["approve_grants"]),
        workload("ns/payroll/sa/batch", &["describe_token"]),
        Grant { end_user: EndUserRule::Required.into(), ..workload(WORKLOAD, &["detokenize"]) },
    ]
}
