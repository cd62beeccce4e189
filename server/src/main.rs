//! `zab-server <zoo.cfg>`: one member of a ZooKeeper-compatible ensemble.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use zab_server::config::{self, Config};
use zab_server::{server, telemetry};

/// A transaction is allocated by the core and freed by the log thread, a znode the other way round when a snapshot is
/// dropped: the C library's allocator pays for that with locks and fragments.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A ZooKeeper-compatible coordination server.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The configuration file, as for Apache ZooKeeper.
    config: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Err(error) = telemetry::start() {
        eprintln!("zab-server: {error}");
        return ExitCode::from(config::Error::EXIT_CODE);
    }
    match start(&arguments, environment()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            if error.is::<config::Error>() {
                ExitCode::from(config::Error::EXIT_CODE)
            } else if error.is::<store::Error>() {
                ExitCode::from(zab_server::log_thread::EXIT_STORAGE)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

/// All variables. One that is no text is of no use to us, and of no harm.
fn environment() -> BTreeMap<String, String> {
    let text = |word: OsString| word.to_string_lossy().into_owned();
    std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect()
}

fn start(arguments: &Arguments, environment: BTreeMap<String, String>) -> anyhow::Result<()> {
    let config = Config::load(&arguments.config, &environment)?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, server::run(config, environment))
}
