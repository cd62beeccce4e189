//! Pure: which changes are worth a recorded event.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::crd::ZabClusterStatus;
use crate::crd::status::{HaltCause, RolloutPhase};
use crate::plan::step::Step;
use crate::status::Outcome;

/// Something to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Whether a person should worry.
    pub worry: Worry,
    /// One word, in PascalCase.
    pub reason: String,
    /// One word for what was done.
    pub action: &'static str,
    /// A sentence.
    pub note: String,
    /// The pod it is about, by name, if it is about one.
    pub pod: Option<String>,
}

/// Whether a person should worry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Worry {
    /// No.
    Normal,
    /// Yes.
    Warning,
}

/// Conditions whose changes are told, and the status that is worth a warning.
const TOLD: [(&str, &str); 5] = [
    ("Ready", ""),
    ("QuorumHealthy", "False"),
    ("Degraded", "True"),
    ("ZoneFailureTolerant", ""),
    ("MembershipInSync", "False"),
];

/// What to tell after a pass: transitions and what was done, never the same state twice.
pub fn notices(
    before: &ZabClusterStatus,
    after: &ZabClusterStatus,
    outcome: &Outcome,
) -> Vec<Notice> {
    let mut notices = Vec::new();
    for step in &outcome.done {
        if let Step::Evict(restart) | Step::ReplaceStopped { restart, .. } = step {
            notices.push(Notice {
                worry: Worry::Normal,
                reason: "ServerRestart".to_owned(),
                action: "Restart",
                note: step.to_string(),
                pod: Some(restart.pod.clone()),
            });
        }
    }
    if let Some(failure) = &outcome.failed
        && failure.kind.is_error()
        && !before.plan.contains(&failure.to_string())
    {
        notices.push(Notice {
            worry: Worry::Warning,
            reason: "StepFailed".to_owned(),
            action: "Execute",
            note: format!("{}: {}", failure.step, failure.message),
            pod: None,
        });
    }
    if before.ensemble_id.is_none()
        && let Some(id) = &after.ensemble_id
    {
        let note = format!("Founding ensemble {id} of {} servers.", after.members.len());
        notices.push(normal("EnsembleFounding", "Found", note));
    }
    if after.bootstrapped && !before.bootstrapped {
        notices.push(normal("EnsembleFormed", "Found", "The ensemble has formed.".to_owned()));
    }
    notices.extend(leadership(before, after));
    notices.extend(rollout(before, after));
    notices.extend(conditions(before, after));
    notices
}

fn normal(reason: &str, action: &'static str, note: String) -> Notice {
    Notice { worry: Worry::Normal, reason: reason.to_owned(), action, note, pod: None }
}

fn leadership(before: &ZabClusterStatus, after: &ZabClusterStatus) -> Option<Notice> {
    let leader = after.membership.as_ref()?;
    let unknown =
        |condition: &Condition| condition.type_ == "QuorumHealthy" && condition.status == "Unknown";
    match &before.membership {
        Some(old) if old == leader => return None,
        // It could not be seen for a while: that it leads is no news.
        None if before.bootstrapped && before.conditions.iter().any(unknown) => return None,
        _ => {}
    }
    let note = format!("{} leads in epoch {}.", leader.leader, leader.epoch);
    Some(normal("LeaderElected", "Elect", note))
}

fn rollout(before: &ZabClusterStatus, after: &ZabClusterStatus) -> Option<Notice> {
    let new = after.rollout.as_ref()?;
    let old = before.rollout.as_ref();
    if old.is_some_and(|old| old.phase == new.phase && old.target == new.target) {
        return None;
    }
    let target = &new.target;
    match new.phase {
        RolloutPhase::Complete => old.map(|_| {
            let note = format!(
                "All servers run revision {target}; elections in the rollout: {}.",
                new.elections
            );
            normal("RolloutComplete", "Roll", note)
        }),
        RolloutPhase::Rolling => Some(normal(
            "RolloutStarted",
            "Roll",
            format!("Servers are restarted onto revision {target}, one at a time."),
        )),
        RolloutPhase::Paused => Some(normal(
            "RolloutPaused",
            "Roll",
            format!("Revision {target} waits for spec.rollout.paused to become false."),
        )),
        RolloutPhase::Halted => {
            let reason = match new.halted_cause {
                Some(HaltCause::CommittedWentBack) => "CommittedWentBack",
                Some(HaltCause::ElectionStorm | HaltCause::ServerNotBack) | None => "RolloutHalted",
            };
            let why = new.halted_reason.clone().unwrap_or_default();
            Some(Notice { worry: Worry::Warning, ..normal(reason, "Roll", why) })
        }
    }
}

fn conditions(before: &ZabClusterStatus, after: &ZabClusterStatus) -> Vec<Notice> {
    let old: BTreeMap<&str, &str> = before
        .conditions
        .iter()
        .map(|condition| (condition.type_.as_str(), condition.status.as_str()))
        .collect();
    // A server that is away because the operator restarts it is no reason to worry.
    let planned = before.rollout.as_ref().is_some_and(|rollout| rollout.restarting.is_some());
    after
        .conditions
        .iter()
        .filter_map(|new| {
            let (_, warn) = TOLD.iter().find(|(type_, _)| *type_ == new.type_)?;
            let changed = match old.get(new.type_.as_str()) {
                Some(old) => *old != new.status,
                // At first nothing is up, which is no news; that something is wrong is.
                None => new.status == *warn && new.type_ != "QuorumHealthy",
            };
            changed.then(|| Notice {
                worry: match new.status == *warn && !(planned && new.reason == "MembersDown") {
                    true => Worry::Warning,
                    false => Worry::Normal,
                },
                reason: format!("{}{}", new.type_, new.status),
                action: "Observe",
                note: new.message.clone(),
                pod: None,
            })
        })
        .collect()
}
