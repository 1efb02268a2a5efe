//! `fuda canary`: tokens that belong to no number, planted to be found.

use clap::{Subcommand, ValueEnum};
use fuda_client::guard::{Canary, CreateCanaryRequest, ListCanariesRequest, Quarantine, RetireCanaryRequest};
use serde_json::{Value, json};

use super::Context;
use crate::failure::Failure;
use crate::output::text;
use crate::wire;

const COLUMNS: [&str; 9] =
    ["canary", "tenant", "scope", "subject", "quarantine", "planted_by", "plant_time", "retired_by", "retire_time"];

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a token that belongs to no number and print it once (owners, approvers).
    Create {
        /// The tenant.
        #[arg(long, value_name = "ID")]
        tenant: String,
        /// The scope it is planted in: what the alarm will name.
        #[arg(long, value_name = "SCOPE")]
        scope: String,
        /// A subject reference that looks like the tenant's own and is nobody's.
        #[arg(long, value_name = "SUBJECT")]
        subject: String,
        /// What to freeze at once when somebody presents it.
        #[arg(long, value_enum)]
        quarantine: Option<Frozen>,
    },
    /// Make it an unknown token like any other (approvers).
    Retire {
        /// The tenant.
        #[arg(long, value_name = "ID")]
        tenant: String,
        /// Its id, from `fuda canary list`.
        canary: String,
    },
    /// List the canary tokens, without the tokens (owners, approvers, auditors).
    List {
        /// Only those of this tenant; whoever has a grant for one tenant must name it.
        #[arg(long, value_name = "ID", default_value = "")]
        tenant: String,
    },
}

/// What a canary token freezes.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Frozen {
    /// Who presented it.
    Caller,
    /// The scope that it was planted in.
    Scope,
}

pub(super) async fn run(command: Command, context: &mut Context) -> Result<(), Failure> {
    let client = context.connection.client().await?;
    match command {
        Command::Create { tenant, scope, subject, quarantine } => {
            let quarantine = match quarantine {
                None => Quarantine::Unspecified,
                Some(Frozen::Caller) => Quarantine::Caller,
                Some(Frozen::Scope) => Quarantine::Scope,
            };
            let quarantine = quarantine.into();
            let request = CreateCanaryRequest { tenant, scope, subject, quarantine, ..CreateCanaryRequest::default() };
            let answer = client.create_canary(request).await?;
            context.output.facts(vec![
                ("token", text(answer.token)),
                ("canary", text(answer.canary)),
                ("entry_sequence", json!(answer.entry_sequence)),
            ])
        }
        Command::Retire { tenant, canary } => {
            let request = RetireCanaryRequest { tenant, canary, ..RetireCanaryRequest::default() };
            let answer = client.retire_canary(request).await?;
            context.output.facts(vec![("entry_sequence", json!(answer.entry_sequence))])
        }
        Command::List { tenant } => {
            let answer = client.list_canaries(ListCanariesRequest { tenant }).await?;
            context.output.list(&COLUMNS, answer.canaries.iter().map(row).collect())
        }
    }
}

fn row(canary: &Canary) -> Vec<Value> {
    let quarantine = match canary.quarantine() {
        Quarantine::Unspecified => "",
        Quarantine::Caller => "caller",
        Quarantine::Scope => "scope",
    };
    vec![
        text(&canary.canary),
        text(&canary.tenant),
        text(&canary.scope),
        text(&canary.subject),
        text(quarantine),
        text(&canary.planted_by),
        wire::moment_value(canary.plant_time.as_ref()),
        text(&canary.retired_by),
        wire::moment_value(canary.retire_time.as_ref()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_a_value_per_column() {
        let quarantine = Quarantine::Scope.into();
        let canary = Canary { scope: "payroll".to_owned(), quarantine, ..Canary::default() };
        let row = row(&canary);
        assert_eq!(row.len(), COLUMNS.len());
        assert_eq!((&row[2], &row[4]), (&json!("payroll"), &json!("scope")));
    }
}
