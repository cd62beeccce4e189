//! The rollout as the status shows it, and the records that later passes read back.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::Outcome;
use crate::crd::status::{Restarting, RolloutPhase, RolloutStatus};
use crate::inventory::Inventory;
use crate::plan::halting::STORM_ELECTIONS;
use crate::plan::rolling::Phase;
use crate::plan::step::Step;
use crate::plan::{MemberState, Report};
use crate::view::committed;

/// The rollout under way, or the last one; nothing before the ensemble first ran in good health.
pub(super) fn status(
    found: &Report,
    inventory: &Inventory,
    outcome: &Outcome,
    now: Timestamp,
) -> Option<RolloutStatus> {
    let recorded = inventory.recorded.rollout.as_ref();
    let rolling = &found.rolling;
    let phase = match rolling.phase {
        Phase::Founding => return recorded.cloned(),
        Phase::Complete => RolloutPhase::Complete,
        Phase::Rolling => RolloutPhase::Rolling,
        Phase::Paused => RolloutPhase::Paused,
        Phase::Halted(_) => RolloutPhase::Halted,
    };
    let same = recorded.filter(|recorded| recorded.target == rolling.target);
    let elections = Elections::count(found, same, now);
    let halt = match &rolling.phase {
        Phase::Halted(halt) => Some(halt),
        _ => None,
    };
    let restarted = outcome.done.iter().rev().find_map(|step| match step {
        Step::Evict(restart) | Step::ReplaceStopped { restart, .. } => Some(restart),
        _ => None,
    });
    let committed = restarted
        .and_then(|_| committed(found.ensemble.as_ref()?, inventory, found.view.led()?))
        .or_else(|| same?.committed);
    let restarting = restarted.map_or_else(
        || recorded?.restarting.clone().filter(|old| is_between_pods(found, old)),
        |restart| Some(Restarting { id: i32::from(restart.server.0), since: Time(now) }),
    );
    Some(RolloutStatus {
        phase,
        target: rolling.target.clone(),
        updated: i32::try_from(rolling.updated.len()).unwrap_or(i32::MAX),
        last_good: rolling.last_good.clone(),
        halted_revision: halt.map(|_| rolling.target.clone()),
        halted_cause: halt.map(|halt| halt.cause),
        halted_reason: halt.map(|halt| halt.why.clone()),
        started_epoch: elections.started_epoch,
        elections: elections.number,
        recent_elections: elections.recent,
        committed,
        restarting,
    })
}

/// Whether the pod of a server that was restarted is not there yet.
fn is_between_pods(found: &Report, restarting: &Restarting) -> bool {
    let mut members = found.ensemble.iter().flat_map(|e| &e.members).zip(&found.members);
    members.any(|(member, state)| match state {
        MemberState::Missing | MemberState::Terminating | MemberState::Unknown => {
            i32::from(member.id.0) == restarting.id
        }
        MemberState::Up | MemberState::Down(_) => false,
    })
}

/// The elections of a rollout, by the epoch: each begins a new one.
struct Elections {
    started_epoch: Option<i64>,
    number: i64,
    recent: Vec<Time>,
}

impl Elections {
    /// Epochs are counted while the rollout lasts; what happens afterwards is not of its making.
    fn count(found: &Report, same: Option<&RolloutStatus>, now: Timestamp) -> Self {
        let epoch = found.view.led().map(|led| led.epoch);
        let started_epoch = same.and_then(|same| same.started_epoch).or(epoch);
        let counted = same.map_or(0, |same| same.elections);
        let finished = same.is_some_and(|same| same.phase == RolloutPhase::Complete);
        let number = match (epoch, started_epoch) {
            (Some(now), Some(then)) if !finished => counted.max(now - then),
            _ => counted,
        };
        let mut recent = same.map(|same| same.recent_elections.clone()).unwrap_or_default();
        if number > counted {
            recent.push(Time(now));
            recent.drain(..recent.len().saturating_sub(STORM_ELECTIONS));
        }
        Self { started_epoch, number, recent }
    }
}
