//! store: the bytes that survive, in the files of Apache ZooKeeper 3.9.
//!
//! ```text
//! dataDir/myid                           who this server is
//! dataDir/version-2/snapshot.<zxid>      the tree as of a transaction
//! dataDir/version-2/acceptedEpoch        the two epochs of Zab
//! dataDir/version-2/currentEpoch
//! dataLogDir/version-2/log.<zxid>        transactions from that one on
//! dataLogDir/version-2/prepared-log      zeros that become the next log file
//! dataLogDir/version-2/zab-log           this is the directory that the log was written to
//! dataDir/version-2/zab-log-exists       such a directory must be there
//! ```
//!
//! One thread owns a [`Store`]; [`Maintenance`] and [`SnapshotWriter`] work beside it on other
//! threads. Every byte goes through the trait [`Disk`], so a simulated disk can lose whatever was
//! not synced.
//!
//! What is durable when:
//!
//! | call | durable when it returns |
//! |---|---|
//! | `append` | nothing |
//! | `sync` | everything appended: one write and one `fdatasync`, however many transactions |
//! | `save_epochs` | everything appended, then `acceptedEpoch`, then `currentEpoch` |
//! | `truncate` | snapshots after the cut removed, then log files, newest first, then the cut |
//! | `install_snapshot` | log after it cut, then the snapshot, then everything older removed |
//! | `SnapshotWriter::write` | the snapshot, unless history was cut meanwhile |
//!
//! A crash between any two steps leaves a prefix of what was appended, at least all that was
//! reported durable, and epochs that vouch for no more than that. The one flaw a crash can leave, a
//! torn tail of the newest log file, is cut at the next start. Everything else is damage and
//! refused with file and offset: dropping transactions that may have been acknowledged is for a
//! person to decide.

mod error;

mod disk;
mod os_disk;

mod files;

mod segment;

mod reader;
mod txn_log;

mod epoch_file;
mod log_marker;
mod snapshot_file;

mod recovery;
mod retention;

mod cut;

mod maintenance;

mod store;

pub use disk::{Dir, Disk, File};
pub use error::{Error, Result};
pub use maintenance::{Maintenance, Removed, SnapshotWriter, Written};
pub use os_disk::OsDisk;
pub use recovery::{Cut, Report};
pub use retention::SNAPSHOTS_MIN;
pub use store::{Empty, Options, Recovered, Store};
