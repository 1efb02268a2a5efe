//! The program; all of it is in the library, where evidences reach the real code.

use std::process::ExitCode;

fn main() -> ExitCode {
    fuda_audit::main()
}
