//! IPv6 (RFC 8200): the fixed header, and the walk over extension headers.
//!
//! Rules     X1  The walk ends after [`IPV6_EXTENSIONS_MAX`] headers or
//!               [`IPV6_EXTENSION_BYTES_MAX`] bytes, and each header moves it
//!               on by eight bytes or more.
//!           X2  Hop-by-hop options come first or not at all (section 4.1),
//!               a fragment header comes once.
//!           X3  What follows the fragment header of any fragment but the
//!               first is payload, not a header.
//!           X4  A routing header of type 0 that isn't used up is refused
//!               (RFC 5095).
//!           X5  Encryption (ESP) and what the walk doesn't know end it: they
//!               are the upper layer.

use super::Writer;
use super::ip::Fragment;
use crate::DropReason;
use crate::flow::Proto;
use crate::limits::{IPV6_EXTENSION_BYTES_MAX, IPV6_EXTENSIONS_MAX};
use core::net::Ipv6Addr;

/// Bytes of the fixed header.
pub const HEADER_LEN: usize = 40;
/// Every node on the link.
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// Every router on the link.
pub const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

const HOP_BY_HOP: Proto = Proto(0);
const ROUTING: Proto = Proto(43);
const FRAGMENT: Proto = Proto(44);
const AUTHENTICATION: Proto = Proto(51);
const DESTINATION: Proto = Proto(60);

/// The fixed header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Who sent the packet.
    pub source: Ipv6Addr,
    /// Whom it is for, or the next stop of a routing header.
    pub destination: Ipv6Addr,
    /// What follows: an extension header or the upper layer.
    pub next_header: Proto,
    /// Hops that are left.
    pub hop_limit: u8,
    /// Differentiated services and congestion bits (RFC 2474, RFC 3168).
    pub traffic_class: u8,
    /// Flow label, 20 bits.
    pub flow_label: u32,
    /// Bytes after this header, extension headers included.
    pub payload_len: u16,
}

/// Why bytes are no IPv6 packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// They end before the header or the packet does.
    Truncated,
    /// The version isn't six.
    Version,
    /// An extension header is cut off.
    ExtensionTruncated,
    /// More extension headers than the engine walks.
    ExtensionLimit,
    /// An extension header where it can't be.
    ExtensionOrder,
    /// A routing header of type 0.
    RoutingZero,
    /// A fragment ends beyond the largest packet or has a length that no
    /// fragment has.
    Fragment,
}

impl From<Error> for DropReason {
    fn from(error: Error) -> Self {
        match error {
            Error::Truncated => Self::Truncated,
            Error::Version | Error::Fragment => Self::BadIp,
            Error::ExtensionTruncated
            | Error::ExtensionLimit
            | Error::ExtensionOrder
            | Error::RoutingZero => Self::BadExtension,
        }
    }
}

impl Header {
    /// Splits a header off the front of what may be only the beginning of a
    /// packet; the rest may be shorter or longer than the payload.
    ///
    /// # Errors
    ///
    /// When the header is cut off or isn't of version six.
    pub fn read(bytes: &[u8]) -> Result<(Self, &[u8]), Error> {
        let (vcl, rest) = bytes.split_first_chunk::<4>().ok_or(Error::Truncated)?;
        let ([l0, l1, next_header, hop_limit], rest) =
            rest.split_first_chunk().ok_or(Error::Truncated)?;
        let (source, rest) = rest.split_first_chunk().ok_or(Error::Truncated)?;
        let (destination, rest) = rest.split_first_chunk().ok_or(Error::Truncated)?;
        let [v, tc, ..] = *vcl;
        if v >> 4 != 6 {
            return Err(Error::Version);
        }
        let header = Self {
            source: Ipv6Addr::from_octets(*source),
            destination: Ipv6Addr::from_octets(*destination),
            next_header: Proto(*next_header),
            hop_limit: *hop_limit,
            traffic_class: v << 4 | tc >> 4,
            flow_label: u32::from_be_bytes(*vcl) & 0x000f_ffff,
            payload_len: u16::from_be_bytes([*l0, *l1]),
        };
        Ok((header, rest))
    }

    /// Reads a whole packet: header and what follows, cut to its length. A
    /// jumbogram (RFC 2675) has no length here and is read as empty.
    ///
    /// # Errors
    ///
    /// As [`Header::read`], and when the packet is longer than the bytes.
    pub fn parse(bytes: &[u8]) -> Result<(Self, &[u8]), Error> {
        let (header, rest) = Self::read(bytes)?;
        let payload = rest
            .get(..usize::from(header.payload_len))
            .ok_or(Error::Truncated)?;
        Ok((header, payload))
    }

    /// The header on the wire. Only 20 bits of the flow label are used.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; HEADER_LEN] {
        let class = u32::from(self.traffic_class) << 20;
        let vcl = 0x6000_0000 | class | self.flow_label & 0x000f_ffff;
        let mut bytes = [0; HEADER_LEN];
        let (start, addresses) = bytes.split_at_mut(8);
        let [v0, v1, v2, v3] = vcl.to_be_bytes();
        let [l0, l1] = self.payload_len.to_be_bytes();
        start.copy_from_slice(&[v0, v1, v2, v3, l0, l1, self.next_header.0, self.hop_limit]);
        let (source, destination) = addresses.split_at_mut(16);
        source.copy_from_slice(&self.source.octets());
        destination.copy_from_slice(&self.destination.octets());
        bytes
    }

    /// Appends the header.
    pub fn emit(&self, out: &mut Writer) {
        out.put(&self.to_bytes());
    }
}

/// What lies between the fixed header and the upper layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extensions {
    /// The upper layer's protocol; of a later fragment, the protocol that its
    /// first fragment goes on with.
    pub proto: Proto,
    /// Bytes of extension headers.
    pub len: usize,
    /// Bytes of those that every fragment has: up to the fragment header and
    /// with it; none without one.
    pub whole_len: usize,
    /// What the fragment header says, if there is one.
    pub fragment: Option<Fragment>,
    /// Stops that a routing header still has to make. The destination in the
    /// pseudo-header is the last of them, not the fixed header's.
    pub segments_left: u8,
}

/// Walks the extension headers in `bytes`, which follow the fixed header;
/// `first` is its next header.
///
/// # Errors
///
/// When a header is cut off, in a wrong place or one too many.
pub fn walk(first: Proto, bytes: &[u8]) -> Result<Extensions, Error> {
    let mut found = Extensions {
        proto: first,
        len: 0,
        whole_len: 0,
        fragment: None,
        segments_left: 0,
    };
    let mut rest = bytes;
    for count in 0..=IPV6_EXTENSIONS_MAX {
        let len = match found.proto {
            HOP_BY_HOP if count > 0 => return Err(Error::ExtensionOrder),
            FRAGMENT if found.fragment.is_some() => return Err(Error::ExtensionOrder),
            FRAGMENT => 8,
            HOP_BY_HOP | ROUTING | DESTINATION => extension_len(rest, 8, 3)?,
            AUTHENTICATION => extension_len(rest, 8, 2)?,
            _ => return Ok(found),
        };
        let (header, after) = rest
            .split_at_checked(len)
            .ok_or(Error::ExtensionTruncated)?;
        let ([next, _, b2, b3, i0, i1, i2, i3], _) = header
            .split_first_chunk()
            .ok_or(Error::ExtensionTruncated)?;
        found.len = found.len.saturating_add(len);
        if count == IPV6_EXTENSIONS_MAX || found.len > IPV6_EXTENSION_BYTES_MAX {
            return Err(Error::ExtensionLimit);
        }
        match found.proto {
            ROUTING if *b2 == 0 && *b3 > 0 => return Err(Error::RoutingZero),
            ROUTING => found.segments_left = *b3,
            FRAGMENT => {
                found.whole_len = found.len;
                found.fragment = Some(Fragment {
                    offset: u16::from_be_bytes([*b2, *b3]) & 0xfff8,
                    more: b3 & 1 != 0,
                    identification: u32::from_be_bytes([*i0, *i1, *i2, *i3]),
                });
            }
            _ => {}
        }
        found.proto = Proto(*next);
        rest = after;
        if found.fragment.is_some_and(|f| f.offset != 0) {
            return Ok(found);
        }
    }
    Err(Error::ExtensionLimit)
}

/// Length of the extension header in front of `rest`: `base` bytes and the
/// number in its second byte, in units of `1 << shift` bytes.
fn extension_len(rest: &[u8], base: usize, shift: u32) -> Result<usize, Error> {
    let units = rest.get(1).ok_or(Error::ExtensionTruncated)?;
    let more = usize::from(*units).wrapping_shl(shift);
    Ok(base.saturating_add(more))
}

/// The group on which a node listens for solicitations of `address` (RFC 4291
/// section 2.7.1).
#[must_use]
pub const fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    Ipv6Addr::from_octets([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c])
}

/// Whether `address` is in fe80::/64, the form that link-local addresses have
/// (RFC 4291 section 2.5.6).
#[must_use]
pub const fn is_link_local(address: Ipv6Addr) -> bool {
    matches!(address.octets(), [0xfe, 0x80, 0, 0, 0, 0, 0, 0, ..])
}

#[cfg(test)]
mod tests;
