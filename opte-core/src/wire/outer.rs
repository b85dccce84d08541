//! The outer headers of a frame on the underlay: Ethernet, IPv6, UDP, Geneve.
//!
//! One pass over fixed offsets for the frames that carry guests' traffic; any
//! other frame is somebody else's to look at.

use super::MacAddr;
use super::ethernet::EtherType;
use super::geneve::{self, Replication, Vni};
use super::packet::field;
use crate::DropReason;
use core::net::Ipv6Addr;

/// Bytes of Ethernet and IPv6 headers.
const BEFORE_UDP: usize = 54;
/// And with the UDP header.
const BEFORE_GENEVE: usize = 62;

/// What the outer headers say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outer {
    /// Destination on the link.
    pub mac: MacAddr,
    /// Destination on the underlay.
    pub address: Ipv6Addr,
    /// The virtual network.
    pub vni: Vni,
    /// Whether the frame is marked as from outside of the fleet.
    pub external: bool,
    /// Bytes in front of the inner frame.
    pub len: usize,
    /// Bytes up to the inner frame's end. What lies behind isn't the frame's:
    /// a trailer of the link, or of the outer packet.
    pub end: usize,
}

/// Reads the outer headers of `head`, of a frame of `frame_len` bytes.
/// `Ok(None)` when it isn't Geneve.
///
/// The outer UDP checksum may be zero or not (RFC 6935); it isn't verified, for
/// that would mean to read the payload, which the inner checksums cover.
///
/// # Errors
///
/// When it is Geneve and malformed.
#[inline(always)]
pub fn parse(head: &[u8], frame_len: usize) -> Result<Option<Outer>, DropReason> {
    let Some(fixed) = head.first_chunk::<70>() else {
        return Ok(None);
    };
    let [version] = field(fixed, 14);
    let ipv6_udp =
        field(fixed, 12) == [0x86, 0xdd] && version >> 4 == 6 && field(fixed, 20) == [17];
    if !ipv6_udp || field(fixed, 56) != geneve::PORT.to_be_bytes() {
        return Ok(None);
    }
    let payload = usize::from(u16::from_be_bytes(field(fixed, 18)));
    let udp_len = usize::from(u16::from_be_bytes(field(fixed, 58)));
    // Lengths of 16 bits don't overflow.
    if payload.wrapping_add(BEFORE_UDP) > frame_len || udp_len > payload {
        return Err(DropReason::BadUnderlay);
    }
    let tunnel = Tunnel::parse(head, fixed)?;
    if udp_len < tunnel.len.wrapping_add(8) {
        return Err(DropReason::BadGeneve);
    }
    Ok(Some(Outer {
        mac: MacAddr(field(fixed, 0)),
        address: Ipv6Addr::from_octets(field(fixed, 38)),
        vni: tunnel.vni,
        external: tunnel.external,
        len: BEFORE_GENEVE.wrapping_add(tunnel.len),
        end: BEFORE_UDP.wrapping_add(udp_len),
    }))
}

/// Who a multicast frame is for, of a frame that [`parse`] understood. What
/// other frames never need isn't kept while they are read.
#[must_use]
pub fn replication(head: &[u8]) -> Option<Replication> {
    let (header, _) = geneve::Header::parse(head.get(BEFORE_GENEVE..)?).ok()?;
    header.options.replication
}

/// What the Geneve header says.
struct Tunnel {
    vni: Vni,
    external: bool,
    len: usize,
}

impl Tunnel {
    #[inline(always)]
    fn parse(head: &[u8], fixed: &[u8; 70]) -> Result<Self, DropReason> {
        let [v0, v1, v2] = field(fixed, 66);
        // Version 0, no options, no control packet, an Ethernet frame inside:
        // what hosts send each other.
        if field(fixed, 62) == [0, 0, 0x65, 0x58] {
            return Ok(Self {
                vni: Vni::from_bytes([v0, v1, v2]),
                external: false,
                len: geneve::HEADER_LEN,
            });
        }
        // And one option without a body: what the boundary sends us, from
        // outside of the fleet.
        if let Some(longer) = head.first_chunk::<74>()
            && field(fixed, 62) == [1, 0, 0x65, 0x58]
            && field(longer, 70) == geneve::FROM_OUTSIDE
        {
            return Ok(Self {
                vni: Vni::from_bytes([v0, v1, v2]),
                external: true,
                len: geneve::HEADER_LEN.saturating_add(geneve::FROM_OUTSIDE.len()),
            });
        }
        Self::with_options(head)
    }

    #[inline(never)]
    fn with_options(head: &[u8]) -> Result<Self, DropReason> {
        let tunnel = head.get(BEFORE_GENEVE..).unwrap_or_default();
        let (header, _) = geneve::Header::parse(tunnel).map_err(DropReason::from)?;
        // A control packet carries no guest's frame (RFC 8926 section 3.4).
        if header.control || header.protocol != EtherType::ETHERNET {
            return Err(DropReason::BadGeneve);
        }
        Ok(Self {
            vni: header.vni,
            external: header.options.external,
            len: header.len,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    const US: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

    fn frame(options: &[u8]) -> Vec<u8> {
        let len = (16 + options.len() + 20) as u16;
        let mut f = Vec::from([2; 12]);
        f.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
        f.extend(len.to_be_bytes());
        f.extend([17, 64]);
        f.extend([0xfd; 16]);
        f.extend(US);
        f.extend([0xc0, 0, 0x17, 0xc1]);
        f.extend(len.to_be_bytes());
        f.extend([0, 0, (options.len() / 4) as u8, 0, 0x65, 0x58, 0, 0, 7, 0]);
        f.extend(options);
        f.extend([0; 20]);
        f
    }

    fn all(frame: &[u8]) -> Result<Option<Outer>, DropReason> {
        parse(frame, frame.len())
    }

    #[test]
    fn options_are_walked() {
        let vni = Vni::new(7).unwrap();
        let (mac, address) = (MacAddr([2; 6]), Ipv6Addr::from_octets(US));
        let outer = |external, len| {
            Ok(Some(Outer {
                mac,
                address,
                vni,
                external,
                len,
                end: len + 20,
            }))
        };
        assert_eq!(all(&frame(&[])), outer(false, 70));
        let external = [0x01, 0x29, 0, 0];
        assert_eq!(all(&frame(&external)), outer(true, 74));
        let unknown = [0x99, 0x99, 0x01, 1, 0, 0, 0, 0, 0x01, 0x29, 0, 0];
        assert_eq!(all(&frame(&unknown)), outer(true, 82));
        assert_eq!(
            all(&frame(&[0x99, 0x99, 0x81, 0])),
            Err(DropReason::GeneveCriticalOption)
        );
        assert_eq!(
            all(&frame(&[0x99, 0x99, 0x01, 9])),
            Err(DropReason::BadGeneve)
        );
    }

    #[test]
    fn bad_headers_are_refused_and_others_left_alone() {
        let change = |at: usize, value: u8| {
            let mut f = frame(&[]);
            f[at] = value;
            all(&f)
        };
        assert_eq!(change(13, 0), Ok(None));
        assert_eq!(change(20, 6), Ok(None));
        assert_eq!(change(57, 0), Ok(None));
        assert_eq!(change(62, 0x40), Err(DropReason::GeneveVersion));
        assert_eq!(change(62, 0x3f), Err(DropReason::BadGeneve));
        assert_eq!(change(64, 0), Err(DropReason::BadGeneve));
        assert_eq!(change(63, 0x80), Err(DropReason::BadGeneve));
        assert_eq!(change(19, 0xff), Err(DropReason::BadUnderlay));
        assert_eq!(change(59, 0xff), Err(DropReason::BadUnderlay));
        assert_eq!(change(59, 1), Err(DropReason::BadGeneve));
    }

    #[test]
    fn the_inner_frame_ends_where_the_datagram_does() {
        let end = |frame: &[u8]| all(frame).map(|outer| outer.map(|outer| outer.end));
        let mut longer = frame(&[]);
        let whole = longer.len();
        assert_eq!(end(&longer), Ok(Some(whole)));
        longer.extend([0; 8]);
        assert_eq!(end(&longer), Ok(Some(whole)), "a trailer of the link");
        longer[19] += 8;
        assert_eq!(end(&longer), Ok(Some(whole)), "one of the packet");
        longer[59] = 16;
        assert_eq!(end(&longer), Ok(Some(70)), "an empty datagram");
        longer[59] = longer[19] + 1;
        assert_eq!(end(&longer), Err(DropReason::BadUnderlay));
    }

    #[test]
    fn a_frame_cut_anywhere_is_never_taken_whole() {
        let whole = frame(&[0x01, 0x29, 0, 0]);
        for len in 0..whole.len() {
            assert!(!matches!(all(&whole[..len]), Ok(Some(_))), "{len}");
        }
    }
}
