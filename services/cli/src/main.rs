//! `fuda`: the command line of the vault, noun first (`fuda token detokenize`).
//!
//! Numbers and tokens are read from standard input or a file and never from the command line, where other users of
//! the machine and the shell's history would see them.
//!
//! Exit codes: 0 done · 1 some items were refused, a verification failed, or the state of the vault forbids it ·
//! 2 wrong usage or input · 3 denied · 4 unavailable · 5 internal error · 64 unusable identity files.
//!
//! ```text
//! main ─ args ─ command/NOUN ─ connect ─ fuda-client
//!                    ├─ input, rows      what is read
//!                    └─ output, failure  what is written, and how it ends
//! ```

mod args;
mod command;
mod connect;
mod export;
mod failure;
mod grant_table;
mod input;
mod output;
mod rows;
mod sample;
mod wire;

use std::process::ExitCode;

use clap::Parser as _;

use crate::args::Cli;
use crate::command::Context;
use crate::failure::Failure;

fn main() -> ExitCode {
    // Before anything secret is in memory: no core dumps, no debugger, no panic message.
    let outcome = fuda_runtime::process::harden()
        .map_err(|error| Failure::Internal(error.to_string()))
        .and_then(|()| run(Cli::parse()));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Nobody is left to tell when standard error is gone; the exit code still says it.
            let _ = failure.report(&mut std::io::stderr().lock());
            ExitCode::from(failure.exit().code())
        }
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::Internal(error.to_string()))?;
    let mut context = Context::new(cli.connection, cli.output);
    runtime.block_on(Box::pin(command::run(cli.command, &mut context)))
}
