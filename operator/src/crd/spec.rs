//! What a user asks for.

#![expect(unreachable_pub, reason = "the derive repeats each struct inside a function")]

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Toleration;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::status::ZabClusterStatus;

/// An ensemble of servers that speak the ZooKeeper protocol.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "zab.dev",
    version = "v1",
    kind = "ZabCluster",
    plural = "zabclusters",
    singular = "zabcluster",
    shortname = "zab",
    category = "zab",
    namespaced,
    status = "ZabClusterStatus",
    derive = "PartialEq",
    doc = "An ensemble of servers that speak the ZooKeeper protocol, spread over zones.",
    printcolumn(
        name = "Voters",
        type_ = "integer",
        json_path = ".spec.replicas",
        description = "Voters asked for"
    ),
    printcolumn(
        name = "Ready",
        type_ = "integer",
        json_path = ".status.readyReplicas",
        description = "Voters that serve clients in step with the leader"
    ),
    printcolumn(
        name = "Leader",
        type_ = "string",
        json_path = ".status.membership.leader",
        description = "The pod that leads"
    ),
    printcolumn(
        name = "Zone-safe",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"ZoneFailureTolerant\")].status",
        description = "Whether any one zone may be lost right now"
    ),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        description = "Why the ensemble is or is not ready"
    ),
    printcolumn(
        name = "Epoch",
        type_ = "integer",
        json_path = ".status.membership.epoch",
        description = "Epoch of the leader",
        priority = 1
    ),
    printcolumn(
        name = "Version",
        type_ = "string",
        json_path = ".status.version",
        description = "Version the servers report",
        priority = 1
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp",
        description = "Time since creation"
    ),
    validation = Rule::new("self.metadata.name.size() <= 40")
        .message("metadata.name must have at most 40 characters: names of pods and their labels are made from it")
        .reason(Reason::FieldValueInvalid),
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message("metadata.name must start with a letter and have only a-z, 0-9 and '-': names of Services are made from it")
        .reason(Reason::FieldValueInvalid),
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.replicas in [1, 3, 5, 7, 9, 11]")
        .message("replicas counts voters and must be 1, 3, 5, 7, 9 or 11: an even count survives no more failures than one voter less")
        .field_path(".replicas"),
    validation = Rule::new("self.zones.size() == 0 || self.zoneFailurePolicy == 'BestEffort' || self.zones.size() >= 3")
        .message("zoneFailurePolicy Required needs at least 3 zones: with fewer, the loss of one zone can take the majority; set BestEffort to accept that")
        .field_path(".zones"),
    validation = Rule::new("self.zones.size() <= self.replicas")
        .message("there are more zones than voters: every zone holds at least one")
        .field_path(".zones"),
    validation = Rule::new("self.zones.all(z, has(z.voters)) || !self.zones.exists(z, has(z.voters))")
        .message("zones[].voters must be given for all zones or for none")
        .field_path(".zones"),
    validation = Rule::new("!self.zones.exists(z, has(z.voters)) || self.zones.map(z, has(z.voters) ? z.voters : 0).sum() == self.replicas")
        .message("zones[].voters must add up to replicas")
        .field_path(".zones"),
    validation = Rule::new("self.zones.size() == 0 || self.zoneFailurePolicy == 'BestEffort' || (self.zones.exists(z, has(z.voters)) ? self.zones.all(z, !has(z.voters) || z.voters <= (self.replicas - 1) / 2) : (self.replicas + self.zones.size() - 1) / self.zones.size() <= (self.replicas - 1) / 2)")
        .message("a zone would hold too many voters: with n voters and zoneFailurePolicy Required no zone may hold more than (n-1)/2, or its loss takes the majority")
        .field_path(".zones"),
    validation = Rule::new("self.zones.all(a, self.zones.exists_one(b, (has(a.topologyValue) ? a.topologyValue : a.name) == (has(b.topologyValue) ? b.topologyValue : b.name)))")
        .message("two zones have the same topologyValue: they would be one zone with two names")
        .field_path(".zones"),
)]
pub struct ZabClusterSpec {
    /// Number of voters: 1, 3, 5, 7, 9 or 11. It cannot be changed once the ensemble exists.
    #[serde(default = "default_replicas")]
    pub replicas: i32,

    /// Version of the server: the image tag, unless `image.tag` or `image.digest` is given.
    /// Default: the version of the operator that created the ensemble; a newer operator does not
    /// change it, but says so by the condition UpdateAvailable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[A-Za-z0-9_][A-Za-z0-9._-]*$"))]
    pub version: Option<String>,

    /// Where the image comes from, when not from the operator's default repository.
    #[serde(default)]
    pub image: Image,

    /// The zones to spread over: one StatefulSet each, its pods bound to the zone.
    /// Empty: one StatefulSet, spread as well as the scheduler can, with no guarantee.
    /// They cannot be changed once the ensemble exists.
    #[serde(default)]
    #[schemars(length(max = 11))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub zones: Vec<Zone>,

    /// The node label that says which zone a node is in.
    #[serde(default = "default_topology_key")]
    #[schemars(length(min = 1, max = 317))]
    pub topology_key: String,

    /// `Required`: the loss of any one zone must leave a majority, or the resource is refused.
    /// `BestEffort`: any layout is taken, and the condition ZoneFailureTolerant tells the truth.
    #[serde(default)]
    pub zone_failure_policy: ZoneFailurePolicy,

    /// The volumes of the servers.
    #[serde(default)]
    pub storage: Storage,

    /// Further lines of `zoo.cfg`. A change restarts the servers, one at a time.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 64))]
    #[x_kube(
        validation = Rule::new("self.all(k, k.matches('^[A-Za-z0-9][A-Za-z0-9._-]*$') && k.size() <= 128)")
            .message("keys of config are keys of zoo.cfg: letters, digits, '.', '_' and '-', at most 128 characters"),
        validation = Rule::new("self.all(k, !self[k].contains('\\n') && !self[k].contains('\\r') && self[k].size() <= 1024)")
            .message("values of config are one line of at most 1024 characters each"),
        validation = Rule::new(OWNED_CONFIG_RULE)
            .message("config has a key that belongs to the operator (dataDir, clientPort, server.N, membership, ports and database creation are derived from the rest of the spec)"),
    )]
    pub config: BTreeMap<String, ConfigValue>,

    /// The pods of the servers.
    #[serde(default)]
    pub pods: Pods,

    /// How changes that need a restart are carried out, and restarts on demand.
    #[serde(default)]
    pub rollout: Rollout,

    /// The Services.
    #[serde(default)]
    pub services: Services,

    /// Protection from voluntary disruption, such as node drains.
    #[serde(default)]
    pub disruption: Disruption,
}

/// Keys of `zoo.cfg` that the operator writes itself; prefixes end in a dot.
pub const OWNED_CONFIG_KEYS: [&str; 16] = [
    "dataDir",
    "dataLogDir",
    "clientPort",
    "clientPortAddress",
    "dynamicConfigFile",
    "standaloneEnabled",
    "reconfigEnabled",
    "peerType",
    "myid",
    "serverName",
    "quorumListenOnAllIPs",
    "server.",
    "group.",
    "weight.",
    "db.",
    "metricsProvider.",
];

/// `OWNED_CONFIG_KEYS` as CEL; a test holds the two together.
const OWNED_CONFIG_RULE: &str = "self.all(k, !(k.replace('zookeeper.', '') in ['dataDir', 'dataLogDir', 'clientPort', 'clientPortAddress', 'dynamicConfigFile', 'standaloneEnabled', 'reconfigEnabled', 'peerType', 'myid', 'serverName', 'quorumListenOnAllIPs']) && !k.matches('^(zookeeper[.])?(server|group|weight|db|metricsProvider)[.].*'))";

/// One value of `config`; a length bound lets the API server estimate the cost of the rules.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigValue(#[schemars(length(max = 1024))] pub String);

/// The image of the servers.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Image {
    /// Repository without a tag. Default: the operator's `--server-image-repository`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub repository: Option<String>,
    /// Tag. Default: `spec.version`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[A-Za-z0-9_][A-Za-z0-9._-]*$"))]
    pub tag: Option<String>,
    /// Digest, such as `sha256:…`. Used instead of a tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), regex(pattern = r"^[a-z0-9+._-]+:[a-fA-F0-9]{32,}$"))]
    pub digest: Option<String>,
    /// When the kubelet pulls the image.
    #[serde(default)]
    pub pull_policy: PullPolicy,
    /// Names of Secrets with registry credentials, in the namespace of the resource.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub pull_secrets: Vec<String>,
}

/// When the kubelet pulls an image.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PullPolicy {
    /// Only when the node does not have it.
    #[default]
    IfNotPresent,
    /// Each time a container starts.
    Always,
    /// Never: the node must have it.
    Never,
}

/// One zone.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Zone {
    /// Short name, used in the names of objects: at most 11 characters.
    #[schemars(length(min = 1, max = 11), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Value of the topology key on the zone's nodes. Default: the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub topology_value: Option<String>,
    /// Voters in this zone, for all zones or for none. Default: spread evenly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 11))]
    pub voters: Option<i32>,
}

/// What to do about layouts that a zone failure can stop.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ZoneFailurePolicy {
    /// Refuse them.
    #[default]
    Required,
    /// Take them, and say so in the status.
    BestEffort,
}

/// The volumes of the servers.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Storage {
    /// The volume with the transaction log and the snapshots. It is kept when its pod or the
    /// resource is deleted.
    #[serde(default)]
    pub data: DataVolume,
}

/// A volume of a server.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("isQuantity(self.size) && quantity(self.size).isGreaterThan(quantity('0'))")
        .message("size must be a quantity above 0, such as 10Gi")
        .field_path(".size"),
    validation = Rule::new("!isQuantity(self.size) || !isQuantity(oldSelf.size) || quantity(self.size).compareTo(quantity(oldSelf.size)) >= 0")
        .message("size can grow but not shrink: volumes cannot be made smaller")
        .reason(Reason::FieldValueForbidden)
        .field_path(".size"),
    validation = Rule::new("has(self.storageClassName) == has(oldSelf.storageClassName) && (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)")
        .message("storageClassName cannot be changed: volumes stay in the class they were made in")
        .reason(Reason::FieldValueForbidden),
)]
pub struct DataVolume {
    /// Size. It can grow (when the storage class can), but not shrink.
    #[serde(default = "default_volume_size")]
    #[schemars(length(min = 1, max = 32))]
    pub size: String,
    /// Storage class. Default: the default class of the cluster. It cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class_name: Option<String>,
}

impl Default for DataVolume {
    fn default() -> Self {
        Self { size: default_volume_size(), storage_class_name: None }
    }
}

/// The pods of the servers. A change restarts them, one at a time.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pods {
    /// CPU and memory of a server.
    #[serde(default)]
    pub resources: Resources,
    /// Labels a node must have, besides being in the zone.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// Taints that the pods tolerate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub tolerations: Vec<Toleration>,
    /// Seconds a server has to hand over leadership, drain its clients and exit.
    #[serde(default = "default_grace_period")]
    #[schemars(range(min = 1, max = 3600))]
    pub termination_grace_period_seconds: i64,
    /// Further labels of the pods; those of the operator win.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Further annotations of the pods; those of the operator win.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Default for Pods {
    fn default() -> Self {
        Self {
            resources: Resources::default(),
            node_selector: BTreeMap::new(),
            tolerations: Vec::new(),
            termination_grace_period_seconds: default_grace_period(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
        }
    }
}

/// CPU and memory of a container.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    /// What is reserved.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "quantities")]
    pub requests: BTreeMap<String, Quantity>,
    /// What is not exceeded.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "quantities")]
    pub limits: BTreeMap<String, Quantity>,
}

/// How restarts are carried out: one member at a time, the leader last.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rollout {
    /// Any text. Changing it restarts all servers, one at a time.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 128))]
    pub restart_nonce: String,
    /// While true no server is restarted by the operator.
    #[serde(default)]
    pub paused: bool,
    /// Seconds a restarted server must have been ready before the next one is restarted.
    #[serde(default = "default_min_ready")]
    #[schemars(range(min = 0, max = 3600))]
    pub min_ready_seconds: i64,
    /// Seconds a restarted server has to come back. After that the rollout is halted until the
    /// spec changes. A server that reports progress of its recovery has ten times as long.
    #[serde(default = "default_member_timeout")]
    #[schemars(range(min = 10, max = 86400))]
    pub member_timeout_seconds: i64,
}

impl Default for Rollout {
    fn default() -> Self {
        Self {
            restart_nonce: String::new(),
            paused: false,
            min_ready_seconds: default_min_ready(),
            member_timeout_seconds: default_member_timeout(),
        }
    }
}

/// The Services.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Services {
    /// The Service for clients, `<name>-client`.
    #[serde(default)]
    pub client: ClientService,
}

/// The Service for clients.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientService {
    /// Type of the Service.
    #[serde(default, rename = "type")]
    pub type_: ServiceType,
    /// Annotations, for instance for a cloud's load balancer.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// Type of a Service.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServiceType {
    /// An address inside the cluster.
    #[default]
    ClusterIP,
    /// A port on every node.
    NodePort,
    /// A load balancer of the cloud.
    LoadBalancer,
}

/// Protection from voluntary disruption.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Disruption {
    /// `Managed`: a PodDisruptionBudget lets one voter at a time be evicted (none is made for a
    /// single voter, which could never be evicted then). `None`: there is no budget.
    #[serde(default)]
    pub budget: Budget,
    /// Whether pods that are not ready may always be evicted.
    #[serde(default)]
    pub unhealthy_pod_eviction_policy: UnhealthyPodEvictionPolicy,
}

/// Who keeps the PodDisruptionBudget.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Budget {
    /// The operator, by the number of voters.
    #[default]
    Managed,
    /// Nobody.
    None,
}

/// Whether pods that are not ready may be evicted.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum UnhealthyPodEvictionPolicy {
    /// Only while all the others are healthy.
    #[default]
    IfHealthyBudget,
    /// Always.
    AlwaysAllow,
}

/// The schema of a map of quantities, without the essay that describes the type upstream.
fn quantities(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "additionalProperties": { "x-kubernetes-int-or-string": true },
    })
}

fn default_replicas() -> i32 {
    3
}

fn default_topology_key() -> String {
    "topology.kubernetes.io/zone".to_owned()
}

fn default_volume_size() -> String {
    "10Gi".to_owned()
}

fn default_grace_period() -> i64 {
    60
}

fn default_min_ready() -> i64 {
    10
}

fn default_member_timeout() -> i64 {
    600
}
