//! The boundary: a tunnel end point between the underlay and the internet.
//!
//! Purpose   stands in for the switch or router at the edge of a fleet, so a
//!           demo or test has an outside. It also judges: what a fleet may not
//!           let out, it refuses and counts.
//!
//! Flow      UDP 6081 on the underlay -- decapsulate --> TUN: the internet
//!           TUN -- encapsulate by the table of external addresses --> UDP
//!
//! Rules     B1  outbound frames have the boundary's VNI and inner MAC address
//!               and come from an external address of the table.
//!           B2  inbound frames have the VNI and MAC address of the guest, and
//!               the option that says they come from outside.
//!
//! Failure   a packet that breaks a rule, or that the table has no entry for,
//!           is dropped and counted as refused.

mod piece;

use super::Namespace;
use super::geneve::{self, Geneve};
use super::ip::{ETHERNET_LEN, ETHERTYPE_V4, ETHERTYPE_V6};
use super::tun;
use anyhow::{Context, Result};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use opte_core::api::Prefix;
use piece::Pieces;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV6, UdpSocket};
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

const PROTO_ICMP: u8 = 1;
const PROTO_TCP: u8 = 6;
const PROTO_UDP: u8 = 17;
const PROTO_ICMP6: u8 = 58;
/// Bytes of the largest packet in either direction.
const PACKET_LEN_MAX: usize = 65_536;
/// The virtual network of traffic with the outside.
const BOUNDARY_VNI: u32 = 99;
/// The boundary's MAC address inside of the tunnel.
const BOUNDARY_MAC: [u8; 6] = opte_core::wire::MacAddr::BOUNDARY.0;
/// How often the thread looks whether it shall end, in milliseconds.
const STOP_POLL_MS: u16 = 50;

/// Who has external addresses, or a part of one's ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mapping {
    /// The external addresses.
    pub(crate) external: Prefix,
    /// TCP and UDP ports and ICMP echo identifiers that are the guest's.
    pub(crate) ports: RangeInclusive<u16>,
    /// The guest's virtual network.
    pub(crate) vni: u32,
    /// The guest's MAC address.
    pub(crate) mac: [u8; 6],
    /// Tunnel address of the guest's host.
    pub(crate) sled: Ipv6Addr,
}

/// What the boundary did.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Packets that it let out.
    pub(crate) outbound: AtomicU64,
    /// Packets that it let in.
    pub(crate) inbound: AtomicU64,
    /// Packets that broke a rule or had no mapping.
    pub(crate) refused: AtomicU64,
}

/// A running boundary; it ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Boundary {
    counters: Arc<Counters>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Boundary {
    /// Starts a boundary that is `address` in the namespace `underlay`, and the
    /// device `device` in the namespace `internet`.
    ///
    /// # Errors
    ///
    /// When the address isn't there or the device can't be made.
    pub(crate) fn start(
        (underlay, address): (&Namespace, Ipv6Addr),
        (internet, device): (&Namespace, &str),
        table: Vec<Mapping>,
    ) -> Result<Self> {
        let socket = underlay.run(|| {
            let socket = UdpSocket::bind(SocketAddrV6::new(address, geneve::PORT, 0, 0))
                .with_context(|| format!("can't bind to {address}"))?;
            allow_no_checksum(&socket)?;
            Ok(socket)
        })?;
        let tun = tun::open(internet, device)?;
        let counters = Arc::new(Counters::default());
        let stop = Arc::new(AtomicBool::new(false));
        let mut relay = Relay {
            socket,
            tun,
            table,
            pieces: Pieces::default(),
            counters: Arc::clone(&counters),
        };
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || relay.run(&stopped));
        Ok(Self {
            counters,
            stop,
            thread: Some(thread),
        })
    }

    /// What it did so far.
    #[must_use]
    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }
}

impl Drop for Boundary {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // If it panicked, whoever relied on it has noticed.
            let _ = thread.join();
        }
    }
}

struct Relay {
    socket: UdpSocket,
    tun: File,
    table: Vec<Mapping>,
    pieces: Pieces,
    counters: Arc<Counters>,
}

impl Relay {
    fn run(&mut self, stop: &AtomicBool) {
        let mut buffer = vec![0; PACKET_LEN_MAX];
        while !stop.load(Ordering::Relaxed) {
            let mut ready = [
                PollFd::new(self.socket.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.tun.as_fd(), PollFlags::POLLIN),
            ];
            if poll(&mut ready, PollTimeout::from(STOP_POLL_MS)).is_err() {
                continue;
            }
            let [from_underlay, from_internet] = ready.map(|fd| fd.any().unwrap_or(false));
            if from_underlay {
                self.outbound(&mut buffer);
            }
            if from_internet {
                self.inbound(&mut buffer);
            }
        }
    }

    fn outbound(&mut self, buffer: &mut [u8]) {
        let Ok(len) = self.socket.recv(buffer) else {
            return;
        };
        let sent = decapsulate(&buffer[..len], &self.table)
            .is_some_and(|packet| self.tun.write_all(packet).is_ok());
        self.count(sent, &self.counters.outbound);
    }

    fn inbound(&mut self, buffer: &mut [u8]) {
        let Ok(len) = self.tun.read(buffer) else {
            return;
        };
        let packet = &buffer[..len];
        if is_link_scope(packet) {
            return;
        }
        let found = self.pieces.mapping(packet, &self.table);
        let sent = found.is_some_and(|mapping| {
            let to = SocketAddrV6::new(mapping.sled, geneve::PORT, 0, 0);
            self.socket
                .send_to(&encapsulate(packet, mapping), to)
                .is_ok()
        });
        self.count(sent, &self.counters.inbound);
    }

    fn count(&self, sent: bool, counter: &AtomicU64) {
        let counter = if sent {
            counter
        } else {
            &self.counters.refused
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// The IP packet inside of a tunnelled frame, if rule B1 allows it out.
fn decapsulate<'a>(datagram: &'a [u8], table: &[Mapping]) -> Option<&'a [u8]> {
    let geneve = Geneve::parse(datagram).ok()?;
    let (ethernet, packet) = geneve.inner.split_at_checked(ETHERNET_LEN)?;
    let (source, _) = addresses(packet)?;
    let allowed = geneve.vni == BOUNDARY_VNI
        && !geneve.external
        && ethernet[..6] == BOUNDARY_MAC
        && ethernet[12..] == ethertype(source).to_be_bytes()
        && table
            .iter()
            .any(|mapping| mapping.external.contains(&source));
    allowed.then_some(packet)
}

/// The payload of a datagram to the guest's sled, by rule B2.
fn encapsulate(packet: &[u8], mapping: &Mapping) -> Vec<u8> {
    let ethertype = ethertype(mapping.external.addr()).to_be_bytes();
    let inner = [&mapping.mac[..], &BOUNDARY_MAC, &ethertype, packet].concat();
    Geneve {
        vni: mapping.vni,
        external: true,
        inner: &inner,
    }
    .emit()
}

/// Whose packet from the internet this is.
fn mapping<'a>(packet: &[u8], table: &'a [Mapping]) -> Option<&'a Mapping> {
    let (_, destination) = addresses(packet)?;
    let port = local_port(packet);
    table.iter().find(|mapping| {
        // An address that is one guest's alone takes packets without ports too.
        let whole = mapping.ports == (0..=u16::MAX);
        mapping.external.contains(&destination)
            && (whole || port.is_some_and(|port| mapping.ports.contains(&port)))
    })
}

/// Whether a packet is the chatter of a stack with its link, as router
/// solicitations and redirects are, which no router forwards.
fn is_link_scope(packet: &[u8]) -> bool {
    addresses(packet).is_some_and(|ends| match ends {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            to.is_multicast() || to.is_broadcast() || to.is_link_local() || from.is_link_local()
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            to.is_multicast() || to.is_unicast_link_local() || from.is_unicast_link_local()
        }
        _ => false,
    })
}

/// Source and destination of an IP packet.
fn addresses(packet: &[u8]) -> Option<(IpAddr, IpAddr)> {
    let field = |at: usize, len: usize| packet.get(at..at.checked_add(len)?);
    match packet.first()? >> 4 {
        4 => {
            let v4 = |at| Some(Ipv4Addr::from(<[u8; 4]>::try_from(field(at, 4)?).ok()?));
            Some((IpAddr::V4(v4(12)?), IpAddr::V4(v4(16)?)))
        }
        6 => {
            let v6 = |at| Some(Ipv6Addr::from(<[u8; 16]>::try_from(field(at, 16)?).ok()?));
            Some((IpAddr::V6(v6(8)?), IpAddr::V6(v6(24)?)))
        }
        _ => None,
    }
}

/// The port that tells the guest, in a packet from outside: a destination
/// port, an echo identifier, or the source port of what an ICMP error quotes.
fn local_port(packet: &[u8]) -> Option<u16> {
    let (proto, transport) = transport(packet)?;
    let word = |bytes: &[u8], at: usize| {
        let bytes = bytes.get(at..at + 2)?;
        Some(u16::from_be_bytes([bytes[0], bytes[1]]))
    };
    match (proto, *transport.first()?) {
        (PROTO_TCP | PROTO_UDP, _) => word(transport, 2),
        (PROTO_ICMP, 0 | 8) | (PROTO_ICMP6, 128 | 129) => word(transport, 4),
        (PROTO_ICMP, 3 | 11 | 12) | (PROTO_ICMP6, 1..=4) => {
            let (proto, quoted) = self::transport(transport.get(8..)?)?;
            match proto {
                PROTO_TCP | PROTO_UDP => word(quoted, 0),
                PROTO_ICMP | PROTO_ICMP6 => word(quoted, 4),
                _ => None,
            }
        }
        _ => None,
    }
}

/// Protocol and bytes after the IP header. Of extension headers the lab's
/// internet sends none but that of a fragment.
fn transport(packet: &[u8]) -> Option<(u8, &[u8])> {
    let first = *packet.first()?;
    match first >> 4 {
        4 => {
            let header_len = usize::from(first & 0x0f) * 4;
            Some((*packet.get(9)?, packet.get(header_len..)?))
        }
        6 if packet.get(6) == Some(&piece::HEADER) => Some((*packet.get(40)?, packet.get(48..)?)),
        6 => Some((*packet.get(6)?, packet.get(40..)?)),
        _ => None,
    }
}

const fn ethertype(address: IpAddr) -> u16 {
    match address {
        IpAddr::V4(_) => ETHERTYPE_V4,
        IpAddr::V6(_) => ETHERTYPE_V6,
    }
}

/// By default Linux neither sends nor accepts UDP over IPv6 without a
/// checksum. A tunnel end point does both (RFC 6935, RFC 6936).
pub(super) fn allow_no_checksum(socket: &UdpSocket) -> Result<()> {
    let on: libc::c_int = 1;
    let len = libc::socklen_t::try_from(size_of_val(&on))?;
    for option in [libc::UDP_NO_CHECK6_TX, libc::UDP_NO_CHECK6_RX] {
        // SAFETY: the socket is open, and the kernel reads `len` bytes of an
        // integer that lives until the call returns.
        let result = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::IPPROTO_UDP,
                option,
                (&raw const on).cast(),
                len,
            )
        };
        nix::errno::Errno::result(result).context("can't do UDP without checksums")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
