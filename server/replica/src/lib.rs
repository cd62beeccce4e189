//! A whole server without I/O: `handle(now, input, &mut outputs)` and nothing else.
//!
//! Two state machines live here. [`Replica`] is the core: one per server, the only one that changes the tree.
//! [`Shard`] is the client side: it holds connections, keeps each session's order, answers reads from the shared
//! tree and passes everything else to the core.
//!
//! What a client may rely on:
//! - Requests of one session are answered in the order they were sent.
//! - A read sees at least all earlier writes of its own session on this server, and never an older state than before.
//! - A watch event is sent before any answer that shows the change.
//! - A write is answered after it was committed by a majority and applied here.

pub mod config;
pub mod io;
pub mod leading;
pub mod learning;
pub mod replica;
pub mod request;
pub mod session_tracker;
pub mod shard;

pub use config::{Config, Mode};
pub use io::{Input, Now, Outcome, Output, PeerMessage, Rebuild, Report, ShardOutput};
pub use replica::Replica;
pub use request::{AuthIds, Client, Connect, ConnectionId, Request, SessionId, ShardId};
pub use shard::Shard;
