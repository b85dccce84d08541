//! From a spec to bytes.

use super::Place;
use super::scene::{Mac, Scene, link_mac};
use super::spec::{Arp, Geneve, Icmp, Kind, Ndp, Spec, Tcp, icmp_proto};
use super::wire::{self, ICMPV6, TCP, UDP};
use anyhow::{Context, Result, bail};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

const GENEVE_PORT: u16 = 6081;
/// Transparent Ethernet bridging, the protocol of what Geneve carries.
const GENEVE_ETHERNET: u16 = 0x6558;

/// Where a frame is seen: decides the MAC addresses that aren't written.
pub(super) enum Side {
    /// A guest sends it: to its gateway.
    Guest { mac: Mac, gateway: Mac },
    /// The underlay's only neighbour sends it to the link.
    Link { mac: Mac },
    /// Inside of Geneve: from and to whoever has the addresses.
    Inner,
}

impl Side {
    pub(super) fn of(place: &Place, scene: &Scene) -> Result<Self> {
        match place {
            Place::Tx(name) => {
                let port = scene.ports.get(name);
                let port = port.with_context(|| format!("the setup has no port `{name}`"))?;
                Ok(Self::Guest {
                    mac: port.mac,
                    gateway: port.gateway_mac,
                })
            }
            Place::Rx(name) => {
                let index = scene.links.iter().position(|link| link == name);
                let index = index.with_context(|| format!("the setup has no link `{name}`"))?;
                Ok(Self::Link {
                    mac: link_mac(index),
                })
            }
        }
    }

    fn source(&self, src: Option<IpAddr>, scene: &Scene) -> Result<Mac> {
        match self {
            Self::Guest { mac, .. } => Ok(*mac),
            Self::Link { .. } => Ok(Mac::NEIGHBOUR),
            Self::Inner => {
                let known = src.map(|src| scene.mac(src)).transpose()?.flatten();
                Ok(known.unwrap_or(Mac::BOUNDARY))
            }
        }
    }

    fn destination(&self, dst: Option<IpAddr>, scene: &Scene) -> Result<Mac> {
        if let Some(mac) = dst.and_then(group_mac) {
            return Ok(mac);
        }
        match self {
            Self::Guest { gateway, .. } => Ok(*gateway),
            Self::Link { mac } => Ok(*mac),
            Self::Inner => {
                let dst = dst.context("say who it is for with `dmac`")?;
                let mac = scene.mac(dst)?;
                mac.with_context(|| format!("nobody has {dst}: say who it is for with `dmac`"))
            }
        }
    }
}

/// The MAC address of a group or of everybody (RFC 1112 section 6.4, RFC 2464
/// section 7).
fn group_mac(dst: IpAddr) -> Option<Mac> {
    match dst {
        IpAddr::V4(Ipv4Addr::BROADCAST) => Some(Mac::BROADCAST),
        IpAddr::V4(v4) if v4.is_multicast() => {
            let [_, b, c, d] = v4.octets();
            Some(Mac([0x01, 0x00, 0x5e, b & 0x7f, c, d]))
        }
        IpAddr::V6(v6) if v6.is_multicast() => {
            let [.., a, b, c, d] = v6.octets();
            Some(Mac([0x33, 0x33, a, b, c, d]))
        }
        _ => None,
    }
}

/// A packet and what its frame needs to know of it.
struct Packet {
    ethertype: u16,
    bytes: Vec<u8>,
    dst: Option<IpAddr>,
}

/// The whole frame.
pub(super) fn frame(spec: &Spec, scene: &Scene, side: &Side) -> Result<Vec<u8>> {
    let mut bytes = if let Kind::Raw(bytes) = &spec.kind {
        bytes.clone()
    } else {
        // ARP, NDP and DHCP messages repeat the frame's source address.
        let own = match spec.smac {
            Some(mac) => mac,
            None => side.source(spec.source(), scene)?,
        };
        let packet = packet(spec, scene, own)?;
        let dst = match spec.dmac {
            Some(mac) => mac,
            None if matches!(spec.kind, Kind::Arp(Arp::WhoHas { .. })) => Mac::BROADCAST,
            None => side.destination(packet.dst, scene)?,
        };
        wire::ethernet(dst, own, spec.vlan, packet.ethertype, &packet.bytes)
    };
    if let Some(len) = spec.cut {
        bytes.truncate(len);
    }
    bytes.extend(&spec.trailer);
    Ok(bytes)
}

impl Spec {
    /// The address that the frame's source MAC address is looked up by.
    fn source(&self) -> Option<IpAddr> {
        match &self.kind {
            Kind::Udp { src, .. } | Kind::Tcp { src, .. } => Some(src.ip()),
            Kind::Icmp { src, .. } | Kind::Ip { src, .. } | Kind::Geneve { src, .. } => Some(*src),
            Kind::Ndp { src, .. } => Some((*src).into()),
            Kind::Raw(_) | Kind::Arp(_) | Kind::Dhcp(_) | Kind::Dhcp6(_) => None,
        }
    }
}

/// The packet inside of the Ethernet frame.
fn packet(spec: &Spec, scene: &Scene, own: Mac) -> Result<Packet> {
    let (src, dst, proto, segment) = match &spec.kind {
        Kind::Raw(_) => bail!("`raw` is a whole frame, not a packet"),
        Kind::Arp(arp) => {
            return Ok(Packet {
                ethertype: wire::ETHERTYPE_ARP,
                bytes: arp_message(arp, own),
                dst: None,
            });
        }
        Kind::Udp { src, dst } => udp(spec, *src, *dst, &spec.payload)?,
        Kind::Dhcp(dhcp) => {
            let (src, dst) = dhcp.ends();
            udp(spec, src, dst, &dhcp.message(own)?)?
        }
        Kind::Dhcp6(dhcp) => {
            let (src, dst) = dhcp.ends();
            udp(spec, src, dst, &dhcp.message(own)?)?
        }
        Kind::Tcp { src, dst, tcp } => {
            let segment = tcp_segment(src.port(), dst.port(), tcp, &spec.payload)?;
            summed(spec, src.ip(), dst.ip(), TCP, 16, segment)?
        }
        Kind::Icmp { src, dst, icmp } => {
            let body = match &spec.carried {
                Some(quoted) => packet(quoted, scene, own)?.bytes,
                None => spec.payload.clone(),
            };
            let message = icmp_message(icmp, &body);
            summed(spec, *src, *dst, icmp_proto(*src), 2, message)?
        }
        Kind::Ndp { src, dst, ndp } => {
            let message = ndp_message(ndp, own, src.is_unspecified(), dst.is_multicast());
            summed(spec, (*src).into(), (*dst).into(), ICMPV6, 2, message)?
        }
        Kind::Ip { src, dst, proto } => (*src, *dst, *proto, spec.payload.clone()),
        Kind::Geneve { src, dst, geneve } => {
            let inner = match &spec.carried {
                Some(inner) => frame(inner, scene, &Side::Inner)?,
                None => spec.payload.clone(),
            };
            let port = geneve.source_port.unwrap_or(49_152);
            // Its checksum is zero (RFC 6935).
            let datagram = wire::udp(port, GENEVE_PORT, &geneve_message(geneve, &inner)?)?;
            (*src, *dst, UDP, datagram)
        }
    };
    let mut header = spec.ip.clone();
    if matches!(spec.kind, Kind::Ndp { .. }) {
        // RFC 4861 section 7.1.1: anything else is ignored.
        header.ttl = header.ttl.or(Some(255));
    }
    let (ethertype, bytes) = wire::ip(&header, src, dst, proto, &segment)?;
    Ok(Packet {
        ethertype,
        bytes,
        dst: Some(dst),
    })
}

type Segment = (IpAddr, IpAddr, u8, Vec<u8>);

fn udp(spec: &Spec, src: SocketAddr, dst: SocketAddr, payload: &[u8]) -> Result<Segment> {
    let datagram = wire::udp(src.port(), dst.port(), payload)?;
    let mut segment = summed(spec, src.ip(), dst.ip(), UDP, 6, datagram)?;
    if segment.3.get(6..8) == Some(&[0, 0]) {
        // A sum of zero is written as its other form: zero means none.
        wire::put16(&mut segment.3, 6, 0xffff);
    }
    Ok(segment)
}

/// Puts the checksum, or a wrong one, at `at`.
fn summed(
    spec: &Spec,
    src: IpAddr,
    dst: IpAddr,
    proto: u8,
    at: usize,
    mut bytes: Vec<u8>,
) -> Result<Segment> {
    let sum = if proto == wire::ICMP {
        wire::icmp_checksum(&bytes)
    } else {
        wire::transport_checksum(src, dst, proto, &bytes)?
    };
    let sum = if spec.bad_checksum { sum ^ 0x5555 } else { sum };
    wire::put16(&mut bytes, at, sum);
    Ok((src, dst, proto, bytes))
}

/// RFC 826.
fn arp_message(arp: &Arp, own: Mac) -> Vec<u8> {
    let (operation, sender_mac, sender, target_mac, target) = match arp {
        Arp::WhoHas { target, sender } => (1, own, sender, Mac([0; 6]), target),
        Arp::IsAt {
            sender,
            mac,
            target,
        } => (2, mac.unwrap_or(own), sender, Mac([0; 6]), target),
    };
    let mut out = vec![0, 1, 0x08, 0x00, 6, 4, 0, operation];
    out.extend(sender_mac.0);
    out.extend(sender.octets());
    out.extend(target_mac.0);
    out.extend(target.octets());
    out
}

/// RFC 9293 section 3.1.
fn tcp_segment(src: u16, dst: u16, tcp: &Tcp, payload: &[u8]) -> Result<Vec<u8>> {
    let mut options = tcp.options.clone();
    // Padding is "no operation" (kind 1), so that it can stand anywhere.
    options.resize(options.len().next_multiple_of(4), 1);
    let words = u8::try_from(5 + options.len() / 4)?;
    if words > 15 {
        bail!("more TCP options than fit");
    }
    let mut out = Vec::new();
    out.extend(src.to_be_bytes());
    out.extend(dst.to_be_bytes());
    out.extend(tcp.seq.to_be_bytes());
    out.extend(tcp.ack.to_be_bytes());
    out.extend([words << 4, tcp.flags]);
    out.extend(tcp.window.unwrap_or(65_535).to_be_bytes());
    out.extend([0; 4]);
    out.extend(options);
    out.extend(payload);
    Ok(out)
}

fn icmp_message(icmp: &Icmp, body: &[u8]) -> Vec<u8> {
    [&[icmp.kind, icmp.code, 0, 0], icmp.rest.as_slice(), body].concat()
}

/// RFC 4861 sections 4.1, 4.3 and 4.4.
fn ndp_message(ndp: &Ndp, own: Mac, nameless: bool, to_group: bool) -> Vec<u8> {
    const SOURCE_LINK_ADDRESS: u8 = 1;
    const TARGET_LINK_ADDRESS: u8 = 2;
    const SOLICITED: u8 = 0x40;
    const OVERRIDE: u8 = 0x20;
    let (kind, flags, target, option) = match ndp {
        Ndp::RouterSolicit => (133, 0, None, Some((SOURCE_LINK_ADDRESS, own))),
        Ndp::Solicit { target } => (135, 0, Some(target), Some((SOURCE_LINK_ADDRESS, own))),
        // One to a group answers nobody (section 7.1.2).
        Ndp::Advertise { target, mac } => (
            136,
            OVERRIDE | if to_group { 0 } else { SOLICITED },
            Some(target),
            Some((TARGET_LINK_ADDRESS, mac.unwrap_or(own))),
        ),
    };
    let mut out = vec![kind, 0, 0, 0, flags, 0, 0, 0];
    if let Some(target) = target {
        out.extend(target.octets());
    }
    // Who has no address yet must not say where it is (section 4.3).
    if let Some((option, mac)) = option.filter(|_| !nameless) {
        out.extend([option, 1]);
        out.extend(mac.0);
    }
    out
}

/// RFC 8926 section 3.4.
fn geneve_message(geneve: &Geneve, inner: &[u8]) -> Result<Vec<u8>> {
    const CRITICAL: u8 = 0x40;
    let len_words = u8::try_from(geneve.options.len() / 4)?;
    let critical = has_critical(&geneve.options);
    let mut out = vec![len_words, if critical { CRITICAL } else { 0 }];
    out.extend(GENEVE_ETHERNET.to_be_bytes());
    out.extend((geneve.vni << 8).to_be_bytes());
    out.extend(&geneve.options);
    out.extend(inner);
    Ok(out)
}

/// Whether one of the options has the critical bit, the top one of its type.
fn has_critical(mut options: &[u8]) -> bool {
    while let [_, _, kind, len, rest @ ..] = options {
        if kind & 0x80 != 0 {
            return true;
        }
        options = rest.get(usize::from(*len) * 4..).unwrap_or_default();
    }
    false
}
