//! Envelopes on a byte stream: each after its length, four bytes little-endian.

use crate::serve::{refuse, too_large};
use alloc::vec::Vec;
use core::fmt;

/// Bytes of the length before an envelope.
pub const PREFIX_LEN: usize = 4;

/// Puts the length before an envelope.
///
/// # Errors
///
/// When the length isn't a number of 32 bits.
pub fn emit(envelope: &[u8]) -> Result<Vec<u8>, FrameTooLarge> {
    let len = u32::try_from(envelope.len()).map_err(|_| FrameTooLarge {
        len: envelope.len(),
    })?;
    let mut frame = Vec::with_capacity(PREFIX_LEN.saturating_add(envelope.len()));
    frame.extend_from_slice(&len.to_le_bytes());
    frame.extend_from_slice(envelope);
    Ok(frame)
}

/// A frame is longer than its reader allows. The stream can't be followed any
/// further: send [`FrameTooLarge::refusal`] and close it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameTooLarge {
    /// Bytes that the frame would have.
    pub len: usize,
}

impl FrameTooLarge {
    /// The response to a request of this length.
    #[must_use]
    pub fn refusal(&self) -> Vec<u8> {
        refuse(&too_large(self.len))
    }
}

impl fmt::Display for FrameTooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a message of {} bytes is too large", self.len)
    }
}

impl core::error::Error for FrameTooLarge {}

/// Finds the frames in a stream that comes in pieces of any size.
///
/// It holds at most one unfinished frame, and never more than twice the bytes
/// that really came: a length is not believed before its bytes are there.
#[derive(Debug)]
pub struct FrameReader {
    /// Length prefix and envelope, as far as they came.
    partial: Vec<u8>,
    bytes_max: usize,
}

impl FrameReader {
    /// A reader of frames with at most `bytes_max` bytes of envelope.
    #[must_use]
    pub const fn new(bytes_max: usize) -> Self {
        Self {
            partial: Vec::new(),
            bytes_max,
        }
    }

    /// Takes bytes off the front of `input` until a frame is complete, and
    /// returns its envelope; `None` when `input` is used up before that.
    ///
    /// ```
    /// # use opte_ioctl::frame::{FrameReader, emit};
    /// let mut reader = FrameReader::new(1024);
    /// let stream = [emit(b"one").unwrap(), emit(b"two").unwrap()].concat();
    /// let mut input = &stream[..];
    /// let mut frames = Vec::new();
    /// while let Some(envelope) = reader.next_frame(&mut input)? {
    ///     frames.push(envelope);
    /// }
    /// assert_eq!(frames, [b"one", b"two"]);
    /// # Ok::<(), opte_ioctl::frame::FrameTooLarge>(())
    /// ```
    ///
    /// # Errors
    ///
    /// When a frame's length is above the limit, before any of it is kept.
    pub fn next_frame(&mut self, input: &mut &[u8]) -> Result<Option<Vec<u8>>, FrameTooLarge> {
        self.take(input, PREFIX_LEN);
        let Some(prefix) = self.partial.first_chunk::<PREFIX_LEN>() else {
            return Ok(None);
        };
        let len = usize::try_from(u32::from_le_bytes(*prefix)).unwrap_or(usize::MAX);
        if len > self.bytes_max {
            return Err(FrameTooLarge { len });
        }
        let total = PREFIX_LEN.saturating_add(len);
        self.take(input, total);
        if self.partial.len() < total {
            return Ok(None);
        }
        let mut envelope = core::mem::take(&mut self.partial);
        envelope.drain(..PREFIX_LEN);
        Ok(Some(envelope))
    }

    /// Whether a frame has begun and is not complete: the stream must not end now.
    #[must_use]
    pub const fn is_partial(&self) -> bool {
        !self.partial.is_empty()
    }

    /// Moves bytes from `input` until there are `total`.
    fn take(&mut self, input: &mut &[u8], total: usize) {
        let wanted = total.saturating_sub(self.partial.len()).min(input.len());
        if let Some((head, rest)) = input.split_at_checked(wanted) {
            self.partial.extend_from_slice(head);
            *input = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn frames_are_found_however_the_stream_is_cut() {
        let messages = [vec![], vec![1], vec![2; 300], vec![], vec![3; 5]];
        let stream: Vec<u8> = messages.iter().flat_map(|m| emit(m).unwrap()).collect();
        for piece in 1..=stream.len() {
            let mut reader = FrameReader::new(300);
            let mut found = Vec::new();
            for mut input in stream.chunks(piece) {
                while let Some(envelope) = reader.next_frame(&mut input).unwrap() {
                    found.push(envelope);
                }
                assert!(input.is_empty());
            }
            assert_eq!(found, messages, "pieces of {piece}");
            assert!(!reader.is_partial());
        }
    }

    #[test]
    fn a_length_above_the_limit_is_refused_at_once() {
        let mut reader = FrameReader::new(300);
        let mut input = &[45, 1, 0, 0, 9][..];
        assert_eq!(
            reader.next_frame(&mut input),
            Err(FrameTooLarge { len: 301 })
        );
        let mut reader = FrameReader::new(300);
        let mut input = &[0xff; 9][..];
        assert!(reader.next_frame(&mut input).is_err());
    }

    #[test]
    fn a_length_reserves_nothing() {
        let mut reader = FrameReader::new(usize::MAX);
        let mut input = &[0xff, 0xff, 0xff, 0x7f, 1, 2, 3][..];
        assert_eq!(reader.next_frame(&mut input), Ok(None));
        assert!(reader.is_partial());
        assert!(reader.partial.capacity() < 64);
    }
}
