//! store: the bytes that survive.

mod disk;
mod epoch_file;
mod error;
mod files;
mod my_id;
mod os_disk;
mod reader;
mod retention;
mod segment;
mod txn_log;

pub use disk::{Dir, Disk, File};
pub use error::{Error, Result};
pub use my_id::{read_my_id, write_my_id};
pub use os_disk::OsDisk;
