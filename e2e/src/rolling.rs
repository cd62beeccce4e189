//! The main story: a rolling restart of three voters in three zones under a writing client loses nothing.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use serde_json::Value;

use crate::commands::Kubectl;
use crate::story::{self, page, pods, series};
use crate::wait::wait_for;
use crate::workload::Outcome;

/// How long the client writes before and after the restart.
const QUIET: Duration = Duration::from_secs(5);

/// What happened.
#[derive(Clone, Debug)]
pub struct Report {
    /// What the writing client found.
    pub outcome: Outcome,
    /// Elections from before the restart to after it.
    pub elections: u64,
    /// `kubectl get zab` before.
    pub before: String,
    /// `kubectl get zab` after.
    pub after: String,
    /// How long the restart took.
    pub took: Duration,
}

/// Restarts all servers of the example under load. `tell` hears what goes on.
///
/// # Errors
/// When a step does not come to its end in time.
pub fn rolling_restart(kubectl: &Kubectl, tell: &mut dyn FnMut(&str)) -> anyhow::Result<Report> {
    let before = story::zab_line(kubectl)?;
    let epoch_before = epoch(kubectl)?;
    let pods_before = uids(kubectl)?;
    // The name of the root is new at each run, so that a story can be told again.
    let nonce = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs().to_string();
    tell("starting a client that writes all the time and remembers every acknowledged write");
    story::start_writing(kubectl, &format!("/story-{nonce}"))?;
    thread::sleep(QUIET);

    let start = Instant::now();
    let patch = format!(r#"{{"spec":{{"rollout":{{"restartNonce":"{nonce}"}}}}}}"#);
    tell(&format!("kubectl patch zab three-zones --type=merge --patch '{patch}'"));
    kubectl.run(&["patch", "zab", "three-zones", "--type=merge", "--patch", &patch])?;
    let mut told = String::new();
    wait_for(Duration::from_secs(600), "the rolling restart to end", || {
        let zab = kubectl.get(&["zab", "three-zones"])?;
        let plan = zab["status"]["plan"][0].as_str().unwrap_or_default();
        if !plan.is_empty() && plan != told {
            plan.clone_into(&mut told);
            tell(&format!("{:5.1} s  {plan}", start.elapsed().as_secs_f64()));
        }
        Ok(is_done(&zab).then_some(()))
    })?;
    let took = start.elapsed();
    thread::sleep(QUIET);
    tell("all servers are restarted; reading every acknowledged write back");
    let outcome = story::stop_writing(kubectl)?;
    let kept: Vec<_> = uids(kubectl)?.intersection(&pods_before).cloned().collect();
    anyhow::ensure!(kept.is_empty(), "these pods were not restarted: {kept:?}");
    let elections = epoch(kubectl)? - epoch_before;
    let after = story::zab_line(kubectl)?;
    Ok(Report { outcome, elections, before, after, took })
}

/// Whether the operator has seen the last change of a `ZabCluster` and is done with it.
#[must_use]
pub fn is_done(zab: &Value) -> bool {
    let status = &zab["status"];
    let ready = status["conditions"].as_array().into_iter().flatten().any(|condition| {
        condition["type"] == "Ready"
            && condition["status"] == "True"
            && condition["observedGeneration"] == zab["metadata"]["generation"]
    });
    status["observedGeneration"] == zab["metadata"]["generation"]
        && status["rollout"]["phase"] == "Complete"
        && status["rollout"]["updated"] == zab["spec"]["replicas"]
        && ready
}

/// The newest epoch that any server reports.
fn epoch(kubectl: &Kubectl) -> anyhow::Result<u64> {
    let mut newest = None;
    for pod in pods(kubectl)? {
        let address = pod.address.with_context(|| format!("{} has no address", pod.name))?;
        let epoch = series(&page(&address, "/metrics")?, "zab_epoch").map(|epoch| epoch as u64);
        newest = newest.max(epoch);
    }
    newest.context("no server reports its epoch")
}

/// The identities of the server pods.
fn uids(kubectl: &Kubectl) -> anyhow::Result<BTreeSet<String>> {
    let list = kubectl.get(&["pods", "--selector=app.kubernetes.io/managed-by=zab-operator"])?;
    let items = list["items"].as_array().into_iter().flatten();
    Ok(items.filter_map(|item| item["metadata"]["uid"].as_str().map(str::to_owned)).collect())
}
