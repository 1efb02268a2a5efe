//! The approvers are gone: two of three offline keys of the owner appoint new ones, by the command line, after a delay
//! that nobody can shorten. The nodes' clocks are set forward to see its end.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use fuda_core::Timestamp;
use serde_json::Value;

use super::super::access::receiver;
use super::super::{Ctx, progress};
use super::Checks;
use super::provider::now_s;
use crate::cli::Cli;
use crate::cluster::clocks::{self, Clocks};
use crate::cluster::{LocalCluster, PATIENCE, PURPOSE, SCOPES, TENANT};
use crate::hooks::HookSink;
use crate::synthetic::People;
use crate::wire::path_text;
use crate::workload::store;

/// The shortest delay there is, in hours.
const DELAY_HOURS: &str = "24";
/// A clock before the delay is over, and one after it.
const CLOCKS: [&str; 2] = ["+23h", "+25h"];
/// Refused by the state of the vault.
const NOT_NOW: i32 = 1;
/// Refused for what it says.
const WRONG: i32 = 2;
/// Refused as denied.
const DENIED: i32 = 3;
/// Those who shall approve when nobody is left who does.
const HEIRS: [&str; 2] = ["person/heir1", "person/heir2"];
/// How long a notification may take.
const NOTIFIED_WITHIN: Duration = Duration::from_secs(20);

pub(super) async fn run(ctx: &Ctx) -> Result<Checks> {
    let mut checks = Checks::default();
    let library = clocks::library().await.context(clocks::MISSING)?;
    let (hooks, mut options) = receiver(ctx, "succession").await?;
    options.nodes = ctx.pick(1, 3);
    let mut cluster = LocalCluster::start(options).await?;
    let clocks = Clocks::insert(&mut cluster, &library).await?;
    let house = House::found(ctx, &mut cluster, &mut checks).await?;

    house.cancelled(&mut checks).await?;
    house.started(&mut checks).await?;
    checks.check("succession.it_is_told", told(&hooks).await);
    checks.check("succession.it_alarms", house.alarmed().await);
    checks.check("succession.nothing_before_the_delay", house.finish_refused().await);
    let order = house.order("person/owner", "newcomer").await?;
    checks.control("succession.heirs_before_the_end", &house.heir_approves(&order).await, "ended with 3 instead of 0");
    let [before, after] = CLOCKS;
    house.set_clocks(&mut cluster, &clocks, before).await?;
    checks.check("succession.nothing_an_hour_before_its_end", house.finish_refused().await);
    house.set_clocks(&mut cluster, &clocks, after).await?;
    progress("a day later");
    let finish = ["succession", "finish", "--serial", "2"];
    checks.check("succession.it_comes_into_force", house.person("person/owner")?.good(&finish).await);
    checks.check("succession.heirs_approve", house.heir_approves(&order).await);
    house.appoints_only(&mut checks).await?;
    let owner = house.person("person/owner")?;
    let again = owner.ends(NOT_NOW, "FUDA-3", &["succession", "start", "--in", &house.signed]).await;
    checks.check("succession.a_statement_works_once", again);
    cluster.stop().await?;
    Ok(checks)
}

/// Waits until the webhook was told that a succession started.
async fn told(hooks: &HookSink) -> Result<()> {
    let until = Instant::now() + NOTIFIED_WITHIN;
    let news = |message: &crate::hooks::Message| String::from_utf8_lossy(&message.body).contains("succession.started");
    while !hooks.messages().iter().any(news) {
        ensure!(Instant::now() < until, "nobody was told within {NOTIFIED_WITHIN:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// A vault with three offline keys, of which two must sign.
struct House {
    dir: PathBuf,
    cli: Cli,
    addresses: Vec<String>,
    vault: String,
    ca: fuda_runtime::dev_ca::DevCa,
    /// The statement that is good, signed by two keys.
    signed: String,
    token: String,
}

impl House {
    /// What an operator, an owner and an approver do once, by the command line; the offline keys among it.
    async fn found(ctx: &Ctx, cluster: &mut LocalCluster, checks: &mut Checks) -> Result<Self> {
        let dir = cluster.options().work_dir.clone();
        let addresses: Vec<String> = cluster.client_addresses().into_iter().take(1).collect();
        let mut house = Self {
            cli: Cli::beside(&ctx.binary)?,
            addresses,
            vault: String::new(),
            ca: cluster.ca().clone(),
            signed: path_text(&dir.join("statement-2b")),
            token: path_text(&dir.join("a-token")),
            dir,
        };
        for heir in HEIRS {
            house.ca.issue_identity(name_of(heir), heir)?;
        }
        let mut public = Vec::new();
        for number in 1..=3 {
            public.push(
                house.cli.good(&["succession", "keygen", "--out", &house.key(number)]).await?.text("public_key")?,
            );
        }
        // A refused vault leaves nothing behind: the next attempt makes one.
        let short = house.init(&public, "23").await?;
        let named = short.err.contains("a delay of 24 to 720 hours");
        let refused = (short.code == WRONG && named).then_some(()).with_context(|| short.err.clone());
        checks.check("succession.no_delay_below_a_day", refused);
        let made = house.init(&public, DELAY_HOURS).await?;
        ensure!(made.code == 0, "`fuda cluster init` ended with {}: {}", made.code, made.err);
        house.vault = made.text("vault")?;
        let operator = house.person("person/operator")?;
        let peers: Vec<String> =
            cluster.nodes().iter().skip(1).map(|node| node.spec().addresses.peer.clone()).collect();
        for peer in peers {
            operator.good(&["cluster", "join", "--peer-address", &peer]).await?;
        }
        cluster.wait_ready(PATIENCE).await?;
        cluster.create_tenant().await?;
        std::fs::write(&house.token, store(cluster, People::new(5), 0..1).await?.pop().context("a token")?)?;
        Ok(house)
    }

    async fn init(&self, public: &[String], delay_hours: &str) -> Result<crate::cli::Said> {
        let spiffe = |path: &str| self.ca.spiffe_id(path);
        let people = [
            ("--owner", spiffe("person/owner")),
            ("--approver", spiffe("person/approver1")),
            ("--approver", spiffe("person/approver2")),
            ("--operator", spiffe("person/operator")),
            ("--auditor", spiffe("person/auditor")),
        ];
        let keys = public.iter().map(|key| ("--succession-key", key.clone()));
        let mut arguments = vec!["cluster".to_owned(), "init".to_owned(), "--test".to_owned()];
        arguments.extend(people.into_iter().chain(keys).flat_map(|(name, value)| [name.to_owned(), value]));
        let delay = ["--succession-threshold", "2", "--succession-delay-hours", delay_hours];
        arguments.extend(delay.map(str::to_owned));
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        self.person("person/operator")?.run(&arguments).await
    }

    fn key(&self, number: u8) -> String {
        path_text(&self.dir.join(format!("offline-key-{number}")))
    }

    fn statement(&self, name: &str) -> String {
        path_text(&self.dir.join(format!("statement-{name}")))
    }

    fn person(&self, path: &str) -> Result<Cli> {
        Ok(self.cli.with_identity(&self.dir.join("identities").join(name_of(path)), &self.addresses))
    }

    /// Writes a statement for the heirs, signed by the first key.
    async fn state(&self, name: &str, serial: &str) -> Result<String> {
        let (out, [one, two]) = (self.statement(name), HEIRS.map(|heir| self.ca.spiffe_id(heir)));
        let heirs = ["--approver", &one, "--approver", &two, "--key", &self.key(1), "--out", &out];
        let all = [&["succession", "statement", "--vault", &self.vault, "--serial", serial], &heirs[..]].concat();
        self.cli.good(&all).await?;
        Ok(out)
    }

    async fn sign(&self, input: &str, key: u8, name: &str) -> Result<String> {
        let out = self.statement(name);
        self.cli.good(&["succession", "sign", "--in", input, "--key", &self.key(key), "--out", &out]).await?;
        Ok(out)
    }

    /// An approver who is still there stops the first succession, for good.
    async fn cancelled(&self, checks: &mut Checks) -> Result<()> {
        let owner = self.person("person/owner")?;
        let signed = self.sign(&self.state("1", "1").await?, 2, "1b").await?;
        owner.good(&["succession", "start", "--in", &signed]).await?;
        let by_owner = owner.ends(DENIED, "FUDA-2002", &["succession", "cancel", "--serial", "1"]).await;
        checks.check("succession.the_owner_cancels_nothing", by_owner);
        let cancel = self.person("person/approver2")?.good(&["succession", "cancel", "--serial", "1"]).await;
        checks.check("succession.a_living_approver_cancels", cancel);
        let again = owner.ends(NOT_NOW, "FUDA-3", &["succession", "start", "--in", &signed]).await;
        checks.check("succession.a_cancelled_statement_is_spent", again);
        Ok(())
    }

    /// Too few keys, a key of nobody, a doctored statement; then two of three keys, brought by an operator.
    async fn started(&self, checks: &mut Checks) -> Result<()> {
        let operator = self.person("person/operator")?;
        let alone = self.state("2", "2").await?;
        let start = |file: &str| ["succession".to_owned(), "start".to_owned(), "--in".to_owned(), file.to_owned()];
        let refused = async |file: &str| {
            let arguments = start(file);
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            operator.ends(WRONG, "enough registered keys", &arguments).await
        };
        checks.check("succession.one_key_of_two_is_too_few", refused(&alone).await);
        self.cli.good(&["succession", "keygen", "--out", &self.key(9)]).await?;
        let foreign = self.sign(&alone, 9, "2x").await?;
        checks.check("succession.a_key_of_nobody_counts_for_nothing", refused(&foreign).await);
        self.sign(&alone, 3, "2b").await?;
        let doctored = self.statement("2d");
        let text = std::fs::read_to_string(&self.signed)?.replace("person/heir1", "person/thief");
        std::fs::write(&doctored, text)?;
        checks.check("succession.a_doctored_statement_is_refused", refused(&doctored).await);
        let auditor = self.person("person/auditor")?;
        let by_auditor = auditor.ends(DENIED, "FUDA-2002", &["succession", "start", "--in", &self.signed]).await;
        checks.check("succession.an_auditor_starts_nothing", by_auditor);
        checks.check(
            "succession.two_keys_of_three_start_it",
            operator.good(&["succession", "start", "--in", &self.signed]).await,
        );
        Ok(())
    }

    /// The entry of the start raises an alarm and says whom it names and from when.
    async fn alarmed(&self) -> Result<()> {
        let entries = self.person("person/auditor")?.good(&["audit", "tail", "--from", "0"]).await?.json_lines()?;
        let started = entries.iter().rev().find(|entry| {
            let text = |name: &str| entry.get(name).and_then(Value::as_str);
            text("action") == Some("start_succession") && text("decision") == Some("allowed")
        });
        let entry = started.context("the start is no entry")?;
        let detail = |name: &str| entry.pointer(&format!("/detail/{name}")).and_then(Value::as_str);
        ensure!(detail("alarm") == Some("succession"), "no alarm: {entry}");
        ensure!(detail("until").is_some() && detail("caller").is_some(), "it names nobody or no time: {entry}");
        Ok(())
    }

    async fn finish_refused(&self) -> Result<()> {
        let finish = ["succession", "finish", "--serial", "2"];
        self.person("person/owner")?.ends(NOT_NOW, "FUDA-3", &finish).await.map(drop)
    }

    /// Sets the clocks of all nodes, as if the time had passed while they were off.
    async fn set_clocks(&self, cluster: &mut LocalCluster, clocks: &Clocks, offset: &str) -> Result<()> {
        cluster.stop().await?;
        for node in 0..cluster.size() {
            clocks.set(node, offset)?;
            cluster.restart(node)?;
        }
        cluster.wait_ready(PATIENCE).await
    }

    /// Stores an order of the owner that gives a workload nothing of interest, or what it is asked for.
    async fn order(&self, by: &str, workload: &str) -> Result<String> {
        let file = self.grant_file(workload, "person", "")?;
        self.person(by)?.good(&["grant", "propose", "--file", &file]).await?.text("order")
    }

    fn grant_file(&self, name: &str, sort: &str, more: &str) -> Result<String> {
        let path = self.dir.join(format!("{name}.toml"));
        let (spiffe, actions) = (self.ca.spiffe_id(&format!("{sort}/{name}")), "actions = [\"get_record\"]\n");
        let grant = format!(
            "[[grant]]\ncaller = \"{spiffe}\"\nrole = \"workload\"\ntenant = \"{TENANT}\"\nkinds = [\"my_number\"]\n{}",
            if more.is_empty() { actions } else { more }
        );
        std::fs::write(&path, grant)?;
        Ok(path_text(&path))
    }

    async fn heir_approves(&self, order: &str) -> Result<()> {
        self.person(HEIRS[0])?.good(&["grant", "approve", order]).await.map(drop)
    }

    /// Approvers they are, and nothing else.
    async fn appoints_only(&self, checks: &mut Checks) -> Result<()> {
        let heir = self.person(HEIRS[0])?;
        let [scope, _] = SCOPES;
        let reveal =
            ["token", "detokenize", "--tenant", TENANT, "--scope", scope, "--purpose", PURPOSE, "--in", &self.token];
        let good = self.person("workload/payroll")?.good(&reveal).await;
        checks.check("succession.the_token_is_a_good_one", good);
        checks.check("succession.an_heir_reveals_nothing", heir.ends(DENIED, "", &reveal).await);
        checks.control(
            "succession.somebody_who_may_reveal",
            &self.person("workload/payroll")?.ends(DENIED, "", &reveal).await,
            "ended with 0 instead of 3",
        );
        let more = format!(
            "actions = [\"detokenize\"]\npurposes = [\"{PURPOSE}\"]\nscopes = [\"{scope}\"]\nend_user = \"approved_job\"\n\
             approved_job = {{ job = \"none\", handler = \"oidc:corp/tanaka\" }}\n\
             budget = {{ persons_max = 1, window_days = 1 }}\nnot_after = \"{}\"\n",
            Timestamp::from_millis((now_s()? + 30 * 86_400) * 1_000).to_rfc3339()
        );
        let file = self.grant_file("heir1", "person", &more)?;
        let propose = ["grant", "propose", "--file", &file];
        checks.check("succession.an_heir_proposes_nothing", heir.ends(DENIED, "FUDA-2002", &propose).await);
        checks.check("succession.an_heir_is_given_no_other_role", self.never_a_workload(&propose).await);
        Ok(())
    }

    /// Neither when the owner proposes it nor when another heir approves it.
    async fn never_a_workload(&self, propose: &[&str]) -> Result<()> {
        let proposed = self.person("person/owner")?.run(propose).await?;
        match proposed.code {
            NOT_NOW => Ok(()),
            0 => {
                let order = proposed.text("order")?;
                let approve = ["grant", "approve", order.as_str()];
                self.person(HEIRS[1])?.ends(NOT_NOW, "FUDA-3", &approve).await.map(drop)
            }
            code => bail!("proposing ended with {code}: {}", proposed.err),
        }
    }
}

fn name_of(path: &str) -> &str {
    Path::new(path).file_name().and_then(|name| name.to_str()).unwrap_or(path)
}
