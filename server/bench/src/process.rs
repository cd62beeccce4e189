//! Servers to be loaded: one or three of ours, or of Apache ZooKeeper, on loopback.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use e2e::scratch::ports;
use e2e::server::{Program, Server, Setup};

use crate::plain_client::PlainClient;

/// Settings that Apache ZooKeeper's own documentation advises for mixed loads, and no digests.
const TUNING: [&str; 3] = [
    "-Dzookeeper.commitProcessor.maxReadBatchSize=200",
    "-Dzookeeper.commitProcessor.maxCommitBatchSize=200",
    "-Dzookeeper.digest.enabled=false",
];

/// Session timeout asked for by the client that sees whether a server serves, in milliseconds.
const TIMEOUT_MS: i32 = 10_000;

/// A kind of server.
#[derive(Clone, Debug)]
pub enum Kind {
    /// `zab-server`, the path of the binary.
    Ours(PathBuf),
    /// Apache ZooKeeper.
    Java {
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
            Self::Java { tuned: false } => "Java",
            Self::Java { tuned: true } => "Java tuned",
        }
    }

    /// True for servers that get faster while they run.
    #[must_use]
    pub fn needs_warm_up(&self) -> bool {
        matches!(self, Self::Java { .. })
    }

    fn program(&self, heap_mb: u32) -> Program {
        match self {
            Self::Ours(binary) => Program::Zab(binary.clone()),
            Self::Java { tuned } => {
                let mut options = vec![
                    format!("-Xms{heap_mb}m"),
                    format!("-Xmx{heap_mb}m"),
                    "-XX:+UseG1GC".to_owned(),
                ];
                options.extend(TUNING.iter().filter(|_| *tuned).map(|&option| option.to_owned()));
                Program::Java(options)
            }
        }
    }
}

/// Servers that run; they are ended when dropped.
#[derive(Debug)]
pub struct Servers {
    members: Vec<Server>,
}

impl Servers {
    /// Starts one server, or an ensemble of `count`, with empty data below `directory`, on
    /// processor `cpu` only if one is named, and waits until all of them serve.
    pub fn start(kind: &Kind, count: u8, directory: &Path, cpu: Option<usize>) -> Result<Self> {
        if directory.exists() {
            fs::remove_dir_all(directory)
                .with_context(|| format!("cannot empty {}", directory.display()))?;
        }
        let program = kind.program(if count == 1 { 1024 } else { 512 });
        let cpu = cpu.map(|cpu| cpu.to_string());
        let pinned = cpu.as_ref().map(|cpu| ["taskset", "-c", cpu]);
        let zoo_cfg = configuration(count)?;
        let mut servers = Self { members: Vec::new() };
        for id in 1..=count {
            let setup = Setup {
                directory: &directory.join(id.to_string()),
                client_port: ports(1)?[0],
                server_id: (count > 1).then_some(id),
                zoo_cfg: &zoo_cfg,
                prefix: pinned.as_ref().map_or(&[], |words| &words[..]),
            };
            servers.members.push(Server::start(&program, &setup)?);
        }
        for server in &mut servers.members {
            let address = server.client_address();
            server.wait_until("it serves", || {
                let client = PlainClient::connect(address, TIMEOUT_MS);
                client.and_then(PlainClient::close).is_ok()
            })?;
        }
        Ok(servers)
    }

    /// Where clients connect.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.members.iter().map(Server::client_address).collect()
    }

    /// The process ids.
    #[must_use]
    pub fn processes(&self) -> Vec<u32> {
        self.members.iter().map(Server::process_id).collect()
    }
}

/// What all members have in common.
fn configuration(count: u8) -> Result<String> {
    let mut text = "tickTime=2000\ninitLimit=10\nsyncLimit=5\nmaxClientCnxns=0\n".to_owned();
    for id in (1..=count).filter(|_| count > 1) {
        let ports = ports(2)?;
        text += &format!("server.{id}=127.0.0.1:{}:{}\n", ports[0], ports[1]);
    }
    Ok(text)
}
