//! What the operator answers. Nothing in here is read back as an instruction, except the records
//! named in [`RolloutStatus`] and `bootstrapped`, which only ever make the operator do less.

#![expect(unreachable_pub, reason = "the derive repeats each struct inside a function")]

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the operator last saw and what it is doing. Written only when something changes.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ZabClusterStatus {
    /// The generation of the spec that this status answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Voters that serve clients in step with the leader.
    #[serde(default)]
    pub ready_replicas: i32,
    /// Whether the ensemble has been formed. Once true it stays true: no server will ever again
    /// be permitted to start a new database with a vote.
    #[serde(default)]
    pub bootstrapped: bool,
    /// The identity of the ensemble, kept by its volumes too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ensemble_id: Option<String>,
    /// What the operator filled in where the spec leaves the image open. It is kept from the first
    /// pass on, so that an update of the operator restarts no server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_defaults: Option<ImageDefaults>,
    /// Version the servers report; several while they differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Who leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub membership: Option<Membership>,
    /// The servers, by id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["id".into()]))]
    pub members: Vec<Member>,
    /// The rollout under way, or the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutStatus>,
    /// The next steps and what they wait for, at most five lines.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub plan: Vec<String>,
    /// Conditions, each with a sentence.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// What is used of the image where the spec leaves it open.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageDefaults {
    /// Used when `spec.image.repository` is not given.
    pub repository: String,
    /// Used when neither `spec.version` nor a tag or digest is given.
    pub version: String,
}

/// Who leads the ensemble.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Membership {
    /// Pod of the leader.
    pub leader: String,
    /// Server id of the leader.
    pub leader_id: i32,
    /// Epoch of the leader.
    pub epoch: i64,
}

/// One server.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// Server id, never reused.
    pub id: i32,
    /// Name of its pod.
    pub pod: String,
    /// Name of its zone, when zones are given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// The role the server reports.
    pub role: Role,
    /// UID of its pod.
    #[serde(default, rename = "podUID", skip_serializing_if = "Option::is_none")]
    pub pod_uid: Option<String>,
    /// Whether the leader counts it as synchronized.
    pub synced: bool,
    /// Revision of the pod template it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
}

/// The role a server reports.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// It leads.
    Leader,
    /// It follows a leader, with a vote.
    Follower,
    /// It follows a leader, without a vote.
    Observer,
    /// It looks for a leader.
    Looking,
    /// It is alone.
    Standalone,
    /// It did not answer.
    Unknown,
}

/// A rollout: all servers restart, one at a time, onto a new revision of the pod template.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RolloutStatus {
    /// Where it stands.
    pub phase: RolloutPhase,
    /// The revision that the spec asks for.
    pub target: String,
    /// Servers that run the target revision.
    pub updated: i32,
    /// The last revision that all servers ran in good health. Pods that are lost come back on it
    /// until the target has been run in good health too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_good: Option<String>,
    /// The revision that was given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub halted_revision: Option<String>,
    /// What halted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub halted_cause: Option<HaltCause>,
    /// Why it was halted, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub halted_reason: Option<String>,
    /// The epoch in which it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_epoch: Option<i64>,
    /// Elections since it began.
    #[serde(default)]
    pub elections: i64,
    /// When the latest elections were noticed while it lasted, oldest first, at most three.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recent_elections: Vec<Time>,
    /// How far the ensemble had committed when the latest restart was ordered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub committed: Option<Position>,
    /// The server whose pod was taken away and is not there again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarting: Option<Restarting>,
}

/// A place in the history of an ensemble: what a zxid says, in two numbers.
#[derive(
    KubeSchema, Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "camelCase")]
pub struct Position {
    /// The epoch of a transaction.
    pub epoch: i64,
    /// Its number within the epoch.
    pub counter: i64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "transaction {} of epoch {}", self.counter, self.epoch)
    }
}

/// A server that the operator restarts.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Restarting {
    /// Its id.
    pub id: i32,
    /// When that was ordered.
    pub since: Time,
}

/// Why a rollout was halted.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HaltCause {
    /// A server did not come back on the new revision. Over when it is back.
    ServerNotBack,
    /// Leaders kept changing. Over when the spec changes.
    ElectionStorm,
    /// The ensemble forgot committed transactions. Over when the spec changes.
    CommittedWentBack,
}

/// Where a rollout stands.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RolloutPhase {
    /// All servers run the target revision.
    #[default]
    Complete,
    /// Servers are being restarted.
    Rolling,
    /// Nothing is restarted because the spec says so.
    Paused,
    /// It was given up: nothing is restarted until what halted it is over or the spec changes.
    Halted,
}
