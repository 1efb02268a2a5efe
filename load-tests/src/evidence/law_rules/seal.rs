//! Numbers that leave the vault sealed: to whom two people registered, and readable by nobody else.

use anyhow::{Context as _, Result, anyhow, ensure};
use fuda_core::{Code, Kind, PurposeCode, RequestId, SubjectRef, TenantId, VaultId};
use fuda_crypto::{RecipientSecret, SealedContext, open_as_recipient};
use fuda_policy::DenyReason;
use fuda_proto::access::v1::{ApproveAccessRequest, BreakGlassRequest, RequestAccessRequest, Wish};
use fuda_proto::purpose::v1::SetTenantRecipientsRequest;
use fuda_proto::tenant::v1::{EndUserRule, Grant, Recipient, Role};
use fuda_proto::vault::v1::{BatchSealRequest, SealRequest, SealedNumber, seal_result};
use tonic::Status;

use super::stage::{AUTHORITY, MIGRATE, Stage, Stored, at, refused, refused_for};
use crate::cluster::{PURPOSE, SCOPES, TENANT};
use crate::wire::{Caller, describe, is_code, new_request_id};

/// A recipient with its private key, which no vault ever sees.
pub(super) struct Holder {
    secret: RecipientSecret,
    pub(super) fingerprint: String,
    public_key: Vec<u8>,
}

impl Holder {
    pub(super) fn new(seed: u8) -> Result<Self> {
        let secret = RecipientSecret::from_bytes([seed; 32]);
        let key = secret.public_key().map_err(|error| anyhow!("{error}"))?;
        Ok(Self { secret, fingerprint: key.fingerprint().to_string(), public_key: key.as_bytes().to_vec() })
    }

    /// Opens a number by what stands beside it.
    pub(super) fn open(&self, sealed: &SealedNumber) -> Result<String> {
        let (tenant, purpose) = (TenantId::parse(&sealed.tenant)?, PurposeCode::parse(&sealed.purpose)?);
        let subject = SubjectRef::parse(&sealed.subject)?;
        let context = SealedContext {
            vault: VaultId::parse(&sealed.vault)?,
            tenant: &tenant,
            purpose: Some(&purpose),
            request: RequestId::parse(&sealed.request_id)?,
            kind: Kind::from_code(&sealed.kind)?,
            subject: &subject,
        };
        let encapsulated_key = sealed.encapsulated_key.as_slice().try_into()?;
        let number = fuda_crypto::SealedNumber { encapsulated_key, ciphertext: sealed.ciphertext.clone() };
        let number = open_as_recipient(&self.secret, &number, &context).map_err(|error| anyhow!("{error}"))?;
        Ok(String::from_utf8_lossy(number.expose()).into_owned())
    }
}

impl Stage {
    /// The owner proposes a recipient for two days.
    pub(super) async fn propose_recipient(&self, holder: &Holder, purposes: &[&str]) -> Result<String> {
        let recipient = Recipient {
            public_key: holder.public_key.clone(),
            name: "the next vault".to_owned(),
            purposes: purposes.iter().map(|code| (*code).to_owned()).collect(),
            not_after: Some(at(2)?),
            ..Recipient::default()
        };
        let request = SetTenantRecipientsRequest {
            tenant: TENANT.to_owned(),
            register: vec![recipient],
            ..SetTenantRecipientsRequest::default()
        };
        let order = self.owner.purposes(0).set_tenant_recipients(request).await;
        Ok(order.map_err(|status| anyhow!("SetTenantRecipients: {}", describe(&status)))?.into_inner().order)
    }

    /// Two people register a recipient.
    pub(super) async fn register(&self, holder: &Holder, purposes: &[&str]) -> Result<()> {
        let order = self.propose_recipient(holder, purposes).await?;
        self.agree(&order).await
    }

    /// An occasion on which numbers may be sealed and nothing else.
    pub(super) fn sealing(&self, caller: &Caller, purpose: &str, persons_max: u32, to: &Holder) -> Result<Grant> {
        let (actions, recipients) = (vec!["seal".to_owned()], vec![to.fingerprint.clone()]);
        Ok(Grant { actions, recipients, ..self.occasion(caller, purpose, persons_max)? })
    }

    pub(super) async fn seal(
        &self,
        caller: &Caller,
        purpose: &str,
        recipient: &str,
        stored: &Stored,
        request_id: &str,
    ) -> Result<SealedNumber, Status> {
        let request = SealRequest {
            tenant: TENANT.to_owned(),
            purpose: purpose.to_owned(),
            scope: SCOPES[0].to_owned(),
            token: stored.token.clone(),
            recipient: recipient.to_owned(),
            request_id: request_id.to_owned(),
            ..SealRequest::default()
        };
        Ok(caller.tokens(0).seal(request).await?.into_inner().sealed.unwrap_or_default())
    }

    /// The caller is denied without a reason, and the ledger knows the reason.
    pub(super) async fn not_sealed(
        &self,
        caller: &Caller,
        purpose: &str,
        recipient: &str,
        stored: &Stored,
        reason: DenyReason,
    ) -> Result<()> {
        let request_id = new_request_id()?;
        let answer = self.seal(caller, purpose, recipient, stored, &request_id).await;
        let status = answer.err().with_context(|| format!("`{purpose}` sealed a number"))?;
        ensure!(is_code(&status, Code::DeniedOrNotFound), "`{purpose}`: {}", describe(&status));
        let entries = self.entries(|entry| entry.request_id == request_id).await?;
        let reasons: Vec<&str> = entries.iter().map(|entry| entry.reason.as_str()).collect();
        ensure!(reasons == [reason.code()], "the entries say {reasons:?}, not `{reason}`");
        Ok(())
    }
}

pub(super) async fn only_the_recipient_reads_it(stage: &Stage) -> Result<()> {
    let (holder, other) = (Holder::new(0x31)?, Holder::new(0x32)?);
    stage.register(&holder, &[AUTHORITY]).await?;
    stage.give(vec![stage.sealing(&stage.payroll, AUTHORITY, 4, &holder)?]).await?;
    let request_id = new_request_id()?;
    let sealed = stage.seal(&stage.payroll, AUTHORITY, &holder.fingerprint, &stage.employee, &request_id).await;
    let sealed = sealed.map_err(|status| anyhow!("Seal: {}", describe(&status)))?;
    ensure!(holder.open(&sealed)? == stage.employee.number, "another number came out");
    ensure!(other.open(&sealed).is_err(), "another key opens it");
    let passed_off = SealedNumber { subject: stage.spouse.subject.clone(), ..sealed };
    ensure!(holder.open(&passed_off).is_err(), "it opens as another person's");

    let entries = stage.entries(|entry| entry.request_id == request_id).await?;
    let [entry] = entries.as_slice() else { return Err(anyhow!("{} entries of one call", entries.len())) };
    ensure!(entry.recipient == holder.fingerprint && entry.action == "seal", "the entry does not name the recipient");
    let shown = stage.detokenize(&stage.payroll, TENANT, AUTHORITY, &stage.employee.token, "").await;
    ensure!(shown.is_err(), "a grant to seal shows the number");

    let tokens = vec![stage.employee.token.clone(), stage.employees[0].token.clone(), stage.newcomer.token.clone()];
    let request = BatchSealRequest {
        tenant: TENANT.to_owned(),
        purpose: AUTHORITY.to_owned(),
        scope: SCOPES[0].to_owned(),
        tokens,
        recipient: holder.fingerprint.clone(),
        ..BatchSealRequest::default()
    };
    let answer = stage.payroll.tokens(0).batch_seal(request).await;
    let results = answer.map_err(|status| anyhow!("BatchSeal: {}", describe(&status)))?.into_inner().results;
    let opened: Vec<Option<String>> = results
        .into_iter()
        .map(|result| match result.result {
            Some(seal_result::Result::Ok(ok)) => ok.sealed.and_then(|sealed| holder.open(&sealed).ok()),
            _ => None,
        })
        .collect();
    // The newcomer was not notified of it.
    let expected = [Some(stage.employee.number.clone()), Some(stage.employees[0].number.clone()), None];
    ensure!(opened == expected, "a batch of three opened {}", opened.iter().flatten().count());
    Ok(())
}

pub(super) async fn recipients_are_registered_by_two_people(stage: &Stage) -> Result<()> {
    let (own, holder) = (Holder::new(0x41)?, Holder::new(0x42)?);
    // An export names its one recipient.
    let unbound = Grant { recipients: Vec::new(), ..stage.sealing(&stage.payroll, MIGRATE, 1, &holder)? };
    refused_for(stage.proposes(vec![unbound]).await, "grant.recipients")?;
    stage.give(vec![stage.sealing(&stage.payroll, MIGRATE, 1, &holder)?]).await?;
    // A caller's own key, and one that only the owner wants.
    stage.propose_recipient(&holder, &[MIGRATE]).await?;
    for fingerprint in [&own.fingerprint, &holder.fingerprint] {
        let reason = DenyReason::RecipientUnknown;
        stage.not_sealed(&stage.payroll, MIGRATE, fingerprint, &stage.employee, reason).await?;
    }
    // Registered for something else.
    stage.register(&holder, &[PURPOSE]).await?;
    let reason = DenyReason::RecipientNotForPurpose;
    stage.not_sealed(&stage.payroll, MIGRATE, &holder.fingerprint, &stage.employee, reason).await?;
    // Who has no grant to seal gets nothing for anybody.
    stage.register(&holder, &[MIGRATE]).await?;
    stage.not_sealed(&stage.accounting, MIGRATE, &holder.fingerprint, &stage.employee, DenyReason::NoGrant).await
}

/// 保管システムの移行: a handler asks, two approvers agree, and a job takes out so many records for one recipient.
pub(super) async fn a_migration_is_agreed_on_and_counted(stage: &Stage) -> Result<()> {
    let next = Holder::new(0x51)?;
    stage.register(&next, &[MIGRATE]).await?;
    let standing = Grant {
        role: Role::Handler.into(),
        actions: vec!["request_access".to_owned(), "break_glass".to_owned()],
        end_user: EndUserRule::None.into(),
        approved_job: None,
        ..stage.grant(&stage.handler, TENANT, &[MIGRATE])
    };
    stage.give(vec![standing]).await?;
    let wish = Wish {
        caller: stage.accounting.spiffe().to_owned(),
        actions: vec!["seal".to_owned()],
        kinds: vec!["my_number".to_owned()],
        purpose: MIGRATE.to_owned(),
        scopes: vec![SCOPES[0].to_owned()],
        persons_max: 2,
        minutes: 30,
        recipient: next.fingerprint.clone(),
        ..Wish::default()
    };
    let glass = BreakGlassRequest {
        tenant: TENANT.to_owned(),
        wish: Some(Wish { caller: String::new(), persons_max: 1, ..wish.clone() }),
        reason: "no time".to_owned(),
        ..BreakGlassRequest::default()
    };
    refused(stage.handler.access(0).break_glass(glass).await, Code::AccessCeiling)?;
    let asked = RequestAccessRequest {
        tenant: TENANT.to_owned(),
        wish: Some(wish),
        reason: "move to the next vault".to_owned(),
        ..RequestAccessRequest::default()
    };
    let asked = stage.handler.access(0).request_access(asked).await;
    let id = asked.map_err(|status| anyhow!("RequestAccess: {}", describe(&status)))?.into_inner().id;

    // One approval is what the terms of the grant say; the purpose wants two.
    agree(stage, &stage.approver, &id).await?;
    let first = &stage.employees[0];
    stage.not_sealed(&stage.accounting, MIGRATE, &next.fingerprint, first, DenyReason::NoGrant).await?;
    agree(stage, &stage.other_approver, &id).await?;
    for stored in stage.employees.iter().take(2).chain([first]) {
        let sealed = stage.seal(&stage.accounting, MIGRATE, &next.fingerprint, stored, "").await;
        let sealed = sealed.map_err(|status| anyhow!("Seal: {}", describe(&status)))?;
        ensure!(next.open(&sealed)? == stored.number, "another number came out");
    }
    let third = stage.seal(&stage.accounting, MIGRATE, &next.fingerprint, &stage.employees[2], "").await;
    refused(third, Code::BudgetExhausted)?;
    stage.denied(&stage.accounting, TENANT, MIGRATE, first, DenyReason::NoGrant).await
}

async fn agree(stage: &Stage, approver: &Caller, id: &str) -> Result<()> {
    let request =
        ApproveAccessRequest { tenant: TENANT.to_owned(), id: id.to_owned(), ..ApproveAccessRequest::default() };
    let agreed = approver.access(0).approve_access(request).await;
    agreed.map_err(|status| anyhow!("ApproveAccess of {}: {}", stage.handler.spiffe(), describe(&status)))?;
    Ok(())
}
