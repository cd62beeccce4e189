//! The only owner of the [`Replica`]: feeds it inputs, carries out its outputs.
//!
//! A batch of inputs is handled whole before anything is carried out: one hand-over to the log thread, one write per
//! socket. Nothing here decides.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use replica::{Input, Now, Output, Replica, Report, ShardId, ShardOutput};
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use zab::{Millis, Standing};

use crate::clients::shard_loop::ShardLoop;
use crate::core_sink::CoreSink;
use crate::log_thread::{LogTask, LogThread};
use crate::peers::Peers;

/// Where a shard is.
pub enum ShardPort {
    /// On the core's thread.
    Here(ShardLoop),
    /// On a thread of its own.
    Elsewhere(UnboundedSender<Vec<ShardOutput>>),
}

/// What carries out the outputs.
pub struct Shell {
    /// Links to the other servers; none in standalone mode.
    pub peers: Option<Peers>,
    /// The log.
    pub log: LogThread,
    /// All shards, by id.
    pub shards: Vec<ShardPort>,
}

struct Core {
    replica: Replica,
    shell: Shell,
    outputs: Vec<Output>,
    log_tasks: Vec<LogTask>,
    for_shards: Vec<Vec<ShardOutput>>,
    handed_off: Arc<Notify>,
}

/// The core, as the tasks of its thread share it. Cheap to clone.
#[derive(Clone)]
pub struct CoreHandle(Rc<Handle>);

struct Handle {
    core: RefCell<Option<Core>>,
    /// Inputs that came up while outputs were carried out, for the next round.
    pending: RefCell<Vec<Input>>,
    started: Instant,
    /// The deadline the timer task is to keep, and its alarm when that moves forward.
    wake_at: Cell<Option<Millis>>,
    rearmed: Notify,
}

impl CoreHandle {
    /// A handle whose core is still to come: links and shards need it before there is one.
    #[must_use]
    pub fn new() -> Self {
        Self(Rc::new(Handle {
            core: RefCell::new(None),
            pending: RefCell::new(Vec::new()),
            started: Instant::now(),
            wake_at: Cell::new(None),
            rearmed: Notify::new(),
        }))
    }

    /// Both clocks, now.
    #[must_use]
    pub fn now(&self) -> Now {
        let monotonic_ms = self.0.started.elapsed().as_millis();
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Now {
            monotonic: Millis(u64::try_from(monotonic_ms).unwrap_or(u64::MAX)),
            wall_ms: i64::try_from(wall.as_millis()).unwrap_or(i64::MAX),
        }
    }

    /// Starts the core: `start` makes the replica, whose first outputs are carried out here.
    pub fn start(&self, shell: Shell, start: impl FnOnce(Now, &mut Vec<Output>) -> Replica) {
        let mut outputs = Vec::new();
        let replica = start(self.now(), &mut outputs);
        let for_shards = shell.shards.iter().map(|_| Vec::new()).collect();
        *self.0.core.borrow_mut() = Some(Core {
            replica,
            shell,
            outputs,
            log_tasks: Vec::new(),
            for_shards,
            handed_off: Arc::new(Notify::new()),
        });
        self.inputs([]);
    }

    /// Handles a batch of inputs, then carries out what came of it.
    pub fn inputs(&self, inputs: impl IntoIterator<Item = Input>) {
        self.0.pending.borrow_mut().extend(inputs);
        // Carrying out an output may bring up new inputs from this very thread: they wait for the next round.
        let Ok(mut borrowed) = self.0.core.try_borrow_mut() else { return };
        let Some(core) = borrowed.as_mut() else { return };
        loop {
            let mut batch = std::mem::take(&mut *self.0.pending.borrow_mut());
            if batch.is_empty() && core.outputs.is_empty() {
                break;
            }
            let now = self.now();
            for input in batch.drain(..) {
                core.replica.handle(now, input, &mut core.outputs);
            }
            core.carry_out();
        }
        let wake_at = core.replica.wake_at();
        let before = self.0.wake_at.replace(wake_at);
        if wake_at.is_some() && (before.is_none() || wake_at < before) {
            self.0.rearmed.notify_one();
        }
    }

    /// Runs the timer: `Input::Tick` at each deadline of the replica. Never ends.
    pub async fn keep_time(&self) {
        loop {
            let rearmed = self.0.rearmed.notified();
            match self.0.wake_at.get() {
                None => rearmed.await,
                Some(Millis(deadline_ms)) => {
                    let deadline = self.0.started + Duration::from_millis(deadline_ms);
                    tokio::select! {
                        () = rearmed => {}
                        () = tokio::time::sleep_until(deadline.into()) => self.inputs([Input::Tick]),
                    }
                }
            }
        }
    }

    /// Takes in what other threads report, a batch at a time. Ends when they are all gone.
    pub async fn listen(&self, mut reports: UnboundedReceiver<Input>) {
        let mut batch = Vec::new();
        while reports.recv_many(&mut batch, REPORTS_MAX).await > 0 {
            self.inputs(batch.drain(..));
        }
    }

    /// Hands leadership over, if this server has it, and waits until that is done.
    pub async fn hand_off(&self) {
        let handed_off = self.with(|core| core.handed_off.clone());
        let Some(handed_off) = handed_off else { return };
        let done = handed_off.notified();
        self.inputs([Input::HandOff]);
        done.await;
    }

    /// Finishes the log: what was appended is durable afterwards.
    pub fn finish(&self) {
        if let Some(core) = &mut *self.0.core.borrow_mut() {
            core.shell.log.finish();
        }
    }

    /// Reads something of the replica, for status pages.
    pub fn inspect<T>(&self, read: impl FnOnce(&Replica) -> T) -> Option<T> {
        self.with(|core| read(&core.replica))
    }

    fn with<T>(&self, read: impl FnOnce(&Core) -> T) -> Option<T> {
        self.0.core.borrow().as_ref().map(read)
    }
}

impl Default for CoreHandle {
    fn default() -> Self {
        Self::new()
    }
}

impl CoreSink for CoreHandle {
    fn inputs(&self, inputs: &mut Vec<Input>) {
        CoreHandle::inputs(self, inputs.drain(..));
    }
}

/// Reports taken in one batch: enough to make batches, few enough to look at sockets in between.
const REPORTS_MAX: usize = 1024;

impl Core {
    fn carry_out(&mut self) {
        let mut outputs = std::mem::take(&mut self.outputs);
        for output in outputs.drain(..) {
            self.carry_out_one(output);
        }
        self.outputs = outputs;
        self.shell.log.submit(&mut self.log_tasks);
        for (shard, outputs) in self.shell.shards.iter().zip(&mut self.for_shards) {
            if outputs.is_empty() {
                continue;
            }
            match shard {
                ShardPort::Here(shard) => shard.on_core(outputs.drain(..)),
                // A shard is gone only when the process ends.
                ShardPort::Elsewhere(queue) => drop(queue.send(std::mem::take(outputs))),
            }
        }
    }

    fn carry_out_one(&mut self, output: Output) {
        match output {
            Output::Append { append, zxid, payload } => {
                self.log_tasks.push(LogTask::Append { append, zxid, payload });
            }
            Output::SaveEpochs { epochs } => self.log_tasks.push(LogTask::SaveEpochs(epochs)),
            Output::Truncate { after, rebuild } => {
                self.log_tasks.push(LogTask::Truncate { after, rebuild });
            }
            Output::InstallSnapshot { zxid, tree } => {
                self.log_tasks.push(LogTask::InstallSnapshot { zxid, tree });
            }
            Output::TakeSnapshot { tree, .. } => {
                self.log_tasks.push(LogTask::TakeSnapshot { tree })
            }
            Output::Shard(output) => self.for_shard(output),
            Output::Report(report) => Self::report(&report),
            Output::HandedOff => self.handed_off.notify_one(),
            Output::Notify { .. }
            | Output::Dial { .. }
            | Output::Send { .. }
            | Output::SendSnapshot { .. }
            | Output::Close { .. } => {
                let peers = self.shell.peers.as_ref();
                peers.expect("a standalone server has no peers to speak to").carry_out(output);
            }
        }
    }

    fn for_shard(&mut self, output: ShardOutput) {
        let shard = match &output {
            ShardOutput::Established { client, .. }
            | ShardOutput::Refused { client }
            | ShardOutput::Reply { client, .. } => Some(client.shard),
            ShardOutput::CatchUp { shard } => Some(*shard),
            ShardOutput::Applied { .. }
            | ShardOutput::SessionClosed { .. }
            | ShardOutput::Serving { .. }
            | ShardOutput::Halted => None,
        };
        match shard {
            Some(ShardId(shard)) => self.for_shards[usize::from(shard)].push(output),
            None => {
                let (last, others) =
                    self.for_shards.split_last_mut().expect("there is at least one shard");
                for shard in others {
                    shard.push(output.clone());
                }
                last.push(output);
            }
        }
    }

    fn report(report: &Report) {
        match report {
            Report::Became(standing) => match standing {
                Standing::Looking => tracing::info!("looking for a leader"),
                Standing::Leading { epoch } => tracing::info!(%epoch, "leading"),
                Standing::Following { leader, epoch, membership } => {
                    tracing::info!(%leader, %epoch, ?membership, "following");
                }
            },
            Report::SessionExpired { session } => tracing::info!(%session, "session expired"),
        }
    }
}
