//! One server, from its configuration to its end: recover, start the threads, connect the queues, wait, leave.
//!
//! Every queue between threads is bounded by what its senders may have outstanding: clients by their limits in
//! [`replica::shard::Limits`], learners by the same on their side.

use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use replica::shard::Limits;
use replica::{Mode, Replica, ShardId};
use store::{OsDisk, Store};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::mpsc::unbounded_channel;
use tree::SharedTree;
use zab::{Ensemble, Membership, ServerId};

use crate::admin;
use crate::admin::four_letter;
use crate::clients::listener::{Acceptor, Entrance, Slots};
use crate::clients::shard_loop::{CorePort, ShardLoop};
use crate::clients::shard_thread::ShardThread;
use crate::config::identity::{self, Initialize};
use crate::config::{Config, HostPort, ProcessConfig};
use crate::core_loop::{CoreHandle, ShardPort, Shell};
use crate::housekeeping::Housekeeping;
use crate::log_thread::LogThread;
use crate::pages::Pages;
use crate::peers::Peers;
use crate::shutdown::Shutdown;
use crate::status::Heartbeat;

/// Requests of one connection that may wait for their commit; its socket is not read beyond that.
const PENDING_MAX: usize = 4096;
/// Bytes of answers that a slow client may leave unread.
const OUTPUT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Ticks are divided by this for reports of sessions heard of, so that they are never late by more than that.
const TOUCH_REPORTS_PER_TICK: u64 = 4;
/// Five seconds of the fastest writing are replayed in about one at the next start.
const SNAPSHOT_GAP_MS_MIN: u64 = 5_000;
/// How long clients may take to get their last answers when the server leaves.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// Runs a server until it is asked to stop. Call within a `LocalSet` of a single-threaded runtime.
///
/// # Errors
/// When it cannot start: the configuration, the data directory or a port is not usable.
pub async fn run(mut config: Config, environment: BTreeMap<String, String>) -> anyhow::Result<()> {
    let id = identity::server_id(&config, &environment)?;
    config.adopt(id)?;
    let config = Rc::new(config);
    let initialize = identity::initialize(&config.process, &environment);
    let mut shutdown = Shutdown::listen().context("listen for signals")?;
    let core = CoreHandle::new();
    // The pages come first: whoever watches must see that a server with many data is alive while it reads them.
    let pages = Pages::new(config.clone(), id, core.clone());
    tokio::task::spawn_local(beat(pages.heartbeat()));
    serve_pages(&config, pages.clone()).await?;
    let (store, recovered) = tokio::select! {
        recovered = recover(&config, initialize) => recovered?,
        signal = shutdown.requested() => {
            tracing::info!(signal, "stopped while the data were read");
            return Ok(());
        }
    };

    let tree = SharedTree::new(recovered.tree);
    let (reports, reported) = unbounded_channel();
    let housekeeping = Housekeeping::start(store.maintenance(), config.process.snap_retain_count);
    let log = LogThread::start(store, reports, housekeeping.clone());
    let shards = start_shards(&config, &core, &tree);
    pages.recovered(&log, housekeeping, &shards);
    let peers = if config.cluster.is_standalone() {
        None
    } else {
        tokio::select! {
            // It may wait for a port as long as it is told to.
            peers = Peers::start(&config, id, core.clone()) => Some(peers?),
            signal = shutdown.requested() => {
                tracing::info!(signal, "stopped while ports were waited for");
                return Ok(());
            }
        }
    };
    let listener = bind(&config.process.client, config.process.client_backlog).await?;

    let replica_config = replica_config(&config, id);
    let history = zab::Recovered {
        epochs: recovered.epochs,
        last: recovered.last,
        recent: recovered.recent,
        trusted: recovered.trusted,
    };
    let replayed_txns = recovered.report.transactions_replayed;
    let recovered = replica::Recovered { history, tree, replayed_txns };
    let shell = Shell { peers, log, shards: shards.ports };
    core.start(shell, |now, outputs| Replica::new(replica_config, recovered, now, outputs));
    let timer = core.clone();
    tokio::task::spawn_local(async move { timer.keep_time().await });
    let ear = core.clone();
    tokio::task::spawn_local(async move { ear.listen(reported).await });
    let acceptor = acceptor(&config, listener, shards.entrances, &pages);
    let accepting = tokio::task::spawn_local(acceptor.run());
    tracing::info!(server = %id, clients = %config.process.client, "started");

    let signal = shutdown.requested().await;
    tracing::info!(signal, "stopping");
    tokio::select! {
        () = leave(&core, &accepting) => {}
        signal = shutdown.requested() => tracing::warn!(signal, "stopping at once"),
    }
    core.finish();
    tracing::info!("stopped");
    Ok(())
}

/// What takes clients in.
fn acceptor(
    config: &Rc<Config>,
    listener: TcpListener,
    entrances: Vec<Entrance>,
    pages: &Rc<Pages>,
) -> Acceptor {
    let slots = Slots::new(
        config.process.client_connections_per_address_max,
        config.process.client_connections_max,
    );
    let words = words(config.clone(), pages.clone());
    Acceptor { listener, slots, entrances: Rc::new(entrances), words, rejected: pages.rejected() }
}

/// Opens the store, on a thread of its own; says what was found.
async fn recover(
    config: &Config,
    initialize: Initialize,
) -> anyhow::Result<(Store, store::Recovered)> {
    let process = config.process.clone();
    let start = Instant::now();
    let (done, opened) = tokio::sync::oneshot::channel();
    std::thread::Builder::new()
        .name("recovery".to_owned())
        // Nobody waits any more only when the server stops.
        .spawn(move || drop(done.send(open_store(&process, &initialize))))
        .context("start a thread")?;
    let (store, recovered) = opened.await.context("the recovery thread ended")??;
    tracing::info!(
        last = %recovered.last,
        accepted = %recovered.epochs.accepted,
        current = %recovered.epochs.current,
        znodes = recovered.tree.node_count(),
        took_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
        report = ?recovered.report,
        "recovered"
    );
    if recovered.report.digest_differs {
        tracing::warn!(
            "the digest of the data differs from the one in the log: another server wrote it differently"
        );
    }
    Ok((store, recovered))
}

fn open_store(
    process: &ProcessConfig,
    initialize: &Initialize,
) -> anyhow::Result<(Store, store::Recovered)> {
    let disk = OsDisk::open(&process.data_dir, &process.data_log_dir)?;
    let options = store::Options {
        segment_bytes: process.segment_bytes,
        history_bytes: process.history_bytes_max,
        empty: if initialize.is_trusted() { store::Empty::IsNew } else { store::Empty::IsSuspect },
        hash_seed: hash_seed(),
    };
    let opened = Store::open(Arc::new(disk), options)?;
    initialize.done().context("remove the file that allowed to start from nothing")?;
    Ok(opened)
}

/// A seed that clients cannot guess: the standard library draws one for its own tables.
fn hash_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id())
}

fn replica_config(config: &Config, id: ServerId) -> replica::Config {
    let cluster = &config.cluster;
    let (zab, mode) = if cluster.is_standalone() {
        (standalone_protocol(config, id), Mode::Standalone)
    } else {
        (config.protocol(id), Mode::Ensemble)
    };
    replica::Config {
        zab,
        mode,
        session_timeout_ms_min: cluster.min_session_timeout_ms,
        session_timeout_ms_max: cluster.max_session_timeout_ms,
        snapshot_txns: u32::try_from(config.process.snap_count).unwrap_or(u32::MAX),
        snapshot_gap_ms_min: SNAPSHOT_GAP_MS_MIN,
    }
}

/// What the protocol is told of a server without an ensemble: itself.
fn standalone_protocol(config: &Config, id: ServerId) -> zab::Config {
    zab::Config {
        id,
        ensemble: Ensemble::new([(id, Membership::Voter)]),
        config_version: 0,
        config_text: bytes::Bytes::new(),
        tick_ms: config.cluster.tick_ms,
        init_limit_ticks: config.cluster.init_limit_ticks,
        sync_limit_ticks: config.cluster.sync_limit_ticks,
        finalize_wait_ms: config.process.finalize_wait_ms,
        history_bytes_max: config.process.history_bytes_max,
    }
}

/// The shards, seen from where they are used.
pub struct Shards {
    ports: Vec<ShardPort>,
    entrances: Vec<Entrance>,
    /// The numbers of each.
    pub counters: Vec<Arc<crate::clients::shard_loop::ShardCounters>>,
}

fn start_shards(config: &Config, core: &CoreHandle, tree: &SharedTree) -> Shards {
    let limits = Limits {
        frame_bytes_max: config.process.frame_bytes_max,
        pending_len_max: PENDING_MAX.min(config.process.outstanding_max.max(1)),
        output_bytes_max: OUTPUT_BYTES_MAX,
    };
    let report_every =
        Duration::from_millis((config.cluster.tick_ms / TOUCH_REPORTS_PER_TICK).max(1));
    let super_digest = config.process.super_digest.clone();
    let first = ShardLoop::new(ShardId(0), limits, super_digest.clone(), tree.clone());
    first.attach(CorePort::Here(core.clone()));
    tokio::task::spawn_local(first.clone().keep_reporting(report_every));
    let mut shards = Shards {
        counters: vec![first.counters()],
        ports: vec![ShardPort::Here(first.clone())],
        entrances: vec![Entrance::Here(first)],
    };
    for shard in 1..config.process.io_shards {
        let (thread, inputs) = ShardThread::start(
            ShardId(shard),
            limits,
            super_digest.clone(),
            tree.clone(),
            report_every,
        );
        tokio::task::spawn_local(forward(inputs, core.clone()));
        shards.counters.push(thread.counters);
        shards.ports.push(ShardPort::Elsewhere(thread.outputs));
        shards.entrances.push(Entrance::Elsewhere(thread.handovers));
    }
    shards
}

/// Brings the core what another shard's clients want.
async fn forward(
    mut batches: tokio::sync::mpsc::UnboundedReceiver<Vec<replica::Input>>,
    core: CoreHandle,
) {
    while let Some(batch) = batches.recv().await {
        core.inputs(batch);
    }
}

async fn bind(address: &HostPort, backlog: u32) -> anyhow::Result<TcpListener> {
    let listener = listen(address, backlog).await;
    listener.with_context(|| format!("listen on {address}"))
}

async fn listen(address: &HostPort, backlog: u32) -> io::Result<TcpListener> {
    let mut found = tokio::net::lookup_host((address.host.as_str(), address.port)).await?;
    let address = found.next().ok_or(io::ErrorKind::AddrNotAvailable)?;
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restarted server must get its port back while old connections still linger.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(backlog)
}

/// Probers that may wait to be accepted; there are few.
const PAGES_BACKLOG: u32 = 128;

async fn serve_pages(config: &Config, pages: Rc<Pages>) -> anyhow::Result<()> {
    let Some(address) = &config.process.http else { return Ok(()) };
    let listener = bind(address, PAGES_BACKLOG).await?;
    let timeout = Duration::from_millis(config.process.liveness_timeout_ms);
    tokio::task::spawn_local(async move {
        if let Err(error) = admin::serve(listener, timeout, move || pages.status()).await {
            tracing::error!(%error, "the pages are no longer served");
        }
    });
    Ok(())
}

/// The loop shows that it goes round.
async fn beat(heartbeat: Heartbeat) {
    let mut rounds = tokio::time::interval(Duration::from_millis(250));
    loop {
        rounds.tick().await;
        heartbeat.beat();
    }
}

fn words(config: Rc<Config>, pages: Rc<Pages>) -> crate::clients::listener::Words {
    Rc::new(move |first| {
        let word = four_letter::recognise(first)?;
        Some(four_letter::answer(word, &config, &pages.status()))
    })
}

/// Leaves without harm: no new clients, leadership handed over, last answers sent.
async fn leave(core: &CoreHandle, accepting: &tokio::task::JoinHandle<()>) {
    accepting.abort();
    let start = Instant::now();
    core.hand_off().await;
    while core.inspect(|replica| replica.outstanding_len()).unwrap_or(0) > 0
        && start.elapsed() < DRAIN_TIMEOUT
    {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let took_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    tracing::info!(took_ms, "left");
}
