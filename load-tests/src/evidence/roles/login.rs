//! A person signs in by `fuda login` at a provider with the device flow, and then acts. What changes policy, grants,
//! tenants or members needs a recent and strong sign-in.

use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Context as _, Result, ensure};
use fuda_runtime::dev_ca::Authority;
use serde_json::{Value, json};

use super::Checks;
use super::provider::{CLIENT, Provider, SignIn, now_s};
use super::stage::Stage;
use crate::cli::{Cli, Said};
use crate::cluster::TENANT;
use crate::wire::path_text;

/// Seconds since the sign-in that the nodes call too old; they are told 900.
const TOO_OLD_S: i64 = 1_000;
/// A sign-in the nodes believe, which is not good enough for a sensitive action.
const STEP_UP: &str = "FUDA-2041";
/// A token the nodes do not believe.
const UNAUTHENTICATED: &str = "FUDA-2001";

pub(super) async fn run(stage: &Stage) -> Result<Checks> {
    let mut checks = Checks::default();
    let desk = Desk { stage, order: propose(stage, "nobody").await? };
    let now = now_s()?;
    let old = json!({"sub": "approver", "auth_time": now - TOO_OLD_S, "amr": ["hwk"]});
    let weak = |amr: Value| json!({"sub": "approver", "auth_time": now, "amr": amr});

    checks.check("login.a_refused_sign_in_leaves_no_token", desk.turned_away(&stage.corp).await);
    checks.check("login.too_old_a_sign_in_is_refused", desk.refused(&stage.corp, &old, STEP_UP).await);
    checks.control(
        "login.a_provider_with_lax_rules",
        &desk.refused(&stage.lax, &old, STEP_UP).await,
        "ended with 0 instead of 3",
    );
    // The lax provider's approver has approved the order meanwhile, as it must: the control is real only then.
    let desk = Desk { stage, order: propose(stage, "somebody").await? };
    for (name, claims) in [
        ("login.a_missing_amr_is_refused", json!({"sub": "approver", "auth_time": now})),
        ("login.an_empty_amr_is_refused", weak(json!([]))),
        ("login.a_weaker_amr_is_refused", weak(json!(["pwd"]))),
        ("login.a_missing_auth_time_is_refused", json!({"sub": "approver", "amr": ["hwk"]})),
    ] {
        checks.check(name, desk.refused(&stage.corp, &claims, STEP_UP).await);
    }
    let expired = json!({"sub": "approver", "auth_time": now, "amr": ["hwk"], "iat": now - 700, "exp": now - 100});
    checks.check("login.an_expired_token_is_refused", desk.refused(&stage.corp, &expired, UNAUTHENTICATED).await);
    let foreign = json!({"sub": "approver", "auth_time": now, "amr": ["hwk"], "aud": "another-client"});
    checks.check("login.another_clients_token_is_refused", desk.refused(&stage.corp, &foreign, UNAUTHENTICATED).await);
    checks.check("login.a_weak_sign_in_may_read", desk.reads(&weak(json!(["pwd"]))).await);
    checks.check("login.a_fresh_and_strong_sign_in_approves", desk.approves(&weak(json!(["hwk"]))).await);
    checks.check("login.the_entry_says_how_the_person_signed_in", entry_of(stage, &desk.order).await);
    Ok(checks)
}

/// Stores an order that gives somebody nothing of interest.
async fn propose(stage: &Stage, who: &str) -> Result<String> {
    let file = stage.file(
        &format!("{who}.toml"),
        &format!(
            "[[grant]]\ncaller = \"{}\"\nrole = \"workload\"\ntenant = \"{TENANT}\"\nactions = [\"get_record\"]\n\
             kinds = [\"my_number\"]\n",
            stage.cluster.ca().spiffe_id(&format!("workload/{who}"))
        ),
    )?;
    stage.person("person/owner")?.good(&["grant", "propose", "--file", &file]).await?.text("order")
}

/// Where people sign in, and an order that waits.
struct Desk<'a> {
    stage: &'a Stage,
    order: String,
}

impl Desk<'_> {
    /// Signs somebody in; what the command said, and the command line in his hands.
    async fn sign_in(&self, provider: &Provider, next: SignIn) -> Result<(Said, Cli)> {
        provider.next(next);
        let file = self.stage.dir.join("token");
        let (issuer, authority, out) = (provider.issuer(), path_text(&self.stage.provider_ca), path_text(&file));
        let login = ["login", "--issuer", &issuer, "--client-id", CLIENT, "--provider-ca", &authority, "--out", &out];
        let said = self.stage.cli.run(&login).await?;
        let nodes = self.stage.cluster.ca().root_path(Authority::Clients);
        Ok((said, self.stage.cli.with_token(&file, &nodes, &self.stage.first_node())))
    }

    async fn signed_in(&self, provider: &Provider, claims: &Value) -> Result<Cli> {
        let (said, cli) = self.sign_in(provider, SignIn::Claims(claims.clone())).await?;
        ensure!(said.code == 0, "`fuda login` ended with {}: {}", said.code, said.err);
        ensure!(
            said.err.contains("/enter and enter the code WDJB-MJHT"),
            "it did not say where to sign in: {}",
            said.err
        );
        let mode = std::fs::metadata(self.stage.dir.join("token"))?.permissions().mode() & 0o777;
        ensure!(mode == 0o600, "the token's file has mode {mode:o}");
        Ok(cli)
    }

    async fn turned_away(&self, provider: &Provider) -> Result<()> {
        let (said, _) = self.sign_in(provider, SignIn::Refused).await?;
        ensure!(said.code == 2 && said.err.contains("access_denied"), "ended with {}: {}", said.code, said.err);
        ensure!(!self.stage.dir.join("token").exists(), "there is a token");
        Ok(())
    }

    /// Somebody with such a sign-in may not approve the order, for this reason.
    async fn refused(&self, provider: &Provider, claims: &Value, code: &str) -> Result<()> {
        let cli = self.signed_in(provider, claims).await?;
        cli.ends(3, code, &["grant", "approve", &self.order]).await.map(drop)
    }

    async fn reads(&self, claims: &Value) -> Result<()> {
        self.signed_in(&self.stage.corp, claims).await?.good(&["grant", "list"]).await.map(drop)
    }

    async fn approves(&self, claims: &Value) -> Result<()> {
        self.signed_in(&self.stage.corp, claims).await?.good(&["grant", "approve", &self.order]).await.map(drop)
    }
}

async fn entry_of(stage: &Stage, order: &str) -> Result<()> {
    let entries = stage.person("person/auditor")?.good(&["audit", "tail", "--from", "0"]).await?.json_lines()?;
    let text = |entry: &Value, name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let approved = entries.iter().find(|entry| {
        let named = entry.pointer("/detail/order").and_then(Value::as_str) == Some(order);
        named && text(entry, "action") == "approve_grants" && text(entry, "decision") == "allowed"
    });
    let entry = approved.context("the approval is no entry")?;
    let (caller, credential) = (text(entry, "caller"), text(entry, "credential"));
    ensure!(caller == "oidc:corp/approver" && credential == "person", "it names {caller} by {credential}");
    ensure!(!text(entry, "sign_in_time").is_empty(), "it does not say when the person signed in");
    Ok(())
}
