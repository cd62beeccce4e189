//! `Desired`: a `ZabCluster` and the operator's settings, checked and with every default filled in.
//! The rest of the operator reads this and never the resource.

use std::collections::BTreeMap;
use std::time::Duration;

use kube::ResourceExt;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::crd::ZabCluster;
use crate::crd::spec::{
    DataVolume, Disruption, Image, Pods, PullPolicy, Rollout, Services, Zone, ZoneFailurePolicy,
};
use crate::crd::status::ImageDefaults;
use crate::names;
use crate::quorum::{ServerId, spread, zone_max};

/// Shortest time between two agreeing samples of an ensemble.
const AGREEMENT_MIN: Duration = Duration::from_secs(5);
/// ZooKeeper's default of `tickTime`.
const TICK_DEFAULT_MS: u64 = 2000;

/// Settings of the operator itself.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Image repository of new ensembles whose spec names none.
    pub server_image_repository: String,
    /// Version of new ensembles whose spec names none.
    pub server_version: String,
}

/// A resource that cannot be carried out.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Error {
    /// The resource came without what the API server always sets.
    #[error("the resource has no {0}")]
    Incomplete(&'static str),
    /// A voter count that is not allowed.
    #[error("spec.replicas is {0}, but must be 1, 3, 5, 7, 9 or 11")]
    Voters(i32),
    /// Zones that do not fit the voters.
    #[error("spec.zones: {0}")]
    Zones(String),
    /// A setting that cannot be used.
    #[error("spec.config.{key}: {problem}")]
    Config {
        /// Its key.
        key: String,
        /// What is wrong.
        problem: String,
    },
}

/// What is wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct Desired {
    /// Name of the resource.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its UID: owner of all objects.
    pub uid: String,
    /// Its generation.
    pub generation: i64,
    /// Zones and voters as the spec has them; compare [`Ensemble`].
    pub topology: Topology,
    /// What the pods are made from.
    pub revision: Revision,
    /// What was filled in where the spec leaves the image open.
    pub image_defaults: ImageDefaults,
    /// The image that this operator would choose now, if that is another one.
    pub newer_image: Option<String>,
    /// Volumes.
    pub storage: DataVolume,
    /// Services.
    pub services: Services,
    /// Disruption budget.
    pub disruption: Disruption,
    /// How to restart.
    pub rollout: Rollout,
}

/// Zones and their voters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Topology {
    /// The node label that names zones.
    pub topology_key: String,
    /// The zones in the order of the spec; one without a name if the spec has none.
    pub zones: Vec<ZoneVoters>,
}

/// A zone and how many voters it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ZoneVoters {
    /// Name, unless the ensemble has no zones.
    pub name: Option<String>,
    /// Value of the topology key on its nodes.
    pub topology_value: Option<String>,
    /// Voters it holds.
    pub voters: usize,
}

/// A member of an ensemble. Its id and its pod belong together for ever.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Server id.
    pub id: ServerId,
    /// Name of its pod.
    pub pod: String,
    /// Name of its zone, unless the ensemble has no zones.
    pub zone: Option<String>,
}

/// An ensemble as it was founded, recorded in its ConfigMap before anything else is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ensemble {
    /// Its identity: the UID of the resource that founded it.
    pub id: String,
    /// Its zones.
    pub topology: Topology,
    /// Its members, by id.
    pub members: Vec<Member>,
}

/// Everything a pod is made from. Its hash names the revision; an operator that renders pods in
/// another way does not change it, so an update of the operator restarts no server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Revision {
    /// Image with tag or digest.
    pub image: String,
    /// When it is pulled.
    pub pull_policy: PullPolicy,
    /// Secrets to pull it with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pull_secrets: Vec<String>,
    /// The user's part of `zoo.cfg`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub config: BTreeMap<String, String>,
    /// Pod settings.
    pub pods: Pods,
    /// The user's word for "again".
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub restart_nonce: String,
}

impl Revision {
    /// The name of this revision.
    pub fn hash(&self) -> String {
        names::hash8(self)
    }
}

impl Desired {
    /// Reads a resource. The admission rules are checked again, because a resource may be older
    /// than its definition.
    ///
    /// # Errors
    /// When the resource cannot be carried out, in words for its author.
    pub fn parse(cluster: &ZabCluster, settings: &Settings) -> Result<Self, Error> {
        let spec = &cluster.spec;
        let voters = usize::try_from(spec.replicas).unwrap_or(0);
        if voters.is_multiple_of(2) || voters > 11 {
            return Err(Error::Voters(spec.replicas));
        }
        let topology = Topology {
            topology_key: spec.topology_key.clone(),
            zones: zones(&spec.zones, voters, spec.zone_failure_policy)?,
        };
        let config: BTreeMap<String, String> =
            spec.config.iter().map(|(key, value)| (key.clone(), value.0.clone())).collect();
        tick_ms(&config)?;
        let offered = ImageDefaults {
            repository: settings.server_image_repository.clone(),
            version: settings.server_version.clone(),
        };
        let recorded = cluster.status.as_ref().and_then(|status| status.image_defaults.clone());
        let image_defaults = recorded.unwrap_or_else(|| offered.clone());
        let image_now = image(&spec.image, spec.version.as_deref(), &image_defaults);
        let image_offered = image(&spec.image, spec.version.as_deref(), &offered);
        Ok(Self {
            name: cluster.name_any(),
            namespace: cluster.namespace().ok_or(Error::Incomplete("namespace"))?,
            uid: cluster.uid().ok_or(Error::Incomplete("uid"))?,
            generation: cluster.metadata.generation.ok_or(Error::Incomplete("generation"))?,
            topology,
            revision: Revision {
                image: image_now.clone(),
                pull_policy: spec.image.pull_policy,
                pull_secrets: spec.image.pull_secrets.clone(),
                config,
                pods: spec.pods.clone(),
                restart_nonce: spec.rollout.restart_nonce.clone(),
            },
            image_defaults,
            newer_image: (image_offered != image_now).then_some(image_offered),
            storage: spec.storage.data.clone(),
            services: spec.services.clone(),
            disruption: spec.disruption.clone(),
            rollout: spec.rollout.clone(),
        })
    }

    /// How long samples of the ensemble must agree before one is believed: two ticks, or more.
    pub fn agreement(&self) -> Duration {
        let tick = tick_ms(&self.revision.config).unwrap_or(TICK_DEFAULT_MS);
        AGREEMENT_MIN.max(Duration::from_millis(tick.saturating_mul(2)))
    }
}

impl Ensemble {
    /// Members for `topology`, zone after zone, with the ids that `taken` has for their pods and
    /// the lowest free ones for the others.
    pub fn found(
        id: &str,
        cluster: &str,
        topology: &Topology,
        taken: &BTreeMap<String, ServerId>,
    ) -> Self {
        let mut free = (1..=u8::MAX).map(ServerId).filter(|id| !taken.values().any(|t| t == id));
        let mut members = Vec::new();
        for zone in &topology.zones {
            let set = names::stateful_set(cluster, zone.name.as_deref());
            for ordinal in 0..zone.voters {
                let pod = format!("{set}-{ordinal}");
                let id = taken.get(&pod).copied().or_else(|| free.next());
                let id = id.expect("an ensemble has at most 11 voters");
                members.push(Member { id, pod, zone: zone.name.clone() });
            }
        }
        members.sort_by_key(|member| member.id);
        Self { id: id.to_owned(), topology: topology.clone(), members }
    }

    /// Number of voters.
    pub fn voters(&self) -> usize {
        self.members.len()
    }

    /// The member with this id.
    pub fn member(&self, id: ServerId) -> Option<&Member> {
        self.members.iter().find(|member| member.id == id)
    }
}

fn zones(
    zones: &[Zone],
    voters: usize,
    policy: ZoneFailurePolicy,
) -> Result<Vec<ZoneVoters>, Error> {
    if zones.is_empty() {
        return Ok(vec![ZoneVoters { name: None, topology_value: None, voters }]);
    }
    if zones.len() > voters {
        return Err(Error::Zones("there are more zones than voters".to_owned()));
    }
    let given: Vec<usize> = zones
        .iter()
        .filter_map(|zone| zone.voters.and_then(|voters| usize::try_from(voters).ok()))
        .collect();
    let counts = if given.is_empty() { spread(voters, zones.len()) } else { given };
    if counts.len() != zones.len() || counts.iter().sum::<usize>() != voters {
        return Err(Error::Zones(
            "voters must be given for all zones or for none, and add up to replicas".to_owned(),
        ));
    }
    let most = counts.iter().copied().max().unwrap_or(0);
    if policy == ZoneFailurePolicy::Required && most > zone_max(voters) {
        return Err(Error::Zones(format!(
            "a zone would hold {most} of {voters} voters, but at most {} may be lost at once",
            zone_max(voters)
        )));
    }
    Ok(zones
        .iter()
        .zip(counts)
        .map(|(zone, voters)| ZoneVoters {
            name: Some(zone.name.clone()),
            topology_value: Some(zone.topology_value.as_ref().unwrap_or(&zone.name).clone()),
            voters,
        })
        .collect())
}

fn image(image: &Image, version: Option<&str>, defaults: &ImageDefaults) -> String {
    let repository = image.repository.as_ref().unwrap_or(&defaults.repository);
    if let Some(digest) = &image.digest {
        return format!("{repository}@{digest}");
    }
    let tag = image.tag.as_deref().or(version).unwrap_or(&defaults.version);
    format!("{repository}:{tag}")
}

fn tick_ms(config: &BTreeMap<String, String>) -> Result<u64, Error> {
    let Some(tick) = config.get("tickTime") else {
        return Ok(TICK_DEFAULT_MS);
    };
    tick.trim().parse().ok().filter(|tick| (1..=600_000).contains(tick)).ok_or_else(|| {
        Error::Config {
            key: "tickTime".to_owned(),
            problem: format!("{tick:?} is not a number of milliseconds from 1 to 600000"),
        }
    })
}
