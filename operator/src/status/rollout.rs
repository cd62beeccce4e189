//! The rollout as the status shows it, and the records that later passes read back.

use crate::crd::status::{RolloutPhase, RolloutStatus};
use crate::plan::Report;
use crate::plan::rolling::Phase;

/// The rollout under way, or the last one; nothing before the ensemble first ran in good health.
pub(super) fn status(found: &Report, recorded: Option<&RolloutStatus>) -> Option<RolloutStatus> {
    let rolling = &found.rolling;
    let phase = match rolling.phase {
        Phase::Founding => return recorded.cloned(),
        Phase::Complete => RolloutPhase::Complete,
        Phase::Rolling => RolloutPhase::Rolling,
        Phase::Paused => RolloutPhase::Paused,
        Phase::Halted(_) => RolloutPhase::Halted,
    };
    let same = recorded.filter(|recorded| recorded.target == rolling.target);
    let epoch = found.view.led().map(|led| led.epoch);
    let started_epoch = same.and_then(|same| same.started_epoch).or(epoch);
    let counted = same.map_or(0, |same| same.elections);
    // Epochs are counted while the rollout lasts; what happens afterwards is not of its making.
    let finished = same.is_some_and(|same| same.phase == RolloutPhase::Complete);
    let elections = match (epoch, started_epoch) {
        (Some(now), Some(then)) if !finished => counted.max(now - then),
        _ => counted,
    };
    let (halted_revision, halted_reason) = match &rolling.phase {
        Phase::Halted(reason) => (Some(rolling.target.clone()), Some(reason.clone())),
        _ => (None, None),
    };
    Some(RolloutStatus {
        phase,
        target: rolling.target.clone(),
        updated: i32::try_from(rolling.updated.len()).unwrap_or(i32::MAX),
        last_good: rolling.last_good.clone(),
        halted_revision,
        halted_reason,
        started_epoch,
        elections,
    })
}
