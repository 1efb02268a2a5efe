//! 利用目的の通知, 20条 保管制限, and 保守.

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use fuda_core::{Day, RetentionRule, RetentionStart};
use fuda_policy::DenyReason;
use fuda_proto::vault::v1::GetRecordRequest;
use prost::Message as _;
use prost_types::{DescriptorProto, FileDescriptorSet};

use super::stage::{SALARY_REPORT, Stage, YEAREND};
use crate::cluster::{PURPOSE, TENANT};
use crate::scanner::files_below;
use crate::wire::describe;

/// How deep messages are looked into for a number.
const DEPTH_MAX: usize = 8;

pub(super) async fn only_notified_purposes(stage: &Stage) -> Result<()> {
    // Granted and enabled, and the employee was told of it: revealed. The newcomer was not: denied.
    stage.revealed(&stage.payroll, SALARY_REPORT, &stage.employee).await?;
    stage.denied(&stage.payroll, TENANT, SALARY_REPORT, &stage.newcomer, DenyReason::NotNotified).await?;
    stage.revealed(&stage.payroll, PURPOSE, &stage.newcomer).await
}

pub(super) async fn only_in_its_time(stage: &Stage) -> Result<()> {
    stage.denied(&stage.payroll, TENANT, PURPOSE, &stage.leaver, DenyReason::NotifiedWindow).await
}

pub(super) async fn several_purposes_at_once(stage: &Stage) -> Result<()> {
    let request = GetRecordRequest {
        tenant: TENANT.to_owned(),
        subject: stage.employee.subject.clone(),
        kind: "my_number".to_owned(),
        ..GetRecordRequest::default()
    };
    let record =
        stage.hr.tokens(0).get_record(request).await.map_err(|status| anyhow!(describe(&status)))?.into_inner();
    let notified = record.record.context("no record")?.notified_purposes;
    for purpose in [PURPOSE, SALARY_REPORT, YEAREND] {
        ensure!(notified.iter().any(|notified| notified.purpose == purpose), "`{purpose}` is not among them");
    }
    Ok(())
}

pub(super) async fn retention_is_a_rule_of_dates(stage: &Stage) -> Result<()> {
    // 令和8年分 declarations: kept through 2034-01-10. A leaver of 2026-03-31: EI papers through 2030-03-31.
    for (code, event, erase_from) in [
        ("tax.dependents_decl", "2026-01-31", "2034-01-11"),
        (YEAREND, "2026-12-25", "2034-01-11"),
        ("ei.lose", "2026-03-31", "2030-04-01"),
        ("si.lose", "2026-03-31", "2028-04-01"),
        ("wc.pension", "2026-03-31", "2029-04-01"),
    ] {
        let rule = stage.row(code).await?.retention.with_context(|| format!("`{code}` has no rule"))?;
        let from = match rule.from.as_str() {
            "completion" => RetentionStart::Completion,
            "jan10_following_deadline" => RetentionStart::Jan10FollowingDeadline,
            other => bail!("`{code}` counts from `{other}`"),
        };
        let rule = RetentionRule { years: u8::try_from(rule.years)?, from };
        let day = rule.erase_from(Day::parse(event)?).to_string();
        ensure!(day == erase_from, "`{code}` of {event} is to be erased from {day}");
    }
    Ok(())
}

/// Walks every RPC of the API: a number goes in only to be stored for a named subject, or beside the token it is
/// compared with or replaces. So nobody can ask whose number this is.
pub(super) async fn no_search_by_number(_: &Stage) -> Result<()> {
    let descriptors = FileDescriptorSet::decode(fuda_proto::DESCRIPTORS)?;
    let messages: Vec<(String, &DescriptorProto)> = descriptors
        .file
        .iter()
        .flat_map(|file| file.message_type.iter().map(move |it| (format!(".{}.{}", file.package(), it.name()), it)))
        .collect();
    let mut taking = Vec::new();
    for file in
        descriptors.file.iter().filter(|file| file.package().starts_with("fuda.") && file.package() != "fuda.peer.v1")
    {
        for method in file.service.iter().flat_map(|service| &service.method) {
            if takes_number(&messages, method.input_type(), DEPTH_MAX)? {
                taking.push(method.name().to_owned());
            }
        }
    }
    ensure!(taking.iter().any(|name| name == "Tokenize"), "the walk does not find where numbers go in");
    ensure!(taking.iter().any(|name| name == "VerifyNumber"), "the walk does not find where numbers are compared");
    Ok(())
}

/// Whether a request holds a number; an error when it stands alone.
fn takes_number(messages: &[(String, &DescriptorProto)], name: &str, depth: usize) -> Result<bool> {
    let Some((_, message)) = messages.iter().find(|(known, _)| known == name).filter(|_| depth > 0) else {
        return Ok(false);
    };
    let has = |field: &str| message.field.iter().any(|known| known.name() == field);
    let mut takes = message.field.iter().any(|field| field.name() == "number" || field.name().ends_with("_number"));
    ensure!(!takes || has("token") || (has("subject") && has("scope")), "`{name}` takes a number and names nobody");
    for field in &message.field {
        takes |= takes_number(messages, field.type_name(), depth - 1)?;
    }
    Ok(takes)
}

pub(super) async fn ledger_and_logs_hold_no_number(stage: &Stage) -> Result<()> {
    let entries = stage.entries(|_| true).await?;
    ensure!(entries.len() > 20, "the ledger is too short to say anything");
    let mut texts: Vec<(String, Vec<u8>)> =
        entries.into_iter().map(|entry| (format!("entry {}", entry.sequence), entry.canonical.to_vec())).collect();
    for file in files_below(&stage.run_dir)? {
        texts.push((file.display().to_string(), std::fs::read(&file)?));
    }
    for number in stage.numbers() {
        for (place, bytes) in &texts {
            let found = bytes.windows(number.len()).any(|window| window == number.as_bytes());
            ensure!(!found, "{place} holds a number");
        }
    }
    Ok(())
}
