//! 19条4号: a number reaches the next employer with the person's consent, and in no other way.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, anyhow, ensure};
use fuda_core::{Code, Day, Timestamp, Zone};
use fuda_policy::DenyReason;
use fuda_proto::ledger::v1::Entry;
use fuda_proto::tenant::v1::Grant;
use fuda_proto::transfer::v1::{
    AcceptTransferRequest, AcceptTransferResponse, CancelTransferRequest, Consent, OfferTransferRequest,
    OfferTransferResponse,
};
use fuda_proto::vault::v1::{NotifiedPurpose, UpdateItem, UpdateNumberRequest};
use tonic::Status;

use super::stage::{DISCLOSE_SELF, Stage, Stored, TRANSFER, refused, refused_for};
use crate::cluster::{OTHER_TENANT, PURPOSE, SCOPES, TENANT};
use crate::wire::{describe, new_request_id};

/// Persons that moves of one run may be about.
const PERSONS: u32 = 50;

/// People who move: each test moves its own.
static MOVED: AtomicU64 = AtomicU64::new(1);

impl Stage {
    /// What both tenants need before anybody moves.
    pub(super) async fn allow_moves(&self) -> Result<()> {
        self.enable(OTHER_TENANT, &[TRANSFER]).await?;
        let accept = vec!["accept_transfer".to_owned()];
        let accepting = Grant { actions: accept, ..self.grant(&self.accounting, OTHER_TENANT, &[TRANSFER]) };
        self.give(vec![self.offering(OTHER_TENANT)?, accepting]).await
    }

    /// An occasion on which payroll may offer numbers to one tenant.
    fn offering(&self, to: &str) -> Result<Grant> {
        let (actions, destination) = (vec!["offer_transfer".to_owned()], to.to_owned());
        Ok(Grant { actions, destination, ..self.occasion(&self.payroll, TRANSFER, PERSONS)? })
    }

    /// Somebody who leaves, notified of the move or not. Has the employee's number, so that ledger and logs are searched
    /// for it.
    async fn leaving(&self, notified: &[&str]) -> Result<Stored> {
        let mut item = self.item(1, None, notified, None);
        item.subject = format!("M-{}", MOVED.fetch_add(1, Ordering::Relaxed));
        item.number.clone_from(&self.employee.number);
        let (number, subject) = (item.number.clone(), item.subject.clone());
        let token = self.tokenize(item).await.map_err(|status| anyhow!("Tokenize: {}", describe(&status)))?;
        Ok(Stored { token, number, subject })
    }

    async fn offer(&self, request: OfferTransferRequest) -> Result<OfferTransferResponse, Status> {
        Ok(self.payroll.transfers(0).offer_transfer(request).await?.into_inner())
    }

    async fn accept(&self, request: AcceptTransferRequest) -> Result<AcceptTransferResponse, Status> {
        Ok(self.accounting.transfers(0).accept_transfer(request).await?.into_inner())
    }

    /// The entries of one request, as the auditor of one tenant sees them.
    async fn seen(&self, tenant: &str, request_id: &str) -> Result<Vec<Entry>> {
        self.entries_of(tenant, |entry| entry.request_id == request_id).await
    }
}

fn offer(stored: &Stored, consent: Option<Consent>) -> OfferTransferRequest {
    OfferTransferRequest {
        tenant: TENANT.to_owned(),
        purpose: TRANSFER.to_owned(),
        scope: SCOPES[0].to_owned(),
        token: stored.token.clone(),
        destination: OTHER_TENANT.to_owned(),
        consent,
        hours: 1,
        ..OfferTransferRequest::default()
    }
}

fn accept(offered: &OfferTransferResponse, subject: &str) -> AcceptTransferRequest {
    let notified = NotifiedPurpose { purpose: PURPOSE.to_owned(), ..NotifiedPurpose::default() };
    AcceptTransferRequest {
        tenant: OTHER_TENANT.to_owned(),
        purpose: TRANSFER.to_owned(),
        transfer: offered.transfer.clone(),
        transfer_token: offered.transfer_token.clone(),
        subject: subject.to_owned(),
        scope: SCOPES[0].to_owned(),
        notified_purposes: vec![notified],
        ..AcceptTransferRequest::default()
    }
}

/// A consent of so many days ago, for a destination that was decided so many days ago.
fn consent(decided_before: i32, given_before: i32) -> Result<Consent> {
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
    let today = Timestamp(now).day_in(&Zone::tokyo());
    let day = |before: i32| -> Day { today.saturating_add(-before) };
    Ok(Consent {
        decided_on: day(decided_before).to_string(),
        given_on: day(given_before).to_string(),
        method: "written".to_owned(),
        reference: "law-rules/consent".to_owned(),
    })
}

fn fact<'a>(entry: &'a Entry, key: &str) -> Option<&'a str> {
    entry.detail.get(key).map(String::as_str)
}

pub(super) async fn a_consented_move_reaches_the_next_employer(stage: &Stage) -> Result<()> {
    let leaving = stage.leaving(&[TRANSFER, PURPOSE]).await?;
    let (offer_id, accept_id) = (new_request_id()?, new_request_id()?);
    let request = OfferTransferRequest { request_id: offer_id.clone(), ..offer(&leaving, Some(consent(2, 1)?)) };
    let offered = stage.offer(request).await.map_err(|status| anyhow!("OfferTransfer: {}", describe(&status)))?;
    let subject = format!("N-{}", leaving.subject);
    let request = AcceptTransferRequest { request_id: accept_id.clone(), ..accept(&offered, &subject) };
    let accepted = stage.accept(request).await.map_err(|status| anyhow!("AcceptTransfer: {}", describe(&status)))?;
    let there = async || stage.detokenize(&stage.accounting, OTHER_TENANT, PURPOSE, &accepted.token, "").await;
    let number = there().await.map_err(|status| anyhow!("Detokenize: {}", describe(&status)))?;
    ensure!(number == leaving.number, "another number arrived");

    // Each tenant's ledger has its own side of it, and nothing of the other's people.
    let [offering] = &stage.seen(TENANT, &offer_id).await?[..] else { return Err(anyhow!("entries of the offer")) };
    let [provided] = &stage.seen(TENANT, &accept_id).await?[..] else {
        return Err(anyhow!("entries of the provision"));
    };
    let received = stage.seen(OTHER_TENANT, &accept_id).await?;
    let [received] = received.as_slice() else { return Err(anyhow!("{} entries of the receipt", received.len())) };
    for entry in [offering, provided] {
        ensure!(entry.subject == leaving.subject && fact(entry, "to_tenant") == Some(OTHER_TENANT), "to whom");
        ensure!(fact(entry, "consent_reference") == Some("law-rules/consent"), "under which consent");
    }
    ensure!(received.subject == subject && fact(received, "from_tenant") == Some(TENANT), "from whom");
    ensure!(received.sequence == accepted.entry_sequence && received.record == accepted.record, "another entry");
    for entry in [offering, provided, received] {
        ensure!(fact(entry, "transfer") == Some(offered.transfer.as_str()), "the entries name different offers");
    }

    // Taken over once; and from here on there are two records.
    refused(stage.accept(accept(&offered, &format!("{subject}-2"))).await, Code::DeniedOrNotFound)?;
    let update = UpdateNumberRequest {
        tenant: TENANT.to_owned(),
        scope: SCOPES[0].to_owned(),
        item: Some(UpdateItem { token: leaving.token, number: stage.spouse.number.clone(), verification: None }),
        ..UpdateNumberRequest::default()
    };
    let updated = stage.hr.tokens(0).update_number(update).await;
    updated.map_err(|status| anyhow!("UpdateNumber: {}", describe(&status)))?;
    let number = there().await.map_err(|status| anyhow!("Detokenize: {}", describe(&status)))?;
    ensure!(number == leaving.number, "a change at the former employer reached the next one");
    Ok(())
}

pub(super) async fn nothing_moves_without_consent(stage: &Stage) -> Result<()> {
    let leaving = stage.leaving(&[TRANSFER]).await?;
    for consent in [None, Some(consent(1, -1)?), Some(consent(1, 2)?)] {
        refused_for(stage.offer(offer(&leaving, consent)).await, "consent")?;
    }
    // Whoever was not told of it is not offered, and to no tenant but the one that two people agreed on.
    let untold = stage.leaving(&[DISCLOSE_SELF]).await?;
    refused(stage.offer(offer(&untold, Some(consent(2, 1)?))).await, Code::DeniedOrNotFound)?;
    for destination in [TENANT, "nobody-at-all", ""] {
        let request =
            OfferTransferRequest { destination: destination.to_owned(), ..offer(&leaving, Some(consent(2, 1)?)) };
        refused(stage.offer(request).await, Code::DeniedOrNotFound)?;
    }
    // No grant says less: one destination, an occasion of two people; and no catalogue asks for less.
    let nowhere = Grant { destination: String::new(), ..stage.offering(OTHER_TENANT)? };
    refused_for(stage.proposes(vec![nowhere]).await, "grant.destination")?;
    refused_for(stage.proposes(vec![stage.offering(TENANT)?]).await, "grant.destination")?;
    let endless = Grant { not_before: None, ..stage.offering(OTHER_TENANT)? };
    refused_for(stage.proposes(vec![endless]).await, "grant.window")?;
    let row = stage.row(TRANSFER).await?;
    if row.reveals {
        let mut alone = row.clone();
        alone.two_person = false;
        let mut shown = row;
        shown.delivery = "shown".to_owned();
        let mut family = stage.row(TRANSFER).await?;
        family.relations.push("spouse".to_owned());
        let mut another = stage.row(TRANSFER).await?;
        another.code = "hr.group_transfer".to_owned();
        for wrong in [alone, shown, family, another] {
            refused(stage.propose(vec![wrong], "").await?, Code::InvalidField)?;
        }
    }
    Ok(())
}

pub(super) async fn an_offer_is_good_for_its_tenant_alone(stage: &Stage) -> Result<()> {
    let leaving = stage.leaving(&[TRANSFER, PURPOSE]).await?;
    let offered = stage.offer(offer(&leaving, Some(consent(0, 0)?))).await;
    let offered = offered.map_err(|status| anyhow!("OfferTransfer: {}", describe(&status)))?;
    // Shown to no call but the acceptance: there it is an unknown token, to both tenants.
    let token = Stored { token: offered.transfer_token.clone(), ..leaving.clone() };
    stage.denied(&stage.payroll, TENANT, PURPOSE, &token, DenyReason::UnknownToken).await?;
    stage.denied(&stage.accounting, OTHER_TENANT, PURPOSE, &token, DenyReason::UnknownToken).await?;
    // Another token, another offer, the tenant itself: all look the same.
    let good = accept(&offered, "N-1");
    let wrong = [
        AcceptTransferRequest { transfer_token: leaving.token.clone(), ..good.clone() },
        AcceptTransferRequest { transfer: "00".repeat(16), ..good.clone() },
        AcceptTransferRequest { tenant: TENANT.to_owned(), ..good.clone() },
    ];
    for request in wrong {
        refused(stage.accept(request).await, Code::DeniedOrNotFound)?;
    }
    let cancel = |tenant: &str| CancelTransferRequest {
        tenant: tenant.to_owned(),
        transfer: offered.transfer.clone(),
        request_id: String::new(),
    };
    refused(stage.approver.transfers(0).cancel_transfer(cancel(OTHER_TENANT)).await, Code::DeniedOrNotFound)?;
    let cancelled = stage.approver.transfers(0).cancel_transfer(cancel(TENANT)).await;
    cancelled.map_err(|status| anyhow!("CancelTransfer: {}", describe(&status)))?;
    let request_id = new_request_id()?;
    let late = AcceptTransferRequest { request_id: request_id.clone(), ..good };
    let late = stage.accept(late).await.map(|accepted| accepted.record);
    stage.denied_for(late, &request_id, TRANSFER, DenyReason::TransferUnknown).await.context("a cancelled offer")
}
