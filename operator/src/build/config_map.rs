//! The ConfigMaps: the record of the ensemble, and one for each revision of the pods.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::ObjectMeta;

use super::Object;
use crate::desired::{Desired, Ensemble, Revision};
use crate::inventory::{Kind, Permission};
use crate::names::{self, ENSEMBLE_KEY, INITIALIZE_KEY, REVISION_KEY, ZOO_CFG_KEY, ports};

/// The record of the ensemble. While permission is open it can be closed once; a closed one is
/// immutable, so no operator, however stale its knowledge, can open it again.
pub fn record(desired: &Desired, ensemble: &Ensemble, permission: Permission) -> Object {
    let json = serde_json::to_string_pretty(ensemble).expect("an ensemble is plain data");
    let mut data = BTreeMap::from([(ENSEMBLE_KEY.to_owned(), json)]);
    if permission == Permission::Open {
        data.insert(INITIALIZE_KEY.to_owned(), "true".to_owned());
    }
    let map = ConfigMap {
        metadata: ObjectMeta {
            name: Some(names::bootstrap_config_map(&desired.name)),
            ..ObjectMeta::default()
        },
        data: Some(data),
        immutable: (permission == Permission::Closed).then_some(true),
        ..ConfigMap::default()
    };
    Object::new(desired, Kind::ConfigMap, &map)
}

/// The map of a revision: the configuration its pods run, and all else they are made from. It is
/// immutable and named by its content, so a pod keeps the configuration it was started with.
pub fn revision(desired: &Desired, ensemble: &Ensemble, revision: &Revision) -> Object {
    let json = serde_json::to_string_pretty(revision).expect("a revision is plain data");
    let map = ConfigMap {
        metadata: ObjectMeta {
            name: Some(names::revision_config_map(&desired.name, &revision.hash())),
            ..ObjectMeta::default()
        },
        data: Some(
            [
                (ZOO_CFG_KEY.to_owned(), zoo_cfg(desired, ensemble, revision)),
                (REVISION_KEY.to_owned(), json),
            ]
            .into(),
        ),
        immutable: Some(true),
        ..ConfigMap::default()
    };
    Object::new(desired, Kind::ConfigMap, &map)
}

/// The configuration of the servers: theirs in `docs/server-contract.md`, then the user's, then
/// the members.
fn zoo_cfg(desired: &Desired, ensemble: &Ensemble, revision: &Revision) -> String {
    let defaults = [("tickTime", "2000"), ("initLimit", "10"), ("syncLimit", "5")];
    let owned = [
        ("dataDir", "/data".to_owned()),
        ("clientPort", ports::CLIENT.to_string()),
        ("metricsProvider.httpPort", ports::METRICS.to_string()),
        ("db.autocreate", "false".to_owned()),
        // A pod's own name may not resolve yet when its server starts.
        ("quorumListenOnAllIPs", "true".to_owned()),
    ];
    let mut settings: BTreeMap<&str, &str> = defaults.into();
    settings.extend(revision.config.iter().map(|(key, value)| (key.as_str(), value.as_str())));
    let mut text = String::new();
    for (key, value) in owned.iter().map(|(key, value)| (*key, value.as_str())).chain(settings) {
        let _ = writeln!(text, "{key}={value}");
    }
    let peers = names::peers_service(&desired.name);
    for member in &ensemble.members {
        let _ = writeln!(
            text,
            "server.{}={}.{peers}.{}.svc:{}:{}:participant;{}",
            member.id,
            member.pod,
            desired.namespace,
            ports::QUORUM,
            ports::ELECTION,
            ports::CLIENT,
        );
    }
    text
}
