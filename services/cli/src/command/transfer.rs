//! `fuda transfer`: a number to the next employer, with the person's consent.

use clap::{Args, Subcommand};
use fuda_client::transfer::{AcceptTransferRequest, CancelTransferRequest, Consent, OfferTransferRequest};
use fuda_client::vault::NotifiedPurpose;
use fuda_core::purpose::TRANSFER;
use serde_json::json;

use super::Context;
use crate::failure::Failure;
use crate::input;
use crate::output::text;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Offer the number behind a token to one other tenant, and print the transfer token once.
    ///
    /// Reads the token as the only line of standard input. Needs a grant made for the occasion by two people; hand offer
    /// and transfer token to the other tenant on a way of its own.
    Offer(Offer),
    /// Take an offered number into a record of your own tenant, and print its token.
    ///
    /// Reads the transfer token as the only line of standard input.
    Accept(Accept),
    /// Take an offer back that nobody has accepted (handlers, approvers).
    Cancel {
        /// The tenant that offered.
        #[arg(long, value_name = "ID")]
        tenant: String,
        /// Id of the offer.
        transfer: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Offer {
    /// The tenant that holds the number.
    #[arg(long, value_name = "ID")]
    tenant: String,
    /// The scope of the token.
    #[arg(long)]
    scope: String,
    /// The tenant that may accept, the one of the grant.
    #[arg(long, value_name = "ID")]
    to: String,
    /// The day on which the destination was decided, such as 2026-11-20.
    #[arg(long, value_name = "DAY")]
    decided_on: String,
    /// The day on which the person consented; not before the destination was decided.
    #[arg(long, value_name = "DAY")]
    consented_on: String,
    /// How the person consented: `written` or `electronic`.
    #[arg(long, value_name = "METHOD")]
    consent_method: String,
    /// Where the consent is kept; 1 to 128 characters, no number. It stands in the entry.
    #[arg(long, value_name = "TEXT")]
    consent_reference: String,
    /// Hours that the offer stands, at most 336. Default: 168.
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    hours: u32,
    /// Your reference to the piece of work, for the ledger.
    #[arg(long, value_name = "TEXT", default_value = "")]
    work_reference: String,
}

#[derive(Debug, Args)]
pub(crate) struct Accept {
    /// Your tenant.
    #[arg(long, value_name = "ID")]
    tenant: String,
    /// The consuming system the new token is for.
    #[arg(long)]
    scope: String,
    /// Your own reference to the person.
    #[arg(long)]
    subject: String,
    /// Code of a purpose notified to the person.
    #[arg(long = "notified-purpose", value_name = "CODE")]
    notified_purposes: Vec<String>,
    /// Version of the notice, in your words.
    #[arg(long, value_name = "TEXT", default_value = "")]
    notice_version: String,
    /// Label of the record, by which grants pick people.
    #[arg(long, default_value = "", value_name = "LABEL")]
    label: String,
    /// Your reference to the piece of work, for the ledger.
    #[arg(long, value_name = "TEXT", default_value = "")]
    work_reference: String,
    /// Id of the offer.
    transfer: String,
}

impl Offer {
    fn request(self, token: String) -> OfferTransferRequest {
        let consent = Consent {
            decided_on: self.decided_on,
            given_on: self.consented_on,
            method: self.consent_method,
            reference: self.consent_reference,
        };
        OfferTransferRequest {
            tenant: self.tenant,
            purpose: TRANSFER.to_owned(),
            scope: self.scope,
            token,
            destination: self.to,
            consent: Some(consent),
            hours: self.hours,
            request_id: String::new(),
            work_reference: self.work_reference,
        }
    }
}

impl Accept {
    fn request(self, transfer_token: String) -> AcceptTransferRequest {
        let notice_version = self.notice_version;
        let notified =
            |purpose| NotifiedPurpose { purpose, notice_version: notice_version.clone(), ..NotifiedPurpose::default() };
        AcceptTransferRequest {
            tenant: self.tenant,
            purpose: TRANSFER.to_owned(),
            transfer: self.transfer,
            transfer_token,
            subject: self.subject,
            scope: self.scope,
            notified_purposes: self.notified_purposes.into_iter().map(notified).collect(),
            label: self.label,
            request_id: String::new(),
            retry_secret: Vec::new(),
            work_reference: self.work_reference,
        }
    }
}

pub(super) async fn run(command: Command, context: &mut Context) -> Result<(), Failure> {
    let client = context.connection.client().await?;
    match command {
        Command::Offer(offer) => {
            let token = std::mem::take(&mut *input::read_line()?);
            let answer = client.offer_transfer(offer.request(token)).await?;
            context.output.facts(vec![
                ("transfer", text(&answer.transfer)),
                ("transfer_token", text(&answer.transfer_token)),
                ("entry_sequence", json!(answer.entry_sequence)),
            ])
        }
        Command::Accept(accept) => {
            let token = std::mem::take(&mut *input::read_line()?);
            let answer = client.accept_transfer(accept.request(token)).await?;
            context.output.facts(vec![
                ("token", text(&answer.token)),
                ("record", text(&answer.record)),
                ("entry_sequence", json!(answer.entry_sequence)),
            ])
        }
        Command::Cancel { tenant, transfer } => {
            let request = CancelTransferRequest { tenant, transfer, request_id: String::new() };
            let answer = client.cancel_transfer(request).await?;
            context.output.facts(vec![("entry_sequence", json!(answer.entry_sequence))])
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use crate::args::Cli;
    use crate::command::Command as Noun;

    use super::*;

    fn parse(arguments: &str) -> Command {
        let cli = Cli::try_parse_from(["fuda", "transfer"].into_iter().chain(arguments.split(' ')));
        match cli.map(|cli| cli.command) {
            Ok(Noun::Transfer(command)) => command,
            Ok(_) => panic!("another command"),
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn an_offer_names_its_consent_and_no_token() {
        let arguments = "offer --tenant acme --scope payroll --to globex --decided-on 2026-11-20 \
                         --consented-on 2026-11-21 --consent-method written --consent-reference box-7";
        let Command::Offer(offer) = parse(arguments) else { panic!("no offer") };
        let request = offer.request("token".to_owned());
        let consent = request.consent.clone().unwrap();
        assert_eq!((request.destination.as_str(), request.purpose.as_str(), request.hours), ("globex", TRANSFER, 0));
        assert_eq!((consent.decided_on.as_str(), consent.given_on.as_str()), ("2026-11-20", "2026-11-21"));
        assert_eq!((consent.method.as_str(), consent.reference.as_str()), ("written", "box-7"));
    }

    #[test]
    fn an_acceptance_names_the_person_and_the_notices() {
        let arguments = "accept --tenant globex --scope payroll --subject N-1 --notified-purpose tax.withholding_slip \
                         --notice-version 2026-04 0123";
        let Command::Accept(accept) = parse(arguments) else { panic!("no acceptance") };
        let request = accept.request("token".to_owned());
        assert_eq!((request.transfer.as_str(), request.subject.as_str()), ("0123", "N-1"));
        let [notified] = request.notified_purposes.as_slice() else { panic!("no notice") };
        assert_eq!((notified.purpose.as_str(), notified.notice_version.as_str()), ("tax.withholding_slip", "2026-04"));
    }
}
