//! A shard on a thread of its own, for machines with more cores than two.

use std::sync::Arc;
use std::time::Duration;

use replica::shard::Limits;
use replica::{Input, ShardId, ShardOutput};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tree::SharedTree;

use super::listener::Handover;
use super::shard_loop::{CorePort, ShardCounters, ShardLoop};
use super::stream;

/// The core's ends of a shard thread.
pub struct ShardThread {
    /// What the core says.
    pub outputs: UnboundedSender<Vec<ShardOutput>>,
    /// New connections.
    pub handovers: UnboundedSender<Handover>,
    /// Its numbers.
    pub counters: Arc<ShardCounters>,
}

impl ShardThread {
    /// Starts the thread; the receiver yields what its clients want of the core.
    #[must_use]
    pub fn start(
        id: ShardId,
        limits: Limits,
        super_digest: Option<String>,
        tree: SharedTree,
        report_every: Duration,
    ) -> (Self, UnboundedReceiver<Vec<Input>>) {
        let (outputs, said) = unbounded_channel();
        let (handovers, handed) = unbounded_channel();
        let (wanted, inputs) = unbounded_channel();
        let (counted, counters) = std::sync::mpsc::sync_channel(1);
        std::thread::Builder::new()
            .name(format!("shard-{}", id.0))
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                let runtime = runtime.expect("a runtime can be made");
                let local = tokio::task::LocalSet::new();
                local.block_on(&runtime, async move {
                    let shard = ShardLoop::new(id, limits, super_digest, tree);
                    shard.attach(CorePort::Elsewhere(wanted));
                    counted.send(shard.counters()).expect("the starter waits");
                    tokio::task::spawn_local(shard.clone().keep_reporting(report_every));
                    tokio::join!(listen(shard.clone(), said), accept(shard, handed));
                });
            })
            .expect("a thread can be started");
        let counters = counters.recv().expect("the thread starts");
        (Self { outputs, handovers, counters }, inputs)
    }
}

async fn listen(shard: ShardLoop, mut said: UnboundedReceiver<Vec<ShardOutput>>) {
    while let Some(outputs) = said.recv().await {
        shard.on_core(outputs);
    }
}

async fn accept(shard: ShardLoop, mut handed: UnboundedReceiver<Handover>) {
    while let Some(Handover { stream, address, first, slot }) = handed.recv().await {
        let shard = shard.clone();
        match TcpStream::from_std(stream) {
            Ok(stream) => drop(tokio::task::spawn_local(async move {
                stream::serve(stream, address, first, shard).await;
                drop(slot);
            })),
            Err(error) => tracing::debug!(%address, %error, "client connection ended"),
        }
    }
}
