//! `fuda token masked`: the ends of numbers.

use clap::Args;

use super::reveal::Windows;
use super::{Asking, Context, Files, results};
use crate::failure::Failure;
use crate::input;
use crate::rows::tokens;

const COLUMNS: &[&str] = &["subject", "kind", "masked", "error"];

#[derive(Debug, Args)]
pub(crate) struct Masked {
    #[command(flatten)]
    asking: Asking,
    /// Code of the purpose. Required unless the kind is public.
    #[arg(long, value_name = "CODE", default_value = "")]
    purpose: String,
    #[command(flatten)]
    files: Files,
}

pub(super) async fn masked(arguments: Masked, context: &mut Context) -> Result<(), Failure> {
    let client = context.connection.client_for_batches().await?;
    let job = arguments.asking.job(&arguments.purpose);
    let tokens = tokens(&input::read(arguments.files.input.as_deref())?)?;
    let mut results = results(arguments.files.out.as_deref(), &mut context.output, COLUMNS)?;
    let mut windows = Windows::of(tokens);
    while let Some((count, window)) = windows.next() {
        let replies = match window {
            Some(window) => client.reveal_masked_all(&job, window).await,
            None => Vec::new(),
        };
        for reply in windows.settle(count, replies) {
            match reply {
                Ok(reply) => results.row(&[&reply.subject, &reply.kind, &reply.masked, ""])?,
                Err(problem) => results.row(&["", "", "", &problem])?,
            }
        }
        results.flush()?;
    }
    windows.outcome()
}
