//! All the operator can do, and the plan while it is being written.

use std::fmt;
use std::time::Duration;

use serde_json::Value;

use crate::build::Object;
use crate::inventory::ObjectKey;
use crate::quorum::ServerId;

/// One write. Each says by itself under which conditions it may happen; the API server checks them.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Make an object that must not exist yet.
    Create(Object),
    /// Make an object of ours what it should be (server-side apply), if it is still the one that
    /// was read, or is still missing.
    Apply(Object),
    /// Withdraw the permission to start empty databases: replace the record by the closed one, if
    /// it is still the one that was read.
    CloseFounding {
        /// The closed record, which names the version that was read.
        record: Object,
    },
    /// Delete an object of ours, if it is still the one that was read.
    Delete {
        /// Which.
        key: ObjectKey,
        /// Its UID.
        uid: String,
        /// Its version.
        resource_version: String,
    },
    /// Change a volume claim, if it is still the one that was read.
    PatchVolume {
        /// Its name.
        name: String,
        /// The change, as a merge patch that names UID and version.
        patch: Value,
        /// What it is for.
        purpose: &'static str,
    },
    /// Evict a running server, if it is still that pod.
    Evict(Restart),
    /// Delete a pod whose server does not run, if nothing about it has changed since.
    ReplaceStopped {
        /// Which.
        restart: Restart,
        /// The version that said that it does not run.
        resource_version: String,
    },
}

/// A pod to be made anew by its StatefulSet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restart {
    /// The server.
    pub server: ServerId,
    /// Its pod.
    pub pod: String,
    /// UID of the pod.
    pub uid: String,
    /// Why.
    pub why: String,
}

impl Step {
    /// One word for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Create(_) => "create",
            Self::Apply(_) => "apply",
            Self::CloseFounding { .. } => "close_founding",
            Self::Delete { .. } => "delete",
            Self::PatchVolume { .. } => "patch_volume",
            Self::Evict(_) => "evict",
            Self::ReplaceStopped { .. } => "replace_stopped",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create(object) => write!(f, "create {}", object.key),
            Self::Apply(object) => write!(f, "apply {}", object.key),
            Self::CloseFounding { record } => {
                write!(f, "record that the ensemble is formed in {}", record.key)
            }
            Self::Delete { key, .. } => write!(f, "delete {key}"),
            Self::PatchVolume { name, purpose, .. } => {
                write!(f, "{purpose} PersistentVolumeClaim {name}")
            }
            Self::Evict(Restart { server, pod, why, .. }) => {
                write!(f, "restart server {server} ({pod}): {why}")
            }
            Self::ReplaceStopped { restart: Restart { server, pod, why, .. }, .. } => {
                write!(f, "replace stopped server {server} ({pod}): {why}")
            }
        }
    }
}

/// Why something is not done now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// One word, in PascalCase.
    pub reason: &'static str,
    /// A sentence.
    pub sentence: String,
}

/// A plan being written: steps in order, and reasons for not doing more.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Draft {
    /// The steps so far.
    pub steps: Vec<Step>,
    /// The reasons so far.
    pub waits: Vec<Wait>,
    /// When to look again, if that is known better than by habit.
    pub wake: Option<Duration>,
}

impl Draft {
    /// Adds a step.
    pub fn step(&mut self, step: Step) {
        self.steps.push(step);
    }

    /// Adds a reason for waiting that is over after `left`, unless something happens.
    pub fn wait_until(&mut self, left: Duration, reason: &'static str, sentence: String) {
        self.wake = Some(self.wake.map_or(left, |wake| wake.min(left)));
        self.wait(reason, sentence);
    }

    /// Adds a reason for waiting, if there is one.
    pub fn wait_for(&mut self, reason: &'static str, sentence: Option<String>) {
        self.waits.extend(sentence.map(|sentence| Wait { reason, sentence }));
    }

    /// Adds a reason for waiting.
    pub fn wait(&mut self, reason: &'static str, sentence: impl Into<String>) {
        self.waits.push(Wait { reason, sentence: sentence.into() });
    }
}
