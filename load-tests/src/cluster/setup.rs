//! From processes to a cluster with a tenant: what an operator, an owner and an approver do once.

use std::future::Future;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, anyhow, bail};
use fuda_proto::cluster::v1::{BootstrapRequest, JoinNodeRequest};
use fuda_proto::tenant::v1::{
    ApproveGrantsRequest, ApprovedJob, Budget, CreateTenantRequest, EndUserRule, Grant, ProposeGrantsRequest, Role,
    Tenant,
};
use tonic::Status;

use super::{LocalCluster, PATIENCE};
use crate::wire::{Failure, describe, failure};

/// The tenant of all evidence.
pub const TENANT: &str = "acme";
/// Another one, for evidence that tenants are apart.
pub const OTHER_TENANT: &str = "umbrella";
/// The purpose that payroll is granted and that records are notified of.
pub const PURPOSE: &str = "tax.withholding_slip";
/// Scopes that exist: payroll's own, and accounting's.
pub const SCOPES: [&str; 2] = ["payroll", "accounting"];
/// What hr does: it collects numbers and looks after their tokens, and sees no number again.
const HR_ACTIONS: [&str; 11] = [
    "tokenize",
    "describe_token",
    "get_record",
    "list_records",
    "exchange",
    "rotate",
    "update_number",
    "disable",
    "enable",
    "supersede",
    "add_notice",
];
/// Persons and days of grants that are not about counting: as many as a budget may have.
const PERSONS_MAX: u32 = 200_000_000;
const DAYS: u32 = 366;
/// The person who answers for grants that reveal, unless an evidence says otherwise.
pub const HANDLER: &str = "oidc:corp/tanaka";
/// Guesses per record and day granted to payroll.
const GUESSES_PER_DAY: u32 = 100;

impl LocalCluster {
    /// Makes the vault on node 0 and joins the others; returns when every node is ready.
    ///
    /// # Errors
    /// When a call is refused or a node does not become ready.
    pub async fn bootstrap(&mut self) -> Result<()> {
        let request = BootstrapRequest {
            owner: self.spiffe("owner")?,
            approvers: vec![self.spiffe("approver1")?, self.spiffe("approver2")?],
            operators: vec![self.spiffe("operator")?],
            auditors: vec![self.spiffe("auditor")?],
            test: true,
            ..BootstrapRequest::default()
        };
        let operator = self.caller_within("operator", PATIENCE)?;
        // Not repeated: a second attempt after an unknown outcome would be refused and hide the first.
        let made = operator.cluster(0).bootstrap(request).await;
        let made = made.map_err(|status| anyhow!("Bootstrap: {}", describe(&status)))?.into_inner();
        self.ledger_verifier_key = Some(made.ledger_verifier_key);
        self.node(0)?.wait_ready(PATIENCE).await?;
        for node in 1..self.size() {
            let peer_address = self.node(node)?.spec().addresses.peer.clone();
            persist("JoinNode", || {
                let (request, mut client) =
                    (JoinNodeRequest { peer_address: peer_address.clone() }, operator.cluster(0));
                async move { client.join_node(request).await }
            })
            .await?;
        }
        self.wait_ready(PATIENCE).await
    }

    /// Creates [`TENANT`] and gives hr, payroll and accounting their grants.
    ///
    /// # Errors
    /// When a call is refused.
    pub async fn create_tenant(&self) -> Result<()> {
        self.found(TENANT).await?;
        self.grant(self.standard_grants()?).await?;
        Ok(())
    }

    /// Creates a tenant that uses [`PURPOSE`].
    ///
    /// # Errors
    /// When the call is refused.
    pub async fn found(&self, id: &str) -> Result<()> {
        let owner = self.caller("owner")?;
        let tenant = Tenant {
            tenant: id.to_owned(),
            display_name: format!("{id} KK"),
            purposes: vec![PURPOSE.to_owned()],
            no_recovery: true,
            ..Tenant::default()
        };
        let request_id = crate::wire::new_request_id()?;
        persist("CreateTenant", || {
            let request = CreateTenantRequest { tenant: Some(tenant.clone()), request_id: request_id.clone() };
            let mut client = owner.tenants(0);
            async move { client.create_tenant(request).await }
        })
        .await?;
        Ok(())
    }

    /// Proposes grants as the owner and approves them as the first approver. Returns the grants' identifiers.
    ///
    /// # Errors
    /// When a call is refused.
    pub async fn grant(&self, grants: Vec<Grant>) -> Result<Vec<String>> {
        let (owner, approver) = (self.caller("owner")?, self.caller("approver1")?);
        let request_id = crate::wire::new_request_id()?;
        let grants: Vec<Grant> = grants.into_iter().map(answered_for).collect();
        let proposed = persist("ProposeGrants", || {
            let request =
                ProposeGrantsRequest { grants: grants.clone(), request_id: request_id.clone(), ..Default::default() };
            let mut client = owner.tenants(0);
            async move { client.propose_grants(request).await }
        })
        .await?;
        let request_id = crate::wire::new_request_id()?;
        persist("ApproveGrants", || {
            let request = ApproveGrantsRequest { order: proposed.order.clone(), request_id: request_id.clone() };
            let mut client = approver.tenants(0);
            async move { client.approve_grants(request).await }
        })
        .await?;
        Ok(proposed.grants)
    }

    fn standard_grants(&self) -> Result<Vec<Grant>> {
        let texts = |codes: &[&str]| codes.iter().map(|code| (*code).to_owned()).collect::<Vec<_>>();
        let grant = |caller: &str, actions: &[&str], purposes: &[&str], scopes: &[&str]| -> Result<Grant> {
            Ok(Grant {
                caller: self.spiffe(caller)?,
                role: Role::Workload.into(),
                tenant: TENANT.to_owned(),
                actions: texts(actions),
                kinds: texts(&["my_number"]),
                purposes: texts(purposes),
                scopes: texts(scopes),
                ..Grant::default()
            })
        };
        let mut payroll =
            grant("payroll", &["detokenize", "verify_number", "describe_token"], &[PURPOSE], &["payroll"])?;
        payroll.verify_guesses_per_day = GUESSES_PER_DAY;
        Ok(vec![
            grant("hr", &HR_ACTIONS, &[], &SCOPES)?,
            payroll,
            grant("accounting", &["describe_token"], &[], &["accounting"])?,
        ])
    }
}

/// A grant that reveals needs a person who answers for it, a count and an end; where an evidence is about something else,
/// it is the handler of a job, everybody, and most of a year.
fn answered_for(grant: Grant) -> Grant {
    let reveals = grant.actions.iter().any(|action| action == "detokenize" || action == "verify_number");
    if !reveals {
        return grant;
    }
    let grant = bounded(grant);
    if grant.end_user != 0 || grant.role() != Role::Workload {
        return grant;
    }
    let job = ApprovedJob { job: "evidence".to_owned(), handler: HANDLER.to_owned(), ..ApprovedJob::default() };
    Grant { end_user: EndUserRule::ApprovedJob.into(), approved_job: Some(job), ..grant }
}

/// A grant with a generous count and a late end, where it has none.
pub fn bounded(grant: Grant) -> Grant {
    let everybody = Budget { persons_max: PERSONS_MAX, window_days: DAYS, ..Budget::default() };
    let late = SystemTime::now() + Duration::from_secs(u64::from(DAYS - 1) * 86_400);
    Grant { budget: grant.budget.or(Some(everybody)), not_after: grant.not_after.or(Some(late.into())), ..grant }
}

/// Repeats an idempotent call until it succeeds or is refused, up to [`PATIENCE`].
///
/// # Errors
/// When it is refused, or time is over.
pub(super) async fn persist<T, F>(name: &str, mut call: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<tonic::Response<T>, Status>>,
{
    let until = Instant::now() + PATIENCE;
    loop {
        match call().await {
            Ok(answer) => return Ok(answer.into_inner()),
            Err(status) if failure(&status) == Failure::Refused => bail!("{name} was refused: {}", describe(&status)),
            Err(status) if Instant::now() > until => {
                return Err(status).with_context(|| format!("{name} never succeeded"));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}
