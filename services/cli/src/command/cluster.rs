//! `fuda cluster`: make the vault once, add and remove nodes, see how they are.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use fuda_client::Error;
use fuda_client::cluster::{
    BootstrapRequest, GetStatusRequest, GetStatusResponse, JoinNodeRequest, LedgerKeeping, Member, RemoveNodeRequest,
    Sink, Witness,
};
use fuda_client::tenant::SuccessionKeys;
use fuda_core::{Code, limits::APPROVERS_MIN};
use serde_json::{Value, json};

use super::Context;
use crate::args::Format;
use crate::failure::Failure;
use crate::output::{create_public, text};
use crate::wire;

/// A joining node may first have to receive a snapshot.
const JOIN_WITHIN: Duration = Duration::from_secs(600);
/// A digest reads the whole state: a gigabyte takes seconds on an idle node and minutes on a busy one.
const DIGEST_WITHIN: Duration = Duration::from_secs(600);
/// One call waits 10 seconds for it.
const DIGEST_CALL_DEADLINE: Duration = Duration::from_secs(20);

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a new vault on the node at --address. Works once in the life of a vault.
    Init(Init),
    /// Make a started, empty node a member.
    Join {
        /// Peer listener of the new node, as the other nodes reach it.
        #[arg(long, value_name = "HOST:PORT")]
        peer_address: String,
    },
    /// Take a node out for ever; its identity is never used again.
    Remove {
        /// Raft id of the node, as `cluster status` shows it.
        #[arg(long, value_name = "N")]
        node_id: u64,
    },
    /// Show the cluster as the answering node sees it.
    Status {
        /// Also compute the digest of the replicated state, which reads all of it.
        #[arg(long)]
        digest: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Init {
    /// SPIFFE id of the owner, who makes tenants and proposes grants.
    #[arg(long, value_name = "SPIFFE")]
    owner: String,
    /// SPIFFE id of an approver; at least two, different from the owner.
    #[arg(long = "approver", value_name = "SPIFFE", required = true)]
    approvers: Vec<String>,
    /// SPIFFE id of an operator.
    #[arg(long = "operator", value_name = "SPIFFE")]
    operators: Vec<String>,
    /// SPIFFE id of an auditor of the whole vault.
    #[arg(long = "auditor", value_name = "SPIFFE")]
    auditors: Vec<String>,
    /// Make a test cluster: its tokens start with fuda_test_.
    #[arg(long)]
    test: bool,
    /// Offline public key (64 hexadecimal digits, from `succession keygen`) that can appoint approvers.
    #[arg(long = "succession-key", value_name = "HEX", requires = "succession_threshold")]
    succession_keys: Vec<String>,
    /// How many of the offline keys must sign.
    #[arg(long, value_name = "K", requires = "succession_keys")]
    succession_threshold: Option<u32>,
    /// Hours between a succession statement and its effect.
    #[arg(long, value_name = "HOURS", default_value_t = fuda_core::limits::SUCCESSION_DELAY_HOURS_DEFAULT)]
    succession_delay_hours: u32,
    /// Write the verifier key of the ledger to this new file. Keep it: `audit verify` trusts nothing else.
    #[arg(long, value_name = "FILE")]
    verifier_key_out: Option<PathBuf>,
}

pub(super) async fn run(command: Command, context: &mut Context) -> Result<(), Failure> {
    match command {
        Command::Init(init) => self::init(init, context).await,
        Command::Join { peer_address } => join(peer_address, context).await,
        Command::Remove { node_id } => {
            context.connection.client().await?.remove_node(RemoveNodeRequest { node_id }).await?;
            context.output.facts(vec![("removed", json!(node_id))])
        }
        Command::Status { digest } => {
            let status = match digest {
                true => status_with_digest(context).await?,
                false => context.connection.client().await?.get_status(GetStatusRequest { with_digest: false }).await?,
            };
            show(&status, context)
        }
    }
}

/// The vault ends a call after a minute. A node that still has much to receive goes on with it, and is asked for again.
async fn join(peer_address: String, context: &mut Context) -> Result<(), Failure> {
    let client = context.connection.client_for_batches().await?;
    let patience = context.connection.patience(JOIN_WITHIN);
    let until = Instant::now() + patience;
    loop {
        let request = JoinNodeRequest { peer_address: peer_address.clone() };
        match client.join_node(request).await {
            Ok(answer) => {
                return context.output.facts(vec![("node_id", json!(answer.node_id)), ("name", text(answer.name))]);
            }
            Err(error) => still_joining(error, &peer_address, patience, Instant::now() < until)?,
        }
    }
}

/// Whether the error only says that it takes longer, and there is time left.
fn still_joining(error: Error, peer_address: &str, patience: Duration, time_left: bool) -> Result<(), Failure> {
    match (error.code(), time_left) {
        (Some(Code::Deadline), true) => Ok(()),
        (Some(Code::Deadline), false) => Err(Failure::Pending(format!(
            "`{peer_address}` is not a voter after {} s; it goes on receiving what it lacks: `fuda cluster status` shows \
             how far it is, and the same command again waits for it",
            patience.as_secs()
        ))),
        _ => Err(error.into()),
    }
}

/// Asks until the node has read its whole state. On a cluster that never rests the digest stays away.
async fn status_with_digest(context: &mut Context) -> Result<GetStatusResponse, Failure> {
    let client = context.connection.client_within(DIGEST_CALL_DEADLINE).await?;
    let until = Instant::now() + DIGEST_WITHIN;
    loop {
        let status = client.get_status(GetStatusRequest { with_digest: true }).await?;
        if !status.state_digest.is_empty() || Instant::now() >= until {
            return Ok(status);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn init(init: Init, context: &mut Context) -> Result<(), Failure> {
    if init.approvers.len() < APPROVERS_MIN {
        return Err(Failure::Usage("--approver must be given at least twice".to_owned()));
    }
    if context.connection.address.len() != 1 {
        return Err(Failure::Usage("--address must name the one node to make the vault on".to_owned()));
    }
    let succession = succession(&init)?;
    // The file first: the key is shown only once, and a vault is made only once.
    let file = init.verifier_key_out.as_deref().map(|path| create_public(path).map(|file| (path, file))).transpose()?;
    let request = BootstrapRequest {
        owner: init.owner,
        approvers: init.approvers,
        operators: init.operators,
        auditors: init.auditors,
        test: init.test,
        succession,
    };
    let answer = match context.connection.client().await {
        Ok(client) => client.bootstrap(request).await.map_err(Failure::from),
        Err(failure) => Err(failure),
    };
    let answer = answer.inspect_err(|_| remove_empty(file.as_ref().map(|(path, _)| *path)))?;
    let kept = file.map_or(Ok(()), |(_, mut file)| {
        writeln!(file, "{}", answer.ledger_verifier_key).and_then(|()| file.sync_all())
    });
    // Printed also when the file failed: this is the last chance to keep the key.
    context.output.facts(vec![
        ("vault", text(answer.vault)),
        ("cluster", text(answer.cluster)),
        ("ledger_verifier_key", text(answer.ledger_verifier_key)),
    ])?;
    kept.map_err(|error| Failure::output(&error))
}

fn succession(init: &Init) -> Result<Option<SuccessionKeys>, Failure> {
    let Some(threshold) = init.succession_threshold else { return Ok(None) };
    let wrong = |_| Failure::Usage("--succession-key must have 64 hexadecimal digits".to_owned());
    let keys = init.succession_keys.iter().map(hex::decode).collect::<Result<_, _>>().map_err(wrong)?;
    Ok(Some(SuccessionKeys { keys, threshold, delay_hours: init.succession_delay_hours }))
}

fn remove_empty(path: Option<&Path>) {
    if let Some(path) = path {
        // The file is ours and empty; when it cannot be removed, the next attempt says so.
        let _ = std::fs::remove_file(path);
    }
}

fn show(status: &GetStatusResponse, context: &mut Context) -> Result<(), Failure> {
    let members = |table: bool| -> Vec<Value> {
        let members = status.members.iter();
        members.map(|member| if table { Value::from(member_line(member)) } else { member_value(member) }).collect()
    };
    let mut facts = vec![
        ("vault", text(&status.vault)),
        ("cluster", text(&status.cluster)),
        ("node_id", json!(status.node_id)),
        ("name", text(&status.name)),
        ("ready", json!(status.ready)),
        ("not_ready_reason", text(&status.not_ready_reason)),
        ("seal", text(&status.seal)),
        ("leader_id", json!(status.leader_id)),
        ("term", json!(status.term)),
        ("last_log_index", json!(status.last_log_index)),
        ("applied_index", json!(status.applied_index)),
        ("snapshot_index", json!(status.snapshot_index)),
        ("ledger_size", json!(status.ledger_size)),
        ("clock_skew_ms", json!(status.clock_skew_ms)),
    ];
    let keeping = status.keeping.clone().unwrap_or_default();
    if !status.state_digest.is_empty() {
        facts.push(("state_digest", text(&status.state_digest)));
    }
    match context.output.format() {
        Format::Json => {
            facts.push(("members", Value::from(members(false))));
            facts.push(("sinks", status.sinks.iter().map(sink_value).collect()));
            facts.push(("witnesses", status.witnesses.iter().map(witness_value).collect()));
            facts.push(("keeping", keeping_value(&keeping)));
        }
        Format::Table => {
            facts.extend(members(true).into_iter().map(|member| ("member", member)));
            facts.extend(status.sinks.iter().map(|sink| ("sink", Value::from(sink_line(sink)))));
            facts.extend(status.witnesses.iter().map(|it| ("witness", Value::from(witness_line(it)))));
            facts.push(("entries_kept", Value::from(keeping_line(&keeping))));
        }
    }
    context.output.facts(facts)
}

fn member_value(member: &Member) -> Value {
    json!({
        "node_id": member.node_id,
        "name": member.name,
        "peer_address": member.peer_address,
        "client_address": member.client_address,
        "voter": member.voter,
        "matched_index": member.matched_index,
    })
}

fn member_line(member: &Member) -> String {
    let role = if member.voter { "voter" } else { "learner" };
    // Only the leader knows how far the others are; 0 from another node says nothing.
    let matched = if member.matched_index == 0 { "-".to_owned() } else { member.matched_index.to_string() };
    format!(
        "{} {} {role} peer {} client {} matched {matched}",
        member.node_id, member.name, member.peer_address, member.client_address
    )
}

fn sink_value(sink: &Sink) -> Value {
    json!({
        "sink": sink.sink,
        "configured": sink.configured,
        "next_sequence": sink.next_sequence,
        "lag_entries": sink.lag_entries,
        "lag_seconds": sink.lag_seconds,
        "rejected": sink.rejected,
        "rejected_sequences": sink.rejected_sequences,
    })
}

fn witness_value(witness: &Witness) -> Value {
    json!({
        "name": witness.name,
        "entries": witness.entries,
        "cosigned_time": wire::moment_value(witness.cosigned_time.as_ref()),
        "age_seconds": witness.cosigned_time.is_some().then_some(witness.age_seconds),
    })
}

fn witness_line(witness: &Witness) -> String {
    let Witness { name, entries, cosigned_time, age_seconds } = witness;
    match cosigned_time {
        Some(_) => format!("{name} vouches for {entries} entries, age {age_seconds} s"),
        None => format!("{name} never cosigned"),
    }
}

fn keeping_value(keeping: &LedgerKeeping) -> Value {
    json!({
        "days": keeping.days,
        "legal_hold": keeping.legal_hold,
        "first_kept_sequence": keeping.first_kept_sequence,
        "newest_pruned_time": wire::moment_value(keeping.newest_pruned_time.as_ref()),
        "held_sequence": keeping.held_sequence,
        "holder": keeping.holder,
        "holder_name": text(&keeping.holder_name),
    })
}

fn keeping_line(keeping: &LedgerKeeping) -> String {
    let LedgerKeeping { days, first_kept_sequence, held_sequence, holder, holder_name, .. } = keeping;
    let period = if *days == 0 { "without end".to_owned() } else { format!("for {days} days") };
    let named = if holder_name.is_empty() { String::new() } else { format!(" {holder_name}") };
    format!("from {first_kept_sequence} on {period}, from {held_sequence} on needed by {holder}{named}")
}

fn sink_line(sink: &Sink) -> String {
    let Sink { sink, configured, next_sequence, lag_entries, lag_seconds, rejected, .. } = sink;
    let unused = if *configured { "" } else { " not configured here" };
    format!("{sink} next {next_sequence} lag {lag_entries} entries {lag_seconds} s rejected {rejected}{unused}")
}

#[cfg(test)]
mod tests {
    use fuda_client::Refused;

    use super::*;
    use crate::failure::Exit;

    #[test]
    fn a_join_that_takes_longer_is_asked_for_again_and_then_says_what_goes_on() {
        let refused = |code: Code| {
            let status = tonic::Code::from(code.status().number());
            let refused = Refused { status, code: code.id().to_owned(), ..pending() };
            Error::Refused(Box::new(refused))
        };
        let check = |code, time_left| still_joining(refused(code), "n4:7101", Duration::from_secs(600), time_left);
        assert!(check(Code::Deadline, true).is_ok());
        let failure = check(Code::Deadline, false).unwrap_err();
        assert_eq!(failure.exit(), Exit::Unavailable);
        let mut told = Vec::new();
        failure.report(&mut told).unwrap();
        let told = String::from_utf8(told).unwrap();
        assert!(told.contains("n4:7101") && told.contains("600 s") && told.contains("again"), "{told}");
        for time_left in [false, true] {
            assert_eq!(check(Code::DeniedOrNotFound, time_left).unwrap_err().exit(), Exit::Denied);
        }
    }

    fn pending() -> Refused {
        Refused {
            status: tonic::Code::Unknown,
            code: String::new(),
            reason: String::new(),
            message: String::new(),
            fields: Vec::new(),
            request_id: String::new(),
            docs_page: String::new(),
            retry: fuda_core::Retry::Backoff,
            retry_after: None,
            endpoint: String::new(),
            without_effect: false,
        }
    }
}
