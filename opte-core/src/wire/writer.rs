//! Where headers are written to when the engine makes a message itself.
//!
//! This is the slow path: a message is built front to back in one vector, and
//! the lengths and checksums that are known last are filled in afterwards.

use super::checksum::{Sum, udp_nonzero};
use alloc::vec::Vec;

/// A message under construction.
#[derive(Clone, Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// An empty message that grows to `capacity` bytes without moving.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        let mut bytes = Vec::new();
        // What can't be had now is asked for again by what is put there.
        let _ = bytes.try_reserve_exact(capacity);
        Self { bytes }
    }

    /// Appends `bytes`.
    pub fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Appends one byte.
    pub fn put_u8(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    /// Appends a 16-bit field.
    pub fn put_u16(&mut self, field: u16) {
        self.put(&field.to_be_bytes());
    }

    /// Appends a 32-bit field.
    pub fn put_u32(&mut self, field: u32) {
        self.put(&field.to_be_bytes());
    }

    /// Appends zeros until the message has `len` bytes, if it is shorter.
    pub fn pad_to(&mut self, len: usize) {
        if self.bytes.len() < len {
            self.bytes.resize(len, 0);
        }
    }

    /// What is written so far.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes written so far.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "nobody asks")]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Overwrites the 16-bit field at `at`, if that much is written.
    pub fn set_u16(&mut self, at: usize, field: u16) {
        let end = at.saturating_add(2);
        if let Some(place) = self.bytes.get_mut(at..end) {
            place.copy_from_slice(&field.to_be_bytes());
        }
    }

    /// Fills in the checksum field at `at` of the message that starts at
    /// `start`: the sum of the message and of `pseudo`, its pseudo-header.
    pub fn seal(&mut self, start: usize, at: usize, pseudo: Sum) {
        self.set_u16(at, 0);
        let message = self.bytes.get(start..).unwrap_or_default();
        let checksum = pseudo.bytes(message).checksum();
        self.set_u16(at, checksum);
    }

    /// As [`Writer::seal`], for UDP, whose computed checksum is never zero.
    pub fn seal_udp(&mut self, start: usize, at: usize, pseudo: Sum) {
        self.set_u16(at, 0);
        let message = self.bytes.get(start..).unwrap_or_default();
        let checksum = udp_nonzero(pseudo.bytes(message).checksum());
        self.set_u16(at, checksum);
    }

    /// The message.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_written_in_network_order() {
        let mut writer = Writer::with_capacity(8);
        writer.put_u8(1);
        writer.put_u16(0x0203);
        writer.put_u32(0x0405_0607);
        writer.set_u16(1, 0xaabb);
        writer.set_u16(6, 0xffff);
        writer.pad_to(9);
        writer.pad_to(2);
        assert_eq!(writer.bytes(), [1, 0xaa, 0xbb, 4, 5, 6, 7, 0, 0]);
        assert_eq!(writer.len(), 9);
    }

    #[test]
    fn a_sealed_message_sums_up() {
        let mut writer = Writer::default();
        writer.put(&[9, 1, 2, 0xff, 0xff, 3, 4]);
        let pseudo = Sum::ZERO.u16(77);
        writer.seal(1, 3, pseudo);
        assert!(pseudo.bytes(&writer.bytes()[1..]).is_valid());
        let mut zero = Writer::default();
        zero.put(&[0xff, 0xff, 0, 0]);
        zero.seal_udp(0, 2, Sum::ZERO);
        assert_eq!(zero.into_bytes(), [0xff, 0xff, 0xff, 0xff]);
    }
}
