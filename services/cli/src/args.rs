//! The command line as clap reads it. Every group's own arguments stand beside the group.

use clap::{Parser, ValueEnum};

use crate::command::Command;
use crate::connect::Connection;

const EXIT_CODES: &str = "\
Exit codes:
  0   done
  1   some items were refused, a verification failed, or the state of the vault forbids it
  2   wrong usage or input
  3   denied, or a budget is used up
  4   unavailable: no leader, overloaded, unreachable or too late
  5   internal error
  64  unusable identity files

Numbers and tokens are read from standard input or files, never from the command line.";

/// The command line of the Fuda tokenization vault.
#[derive(Debug, Parser)]
#[command(name = "fuda", version, after_help = EXIT_CODES, after_long_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) connection: Connection,

    /// How results are printed.
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people; `token` commands write CSV.
    Table,
    /// One JSON document; `token` commands and `audit tail` write one object per line.
    Json,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_documents_every_exit_code() {
        let help = Cli::command().render_long_help().to_string();
        for exit in crate::failure::Exit::ALL {
            assert!(help.lines().any(|line| line.trim().starts_with(&format!("{} ", exit.code()))), "{exit:?}");
        }
    }

    #[test]
    fn no_argument_takes_a_number_or_a_token() {
        fn check(command: &clap::Command, path: &str) {
            for argument in command.get_arguments() {
                let name = argument.get_id().as_str();
                assert!(!["number", "token", "tokens", "numbers", "items"].contains(&name), "{path} {name}");
            }
            for inner in command.get_subcommands() {
                check(inner, &format!("{path} {}", inner.get_name()));
            }
        }
        check(&Cli::command(), "fuda");
    }

    #[test]
    fn global_arguments_stand_anywhere() {
        let line = ["fuda", "cluster", "status", "--address", "a:1,b:2", "--identity", "/id", "-o", "json"];
        let cli = Cli::try_parse_from(line).unwrap();
        assert_eq!(cli.connection.address, ["a:1", "b:2"]);
        assert_eq!(cli.output, Format::Json);
        for wrong in [
            &["fuda"][..],
            &["fuda", "cluster", "status", "-o", "yaml"],
            &["fuda", "tenant", "create", "acme", "--name", "Acme", "--purpose", "tax.withholding_slip"],
            &["fuda", "cluster", "init", "--owner", "spiffe://d/o"],
        ] {
            assert_eq!(Cli::try_parse_from(wrong).unwrap_err().exit_code(), 2, "{wrong:?}");
        }
    }
}
