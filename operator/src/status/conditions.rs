//! The conditions: each answers one question, in a sentence.

use super::{FailureKind, Outcome};
use crate::crd::ZabClusterStatus;
use crate::desired::{Desired, Topology};
use crate::inventory::Inventory;
use crate::plan::rolling::Phase;
use crate::plan::step::Step;
use crate::plan::volumes::Resize;
use crate::plan::{MemberState, Membership, Plan, Report, counted};
use crate::quorum::majority;
use crate::view::QuorumView;

/// What kubelets and schedulers say of containers that will not start by themselves.
const STUCK: [&str; 8] = [
    "ImagePullBackOff",
    "ErrImagePull",
    "ErrImageNeverPull",
    "InvalidImageName",
    "CrashLoopBackOff",
    "CreateContainerConfigError",
    "CreateContainerError",
    "Unschedulable",
];

/// The answer to the question of a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The question.
    pub type_: &'static str,
    /// Yes, no, or not known.
    pub status: Option<bool>,
    /// One word.
    pub reason: &'static str,
    /// A sentence.
    pub sentence: String,
}

impl Finding {
    /// Puts one together.
    pub fn new(
        type_: &'static str,
        status: Option<bool>,
        reason: &'static str,
        sentence: impl Into<String>,
    ) -> Self {
        Self { type_, status, reason, sentence: sentence.into() }
    }
}

/// The subject of a sentence about all servers.
fn all(servers: usize) -> String {
    match servers {
        1 => "The only server is".to_owned(),
        _ => format!("All {servers} servers are"),
    }
}

/// All conditions. All are there from the first pass on.
pub(super) fn findings(
    desired: &Desired,
    inventory: &Inventory,
    plan: &Plan,
    outcome: &Outcome,
    status: &ZabClusterStatus,
) -> Vec<Finding> {
    let found = &plan.report;
    let quorum = quorum_healthy(found);
    let progressing = progressing(plan, outcome, status);
    let degraded = degraded(found, outcome);
    let membership = membership(found);
    let stalled = stalled(found, outcome);
    let storage = storage(inventory, found, outcome);
    let spec = [&membership, &storage];
    let ready = ready(found, &quorum, &progressing, &degraded, spec, status);
    vec![
        ready,
        available(found, &quorum),
        progressing,
        degraded,
        quorum,
        zone_tolerant(desired, found),
        membership,
        storage,
        update_available(desired),
        stalled,
    ]
}

/// The answer to a question about servers of which nothing is known, and why.
fn not_known(type_: &'static str, found: &Report) -> Option<Finding> {
    let unknown = found.members.iter().any(|member| matches!(member, MemberState::Unknown));
    if found.ensemble.is_some() && !unknown {
        return None;
    }
    let why = found.waits.iter().find(|wait| wait.reason == "PodsUnknown");
    Some(match why.or(found.waits.first()) {
        Some(wait) => Finding::new(type_, None, wait.reason, wait.sentence.clone()),
        None => Finding::new(type_, None, "NotFounded", "The ensemble has no members yet."),
    })
}

fn quorum_healthy(found: &Report) -> Finding {
    let finding =
        |status, reason, sentence| Finding::new("QuorumHealthy", status, reason, sentence);
    if let Some(not_known) = not_known("QuorumHealthy", found) {
        return not_known;
    }
    let voters = found.members.len();
    match &found.view {
        QuorumView::Healthy(led) | QuorumView::Unsettled { led, .. } => finding(
            Some(true),
            "QuorumServes",
            format!(
                "Server {} leads epoch {}; {} of {voters} voters are synchronized, and a majority \
                 is {}.",
                led.leader,
                led.epoch,
                led.synced.len(),
                majority(voters),
            ),
        ),
        QuorumView::NoQuorum { answered } => finding(
            Some(false),
            "NoLeader",
            format!(
                "No majority follows a leader; {answered} of {} answer.",
                counted(voters, "server")
            ),
        ),
        QuorumView::Unknown { seen } => finding(
            None,
            "TooFewSeen",
            format!(
                "Only {seen} of {} can be seen from here, too few to tell.",
                counted(voters, "server")
            ),
        ),
    }
}

fn available(found: &Report, quorum: &Finding) -> Finding {
    let up = found.members.iter().filter(|state| **state == MemberState::Up).count();
    let finding = |status, reason, sentence| Finding::new("Available", status, reason, sentence);
    match quorum.status {
        Some(true) if up > 0 => finding(
            Some(true),
            "Serving",
            match found.members.len() {
                1 => "The only server serves clients.".to_owned(),
                all => format!("{up} of {all} servers serve clients."),
            },
        ),
        Some(true) => finding(
            Some(false),
            "NoServerReady",
            "A quorum exists, but no server is ready for clients yet.".to_owned(),
        ),
        status => finding(status, quorum.reason, quorum.sentence.clone()),
    }
}

fn progressing(plan: &Plan, outcome: &Outcome, status: &ZabClusterStatus) -> Finding {
    let finding = |status, reason, sentence| Finding::new("Progressing", status, reason, sentence);
    let found = &plan.report;
    if let Some(not_known) = not_known("Progressing", found) {
        return not_known;
    }
    let rolling = &found.rolling;
    let next = status.plan.first().map(|line| format!(" Next, {line}")).unwrap_or_default();
    let elections = status.rollout.as_ref().map_or(0, |rollout| rollout.elections);
    match &rolling.phase {
        Phase::Rolling => finding(
            Some(true),
            "RollingRestart",
            format!(
                "{} of {} run revision {}; {} so far.{next}",
                rolling.updated.len(),
                counted(found.members.len(), "server"),
                rolling.target,
                counted(usize::try_from(elections).unwrap_or(0), "election"),
            ),
        ),
        Phase::Paused => finding(
            Some(false),
            "RolloutPaused",
            format!(
                "spec.rollout.paused holds back the restart of {}.",
                counted(rolling.stale.len(), "server")
            ),
        ),
        Phase::Halted(halt) => {
            finding(Some(false), halt.reason(), format!("The rollout is halted: {}.", halt.why))
        }
        Phase::Founding | Phase::Complete if !found.formed => finding(
            Some(true),
            "Founding",
            "The servers start and elect their first leader.".to_owned(),
        ),
        Phase::Founding | Phase::Complete if !outcome.done.is_empty() => {
            finding(Some(true), "Applying", "Objects are brought in line with the spec.".to_owned())
        }
        Phase::Founding => {
            finding(Some(true), "Starting", "The ensemble is formed; its servers start.".to_owned())
        }
        Phase::Complete => {
            finding(Some(false), "Complete", "All servers run what the spec asks for.".to_owned())
        }
    }
}

fn degraded(found: &Report, outcome: &Outcome) -> Finding {
    let finding = |status, reason, sentence| Finding::new("Degraded", status, reason, sentence);
    if let Phase::Halted(halt) = &found.rolling.phase {
        return finding(Some(true), halt.reason(), halt.sentence());
    }
    // Volumes that cannot grow have a condition of their own: the servers are none the worse.
    let failed = outcome.failed.as_ref().filter(|failure| {
        failure.kind.is_error() && !matches!(failure.step, Step::PatchVolume { .. })
    });
    if let Some(failure) = failed {
        return finding(
            Some(true),
            "StepFailed",
            format!("Could not {}: {}", failure.step, failure.message),
        );
    }
    let Some(ensemble) = &found.ensemble else {
        let wait = found.waits.first();
        return finding(
            Some(true),
            wait.map_or("NotFounded", |wait| wait.reason),
            wait.map_or_else(String::new, |wait| wait.sentence.clone()),
        );
    };
    if let Some(not_known) = not_known("Degraded", found) {
        return not_known;
    }
    let down: Vec<String> = ensemble
        .members
        .iter()
        .zip(&found.members)
        .filter_map(|(member, state)| match state {
            MemberState::Up => None,
            MemberState::Missing => Some(format!("{} ({}) has no pod", member.id, member.pod)),
            MemberState::Terminating => {
                Some(format!("{} ({}) is shutting down", member.id, member.pod))
            }
            MemberState::Down(why) => Some(format!("{} ({}): {why}", member.id, member.pod)),
            MemberState::Unknown => None,
        })
        .collect();
    // Servers that start for the first time are not up yet; those that cannot start are down.
    let starting = !found.formed
        && found.members.iter().all(|state| match state {
            MemberState::Down(why) => !STUCK.iter().any(|stuck| why.contains(stuck)),
            _ => true,
        });
    if starting {
        return finding(
            Some(false),
            "Founding",
            "The servers start for the first time.".to_owned(),
        );
    }
    if !down.is_empty() {
        let sentence = format!("Servers that are not up: {}.", down.join("; "));
        return finding(Some(true), "MembersDown", sentence);
    }
    if let Some(wait) = found.waits.iter().find(|wait| wait.reason == "NameTaken") {
        return finding(Some(true), wait.reason, wait.sentence.clone());
    }
    finding(Some(false), "AllUp", format!("{} up.", all(found.members.len())))
}

/// Any one zone may go: without each, a majority of synchronized voters remains, now.
fn zone_tolerant(desired: &Desired, found: &Report) -> Finding {
    let topology = found.ensemble.as_ref().map_or(&desired.topology, |e| &e.topology);
    let voters: usize = topology.zones.iter().map(|zone| zone.voters).sum();
    zone_layout(topology, voters).unwrap_or_else(|| zone_tolerant_now(topology, voters, found))
}

/// What the layout alone rules out.
fn zone_layout(topology: &Topology, voters: usize) -> Option<Finding> {
    let finding =
        |reason, sentence| Some(Finding::new("ZoneFailureTolerant", Some(false), reason, sentence));
    if topology.zones.iter().all(|zone| zone.name.is_none()) {
        return finding(
            "NoZones",
            "spec.zones is empty: where servers run is left to the scheduler, so the loss of a \
             zone may take the majority."
                .to_owned(),
        );
    }
    let too_big = topology.zones.iter().filter(|zone| voters - zone.voters < majority(voters));
    let too_big: Vec<&str> = too_big.filter_map(|zone| zone.name.as_deref()).collect();
    if too_big.is_empty() {
        return None;
    }
    finding(
        "ZoneTooBig",
        format!(
            "The layout does not allow it: the loss of zone {} takes the majority of {voters} \
             voters.",
            too_big.join(" or ")
        ),
    )
}

/// What the servers that are synchronized now allow.
fn zone_tolerant_now(topology: &Topology, voters: usize, found: &Report) -> Finding {
    let finding =
        |status, reason, sentence| Finding::new("ZoneFailureTolerant", status, reason, sentence);
    let (Some(ensemble), Some(led)) = (&found.ensemble, found.view.led()) else {
        return finding(
            None,
            "QuorumUnknown",
            "The layout allows it, but which servers are synchronized is not known.".to_owned(),
        );
    };
    let fatal: Vec<&str> = topology
        .zones
        .iter()
        .filter_map(|zone| zone.name.as_deref())
        .filter(|zone| {
            let left = ensemble.members.iter().filter(|member| {
                led.synced.contains(&member.id) && member.zone.as_deref() != Some(zone)
            });
            left.count() < majority(voters)
        })
        .collect();
    if fatal.is_empty() {
        return finding(
            Some(true),
            "AnyZoneMayFail",
            format!("Without any one of {} zones a majority remains.", topology.zones.len()),
        );
    }
    let reason = match found.rolling.phase {
        Phase::Rolling => "RolloutInProgress",
        _ => "MembersDown",
    };
    finding(
        Some(false),
        reason,
        format!(
            "{} of {voters} voters are synchronized: the loss of zone {} would take the majority \
             now.",
            led.synced.len(),
            fatal.join(" or "),
        ),
    )
}

fn membership(found: &Report) -> Finding {
    let finding =
        |status, reason, sentence| Finding::new("MembershipInSync", status, reason, sentence);
    if let Some(not_known) =
        not_known("MembershipInSync", found).filter(|_| found.ensemble.is_none())
    {
        return not_known;
    }
    match (&found.ensemble, &found.membership) {
        (None, _) => finding(None, "NotFounded", "The ensemble has no members yet.".to_owned()),
        (Some(ensemble), Membership::InSync) => finding(
            Some(true),
            "AsSpecified",
            format!("The ensemble has {}, as in the spec.", counted(ensemble.voters(), "voter")),
        ),
        (_, Membership::Differs(sentence)) => {
            finding(Some(false), "ScalingNotSupported", sentence.clone())
        }
    }
}

fn storage(inventory: &Inventory, found: &Report, outcome: &Outcome) -> Finding {
    let finding =
        |status, reason, sentence| Finding::new("StorageResized", status, reason, sentence);
    match (&found.volumes, &inventory.volumes) {
        (Resize::Done, _) => finding(
            Some(true),
            "AsSpecified",
            "No volume is smaller than the spec asks.".to_owned(),
        ),
        (Resize::UnderWay(sentence), _) => match &outcome.failed {
            Some(failure) if matches!(failure.step, Step::PatchVolume { .. }) => {
                finding(Some(false), "ResizeRefused", format!("{sentence} {}", failure.message))
            }
            _ => finding(Some(false), "Resizing", sentence.clone()),
        },
        (Resize::Unknown, Err(why)) => {
            finding(None, "VolumesUnknown", format!("The volumes could not be listed: {why}."))
        }
        (Resize::Unknown, Ok(_)) => not_known("StorageResized", found).unwrap_or_else(|| {
            finding(None, "SizeUnknown", "The size the spec asks for is no quantity.".to_owned())
        }),
    }
}

/// Whether this operator would choose another image, which it never does by itself.
fn update_available(desired: &Desired) -> Finding {
    let finding =
        |status, reason, sentence| Finding::new("UpdateAvailable", Some(status), reason, sentence);
    match &desired.newer_image {
        Some(newer) => finding(
            true,
            "OtherDefault",
            format!(
                "The spec leaves the image open, and this operator would now choose {newer}; set \
                 spec.version or spec.image to change it."
            ),
        ),
        None => finding(
            false,
            "UpToDate",
            format!("The image is the one that was asked for: {}.", desired.revision.image),
        ),
    }
}

/// What only a person can move on.
fn stalled(found: &Report, outcome: &Outcome) -> Finding {
    let finding = |status, reason, sentence| Finding::new("Stalled", status, reason, sentence);
    if let Phase::Halted(halt) = &found.rolling.phase {
        return finding(Some(true), halt.reason(), halt.sentence());
    }
    let human = ["OtherEnsembleVolumes", "RecordLost", "NameTaken", "ScalingNotSupported"];
    if let Some(wait) = found.waits.iter().find(|wait| human.contains(&wait.reason)) {
        return finding(Some(true), wait.reason, wait.sentence.clone());
    }
    if let Some(failure) = outcome.failed.as_ref().filter(|f| f.kind == FailureKind::Refused) {
        let sentence = format!("Could not {}: {}", failure.step, failure.message);
        return finding(Some(true), "StepFailed", sentence);
    }
    finding(Some(false), "NotStalled", "Nothing needs a person.".to_owned())
}

/// The summary: a quorum serves, all servers are up, and the whole spec is carried out.
fn ready(
    found: &Report,
    quorum: &Finding,
    progressing: &Finding,
    degraded: &Finding,
    [membership, storage]: [&Finding; 2],
    status: &ZabClusterStatus,
) -> Finding {
    let finding = |status, reason, sentence| Finding::new("Ready", status, reason, sentence);
    let because = |other: &Finding| finding(Some(false), other.reason, other.sentence.clone());
    if matches!(found.rolling.phase, Phase::Halted(_)) {
        return because(degraded);
    }
    if !found.formed && degraded.status == Some(true) {
        return because(degraded);
    }
    if progressing.status == Some(true) && (quorum.status == Some(true) || !found.formed) {
        return because(progressing);
    }
    if quorum.status != Some(true) && found.formed && found.ensemble.is_some() {
        return because(quorum);
    }
    if degraded.status != Some(false) {
        return because(degraded);
    }
    if progressing.status != Some(false) || found.rolling.phase == Phase::Paused {
        return because(progressing);
    }
    if let Some(not_yet) = [membership, storage].into_iter().find(|f| f.status == Some(false)) {
        return because(not_yet);
    }
    let leader = status.membership.as_ref().map_or("", |membership| membership.leader.as_str());
    finding(Some(true), "Ready", format!("{} up; {leader} leads.", all(found.members.len())))
}
