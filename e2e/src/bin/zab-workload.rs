//! `zab-workload run`: the writing client of the stories, as a program in a pod. It prints a line per second and,
//! after SIGTERM, reads everything back and prints the outcome as one line of JSON.
//! `zab-workload stop`: asks the one that runs as process 1 to stop.

use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Parser;
use e2e::workload::{Plan, run};
use tokio::signal::unix::{SignalKind, signal};

#[derive(Debug, Parser)]
enum Arguments {
    /// Write until SIGTERM, then read back.
    Run {
        /// Servers: host:port, separated by commas.
        #[arg(long)]
        servers: String,
        /// The znode to work below; must not exist.
        #[arg(long)]
        root: String,
        /// Sessions.
        #[arg(long, default_value_t = 8)]
        sessions: u32,
        /// Writes per second and session.
        #[arg(long, default_value_t = 50)]
        writes_per_second: u32,
        /// The session timeout, in milliseconds.
        #[arg(long, default_value_t = 10_000)]
        session_timeout_ms: u32,
    },
    /// Ask process 1 to stop.
    Stop,
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse() {
        Arguments::Run { servers, root, sessions, writes_per_second, session_timeout_ms } => {
            let plan = Plan { servers, root, sessions, writes_per_second, session_timeout_ms };
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(write_until_told(plan))
        }
        Arguments::Stop => stop(),
    }
}

async fn write_until_told(plan: Plan) -> anyhow::Result<()> {
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        terminate.recv().await;
        // The writers are gone only when the program ends.
        let _ = stop.send(true);
    });
    eprintln!("writing below {} at {}", plan.root, plan.servers);
    let outcome = run(plan, stopped).await?;
    println!("{}", serde_json::to_string(&outcome)?);
    if outcome.lost > 0 {
        bail!("{} acknowledged writes are lost", outcome.lost);
    }
    // Leaves a moment for the last line to be collected before the container is gone.
    tokio::time::sleep(Duration::from_millis(200)).await;
    Ok(())
}

/// There is no shell and no `kill` in the image: the program signals its other self.
fn stop() -> anyhow::Result<()> {
    let pid = rustix::process::Pid::from_raw(1).context("process 1")?;
    rustix::process::kill_process(pid, rustix::process::Signal::TERM)
        .context("signal process 1")?;
    Ok(())
}
