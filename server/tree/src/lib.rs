//! tree: the replicated state machine, without I/O, clock, randomness or threads.
//!
//! A write takes two steps. The leader *prepares* a request: [`Prep`] checks it against the tree
//! and what is pending, decides everything there is to decide (name of a sequential znode, new
//! version, time, error) and writes the decision down as a transaction. Every server then *applies*
//! transactions in order: [`DataTree::apply`] decides nothing, so equal histories make equal trees.
//! A transaction that does not fit is no error to be handled but proof that servers have diverged,
//! and stops the process.
//!
//! Reads are answered from the tree by whoever holds [`SharedTree::read`]. Watches live outside,
//! one [`WatchTable`] per I/O shard, fed by the [`Change`]s that applying yields. A [`FrozenTree`]
//! stands still for as long as a snapshot takes to be written, while the tree goes on.
//!
//! Formats and semantics are those of ZooKeeper 3.9. A zxid is just a growing number here.

pub mod acl;
mod acl_table;
mod children;
pub mod path;

mod node;
mod node_map;

mod change;
mod digest;

mod tree;

mod apply;
mod prep;
mod read;

pub mod snapshot;
pub mod watch;

pub use acl::AclList;
pub use apply::{ApplyMode, TxnResult};
pub use change::{Change, ChangeKind};
pub use digest::VERSION as DIGEST_VERSION;
pub use node::{ChildNames, Owner, Znode};
pub use prep::{Prep, PrepRequest};
pub use snapshot::{TreeReader, TreeWriter};
pub use tree::{DataTree, FrozenTree, SharedTree};
pub use watch::{WatchKind, WatchTable, WatcherId};
