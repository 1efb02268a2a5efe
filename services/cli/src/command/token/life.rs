//! `fuda token exchange`, `rotate` and `update`: the life of tokens.

use clap::Args;
use fuda_client::Secret;
use fuda_client::vault::{UpdateItem, VerifyItem};

use super::windows::{cells, each};
use super::{Asking, Context, Files};
use crate::failure::Failure;
use crate::rows::Check;

const TOKEN_COLUMNS: &[&str] = &["line", "token", "record", "error"];
const UPDATE_COLUMNS: &[&str] = &["line", "record", "record_version", "error"];

#[derive(Debug, Args)]
pub(crate) struct Exchange {
    #[command(flatten)]
    asking: Asking,
    /// The scope the new tokens are for.
    #[arg(long)]
    to_scope: String,
    /// New tokens take the place of those that the records have of that scope, which are dead from then on.
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    files: Files,
}

#[derive(Debug, Args)]
pub(crate) struct Rotate {
    #[command(flatten)]
    asking: Asking,
    #[command(flatten)]
    files: Files,
}

#[derive(Debug, Args)]
pub(crate) struct Update {
    #[command(flatten)]
    asking: Asking,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    check: Check,
}

pub(super) async fn exchange(arguments: Exchange, context: &mut Context) -> Result<(), Failure> {
    let client = context.connection.client_for_batches().await?;
    let job = arguments.asking.job("");
    let (tokens, results) = arguments.files.tokens(&mut context.output, TOKEN_COLUMNS)?;
    let (to_scope, replace) = (&arguments.to_scope, arguments.replace);
    let ask = async |window| client.exchange_all(&job, to_scope, replace, window).await;
    each(tokens, results, ask, |reply| cells([&reply.token, &reply.record])).await
}

pub(super) async fn rotate(arguments: Rotate, context: &mut Context) -> Result<(), Failure> {
    let client = context.connection.client_for_batches().await?;
    let job = arguments.asking.job("");
    let (tokens, results) = arguments.files.tokens(&mut context.output, TOKEN_COLUMNS)?;
    let ask = async |window| client.rotate_all(&job, window).await;
    each(tokens, results, ask, |reply| cells([&reply.token, &reply.record])).await
}

pub(super) async fn update(arguments: Update, context: &mut Context) -> Result<(), Failure> {
    let client = context.connection.client_for_batches().await?;
    let job = arguments.asking.job("");
    let (pairs, results) = arguments.files.pairs(&mut context.output, UPDATE_COLUMNS)?;
    let check = arguments.check.record();
    let item = |pair: Secret<VerifyItem>| {
        let pair = pair.into_inner();
        UpdateItem { token: pair.token, number: pair.number, verification: check.clone() }
    };
    let ask = async |window: Vec<_>| client.update_all(&job, window.into_iter().map(item).collect()).await;
    each(pairs, results, ask, |reply| vec![(&reply.record).into(), reply.record_version.to_string().into()]).await
}
