//! The few file operations all durability rests on, as a trait: production runs on
//! [`OsDisk`](crate::OsDisk), tests and the simulator on disks that forget whatever was not synced.
//!
//! What an implementation promises, and all that the crate relies on:
//! - Written bytes survive a crash only if a `sync` of that file returned after the write. Unsynced
//!   writes may survive in any part: sectors may be missing, in any order.
//! - A created, renamed or removed name survives only if a `sync_dir` of its directory returned
//!   afterwards. Unsynced changes of names may survive independently of each other.
//! - A rename replaces its target atomically.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Bytes of zeros written between two syncs while a file is filled, so that the log's own syncs do not queue behind
/// the whole of it.
pub(crate) const ZEROS_BYTES: usize = 1024 * 1024;

/// Writes `head` and then zeros, durably.
pub(crate) fn fill(mut file: Box<dyn File>, head: &[u8], bytes: u64) -> io::Result<()> {
    file.write_at(0, head)?;
    let zeros = vec![0; ZEROS_BYTES.min(bytes as usize)];
    let mut offset = head.len() as u64;
    while offset < bytes {
        let length = (bytes - offset).min(zeros.len() as u64);
        file.write_at(offset, &zeros[..length as usize])?;
        file.sync()?;
        offset += length;
    }
    file.sync()
}

/// The directories of a server. `Data` and `Log` may be the same directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dir {
    /// `dataDir` itself: `initialize`.
    Home,
    /// `dataDir/version-2`: snapshots and epoch files.
    Data,
    /// `dataLogDir/version-2`: log files.
    Log,
}

/// A disk with the directories of one server. Names are plain file names inside a [`Dir`].
///
/// Shared between the owner of the [`Store`](crate::Store) and the threads that write snapshots and
/// prepare segments.
pub trait Disk: fmt::Debug + Send + Sync {
    /// The path of a name, for messages.
    fn path(&self, dir: Dir, name: &str) -> PathBuf;

    /// The names in a directory, in any order.
    ///
    /// # Errors
    /// As the operating system reports them; here and below.
    fn list(&self, dir: Dir) -> io::Result<Vec<String>>;

    /// Opens an existing file for reading and writing.
    ///
    /// # Errors
    /// `NotFound` when there is none.
    fn open(&self, dir: Dir, name: &str) -> io::Result<Box<dyn File>>;

    /// Creates a file, or empties an existing one.
    ///
    /// # Errors
    /// As reported.
    fn create(&self, dir: Dir, name: &str) -> io::Result<Box<dyn File>>;

    /// Creates a file of `bytes` zeros (at least as many as `head` has) that begins with `head`. Contents and length
    /// are durable, and all of it is written, so that later writes into it allocate nothing. Takes long.
    ///
    /// # Errors
    /// As reported.
    fn create_zeroed(&self, dir: Dir, name: &str, head: &[u8], bytes: u64) -> io::Result<()> {
        fill(self.create(dir, name)?, head, bytes)
    }

    /// Renames within a directory; replaces `to` if it exists.
    ///
    /// # Errors
    /// `NotFound` when there is no `from`.
    fn rename(&self, dir: Dir, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// `NotFound` when there is none.
    fn remove(&self, dir: Dir, name: &str) -> io::Result<()>;

    /// Makes all earlier changes of names in `dir` durable.
    ///
    /// # Errors
    /// As reported; fatal.
    fn sync_dir(&self, dir: Dir) -> io::Result<()>;
}

/// An open file. Stays usable when the name is renamed or removed.
pub trait File: fmt::Debug + Send {
    /// Its length in bytes.
    ///
    /// # Errors
    /// As reported; here and below.
    fn size(&self) -> io::Result<u64>;

    /// Bytes of the units in which it is cached: one that is overwritten whole is not read first.
    fn page_bytes(&self) -> u64 {
        1
    }

    /// Reads at `offset` until `buffer` is full or the file ends; the number of bytes read.
    ///
    /// # Errors
    /// As reported.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset`; the file grows if needed, with zeros in any gap.
    ///
    /// # Errors
    /// As reported.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Cuts the file to `size` bytes. Durable after the next `sync`.
    ///
    /// # Errors
    /// As reported.
    fn truncate(&mut self, size: u64) -> io::Result<()>;

    /// Makes contents and length durable (`fdatasync`).
    ///
    /// # Errors
    /// As reported; fatal.
    fn sync(&mut self) -> io::Result<()>;
}
