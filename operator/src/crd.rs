//! The custom resource `ZabCluster`: its types, defaults and admission rules, and no behavior.
//!
//! Everything a user may write is in [`spec`], everything the operator answers is in [`status`].
//! The rules an API server can check are CEL rules on these types, so a wrong resource is refused
//! when it is applied; what needs the state of a running ensemble is answered by conditions.

pub mod spec;
pub mod status;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::Value;

pub use spec::ZabCluster;
pub use status::ZabClusterStatus;

/// The definition of `ZabCluster` as an API server takes it.
///
/// `nullable` is removed from the derived schema: an API server drops an explicit null from a field
/// that may not be null, so it means "not given" everywhere, in the rules too.
pub fn definition() -> CustomResourceDefinition {
    let mut value = serde_json::to_value(ZabCluster::crd()).expect("a definition is plain data");
    drop_nullable(&mut value);
    serde_json::from_value(value).expect("a definition without nullable is a definition")
}

fn drop_nullable(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.remove("nullable");
            map.values_mut().for_each(drop_nullable);
        }
        Value::Array(list) => list.iter_mut().for_each(drop_nullable),
        _ => {}
    }
}

/// The definition as YAML, as committed under `crds/` and in the chart.
///
/// # Errors
/// Only when the definition cannot be written as YAML, which a test rules out.
pub fn definition_yaml() -> Result<String, serde_saphyr::ser::Error> {
    serde_saphyr::to_string(&definition())
}

/// The definition as the chart's template: behind a switch, and kept on `helm uninstall`.
///
/// # Errors
/// As [`definition_yaml`].
pub fn chart_template() -> Result<String, serde_saphyr::ser::Error> {
    let keep = "metadata:\n  annotations:\n    helm.sh/resource-policy: keep\n";
    let kept = definition_yaml()?.replacen("metadata:\n", keep, 1);
    Ok(format!("{{{{- if .Values.crds.install }}}}\n{kept}{{{{- end }}}}\n"))
}
