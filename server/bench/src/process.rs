//! Servers as processes: one or three of ours, or of Apache ZooKeeper, on loopback.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::plain_client::PlainClient;

/// The release of Apache ZooKeeper that is run; `e2e/java/pom.xml` names the same.
pub const JAVA_VERSION: &str = "3.9.5";

/// How long servers may take until they serve: Java on a busy machine is slow to start.
const START_PATIENCE: Duration = Duration::from_secs(60);

/// Pause between two looks at a server that is starting.
const POLL_PAUSE: Duration = Duration::from_millis(50);

/// How long a server may take to end when asked to.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// Copies jars; pinned so that its options stay what they are.
const COPY_GOAL: &str = "org.apache.maven.plugins:maven-dependency-plugin:2.8:copy-dependencies";

/// Settings that Apache ZooKeeper's own documentation advises for mixed loads, and no digests.
const TUNING: [&str; 3] = [
    "-Dzookeeper.commitProcessor.maxReadBatchSize=200",
    "-Dzookeeper.commitProcessor.maxCommitBatchSize=200",
    "-Dzookeeper.digest.enabled=false",
];

/// Logs at INFO, as a server in production does.
const LOGBACK: &str = r#"<configuration>
  <appender name="OUT" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%d{HH:mm:ss.SSS} %-5level %logger{0} - %msg%n</pattern></encoder>
  </appender>
  <root level="INFO"><appender-ref ref="OUT"/></root>
</configuration>
"#;

/// A kind of server.
#[derive(Clone, Debug)]
pub enum Kind {
    /// `zab-server`, the path of the binary.
    Ours(PathBuf),
    /// Apache ZooKeeper, the directory of its jars.
    Java {
        /// Where its jars are.
        jars: PathBuf,
        /// With the settings that it is said to be fastest with.
        tuned: bool,
    },
}

impl Kind {
    /// As in tables.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ours(_) => "zab",
            Self::Java { tuned: false, .. } => "Java",
            Self::Java { tuned: true, .. } => "Java tuned",
        }
    }

    /// True for servers that get faster while they run.
    #[must_use]
    pub fn needs_warm_up(&self) -> bool {
        matches!(self, Self::Java { .. })
    }

    fn command(&self, cpu: Option<usize>, directory: &Path, heap_mb: u32) -> Command {
        let program = match self {
            Self::Ours(binary) => binary.as_path(),
            Self::Java { .. } => Path::new("java"),
        };
        let mut command = match cpu {
            Some(cpu) => {
                let mut command = Command::new("taskset");
                command.args(["-c", &cpu.to_string()]).arg(program);
                command
            }
            None => Command::new(program),
        };
        if let Self::Java { jars, tuned } = self {
            command
                .args([format!("-Xms{heap_mb}m"), format!("-Xmx{heap_mb}m")])
                .arg("-XX:+UseG1GC")
                .args(if *tuned { &TUNING[..] } else { &[] })
                .arg("-cp")
                .arg(format!("{}/*:{}", jars.display(), directory.display()))
                .arg("org.apache.zookeeper.server.quorum.QuorumPeerMain");
        }
        command.arg(directory.join("zoo.cfg"));
        command
    }
}

/// The directory of the jars of Apache ZooKeeper; fetched with Maven when it is not there yet.
/// `e2e` keeps them in the same place.
pub fn fetch_java() -> Result<PathBuf> {
    let home = std::env::var_os("HOME").context("HOME is not set, so there is no cache folder")?;
    let cache = Path::new(&home).join(".cache/zab");
    let jars = cache.join(format!("zookeeper-{JAVA_VERSION}"));
    if jars.is_dir() {
        return Ok(jars);
    }
    // Complete or not there at all, also when several processes fetch at the same time.
    let fetched = cache.join(format!("zookeeper-{JAVA_VERSION}.{}", std::process::id()));
    let pom = fetched.join("pom.xml");
    fs::create_dir_all(&fetched)?;
    fs::write(&pom, include_str!("../../../e2e/java/pom.xml"))?;
    let output = Command::new("mvn")
        .args(["--quiet", "--batch-mode", "--file"])
        .arg(&pom)
        .args([COPY_GOAL, "-DincludeScope=runtime"])
        .arg(format!("-DoutputDirectory={}", fetched.display()))
        .stdin(Stdio::null())
        .output()
        .context("`mvn` does not run: it is needed to fetch Apache ZooKeeper")?;
    ensure!(
        output.status.success(),
        "cannot fetch Apache ZooKeeper {JAVA_VERSION}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    if fs::rename(&fetched, &jars).is_err() {
        ensure!(jars.is_dir(), "cannot move jars to {}", jars.display());
        fs::remove_dir_all(&fetched)?;
    }
    Ok(jars)
}

/// Servers that run; they are ended when dropped.
#[derive(Debug)]
pub struct Servers {
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    process: Child,
    address: SocketAddr,
    directory: PathBuf,
}

impl Servers {
    /// Starts one server, or an ensemble of `count`, with empty data below `directory`, on
    /// processor `cpu` only if one is named, and waits until all of them serve.
    pub fn start(kind: &Kind, count: usize, directory: &Path, cpu: Option<usize>) -> Result<Self> {
        if directory.exists() {
            fs::remove_dir_all(directory)
                .with_context(|| format!("cannot empty {}", directory.display()))?;
        }
        fs::create_dir_all(directory)?;
        let directory = directory.canonicalize()?;
        let ports = free_ports(4 * count)?;
        let ensemble: String = (1..=count)
            .filter(|_| count > 1)
            .map(|id| {
                let (quorum, election) = (ports[4 * id - 2], ports[4 * id - 1]);
                format!("server.{id}=127.0.0.1:{quorum}:{election}\n")
            })
            .collect();
        let mut servers = Self { members: Vec::new() };
        for id in 1..=count {
            let [client, metrics] = [ports[4 * id - 4], ports[4 * id - 3]];
            let directory = directory.join(id.to_string());
            let data = directory.join("data");
            fs::create_dir_all(&data)?;
            fs::write(data.join("myid"), id.to_string())?;
            fs::write(directory.join("logback.xml"), LOGBACK)?;
            fs::write(
                directory.join("zoo.cfg"),
                configuration(&data, client, metrics) + &ensemble,
            )?;
            let log = fs::File::create(directory.join("log"))?;
            let heap_mb = if count == 1 { 1024 } else { 512 };
            let mut command = kind.command(cpu, &directory, heap_mb);
            let process = command
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log)
                .spawn()
                .with_context(|| format!("cannot start {command:?}"))?;
            servers.members.push(Member {
                process,
                address: SocketAddr::from((Ipv4Addr::LOCALHOST, client)),
                directory,
            });
        }
        let deadline = Instant::now() + START_PATIENCE;
        for member in &mut servers.members {
            member.wait_until_serving(deadline)?;
        }
        Ok(servers)
    }

    /// Where clients connect.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.members.iter().map(|member| member.address).collect()
    }

    /// The process ids.
    #[must_use]
    pub fn processes(&self) -> Vec<u32> {
        let id = |member: &Member| member.process.id();
        self.members.iter().map(id).collect()
    }
}

impl Member {
    fn wait_until_serving(&mut self, deadline: Instant) -> Result<()> {
        loop {
            let refusal = match PlainClient::connect(self.address, 10_000) {
                Ok(client) => return client.close(),
                Err(error) => error,
            };
            let log = || {
                let log = fs::read_to_string(self.directory.join("log")).unwrap_or_default();
                let lines: Vec<_> = log.lines().collect();
                lines[lines.len().saturating_sub(20)..].join("\n")
            };
            if let Some(status) = self.process.try_wait()? {
                bail!("a server ended with {status}; its last words:\n{}", log());
            }
            if deadline < Instant::now() {
                bail!("no server after {START_PATIENCE:?}: {refusal:#}\n{}", log());
            }
            thread::sleep(POLL_PAUSE);
        }
    }

    /// Asks the process to end, and makes it end if it does not.
    fn stop(&mut self) -> Result<()> {
        let id = i32::try_from(self.process.id())?;
        let id = rustix::process::Pid::from_raw(id).context("a child has a process id")?;
        rustix::process::kill_process(id, rustix::process::Signal::TERM)?;
        let deadline = Instant::now() + STOP_PATIENCE;
        while Instant::now() < deadline {
            if self.process.try_wait()?.is_some() {
                return Ok(());
            }
            thread::sleep(POLL_PAUSE);
        }
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for member in &mut self.members {
            // It may have ended by itself.
            let _ = member.stop();
        }
    }
}

fn configuration(data: &Path, client_port: u16, metrics_port: u16) -> String {
    format!(
        "tickTime=2000\n\
         initLimit=10\n\
         syncLimit=5\n\
         dataDir={}\n\
         clientPort={client_port}\n\
         clientPortAddress=127.0.0.1\n\
         maxClientCnxns=0\n\
         admin.enableServer=false\n\
         4lw.commands.whitelist=*\n\
         metricsProvider.httpPort={metrics_port}\n",
        data.display()
    )
}

/// Ports of loopback that are free now, all different.
fn free_ports(count: usize) -> Result<Vec<u16>> {
    let bind = |_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let listeners = (0..count).map(bind).collect::<Result<Vec<_>, _>>()?;
    let port = |listener: &TcpListener| Ok(listener.local_addr()?.port());
    listeners.iter().map(port).collect()
}
