//! Reads the world into an [`Inventory`]. It writes nothing and decides nothing. What cannot be
//! read becomes an unknown fact.
//!
//! Lists and gets carry no `resourceVersion`, so they are answered with the latest state and not
//! from a cache that may lag behind: what is decided here may stop servers.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{self as core, ConfigMap, PersistentVolumeClaim};
use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::Value;

use crate::build::config_map::{ENSEMBLE_KEY, INITIALIZE_KEY, REVISION_KEY};
use crate::crd::ZabClusterStatus;
use crate::desired::{Desired, Revision};
use crate::exposition::ServerReport;
use crate::inventory::{
    Fact, Inventory, Kind, ObjectKey, Permission, Pod, Process, Ready, Record, StoredRevision,
    Volume,
};
use crate::names;
use crate::plan::provision;
use crate::scrape::scrape;

/// Reads everything that concerns `desired`.
pub async fn collect(client: &Client, desired: &Desired, recorded: ZabClusterStatus) -> Inventory {
    let of_ensemble =
        ListParams::default().labels(&format!("{}={}", names::ENSEMBLE_LABEL, desired.name));
    let namespace = desired.namespace.as_str();
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), namespace);
    let (record, maps, claims, servers) = futures::join!(
        record(&maps, desired),
        maps.list(&of_ensemble),
        claims.list(&of_ensemble),
        servers(client, desired, &of_ensemble),
    );
    let objects = objects(client, desired, &record).await;
    let (pods, reports) = servers;
    Inventory {
        recorded,
        objects,
        record,
        revisions: maps.map_err(said).map(|maps| {
            maps.into_iter()
                .filter_map(|map| stored_revision(map, desired))
                .collect()
        }),
        pods,
        volumes: claims
            .map_err(said)
            .map(|claims| claims.into_iter().map(volume).collect()),
        reports,
        agreed_for: Duration::ZERO,
    }
}

/// The pods, and what the server in each says.
async fn servers(
    client: &Client,
    desired: &Desired,
    of_ensemble: &ListParams,
) -> (
    Fact<BTreeMap<String, Pod>>,
    BTreeMap<String, Result<ServerReport, String>>,
) {
    let api: Api<core::Pod> = Api::namespaced(client.clone(), &desired.namespace);
    let pods: BTreeMap<String, Pod> = match api.list(of_ensemble).await {
        Ok(pods) => pods.into_iter().map(pod).collect(),
        Err(error) => return (Err(said(error)), BTreeMap::new()),
    };
    let asked = pods.iter().map(|(name, pod)| async {
        let report = match &pod.ip {
            Some(ip) => scrape(ip).await,
            None => Err("its pod has no address yet".to_owned()),
        };
        (name.clone(), report)
    });
    let reports = join_all(asked).await.into_iter().collect();
    (Ok(pods), reports)
}

async fn record(api: &Api<ConfigMap>, desired: &Desired) -> Fact<Option<Record>> {
    let name = names::bootstrap_config_map(&desired.name);
    let Some(map) = api.get_opt(&name).await.map_err(said)? else {
        return Ok(None);
    };
    let owned = map
        .owner_references()
        .iter()
        .any(|owner| owner.uid == desired.uid);
    if !owned {
        return Err(format!("ConfigMap {name} belongs to somebody else"));
    }
    let data = map.data.unwrap_or_default();
    let ensemble = data
        .get(ENSEMBLE_KEY)
        .ok_or(format!("{name} has no {ENSEMBLE_KEY}"))?;
    let ensemble = serde_json::from_str(ensemble)
        .map_err(|error| format!("{ENSEMBLE_KEY} of ConfigMap {name}: {error}"))?;
    let permission = match data.contains_key(INITIALIZE_KEY) {
        true => Permission::Open,
        false => Permission::Closed,
    };
    Ok(Some(Record {
        ensemble,
        permission,
        uid: map.metadata.uid.unwrap_or_default(),
        resource_version: map.metadata.resource_version.unwrap_or_default(),
    }))
}

/// The objects by their names rather than by label, so that those of somebody else are seen too.
async fn objects(
    client: &Client,
    desired: &Desired,
    record: &Fact<Option<Record>>,
) -> Fact<BTreeMap<ObjectKey, Value>> {
    let ensemble = record
        .as_ref()
        .ok()
        .and_then(|record| Some(&record.as_ref()?.ensemble));
    let reads = provision::keys(desired, ensemble)
        .into_iter()
        .map(|key| async {
            let object = api(client, &desired.namespace, key.kind)
                .get_opt(&key.name)
                .await;
            object.map(|object| Some((key, object?))).map_err(said)
        });
    let mut objects = BTreeMap::new();
    for read in join_all(reads).await {
        if let Some((key, object)) = read? {
            objects.insert(
                key,
                serde_json::to_value(object).map_err(|error| error.to_string())?,
            );
        }
    }
    Ok(objects)
}

/// Access to objects of `kind` as they are, whatever the types at hand know of them.
pub fn api(client: &Client, namespace: &str, kind: Kind) -> Api<DynamicObject> {
    use k8s_openapi::api::{apps::v1::StatefulSet, policy::v1::PodDisruptionBudget};
    fn resource<K: Resource<DynamicType = ()>>() -> ApiResource {
        ApiResource::erase::<K>(&())
    }
    let resource = match kind {
        Kind::Service => resource::<core::Service>(),
        Kind::ConfigMap => resource::<ConfigMap>(),
        Kind::PodDisruptionBudget => resource::<PodDisruptionBudget>(),
        Kind::StatefulSet => resource::<StatefulSet>(),
    };
    Api::namespaced_with(client.clone(), namespace, &resource)
}

fn stored_revision(map: ConfigMap, desired: &Desired) -> Option<(String, StoredRevision)> {
    let name = map.name_any();
    let hash = name
        .strip_prefix(&names::revision_config_map(&desired.name, ""))?
        .to_owned();
    let owned = map
        .owner_references()
        .iter()
        .any(|owner| owner.uid == desired.uid);
    let revision: Revision = serde_json::from_str(map.data.as_ref()?.get(REVISION_KEY)?)
        .ok()
        .filter(|_| owned)?;
    let stored = StoredRevision {
        revision,
        name,
        uid: map.metadata.uid.unwrap_or_default(),
        resource_version: map.metadata.resource_version.unwrap_or_default(),
    };
    Some((hash, stored))
}

fn volume(claim: PersistentVolumeClaim) -> (String, Volume) {
    let annotation = |name: &str| claim.annotations().get(name).cloned();
    let storage = |map: Option<&BTreeMap<_, _>>| -> Option<String> {
        map?.get("storage")
            .map(|k8s_openapi::apimachinery::pkg::api::resource::Quantity(q)| q.clone())
    };
    let requests = claim
        .spec
        .as_ref()
        .and_then(|spec| spec.resources.as_ref()?.requests.as_ref());
    let status = claim.status.as_ref();
    let problem = status
        .and_then(|status| status.conditions.as_ref())
        .and_then(|conditions| {
            let resizing = ["ControllerResizeError", "NodeResizeError"];
            let found = conditions
                .iter()
                .find(|c| resizing.contains(&c.type_.as_str()))?;
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

fn pod(pod: core::Pod) -> (String, Pod) {
    let status = pod.status.clone().unwrap_or_default();
    let condition = |type_: &str| {
        status
            .conditions
            .iter()
            .flatten()
            .find(|condition| condition.type_ == type_)
    };
    let created = pod.creation_timestamp().map(|time| time.0);
    let ready = match condition("Ready") {
        Some(ready) => {
            let since = ready
                .last_transition_time
                .as_ref()
                .map(|time| time.0)
                .or(created);
            let since = since.unwrap_or(Timestamp::UNIX_EPOCH);
            if ready.status == "True" {
                Ready::Since(since)
            } else {
                Ready::NotSince(since)
            }
        }
        None => Ready::NotSince(created.unwrap_or(Timestamp::UNIX_EPOCH)),
    };
    let unscheduled = condition("PodScheduled").filter(|condition| condition.status == "False");
    let found = Pod {
        uid: pod.uid().unwrap_or_default(),
        resource_version: pod.resource_version().unwrap_or_default(),
        revision: pod.annotations().get(names::REVISION_ANNOTATION).cloned(),
        terminating: pod.metadata.deletion_timestamp.is_some(),
        ip: status.pod_ip.clone().filter(|ip| !ip.is_empty()),
        ready,
        process: process(&status, unscheduled),
    };
    (pod.name_any(), found)
}

/// What the kubelet, or before it the scheduler, says of the server's process.
fn process(status: &core::PodStatus, unscheduled: Option<&core::PodCondition>) -> Process {
    let stopped = |reason: Option<&String>, message: Option<&String>, or: &str| Process::Stopped {
        reason: reason.map_or(or, String::as_str).to_owned(),
        message: message.cloned().unwrap_or_default(),
    };
    let containers = status.container_statuses.iter().flatten();
    let container = containers
        .into_iter()
        .find(|status| status.name == names::CONTAINER);
    let Some(container) = container else {
        return match unscheduled {
            Some(condition) => stopped(
                condition.reason.as_ref(),
                condition.message.as_ref(),
                "Unschedulable",
            ),
            None => stopped(status.reason.as_ref(), status.message.as_ref(), "Pending"),
        };
    };
    let state = container.state.clone().unwrap_or_default();
    if state.running.is_some() {
        return Process::Running;
    }
    // Why it crashed says more than that the kubelet waits before it tries again.
    let last = container
        .last_state
        .as_ref()
        .and_then(|last| last.terminated.as_ref());
    match (state.waiting, state.terminated, last) {
        (_, Some(ended), _) => ended_process(&ended, None),
        (Some(waiting), None, Some(ended)) => ended_process(ended, waiting.reason.as_deref()),
        (Some(waiting), None, None) => {
            stopped(waiting.reason.as_ref(), waiting.message.as_ref(), "Waiting")
        }
        (None, None, _) => stopped(None, None, "Waiting"),
    }
}

fn ended_process(ended: &core::ContainerStateTerminated, waiting: Option<&str>) -> Process {
    let reason = waiting
        .or(ended.reason.as_deref())
        .unwrap_or("Terminated")
        .to_owned();
    let said = ended
        .message
        .as_deref()
        .unwrap_or_default()
        .lines()
        .last()
        .unwrap_or_default();
    let colon = if said.is_empty() { "" } else { ": " };
    Process::Stopped {
        reason,
        message: format!("exit code {}{colon}{said}", ended.exit_code),
    }
}

fn said(error: kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message,
        other => other.to_string(),
    }
}
