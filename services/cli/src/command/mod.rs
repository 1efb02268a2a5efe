//! The command groups, one file each.

mod access;
mod audit;
mod canary;
mod cluster;
mod dev;
mod freeze;
mod grant;
mod login;
mod policy;
mod purpose;
mod recipient;
mod record;
mod succession;
mod tenant;
mod token;
mod transfer;

use clap::Subcommand;

use crate::args::Format;
use crate::connect::Connection;
use crate::failure::Failure;
use crate::output::Output;

/// A command group.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Sign in at an OpenID provider, for calls with --token-file (people).
    Login(login::Arguments),
    /// Make and run the cluster of nodes (operators).
    #[command(subcommand)]
    Cluster(cluster::Command),
    /// Make and show tenants (owners).
    #[command(subcommand)]
    Tenant(tenant::Command),
    /// Propose, approve and list grants (owners and approvers: two different people).
    #[command(subcommand)]
    Grant(grant::Command),
    /// Stop the use of a scope, purpose, tenant, caller or of the whole vault, and thaw it (two different people).
    #[command(subcommand)]
    Freeze(freeze::Command),
    /// Ask for access, decide on it, break the glass (handlers, approvers, owners).
    #[command(subcommand)]
    Access(access::Command),
    /// Show and change purposes: the catalogue, and what a tenant uses (owners and approvers: two different people).
    #[command(subcommand)]
    Purpose(purpose::Command),
    /// Register to whom numbers may be sealed (owners and approvers: two different people); keys of recipients.
    #[command(subcommand)]
    Recipient(recipient::Command),
    /// Change, test and explain the policy text (owners, approvers, auditors).
    #[command(subcommand)]
    Policy(policy::Command),
    /// Appoint approvers by offline keys when the old ones are gone (owners, operators).
    #[command(subcommand)]
    Succession(succession::Command),
    /// Plant tokens that belong to no number (owners, approvers).
    #[command(subcommand)]
    Canary(canary::Command),
    /// Store numbers and use tokens (workloads).
    #[command(subcommand)]
    Token(token::Command),
    /// Hand a number over to the next employer, with the person's consent (both tenants' people).
    #[command(subcommand)]
    Transfer(transfer::Command),
    /// Show the metadata of records (workloads).
    #[command(subcommand)]
    Record(record::Command),
    /// Read and verify the ledger (auditors).
    #[command(subcommand)]
    Audit(audit::Command),
    /// Certificates and data for development and tests. Not for production.
    #[command(subcommand)]
    Dev(dev::Command),
}

/// What every command needs.
pub(crate) struct Context {
    /// Where the nodes are; no connection is made before a command asks for one.
    pub(crate) connection: Connection,
    /// Where results go.
    pub(crate) output: Output,
}

impl Context {
    /// Results go to standard output.
    pub(crate) fn new(connection: Connection, format: Format) -> Self {
        Self { connection, output: Output::new(format) }
    }
}

/// Runs one command.
pub(crate) async fn run(command: Command, context: &mut Context) -> Result<(), Failure> {
    match command {
        Command::Login(arguments) => Box::pin(login::run(arguments, context)).await,
        Command::Cluster(command) => Box::pin(cluster::run(command, context)).await,
        Command::Tenant(command) => Box::pin(tenant::run(command, context)).await,
        Command::Grant(command) => Box::pin(grant::run(command, context)).await,
        Command::Canary(command) => Box::pin(canary::run(command, context)).await,
        Command::Freeze(command) => Box::pin(freeze::run(command, context)).await,
        Command::Access(command) => Box::pin(access::run(command, context)).await,
        Command::Purpose(command) => Box::pin(purpose::run(command, context)).await,
        Command::Recipient(command) => Box::pin(recipient::run(command, context)).await,
        Command::Policy(command) => Box::pin(policy::run(command, context)).await,
        Command::Succession(command) => Box::pin(succession::run(command, context)).await,
        Command::Token(command) => Box::pin(token::run(command, context)).await,
        Command::Transfer(command) => Box::pin(transfer::run(command, context)).await,
        Command::Record(command) => Box::pin(record::run(command, context)).await,
        Command::Audit(command) => Box::pin(audit::run(command, context)).await,
        Command::Dev(command) => dev::run(command, context),
    }
}
