//! `fuda token seal` and `open-sealed`: numbers for a recipient, and what the recipient does with them.

use std::borrow::Cow;
use std::path::PathBuf;

use clap::Args;
use fuda_client::vault::SealedNumber as Wire;
use fuda_core::{Fingerprint, Kind, PurposeCode, RequestId, SubjectRef, TenantId, VaultId};
use fuda_crypto::{RecipientSecret, SealedContext, SealedNumber, open_as_recipient};
use zeroize::Zeroizing;

use super::windows::{Cells, cells, each};
use super::{Asking, Context, Files, results};
use crate::command::recipient::read_secret;
use crate::failure::{Exit, Failure, Tally};
use crate::input;
use crate::rows::{SEALED_COLUMNS, sealed};

const NUMBER_COLUMNS: &[&str] = &["subject", "kind", "number", "error"];

#[derive(Debug, Args)]
pub(crate) struct Seal {
    #[command(flatten)]
    asking: Asking,
    /// Code of the purpose. Required unless the kind is public.
    #[arg(long, value_name = "CODE", default_value = "")]
    purpose: String,
    /// Fingerprint of the recipient, as `fuda recipient list` shows it.
    #[arg(long, value_name = "FINGERPRINT")]
    recipient: String,
    #[command(flatten)]
    files: Files,
}

#[derive(Debug, Args)]
pub(crate) struct OpenSealed {
    /// File of the recipient's private key, as `fuda recipient keygen` writes it.
    #[arg(long, value_name = "KEYFILE")]
    key: PathBuf,
    #[command(flatten)]
    files: Files,
}

pub(super) async fn seal(arguments: Seal, context: &mut Context) -> Result<(), Failure> {
    let client = context.connection.client_for_batches().await?;
    let job = arguments.asking.job(&arguments.purpose);
    let (tokens, results) = arguments.files.tokens(&mut context.output, &SEALED_COLUMNS)?;
    let ask = async |window| client.seal_all(&job, &arguments.recipient, window).await;
    each(tokens, results, ask, |reply| reply.sealed.as_ref().map_or_else(Cells::new, sealed_cells)).await
}

fn sealed_cells(it: &Wire) -> Cells<'_> {
    let mut cells = cells([&it.subject, &it.kind, &it.vault, &it.tenant, &it.purpose, &it.request_id, &it.recipient]);
    cells.extend([hex::encode(&it.encapsulated_key), hex::encode(&it.ciphertext)].map(Cow::Owned));
    cells
}

pub(super) fn open_sealed(arguments: &OpenSealed, context: &mut Context) -> Result<(), Failure> {
    let secret = read_secret(&arguments.key)?;
    let rows = sealed(&input::read(arguments.files.input.as_deref())?)?;
    let mut results = results(arguments.files.out.as_deref(), &mut context.output, NUMBER_COLUMNS)?;
    let mut tally = Tally::default();
    for row in rows {
        match open(&secret, &row) {
            Ok(number) => {
                tally.done();
                results.row(&[&row.subject, &row.kind, &number, ""])?;
            }
            Err(problem) => {
                tally.refused(Exit::Refused);
                results.row(&[&row.subject, &row.kind, "", problem])?;
            }
        }
    }
    results.flush()?;
    tally.outcome()
}

/// The number of one row. What is wrong with a row that does not open cannot be told apart.
fn open(secret: &RecipientSecret, row: &Wire) -> Result<Zeroizing<String>, &'static str> {
    const MALFORMED: &str = "a column is not what `fuda token seal` writes";
    const UNOPENED: &str = "does not open with this key: another recipient, or a column was changed";
    let context = Owned::of(row).ok_or(MALFORMED)?;
    let sealed = SealedNumber {
        encapsulated_key: row.encapsulated_key.as_slice().try_into().map_err(|_| MALFORMED)?,
        ciphertext: row.ciphertext.clone(),
    };
    if secret.public_key().map_err(|_| UNOPENED)?.fingerprint() != context.recipient {
        return Err(UNOPENED);
    }
    let number = open_as_recipient(secret, &sealed, &context.borrowed()).map_err(|_| UNOPENED)?;
    Ok(Zeroizing::new(String::from_utf8_lossy(number.expose()).into_owned()))
}

struct Owned {
    vault: VaultId,
    tenant: TenantId,
    purpose: Option<PurposeCode>,
    request: RequestId,
    recipient: Fingerprint,
    kind: Kind,
    subject: SubjectRef,
}

impl Owned {
    fn of(row: &Wire) -> Option<Self> {
        Some(Self {
            vault: VaultId::parse(&row.vault).ok()?,
            tenant: TenantId::parse(&row.tenant).ok()?,
            purpose: match row.purpose.as_str() {
                "" => None,
                purpose => Some(PurposeCode::parse(purpose).ok()?),
            },
            request: RequestId::parse(&row.request_id).ok()?,
            recipient: Fingerprint::parse(&row.recipient).ok()?,
            kind: Kind::from_code(&row.kind).ok()?,
            subject: SubjectRef::parse(&row.subject).ok()?,
        })
    }

    fn borrowed(&self) -> SealedContext<'_> {
        SealedContext {
            vault: self.vault,
            tenant: &self.tenant,
            purpose: self.purpose.as_ref(),
            request: self.request,
            kind: self.kind,
            subject: &self.subject,
        }
    }
}

#[cfg(test)]
mod tests {
    use fuda_core::Number;
    use fuda_crypto::{OsRandom, Pool, seal_to_recipient};

    use super::*;

    fn row(secret: &RecipientSecret) -> Wire {
        let key = secret.public_key().unwrap();
        let row = Wire {
            vault: "a1".repeat(16),
            tenant: "acme".to_owned(),
            purpose: "op.migrate".to_owned(),
            request_id: "6f1c9c8e-2a0b-4a3f-9d1e-0c5b7a8d9e0f".to_owned(),
            recipient: key.fingerprint().to_string(),
            kind: "my_number".to_owned(),
            subject: "E-1".to_owned(),
            ..Wire::default()
        };
        let number = Number::from_normalised(Kind::MyNumber, b"123456789018").unwrap();
        let (random, context) = (OsRandom::new(), Owned::of(&row).unwrap());
        let sealed = seal_to_recipient(&mut Pool::new(&random), &key, &number, &context.borrowed()).unwrap();
        Wire { encapsulated_key: sealed.encapsulated_key.to_vec(), ciphertext: sealed.ciphertext, ..row }
    }

    #[test]
    fn a_row_opens_for_its_recipient_and_as_it_was_written_only() {
        let (own, other) = (RecipientSecret::from_bytes([7; 32]), RecipientSecret::from_bytes([8; 32]));
        let good = row(&own);
        assert_eq!(open(&own, &good).unwrap().as_str(), "123456789018");
        assert!(open(&other, &good).is_err());
        for wrong in [
            Wire { vault: "a2".repeat(16), ..good.clone() },
            Wire { tenant: "globex".to_owned(), ..good.clone() },
            Wire { purpose: String::new(), ..good.clone() },
            Wire { request_id: "7f1c9c8e-2a0b-4a3f-9d1e-0c5b7a8d9e0f".to_owned(), ..good.clone() },
            Wire { recipient: "00".repeat(32), ..good.clone() },
            Wire { kind: "corporate_number".to_owned(), ..good.clone() },
            Wire { subject: "E-2".to_owned(), ..good.clone() },
            Wire { encapsulated_key: vec![9; 32], ..good.clone() },
            Wire { ciphertext: Vec::new(), ..good },
        ] {
            assert!(open(&own, &wrong).is_err(), "{wrong:?}");
        }
    }
}
