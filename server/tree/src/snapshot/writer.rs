//! A frozen tree, written piece by piece.

use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use jute::Encode;

use crate::node::Znode;
use crate::path;
use crate::tree::FrozenTree;

/// Whether there is more to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Call again.
    More,
    /// The stream is complete.
    Done,
}

/// Writes a [`FrozenTree`].
#[derive(Debug)]
pub struct TreeWriter {
    tree: FrozenTree,
    at: Position,
}

#[derive(Debug)]
enum Position {
    Start,
    Session {
        after: i64,
    },
    AclCount,
    Acl {
        after: Option<i64>,
    },
    /// The way from the root to the znode written last; each with the child visited last.
    Node {
        way: Vec<Visited>,
    },
    Done,
}

#[derive(Debug)]
struct Visited {
    node: Arc<Znode>,
    child: Option<Arc<str>>,
}

impl TreeWriter {
    /// Starts to write a tree.
    #[must_use]
    pub const fn new(tree: FrozenTree) -> Self {
        Self { tree, at: Position::Start }
    }

    /// The tree being written.
    #[must_use]
    pub const fn tree(&self) -> &FrozenTree {
        &self.tree
    }

    /// Appends the next piece to `out`: until `out` holds `length` bytes or a little more (one
    /// znode), or the stream is complete.
    pub fn next_chunk(&mut self, length: usize, out: &mut BytesMut) -> Progress {
        while out.len() < length {
            match self.step(out) {
                Some(next) => self.at = next,
                None => {
                    self.at = Position::Done;
                    return Progress::Done;
                }
            }
        }
        Progress::More
    }

    fn step(&mut self, out: &mut BytesMut) -> Option<Position> {
        match &mut self.at {
            Position::Start => {
                jute::codec::encode_length(self.tree.sessions.len(), out);
                Some(match self.tree.sessions.get_min() {
                    Some((session, timeout_ms)) => put_session(*session, *timeout_ms, out),
                    None => Position::AclCount,
                })
            }
            Position::Session { after } => {
                let rest = (std::ops::Bound::Excluded(*after), std::ops::Bound::Unbounded);
                Some(match self.tree.sessions.range(rest).next() {
                    Some((session, timeout_ms)) => put_session(*session, *timeout_ms, out),
                    None => Position::AclCount,
                })
            }
            Position::AclCount => {
                jute::codec::encode_length(self.tree.acls.len(), out);
                Some(Position::Acl { after: None })
            }
            Position::Acl { after } => Some(match self.tree.acls.next_after(*after) {
                Some((number, list)) => {
                    out.put_i64(number);
                    list.encode(out);
                    Position::Acl { after: Some(number) }
                }
                None => {
                    let root = self.tree.nodes.get_shared(path::ROOT);
                    let node = root.expect("every tree has a root").clone();
                    put_node("", &node, out);
                    Position::Node { way: vec![Visited { node, child: None }] }
                }
            }),
            Position::Node { way } => {
                let mut way = std::mem::take(way);
                while let Some(Visited { node, child }) = way.last_mut() {
                    let Some(next) = node.next_child_after(child.as_deref()).cloned() else {
                        way.pop();
                        continue;
                    };
                    *child = Some(next.clone());
                    let node = self.tree.nodes.get_shared(&next).expect("a child is in the map");
                    put_node(&next, node, out);
                    if node.children.is_some() {
                        way.push(Visited { node: node.clone(), child: None });
                    }
                    return Some(Position::Node { way });
                }
                path::ROOT.encode(out);
                None
            }
            Position::Done => None,
        }
    }
}

fn put_session(session: i64, timeout_ms: i32, out: &mut BytesMut) -> Position {
    out.put_i64(session);
    out.put_i32(timeout_ms);
    Position::Session { after: session }
}

fn put_node(path: &str, node: &Znode, out: &mut BytesMut) {
    path.encode(out);
    node.data().encode(out);
    out.put_i64(node.acl);
    node.stat.encode(out);
}
