//! Prometheus' own opinion of a page of metrics.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

/// Has `promtool check metrics` read the page.
///
/// # Errors
/// All that it has to say about it.
pub fn check(page: &str) -> Result<()> {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("promtool does not run: apt-get install prometheus")?;
    promtool.stdin.take().context("its standard input")?.write_all(page.as_bytes())?;
    let output = promtool.wait_with_output()?;
    let said =
        [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
    ensure!(output.status.success() && said.concat().is_empty(), "promtool: {}", said.concat());
    Ok(())
}
