//! For `fuda-evidence run audit-scale` only, never shipped: fills an empty store with synthetic entries and measures how
//! fast it is read out, with the code that `fuda-audit` runs.

use std::process::ExitCode;

fn main() -> ExitCode {
    fuda_audit::scale::main()
}
