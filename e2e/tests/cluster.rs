//! Stories on the lab's Kubernetes: run them with `e2e/check lab stories`, or inside `e2e/lab/lab exec`.

use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use e2e::commands::Kubectl;
use e2e::promtool;
use e2e::rolling::{is_done, rolling_restart};
use e2e::story::{self, Pod, in_namespace, pods};
use e2e::wait::wait_for;
use e2e::workload::Outcome;
use serde_json::json;

/// The main promise: no acknowledged write is lost, and the leader leaves last, by a hand-over.
#[test]
fn a_rolling_restart_under_load_loses_nothing_and_needs_one_election() {
    story::install_operator().unwrap();
    let report = in_namespace("story-rolling", |kubectl| {
        story::three_zones(kubectl)?;
        rolling_restart(kubectl, &mut |text| eprintln!("{text}"))
    })
    .unwrap();
    eprintln!("{report:#?}");
    assert_eq!(report.outcome.lost, 0);
    assert!(report.outcome.acknowledged > 100, "the client wrote all the time");
    assert_eq!(report.outcome.sessions_lost, 0);
    assert!(report.elections <= 1, "{} elections", report.elections);
}

/// Whoever scrapes the operator gets a page that Prometheus has nothing to say against, with its own series in it.
#[test]
fn promtool_accepts_the_metrics_of_the_operator() {
    story::install_operator().unwrap();
    let page = wait_for(Duration::from_secs(30), "the operator's page", || {
        story::operator_metrics().map(Some)
    })
    .unwrap();
    promtool::check(&page).unwrap();
    let own = page.lines().filter(|line| line.starts_with("zab_operator_")).count();
    assert!(own > 0, "{page}");
}

/// The loss of any one zone leaves a majority: the ensemble goes on writing, and is whole again when the zone is back.
#[test]
fn an_ensemble_outlives_the_loss_of_a_zone() {
    story::install_operator().unwrap();
    let outcome = in_namespace("story-zone", |kubectl| {
        story::three_zones(kubectl)?;
        // The writer must not share the fate of the zone that is lost.
        story::start_writing(kubectl, "/story-zone")?;
        let writer = kubectl.get(&["pod", "writer"])?;
        let home = writer["spec"]["nodeName"].as_str().unwrap_or_default().to_owned();
        let lost = pods(kubectl)?.into_iter().filter_map(|pod| pod.node).find(|node| *node != home);
        let lost = lost.ok_or_else(|| anyhow::anyhow!("no other zone than {home} has a server"))?;
        std::thread::sleep(Duration::from_secs(3));
        fault(&["cut", &lost])?;
        std::thread::sleep(Duration::from_secs(10));
        fault(&["heal"])?;
        wait_for(Duration::from_secs(120), "all three voters to be synchronized again", || {
            let zab = kubectl.get(&["zab", "three-zones"])?;
            Ok((zab["status"]["readyReplicas"] == 3).then_some(()))
        })?;
        story::stop_writing(kubectl)
    });
    // Whatever happened, the zones are whole for the next story.
    fault(&["heal"]).unwrap();
    let outcome = outcome.unwrap();
    eprintln!("{outcome:#?}");
    assert_eq!(outcome.lost, 0);
    assert!(outcome.acknowledged > 100, "two zones of three went on");
}

/// A revision that cannot run reaches one server, even if another server's pod is lost meanwhile: that one comes back as it
/// was. The operator says that it stopped, and goes on when the spec is mended.
#[test]
fn a_bad_image_stops_at_one_server_and_costs_nothing() {
    story::install_operator().unwrap();
    let outcome = in_namespace("story-image", bad_image).unwrap();
    eprintln!("{outcome:#?}");
    assert_eq!(outcome.lost, 0);
    assert!(outcome.acknowledged > 100, "two servers of three went on");
}

fn bad_image(kubectl: &Kubectl) -> anyhow::Result<Outcome> {
    const PATIENCE: Duration = Duration::from_secs(180);
    let is_bad = |pod: &Pod| pod.image.ends_with(":missing");
    story::three_zones(kubectl)?;
    let complete = || Ok(is_done(&kubectl.get(&["zab", "three-zones"])?).then_some(()));
    wait_for(PATIENCE, "the start to be complete", complete)?;
    story::start_writing(kubectl, "/story-image")?;
    let image = json!({"tag": "missing", "pullPolicy": "Never"});
    let rollout = json!({"memberTimeoutSeconds": 30});
    story::patch(kubectl, &json!({"spec": {"image": image, "rollout": rollout}}))?;
    wait_for(PATIENCE, "a server with the bad image", || {
        Ok(pods(kubectl)?.iter().any(is_bad).then_some(()))
    })?;

    let lost = pods(kubectl)?.into_iter().find(|pod| !is_bad(pod)).context("a good server")?;
    kubectl.run_for(Duration::from_secs(100), &["delete", "pod", &lost.name])?;
    wait_for(
        PATIENCE,
        "the lost server to be back as it was, and the rollout to be halted",
        || {
            let pods = pods(kubectl)?;
            anyhow::ensure!(
                pods.iter().filter(|pod| is_bad(pod)).count() <= 1,
                "two bad: {pods:?}"
            );
            let is_back = pods.iter().any(|pod| {
                pod.name == lost.name && pod.uid != lost.uid && pod.is_ready && !is_bad(pod)
            });
            let phase = &kubectl.get(&["zab", "three-zones"])?["status"]["rollout"]["phase"];
            Ok((is_back && phase == "Halted").then_some(()))
        },
    )?;
    eprintln!("{}", kubectl.run(&["describe", "zab"])?);

    let image = json!({"tag": "dev", "pullPolicy": "IfNotPresent"});
    story::patch(kubectl, &json!({"spec": {"image": image}}))?;
    wait_for(PATIENCE, "the mended spec to be carried out", complete)?;
    story::stop_writing(kubectl)
}

/// A fault of the lab, by its documented command.
fn fault(arguments: &[&str]) -> anyhow::Result<()> {
    let lab = e2e::repository().join("e2e/lab/lab");
    let status = Command::new(lab).arg("fault").args(arguments).status()?;
    anyhow::ensure!(status.success(), "lab fault {}: {status}", arguments.join(" "));
    Ok(())
}
