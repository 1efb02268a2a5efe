//! 9条 利用制限 and 29条 ファイルの作成制限.

use anyhow::{Context as _, Result, anyhow, ensure};
use fuda_core::{Code, ForbiddenUse};
use fuda_policy::DenyReason;
use fuda_proto::purpose::v1::Purpose;
use fuda_proto::tenant::v1::Grant;
use fuda_proto::vault::v1::detokenize_result::Result as Revealed;

use super::stage::{
    AUTHORITY, EMPLOYEES, FEE_RECORD, RETIREMENT_SLIP, SALARY_REPORT, Stage, Stored, at, refused, refused_for,
};
use crate::cluster::{PURPOSE, TENANT};
use crate::wire::describe;

/// Japanese names of purposes that must not be creatable by default.
const FORBIDDEN: [(&str, ForbiddenUse); 8] = [
    ("社員番号としての利用", ForbiddenUse::EmployeeNumber),
    ("名寄せ", ForbiddenUse::CustomerMatching),
    ("顧客管理", ForbiddenUse::CustomerMatching),
    ("営業成績の管理", ForbiddenUse::Evaluation),
    ("人事評価", ForbiddenUse::Evaluation),
    ("本人確認の身分証番号", ForbiddenUse::IdentityDocument),
    ("給与所得者の保険料控除申告書", ForbiddenUse::NumberlessForm),
    ("住宅借入金等特別控除申告書", ForbiddenUse::NumberlessForm),
];
pub(super) const REASON: &str = "law-rules: a test of overrides, approved by two people of the test";

pub(super) async fn purpose_is_mandatory(stage: &Stage) -> Result<()> {
    stage.denied(&stage.payroll, TENANT, "", &stage.employee, DenyReason::PurposeMissing).await?;
    stage.revealed(&stage.payroll, PURPOSE, &stage.employee).await
}

pub(super) async fn purpose_of_the_catalogue(stage: &Stage) -> Result<()> {
    stage.denied(&stage.payroll, TENANT, "tax.no_such_form", &stage.employee, DenyReason::PurposeUnknown).await
}

pub(super) async fn no_purpose_other(stage: &Stage) -> Result<()> {
    for code in ["tax.other", "op.others", "hr.misc", "any.purpose"] {
        let mut row = stage.row(SALARY_REPORT).await?;
        row.code = code.to_owned();
        // An override does not help either.
        for reason in ["", REASON] {
            refused(stage.propose(vec![row.clone()], reason).await?, Code::InvalidField)
                .with_context(|| format!("`{code}`"))?;
        }
    }
    Ok(())
}

pub(super) async fn forbidden_uses_need_an_override(stage: &Stage) -> Result<()> {
    for (ja, forbidden) in FORBIDDEN {
        let mut row = stage.row(SALARY_REPORT).await?;
        (row.code, row.ja) = ("hr.proposed".to_owned(), ja.to_owned());
        refused(stage.propose(vec![row], "").await?, Code::PurposeForbidden).with_context(|| ja.to_owned())?;
        let attempts = stage.entries(|entry| entry.reason == DenyReason::PurposeForbidden.code()).await?;
        let entered =
            attempts.iter().any(|entry| entry.detail.get("forbidden_use").is_some_and(|it| it == forbidden.code()));
        ensure!(entered, "the attempt at `{ja}` is no entry");
    }
    Ok(())
}

pub(super) async fn an_override_is_an_entry_of_two_people(stage: &Stage) -> Result<()> {
    let order =
        stage.propose(vec![overridden(stage).await?], REASON).await?.map_err(|status| anyhow!(describe(&status)))?;
    // Proposed is not in force, and the proposer does not approve.
    ensure!(stage.row("hr.overridden").await.is_err(), "a proposal alone made the purpose");
    refused(stage.approve(&stage.owner, &order).await, Code::DeniedOrNotFound)?;
    let sequence = stage.approve(&stage.other_approver, &order).await.map_err(|status| anyhow!(describe(&status)))?;
    let row = stage.row_soon("hr.overridden").await?;
    ensure!(row.overridden == ForbiddenUse::EmployeeNumber.code(), "the purpose carries no mark");
    let entries = stage.entries(|entry| entry.sequence == sequence + 1).await?;
    let own = entries.first().context("the override has no entry")?;
    let fact = |key: &str| own.detail.get(key).map(String::as_str);
    ensure!(fact("override_reason") == Some(REASON) && fact("purpose") == Some("hr.overridden"), "{:?}", own.detail);
    ensure!(own.caller == stage.other_approver.spiffe(), "the entry names {}", own.caller);
    Ok(())
}

/// A purpose that names a forbidden use.
pub(super) async fn overridden(stage: &Stage) -> Result<Purpose> {
    let mut row = stage.row(SALARY_REPORT).await?;
    (row.code, row.ja) = ("hr.overridden".to_owned(), "社員番号としての利用".to_owned());
    Ok(row)
}

pub(super) async fn purpose_enabled_by_the_tenant(stage: &Stage) -> Result<()> {
    stage.denied(&stage.payroll, TENANT, FEE_RECORD, &stage.employee, DenyReason::PurposeNotEnabled).await
}

pub(super) async fn purpose_granted_to_the_caller(stage: &Stage) -> Result<()> {
    stage.denied(&stage.payroll, TENANT, RETIREMENT_SLIP, &stage.employee, DenyReason::PurposeNotGranted).await
}

pub(super) async fn consent_widens_nothing(stage: &Stage) -> Result<()> {
    // The person agreed, the tenant does not do this: the number is not even taken under such a notice.
    let item = stage.item(900, None, &[FEE_RECORD], None);
    refused(stage.tokenize(item).await, Code::UnknownPurpose)?;
    Ok(())
}

pub(super) async fn bulk_names_a_purpose(stage: &Stage) -> Result<()> {
    let everybody: Vec<&Stored> = stage.employees.iter().collect();
    refused(stage.batch("", &everybody).await, Code::DeniedOrNotFound)?;
    Ok(())
}

pub(super) async fn bulk_is_counted_in_persons(stage: &Stage) -> Result<()> {
    stage.give(vec![stage.occasion(&stage.payroll, AUTHORITY, 2)?]).await?;
    let everybody: Vec<&Stored> = stage.employees.iter().collect();
    let answer = stage.batch(AUTHORITY, &everybody).await.map_err(|status| anyhow!(describe(&status)))?;
    let shown = answer.results.iter().filter(|result| matches!(result.result, Some(Revealed::Ok(_)))).count();
    let stopped = answer.results.iter().filter(
        |result| matches!(&result.result, Some(Revealed::Error(error)) if error.code == Code::BudgetExhausted.id()),
    );
    let (stopped, expected) = (stopped.count(), usize::try_from(EMPLOYEES)? - 2);
    ensure!(shown == 2 && stopped == expected, "{shown} revealed, {stopped} stopped");
    let entries = stage.entries(|entry| entry.purpose == AUTHORITY && entry.decision == "allowed").await?;
    let counts: Vec<(u32, u32)> = entries.iter().map(|entry| (entry.budget_used, entry.budget_max)).collect();
    ensure!(counts == [(1, 2), (2, 2)], "the entries count {counts:?}");
    Ok(())
}

pub(super) async fn bulk_ends_with_its_grant(stage: &Stage) -> Result<()> {
    let mut past = stage.grant(&stage.hr, TENANT, &[PURPOSE]);
    (past.not_before, past.not_after) = (Some(at(-3)?), Some(at(-1)?));
    stage.give(vec![past]).await?;
    stage.denied(&stage.hr, TENANT, PURPOSE, &stage.employee, DenyReason::GrantExpired).await
}

pub(super) async fn what_reveals_is_counted_and_ends(stage: &Stage) -> Result<()> {
    let good = stage.grant(&stage.payroll, TENANT, &[PURPOSE]);
    stage.proposes(vec![good.clone()]).await.map_err(|status| anyhow!(describe(&status)))?;
    let uncounted = Grant { budget: None, ..good.clone() };
    refused_for(stage.proposes(vec![uncounted.clone()]).await, "grant.budget")?;
    let endless = Grant { not_after: None, ..good.clone() };
    refused_for(stage.proposes(vec![endless]).await, "grant.not_after")?;
    let long = Grant { not_after: Some(at(367)?), ..good };
    refused_for(stage.proposes(vec![long]).await, "grant.not_after")?;
    // One grant that breaks the rule takes the whole order with it.
    let describes = Grant { actions: vec!["describe_token".to_owned()], ..uncounted.clone() };
    refused_for(stage.proposes(vec![describes.clone(), uncounted.clone()]).await, "grant.budget")?;
    // No file is made of what is not handed out, nor one of 特定個人情報 of other numbers.
    let other_kind = Grant { kinds: vec!["bank_account".to_owned()], not_after: None, ..uncounted };
    for free in [describes, other_kind] {
        stage.proposes(vec![free]).await.map_err(|status| anyhow!(describe(&status)))?;
    }
    Ok(())
}

pub(super) async fn two_person_grants_are_bounded(stage: &Stage) -> Result<()> {
    let good = stage.occasion(&stage.payroll, AUTHORITY, 10)?;
    stage.proposes(vec![good.clone()]).await.map_err(|status| anyhow!(describe(&status)))?;
    let mut long = good.clone();
    long.not_after = Some(at(30)?);
    let mut uncounted = good.clone();
    uncounted.budget = None;
    let mut endless = good.clone();
    (endless.not_before, endless.not_after, endless.budget) = (None, None, None);
    let mut mixed = good;
    mixed.purposes.push(PURPOSE.to_owned());
    for (grant, what) in [(long, "30 days"), (uncounted, "no count"), (endless, "no end"), (mixed, "two purposes")] {
        refused(stage.proposes(vec![grant]).await, Code::InvalidField).context(what)?;
    }
    Ok(())
}
