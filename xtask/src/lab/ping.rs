//! Echo requests from a namespace (RFC 792, RFC 4443).

use super::Namespace;
use super::ip::checksum;
use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, recv, sendto,
    setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// How long a reply may take.
const REPLY_LIMIT: Duration = Duration::from_secs(10);
/// Bytes of a request after its header: the customary number.
const PAYLOAD_LEN: usize = 56;
/// Every byte of them.
const PAYLOAD: u8 = 0x5a;
/// Bytes of the longest packet.
const PACKET_LEN_MAX: usize = 65_535;

/// Echo requests, one after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Series {
    /// How many.
    pub(crate) count: u16,
    /// Bytes of each after its header.
    pub(crate) payload_len: usize,
    /// How long each reply may take.
    pub(crate) limit: Duration,
}

impl Series {
    /// So many, as is customary.
    #[must_use]
    pub(crate) const fn of(count: u16) -> Self {
        Self {
            count,
            payload_len: PAYLOAD_LEN,
            limit: REPLY_LIMIT,
        }
    }
}

/// What became of a series of echo requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Echoes {
    /// Requests sent.
    pub(crate) sent: usize,
    /// How long each reply took.
    pub(crate) times: Vec<Duration>,
}

impl Echoes {
    /// Whether every request was answered.
    #[must_use]
    pub(crate) fn all(&self) -> bool {
        self.times.len() == self.sent
    }
}

impl fmt::Display for Echoes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} answered", self.times.len(), self.sent)?;
        match (self.times.iter().min(), self.times.iter().max()) {
            (Some(min), Some(max)) => write!(f, ", {min:.0?} to {max:.0?}"),
            _ => Ok(()),
        }
    }
}

/// Sends echo requests from `namespace` to `to`, each after the answer to the
/// last or when that took too long.
///
/// # Errors
///
/// When there is no route or the socket can't be made. Silence is no error.
pub(crate) fn ping(namespace: &Namespace, to: IpAddr, series: &Series) -> Result<Echoes> {
    let socket = namespace.run(|| open(to).with_context(|| format!("can't ping {to}")))?;
    let identifier = u16::try_from(std::process::id() & 0xffff)?;
    let mut times = Vec::new();
    for sequence in 1..=series.count {
        let start = Instant::now();
        let request = request(to, identifier, sequence, series.payload_len);
        let address = SockaddrStorage::from(SocketAddr::new(to, 0));
        sendto(socket.as_raw_fd(), &request, &address, MsgFlags::empty())
            .with_context(|| format!("can't send to {to}"))?;
        if await_reply(&socket, to, &request, start + series.limit)? {
            times.push(start.elapsed());
        }
    }
    Ok(Echoes {
        sent: usize::from(series.count),
        times,
    })
}

fn open(to: IpAddr) -> nix::Result<OwnedFd> {
    let (family, protocol) = match to {
        IpAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp),
        IpAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6),
    };
    let socket = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
    // Only from `to`, so that the receiver needn't look at addresses. Raw
    // sockets have no ports; zero will do.
    nix::sys::socket::connect(
        socket.as_raw_fd(),
        &SockaddrStorage::from(SocketAddr::new(to, 0)),
    )?;
    Ok(socket)
}

fn request(to: IpAddr, identifier: u16, sequence: u16, payload_len: usize) -> Vec<u8> {
    let payload = vec![PAYLOAD; payload_len];
    let kind = match to {
        IpAddr::V4(_) => 8,
        IpAddr::V6(_) => 128,
    };
    let mut header = [kind, 0, 0, 0, 0, 0, 0, 0];
    header[4..6].copy_from_slice(&identifier.to_be_bytes());
    header[6..8].copy_from_slice(&sequence.to_be_bytes());
    if to.is_ipv4() {
        // The kernel does this itself for IPv6 (RFC 3542 section 3.1).
        let sum = checksum(&[&header, &payload]);
        header[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    [&header[..], &payload].concat()
}

fn await_reply(socket: &OwnedFd, to: IpAddr, request: &[u8], end: Instant) -> Result<bool> {
    let mut buffer = vec![0; PACKET_LEN_MAX];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        let left_us = i64::try_from(left.as_micros())?.max(1);
        setsockopt(
            socket,
            sockopt::ReceiveTimeout,
            &TimeVal::microseconds(left_us),
        )?;
        let len = match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
            Ok(len) => len,
            Err(Errno::EAGAIN) => return Ok(false),
            // An ICMP error that some router sent; it is no reply.
            Err(Errno::EINTR | Errno::EHOSTUNREACH | Errno::ECONNREFUSED) => continue,
            Err(error) => return Err(error).context("can't receive an echo reply"),
        };
        let packet = buffer.get(..len).unwrap_or_default();
        if is_reply(packet, to, request) {
            return Ok(true);
        }
    }
}

/// Whether `packet`, as a raw socket delivers it, is the reply to a request.
/// IPv4 comes with its header, IPv6 without (RFC 3542 section 3).
fn is_reply(packet: &[u8], to: IpAddr, request: &[u8]) -> bool {
    let (message, kind) = match to {
        IpAddr::V4(_) => {
            let header_len = packet.first().map_or(0, |b| usize::from(b & 0x0f) * 4);
            (packet.get(header_len..).unwrap_or_default(), 0)
        }
        IpAddr::V6(_) => (packet, 129),
    };
    // Identifier, number and payload come back as they were.
    message.first() == Some(&kind)
        && message.len() == request.len()
        && message.get(4..) == request.get(4..)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    #[test]
    fn a_reply_is_the_request_with_another_type() {
        for (to, header_len, kind) in [
            (IpAddr::V4(Ipv4Addr::LOCALHOST), 20, 0),
            (IpAddr::V6(Ipv6Addr::LOCALHOST), 0, 129),
        ] {
            let sent = |identifier, number| request(to, identifier, number, PAYLOAD_LEN);
            let mut packet = vec![0; header_len];
            packet.extend(sent(7, 3));
            packet[header_len] = kind;
            if header_len > 0 {
                packet[0] = 0x45;
            }
            assert!(is_reply(&packet, to, &sent(7, 3)));
            assert!(!is_reply(&packet, to, &sent(8, 3)));
            assert!(!is_reply(&packet, to, &sent(7, 4)));
            assert!(!is_reply(&packet, to, &request(to, 7, 3, PAYLOAD_LEN + 1)));
            for len in 0..packet.len() {
                assert!(!is_reply(&packet[..len], to, &sent(7, 3)));
            }
        }
    }
}
