//! The flow key.
//!
//! A key names a flow from the guest's point of view, whichever way the packet
//! goes: the guest's end is `local`, the far end `remote`. So the two
//! directions of a flow have one key, and only address translation, which
//! rewrites the local end, gives a flow a second one ("outside").

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An IP protocol number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[repr(transparent)]
pub struct Proto(pub u8);

impl Proto {
    /// ICMP (RFC 792).
    pub const ICMP: Self = Self(1);
    /// TCP (RFC 9293).
    pub const TCP: Self = Self(6);
    /// UDP (RFC 768).
    pub const UDP: Self = Self(17);
    /// ICMPv6 (RFC 4443).
    pub const ICMPV6: Self = Self(58);
    /// SCTP (RFC 9260).
    pub const SCTP: Self = Self(132);
    /// DCCP (RFC 4340).
    pub const DCCP: Self = Self(33);
    /// Mobile IPv6 (RFC 6275 section 6.1).
    pub const MOBILITY: Self = Self(135);
    /// UDP-Lite (RFC 3828).
    pub const UDP_LITE: Self = Self(136);
    /// Host Identity Protocol (RFC 7401).
    pub const HIP: Self = Self(139);

    const NAMES: &'static [(Self, &'static str)] = &[
        (Self::ICMP, "icmp"),
        (Self::TCP, "tcp"),
        (Self::UDP, "udp"),
        (Self::ICMPV6, "icmp6"),
        (Self::SCTP, "sctp"),
        (Self(47), "gre"),
        (Self(50), "esp"),
        (Self(51), "ah"),
        (Self(4), "ipip"),
        (Self(112), "vrrp"),
    ];

    /// Whether the protocol's header starts with two 16-bit ports.
    #[must_use]
    pub const fn has_ports(self) -> bool {
        matches!(self, Self::TCP | Self::UDP | Self::SCTP)
    }

    /// Where the header, by whose ports no flow is told from another, has a
    /// checksum that covers the addresses: however little of the payload it
    /// covers, the pseudo-header is part of it (RFC 4340 section 9.1, RFC 3828
    /// section 3.1, RFC 6275 section 6.1.1, RFC 7401 section 5.1.1).
    #[must_use]
    pub const fn covering_checksum_at(self) -> Option<usize> {
        match self {
            Self::DCCP | Self::UDP_LITE => Some(6),
            Self::MOBILITY | Self::HIP => Some(4),
            _ => None,
        }
    }

    /// Whether this is ICMP of either family.
    #[must_use]
    pub const fn is_icmp(self) -> bool {
        matches!(self, Self::ICMP | Self::ICMPV6)
    }
}

impl fmt::Display for Proto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::NAMES.iter().find(|(proto, _)| proto == self) {
            Some((_, name)) => f.pad(name),
            None => fmt::Display::fmt(&self.0, f),
        }
    }
}

impl fmt::Debug for Proto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl core::str::FromStr for Proto {
    type Err = &'static str;

    /// A protocol's name or its number.
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Self::NAMES
            .iter()
            .find(|(_, name)| *name == s)
            .map(|(proto, _)| *proto)
            .or_else(|| s.parse().ok().map(Self))
            .ok_or("a protocol is a number from 0 to 255 or one of icmp, icmp6, tcp, udp, sctp, gre, esp, ah, ipip, vrrp")
    }
}

/// An IP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Family {
    /// IPv4.
    V4 = 4,
    /// IPv6.
    V6 = 6,
}

impl Family {
    /// The version field's value.
    #[must_use]
    #[inline]
    #[expect(clippy::as_conversions, reason = "the variant's own number")]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The family of an address.
    #[must_use]
    pub const fn of(addr: &IpAddr) -> Self {
        match addr {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

/// The key of a flow.
///
/// For TCP, UDP and SCTP the ports are the header's. For ICMP queries and their
/// answers, echo above all, the local port is the identifier, which translation
/// may rewrite, and the remote port says what the guest's messages of the
/// exchange are: their type, with zero for a code. So a request and its reply
/// share a key, and what the far end asks by the same identifier has another.
/// For other ICMP messages the local port is zero and the remote port holds type
/// and code; for any other protocol both are zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct Tuple {
    /// The guest's address, an IPv4 address as its IPv4-mapped IPv6 form.
    pub local: [u8; 16],
    /// The far end's address, in the same form.
    pub remote: [u8; 16],
    /// The guest's port, or the identifier of an ICMP query.
    pub local_port: u16,
    /// The far end's port, or type and code of an ICMP message: of a query or
    /// its answer, as the guest sends it.
    pub remote_port: u16,
    /// The IP protocol.
    pub proto: Proto,
    /// The IP version.
    pub family: Family,
}

impl Tuple {
    /// What isn't the near end: address, port, and protocol and family as one
    /// number, for they are compared for each packet.
    #[inline(always)]
    pub(super) const fn far_end(&self) -> ([u8; 16], u16, u16) {
        let kind = u16::from_ne_bytes([self.proto.0, self.family.number()]);
        (self.remote, self.remote_port, kind)
    }

    /// The guest's address.
    #[must_use]
    pub const fn local_ip(&self) -> IpAddr {
        to_ip(self.family, self.local)
    }

    /// The far end's address.
    #[must_use]
    pub const fn remote_ip(&self) -> IpAddr {
        to_ip(self.family, self.remote)
    }

    /// Whether this is an ICMP or ICMPv6 echo exchange.
    #[must_use]
    pub const fn is_echo(&self) -> bool {
        let [kind, _] = self.remote_port.to_be_bytes();
        matches!(
            (self.proto, kind),
            (Proto::ICMP, 0 | 8) | (Proto::ICMPV6, 128 | 129)
        )
    }

    /// The same flow with another local end.
    #[must_use]
    pub const fn with_local(self, addr: IpAddr, port: u16) -> Self {
        Self {
            local: from_ip(addr),
            local_port: port,
            ..self
        }
    }
}

/// The 16-byte form of an address: IPv4 becomes `::ffff:a.b.c.d`.
#[must_use]
pub const fn from_ip(addr: IpAddr) -> [u8; 16] {
    match addr {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// The address in a 16-byte form.
#[must_use]
pub const fn to_ip(family: Family, bytes: [u8; 16]) -> IpAddr {
    match family {
        Family::V4 => {
            let [.., a, b, c, d] = bytes;
            IpAddr::V4(Ipv4Addr::new(a, b, c, d))
        }
        Family::V6 => IpAddr::V6(Ipv6Addr::from_octets(bytes)),
    }
}

impl fmt::Display for Tuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = |f: &mut fmt::Formatter<'_>, ip: IpAddr, port: u16| match ip {
            IpAddr::V4(ip) => write!(f, "{ip}:{port}"),
            IpAddr::V6(ip) => write!(f, "[{ip}]:{port}"),
        };
        write!(f, "{} ", self.proto)?;
        end(f, self.local_ip(), self.local_port)?;
        f.write_str(" ")?;
        end(f, self.remote_ip(), self.remote_port)
    }
}

impl fmt::Debug for Tuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn a_key_prints_both_ends() {
        let v4 = Tuple {
            local: from_ip("10.0.0.1".parse().unwrap()),
            remote: from_ip("10.0.0.2".parse().unwrap()),
            local_port: 1,
            remote_port: 2,
            proto: Proto::TCP,
            family: Family::V4,
        };
        assert_eq!(v4.to_string(), "tcp 10.0.0.1:1 10.0.0.2:2");
        let v6 = Tuple {
            family: Family::V6,
            remote: from_ip("fd00::1".parse().unwrap()),
            ..v4
        };
        assert_eq!(v6.to_string(), "tcp [::ffff:10.0.0.1]:1 [fd00::1]:2");
    }

    #[test]
    fn protocols_parse_by_name_and_number() {
        assert_eq!("tcp".parse(), Ok(Proto::TCP));
        assert_eq!("89".parse(), Ok(Proto(89)));
        assert!("256".parse::<Proto>().is_err());
    }
}
