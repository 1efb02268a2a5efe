//! Processes that cannot outlive us.
//!
//! The kernel kills a child when the *thread* that started it ends (`PR_SET_PDEATHSIG`), so all children are started by
//! one thread that lives as long as this process. `setpriv` sets the signal and becomes the program: same process id.

use std::process::{Child, Command};
use std::sync::{OnceLock, mpsc};
use std::thread;

use anyhow::{Context as _, Result};

type Order = (Command, mpsc::Sender<std::io::Result<Child>>);

static SPAWNER: OnceLock<mpsc::Sender<Order>> = OnceLock::new();

/// A command that runs `program` and is killed with this process, however this process ends.
pub fn bound_command(program: &std::path::Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// Starts a [`bound_command`].
///
/// # Errors
/// When it cannot be started (`setpriv` is part of util-linux).
pub fn spawn(command: Command) -> Result<Child> {
    let spawner = SPAWNER.get_or_init(|| {
        let (orders, inbox) = mpsc::channel::<Order>();
        thread::spawn(move || {
            for (mut command, answer) in inbox {
                // The one who asked may be gone; the child then dies with us.
                let _ = answer.send(command.spawn());
            }
        });
        orders
    });
    let (answer, started) = mpsc::channel();
    spawner.send((command, answer)).ok().context("the spawning thread ended")?;
    started.recv().context("the spawning thread ended")?.context("starting a node (needs `setpriv` of util-linux)")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_bound_command_keeps_its_process_id_and_ends_with_its_code() {
        let mut command = bound_command(Path::new("/bin/sh"));
        command.args(["-c", "exit 7"]);
        let mut child = spawn(command).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(7));
        assert!(spawn(Command::new("/nonexistent/program")).is_err());
    }
}
