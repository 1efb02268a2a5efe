//! 19条 提供制限, and who runs the vault.

use anyhow::Result;
use fuda_core::Code;
use fuda_policy::DenyReason;

use super::stage::{COPY, DISCLOSE_SELF, MIGRATE, Stage, TRANSFER, YEAREND, refused};
use crate::cluster::{OTHER_TENANT, PURPOSE, TENANT};

const OVERRIDE: &str = "law-rules: no reason is good enough for this one";

pub(super) async fn copies_get_no_number(stage: &Stage) -> Result<()> {
    // Granted, enabled, notified: and still nothing.
    stage.denied(&stage.payroll, TENANT, COPY, &stage.employee, DenyReason::PurposeReveals).await?;
    let mut row = stage.row(COPY).await?;
    (row.reveals, row.relations) = (true, vec!["self".to_owned()]);
    // No reason overrides it, and under another code it is a forbidden use.
    for reason in ["", OVERRIDE] {
        refused(stage.propose(vec![row.clone()], reason).await?, Code::InvalidField)?;
    }
    row.code = "tax.withholding_slip_for_the_person".to_owned();
    refused(stage.propose(vec![row], "").await?, Code::PurposeForbidden)?;
    Ok(())
}

pub(super) async fn yearend_refuses_the_own_number(stage: &Stage) -> Result<()> {
    stage.revealed(&stage.payroll, YEAREND, &stage.spouse).await?;
    stage.denied(&stage.payroll, TENANT, YEAREND, &stage.employee, DenyReason::RelationNotRevealable).await
}

pub(super) async fn the_own_number_takes_two_people(stage: &Stage) -> Result<()> {
    // One request, one person: a grant for two is refused, one for one reveals one.
    refused(stage.proposes(vec![stage.occasion(&stage.payroll, DISCLOSE_SELF, 2)?]).await, Code::InvalidField)?;
    let unbounded = stage.grant(&stage.payroll, TENANT, &[DISCLOSE_SELF]);
    refused(stage.proposes(vec![unbounded]).await, Code::InvalidField)?;
    stage.denied(&stage.payroll, TENANT, DISCLOSE_SELF, &stage.employee, DenyReason::PurposeNotGranted).await?;
    stage.give(vec![stage.occasion(&stage.payroll, DISCLOSE_SELF, 1)?]).await?;
    stage.revealed(&stage.payroll, DISCLOSE_SELF, &stage.employee).await?;
    for other in &stage.employees {
        let answer = stage.detokenize(&stage.payroll, TENANT, DISCLOSE_SELF, &other.token, "").await;
        refused(answer, Code::BudgetExhausted)?;
    }
    stage.revealed(&stage.payroll, DISCLOSE_SELF, &stage.employee).await
}

pub(super) async fn tenants_are_apart(stage: &Stage) -> Result<()> {
    let reason = DenyReason::TokenOfOtherTenant;
    stage.denied(&stage.accounting, OTHER_TENANT, PURPOSE, &stage.employee, reason).await
}

pub(super) async fn moved_and_sealed_are_not_shown(stage: &Stage) -> Result<()> {
    for purpose in [MIGRATE, TRANSFER] {
        stage.give(vec![stage.occasion(&stage.payroll, purpose, 1)?]).await?;
        stage.denied(&stage.payroll, TENANT, purpose, &stage.employee, DenyReason::DeliveryNotAllowed).await?;
    }
    Ok(())
}

pub(super) async fn administrators_read_nothing(stage: &Stage) -> Result<()> {
    for caller in [&stage.operator, &stage.owner, &stage.approver, &stage.auditor] {
        stage.denied(caller, TENANT, PURPOSE, &stage.employee, DenyReason::NoGrant).await?;
    }
    // Nor can they be granted it: a caller has one role.
    let grant = stage.grant(&stage.operator, TENANT, &[PURPOSE]);
    refused(stage.proposes(vec![grant]).await, Code::PreconditionFailed)?;
    Ok(())
}
