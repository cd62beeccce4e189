//! Client connections: who accepts them, the shards that hold them, the stream of one.

pub mod listener;
pub mod shard_loop;
pub mod shard_thread;
pub mod stream;
