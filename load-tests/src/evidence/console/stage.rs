//! A cluster with a history that an auditor has questions about, a `fuda-audit` that followed it, and the way of a browser
//! to its console.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use fuda_proto::ledger::v1::Entry;
use fuda_proto::vault::v1::DetokenizeRequest;

use super::provider::{CLIENT, Provider};
use crate::cluster::{AuditProcess, LocalCluster, PATIENCE, PURPOSE, SCOPES, TENANT};
use crate::evidence::Ctx;
use crate::forwarder::Forwarder;
use crate::journal::whole_ledger;
use crate::synthetic::People;
use crate::wire::{describe, path_text};
use crate::workload::store;

/// Persons with a number.
const PERSONS: u64 = 12;
/// The employee who asks who saw his number.
const EMPLOYEE: u64 = 3;
/// How often his number was read.
const READS: usize = 4;
/// Calls for a purpose that nobody granted.
const DENIALS: usize = 14;
/// A purpose of the catalogue that the tenant does not use.
pub(super) const FOREIGN_PURPOSE: &str = "tax.dependents_decl";

/// See the module.
pub(super) struct Stage {
    /// The way to the console.
    pub(super) forwarder: Forwarder,
    /// The whole ledger, read from the vault and not from `fuda-audit`.
    pub(super) ledger: Vec<Entry>,
    /// The employee.
    pub(super) subject: String,
    /// Who reads numbers.
    pub(super) payroll: String,
    /// Where [`PERSON`] signs in.
    pub(super) provider: Provider,
    /// Id of [`PERSON`] as an auditor.
    pub(super) person: String,
    audit: AuditProcess,
    _cluster: LocalCluster,
}

/// An auditor without a certificate, as the provider knows him.
pub(super) const PERSON: &str = "tanaka";

impl Stage {
    pub(super) async fn set(ctx: &Ctx) -> Result<Self> {
        let cluster = LocalCluster::serving(ctx.cluster("cluster")?).await?;
        AuditProcess::admit(&cluster).await?;
        act(ctx, &cluster).await?;
        let (pems, _) = cluster.ca().issue_node("provider", &["localhost".to_owned()])?;
        let (provider, person) = (Provider::start(&pems).await?, format!("oidc:corp/{PERSON}"));
        let mut audit = AuditProcess::beside(&cluster, &ctx.binary, ctx.work_dir.join("audit"), 10)?;
        audit.add_table("[auditors]", &format!("caller = {person:?}"))?;
        let sign_in = format!(
            "alias = \"corp\"\nissuer = {:?}\nclient_id = {CLIENT:?}\nredirect_url = \"https://{}/signed-in\"\n\
             authorities_file = {:?}\nalgorithms = [\"ES256\"]",
            provider.issuer(),
            audit.console(),
            path_text(&pems.authority),
        );
        audit.add_table("console.oidc", &sign_in)?;
        audit.start()?;
        audit.wait_ready().await?;
        let ledger = whole_ledger(&cluster.caller("auditor")?).await?;
        let size = ledger.len() as u64;
        audit.wait(PATIENCE, |status| status.cosigned_entries >= size).await?;
        let forwarder = Forwarder::start(audit.auditor(), audit.console()).await?;
        let payroll = cluster.spiffe("payroll")?;
        let subject = People::subject(EMPLOYEE);
        Ok(Self { forwarder, ledger, subject, payroll, provider, person, audit, _cluster: cluster })
    }

    /// The address of a page for a browser that has no certificate and nobody in between.
    pub(super) fn direct(&self, path: &str) -> String {
        format!("https://{}{path}", self.audit.console())
    }

    /// Entries of the ledger that are so, counted by what `by` says of them.
    pub(super) fn counted<K: Ord>(&self, so: impl Fn(&Entry) -> bool, by: impl Fn(&Entry) -> K) -> BTreeMap<K, usize> {
        let mut counts = BTreeMap::new();
        for entry in self.ledger.iter().filter(|entry| so(entry)) {
            *counts.entry(by(entry)).or_default() += 1;
        }
        counts
    }
}

/// Numbers go in, one employee's is read several times, and a caller tries what it may not.
async fn act(ctx: &Ctx, cluster: &LocalCluster) -> Result<()> {
    let payroll = cluster.caller("payroll")?;
    let tokens = store(cluster, People::new(ctx.seed), 0..PERSONS).await?;
    let reveal = |person: usize, purpose: &str| DetokenizeRequest {
        tenant: TENANT.to_owned(),
        purpose: purpose.to_owned(),
        scope: SCOPES[0].to_owned(),
        token: tokens.get(person).cloned().unwrap_or_default(),
        work_reference: "slips-2026".to_owned(),
        ..DetokenizeRequest::default()
    };
    for person in (0..tokens.len()).chain([EMPLOYEE as usize; READS - 1]) {
        payroll
            .tokens(1)
            .detokenize(reveal(person, PURPOSE))
            .await
            .map_err(|status| anyhow::anyhow!("Detokenize: {}", describe(&status)))?;
    }
    for attempt in 0..DENIALS {
        let denied = payroll.tokens(attempt % cluster.size()).detokenize(reveal(5, FOREIGN_PURPOSE)).await;
        ensure!(denied.is_err(), "a purpose that nobody granted was served");
    }
    Ok(())
}
