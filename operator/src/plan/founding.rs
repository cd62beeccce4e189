//! Founding an ensemble, exactly once.
//!
//! The facts and the order in which they are written:
//!
//! 1. The *record*, ConfigMap `<name>-bootstrap`, is created (never applied) with the member table
//!    and the key `initialize`. Creation succeeds once; a second attempt, even by an operator with
//!    stale knowledge, is refused by the API server. Pods take `ZAB_DB_AUTOCREATE` from that key
//!    when their container starts, so the record exists before any StatefulSet does.
//! 2. When a leader with a majority of synchronized voters is seen, the volumes are marked with
//!    the identity of the ensemble and of their server.
//! 3. The record is replaced, if it is still the version that was read, by one without
//!    `initialize`, which is immutable. From then on no server can start an empty database with a
//!    vote. `status.bootstrapped` repeats this.
//!
//! A crash between any two of these leaves a state from which the next pass goes on: before 1
//! nothing exists; between 1 and 3 the servers may form the ensemble at any time, and 2 and 3 are
//! repeated until done. A record that is deleted by hand is made again: closed, if the status or a
//! marked volume says that the ensemble was formed; so it is also when a resource is created anew
//! over the volumes of an earlier one.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::step::{Draft, Step};
use crate::build::config_map;
use crate::crd::ZabClusterStatus;
use crate::desired::{Desired, Ensemble, Member};
use crate::inventory::{Inventory, Permission, Volume};
use crate::names;
use crate::quorum::{ServerId, majority};
use crate::view;

/// The ensemble, as recorded or about to be.
#[derive(Clone, Debug, PartialEq)]
pub struct Founded {
    /// The ensemble.
    pub ensemble: Ensemble,
    /// Whether it has been formed: no server may start an empty database with a vote.
    pub formed: bool,
}

/// Finds the record of the ensemble, or plans it. Without it nothing else can be planned.
pub fn plan(desired: &Desired, inventory: &Inventory, draft: &mut Draft) -> Option<Founded> {
    match &inventory.record {
        Err(why) => {
            draft.wait(
                "RecordUnknown",
                format!("The record of the ensemble could not be read, so nothing is done: {why}."),
            );
            None
        }
        Ok(Some(record)) => Some(Founded {
            ensemble: record.ensemble.clone(),
            formed: record.permission == Permission::Closed,
        }),
        Ok(None) => found(desired, inventory, draft),
    }
}

fn found(desired: &Desired, inventory: &Inventory, draft: &mut Draft) -> Option<Founded> {
    let volumes = match &inventory.volumes {
        Ok(volumes) => volumes,
        Err(why) => {
            draft.wait(
                "VolumesUnknown",
                format!(
                    "The volumes could not be listed, so it is not known whether they hold data \
                     of an earlier ensemble: {why}."
                ),
            );
            return None;
        }
    };
    let recorded = &inventory.recorded;
    let marked: BTreeMap<&String, &Volume> =
        volumes.iter().filter(|(_, volume)| volume.ensemble_id.is_some()).collect();
    let formed = recorded.bootstrapped || !marked.is_empty();
    let id = recorded
        .ensemble_id
        .clone()
        .or_else(|| marked.values().find_map(|volume| volume.ensemble_id.clone()))
        .unwrap_or_else(|| desired.uid.clone());
    let ensemble = Ensemble::found(&id, &desired.name, &desired.topology, &taken(inventory));
    let expected: BTreeSet<String> =
        ensemble.members.iter().map(|member| names::volume_claim(&member.pod)).collect();
    let strange: Vec<&str> = marked
        .iter()
        .filter(|(name, volume)| {
            !expected.contains(**name) || volume.ensemble_id.as_ref() != Some(&id)
        })
        .map(|(name, _)| name.as_str())
        .collect();
    // Without a status the marks alone say which members there were, so a majority of them must.
    let few = !marked.is_empty() && marked.len() < majority(ensemble.voters());
    if !strange.is_empty() || (few && !recorded.bootstrapped) {
        let which: Vec<&str> = if strange.is_empty() {
            marked.keys().map(|name| name.as_str()).collect()
        } else {
            strange
        };
        draft.wait(
            "OtherEnsembleVolumes",
            format!(
                "Volumes exist of an earlier ensemble of this name that had other members: {}. \
                 Acknowledged writes could be lost. Restore the zones and voters it had, or \
                 delete these volume claims to give its data up.",
                which.join(", ")
            ),
        );
        return None;
    }
    if let Some(sentence) = other_members(desired, recorded, &ensemble) {
        draft.wait("RecordLost", sentence);
        return None;
    }
    let permission = if formed { Permission::Closed } else { Permission::Open };
    draft.step(Step::Create(config_map::record(desired, &ensemble, permission)));
    Some(Founded { ensemble, formed })
}

/// What to say if the ensemble that was formed had other members than the spec would give it now.
fn other_members(
    desired: &Desired,
    recorded: &ZabClusterStatus,
    ensemble: &Ensemble,
) -> Option<String> {
    let known = |pod: &str| recorded.members.iter().any(|member| member.pod == pod);
    let same = recorded.members.len() == ensemble.voters()
        && ensemble.members.iter().all(|member| known(&member.pod));
    if !recorded.bootstrapped || same {
        return None;
    }
    let members: Vec<&str> = recorded.members.iter().map(|m| m.pod.as_str()).collect();
    Some(format!(
        "ConfigMap {}, which records the ensemble, is gone, and the spec asks for other members \
         than it has ({}). Restore the ConfigMap, or the zones and voters of the spec.",
        names::bootstrap_config_map(&desired.name),
        members.join(", "),
    ))
}

/// Ids that pods have had, by status or by the mark on their volumes.
fn taken(inventory: &Inventory) -> BTreeMap<String, ServerId> {
    let recorded =
        inventory.recorded.members.iter().filter_map(|member| {
            Some((member.pod.clone(), ServerId(u8::try_from(member.id).ok()?)))
        });
    let marked = inventory.volumes.iter().flatten().filter_map(|(name, volume)| {
        let pod = name.strip_prefix(names::DATA_VOLUME)?.strip_prefix('-')?;
        Some((pod.to_owned(), ServerId(volume.member_id?)))
    });
    recorded.chain(marked).collect()
}

/// Plans what follows once the ensemble has been formed: mark its volumes, then withdraw the
/// permission. One sample is enough, for to withdraw it early is the safe side: a server that
/// starts later joins without a vote until it is synchronized.
pub fn complete(desired: &Desired, founded: &Founded, inventory: &Inventory, draft: &mut Draft) {
    let ensemble = &founded.ensemble;
    let forms = view::led(ensemble, inventory).is_some() || inventory.recorded.bootstrapped;
    if !founded.formed && !forms {
        draft.wait(
            "Founding",
            format!(
                "The ensemble is being founded: {} to start and to elect the first leader.",
                super::counted(ensemble.voters(), "server")
            ),
        );
        return;
    }
    if let Err(why) = &inventory.volumes {
        return draft.wait("VolumesUnknown", format!("The volumes could not be listed: {why}."));
    }
    for (name, volume, member) in unmarked(ensemble, inventory) {
        draft.step(Step::PatchVolume {
            name: name.clone(),
            patch: json!({ "metadata": {
                "uid": volume.uid,
                "resourceVersion": volume.resource_version,
                "annotations": {
                    names::ENSEMBLE_ID_ANNOTATION: ensemble.id,
                    names::MEMBER_ID_ANNOTATION: member.id.to_string(),
                },
            }}),
            purpose: "mark",
        });
    }
    let Ok(Some(record)) = &inventory.record else {
        return;
    };
    if record.permission == Permission::Closed {
        return;
    }
    let read = json!({ "metadata": {
        "uid": record.uid,
        "resourceVersion": record.resource_version,
    }});
    let closed = config_map::record(desired, ensemble, Permission::Closed).onto(&read);
    draft.step(Step::CloseFounding { record: closed });
}

fn unmarked<'a>(
    ensemble: &'a Ensemble,
    inventory: &'a Inventory,
) -> impl Iterator<Item = (&'a String, &'a Volume, &'a Member)> {
    inventory.volumes.iter().flatten().filter_map(|(name, volume)| {
        let member = ensemble.members.iter().find(|m| names::volume_claim(&m.pod) == *name)?;
        let marked = volume.ensemble_id.as_ref() == Some(&ensemble.id)
            && volume.member_id == Some(member.id.0);
        (!marked).then_some((name, volume, member))
    })
}
