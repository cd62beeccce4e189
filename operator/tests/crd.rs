//! The custom resource: its admission rules, evaluated as an API server does, and its files.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use kube::core::cel::Validator;
use serde_json::{Value, json};
use zab_operator::crd::spec::OWNED_CONFIG_KEYS;
use zab_operator::crd::{ZabCluster, chart_template, definition, definition_yaml};

/// The cluster with its defaults filled in, as an API server sees it before it applies the rules.
fn cluster(name: &str, spec: Value) -> Value {
    let raw = json!({
        "apiVersion": "zab.dev/v1",
        "kind": "ZabCluster",
        "metadata": { "name": name },
        "spec": spec,
    });
    let cluster: ZabCluster = serde_json::from_value(raw).unwrap();
    serde_json::to_value(cluster).unwrap()
}

fn check(new: &Value, old: Option<&Value>) -> Result<(), String> {
    let schema = definition().spec.versions[0].schema.clone().unwrap().open_api_v3_schema.unwrap();
    let schema = serde_json::to_value(schema).unwrap();
    Validator::new().validate(&schema, new, old).map_err(|errors| errors.to_string())
}

fn accepted(spec: Value) {
    check(&cluster("x", spec.clone()), None).unwrap_or_else(|error| panic!("{spec}: {error}"));
}

fn refused(spec: Value, why: &str) {
    let error = check(&cluster("x", spec.clone()), None).expect_err(&spec.to_string());
    assert!(error.contains(why), "{spec}: {error}");
}

fn zones(voters: &[Option<i32>]) -> Value {
    let zones = voters.iter().zip("abcdefghijkl".chars());
    zones
        .map(|(voters, name)| match voters {
            Some(voters) => json!({ "name": name.to_string(), "voters": voters }),
            None => json!({ "name": name.to_string() }),
        })
        .collect()
}

#[test]
fn odd_voter_counts_up_to_eleven_are_accepted_and_others_refused() {
    for voters in [1, 3, 5, 7, 9, 11] {
        accepted(json!({ "replicas": voters }));
    }
    for voters in [-1, 0, 2, 4, 6, 8, 10, 12, 13] {
        refused(json!({ "replicas": voters }), "replicas counts voters");
    }
}

#[test]
fn required_zone_safety_is_exactly_that_the_loss_of_any_zone_leaves_a_majority() {
    for voters in [1, 3, 5, 7, 9, 11_i32] {
        for count in 1..=usize::try_from(voters).unwrap() {
            let largest = usize::try_from(voters).unwrap().div_ceil(count);
            let left = usize::try_from(voters).unwrap() - largest;
            let safe = left > usize::try_from(voters).unwrap() / 2;
            let spec = json!({ "replicas": voters, "zones": zones(&vec![None; count]) });
            let result = check(&cluster("x", spec.clone()), None);
            assert_eq!(result.is_ok(), safe && count >= 3, "{spec}: {result:?}");
        }
    }
}

#[test]
fn given_voters_are_for_all_zones_add_up_and_leave_a_majority() {
    let with = |replicas: i32, voters: &[Option<i32>]| json!({ "replicas": replicas, "zones": zones(voters) });
    accepted(with(5, &[Some(2), Some(2), Some(1)]));
    accepted(with(7, &[Some(3), Some(3), Some(1)]));
    refused(with(5, &[Some(3), Some(1), Some(1)]), "too many voters");
    refused(with(5, &[Some(1), Some(1), Some(1)]), "add up");
    refused(with(3, &[Some(1), None, None]), "for all zones or for none");
    refused(with(3, &[None, None]), "at least 3 zones");
    refused(with(3, &[None, None, None, None]), "more zones than voters");
}

#[test]
fn best_effort_takes_what_required_refuses() {
    for zones in [zones(&[None, None]), zones(&[Some(2), Some(1)])] {
        accepted(json!({ "replicas": 3, "zones": zones, "zoneFailurePolicy": "BestEffort" }));
    }
}

#[test]
fn two_names_for_one_zone_are_refused() {
    let zones = json!([
        { "name": "a", "topologyValue": "c" }, { "name": "b" }, { "name": "c" },
    ]);
    refused(json!({ "replicas": 3, "zones": zones }), "same topologyValue");
}

#[test]
fn settings_that_the_operator_owns_are_refused_with_and_without_prefix() {
    for key in OWNED_CONFIG_KEYS {
        let key = if key.ends_with('.') { format!("{key}1") } else { key.to_owned() };
        for key in [key.clone(), format!("zookeeper.{key}")] {
            refused(json!({ "replicas": 1, "config": { key: "x" } }), "belongs to the operator");
        }
    }
    let fine = json!({ "tickTime": "1000", "4lw.commands.whitelist": "*", "snapCount": "1" });
    accepted(json!({ "replicas": 1, "config": fine }));
    let smuggled = json!({ "tickTime": "1000\nserver.9=evil:2888:3888" });
    refused(json!({ "replicas": 1, "config": smuggled }), "one line");
    refused(json!({ "replicas": 1, "config": { "a b": "1" } }), "keys of config");
}

#[test]
fn volumes_grow_and_never_shrink_nor_change_class() {
    let data = |size: &str, class: Option<&str>| {
        let mut data = json!({ "size": size });
        if let Some(class) = class {
            data["storageClassName"] = json!(class);
        }
        cluster("x", json!({ "replicas": 1, "storage": { "data": data } }))
    };
    let old = data("1Gi", Some("fast"));
    for same_or_more in ["1Gi", "1024Mi", "2Gi", "1T"] {
        check(&data(same_or_more, Some("fast")), Some(&old)).unwrap();
    }
    let shrunk = check(&data("1023Mi", Some("fast")), Some(&old)).unwrap_err();
    assert!(shrunk.contains("grow but not shrink"), "{shrunk}");
    for class in [None, Some("slow")] {
        let changed = check(&data("1Gi", class), Some(&old)).unwrap_err();
        assert!(changed.contains("storageClassName cannot be changed"), "{changed}");
    }
    for size in ["x", "0", "-1Gi"] {
        let wrong = check(&data(size, None), None).unwrap_err();
        assert!(wrong.contains("quantity above 0"), "{wrong}");
    }
}

#[test]
fn names_are_such_that_names_of_pods_and_services_can_be_made_from_them() {
    let spec = || json!({ "replicas": 1 });
    for name in ["x", "three-zones", &"x".repeat(40)] {
        check(&cluster(name, spec()), None).unwrap();
    }
    for name in ["1x", "a.b", "x-", &"x".repeat(41)] {
        check(&cluster(name, spec()), None).unwrap_err();
    }
}

#[test]
fn the_longest_names_still_fit_the_labels_made_from_them() {
    // A StatefulSet's name, a dash and ten characters are the value of a label.
    let set = zab_operator::names::stateful_set(&"x".repeat(40), Some(&"z".repeat(11)));
    assert!(set.len() + 1 + 10 <= 63);
}

#[test]
fn the_definition_is_small_enough_for_a_plain_kubectl_apply() {
    let json = serde_json::to_string(&definition()).unwrap();
    assert!(json.len() < 100_000, "{} bytes", json.len());
}

/// After a change of the types, both files are written anew:
///
/// ```sh
/// cargo run -p zab-operator -- crd > crds/zabclusters.zab.dev.yaml
/// cargo run -p zab-operator -- crd --chart > charts/zab-operator/templates/crd.yaml
/// ```
#[test]
fn the_committed_definitions_are_those_of_the_types() {
    let crd = read("crds/zabclusters.zab.dev.yaml") == definition_yaml().unwrap();
    assert!(crd, "crds/zabclusters.zab.dev.yaml is out of date");
    let chart = read("charts/zab-operator/templates/crd.yaml") == chart_template().unwrap();
    assert!(chart, "the chart's crd.yaml is out of date");
}

#[test]
fn the_definition_has_nothing_that_the_template_language_would_take_for_its_own() {
    let yaml = definition_yaml().unwrap();
    assert!(!yaml.contains("{{") && !yaml.contains("}}"));
}

#[test]
fn the_examples_are_accepted() {
    let example: ZabCluster =
        serde_saphyr::from_str(&read("e2e/examples/three-zones.yaml")).unwrap();
    let value = serde_json::to_value(&example).unwrap();
    check(&value, None).unwrap();
}

fn read(path: &str) -> String {
    let path = format!("{}/../{path}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}
