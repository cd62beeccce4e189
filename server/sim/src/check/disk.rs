//! What the disks hold for certain, and that it is enough.

use std::collections::VecDeque;

use bytes::Bytes;
use zab::{Epoch, Epochs, Zxid};

use super::{Check, name};
use crate::history::{EMPTY, NodeId};

/// What is known of one server's disk.
#[derive(Debug, Default)]
pub(crate) struct DiskGhost {
    /// All that was given to the store.
    pub(crate) written: NodeId,
    /// What the store promised to be durable.
    pub(crate) floor: NodeId,
    /// What may be there instead: a snapshot being installed.
    alternative: Option<NodeId>,
    epochs: Epochs,
    /// Epochs on their way to the disk, each with the log it vouches for.
    vouching: VecDeque<(Epochs, NodeId)>,
}

impl Check {
    /// The core wants epochs saved; the new current epoch vouches for the log as it is now.
    pub(crate) fn on_save_epochs(&mut self, host: usize, epochs: Epochs) {
        let server = &mut self.servers[host];
        let tip = server.tip();
        // Whoever has forgotten what is on the disk has to find out by itself.
        let before = server.disk.vouching.back().map_or(server.disk.epochs, |(it, _)| *it);
        let epochs = Epochs {
            accepted: epochs.accepted.max(before.accepted),
            current: epochs.current.max(before.current),
        };
        server.disk.vouching.push_back((epochs, tip));
    }

    /// The store took a transaction.
    pub(crate) fn on_written(&mut self, host: usize, zxid: Zxid, payload: &Bytes) {
        let before = self.servers[host].disk.written;
        let node = self.histories.append(before, zxid, payload);
        self.servers[host].disk.written = node;
    }

    /// The store says that all it took is durable.
    pub(crate) fn on_synced(&mut self, host: usize) {
        let disk = &mut self.servers[host].disk;
        disk.floor = disk.written;
    }

    /// The store says that these epochs are durable.
    pub(crate) fn on_epochs_saved(&mut self, host: usize, epochs: Epochs) {
        let disk = &mut self.servers[host].disk;
        let (_, vouched) = disk.vouching.pop_front().unwrap_or((epochs, EMPTY));
        let (floor, before) = (disk.floor, disk.epochs);
        disk.epochs = epochs;
        if epochs.accepted < epochs.current || epochs.accepted < before.accepted {
            let what = format!("{} saved {epochs:?} after {before:?}", name(host));
            self.fail("EpochsOnDisk", what);
        }
        if epochs.current > before.current && !self.histories.contains(floor, vouched) {
            let (durable, needed) = (self.histories.zxid(floor), self.histories.zxid(vouched));
            let what = format!(
                "{} adopts epoch {} on disk while its log is durable to {durable}, not to {needed}",
                name(host),
                epochs.current
            );
            self.fail("HistoryBeforeEpoch", what);
        }
        if epochs.current > Epoch(0) {
            self.servers[host].is_untrusted = false;
        }
    }

    /// The store is about to cut its log.
    pub(crate) fn on_cutting(&mut self, host: usize, after: Zxid) {
        let disk = &self.servers[host].disk;
        // All is made durable first; what is left in the end is the least that can be there.
        let floor = self.histories.up_to(disk.floor, after);
        self.servers[host].disk.floor = floor;
        self.check_quorum("CommittedLogDurability", || format!("{} cuts its log", name(host)));
    }

    /// The log is cut.
    pub(crate) fn on_cut(&mut self, host: usize, after: Zxid) {
        let written = self.histories.up_to(self.servers[host].disk.written, after);
        let disk = &mut self.servers[host].disk;
        (disk.written, disk.floor) = (written, written);
    }

    /// The store is about to replace everything.
    pub(crate) fn on_installing(&mut self, host: usize, zxid: Zxid) -> NodeId {
        let floor = self.histories.up_to(self.servers[host].disk.floor, zxid);
        let server = &mut self.servers[host];
        let target = server.installing.pop_front().unwrap_or(EMPTY);
        server.disk.floor = floor;
        server.disk.alternative = Some(target);
        target
    }

    /// Everything is replaced.
    pub(crate) fn on_installed(&mut self, host: usize, target: NodeId) {
        let disk = &mut self.servers[host].disk;
        (disk.written, disk.floor, disk.alternative) = (target, target, None);
        self.check_quorum("CommittedLogDurability", || {
            format!("{} installs a snapshot", name(host))
        });
    }

    /// The disk is replaced by an empty one.
    pub(crate) fn on_wiped(&mut self, host: usize) {
        let server = &mut self.servers[host];
        server.is_untrusted = true;
        server.disk = DiskGhost::default();
    }

    /// A store was opened and found a history that ends with `last`, and epochs.
    pub(crate) fn on_recovered(
        &mut self,
        host: usize,
        last: Zxid,
        recent: &[(Zxid, Bytes)],
        epochs: Epochs,
    ) {
        let disk = &self.servers[host].disk;
        let (floor, written, alternative) = (disk.floor, disk.written, disk.alternative);
        let old = self.histories.up_to(written, last);
        let found = if self.histories.zxid(old) == last && self.histories.contains(old, floor) {
            Some(old)
        } else {
            // The new history may only be found with the old one cut to what both may share.
            alternative.filter(|node| self.histories.zxid(*node) == last)
        };
        let Some(node) = found else {
            let (low, high) = (self.histories.zxid(floor), self.histories.zxid(written));
            let what = format!(
                "{} finds a log that ends at {last}; {low} was durable, {high} was written",
                name(host)
            );
            return self.fail("RecoveredHistory", what);
        };
        let mut entry = node;
        for (zxid, payload) in recent.iter().rev() {
            if self.histories.zxid(entry) != *zxid || self.histories.payload(entry) != payload {
                let known = self.histories.zxid(entry);
                let what = format!(
                    "{} finds {zxid} in its log of {} transactions where {known} belongs",
                    name(host),
                    recent.len()
                );
                return self.fail("RecoveredHistory", what);
            }
            entry = self.histories.parent(entry);
        }
        self.check_epochs_found(host, epochs);
        let disk = &mut self.servers[host].disk;
        (disk.written, disk.floor, disk.alternative) = (node, node, None);
        disk.epochs = epochs;
        disk.vouching.clear();
        self.on_started(host, node);
        self.check_quorum("CommittedLogDurability", || format!("{} has recovered", name(host)));
    }

    /// What was reported saved must be there; what was asked for may be.
    fn check_epochs_found(&mut self, host: usize, epochs: Epochs) {
        let disk = &self.servers[host].disk;
        let most = disk.vouching.back().map_or(disk.epochs, |(epochs, _)| *epochs);
        let least = disk.epochs;
        let fits = |found, least, most| found >= least && found <= most;
        let fits = fits(epochs.accepted, least.accepted, most.accepted)
            && fits(epochs.current, least.current, most.current);
        // A server that never saved epochs starts from its log's.
        let fresh = least == Epochs::default() && disk.vouching.is_empty();
        if !fresh && !fits {
            let what = format!("{} finds {epochs:?}, expected {least:?} to {most:?}", name(host));
            self.fail("EpochsOnDisk", what);
        }
    }

    /// What only a copy of the durable image can tell: a start from it finds what was promised.
    pub(crate) fn check_durable_image(&mut self, host: usize, last: Zxid) {
        let disk = &self.servers[host].disk;
        let (floor, alternative) = (disk.floor, disk.alternative);
        let found = self.histories.up_to(disk.written, last);
        let is_old = self.histories.zxid(found) == last && self.histories.contains(found, floor);
        let is_new = alternative.is_some_and(|node| self.histories.zxid(node) == last);
        if !is_old && !is_new {
            let floor = self.histories.zxid(floor);
            let what = format!(
                "{} promised to have {floor} on disk; without power it would find {last}",
                name(host)
            );
            self.fail("DurableImage", what);
        }
    }

    /// The promise to clients: every committed transaction is on the disks of a majority. Servers that lost their
    /// disks have no vote, so every majority of the others still meets someone who has it.
    pub(crate) fn check_quorum(&mut self, check: &'static str, why: impl FnOnce() -> String) {
        let mut lens = Vec::with_capacity(self.servers.len());
        for server in self.servers.iter().filter(|server| server.is_voter) {
            lens.push(match server.is_untrusted {
                true => usize::MAX,
                false => self.committed_prefix_len(server.disk.floor),
            });
        }
        lens.sort_unstable_by(|a, b| b.cmp(a));
        let durable = lens[self.majority - 1];
        if let Some(lost) = self.committed.get(durable) {
            let what = format!(
                "{} is committed but not on the disks of a majority when {}",
                self.histories.zxid(*lost),
                why()
            );
            self.fail(check, what);
        }
    }

    /// How many committed transactions a history begins with.
    fn committed_prefix_len(&self, mut node: NodeId) -> usize {
        loop {
            let len = self.histories.len(node);
            if len == 0 || self.committed.get(len - 1) == Some(&node) {
                return len;
            }
            node = self.histories.parent(node);
        }
    }
}
