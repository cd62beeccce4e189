//! Pure: what was found and done → the status, its conditions worded for people.

mod conditions;
mod rollout;

use std::fmt;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::crd::ZabClusterStatus;
use crate::crd::status::{Member, Membership, Role};
use crate::desired::{Desired, Error};
use crate::inventory::Inventory;
use crate::plan::step::Step;
use crate::plan::{MemberState, Plan, Report};
use crate::view::{pod, report};

pub use conditions::Finding;

/// Lines of the plan that are shown.
const PLAN_LINES_MAX: usize = 5;

/// What became of the steps of a plan.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Steps that were done.
    pub done: Vec<Step>,
    /// The step that was not, if any, and why.
    pub failed: Option<Failure>,
}

/// Why a step was not done.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// The step.
    pub step: Step,
    /// What the API server said.
    pub message: String,
    /// What kind of failure that is.
    pub kind: FailureKind,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.kind {
            FailureKind::NotNow => "not now",
            FailureKind::Refused | FailureKind::Unanswered => "failed",
        };
        write!(f, "{word}: {}: {}", self.step, self.message)
    }
}

/// Kinds of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// The world changed since it was read, or a disruption budget says no: look again.
    NotNow,
    /// The API server, or what it asks, refused it.
    Refused,
    /// It did not get through, or the API server is in trouble.
    Unanswered,
}

impl FailureKind {
    /// Whether people should hear of it.
    pub fn is_error(self) -> bool {
        match self {
            Self::NotNow => false,
            Self::Refused | Self::Unanswered => true,
        }
    }
}

/// The status after a pass. Equal to the recorded one when nothing changed, times included.
pub fn status(
    desired: &Desired,
    inventory: &Inventory,
    plan: &Plan,
    outcome: &Outcome,
    now: Timestamp,
) -> ZabClusterStatus {
    let recorded = &inventory.recorded;
    let found = &plan.report;
    let mut status = ZabClusterStatus {
        observed_generation: Some(desired.generation),
        ready_replicas: recorded.ready_replicas,
        bootstrapped: recorded.bootstrapped || found.formed,
        ensemble_id: recorded.ensemble_id.clone(),
        image_defaults: Some(desired.image_defaults.clone()),
        version: recorded.version.clone(),
        membership: None,
        members: recorded.members.clone(),
        rollout: recorded.rollout.clone(),
        plan: plan_lines(plan, outcome),
        conditions: Vec::new(),
    };
    // What cannot be read is shown as it was.
    if let Some(ensemble) = found.ensemble.as_ref().filter(|_| inventory.pods.is_ok()) {
        let up = found.members.iter().filter(|state| **state == MemberState::Up).count();
        status.ready_replicas = i32::try_from(up).unwrap_or(i32::MAX);
        status.ensemble_id = Some(ensemble.id.clone());
        status.version = versions(found, inventory).or(status.version);
        status.membership = membership(found);
        status.members = members(found, inventory);
        status.rollout = rollout::status(found, inventory, outcome, now);
    }
    let findings = conditions::findings(desired, inventory, plan, outcome, &status);
    status.conditions = merge(&recorded.conditions, findings, desired.generation, now);
    status
}

/// The status of a resource that cannot be carried out: all is as it was, but for the reason.
pub fn invalid(
    recorded: &ZabClusterStatus,
    generation: Option<i64>,
    error: &Error,
    now: Timestamp,
) -> ZabClusterStatus {
    let sentence = format!("The spec cannot be carried out, so nothing is changed: {error}.");
    let findings = vec![
        Finding::new("Ready", Some(false), "InvalidSpec", sentence.clone()),
        Finding::new("Stalled", Some(true), "InvalidSpec", sentence.clone()),
    ];
    let mut conditions = recorded.conditions.clone();
    conditions.retain(|old| findings.iter().all(|new| new.type_ != old.type_));
    conditions.extend(merge(&recorded.conditions, findings, generation.unwrap_or(0), now));
    ZabClusterStatus {
        observed_generation: generation,
        plan: vec![sentence],
        conditions,
        ..recorded.clone()
    }
}

fn plan_lines(plan: &Plan, outcome: &Outcome) -> Vec<String> {
    let failed = outcome.failed.iter().map(ToString::to_string);
    let restarts = outcome
        .done
        .iter()
        .filter(|step| matches!(step, Step::Evict(_) | Step::ReplaceStopped { .. }))
        .map(|step| format!("done: {step}"));
    let waits = plan.report.waits.iter().map(|wait| format!("waiting: {}", wait.sentence));
    failed.chain(restarts).chain(waits).take(PLAN_LINES_MAX).collect()
}

fn versions(found: &Report, inventory: &Inventory) -> Option<String> {
    let members = &found.ensemble.as_ref()?.members;
    let mut versions: Vec<String> =
        members.iter().filter_map(|member| report(member, inventory)?.version.clone()).collect();
    versions.sort();
    versions.dedup();
    (!versions.is_empty()).then(|| versions.join(", "))
}

fn membership(found: &Report) -> Option<Membership> {
    let led = found.view.led()?;
    let leader = found.ensemble.as_ref()?.member(led.leader)?;
    Some(Membership {
        leader: leader.pod.clone(),
        leader_id: i32::from(led.leader.0),
        epoch: led.epoch,
    })
}

fn members(found: &Report, inventory: &Inventory) -> Vec<Member> {
    let synced = found.view.led().map(|led| led.synced.clone()).unwrap_or_default();
    let members = found.ensemble.iter().flat_map(|ensemble| &ensemble.members);
    members
        .map(|member| {
            let pod = pod(member, inventory);
            Member {
                id: i32::from(member.id.0),
                pod: member.pod.clone(),
                zone: member.zone.clone(),
                role: report(member, inventory).map_or(Role::Unknown, |said| said.role),
                pod_uid: pod.map(|pod| pod.uid.clone()),
                synced: synced.contains(&member.id),
                revision: pod.and_then(|pod| pod.revision.clone()),
            }
        })
        .collect()
}

/// Conditions from findings. The time of a condition is when its status changed.
fn merge(
    recorded: &[Condition],
    findings: Vec<Finding>,
    generation: i64,
    now: Timestamp,
) -> Vec<Condition> {
    findings
        .into_iter()
        .map(|finding| {
            let status = match finding.status {
                Some(true) => "True",
                Some(false) => "False",
                None => "Unknown",
            };
            let since = recorded
                .iter()
                .find(|old| old.type_ == finding.type_ && old.status == status)
                .map_or(Time(now), |old| old.last_transition_time.clone());
            Condition {
                type_: finding.type_.to_owned(),
                status: status.to_owned(),
                reason: finding.reason.to_owned(),
                message: finding.sentence,
                last_transition_time: since,
                observed_generation: Some(generation),
            }
        })
        .collect()
}
