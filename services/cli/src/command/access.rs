//! `fuda access`: access on request. A handler asks, approvers decide; the grant is short and counted.

use clap::{Args, Subcommand};
use fuda_client::access::{
    AccessRequest, ApproveAccessRequest, BreakGlassRequest, ConsentSubEntrustRequest, DenyAccessRequest,
    ListAccessRequestsRequest, RequestAccessRequest, ReviewBreakGlassRequest, RevokeAccessRequest, Wish,
};
use fuda_core::limits::PAGE_SIZE_MAX;
use serde_json::{Value, json};

use super::Context;
use crate::failure::Failure;
use crate::output::text;
use crate::wire;

/// Columns of a request.
const COLUMNS: [&str; 18] = [
    "id",
    "state",
    "handler",
    "caller",
    "actions",
    "kinds",
    "purpose",
    "scopes",
    "recipient",
    "destination",
    "persons_max",
    "minutes",
    "approvals",
    "reason",
    "not_after",
    "break_glass",
    "review_due",
    "reviewed_by",
];

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Ask for a short, counted grant (handlers).
    Request(Ask),
    /// Agree to a request (approvers; never the one who asked or gains).
    Approve(Named),
    /// Deny a request (approvers).
    Deny(Named),
    /// End a grant before its time, or take a request back (approvers, owners; handlers their own).
    Revoke(Named),
    /// List requests and what became of them; a handler sees his own.
    List {
        /// The tenant.
        #[arg(long, value_name = "ID")]
        tenant: String,
    },
    /// Take a grant without waiting: an alarm is raised, and a review must follow (handlers).
    BreakGlass(Ask),
    /// Close the review of a broken glass (approvers).
    Review {
        #[command(flatten)]
        named: Named,
        /// What was found; 1 to 128 characters, no number.
        #[arg(long, value_name = "TEXT")]
        finding: String,
    },
    /// Consent that an entrusted party entrusts its work on (owners, approvers).
    Consent {
        /// The tenant: the first entruster.
        #[arg(long, value_name = "ID")]
        tenant: String,
        /// The party that shall be entrusted.
        #[arg(long, value_name = "ID")]
        party: String,
        /// The party that entrusts on to it.
        #[arg(long, value_name = "ID")]
        sub_of: String,
        /// Take the consent back: all grants that hang on it end at once.
        #[arg(long)]
        withdraw: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Ask {
    /// The tenant.
    #[arg(long, value_name = "ID")]
    tenant: String,
    /// Who shall hold the grant: a workload that runs the job. Default: yourself.
    #[arg(long = "for", value_name = "SPIFFE", default_value = "")]
    holder: String,
    /// `detokenize`, `verify_number`, `describe_token`, `seal` or `offer_transfer`; at least one.
    #[arg(long = "action", value_name = "ACTION", required = true)]
    actions: Vec<String>,
    /// Code of a kind; at least one.
    #[arg(long = "kind", value_name = "KIND", required = true)]
    kinds: Vec<String>,
    /// Code of the purpose.
    #[arg(long, value_name = "CODE")]
    purpose: String,
    /// A scope; at least one.
    #[arg(long = "scope", value_name = "SCOPE", required = true)]
    scopes: Vec<String>,
    /// Distinct persons, over the whole life of the grant.
    #[arg(long, value_name = "N")]
    persons: u32,
    /// Minutes from the moment it is in force.
    #[arg(long, value_name = "N")]
    minutes: u32,
    /// Fingerprint of the recipient to whom numbers are to be sealed; with `seal`.
    #[arg(long, value_name = "FINGERPRINT", default_value = "")]
    recipient: String,
    /// The tenant to which numbers are to be offered; with `offer_transfer`.
    #[arg(long, value_name = "ID", default_value = "")]
    destination: String,
    /// Why; 1 to 128 characters, no number. It stands in the entry.
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

#[derive(Debug, Args)]
pub(crate) struct Named {
    /// The tenant.
    #[arg(long, value_name = "ID")]
    tenant: String,
    /// Id of the request.
    #[arg(value_name = "REQUEST")]
    id: String,
}

impl Ask {
    fn wish(&self) -> Wish {
        Wish {
            caller: self.holder.clone(),
            actions: self.actions.clone(),
            kinds: self.kinds.clone(),
            purpose: self.purpose.clone(),
            scopes: self.scopes.clone(),
            persons_max: self.persons,
            minutes: self.minutes,
            recipient: self.recipient.clone(),
            destination: self.destination.clone(),
        }
    }
}

pub(super) async fn run(command: Command, context: &mut Context) -> Result<(), Failure> {
    let client = context.connection.client().await?;
    let facts = match command {
        Command::List { tenant } => return list(tenant, context).await,
        Command::Request(ask) => {
            let wish = Some(ask.wish());
            let request = RequestAccessRequest { tenant: ask.tenant, wish, reason: ask.reason, ..Default::default() };
            let answer = client.request_access(request).await?;
            vec![("id", text(answer.id)), ("entry_sequence", json!(answer.entry_sequence))]
        }
        Command::BreakGlass(ask) => {
            let wish = Some(ask.wish());
            let request = BreakGlassRequest { tenant: ask.tenant, wish, reason: ask.reason, ..Default::default() };
            let answer = client.break_glass(request).await?;
            with_sequence(answer.request.unwrap_or_default(), answer.entry_sequence)
        }
        Command::Approve(Named { tenant, id }) => {
            let answer = client.approve_access(ApproveAccessRequest { tenant, id, ..Default::default() }).await?;
            with_sequence(answer.request.unwrap_or_default(), answer.entry_sequence)
        }
        Command::Deny(Named { tenant, id }) => {
            let answer = client.deny_access(DenyAccessRequest { tenant, id, ..Default::default() }).await?;
            vec![("entry_sequence", json!(answer.entry_sequence))]
        }
        Command::Revoke(Named { tenant, id }) => {
            let answer = client.revoke_access(RevokeAccessRequest { tenant, id, ..Default::default() }).await?;
            vec![("entry_sequence", json!(answer.entry_sequence))]
        }
        Command::Review { named: Named { tenant, id }, finding } => {
            let request = ReviewBreakGlassRequest { tenant, id, finding, ..Default::default() };
            vec![("entry_sequence", json!(client.review_break_glass(request).await?.entry_sequence))]
        }
        Command::Consent { tenant, party, sub_of, withdraw } => {
            let request = ConsentSubEntrustRequest { tenant, party, sub_of, withdraw, ..Default::default() };
            vec![("entry_sequence", json!(client.consent_sub_entrust(request).await?.entry_sequence))]
        }
    };
    context.output.facts(facts)
}

async fn list(tenant: String, context: &mut Context) -> Result<(), Failure> {
    let client = context.connection.client().await?;
    let page_size = i32::try_from(PAGE_SIZE_MAX).unwrap_or(0);
    let mut request = ListAccessRequestsRequest { tenant, page_size, page_token: String::new() };
    let mut rows = Vec::new();
    loop {
        let page = client.list_access_requests(request.clone()).await?;
        rows.extend(page.requests.iter().map(row));
        if page.next_page_token.is_empty() {
            return context.output.list(&COLUMNS, rows);
        }
        request.page_token = page.next_page_token;
    }
}

fn with_sequence(request: AccessRequest, sequence: u64) -> Vec<(&'static str, Value)> {
    let mut facts: Vec<(&'static str, Value)> = COLUMNS.into_iter().zip(row(&request)).collect();
    facts.push(("entry_sequence", json!(sequence)));
    facts
}

/// A request in [`COLUMNS`].
fn row(request: &AccessRequest) -> Vec<Value> {
    let wish = request.wish.clone().unwrap_or_default();
    let state = request.state().as_str_name().trim_start_matches("ACCESS_STATE_").to_ascii_lowercase();
    vec![
        text(&request.id),
        text(state),
        text(&request.handler),
        text(&wish.caller),
        json!(wish.actions),
        json!(wish.kinds),
        text(&wish.purpose),
        json!(wish.scopes),
        text(&wish.recipient),
        text(&wish.destination),
        json!(wish.persons_max),
        json!(wish.minutes),
        text(format!("{}/{}", request.approved_by.len(), request.approvals_min)),
        text(&request.reason),
        wire::moment_value(request.not_after.as_ref()),
        json!(request.break_glass),
        wire::moment_value(request.review_due.as_ref()),
        text(&request.reviewed_by),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_shown_in_its_columns() {
        let request = AccessRequest { approvals_min: 2, approved_by: vec!["a".to_owned()], ..Default::default() };
        let shown = row(&AccessRequest { state: 3, ..request });
        assert_eq!(shown.len(), COLUMNS.len());
        assert_eq!((&shown[1], &shown[12]), (&json!("in_force"), &json!("1/2")));
    }
}
