//! UDP (RFC 768).

use super::Writer;
use super::checksum::Sum;
use super::ip::Ends;
use crate::DropReason;
use crate::flow::{Family, Proto};

/// Bytes of a UDP header.
pub const HEADER_LEN: usize = 8;
/// Offset of the checksum.
pub const CHECKSUM_AT: usize = 6;

/// A UDP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The sender's port.
    pub source_port: u16,
    /// The receiver's port.
    pub destination_port: u16,
    /// Bytes of header and data.
    pub len: u16,
    /// The checksum as it is; zero for none.
    pub checksum: u16,
}

/// Why bytes are no UDP datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// They end before the header or the datagram does.
    Truncated,
    /// The length is below the header's.
    Len,
}

impl From<Error> for DropReason {
    fn from(error: Error) -> Self {
        match error {
            Error::Truncated => Self::Truncated,
            Error::Len => Self::BadTransport,
        }
    }
}

impl Header {
    /// Splits a header off the front of what may be only the beginning of a
    /// datagram; the rest may be shorter or longer than the data.
    ///
    /// # Errors
    ///
    /// When the header is cut off or its length is below the minimum.
    pub fn read(bytes: &[u8]) -> Result<(Self, &[u8]), Error> {
        let ([s0, s1, d0, d1, l0, l1, c0, c1], rest) =
            bytes.split_first_chunk().ok_or(Error::Truncated)?;
        let header = Self {
            source_port: u16::from_be_bytes([*s0, *s1]),
            destination_port: u16::from_be_bytes([*d0, *d1]),
            len: u16::from_be_bytes([*l0, *l1]),
            checksum: u16::from_be_bytes([*c0, *c1]),
        };
        if usize::from(header.len) < HEADER_LEN {
            return Err(Error::Len);
        }
        Ok((header, rest))
    }

    /// Reads a whole datagram: header and data, which is cut to its length.
    ///
    /// # Errors
    ///
    /// As [`Header::read`], and when the datagram is longer than the bytes.
    pub fn parse(bytes: &[u8]) -> Result<(Self, &[u8]), Error> {
        let (header, rest) = Self::read(bytes)?;
        let len = usize::from(header.len).saturating_sub(HEADER_LEN);
        Ok((header, rest.get(..len).ok_or(Error::Truncated)?))
    }

    /// Whether the checksum fits a whole datagram that was parsed: header and
    /// `data` between `ends`.
    ///
    /// None at all is right for IPv4. A partial one is right too, the folded
    /// sum of the pseudo-header: a guest's kernel leaves it like that for a
    /// device to finish, and here no device comes in between. It says nothing
    /// about the data, but nor is there a wire that could have damaged it.
    #[must_use]
    pub fn checksum_is_right(&self, ends: &Ends, data: &[u8]) -> bool {
        if self.checksum == 0 {
            return ends.family() == Family::V4;
        }
        let pseudo = ends.pseudo_header(Proto::UDP, usize::from(self.len));
        if pseudo.fold() == self.checksum {
            return true;
        }
        pseudo
            .plus(Sum::ZERO.bytes(&self.to_bytes()))
            .bytes(data)
            .is_valid()
    }

    /// The header on the wire.
    #[must_use]
    pub const fn to_bytes(&self) -> [u8; HEADER_LEN] {
        let [s0, s1] = self.source_port.to_be_bytes();
        let [d0, d1] = self.destination_port.to_be_bytes();
        let [l0, l1] = self.len.to_be_bytes();
        let [c0, c1] = self.checksum.to_be_bytes();
        [s0, s1, d0, d1, l0, l1, c0, c1]
    }
}

/// Appends a datagram with its length and checksum.
pub fn emit(ends: &Ends, source_port: u16, destination_port: u16, data: &[u8], out: &mut Writer) {
    let start = out.len();
    let len = data.len().saturating_add(HEADER_LEN);
    let header = Header {
        source_port,
        destination_port,
        len: u16::try_from(len).unwrap_or(u16::MAX),
        checksum: 0,
    };
    out.put(&header.to_bytes());
    out.put(data);
    let at = start.saturating_add(CHECKSUM_AT);
    out.seal_udp(start, at, ends.pseudo_header(Proto::UDP, len));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::testing::{refuses_truncation, survives_anything};
    use core::net::{Ipv4Addr, Ipv6Addr};
    use std::vec::Vec;

    const V4: Ends = Ends::V4 {
        source: Ipv4Addr::new(10, 0, 0, 1),
        destination: Ipv4Addr::new(10, 0, 0, 2),
    };
    const V6: Ends = Ends::V6 {
        source: Ipv6Addr::LOCALHOST,
        destination: Ipv6Addr::LOCALHOST,
    };

    fn datagram(ends: &Ends) -> Vec<u8> {
        let mut out = Writer::default();
        emit(ends, 68, 67, b"odd", &mut out);
        out.into_bytes()
    }

    #[test]
    fn a_datagram_reads_as_it_was_written() {
        for ends in [V4, V6] {
            let mut bytes = datagram(&ends);
            assert_eq!(bytes[..6], [0, 68, 0, 67, 0, 11]);
            bytes.extend([1, 2]);
            let (header, data) = Header::parse(&bytes).unwrap();
            assert_eq!((header.source_port, header.destination_port), (68, 67));
            assert_eq!((header.len, data), (11, &b"odd"[..]));
            assert!(header.checksum_is_right(&ends, data));
            assert!(!header.checksum_is_right(&ends, b"add"));
            assert_eq!(header.to_bytes(), bytes[..8]);
        }
    }

    #[test]
    fn no_checksum_is_for_ipv4_and_a_partial_one_for_both() {
        for ends in [V4, V6] {
            let bytes = datagram(&ends);
            let (mut header, data) = Header::parse(&bytes).unwrap();
            header.checksum = 0;
            assert_eq!(
                header.checksum_is_right(&ends, data),
                ends.family() == Family::V4
            );
            header.checksum = ends.pseudo_header(Proto::UDP, 11).fold();
            assert!(header.checksum_is_right(&ends, data));
        }
    }

    #[test]
    fn impossible_lengths_are_refused() {
        let bytes = datagram(&V4);
        refuses_truncation(&bytes, Header::parse);
        for (len, error) in [(7, Error::Len), (0, Error::Len), (12, Error::Truncated)] {
            let mut bytes = bytes.clone();
            bytes[5] = len;
            assert_eq!(Header::parse(&bytes), Err(error));
        }
        survives_anything(&bytes, |bytes| _ = Header::parse(bytes));
    }
}
