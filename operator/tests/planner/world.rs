//! A model of the API server, the StatefulSet controller, the kubelets and the operator's loop.
//! It executes the planner's steps with their preconditions, and can fail between any two.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use zab_operator::build::controller_uid;
use zab_operator::crd::{ZabCluster, ZabClusterStatus};
use zab_operator::desired::{Desired, Settings};
use zab_operator::events::{Worry, notices};
use zab_operator::inventory::{
    Inventory, Kind, ObjectKey, Permission, Pod, Process, Ready, Volume, reading,
};
use zab_operator::memory::Memory;
use zab_operator::names;
use zab_operator::plan::step::{Restart, Step};
use zab_operator::plan::{Plan, plan, provision};
use zab_operator::quorum::{ServerId, majority};
use zab_operator::status::{Failure, FailureKind, Outcome, status};

use crate::ensemble::{Server, Servers};

/// Seconds from a pod's creation to its process.
const START_SECONDS: i64 = 2;
/// Seconds from a crash to the next start.
pub(crate) const CRASH_SECONDS: i64 = 5;
/// Seconds from a request to stop to the end of a process.
const STOP_SECONDS: i64 = 2;

#[derive(Clone, Debug)]
pub(crate) struct WorldPod {
    pub(crate) uid: String,
    pub(crate) version: u64,
    pub(crate) image: String,
    pub(crate) revision: String,
    pub(crate) created: i64,
    /// When it will be gone.
    pub(crate) gone_at: Option<i64>,
    pub(crate) ready: Option<bool>,
    pub(crate) ready_changed: i64,
    /// Whether its process is down and comes up again.
    pub(crate) crashed_until: i64,
    pub(crate) crashes: i32,
}

/// A read that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Hidden {
    Record,
    Objects,
    Revisions,
    Pods,
    Volumes,
}

impl WorldPod {
    /// Whether its image cannot be pulled.
    pub(crate) fn is_bad(&self) -> bool {
        is_bad(&self.image)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) now: i64,
    pub(crate) cluster: ZabCluster,
    pub(crate) objects: BTreeMap<ObjectKey, Value>,
    pub(crate) pods: BTreeMap<String, WorldPod>,
    pub(crate) volumes: BTreeMap<String, Volume>,
    pub(crate) servers: Servers,
    /// The operator cannot reach the servers.
    pub(crate) blind: bool,
    /// What the operator remembers of earlier samples.
    pub(crate) memory: Memory,
    /// Times that permission to start empty databases was given.
    pub(crate) founded: u32,
    /// A step of ours that should not have been possible.
    pub(crate) violation: Option<String>,
    pub(crate) told: Vec<String>,
    pub(crate) next: u64,
    /// What the API server does not answer for.
    pub(crate) hidden: BTreeSet<Hidden>,
    pub(crate) operator_version: String,
    /// Pods of this image are refused, as by a quota.
    pub(crate) refused_image: Option<String>,
}

impl World {
    /// A cluster that was just created with `spec`.
    pub(crate) fn new(spec: Value) -> Self {
        let cluster = serde_json::from_value(json!({
            "apiVersion": "zab.dev/v1",
            "kind": "ZabCluster",
            "metadata": { "name": "x", "namespace": "ns", "uid": "cluster-1", "generation": 1 },
            "spec": spec,
        }))
        .unwrap();
        Self {
            now: 0,
            cluster,
            objects: BTreeMap::new(),
            pods: BTreeMap::new(),
            volumes: BTreeMap::new(),
            servers: Servers::default(),
            blind: false,
            memory: Memory::default(),
            founded: 0,
            violation: None,
            told: Vec::new(),
            next: 1,
            hidden: BTreeSet::new(),
            operator_version: "1.0".to_owned(),
            refused_image: None,
        }
    }

    fn unique(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(crate) fn timestamp(&self, at: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + at).unwrap()
    }

    /// Changes the spec as a user does.
    pub(crate) fn edit(
        &mut self,
        change: impl FnOnce(&mut zab_operator::crd::spec::ZabClusterSpec),
    ) {
        let before = self.cluster.spec.clone();
        change(&mut self.cluster.spec);
        if before != self.cluster.spec {
            *self.cluster.metadata.generation.get_or_insert(0) += 1;
        }
    }

    pub(crate) fn desired(&self) -> Desired {
        let settings = Settings {
            server_image_repository: "zab-server".to_owned(),
            server_version: self.operator_version.clone(),
        };
        Desired::parse(&self.cluster, &settings).unwrap()
    }

    /// What the operator would read now.
    pub(crate) fn inventory(&mut self) -> Inventory {
        let desired = self.desired();
        let map = |value: &Value| serde_json::from_value(value.clone()).unwrap();
        let record_key = key(Kind::ConfigMap, &names::bootstrap_config_map("x"));
        let record =
            self.objects.get(&record_key).map(|value| reading::record(map(value), "cluster-1"));
        let record = record.transpose();
        let ensemble = record.as_ref().ok().and_then(|record| Some(&record.as_ref()?.ensemble));
        let keys = provision::keys(&desired, ensemble);
        let objects = self.objects.iter().filter(|(key, _)| keys.contains(key));
        let revisions = self.objects.iter().filter(|(key, _)| key.kind == Kind::ConfigMap);
        let mut inventory = Inventory {
            recorded: self.cluster.status.clone().unwrap_or_default(),
            objects: Ok(objects.map(|(key, value)| (key.clone(), value.clone())).collect()),
            revisions: Ok(revisions
                .filter_map(|(_, value)| reading::revision(map(value), "x", "cluster-1"))
                .collect()),
            pods: Ok(self.pods.iter().map(|(name, pod)| self.pod(name, pod)).collect()),
            volumes: Ok(self.volumes.clone()),
            reports: self.pods.keys().map(|pod| (pod.clone(), self.report(pod))).collect(),
            agreed_for: Duration::ZERO,
            committed_before: None,
            record,
        };
        self.hide(&mut inventory);
        let now = Duration::from_secs(self.now.unsigned_abs());
        self.memory.take_in(&desired, &mut inventory, now);
        inventory
    }

    /// Reads that fail leave unknown facts.
    fn hide(&self, inventory: &mut Inventory) {
        fn unknown<T>(fact: &mut Result<T, String>) {
            *fact = Err("the API server does not answer".to_owned());
        }
        for hidden in &self.hidden {
            match hidden {
                Hidden::Record => unknown(&mut inventory.record),
                Hidden::Objects => unknown(&mut inventory.objects),
                Hidden::Revisions => unknown(&mut inventory.revisions),
                Hidden::Volumes => unknown(&mut inventory.volumes),
                Hidden::Pods => {
                    unknown(&mut inventory.pods);
                    inventory.reports.clear();
                }
            }
        }
    }

    fn report(&self, pod: &str) -> Result<zab_operator::exposition::ServerReport, String> {
        let report = self.servers.report(pod, self.now).filter(|_| !self.blind);
        report.ok_or_else(|| "no connection".to_owned())
    }

    fn pod(&self, name: &str, pod: &WorldPod) -> (String, Pod) {
        let since = self.timestamp(pod.ready_changed);
        let found = Pod {
            uid: pod.uid.clone(),
            resource_version: pod.version.to_string(),
            revision: Some(pod.revision.clone()),
            created: Some(self.timestamp(pod.created)),
            crashes: pod.crashes,
            terminating: pod.gone_at.is_some(),
            ip: Some("10.0.0.1".to_owned()),
            ready: match pod.ready {
                Some(true) => Ready::Since(since),
                _ => Ready::NotSince(since),
            },
            process: if self.servers.running.contains_key(name) {
                Process::Running
            } else {
                let reason = if is_bad(&pod.image) { "ImagePullBackOff" } else { "Waiting" };
                Process::Stopped { reason: reason.to_owned(), message: String::new() }
            },
        };
        (name.to_owned(), found)
    }

    /// A pass of the operator over what it sees now, of whose steps `limit` are carried out.
    pub(crate) fn reconcile(&mut self, limit: usize) -> (Plan, Outcome) {
        let inventory = self.inventory();
        self.reconcile_with(&inventory, limit)
    }

    /// A pass over an inventory that may be out of date.
    pub(crate) fn reconcile_with(
        &mut self,
        inventory: &Inventory,
        limit: usize,
    ) -> (Plan, Outcome) {
        let desired = self.desired();
        let now = self.timestamp(self.now);
        let plan = plan(&desired, inventory, now);
        let mut outcome = Outcome::default();
        for step in plan.steps.iter().take(limit) {
            match self.execute(step) {
                Ok(()) => outcome.done.push(step.clone()),
                Err(message) => {
                    let kind = FailureKind::NotNow;
                    outcome.failed = Some(Failure { step: step.clone(), message, kind });
                    break;
                }
            }
        }
        if limit >= plan.steps.len() {
            let after = status(&desired, inventory, &plan, &outcome, now);
            let before = &inventory.recorded;
            let told = notices(before, &after, &outcome);
            self.told.extend(told.into_iter().map(|notice| {
                let mark = if notice.worry == Worry::Warning { "!" } else { "" };
                format!("{mark}{}: {}", notice.reason, notice.note)
            }));
            self.cluster.status = Some(after);
        }
        (plan, outcome)
    }

    pub(crate) fn status(&self) -> ZabClusterStatus {
        self.cluster.status.clone().unwrap_or_default()
    }

    /// One step, as the API server treats it.
    fn execute(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Create(object) => {
                if self.objects.contains_key(&object.key) {
                    return Err(format!("{} already exists", object.key));
                }
                if object.value["data"]["initialize"] == "true" {
                    self.founded += 1;
                }
                self.store(&object.key, &object.value)
            }
            Step::Apply(object) => {
                let live = self.objects.get(&object.key);
                if live.is_some_and(|live| controller_uid(live) != Some("cluster-1")) {
                    return Err(format!("{} has another owner", object.key));
                }
                let version = |value: &Value| {
                    let meta = &value["metadata"];
                    (meta["uid"].clone(), meta["resourceVersion"].clone())
                };
                if live.map(version).unwrap_or_default() != version(&object.value) {
                    return Err(format!("{} has been modified", object.key));
                }
                self.store(&object.key, &object.value)
            }
            Step::CloseFounding { record } => {
                let live = self.objects.get(&record.key).ok_or("not found")?;
                let version = &record.value["metadata"]["resourceVersion"];
                if live["metadata"]["resourceVersion"] != *version {
                    return Err("the object has been modified".to_owned());
                }
                self.store(&record.key, &record.value)
            }
            Step::Delete { key, resource_version, .. } => {
                let live = self.objects.get(key).ok_or("not found")?;
                if live["metadata"]["resourceVersion"] != json!(resource_version) {
                    return Err("the object has been modified".to_owned());
                }
                self.check_unused(key);
                self.objects.remove(key);
                Ok(())
            }
            Step::PatchVolume { name, patch, .. } => self.patch_volume(name, patch),
            Step::Evict(restart) => {
                self.same_pod(restart, None)?;
                if self.budget_left() < 1 {
                    return Err("the disruption budget needs more healthy pods".to_owned());
                }
                self.check_quorum(restart);
                self.check_spread(restart);
                self.terminate(&restart.pod);
                Ok(())
            }
            Step::ReplaceStopped { restart, resource_version } => {
                self.same_pod(restart, Some(resource_version))?;
                self.check_quorum(restart);
                self.check_spread(restart);
                self.terminate(&restart.pod);
                Ok(())
            }
        }
    }

    fn store(&mut self, key: &ObjectKey, value: &Value) -> Result<(), String> {
        let version = self.unique();
        let live = self.objects.get(key);
        if live.is_some_and(|live| live["immutable"] == true) {
            return Err("immutable".to_owned());
        }
        let uid =
            live.map_or(json!(format!("uid-{version}")), |live| live["metadata"]["uid"].clone());
        let generation = live.map_or(1, |live| {
            let generation = live["metadata"]["generation"].as_i64().unwrap();
            generation + i64::from(live["spec"] != value["spec"])
        });
        let observed = live.map_or(Value::Null, |live| live["status"].clone());
        let mut value = value.clone();
        value["metadata"]["uid"] = uid;
        value["metadata"]["resourceVersion"] = json!(version.to_string());
        value["metadata"]["generation"] = json!(generation);
        value["status"] = observed;
        self.objects.insert(key.clone(), value);
        Ok(())
    }

    fn patch_volume(&mut self, name: &str, patch: &Value) -> Result<(), String> {
        let version = self.unique().to_string();
        let volume = self.volumes.get_mut(name).ok_or("not found")?;
        let meta = &patch["metadata"];
        if meta["resourceVersion"] != json!(volume.resource_version)
            || meta["uid"] != json!(volume.uid)
        {
            return Err("the volume claim has been modified".to_owned());
        }
        if let Some(id) = meta["annotations"][names::ENSEMBLE_ID_ANNOTATION].as_str() {
            volume.ensemble_id = Some(id.to_owned());
            let member = meta["annotations"][names::MEMBER_ID_ANNOTATION].as_str().unwrap();
            volume.member_id = Some(member.parse().unwrap());
        }
        if let Some(size) = patch["spec"]["resources"]["requests"]["storage"].as_str() {
            volume.requested = size.to_owned();
            volume.capacity = Some(size.to_owned());
        }
        volume.resource_version = version;
        Ok(())
    }

    fn same_pod(&self, restart: &Restart, version: Option<&String>) -> Result<(), String> {
        let pod = self.pods.get(&restart.pod).ok_or("not found")?;
        if pod.uid != restart.uid || version.is_some_and(|v| *v != pod.version.to_string()) {
            return Err("the pod is another one now".to_owned());
        }
        Ok(())
    }

    fn budget_left(&self) -> i64 {
        let budget = self.objects.get(&key(Kind::PodDisruptionBudget, "x"));
        let Some(needed) = budget.and_then(|pdb| pdb["spec"]["minAvailable"].as_i64()) else {
            return i64::MAX;
        };
        let healthy =
            self.pods.values().filter(|pod| pod.ready == Some(true) && pod.gone_at.is_none());
        i64::try_from(healthy.count()).unwrap() - needed
    }

    /// Property 1 of the planner: no step of ours takes a majority away.
    fn check_quorum(&mut self, restart: &Restart) {
        let synced = self.servers.synced(self.now);
        let serving = synced.contains(&restart.server);
        let left = synced.iter().filter(|id| **id != restart.server).count();
        if serving && self.servers.voters > 1 && left < majority(self.servers.voters) {
            self.violation = Some(format!(
                "{restart:?} leaves {left} synchronized of {} voters",
                self.servers.voters
            ));
        }
    }

    /// Whether all servers have run some revision in good health.
    pub(crate) fn is_proven(&self) -> bool {
        self.status().rollout.is_some_and(|rollout| rollout.last_good.is_some())
    }

    /// Once a revision was good, a restart of ours never puts a majority on an image that does not
    /// run: even if all others crash at that moment, they come back.
    fn check_spread(&mut self, restart: &Restart) {
        let set = restart.pod.rsplit_once('-').map_or("", |(set, _)| set);
        let Some(set) = self.objects.get(&key(Kind::StatefulSet, set)) else { return };
        let image = &set["spec"]["template"]["spec"]["containers"][0]["image"];
        let others = self.pods.iter().filter(|(pod, _)| **pod != restart.pod);
        let bad = others.filter(|(_, pod)| pod.is_bad()).count() + 1;
        let voters = self.servers.voters;
        let most = voters > 1 && voters - bad < majority(voters);
        if most && is_bad(image.as_str().unwrap()) && self.is_proven() {
            self.violation = Some(format!("{restart:?} puts {bad} of {voters} on a bad image"));
        }
    }

    /// A map that a pod or a template uses must stay.
    fn check_unused(&mut self, key: &ObjectKey) {
        let Some(hash) = key.name.strip_prefix("x-config-") else { return };
        if key.kind == Kind::ConfigMap && self.pods.values().any(|pod| pod.revision == hash) {
            self.violation = Some(format!("{key} is deleted while a pod runs it"));
        }
    }

    /// Deletes a pod, its process having time to stop.
    pub(crate) fn terminate(&mut self, name: &str) {
        let (version, now) = (self.unique(), self.now);
        let running = self.servers.running.contains_key(name);
        if let Some(pod) = self.pods.get_mut(name) {
            pod.version = version;
            pod.gone_at.get_or_insert(if running { now + STOP_SECONDS } else { now + 1 });
        }
    }

    /// Kills a process that the kubelet starts again after so many seconds.
    pub(crate) fn crash_for(&mut self, name: &str, seconds: i64) {
        let (version, now) = (self.unique(), self.now);
        self.servers.stop(name);
        if let Some(pod) = self.pods.get_mut(name) {
            pod.version = version;
            pod.crashed_until = now + seconds;
            pod.crashes += 1;
        }
    }

    /// Lets `seconds` pass.
    pub(crate) fn pass(&mut self, seconds: i64) {
        for _ in 0..seconds {
            self.now += 1;
            self.kubelets();
            self.stateful_sets();
            self.servers.second(self.now);
            self.probes();
        }
    }

    fn stateful_sets(&mut self) {
        let keys: Vec<ObjectKey> =
            self.objects.keys().filter(|key| key.kind == Kind::StatefulSet).cloned().collect();
        for key in keys {
            let set = self.objects.get_mut(&key).unwrap();
            let fresh = set["status"]["observedGeneration"] == set["metadata"]["generation"];
            set["status"] = json!({ "observedGeneration": set["metadata"]["generation"] });
            let set = set.clone();
            if !fresh {
                continue;
            }
            let template = &set["spec"]["template"];
            for ordinal in 0..set["spec"]["replicas"].as_i64().unwrap() {
                let name = format!("{}-{ordinal}", key.name);
                let image = &template["spec"]["containers"][0]["image"];
                let refused = image.as_str().is_some_and(|image| {
                    self.refused_image.as_ref().is_some_and(|tag| image.ends_with(tag.as_str()))
                });
                if self.pods.contains_key(&name) || refused {
                    continue;
                }
                self.claim(&name, &set["spec"]["volumeClaimTemplates"][0]);
                let version = self.unique();
                let annotation = &template["metadata"]["annotations"][names::REVISION_ANNOTATION];
                let pod = WorldPod {
                    uid: format!("pod-{version}"),
                    version,
                    image: image.as_str().unwrap().to_owned(),
                    revision: annotation.as_str().unwrap().to_owned(),
                    created: self.now,
                    gone_at: None,
                    ready: None,
                    ready_changed: self.now,
                    crashed_until: 0,
                    crashes: 0,
                };
                self.pods.insert(name, pod);
            }
        }
    }

    fn claim(&mut self, pod: &str, template: &Value) {
        let name = names::volume_claim(pod);
        if self.volumes.contains_key(&name) {
            return;
        }
        let version = self.unique();
        let size = template["spec"]["resources"]["requests"]["storage"].as_str().unwrap();
        let volume = Volume {
            uid: format!("volume-{version}"),
            resource_version: version.to_string(),
            ensemble_id: None,
            member_id: None,
            requested: size.to_owned(),
            capacity: Some(size.to_owned()),
            resize_problem: None,
        };
        self.volumes.insert(name, volume);
    }

    /// Takes a volume away, with its pod: both come back, the volume empty.
    pub(crate) fn lose_volume(&mut self, pod: &str) {
        self.servers.stop(pod);
        self.servers.data.remove(pod);
        self.pods.remove(pod);
        self.volumes.remove(&names::volume_claim(pod));
    }

    fn kubelets(&mut self) {
        let now = self.now;
        let record = self.objects.get(&key(Kind::ConfigMap, "x-bootstrap"));
        let record = record.map(|v| {
            reading::record(serde_json::from_value(v.clone()).unwrap(), "cluster-1").unwrap()
        });
        for (name, pod) in self.pods.clone() {
            if pod.gone_at.is_some_and(|at| at <= now) {
                self.servers.stop(&name);
                self.pods.remove(&name);
                continue;
            }
            let starts = pod.gone_at.is_none()
                && now >= pod.created + START_SECONDS
                && now >= pod.crashed_until
                && !is_bad(&pod.image)
                && !self.servers.running.contains_key(&name);
            let Some(record) = record.as_ref().filter(|_| starts) else { continue };
            let member = record.ensemble.members.iter().find(|m| m.pod == name).unwrap();
            let empty = !self.servers.data.contains_key(&name);
            if empty && record.permission == Permission::Open {
                self.servers.data.insert(name.clone(), 0);
            }
            let votes = !empty || record.permission == Permission::Open;
            self.servers.voters = record.ensemble.voters();
            self.servers.running.insert(name.clone(), Server::start(ServerId(member.id.0), votes));
            let version = self.unique();
            self.pods.get_mut(&name).unwrap().version = version;
        }
    }

    fn probes(&mut self) {
        let now = self.now;
        for (name, pod) in &mut self.pods {
            let serves = self.servers.serves(name, now);
            if pod.ready != Some(serves) {
                pod.ready = Some(serves);
                pod.ready_changed = now;
                self.next += 1;
                pod.version = self.next;
            }
        }
    }
}

pub(crate) fn key(kind: Kind, name: &str) -> ObjectKey {
    ObjectKey { kind, name: name.to_owned() }
}

/// Images whose tag begins with "bad" cannot be pulled.
fn is_bad(image: &str) -> bool {
    image.rsplit(':').next().is_some_and(|tag| tag.starts_with("bad"))
}
