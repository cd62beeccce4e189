//! The objects that are built: what holds for each, whatever the spec.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::collections::BTreeMap;

use serde_json::{Value, json};
use zab_operator::build::{config_map, disruption_budget, service, stateful_set};
use zab_operator::crd::ZabCluster;
use zab_operator::desired::{Desired, Ensemble, Settings};
use zab_operator::inventory::Permission;

fn desired(spec: Value) -> Desired {
    let cluster: ZabCluster = serde_json::from_value(json!({
        "apiVersion": "zab.dev/v1",
        "kind": "ZabCluster",
        "metadata": { "name": "x", "namespace": "ns", "uid": "u", "generation": 1 },
        "spec": spec,
    }))
    .unwrap();
    let settings = Settings {
        server_image_repository: "example.org/zab-server".to_owned(),
        server_version: "1.0".to_owned(),
    };
    Desired::parse(&cluster, &settings).unwrap()
}

fn three_zones() -> Value {
    json!({ "replicas": 5, "zones": [{ "name": "a" }, { "name": "b" }, { "name": "c" }] })
}

fn ensemble(desired: &Desired) -> Ensemble {
    Ensemble::found("id", &desired.name, &desired.topology, &BTreeMap::new())
}

fn sets(desired: &Desired) -> Vec<Value> {
    let ensemble = ensemble(desired);
    let zones = &desired.topology.zones;
    let set =
        |zone| stateful_set::stateful_set(desired, &ensemble, zone, &desired.revision, "1Gi").value;
    zones.iter().map(set).collect()
}

#[test]
fn pods_meet_the_restricted_security_standard_and_hold_no_credentials() {
    for set in sets(&desired(three_zones())) {
        let pod = &set["spec"]["template"]["spec"];
        assert_eq!(pod["automountServiceAccountToken"], false);
        assert_eq!(pod["enableServiceLinks"], false);
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        let container = &pod["containers"][0]["securityContext"];
        assert_eq!(container["allowPrivilegeEscalation"], false);
        assert_eq!(container["capabilities"]["drop"], json!(["ALL"]));
        assert_eq!(container["readOnlyRootFilesystem"], true);
    }
}

#[test]
fn each_zone_has_a_set_bound_to_it_that_the_operator_restarts() {
    let sets = sets(&desired(three_zones()));
    let names: Vec<_> = sets.iter().map(|set| &set["metadata"]["name"]).collect();
    assert_eq!(names, ["x-a", "x-b", "x-c"]);
    let replicas: Vec<_> = sets.iter().map(|set| &set["spec"]["replicas"]).collect();
    assert_eq!(replicas, [&json!(2), &json!(2), &json!(1)]);
    let required = "/spec/template/spec/affinity/nodeAffinity\
        /requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms/0/matchExpressions/0";
    for (set, zone) in sets.iter().zip(["a", "b", "c"]) {
        assert_eq!(set["spec"]["updateStrategy"]["type"], "OnDelete");
        assert_eq!(set["spec"]["podManagementPolicy"], "Parallel");
        let expression = set.pointer(required).unwrap();
        assert_eq!(
            *expression,
            json!({ "key": "topology.kubernetes.io/zone", "operator": "In", "values": [zone] })
        );
        let selector = json!({ "zab.dev/ensemble": "x", "zab.dev/zone": zone });
        assert_eq!(set["spec"]["selector"]["matchLabels"], selector);
        let retention = &set["spec"]["persistentVolumeClaimRetentionPolicy"];
        assert_eq!(*retention, json!({ "whenDeleted": "Retain", "whenScaled": "Retain" }));
    }
}

#[test]
fn without_zones_there_is_one_set_that_is_spread_as_a_wish() {
    let sets = sets(&desired(json!({ "replicas": 3 })));
    let [set] = sets.as_slice() else { panic!("{sets:?}") };
    assert_eq!(set["metadata"]["name"], "x");
    let spread = &set["spec"]["template"]["spec"]["topologySpreadConstraints"];
    for constraint in spread.as_array().unwrap() {
        assert_eq!(constraint["whenUnsatisfiable"], "ScheduleAnyway");
    }
    assert!(set["spec"]["template"]["spec"]["affinity"]["nodeAffinity"].is_null());
}

#[test]
fn the_permission_to_start_empty_comes_from_the_record_and_not_from_the_template() {
    let desired = desired(three_zones());
    let ensemble = ensemble(&desired);
    let open = config_map::record(&desired, &ensemble, Permission::Open).value;
    let closed = config_map::record(&desired, &ensemble, Permission::Closed).value;
    assert_eq!(open["data"]["initialize"], "true");
    assert!(open["immutable"].is_null());
    assert!(closed["data"]["initialize"].is_null());
    assert_eq!(closed["immutable"], true);
    let env = &sets(&desired)[0]["spec"]["template"]["spec"]["containers"][0]["env"];
    assert_eq!(
        env[1],
        json!({ "name": "ZAB_DB_AUTOCREATE", "valueFrom": { "configMapKeyRef": {
            "name": "x-bootstrap", "key": "initialize", "optional": true,
        }}})
    );
}

#[test]
fn servers_find_each_other_by_the_names_of_their_pods() {
    let desired = desired(json!({
        "replicas": 3,
        "zones": [{ "name": "a" }, { "name": "b" }, { "name": "c" }],
        "config": { "tickTime": "1000" },
    }));
    let map = config_map::revision(&desired, &ensemble(&desired), &desired.revision).value;
    let expected = "dataDir=/data\nclientPort=2181\nmetricsProvider.httpPort=7000\n\
        db.autocreate=false\nquorumListenOnAllIPs=true\ninitLimit=10\nsyncLimit=5\ntickTime=1000\n\
        server.1=x-a-0.x-peers.ns.svc:2888:3888:participant;2181\n\
        server.2=x-b-0.x-peers.ns.svc:2888:3888:participant;2181\n\
        server.3=x-c-0.x-peers.ns.svc:2888:3888:participant;2181\n";
    assert_eq!(map["data"]["zoo.cfg"], expected);
    assert_eq!(map["immutable"], true);
    let peers = service::peers(&desired).value;
    assert_eq!(peers["spec"]["publishNotReadyAddresses"], true);
    assert_eq!(peers["spec"]["clusterIP"], "None");
}

#[test]
fn the_budget_lets_one_voter_go_and_there_is_none_for_a_single_voter() {
    let five = desired(three_zones());
    let budget = disruption_budget::budget(&five, &ensemble(&five)).unwrap().value;
    assert_eq!(budget["spec"]["minAvailable"], 4);
    assert_eq!(budget["spec"]["unhealthyPodEvictionPolicy"], "IfHealthyBudget");
    let one = desired(json!({ "replicas": 1 }));
    assert_eq!(disruption_budget::budget(&one, &ensemble(&one)), None);
    let none = desired(json!({ "replicas": 3, "disruption": { "budget": "None" } }));
    assert_eq!(disruption_budget::budget(&none, &ensemble(&none)), None);
}

#[test]
fn only_what_a_pod_is_made_from_changes_its_revision() {
    let base = desired(json!({ "replicas": 3 })).revision.hash();
    let same = [
        json!({ "replicas": 5 }),
        json!({ "replicas": 3, "rollout": { "minReadySeconds": 99, "paused": true } }),
        json!({ "replicas": 3, "services": { "client": { "type": "NodePort" } } }),
        json!({ "replicas": 3, "disruption": { "budget": "None" } }),
        json!({ "replicas": 3, "storage": { "data": { "size": "99Gi" } } }),
    ];
    for spec in same {
        assert_eq!(desired(spec.clone()).revision.hash(), base, "{spec}");
    }
    let other = [
        json!({ "replicas": 3, "version": "2.0" }),
        json!({ "replicas": 3, "image": { "pullPolicy": "Always" } }),
        json!({ "replicas": 3, "config": { "tickTime": "1000" } }),
        json!({ "replicas": 3, "pods": { "labels": { "a": "b" } } }),
        json!({ "replicas": 3, "rollout": { "restartNonce": "1" } }),
    ];
    for spec in other {
        assert_ne!(desired(spec.clone()).revision.hash(), base, "{spec}");
    }
}

/// A new operator must not restart every server it finds: these inputs always have this name.
#[test]
fn the_name_of_a_revision_is_the_same_for_ever() {
    assert_eq!(desired(json!({ "replicas": 3 })).revision.hash(), "439d0ce3");
}

#[test]
fn images_are_named_by_digest_or_tag_or_version() {
    let image = |spec: Value| desired(spec).revision.image;
    assert_eq!(image(json!({})), "example.org/zab-server:1.0");
    assert_eq!(image(json!({ "version": "2.0" })), "example.org/zab-server:2.0");
    assert_eq!(
        image(json!({ "version": "2.0", "image": { "repository": "r", "tag": "t" } })),
        "r:t"
    );
    let digest = format!("sha256:{}", "0".repeat(64));
    assert_eq!(
        image(json!({ "image": { "repository": "r", "tag": "t", "digest": digest } })),
        format!("r@{digest}")
    );
}
