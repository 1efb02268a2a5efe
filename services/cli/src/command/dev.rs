//! `fuda dev`: certificates and people that are not real.

use std::io::BufWriter;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use fuda_core::CallerId;
use fuda_runtime::dev_ca::{Authority, DevCa, Error};
use serde_json::{Value, json};

use super::Context;
use crate::failure::Failure;
use crate::output::{create_private, text};
use crate::sample;

const DOMAIN_DEFAULT: &str = "fuda.test";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a certificate authority in a directory, or show the one that is there.
    Ca {
        /// Directory of the authority.
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
        /// Trust domain of all identities [default: fuda.test].
        #[arg(long, value_name = "DOMAIN")]
        trust_domain: Option<String>,
    },
    /// Issue the identity of a caller, for --identity DIR/identities/NAME.
    Identity {
        /// Directory of the authority.
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
        /// Name of the identity.
        #[arg(value_name = "NAME")]
        name: String,
        /// Path of the SPIFFE id [default: workload/NAME].
        #[arg(long, value_name = "PATH")]
        path: Option<String>,
    },
    /// Issue both certificates of a node.
    Node {
        /// Directory of the authority.
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
        /// Name of the node.
        #[arg(value_name = "NAME")]
        name: String,
        /// DNS name or address of the node.
        #[arg(long = "host", value_name = "HOST", required = true)]
        hosts: Vec<String>,
    },
    /// Write synthetic employees and dependants as input for `token tokenize`. For test clusters only.
    Sample(Sample),
}

#[derive(Debug, Args)]
pub(crate) struct Sample {
    /// Employees; each has up to three dependants.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=sample::COUNT_MAX))]
    count: u64,
    /// New file to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The same seed makes the same file.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub(super) fn run(command: Command, context: &mut Context) -> Result<(), Failure> {
    match command {
        Command::Ca { dir, trust_domain } => {
            let ca = make(&dir, trust_domain.as_deref())?;
            context.output.facts(vec![
                ("trust_domain", text(ca.trust_domain())),
                ("clients_authority", path_value(&ca.root_path(Authority::Clients))),
                ("peers_authority", path_value(&ca.root_path(Authority::Peers))),
            ])
        }
        Command::Identity { dir, name, path } => {
            let ca = open(&dir)?;
            let path = path.unwrap_or_else(|| format!("workload/{name}"));
            let spiffe = spiffe_id(&ca, &name, &path)?;
            let pems = ca.issue_identity(&name, &path).map_err(refused)?;
            context.output.facts(vec![
                ("spiffe_id", text(spiffe)),
                ("identity", path_value(pems.certificate.parent().unwrap_or(&dir))),
            ])
        }
        Command::Node { dir, name, hosts } => {
            let ca = open(&dir)?;
            let spiffe = spiffe_id(&ca, &name, &format!("node/{name}"))?;
            let (server, peer) = ca.issue_node(&name, &hosts).map_err(refused)?;
            context.output.facts(vec![
                ("spiffe_id", text(spiffe)),
                ("server_certificate", path_value(&server.certificate)),
                ("peer_certificate", path_value(&peer.certificate)),
            ])
        }
        Command::Sample(it) => {
            let rows = sample::write(it.count, it.seed, BufWriter::new(create_private(&it.out)?))?;
            context.output.facts(vec![("rows", json!(rows)), ("file", path_value(&it.out))])
        }
    }
}

/// Opens or makes an authority; its trust domain is chosen once.
fn make(dir: &Path, trust_domain: Option<&str>) -> Result<DevCa, Failure> {
    match (trust_domain, DevCa::existing(dir)) {
        (None, Ok(ca)) => Ok(ca),
        _ => {
            let domain = trust_domain.unwrap_or(DOMAIN_DEFAULT);
            CallerId::parse(&format!("spiffe://{domain}/x"))
                .map_err(|_| Failure::Usage("--trust-domain must be of [a-z0-9._-]".to_owned()))?;
            DevCa::open(dir, domain).map_err(refused)
        }
    }
}

fn open(dir: &Path) -> Result<DevCa, Failure> {
    DevCa::existing(dir).map_err(refused)
}

/// Checks that the name is one path segment and the id one a node accepts.
fn spiffe_id(ca: &DevCa, name: &str, path: &str) -> Result<String, Failure> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) {
        return Err(Failure::Usage("NAME must be of [A-Za-z0-9._-] and not start with a dot".to_owned()));
    }
    let spiffe = ca.spiffe_id(path);
    CallerId::parse(&spiffe).map_err(|invalid| Failure::Usage(invalid.to_string()))?;
    Ok(spiffe)
}

fn refused(error: Error) -> Failure {
    match error {
        Error::Missing(_) | Error::OtherDomain(_) => Failure::Usage(error.to_string()),
        _ => Failure::Internal(error.to_string()),
    }
}

fn path_value(path: &Path) -> Value {
    Value::from(path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Exit;

    #[test]
    fn an_authority_has_one_trust_domain_and_issues_plain_names() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(open(dir.path()).err().unwrap().exit(), Exit::Usage);
        make(dir.path(), Some("example.test")).unwrap();
        let ca = make(dir.path(), None).unwrap();
        assert_eq!(spiffe_id(&ca, "payroll", "workload/payroll").unwrap(), "spiffe://example.test/workload/payroll");
        assert_eq!(make(dir.path(), Some("other.test")).err().unwrap().exit(), Exit::Usage);
        for (name, path) in [("../x", "a"), ("", "a"), (".x", "a"), ("x", "a//b"), ("x", "../b")] {
            assert!(spiffe_id(&ca, name, path).is_err(), "{name} {path}");
        }
        let other = tempfile::tempdir().unwrap();
        assert_eq!(make(other.path(), Some("not a domain")).err().unwrap().exit(), Exit::Usage);
    }
}
