//! Carries out steps, in order, up to the first that fails. It decides nothing: each step names
//! the conditions under which it may happen, and the API server checks them.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::{
    DeleteParams, DynamicObject, EvictParams, Patch, PatchParams, PostParams, Preconditions,
};
use kube::{Api, Client};
use tracing::info;

use crate::build::Object;
use crate::collect::api;
use crate::inventory::Kind;
use crate::lease::Guard;
use crate::metrics::Metrics;
use crate::names::FIELD_MANAGER;
use crate::plan::step::{Restart, Step};
use crate::status::{Failure, FailureKind, Outcome};

/// How old what was seen may be when it is acted upon. A pass takes a second or two; one that hung
/// may decide about servers that are no longer as they were.
const SIGHT_MAX: Duration = Duration::from_secs(15);

/// What writes need.
pub struct Writer<'a> {
    /// The API server.
    pub client: &'a Client,
    /// Whether this process may still act.
    pub guard: &'a Guard,
    /// Where steps are counted.
    pub metrics: &'a Metrics,
    /// The namespace of the resource.
    pub namespace: &'a str,
    /// When the reads began that the steps were decided from.
    pub looked: Instant,
}

/// Carries out `steps`.
pub async fn execute(writer: &Writer<'_>, steps: Vec<Step>) -> Outcome {
    let mut outcome = Outcome::default();
    for step in steps {
        if let Some(message) = writer.too_late() {
            outcome.failed = Some(Failure { step, message, kind: FailureKind::NotNow });
            break;
        }
        let result = writer.write(&step).await;
        writer.metrics.step(step.kind(), if result.is_ok() { "ok" } else { "error" });
        match result {
            Ok(()) => {
                info!(step = %step, "done");
                outcome.done.push(step);
            }
            Err(error) => {
                let (message, kind) = classify(error);
                outcome.failed = Some(Failure { step, message, kind });
                break;
            }
        }
    }
    outcome
}

impl Writer<'_> {
    /// Why nothing may be written any more, if so.
    fn too_late(&self) -> Option<String> {
        if !self.guard.is_held() {
            return Some("the lease was lost".to_owned());
        }
        let age = self.looked.elapsed();
        (age > SIGHT_MAX).then(|| format!("what was seen is {} s old, look again", age.as_secs()))
    }

    async fn write(&self, step: &Step) -> kube::Result<()> {
        match step {
            Step::Create(object) => self.create(object).await,
            Step::Apply(object) => self.apply(object).await,
            Step::CloseFounding { record } => self.replace(record).await,
            Step::Delete { key, uid, resource_version } => {
                let only = preconditions(uid, Some(resource_version));
                self.objects(key.kind).delete(&key.name, &only).await.map(drop)
            }
            Step::PatchVolume { name, patch, .. } => {
                let claims: Api<PersistentVolumeClaim> =
                    Api::namespaced(self.client.clone(), self.namespace);
                claims.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.map(drop)
            }
            Step::Evict(Restart { pod, uid, .. }) => {
                let evict = EvictParams {
                    delete_options: Some(preconditions(uid, None)),
                    ..EvictParams::default()
                };
                self.pods().evict(pod, &evict).await.map(drop)
            }
            Step::ReplaceStopped { restart: Restart { pod, uid, .. }, resource_version } => {
                let only = preconditions(uid, Some(resource_version));
                self.pods().delete(pod, &only).await.map(drop)
            }
        }
    }

    /// Creates by POST, which fails if the object exists. What is created so is never applied
    /// later: fields set by POST are not taken away by leaving them out of an apply.
    async fn create(&self, object: &Object) -> kube::Result<()> {
        let params = PostParams { field_manager: Some(FIELD_MANAGER.into()), ..Default::default() };
        let dynamic = dynamic(object)?;
        self.objects(object.key.kind).create(&params, &dynamic).await.map(drop)
    }

    /// Replaces the whole object, if it is still the version that `object` names.
    async fn replace(&self, object: &Object) -> kube::Result<()> {
        let params = PostParams { field_manager: Some(FIELD_MANAGER.into()), ..Default::default() };
        let dynamic = dynamic(object)?;
        self.objects(object.key.kind).replace(&object.key.name, &params, &dynamic).await.map(drop)
    }

    /// Applies. An object that was read is named by UID and version, and fields that others set are
    /// taken over; where none was seen, one that others made since is left to them.
    async fn apply(&self, object: &Object) -> kube::Result<()> {
        let params = PatchParams::apply(FIELD_MANAGER);
        let params = if object.names_live() { params.force() } else { params };
        let patch = Patch::Apply(&object.value);
        self.objects(object.key.kind).patch(&object.key.name, &params, &patch).await.map(drop)
    }

    fn objects(&self, kind: Kind) -> Api<DynamicObject> {
        api(self.client, self.namespace, kind)
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), self.namespace)
    }
}

fn dynamic(object: &Object) -> kube::Result<DynamicObject> {
    serde_json::from_value(object.value.clone()).map_err(kube::Error::SerdeError)
}

fn preconditions(uid: &str, resource_version: Option<&String>) -> DeleteParams {
    DeleteParams::default().preconditions(Preconditions {
        uid: Some(uid.to_owned()),
        resource_version: resource_version.cloned(),
    })
}

/// What the API server said. A changed version (409), an object that is gone (404) and a full
/// disruption budget (429) are no errors: the world moved on, or others have taken their turn.
fn classify(error: kube::Error) -> (String, FailureKind) {
    match error {
        kube::Error::Api(status) if matches!(status.code, 404 | 409 | 429) => {
            (status.message, FailureKind::NotNow)
        }
        kube::Error::Api(status) if status.code < 500 => (status.message, FailureKind::Refused),
        kube::Error::Api(status) => (status.message, FailureKind::Unanswered),
        other => (other.to_string(), FailureKind::Unanswered),
    }
}
