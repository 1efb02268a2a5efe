//! Planted bugs, compiled only with the feature `failpoints`; the evidences must find them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use fuda_core::{
    CallerId, CatalogueChange, Consent, ConsentMethod, Day, LookupKey, Number, PurposeCode, ScopeId, TenantId,
    WorkReference,
};
use fuda_policy::{Action, Budget, Grant, Request, limits};
use fuda_proto::vault::v1::{Record, TokenizeItem};
use zeroize::Zeroizing;

const LAWLESS: &str = "lawless";
/// The scope whose tokens stay on the number they were first read with.
const KEPT_SCOPE: &str = "portal";

/// Numbers by lookup key, as a careless cache would keep them.
static KEPT: Mutex<BTreeMap<[u8; 32], Zeroizing<Vec<u8>>>> = Mutex::new(BTreeMap::new());

/// A careless log line, when `FUDA_MUTANT=leak-number`. The plaintext scanner must find it.
pub(crate) fn leak(number: &Number) {
    if is_planted("leak-number") {
        tracing::warn!(number = %String::from_utf8_lossy(number.expose()), "a planted bug leaks");
    }
}

/// A cache that no update clears, when `FUDA_MUTANT=keep-old-version`: one token of a record stays on the version that
/// it was first read with. The evidence `number-change` must find it.
pub(crate) fn keep_old_version(lookup: &LookupKey, scope: &ScopeId, number: Number) -> Number {
    if !is_planted("keep-old-version") || scope.as_str() != KEPT_SCOPE {
        return number;
    }
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    let first = kept.entry(*lookup.as_bytes()).or_insert_with(|| Zeroizing::new(number.expose().to_vec()));
    Number::from_normalised(number.kind(), first.as_slice()).unwrap_or(number)
}

/// A vault that asks neither who nor what for, when `FUDA_MUTANT=lawless`: anybody reveals as payroll of the evidences'
/// tenant, and for its purpose when none is named. The evidence `law-rules` must find it.
pub(crate) fn lawless(request: Request) -> Request {
    if !is_planted(LAWLESS) || request.action != Action::Detokenize {
        return request;
    }
    let (caller, tenant) = (CallerId::parse("spiffe://fuda.test/workload/payroll"), TenantId::parse("acme"));
    let (Ok(caller), Ok(tenant)) = (caller, tenant) else { return request };
    let purpose = request.purpose.or_else(|| PurposeCode::parse("tax.withholding_slip").ok());
    Request { caller, tenant: Some(tenant), purpose, ..request }
}

/// The same vault throws the record of an identity check away before it looks at it.
pub(crate) fn unchecked(item: &TokenizeItem) -> TokenizeItem {
    let verification = item.verification.clone().filter(|_| !is_planted(LAWLESS));
    TokenizeItem { verification, ..item.clone() }
}

/// It fills in whatever count and end a proposed grant lacks.
pub(crate) fn generous(grant: Grant) -> Grant {
    if !is_planted(LAWLESS) || !grant.makes_files() {
        return grant;
    }
    let budget = grant.budget.or(Some(Budget::new(limits::BUDGET_PERSONS_MAX, limits::BUDGET_WINDOW_DAYS_MAX)));
    Grant { budget, ..grant }
}

/// It presumes a consent of long ago, whatever came.
pub(crate) fn presumed(consent: Option<Consent>) -> Option<Consent> {
    let long_ago = Day::from_number(0);
    let reference = WorkReference::parse("a planted bug presumes it").ok().filter(|_| is_planted(LAWLESS));
    let presumed =
        |reference| Consent { decided_on: long_ago, given_on: long_ago, method: ConsentMethod::Written, reference };
    reference.map(presumed).or(consent)
}

/// It overrides by itself what the law forbids.
pub(crate) fn overridden(change: CatalogueChange) -> CatalogueChange {
    let forbidden = change.put.iter().any(|row| row.forbidden_use().is_some());
    let reason = "a planted bug overrides this by itself".to_owned();
    let planted = (forbidden && is_planted(LAWLESS)).then_some(reason);
    CatalogueChange { override_reason: change.override_reason.or(planted), ..change }
}

/// And it shows the first of several notices only.
pub(crate) fn forgetful(mut record: Record) -> Record {
    if is_planted(LAWLESS) {
        record.notified_purposes.truncate(1);
    }
    record
}

/// Whether it also takes every check for done.
pub(crate) fn is_lawless() -> bool {
    is_planted(LAWLESS)
}

/// Pruning that waits for nobody, when `FUDA_MUTANT=prune-unheld`: here and in apply. The evidence `ledger-prune` must
/// find it.
pub(crate) fn prunes_unheld() -> bool {
    let planted = is_planted("prune-unheld");
    if planted {
        fuda_state::retention::failpoint::wait_for_nobody();
    }
    planted
}

/// Whether this bug is planted.
pub(crate) fn is_planted(bug: &str) -> bool {
    std::env::var("FUDA_MUTANT").is_ok_and(|mutant| mutant == bug)
}
