//! The controller: what it watches, what it does on errors, and its life from lease to signal.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures::StreamExt;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::core::DeserializeGuard;
use kube::runtime::controller::{self, Action, Config};
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::{Controller, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{Instrument, error, info, info_span, warn};

use crate::crd::ZabCluster;
use crate::desired::Settings;
use crate::error::Error;
use crate::http::{self, Pages};
use crate::lease::{Election, Guard};
use crate::metrics::Metrics;
use crate::names;
use crate::reconcile::{Context, Key, forget, reconcile};

/// Resources worked on at once; each pass mostly waits for answers.
const CONCURRENCY: u16 = 8;
/// Changes that come together are looked at together.
const DEBOUNCE: Duration = Duration::from_millis(300);
/// Longest pause after failed passes.
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// How to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The only namespace to watch; all if there is none.
    pub watch_namespace: Option<String>,
    /// The namespace of the Lease.
    pub namespace: String,
    /// This process, in the Lease and in events.
    pub identity: String,
    /// Where to serve metrics.
    pub metrics_address: SocketAddr,
    /// Settings for resources that leave them open.
    pub settings: Settings,
}

/// Longest pause after passes in which a step was refused.
const REFUSED_PAUSE_MAX: Duration = Duration::from_secs(30);

type Guarded = DeserializeGuard<ZabCluster>;

/// Runs until a signal, or until the lease is lost.
///
/// # Errors
/// When the API server cannot be used, the port is taken, or the lease is lost: the process must
/// end then, because another operator may act.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let client = Client::try_default().await.context("find the API server")?;
    let metrics = Metrics::new();
    let ready = Arc::new(AtomicBool::new(false));
    let pages = Pages { metrics: metrics.clone(), ready: ready.clone() };
    let listener = http::bind(options.metrics_address).await?;
    let server = tokio::spawn(http::serve(listener, pages));

    let version = client.apiserver_version().await.context("ask the API server its version")?;
    info!(api_server = version.git_version, identity = options.identity, "the API server answers");
    ready.store(true, Ordering::Release);
    let election = Election::new(client.clone(), &options.namespace, options.identity.clone());
    let (guard, lease) = tokio::select! {
        held = election.acquire() => held,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    metrics.lease_held(true);

    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let mut controller =
        tokio::spawn(control(client.clone(), options, metrics, guard.clone(), stopped));
    let lost = tokio::select! {
        lost = election.keep(&guard, lease) => Some(lost),
        ended = &mut controller => {
            Some(ended.err().map_or_else(|| anyhow::anyhow!("the controller ended"), Into::into))
        }
        ended = server => {
            Some(ended.map_or_else(Into::into, |ended| {
                ended.err().unwrap_or_else(|| anyhow::anyhow!("the metrics server ended"))
            }))
        }
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
    };
    if let Some(lost) = lost {
        return Err(lost);
    }
    info!("stopping: passes under way are finished");
    // The controller may have ended by itself: then there is nobody to tell.
    let _ = stop.send(());
    let _ = tokio::time::timeout(Duration::from_secs(8), controller).await;
    // A pass that is still under way must not write once another operator may.
    guard.give_up();
    election.release().await;
    Ok(())
}

async fn control(
    client: Client,
    options: Options,
    metrics: Metrics,
    guard: Guard,
    stopped: tokio::sync::oneshot::Receiver<()>,
) {
    let reporter =
        Reporter { controller: "zab-operator".to_owned(), instance: Some(options.identity) };
    let ctx = Arc::new(Context {
        recorder: Recorder::new(client.clone(), reporter),
        client: client.clone(),
        settings: options.settings,
        metrics,
        guard,
        memories: Mutex::new(HashMap::new()),
        start: Instant::now(),
        failures: Mutex::new(HashMap::new()),
    });
    let forgetful = ctx.clone();
    let scope = Scope { client, namespace: options.watch_namespace };
    let ours = watcher::Config::default().labels(names::ENSEMBLE_LABEL);
    let all = watcher::Config::default();
    Controller::new(scope.api::<Guarded>(), all)
        .with_config(Config::default().concurrency(CONCURRENCY).debounce(DEBOUNCE))
        .owns(scope.api::<StatefulSet>(), ours.clone())
        .owns(scope.api::<Service>(), ours.clone())
        .owns(scope.api::<ConfigMap>(), ours.clone())
        .owns(scope.api::<PodDisruptionBudget>(), ours.clone())
        // Pods and claims belong to the StatefulSets: their label leads to the resource.
        .watches(scope.api::<Pod>(), ours.clone(), |pod| cluster_of(&pod))
        .watches(scope.api::<PersistentVolumeClaim>(), ours, |claim| cluster_of(&claim))
        .graceful_shutdown_on(async {
            // A dropped sender means the same: stop.
            let _ = stopped.await;
        })
        .run(pass, on_error, ctx)
        .for_each(|result| async {
            // Its objects are deleted after it, and each of those leads back to it.
            if let Err(controller::Error::ObjectNotFound(gone)) = result {
                forget(&forgetful, &(gone.namespace.unwrap_or_default(), gone.name));
            }
        })
        .await;
}

/// The API server within the namespaces that are watched.
struct Scope {
    client: Client,
    namespace: Option<String>,
}

impl Scope {
    fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        match &self.namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        }
    }
}

fn cluster_of<K: ResourceExt>(object: &K) -> Option<ObjectRef<Guarded>> {
    let name = object.labels().get(names::ENSEMBLE_LABEL)?;
    Some(ObjectRef::new(name).within(&object.namespace()?))
}

fn key_of(cluster: &Guarded) -> Key {
    let meta = cluster.meta();
    (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
}

async fn pass(cluster: Arc<Guarded>, ctx: Arc<Context>) -> Result<Action, Error> {
    let meta = cluster.meta();
    let key = key_of(&cluster);
    let (namespace, name) = (key.0.as_str(), key.1.as_str());
    let span = info_span!("pass", namespace, name, generation = meta.generation);
    if let Err(invalid) = &cluster.0 {
        return Err(Error::Malformed(invalid.error.clone()));
    }
    if !ctx.guard.is_held() {
        return Err(Error::LeaseLost);
    }
    let start = Instant::now();
    let result = reconcile(&ctx, namespace, name).instrument(span.clone()).await;
    let _entered = span.enter();
    ctx.metrics.reconciled(start.elapsed(), result.as_ref().err().map(Error::stage));
    match &result {
        Ok(_) => {
            ctx.failures.lock().expect("no holder panics").remove(&key);
        }
        Err(error @ (Error::Execute { .. } | Error::Malformed(_))) => warn!(%error, "pass failed"),
        Err(error) => error!(%error, "pass failed"),
    }
    result
}

/// After a failed pass: wait, twice as long each time, not at the same moment as others.
fn on_error(cluster: Arc<Guarded>, error: &Error, ctx: Arc<Context>) -> Action {
    if matches!(error, Error::Malformed(_)) {
        return Action::await_change();
    }
    // One step that is refused must not keep the operator from looking after the rest.
    let max = if matches!(error, Error::Execute { .. }) { REFUSED_PAUSE_MAX } else { PAUSE_MAX };
    let key = key_of(&cluster);
    let mut failures = ctx.failures.lock().expect("no holder panics");
    let failed = failures.entry(key.clone()).or_insert(0);
    let pause = Duration::from_secs(5).saturating_mul(1 << (*failed).min(6)).min(max);
    *failed += 1;
    let mut hasher = DefaultHasher::new();
    (key, *failed).hash(&mut hasher);
    let jitter = f64::from(u32::try_from(hasher.finish() % 1000).unwrap_or(0)) / 5000.0;
    Action::requeue(pause.mul_f64(1.0 + jitter))
}
