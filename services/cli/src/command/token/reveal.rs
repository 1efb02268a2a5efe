//! `fuda token detokenize`, `masked`, `describe` and `verify`: what a token gives.

use std::borrow::Cow;

use clap::Args;
use fuda_client::Secret;
use fuda_client::vault::Record;
use fuda_core::Relation;

use super::windows::{Cells, cells, each};
use super::{Asking, Context, Files};
use crate::failure::Failure;
use crate::wire;

const NUMBER_COLUMNS: &[&str] = &["subject", "kind", "number", "error"];
const MASKED_COLUMNS: &[&str] = &["subject", "kind", "masked", "error"];
const RECORD_COLUMNS: &[&str] =
    &["subject", "kind", "record", "record_version", "status", "relation", "principal_subject", "error"];
const MATCH_COLUMNS: &[&str] = &["line", "matched", "error"];

#[derive(Debug, Args)]
pub(crate) struct Detokenize {
    #[command(flatten)]
    asking: Asking,
    /// Code of the purpose, such as tax.withholding_slip. Required unless the kind is public.
    #[arg(long, value_name = "CODE", default_value = "")]
    purpose: String,
    #[command(flatten)]
    files: Files,
}

#[derive(Debug, Args)]
pub(crate) struct Describe {
    #[command(flatten)]
    asking: Asking,
    #[command(flatten)]
    files: Files,
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    #[command(flatten)]
    asking: Asking,
    /// Code of the purpose, such as op.collect.
    #[arg(long, value_name = "CODE")]
    purpose: String,
    #[command(flatten)]
    files: Files,
}

pub(super) async fn detokenize(arguments: Detokenize, context: &mut Context) -> Result<(), Failure> {
    let client = context.connection.client_for_batches().await?;
    let job = arguments.asking.job(&arguments.purpose);
    let (tokens, results) = arguments.files.tokens(&mut context.output, NUMBER_COLUMNS)?;
    let ask = async |window| client.detokenize_all(&job, window).await;
    each(tokens, results, ask, |reply| cells([&reply.subject, &reply.kind, &reply.number])).await
}

pub(super) async fn masked(arguments: Detokenize, context: &mut Context) -> Result<(), Failure> {
    let client = context.connection.client_for_batches().await?;
    let job = arguments.asking.job(&arguments.purpose);
    let (tokens, results) = arguments.files.tokens(&mut context.output, MASKED_COLUMNS)?;
    let ask = async |window| client.reveal_masked_all(&job, window).await;
    each(tokens, results, ask, |reply| cells([&reply.subject, &reply.kind, &reply.masked])).await
}

pub(super) async fn describe(arguments: Describe, context: &mut Context) -> Result<(), Failure> {
    let client = context.connection.client_for_batches().await?;
    let job = arguments.asking.job("");
    let (tokens, results) = arguments.files.tokens(&mut context.output, RECORD_COLUMNS)?;
    let ask = async |window| client.describe_all(&job, window).await;
    each(tokens, results, ask, |reply| reply.record.as_ref().map_or_else(Cells::new, record_cells)).await
}

fn record_cells(record: &Record) -> Cells<'_> {
    let relation = wire::relation_known(record.relation()).map_or("", Relation::code);
    let mut cells = cells([&record.subject, &record.kind, &record.record]);
    cells.push(record.record_version.to_string().into());
    cells.extend([wire::status(record.status()), relation, &record.principal_subject].map(Cow::Borrowed));
    cells
}

pub(super) async fn verify(arguments: Verify, context: &mut Context) -> Result<(), Failure> {
    let client = context.connection.client_for_batches().await?;
    let job = arguments.asking.job(&arguments.purpose);
    let (pairs, results) = arguments.files.pairs(&mut context.output, MATCH_COLUMNS)?;
    let count = pairs.len();
    let mut mismatched = 0_u64;
    let ask =
        async |window: Vec<_>| client.verify_all(&job, window.into_iter().map(Secret::into_inner).collect()).await;
    each(pairs, results, ask, |reply| {
        mismatched += u64::from(!reply.matched);
        cells([if reply.matched { "true" } else { "false" }])
    })
    .await?;
    match mismatched {
        0 => Ok(()),
        _ => {
            Err(Failure::Verification(format!("{mismatched} of {count} numbers are not the ones behind their tokens")))
        }
    }
}
