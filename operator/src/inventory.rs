//! `Inventory`: what is known of the world at one moment, as plain data. What could not be read is
//! an unknown fact, not an error, so that a plan can be made with the rest.

pub mod reading;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use crate::crd::ZabClusterStatus;
use crate::crd::status::Position;
use crate::desired::{Ensemble, Revision};
use crate::exposition::ServerReport;

/// Something read from the API server, or why it could not be.
pub type Fact<T> = Result<T, String>;

/// What is known.
#[derive(Clone, Debug, PartialEq)]
pub struct Inventory {
    /// The status of the resource, as last written by this operator.
    pub recorded: ZabClusterStatus,
    /// The record of the ensemble, if it was founded.
    pub record: Fact<Option<Record>>,
    /// The objects that may carry names we use, by kind and name.
    pub objects: Fact<BTreeMap<ObjectKey, Value>>,
    /// The revisions that exist, by hash.
    pub revisions: Fact<BTreeMap<String, StoredRevision>>,
    /// The pods of the ensemble, by name.
    pub pods: Fact<BTreeMap<String, Pod>>,
    /// The volume claims of the ensemble, by name.
    pub volumes: Fact<BTreeMap<String, Volume>>,
    /// What the servers said, by pod name; an error says why one said nothing.
    pub reports: BTreeMap<String, Result<ServerReport, String>>,
    /// How long the samples up to this one have agreed about who leads whom.
    pub agreed_for: Duration,
    /// How far the ensemble had committed in the latest earlier sample that was believed.
    pub committed_before: Option<Position>,
}

/// Kinds of objects the operator makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A Service.
    Service,
    /// A ConfigMap.
    ConfigMap,
    /// A PodDisruptionBudget.
    PodDisruptionBudget,
    /// A StatefulSet.
    StatefulSet,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Service => "Service",
            Self::ConfigMap => "ConfigMap",
            Self::PodDisruptionBudget => "PodDisruptionBudget",
            Self::StatefulSet => "StatefulSet",
        })
    }
}

/// Kind and name of an object in the namespace of the resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// The ConfigMap that records the ensemble.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The ensemble.
    pub ensemble: Ensemble,
    /// Whether servers are still permitted to start an empty database with a vote.
    pub permission: Permission,
    /// UID of the ConfigMap.
    pub uid: String,
    /// Version of the ConfigMap that was read.
    pub resource_version: String,
}

/// Whether servers may start an empty database with a vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// They may: the ensemble has not been formed yet.
    Open,
    /// They may not, ever again.
    Closed,
}

/// The ConfigMap of a revision.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredRevision {
    /// What it holds.
    pub revision: Revision,
    /// Name of the ConfigMap.
    pub name: String,
    /// UID of the ConfigMap.
    pub uid: String,
    /// Version of the ConfigMap that was read.
    pub resource_version: String,
}

/// A pod of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Its UID: a pod of the same name with another UID is another pod.
    pub uid: String,
    /// Version of the pod that was read.
    pub resource_version: String,
    /// The revision it was made from.
    pub revision: Option<String>,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// Whether it is being deleted.
    pub terminating: bool,
    /// Its address.
    pub ip: Option<String>,
    /// Whether its server passes the readiness probe, and since when it does or does not.
    pub ready: Ready,
    /// What the kubelet says of its server's process.
    pub process: Process,
    /// How often the process ended and was started again in this pod.
    pub crashes: i32,
}

/// Readiness of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ready {
    /// Ready since then.
    Since(Timestamp),
    /// Not ready since then.
    NotSince(Timestamp),
}

/// What the kubelet says of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Process {
    /// It runs.
    Running,
    /// It does not run, for this reason: `ImagePullBackOff`, `CrashLoopBackOff`, `Unschedulable` …
    Stopped {
        /// One word.
        reason: String,
        /// A sentence, possibly empty.
        message: String,
    },
}

/// A volume claim of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Its UID.
    pub uid: String,
    /// Version of the claim that was read.
    pub resource_version: String,
    /// The ensemble it is marked as holding data of.
    pub ensemble_id: Option<String>,
    /// The server it is marked as holding data of.
    pub member_id: Option<u8>,
    /// The size it asks for.
    pub requested: String,
    /// The size it has.
    pub capacity: Option<String>,
    /// Why its resizing does not go on, if it does not.
    pub resize_problem: Option<String>,
}
