//! A planted bug, compiled only with the feature `failpoints`: a careless log line. The plaintext scanner must find it.

use fuda_core::Number;

/// Logs the number when `FUDA_MUTANT=leak-number`.
pub(crate) fn leak(number: &Number) {
    if std::env::var("FUDA_MUTANT").is_ok_and(|mutant| mutant == "leak-number") {
        tracing::warn!(number = %String::from_utf8_lossy(number.expose()), "a planted bug leaks");
    }
}
