//! `fuda succession`: offline keys of the owner that can appoint approvers when these are gone. `keygen`, `statement`
//! and `sign` need no vault: run them on a machine without a network.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use fuda_client::access::{CancelSuccessionRequest, FinishSuccessionRequest, StartSuccessionRequest};
use fuda_core::{CallerId, VaultId};
use fuda_crypto::{OsRandom, Pool, SigningKey};
use fuda_ledger::SignedNote;
use serde_json::json;
use zeroize::Zeroizing;

use super::Context;
use crate::failure::Failure;
use crate::input;
use crate::output::{create_private, create_public, text};

/// Bytes of a statement or key file that is read.
const FILE_BYTES_MAX: u64 = 65_536;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Draw an offline key. Keep the file apart from everything else; register what is printed.
    Keygen {
        /// New file for the private key, for its owner only.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Write a statement that appoints approvers, and sign it with the first key.
    Statement {
        /// The vault, 32 hexadecimal digits.
        #[arg(long, value_name = "ID")]
        vault: String,
        /// Greater than that of every statement before.
        #[arg(long, value_name = "N")]
        serial: u64,
        /// SPIFFE id of a new approver; at least two.
        #[arg(long = "approver", value_name = "SPIFFE", required = true)]
        approvers: Vec<String>,
        /// File of the first key that signs.
        #[arg(long, value_name = "KEYFILE")]
        key: PathBuf,
        /// New file for the signed statement.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Add the signature of another key to a statement.
    Sign {
        /// The statement so far. Read it: you sign what it says.
        #[arg(long = "in", value_name = "FILE")]
        input: PathBuf,
        /// File of the key.
        #[arg(long, value_name = "KEYFILE")]
        key: PathBuf,
        /// New file for the statement with the signature.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Hand a signed statement in (owners, operators). An alarm is raised, and the delay begins.
    Start {
        /// The signed statement.
        #[arg(long = "in", value_name = "FILE")]
        input: PathBuf,
    },
    /// Bring a succession into force whose delay is over (owners, operators).
    Finish {
        /// Serial of the statement.
        #[arg(long, value_name = "N")]
        serial: u64,
    },
    /// Stop a succession that waits (approvers).
    Cancel {
        /// Serial of the statement.
        #[arg(long, value_name = "N")]
        serial: u64,
    },
}

pub(super) async fn run(command: Command, context: &mut Context) -> Result<(), Failure> {
    match command {
        Command::Keygen { out } => keygen(&out, context),
        Command::Statement { vault, serial, approvers, key, out } => {
            let (text, name) = statement(&vault, serial, &approvers)?;
            write(&out, &sign(text, &name, &read_key(&key)?)?, context)
        }
        Command::Sign { input, key, out } => {
            let mut note = read_note(&input)?;
            let name = key_name(note.unverified_text())?;
            note.merge(&sign(note.unverified_text().to_owned(), &name, &read_key(&key)?)?).map_err(unusable)?;
            write(&out, &note, context)
        }
        Command::Start { input } => {
            let statement = read_note(&input)?.to_string();
            let request = StartSuccessionRequest { statement, ..Default::default() };
            let answer = context.connection.client().await?.start_succession(request).await?;
            context.output.facts(vec![
                ("effective_from", crate::wire::moment_value(answer.effective_time.as_ref())),
                ("entry_sequence", json!(answer.entry_sequence)),
            ])
        }
        Command::Finish { serial } => {
            let request = FinishSuccessionRequest { serial, ..Default::default() };
            let answer = context.connection.client().await?.finish_succession(request).await?;
            context.output.facts(vec![("entry_sequence", json!(answer.entry_sequence))])
        }
        Command::Cancel { serial } => {
            let request = CancelSuccessionRequest { serial, ..Default::default() };
            let answer = context.connection.client().await?.cancel_succession(request).await?;
            context.output.facts(vec![("entry_sequence", json!(answer.entry_sequence))])
        }
    }
}

fn keygen(out: &Path, context: &mut Context) -> Result<(), Failure> {
    let random = OsRandom::new();
    let key = SigningKey::generate(&mut Pool::new(&random)).map_err(|error| Failure::Internal(error.to_string()))?;
    let seed = Zeroizing::new(hex::encode(key.expose_seed()));
    let mut file = create_private(out)?;
    writeln!(file, "{}", *seed).and_then(|()| file.sync_all()).map_err(|error| Failure::output(&error))?;
    context.output.facts(vec![("public_key", text(hex::encode(key.public_key())))])
}

/// The text of a statement, and the name its signatures carry. The vault reads it in exactly this form.
fn statement(vault: &str, serial: u64, approvers: &[String]) -> Result<(String, String), Failure> {
    let usage = |invalid: fuda_core::Invalid| Failure::Usage(invalid.to_string());
    let vault = VaultId::parse(vault).map_err(usage)?;
    let mut lines = format!("fuda succession\nvault {vault}\nserial {serial}\n");
    for approver in approvers {
        lines.push_str(&format!("approver {}\n", CallerId::parse(approver).map_err(usage)?));
    }
    let name = key_name(&lines)?;
    Ok((lines, name))
}

fn key_name(text: &str) -> Result<String, Failure> {
    let vault = text.lines().nth(1).and_then(|line| line.strip_prefix("vault "));
    match vault {
        Some(vault) if text.starts_with("fuda succession\n") => Ok(format!("fuda/{vault}/succession")),
        _ => Err(Failure::Usage("the file is not a succession statement".to_owned())),
    }
}

fn sign(text: String, name: &str, key: &SigningKey) -> Result<SignedNote, Failure> {
    SignedNote::sign(text, name, key).map_err(unusable)
}

pub(super) fn unusable(error: fuda_ledger::Error) -> Failure {
    Failure::Usage(format!("the statement cannot be used: {error}"))
}

pub(super) fn read_note(path: &Path) -> Result<SignedNote, Failure> {
    SignedNote::parse(&read(path)?).map_err(unusable)
}

pub(super) fn read_key(path: &Path) -> Result<SigningKey, Failure> {
    let wrong = || Failure::Usage(format!("`{}` must hold 64 hexadecimal digits", path.display()));
    let bytes = read(path)?;
    let mut seed = Zeroizing::new([0; 32]);
    let digits = std::str::from_utf8(&bytes).map_err(|_| wrong())?.trim();
    hex::decode_to_slice(digits, &mut *seed).map_err(|_| wrong())?;
    SigningKey::from_seed(&seed).map_err(|error| Failure::Internal(error.to_string()))
}

fn read(path: &Path) -> Result<input::SecretBytes, Failure> {
    let shown = path.display();
    let size = std::fs::metadata(path).map_err(|error| Failure::Usage(format!("`{shown}` cannot be read: {error}")))?;
    if size.len() > FILE_BYTES_MAX {
        return Err(Failure::Usage(format!("`{shown}` has more than {FILE_BYTES_MAX} bytes")));
    }
    input::read(Some(path))
}

pub(super) fn write(out: &Path, note: &SignedNote, context: &mut Context) -> Result<(), Failure> {
    let mut file = create_public(out)?;
    file.write_all(&note.to_bytes()).and_then(|()| file.sync_all()).map_err(|error| Failure::output(&error))?;
    context.output.facts(vec![("signatures", json!(note.signatures().len()))])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_signed_by_one_key_after_the_other() {
        let vault = "aa".repeat(16);
        let heirs = ["spiffe://d.example/one".to_owned(), "spiffe://d.example/two".to_owned()];
        let (text, name) = statement(&vault, 3, &heirs).unwrap();
        assert_eq!(name, format!("fuda/{vault}/succession"));
        assert!(text.ends_with("serial 3\napprover spiffe://d.example/one\napprover spiffe://d.example/two\n"));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        std::fs::write(&path, format!("{}\n", "07".repeat(32))).unwrap();
        let mut note = sign(text.clone(), &name, &read_key(&path).unwrap()).unwrap();
        std::fs::write(&path, "08".repeat(32)).unwrap();
        note.merge(&sign(text, &name, &read_key(&path).unwrap()).unwrap()).unwrap();
        assert_eq!(note.signatures().len(), 2);
        std::fs::write(&path, "no key").unwrap();
        assert!(read_key(&path).is_err());
        assert!(statement(&vault, 3, &["nobody".to_owned()]).is_err() && key_name("fuda/other\n").is_err());
    }
}
