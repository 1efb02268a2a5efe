//! `fuda token`: numbers go in, tokens come out, and numbers come back where purpose, caller and record allow it.
//!
//! Nothing secret is an argument. Input is read whole before the first call, so that a malformed file does nothing.

mod life;
mod reveal;
mod seal;
mod tokenize;
mod windows;

use std::io::{IsTerminal as _, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use fuda_client::vault::VerifyItem;
use fuda_client::{Job, Secret};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use zeroize::Zeroizing;

use super::Context;
use crate::args::Format;
use crate::failure::Failure;
use crate::input;
use crate::output::{Output, create_private};
use crate::rows::{Results, pairs, tokens};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Store numbers and write their tokens.
    ///
    /// Reads CSV with a header line: subject, number, and optionally principal_subject, relation (self by default) and
    /// notified_purposes (parted by `;`). With --subject, stores the one number on standard input.
    ///
    /// Writes CSV: subject, kind, scope, token, record, error.
    Tokenize(tokenize::Arguments),
    /// Write the numbers behind tokens.
    ///
    /// Reads one token per line, or CSV with a column `token`. Writes CSV in the same order: subject, kind, number,
    /// error.
    Detokenize(reveal::Detokenize),
    /// Show what is known about tokens, without their numbers.
    ///
    /// Reads like `detokenize`. Writes CSV: subject, kind, record, record_version, status, relation,
    /// principal_subject, error.
    Describe(reveal::Describe),
    /// Check whether numbers are the ones behind tokens.
    ///
    /// Reads lines of a token, white space or a comma, and a number. Writes CSV: line, matched, error. Exit code 1
    /// when a number does not match.
    Verify(reveal::Verify),
    /// Get tokens of another scope for tokens, without their numbers.
    ///
    /// Reads like `detokenize`. Writes CSV in the same order: line, token, record, error.
    Exchange(life::Exchange),
    /// Get new tokens in the place of tokens, which are dead from then on.
    ///
    /// Reads like `detokenize`. Writes CSV in the same order: line, token, record, error.
    Rotate(life::Rotate),
    /// Store new numbers for the records of tokens; every token of a record reads its new number.
    ///
    /// Reads like `verify`. Writes CSV: line, record, record_version, error.
    Update(life::Update),
    /// Write the last characters of numbers; not of My Numbers.
    ///
    /// Reads like `detokenize`. Writes CSV in the same order: subject, kind, masked, error.
    Masked(reveal::Detokenize),
    /// Write the numbers behind tokens, encrypted to a registered recipient; you cannot read them.
    ///
    /// Reads like `detokenize`. Writes CSV in the same order: subject, kind, vault, tenant, purpose, request_id,
    /// recipient, encapsulated_key, ciphertext, error.
    Seal(seal::Seal),
    /// Open sealed numbers, as their recipient. Needs no vault.
    ///
    /// Reads the CSV that `seal` writes. Writes CSV in the same order, without the items that were refused: subject,
    /// kind, number, error.
    OpenSealed(seal::OpenSealed),
}

/// Where input comes from and results go.
#[derive(Debug, Args)]
pub(crate) struct Files {
    /// Input file; `-` or none: standard input.
    #[arg(long = "in", value_name = "FILE")]
    input: Option<PathBuf>,
    /// New file for the results, for its owner only; `-` or none: standard output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

type Rows<'a> = Results<Box<dyn Write + Send + 'a>>;

impl Files {
    /// The tokens of the input, and the results, opened: a file that is there already does nothing.
    fn tokens<'a>(
        &self,
        output: &'a mut Output,
        columns: &'static [&'static str],
    ) -> Result<(Vec<Zeroizing<String>>, Rows<'a>), Failure> {
        let tokens = tokens(&input::read(self.input.as_deref())?)?;
        Ok((tokens, results(self.out.as_deref(), output, columns)?))
    }

    /// The same for tokens, each with a number.
    fn pairs<'a>(
        &self,
        output: &'a mut Output,
        columns: &'static [&'static str],
    ) -> Result<(Vec<Secret<VerifyItem>>, Rows<'a>), Failure> {
        let pairs = pairs(&input::read(self.input.as_deref())?)?;
        Ok((pairs, results(self.out.as_deref(), output, columns)?))
    }
}

/// Who asks, and where it is written down.
#[derive(Debug, Args)]
pub(crate) struct Asking {
    /// The tenant.
    #[arg(long, value_name = "ID")]
    tenant: String,
    /// The consuming system the tokens are for.
    #[arg(long)]
    scope: String,
    /// Your reference to the piece of work, for the ledger.
    #[arg(long, value_name = "TEXT", default_value = "")]
    work_reference: String,
}

impl Asking {
    fn job(&self, purpose: &str) -> Job {
        Job {
            tenant: self.tenant.clone(),
            purpose: purpose.to_owned(),
            scope: self.scope.clone(),
            work_reference: self.work_reference.clone(),
        }
    }
}

pub(super) async fn run(command: Command, context: &mut Context) -> Result<(), Failure> {
    match command {
        Command::Tokenize(arguments) => tokenize::run(arguments, context).await,
        Command::Detokenize(arguments) => reveal::detokenize(arguments, context).await,
        Command::Describe(arguments) => reveal::describe(arguments, context).await,
        Command::Verify(arguments) => reveal::verify(arguments, context).await,
        Command::Exchange(arguments) => life::exchange(arguments, context).await,
        Command::Rotate(arguments) => life::rotate(arguments, context).await,
        Command::Update(arguments) => life::update(arguments, context).await,
        Command::Masked(arguments) => reveal::masked(arguments, context).await,
        Command::Seal(arguments) => seal::seal(arguments, context).await,
        Command::OpenSealed(arguments) => seal::open_sealed(&arguments, context),
    }
}

/// Opens the results: in a file of their own, or on standard output.
fn results<'a>(
    out: Option<&Path>,
    output: &'a mut Output,
    columns: &'static [&'static str],
) -> Result<Rows<'a>, Failure> {
    let format = output.format();
    let to: Box<dyn Write + Send + 'a> = match out.filter(|path| *path != Path::new("-")) {
        Some(path) => Box::new(create_private(path)?),
        None => Box::new(output.writer()),
    };
    match format {
        Format::Table => Results::csv(to, columns),
        Format::Json => Ok(Results::json(to, columns)),
    }
}

/// A progress bar on standard error, when somebody looks at it.
pub(crate) fn progress(items: u64) -> ProgressBar {
    let target =
        if std::io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(items), target);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {human_pos}/{human_len} {per_sec} {eta}") {
        bar.set_style(style);
    }
    bar
}
