//! What a peer knows of its log: how far it reaches, how far it is durable, how far it was delivered, and the newest
//! entries themselves.
//!
//! Invariants, asserted:
//! - entries are contiguous (a gap in one log poisons every Java log it reaches);
//! - delivered ≤ durable ≤ last (nothing is applied ahead of the disk, ZOOKEEPER-4882);
//! - each entry is delivered once and in order;
//! - what was served to clients is never cut away.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::io::{AppendId, Output, Recovered};
use crate::zxid::Zxid;

/// One logged transaction.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) zxid: Zxid,
    pub(crate) payload: Bytes,
    append: AppendId,
}

/// The log as seen from memory. The entries kept are the newest ones: a window bounded by `bytes_max`, plus
/// whatever is not delivered yet.
#[derive(Debug)]
pub(crate) struct LogView {
    /// The zxid just before the window, when it is known. Nothing earlier can be served from memory.
    base: Option<Zxid>,
    entries: VecDeque<Entry>,
    entries_bytes: usize,
    bytes_max: usize,
    last: Zxid,
    durable: Zxid,
    delivered: Zxid,
    /// The last zxid known to be committed by a quorum. Unknown (zero) after a restart; `delivered` may be ahead
    /// of it then, and on a prospective leader.
    committed: Zxid,
    append_last: AppendId,
    append_durable: AppendId,
    /// Truncations and snapshot installations under way: the state machine is being rebuilt.
    restores_pending: usize,
}

impl LogView {
    /// From what was found on disk; all of it is durable and applied.
    pub(crate) fn new(recovered: Recovered, bytes_max: usize) -> Self {
        let mut entries = VecDeque::with_capacity(recovered.recent.len());
        let mut entries_bytes = 0;
        for (zxid, payload) in recovered.recent {
            entries_bytes += payload.len();
            entries.push_back(Entry { zxid, payload, append: AppendId(0) });
        }
        let base = match entries.front() {
            None => Some(recovered.last),
            // Inside an epoch zxids are contiguous; what an earlier epoch ended with cannot be told.
            Some(first) => (first.zxid.counter() > 1).then(|| Zxid(first.zxid.0 - 1)),
        };
        for (before, after) in entries.iter().zip(entries.iter().skip(1)) {
            assert!(after.zxid.follows(before.zxid), "recovered log: a gap after {}", before.zxid);
        }
        let end = entries.back().map_or(recovered.last, |entry| entry.zxid);
        assert_eq!(end, recovered.last, "recovered entries must reach the end of the log");
        Self {
            base,
            entries,
            entries_bytes,
            bytes_max,
            last: recovered.last,
            durable: recovered.last,
            delivered: recovered.last,
            committed: Zxid::ZERO,
            append_last: AppendId(0),
            append_durable: AppendId(0),
            restores_pending: 0,
        }
    }

    /// The end of the log.
    pub(crate) fn last(&self) -> Zxid {
        self.last
    }

    /// The end of what is on stable storage.
    pub(crate) fn durable(&self) -> Zxid {
        self.durable
    }

    /// The end of what the state machine holds.
    pub(crate) fn delivered(&self) -> Zxid {
        self.delivered
    }

    /// The end of what is known to be committed.
    pub(crate) fn committed(&self) -> Zxid {
        self.committed
    }

    /// Whether the whole log is durable and no rebuild of the state machine is under way.
    pub(crate) fn is_settled(&self) -> bool {
        self.durable == self.last && self.restores_pending == 0
    }

    /// The entries of the window after `after`, oldest first.
    pub(crate) fn entries_after(&self, after: Zxid) -> impl Iterator<Item = &Entry> {
        self.entries.range(self.position_after(after)..)
    }

    /// The first entry of the window after `after`.
    pub(crate) fn first_after(&self, after: Zxid) -> Option<Zxid> {
        self.entries.get(self.position_after(after)).map(|entry| entry.zxid)
    }

    /// The newest zxid at or before `zxid` that is known to be in this log.
    pub(crate) fn newest_up_to(&self, zxid: Zxid) -> Option<Zxid> {
        let known = match self.position_after(zxid).checked_sub(1) {
            Some(position) => self.entries.get(position).map(|entry| entry.zxid),
            None => self.base,
        };
        known.filter(|known| *known <= zxid)
    }

    fn position_after(&self, after: Zxid) -> usize {
        // Inside an epoch zxids are contiguous, and nearly always the newest epoch is meant.
        let from_end = self.last.0.checked_sub(after.0).and_then(|it| usize::try_from(it).ok());
        if let Some(position) = from_end.and_then(|it| self.entries.len().checked_sub(it))
            && (position.checked_sub(1).and_then(|it| self.entries.get(it)))
                .is_some_and(|entry| entry.zxid == after)
        {
            return position;
        }
        self.entries.partition_point(|entry| entry.zxid <= after)
    }

    /// Appends a transaction: to the window and, by an output, to the disk.
    pub(crate) fn append(&mut self, zxid: Zxid, payload: Bytes, outputs: &mut Vec<Output>) {
        assert!(zxid.follows(self.last), "append of {zxid} after {}: a gap", self.last);
        self.append_last = AppendId(self.append_last.0 + 1);
        self.last = zxid;
        self.entries_bytes += payload.len();
        let append = self.append_last;
        self.entries.push_back(Entry { zxid, payload: payload.clone(), append });
        outputs.push(Output::Append { append, zxid, payload });
        self.trim();
    }

    /// The store reports that `append` and all before it are durable.
    pub(crate) fn on_durable(&mut self, append: AppendId) {
        assert!(
            append <= self.append_last,
            "durable append {} was never asked for (last: {})",
            append.0,
            self.append_last.0
        );
        if append <= self.append_durable {
            return;
        }
        self.append_durable = append;
        if let Some(entry) = self.newest_appended(append) {
            self.durable = self.durable.max(entry.zxid);
        }
        self.check_order();
    }

    /// The newest entry of the window that was appended by `append` or before.
    fn newest_appended(&self, append: AppendId) -> Option<&Entry> {
        // Appends are contiguous since the last truncation.
        let from_end = usize::try_from(self.append_last.0 - append.0).ok();
        let guess = from_end.and_then(|it| self.entries.len().checked_sub(it + 1));
        if let Some(entry) = guess.and_then(|position| self.entries.get(position))
            && entry.append == append
        {
            return Some(entry);
        }
        let end = self.entries.partition_point(|entry| entry.append <= append);
        self.entries.get(end.checked_sub(1)?)
    }

    /// Everything up to `zxid` is committed.
    pub(crate) fn commit(&mut self, zxid: Zxid) {
        assert!(zxid <= self.last, "commit of {zxid} beyond the log's end {}", self.last);
        self.committed = self.committed.max(zxid);
    }

    /// Delivers what is durable, up to `limit`, unless the state machine is being rebuilt.
    pub(crate) fn deliver(&mut self, limit: Zxid, outputs: &mut Vec<Output>) {
        if self.restores_pending > 0 {
            return;
        }
        let limit = limit.min(self.durable);
        let mut position = self.position_after(self.delivered);
        while let Some(entry) = self.entries.get(position).filter(|entry| entry.zxid <= limit) {
            assert!(
                entry.zxid.follows(self.delivered),
                "delivery of {} after {}: a gap",
                entry.zxid,
                self.delivered
            );
            self.delivered = entry.zxid;
            outputs.push(Output::Deliver { zxid: entry.zxid, payload: entry.payload.clone() });
            position += 1;
        }
        self.check_order();
        self.trim();
    }

    /// Delivers what is committed and durable.
    pub(crate) fn deliver_committed(&mut self, outputs: &mut Vec<Output>) {
        if self.delivered < self.committed {
            self.deliver(self.committed, outputs);
        }
    }

    /// Cuts everything after `after`.
    pub(crate) fn truncate(&mut self, after: Zxid, outputs: &mut Vec<Output>) {
        assert!(after < self.last, "truncation to {after}, not before the end {}", self.last);
        assert!(self.committed <= after, "truncation to {after} cuts committed {}", self.committed);
        let keep = self.position_after(after);
        for entry in self.entries.drain(keep..) {
            self.entries_bytes -= entry.payload.len();
        }
        if self.entries.back().is_none_or(|entry| entry.zxid != after) {
            // `after` lies before the window: nothing of the window is left.
            self.entries.clear();
            self.entries_bytes = 0;
            self.base = Some(after);
        }
        self.last = after;
        self.durable = self.durable.min(after);
        self.delivered = self.delivered.min(after);
        self.restores_pending += 1;
        outputs.push(Output::Truncate { after });
    }

    /// Replaces everything by a snapshot that stands for `zxid`.
    pub(crate) fn install(&mut self, zxid: Zxid, outputs: &mut Vec<Output>) {
        assert!(self.committed <= zxid, "snapshot of {zxid} lacks committed {}", self.committed);
        self.entries.clear();
        self.entries_bytes = 0;
        self.base = Some(zxid);
        self.last = zxid;
        // Once installed; until then `restores_pending` keeps anyone from relying on it.
        self.durable = zxid;
        self.delivered = zxid;
        self.restores_pending += 1;
        outputs.push(Output::InstallSnapshot { zxid });
    }

    /// A truncation or installation is done.
    pub(crate) fn on_restored(&mut self) {
        assert!(self.restores_pending > 0, "a restore was reported that nobody asked for");
        self.restores_pending -= 1;
    }

    /// Forgets the oldest entries beyond the bound, as far as nobody needs them any more.
    fn trim(&mut self) {
        while self.entries_bytes > self.bytes_max {
            let needed = self.delivered.min(self.committed);
            match self.entries.front() {
                Some(entry) if entry.zxid <= needed => {
                    self.base = Some(entry.zxid);
                    self.entries_bytes -= entry.payload.len();
                    self.entries.pop_front();
                }
                _ => return,
            }
        }
    }

    fn check_order(&self) {
        assert!(
            self.delivered <= self.durable && self.durable <= self.last,
            "delivered {} ≤ durable {} ≤ last {} does not hold",
            self.delivered,
            self.durable,
            self.last
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zxid(epoch: u32, counter: u32) -> Zxid {
        Zxid::new(crate::zxid::Epoch(epoch), counter)
    }

    fn view(bytes_max: usize) -> LogView {
        LogView::new(Recovered { trusted: true, ..Recovered::default() }, bytes_max)
    }

    #[test]
    fn a_late_durable_report_does_not_vouch_for_the_successor_of_a_truncated_entry() {
        let mut outputs = Vec::new();
        let mut log = view(1000);
        log.append(zxid(1, 1), Bytes::new(), &mut outputs);
        log.append(zxid(1, 2), Bytes::from_static(b"old"), &mut outputs);
        log.on_durable(AppendId(1));
        log.truncate(zxid(1, 1), &mut outputs);
        log.append(zxid(1, 2), Bytes::from_static(b"new"), &mut outputs);
        log.on_durable(AppendId(2));
        assert_eq!(log.durable(), zxid(1, 1));
        log.on_durable(AppendId(3));
        assert_eq!(log.durable(), zxid(1, 2));
    }

    #[test]
    fn the_window_forgets_only_what_is_delivered_and_committed() {
        let mut outputs = Vec::new();
        let mut log = view(2);
        for counter in 1..=4 {
            log.append(zxid(1, counter), Bytes::from_static(b"x"), &mut outputs);
        }
        assert_eq!(log.entries_after(Zxid::ZERO).count(), 4);
        log.on_durable(AppendId(4));
        log.commit(zxid(1, 3));
        log.deliver_committed(&mut outputs);
        assert_eq!(log.base, Some(zxid(1, 2)));
        assert_eq!(log.first_after(Zxid::ZERO), Some(zxid(1, 3)));
        assert_eq!(log.newest_up_to(zxid(1, 1)), None);
        assert_eq!(log.newest_up_to(zxid(1, 2)), Some(zxid(1, 2)));
    }

    #[test]
    fn nothing_is_delivered_ahead_of_the_disk_or_during_a_rebuild() {
        let mut outputs = Vec::new();
        let mut log = view(1000);
        log.append(zxid(1, 1), Bytes::new(), &mut outputs);
        log.append(zxid(1, 2), Bytes::new(), &mut outputs);
        log.commit(zxid(1, 1));
        log.deliver_committed(&mut outputs);
        assert_eq!(log.delivered(), Zxid::ZERO);
        log.on_durable(AppendId(1));
        log.truncate(zxid(1, 1), &mut outputs);
        log.deliver_committed(&mut outputs);
        assert_eq!(log.delivered(), Zxid::ZERO);
        log.on_restored();
        log.deliver_committed(&mut outputs);
        assert_eq!(log.delivered(), zxid(1, 1));
    }
}
