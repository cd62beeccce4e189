//! Volumes grow when the spec says so. Nothing in this operator ever deletes one.

use serde_json::json;

use super::step::{Draft, Step};
use crate::build::quantity;
use crate::desired::{Desired, Ensemble};
use crate::inventory::{Inventory, Volume};
use crate::names;

/// How the volumes compare with the size the spec asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resize {
    /// It is not known.
    Unknown,
    /// All have it.
    Done,
    /// These do not have it yet; the sentence says why, when that is known.
    UnderWay(String),
}

/// Plans to grow the volumes that ask for less than the spec.
pub fn plan(
    desired: &Desired,
    ensemble: &Ensemble,
    inventory: &Inventory,
    draft: &mut Draft,
) -> Resize {
    let Ok(volumes) = &inventory.volumes else {
        return Resize::Unknown;
    };
    let Some(wanted) = quantity(&desired.storage.size) else {
        return Resize::Unknown;
    };
    let mut pending = Vec::new();
    for member in &ensemble.members {
        let name = names::volume_claim(&member.pod);
        let Some(volume) = volumes.get(&name) else {
            continue;
        };
        if quantity(&volume.requested).is_some_and(|requested| requested < wanted) {
            draft.step(Step::PatchVolume {
                patch: json!({
                    "metadata": {
                        "uid": volume.uid,
                        "resourceVersion": volume.resource_version,
                    },
                    "spec": { "resources": { "requests": { "storage": desired.storage.size }}},
                }),
                name: name.clone(),
                purpose: "grow",
            });
        }
        if is_smaller(volume, wanted) {
            let why = volume.resize_problem.as_ref().map(|why| format!(": {why}"));
            pending.push(format!("{name}{}", why.unwrap_or_default()));
        }
    }
    if pending.is_empty() {
        return Resize::Done;
    }
    Resize::UnderWay(format!(
        "Volumes that do not have {} yet: {}.",
        desired.storage.size,
        pending.join(", ")
    ))
}

/// Whether a bound volume has less than `wanted`. One that is not bound yet has no size.
fn is_smaller(volume: &Volume, wanted: i128) -> bool {
    volume.capacity.as_deref().and_then(quantity).is_some_and(|has| has < wanted)
}
