//! A fake store: operations wait in a queue until they are told to be durable, one after the other.

use std::collections::VecDeque;

use bytes::Bytes;
use zab::{AppendId, Epochs, Input, Recovered, Zxid};

/// All transactions of a log or of a state machine, oldest first.
pub(crate) type History = Vec<(Zxid, Bytes)>;

/// A storage output that is not durable yet.
#[derive(Clone, Debug)]
pub(crate) enum Operation {
    Append { append: AppendId, zxid: Zxid, payload: Bytes },
    SaveEpochs { epochs: Epochs },
    Truncate { after: Zxid },
    Install { zxid: Zxid, tree: History },
}

/// What survives a crash, and what is on its way there.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    pub(crate) epochs: Epochs,
    /// Everything, whether in a snapshot or in the log.
    pub(crate) history: History,
    /// Where the log begins: what is before is only in a snapshot.
    pub(crate) snapshot: usize,
    pub(crate) trusted: bool,
    pub(crate) queue: VecDeque<Operation>,
    /// Whether operations become durable by themselves.
    pub(crate) held: bool,
}

impl Disk {
    pub(crate) fn last(&self) -> Zxid {
        self.history.last().map_or(Zxid::ZERO, |(zxid, _)| *zxid)
    }

    /// Makes the oldest operation durable.
    pub(crate) fn sync_one(&mut self) -> Option<Input> {
        Some(match self.queue.pop_front()? {
            Operation::Append { append, zxid, payload } => {
                assert!(zxid.follows(self.last()), "the log on disk has a gap before {zxid}");
                self.history.push((zxid, payload));
                Input::Durable { append }
            }
            Operation::SaveEpochs { epochs } => {
                assert!(epochs.accepted >= self.epochs.accepted, "accepted epoch goes back");
                assert!(epochs.current >= self.epochs.current, "current epoch goes back");
                self.epochs = epochs;
                Input::EpochsSaved { epochs }
            }
            Operation::Truncate { after } => {
                self.history.retain(|(zxid, _)| *zxid <= after);
                self.snapshot = self.snapshot.min(self.history.len());
                Input::Truncated { after }
            }
            Operation::Install { zxid, tree } => {
                self.history = tree;
                self.snapshot = self.history.len();
                Input::SnapshotInstalled { zxid }
            }
        })
    }

    /// What a restart finds.
    pub(crate) fn recover(&mut self) -> Recovered {
        self.queue.clear();
        Recovered {
            epochs: self.epochs,
            last: self.last(),
            recent: self.history[self.snapshot..].to_vec(),
            trusted: self.trusted || self.epochs.current.0 > 0,
        }
    }
}
