//! Reads the world into an [`Inventory`]. It writes nothing and decides nothing. What cannot be
//! read becomes an unknown fact.
//!
//! Lists and gets carry no `resourceVersion`, so they are answered with the latest state and not
//! from a cache that may lag behind: what is decided here may stop servers.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::core::v1::{self as core, ConfigMap, PersistentVolumeClaim};
use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::{Api, Client, Resource};
use serde_json::Value;

use crate::crd::ZabClusterStatus;
use crate::desired::Desired;
use crate::exposition::ServerReport;
use crate::inventory::{Fact, Inventory, Kind, ObjectKey, Pod, Record, reading};
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
                .filter_map(|map| reading::revision(map, &desired.name, &desired.uid))
                .collect()
        }),
        pods,
        volumes: claims
            .map_err(said)
            .map(|claims| claims.into_iter().map(reading::volume).collect()),
        reports,
        agreed_for: Duration::ZERO,
        committed_before: None,
    }
}

/// The pods, and what the server in each says.
async fn servers(
    client: &Client,
    desired: &Desired,
    of_ensemble: &ListParams,
) -> (Fact<BTreeMap<String, Pod>>, BTreeMap<String, Result<ServerReport, String>>) {
    let api: Api<core::Pod> = Api::namespaced(client.clone(), &desired.namespace);
    let pods: BTreeMap<String, Pod> = match api.list(of_ensemble).await {
        Ok(pods) => pods.into_iter().map(reading::pod).collect(),
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
    let map = api.get_opt(&name).await.map_err(said)?;
    map.map(|map| reading::record(map, &desired.uid)).transpose()
}

/// The objects by their names rather than by label, so that those of somebody else are seen too.
async fn objects(
    client: &Client,
    desired: &Desired,
    record: &Fact<Option<Record>>,
) -> Fact<BTreeMap<ObjectKey, Value>> {
    let ensemble = record.as_ref().ok().and_then(|record| Some(&record.as_ref()?.ensemble));
    let reads = provision::keys(desired, ensemble).into_iter().map(|key| async {
        let object = api(client, &desired.namespace, key.kind).get_opt(&key.name).await;
        object.map(|object| Some((key, object?))).map_err(said)
    });
    let mut objects = BTreeMap::new();
    for read in join_all(reads).await {
        if let Some((key, object)) = read? {
            objects.insert(key, serde_json::to_value(object).map_err(|error| error.to_string())?);
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

fn said(error: kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message,
        other => other.to_string(),
    }
}
