//! Reads one log file, record by record, and judges what stands behind the last good one.

use bytes::Bytes;
use zab::Zxid;

use crate::disk::Dir;
use crate::error::{Error, Result};
use crate::files::{Files, OpenFile};
use crate::segment::{self, HEADER_BYTES, Head, MARK_BYTES, Origin, RECORD_HEAD_BYTES};

/// Bytes read at once; large enough that the system call costs nothing beside the checksum.
const CHUNK_BYTES: usize = 256 * 1024;

/// Batches are at most this long, except one that is a single longer record; such a batch starts a
/// file. So damage that reaches further than this was not caused by a crash during one write.
pub(crate) const BATCH_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// More epochs than this do not begin within one file.
const EPOCHS_MAX: u32 = 1 << 16;

/// The unit a disk loses or keeps. A lost one reads as zeros where the file was prepared.
const SECTOR_BYTES: u64 = 512;

/// One transaction in a log file.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) offset: u64,
    pub(crate) zxid: Zxid,
    pub(crate) payload: Bytes,
}

/// What stands behind the last good record.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Tail {
    /// Nothing.
    Clean,
    /// What a crash leaves of a write that was never reported durable.
    Torn {
        /// What is wrong with it.
        what: String,
    },
    /// Something no crash explains.
    Damaged {
        /// What is wrong, and what was expected.
        what: String,
    },
}

/// A log file being read.
#[derive(Debug)]
pub(crate) struct Reader {
    name: String,
    file: OpenFile,
    size: u64,
    /// `Err`: what is wrong with the header; then there are no records.
    origin: std::result::Result<Origin, String>,
    /// Where the next record is expected.
    offset: u64,
    /// The zxid of the last record.
    last: Option<Zxid>,
    /// Why there is no record at `offset`, once known.
    stop: Option<String>,
    chunk: Vec<u8>,
    chunk_offset: u64,
}

impl Reader {
    /// Opens a log file and reads its header.
    pub(crate) fn open(files: &Files, name: &str) -> Result<Self> {
        let file = files.open(Dir::Log, name)?;
        let size = file.size()?;
        let mut header = [0; HEADER_BYTES as usize];
        let read = file.read_at(0, &mut header)?;
        let origin = if read < header.len() {
            Err(format!("the header has {read} bytes, expected 16"))
        } else {
            segment::parse_header(&header)
        };
        Ok(Self {
            name: name.to_owned(),
            offset: if origin.is_ok() { HEADER_BYTES } else { 0 },
            file,
            size,
            origin,
            last: None,
            stop: None,
            chunk: Vec::new(),
            chunk_offset: 0,
        })
    }

    /// The name of the file.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The path of the file.
    pub(crate) fn path(&self) -> &std::path::Path {
        self.file.path()
    }

    /// Length of the file.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Where the records end, once `next` has returned `None`.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// The next record; `None` at the first place where there is no good one.
    pub(crate) fn next(&mut self) -> Result<Option<Record>> {
        if self.origin.is_err() || self.stop.is_some() {
            return Ok(None);
        }
        match self.record_at(self.offset)? {
            Ok(record) => {
                self.offset += segment::record_bytes(record.payload.len());
                self.last = Some(record.zxid);
                Ok(Some(record))
            }
            Err(why) => {
                self.stop = Some(why);
                Ok(None)
            }
        }
    }

    /// Judges what stands behind the last good record. To be asked after `next` has returned
    /// `None`.
    pub(crate) fn tail(&mut self) -> Result<Tail> {
        let data_end = self.data_end()?;
        match self.origin.clone() {
            Err(what) if data_end < HEADER_BYTES => {
                Ok(if self.size == 0 { Tail::Clean } else { Tail::Torn { what } })
            }
            Err(what) => Ok(Tail::Damaged { what }),
            Ok(_) if data_end <= self.offset => Ok(Tail::Clean),
            Ok(Origin::Marked) => self.tail_with_mark(data_end),
            Ok(Origin::Unmarked) => self.tail_without_mark(data_end),
        }
    }

    /// How much of the file is durable for certain, at most up to the end of the records. To be asked after `next` has
    /// returned `None`. A mark is written when all before it is; without one nothing is certain.
    pub(crate) fn durable(&mut self) -> Result<u64> {
        let Some(mark_offset) = self.data_end()?.checked_sub(MARK_BYTES) else {
            return Ok(0);
        };
        if self.origin != Ok(Origin::Marked) || mark_offset < self.offset {
            return Ok(HEADER_BYTES);
        }
        let mut mark = [0; MARK_BYTES as usize];
        self.read_exact(mark_offset, &mut mark)?;
        let durable = segment::parse_mark(mark_offset, &mark);
        Ok(durable.unwrap_or(HEADER_BYTES).min(self.offset))
    }

    /// In our own files the last mark says what had been durable.
    fn tail_with_mark(&mut self, data_end: u64) -> Result<Tail> {
        let stop = self.stop.clone().unwrap_or_default();
        let mark_offset = data_end.saturating_sub(MARK_BYTES);
        let mut mark = [0; MARK_BYTES as usize];
        self.read_exact(mark_offset, &mut mark)?;
        if let Some(durable) = segment::parse_mark(mark_offset, &mark)
            && mark_offset >= self.offset
        {
            return Ok(if mark_offset == self.offset {
                Tail::Clean
            } else if self.offset >= durable {
                Tail::Torn { what: stop }
            } else {
                Tail::Damaged {
                    what: format!("{stop}, in a part that was durable up to offset {durable}"),
                }
            });
        }
        let reach = data_end - self.offset;
        if reach <= MARK_BYTES {
            // Too little for a record: a mark that lay across two sectors, of which one was lost.
            return Ok(Tail::Clean);
        }
        // The mark itself was lost with the write it belonged to.
        if reach <= BATCH_BYTES_MAX + segment::END_BYTES || self.offset == HEADER_BYTES {
            Ok(Tail::Torn { what: stop })
        } else {
            Ok(Tail::Damaged {
                what: format!("{stop}, and {reach} bytes follow: more than one write can leave"),
            })
        }
    }

    /// In files of Apache ZooKeeper only the bytes themselves can tell.
    fn tail_without_mark(&mut self, data_end: u64) -> Result<Tail> {
        let stop = self.stop.clone().unwrap_or_default();
        let torn = Tail::Torn { what: stop.clone() };
        let at = self.offset;
        if data_end <= at + RECORD_HEAD_BYTES {
            return Ok(torn);
        }
        if let Some(next) = self.record_after(at, data_end)? {
            return Ok(Tail::Damaged {
                what: format!("{stop}, but a good record follows at offset {next}"),
            });
        }
        let mut head = [0; RECORD_HEAD_BYTES as usize];
        self.read_exact(at, &mut head)?;
        let promised = match segment::parse_head(&head) {
            Head::Promises(length) => length as u64,
            Head::Nothing => {
                return Ok(Tail::Damaged {
                    what: format!("{stop}, but data follows up to offset {data_end}"),
                });
            }
            Head::Impossible(_) => return Ok(Tail::Damaged { what: stop }),
        };
        let record_end = at + segment::record_bytes(promised as usize);
        // The file ends, or was never written, before the record does: the write did not finish.
        if data_end < record_end || self.has_lost_sector(at, record_end)? {
            return Ok(torn);
        }
        Ok(Tail::Damaged { what: stop })
    }

    /// The record at `offset`, or why there is none.
    fn record_at(&mut self, offset: u64) -> Result<std::result::Result<Record, String>> {
        let mut head = [0; RECORD_HEAD_BYTES as usize];
        if self.size.saturating_sub(offset) < RECORD_HEAD_BYTES {
            return Ok(Err("the file ends inside a record".into()));
        }
        self.read_exact(offset, &mut head)?;
        let length = match segment::parse_head(&head) {
            Head::Promises(length) => length,
            Head::Nothing => return Ok(Err("there is no record, expected one".into())),
            Head::Impossible(length) => {
                return Ok(Err(format!(
                    "a record claims {length} bytes, expected at least a transaction header"
                )));
            }
        };
        if self.size - offset < segment::record_bytes(length) {
            return Ok(Err(format!(
                "a record claims {length} bytes but the file ends after {}",
                self.size - offset - RECORD_HEAD_BYTES
            )));
        }
        let body = self.bytes(offset + RECORD_HEAD_BYTES, length + 1)?;
        let (payload, trailer) = (&body[..length], body[length]);
        Ok(match segment::check_record(&head, payload, trailer) {
            Ok(zxid) => Ok(Record { offset, zxid, payload: Bytes::copy_from_slice(payload) }),
            Err(what) => Err(what),
        })
    }

    /// Where the first good record after `offset` begins, looking at every byte.
    fn record_after(&mut self, offset: u64, data_end: u64) -> Result<Option<u64>> {
        for candidate in offset + 1..data_end.saturating_sub(RECORD_HEAD_BYTES) {
            if self.may_be_record(candidate, data_end)? && self.record_at(candidate)?.is_ok() {
                return Ok(Some(candidate));
            }
        }
        Ok(None)
    }

    /// Whether it is worth reading a record at `offset`: a file has millions of places, and most lengths found there by
    /// chance reach over megabytes.
    fn may_be_record(&mut self, offset: u64, data_end: u64) -> Result<bool> {
        const START_BYTES: usize = RECORD_HEAD_BYTES as usize + segment::ZXID_END;
        if data_end - offset < START_BYTES as u64 {
            return Ok(false);
        }
        let last = self.last.unwrap_or(Zxid::ZERO);
        let start = self.bytes(offset, START_BYTES)?;
        let (head, payload) = start.split_at(RECORD_HEAD_BYTES as usize);
        let Some(head) = head.first_chunk() else { return Ok(false) };
        let Head::Promises(length) = segment::parse_head(head) else { return Ok(false) };
        let zxid = segment::zxid(payload);
        if zxid <= last || zxid.epoch().0 > last.epoch().0.saturating_add(EPOCHS_MAX) {
            return Ok(false);
        }
        let mut trailer = [0];
        let trailer_offset = offset + segment::record_bytes(length) - 1;
        Ok(trailer_offset < data_end
            && self.file.read_at(trailer_offset, &mut trailer)? == 1
            && trailer[0] == segment::TRAILER)
    }

    /// Whether a whole sector between the two offsets is zero.
    fn has_lost_sector(&mut self, from: u64, to: u64) -> Result<bool> {
        let mut sector = from.next_multiple_of(SECTOR_BYTES);
        while sector + SECTOR_BYTES <= to {
            let bytes = self.bytes(sector, SECTOR_BYTES as usize)?;
            if bytes.iter().all(|byte| *byte == 0) {
                return Ok(true);
            }
            sector += SECTOR_BYTES;
        }
        Ok(false)
    }

    /// Behind the last byte of the file that is not zero.
    fn data_end(&mut self) -> Result<u64> {
        let mut end = self.size;
        while end > 0 {
            let start = end.saturating_sub(CHUNK_BYTES as u64);
            let bytes = self.bytes(start, (end - start) as usize)?;
            if let Some(last) = bytes.iter().rposition(|byte| *byte != 0) {
                return Ok(start + last as u64 + 1);
            }
            end = start;
        }
        Ok(0)
    }

    fn read_exact(&mut self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let bytes = self.bytes(offset, buffer.len())?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }

    /// Exactly these bytes of the file, which must have them.
    fn bytes(&mut self, offset: u64, length: usize) -> Result<&[u8]> {
        let held = self.chunk_offset..self.chunk_offset + self.chunk.len() as u64;
        if !(held.start <= offset && offset + length as u64 <= held.end) {
            self.chunk.resize(length.max(CHUNK_BYTES), 0);
            let read = self.file.read_at(offset, &mut self.chunk)?;
            self.chunk.truncate(read);
            self.chunk_offset = offset;
            if read < length {
                return Err(Error::Io {
                    op: "read",
                    path: self.file.path().to_owned(),
                    source: std::io::ErrorKind::UnexpectedEof.into(),
                });
            }
        }
        let start = (offset - self.chunk_offset) as usize;
        Ok(&self.chunk[start..start + length])
    }
}
