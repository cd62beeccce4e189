//! Client connections: who accepts them, the shards that hold them, the stream of one.

pub mod shard_loop;
pub mod stream;
pub mod listener;
pub mod shard_thread;
