//! 16条 本人確認: the record of a check comes in with the number, stays with it, and holds nothing but codes.

use anyhow::{Context as _, Result, anyhow, ensure};
use fuda_core::{Code, limits};
use fuda_policy::DenyReason;
use fuda_proto::tenant::v1::VerificationDemand;
use fuda_proto::vault::v1::{GetRecordRequest, Record, TokenizeItem, UpdateItem, UpdateNumberRequest, Verification};
use prost::Message as _;
use prost_types::FileDescriptorSet;
use prost_types::field_descriptor_proto::Type;

use super::stage::{Stage, refused};
use crate::cluster::{PURPOSE, SCOPES, TENANT};
use crate::synthetic::People;
use crate::wire::{describe, new_request_id};

/// A person whose check is recorded, and one who is never stored.
const CHECKED: u64 = 920;
const NEVER_STORED: u64 = 921;
/// The first of some persons of a tenant that demands checks.
const DEMANDED: u64 = 940;

/// A check in which everything agrees.
fn check(method: &str) -> Verification {
    Verification {
        method: method.to_owned(),
        documents: vec!["notification_card".to_owned(), "driving_licence".to_owned()],
        verifier: "hr/tanaka".to_owned(),
        verified_on: "2026-11-22".to_owned(),
        proxy: String::new(),
    }
}

pub(super) async fn a_registration_keeps_its_check(stage: &Stage) -> Result<()> {
    let done = check("notification_and_id");
    let mut item = stage.item(CHECKED, None, &[PURPOSE], None);
    item.verification = Some(done.clone());
    let token = stage.tokenize(item).await.map_err(|status| anyhow!("Tokenize: {}", describe(&status)))?;
    let stored = record(stage, CHECKED).await?.context("nothing was stored")?;
    ensure!(stored.verification == Some(done), "the record says {:?}", stored.verification);
    entered(stage, CHECKED, "tokenize", "notification_and_id").await?;
    let plain = record(stage, 3).await?.context("the newcomer has no record")?;
    ensure!(plain.verification.is_none(), "a record without a check shows one");

    // Another number comes with a check of its own.
    let renewed = check("individual_number_card");
    let item = UpdateItem { token, number: stage.number(CHECKED + 9), verification: Some(renewed.clone()) };
    update(stage, item).await?.map_err(|status| anyhow!("UpdateNumber: {}", describe(&status)))?;
    let stored = record(stage, CHECKED).await?.context("the record is gone")?;
    ensure!(stored.verification == Some(renewed), "after the change the record says {:?}", stored.verification);
    entered(stage, CHECKED, "update_number", "individual_number_card").await
}

pub(super) async fn a_check_that_makes_no_sense_is_refused(stage: &Stage) -> Result<()> {
    type Breach = (&'static str, fn(&mut Verification, &str), Code);
    let number = &stage.employee.number;
    let breaches: [Breach; 7] = [
        ("no method", |it, _| it.method.clear(), Code::InvalidField),
        ("a method of nobody", |it, _| it.method = "trusted".to_owned(), Code::InvalidField),
        ("a document of nobody", |it, _| it.documents.push("library_card".to_owned()), Code::InvalidField),
        ("a proxy who is nobody", |it, _| it.method = "proxy".to_owned(), Code::InvalidField),
        ("a day that is none", |it, _| it.verified_on = "2026-02-30".to_owned(), Code::InvalidField),
        ("nobody who checked", |it, _| it.verifier.clear(), Code::InvalidField),
        ("a number for who checked", |it, number| number.clone_into(&mut it.verifier), Code::TextContainsNumber),
    ];
    for (what, breach, code) in breaches {
        let mut item = unstored(stage);
        breach(item.verification.get_or_insert_default(), number);
        refused(stage.tokenize(item).await, code).context(what)?;
        ensure!(record(stage, NEVER_STORED).await?.is_none(), "{what}: and yet it was stored");
    }
    Ok(())
}

pub(super) async fn a_tenant_can_demand_the_check(stage: &Stage) -> Result<()> {
    let law = VerificationDemand { kinds: vec!["my_number".to_owned()], relations: vec!["self".to_owned()] };
    let order = stage.demand(law).await?;
    // Proposed is not in force, and one person does not demand alone.
    let token = stage.tokenize(stage.item(DEMANDED, None, &[PURPOSE], None)).await;
    let token = token.map_err(|status| anyhow!("before the approval: {}", describe(&status)))?;
    refused(stage.approve(&stage.owner, &order).await, Code::DeniedOrNotFound)?;
    stage.approve(&stage.approver, &order).await.map_err(|status| anyhow!(describe(&status)))?;
    let held = Box::pin(demand_is_held(stage, token)).await;
    // The other tests know of no demand.
    let order = stage.demand(VerificationDemand::default()).await?;
    stage.approve(&stage.approver, &order).await.map_err(|status| anyhow!(describe(&status)))?;
    held
}

async fn demand_is_held(stage: &Stage, token: String) -> Result<()> {
    let bare = || stage.item(DEMANDED + 1, None, &[PURPOSE], None);
    let status = refused(stage.tokenize(bare()).await, Code::MissingField)?;
    ensure!(describe(&status).contains("`verification`"), "the error names no field: {}", describe(&status));
    ensure!(record(stage, DEMANDED + 1).await?.is_none(), "and yet it was stored");
    let entries = stage.entries(|entry| entry.reason == DenyReason::VerificationMissing.code()).await?;
    ensure!(entries.len() == 1 && entries[0].action == "tokenize", "{} entries of the refusal", entries.len());
    let checked = TokenizeItem { verification: Some(check("digital")), ..bare() };
    stage.tokenize(checked).await.map_err(|status| anyhow!("with its check: {}", describe(&status)))?;
    // Dependants are checked by the employee.
    let spouse = stage.item(DEMANDED + 2, Some(DEMANDED + 1), &[PURPOSE], None);
    stage.tokenize(spouse).await.map_err(|status| anyhow!("a dependant: {}", describe(&status)))?;

    let number = stage.number(DEMANDED + 3);
    let item = |verification| UpdateItem { token: token.clone(), number: number.clone(), verification };
    refused(update(stage, item(None)).await?, Code::MissingField)?;
    let updated = update(stage, item(Some(check("digital")))).await?;
    updated.map_err(|status| anyhow!("UpdateNumber with its check: {}", describe(&status)))
}

/// Neither the message nor a text of it has room for the picture of a document.
pub(super) async fn a_check_holds_no_picture(stage: &Stage) -> Result<()> {
    let descriptors = FileDescriptorSet::decode(fuda_proto::DESCRIPTORS)?;
    let vault = descriptors.file.iter().filter(|file| file.package() == "fuda.vault.v1");
    let message = vault.flat_map(|file| &file.message_type).find(|message| message.name() == "Verification");
    let fields = &message.context("the API has no such message")?.field;
    ensure!(!fields.is_empty() && fields.iter().all(|field| field.r#type() == Type::String), "a field is no text");
    let mut long = unstored(stage);
    long.verification.get_or_insert_default().verifier = "x".repeat(limits::VERIFIER_CHARS_MAX + 1);
    refused(stage.tokenize(long).await, Code::InvalidField)?;
    let mut many = unstored(stage);
    many.verification.get_or_insert_default().documents =
        vec!["passport".to_owned(); limits::VERIFICATION_DOCUMENTS_MAX + 1];
    refused(stage.tokenize(many).await, Code::InvalidField)?;
    Ok(())
}

async fn update(stage: &Stage, item: UpdateItem) -> Result<Result<(), tonic::Status>> {
    let request = UpdateNumberRequest {
        tenant: TENANT.to_owned(),
        scope: SCOPES[0].to_owned(),
        item: Some(item),
        request_id: new_request_id()?,
        ..UpdateNumberRequest::default()
    };
    Ok(stage.hr.tokens(0).update_number(request).await.map(|_| ()))
}

fn unstored(stage: &Stage) -> TokenizeItem {
    let item = stage.item(NEVER_STORED, None, &[PURPOSE], None);
    TokenizeItem { verification: Some(check("notification_and_id")), ..item }
}

/// The record of a person; `None` when there is none.
pub(super) async fn record(stage: &Stage, person: u64) -> Result<Option<Record>> {
    let request = GetRecordRequest {
        tenant: TENANT.to_owned(),
        subject: People::subject(person),
        kind: "my_number".to_owned(),
        ..GetRecordRequest::default()
    };
    match stage.hr.tokens(0).get_record(request).await {
        Ok(answer) => Ok(answer.into_inner().record),
        Err(status) => refused::<()>(Err(status), Code::NotFound).map(|_| None),
    }
}

/// Exactly one entry of the action about the person names the method.
async fn entered(stage: &Stage, person: u64, action: &str, method: &str) -> Result<()> {
    let subject = People::subject(person);
    let about = |entry: &fuda_proto::ledger::v1::Entry| entry.subject == subject && entry.action == action;
    let entries = stage.entries(about).await?;
    let named = entries.iter().filter(|entry| entry.detail.get("verification_method").is_some_and(|it| it == method));
    ensure!(named.count() == 1, "{} entries of `{action}`, none or several name `{method}`", entries.len());
    Ok(())
}
