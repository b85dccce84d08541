//! Headers, written byte by byte.

use super::scene::Mac;
use anyhow::{Context, Result, bail};
use std::net::IpAddr;

pub(super) const ETHERTYPE_IPV4: u16 = 0x0800;
pub(super) const ETHERTYPE_ARP: u16 = 0x0806;
pub(super) const ETHERTYPE_VLAN: u16 = 0x8100;
pub(super) const ETHERTYPE_IPV6: u16 = 0x86dd;

pub(super) const ICMP: u8 = 1;
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
pub(super) const ICMPV6: u8 = 58;
const IPV6_FRAGMENT: u8 = 44;

/// The internet checksum of `parts` put one after the other (RFC 1071).
fn checksum(parts: &[&[u8]]) -> u16 {
    let bytes: Vec<u8> = parts.concat();
    let mut sum: u64 = bytes
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => u64::from(u16::from_be_bytes([*high, *low])),
            [high] => u64::from(*high) << 8,
            _ => 0,
        })
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or_default()
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// The sum that goes into a transport header (RFC 9293 section 3.1, RFC 8200
/// section 8.1).
pub(super) fn transport_checksum(
    src: IpAddr,
    dst: IpAddr,
    proto: u8,
    segment: &[u8],
) -> Result<u16> {
    let len = u32::try_from(segment.len())?.to_be_bytes();
    Ok(checksum(&[
        &octets(src),
        &octets(dst),
        &len,
        &[0, 0, 0, proto],
        segment,
    ]))
}

/// The sum of an ICMP message for IPv4, which has no pseudo-header.
pub(super) fn icmp_checksum(message: &[u8]) -> u16 {
    checksum(&[message])
}

/// Writes `value` at `at`.
pub(super) fn put16(bytes: &mut [u8], at: usize, value: u16) {
    if let Some(place) = bytes.get_mut(at..at + 2) {
        place.copy_from_slice(&value.to_be_bytes());
    }
}

/// What an IP header says besides addresses and lengths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ip {
    pub(super) ttl: Option<u8>,
    pub(super) tos: u8,
    pub(super) id: u16,
    pub(super) df: bool,
    pub(super) bad_checksum: bool,
    /// Bytes of payload in each fragment, and which of the fragments to send.
    pub(super) fragment: Option<(usize, usize)>,
}

/// The EtherType and the IP packet: the header and `payload`, or a fragment
/// of it.
pub(super) fn ip(
    ip: &Ip,
    src: IpAddr,
    dst: IpAddr,
    proto: u8,
    payload: &[u8],
) -> Result<(u16, Vec<u8>)> {
    let (piece, offset, more) = match ip.fragment {
        None => (payload, 0, false),
        Some((size, index)) => {
            let at = size * index;
            let rest = payload.get(at..).filter(|rest| !rest.is_empty());
            let rest = rest.with_context(|| format!("there is no fragment {index}"))?;
            (rest.get(..size).unwrap_or(rest), at, rest.len() > size)
        }
    };
    let offset = u16::try_from(offset).context("the fragment lies beyond 65535 bytes")?;
    let header = match (src, dst) {
        (IpAddr::V4(_), IpAddr::V4(_)) => ipv4(ip, src, dst, proto, piece.len(), offset / 8, more)?,
        (IpAddr::V6(_), IpAddr::V6(_)) => ipv6(ip, src, dst, proto, piece.len(), offset, more)?,
        _ => bail!("{src} and {dst} are of different families"),
    };
    let ethertype = if src.is_ipv4() {
        ETHERTYPE_IPV4
    } else {
        ETHERTYPE_IPV6
    };
    Ok((ethertype, [header, piece.to_vec()].concat()))
}

fn ipv4(
    ip: &Ip,
    src: IpAddr,
    dst: IpAddr,
    proto: u8,
    len: usize,
    offset_words: u16,
    more: bool,
) -> Result<Vec<u8>> {
    let total = u16::try_from(len + 20).context("the packet is longer than 65535 bytes")?;
    let flags = (u16::from(ip.df) << 14) | (u16::from(more) << 13) | offset_words;
    let mut header = vec![0x45, ip.tos];
    header.extend(total.to_be_bytes());
    header.extend(ip.id.to_be_bytes());
    header.extend(flags.to_be_bytes());
    header.extend([ip.ttl.unwrap_or(64), proto, 0, 0]);
    header.extend(octets(src));
    header.extend(octets(dst));
    let sum = checksum(&[&header]);
    put16(&mut header, 10, if ip.bad_checksum { !sum } else { sum });
    Ok(header)
}

fn ipv6(
    ip: &Ip,
    src: IpAddr,
    dst: IpAddr,
    proto: u8,
    len: usize,
    offset: u16,
    more: bool,
) -> Result<Vec<u8>> {
    let mut extension = Vec::new();
    if ip.fragment.is_some() {
        // RFC 8200 section 4.5; the offset's unit is eight bytes, in the
        // upper 13 bits.
        extension.extend([proto, 0]);
        extension.extend((offset | u16::from(more)).to_be_bytes());
        extension.extend(u32::from(ip.id).to_be_bytes());
    }
    let next = if extension.is_empty() {
        proto
    } else {
        IPV6_FRAGMENT
    };
    let len = u16::try_from(len + extension.len()).context("the packet is too long")?;
    let first = (6u32 << 28) | (u32::from(ip.tos) << 20);
    let mut header = first.to_be_bytes().to_vec();
    header.extend(len.to_be_bytes());
    header.extend([next, ip.ttl.unwrap_or(64)]);
    header.extend(octets(src));
    header.extend(octets(dst));
    header.extend(extension);
    Ok(header)
}

/// A UDP datagram without its checksum.
pub(super) fn udp(src: u16, dst: u16, payload: &[u8]) -> Result<Vec<u8>> {
    let len = u16::try_from(payload.len() + 8).context("the datagram is too long")?;
    let mut out = Vec::new();
    for field in [src, dst, len, 0] {
        out.extend(field.to_be_bytes());
    }
    out.extend(payload);
    Ok(out)
}

/// An Ethernet frame.
pub(super) fn ethernet(
    dst: Mac,
    src: Mac,
    vlan: Option<u16>,
    ethertype: u16,
    payload: &[u8],
) -> Vec<u8> {
    let mut out = [dst.0, src.0].concat();
    if let Some(vlan) = vlan {
        out.extend(ETHERTYPE_VLAN.to_be_bytes());
        out.extend(vlan.to_be_bytes());
    }
    out.extend(ethertype.to_be_bytes());
    out.extend(payload);
    out
}
