//! A server as a process on loopback, Apache ZooKeeper's or ours: started, watched, stopped in every way there is.

use std::ffi::OsString;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Result, ensure};
use rustix::process::Signal;

use crate::java;
use crate::page;
use crate::process::{self, Process};
use crate::scratch::ports;

/// How long a server may take to serve: a JVM on a busy machine takes its time.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A standalone server's own lines. The log is short, as hardly anything is written to it.
const STANDALONE: &str = "tickTime=1000\npreAllocSize=1024\n";

/// Whose server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Apache ZooKeeper's.
    Java,
    /// Ours.
    Zab,
}

/// What runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// Apache ZooKeeper, with these options of the JVM.
    Java(Vec<String>),
    /// The binary of ours.
    Zab(PathBuf),
}

impl Program {
    /// For tests: a JVM that is small and quick to start, as it lives for seconds, or the binary that `ZAB_SERVER`
    /// names, or else `target/release/zab-server` of this repository.
    ///
    /// # Errors
    /// A sentence that says how to build ours.
    pub fn of(kind: Kind) -> Result<Self> {
        match kind {
            Kind::Java => {
                let options = ["-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"];
                Ok(Self::Java(options.map(str::to_owned).into()))
            }
            Kind::Zab => Ok(Self::Zab(binary()?)),
        }
    }

    /// Its words, to be followed by the configuration. `directory` has the logging of Java.
    fn words(&self, directory: &Path) -> Result<Vec<OsString>> {
        match self {
            Self::Java(options) => {
                let jars = java::jars()?;
                let path = format!("{}/*:{}", jars.display(), directory.display());
                let mut words = vec!["java".into()];
                words.extend(options.iter().map(OsString::from));
                words.extend(["-cp".into(), path.into(), java::MAIN_CLASS.into()]);
                Ok(words)
            }
            Self::Zab(binary) => Ok(vec![binary.into()]),
        }
    }
}

/// The binary of ours for tests.
///
/// # Errors
/// A sentence that says how to build it.
pub fn binary() -> Result<PathBuf> {
    let path = match std::env::var_os("ZAB_SERVER") {
        Some(path) => PathBuf::from(path),
        None => crate::repository().join("target/release/zab-server"),
    };
    ensure!(
        path.is_file(),
        "{} is not there: build it with `cargo build --release -p zab-server`, or name one in ZAB_SERVER",
        path.display()
    );
    Ok(path)
}

/// What a server is started with.
#[derive(Clone, Copy, Debug)]
pub struct Setup<'a> {
    /// Where its configuration (`zoo.cfg`), data (`data`) and log (`server.log`) are; made if need be. What is
    /// already there is taken over: the same directory starts it again, as a server of either kind.
    pub directory: &'a Path,
    /// The port for clients, on loopback.
    pub client_port: u16,
    /// Which member of an ensemble it is; `None` for a standalone server.
    pub server_id: Option<u8>,
    /// Lines of the configuration, among them those of the ensemble. Directories, client port, pages and words are
    /// not among them.
    pub zoo_cfg: &'a str,
    /// Words before the program, such as `taskset -c 0`.
    pub prefix: &'a [&'a str],
}

/// A running server; killed when dropped.
#[derive(Debug)]
pub struct Server {
    process: Process,
    directory: PathBuf,
    client_port: u16,
    pages_port: u16,
}

impl Server {
    /// Starts one.
    ///
    /// # Errors
    /// When there is no such program, or a file cannot be written.
    pub fn start(program: &Program, setup: &Setup<'_>) -> Result<Self> {
        let client_port = setup.client_port;
        fs::create_dir_all(setup.directory)?;
        let directory = setup.directory.canonicalize()?;
        let data = directory.join("data");
        fs::create_dir_all(&data)?;
        if let Some(server_id) = setup.server_id {
            fs::write(data.join("myid"), server_id.to_string())?;
        }
        let pages_port = ports(1)?[0];
        let own_lines = format!(
            "dataDir={}\nclientPort={client_port}\nclientPortAddress=127.0.0.1\n\
             admin.enableServer=false\n4lw.commands.whitelist=*\n\
             metricsProvider.httpHost=127.0.0.1\nmetricsProvider.httpPort={pages_port}\n",
            data.display()
        );
        let configuration = directory.join("zoo.cfg");
        fs::write(&configuration, own_lines + setup.zoo_cfg)?;
        fs::write(directory.join("logback.xml"), java::LOGBACK)?;
        let mut words: Vec<OsString> = setup.prefix.iter().map(OsString::from).collect();
        words.extend(program.words(&directory)?);
        let mut command = process::command(&words[0]);
        // Ours would take this for a setting that it does not know.
        command.args(&words[1..]).arg(&configuration).env_remove("ZAB_SERVER");
        let process = Process::start(command, &directory.join("server.log"))?;
        Ok(Self { process, directory, client_port, pages_port })
    }

    /// Starts a standalone server of this kind, with its files in `directory`.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_standalone(kind: Kind, directory: &Path, client_port: u16) -> Result<Self> {
        let setup =
            Setup { directory, client_port, server_id: None, zoo_cfg: STANDALONE, prefix: &[] };
        Self::start(&Program::of(kind)?, &setup)
    }

    /// Its address for clients.
    #[must_use]
    pub fn client_address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.client_port))
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

    /// All that servers logged in this directory.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// One page of a server of ours: its status and body.
    ///
    /// # Errors
    /// When it cannot be had within seconds.
    pub fn page(&self, path: &str) -> Result<(u16, String)> {
        page::get(SocketAddr::from((Ipv4Addr::LOCALHOST, self.pages_port)), path)
    }

    /// The answer to a four-letter word.
    ///
    /// # Errors
    /// When there is none within seconds.
    pub fn word(&self, word: &str) -> Result<String> {
        four_letter_word(self.client_port, word)
    }

    /// `standalone`, `leader`, `follower` or `observer`; `None` while it does not serve.
    #[must_use]
    pub fn mode(&self) -> Option<String> {
        self.srvr("Mode: ")
    }

    /// The last transaction it applied; `None` while it does not serve.
    #[must_use]
    pub fn zxid(&self) -> Option<String> {
        self.srvr("Zxid: ")
    }

    /// The rest of the line of `srvr` that begins with `name`.
    fn srvr(&self, name: &str) -> Option<String> {
        let answer = self.word("srvr").ok()?;
        answer.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned)
    }

    /// Waits until the server takes requests.
    ///
    /// # Errors
    /// When it ends or [`PATIENCE`] is over first; the end of its log is in the error.
    pub fn wait_until_serving(&mut self) -> Result<()> {
        let port = self.client_port;
        self.process.wait_until("it serves", PATIENCE, || {
            four_letter_word(port, "srvr").is_ok_and(|answer| answer.contains("\nMode: "))
        })
    }

    /// Waits until the server is as it should be.
    ///
    /// # Errors
    /// When it ends or [`PATIENCE`] is over first; the end of its log is in the error.
    pub fn wait_until(&mut self, what: &str, is_so: impl FnMut() -> bool) -> Result<()> {
        self.process.wait_until(what, PATIENCE, is_so)
    }

    /// Waits for the process to end by itself.
    ///
    /// # Errors
    /// When it still runs after [`PATIENCE`].
    pub fn wait_for_end(&mut self) -> Result<ExitStatus> {
        self.process.wait_for_end(PATIENCE)
    }

    /// Asks the process to end, waits until it has, and says how it did.
    ///
    /// # Errors
    /// When it still runs after [`PATIENCE`].
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        self.process.signal(Signal::TERM)?;
        self.wait_for_end()
    }

    /// Pauses the process; only [`kill`](Self::kill) helps afterwards.
    ///
    /// # Errors
    /// When it has ended.
    pub fn pause(&self) -> Result<()> {
        self.process.pause()
    }

    /// Kills the process at once, as a crash would, and waits for its end.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }
}

fn four_letter_word(client_port: u16, word: &str) -> Result<String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, client_port));
    let mut socket = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    socket.write_all(word.as_bytes())?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    Ok(answer)
}
