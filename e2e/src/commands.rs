//! Runs programs as a user would: kubectl, helm, the lab. Each with a deadline and with its output in the error.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::Value;

/// Runs a program and returns what it printed.
///
/// # Errors
/// When it cannot be started, ends with another code than 0, or takes longer than `deadline`.
pub fn run(deadline: Duration, program: &str, arguments: &[&str]) -> anyhow::Result<String> {
    run_with_input(deadline, program, arguments, "")
}

/// The same with text on its standard input.
///
/// # Errors
/// As [`run`].
pub fn run_with_input(
    deadline: Duration,
    program: &str,
    arguments: &[&str],
    input: &str,
) -> anyhow::Result<String> {
    let line = || format!("{program} {}", arguments.join(" "));
    // `timeout` ends what a library call could only abandon.
    let mut child = Command::new("timeout")
        .args(["--kill-after=5", &deadline.as_secs().max(1).to_string(), program])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(line)?;
    let mut stdin = child.stdin.take().context("its standard input")?;
    stdin.write_all(input.as_bytes()).with_context(line)?;
    drop(stdin);
    let output = child.wait_with_output().with_context(line)?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let how = match output.status.code() {
        Some(0) => return Ok(printed),
        Some(TIMED_OUT) => format!("not done after {} s", deadline.as_secs()),
        _ => output.status.to_string(),
    };
    let said = String::from_utf8_lossy(&output.stderr);
    bail!("{}: {how}: {printed}{}", line(), said.trim())
}

/// What `timeout` exits with when time is up.
const TIMED_OUT: i32 = 124;

/// `kubectl` in one namespace.
#[derive(Clone, Debug)]
pub struct Kubectl {
    namespace: String,
}

impl Kubectl {
    /// Commands for objects of `namespace`.
    #[must_use]
    pub fn new(namespace: &str) -> Self {
        Self { namespace: namespace.to_owned() }
    }

    /// The namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Runs a command that answers soon.
    ///
    /// # Errors
    /// As [`run`].
    pub fn run(&self, arguments: &[&str]) -> anyhow::Result<String> {
        self.run_for(Duration::from_secs(30), arguments)
    }

    /// Runs a command that may wait.
    ///
    /// # Errors
    /// As [`run`].
    pub fn run_for(&self, deadline: Duration, arguments: &[&str]) -> anyhow::Result<String> {
        let all: Vec<_> =
            ["--namespace", &self.namespace].iter().chain(arguments).copied().collect();
        run(deadline, "kubectl", &all)
    }

    /// Applies a manifest.
    ///
    /// # Errors
    /// As [`run`].
    pub fn apply(&self, manifest: &str) -> anyhow::Result<String> {
        let arguments = ["--namespace", &self.namespace, "apply", "--filename", "-"];
        run_with_input(Duration::from_secs(30), "kubectl", &arguments, manifest)
    }

    /// Reads objects as JSON.
    ///
    /// # Errors
    /// As [`run`], or when the answer is no JSON.
    pub fn get(&self, what: &[&str]) -> anyhow::Result<Value> {
        let all: Vec<_> = ["get"].iter().chain(what).chain(&["--output=json"]).copied().collect();
        Ok(serde_json::from_str(&self.run(&all)?)?)
    }
}
