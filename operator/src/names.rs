//! Names of objects, labels and annotations, and the hash that names revisions.

use std::collections::BTreeMap;

use serde::Serialize;
use sha1::{Digest, Sha1};

/// Field manager of everything the operator applies.
pub const FIELD_MANAGER: &str = "zab-operator";
/// Label with the name of the `ZabCluster`; in every selector, never changed.
pub const ENSEMBLE_LABEL: &str = "zab.dev/ensemble";
/// Label with the name of the zone, empty when there are none; in every selector, never changed.
pub const ZONE_LABEL: &str = "zab.dev/zone";
/// Label with the part a server has in the ensemble; selected by the disruption budget.
pub const ROLE_LABEL: &str = "zab.dev/role";
/// Annotation of a pod: the revision it was made from.
pub const REVISION_ANNOTATION: &str = "zab.dev/revision";
/// Annotation of an applied object: hash of what was applied, so that removed fields are noticed.
pub const APPLIED_ANNOTATION: &str = "zab.dev/applied";
/// Annotation of a volume claim: the ensemble whose data it holds.
pub const ENSEMBLE_ID_ANNOTATION: &str = "zab.dev/ensemble-id";
/// Annotation of a volume claim: the server whose data it holds.
pub const MEMBER_ID_ANNOTATION: &str = "zab.dev/member-id";

/// Name of the volume in pods, and of the claim template.
pub const DATA_VOLUME: &str = "data";
/// Name of the only container of a server pod.
pub const CONTAINER: &str = "server";

/// Key of the record with the ensemble as JSON.
pub const ENSEMBLE_KEY: &str = "ensemble.json";
/// Key of the record that exists while servers may start an empty database with a vote. Pods get
/// its value as `ZAB_DB_AUTOCREATE`.
pub const INITIALIZE_KEY: &str = "initialize";
/// Key of a revision's map with the configuration file.
pub const ZOO_CFG_KEY: &str = "zoo.cfg";
/// Key of a revision's map with the revision as JSON.
pub const REVISION_KEY: &str = "revision.json";

/// Ports of a server.
pub mod ports {
    /// Clients.
    pub const CLIENT: i32 = 2181;
    /// Leader to followers.
    pub const QUORUM: i32 = 2888;
    /// Election.
    pub const ELECTION: i32 = 3888;
    /// `/metrics`, `/livez`, `/readyz`.
    pub const METRICS: i32 = 7000;
}

/// Name of the headless Service through which servers find each other.
pub fn peers_service(cluster: &str) -> String {
    format!("{cluster}-peers")
}

/// Name of the Service for clients.
pub fn client_service(cluster: &str) -> String {
    format!("{cluster}-client")
}

/// Name of the ConfigMap that records the ensemble and permits its first start.
pub fn bootstrap_config_map(cluster: &str) -> String {
    format!("{cluster}-bootstrap")
}

/// Name of the immutable ConfigMap of a revision.
pub fn revision_config_map(cluster: &str, revision: &str) -> String {
    format!("{cluster}-config-{revision}")
}

/// Name of the StatefulSet of a zone, or of the only one.
pub fn stateful_set(cluster: &str, zone: Option<&str>) -> String {
    zone.map_or_else(|| cluster.to_owned(), |zone| format!("{cluster}-{zone}"))
}

/// Name of the claim that a StatefulSet makes for a pod.
pub fn volume_claim(pod: &str) -> String {
    format!("{DATA_VOLUME}-{pod}")
}

/// Labels of every object of a cluster.
pub fn labels(cluster: &str) -> BTreeMap<String, String> {
    [
        ("app.kubernetes.io/name", "zab-server"),
        ("app.kubernetes.io/instance", cluster),
        ("app.kubernetes.io/component", "server"),
        ("app.kubernetes.io/part-of", "zab"),
        ("app.kubernetes.io/managed-by", "zab-operator"),
        (ENSEMBLE_LABEL, cluster),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

/// Selector of the pods of one StatefulSet.
pub fn zone_selector(cluster: &str, zone: Option<&str>) -> BTreeMap<String, String> {
    [(ENSEMBLE_LABEL, cluster), (ZONE_LABEL, zone.unwrap_or_default())]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

/// Eight hexadecimal digits that name `value` by its content.
pub fn hash8(value: &impl Serialize) -> String {
    let bytes = serde_json::to_vec(value).expect("hashed values are plain data");
    let digest = Sha1::digest(&bytes);
    digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}
