//! A whole server without I/O: `handle(now, input, &mut outputs)` and nothing else.
//!
//! Two state machines live here. [`Replica`] is the core: one per server, the only one that changes the tree.
//! [`Shard`] is the client side: it holds connections, keeps each session's order, answers reads from the shared
//! tree and passes everything else to the core.
//!
//! What a client may rely on:
//! - Requests of one session are answered in the order they were sent.
//! - A read sees all earlier writes of its own session on this server, none of its later ones, and never an older state
//!   than before.
//! - A watch event is sent before any answer that shows the change.
//! - A write is answered after it was committed by a majority and applied here.

pub mod config;
pub mod io;
pub mod leading;
pub mod learning;
mod read_order;
pub mod replica;
pub mod request;
pub mod session_tracker;
pub mod shard;

pub use config::{Config, Mode};
pub use io::{Changes, Input, Now, Outcome, Output, PeerMessage, Rebuild, Report, ShardOutput};
pub use replica::{Recovered, Replica};
pub use request::{AuthIds, Client, Connect, ConnectionId, Order, Request, SessionId, ShardId};
pub use shard::Shard;
