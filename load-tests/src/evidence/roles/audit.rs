//! Auditors check the ledger of a running vault: of the vault, of a tenant, of an entrusted party. Each sees his own
//! entries, of everybody else's only the place, and can prove what he sees.

use anyhow::{Context as _, Result, anyhow, ensure};
use fuda_proto::ledger::v1::{Entry, ReadEntriesRequest};
use fuda_proto::vault::v1::DescribeTokenRequest;

use super::Checks;
use super::stage::Stage;
use crate::cluster::{OTHER_TENANT, TENANT};
use crate::wire::describe;

/// Calls of the entrusted party.
const CALLS: u64 = 5;

pub(super) async fn run(stage: &Stage) -> Result<Checks> {
    let mut checks = Checks::default();
    let key = stage.cluster.ledger_verifier_key().context("the ledger has a key")?;
    let key = stage.file("verifier-key", &format!("{key}\n"))?;
    let other = stage.file("other-key", &another_key(stage.cluster.ledger_verifier_key().unwrap_or_default())?)?;
    // Somebody's system works for the tenant, so that its auditor has something to see.
    let bureau = stage.caller("workload/bureau")?;
    for _ in 0..CALLS {
        let look = DescribeTokenRequest { tenant: TENANT.to_owned(), token: stage.token.clone(), ..stage.look() };
        let looked = bureau.tokens(0).describe_token(look).await;
        looked.map_err(|status| anyhow!("the entrusted party is refused: {}", describe(&status)))?;
    }
    let verify = ["audit", "verify", "--online", "--verifier-key", &key, "--wait", "30"];
    let with = |more: &[&'static str]| verify.iter().copied().chain(more.iter().copied()).collect::<Vec<&str>>();
    let auditors = ["person/auditor", "person/acme-auditor", "person/bureau-auditor"];
    let [whole, tenant, party] = auditors.map(|path| stage.person(path));
    let (whole, tenant, party) = (whole?, tenant?, party?);

    checks.check(
        "audit.the_vaults_auditor_verifies_everything",
        async {
            let said = whole.good(&with(&[])).await?;
            let (entries, at_start) = (said.number("entries")?, said.number("entries_at_start")?);
            ensure!(entries >= at_start && entries > 100, "only {entries} of {at_start}");
            Ok(())
        }
        .await,
    );
    let forged = ["audit", "verify", "--online", "--verifier-key", &other, "--wait", "0"];
    checks.control("audit.another_verifier_key", &whole.good(&forged).await, "verification failed");

    let own = |entry: &Entry| entry.tenant == TENANT;
    let another = |entry: &Entry| entry.tenant == OTHER_TENANT;
    let his = "person/acme-auditor";
    checks.check("audit.a_tenants_auditor_sees_only_his_tenant", sees(stage, his, TENANT, own).await);
    checks.control(
        "audit.a_tenants_auditor_who_should_see_another",
        &sees(stage, his, TENANT, another).await,
        "are none of his",
    );
    checks.check(
        "audit.a_tenants_auditor_verifies_his_entries",
        async {
            let said = tenant.good(&with(&["--tenant", TENANT])).await?;
            let (entries, proofs) = (said.number("entries")?, said.number("inclusion_proofs")?);
            ensure!(entries == proofs && entries >= CALLS, "{proofs} proofs of {entries} entries");
            Ok(())
        }
        .await,
    );
    for (name, more) in [
        ("audit.a_tenants_auditor_does_not_verify_another", &["--tenant", OTHER_TENANT][..]),
        ("audit.a_tenants_auditor_does_not_verify_the_vault", &[]),
    ] {
        checks.check(name, tenant.ends(3, "FUDA-2002", &with(more)).await);
    }

    let spiffe = stage.cluster.ca().spiffe_id("workload/bureau");
    let by_party = |entry: &Entry| entry.caller == spiffe;
    let seen = sees(stage, "person/bureau-auditor", "", by_party).await;
    checks.check("audit.a_partys_auditor_sees_only_its_callers", seen);
    checks.control(
        "audit.the_vaults_auditor_seen_as_a_partys",
        &sees(stage, "person/auditor", "", by_party).await,
        "are none of his",
    );
    checks.check(
        "audit.a_partys_auditor_verifies_what_he_sees",
        async {
            let said = party.good(&with(&["--shown"])).await?;
            let (entries, proofs) = (said.number("entries")?, said.number("inclusion_proofs")?);
            ensure!(entries == CALLS && proofs == CALLS, "{proofs} proofs of {entries} entries, {CALLS} calls");
            Ok(())
        }
        .await,
    );
    // What is withheld from him must never pass for a checked ledger.
    let unasked = party.ends(1, "comes without its bytes", &with(&[])).await;
    checks.check("audit.a_part_is_not_taken_for_the_whole", unasked);
    let fetch = stage.dir.join("party-export").display().to_string();
    checks.check(
        "audit.a_partys_auditor_exports_no_ledger",
        party.ends(1, "", &["audit", "fetch", "--out", &fetch]).await,
    );
    Ok(checks)
}

/// Everything an auditor is shown meets the rule, and there is something; of everything else he gets the place. By the
/// API, since the command line leaves out what is not shown.
async fn sees(stage: &Stage, path: &str, tenant: &str, rule: impl Fn(&Entry) -> bool) -> Result<()> {
    let auditor = stage.caller(path)?;
    let (mut from, mut shown, mut strange) = (0, 0, 0);
    loop {
        let request = ReadEntriesRequest { tenant: tenant.to_owned(), from_sequence: from, page_size: 1_000 };
        let page = auditor.ledger(0).read_entries(request).await;
        let entries = page.map_err(|status| anyhow!("ReadEntries: {}", describe(&status)))?.into_inner().entries;
        let Some(last) = entries.last() else { break };
        from = last.sequence + 1;
        for entry in &entries {
            let place = Entry { sequence: entry.sequence, ..Entry::default() };
            shown += usize::from(*entry != place);
            strange += usize::from(*entry != place && !rule(entry));
        }
    }
    ensure!(shown > 0 && strange == 0, "{strange} of {shown} entries are none of his");
    Ok(())
}

/// A key of the same name that signed nothing here.
fn another_key(key: &str) -> Result<String> {
    let key = fuda_ledger::VerifierKey::parse(key)?;
    Ok(fuda_ledger::VerifierKey::new(key.name(), [9; 32])?.to_string())
}
