//! One pass over one resource, in five steps: parse, collect, plan, execute, status.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{Patch, PatchParams};
use kube::runtime::controller::Action;
use kube::runtime::events::{Event, EventType, Recorder};
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::json;
use tracing::{info, warn};

use crate::collect::collect;
use crate::crd::{ZabCluster, ZabClusterStatus};
use crate::desired::{self, Desired, Settings};
use crate::error::Error;
use crate::events::{Notice, Worry, notices};
use crate::execute::{Writer, execute};
use crate::lease::Guard;
use crate::memory::Memory;
use crate::metrics::Metrics;
use crate::names::FIELD_MANAGER;
use crate::plan::plan;
use crate::status::{Outcome, invalid, status};

/// A conflict is over as soon as the world is read again.
const NOT_NOW: Duration = Duration::from_secs(2);

/// Namespace and name of a resource.
pub type Key = (String, String);

/// What passes need, and what they remember of each other.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// Settings of the operator.
    pub settings: Settings,
    /// Metrics of the operator.
    pub metrics: Metrics,
    /// Whether this process may act.
    pub guard: Guard,
    /// Where events are recorded; one, because it folds repeated events together.
    pub recorder: Recorder,
    /// By namespace and name: what earlier samples said.
    pub memories: Mutex<HashMap<Key, Memory>>,
    /// When this process started.
    pub start: Instant,
    /// By namespace and name: passes that failed in a row.
    pub failures: Mutex<HashMap<Key, u32>>,
}

/// A pass over `namespace/name`.
///
/// # Errors
/// When the resource cannot be read, a step was refused, or the status could not be written.
pub async fn reconcile(ctx: &Arc<Context>, namespace: &str, name: &str) -> Result<Action, Error> {
    let api: Api<ZabCluster> = Api::namespaced(ctx.client.clone(), namespace);
    // Read anew: the watch that caused this pass may lag behind what this process wrote last.
    let Some(cluster) = api.get_opt(name).await.map_err(Error::Read)? else {
        return Ok(Action::await_change());
    };
    if cluster.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let recorded = cluster.status.clone().unwrap_or_default();
    let now = Timestamp::now();

    let desired = match Desired::parse(&cluster, &ctx.settings) {
        Ok(desired) => desired,
        Err(error) => return refuse(ctx, &api, &cluster, recorded, error, now).await,
    };
    let looked = Instant::now();
    let mut inventory = collect(&ctx.client, &desired, recorded).await;
    let key = (namespace.to_owned(), name.to_owned());
    let mut memory =
        ctx.memories.lock().expect("no holder panics").get(&key).cloned().unwrap_or_default();
    memory.take_in(&desired, &mut inventory, ctx.start.elapsed());
    for _ in inventory.reports.values().filter(|report| report.is_err()) {
        ctx.metrics.scrape_failed(namespace, name);
    }
    let plan = plan(&desired, &inventory, now);
    let writer =
        Writer { client: &ctx.client, guard: &ctx.guard, metrics: &ctx.metrics, namespace, looked };
    let outcome = execute(&writer, plan.steps.clone()).await;
    let status = status(&desired, &inventory, &plan, &outcome, now);
    let before = &inventory.recorded;
    publish(ctx, &api, &cluster, before, &status, &outcome).await?;
    // Only now: what the status does not say yet is to be noticed again.
    ctx.memories.lock().expect("no holder panics").insert(key, memory);

    match outcome.failed {
        Some(failure) if failure.kind.is_error() => {
            Err(Error::Execute { step: failure.step.to_string(), message: failure.message })
        }
        Some(_) => Ok(Action::requeue(NOT_NOW)),
        None => Ok(Action::requeue(plan.wake)),
    }
}

/// Tells the author what is wrong, and leaves all else as it is.
async fn refuse(
    ctx: &Arc<Context>,
    api: &Api<ZabCluster>,
    cluster: &ZabCluster,
    recorded: ZabClusterStatus,
    error: desired::Error,
    now: Timestamp,
) -> Result<Action, Error> {
    let status = invalid(&recorded, cluster.metadata.generation, &error, now);
    publish(ctx, api, cluster, &recorded, &status, &Outcome::default()).await?;
    warn!(%error, "the spec cannot be carried out");
    Ok(Action::await_change())
}

/// Writes the status if it changed, then tells what changed.
async fn publish(
    ctx: &Arc<Context>,
    api: &Api<ZabCluster>,
    cluster: &ZabCluster,
    before: &ZabClusterStatus,
    after: &ZabClusterStatus,
    outcome: &Outcome,
) -> Result<(), Error> {
    let name = cluster.name_any();
    let namespace = cluster.namespace().unwrap_or_default();
    if before != after {
        if !ctx.guard.is_held() {
            return Err(Error::LeaseLost);
        }
        write_status(api, cluster, before, after).await.map_err(Error::Status)?;
    }
    ctx.metrics.show((&namespace, &name), cluster.spec.replicas, before, after);
    let object = cluster.object_ref(&());
    for notice in notices(before, after, outcome) {
        info!(reason = notice.reason, note = notice.note, "event");
        if let Err(error) = ctx.recorder.publish(&event(&notice, &namespace), &object).await {
            warn!(%error, reason = notice.reason, "the event could not be recorded");
        }
    }
    Ok(())
}

/// Replaces the status `before` by `after`, if it is still that of this resource.
async fn write_status(
    api: &Api<ZabCluster>,
    cluster: &ZabCluster,
    before: &ZabClusterStatus,
    after: &ZabClusterStatus,
) -> kube::Result<()> {
    let name = cluster.name_any();
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let patch = |version: Option<String>| {
        json!({
            "apiVersion": ZabCluster::api_version(&()),
            "kind": ZabCluster::kind(&()),
            "metadata": { "uid": cluster.uid(), "resourceVersion": version },
            "status": after,
        })
    };
    let read = Patch::Apply(patch(cluster.resource_version()));
    match api.patch_status(&name, &params, &read).await {
        Err(kube::Error::Api(status)) if status.is_conflict() => {
            // That the spec was edited meanwhile does not matter: the status says which generation
            // it answers. That somebody else wrote the status does.
            let current = api.get(&name).await?;
            if current.status.clone().unwrap_or_default() != *before {
                return Err(kube::Error::Api(status));
            }
            let again = Patch::Apply(patch(current.resource_version()));
            api.patch_status(&name, &params, &again).await.map(drop)
        }
        written => written.map(drop),
    }
}

fn event(notice: &Notice, namespace: &str) -> Event {
    /// The API server takes no longer notes.
    const NOTE_CHARS_MAX: usize = 1000;
    Event {
        type_: match notice.worry {
            Worry::Normal => EventType::Normal,
            Worry::Warning => EventType::Warning,
        },
        reason: notice.reason.clone(),
        note: Some(notice.note.chars().take(NOTE_CHARS_MAX).collect()),
        action: notice.action.to_owned(),
        secondary: notice.pod.as_ref().map(|pod| ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            name: Some(pod.clone()),
            namespace: Some(namespace.to_owned()),
            ..ObjectReference::default()
        }),
    }
}

/// Forgets what was remembered of a resource that is gone.
pub fn forget(ctx: &Context, key: &Key) {
    ctx.memories.lock().expect("no holder panics").remove(key);
    ctx.failures.lock().expect("no holder panics").remove(key);
    ctx.metrics.forget(&key.0, &key.1);
}
