//! Takes transactions and unfinished writes off the end of the log.

use zab::Zxid;

use crate::disk::Dir;
use crate::error::Result;
use crate::files::Files;
use crate::reader::Reader;
use crate::recovery::{self, Repair, Unsure};
use crate::segment;

/// Bytes written at once.
const CHUNK_BYTES: usize = 1024 * 1024;

/// Cuts what a crash has left at the end of the log, so that no later crash can make it look like
/// damage.
pub(crate) fn repair(files: &Files, repair: &Repair) -> Result<()> {
    for name in &repair.empty {
        files.remove(Dir::Log, name)?;
    }
    if !repair.empty.is_empty() {
        files.sync_dir(Dir::Log)?;
    }
    if let Some((name, size)) = &repair.torn {
        let mut file = files.open(Dir::Log, name)?;
        file.truncate(*size)?;
        file.sync()?;
    }
    if let Some(unsure) = &repair.unsure {
        write_again(files, unsure)?;
    }
    if let Some((name, size)) = &repair.trim {
        files.open(Dir::Log, name)?.truncate(*size)?;
    }
    Ok(())
}

/// Makes durable what was read, even if the system believes that it is.
fn write_again(files: &Files, unsure: &Unsure) -> Result<()> {
    let mut file = files.open(Dir::Log, &unsure.name)?;
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut offset = unsure.from;
    while offset < unsure.to {
        let length = (unsure.to - offset).min(CHUNK_BYTES as u64) as usize;
        let read = file.read_at(offset, &mut chunk[..length])?;
        if read == 0 {
            break;
        }
        file.write_at(offset, &chunk[..read])?;
        offset += read as u64;
    }
    file.sync()
}

/// Whether the log holds this transaction.
pub(crate) fn log_has(files: &Files, zxid: Zxid) -> Result<bool> {
    let logs = recovery::logs(files)?;
    let Some(first) = logs.iter().rev().find(|first| **first <= zxid) else {
        return Ok(false);
    };
    let mut reader = Reader::open(files, &segment::name(*first))?;
    while let Some(record) = reader.next()? {
        if record.zxid >= zxid {
            return Ok(record.zxid == zxid);
        }
    }
    Ok(false)
}

/// Removes every transaction after `after` from the log, newest first, each step durable before the
/// next: what a crash leaves is always a prefix.
pub(crate) fn cut_log(files: &Files, after: Zxid) -> Result<()> {
    for first in recovery::logs(files)?.into_iter().rev() {
        let name = segment::name(first);
        if first > after {
            files.remove(Dir::Log, &name)?;
            files.sync_dir(Dir::Log)?;
            continue;
        }
        let mut reader = Reader::open(files, &name)?;
        while let Some(record) = reader.next()? {
            if record.zxid > after {
                let mut file = files.open(Dir::Log, &name)?;
                file.truncate(record.offset)?;
                file.sync()?;
                break;
            }
        }
        return Ok(());
    }
    Ok(())
}
