//! Objects as the API server gives them → the plain data of the inventory.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{self as core, ConfigMap, PersistentVolumeClaim};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt;

use super::{Permission, Pod, Process, Ready, Record, StoredRevision, Volume};
use crate::desired::Revision;
use crate::names::{self, ENSEMBLE_KEY, INITIALIZE_KEY, REVISION_KEY};

/// The record of the ensemble in `map`, if it belongs to the cluster with this `uid`.
///
/// # Errors
/// In words: it belongs to another, or cannot be understood.
pub fn record(map: ConfigMap, uid: &str) -> Result<Record, String> {
    let name = map.name_any();
    if !map.owner_references().iter().any(|owner| owner.uid == uid) {
        return Err(format!("ConfigMap {name} belongs to somebody else"));
    }
    let data = map.data.unwrap_or_default();
    let ensemble =
        data.get(ENSEMBLE_KEY).ok_or_else(|| format!("ConfigMap {name} has no {ENSEMBLE_KEY}"))?;
    let ensemble = serde_json::from_str(ensemble)
        .map_err(|error| format!("{ENSEMBLE_KEY} of ConfigMap {name}: {error}"))?;
    let permission =
        if data.contains_key(INITIALIZE_KEY) { Permission::Open } else { Permission::Closed };
    Ok(Record {
        ensemble,
        permission,
        uid: map.metadata.uid.unwrap_or_default(),
        resource_version: map.metadata.resource_version.unwrap_or_default(),
    })
}

/// A revision by its hash, if `map` is one of the cluster `name` with this `uid`.
pub fn revision(map: ConfigMap, name: &str, uid: &str) -> Option<(String, StoredRevision)> {
    let map_name = map.name_any();
    let hash = map_name.strip_prefix(&names::revision_config_map(name, ""))?.to_owned();
    let owned = map.owner_references().iter().any(|owner| owner.uid == uid);
    let revision: Revision =
        serde_json::from_str(map.data.as_ref()?.get(REVISION_KEY)?).ok().filter(|_| owned)?;
    let stored = StoredRevision {
        revision,
        name: map_name,
        uid: map.metadata.uid.unwrap_or_default(),
        resource_version: map.metadata.resource_version.unwrap_or_default(),
    };
    Some((hash, stored))
}

/// A volume claim by its name.
pub fn volume(claim: PersistentVolumeClaim) -> (String, Volume) {
    let annotation = |name: &str| claim.annotations().get(name).cloned();
    let storage = |map: Option<&BTreeMap<_, _>>| -> Option<String> {
        map?.get("storage").map(|Quantity(q)| q.clone())
    };
    let requests = claim.spec.as_ref().and_then(|spec| spec.resources.as_ref()?.requests.as_ref());
    let status = claim.status.as_ref();
    let problem = status.and_then(|status| status.conditions.as_ref()).and_then(|conditions| {
        let resizing = ["ControllerResizeError", "NodeResizeError"];
        let found = conditions.iter().find(|c| resizing.contains(&c.type_.as_str()))?;
        found.message.clone()
    });
    let volume = Volume {
        uid: claim.uid().unwrap_or_default(),
        resource_version: claim.resource_version().unwrap_or_default(),
        ensemble_id: annotation(names::ENSEMBLE_ID_ANNOTATION),
        member_id: annotation(names::MEMBER_ID_ANNOTATION).and_then(|id| id.parse().ok()),
        requested: storage(requests).unwrap_or_default(),
        capacity: storage(status.and_then(|status| status.capacity.as_ref())),
        resize_problem: problem,
    };
    (claim.name_any(), volume)
}

/// A pod by its name.
pub fn pod(pod: core::Pod) -> (String, Pod) {
    let status = pod.status.clone().unwrap_or_default();
    let condition =
        |type_: &str| status.conditions.iter().flatten().find(|condition| condition.type_ == type_);
    let created = pod.creation_timestamp().map(|time| time.0);
    let ready = match condition("Ready") {
        Some(ready) => {
            let since = ready.last_transition_time.as_ref().map(|time| time.0).or(created);
            let since = since.unwrap_or(Timestamp::UNIX_EPOCH);
            if ready.status == "True" { Ready::Since(since) } else { Ready::NotSince(since) }
        }
        None => Ready::NotSince(created.unwrap_or(Timestamp::UNIX_EPOCH)),
    };
    let unscheduled = condition("PodScheduled").filter(|condition| condition.status == "False");
    let found = Pod {
        uid: pod.uid().unwrap_or_default(),
        resource_version: pod.resource_version().unwrap_or_default(),
        revision: pod.annotations().get(names::REVISION_ANNOTATION).cloned(),
        created,
        terminating: pod.metadata.deletion_timestamp.is_some(),
        ip: status.pod_ip.clone().filter(|ip| !ip.is_empty()),
        ready,
        process: process(&status, unscheduled),
        crashes: container(&status).map_or(0, |container| container.restart_count),
    };
    (pod.name_any(), found)
}

/// What the kubelet, or before it the scheduler, says of the server's process.
fn process(status: &core::PodStatus, unscheduled: Option<&core::PodCondition>) -> Process {
    let stopped = |reason: Option<&String>, message: Option<&String>, or: &str| Process::Stopped {
        reason: reason.map_or(or, String::as_str).to_owned(),
        message: message.cloned().unwrap_or_default(),
    };
    let Some(container) = container(status) else {
        return match unscheduled {
            Some(condition) => {
                stopped(condition.reason.as_ref(), condition.message.as_ref(), "Unschedulable")
            }
            None => stopped(status.reason.as_ref(), status.message.as_ref(), "Pending"),
        };
    };
    let state = container.state.clone().unwrap_or_default();
    if state.running.is_some() {
        return Process::Running;
    }
    // Why it crashed says more than that the kubelet waits before it tries again.
    let last = container.last_state.as_ref().and_then(|last| last.terminated.as_ref());
    match (state.waiting, state.terminated, last) {
        (_, Some(ended), _) => ended_process(&ended, None),
        (Some(waiting), None, Some(ended)) => ended_process(ended, waiting.reason.as_deref()),
        (Some(waiting), None, None) => {
            stopped(waiting.reason.as_ref(), waiting.message.as_ref(), "Waiting")
        }
        (None, None, _) => stopped(None, None, "Waiting"),
    }
}

fn container(status: &core::PodStatus) -> Option<&core::ContainerStatus> {
    let mut containers = status.container_statuses.iter().flatten();
    containers.find(|status| status.name == names::CONTAINER)
}

fn ended_process(ended: &core::ContainerStateTerminated, waiting: Option<&str>) -> Process {
    let reason = waiting.or(ended.reason.as_deref()).unwrap_or("Terminated").to_owned();
    let said = ended.message.as_deref().unwrap_or_default().lines().last().unwrap_or_default();
    let colon = if said.is_empty() { "" } else { ": " };
    Process::Stopped { reason, message: format!("exit code {}{colon}{said}", ended.exit_code) }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(status: Value) -> Pod {
        let value = json!({
            "metadata": {
                "name": "x-a-0",
                "uid": "u",
                "resourceVersion": "7",
                "creationTimestamp": "2026-01-01T00:00:00Z",
                "annotations": { "zab.dev/revision": "abc" },
            },
            "status": status,
        });
        pod(serde_json::from_value(value).unwrap()).1
    }

    fn server(state: Value, last: Value) -> Process {
        let container = json!({
            "name": "server", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": state, "lastState": last,
        });
        read(json!({ "containerStatuses": [container] })).process
    }

    fn stopped(reason: &str, message: &str) -> Process {
        Process::Stopped { reason: reason.to_owned(), message: message.to_owned() }
    }

    #[test]
    fn why_a_process_does_not_run_is_said_in_the_words_of_whoever_knows() {
        let nothing = json!({});
        let running = json!({ "running": { "startedAt": "2026-01-01T00:00:01Z" } });
        assert_eq!(server(running, nothing.clone()), Process::Running);
        let pull =
            json!({ "waiting": { "reason": "ImagePullBackOff", "message": "no such image" }});
        assert_eq!(server(pull, nothing.clone()), stopped("ImagePullBackOff", "no such image"));
        let back_off =
            json!({ "waiting": { "reason": "CrashLoopBackOff", "message": "back-off 5m" }});
        let crash = json!({ "terminated": {
            "exitCode": 2, "reason": "Error", "message": "starting\nzoo.cfg:3: tickTime: …",
        }});
        let said = "exit code 2: zoo.cfg:3: tickTime: …";
        assert_eq!(server(back_off, crash.clone()), stopped("CrashLoopBackOff", said));
        assert_eq!(server(crash, nothing), stopped("Error", said));
        let unscheduled = read(json!({ "conditions": [
            { "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
              "message": "0/3 nodes are available" },
        ]}));
        assert_eq!(unscheduled.process, stopped("Unschedulable", "0/3 nodes are available"));
        assert_eq!(read(json!({})).process, stopped("Pending", ""));
    }

    #[test]
    fn readiness_counts_from_its_last_change_and_from_creation_before_the_first() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let ready = |status: &str| {
            let condition = json!({
                "type": "Ready", "status": status, "lastTransitionTime": "2026-01-01T00:01:00Z",
            });
            read(json!({ "conditions": [condition] })).ready
        };
        assert_eq!(ready("True"), Ready::Since(at("2026-01-01T00:01:00Z")));
        assert_eq!(ready("False"), Ready::NotSince(at("2026-01-01T00:01:00Z")));
        assert_eq!(read(json!({})).ready, Ready::NotSince(at("2026-01-01T00:00:00Z")));
    }

    #[test]
    fn a_record_of_somebody_else_or_without_an_ensemble_is_no_record() {
        let map = |owner: &str, data: Value| -> ConfigMap {
            serde_json::from_value(json!({
                "metadata": { "name": "x-bootstrap", "ownerReferences": [
                    { "apiVersion": "zab.dev/v1", "kind": "ZabCluster", "name": "x", "uid": owner },
                ]},
                "data": data,
            }))
            .unwrap()
        };
        let ensemble = json!({
            "id": "e", "topology": { "topologyKey": "k", "zones": [] }, "members": [],
        });
        let data = json!({ "ensemble.json": ensemble.to_string(), "initialize": "true" });
        assert_eq!(record(map("me", data.clone()), "me").unwrap().permission, Permission::Open);
        assert!(record(map("other", data), "me").unwrap_err().contains("somebody else"));
        assert!(record(map("me", json!({})), "me").unwrap_err().contains("ensemble.json"));
        let broken = json!({ "ensemble.json": "{}" });
        assert!(record(map("me", broken), "me").unwrap_err().contains("missing field"));
    }
}
