//! Which revision each StatefulSet makes pods of.
//!
//! A revision is unproven until all servers have run it in good health. A pod may be lost at any
//! time, and comes back on whatever its StatefulSet says then: if all of them named an unproven
//! revision, the loss of a second node would make a second server of it, and a bad one could take
//! the majority. So a StatefulSet names it only for the moment of a restart that is planned, and
//! when all servers it has run it already; at all other times it names the last good one.

use std::collections::{BTreeMap, BTreeSet};

use super::MemberState;
use super::provision::template_revision;
use super::scene::{Scene, Server};
use crate::desired::{Revision, ZoneVoters};
use crate::inventory::{Kind, ObjectKey};
use crate::names;
use crate::quorum::ServerId;
use crate::view::QuorumView;

/// The revision of each StatefulSet's template, by the name of the zone.
pub type Templates = BTreeMap<Option<String>, Revision>;

/// Works them out, for a rollout that is not halted. `good` is the last good revision, if it is
/// known and not the target; `next` are the servers whose turn it is.
pub fn templates(
    scene: &Scene<'_>,
    good: Option<&Revision>,
    next: &BTreeSet<ServerId>,
) -> Templates {
    let target = &scene.desired.revision;
    each(scene, |zone| match good {
        Some(good) if !makes_target(scene, zone, next) => good.clone(),
        _ => target.clone(),
    })
}

/// All templates make pods of `revision`.
pub fn all(scene: &Scene<'_>, revision: &Revision) -> Templates {
    each(scene, |_| revision.clone())
}

fn each(scene: &Scene<'_>, revision: impl Fn(&ZoneVoters) -> Revision) -> Templates {
    let zones = scene.ensemble.topology.zones.iter();
    zones.map(|zone| (zone.name.clone(), revision(zone))).collect()
}

fn makes_target(scene: &Scene<'_>, zone: &ZoneVoters, next: &BTreeSet<ServerId>) -> bool {
    let target = scene.desired.revision.hash();
    // A pod that was taken away is still to be made from the template it was taken away for. And
    // without a leader it is not known who is next.
    let wait = next.is_empty() && scene.view.led().is_none();
    if wait || scene.servers().any(|server| server.is_between_pods()) {
        return live_template(scene, zone).is_some_and(|live| live == target);
    }
    let here: Vec<Server<'_>> =
        scene.servers().filter(|server| server.member.zone == zone.name).collect();
    if here.iter().all(|server| server.runs(&target)) {
        return true;
    }
    let no_quorum = matches!(scene.view, QuorumView::NoQuorum { .. });
    let none_away = scene
        .servers()
        .filter(|server| server.runs(&target))
        .all(|server| *server.state == MemberState::Up);
    (none_away || no_quorum) && here.iter().any(|server| next.contains(&server.member.id))
}

fn live_template<'a>(scene: &Scene<'a>, zone: &ZoneVoters) -> Option<&'a str> {
    let name = names::stateful_set(&scene.desired.name, zone.name.as_deref());
    let key = ObjectKey { kind: Kind::StatefulSet, name };
    template_revision(scene.inventory.objects.as_ref().ok()?.get(&key)?)
}
