//! The binary form of jute: big-endian numbers, length-prefixed strings, buffers and vectors.
//!
//! There are no tags, no padding and no record lengths: a reader must know what it reads. A length
//! of -1 means *null*, which is not the same as empty, so nullable fields are `Option`s.
//!
//! Decoding borrows from the frame and never panics. A length that does not fit into what is left
//! of the input is an error before anything is allocated for it.
//!
//! Text: Java writes each half of a UTF-16 surrogate pair as its own three bytes (CESU-8) but
//! reads strict UTF-8. `&str` fields are strict here too; the few fields in which such characters
//! are legal (ACL ids, user names) are `Cow<str>` and accept both forms, see [`Cow`]'s `Decode`.

use std::borrow::Cow;
use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

/// A value with a place on the wire.
pub trait Encode {
    /// Appends the binary form of `self` to `out`.
    ///
    /// # Panics
    /// When a string, buffer or vector is longer than `i32::MAX`: no frame can carry it.
    fn encode(&self, out: &mut BytesMut);

    /// The binary form of `self` alone.
    fn to_bytes(&self) -> Bytes {
        let mut out = BytesMut::new();
        self.encode(&mut out);
        out.freeze()
    }
}

/// A value that can be read from the wire, borrowing what it can from the input.
pub trait Decode<'a>: Sized {
    /// Reads one value and moves `reader` behind it. After an error the position is unspecified.
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError>;

    /// Reads a value that is all of `bytes`: anything left behind it is an error.
    fn decode_all(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let value = Self::decode(&mut reader)?;
        reader.finish()?;
        Ok(value)
    }
}

/// Why bytes could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// The record and field, such as `CreateRequest.path`.
    pub what: &'static str,
    /// Where the field began, in bytes from the start of the reader's input.
    pub offset: usize,
    /// What should have been there.
    pub expected: Expected,
}

/// What the reader needed and did not find.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// This many bytes, but the input ends after `left`.
    Bytes {
        /// Bytes the value needs.
        needed: usize,
        /// Bytes that were there.
        left: usize,
    },
    /// A length or count from -1 (null) up to `limit`.
    Length {
        /// The largest length allowed here.
        limit: usize,
        /// The length on the wire.
        found: i32,
    },
    /// UTF-8 text.
    Utf8,
    /// A value, but there was a null.
    NotNull,
    /// The end of the input, but this many bytes follow.
    End {
        /// Bytes behind the value.
        left: usize,
    },
    /// One of a closed set of numbers.
    Number {
        /// The set, such as `an operation`.
        of: &'static str,
        /// The number on the wire.
        found: i64,
    },
}

impl DecodeError {
    /// The input ended inside the value: a stream may hold the rest later.
    #[must_use]
    pub fn is_truncated(&self) -> bool {
        matches!(self.expected, Expected::Bytes { .. })
    }

    /// The same error, named after `what` unless something more exact has named it already.
    #[must_use]
    pub fn named(mut self, what: &'static str) -> Self {
        if self.what.is_empty() {
            self.what = what;
        }
        self
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.what.is_empty() { "value" } else { self.what };
        write!(f, "{what} at byte {}: expected ", self.offset)?;
        match self.expected {
            Expected::Bytes { needed, left } => write!(f, "{needed} bytes, {left} are left"),
            Expected::Length { limit, found } => {
                write!(f, "a length from -1 to {limit}, found {found}")
            }
            Expected::Utf8 => write!(f, "UTF-8 text"),
            Expected::NotNull => write!(f, "a value, found null"),
            Expected::End { left } => write!(f, "the end, found {left} more bytes"),
            Expected::Number { of, found } => write!(f, "{of}, found {found}"),
        }
    }
}

impl std::error::Error for DecodeError {}

/// A cursor over bytes that hands out borrowed values.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    length: usize,
    length_limit: usize,
}

impl<'a> Reader<'a> {
    /// Reads `bytes`, the whole of a frame or of a log payload.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self::with_length_limit(bytes, usize::MAX)
    }

    /// Reads `bytes`, the beginning of a stream, where the end of `bytes` is no bound on lengths:
    /// a string, buffer or vector longer than `length_limit` (bytes or items) is an error at once,
    /// a shorter one that is not all there yet is [truncated](DecodeError::is_truncated).
    #[must_use]
    pub fn with_length_limit(bytes: &'a [u8], length_limit: usize) -> Self {
        Self { rest: bytes, length: bytes.len(), length_limit }
    }

    /// Bytes read so far.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.length - self.rest.len()
    }

    /// What has not been read yet.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// True when everything has been read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Reads the next `count` bytes as they are.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        match self.rest.split_at_checked(count) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => Err(self.short(count)),
        }
    }

    /// Reads the next `N` bytes as an array.
    pub fn take_array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        match self.rest.split_first_chunk::<N>() {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(*taken)
            }
            None => Err(self.short(N)),
        }
    }

    /// Reads all that is left.
    pub fn take_rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// Reads a length or count; `None` is null (-1).
    pub fn length(&mut self) -> Result<Option<usize>, DecodeError> {
        let found = i32::decode(self)?;
        if found == -1 {
            return Ok(None);
        }
        match usize::try_from(found) {
            Ok(length) if length <= self.length_limit => Ok(Some(length)),
            _ => Err(DecodeError {
                what: "",
                offset: self.offset() - 4,
                expected: Expected::Length {
                    limit: self.length_limit.min(i32::MAX as usize),
                    found,
                },
            }),
        }
    }

    /// Reads a buffer that may be null.
    pub fn buffer(&mut self) -> Result<Option<&'a [u8]>, DecodeError> {
        match self.length()? {
            None => Ok(None),
            Some(length) => self.take(length).map(Some),
        }
    }

    /// An error about a value that began at `offset`.
    #[must_use]
    pub const fn error_at(offset: usize, expected: Expected) -> DecodeError {
        DecodeError { what: "", offset, expected }
    }

    /// Checks that nothing is left.
    pub fn finish(&self) -> Result<(), DecodeError> {
        match self.rest.len() {
            0 => Ok(()),
            left => Err(Self::error_at(self.offset(), Expected::End { left })),
        }
    }

    #[cold]
    fn short(&self, needed: usize) -> DecodeError {
        Self::error_at(self.offset(), Expected::Bytes { needed, left: self.rest.len() })
    }
}

/// Writes a length or count.
///
/// # Panics
/// When `length` exceeds `i32::MAX`.
pub fn encode_length(length: usize, out: &mut BytesMut) {
    out.put_i32(i32::try_from(length).expect("no frame holds 2 GiB"));
}

/// Writes a vector from an iterator, so that an answer needs no `Vec` of its own.
pub fn encode_vector<T: Encode>(items: impl ExactSizeIterator<Item = T>, out: &mut BytesMut) {
    encode_length(items.len(), out);
    for item in items {
        item.encode(out);
    }
}

macro_rules! number {
    ($type:ty, $put:ident) => {
        impl Encode for $type {
            fn encode(&self, out: &mut BytesMut) {
                out.$put(*self);
            }
        }
        impl<'a> Decode<'a> for $type {
            fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
                reader.take_array().map(<$type>::from_be_bytes)
            }
        }
    };
}

number!(i32, put_i32);
number!(i64, put_i64);

impl Encode for bool {
    fn encode(&self, out: &mut BytesMut) {
        out.put_u8(u8::from(*self));
    }
}

/// Any byte other than 0 is true, as in Java.
impl<'a> Decode<'a> for bool {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        reader.take_array().map(|[byte]| byte != 0)
    }
}

impl Encode for [u8] {
    fn encode(&self, out: &mut BytesMut) {
        encode_length(self.len(), out);
        out.put_slice(self);
    }
}

impl Encode for &[u8] {
    fn encode(&self, out: &mut BytesMut) {
        (**self).encode(out);
    }
}

impl<'a> Decode<'a> for &'a [u8] {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let offset = reader.offset();
        reader.buffer()?.ok_or(Reader::error_at(offset, Expected::NotNull))
    }
}

impl Encode for &str {
    fn encode(&self, out: &mut BytesMut) {
        self.as_bytes().encode(out);
    }
}

impl<'a> Decode<'a> for &'a str {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let offset = reader.offset();
        let bytes = <&[u8]>::decode(reader)?;
        std::str::from_utf8(bytes).map_err(|_| Reader::error_at(offset, Expected::Utf8))
    }
}

/// Written as UTF-8, which Java reads correctly (its own CESU-8 it does not).
impl Encode for Cow<'_, str> {
    fn encode(&self, out: &mut BytesMut) {
        self.as_bytes().encode(out);
    }
}

/// Reads UTF-8, borrowed, or CESU-8, converted to the characters that were meant. A surrogate
/// without its partner becomes U+FFFD.
impl<'a> Decode<'a> for Cow<'a, str> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let offset = reader.offset();
        let bytes = <&[u8]>::decode(reader)?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Cow::Borrowed(text)),
            Err(_) => match cesu8_to_utf8(bytes) {
                Some(text) => Ok(Cow::Owned(text)),
                None => Err(Reader::error_at(offset, Expected::Utf8)),
            },
        }
    }
}

/// UTF-8 in which surrogates may stand as three bytes each; `None` when it is not even that.
fn cesu8_to_utf8(bytes: &[u8]) -> Option<String> {
    let mut text = String::with_capacity(bytes.len());
    let mut rest = bytes;
    while !rest.is_empty() {
        let good = match std::str::from_utf8(rest) {
            Ok(all) => all.len(),
            Err(error) => error.valid_up_to(),
        };
        let (valid, tail) = rest.split_at(good);
        text.push_str(std::str::from_utf8(valid).ok()?);
        rest = tail;
        let mut units = Vec::new();
        while let Some((unit, tail)) = surrogate(rest) {
            units.push(unit);
            rest = tail;
        }
        if units.is_empty() && !rest.is_empty() {
            return None;
        }
        text.extend(char::decode_utf16(units).map(|unit| unit.unwrap_or('\u{fffd}')));
    }
    Some(text)
}

/// The surrogate that `bytes` begins with in three-byte form, and what follows it.
fn surrogate(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let (&[first, second, third], rest) = bytes.split_first_chunk::<3>()?;
    let is_surrogate = first == 0xed && (0xa0..=0xbf).contains(&second) && third & 0xc0 == 0x80;
    let unit = 0xd000 | u16::from(second & 0x3f) << 6 | u16::from(third & 0x3f);
    is_surrogate.then_some((unit, rest))
}

impl<T: Encode> Encode for Vec<T> {
    fn encode(&self, out: &mut BytesMut) {
        encode_length(self.len(), out);
        self.iter().for_each(|item| item.encode(out));
    }
}

impl<'a, T: Decode<'a>> Decode<'a> for Vec<T> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let offset = reader.offset();
        let count = reader.length()?.ok_or(Reader::error_at(offset, Expected::NotNull))?;
        // A count may lie: room is made for no more than the input could hold.
        let room = count.min(reader.rest().len() / size_of::<T>().max(1));
        let mut items = Self::with_capacity(room);
        for _ in 0..count {
            items.push(T::decode(reader)?);
        }
        Ok(items)
    }
}

/// Types that have a null on the wire: those that begin with a length.
pub trait Nullable {}
impl Nullable for &str {}
impl Nullable for &[u8] {}
impl Nullable for Cow<'_, str> {}
impl<T> Nullable for Vec<T> {}

impl<T: Encode + Nullable> Encode for Option<T> {
    fn encode(&self, out: &mut BytesMut) {
        match self {
            Some(value) => value.encode(out),
            None => out.put_i32(-1),
        }
    }
}

impl<'a, T: Decode<'a> + Nullable> Decode<'a> for Option<T> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        if reader.rest().starts_with(&[0xff; 4]) {
            reader.take(4)?;
            return Ok(None);
        }
        T::decode(reader).map(Some)
    }
}

/// A last field that older peers leave out: absent when the input ends before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trailing<T>(pub Option<T>);

impl<T: Encode> Encode for Trailing<T> {
    fn encode(&self, out: &mut BytesMut) {
        if let Some(value) = &self.0 {
            value.encode(out);
        }
    }
}

impl<'a, T: Decode<'a>> Decode<'a> for Trailing<T> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        if reader.is_empty() { Ok(Self(None)) } else { T::decode(reader).map(|it| Self(Some(it))) }
    }
}
