//! One active operator: a Lease, held and renewed, and the end of the process when it is lost.
//!
//! Whether another holder is gone is judged by time that passed *here* since its record last
//! changed, never by comparing clocks. Every write to the Lease names the version that was read,
//! so of two contenders one fails. A holder that could not renew stops acting before a contender
//! can take over, because it gives up sooner than contenders wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

/// How long contenders wait after the record last changed.
const DURATION: Duration = Duration::from_secs(15);
/// How long a holder acts after its last renewal.
const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// How often to renew, or to look.
const PERIOD: Duration = Duration::from_secs(2);

/// Name of the Lease.
pub const LEASE_NAME: &str = "zab-operator";

/// Tells whether the lease was renewed recently enough to act.
#[derive(Clone)]
pub struct Guard {
    start: Instant,
    renewed_ms: Arc<AtomicU64>,
    given_up: Arc<AtomicBool>,
}

impl Guard {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            renewed_ms: Arc::new(AtomicU64::new(0)),
            given_up: Arc::new(AtomicBool::new(false)),
        }
    }

    /// From now on this process may not act.
    pub fn give_up(&self) {
        self.given_up.store(true, Ordering::Release);
    }

    fn renewed(&self, at: Instant) {
        let ms = at.duration_since(self.start).as_millis();
        self.renewed_ms.store(u64::try_from(ms).unwrap_or(u64::MAX), Ordering::Release);
    }

    /// Whether this process may act now.
    pub fn is_held(&self) -> bool {
        if self.given_up.load(Ordering::Acquire) {
            return false;
        }
        let renewed = Duration::from_millis(self.renewed_ms.load(Ordering::Acquire));
        self.start.elapsed().saturating_sub(renewed) < RENEW_DEADLINE
    }
}

/// What became of the Lease when it was to be renewed.
enum Renewal {
    /// It was.
    Kept(Box<Lease>),
    /// Another process holds it.
    TakenBy(String),
}

/// What a contender saw of the Lease.
struct Seen {
    version: String,
    holder: Option<String>,
    /// Since when it has been that version.
    since: Instant,
}

/// A contender for the Lease.
pub struct Election {
    api: Api<Lease>,
    identity: String,
}

impl Election {
    /// A contender named `identity`, which must differ from process to process.
    pub fn new(client: Client, namespace: &str, identity: String) -> Self {
        Self { api: Api::namespaced(client, namespace), identity }
    }

    /// Waits until the Lease is held.
    pub async fn acquire(&self) -> (Guard, Lease) {
        let mut seen: Option<Seen> = None;
        loop {
            match self.try_acquire(&mut seen).await {
                Ok(Some(held)) => return held,
                Ok(None) => {}
                Err(error) => warn!(error = format!("{error:#}"), "could not take the lease"),
            }
            sleep(PERIOD).await;
        }
    }

    async fn try_acquire(&self, seen: &mut Option<Seen>) -> anyhow::Result<Option<(Guard, Lease)>> {
        let guard = Guard::new();
        let before = Instant::now();
        let lease = self.api.get_opt(LEASE_NAME).await.context("read the lease")?;
        let Some(lease) = lease else {
            let created = self.api.create(&PostParams::default(), &self.record(None)).await;
            info!(identity = self.identity, "lease created");
            guard.renewed(before);
            return Ok(Some((guard, created.context("create the lease")?)));
        };
        let spec = lease.spec.clone().unwrap_or_default();
        let holder = spec.holder_identity.filter(|holder| !holder.is_empty());
        let version = lease.metadata.resource_version.clone().unwrap_or_default();
        let unchanged_for = match seen {
            Some(seen) if seen.version == version => seen.since.elapsed(),
            _ => {
                if seen.as_ref().is_none_or(|seen| seen.holder != holder) {
                    info!(holder, "standing by");
                }
                *seen = Some(Seen { version, holder: holder.clone(), since: Instant::now() });
                Duration::ZERO
            }
        };
        let free = match &holder {
            None => true,
            Some(holder) => *holder == self.identity || unchanged_for > DURATION,
        };
        if !free {
            return Ok(None);
        }
        let record = self.record(Some(&lease));
        let taken = self.api.replace(LEASE_NAME, &PostParams::default(), &record).await;
        let taken = taken.context("take the lease")?;
        info!(identity = self.identity, from = holder, "lease taken");
        guard.renewed(before);
        Ok(Some((guard, taken)))
    }

    /// Renews until that fails for too long or somebody else holds the Lease.
    ///
    /// # Errors
    /// Always ends in one: the lease is lost.
    pub async fn keep(&self, guard: &Guard, mut lease: Lease) -> anyhow::Error {
        loop {
            sleep(PERIOD).await;
            let before = Instant::now();
            match timeout(RENEW_DEADLINE / 2, self.renew(&lease)).await {
                Ok(Ok(Renewal::Kept(renewed))) => {
                    guard.renewed(before);
                    lease = *renewed;
                }
                Ok(Ok(Renewal::TakenBy(holder))) => {
                    guard.give_up();
                    return anyhow::anyhow!("the lease was lost: {holder} holds it");
                }
                Ok(Err(error)) => warn!(error = format!("{error:#}"), "could not renew the lease"),
                Err(_) => warn!("the lease was not renewed in time"),
            }
            if !guard.is_held() {
                return anyhow::anyhow!("the lease was lost: another operator may act now");
            }
        }
    }

    async fn renew(&self, lease: &Lease) -> anyhow::Result<Renewal> {
        let record = self.record(Some(lease));
        match self.api.replace(LEASE_NAME, &PostParams::default(), &record).await {
            Ok(lease) => Ok(Renewal::Kept(Box::new(lease))),
            Err(kube::Error::Api(status)) if status.is_conflict() => {
                // Either an earlier renewal got through unnoticed, or somebody else holds it now.
                let current = self.api.get(LEASE_NAME).await.context("read the lease")?;
                let holder = current.spec.as_ref().and_then(|spec| spec.holder_identity.as_ref());
                if holder != Some(&self.identity) {
                    return Ok(Renewal::TakenBy(holder.cloned().unwrap_or("nobody".to_owned())));
                }
                let record = self.record(Some(&current));
                let replaced = self.api.replace(LEASE_NAME, &PostParams::default(), &record).await;
                replaced.context("renew the lease").map(|lease| Renewal::Kept(Box::new(lease)))
            }
            Err(error) => Err(error).context("renew the lease"),
        }
    }

    /// Lets go of the Lease, so that another operator need not wait.
    pub async fn release(&self) {
        let release = async {
            let mut lease = self.api.get(LEASE_NAME).await?;
            let spec = lease.spec.get_or_insert_default();
            if spec.holder_identity.as_ref() == Some(&self.identity) {
                spec.holder_identity = None;
                self.api.replace(LEASE_NAME, &PostParams::default(), &lease).await?;
                info!("lease released");
            }
            Ok::<(), kube::Error>(())
        };
        match timeout(RENEW_DEADLINE / 2, release).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!(%error, "could not release the lease"),
            Err(_) => warn!("the lease was not released in time"),
        }
    }

    /// The record that says this process holds the Lease, as a change of `current`.
    fn record(&self, current: Option<&Lease>) -> Lease {
        let old = current.and_then(|lease| lease.spec.clone()).unwrap_or_default();
        let now = Some(MicroTime(Timestamp::now()));
        let same = old.holder_identity.as_ref() == Some(&self.identity);
        let transitions = old.lease_transitions.unwrap_or(0);
        Lease {
            metadata: current.map_or_else(
                || ObjectMeta { name: Some(LEASE_NAME.to_owned()), ..ObjectMeta::default() },
                |lease| lease.metadata.clone(),
            ),
            spec: Some(LeaseSpec {
                holder_identity: Some(self.identity.clone()),
                lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
                acquire_time: if same { old.acquire_time } else { now.clone() },
                renew_time: now,
                lease_transitions: Some(transitions + i32::from(!same && current.is_some())),
                ..LeaseSpec::default()
            }),
        }
    }
}
