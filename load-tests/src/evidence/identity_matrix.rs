//! Every identity calls every RPC of every node, and gets what the table says.

mod probe;
mod rpcs;
mod table;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use fuda_proto::peer::v1::{Header, IdentifyRequest, IdentifyResponse};
use fuda_proto::tenant::v1::{Grant, ProposeGrantsRequest, Role};
use fuda_runtime::dev_ca::{Authority, DevCa, Pems, Subject, VALIDITY_DAYS};
use http::HeaderMap;
use prost::Message as _;
use serde_json::json;

use self::probe::{Answer, Appearance};
use self::rpcs::Facts;
use self::table::{Expected, Port, Table};
use super::{Ctx, Evidence, Outcome, progress};
use crate::cluster::{LocalCluster, OTHER_TENANT, PURPOSE, SCOPES, TENANT, TRUST_DOMAIN};
use crate::synthetic::People;
use crate::wire::describe;
use crate::workload::store;

/// The other tenant.
/// Header of the calls between nodes.
const PEER_HEADER: &str = "fuda-peer-bin";
/// Statuses that say nothing about authorization: the call is made again.
const PASSING: [i32; 4] = [-1, 4, 8, 14];
/// How often a call is made until it says something about authorization.
const ATTEMPTS_MAX: usize = 5;
/// Persons that one node's calls may spoil the records of.
const SPARE_PERSONS: u64 = 1_000;
/// Differences listed in the result.
const EXAMPLES_MAX: usize = 20;

/// See the module.
pub(super) const EVIDENCE: Evidence = Evidence {
    name: "identity-matrix",
    proves: "every identity, bad certificates included, gets from every RPC of proto/ what the table lists, nothing else",
    target: "unauthorised successes 0, differences from the table 0, every RPC listed; control: wrong table lines are found",
    mutants: &[],
    run: |ctx| Box::pin(run(ctx)),
};

async fn run(ctx: Ctx) -> Result<Outcome> {
    let table = Table::ours()?;
    let (client, peer) = rpcs::all()?;
    let mut differences = table.differences(&client, &peer);
    let cluster = LocalCluster::serving(ctx.cluster("matrix")?).await?;
    let stage = Stage::set(&cluster, &ctx).await?;
    let mut observed = Observed::new();
    for node in 0..ctx.pick(1, cluster.size()) {
        progress(&format!("node {node}: {} RPCs for callers, {} for nodes", client.len(), peer.len()));
        observed.extend(stage.observe(&cluster, &table, node).await?);
    }
    let found = compare(&table, &observed);
    differences.extend(found.iter().map(Difference::to_string));
    let unauthorised = found.iter().filter(|difference| difference.is_unauthorised()).count();
    for line in differences.iter().take(EXAMPLES_MAX) {
        progress(line);
    }
    let controls = controls(&table, &observed, &client, &peer)?;
    Ok(Outcome {
        value: json!({
            "rpcs": client.len() + peer.len(),
            "identities": stage.appearances.len(),
            "calls": observed.len(),
            "unauthorised_successes": unauthorised,
            "differences": differences.len(),
            "examples": differences.iter().take(EXAMPLES_MAX).collect::<Vec<_>>(),
            "controls": controls,
        }),
        pass: differences.is_empty(),
        mutant_caught: Some(controls.values().all(|caught| *caught)),
        skipped: None,
    })
}

/// What nodes did: by node, port, RPC and identity.
type Observed = BTreeMap<(usize, Port, String, String), Answer>;

/// A cell that differs.
struct Difference {
    node: usize,
    rpc: String,
    who: String,
    expected: Expected,
    answer: Answer,
}

impl Difference {
    /// Somebody who should not have been was let through.
    fn is_unauthorised(&self) -> bool {
        self.expected != Expected::Allowed && matches!(self.answer, Answer::Status(status) if !is_denial(status))
    }
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { node, rpc, who, expected, answer } = self;
        write!(f, "node {node}: {who} at {rpc}: expected {expected:?}, got {answer:?}")
    }
}

fn compare(table: &Table, observed: &Observed) -> Vec<Difference> {
    let mut found = Vec::new();
    for ((node, port, rpc, who), answer) in observed {
        let Some(expected) = table.get(*port, rpc, who) else { continue };
        if !fits(rpc, expected, *answer) {
            let (rpc, who) = (rpc.clone(), who.clone());
            found.push(Difference { node: *node, rpc, who, expected, answer: *answer });
        }
    }
    found
}

fn fits(rpc: &str, expected: Expected, answer: Answer) -> bool {
    match (expected, answer) {
        (Expected::Allowed, Answer::Status(status)) => rpcs::lets_through(rpc).contains(&status),
        (Expected::Denied, Answer::Status(status)) => is_denial(status),
        (Expected::Refused, Answer::Refused) => true,
        (_, Answer::Refused) | (Expected::Refused, Answer::Status(_)) => false,
    }
}

/// PERMISSION_DENIED or UNAUTHENTICATED.
fn is_denial(status: i32) -> bool {
    matches!(status, 7 | 16)
}

/// Wrong tables, each of which must be found out.
fn controls(
    table: &Table,
    observed: &Observed,
    client: &[String],
    peer: &[String],
) -> Result<BTreeMap<&'static str, bool>> {
    let wrong = |was: Expected, is: Expected| -> Result<bool> {
        let (port, rpc, who) = table.first(was).with_context(|| format!("no cell says {was:?}"))?;
        let mut changed = table.clone();
        changed.set(port, &rpc, &who, is);
        let found = compare(&changed, observed);
        Ok(found.iter().any(|difference| difference.rpc == rpc && difference.who == who))
    };
    let (port, rpc, _) = table.first(Expected::Denied).context("no cell says denied")?;
    let (mut shorter, mut longer) = (table.clone(), table.clone());
    shorter.remove(port, &rpc);
    longer.set(port, "fuda.vault.v1.TokenService/NoSuchMethod", "hr", Expected::Allowed);
    Ok(BTreeMap::from([
        ("allowed_listed_as_denied", wrong(Expected::Allowed, Expected::Denied)?),
        ("denied_listed_as_allowed", wrong(Expected::Denied, Expected::Allowed)?),
        ("refused_listed_as_allowed", wrong(Expected::Refused, Expected::Allowed)?),
        ("rpc_not_listed", !shorter.differences(client, peer).is_empty()),
        ("listed_rpc_unknown", !longer.differences(client, peer).is_empty()),
    ]))
}

/// Everything the calls need.
struct Stage {
    /// By port and identity.
    appearances: BTreeMap<(Port, String), Appearance>,
    /// Requests about the tenant under attack.
    facts: Facts,
    people: People,
}

impl Stage {
    async fn set(cluster: &LocalCluster, ctx: &Ctx) -> Result<Self> {
        let people = People::new(ctx.seed);
        let [scope, to_scope] = SCOPES;
        let token = store(cluster, people, 1..2).await?.pop().context("a token")?;
        let certificates = Certificates::issue(cluster, &ctx.dir("certificates")?)?;
        found_other_tenant(cluster, &certificates).await?;
        let facts = Facts {
            tenant: TENANT.to_owned(),
            token,
            number: people.my_number(1),
            subject: People::subject(1),
            new_subject: People::subject(2),
            scope: scope.to_owned(),
            to_scope: to_scope.to_owned(),
            purpose: PURPOSE.to_owned(),
            order: String::new(),
            nobody: cluster.ca().spiffe_id("workload/nobody"),
        };
        Ok(Self { appearances: certificates.appearances(cluster)?, facts, people })
    }

    /// Makes every call of the table at one node.
    async fn observe(&self, cluster: &LocalCluster, table: &Table, node: usize) -> Result<Observed> {
        let spec = cluster.nodes().get(node).context("no such node")?.spec();
        let header = self.peer_header(cluster, node).await?;
        let order = propose(cluster).await?;
        let mut observed = Observed::new();
        // Persons from here on have records that one RPC may spoil for the others.
        let mut spare = (node as u64 + 1) * SPARE_PERSONS;
        for (port, address) in [(Port::Client, &spec.addresses.client), (Port::Peer, &spec.addresses.peer)] {
            for (rpc, row) in table.port(port) {
                let own_token = if rpcs::spends_token(&rpc) {
                    spare += 1;
                    store(cluster, self.people, spare..spare + 1).await?.pop()
                } else {
                    None
                };
                for who in row.keys() {
                    let appearance = self.appearances.get(&(port, who.clone()));
                    let appearance = appearance.with_context(|| format!("nobody knows how to appear as `{who}`"))?;
                    let mut facts = self.facts_of(who, &order);
                    if let Some(token) = &own_token {
                        facts.token.clone_from(token);
                    }
                    let headers = if port == Port::Peer { header.clone() } else { HeaderMap::new() };
                    let answer = ask(appearance, address, &rpc, &headers, &facts).await?;
                    observed.insert((node, port, rpc.clone(), who.clone()), answer);
                }
            }
        }
        Ok(observed)
    }

    fn facts_of(&self, who: &str, order: &str) -> Facts {
        let tenant = if who == "foreign_token" { OTHER_TENANT } else { TENANT };
        Facts { tenant: tenant.to_owned(), order: order.to_owned(), ..self.facts.clone() }
    }

    /// The header with which a member (another one than `node`) speaks to `node`.
    async fn peer_header(&self, cluster: &LocalCluster, node: usize) -> Result<HeaderMap> {
        let member = self.appearances.get(&(Port::Peer, "member".to_owned())).context("a member")?;
        let target = identify(member, cluster, node).await?;
        let source = identify(member, cluster, member_node(cluster)).await?;
        ensure!(target.node_id != 0 && source.node_id != 0, "a node has no node id");
        header_map(&Header {
            cluster: target.cluster,
            target_node_id: target.node_id,
            target_uuid: target.uuid,
            source_node_id: source.node_id,
            source_uuid: source.uuid,
        })
    }
}

/// The node whose peer certificate is used for `member`: the last one. A node that speaks to itself is a member, too.
fn member_node(cluster: &LocalCluster) -> usize {
    cluster.size().saturating_sub(1)
}

async fn identify(member: &Appearance, cluster: &LocalCluster, node: usize) -> Result<IdentifyResponse> {
    let address = &cluster.nodes().get(node).context("no such node")?.spec().addresses.peer;
    let header = header_map(&Header { source_uuid: Bytes::from_static(&[0; 16]), ..Header::default() })?;
    let messages = [IdentifyRequest::default().encode_to_vec()];
    let (answer, data) = member.call(address, "fuda.peer.v1.PeerService/Identify", &header, &messages, false).await?;
    ensure!(answer == Answer::Status(0), "Identify answered {answer:?}");
    Ok(IdentifyResponse::decode(data)?)
}

fn header_map(header: &Header) -> Result<HeaderMap> {
    let value = STANDARD_NO_PAD.encode(header.encode_to_vec());
    Ok(HeaderMap::from_iter([(http::HeaderName::from_static(PEER_HEADER), value.parse()?)]))
}

/// Makes a call, again if the answer says nothing about authorization.
async fn ask(appearance: &Appearance, address: &str, rpc: &str, headers: &HeaderMap, facts: &Facts) -> Result<Answer> {
    let messages = rpcs::request(rpc, facts).with_context(|| format!("nobody knows how to ask {rpc}"))?;
    let mut last = Answer::Refused;
    for _ in 0..ATTEMPTS_MAX {
        let (answer, data) = appearance.call(address, rpc, headers, &messages, rpcs::endless(rpc)).await?;
        last = match answer {
            Answer::Status(0) => Answer::Status(rpcs::status_of_items(rpc, &data)?),
            other => other,
        };
        match last {
            Answer::Status(status) if PASSING.contains(&status) && !rpcs::lets_through(rpc).contains(&status) => {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            Answer::Status(_) | Answer::Refused => return Ok(last),
        }
    }
    Ok(last)
}

/// Certificates beside those of the cluster.
struct Certificates {
    /// Of the port for callers.
    client: BTreeMap<&'static str, Pems>,
    /// Of the port for nodes.
    peer: BTreeMap<&'static str, Pems>,
}

impl Certificates {
    fn issue(cluster: &LocalCluster, dir: &Path) -> Result<Self> {
        let strangers = DevCa::open(&dir.join("strangers"), TRUST_DOMAIN)?;
        let payroll = cluster.spiffe("payroll")?;
        let node = cluster.nodes().get(member_node(cluster)).context("a node")?.spec();
        let node_id = cluster.ca().spiffe_id(&format!("node/{}", node.name));
        let mut client = bad(cluster.ca(), &strangers, Authority::Clients, &dir.join("client"), &payroll)?;
        let mut peer = bad(cluster.ca(), &strangers, Authority::Peers, &dir.join("peer"), &node_id)?;
        for (name, path) in [
            ("stranger", "workload/stranger"),
            ("other_payroll", "workload/other-payroll"),
            ("other_auditor", "person/other-auditor"),
        ] {
            client.insert(name, cluster.ca().issue_identity(name, path)?);
        }
        client.insert("peer_certificate", node.peer_tls.clone());
        peer.insert("server_certificate", node.client_tls.clone());
        peer.insert("member", node.peer_tls.clone());
        for (name, path) in [("other_node", "node/node-99"), ("not_a_node", "workload/payroll")] {
            let subject = Subject { uris: vec![cluster.ca().spiffe_id(path)], ..Subject::default() };
            peer.insert(name, cluster.ca().issue(Authority::Peers, &dir.join("peer"), name, &subject)?);
        }
        Ok(Self { client, peer })
    }

    /// How everybody of the table appears.
    fn appearances(&self, cluster: &LocalCluster) -> Result<BTreeMap<(Port, String), Appearance>> {
        let mut all = BTreeMap::new();
        let (clients, peers) = (cluster.ca().root_path(Authority::Clients), cluster.ca().root_path(Authority::Peers));
        let roles = [
            ("owner", "owner"),
            ("approver", "approver1"),
            ("operator", "operator"),
            ("auditor", "auditor"),
            ("hr", "hr"),
            ("payroll", "payroll"),
            ("accounting", "accounting"),
        ];
        for (who, name) in roles {
            let pems = cluster.pems(name)?;
            all.insert((Port::Client, who.to_owned()), Appearance::new(Some(pems), &clients)?);
            all.insert((Port::Peer, who.to_owned()), Appearance::new(Some(pems), &peers)?);
        }
        for (who, pems) in &self.client {
            all.insert((Port::Client, (*who).to_owned()), Appearance::new(Some(pems), &clients)?);
        }
        for (who, pems) in &self.peer {
            all.insert((Port::Peer, (*who).to_owned()), Appearance::new(Some(pems), &peers)?);
        }
        let named = |name: &str| self.client.get(name).with_context(|| format!("no certificate `{name}`"));
        let foreign = Appearance::new(Some(named("other_payroll")?), &clients)?;
        all.insert((Port::Client, "foreign_token".to_owned()), foreign);
        all.insert((Port::Peer, "stranger".to_owned()), Appearance::new(Some(named("stranger")?), &peers)?);
        all.insert((Port::Client, "no_certificate".to_owned()), Appearance::new(None, &clients)?);
        all.insert((Port::Peer, "no_certificate".to_owned()), Appearance::new(None, &peers)?);
        Ok(all)
    }
}

/// Certificates that get nobody past the handshake, all made as like the good one of `uri` as can be.
fn bad(
    ca: &DevCa,
    strangers: &DevCa,
    authority: Authority,
    dir: &Path,
    uri: &str,
) -> Result<BTreeMap<&'static str, Pems>> {
    let days = i64::try_from(VALIDITY_DAYS)?;
    let subject = |uris: &[&str], hosts: &[&str], shift_days: i64| Subject {
        uris: uris.iter().map(|uri| (*uri).to_owned()).collect(),
        hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
        shift_days,
        ..Subject::default()
    };
    let second = format!("{uri}-2");
    let mut issued = BTreeMap::new();
    for (name, subject) in [
        ("expired", subject(&[uri], &[], -days - 1)),
        ("not_yet_valid", subject(&[uri], &[], 2)),
        ("two_uris", subject(&[uri, &second], &[], 0)),
        ("no_uri", subject(&[], &[], 0)),
        ("dns_only", subject(&[], &["payroll.fuda.test"], 0)),
    ] {
        issued.insert(name, ca.issue(authority, dir, name, &subject)?);
    }
    let wrong = strangers.issue(authority, dir, "wrong_authority", &subject(&[uri], &[], 0))?;
    issued.insert("wrong_authority", wrong);
    Ok(issued)
}

/// A second tenant, with a caller who may do everything there, and an auditor.
async fn found_other_tenant(cluster: &LocalCluster, certificates: &Certificates) -> Result<()> {
    ensure!(certificates.client.contains_key("other_payroll"), "the other tenant's caller has no certificate");
    cluster.found(OTHER_TENANT).await?;
    let texts = |codes: &[&str]| codes.iter().map(|code| (*code).to_owned()).collect::<Vec<_>>();
    let workload = Grant {
        caller: cluster.ca().spiffe_id("workload/other-payroll"),
        role: Role::Workload.into(),
        tenant: OTHER_TENANT.to_owned(),
        actions: texts(&[
            "tokenize",
            "detokenize",
            "verify_number",
            "describe_token",
            "get_record",
            "list_records",
            "exchange",
            "rotate",
            "update_number",
            "disable",
            "enable",
            "supersede",
            "add_notice",
        ]),
        kinds: texts(&["my_number"]),
        purposes: texts(&[PURPOSE]),
        scopes: texts(&SCOPES),
        ..Grant::default()
    };
    let auditor = Grant {
        caller: cluster.ca().spiffe_id("person/other-auditor"),
        role: Role::Auditor.into(),
        tenant: OTHER_TENANT.to_owned(),
        actions: texts(&["read_ledger", "list_grants", "get_tenant"]),
        ..Grant::default()
    };
    cluster.grant(vec![workload, auditor]).await?;
    Ok(())
}

/// An order that nobody has approved yet.
async fn propose(cluster: &LocalCluster) -> Result<String> {
    let grant = Grant {
        caller: cluster.ca().spiffe_id("workload/nobody"),
        role: Role::Workload.into(),
        tenant: TENANT.to_owned(),
        actions: vec!["get_record".to_owned()],
        kinds: vec!["my_number".to_owned()],
        ..Grant::default()
    };
    let request = ProposeGrantsRequest { grants: vec![grant], ..Default::default() };
    let proposed = cluster.caller("owner")?.tenants(0).propose_grants(request).await;
    match proposed {
        Ok(proposed) => Ok(proposed.into_inner().order),
        Err(status) => bail!("ProposeGrants: {}", describe(&status)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_fit_only_what_is_expected() {
        let rpc = "fuda.vault.v1.TokenService/Detokenize";
        assert!(fits(rpc, Expected::Allowed, Answer::Status(0)));
        assert!(!fits(rpc, Expected::Allowed, Answer::Status(13)), "an internal error is no answer");
        assert!(!fits(rpc, Expected::Denied, Answer::Status(3)), "validated before authorized");
        assert!(fits(rpc, Expected::Denied, Answer::Status(7)) && fits(rpc, Expected::Denied, Answer::Status(16)));
        assert!(fits(rpc, Expected::Refused, Answer::Refused));
        assert!(!fits(rpc, Expected::Refused, Answer::Status(7)), "it got past the handshake");
        assert!(!fits(rpc, Expected::Allowed, Answer::Refused));
    }

    #[test]
    fn every_rpc_has_a_request() {
        let (client, peer) = rpcs::all().unwrap();
        assert!(client.len() >= 26 && peer.len() >= 9);
        for rpc in client.iter().chain(&peer) {
            assert!(rpcs::request(rpc, &Facts::default()).is_some(), "{rpc}");
        }
    }

    #[test]
    fn wrong_tables_are_found_out() {
        let text = "[client]\ncolumns hr owner stranger\nfuda.vault.v1.TokenService/Tokenize a d r\n";
        let table = Table::parse(text).unwrap();
        let rpc = "fuda.vault.v1.TokenService/Tokenize".to_owned();
        let cell = |who: &str, answer| ((0, Port::Client, rpc.clone(), who.to_owned()), answer);
        let observed = Observed::from([
            cell("hr", Answer::Status(0)),
            cell("owner", Answer::Status(7)),
            cell("stranger", Answer::Refused),
        ]);
        assert!(compare(&table, &observed).is_empty());
        let caught = controls(&table, &observed, std::slice::from_ref(&rpc), &[]).unwrap();
        assert!(caught.values().all(|caught| *caught), "{caught:?}");

        let leak = Observed::from([cell("owner", Answer::Status(3))]);
        assert!(compare(&table, &leak).iter().all(Difference::is_unauthorised));
        assert_eq!(compare(&table, &leak).len(), 1);
    }
}
