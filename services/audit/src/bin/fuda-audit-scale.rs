//! For `fuda-evidence run audit-scale` and `audit-retention` only, never shipped: fills an empty store with synthetic entries,
//! and does to a store what nobody may do to one.

use std::process::ExitCode;

fn main() -> ExitCode {
    fuda_audit::scale::main()
}
