//! What a process that will hold keys does first.

use std::io::Write;
use std::panic::Location;

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};
use thiserror::Error;

/// What the operating system refused.
#[derive(Debug, Error)]
pub enum HardenError {
    /// Core dumps could not be switched off.
    #[error("core dumps cannot be switched off: {0}")]
    CoreDumps(rustix::io::Errno),
    /// The process could not be protected from debuggers of the same user.
    #[error("the process cannot be made undumpable: {0}")]
    Dumpable(rustix::io::Errno),
    /// The limit on open files could not be raised.
    #[error("the limit on open files cannot be raised: {0}")]
    OpenFiles(rustix::io::Errno),
}

/// Switches core dumps and debugging by the same user off, raises the limit on open files to its maximum, and makes
/// every panic end the process without printing its payload, which may hold anything.
///
/// # Errors
/// When the operating system refuses; do not go on then.
pub fn harden() -> Result<(), HardenError> {
    std::panic::set_hook(Box::new(|panic| {
        report_panic(&mut std::io::stderr(), panic.location());
        std::process::abort();
    }));
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }).map_err(HardenError::CoreDumps)?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(HardenError::Dumpable)?;
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).map_err(HardenError::OpenFiles)
}

/// One line that is JSON, in every log format: written directly, because the panic may have come from the logger.
fn report_panic(out: &mut dyn Write, location: Option<&Location<'_>>) {
    let (file, line) = location.map_or(("unknown", 0), |location| (location.file(), location.line()));
    // Nobody is left to tell if stderr is gone.
    let _ = writeln!(
        out,
        r#"{{"level":"ERROR","message":"panic, the process ends; its message is withheld","location":"{file}:{line}"}}"#
    );
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    use rustix::process::dumpable_behavior;

    use super::*;

    const CHILD: &str = "FUDA_TEST_PANIC_CHILD";
    const SECRET: &str = "123456789018";

    /// Runs only inside the child process started below.
    #[test]
    fn panic_child() {
        if std::env::var_os(CHILD).is_none() {
            return;
        }
        harden().unwrap();
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
        assert_eq!(getrlimit(Resource::Core).current, Some(0));
        let files = getrlimit(Resource::Nofile);
        assert_eq!(files.current, files.maximum);
        panic!("payload {SECRET}");
    }

    #[test]
    fn a_panic_ends_the_process_without_its_payload() {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "process::tests::panic_child", "--nocapture"])
            .env(CHILD, "1")
            .output()
            .unwrap();
        let output = [child.stdout, child.stderr].concat();
        let output = String::from_utf8_lossy(&output);
        assert_eq!(child.status.signal(), Some(6), "aborted: {output}");
        assert!(!output.contains(SECRET), "{output}");
        assert!(output.contains("its message is withheld") && output.contains("process.rs:"), "{output}");
    }
}
