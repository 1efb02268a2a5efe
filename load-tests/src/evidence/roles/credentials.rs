//! Credentials end while their connections are open: revoked, denied by hand, expired. Trust domains beside the nodes' own
//! call only where a rule names them, under authorities that are exchanged while nodes run.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use fuda_core::Code;
use fuda_runtime::dev_ca::{Authority, DevCa, Pems, Subject};

use super::Checks;
use super::stage::{FILES_WITHIN, PARTNER, Stage};
use crate::cluster::{OTHER_TENANT, SCOPES, TRUST_DOMAIN};
use crate::wire::{Caller, describe, fuda_code, is_code, path_text};

/// Life of the certificate that expires.
const LIFETIME: Duration = Duration::from_secs(8);
/// How much later than a certificate's end a call may be served, and how much sooner not: its times have whole seconds.
const EXPIRY_WITHIN: Duration = Duration::from_millis(2_500);
/// How long a control is watched.
const WATCHED: Duration = Duration::from_secs(1);

pub(super) async fn run(stage: &Stage) -> Result<Checks> {
    let mut checks = Checks::default();
    expiry(stage, &mut checks).await?;
    revocation(stage, &mut checks).await?;
    trust_domains(stage, &mut checks).await?;
    Ok(checks)
}

async fn expiry(stage: &Stage, checks: &mut Checks) -> Result<()> {
    let spiffe = stage.cluster.ca().spiffe_id("workload/expiring");
    let subject = Subject { uris: vec![spiffe.clone()], lifetime: Some(LIFETIME), ..Subject::default() };
    let dir = stage.dir.join("identities").join("expiring");
    let issued = Instant::now();
    let pems = stage.cluster.ca().issue(Authority::Clients, &dir, "cert", &subject)?;
    // Both read the certificate while it is good; the second one connects when it is not any more.
    let (expiring, again) = (stage.caller_with(&pems, &spiffe)?, stage.caller_with(&pems, &spiffe)?);
    served_everywhere(stage, &expiring).await?;
    let ended = ended(stage, &expiring, LIFETIME + EXPIRY_WITHIN).await;
    let in_time = |()| {
        let after = issued.elapsed();
        ensure!(after + EXPIRY_WITHIN > LIFETIME, "refused {:?} before its end", LIFETIME.saturating_sub(after));
        Ok(())
    };
    checks.check("credentials.an_expired_certificate_is_refused_on_its_open_connection", ended.and_then(in_time));
    // The handshake takes the last second of a certificate's life for good; the call on it is refused either way.
    tokio::time::sleep(WATCHED).await;
    checks.check("credentials.an_expired_certificate_opens_no_connection", shut_out(stage, &again).await);
    Ok(())
}

async fn revocation(stage: &Stage, checks: &mut Checks) -> Result<()> {
    let (leaver, stayer) = (stage.caller("workload/leaver")?, stage.caller("workload/stayer")?);
    let dismissed = stage.caller("workload/dismissed")?;
    for caller in [&leaver, &stayer, &dismissed] {
        served_everywhere(stage, caller).await?;
    }
    let ca = stage.cluster.ca();
    let revoked = stage.pems("workload/leaver")?;
    stage.replace("clients.crl", &ca.revocation_list(Authority::Clients, &[&revoked.certificate])?)?;
    let since = Instant::now();
    checks.check("credentials.a_revoked_certificate_is_refused_on_its_open_connection", {
        ended(stage, &leaver, FILES_WITHIN).await
    });
    checks.figure("revoked_after_ms", u64::try_from(since.elapsed().as_millis())?);
    checks.control("credentials.a_certificate_nobody_revoked", &ended(stage, &stayer, WATCHED).await, "still served");
    let again = stage.caller("workload/leaver")?;
    checks.check("credentials.a_revoked_certificate_opens_no_connection", shut_out(stage, &again).await);
    let again = stage.caller("workload/stayer")?;
    checks.control("credentials.a_connection_of_a_good_certificate", &shut_out(stage, &again).await, "served");

    stage.replace("denied.txt", &format!("{}  # dismissed\n", dismissed.spiffe()))?;
    let since = Instant::now();
    checks.check("credentials.a_denied_caller_is_refused_on_its_open_connection", {
        ended(stage, &dismissed, FILES_WITHIN).await
    });
    checks.figure("denied_after_ms", u64::try_from(since.elapsed().as_millis())?);
    // An operator who makes a mistake must not let everybody in again.
    stage.replace("clients.crl", "no list\n")?;
    tokio::time::sleep(WATCHED).await;
    let again = stage.caller("workload/leaver")?;
    checks.check("credentials.a_broken_list_leaves_the_old_one_in_use", shut_out(stage, &again).await);
    stage.replace("clients.crl", &ca.revocation_list(Authority::Clients, &[&revoked.certificate])?)?;
    Ok(())
}

async fn trust_domains(stage: &Stage, checks: &mut Checks) -> Result<()> {
    let bureau = Foreigner { stage, ca: &stage.partner, domain: PARTNER };
    checks.check("credentials.a_domain_that_a_rule_names_is_served", bureau.calls("workload/bureau").await);
    checks.check("credentials.the_command_line_calls_from_another_domain", bureau.by_command_line().await);
    let unnamed = bureau.refused("person/guest").await;
    checks.check("credentials.a_caller_that_no_rule_names_is_refused", unnamed);
    checks.control("credentials.a_caller_that_a_rule_names", &bureau.refused("workload/bureau").await, "still served");
    let forged = Foreigner { domain: TRUST_DOMAIN, ..bureau };
    checks.check("credentials.a_partner_makes_no_caller_of_ours", forged.shut_out("workload/stayer").await);
    let strangers = DevCa::open(&stage.dir.join("strangers"), "strangers.test")?;
    let stranger = Foreigner { stage, ca: &strangers, domain: "strangers.test" };
    checks.check("credentials.a_domain_that_nobody_named_is_refused", stranger.shut_out("workload/bureau").await);

    let next = DevCa::open(&stage.dir.join("partner-next"), PARTNER)?;
    let (before, after) =
        (Foreigner { stage, ca: &stage.partner, domain: PARTNER }, Foreigner { stage, ca: &next, domain: PARTNER });
    checks.check("credentials.an_authority_to_come_is_refused", after.shut_out("workload/bureau").await);
    stage.replace("partner-ca.pem", &std::fs::read_to_string(next.root_path(Authority::Clients))?)?;
    let until = Instant::now() + FILES_WITHIN;
    let since = Instant::now();
    while after.calls("workload/bureau").await.is_err() && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    checks.figure("authority_exchanged_after_ms", u64::try_from(since.elapsed().as_millis())?);
    checks.check("credentials.an_exchanged_authority_is_served", after.calls("workload/bureau").await);
    checks.check("credentials.an_authority_that_went_is_refused", before.shut_out("workload/bureau").await);
    Ok(())
}

async fn served_everywhere(stage: &Stage, caller: &Caller) -> Result<()> {
    for node in 0..stage.cluster.size() {
        if let Err(status) = caller.tokens(node).describe_token(stage.look()).await {
            bail!("{} is not served: {}", caller.spiffe(), describe(&status));
        }
    }
    Ok(())
}

/// Every node refuses the caller in time, by a call on a connection that it had: a new one would be refused in the
/// handshake, without a word of the vault.
async fn ended(stage: &Stage, caller: &Caller, within: Duration) -> Result<()> {
    let until = Instant::now() + within;
    for node in 0..stage.cluster.size() {
        loop {
            match caller.tokens(node).describe_token(stage.look()).await {
                Err(status) if is_code(&status, Code::Unauthenticated) => break,
                Err(status) => bail!("refused otherwise: {}", describe(&status)),
                Ok(_) => ensure!(Instant::now() < until, "still served after {within:?}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    Ok(())
}

/// The caller does not get past the handshake.
async fn shut_out(stage: &Stage, caller: &Caller) -> Result<()> {
    for node in 0..stage.cluster.size() {
        match caller.tokens(node).describe_token(stage.look()).await {
            Err(status) if fuda_code(&status).is_none() => {}
            Err(status) => bail!("refused by the vault, not in the handshake: {}", describe(&status)),
            Ok(_) => bail!("served"),
        }
    }
    Ok(())
}

/// Somebody with a certificate of another authority than the nodes'.
#[derive(Clone, Copy)]
struct Foreigner<'a> {
    stage: &'a Stage,
    ca: &'a DevCa,
    /// The trust domain that the certificate names.
    domain: &'a str,
}

impl Foreigner<'_> {
    fn pems(&self, path: &str) -> Result<Pems> {
        let name = path.rsplit('/').next().unwrap_or(path);
        let dir = self.stage.dir.join("foreign").join(self.domain).join(name);
        let subject = Subject { uris: vec![self.spiffe(path)], ..Subject::default() };
        Ok(self.ca.issue(Authority::Clients, &dir, "cert", &subject)?)
    }

    fn spiffe(&self, path: &str) -> String {
        format!("spiffe://{}/{path}", self.domain)
    }

    fn caller(&self, path: &str) -> Result<Caller> {
        self.stage.caller_with(&self.pems(path)?, &self.spiffe(path))
    }

    async fn calls(&self, path: &str) -> Result<()> {
        served_everywhere(self.stage, &self.caller(path)?).await
    }

    async fn refused(&self, path: &str) -> Result<()> {
        ended(self.stage, &self.caller(path)?, Duration::ZERO).await
    }

    async fn shut_out(&self, path: &str) -> Result<()> {
        shut_out(self.stage, &self.caller(path)?).await
    }

    /// The same by `fuda`, which is told whose nodes it calls.
    async fn by_command_line(&self) -> Result<()> {
        let pems = self.pems("workload/bureau")?;
        let authority = self.stage.cluster.ca().root_path(Authority::Clients);
        let (certificate, key, ca) = (path_text(&pems.certificate), path_text(&pems.key), path_text(&authority));
        let address = self.stage.first_node().join(",");
        let token = self.stage.file("other-token", &self.stage.other_token)?;
        let describe = ["token", "describe", "--tenant", OTHER_TENANT, "--scope", SCOPES[0], "--in", &token];
        let cli = self.stage.cli.with(&["--cert", &certificate, "--key", &key, "--ca", &ca, "--address", &address]);
        cli.with(&["--node-domain", TRUST_DOMAIN]).good(&describe).await?;
        // Without it, nodes of another domain are nobody's.
        cli.with(&["--deadline-ms", "3000"]).ends(4, "", &describe).await.map(drop)
    }
}
