//! Pure: what is wanted and what is known → the next safe steps, and the reasons for waiting.
//!
//! Each pass plans only what is safe now, never a whole migration: after every step the world is
//! looked at again. An empty plan short of the goal always carries a reason.

pub mod founding;
pub mod halting;
pub mod provision;
pub mod rolling;
pub mod scene;
pub mod step;
pub mod templates;
pub mod volumes;

use std::time::Duration;

use jiff::Timestamp;

use crate::desired::{Desired, Ensemble, Topology};
use crate::inventory::{Inventory, Process, Ready};
use crate::view::{QuorumView, pod, report};
use rolling::Rolling;
use scene::Scene;
use step::{Draft, Step, Wait};

/// How often to look while something is under way or wrong.
const LOOK_SOON: Duration = Duration::from_secs(5);
/// However soon something is due, the API server is not asked more often than this.
const LOOK_AGAIN_MIN: Duration = Duration::from_millis(200);
/// How often to look at an ensemble that is well.
const LOOK_LATER: Duration = Duration::from_secs(30);

/// Kubelets can be wordy; the reason is at the beginning.
const DETAIL_CHARS_MAX: usize = 160;

/// What to do now, what it is about, and when to look again.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The next steps, in order; the first that fails ends the pass.
    pub steps: Vec<Step>,
    /// What was found and why more is not done.
    pub report: Report,
    /// When to look again, should nothing happen before.
    pub wake: Duration,
}

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The ensemble, once it is or is about to be founded.
    pub ensemble: Option<Ensemble>,
    /// Whether it has been formed.
    pub formed: bool,
    /// What is known of its quorum.
    pub view: QuorumView,
    /// Where its rollout stands.
    pub rolling: Rolling,
    /// Each member's condition, in the order of ids.
    pub members: Vec<MemberState>,
    /// Whether the spec asks for other members than it has.
    pub membership: Membership,
    /// Whether all volumes have the size the spec asks for.
    pub volumes: volumes::Resize,
    /// Why nothing more is done.
    pub waits: Vec<Wait>,
}

/// Whether the members are those the spec asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Membership {
    /// They are.
    InSync,
    /// They are not, and this operator does not change members; the sentence says what differs.
    Differs(String),
}

/// The condition of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberState {
    /// It serves, in step with the leader.
    Up,
    /// It has no pod.
    Missing,
    /// Its pod is being deleted.
    Terminating,
    /// Its pod does not serve, for this reason.
    Down(String),
    /// The pods could not be listed.
    Unknown,
}

/// A number of things, in words.
pub fn counted(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Decides.
pub fn plan(desired: &Desired, inventory: &Inventory, now: Timestamp) -> Plan {
    let mut draft = Draft::default();
    let founded = founding::plan(desired, inventory, &mut draft);
    let Some(founded) = founded else {
        return Plan {
            steps: draft.steps,
            report: Report {
                ensemble: None,
                formed: inventory.recorded.bootstrapped,
                view: QuorumView::Unknown { seen: 0 },
                rolling: Rolling::unknown(desired),
                members: Vec::new(),
                membership: Membership::InSync,
                volumes: volumes::Resize::Unknown,
                waits: draft.waits,
            },
            wake: LOOK_SOON,
        };
    };
    let ensemble = &founded.ensemble;
    let view = QuorumView::new(desired, ensemble, inventory);
    let members = member_states(ensemble, &view, inventory);
    let membership = compare(desired, ensemble);
    if let Membership::Differs(sentence) = &membership {
        draft.wait("ScalingNotSupported", sentence.clone());
    }

    founding::complete(desired, &founded, inventory, &mut draft);
    let scene = Scene { desired, ensemble, inventory, members: &members, view: &view, now };
    let rolling = rolling::assess(&scene);
    let provisioned = provision::plan(desired, ensemble, &rolling, inventory, &mut draft);
    if provisioned == provision::Provisioned::Yes {
        rolling::plan(&scene, &rolling, &mut draft);
    }
    provision::remove_old_revisions(&rolling, inventory, &mut draft);
    let volumes = volumes::plan(desired, ensemble, inventory, &mut draft);

    let well = draft.waits.is_empty()
        && draft.steps.is_empty()
        && matches!(view, QuorumView::Healthy(_))
        && members.iter().all(|state| *state == MemberState::Up);
    Plan {
        steps: draft.steps,
        report: Report {
            formed: founded.formed,
            ensemble: Some(founded.ensemble),
            view,
            rolling,
            members,
            membership,
            volumes,
            waits: draft.waits,
        },
        wake: match draft.wake {
            _ if well => LOOK_LATER,
            Some(due) => due.clamp(LOOK_AGAIN_MIN, LOOK_SOON),
            None => LOOK_SOON,
        },
    }
}

fn member_states(
    ensemble: &Ensemble,
    view: &QuorumView,
    inventory: &Inventory,
) -> Vec<MemberState> {
    ensemble
        .members
        .iter()
        .map(|member| {
            if inventory.pods.is_err() {
                return MemberState::Unknown;
            }
            let Some(pod) = pod(member, inventory) else {
                return MemberState::Missing;
            };
            if pod.terminating {
                return MemberState::Terminating;
            }
            if let Process::Stopped { reason, message } = &pod.process {
                let message: String = message.trim().chars().take(DETAIL_CHARS_MAX).collect();
                let message = message.trim_end_matches('.');
                let colon = if message.is_empty() { "" } else { ": " };
                return MemberState::Down(format!(
                    "its container is not running: {reason}{colon}{message}"
                ));
            }
            let Some(said) = report(member, inventory) else {
                let why = inventory.reports.get(&member.pod).and_then(|r| r.as_ref().err());
                return MemberState::Down(why.map_or_else(
                    || "it does not answer".to_owned(),
                    |why| format!("it does not answer: {why}"),
                ));
            };
            match view.led() {
                Some(led) if !led.synced.contains(&member.id) => MemberState::Down(
                    said.recovery()
                        .unwrap_or_else(|| "it is not in step with the leader".to_owned()),
                ),
                _ if !said.serving => MemberState::Down(
                    said.recovery().unwrap_or_else(|| "it does not serve clients yet".to_owned()),
                ),
                _ if matches!(pod.ready, Ready::NotSince(_)) => {
                    MemberState::Down("its pod is not ready".to_owned())
                }
                _ => MemberState::Up,
            }
        })
        .collect()
}

fn compare(desired: &Desired, ensemble: &Ensemble) -> Membership {
    let (wanted, has) = (&desired.topology, &ensemble.topology);
    if wanted == has {
        return Membership::InSync;
    }
    let voters = |topology: &Topology| -> String {
        let zones: Vec<String> = topology
            .zones
            .iter()
            .map(|zone| match &zone.name {
                Some(name) => format!("{name}:{}", zone.voters),
                None => "no zones".to_owned(),
            })
            .collect();
        let total: usize = topology.zones.iter().map(|zone| zone.voters).sum();
        format!("{total} voters ({})", zones.join(", "))
    };
    Membership::Differs(format!(
        "The spec asks for {} by {}, but the ensemble was founded with {} by {}. This version of \
         the operator does not change the members of an ensemble: nothing was changed, and all \
         else in the spec is carried out with the members it has.",
        voters(wanted),
        wanted.topology_key,
        voters(has),
        has.topology_key,
    ))
}
