//! Tells whether the directory of the log is the one this server wrote to.
//!
//! Log and snapshots may lie on different disks. Without the log the newest snapshot alone looks like a whole history, one
//! that ends early; a server that voted with it could help to elect a leader without transactions it had acknowledged. So
//! the log's directory carries a mark, and the other one a note that there is one.

use zab::Zxid;

use crate::disk::Dir;
use crate::error::{Error, Result};
use crate::files::Files;

/// In the directory of the log.
const MARK: &str = "zab-log";
/// In the directory of the snapshots, from the time on when the mark is there.
const NOTE: &str = "zab-log-exists";

/// Whether the log may be missing a directory; nothing is changed.
///
/// # Errors
/// `Refused` when the directory of the log is not the one it was.
pub(crate) fn check(files: &Files, last: Zxid) -> Result<()> {
    if files.exists(Dir::Data, NOTE)? && !files.exists(Dir::Log, MARK)? {
        return Err(Error::Refused {
            path: files.path(Dir::Log, ""),
            what: format!(
                "this is not the log directory that this server wrote to, which has a file {MARK}; the history would end with \
                 {last}, and what was logged later is lost. If the directory was moved, move that file too. If the log is lost, \
                 empty both directories, and the server learns everything from the others"
            ),
        });
    }
    Ok(())
}

/// Leaves the mark, durably, then the note.
pub(crate) fn leave(files: &Files) -> Result<()> {
    for (dir, name) in [(Dir::Log, MARK), (Dir::Data, NOTE)] {
        if !files.exists(dir, name)? {
            files.create(dir, name)?.sync()?;
            files.sync_dir(dir)?;
        }
    }
    Ok(())
}
