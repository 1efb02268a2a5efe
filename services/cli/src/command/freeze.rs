//! `fuda freeze`: the brakes. One person freezes, another one thaws.

use clap::{ArgGroup, Args, Subcommand};
use fuda_client::guard::{FreezeRequest, FreezeTarget, FrozenThing, ListFreezesRequest, ThawRequest};
use serde_json::{Value, json};

use super::Context;
use crate::failure::Failure;
use crate::output::text;
use crate::wire;

const COLUMNS: [&str; 8] = ["frozen", "tenant", "scope", "purpose", "caller", "reason", "frozen_by", "freeze_time"];

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Stop the use of something at once (owners, approvers, operators).
    Set(Act),
    /// Lift a freeze that somebody else set (approvers).
    Thaw(Act),
    /// List what is frozen.
    List {
        /// Only what belongs to this tenant; whoever has a grant for one tenant must name it.
        #[arg(long, value_name = "ID", default_value = "")]
        tenant: String,
    },
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("target").required(true).args(["cluster", "caller", "tenant"])))]
pub(crate) struct Act {
    /// The whole vault. Status, ledger, grants and membership go on.
    #[arg(long)]
    cluster: bool,
    /// SPIFFE id of a caller.
    #[arg(long, value_name = "SPIFFE")]
    caller: Option<String>,
    /// A tenant, or the one of --scope or --purpose.
    #[arg(long, value_name = "ID")]
    tenant: Option<String>,
    /// A scope of the tenant.
    #[arg(long, value_name = "SCOPE", requires = "tenant", conflicts_with = "purpose")]
    scope: Option<String>,
    /// Code of a purpose, in the tenant.
    #[arg(long, value_name = "CODE", requires = "tenant")]
    purpose: Option<String>,
    /// Why, for the ledger: at most 256 characters.
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

impl Act {
    fn target(&self) -> FreezeTarget {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        FreezeTarget {
            cluster: self.cluster,
            caller: text(&self.caller),
            tenant: text(&self.tenant),
            scope: text(&self.scope),
            purpose: text(&self.purpose),
        }
    }
}

pub(super) async fn run(command: Command, context: &mut Context) -> Result<(), Failure> {
    let client = context.connection.client().await?;
    match command {
        Command::Set(act) => {
            let target = Some(act.target());
            let request = FreezeRequest { target, reason: act.reason, ..FreezeRequest::default() };
            let answer = client.freeze(request).await?;
            context.output.facts(vec![("entry_sequence", json!(answer.entry_sequence))])
        }
        Command::Thaw(act) => {
            let target = Some(act.target());
            let request = ThawRequest { target, reason: act.reason, ..ThawRequest::default() };
            let answer = client.thaw(request).await?;
            context.output.facts(vec![("entry_sequence", json!(answer.entry_sequence))])
        }
        Command::List { tenant } => {
            let answer = client.list_freezes(ListFreezesRequest { tenant }).await?;
            context.output.list(&COLUMNS, answer.freezes.iter().map(row).collect())
        }
    }
}

fn row(freeze: &FrozenThing) -> Vec<Value> {
    let target = freeze.target.clone().unwrap_or_default();
    let frozen = match &target {
        FreezeTarget { cluster: true, .. } => "cluster",
        FreezeTarget { caller, .. } if !caller.is_empty() => "caller",
        FreezeTarget { scope, .. } if !scope.is_empty() => "scope",
        FreezeTarget { purpose, .. } if !purpose.is_empty() => "purpose",
        FreezeTarget { .. } => "tenant",
    };
    vec![
        Value::from(frozen),
        text(target.tenant),
        text(target.scope),
        text(target.purpose),
        text(target.caller),
        text(&freeze.reason),
        text(&freeze.frozen_by),
        wire::moment_value(freeze.freeze_time.as_ref()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_say_what_is_frozen() {
        let scope = FreezeTarget { tenant: "acme".to_owned(), scope: "payroll".to_owned(), ..FreezeTarget::default() };
        let freeze = FrozenThing { target: Some(scope), reason: "stolen".to_owned(), ..FrozenThing::default() };
        let row = row(&freeze);
        assert_eq!(row.len(), COLUMNS.len());
        assert_eq!(row[..3], [json!("scope"), json!("acme"), json!("payroll")]);
    }
}
