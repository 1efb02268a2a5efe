//! Planted bugs, compiled only with the feature `failpoints`; the evidence `ledger-tamper` must find them.

use fuda_ledger::{Error, OriginSuccession, SignedNote};

/// Found in every binary built with this feature, so that a shipped binary can be checked to lack it.
const MARKER: &str = "FUDA-FAILPOINTS-COMPILED-IN";

/// Says what this binary is.
pub(crate) fn warn() {
    tracing::warn!(marker = MARKER, "this binary has failpoints; it must not vouch for anything");
}

/// `FUDA_MUTANT=follow-one-signer`: one signature is enough for a statement of succession.
pub(crate) fn one_signer(
    opened: Result<(OriginSuccession, Vec<String>), Error>,
    statement: &[u8],
) -> Result<(OriginSuccession, Vec<String>), Error> {
    match opened {
        Err(_) if is_planted("follow-one-signer") => {
            let note = SignedNote::parse(statement)?;
            Ok((OriginSuccession::parse(note.unverified_text())?, vec!["somebody".to_owned()]))
        }
        opened => opened,
    }
}

/// `FUDA_MUTANT=cosign-unproven`: no proof is asked for that a checkpoint extends what was verified.
pub(crate) fn is_unproven() -> bool {
    is_planted("cosign-unproven")
}

fn is_planted(bug: &str) -> bool {
    std::env::var("FUDA_MUTANT").is_ok_and(|mutant| mutant == bug)
}
