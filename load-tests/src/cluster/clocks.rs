//! Clocks of nodes that a test sets: libfaketime stands between a node and the kernel. The monotonic clock stays true, as
//! it does when a real wall clock is set.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result};
use tokio::process::Command;

use super::{LocalCluster, PATIENCE};

/// What a run says that cannot have it.
pub const MISSING: &str = "libfaketime is not installed and apt cannot install it (package faketime)";
/// Where Debian and Ubuntu put it.
const LIBRARY_DIRS: [&str; 2] = ["/usr/lib/x86_64-linux-gnu/faketime", "/usr/lib/aarch64-linux-gnu/faketime"];
/// The build of it for programs with threads.
const LIBRARY: &str = "libfaketimeMT.so.1";

/// One clock per node, each read from a file at every look.
pub struct Clocks {
    files: Vec<PathBuf>,
}

impl Clocks {
    /// Restarts the nodes, which are members of nothing yet, behind libfaketime, with true clocks.
    ///
    /// # Errors
    /// When one cannot be stopped or started.
    pub async fn insert(cluster: &mut LocalCluster, library: &Path) -> Result<Self> {
        let mut files = Vec::new();
        for number in 0..cluster.size() {
            let node = cluster.node(number)?;
            node.stop().await?;
            let file = node.spec().run_dir.join("clock");
            let env = [
                ("LD_PRELOAD", library.display().to_string()),
                ("FAKETIME_TIMESTAMP_FILE", file.display().to_string()),
                ("FAKETIME_NO_CACHE", "1".to_owned()),
                ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
                ("DONT_FAKE_MONOTONIC", "1".to_owned()),
                ("NO_FAKE_STAT", "1".to_owned()),
            ];
            node.spec_mut().env.extend(env.map(|(key, value)| (key.to_owned(), value)));
            files.push(file);
        }
        let clocks = Self { files };
        for number in 0..cluster.size() {
            clocks.set(number, "+0d")?;
            cluster.restart(number)?;
        }
        for number in 0..cluster.size() {
            cluster.node(number)?.wait_live(PATIENCE).await?;
        }
        Ok(clocks)
    }

    /// Sets the clock of a node to real time and this offset, as libfaketime reads it (`+25h`).
    ///
    /// # Errors
    /// When there is no such node, or its file cannot be written.
    pub fn set(&self, node: usize, offset: &str) -> Result<()> {
        let file = self.files.get(node).context("no such node")?;
        let beside = file.with_extension("new");
        fs::write(&beside, format!("{offset}\n"))?;
        Ok(fs::rename(beside, file)?)
    }
}

/// libfaketime; installed by apt when it is missing and we may.
pub async fn library() -> Option<PathBuf> {
    let find = || LIBRARY_DIRS.iter().map(|dir| Path::new(dir).join(LIBRARY)).find(|file| file.is_file());
    if let Some(found) = find() {
        return Some(found);
    }
    crate::evidence::progress("installing with apt: faketime");
    let apt = ["apt-get update -qq", "apt-get install -y -qq --no-install-recommends faketime"].join(" && ");
    let mut install = Command::new("sh");
    install.args(["-c", &apt]).env("DEBIAN_FRONTEND", "noninteractive");
    let ended = install.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().await;
    ended.ok().filter(std::process::ExitStatus::success).and_then(|_| find())
}
