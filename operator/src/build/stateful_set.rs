//! The StatefulSet of a zone, and the pods it makes.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{
    StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec,
    StatefulSetUpdateStrategy,
};
use k8s_openapi::api::core::v1::{
    Affinity, Capabilities, ConfigMapKeySelector, ConfigMapVolumeSource, Container, ContainerPort,
    EnvVar, EnvVarSource, HTTPGetAction, KeyToPath, LocalObjectReference, NodeAffinity,
    NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, ObjectFieldSelector,
    PersistentVolumeClaim, PersistentVolumeClaimSpec, PodAffinityTerm, PodAntiAffinity,
    PodSecurityContext, PodSpec, PodTemplateSpec, Probe, ResourceRequirements, SeccompProfile,
    SecurityContext, TopologySpreadConstraint, Volume, VolumeMount, VolumeResourceRequirements,
    WeightedPodAffinityTerm,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::ObjectMeta;

use super::Object;
use crate::crd::spec::PullPolicy;
use crate::desired::{Desired, Ensemble, Revision, ZoneVoters};
use crate::inventory::Kind;
use crate::names::{self, INITIALIZE_KEY, ZOO_CFG_KEY, ports};

/// Any user but root; the image has no user database.
const USER_ID: i64 = 10_001;

/// The StatefulSet of `zone`, its pods made from `revision`. Its volumes ask for `volume_size`:
/// the size it was created with, because the API server lets nobody change that.
pub fn stateful_set(
    desired: &Desired,
    ensemble: &Ensemble,
    zone: &ZoneVoters,
    revision: &Revision,
    volume_size: &str,
) -> Object {
    let selector = names::zone_selector(&desired.name, zone.name.as_deref());
    let set = StatefulSet {
        metadata: ObjectMeta {
            name: Some(names::stateful_set(&desired.name, zone.name.as_deref())),
            ..ObjectMeta::default()
        },
        spec: Some(StatefulSetSpec {
            replicas: i32::try_from(zone.voters).ok(),
            service_name: Some(names::peers_service(&desired.name)),
            // The operator restarts pods itself, one at a time over all zones.
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("OnDelete".to_owned()),
                ..StatefulSetUpdateStrategy::default()
            }),
            // A quorum must form before any server is ready, so they cannot wait for each other.
            pod_management_policy: Some("Parallel".to_owned()),
            persistent_volume_claim_retention_policy: Some(
                StatefulSetPersistentVolumeClaimRetentionPolicy {
                    when_deleted: Some("Retain".to_owned()),
                    when_scaled: Some("Retain".to_owned()),
                },
            ),
            selector: LabelSelector {
                match_labels: Some(selector.clone()),
                ..LabelSelector::default()
            },
            template: template(desired, ensemble, zone, revision, selector.clone()),
            volume_claim_templates: Some(vec![claim(desired, selector, volume_size)]),
            ..StatefulSetSpec::default()
        }),
        status: None,
    };
    Object::new(desired, Kind::StatefulSet, &set)
}

fn claim(
    desired: &Desired,
    selector: BTreeMap<String, String>,
    size: &str,
) -> PersistentVolumeClaim {
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(names::DATA_VOLUME.to_owned()),
            labels: Some(selector),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            storage_class_name: desired.storage.storage_class_name.clone(),
            resources: Some(VolumeResourceRequirements {
                requests: Some([("storage".to_owned(), Quantity(size.to_owned()))].into()),
                ..VolumeResourceRequirements::default()
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        ..PersistentVolumeClaim::default()
    }
}

fn template(
    desired: &Desired,
    ensemble: &Ensemble,
    zone: &ZoneVoters,
    revision: &Revision,
    selector: BTreeMap<String, String>,
) -> PodTemplateSpec {
    let pods = &revision.pods;
    let mut labels = pods.labels.clone();
    labels.extend(names::labels(&desired.name));
    labels.extend(selector.clone());
    labels.insert(names::ROLE_LABEL.to_owned(), "voter".to_owned());
    let mut annotations = pods.annotations.clone();
    annotations.insert(names::REVISION_ANNOTATION.to_owned(), revision.hash());
    let pull_secrets = &revision.pull_secrets;
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(labels),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            containers: vec![container(desired, revision)],
            affinity: Some(affinity(desired, ensemble, zone)),
            topology_spread_constraints: zone
                .name
                .is_none()
                .then(|| soft_spread(&ensemble.topology.topology_key, &selector)),
            node_selector: Some(pods.node_selector.clone()),
            tolerations: Some(pods.tolerations.clone()),
            image_pull_secrets: (!pull_secrets.is_empty()).then(|| {
                pull_secrets
                    .iter()
                    .map(|name| LocalObjectReference { name: name.clone() })
                    .collect()
            }),
            termination_grace_period_seconds: Some(pods.termination_grace_period_seconds),
            automount_service_account_token: Some(false),
            // Variables of Services could be mistaken for settings of the server.
            enable_service_links: Some(false),
            security_context: Some(PodSecurityContext {
                run_as_non_root: Some(true),
                run_as_user: Some(USER_ID),
                run_as_group: Some(USER_ID),
                fs_group: Some(USER_ID),
                fs_group_change_policy: Some("OnRootMismatch".to_owned()),
                seccomp_profile: Some(SeccompProfile {
                    type_: "RuntimeDefault".to_owned(),
                    localhost_profile: None,
                }),
                ..PodSecurityContext::default()
            }),
            volumes: Some(vec![config_volume(desired, revision)]),
            ..PodSpec::default()
        }),
    }
}

fn config_volume(desired: &Desired, revision: &Revision) -> Volume {
    Volume {
        name: "config".to_owned(),
        config_map: Some(ConfigMapVolumeSource {
            name: names::revision_config_map(&desired.name, &revision.hash()),
            items: Some(vec![KeyToPath {
                key: ZOO_CFG_KEY.to_owned(),
                path: ZOO_CFG_KEY.to_owned(),
                mode: None,
            }]),
            ..ConfigMapVolumeSource::default()
        }),
        ..Volume::default()
    }
}

fn container(desired: &Desired, revision: &Revision) -> Container {
    let resources = &revision.pods.resources;
    let pull_policy = match revision.pull_policy {
        PullPolicy::IfNotPresent => "IfNotPresent",
        PullPolicy::Always => "Always",
        PullPolicy::Never => "Never",
    };
    let mount = |name: &str, path: &str, read_only: Option<bool>| VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only,
        ..VolumeMount::default()
    };
    Container {
        name: names::CONTAINER.to_owned(),
        image: Some(revision.image.clone()),
        image_pull_policy: Some(pull_policy.to_owned()),
        args: Some(vec![format!("/conf/{ZOO_CFG_KEY}")]),
        env: Some(environment(desired)),
        ports: Some(
            [
                ("client", ports::CLIENT),
                ("quorum", ports::QUORUM),
                ("election", ports::ELECTION),
                ("metrics", ports::METRICS),
            ]
            .map(|(name, number)| ContainerPort {
                name: Some(name.to_owned()),
                container_port: number,
                protocol: Some("TCP".to_owned()),
                ..ContainerPort::default()
            })
            .into(),
        ),
        resources: Some(ResourceRequirements {
            requests: Some(resources.requests.clone()),
            limits: Some(resources.limits.clone()),
            claims: None,
        }),
        volume_mounts: Some(vec![
            mount(names::DATA_VOLUME, "/data", None),
            mount("config", "/conf", Some(true)),
        ]),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            capabilities: Some(Capabilities { add: None, drop: Some(vec!["ALL".to_owned()]) }),
            read_only_root_filesystem: Some(true),
            ..SecurityContext::default()
        }),
        // Recovery of a large database may take long; while it makes progress it is alive.
        startup_probe: Some(probe("/livez", 2, 300)),
        liveness_probe: Some(probe("/livez", 10, 6)),
        readiness_probe: Some(probe("/readyz", 2, 2)),
        ..Container::default()
    }
}

/// The name under which a server finds itself in the member list, and the permission to start an
/// empty database: a variable wins over `db.autocreate=false` in the file, and is not set once the
/// record has no permission any more. It is looked up when a container starts, so pods and their
/// template are the same before and after.
fn environment(desired: &Desired) -> Vec<EnvVar> {
    vec![
        EnvVar {
            name: "ZAB_SERVER_NAME".to_owned(),
            value_from: Some(EnvVarSource {
                field_ref: Some(ObjectFieldSelector {
                    api_version: Some("v1".to_owned()),
                    field_path: "metadata.name".to_owned(),
                }),
                ..EnvVarSource::default()
            }),
            value: None,
        },
        EnvVar {
            name: "ZAB_DB_AUTOCREATE".to_owned(),
            value_from: Some(EnvVarSource {
                config_map_key_ref: Some(ConfigMapKeySelector {
                    name: names::bootstrap_config_map(&desired.name),
                    key: INITIALIZE_KEY.to_owned(),
                    optional: Some(true),
                }),
                ..EnvVarSource::default()
            }),
            value: None,
        },
    ]
}

fn probe(path: &str, period_seconds: i32, failure_threshold: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String("metrics".to_owned()),
            scheme: Some("HTTP".to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period_seconds),
        timeout_seconds: Some(2),
        failure_threshold: Some(failure_threshold),
        ..Probe::default()
    }
}

/// The zone is a must; to keep two servers off one node is a wish, for a zone may have one node.
fn affinity(desired: &Desired, ensemble: &Ensemble, zone: &ZoneVoters) -> Affinity {
    let same_ensemble = [(names::ENSEMBLE_LABEL.to_owned(), desired.name.clone())];
    Affinity {
        node_affinity: zone.topology_value.as_ref().map(|value| NodeAffinity {
            required_during_scheduling_ignored_during_execution: Some(NodeSelector {
                node_selector_terms: vec![NodeSelectorTerm {
                    match_expressions: Some(vec![NodeSelectorRequirement {
                        key: ensemble.topology.topology_key.clone(),
                        operator: "In".to_owned(),
                        values: Some(vec![value.clone()]),
                    }]),
                    match_fields: None,
                }],
            }),
            preferred_during_scheduling_ignored_during_execution: None,
        }),
        pod_anti_affinity: Some(PodAntiAffinity {
            preferred_during_scheduling_ignored_during_execution: Some(vec![
                WeightedPodAffinityTerm {
                    weight: 100,
                    pod_affinity_term: PodAffinityTerm {
                        label_selector: Some(LabelSelector {
                            match_labels: Some(same_ensemble.into()),
                            ..LabelSelector::default()
                        }),
                        topology_key: "kubernetes.io/hostname".to_owned(),
                        ..PodAffinityTerm::default()
                    },
                },
            ]),
            required_during_scheduling_ignored_during_execution: None,
        }),
        pod_affinity: None,
    }
}

fn soft_spread(
    topology_key: &str,
    selector: &BTreeMap<String, String>,
) -> Vec<TopologySpreadConstraint> {
    [topology_key, "kubernetes.io/hostname"]
        .map(|key| TopologySpreadConstraint {
            max_skew: 1,
            topology_key: key.to_owned(),
            when_unsatisfiable: "ScheduleAnyway".to_owned(),
            label_selector: Some(LabelSelector {
                match_labels: Some(selector.clone()),
                ..LabelSelector::default()
            }),
            ..TopologySpreadConstraint::default()
        })
        .into()
}
