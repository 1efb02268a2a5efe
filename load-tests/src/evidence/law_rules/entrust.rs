//! 10条・11条 委託・再委託: what a processor has, who may take over its work, and that the tenant sees it.

use anyhow::{Context as _, Result, anyhow, ensure};
use fuda_core::Code;
use fuda_policy::DenyReason;
use fuda_proto::access::v1::ConsentSubEntrustRequest;
use fuda_proto::tenant::v1::{Grant, Role};

use super::stage::{SALARY_REPORT, Stage, refused};
use crate::cluster::{PURPOSE, TENANT};
use crate::wire::{Caller, describe, new_request_id};

/// Entrusted by the tenant.
const PARTY: &str = "payroll-bureau";
/// Entrusted by the party.
const SUB_PARTY: &str = "night-bureau";

pub(super) async fn every_use_is_visible(stage: &Stage) -> Result<()> {
    let request_id = new_request_id()?;
    let number = stage.detokenize(&stage.payroll, TENANT, PURPOSE, &stage.employee.token, &request_id).await;
    number.map_err(|status| anyhow!(describe(&status)))?;
    let entries = stage.entries(|entry| entry.request_id == request_id && entry.tenant == TENANT).await?;
    let [entry] = entries.as_slice() else { return Err(anyhow!("{} entries of one call", entries.len())) };
    let facts = (entry.caller.as_str(), entry.purpose.as_str(), entry.subject.as_str());
    ensure!(facts == (stage.payroll.spiffe(), PURPOSE, stage.employee.subject.as_str()), "the entry says {facts:?}");
    Ok(())
}

pub(super) async fn a_processor_has_what_was_granted(stage: &Stage) -> Result<()> {
    // Accounting works for another tenant, too; that gives it nothing here.
    stage.denied(&stage.accounting, TENANT, SALARY_REPORT, &stage.employee, DenyReason::NoGrant).await?;
    // Nobody is entrusted without a name.
    refused(stage.proposes(vec![of_party(stage, &stage.bureau, "", "")]).await, Code::InvalidField)?;
    stage.give(vec![of_party(stage, &stage.bureau, PARTY, "")]).await?;
    stage.revealed(&stage.bureau, PURPOSE, &stage.employee).await?;
    stage.denied(&stage.bureau, TENANT, SALARY_REPORT, &stage.employee, DenyReason::PurposeNotGranted).await
}

pub(super) async fn entrusting_on_takes_the_tenants_consent(stage: &Stage) -> Result<()> {
    let grant = || of_party(stage, &stage.sub_bureau, SUB_PARTY, PARTY);
    refused(stage.proposes(vec![grant()]).await, Code::ConsentMissing)?;
    // The party that entrusts on cannot consent, nor who runs the vault, nor the party that would gain.
    for other in [&stage.bureau, &stage.operator, &stage.sub_bureau] {
        refused(consent(other, false).await, Code::DeniedOrNotFound)?;
    }
    let sequence = consent(&stage.owner, false).await.map_err(|status| anyhow!(describe(&status)))?;
    let entries = stage.entries(|entry| entry.sequence == sequence).await?;
    let entry = entries.first().context("the consent is no entry")?;
    let fact = |key: &str| entry.detail.get(key).map(String::as_str);
    let named = (fact("party"), fact("sub_of"), entry.tenant.as_str());
    ensure!(named == (Some(SUB_PARTY), Some(PARTY), TENANT), "the entry of the consent says {named:?}");
    stage.give(vec![grant()]).await?;
    stage.revealed(&stage.sub_bureau, PURPOSE, &stage.employee).await?;

    // Taken back, it ends everything that hangs on it, and nothing comes back without it.
    consent(&stage.owner, true).await.map_err(|status| anyhow!(describe(&status)))?;
    stage.denied(&stage.sub_bureau, TENANT, PURPOSE, &stage.employee, DenyReason::NoGrant).await?;
    refused(stage.proposes(vec![grant()]).await, Code::ConsentMissing)?;
    Ok(())
}

/// A grant of a system of an entrusted party; `sub_of` names the party that entrusted on to it.
fn of_party(stage: &Stage, caller: &Caller, party: &str, sub_of: &str) -> Grant {
    Grant {
        role: Role::EntrustedParty.into(),
        party: party.to_owned(),
        sub_of: sub_of.to_owned(),
        ..stage.grant(caller, TENANT, &[PURPOSE])
    }
}

/// The owner, or somebody who may not, consents or takes it back.
pub(super) async fn consent(by: &Caller, withdraw: bool) -> Result<u64, tonic::Status> {
    let request = ConsentSubEntrustRequest {
        tenant: TENANT.to_owned(),
        party: SUB_PARTY.to_owned(),
        sub_of: PARTY.to_owned(),
        withdraw,
        ..ConsentSubEntrustRequest::default()
    };
    Ok(by.access(0).consent_sub_entrust(request).await?.into_inner().entry_sequence)
}
