//! `make demo`, the part inside the lab: installs the operator with Helm, applies the example with kubectl, restarts
//! it under a writing client, and tells what happened. Leaves everything up.

use std::io::Write as _;
use std::time::{Duration, Instant};

use e2e::commands::{Kubectl, run};
use e2e::rolling::{Report, rolling_restart};
use e2e::story;

/// The namespace of the demo; it stays afterwards.
const NAMESPACE: &str = "zab-demo";

fn main() -> anyhow::Result<()> {
    let start = Instant::now();
    let mut tell = |text: &str| {
        println!("[{:6.1} s] {text}", start.elapsed().as_secs_f64());
        // Progress is for people who wait: it must not lie in a buffer.
        let _ = std::io::stdout().flush();
    };
    let kubectl = Kubectl::new(NAMESPACE);
    tell("helm upgrade --install zab-operator charts/zab-operator --namespace zab-system --wait");
    story::install_operator()?;
    let told = tell_demo(&kubectl, &mut tell);
    if told.is_err() {
        story::dump(&kubectl);
    }
    let report = told?;
    print(&report);
    anyhow::ensure!(report.outcome.lost == 0, "acknowledged writes are lost");
    Ok(())
}

fn tell_demo(kubectl: &Kubectl, tell: &mut dyn FnMut(&str)) -> anyhow::Result<Report> {
    let exists = run(Duration::from_secs(30), "kubectl", &["get", "namespace", NAMESPACE]);
    if exists.is_err() {
        tell(&format!("kubectl create namespace {NAMESPACE}"));
        run(Duration::from_secs(30), "kubectl", &["create", "namespace", NAMESPACE])?;
    }
    kubectl.run_for(
        Duration::from_secs(60),
        &["delete", "pod", "writer", "--ignore-not-found", "--wait"],
    )?;
    tell(&format!("kubectl --namespace {NAMESPACE} apply -f e2e/examples/three-zones.yaml"));
    story::three_zones(kubectl)?;
    tell("the ensemble is Ready");
    rolling_restart(kubectl, tell)
}

fn print(report: &Report) {
    let Report { outcome, elections, before, after, took } = report;
    println!();
    println!("A rolling restart of three voters in three zones, under a writing client");
    println!();
    println!("  acknowledged writes               {:>8}", outcome.acknowledged);
    println!("  lost writes                       {:>8}", outcome.lost);
    println!(
        "  failed requests                   {:>8}   ({} of them had been done all the same)",
        outcome.unknown + outcome.refused,
        outcome.unknown_done
    );
    println!("  sessions lost                     {:>8}", outcome.sessions_lost);
    println!("  elections                         {elections:>8}");
    println!(
        "  longest gap between two writes    {:>8} ms   (of one session: {} ms)",
        outcome.longest_gap_ms, outcome.longest_session_gap_ms
    );
    println!("  the restart took                  {:>8.1} s", took.as_secs_f64());
    println!();
    println!("before:\n{before}\nafter:\n{after}");
    println!("Try next:");
    let namespace = format!("kubectl --namespace {NAMESPACE}");
    for (command, what) in [
        ("make lab-shell", "kubectl and helm know the cluster there"),
        (&format!("{namespace} describe zab three-zones"), "each condition in a sentence"),
        (&format!("{namespace} get pods --output=wide"), "one server in each zone"),
        ("curl http://ADDRESS_OF_A_POD:7000/metrics", "what a server says of itself"),
        ("e2e/lab/lab fault cut zone-c", "lose a zone; 'lab fault heal' brings it back"),
        ("make lab-down", "remove everything"),
    ] {
        println!("  {command:<56} {what}");
    }
}
