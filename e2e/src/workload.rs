//! A writing client with a memory: it records every acknowledged write and reads all of them back at the end.
//!
//! Each session creates znodes one after the other at an even pace, each with a value that is its own number. A write
//! whose answer never came is *unknown*: it may exist or not, and the session goes on with the next one. So
//! afterwards every acknowledged znode must exist with its value, and nothing may exist that was refused.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use client::{Acl, Client, Config, CreateMode, Error, ErrorCode, Watch};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, watch};

/// What to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where to connect: `host:port`, separated by commas.
    pub servers: String,
    /// The znode below which everything happens; made by the workload, and must not exist.
    pub root: String,
    /// Sessions, each with one write at a time.
    pub sessions: u32,
    /// Writes per second and session, at most.
    pub writes_per_second: u32,
    /// The session timeout asked for, in milliseconds.
    pub session_timeout_ms: u32,
}

/// What happened, in numbers.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// Writes that were acknowledged.
    pub acknowledged: u64,
    /// Acknowledged writes that were not there at the end, or with another value.
    pub lost: u64,
    /// Writes whose answer never came: the connection broke.
    pub unknown: u64,
    /// Of those, how many happened after all.
    pub unknown_done: u64,
    /// Writes refused with another error.
    pub refused: u64,
    /// Sessions that expired and had to be replaced.
    pub sessions_lost: u64,
    /// The longest time between two acknowledged writes, of any sessions, in milliseconds.
    pub longest_gap_ms: u64,
    /// The longest time one session waited for its next acknowledged write, in milliseconds.
    pub longest_session_gap_ms: u64,
    /// How long the writing went on, in milliseconds.
    pub duration_ms: u64,
}

/// What one session did.
#[derive(Debug, Default)]
struct Record {
    acknowledged: Vec<u64>,
    unknown: Vec<u64>,
    refused: u64,
    sessions_lost: u64,
    longest_gap: Duration,
}

/// When any session was last acknowledged.
#[derive(Debug)]
struct Gaps {
    last: Instant,
    longest: Duration,
}

impl Gaps {
    fn acknowledged(&mut self, now: Instant) {
        self.longest = self.longest.max(now - self.last);
        self.last = now;
    }
}

/// Writes until `stop` turns true, then reads everything back.
///
/// # Errors
/// When the root cannot be made, or the ensemble cannot be reached for the final reading.
pub async fn run(plan: Plan, stop: watch::Receiver<bool>) -> anyhow::Result<Outcome> {
    let (client, _events) = connect(&plan).await?;
    client
        .create(&plan.root, b"", &[Acl::OPEN], CreateMode::Persistent)
        .await
        .with_context(|| format!("create {}", plan.root))?;
    for session in 0..plan.sessions {
        let path = session_path(&plan, session);
        client.create(&path, b"", &[Acl::OPEN], CreateMode::Persistent).await?;
    }
    let start = Instant::now();
    let gaps = Arc::new(Mutex::new(Gaps { last: start, longest: Duration::ZERO }));
    let mut writers = Vec::new();
    for session in 0..plan.sessions {
        writers.push(tokio::spawn(write(plan.clone(), session, stop.clone(), gaps.clone())));
    }
    let mut records = Vec::new();
    for writer in writers {
        records.push(writer.await??);
    }
    let duration = start.elapsed();
    let mut outcome = Outcome {
        longest_gap_ms: as_ms(gaps.lock().await.longest),
        duration_ms: as_ms(duration),
        ..Outcome::default()
    };
    // A session of its own, and `sync` first: what is read is what the ensemble agrees on.
    let (reader, _events) = connect(&plan).await?;
    reader.sync("/").await?;
    for (session, record) in (0..).zip(&records) {
        check(&plan, session, record, &reader, &mut outcome).await?;
    }
    reader.close().await?;
    client.close().await?;
    Ok(outcome)
}

/// One session's writing.
async fn write(
    plan: Plan,
    session: u32,
    mut stop: watch::Receiver<bool>,
    gaps: Arc<Mutex<Gaps>>,
) -> anyhow::Result<Record> {
    let mut record = Record::default();
    let mut pace = tokio::time::interval(Duration::from_secs(1) / plan.writes_per_second.max(1));
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut client, mut _events) = connect(&plan).await?;
    let mut last = Instant::now();
    for number in 0_u64.. {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            _ = pace.tick() => {}
        }
        let path = znode_path(&plan, session, number);
        let value = number.to_string();
        let written =
            client.create(&path, value.as_bytes(), &[Acl::OPEN], CreateMode::Persistent).await;
        match written {
            Ok(_) => {
                let now = Instant::now();
                gaps.lock().await.acknowledged(now);
                record.longest_gap = record.longest_gap.max(now - last);
                last = now;
                record.acknowledged.push(number);
            }
            Err(Error::Zookeeper(ErrorCode::SessionExpired) | Error::SessionExpired) => {
                record.unknown.push(number);
                record.sessions_lost += 1;
                (client, _events) = connect(&plan).await?;
            }
            Err(Error::Zookeeper(_)) => record.refused += 1,
            Err(_) => record.unknown.push(number),
        }
    }
    client.close().await?;
    Ok(record)
}

/// Reads back what one session wrote.
async fn check(
    plan: &Plan,
    session: u32,
    record: &Record,
    reader: &Client,
    outcome: &mut Outcome,
) -> anyhow::Result<()> {
    let path = session_path(plan, session);
    let present: BTreeSet<u64> = reader
        .get_children(&path, Watch::No)
        .await?
        .iter()
        .filter_map(|name| name.parse().ok())
        .collect();
    for number in &record.acknowledged {
        let value = match reader.get_data(&znode_path(plan, session, *number), Watch::No).await {
            Ok((value, _)) => value,
            Err(Error::Zookeeper(ErrorCode::NoNode)) => None,
            Err(error) => return Err(error).context("read an acknowledged write back"),
        };
        let intact = value.is_some_and(|value| value == number.to_string().as_bytes());
        outcome.lost += u64::from(!intact);
    }
    let unknown: BTreeSet<u64> = record.unknown.iter().copied().collect();
    let acknowledged: BTreeSet<u64> = record.acknowledged.iter().copied().collect();
    if let Some(stranger) = present.difference(&acknowledged).find(|it| !unknown.contains(it)) {
        bail!("{path}/{stranger} exists, although it was refused");
    }
    outcome.unknown_done += present.intersection(&unknown).count() as u64;
    outcome.acknowledged += record.acknowledged.len() as u64;
    outcome.unknown += record.unknown.len() as u64;
    outcome.refused += record.refused;
    outcome.sessions_lost += record.sessions_lost;
    outcome.longest_session_gap_ms = outcome.longest_session_gap_ms.max(as_ms(record.longest_gap));
    Ok(())
}

/// Connects, and keeps trying while the ensemble is busy with itself.
async fn connect(plan: &Plan) -> anyhow::Result<(Client, client::Events)> {
    let config = Config {
        session_timeout_ms: plan.session_timeout_ms,
        connect_timeout_ms: CONNECT_TIMEOUT_MS,
        ..Config::new(&plan.servers)
    };
    Ok(Client::connect(config).await?)
}

/// Longer than any hand-over takes; a minute without a server means that something is wrong.
const CONNECT_TIMEOUT_MS: u64 = 60_000;

fn session_path(plan: &Plan, session: u32) -> String {
    format!("{}/{session}", plan.root)
}

fn znode_path(plan: &Plan, session: u32, number: u64) -> String {
    format!("{}/{session}/{number}", plan.root)
}

fn as_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
