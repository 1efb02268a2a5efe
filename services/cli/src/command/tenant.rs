//! `fuda tenant`: make and show legal persons.

use std::path::{Path, PathBuf};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::{ArgGroup, Args, Subcommand};
use fuda_client::purpose::SetTenantPurposesRequest;
use fuda_client::tenant::{
    CreateTenantRequest, GetTenantRequest, Hours as Span, OfficeHours, Tenant, VerificationDemand,
};
use serde_json::{Value, json};

use super::Context;
use crate::failure::Failure;
use crate::output::text;
use crate::wire;

/// Bytes of an X25519 public key.
const RECOVERY_KEY_BYTES: usize = 32;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a tenant: one legal person.
    Create(Create),
    /// Show a tenant.
    Show {
        /// The tenant.
        #[arg(value_name = "ID")]
        tenant: String,
    },
    /// Store an order to demand the record of an identity check (番号法16条) of numbers that come in. It has no effect
    /// until `fuda purpose approve`.
    Verification {
        /// The tenant.
        #[arg(value_name = "ID")]
        tenant: String,
        /// Demand it of nobody any more.
        #[arg(long, conflicts_with_all = ["kinds", "relations"])]
        none: bool,
        #[command(flatten)]
        demand: Demand,
    },
    /// Store an order to say when people of a tenant work; reveals outside raise an alarm. It has no effect until `fuda
    /// purpose approve`.
    Hours(Hours),
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("what").required(true).multiple(true).args(["open", "holidays", "default"])))]
pub(crate) struct Hours {
    /// The tenant.
    #[arg(value_name = "ID")]
    tenant: String,
    /// Days and a span of hours of the tenant's time zone, such as `mon,tue,wed,thu,fri 09:00-18:00`; every day from
    /// 06:00 to 22:00 when none is given.
    #[arg(long, value_name = "DAYS FROM-TO", value_parser = wire::hours)]
    open: Vec<Span>,
    /// Days on which nobody works, such as 2027-01-01.
    #[arg(long = "holiday", value_name = "DATE", num_args = 1..)]
    holidays: Vec<String>,
    /// Go back to every day from 06:00 to 22:00.
    #[arg(long, conflicts_with_all = ["open", "holidays"])]
    default: bool,
}

/// Of which numbers the record of an identity check is demanded.
#[derive(Debug, Args)]
pub(crate) struct Demand {
    /// Code of a kind.
    #[arg(long = "verified-kind", value_name = "CODE", default_value = "my_number")]
    kinds: Vec<String>,
    /// Relation to the principal subject of the persons who are checked; an employee checks dependants himself.
    #[arg(long = "verified-relation", value_name = "CODE", default_value = "self")]
    relations: Vec<String>,
}

impl From<Demand> for VerificationDemand {
    fn from(Demand { kinds, relations }: Demand) -> Self {
        Self { kinds, relations }
    }
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("recovery").required(true).args(["no_recovery", "recovery_key"])))]
pub(crate) struct Create {
    /// Id: 3 to 40 lower-case letters, digits and hyphens.
    #[arg(value_name = "ID")]
    tenant: String,
    /// Name for people.
    #[arg(long)]
    name: String,
    /// Code of a purpose the tenant uses; at least one.
    #[arg(long = "purpose", value_name = "CODE", required = true)]
    purposes: Vec<String>,
    /// Lost tokens shall never be recoverable.
    #[arg(long)]
    no_recovery: bool,
    /// File with the offline recovery public key: X25519, 64 hexadecimal digits or base64.
    #[arg(long, value_name = "FILE")]
    recovery_key: Option<PathBuf>,
    /// IANA time zone of calendar rules.
    #[arg(long, value_name = "ZONE", default_value = "Asia/Tokyo")]
    time_zone: String,
    /// Take numbers only with the record of an identity check (番号法16条).
    #[arg(long)]
    verification_required: bool,
    #[command(flatten)]
    demand: Demand,
}

pub(super) async fn run(command: Command, context: &mut Context) -> Result<(), Failure> {
    match command {
        Command::Create(create) => {
            let recovery_public_key = create.recovery_key.as_deref().map(read_key).transpose()?.unwrap_or_default();
            let tenant = Tenant {
                tenant: create.tenant,
                display_name: create.name,
                time_zone: create.time_zone,
                purposes: create.purposes,
                recovery_public_key,
                no_recovery: create.no_recovery,
                verification_demand: create.verification_required.then(|| create.demand.into()),
                ..Tenant::default()
            };
            let request = CreateTenantRequest { tenant: Some(tenant), ..CreateTenantRequest::default() };
            let answer = context.connection.client().await?.create_tenant(request).await?;
            let mut facts = facts(&answer.tenant.unwrap_or_default());
            facts.push(("entry_sequence", json!(answer.entry_sequence)));
            context.output.facts(facts)
        }
        Command::Verification { tenant, none, demand } => {
            let demand = if none { VerificationDemand::default() } else { demand.into() };
            let request = SetTenantPurposesRequest {
                tenant,
                verification_demand: Some(demand),
                ..SetTenantPurposesRequest::default()
            };
            order(request, context).await
        }
        Command::Hours(Hours { tenant, open, holidays, default: _ }) => {
            let office_hours = Some(OfficeHours { hours: open, holidays });
            let request = SetTenantPurposesRequest { tenant, office_hours, ..SetTenantPurposesRequest::default() };
            order(request, context).await
        }
        Command::Show { tenant } => {
            let answer = context.connection.client().await?.get_tenant(GetTenantRequest { tenant }).await?;
            context.output.facts(facts(&answer.tenant.unwrap_or_default()))
        }
    }
}

async fn order(request: SetTenantPurposesRequest, context: &mut Context) -> Result<(), Failure> {
    let answer = context.connection.client().await?.set_tenant_purposes(request).await?;
    context.output.facts(vec![("order", text(answer.order)), ("entry_sequence", json!(answer.entry_sequence))])
}

fn facts(tenant: &Tenant) -> Vec<(&'static str, Value)> {
    let recovery = if tenant.no_recovery { "none".to_owned() } else { hex::encode(&tenant.recovery_public_key) };
    vec![
        ("tenant", text(&tenant.tenant)),
        ("display_name", text(&tenant.display_name)),
        ("time_zone", text(&tenant.time_zone)),
        ("purposes", json!(tenant.purposes)),
        ("recovery", text(recovery)),
        ("verification_demand", tenant.verification_demand.as_ref().map_or(Value::Null, wire::verification_demand)),
        ("office_hours", tenant.office_hours.as_ref().map_or(Value::Null, office_hours)),
        ("create_time", wire::moment_value(tenant.create_time.as_ref())),
    ]
}

fn office_hours(office: &OfficeHours) -> Value {
    let hours: Vec<Value> = office.hours.iter().map(wire::hours_value).collect();
    json!({"hours": hours, "holidays": office.holidays})
}

fn read_key(path: &Path) -> Result<Vec<u8>, Failure> {
    let shown = path.display();
    let text =
        std::fs::read_to_string(path).map_err(|error| Failure::Usage(format!("`{shown}` cannot be read: {error}")))?;
    parse_key(text.trim())
        .ok_or_else(|| Failure::Usage(format!("`{shown}` must hold 32 bytes as 64 hexadecimal digits or as base64")))
}

fn parse_key(text: &str) -> Option<Vec<u8>> {
    let bytes = hex::decode(text).ok().or_else(|| STANDARD.decode(text).ok())?;
    (bytes.len() == RECOVERY_KEY_BYTES).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recovery_key_is_hexadecimal_or_base64() {
        let key: Vec<u8> = (0..32).collect();
        assert_eq!(parse_key(&hex::encode(&key)), Some(key.clone()));
        assert_eq!(parse_key(&STANDARD.encode(&key)), Some(key.clone()));
        for wrong in ["", "00", &hex::encode(&key[1..]), "-----BEGIN PUBLIC KEY-----"] {
            assert_eq!(parse_key(wrong), None);
        }
    }
}
