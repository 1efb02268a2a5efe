//! Planted bugs, compiled only with the feature `failpoints`; the evidences must find them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use fuda_core::{LookupKey, Number, ScopeId};
use zeroize::Zeroizing;

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

/// Whether this bug is planted.
pub(crate) fn is_planted(bug: &str) -> bool {
    std::env::var("FUDA_MUTANT").is_ok_and(|mutant| mutant == bug)
}
