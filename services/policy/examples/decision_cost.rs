//! What a decision costs: p50 and p99 of a reveal's decision among 1,000 grants.
//!
//! ```sh
//! cargo run --release --workspace --example decision_cost
//! ```
//!
//! One call with one record is measured as the gate makes it: the screening by the rules in code, then the decision of
//! the record, which asks the policy text once. *Cold*: the text has never been asked the same and is evaluated; every
//! call comes from a source zone of its own. *Warm*: the text was asked the same before, as by the second call of a
//! batch job.

use std::io::Write as _;
use std::time::Instant;

use fuda_core::{
    CallerId, Catalogue, Kind, PurposeCode, Relation, ScopeId, SourceZone, SubjectRef, TenantId, Timestamp, Window,
};
use fuda_policy::{Action, Grant, GrantId, Notified, Policy, PolicyData, RecordFacts, Request, samples};

const GRANTS: u128 = 1_000;
const CALLS: usize = 50_000;
const WARM_UP: usize = 2_000;
const NOW: Timestamp = Timestamp(1_795_322_700_000);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut out = std::io::stdout().lock();
    for (name, per_caller) in [("one grant per caller", 1), ("10 grants per caller", 10), ("64 grants per caller", 64)]
    {
        for (state, cold) in [("cold", true), ("warm", false)] {
            let policy = policy(per_caller)?;
            let mut nanos = measure(&policy, per_caller, cold)?;
            nanos.sort_unstable();
            let at = |share: usize| nanos.get(nanos.len() * share / 1_000).copied().unwrap_or(0);
            let (p50, p99) = (at(500) / 10, at(990) / 10);
            let counts = policy.text_counts().ok_or("no text")?;
            writeln!(
                out,
                "{name}, {state}: p50 {}.{:02} µs, p99 {}.{:02} µs; evaluated {} of {}",
                p50 / 100,
                p50 % 100,
                p99 / 100,
                p99 % 100,
                counts.evaluated,
                counts.asked,
            )?;
        }
    }
    Ok(())
}

/// 1,000 grants; each caller's last one is the one that fits.
fn policy(per_caller: u128) -> Result<Policy, Box<dyn std::error::Error>> {
    let catalogue = Catalogue::from_toml(Catalogue::default_text())?;
    let data = samples::policy_data(catalogue, Timestamp::EPOCH)?;
    let payroll = data.grants.iter().find(|grant| grant.actions.contains(&Action::Detokenize)).ok_or("no sample")?;
    let other = vec![PurposeCode::parse("tax.fee_record")?];
    let grants = (0..GRANTS).map(|number| {
        let last = number % per_caller == per_caller - 1 || number == GRANTS - 1;
        let purposes = if last { payroll.purposes.clone() } else { other.clone() };
        let id = GrantId((number + 1_000).to_be_bytes());
        Ok(Grant { id, caller: caller(number / per_caller)?, purposes, ..payroll.clone() })
    });
    let grants = grants.collect::<Result<Vec<_>, fuda_core::Invalid>>()?;
    Ok(Policy::build(PolicyData { grants, ..data })?)
}

fn measure(policy: &Policy, per_caller: u128, cold: bool) -> Result<Vec<u64>, Box<dyn std::error::Error>> {
    let (tenant, scope) = (TenantId::parse(samples::TENANT)?, ScopeId::parse(samples::PAYROLL_SCOPE)?);
    let (subject, purpose) = (SubjectRef::parse("E-1")?, PurposeCode::parse(samples::PURPOSE)?);
    let notified = [Notified { purpose: purpose.clone(), window: Window::ALWAYS, notice_version: None }];
    let record = RecordFacts {
        tenant: &tenant,
        kind: Kind::MyNumber,
        subject: &subject,
        label: None,
        relation: Relation::SelfRelation,
        scope: Some(&scope),
        notified: &notified,
        disabled: false,
        verified: false,
    };
    let callers = GRANTS / per_caller;
    let mut nanos = Vec::with_capacity(CALLS);
    for call in 0..CALLS + WARM_UP {
        let caller = caller(u128::try_from(call)? % callers)?;
        let zone = cold.then(|| SourceZone::parse(&format!("zone-{call}"))).transpose()?;
        let request = Request::tenant(Action::Detokenize, caller, tenant.clone()).purpose(purpose.clone()).source(zone);
        let started = Instant::now();
        let screened = policy.screen(&request, NOW).is_ok();
        let shares = policy.decide_records(&request, &[Some(record)], NOW);
        let took = started.elapsed();
        let allowed = shares.first().is_some_and(|share| share.decision.is_ok());
        if !(screened && allowed) {
            return Err("a call was denied".into());
        }
        if call >= WARM_UP {
            nanos.push(u64::try_from(took.as_nanos())?);
        }
    }
    Ok(nanos)
}

fn caller(number: u128) -> Result<CallerId, fuda_core::Invalid> {
    CallerId::parse(&format!("spiffe://fuda.test/caller-{number}"))
}
