//! Snapshot files: a header, the tree, and up to three seals.
//!
//! ```text
//! "ZKSN"  i32 2  i64 -1                              header
//! sessions, ACLs, znodes                             the tree, see tree::snapshot
//! i64 adler32(all before)  string "/"                first seal
//! i64 zxid  i32 digest version  i64 digest           digest of the tree, as of that zxid
//! i64 adler32(all before)  string "/"                second seal
//! i64 zxid                                           last transaction in the tree
//! i64 adler32(all before)  string "/"                third seal
//! ```
//!
//! Apache ZooKeeper 3.9 writes all of it, older versions stop after the first or second seal.
//! Nothing read from a snapshot is used before all its seals were found intact.

use bytes::BytesMut;
use simd_adler32::Adler32;
use tree::snapshot::{Fed, Progress, TreeReader, TreeWriter};
use tree::{DataTree, FrozenTree};
use zab::Zxid;

use crate::disk::Dir;
use crate::error::Result;
use crate::files::{Files, OpenFile};

const MAGIC: &[u8; 4] = b"ZKSN";
const VERSION: i32 = 2;
const DBID: i64 = -1;
const HEADER_BYTES: usize = 16;

/// A seal's last five bytes: the string "/".
const SEAL_END: [u8; 5] = [0, 0, 0, 1, b'/'];
const SEAL_BYTES: usize = 13;
const DIGEST_BYTES: usize = 20;
const LAST_ZXID_BYTES: usize = 8;
/// All that can follow the tree.
const SEALS_BYTES_MAX: usize = SEAL_BYTES * 3 + DIGEST_BYTES + LAST_ZXID_BYTES;

/// Bytes read or written at once.
const CHUNK_BYTES: usize = 1024 * 1024;

/// Synced after every so many bytes, so that the end does not find gigabytes of dirty pages that
/// the syncs of the log then queue behind.
const SYNC_BYTES: usize = 4 * 1024 * 1024;

/// The name of the snapshot as of `zxid`.
pub(crate) fn name(zxid: Zxid) -> String {
    format!("snapshot.{:x}", zxid.0)
}

/// Whether a snapshot can be read by this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// As above.
    Plain,
    /// Inside gzip or snappy.
    Compressed,
}

/// A file that is a snapshot by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) zxid: Zxid,
    pub(crate) form: Form,
    pub(crate) name: String,
}

/// The snapshots, oldest first.
pub(crate) fn list(files: &Files) -> Result<Vec<Named>> {
    let names = files.list(Dir::Data)?;
    let mut found: Vec<Named> = names.into_iter().filter_map(parse_name).collect();
    found.sort_by(|a, b| (a.zxid, &a.name).cmp(&(b.zxid, &b.name)));
    Ok(found)
}

fn parse_name(name: String) -> Option<Named> {
    let rest = name.strip_prefix("snapshot.")?;
    let (digits, form) = match rest.split_once('.') {
        None => (rest, Form::Plain),
        Some((digits, "gz" | "snappy")) => (digits, Form::Compressed),
        Some(_) => return None,
    };
    let zxid = i64::from_str_radix(digits, 16)
        .ok()
        .filter(|zxid| *zxid >= 0 && !digits.starts_with('+'))?;
    Some(Named { zxid: Zxid(zxid), form, name })
}

/// Where the tree of a snapshot comes from. Each has temporary names of its own: one of either kind, even of the same
/// zxid, may be written at the same time, and a name that is created anew is still the file the other is writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// This server.
    Own,
    /// Its leader.
    Leader,
}

impl Source {
    /// Not `snapshot.….tmp`: Apache ZooKeeper would take that for a snapshot.
    fn temporary_name(self, zxid: Zxid) -> String {
        match self {
            Self::Own => format!("new-{}.tmp", name(zxid)),
            Self::Leader => format!("received-{}.tmp", name(zxid)),
        }
    }
}

/// Writes a snapshot under a temporary name, durably; the name.
pub(crate) fn write_temporary(
    files: &Files,
    source: Source,
    zxid: Zxid,
    tree: &FrozenTree,
    throttle: &mut dyn FnMut(usize),
) -> Result<String> {
    let temporary = source.temporary_name(zxid);
    let mut sink = Sink {
        file: files.create(Dir::Data, &temporary)?,
        offset: 0,
        unsynced: 0,
        adler: Adler32::new(),
        throttle,
    };
    let mut buffer = BytesMut::with_capacity(CHUNK_BYTES + 4096);
    buffer.extend_from_slice(MAGIC);
    buffer.extend_from_slice(&VERSION.to_be_bytes());
    buffer.extend_from_slice(&DBID.to_be_bytes());
    let mut writer = TreeWriter::new(tree.clone());
    while writer.next_chunk(CHUNK_BYTES, &mut buffer) == Progress::More {
        sink.put(&buffer)?;
        buffer.clear();
    }
    sink.put(&buffer)?;
    sink.seal()?;
    let mut digest = Vec::with_capacity(DIGEST_BYTES);
    digest.extend_from_slice(&zxid.0.to_be_bytes());
    digest.extend_from_slice(&tree::DIGEST_VERSION.to_be_bytes());
    digest.extend_from_slice(&tree.digest().to_be_bytes());
    sink.put(&digest)?;
    sink.seal()?;
    sink.put(&zxid.0.to_be_bytes())?;
    sink.seal()?;
    sink.file.sync()?;
    Ok(temporary)
}

/// Gives a written snapshot its name, durably.
pub(crate) fn publish(files: &Files, temporary: &str, zxid: Zxid) -> Result<()> {
    files.rename(Dir::Data, temporary, &name(zxid))?;
    files.sync_dir(Dir::Data)
}

/// A file that remembers the checksum of all that was written.
struct Sink<'a> {
    file: OpenFile,
    offset: u64,
    unsynced: usize,
    adler: Adler32,
    throttle: &'a mut dyn FnMut(usize),
}

impl Sink<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.adler.write(bytes);
        self.file.write_at(self.offset, bytes)?;
        self.offset += bytes.len() as u64;
        self.unsynced += bytes.len();
        if self.unsynced >= SYNC_BYTES {
            self.file.sync()?;
            self.unsynced = 0;
        }
        (self.throttle)(bytes.len());
        Ok(())
    }

    fn seal(&mut self) -> Result<()> {
        let checksum = i64::from(self.adler.finish()).to_be_bytes();
        self.put(&[&checksum[..], &SEAL_END].concat())
    }
}

/// A cheap look at the end of a file: whether it was written to its end.
pub(crate) fn looks_whole(files: &Files, name: &str) -> Result<bool> {
    let file = files.open(Dir::Data, name)?;
    let Some(offset) = file.size()?.checked_sub(SEAL_END.len() as u64) else {
        return Ok(false);
    };
    let mut end = [0; SEAL_END.len()];
    Ok(file.read_at(offset, &mut end)? == end.len() && end == SEAL_END)
}

/// Reads a snapshot. The inner error is a sentence that says what is damaged, and where.
pub(crate) fn load(
    files: &Files,
    name: &str,
    zxid: Zxid,
    hash_seed: u64,
) -> Result<std::result::Result<DataTree, String>> {
    let file = files.open(Dir::Data, name)?;
    let mut adler = Adler32::new();
    let mut header = [0; HEADER_BYTES];
    let read = file.read_at(0, &mut header)?;
    if read < HEADER_BYTES || header[..4] != *MAGIC || header[4..8] != VERSION.to_be_bytes() {
        return Ok(Err(format!(
            "the file begins with {:02x?}, expected \"ZKSN\" and version 2",
            &header[..read.min(8)]
        )));
    }
    let mut chunk = vec![0; CHUNK_BYTES];
    if let Err(what) = check_last_seal(&file, &mut chunk)? {
        return Ok(Err(what));
    }
    adler.write(&header);
    let mut reader = TreeReader::new(hash_seed);
    let mut offset = HEADER_BYTES as u64;
    let body_end = loop {
        let read = file.read_at(offset, &mut chunk)?;
        if read == 0 {
            return Ok(Err(format!("the file ends at offset {offset}, inside the tree")));
        }
        let piece = &chunk[..read];
        match reader.feed(piece) {
            Ok(Fed::NeedMore) => {
                adler.write(piece);
                offset += read as u64;
            }
            Ok(Fed::Done { consumed }) => {
                adler.write(&piece[..consumed]);
                break offset + consumed as u64;
            }
            Err(error) => {
                return Ok(Err(format!(
                    "at offset {}: {}",
                    error.offset + HEADER_BYTES as u64,
                    error.what
                )));
            }
        }
    };
    let mut seals = vec![0; SEALS_BYTES_MAX + 1];
    let read = file.read_at(body_end, &mut seals)?;
    if let Err(what) = check_seals(&seals[..read], &mut adler) {
        return Ok(Err(format!("behind the tree, at offset {body_end}: {what}")));
    }
    Ok(reader.finish(zxid.0).map_err(|error| format!("at offset {}: {}", error.offset, error.what)))
}

/// Checks the seal at the end of the file, which covers all before it. Reading the file once for
/// this alone is cheap beside building the tree, and nothing else ever sees a damaged byte.
fn check_last_seal(file: &OpenFile, chunk: &mut [u8]) -> Result<std::result::Result<(), String>> {
    let size = file.size()?;
    let Some(seal_offset) = size.checked_sub(SEAL_BYTES as u64) else {
        return Ok(Err(format!("the file has {size} bytes, not even a seal")));
    };
    let mut adler = Adler32::new();
    let mut offset = 0;
    while offset < seal_offset {
        let length = (seal_offset - offset).min(chunk.len() as u64) as usize;
        let read = file.read_at(offset, &mut chunk[..length])?;
        if read == 0 {
            break;
        }
        adler.write(&chunk[..read]);
        offset += read as u64;
    }
    let mut seal = [0; SEAL_BYTES];
    let read = file.read_at(seal_offset, &mut seal)?;
    Ok(check_seal(&seal[..read], &mut adler, "last").map(drop))
}

/// Checks whatever seals there are; at least one.
fn check_seals(bytes: &[u8], adler: &mut Adler32) -> std::result::Result<(), String> {
    let mut rest = check_seal(bytes, adler, "first")?;
    for (content, which) in [(DIGEST_BYTES, "second"), (LAST_ZXID_BYTES, "third")] {
        if rest.is_empty() {
            return Ok(());
        }
        let Some((sealed, seal)) = rest.split_at_checked(content) else {
            return Err(format!("the file ends before its {which} seal"));
        };
        adler.write(sealed);
        rest = check_seal(seal, adler, which)?;
    }
    if rest.is_empty() {
        Ok(())
    } else {
        Err("data follows the third seal, expected the end of the file".into())
    }
}

fn check_seal<'a>(
    bytes: &'a [u8],
    adler: &mut Adler32,
    which: &str,
) -> std::result::Result<&'a [u8], String> {
    let Some((seal, rest)) = bytes.split_at_checked(SEAL_BYTES) else {
        return Err(format!("the file ends inside its {which} seal"));
    };
    let computed = i64::from(adler.finish());
    let (stored, end) = seal.split_at(8);
    if stored != computed.to_be_bytes() {
        return Err(format!(
            "the {which} seal holds checksum {stored:02x?}, but the contents give {computed:#x}"
        ));
    }
    if end != SEAL_END {
        return Err(format!("the {which} seal ends with {end:02x?}, expected \"/\""));
    }
    adler.write(seal);
    Ok(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_snapshots_are_taken_for_snapshots() {
        let parse = |name: &str| parse_name(name.into()).map(|named| (named.zxid.0, named.form));
        assert_eq!(parse("snapshot.1f"), Some((0x1f, Form::Plain)));
        assert_eq!(parse("snapshot.1f.gz"), Some((0x1f, Form::Compressed)));
        assert_eq!(parse("snapshot.1f.snappy"), Some((0x1f, Form::Compressed)));
        for other in ["snapshot.1f.tmp", "snapshot.", "snapshot.-1", "new-snapshot.1f.tmp"] {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
