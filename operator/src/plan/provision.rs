//! The objects of an ensemble: make those that are missing, correct those that differ.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::rolling::Rolling;
use super::step::{Draft, Step};
use crate::build::{self, config_map, disruption_budget, service, stateful_set};
use crate::desired::{Desired, Ensemble, Revision, ZoneVoters};
use crate::inventory::{Inventory, Kind, ObjectKey};
use crate::names;

/// Whether all objects are as they should be, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provisioned {
    /// They are.
    Yes,
    /// They are not, yet.
    No,
}

/// The names of the objects an ensemble may have, apart from its revisions.
pub fn keys(desired: &Desired, ensemble: Option<&Ensemble>) -> Vec<ObjectKey> {
    let topology = ensemble.map_or(&desired.topology, |ensemble| &ensemble.topology);
    let name = desired.name.as_str();
    let mut keys = vec![
        ObjectKey { kind: Kind::Service, name: names::peers_service(name) },
        ObjectKey { kind: Kind::Service, name: names::client_service(name) },
        ObjectKey { kind: Kind::PodDisruptionBudget, name: name.to_owned() },
    ];
    keys.extend(topology.zones.iter().map(|zone| ObjectKey {
        kind: Kind::StatefulSet,
        name: names::stateful_set(name, zone.name.as_deref()),
    }));
    keys
}

/// Plans the objects.
pub fn plan(
    desired: &Desired,
    ensemble: &Ensemble,
    rolling: &Rolling,
    inventory: &Inventory,
    draft: &mut Draft,
) -> Provisioned {
    let (objects, revisions) = match (&inventory.objects, &inventory.revisions) {
        (Ok(objects), Ok(revisions)) => (objects, revisions),
        (Err(why), _) | (_, Err(why)) => {
            draft.wait("ObjectsUnknown", format!("The objects could not be read: {why}."));
            return Provisioned::No;
        }
    };
    let foreign: Vec<String> = objects
        .iter()
        .filter(|(_, live)| build::controller_uid(live) != Some(desired.uid.as_str()))
        .map(|(key, _)| key.to_string())
        .collect();
    if !foreign.is_empty() {
        draft.wait(
            "NameTaken",
            format!(
                "Objects of this name exist that belong to somebody else: {}. Delete them, or \
                 give the ZabCluster another name.",
                foreign.join(", ")
            ),
        );
        return Provisioned::No;
    }
    let before = draft.steps.len();
    let named: BTreeMap<String, &Revision> =
        rolling.templates.values().map(|revision| (revision.hash(), revision)).collect();
    for (_, revision) in named.iter().filter(|(hash, _)| !revisions.contains_key(*hash)) {
        draft.step(Step::Create(config_map::revision(desired, ensemble, revision)));
    }
    let mut wanted = vec![service::peers(desired), service::client(desired)];
    let budget = disruption_budget::budget(desired, ensemble);
    if budget.is_none() {
        let key = ObjectKey { kind: Kind::PodDisruptionBudget, name: desired.name.clone() };
        if let Some(live) = objects.get(&key) {
            draft.step(delete(key, live));
        }
    }
    wanted.extend(budget);
    wanted.extend(ensemble.topology.zones.iter().filter_map(|zone| {
        let size = volume_size(desired, zone, inventory);
        let revision = rolling.templates.get(&zone.name)?;
        Some(stateful_set::stateful_set(desired, ensemble, zone, revision, &size))
    }));
    for object in wanted {
        match objects.get(&object.key) {
            Some(live) if object.is_covered_by(live) => {}
            Some(live) => draft.step(Step::Apply(object.onto(live))),
            None => draft.step(Step::Apply(object)),
        }
    }
    if draft.steps.len() > before { Provisioned::No } else { Provisioned::Yes }
}

/// The size that the claims of a zone's StatefulSet were created with, which cannot be changed.
fn volume_size(desired: &Desired, zone: &ZoneVoters, inventory: &Inventory) -> String {
    let name = names::stateful_set(&desired.name, zone.name.as_deref());
    let live = inventory.objects.as_ref().ok().and_then(|objects| {
        objects.get(&ObjectKey { kind: Kind::StatefulSet, name })?["spec"]["volumeClaimTemplates"]
            [0]["spec"]["resources"]["requests"]["storage"]
            .as_str()
    });
    live.unwrap_or(&desired.storage.size).to_owned()
}

fn delete(key: ObjectKey, live: &Value) -> Step {
    let text = |field: &str| live["metadata"][field].as_str().unwrap_or_default().to_owned();
    Step::Delete { key, uid: text("uid"), resource_version: text("resourceVersion") }
}

/// Deletes the maps of revisions that no pod runs, nor will run.
pub fn remove_old_revisions(rolling: &Rolling, inventory: &Inventory, draft: &mut Draft) {
    let (Ok(revisions), Ok(pods), Ok(objects)) =
        (&inventory.revisions, &inventory.pods, &inventory.objects)
    else {
        return;
    };
    if !draft.steps.is_empty() {
        return;
    }
    let mut used: BTreeSet<String> = pods.values().filter_map(|pod| pod.revision.clone()).collect();
    used.extend(objects.values().filter_map(|live| template_revision(live).map(str::to_owned)));
    used.insert(rolling.target.clone());
    used.extend(rolling.templates.values().map(Revision::hash));
    used.extend(rolling.last_good.clone());
    for (_, stored) in revisions.iter().filter(|(hash, _)| !used.contains(*hash)) {
        draft.step(Step::Delete {
            key: ObjectKey { kind: Kind::ConfigMap, name: stored.name.clone() },
            uid: stored.uid.clone(),
            resource_version: stored.resource_version.clone(),
        });
    }
}

/// The revision that the template of a StatefulSet makes pods of.
pub fn template_revision(live: &Value) -> Option<&str> {
    live["spec"]["template"]["metadata"]["annotations"][names::REVISION_ANNOTATION].as_str()
}
