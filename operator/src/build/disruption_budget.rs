//! The PodDisruptionBudget: one voter at a time may be evicted.

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::ObjectMeta;

use super::Object;
use crate::crd::spec::{Budget, UnhealthyPodEvictionPolicy};
use crate::desired::{Desired, Ensemble};
use crate::inventory::Kind;
use crate::names;

/// The budget, unless none is wanted or there is one voter, which could never be evicted then.
///
/// It is a number rather than a share, and names what must stay rather than what may go: so the
/// API server need not find out the size of several StatefulSets.
pub fn budget(desired: &Desired, ensemble: &Ensemble) -> Option<Object> {
    if desired.disruption.budget == Budget::None || ensemble.voters() < 2 {
        return None;
    }
    let keep = i32::try_from(ensemble.voters() - 1).expect("an ensemble has at most 11 voters");
    let policy = match desired.disruption.unhealthy_pod_eviction_policy {
        UnhealthyPodEvictionPolicy::IfHealthyBudget => "IfHealthyBudget",
        UnhealthyPodEvictionPolicy::AlwaysAllow => "AlwaysAllow",
    };
    let selector = [(names::ENSEMBLE_LABEL, desired.name.as_str()), (names::ROLE_LABEL, "voter")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()));
    let budget = PodDisruptionBudget {
        metadata: ObjectMeta { name: Some(desired.name.clone()), ..ObjectMeta::default() },
        spec: Some(PodDisruptionBudgetSpec {
            min_available: Some(IntOrString::Int(keep)),
            selector: Some(LabelSelector {
                match_labels: Some(selector.into()),
                ..LabelSelector::default()
            }),
            unhealthy_pod_eviction_policy: Some(policy.to_owned()),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    };
    Some(Object::new(desired, Kind::PodDisruptionBudget, &budget))
}
