//! The two Services: one for the servers to find each other, one for clients.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::ObjectMeta;

use super::Object;
use crate::crd::spec::ServiceType;
use crate::desired::Desired;
use crate::inventory::Kind;
use crate::names::{self, ports};

/// The headless Service. It publishes servers that are not ready, because they must find each
/// other before they can become ready.
pub fn peers(desired: &Desired) -> Object {
    service(
        desired,
        names::peers_service(&desired.name),
        ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            publish_not_ready_addresses: Some(true),
            ports: Some(vec![
                port("client", ports::CLIENT),
                port("quorum", ports::QUORUM),
                port("election", ports::ELECTION),
                port("metrics", ports::METRICS),
            ]),
            ..ServiceSpec::default()
        },
        ObjectMeta::default(),
    )
}

/// The Service for clients: only servers that are ready.
pub fn client(desired: &Desired) -> Object {
    let settings = &desired.services.client;
    let type_ = match settings.type_ {
        ServiceType::ClusterIP => "ClusterIP",
        ServiceType::NodePort => "NodePort",
        ServiceType::LoadBalancer => "LoadBalancer",
    };
    service(
        desired,
        names::client_service(&desired.name),
        ServiceSpec {
            type_: Some(type_.to_owned()),
            ports: Some(vec![port("client", ports::CLIENT)]),
            ..ServiceSpec::default()
        },
        ObjectMeta { annotations: Some(settings.annotations.clone()), ..ObjectMeta::default() },
    )
}

fn service(desired: &Desired, name: String, spec: ServiceSpec, metadata: ObjectMeta) -> Object {
    let selector = [(names::ENSEMBLE_LABEL.to_owned(), desired.name.clone())];
    let service = Service {
        metadata: ObjectMeta { name: Some(name), ..metadata },
        spec: Some(ServiceSpec { selector: Some(selector.into()), ..spec }),
        status: None,
    };
    Object::new(desired, Kind::Service, &service)
}

fn port(name: &str, number: i32) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        port: number,
        protocol: Some("TCP".to_owned()),
        target_port: Some(IntOrString::String(name.to_owned())),
        ..ServicePort::default()
    }
}
