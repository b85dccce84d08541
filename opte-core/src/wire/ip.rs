//! What IPv4 and IPv6 have in common.
//!
//! [`Datagram`] is a whole packet of either family, checked once: what the
//! engine answers itself is written against it, so that there is one path for
//! both. Packets that only pass through are never read like this.

use super::checksum::Sum;
use super::ethernet::EtherType;
use super::{Writer, ipv4, ipv6};
use crate::DropReason;
use crate::flow::{Family, Proto};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Which part of a packet a fragment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Where the payload belongs in the whole packet, in bytes.
    pub offset: u16,
    /// Others follow.
    pub more: bool,
    /// Names the packet whose fragments belong together; 16 bits for IPv4.
    pub identification: u32,
}

impl Fragment {
    /// Whether it is all of a packet nevertheless: an IPv6 packet with a
    /// fragment header for nothing (RFC 6946).
    #[must_use]
    pub const fn is_atomic(&self) -> bool {
        self.offset == 0 && !self.more
    }
}

/// The two addresses of a packet, of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// IPv4.
    V4 {
        /// Who sent it.
        source: Ipv4Addr,
        /// Whom it is for.
        destination: Ipv4Addr,
    },
    /// IPv6.
    V6 {
        /// Who sent it.
        source: Ipv6Addr,
        /// Whom it is for.
        destination: Ipv6Addr,
    },
}

impl Ends {
    /// Who sent it.
    #[must_use]
    pub const fn source(&self) -> IpAddr {
        match *self {
            Self::V4 { source, .. } => IpAddr::V4(source),
            Self::V6 { source, .. } => IpAddr::V6(source),
        }
    }

    /// Whom it is for.
    #[must_use]
    pub const fn destination(&self) -> IpAddr {
        match *self {
            Self::V4 { destination, .. } => IpAddr::V4(destination),
            Self::V6 { destination, .. } => IpAddr::V6(destination),
        }
    }

    /// The IP version.
    #[must_use]
    pub const fn family(&self) -> Family {
        match self {
            Self::V4 { .. } => Family::V4,
            Self::V6 { .. } => Family::V6,
        }
    }

    /// The same, the other way.
    #[must_use]
    pub const fn reverse(self) -> Self {
        match self {
            Self::V4 {
                source,
                destination,
            } => Self::V4 {
                source: destination,
                destination: source,
            },
            Self::V6 {
                source,
                destination,
            } => Self::V6 {
                source: destination,
                destination: source,
            },
        }
    }

    /// Sum of the pseudo-header of an upper-layer message of `len` bytes (RFC
    /// 9293 section 3.1, RFC 8200 section 8.1).
    #[must_use]
    pub fn pseudo_header(&self, proto: Proto, len: usize) -> Sum {
        let addresses = match self {
            Self::V4 {
                source,
                destination,
            } => Sum::ZERO.u32(source.to_bits()).u32(destination.to_bits()),
            Self::V6 {
                source,
                destination,
            } => Sum::ZERO
                .bytes(&source.octets())
                .bytes(&destination.octets()),
        };
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        addresses.u16(u16::from(proto.0)).u32(len)
    }
}

/// A whole IP packet, found to be well-formed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'p> {
    /// Its addresses.
    pub ends: Ends,
    /// The upper layer, behind extension headers.
    pub proto: Proto,
    /// Hops that are left.
    pub hop_limit: u8,
    /// Differentiated services and congestion bits.
    pub traffic_class: u8,
    /// Which part it is, if it is one. An IPv6 packet may be an atomic one.
    pub fragment: Option<Fragment>,
    /// The upper layer's header and data.
    pub payload: &'p [u8],
}

/// Why bytes are no IP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The Ethernet type is neither of the two.
    EtherType,
    /// An IPv4 packet is malformed.
    V4(ipv4::Error),
    /// The checksum of an IPv4 header is wrong.
    Checksum,
    /// An IPv6 packet is malformed.
    V6(ipv6::Error),
    /// An IPv6 packet has other stops to make before it is where its upper
    /// layer wants it.
    Routed,
}

impl From<ipv4::Error> for Error {
    fn from(error: ipv4::Error) -> Self {
        Self::V4(error)
    }
}

impl From<ipv6::Error> for Error {
    fn from(error: ipv6::Error) -> Self {
        Self::V6(error)
    }
}

impl From<Error> for DropReason {
    fn from(error: Error) -> Self {
        match error {
            Error::EtherType => Self::UnknownEthertype,
            Error::V4(error) => error.into(),
            Error::Checksum => Self::BadChecksum,
            Error::V6(error) => error.into(),
            Error::Routed => Self::BadExtension,
        }
    }
}

impl<'p> Datagram<'p> {
    /// Reads a whole packet that an Ethernet frame of type `ethertype`
    /// carries.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn parse(ethertype: EtherType, bytes: &'p [u8]) -> Result<Self, Error> {
        match ethertype {
            EtherType::IPV4 => {
                let (header, payload) = ipv4::Header::parse(bytes)?;
                if !ipv4::checksum_is_right(bytes, &header) {
                    return Err(Error::Checksum);
                }
                Ok(Self {
                    ends: Ends::V4 {
                        source: header.source,
                        destination: header.destination,
                    },
                    proto: header.proto,
                    hop_limit: header.ttl,
                    traffic_class: header.traffic_class,
                    fragment: header.fragment(),
                    payload,
                })
            }
            EtherType::IPV6 => Self::parse_v6(bytes),
            _ => Err(Error::EtherType),
        }
    }

    fn parse_v6(bytes: &'p [u8]) -> Result<Self, Error> {
        let (header, rest) = ipv6::Header::parse(bytes)?;
        let extensions = ipv6::walk(header.next_header, rest)?;
        if extensions.segments_left > 0 {
            return Err(Error::Routed);
        }
        let payload = rest.get(extensions.len..).unwrap_or_default();
        if let Some(fragment) = extensions.fragment {
            // RFC 8200 section 4.5. Both lengths include extension headers.
            let end = usize::from(fragment.offset).saturating_add(payload.len());
            if end > usize::from(u16::MAX) || fragment.more && rest.len() % 8 != 0 {
                return Err(ipv6::Error::Fragment.into());
            }
        }
        Ok(Self {
            ends: Ends::V6 {
                source: header.source,
                destination: header.destination,
            },
            proto: extensions.proto,
            hop_limit: header.hop_limit,
            traffic_class: header.traffic_class,
            fragment: extensions.fragment,
            payload,
        })
    }

    /// Whether the packet is part of a larger one.
    #[must_use]
    pub fn is_fragment(&self) -> bool {
        self.fragment.is_some_and(|fragment| !fragment.is_atomic())
    }

    /// The Ethernet type of a frame that carries it.
    #[must_use]
    pub const fn ethertype(&self) -> EtherType {
        match self.ends {
            Ends::V4 { .. } => EtherType::IPV4,
            Ends::V6 { .. } => EtherType::IPV6,
        }
    }

    /// Appends the packet, without options or extension headers and never as
    /// a fragment. IPv4 packets must not be fragmented, so that they need no
    /// identification (RFC 6864 section 4.1).
    ///
    /// A payload that no packet can hold gets a length of 0xffff.
    pub fn emit(&self, out: &mut Writer) {
        let len = self.payload.len();
        match self.ends {
            Ends::V4 {
                source,
                destination,
            } => {
                let total_len = len.saturating_add(ipv4::HEADER_LEN);
                let header = ipv4::Header {
                    source,
                    destination,
                    proto: self.proto,
                    ttl: self.hop_limit,
                    traffic_class: self.traffic_class,
                    identification: 0,
                    dont_fragment: true,
                    more_fragments: false,
                    fragment_offset: 0,
                    total_len: u16::try_from(total_len).unwrap_or(u16::MAX),
                    options: &[],
                };
                header.emit(out);
            }
            Ends::V6 {
                source,
                destination,
            } => {
                let header = ipv6::Header {
                    source,
                    destination,
                    next_header: self.proto,
                    hop_limit: self.hop_limit,
                    traffic_class: self.traffic_class,
                    flow_label: 0,
                    payload_len: u16::try_from(len).unwrap_or(u16::MAX),
                };
                header.emit(out);
            }
        }
        out.put(self.payload);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::testing::{refuses_truncation, survives_anything};
    use std::vec::Vec;

    const V4: Ends = Ends::V4 {
        source: Ipv4Addr::new(10, 0, 0, 1),
        destination: Ipv4Addr::new(10, 0, 0, 2),
    };
    const V6: Ends = Ends::V6 {
        source: Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1),
        destination: Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2),
    };

    fn datagram(ends: Ends) -> Datagram<'static> {
        Datagram {
            ends,
            proto: Proto::UDP,
            hop_limit: 9,
            traffic_class: 0x20,
            fragment: None,
            payload: &[1, 2, 3, 4, 5],
        }
    }

    fn bytes(datagram: &Datagram<'_>) -> Vec<u8> {
        let mut out = Writer::default();
        datagram.emit(&mut out);
        out.into_bytes()
    }

    #[test]
    fn a_packet_reads_as_it_was_written() {
        for ends in [V4, V6] {
            let datagram = datagram(ends);
            let ethertype = datagram.ethertype();
            let mut wire = bytes(&datagram);
            refuses_truncation(&wire, |bytes| Datagram::parse(ethertype, bytes));
            survives_anything(&wire, |bytes| _ = Datagram::parse(ethertype, bytes));
            wire.extend([0; 20]);
            assert_eq!(Datagram::parse(ethertype, &wire), Ok(datagram));
        }
        assert_eq!(Datagram::parse(EtherType::ARP, &[]), Err(Error::EtherType));
    }

    #[test]
    fn a_damaged_header_is_refused() {
        let mut wire = bytes(&datagram(V4));
        wire[8] ^= 1;
        assert_eq!(
            Datagram::parse(EtherType::IPV4, &wire),
            Err(Error::Checksum)
        );
    }

    #[test]
    fn extension_headers_are_read_over() {
        let v6 = |next: u8, extension: &[u8]| {
            let mut wire = bytes(&datagram(V6));
            wire[6] = next;
            wire[5] += extension.len() as u8;
            wire.splice(40..40, extension.iter().copied());
            Datagram::parse(EtherType::IPV6, &wire).map(|d| (d.proto, d.payload.len(), d.fragment))
        };
        let whole = Fragment {
            offset: 0,
            more: false,
            identification: 7,
        };
        assert_eq!(
            v6(60, &[17, 0, 1, 4, 0, 0, 0, 0]),
            Ok((Proto::UDP, 5, None))
        );
        assert_eq!(
            v6(44, &[17, 0, 0, 0, 0, 0, 0, 7]),
            Ok((Proto::UDP, 5, Some(whole)))
        );
        assert!(whole.is_atomic());
        assert_eq!(
            v6(44, &[17, 0, 0, 1, 0, 0, 0, 7]),
            Err(Error::V6(ipv6::Error::Fragment))
        );
        assert_eq!(
            v6(44, &[17, 0, 0xff, 0xf8, 0, 0, 0, 7]),
            Ok((
                Proto::UDP,
                5,
                Some(Fragment {
                    offset: 0xfff8,
                    ..whole
                })
            ))
        );
        assert_eq!(v6(43, &[17, 0, 2, 1, 0, 0, 0, 0]), Err(Error::Routed));
    }

    #[test]
    fn pseudo_headers_sum_as_the_rfcs_say() {
        assert_eq!(
            V4.pseudo_header(Proto::UDP, 9).fold(),
            0x0a00 + 1 + 0x0a00 + 2 + 17 + 9
        );
        assert_eq!(
            V6.pseudo_header(Proto::ICMPV6, 0x0001_0002).fold(),
            // 0xfd00 twice carries once.
            0xfa00 + 1 + 1 + 2 + 58 + 1 + 2
        );
        assert_eq!(
            V6.reverse().pseudo_header(Proto::UDP, 8).fold(),
            V6.pseudo_header(Proto::UDP, 8).fold()
        );
        assert_eq!(V4.reverse().source(), V4.destination());
    }
}
