//! What can go wrong between memory and disk: the machine failed us, or the files do not make
//! sense.

use std::io;
use std::path::PathBuf;

/// The result of everything in this crate that touches a file.
pub type Result<T> = std::result::Result<T, Error>;

/// Why the store cannot go on. All of these are for a person to read; none is worth a retry.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused an operation. After a failed write or sync nobody knows what is
    /// on the disk (the kernel drops the dirty pages), so the store refuses all further work and
    /// the process must end.
    #[error("cannot {op} {}: {source}", path.display())]
    Io {
        /// What was attempted, as a verb.
        op: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A file holds what no crash of a correct server can leave behind. Nothing was changed.
    #[error("{} is damaged at offset {offset}: {what}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where in the file, in bytes from its start.
        offset: u64,
        /// What was found and what was expected, as a sentence without a final stop.
        what: String,
    },
    /// The files are sound one by one but not together, or not of a kind this version reads.
    /// Nothing was changed.
    #[error("{}: {what}", path.display())]
    Refused {
        /// The file or directory that shows it.
        path: PathBuf,
        /// What was found and what was expected, as a sentence without a final stop.
        what: String,
    },
    /// An earlier operation failed; what is on the disk is unknown until the next start.
    #[error("storage has failed before and accepts nothing more: {first}")]
    Poisoned {
        /// The first failure.
        first: String,
    },
}
