//! IPv4 (RFC 791).
//!
//! Rules     V1  A header is at most 60 bytes, so its options at most 40.
//!           V2  Total length counts, not the frame's: what Ethernet pads is
//!               cut off.
//!           V3  The checksum is a separate question ([`checksum_is_right`]):
//!               the engine asks it of packets for itself, a receiver asks it
//!               of all others.

use super::Writer;
use super::checksum::Sum;
use super::ip::Fragment;
use crate::DropReason;
use crate::flow::Proto;
use core::net::Ipv4Addr;

/// Bytes of a header without options.
pub const HEADER_LEN: usize = 20;
/// Offset of the checksum.
pub const CHECKSUM_AT: usize = 10;
/// Bytes of options that a header can have.
pub const OPTIONS_LEN_MAX: usize = 40;

const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET_MASK: u16 = 0x1fff;

/// An IPv4 header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'p> {
    /// Who sent the packet.
    pub source: Ipv4Addr,
    /// Whom it is for.
    pub destination: Ipv4Addr,
    /// What it carries.
    pub proto: Proto,
    /// Hops that are left.
    pub ttl: u8,
    /// Differentiated services and congestion bits (RFC 2474, RFC 3168).
    pub traffic_class: u8,
    /// Names the packet whose fragments belong together.
    pub identification: u16,
    /// Nobody may fragment the packet.
    pub dont_fragment: bool,
    /// This is a fragment and others follow.
    pub more_fragments: bool,
    /// Where the payload belongs in the whole packet, in bytes.
    pub fragment_offset: u16,
    /// Bytes of the packet, header included.
    pub total_len: u16,
    /// Options as they are, a multiple of four bytes.
    pub options: &'p [u8],
}

/// Why bytes are no IPv4 packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// They end before the header or the packet does.
    Truncated,
    /// The version isn't four.
    Version,
    /// The header length is below the minimum.
    HeaderLen,
    /// The total length is below the header's.
    TotalLen,
    /// A fragment ends beyond the largest packet or has a length that no
    /// fragment has.
    Fragment,
    /// An option is shorter than it can be or longer than the header.
    Options,
}

impl From<Error> for DropReason {
    fn from(error: Error) -> Self {
        match error {
            Error::Truncated => Self::Truncated,
            Error::Version
            | Error::HeaderLen
            | Error::TotalLen
            | Error::Fragment
            | Error::Options => Self::BadIp,
        }
    }
}

impl<'p> Header<'p> {
    /// Splits a header off the front of what may be only the beginning of a
    /// packet; the rest may be shorter or longer than the payload.
    ///
    /// # Errors
    ///
    /// When the header is cut off or its fields contradict each other.
    pub fn read(bytes: &'p [u8]) -> Result<(Self, &'p [u8]), Error> {
        let (fixed, _) = bytes
            .split_first_chunk::<HEADER_LEN>()
            .ok_or(Error::Truncated)?;
        let [
            vl,
            tc,
            l0,
            l1,
            i0,
            i1,
            f0,
            f1,
            ttl,
            proto,
            _,
            _,
            s0,
            s1,
            s2,
            s3,
            d0,
            d1,
            d2,
            d3,
        ] = *fixed;
        if vl >> 4 != 4 {
            return Err(Error::Version);
        }
        let header_len = usize::from(vl & 0x0f) << 2;
        if header_len < HEADER_LEN {
            return Err(Error::HeaderLen);
        }
        let (header, rest) = bytes.split_at_checked(header_len).ok_or(Error::Truncated)?;
        let total_len = u16::from_be_bytes([l0, l1]);
        if usize::from(total_len) < header_len {
            return Err(Error::TotalLen);
        }
        let flags = u16::from_be_bytes([f0, f1]);
        let header = Self {
            source: Ipv4Addr::new(s0, s1, s2, s3),
            destination: Ipv4Addr::new(d0, d1, d2, d3),
            proto: Proto(proto),
            ttl,
            traffic_class: tc,
            identification: u16::from_be_bytes([i0, i1]),
            dont_fragment: flags & DONT_FRAGMENT != 0,
            more_fragments: flags & MORE_FRAGMENTS != 0,
            fragment_offset: (flags & OFFSET_MASK) << 3,
            total_len,
            options: header.get(HEADER_LEN..).unwrap_or_default(),
        };
        Ok((header, rest))
    }

    /// Reads a whole packet: header and payload, which is cut to its length.
    ///
    /// # Errors
    ///
    /// As [`Header::read`]; and when the packet is longer than the bytes, an
    /// option is malformed or a fragment is impossible.
    pub fn parse(bytes: &'p [u8]) -> Result<(Self, &'p [u8]), Error> {
        let (header, rest) = Self::read(bytes)?;
        let payload = rest.get(..header.payload_len()).ok_or(Error::Truncated)?;
        // Where the whole packet would end, its header included.
        let end = usize::from(header.fragment_offset).saturating_add(header.total_len.into());
        if end > usize::from(u16::MAX) || header.more_fragments && payload.len() % 8 != 0 {
            return Err(Error::Fragment);
        }
        check_options(header.options)?;
        Ok((header, payload))
    }

    /// Bytes of the header, options included.
    #[must_use]
    pub const fn header_len(&self) -> usize {
        HEADER_LEN.saturating_add(self.options.len())
    }

    /// Bytes of the payload.
    #[must_use]
    pub fn payload_len(&self) -> usize {
        usize::from(self.total_len).saturating_sub(self.header_len())
    }

    /// Which part of a packet this is; `None` when it is all of one.
    #[must_use]
    pub fn fragment(&self) -> Option<Fragment> {
        (self.more_fragments || self.fragment_offset != 0).then(|| Fragment {
            offset: self.fragment_offset,
            more: self.more_fragments,
            identification: u32::from(self.identification),
        })
    }

    /// Appends the header with its checksum. Options are cut to what a header
    /// can have and padded to a multiple of four bytes; `total_len` is taken
    /// as it is.
    pub fn emit(&self, out: &mut Writer) {
        let start = out.len();
        let options = self.options.get(..OPTIONS_LEN_MAX).unwrap_or(self.options);
        let words = options.len().div_ceil(4).saturating_add(HEADER_LEN >> 2);
        let mut flags = self.fragment_offset >> 3;
        if self.dont_fragment {
            flags |= DONT_FRAGMENT;
        }
        if self.more_fragments {
            flags |= MORE_FRAGMENTS;
        }
        out.put_u8(0x40 | u8::try_from(words).unwrap_or(0x0f));
        out.put_u8(self.traffic_class);
        out.put_u16(self.total_len);
        out.put_u16(self.identification);
        out.put_u16(flags);
        out.put_u8(self.ttl);
        out.put_u8(self.proto.0);
        out.put_u16(0);
        out.put(&self.source.octets());
        out.put(&self.destination.octets());
        out.put(options);
        // End of options is zero, and so is padding.
        out.pad_to(start.saturating_add(words << 2));
        out.seal(start, start.saturating_add(CHECKSUM_AT), Sum::ZERO);
    }
}

/// Whether the checksum of a header is right. `packet` starts with a header
/// that was read.
#[must_use]
pub fn checksum_is_right(packet: &[u8], header: &Header<'_>) -> bool {
    packet
        .get(..header.header_len())
        .is_some_and(|bytes| Sum::ZERO.bytes(bytes).is_valid())
}

/// Walks the options once (RFC 791 section 3.1).
fn check_options(options: &[u8]) -> Result<(), Error> {
    let mut rest = options;
    // Each round takes a byte or more of the 40 (V1).
    while let [kind, after @ ..] = rest {
        rest = match kind {
            0 => return Ok(()),
            1 => after,
            _ => {
                let len = after.first().ok_or(Error::Options)?;
                let len = usize::from(*len);
                if len < 2 {
                    return Err(Error::Options);
                }
                rest.get(len..).ok_or(Error::Options)?
            }
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::testing::{refuses_truncation, survives_anything};
    use std::vec::Vec;

    /// Options: record route with one slot, end.
    const OPTIONS: [u8; 8] = [7, 7, 4, 0, 0, 0, 0, 0];

    fn header() -> Header<'static> {
        Header {
            source: Ipv4Addr::new(10, 0, 0, 1),
            destination: Ipv4Addr::new(10, 0, 0, 2),
            proto: Proto::UDP,
            ttl: 64,
            traffic_class: 0xb8,
            identification: 0x1234,
            dont_fragment: true,
            more_fragments: false,
            fragment_offset: 0,
            total_len: 28 + 5,
            options: &OPTIONS,
        }
    }

    fn packet(header: &Header<'_>) -> Vec<u8> {
        let mut out = Writer::default();
        header.emit(&mut out);
        out.pad_to(usize::from(header.total_len));
        out.into_bytes()
    }

    #[test]
    fn a_header_on_the_wire() {
        let bytes = packet(&header());
        assert_eq!(
            bytes[..28],
            [
                0x47, 0xb8, 0, 33, 0x12, 0x34, 0x40, 0, 64, 17, bytes[10], bytes[11], 10, 0, 0, 1,
                10, 0, 0, 2, 7, 7, 4, 0, 0, 0, 0, 0
            ]
        );
    }

    #[test]
    fn a_header_reads_as_it_was_written() {
        for header in [
            header(),
            Header {
                options: &[],
                dont_fragment: false,
                more_fragments: true,
                fragment_offset: 65_504 - 8,
                total_len: 20 + 16,
                ..header()
            },
        ] {
            let mut bytes = packet(&header);
            bytes.extend([0xee; 6]);
            let (read, payload) = Header::parse(&bytes).unwrap();
            assert_eq!(read, header);
            assert_eq!(payload.len(), header.payload_len());
            assert!(checksum_is_right(&bytes, &read));
            let mut damaged = bytes.clone();
            damaged[1] ^= 1;
            assert!(!checksum_is_right(&damaged, &read));
        }
    }

    #[test]
    fn fragments_are_told_from_packets() {
        assert_eq!(header().fragment(), None);
        let first = Header {
            more_fragments: true,
            ..header()
        };
        assert_eq!(
            first.fragment(),
            Some(Fragment {
                offset: 0,
                more: true,
                identification: 0x1234
            })
        );
        let last = Header {
            fragment_offset: 8,
            ..header()
        };
        assert_eq!(
            last.fragment().map(|f| (f.offset, f.more)),
            Some((8, false))
        );
    }

    #[test]
    fn contradictions_are_refused() {
        let good = packet(&header());
        let with = |changes: &[(usize, u8)]| {
            let mut bytes = good.clone();
            for (at, value) in changes {
                bytes[*at] = *value;
            }
            Header::parse(&bytes).map(drop)
        };
        assert_eq!(with(&[]), Ok(()));
        assert_eq!(with(&[(0, 0x57)]), Err(Error::Version));
        assert_eq!(with(&[(0, 0x44)]), Err(Error::HeaderLen));
        assert_eq!(with(&[(0, 0x4f)]), Err(Error::Truncated));
        assert_eq!(with(&[(3, 27)]), Err(Error::TotalLen));
        assert_eq!(with(&[(3, 34)]), Err(Error::Truncated));
        // Five bytes and more to come; a ping of death.
        assert_eq!(with(&[(6, 0x20)]), Err(Error::Fragment));
        assert_eq!(with(&[(6, 0x1f), (7, 0xff)]), Err(Error::Fragment));
        for len in [0, 1, 9, 255] {
            assert_eq!(with(&[(21, len)]), Err(Error::Options), "{len}");
        }
        // An option's kind in the last byte, without a length.
        assert_eq!(
            with(&[(20, 1), (21, 7), (22, 6), (27, 7)]),
            Err(Error::Options)
        );
    }

    #[test]
    fn options_are_padded_and_cut() {
        let long = Header {
            options: &[1; 60],
            ..header()
        };
        assert_eq!(packet(&long).first(), Some(&0x4f));
        let odd = Header {
            options: &[1; 3],
            ..header()
        };
        let bytes = packet(&odd);
        assert_eq!(bytes[20..24], [1, 1, 1, 0]);
        assert_eq!(Header::parse(&bytes).unwrap().0.options, [1, 1, 1, 0]);
    }

    #[test]
    fn short_and_random_packets_are_refused() {
        let good = packet(&header());
        refuses_truncation(&good, Header::parse);
        survives_anything(&good, |bytes| {
            if let Ok((header, payload)) = Header::parse(bytes) {
                assert_eq!(
                    header.header_len() + payload.len(),
                    usize::from(header.total_len)
                );
                _ = checksum_is_right(bytes, &header);
            }
        });
    }
}
