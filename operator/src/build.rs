//! Pure: what is desired → the objects of Kubernetes, one file per kind.

pub mod config_map;
pub mod disruption_budget;
pub mod service;
pub mod stateful_set;

use serde::Serialize;
use serde_json::{Value, json};

use crate::desired::Desired;
use crate::inventory::{Kind, ObjectKey};
use crate::names;

/// An object to be made or changed: every field the operator wants to own.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// Kind and name.
    pub key: ObjectKey,
    /// The object, with `apiVersion`, `kind` and `metadata`.
    pub value: Value,
}

impl Object {
    /// Completes `typed`, an object of ours with name and content, by namespace, owner, labels and
    /// the hash of all that.
    fn new(desired: &Desired, kind: Kind, typed: &impl Serialize) -> Self {
        let mut value = serde_json::to_value(typed).expect("an object is plain data");
        let metadata = &mut value["metadata"];
        let name = metadata["name"].as_str().expect("builders name their objects").to_owned();
        metadata["namespace"] = json!(desired.namespace);
        metadata["labels"] = json!(names::labels(&desired.name));
        metadata["ownerReferences"] = json!([{
            "apiVersion": "zab.dev/v1",
            "kind": "ZabCluster",
            "name": desired.name,
            "uid": desired.uid,
            "controller": true,
            "blockOwnerDeletion": true,
        }]);
        let hash = names::hash8(&value);
        value["metadata"]["annotations"][names::APPLIED_ANNOTATION] = json!(hash);
        Self { key: ObjectKey { kind, name }, value }
    }

    /// Restricts this object to be a change of `live`, as it was read.
    pub fn onto(mut self, live: &Value) -> Self {
        for field in ["uid", "resourceVersion"] {
            self.value["metadata"][field] = live["metadata"][field].clone();
        }
        self
    }

    /// Whether it is restricted to be a change of an object that was read.
    pub fn names_live(&self) -> bool {
        self.value["metadata"]["uid"].is_string()
    }

    /// Whether `live` has everything this object has. Fields that only the API server filled in do
    /// not matter; fields that were removed from this object show in its hash.
    pub fn is_covered_by(&self, live: &Value) -> bool {
        covers(live, &self.value)
    }
}

/// UID of the controller that owns `live`.
pub fn controller_uid(live: &Value) -> Option<&str> {
    live["metadata"]["ownerReferences"]
        .as_array()?
        .iter()
        .find(|owner| owner["controller"] == true)?["uid"]
        .as_str()
}

fn covers(live: &Value, wanted: &Value) -> bool {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => wanted.iter().all(|(key, wanted)| {
            live.get(key).is_some_and(|live| covers(live, wanted)) || is_empty(wanted)
        }),
        (Value::Array(live), Value::Array(wanted)) => {
            live.len() == wanted.len()
                && live.iter().zip(wanted).all(|(live, wanted)| covers(live, wanted))
        }
        (Value::String(live), Value::String(wanted)) => {
            live == wanted || quantity(live).is_some_and(|live| Some(live) == quantity(wanted))
        }
        _ => live == wanted,
    }
}

/// API servers drop empty maps and lists.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.values().all(is_empty),
        Value::Array(list) => list.is_empty(),
        Value::Null => true,
        _ => false,
    }
}

/// A quantity in thousandths, because API servers write `1000m` as `1` and `1024Mi` as `1Gi`.
pub fn quantity(text: &str) -> Option<i128> {
    let end = text.find(|char: char| !char.is_ascii_digit() && char != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at_checked(end)?;
    let factor: i128 = match suffix {
        "m" => 1,
        "" => 1000,
        "k" => 1_000_000,
        "M" => 1_000_000_000,
        "G" => 1_000_000_000_000,
        "T" => 1_000_000_000_000_000,
        "Ki" => 1000 << 10,
        "Mi" => 1000 << 20,
        "Gi" => 1000 << 30,
        "Ti" => 1000 << 40,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.len() > 9 {
        return None;
    }
    let scale = 10_i128.pow(u32::try_from(fraction.len()).ok()?);
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    digits.checked_mul(factor).map(|value| value / scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_quantity_may_be_written_in_several_ways() {
        for (a, b) in [("1000m", "1"), ("1024Mi", "1Gi"), ("0.5", "500m"), ("1.5Gi", "1536Mi")] {
            assert_eq!(quantity(a).unwrap(), quantity(b).unwrap(), "{a} {b}");
        }
        for text in ["", "Gi", "1Q", "zone-a", "1.2.3", "10.1.2.3"] {
            assert_eq!(quantity(text), None, "{text}");
        }
    }

    #[test]
    fn defaults_of_the_api_server_are_no_difference_and_removals_and_edits_are() {
        let wanted =
            json!({"spec": {"replicas": 1, "cpu": "1000m", "empty": {}, "list": [{"a": 1}]}});
        let live =
            json!({"spec": {"replicas": 1, "cpu": "1", "more": 2, "list": [{"a": 1, "b": 2}]}});
        assert!(covers(&live, &wanted));
        for edit in ["/spec/replicas", "/spec/cpu", "/spec/list/0/a"] {
            let mut live = live.clone();
            *live.pointer_mut(edit).unwrap() = json!(7);
            assert!(!covers(&live, &wanted), "{edit}");
        }
    }
}
