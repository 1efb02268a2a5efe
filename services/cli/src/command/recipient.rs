//! `fuda recipient`: to whom the numbers of a tenant may be sealed. The owner registers and withdraws, an approver
//! approves the order (`fuda purpose approve`). `keygen` needs no vault: it is for the recipient.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use fuda_client::purpose::SetTenantRecipientsRequest;
use fuda_client::tenant::{GetTenantRequest, Recipient};
use fuda_crypto::{OsRandom, Pool, RecipientSecret};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::Context;
use crate::failure::Failure;
use crate::input;
use crate::output::{create_private, text};
use crate::wire;

const COLUMNS: [&str; 5] = ["fingerprint", "name", "purposes", "not_after", "public_key"];

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Draw a recipient's key pair. Keep the file; have what is printed registered, and compare the fingerprint.
    Keygen {
        /// New file for the private key, for its owner only.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Store an order to register a recipient. It has no effect until somebody else approves it (`fuda purpose approve`).
    Register(Register),
    /// Store an order to withdraw recipients. It has no effect until somebody else approves it.
    Withdraw {
        /// The tenant.
        #[arg(long, value_name = "ID")]
        tenant: String,
        /// Fingerprints.
        #[arg(value_name = "FINGERPRINT", required = true)]
        recipients: Vec<String>,
    },
    /// List the recipients of a tenant.
    List {
        /// The tenant.
        #[arg(long, value_name = "ID")]
        tenant: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Register {
    /// The tenant.
    #[arg(long, value_name = "ID")]
    tenant: String,
    /// Name for people.
    #[arg(long)]
    name: String,
    /// X25519 public key, 64 hexadecimal digits.
    #[arg(long, value_name = "HEX")]
    public_key: String,
    /// Code of a purpose for which numbers may be sealed to it; at least one.
    #[arg(long = "purpose", value_name = "CODE", required = true)]
    purposes: Vec<String>,
    /// Last moment at which numbers are sealed to it, such as 2027-01-31T00:00:00Z; within 366 days.
    #[arg(long, value_name = "TIME")]
    until: String,
}

pub(super) async fn run(command: Command, context: &mut Context) -> Result<(), Failure> {
    match command {
        Command::Keygen { out } => keygen(&out, context),
        Command::Register(register) => {
            let tenant = register.tenant.clone();
            propose(tenant, vec![recipient(register)?], Vec::new(), context).await
        }
        Command::Withdraw { tenant, recipients } => propose(tenant, Vec::new(), recipients, context).await,
        Command::List { tenant } => {
            let answer = context.connection.client().await?.get_tenant(GetTenantRequest { tenant }).await?;
            let recipients = answer.tenant.unwrap_or_default().recipients;
            context.output.list(&COLUMNS, recipients.iter().map(row).collect())
        }
    }
}

async fn propose(
    tenant: String,
    register: Vec<Recipient>,
    withdraw: Vec<String>,
    context: &mut Context,
) -> Result<(), Failure> {
    let request = SetTenantRecipientsRequest { tenant, register, withdraw, ..SetTenantRecipientsRequest::default() };
    let answer = context.connection.client().await?.set_tenant_recipients(request).await?;
    context.output.facts(vec![("order", text(answer.order)), ("entry_sequence", json!(answer.entry_sequence))])
}

fn recipient(register: Register) -> Result<Recipient, Failure> {
    let public_key = hex::decode(&register.public_key);
    let public_key = public_key.map_err(|_| Failure::Usage("--public-key must be 64 hexadecimal digits".to_owned()))?;
    let not_after = wire::moment(&register.until).map_err(|problem| Failure::Usage(format!("--until {problem}")))?;
    Ok(Recipient {
        public_key,
        name: register.name,
        purposes: register.purposes,
        not_after: Some(not_after),
        ..Recipient::default()
    })
}

fn row(recipient: &Recipient) -> Vec<Value> {
    vec![
        text(&recipient.fingerprint),
        text(&recipient.name),
        json!(recipient.purposes),
        wire::moment_value(recipient.not_after.as_ref()),
        text(hex::encode(&recipient.public_key)),
    ]
}

fn keygen(out: &Path, context: &mut Context) -> Result<(), Failure> {
    let internal = |error: fuda_crypto::Error| Failure::Internal(error.to_string());
    let random = OsRandom::new();
    let secret = RecipientSecret::generate(&mut Pool::new(&random)).map_err(internal)?;
    let key = secret.public_key().map_err(internal)?;
    let digits = Zeroizing::new(hex::encode(secret.expose()));
    let mut file = create_private(out)?;
    writeln!(file, "{}", *digits).and_then(|()| file.sync_all()).map_err(|error| Failure::output(&error))?;
    let fingerprint = key.fingerprint().to_string();
    context.output.facts(vec![("public_key", text(hex::encode(key.as_bytes()))), ("fingerprint", text(fingerprint))])
}

/// Reads the file that `keygen` wrote: the 32 bytes of an X25519 private key as 64 hexadecimal digits.
pub(super) fn read_secret(path: &Path) -> Result<RecipientSecret, Failure> {
    let wrong = || Failure::Usage(format!("`{}` must hold 64 hexadecimal digits", path.display()));
    let bytes = input::read(Some(path))?;
    let digits = std::str::from_utf8(&bytes).map_err(|_| wrong())?.trim();
    RecipientSecret::filled_by(|secret| hex::decode_to_slice(digits, secret)).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Format;
    use crate::connect::Connection;
    use clap::Parser as _;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        connection: Connection,
    }

    #[test]
    fn a_key_file_is_read_as_it_was_written_and_never_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("recipient.key");
        let mut context = Context::new(Line::parse_from(["fuda"]).connection, Format::Json);
        keygen(&path, &mut context).unwrap();
        let secret = read_secret(&path).unwrap();
        let written = std::fs::read_to_string(&path).unwrap();
        assert_eq!(written.trim(), hex::encode(secret.expose()));
        assert!(keygen(&path, &mut context).is_err());
        let other = directory.path().join("other");
        std::fs::write(&other, "secret").unwrap();
        assert!(read_secret(&other).is_err());
    }

    #[test]
    fn a_registration_is_checked_before_it_is_sent() {
        let register = |key: &str, until: &str| Register {
            tenant: "acme".to_owned(),
            name: "next".to_owned(),
            public_key: key.to_owned(),
            purposes: vec!["op.migrate".to_owned()],
            until: until.to_owned(),
        };
        let good = recipient(register(&"ab".repeat(32), "2027-01-31T00:00:00Z")).unwrap();
        assert_eq!((good.public_key.len(), good.not_after.is_some()), (32, true));
        assert!(recipient(register("key", "2027-01-31T00:00:00Z")).is_err());
        assert!(recipient(register(&"ab".repeat(32), "tomorrow")).is_err());
    }
}
