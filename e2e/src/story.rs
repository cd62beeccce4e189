//! What every story on the lab's Kubernetes shares: the operator installed by Helm, a namespace of its own, a
//! `ZabCluster` in it, a writing client beside it, and a report of everything when it goes wrong.
//!
//! A story runs inside the lab's control plane network (`e2e/lab/lab exec -- …`), where kubectl and helm know the
//! cluster and pods can be reached at their own addresses.

use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::commands::{Kubectl, run};
use crate::page;
use crate::repository;
use crate::wait::wait_for;
use crate::workload::Outcome;

/// The namespace of the operator.
const OPERATOR_NAMESPACE: &str = "zab-system";
/// The port of its metrics, as the chart has it.
const OPERATOR_METRICS_PORT: u16 = 8080;
/// Image tag and registry of everything that the lab builds.
const REGISTRY: &str = "lab.local";
/// The port of the servers' pages.
const PAGES_PORT: u16 = 7000;

/// Installs the operator with Helm, or brings it up to date.
///
/// # Errors
/// When helm or the rollout of the operator fails.
pub fn install_operator() -> anyhow::Result<String> {
    let chart = repository().join("charts/zab-operator");
    let chart = chart.to_str().context("the path of the chart is text")?;
    let arguments = [
        "upgrade",
        "--install",
        "zab-operator",
        chart,
        "--namespace",
        OPERATOR_NAMESPACE,
        "--create-namespace",
        "--set",
        &format!("image.repository={REGISTRY}/zab-operator,image.tag=dev,image.pullPolicy=Never"),
        "--wait",
        "--timeout",
        "120s",
    ];
    run(Duration::from_secs(150), "helm", &arguments)?;
    // The same tag may name a newer image: only a restart brings it in.
    let kubectl = Kubectl::new(OPERATOR_NAMESPACE);
    kubectl.run(&["rollout", "restart", "deployment/zab-operator"])?;
    let arguments = ["rollout", "status", "deployment/zab-operator", "--timeout=120s"];
    kubectl.run_for(Duration::from_secs(130), &arguments)?;
    Ok(format!("helm {}", arguments_shown(chart)))
}

fn arguments_shown(chart: &str) -> String {
    format!("upgrade --install zab-operator {chart} --namespace {OPERATOR_NAMESPACE} --wait")
}

/// Runs a story in a namespace of its own. When it fails, everything there is to see is printed, and the namespace
/// stays for whoever looks after it.
///
/// # Errors
/// Those of the story.
pub fn in_namespace<T>(
    name: &str,
    story: impl FnOnce(&Kubectl) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let kubectl = Kubectl::new(name);
    run(
        Duration::from_secs(120),
        "kubectl",
        &["delete", "namespace", name, "--ignore-not-found", "--wait"],
    )?;
    run(Duration::from_secs(30), "kubectl", &["create", "namespace", name])?;
    match story(&kubectl) {
        Ok(told) => {
            let arguments = ["delete", "namespace", name, "--wait=false"];
            run(Duration::from_secs(30), "kubectl", &arguments)?;
            Ok(told)
        }
        Err(error) => {
            dump(&kubectl);
            Err(error)
        }
    }
}

/// Prints pods, events, logs and the members' metrics.
pub fn dump(kubectl: &Kubectl) {
    let show = |title: &str, arguments: &[&str]| {
        let text = kubectl.run(arguments).unwrap_or_else(|error| format!("{error:#}\n"));
        eprintln!("--- {title}\n{text}");
    };
    show("objects", &["get", "zab,statefulset,pod,pvc,pdb", "--output=wide"]);
    show("the resource", &["describe", "zab"]);
    show("events", &["get", "events", "--sort-by=.lastTimestamp"]);
    for pod in pods(kubectl).unwrap_or_default() {
        show(&format!("log of {}", pod.name), &["logs", &pod.name, "--tail=60"]);
        if let Some(address) = &pod.address {
            let page = page(address, "/metrics").unwrap_or_else(|error| format!("{error:#}"));
            let ours = page.lines().filter(|line| line.starts_with("zab_"));
            eprintln!("--- metrics of {}\n{}", pod.name, ours.collect::<Vec<_>>().join("\n"));
        }
    }
    let operator = Kubectl::new(OPERATOR_NAMESPACE);
    let log = operator.run(&["logs", "deployment/zab-operator", "--tail=100"]);
    eprintln!("--- log of the operator\n{}", log.unwrap_or_else(|error| format!("{error:#}")));
}

/// A server pod.
#[derive(Clone, Debug)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// Its address, once it has one.
    pub address: Option<String>,
    /// The node it runs on, which is its zone.
    pub node: Option<String>,
    /// The image it was made with.
    pub image: String,
    /// Whether it is ready.
    pub is_ready: bool,
    /// Its identity.
    pub uid: String,
}

/// The server pods of the namespace, by name.
///
/// # Errors
/// When they cannot be listed.
pub fn pods(kubectl: &Kubectl) -> anyhow::Result<Vec<Pod>> {
    let list = kubectl.get(&["pods", "--selector=app.kubernetes.io/managed-by=zab-operator"])?;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let items = list["items"].as_array().cloned().unwrap_or_default();
    Ok(items
        .iter()
        .map(|item| Pod {
            name: text(&item["metadata"]["name"]).unwrap_or_default(),
            address: text(&item["status"]["podIP"]),
            node: text(&item["spec"]["nodeName"]),
            image: text(&item["spec"]["containers"][0]["image"]).unwrap_or_default(),
            is_ready: item["status"]["conditions"]
                .as_array()
                .into_iter()
                .flatten()
                .any(|it| it["type"] == "Ready" && it["status"] == "True"),
            uid: text(&item["metadata"]["uid"]).unwrap_or_default(),
        })
        .collect())
}

/// Applies the example of three zones and waits until it is Ready.
///
/// # Errors
/// When it is refused, or not Ready in three minutes.
pub fn three_zones(kubectl: &Kubectl) -> anyhow::Result<()> {
    let file = repository().join("e2e/examples/three-zones.yaml");
    let manifest = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    kubectl.apply(&manifest)?;
    let arguments = ["wait", "zab/three-zones", "--for=condition=Ready", "--timeout=180s"];
    kubectl.run_for(Duration::from_secs(190), &arguments)?;
    Ok(())
}

/// Changes the example.
///
/// # Errors
/// When the patch is refused.
pub fn patch(kubectl: &Kubectl, patch: &Value) -> anyhow::Result<()> {
    let patch = patch.to_string();
    kubectl.run(&["patch", "zab", "three-zones", "--type=merge", "--patch", &patch])?;
    Ok(())
}

/// The `kubectl get zab` line of the example.
///
/// # Errors
/// When kubectl fails.
pub fn zab_line(kubectl: &Kubectl) -> anyhow::Result<String> {
    kubectl.run(&["get", "zab", "three-zones"])
}

/// Starts the writing client as a pod and waits until it writes.
///
/// # Errors
/// When it does not run in a minute.
pub fn start_writing(kubectl: &Kubectl, root: &str) -> anyhow::Result<()> {
    kubectl.apply(&writer_manifest(root))?;
    let arguments = ["wait", "pod/writer", "--for=condition=Ready", "--timeout=60s"];
    kubectl.run_for(Duration::from_secs(70), &arguments)?;
    Ok(())
}

/// Asks the writing client to stop, and returns what it found when it read everything back.
///
/// # Errors
/// When it fails, or takes more than three minutes to read back.
pub fn stop_writing(kubectl: &Kubectl) -> anyhow::Result<Outcome> {
    kubectl.run(&["exec", "writer", "--", "/zab-workload", "stop"])?;
    let phase = wait_for(Duration::from_secs(180), "the writer to end", || {
        let pod = kubectl.get(&["pod", "writer"])?;
        let phase = pod["status"]["phase"].as_str().unwrap_or_default().to_owned();
        Ok((phase == "Succeeded" || phase == "Failed").then_some(phase))
    })?;
    let log = kubectl.run(&["logs", "writer"])?;
    let last = log.lines().rev().find(|line| line.starts_with('{'));
    let Some(line) = last else { bail!("the writer ended as {phase} without an outcome: {log}") };
    Ok(serde_json::from_str(line)?)
}

fn writer_manifest(root: &str) -> String {
    format!(
        r#"
apiVersion: v1
kind: Pod
metadata:
  name: writer
spec:
  restartPolicy: Never
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 5
  securityContext: {{runAsNonRoot: true, runAsUser: 65532, seccompProfile: {{type: RuntimeDefault}}}}
  containers:
    - name: writer
      image: {REGISTRY}/zab-workload:dev
      imagePullPolicy: Never
      args: [run, --servers=three-zones-client:2181, --root={root}]
      resources: {{requests: {{cpu: 20m, memory: 32Mi}}, limits: {{memory: 256Mi}}}}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: {{drop: [ALL]}}
"#
    )
}

/// One page of a server, over plain HTTP.
///
/// # Errors
/// When it cannot be had in two seconds, or is not answered with 200.
pub fn page(address: &str, path: &str) -> anyhow::Result<String> {
    let (status, body) = page::get(format!("{address}:{PAGES_PORT}").parse()?, path)?;
    if status != 200 {
        bail!("{path} of {address}: {status}: {body}");
    }
    Ok(body)
}

/// The operator's page of metrics.
///
/// # Errors
/// When it does not run, or does not answer with 200.
pub fn operator_metrics() -> anyhow::Result<String> {
    let operator = Kubectl::new(OPERATOR_NAMESPACE);
    let pods = operator.get(&["pods", "--selector=app.kubernetes.io/name=zab-operator"])?;
    let address = pods["items"][0]["status"]["podIP"].as_str().context("a pod with an address")?;
    let target = format!("{address}:{OPERATOR_METRICS_PORT}").parse()?;
    let (status, body) = page::get(target, "/metrics")?;
    if status != 200 {
        bail!("/metrics of the operator: {status}: {body}");
    }
    Ok(body)
}

/// One series without labels from a page of metrics.
#[must_use]
pub fn series(page: &str, name: &str) -> Option<f64> {
    page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}
