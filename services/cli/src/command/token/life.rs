//! `fuda token exchange`, `rotate` and `update`: the life of tokens.

use clap::Args;
use fuda_client::Secret;
use fuda_client::vault::UpdateItem;

use super::reveal::Windows;
use super::{Asking, Context, Files, results};
use crate::failure::Failure;
use crate::input;
use crate::rows::{pairs, tokens};

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
}

pub(super) async fn exchange(arguments: Exchange, context: &mut Context) -> Result<(), Failure> {
    let client = context.connection.client_for_batches().await?;
    let job = arguments.asking.job("");
    let tokens = tokens(&input::read(arguments.files.input.as_deref())?)?;
    let mut results = results(arguments.files.out.as_deref(), &mut context.output, TOKEN_COLUMNS)?;
    let (mut windows, mut line) = (Windows::of(tokens), 0_u64);
    while let Some((count, window)) = windows.next() {
        let replies = match window {
            Some(window) => client.exchange_all(&job, &arguments.to_scope, arguments.replace, window).await,
            None => Vec::new(),
        };
        for reply in windows.settle(count, replies) {
            line += 1;
            match reply {
                Ok(reply) => results.row(&[&line.to_string(), &reply.token, &reply.record, ""])?,
                Err(problem) => results.row(&[&line.to_string(), "", "", &problem])?,
            }
        }
        results.flush()?;
    }
    windows.outcome()
}

pub(super) async fn rotate(arguments: Rotate, context: &mut Context) -> Result<(), Failure> {
    let client = context.connection.client_for_batches().await?;
    let job = arguments.asking.job("");
    let tokens = tokens(&input::read(arguments.files.input.as_deref())?)?;
    let mut results = results(arguments.files.out.as_deref(), &mut context.output, TOKEN_COLUMNS)?;
    let (mut windows, mut line) = (Windows::of(tokens), 0_u64);
    while let Some((count, window)) = windows.next() {
        let replies = match window {
            Some(window) => client.rotate_all(&job, window).await,
            None => Vec::new(),
        };
        for reply in windows.settle(count, replies) {
            line += 1;
            match reply {
                Ok(reply) => results.row(&[&line.to_string(), &reply.token, &reply.record, ""])?,
                Err(problem) => results.row(&[&line.to_string(), "", "", &problem])?,
            }
        }
        results.flush()?;
    }
    windows.outcome()
}

pub(super) async fn update(arguments: Update, context: &mut Context) -> Result<(), Failure> {
    let client = context.connection.client_for_batches().await?;
    let job = arguments.asking.job("");
    let items = pairs(&input::read(arguments.files.input.as_deref())?)?;
    let mut results = results(arguments.files.out.as_deref(), &mut context.output, UPDATE_COLUMNS)?;
    let (mut windows, mut line) = (Windows::of(items), 0_u64);
    while let Some((count, window)) = windows.next() {
        let replies = match window {
            Some(window) => {
                let item = |pair: Secret<fuda_client::vault::VerifyItem>| {
                    let pair = pair.into_inner();
                    UpdateItem { token: pair.token, number: pair.number, verification: None }
                };
                client.update_all(&job, window.into_iter().map(item).collect()).await
            }
            None => Vec::new(),
        };
        for reply in windows.settle(count, replies) {
            line += 1;
            let place = line.to_string();
            match reply {
                Ok(reply) => results.row(&[&place, &reply.record, &reply.record_version.to_string(), ""])?,
                Err(problem) => results.row(&[&place, "", "", &problem])?,
            }
        }
        results.flush()?;
    }
    windows.outcome()
}
