//! A tree as a stream of bytes: the body of a snapshot file and of SNAP in the quorum protocol.
//!
//! ```text
//! int count, { long session, int timeout }*        sessions
//! int count, { long number, vector<ACL> }*          ACL lists
//! { string path, buffer data, long acl, Stat }*     znodes, parents first; the root's path is ""
//! string "/"                                        the end
//! ```
//!
//! The file header before it and the seals after it are the business of who writes files. A frozen
//! tree is written piece by piece, so that a thread can take its time; a tree is read from pieces
//! of any size, because sockets deliver them so. Everything is written in order, so equal trees
//! make equal bytes.

mod reader;
mod writer;

pub use reader::{Fed, SnapshotError, TreeReader};
pub use writer::{Progress, TreeWriter};
