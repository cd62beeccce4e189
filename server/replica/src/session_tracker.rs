//! Which sessions are alive: on the leader the deadlines, on a learner the sessions touched since the last PING.
//!
//! Only a leader expires sessions, and it starts with a full timeout for everyone. Deadlines are rounded up to whole
//! buckets, so a session is never expired early: it ends within (timeout, timeout + bucket].

use std::collections::{BTreeMap, BTreeSet};

use zab::{LinkId, Millis};

use crate::request::SessionId;

/// The server that holds a session's connection, as the leader knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The leader itself.
    Leader,
    /// The learner behind this link.
    Learner(LinkId),
}

/// A session moved to another server; requests of its old owner are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved;

#[derive(Debug)]
struct Entry {
    timeout_ms: u64,
    bucket: u64,
    /// Unknown after a change of leader, until the first request or revalidation.
    owner: Option<Owner>,
}

/// The leader's deadlines.
#[derive(Debug)]
pub struct SessionTracker {
    /// Length of a bucket: the tick.
    bucket_ms: u64,
    sessions: BTreeMap<SessionId, Entry>,
    buckets: BTreeMap<u64, BTreeSet<SessionId>>,
}

impl SessionTracker {
    /// A tracker whose buckets are `bucket_ms` long (at least 1).
    #[must_use]
    pub fn new(bucket_ms: u64) -> Self {
        assert!(bucket_ms > 0, "a bucket has a length");
        Self { bucket_ms, sessions: BTreeMap::new(), buckets: BTreeMap::new() }
    }

    /// Starts the clock of a session.
    pub fn add(&mut self, now: Millis, session: SessionId, timeout_ms: i32) {
        let timeout_ms = u64::try_from(timeout_ms).unwrap_or(0);
        self.remove(session);
        let entry = Entry { timeout_ms, bucket: 0, owner: None };
        self.sessions.insert(session, entry);
        self.touch(now, session);
    }

    /// Forgets a session.
    pub fn remove(&mut self, session: SessionId) {
        if let Some(entry) = self.sessions.remove(&session) {
            self.leave_bucket(entry.bucket, session);
        }
    }

    /// The session was heard of. False when it is not alive.
    pub fn touch(&mut self, now: Millis, session: SessionId) -> bool {
        let Some(entry) = self.sessions.get_mut(&session) else {
            return false;
        };
        // Rounded up to the end of a bucket, so never early.
        let bucket = now.plus(entry.timeout_ms).0 / self.bucket_ms + 1;
        let old = std::mem::replace(&mut entry.bucket, bucket);
        if old != bucket {
            self.leave_bucket(old, session);
            self.buckets.entry(bucket).or_default().insert(session);
        }
        true
    }

    /// A client came back to its session, with a timeout negotiated anew. False when it is not alive.
    pub fn resume(&mut self, now: Millis, session: SessionId, timeout_ms: i32) -> bool {
        if let Some(entry) = self.sessions.get_mut(&session) {
            entry.timeout_ms = u64::try_from(timeout_ms).unwrap_or(0);
        }
        self.touch(now, session)
    }

    /// Makes `owner` the holder of the session's connection (a handshake or a revalidation).
    pub fn set_owner(&mut self, session: SessionId, owner: Owner) {
        if let Some(entry) = self.sessions.get_mut(&session) {
            entry.owner = Some(owner);
        }
    }

    /// Checks that a request of `session` comes from its owner; the first one to ask becomes it.
    ///
    /// # Errors
    /// [`Moved`] when the session belongs to another server by now.
    pub fn check_owner(&mut self, session: SessionId, owner: Owner) -> Result<(), Moved> {
        match self.sessions.get_mut(&session) {
            Some(Entry { owner: Some(known), .. }) if *known != owner => Err(Moved),
            Some(entry) => {
                entry.owner = Some(owner);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Takes out the sessions whose deadline has passed.
    pub fn expire(&mut self, now: Millis) -> Vec<SessionId> {
        let mut expired = Vec::new();
        while let Some(bucket) = self.buckets.first_entry() {
            if *bucket.key() * self.bucket_ms > now.0 {
                break;
            }
            for session in bucket.remove() {
                self.sessions.remove(&session);
                expired.push(session);
            }
        }
        expired
    }

    /// When `expire` has something to do next.
    #[must_use]
    pub fn wake_at(&self) -> Option<Millis> {
        self.buckets.keys().next().map(|bucket| Millis(bucket * self.bucket_ms))
    }

    fn leave_bucket(&mut self, bucket: u64, session: SessionId) {
        if let Some(sessions) = self.buckets.get_mut(&bucket) {
            sessions.remove(&session);
            if sessions.is_empty() {
                self.buckets.remove(&bucket);
            }
        }
    }
}

/// Makes session ids: the server's id in the first byte, then milliseconds of wall time, then a counter.
///
/// Wall time and not uptime as in Java, whose ids repeat after a host reboot while old sessions may still live.
#[derive(Debug)]
pub struct SessionIds {
    next: i64,
}

impl SessionIds {
    /// Ids for a process of server `server_id` that starts at `wall_ms`.
    #[must_use]
    pub fn new(server_id: u64, wall_ms: i64) -> Self {
        // As ZooKeeper lays it out: 1 byte server, 5 bytes time, 2 bytes counter.
        let time = ((wall_ms << 24) as u64) >> 8;
        Self { next: ((server_id << 56) | time) as i64 }
    }

    /// An id never given before.
    pub fn next_id(&mut self) -> SessionId {
        self.next += 1;
        SessionId(self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_expires_after_its_timeout_and_never_before() {
        let mut tracker = SessionTracker::new(2000);
        let session = SessionId(7);
        tracker.add(Millis(1500), session, 4000);
        assert_eq!(tracker.wake_at(), Some(Millis(6000)));
        assert!(tracker.expire(Millis(5999)).is_empty());
        assert!(tracker.touch(Millis(5900), session));
        assert!(tracker.expire(Millis(9900)).is_empty());
        assert_eq!(tracker.expire(Millis(10_000)), vec![session]);
        assert!(!tracker.touch(Millis(10_000), session));
        assert_eq!(tracker.wake_at(), None);
    }

    #[test]
    fn only_the_owner_may_ask_for_a_session_until_it_moves() {
        let mut tracker = SessionTracker::new(10);
        let session = SessionId(1);
        tracker.add(Millis(0), session, 100);
        let learner = Owner::Learner(LinkId(4));
        assert_eq!(tracker.check_owner(session, learner), Ok(()));
        assert_eq!(tracker.check_owner(session, Owner::Leader), Err(Moved));
        tracker.set_owner(session, Owner::Leader);
        assert_eq!(tracker.check_owner(session, Owner::Leader), Ok(()));
        assert_eq!(tracker.check_owner(session, learner), Err(Moved));
    }

    #[test]
    fn session_ids_carry_the_server_and_grow() {
        let mut ids = SessionIds::new(3, 1_700_000_000_000);
        let (first, second) = (ids.next_id(), ids.next_id());
        assert_eq!(first.0 >> 56, 3);
        assert!(second > first);
    }
}
