//! Apache ZooKeeper as a neighbour: fetches it once, starts its servers on loopback, stops them.
//!
//! Needs nothing but `std` and `anyhow`, and blocks: from async code call it where blocking is
//! harmless (`spawn_blocking`, or before the runtime has other work).

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

/// The release everything is compared with; `java/pom.xml` names the same.
pub const VERSION: &str = "3.9.5";

/// The Maven plugin that copies jars, pinned so that its options stay what they are.
const COPY_GOAL: &str = "org.apache.maven.plugins:maven-dependency-plugin:2.8:copy-dependencies";

/// Held while jars are fetched.
static FETCHING: Mutex<()> = Mutex::new(());

/// Pause between two looks at a server that is starting.
const POLL_PAUSE: Duration = Duration::from_millis(50);

/// The directory that holds the jars; fetched with Maven when it is not there yet.
///
/// # Errors
/// A sentence that says what is missing: `java`, `mvn`, or what Maven printed.
pub fn jars() -> Result<PathBuf> {
    ensure_runs("java", "-version", "a Java runtime, version 11 or later")?;
    let home = std::env::var_os("HOME").context("HOME is not set, so there is no cache folder")?;
    let cache = Path::new(&home).join(".cache/zab");
    let jars = cache.join(format!("zookeeper-{VERSION}"));
    let _one_at_a_time = FETCHING.lock().unwrap_or_else(PoisonError::into_inner);
    if jars.is_dir() {
        return Ok(jars);
    }
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
    if fs::rename(&fetched, &jars).is_err() {
        ensure!(jars.is_dir(), "cannot move {} to {}", fetched.display(), jars.display());
        fs::remove_dir_all(&fetched)?;
    }
    Ok(jars)
}

fn ensure_runs(program: &str, argument: &str, purpose: &str) -> Result<()> {
    let status =
        Command::new(program).arg(argument).stdout(Stdio::null()).stderr(Stdio::null()).status();
    ensure!(status.is_ok_and(|status| status.success()), "`{program}` does not run: {purpose}");
    Ok(())
}

/// A server process; killed when dropped.
#[derive(Debug)]
pub struct JavaServer {
    process: Child,
    directory: PathBuf,
    client_port: u16,
}

impl JavaServer {
    /// Starts a standalone server on `client_port`, with its data in `directory`.
    pub fn start_standalone(directory: &Path, client_port: u16) -> Result<Self> {
        Self::start(directory, client_port, None, "tickTime=1000\n", &[])
    }

    /// Starts a server whose data, log (`java.log`) and configuration (`zoo.cfg`) are in
    /// `directory`, which is made if need be. What is already there is taken over, so the same
    /// directory starts it again, and a directory of ours starts Java.
    ///
    /// `zoo_cfg` holds the lines of the configuration other than `dataDir`, `clientPort` and
    /// `clientPortAddress`; with `server_id` it must name the ensemble (`server.N=…`, `initLimit`,
    /// `syncLimit`). `options` go to the JVM, such as `-Xmx512m` or `-Dzookeeper.forceSync=no`.
    pub fn start(
        directory: &Path,
        client_port: u16,
        server_id: Option<u8>,
        zoo_cfg: &str,
        options: &[&str],
    ) -> Result<Self> {
        Self::start_under(&[], directory, client_port, server_id, zoo_cfg, options)
    }

    /// [`start`](Self::start) behind other words of a command line, such as `taskset -c 0`.
    pub fn start_under(
        prefix: &[&str],
        directory: &Path,
        client_port: u16,
        server_id: Option<u8>,
        zoo_cfg: &str,
        options: &[&str],
    ) -> Result<Self> {
        let jars = jars()?;
        fs::create_dir_all(directory)?;
        let directory = directory.canonicalize()?;
        let data = directory.join("data");
        fs::create_dir_all(&data)?;
        if let Some(server_id) = server_id {
            fs::write(data.join("myid"), server_id.to_string())?;
        }
        let own_lines = format!(
            "dataDir={}\nclientPort={client_port}\nclientPortAddress=127.0.0.1\n\
             admin.enableServer=false\n4lw.commands.whitelist=*\n",
            data.display()
        );
        let configuration = directory.join("zoo.cfg");
        fs::write(&configuration, own_lines + zoo_cfg)?;
        fs::write(directory.join("logback.xml"), LOGBACK)?;

        let log =
            fs::OpenOptions::new().create(true).append(true).open(directory.join("java.log"))?;
        let java = [prefix, &["java"]].concat();
        let process = Command::new(java[0])
            .args(&java[1..])
            .args(options)
            .arg("-cp")
            .arg(format!("{}/*:{}", jars.display(), directory.display()))
            .arg("org.apache.zookeeper.server.quorum.QuorumPeerMain")
            .arg(&configuration)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", java.join(" ")))?;
        Ok(Self { process, directory, client_port })
    }

    /// `host:port` for clients.
    #[must_use]
    pub fn client_address(&self) -> String {
        format!("127.0.0.1:{}", self.client_port)
    }

    /// Where `zoo.cfg`, `java.log` and `data` are.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The data directory; log and snapshots are in its `version-2`.
    #[must_use]
    pub fn data_directory(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// The process, for measuring.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// Waits until the server takes requests.
    ///
    /// # Errors
    /// When it ends or `patience` is over first; the end of its log is in the error.
    pub fn wait_until_serving(&mut self, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        loop {
            if self.mode().is_some() {
                return Ok(());
            }
            let log = || fs::read_to_string(self.directory.join("java.log")).unwrap_or_default();
            if let Some(status) = self.process.try_wait()? {
                bail!("the Java server ended with {status}:\n{}", last_lines(&log()));
            }
            if deadline < Instant::now() {
                bail!("the Java server does not serve after {patience:?}:\n{}", last_lines(&log()));
            }
            std::thread::sleep(POLL_PAUSE);
        }
    }

    /// `standalone`, `leader`, `follower` or `observer`; `None` while it does not serve.
    #[must_use]
    pub fn mode(&self) -> Option<String> {
        mode_at(self.client_port)
    }

    /// Waits for the process to end by itself.
    ///
    /// # Errors
    /// When it still runs after `patience`.
    pub fn wait_for_end(&mut self, patience: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.process.try_wait()? {
                return Ok(status);
            }
            ensure!(Instant::now() < deadline, "the Java server did not end in {patience:?}");
            std::thread::sleep(POLL_PAUSE);
        }
    }

    /// Kills the process at once, as a crash would, and waits for its end.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }
}

impl Drop for JavaServer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.kill();
        if std::thread::panicking() {
            let log = fs::read_to_string(self.directory.join("java.log")).unwrap_or_default();
            eprintln!("--- {}\n{}", self.directory.display(), last_lines(&log));
        }
    }
}

/// What `srvr` says of the server at a client port: `standalone`, `leader`, `follower` or `observer`; `None` while it
/// does not serve.
#[must_use]
pub fn mode_at(client_port: u16) -> Option<String> {
    let answer = four_letter_word(client_port, "srvr").ok()?;
    let mode = answer.lines().find_map(|line| line.strip_prefix("Mode: "))?;
    Some(mode.to_owned())
}

/// Asks a server on loopback one of the four-letter words.
pub fn four_letter_word(client_port: u16, word: &str) -> Result<String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, client_port));
    let mut socket = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    socket.write_all(word.as_bytes())?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    Ok(answer)
}

fn last_lines(log: &str) -> String {
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}

const LOGBACK: &str = r#"<configuration>
  <appender name="OUT" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%d{HH:mm:ss.SSS} %-5level %logger{0} - %msg%n</pattern></encoder>
  </appender>
  <root level="INFO"><appender-ref ref="OUT"/></root>
</configuration>
"#;
