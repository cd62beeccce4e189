//! zab-bench: loads ZooKeeper servers and says what an operation costs.

use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bench::compare::{Comparison, markdown};
use bench::cpu;
use bench::load::{self, Target};
use bench::process::Kind;
use bench::report::Outcome;
use bench::smoke;
use bench::stub::{self, Behaviour};
use bench::workload::{Mix, Pace, PathShape, Workload};
use clap::{Args, Parser, Subcommand};

/// Loads ZooKeeper servers over their wire and says what an operation costs.
#[derive(Parser)]
#[command(version)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Load servers that run already.
    Load {
        #[command(flatten)]
        target: TargetOptions,
        #[command(flatten)]
        workload: WorkloadOptions,
    },
    /// Answer like a server and do nothing, on the given address, until killed.
    Stub {
        /// Where to listen.
        #[arg(long, default_value = "127.0.0.1:2191")]
        listen: SocketAddr,
        /// Size of the data it answers, in bytes.
        #[arg(long, default_value_t = 100)]
        value: usize,
        /// Processor to run on.
        #[arg(long)]
        cpu: Option<usize>,
    },
    /// Load ours and Apache ZooKeeper in turns and compare them.
    Compare(CompareOptions),
    /// Ask for a little of everything of one server of ours, in a few seconds.
    Smoke {
        /// The binary of ours.
        #[arg(long, default_value = "target/release/zab-server")]
        server: PathBuf,
        /// Where the server keeps its data; emptied first.
        #[arg(long, default_value = "target/bench/smoke")]
        directory: PathBuf,
    },
    /// Load a stub: the generator's own bound on this machine.
    Bound {
        #[command(flatten)]
        workload: WorkloadOptions,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Args)]
struct CompareOptions {
    /// The binary of ours.
    #[arg(long, default_value = "target/release/zab-server")]
    server: PathBuf,
    /// Runs of each row and contender.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// The measured part of each run, in seconds.
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// Load on a server in Java before the first run of each group of rows, in seconds; 20, or 5
    /// with fewer than three rounds.
    #[arg(long)]
    java_warm_up: Option<f64>,
    /// How often a run is repeated when its host or other processes took part of the machine.
    #[arg(long, default_value_t = 2)]
    repeats: usize,
    /// Only rows whose name contains this.
    #[arg(long)]
    only: Option<String>,
    /// Leave ours or Java out.
    #[arg(long, value_enum, value_delimiter = ',')]
    without: Vec<Without>,
    /// Where the servers keep their data, on the disk that is to be measured; emptied first.
    #[arg(long, default_value = "target/bench")]
    directory: PathBuf,
    /// Write the page here instead of printing it.
    #[arg(long)]
    output: Option<PathBuf>,
    /// Write every run here as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// What a comparison leaves out.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Without {
    /// Ours.
    Zab,
    /// Apache ZooKeeper.
    Java,
    /// Apache ZooKeeper with tuned settings, in the rows of three servers.
    Tuned,
    /// The rows of one server.
    One,
    /// The rows of three servers.
    Three,
}

#[derive(Args)]
struct TargetOptions {
    /// Servers as host:port, separated by commas; sessions are spread over them.
    #[arg(long, value_delimiter = ',', default_value = "127.0.0.1:2181")]
    servers: Vec<String>,
    /// Process ids of the servers, separated by commas, to count their CPU time.
    #[arg(long, value_delimiter = ',')]
    processes: Vec<u32>,
    /// Processor to run on.
    #[arg(long)]
    cpu: Option<usize>,
    /// Do not read acknowledged writes back.
    #[arg(long)]
    no_read_back: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct WorkloadOptions {
    /// Operations and their shares: `get`, `90/10` (reads/writes) or `get=80,create=10,delete=10`;
    /// operations are get, exists, children, set, create, delete, sync.
    #[arg(long, default_value = "get")]
    mix: Mix,
    /// Sessions, each on a connection of its own.
    #[arg(long, default_value_t = 64)]
    sessions: usize,
    /// Requests in flight for each session.
    #[arg(long, default_value_t = 16)]
    outstanding: usize,
    /// Offer this many requests a second instead, whatever the replies do; latency counts from
    /// the time at which a request should have been sent.
    #[arg(long, conflicts_with = "outstanding")]
    rate: Option<u32>,
    /// Size of the values, in bytes.
    #[arg(long, default_value_t = 100)]
    value: usize,
    /// Number of znodes that are read and set.
    #[arg(long, default_value_t = 10_000)]
    keys: u32,
    /// The form of their paths.
    #[arg(long, value_enum, default_value = "short")]
    paths: PathShape,
    /// Load before anything is counted, in seconds.
    #[arg(long, default_value_t = 1.0)]
    warm_up: f64,
    /// Load that is counted, in seconds.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
}

/// `value` seconds, given as option `name`.
fn seconds(name: &str, value: f64) -> Result<Duration> {
    Duration::try_from_secs_f64(value).with_context(|| format!("{name}: {value} s"))
}

impl WorkloadOptions {
    fn workload(self) -> Result<Workload> {
        Ok(Workload {
            mix: self.mix,
            sessions: self.sessions,
            pace: match self.rate {
                Some(rate) => Pace::PerSecond(rate),
                None => Pace::Outstanding(self.outstanding),
            },
            value_bytes: self.value,
            keys: self.keys,
            paths: self.paths,
            warm_up: seconds("--warm-up", self.warm_up)?,
            measured: seconds("--seconds", self.seconds)?,
        })
    }
}

fn main() -> ExitCode {
    match execute(CommandLine::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("zab-bench: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn execute(command: Command) -> Result<ExitCode> {
    match command {
        Command::Load { target, workload } => {
            if let Some(cpu) = target.cpu {
                cpu::pin_to(cpu)?;
            }
            let json = target.json;
            let outcome = load::run(&workload.workload()?, &target.target()?)?;
            print(&outcome, json)
        }
        Command::Stub { listen, value, cpu } => {
            if let Some(cpu) = cpu {
                cpu::pin_to(cpu)?;
            }
            let listener =
                TcpListener::bind(listen).with_context(|| format!("cannot listen on {listen}"))?;
            let behaviour = Behaviour { value_bytes: value, stall: None };
            stub::serve(&listener, behaviour, &AtomicBool::new(false))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Compare(options) => options.compare(),
        Command::Smoke { server, directory } => {
            smoke::run(&server, &directory)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Bound { workload, json } => {
            let workload = workload.workload()?;
            let outcome = stub::load_stub(&workload)?;
            print(&outcome, json)
        }
    }
}

impl CompareOptions {
    fn compare(self) -> Result<ExitCode> {
        let comparison = self.comparison()?;
        let results = comparison.run()?;
        if let Some(path) = &self.json {
            write(path, &serde_json::to_string_pretty(&results)?)?;
        }
        let page = markdown::page(&results);
        match &self.output {
            Some(path) => write(path, &page)?,
            None => print!("{page}"),
        }
        Ok(if results.has_failure() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }

    fn comparison(&self) -> Result<Comparison> {
        ensure!(self.rounds > 0, "--rounds: expected at least 1");
        let with = |part| !self.without.contains(&part);
        let mut one = Vec::new();
        if with(Without::Zab) {
            one.push(Kind::Ours(self.server.clone()));
        }
        let mut three = one.clone();
        if with(Without::Java) {
            // Now rather than after an hour.
            e2e::java::jars()?;
            one.push(Kind::Java { tuned: false });
            three.push(Kind::Java { tuned: false });
            if with(Without::Tuned) {
                three.push(Kind::Java { tuned: true });
            }
        }
        let none = Vec::new;
        let warm_up = if self.rounds < 3 { 5.0 } else { 20.0 };
        Ok(Comparison {
            one: if with(Without::One) { one } else { none() },
            three: if with(Without::Three) { three } else { none() },
            rounds: self.rounds,
            measured: seconds("--seconds", self.seconds)?,
            java_warm_up: seconds("--java-warm-up", self.java_warm_up.unwrap_or(warm_up))?,
            repeats: self.repeats,
            only: self.only.clone(),
            directory: self.directory.clone(),
        })
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    eprintln!("written: {}", path.display());
    Ok(())
}

impl TargetOptions {
    fn target(self) -> Result<Target> {
        let mut servers = Vec::new();
        for name in &self.servers {
            let mut addresses = name
                .to_socket_addrs()
                .with_context(|| format!("--servers: `{name}` is not host:port"))?;
            servers.push(addresses.next().with_context(|| format!("{name} has no address"))?);
        }
        ensure!(!servers.is_empty(), "--servers: expected at least one");
        Ok(Target { servers, processes: self.processes, read_back: !self.no_read_back })
    }
}

fn print(outcome: &Outcome, json: bool) -> Result<ExitCode> {
    if json {
        println!("{}", serde_json::to_string_pretty(outcome)?);
    } else {
        println!("{outcome}");
    }
    Ok(match outcome.failure() {
        None => ExitCode::SUCCESS,
        Some(_) => ExitCode::FAILURE,
    })
}
