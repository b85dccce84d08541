//! TCP (RFC 9293): what a middlebox has to see of it.

use super::Writer;
use super::ip::Ends;
use crate::DropReason;
use crate::flow::Proto;
use core::fmt;

/// Bytes of a header without options.
pub const HEADER_LEN: usize = 20;
/// Offset of the checksum.
pub const CHECKSUM_AT: usize = 16;
/// Bytes of options that a header can have.
pub const OPTIONS_LEN_MAX: usize = 40;
/// Largest window scale that counts (RFC 7323 section 2.3).
pub const WINDOW_SCALE_MAX: u8 = 14;

/// A TCP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'p> {
    /// The sender's port.
    pub source_port: u16,
    /// The receiver's port.
    pub destination_port: u16,
    /// Number of the first byte of data, or of the SYN.
    pub sequence: u32,
    /// Number of the byte that is expected next, if ACK is set.
    pub acknowledgment: u32,
    /// Flags.
    pub flags: Flags,
    /// Receive window, before scaling.
    pub window: u16,
    /// The checksum as it is.
    pub checksum: u16,
    /// Urgent pointer.
    pub urgent: u16,
    /// Options as they are, a multiple of four bytes.
    pub options: &'p [u8],
}

/// The eight flags.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Flags(pub u8);

impl Flags {
    /// No more data.
    pub const FIN: Self = Self(1);
    /// Sequence numbers start here.
    pub const SYN: Self = Self(2);
    /// The connection is gone.
    pub const RST: Self = Self(4);
    /// Deliver without waiting for more.
    pub const PSH: Self = Self(8);
    /// The acknowledgment counts.
    pub const ACK: Self = Self(16);
    /// The urgent pointer counts.
    pub const URG: Self = Self(32);
    /// Congestion was experienced (RFC 3168).
    pub const ECE: Self = Self(64);
    /// The congestion window was reduced (RFC 3168).
    pub const CWR: Self = Self(128);

    /// These and those.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` are set.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [(Flags, &str); 8] = [
            (Flags::CWR, "C"),
            (Flags::ECE, "E"),
            (Flags::URG, "U"),
            (Flags::ACK, "A"),
            (Flags::PSH, "P"),
            (Flags::RST, "R"),
            (Flags::SYN, "S"),
            (Flags::FIN, "F"),
        ];
        for (flag, name) in NAMES {
            f.write_str(if self.has(flag) { name } else { "." })?;
        }
        Ok(())
    }
}

/// Why bytes are no TCP segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// They end before the header does.
    Truncated,
    /// The header length is below the minimum.
    HeaderLen,
    /// An option is shorter than it can be or longer than the header.
    Options,
}

impl From<Error> for DropReason {
    fn from(error: Error) -> Self {
        match error {
            Error::Truncated => Self::Truncated,
            Error::HeaderLen | Error::Options => Self::BadTransport,
        }
    }
}

impl<'p> Header<'p> {
    /// Splits a header off the front of a segment; the rest is data.
    ///
    /// Options are cut off, not looked at: a segment with odd options is the
    /// receiver's to judge.
    ///
    /// # Errors
    ///
    /// When the header is cut off or its length is below the minimum.
    pub fn parse(bytes: &'p [u8]) -> Result<(Self, &'p [u8]), Error> {
        let (fixed, _) = bytes
            .split_first_chunk::<HEADER_LEN>()
            .ok_or(Error::Truncated)?;
        let [
            s0,
            s1,
            d0,
            d1,
            q0,
            q1,
            q2,
            q3,
            a0,
            a1,
            a2,
            a3,
            offset,
            flags,
            w0,
            w1,
            c0,
            c1,
            u0,
            u1,
        ] = *fixed;
        let header_len = usize::from(offset >> 4) << 2;
        if header_len < HEADER_LEN {
            return Err(Error::HeaderLen);
        }
        let (header, data) = bytes.split_at_checked(header_len).ok_or(Error::Truncated)?;
        let header = Self {
            source_port: u16::from_be_bytes([s0, s1]),
            destination_port: u16::from_be_bytes([d0, d1]),
            sequence: u32::from_be_bytes([q0, q1, q2, q3]),
            acknowledgment: u32::from_be_bytes([a0, a1, a2, a3]),
            flags: Flags(flags),
            window: u16::from_be_bytes([w0, w1]),
            checksum: u16::from_be_bytes([c0, c1]),
            urgent: u16::from_be_bytes([u0, u1]),
            options: header.get(HEADER_LEN..).unwrap_or_default(),
        };
        Ok((header, data))
    }

    /// Bytes of the header, options included.
    #[must_use]
    pub const fn header_len(&self) -> usize {
        HEADER_LEN.saturating_add(self.options.len())
    }

    /// Appends a segment with this header and its checksum. Options are cut to
    /// what a header can have and padded to a multiple of four bytes;
    /// `checksum` isn't used.
    pub fn emit(&self, ends: &Ends, data: &[u8], out: &mut Writer) {
        let start = out.len();
        let options = self.options.get(..OPTIONS_LEN_MAX).unwrap_or(self.options);
        let words = options.len().div_ceil(4).saturating_add(HEADER_LEN >> 2);
        out.put_u16(self.source_port);
        out.put_u16(self.destination_port);
        out.put_u32(self.sequence);
        out.put_u32(self.acknowledgment);
        out.put_u8(u8::try_from(words).unwrap_or(0x0f) << 4);
        out.put_u8(self.flags.0);
        out.put_u16(self.window);
        out.put_u16(0);
        out.put_u16(self.urgent);
        out.put(options);
        out.pad_to(start.saturating_add(words << 2));
        out.put(data);
        let len = out.len().saturating_sub(start);
        let at = start.saturating_add(CHECKSUM_AT);
        out.seal(start, at, ends.pseudo_header(Proto::TCP, len));
    }
}

/// The options of a SYN that bear on tracking and on segment sizes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SynOptions {
    /// Maximum segment size.
    pub mss: Option<Mss>,
    /// Window scale, 14 at most.
    pub window_scale: Option<u8>,
    /// Selective acknowledgment may be used (RFC 2018).
    pub sack_permitted: bool,
}

/// A maximum segment size option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mss {
    /// Bytes of data.
    pub bytes: u16,
    /// Where those two bytes are, from the start of the options, for who wants
    /// to lower them in place.
    pub at: usize,
}

impl SynOptions {
    /// Walks the options of a header once. Of an option that comes twice the
    /// last counts.
    ///
    /// # Errors
    ///
    /// When an option is shorter than it can be or longer than the header.
    pub fn parse(options: &[u8]) -> Result<Self, Error> {
        let mut found = Self::default();
        let mut rest = options;
        // Each round takes a byte or more, and there are 40 at most.
        while let [kind, after @ ..] = rest {
            let option = match kind {
                0 => break,
                1 => {
                    rest = after;
                    continue;
                }
                _ => {
                    let len = usize::from(*after.first().ok_or(Error::Options)?);
                    let (option, after) = rest.split_at_checked(len).ok_or(Error::Options)?;
                    let at = options.len().saturating_sub(rest.len());
                    rest = after;
                    (at, option)
                }
            };
            match option {
                (at, [2, _, a, b]) => {
                    found.mss = Some(Mss {
                        bytes: u16::from_be_bytes([*a, *b]),
                        at: at.saturating_add(2),
                    });
                }
                (_, [3, _, shift]) => found.window_scale = Some((*shift).min(WINDOW_SCALE_MAX)),
                (_, [4, _]) => found.sack_permitted = true,
                // Known ones of another length, and no length at all.
                (_, [2..=4, ..] | [] | [_]) => return Err(Error::Options),
                _ => {}
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::checksum::Sum;
    use crate::wire::testing::{refuses_truncation, survives_anything};
    use core::net::Ipv6Addr;
    use std::format;
    use std::vec::Vec;

    const ENDS: Ends = Ends::V6 {
        source: Ipv6Addr::LOCALHOST,
        destination: Ipv6Addr::UNSPECIFIED,
    };

    /// MSS 1460, SACK permitted, timestamps, padding, window scale 7.
    const OPTIONS: [u8; 20] = [
        2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7,
    ];

    fn header() -> Header<'static> {
        Header {
            source_port: 1_000,
            destination_port: 80,
            sequence: 0x0102_0304,
            acknowledgment: 0x0506_0708,
            flags: Flags::SYN.with(Flags::ACK),
            window: 0x1000,
            checksum: 0,
            urgent: 3,
            options: &OPTIONS,
        }
    }

    fn segment(header: &Header<'_>) -> Vec<u8> {
        let mut out = Writer::default();
        header.emit(&ENDS, b"data", &mut out);
        out.into_bytes()
    }

    #[test]
    fn a_segment_reads_as_it_was_written() {
        let bytes = segment(&header());
        assert_eq!(
            bytes[..16],
            [3, 0xe8, 0, 80, 1, 2, 3, 4, 5, 6, 7, 8, 0xa0, 0x12, 0x10, 0]
        );
        let pseudo = ENDS.pseudo_header(Proto::TCP, bytes.len());
        assert!(pseudo.bytes(&bytes).is_valid());
        let (read, data) = Header::parse(&bytes).unwrap();
        let checksum = read.checksum;
        assert_eq!(
            read,
            Header {
                checksum,
                ..header()
            }
        );
        assert_eq!((data, read.header_len()), (&b"data"[..], 40));
        assert!(!Sum::ZERO.bytes(&bytes).is_valid());
    }

    #[test]
    fn short_headers_are_refused() {
        let bytes = segment(&header());
        refuses_truncation(&bytes[..40], Header::parse);
        let mut small = bytes.clone();
        small[12] = 0x4f;
        assert_eq!(Header::parse(&small), Err(Error::HeaderLen));
        survives_anything(&bytes, |bytes| {
            if let Ok((header, _)) = Header::parse(bytes) {
                _ = SynOptions::parse(header.options);
            }
        });
    }

    #[test]
    fn flags_print_as_letters() {
        assert_eq!(format!("{:?}", header().flags), "...A..S.");
        assert!(!Flags::SYN.has(header().flags) && header().flags.has(Flags::SYN));
    }

    #[test]
    fn options_of_a_syn_are_found() {
        assert_eq!(
            SynOptions::parse(&OPTIONS),
            Ok(SynOptions {
                mss: Some(Mss {
                    bytes: 1_460,
                    at: 2
                }),
                window_scale: Some(7),
                sack_permitted: true,
            })
        );
        let shifted = SynOptions::parse(&[1, 1, 2, 4, 1, 0, 0, 3, 3]).unwrap();
        assert_eq!(shifted.mss, Some(Mss { bytes: 256, at: 4 }));
        assert_eq!(shifted.window_scale, None);
        let scale = |shift| SynOptions::parse(&[3, 3, shift]).unwrap().window_scale;
        assert_eq!((scale(14), scale(15)), (Some(14), Some(14)));
        assert_eq!(SynOptions::parse(&[]), Ok(SynOptions::default()));
    }

    #[test]
    fn malformed_options_are_refused() {
        for bad in [
            &[2][..],
            &[2, 4, 5],
            &[2, 3, 5],
            &[3, 4, 1, 1],
            &[4, 3, 0],
            &[8, 0],
            &[8, 1],
            &[8, 11, 0],
            &[1, 99],
        ] {
            assert_eq!(SynOptions::parse(bad), Err(Error::Options), "{bad:?}");
        }
    }
}
