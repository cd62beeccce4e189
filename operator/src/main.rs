//! `zab-operator`: runs the controller, prints its resource definition, or checks an installation.

use std::io::IsTerminal as _;
use std::net::SocketAddr;

use anyhow::Context as _;
use clap::{Parser, Subcommand, ValueEnum};
use tracing_subscriber::EnvFilter;
use zab_operator::controller::{self, Options};
use zab_operator::desired::Settings;
use zab_operator::{crd, selftest};

/// What is logged unless `RUST_LOG` says otherwise; the library's spans repeat ours.
const LOG_FILTER: &str = "info,kube_runtime=warn";

/// Runs ZooKeeper-compatible ensembles on Kubernetes.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the controller.
    Run(RunArguments),
    /// Print the definition of ZabCluster as YAML.
    Crd {
        /// As the template of the chart.
        #[arg(long)]
        chart: bool,
    },
    /// Check an installation without changing anything.
    Selftest {
        /// Namespace of the operator.
        #[arg(long, env = "POD_NAMESPACE", default_value = "default")]
        namespace: String,
        /// Host and port of the operator's metrics Service.
        #[arg(long)]
        operator: Option<String>,
    },
}

#[derive(clap::Args)]
struct RunArguments {
    /// The only namespace to watch. Default: all.
    #[arg(long, env = "WATCH_NAMESPACE")]
    watch_namespace: Option<String>,
    /// Namespace of the Lease.
    #[arg(long, env = "POD_NAMESPACE", default_value = "default")]
    namespace: String,
    /// Name of this process in the Lease and in events; must differ from process to process.
    #[arg(long, env = "POD_NAME")]
    identity: Option<String>,
    /// Where to serve /metrics, /livez and /readyz.
    #[arg(long, default_value = "0.0.0.0:8080")]
    metrics_address: SocketAddr,
    /// Image repository of new ensembles whose spec names none.
    #[arg(long, default_value = "zab-server")]
    server_image_repository: String,
    /// Version of new ensembles whose spec names none.
    #[arg(long, default_value = env!("CARGO_PKG_VERSION"))]
    server_version: String,
    /// Format of the log.
    #[arg(long, default_value = "text")]
    log_format: LogFormat,
}

#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    /// Lines for people.
    Text,
    /// JSON for machines.
    Json,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Run(arguments) => run(arguments).await,
        Command::Crd { chart } => {
            let yaml = if chart { crd::chart_template() } else { crd::definition_yaml() };
            print!("{}", yaml.context("write the definition")?);
            Ok(())
        }
        Command::Selftest { namespace, operator } => {
            selftest::run(&namespace, operator.as_deref()).await
        }
    }
}

async fn run(arguments: RunArguments) -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LOG_FILTER));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match arguments.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    let watch_namespace = arguments.watch_namespace.filter(|namespace| !namespace.is_empty());
    controller::run(Options {
        watch_namespace,
        namespace: arguments.namespace,
        // Two processes of one host differ by their ids, and so do restarts of one pod.
        identity: format!(
            "{}-{}-{:x}",
            arguments.identity.as_deref().unwrap_or("zab-operator"),
            std::process::id(),
            jiff::Timestamp::now().as_second(),
        ),
        metrics_address: arguments.metrics_address,
        settings: Settings {
            server_image_repository: arguments.server_image_repository,
            server_version: arguments.server_version,
        },
    })
    .await
}
