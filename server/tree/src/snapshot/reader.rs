//! A tree, read from pieces of any size.

use std::fmt;

use jute::data::{Acl, StatPersisted};
use jute::{Decode, DecodeError, Reader};

use crate::acl::AclList;
use crate::path;
use crate::tree::{DataTree, NewNode};

/// No string, buffer or vector in a snapshot is longer: far above any `jute.maxbuffer` in use, and
/// low enough to tell noise from a stream at once.
const LENGTH_MAX: usize = 1 << 28;

/// What a piece led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fed {
    /// All of it was taken; the stream goes on.
    NeedMore,
    /// The stream is complete.
    Done {
        /// How many bytes of this piece belonged to it.
        consumed: usize,
    },
}

/// Why a stream is no tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotError {
    /// Where the entry in question begins, in bytes from the start of the stream.
    pub offset: u64,
    /// What is wrong, a sentence without its full stop.
    pub what: String,
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tree stream, entry at byte {}: {}", self.offset, self.what)
    }
}

impl std::error::Error for SnapshotError {}

#[derive(Clone, Copy, Debug)]
enum State {
    SessionCount,
    Session { left: usize },
    AclCount,
    Acl { left: usize },
    Node,
    Done,
}

/// Builds a [`DataTree`] from the pieces of a stream.
#[derive(Debug)]
pub struct TreeReader {
    tree: DataTree,
    state: State,
    /// The beginning of an entry whose rest has not come.
    partial: Vec<u8>,
    /// Bytes before `partial`.
    offset: u64,
}

impl TreeReader {
    /// Starts to read; `hash_seed` as in [`DataTree::new`].
    #[must_use]
    pub fn new(hash_seed: u64) -> Self {
        let tree = DataTree::empty(hash_seed);
        Self { tree, state: State::SessionCount, partial: Vec::new(), offset: 0 }
    }

    /// Takes the next piece. After [`Fed::Done`] call [`finish`](Self::finish).
    ///
    /// # Errors
    /// The stream is not that of a tree. The reader is of no more use.
    pub fn feed(&mut self, piece: &[u8]) -> Result<Fed, SnapshotError> {
        if self.partial.is_empty() {
            let used = self.take_entries(piece)?;
            if matches!(self.state, State::Done) {
                return Ok(Fed::Done { consumed: used });
            }
            self.partial.extend_from_slice(&piece[used..]);
        } else {
            let had = self.partial.len();
            let mut bytes = std::mem::take(&mut self.partial);
            bytes.extend_from_slice(piece);
            let used = self.take_entries(&bytes)?;
            if matches!(self.state, State::Done) {
                return Ok(Fed::Done { consumed: used - had });
            }
            bytes.drain(..used);
            self.partial = bytes;
        }
        Ok(Fed::NeedMore)
    }

    /// The tree, as of `last_zxid`.
    ///
    /// # Errors
    /// The stream is not complete.
    pub fn finish(mut self, last_zxid: i64) -> Result<DataTree, SnapshotError> {
        if !matches!(self.state, State::Done) {
            return Err(self.error(0, "the stream ends here, in the middle of the tree"));
        }
        self.tree.acls.drop_unused();
        self.tree.ensure_config_node();
        self.tree.last_zxid = last_zxid;
        Ok(self.tree)
    }

    /// Takes all whole entries at the start of `bytes`; returns their length.
    fn take_entries(&mut self, bytes: &[u8]) -> Result<usize, SnapshotError> {
        let mut used = 0;
        while !matches!(self.state, State::Done) {
            let mut reader = Reader::with_length_limit(&bytes[used..], LENGTH_MAX);
            match self.take_entry(&mut reader) {
                Ok(next) => self.state = next,
                Err(Trouble::Decode(error)) if error.is_truncated() => break,
                Err(Trouble::Decode(error)) => return Err(self.error(used, &error.to_string())),
                Err(Trouble::Content(what)) => return Err(self.error(used, &what)),
            }
            used += reader.offset();
        }
        self.offset += used as u64;
        Ok(used)
    }

    fn error(&self, used: usize, what: &str) -> SnapshotError {
        SnapshotError { offset: self.offset + used as u64, what: what.to_owned() }
    }

    fn take_entry(&mut self, reader: &mut Reader<'_>) -> Result<State, Trouble> {
        Ok(match self.state {
            State::SessionCount => sessions_left(count(reader)?),
            State::Session { left } => {
                let session = i64::decode(reader)?;
                let timeout_ms = i32::decode(reader)?;
                self.tree.sessions.insert(session, timeout_ms);
                sessions_left(left - 1)
            }
            State::AclCount => acls_left(count(reader)?),
            State::Acl { left } => {
                let number = i64::decode(reader)?;
                let list = AclList::from_wire(&Vec::<Acl<'_>>::decode(reader)?);
                if !self.tree.acls.register(number, list) {
                    return Err(Trouble::Content(format!("ACL list {number} comes twice")));
                }
                acls_left(left - 1)
            }
            State::Node => self.take_node(reader)?,
            State::Done => State::Done,
        })
    }

    fn take_node(&mut self, reader: &mut Reader<'_>) -> Result<State, Trouble> {
        let path = <&str>::decode(reader)?;
        let has_root = self.tree.get(path::ROOT).is_some();
        if path == path::ROOT {
            return match has_root {
                true => Ok(State::Done),
                false => Err(Trouble::Content("the tree ends before its root".to_owned())),
            };
        }
        let data = Option::<&[u8]>::decode(reader)?;
        let acl = i64::decode(reader)?;
        let stat = StatPersisted::decode(reader)?;
        let parent = path::parent(path);
        let problem = if path.is_empty() {
            has_root.then(|| "the root comes twice".to_owned())
        } else if parent.is_none_or(|parent| self.tree.get(parent).is_none()) {
            Some(format!("znode {path} comes before its parent"))
        } else if self.tree.get(path).is_some() {
            Some(format!("znode {path} comes twice"))
        } else if !self.tree.acls.contains(acl) {
            Some(format!("znode {path} has ACL list {acl}, which is not in the stream"))
        } else {
            None
        };
        if let Some(problem) = problem {
            return Err(Trouble::Content(problem));
        }
        self.tree.acls.count_use(acl);
        let path = if path.is_empty() { path::ROOT } else { path };
        self.tree.insert_node(&NewNode { path, data, acl, stat });
        Ok(State::Node)
    }
}

fn sessions_left(left: usize) -> State {
    if left == 0 { State::AclCount } else { State::Session { left } }
}

fn acls_left(left: usize) -> State {
    if left == 0 { State::Node } else { State::Acl { left } }
}

fn count(reader: &mut Reader<'_>) -> Result<usize, Trouble> {
    let found = i32::decode(reader)?;
    usize::try_from(found).map_err(|_| Trouble::Content(format!("a count of {found}")))
}

enum Trouble {
    Decode(DecodeError),
    Content(String),
}

impl From<DecodeError> for Trouble {
    fn from(error: DecodeError) -> Self {
        Self::Decode(error)
    }
}
