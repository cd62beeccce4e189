//! The one-shot watches a client has set, so that they can be set again after a reconnect.

use std::collections::BTreeSet;

use jute::event::EventType;
use jute::request::SetWatches;

/// Paths in one SetWatches request take at most this many bytes, far below any frame limit.
const BATCH_BYTES: usize = 128 * 1024;

/// Which list of the server a watch is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Set by a read of data, or by `exists` on a znode that is there.
    Data,
    /// Set by `exists` on a znode that is not there.
    Exist,
    /// Set by a read of children.
    Child,
}

/// The watches that are armed.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    armed: BTreeSet<(Kind, String)>,
}

impl Watches {
    /// The server has armed a watch.
    pub(crate) fn arm(&mut self, kind: Kind, path: String) {
        self.armed.insert((kind, path));
    }

    /// An event has used up the watches it belongs to.
    pub(crate) fn fired(&mut self, event: EventType, path: &str) {
        let used: &[Kind] = match event {
            EventType::NodeCreated | EventType::NodeDataChanged => &[Kind::Data, Kind::Exist],
            EventType::NodeDeleted => &[Kind::Data, Kind::Exist, Kind::Child],
            EventType::NodeChildrenChanged => &[Kind::Child],
            _ => &[],
        };
        for kind in used {
            self.armed.remove(&(*kind, path.to_owned()));
        }
    }

    /// The requests that set all of them again: what happened after `zxid` then fires at once.
    pub(crate) fn to_requests(&self, zxid: i64) -> Vec<SetWatches<'_>> {
        let empty =
            || SetWatches { relative_zxid: zxid, data: vec![], exist: vec![], child: vec![] };
        let mut requests = Vec::new();
        let mut room = 0;
        for (kind, path) in &self.armed {
            let size = path.len() + 4;
            if size > room {
                requests.push(empty());
                room = BATCH_BYTES;
            }
            room = room.saturating_sub(size);
            let request = requests.last_mut().expect("one was pushed when there was no room");
            match kind {
                Kind::Data => request.data.push(path),
                Kind::Exist => request.exist.push(path),
                Kind::Child => request.child.push(path),
            }
        }
        requests
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watches() -> Watches {
        let mut watches = Watches::default();
        watches.arm(Kind::Data, "/a".into());
        watches.arm(Kind::Child, "/a".into());
        watches.arm(Kind::Exist, "/b".into());
        watches
    }

    #[test]
    fn all_armed_watches_are_set_again() {
        let watches = watches();
        let expected =
            SetWatches { relative_zxid: 7, data: vec!["/a"], exist: vec!["/b"], child: vec!["/a"] };
        assert_eq!(watches.to_requests(7), [expected]);
        assert_eq!(Watches::default().to_requests(7), []);
    }

    #[test]
    fn an_event_uses_up_the_watches_it_belongs_to() {
        let left = |event, path| {
            let mut watches = watches();
            watches.fired(event, path);
            watches.armed.len()
        };
        assert_eq!(left(EventType::NodeDeleted, "/a"), 1);
        assert_eq!(left(EventType::NodeChildrenChanged, "/a"), 2);
        assert_eq!(left(EventType::NodeCreated, "/b"), 2);
        assert_eq!(left(EventType::NodeDataChanged, "/c"), 3);
    }

    #[test]
    fn many_watches_take_several_requests() {
        let mut watches = Watches::default();
        let long = "x".repeat(1000);
        (0..300).for_each(|n| watches.arm(Kind::Data, format!("/{long}{n}")));
        let requests = watches.to_requests(1);
        assert_eq!(requests.len(), 3);
        assert_eq!(requests.iter().map(|request| request.data.len()).sum::<usize>(), 300);
    }
}
