//! Where a process spends its time, by `perf`.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::process::Command;

/// Samples per second: not a divisor of the kernel's tick, so that the two do not run in step.
const FREQUENCY_HZ: &str = "499";
/// Symbols below this share, in percent, are left out.
const SHARE_MIN: &str = "0.5";
/// Symbols shown.
const LINES_MAX: usize = 45;

/// Whether `perf` is installed and may sample.
pub async fn available() -> bool {
    let probe = Command::new("perf")
        .args(["stat", "-e", "cpu-clock", "--", "true"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    probe.await.is_ok_and(|status| status.success())
}

/// Samples a process for `length` and returns the symbols it was found in most, as a Markdown table. `scratch` is a
/// directory for the samples.
///
/// # Errors
/// When `perf` fails.
pub async fn top_symbols(pid: u32, length: Duration, scratch: &Path) -> Result<String> {
    let samples = scratch.join("perf.data");
    let recorded = Command::new("perf")
        .args(["record", "-q", "-g", "-e", "cpu-clock", "-F", FREQUENCY_HZ, "-p", &pid.to_string(), "-o"])
        .arg(&samples)
        .args(["--", "sleep", &length.as_secs_f64().to_string()])
        .stdin(Stdio::null())
        .output()
        .await
        .context("perf record")?;
    ensure!(recorded.status.success(), "perf record: {}", String::from_utf8_lossy(&recorded.stderr));
    let reported = Command::new("perf")
        .args(["report", "--stdio", "--no-children", "-g", "none", "--percent-limit", SHARE_MIN, "-i"])
        .arg(&samples)
        .args(["--sort", "dso,symbol"])
        .stdin(Stdio::null())
        .output()
        .await
        .context("perf report")?;
    ensure!(reported.status.success(), "perf report: {}", String::from_utf8_lossy(&reported.stderr));
    Ok(table(&String::from_utf8_lossy(&reported.stdout)))
}

/// `12.34%  object  [.] symbol` lines as a table.
fn table(report: &str) -> String {
    let mut table = String::from("| share | object | symbol |\n|---:|---|---|\n");
    let rows = report.lines().filter_map(row).take(LINES_MAX);
    for (share, object, symbol) in rows {
        table.push_str(&format!("| {share} | {object} | `{symbol}` |\n"));
    }
    table
}

fn row(line: &str) -> Option<(&str, &str, &str)> {
    let (share, rest) = line.trim_start().split_once(char::is_whitespace)?;
    if !share.ends_with('%') {
        return None;
    }
    let (object, rest) = rest.trim_start().split_once(char::is_whitespace)?;
    let symbol = rest.trim_start().split_once("] ")?.1;
    // Some versions of perf pad the symbol and add columns of dashes behind it.
    let symbol = symbol.split_once("  ").map_or(symbol, |(symbol, _)| symbol);
    Some((share, object, symbol.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_becomes_a_table() {
        let report = "# comment\n\n    12.34%  fuda-vault     [.] <T as U>::f\n     3.00%  [kernel]       [k] fsync            -      -\n";
        let table = table(report);
        assert!(table.contains("| 12.34% | fuda-vault | `<T as U>::f` |"), "{table}");
        assert!(table.contains("| 3.00% | [kernel] | `fsync` |"), "{table}");
        assert_eq!(table.lines().count(), 4);
    }
}
