//! The format of one log file: header, checksummed records, and how its end is told.
//!
//! ```text
//! "ZKLG"  i32 2  i64 dbid                                      header, 16 bytes
//! i64 adler32(payload)  i32 length  payload  0x42              a record, repeated
//! 8 bytes mark  i32 0                                          the end: a record of length 0
//! 0 0 0 …                                                      prepared space
//! ```
//!
//! This is Apache ZooKeeper's format: it takes a length of 0 for the end of the file and never
//! looks at the eight bytes before it, where a checksum would be. We keep a *mark* there: how much
//! of this file was durable when the mark was written. It tells a torn tail (what a crash does to
//! the last, unsynced write) from damage to something that was durable and may have been
//! acknowledged. The first may be cut, the second must not.

use zab::Zxid;

/// Length of the file header.
pub(crate) const HEADER_BYTES: u64 = 16;
/// Checksum and length before a payload.
pub(crate) const RECORD_HEAD_BYTES: u64 = 12;
/// What a record adds to its payload.
const RECORD_EXTRA_BYTES: u64 = RECORD_HEAD_BYTES + 1;
/// The end mark and the zero length after it.
pub(crate) const END_BYTES: u64 = 12;
/// The mark alone.
pub(crate) const MARK_BYTES: u64 = 8;
/// A transaction header: the least a payload can hold.
const PAYLOAD_BYTES_MIN: usize = 32;
/// Where in a payload its zxid ends.
pub(crate) const ZXID_END: usize = 20;
/// Follows every payload.
pub(crate) const TRAILER: u8 = 0x42;

const MAGIC: [u8; 4] = *b"ZKLG";
const VERSION: i32 = 2;
/// Apache ZooKeeper writes 0 and ignores it when reading. It says whether end marks can be expected
/// in the file.
const DBID_WITH_MARKS: i64 = 0x7a61_6200_0000_0001;

/// The name of the file whose first record is `first`.
pub(crate) fn name(first: Zxid) -> String {
    format!("log.{:x}", first.0)
}

/// The zxid in the name of a log file; `None` for other names.
pub(crate) fn zxid_of(name: &str) -> Option<Zxid> {
    let digits = name.strip_prefix("log.")?;
    i64::from_str_radix(digits, 16).ok().filter(|z| *z >= 0 && !digits.starts_with('+')).map(Zxid)
}

/// The header of a file of ours.
pub(crate) fn header() -> [u8; HEADER_BYTES as usize] {
    let mut header = [0; HEADER_BYTES as usize];
    header[..4].copy_from_slice(&MAGIC);
    header[4..8].copy_from_slice(&VERSION.to_be_bytes());
    header[8..].copy_from_slice(&DBID_WITH_MARKS.to_be_bytes());
    header
}

/// Whether the ends of the batches in a file carry marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Written by this crate.
    Marked,
    /// Written by Apache ZooKeeper.
    Unmarked,
}

/// Reads a file header; the error is a sentence.
pub(crate) fn parse_header(bytes: &[u8; HEADER_BYTES as usize]) -> Result<Origin, String> {
    let [magic @ .., _, _, _, _, _, _, _, _, _, _, _, _] = bytes;
    if *magic != MAGIC {
        return Err(format!("the file begins with {magic:02x?}, expected \"ZKLG\""));
    }
    let version = be_i32(&bytes[4..8]);
    if version != VERSION {
        return Err(format!("log format version {version}, expected {VERSION}"));
    }
    if bytes[8..] == DBID_WITH_MARKS.to_be_bytes() {
        Ok(Origin::Marked)
    } else {
        Ok(Origin::Unmarked)
    }
}

/// Bytes a payload of this length takes in a file.
pub(crate) fn record_bytes(payload: usize) -> u64 {
    payload as u64 + RECORD_EXTRA_BYTES
}

/// Adds a record.
///
/// # Panics
/// When the payload is too short to be a transaction, or has no 31-bit length: the caller never
/// makes such.
pub(crate) fn push_record(out: &mut Vec<u8>, payload: &[u8]) {
    assert!(payload.len() >= PAYLOAD_BYTES_MIN, "a payload begins with a transaction header");
    let length = i32::try_from(payload.len()).expect("a payload is shorter than 2 GiB");
    let checksum = i64::from(simd_adler32::adler32(&payload));
    out.extend_from_slice(&checksum.to_be_bytes());
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(payload);
    out.push(TRAILER);
}

/// What stands at a place where a record may begin.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Head {
    /// A record with a payload of this length is promised.
    Promises(usize),
    /// Length 0: the end, or a hole.
    Nothing,
    /// A length no record can have.
    Impossible(i32),
}

/// Reads the twelve bytes before a payload.
pub(crate) fn parse_head(head: &[u8; RECORD_HEAD_BYTES as usize]) -> Head {
    let length = be_i32(&head[8..]);
    match usize::try_from(length) {
        Ok(0) => Head::Nothing,
        Ok(length) if length >= PAYLOAD_BYTES_MIN => Head::Promises(length),
        _ => Head::Impossible(length),
    }
}

/// Checks payload and trailer against the head before them; the error is a sentence.
pub(crate) fn check_record(
    head: &[u8; RECORD_HEAD_BYTES as usize],
    payload: &[u8],
    trailer: u8,
) -> Result<Zxid, String> {
    if trailer != TRAILER {
        return Err(format!("the record ends with byte {trailer:#04x}, expected {TRAILER:#04x}"));
    }
    let stored = u64::from_be_bytes(array(&head[..8]));
    let computed = u64::from(simd_adler32::adler32(&payload));
    if stored != computed {
        return Err(format!(
            "the record's checksum is {stored:#x} but its payload gives {computed:#x}"
        ));
    }
    Ok(zxid(payload))
}

/// The zxid of a transaction, from its header: session (8 bytes), cxid (4), zxid.
pub(crate) fn zxid(payload: &[u8]) -> Zxid {
    Zxid(i64::from_be_bytes(array(&payload[12..ZXID_END])))
}

/// The end of a file whose records stop at offset `at`, when everything before `durable` is
/// durable.
///
/// The last byte of a mark is never 0, so it is the last such byte of the file.
pub(crate) fn end(at: u64, durable: u64) -> [u8; END_BYTES as usize] {
    let durable = u32::try_from(durable).expect("a log file is shorter than 4 GiB");
    let mut end = [0; END_BYTES as usize];
    end[..4].copy_from_slice(&durable.to_be_bytes());
    end[4..8].copy_from_slice(&mark_check(at, durable));
    end
}

/// Reads a mark that stands at offset `at`: how much of the file was durable. `None` when it is no
/// mark.
pub(crate) fn parse_mark(at: u64, mark: &[u8; MARK_BYTES as usize]) -> Option<u64> {
    let durable = u32::from_be_bytes(array(&mark[..4]));
    (mark[4..] == mark_check(at, durable) && u64::from(durable) <= at).then_some(u64::from(durable))
}

/// Three bytes that depend on every bit of both offsets, and one that is not 0.
fn mark_check(at: u64, durable: u32) -> [u8; 4] {
    let mixed = (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(durable))
        .wrapping_mul(0xd6e8_feb8_6659_fd93);
    let [a, b, c, ..] = mixed.to_be_bytes();
    [a, b, c, b'Z']
}

fn be_i32(bytes: &[u8]) -> i32 {
    i32::from_be_bytes(array(bytes))
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("the caller slices exactly")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_first_zxid_in_hexadecimal() {
        assert_eq!(name(Zxid(0x1_0000_0001)), "log.100000001");
        assert_eq!(zxid_of("log.100000001"), Some(Zxid(0x1_0000_0001)));
        for other in ["log.", "log.x", "log.5.tmp", "log.-5", "log.+5", "snapshot.5"] {
            assert_eq!(zxid_of(other), None, "{other}");
        }
    }

    #[test]
    fn a_mark_is_read_back_only_where_it_was_written_and_only_whole() {
        let end = end(1000, 16);
        let mark: [u8; 8] = array(&end[..8]);
        assert_eq!(parse_mark(1000, &mark), Some(16));
        assert_eq!(parse_mark(1001, &mark), None);
        for byte in 0..8 {
            let mut torn = mark;
            torn[byte] ^= 1;
            assert_eq!(parse_mark(1000, &torn), None);
        }
        assert_eq!(end[8..], [0; 4]);
    }

    #[test]
    fn a_record_with_a_flipped_bit_is_not_accepted() {
        let payload: Vec<u8> = (0..40).collect();
        let mut record = Vec::new();
        push_record(&mut record, &payload);
        assert_eq!(record.len() as u64, record_bytes(payload.len()));
        let head: [u8; 12] = array(&record[..12]);
        assert_eq!(parse_head(&head), Head::Promises(40));
        assert!(check_record(&head, &record[12..52], record[52]).is_ok());
        let mut flipped = payload.clone();
        flipped[20] ^= 4;
        let error = check_record(&head, &flipped, TRAILER).unwrap_err();
        assert!(error.contains("checksum"), "{error}");
    }
}
