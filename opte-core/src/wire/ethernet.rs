//! Ethernet II (IEEE 802.3), and how IP uses it.

use super::Writer;
use crate::DropReason;
use core::net::{IpAddr, Ipv6Addr};
use core::{fmt, str::FromStr};

/// Bytes of an Ethernet header without tags.
pub const HEADER_LEN: usize = 14;

/// An Ethernet header without tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Whom the frame is for.
    pub destination: MacAddr,
    /// Who sent it.
    pub source: MacAddr,
    /// What follows.
    pub ethertype: EtherType,
}

/// What an Ethernet frame carries.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EtherType(pub u16);

/// Why bytes are no Ethernet header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// They are fewer than the header has.
    Truncated,
}

impl From<Error> for DropReason {
    fn from(Error::Truncated: Error) -> Self {
        Self::Truncated
    }
}

impl Header {
    /// Splits a header off the front of a frame; the rest is what it carries.
    ///
    /// # Errors
    ///
    /// When the frame is shorter than the header.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<(Self, &[u8]), Error> {
        let ([d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t0, t1], rest) =
            bytes.split_first_chunk().ok_or(Error::Truncated)?;
        let header = Self {
            destination: MacAddr([*d0, *d1, *d2, *d3, *d4, *d5]),
            source: MacAddr([*s0, *s1, *s2, *s3, *s4, *s5]),
            ethertype: EtherType(u16::from_be_bytes([*t0, *t1])),
        };
        Ok((header, rest))
    }

    /// The header on the wire.
    #[must_use]
    #[inline]
    pub const fn to_bytes(&self) -> [u8; HEADER_LEN] {
        let [d0, d1, d2, d3, d4, d5] = self.destination.0;
        let [s0, s1, s2, s3, s4, s5] = self.source.0;
        let [t0, t1] = self.ethertype.0.to_be_bytes();
        [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t0, t1]
    }

    /// Appends the header.
    pub fn emit(&self, out: &mut Writer) {
        out.put(&self.to_bytes());
    }
}

impl EtherType {
    /// IPv4.
    pub const IPV4: Self = Self(0x0800);
    /// ARP.
    pub const ARP: Self = Self(0x0806);
    /// A whole Ethernet frame, as Geneve carries it.
    pub const ETHERNET: Self = Self(0x6558);
    /// A VLAN tag (IEEE 802.1Q).
    pub const VLAN: Self = Self(0x8100);
    /// IPv6.
    pub const IPV6: Self = Self(0x86dd);
    /// A provider's VLAN tag in front of another (IEEE 802.1ad).
    pub const QINQ: Self = Self(0x88a8);

    /// Whether a VLAN tag follows.
    #[must_use]
    pub const fn is_vlan(self) -> bool {
        matches!(self, Self::VLAN | Self::QINQ)
    }
}

impl fmt::Debug for EtherType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#06x}", self.0)
    }
}

/// An Ethernet hardware address.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// Every station on the link.
    pub const BROADCAST: Self = Self([0xff; 6]);
    /// No address.
    pub const ZERO: Self = Self([0; 6]);
    /// The virtual gateway that every guest sees as its first hop.
    pub const GATEWAY: Self = Self([0xa8, 0x40, 0x25, 0xff, 0x77, 0x77]);
    /// The inner destination of frames to a boundary tunnel end point.
    pub const BOUNDARY: Self = Self([0xa8, 0x40, 0x25, 0x77, 0x77, 0x77]);

    /// Whether the group bit is set (broadcast included).
    #[must_use]
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// The address that frames to a multicast group are sent to (RFC 1112
    /// section 6.4, RFC 2464 section 7). For a unicast address it means
    /// nothing.
    #[must_use]
    pub const fn of_group(group: IpAddr) -> Self {
        match group {
            IpAddr::V4(group) => {
                let [_, a, b, c] = group.octets();
                Self([0x01, 0x00, 0x5e, a & 0x7f, b, c])
            }
            IpAddr::V6(group) => {
                let [.., a, b, c, d] = group.octets();
                Self([0x33, 0x33, a, b, c, d])
            }
        }
    }

    /// The link-local IPv6 address made from this one by EUI-64 (RFC 4291
    /// section 2.5.6 and appendix A).
    #[must_use]
    pub const fn link_local(self) -> Ipv6Addr {
        let [a, b, c, d, e, f] = self.0;
        Ipv6Addr::from_octets([
            0xfe,
            0x80,
            0,
            0,
            0,
            0,
            0,
            0,
            a ^ 2,
            b,
            c,
            0xff,
            0xfe,
            d,
            e,
            f,
        ])
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02X}:{b:02X}:{c:02X}:{d:02X}:{e:02X}:{g:02X}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for MacAddr {
    type Err = &'static str;

    /// Six groups of one or two hexadecimal digits with colons between them.
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        const WHY: &str =
            "a MAC address is six hexadecimal bytes with colons, as A8:40:25:F0:00:01";
        let mut mac = [0; 6];
        let mut parts = s.split(':');
        for byte in &mut mac {
            let part = parts.next().ok_or(WHY)?;
            if part.is_empty() || part.len() > 2 || !part.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(WHY);
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| WHY)?;
        }
        if parts.next().is_some() {
            Err(WHY)
        } else {
            Ok(Self(mac))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::testing::{refuses_truncation, survives_anything};
    use std::string::ToString;

    const BYTES: [u8; 14] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0x86, 0xdd];

    #[test]
    fn a_header_is_read_and_written() {
        let frame = [&BYTES[..], &[99]].concat();
        let (header, rest) = Header::parse(&frame).unwrap();
        assert_eq!(header.destination, MacAddr([1, 2, 3, 4, 5, 6]));
        assert_eq!(header.source, MacAddr([7, 8, 9, 10, 11, 12]));
        assert_eq!(header.ethertype, EtherType::IPV6);
        assert_eq!(rest, [99]);
        let mut out = Writer::default();
        header.emit(&mut out);
        assert_eq!(out.bytes(), BYTES);
    }

    #[test]
    fn short_frames_are_refused() {
        refuses_truncation(&BYTES, Header::parse);
        survives_anything(&BYTES, |bytes| _ = Header::parse(bytes));
    }

    #[test]
    fn groups_have_their_addresses() {
        let mac = |group: &str| MacAddr::of_group(group.parse().unwrap()).to_string();
        assert_eq!(mac("ff02::1:ff12:3456"), "33:33:FF:12:34:56");
        assert_eq!(mac("239.129.2.3"), "01:00:5E:01:02:03");
        assert!(EtherType::QINQ.is_vlan() && !EtherType::ARP.is_vlan());
    }

    #[test]
    fn a_link_local_address_is_made_of_the_mac() {
        assert_eq!(
            MacAddr::GATEWAY.link_local(),
            "fe80::aa40:25ff:feff:7777".parse::<Ipv6Addr>().unwrap()
        );
    }

    #[test]
    fn addresses_print_as_they_are_read() {
        let mac: MacAddr = "a8:40:25:f0:0:1".parse().unwrap();
        assert_eq!(mac.to_string(), "A8:40:25:F0:00:01");
        for bad in [
            "",
            "1:2:3:4:5",
            "1:2:3:4:5:6:7",
            "1:2:3:4:5:+6",
            "1:2:3:4:5:600",
        ] {
            assert!(bad.parse::<MacAddr>().is_err(), "{bad}");
        }
    }
}
