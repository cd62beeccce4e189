//! Framing: an int32 length, then that many bytes.
//!
//! Used on client connections (limit `jute.maxbuffer`) and election connections (limit 512 KiB).

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Default of `jute.maxbuffer`: the longest client frame, in bytes, without its length.
pub const CLIENT_FRAME_LIMIT: usize = 0xf_ffff;

/// The longest election message, in bytes, without its length.
pub const ELECTION_FRAME_LIMIT: usize = 512 * 1024;

/// A length that no frame may have. The stream cannot be read any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("frame length {length}: expected 0 to {limit} bytes")]
pub struct FrameError {
    /// The length on the wire.
    pub length: i32,
    /// The longest frame allowed here.
    pub limit: usize,
}

/// The body of the frame at the beginning of `bytes`, borrowed; `None` when it is not all there.
/// The next frame begins `4 + body.len()` bytes further on.
pub fn peek(bytes: &[u8], limit: usize) -> Result<Option<&[u8]>, FrameError> {
    let Some((head, rest)) = bytes.split_first_chunk::<4>() else {
        return Ok(None);
    };
    let length = i32::from_be_bytes(*head);
    match usize::try_from(length) {
        Ok(size) if size <= limit => Ok(rest.get(..size)),
        _ => Err(FrameError { length, limit }),
    }
}

/// Takes the frame at the beginning of `buffer` out of it without copying; `None` when it is not
/// all there, in which case `buffer` is left as it was.
pub fn take(buffer: &mut BytesMut, limit: usize) -> Result<Option<Bytes>, FrameError> {
    let Some(size) = peek(buffer, limit)?.map(<[u8]>::len) else {
        return Ok(None);
    };
    buffer.advance(4);
    Ok(Some(buffer.split_to(size).freeze()))
}

/// Appends a frame whose body is whatever `body` appends.
///
/// # Panics
/// When the body is longer than `i32::MAX`.
pub fn write<R>(out: &mut BytesMut, body: impl FnOnce(&mut BytesMut) -> R) -> R {
    let start = out.len();
    out.put_i32(0);
    let result = body(out);
    let length = i32::try_from(out.len() - start - 4).expect("no frame holds 2 GiB");
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    result
}
