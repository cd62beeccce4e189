//! The two epoch files, `acceptedEpoch` and `currentEpoch`: decimal text, as Apache ZooKeeper
//! writes them.

use zab::{Epoch, Epochs};

use crate::disk::Dir;
use crate::error::{Error, Result};
use crate::files::Files;

const ACCEPTED: &str = "acceptedEpoch";
const CURRENT: &str = "currentEpoch";

/// Reads both; nothing is changed. A missing one stands for `default`, the epoch of the last zxid, as in Apache
/// ZooKeeper: a standalone server never writes them.
pub(crate) fn read(files: &Files, default: Epoch) -> Result<Epochs> {
    let accepted = read_one(files, ACCEPTED)?;
    let current = read_one(files, CURRENT)?;
    if let (None, Some(current)) = (accepted, current)
        && current > Epoch(0)
    {
        return Err(Error::Refused {
            path: files.path(Dir::Data, ACCEPTED),
            what: format!(
                "the file is missing, but {CURRENT} says {current}; this server may have promised to a later epoch, and \
                 must not follow an older leader"
            ),
        });
    }
    let epochs =
        Epochs { accepted: accepted.unwrap_or(default), current: current.unwrap_or(default) };
    if epochs.accepted < epochs.current {
        return Err(Error::Refused {
            path: files.path(Dir::Data, ACCEPTED),
            what: format!(
                "the accepted epoch is {} but the current epoch {} (from {}) is later; \
                 no epoch is adopted before it is accepted",
                epochs.accepted,
                epochs.current,
                if current.is_some() { CURRENT } else { "the log" },
            ),
        });
    }
    if default > epochs.accepted {
        return Err(Error::Refused {
            path: files.path(Dir::Data, ACCEPTED),
            what: format!(
                "the accepted epoch is {} but the log ends in epoch {default}; \
                 no transaction is logged before its epoch is accepted",
                epochs.accepted,
            ),
        });
    }
    Ok(epochs)
}

/// Writes what `read` has found missing. The history that `epochs` was taken from must be durable.
pub(crate) fn complete(files: &Files, epochs: Epochs) -> Result<()> {
    if !files.exists(Dir::Data, ACCEPTED)? || !files.exists(Dir::Data, CURRENT)? {
        write(files, ACCEPTED, epochs.accepted)?;
        write(files, CURRENT, epochs.current)?;
    }
    Ok(())
}

/// Replaces what differs. `accepted` first: at every moment accepted ≥ current on disk.
pub(crate) fn save(files: &Files, old: Epochs, new: Epochs) -> Result<()> {
    assert!(
        new.accepted >= new.current && new.accepted >= old.accepted && new.current >= old.current,
        "epochs only grow, and none is adopted before it is accepted: {old:?} to {new:?}"
    );
    if new.accepted != old.accepted {
        write(files, ACCEPTED, new.accepted)?;
    }
    if new.current != old.current {
        write(files, CURRENT, new.current)?;
    }
    Ok(())
}

fn write(files: &Files, name: &str, epoch: Epoch) -> Result<()> {
    files.replace(Dir::Data, name, epoch.to_string().as_bytes())
}

fn read_one(files: &Files, name: &str) -> Result<Option<Epoch>> {
    let Some(bytes) = files.read_small(Dir::Data, name)? else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(&bytes);
    match text.trim_end().parse() {
        Ok(epoch) => Ok(Some(Epoch(epoch))),
        Err(_) => Err(Error::Corrupt {
            path: files.path(Dir::Data, name),
            offset: 0,
            what: format!("found {text:?}, expected an epoch as a decimal number"),
        }),
    }
}
