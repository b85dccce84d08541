//! The header of every request and response. The same in every version (C3).
//!
//! Numbers are little-endian; a payload of exactly the stated length follows.
//!
//! ```text
//! request                                response
//!  0  magic "OPTE"                        0  magic "OPTR"
//!  4  lowest version the sender speaks    4  version of this answer, 0 if none
//!  6  highest version the sender speaks   6  status: 0, or an error code
//!  8  number of the command               8  number of the response
//! 10  flags                              10  flags
//! 12  request id (four bytes)            12  the request's id (four bytes)
//! 16  payload length (four bytes)        16  payload length (four bytes)
//! ```
//!
//! Flags: none is defined yet. A receiver ignores the low eight if it doesn't
//! know them and refuses the message for one of the high eight.

use alloc::vec::Vec;
use opte_core::limits::{REQUEST_BYTES_MAX, RESPONSE_BYTES_MAX};

/// Oldest version that this build speaks.
pub const VERSION_MIN: u16 = 1;
/// Newest version that this build speaks.
pub const VERSION_MAX: u16 = 1;

/// Bytes of a header.
pub const HEADER_LEN: usize = 20;
/// Flags that a receiver must understand.
pub const FLAGS_CRITICAL: u16 = 0xff00;

/// The header of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Oldest version that the sender speaks.
    pub version_min: u16,
    /// Newest version that the sender speaks.
    pub version_max: u16,
    /// What the payload is, see [`crate::command`].
    pub number: u16,
    /// See the module.
    pub flags: u16,
    /// Comes back in the response.
    pub id: u32,
}

/// The header of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Response {
    /// Version of this answer; zero when there is none that both speak.
    pub version: u16,
    /// Zero, or an `ErrorCode`: then the payload is a `ConfigError`.
    pub status: u16,
    /// What the payload is, see [`crate::response`].
    pub number: u16,
    /// See the module.
    pub flags: u16,
    /// The request's id; zero when it could not be read.
    pub id: u32,
}

/// Why bytes are no envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnvelopeError {
    /// There are more bytes than a message may have.
    TooLarge,
    /// There are fewer bytes than a header has.
    Truncated,
    /// It doesn't start with the magic bytes.
    Magic,
    /// The payload isn't as long as the header says.
    Length,
}

impl EnvelopeError {
    /// The reason in words.
    #[must_use]
    pub const fn explanation(self) -> &'static str {
        match self {
            Self::TooLarge => "there are more bytes than a message may have",
            Self::Truncated => "there are fewer bytes than a header has",
            Self::Magic => "it does not start with the magic bytes",
            Self::Length => "the payload is not as long as the header says",
        }
    }
}

impl Request {
    const MAGIC: [u8; 4] = *b"OPTE";

    /// Splits a request into header and payload.
    ///
    /// # Errors
    ///
    /// When it isn't one, see [`EnvelopeError`].
    pub fn parse(bytes: &[u8]) -> Result<(Self, &[u8]), EnvelopeError> {
        let ([version_min, version_max, number, flags], id, payload) =
            split(bytes, Self::MAGIC, REQUEST_BYTES_MAX)?;
        let header = Self {
            version_min,
            version_max,
            number,
            flags,
            id,
        };
        Ok((header, payload))
    }

    /// Header and payload in one piece.
    ///
    /// # Errors
    ///
    /// When that is more than `REQUEST_BYTES_MAX`.
    pub fn emit(&self, payload: &[u8]) -> Result<Vec<u8>, EnvelopeError> {
        let words = [self.version_min, self.version_max, self.number, self.flags];
        join(Self::MAGIC, words, self.id, payload, REQUEST_BYTES_MAX)
    }
}

impl Response {
    const MAGIC: [u8; 4] = *b"OPTR";

    /// Splits a response into header and payload.
    ///
    /// # Errors
    ///
    /// When it isn't one, see [`EnvelopeError`].
    pub fn parse(bytes: &[u8]) -> Result<(Self, &[u8]), EnvelopeError> {
        let ([version, status, number, flags], id, payload) =
            split(bytes, Self::MAGIC, RESPONSE_BYTES_MAX)?;
        let header = Self {
            version,
            status,
            number,
            flags,
            id,
        };
        Ok((header, payload))
    }

    /// Header and payload in one piece.
    ///
    /// # Errors
    ///
    /// When that is more than `RESPONSE_BYTES_MAX`.
    pub fn emit(&self, payload: &[u8]) -> Result<Vec<u8>, EnvelopeError> {
        let words = [self.version, self.status, self.number, self.flags];
        join(Self::MAGIC, words, self.id, payload, RESPONSE_BYTES_MAX)
    }
}

type Split<'b> = ([u16; 4], u32, &'b [u8]);

fn split(bytes: &[u8], magic: [u8; 4], bytes_max: usize) -> Result<Split<'_>, EnvelopeError> {
    if bytes.len() > bytes_max {
        return Err(EnvelopeError::TooLarge);
    }
    let (header, payload) = bytes
        .split_first_chunk::<HEADER_LEN>()
        .ok_or(EnvelopeError::Truncated)?;
    let [
        m0,
        m1,
        m2,
        m3,
        a0,
        a1,
        b0,
        b1,
        c0,
        c1,
        d0,
        d1,
        i0,
        i1,
        i2,
        i3,
        l0,
        l1,
        l2,
        l3,
    ] = *header;
    if [m0, m1, m2, m3] != magic {
        return Err(EnvelopeError::Magic);
    }
    let words = [[a0, a1], [b0, b1], [c0, c1], [d0, d1]].map(u16::from_le_bytes);
    let len = u32::from_le_bytes([l0, l1, l2, l3]);
    if usize::try_from(len) != Ok(payload.len()) {
        return Err(EnvelopeError::Length);
    }
    Ok((words, u32::from_le_bytes([i0, i1, i2, i3]), payload))
}

fn join(
    magic: [u8; 4],
    words: [u16; 4],
    id: u32,
    payload: &[u8],
    bytes_max: usize,
) -> Result<Vec<u8>, EnvelopeError> {
    let total = HEADER_LEN.saturating_add(payload.len());
    if total > bytes_max {
        return Err(EnvelopeError::TooLarge);
    }
    let len = u32::try_from(payload.len()).map_err(|_| EnvelopeError::TooLarge)?;
    let mut bytes = Vec::with_capacity(total);
    bytes.extend_from_slice(&magic);
    for word in words {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    bytes.extend_from_slice(&id.to_le_bytes());
    bytes.extend_from_slice(&len.to_le_bytes());
    bytes.extend_from_slice(payload);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    const HEADER: Request = Request {
        version_min: 1,
        version_max: 2,
        number: 3,
        flags: 0x0401,
        id: 0x0506_0708,
    };

    #[test]
    fn what_is_written_is_read() {
        let bytes = HEADER.emit(b"abc").unwrap();
        assert_eq!(
            bytes,
            b"OPTE\x01\0\x02\0\x03\0\x01\x04\x08\x07\x06\x05\x03\0\0\0abc"
        );
        assert_eq!(Request::parse(&bytes), Ok((HEADER, &b"abc"[..])));
        assert_eq!(Response::parse(&bytes), Err(EnvelopeError::Magic));
    }

    #[test]
    fn a_length_that_lies_is_refused() {
        let bytes = HEADER.emit(b"abc").unwrap();
        for end in 0..bytes.len() {
            let expected = if end < HEADER_LEN {
                EnvelopeError::Truncated
            } else {
                EnvelopeError::Length
            };
            assert_eq!(Request::parse(&bytes[..end]), Err(expected), "{end}");
        }
        let mut longer = bytes;
        longer.push(0);
        assert_eq!(Request::parse(&longer), Err(EnvelopeError::Length));
    }

    #[test]
    fn nothing_larger_than_the_limit_is_read_or_written() {
        let payload = vec![0; REQUEST_BYTES_MAX - HEADER_LEN];
        let bytes = HEADER.emit(&payload).unwrap();
        assert!(Request::parse(&bytes).is_ok());
        let payload = vec![0; REQUEST_BYTES_MAX - HEADER_LEN + 1];
        assert_eq!(HEADER.emit(&payload), Err(EnvelopeError::TooLarge));
        let bytes = vec![0; REQUEST_BYTES_MAX + 1];
        assert_eq!(Request::parse(&bytes), Err(EnvelopeError::TooLarge));
    }
}
