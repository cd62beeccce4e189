//! Apache ZooKeeper, as the neighbour that everything is compared with: its jars, fetched once.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, ensure};

/// The release; `java/pom.xml` names the same.
pub const VERSION: &str = "3.9.5";

/// The class that runs a server.
pub const MAIN_CLASS: &str = "org.apache.zookeeper.server.quorum.QuorumPeerMain";

/// The Maven plugin that copies jars, pinned so that its options stay what they are.
const COPY_GOAL: &str = "org.apache.maven.plugins:maven-dependency-plugin:2.8:copy-dependencies";

/// Logs at INFO, as a server in production does.
pub const LOGBACK: &str = r#"<configuration>
  <appender name="OUT" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%d{HH:mm:ss.SSS} %-5level %logger{0} - %msg%n</pattern></encoder>
  </appender>
  <root level="INFO"><appender-ref ref="OUT"/></root>
</configuration>
"#;

/// The directory that holds the jars; fetched with Maven when it is not there yet.
///
/// # Errors
/// A sentence that says what is missing: `java`, `mvn`, or what Maven printed.
pub fn jars() -> Result<PathBuf> {
    static FOUND: Mutex<Option<PathBuf>> = Mutex::new(None);
    let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(jars) = &*found {
        return Ok(jars.clone());
    }
    ensure_runs("java", "-version", "a Java runtime, version 11 or later")?;
    let home = std::env::var_os("HOME").context("HOME is not set, so there is no cache folder")?;
    let cache = Path::new(&home).join(".cache/zab");
    let jars = cache.join(format!("zookeeper-{VERSION}"));
    if !jars.is_dir() {
        fetch(&cache, &jars)?;
    }
    *found = Some(jars.clone());
    Ok(jars)
}

fn fetch(cache: &Path, jars: &Path) -> Result<()> {
    ensure_runs("mvn", "-version", "Apache Maven, to fetch ZooKeeper")?;
    // Complete or not there at all, also when several processes fetch at the same time.
    let fetched = cache.join(format!("zookeeper-{VERSION}.{}", std::process::id()));
    let pom = fetched.join("pom.xml");
    fs::create_dir_all(&fetched)?;
    fs::write(&pom, include_str!("../java/pom.xml"))?;
    let output = Command::new("mvn")
        .args(["--quiet", "--batch-mode", "--file"])
        .arg(&pom)
        .args([COPY_GOAL, "-DincludeScope=runtime"])
        .arg(format!("-DoutputDirectory={}", fetched.display()))
        .stdin(Stdio::null())
        .output()?;
    ensure!(
        output.status.success(),
        "cannot fetch ZooKeeper {VERSION}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    if fs::rename(&fetched, jars).is_err() {
        ensure!(jars.is_dir(), "cannot move {} to {}", fetched.display(), jars.display());
        fs::remove_dir_all(&fetched)?;
    }
    Ok(())
}

fn ensure_runs(program: &str, argument: &str, purpose: &str) -> Result<()> {
    let status =
        Command::new(program).arg(argument).stdout(Stdio::null()).stderr(Stdio::null()).status();
    ensure!(status.is_ok_and(|status| status.success()), "`{program}` does not run: {purpose}");
    Ok(())
}
