//! Our own server as a process: started on loopback, watched, stopped in every way there is.
//!
//! The binary is the one that `ZAB_SERVER` names, or `target/release/zab-server` of this repository.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::java::mode_at;
use crate::scratch::{last_lines, ports};

/// Pause between two looks at a server.
const POLL_PAUSE: Duration = Duration::from_millis(30);

/// The binary.
///
/// # Errors
/// A sentence that says how to build it.
pub fn binary() -> Result<PathBuf> {
    let path = match std::env::var_os("ZAB_SERVER") {
        Some(path) => PathBuf::from(path),
        None => crate::story::repository().join("target/release/zab-server"),
    };
    ensure!(
        path.is_file(),
        "{} is not there: build it with `cargo build --release -p zab-server`, or name one in ZAB_SERVER",
        path.display()
    );
    Ok(path)
}

/// A server process; killed when dropped.
#[derive(Debug)]
pub struct ZabServer {
    process: Child,
    directory: PathBuf,
    client_port: u16,
    pages_port: u16,
}

impl ZabServer {
    /// Starts a standalone server on `client_port`, with its data in `directory`.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_standalone(directory: &Path, client_port: u16) -> Result<Self> {
        Self::start(directory, client_port, None, "tickTime=1000\n")
    }

    /// Starts a server whose data, log (`zab.log`) and configuration (`zoo.cfg`) are in `directory`, which is made if
    /// need be. What is already there is taken over, so the same directory starts it again, and a directory of Java's
    /// starts ours.
    ///
    /// `zoo_cfg` holds the lines of the configuration other than `dataDir`, `clientPort`, `clientPortAddress` and the
    /// port of the pages; with `server_id` it must name the ensemble.
    ///
    /// # Errors
    /// When there is no binary, or a file cannot be written.
    pub fn start(
        directory: &Path,
        client_port: u16,
        server_id: Option<u8>,
        zoo_cfg: &str,
    ) -> Result<Self> {
        let binary = binary()?;
        fs::create_dir_all(directory)?;
        let directory = directory.canonicalize()?;
        let data = directory.join("data");
        fs::create_dir_all(&data)?;
        if let Some(server_id) = server_id {
            fs::write(data.join("myid"), server_id.to_string())?;
        }
        let pages_port = ports(1)?[0];
        let own_lines = format!(
            "dataDir={}\nclientPort={client_port}\nclientPortAddress=127.0.0.1\n\
             metricsProvider.httpHost=127.0.0.1\nmetricsProvider.httpPort={pages_port}\n\
             4lw.commands.whitelist=*\n",
            data.display()
        );
        let configuration = directory.join("zoo.cfg");
        fs::write(&configuration, own_lines + zoo_cfg)?;
        let log =
            fs::OpenOptions::new().create(true).append(true).open(directory.join("zab.log"))?;
        let process = Command::new(&binary)
            .arg(&configuration)
            // It would take this for a setting that it does not know.
            .env_remove("ZAB_SERVER")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", binary.display()))?;
        Ok(Self { process, directory, client_port, pages_port })
    }

    /// `host:port` for clients.
    #[must_use]
    pub fn client_address(&self) -> String {
        format!("127.0.0.1:{}", self.client_port)
    }

    /// The port for clients.
    #[must_use]
    pub fn client_port(&self) -> u16 {
        self.client_port
    }

    /// The data directory; log and snapshots are in its `version-2`.
    #[must_use]
    pub fn data_directory(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// The process, for signals and measuring.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// All that the server logged in this directory.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.join("zab.log")).unwrap_or_default()
    }

    /// One page over plain HTTP: its status and body.
    ///
    /// # Errors
    /// When it cannot be had within seconds.
    pub fn page(&self, path: &str) -> Result<(u16, String)> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.pages_port));
        let mut socket = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
        socket.set_read_timeout(Some(Duration::from_secs(5)))?;
        write!(socket, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("an HTTP answer has a head")?;
        let status = head.split(' ').nth(1).context("an HTTP answer has a status")?;
        Ok((status.parse()?, body.to_owned()))
    }

    /// Waits until `/readyz` says that clients are served.
    ///
    /// # Errors
    /// When the server ends or `patience` is over first; the end of its log is in the error.
    pub fn wait_until_serving(&mut self, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        loop {
            if matches!(self.page("/readyz"), Ok((200, _))) {
                return Ok(());
            }
            if let Some(status) = self.process.try_wait()? {
                bail!("the server ended with {status}:\n{}", last_lines(&self.log(), 30));
            }
            if deadline < Instant::now() {
                let log = last_lines(&self.log(), 30);
                bail!("the server does not serve after {patience:?}:\n{log}");
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
            if deadline < Instant::now() {
                let log = last_lines(&self.log(), 30);
                bail!("the server did not end in {patience:?}:\n{log}");
            }
            std::thread::sleep(POLL_PAUSE);
        }
    }

    /// Kills the process at once, as a crash would, and waits for its end.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }
}

impl Drop for ZabServer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.kill();
        if std::thread::panicking() {
            eprintln!("--- {}\n{}", self.directory.display(), last_lines(&self.log(), 40));
        }
    }
}
