//! Packet sockets: whole Ethernet frames of a namespace's devices (packet(7)).

use super::Namespace;
use super::link::Links;
use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::libc::{self, sockaddr_ll};
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrLike, bind,
    recvfrom, send, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use std::mem::{size_of, zeroed};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// A frame that a packet socket received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    /// Bytes of the frame.
    pub(crate) len: usize,
    /// The device's number.
    pub(crate) link: u32,
    /// Whether the frame left by the device, rather than came in by it.
    pub(crate) outgoing: bool,
}

/// A socket that sends and receives whole frames.
#[derive(Debug)]
pub(crate) struct PacketSocket {
    fd: OwnedFd,
}

impl PacketSocket {
    /// A socket on one device, or on all of a namespace's devices.
    ///
    /// # Errors
    ///
    /// When the device doesn't exist.
    pub(crate) fn open(namespace: &Namespace, device: Option<&str>) -> Result<Self> {
        let index = match device {
            Some(name) => Links::open(namespace)?.get(name)?.index,
            None => 0,
        };
        namespace.run(|| {
            let fd = socket(
                AddressFamily::Packet,
                SockType::Raw,
                SockFlag::SOCK_CLOEXEC,
                SockProtocol::EthAll,
            )
            .context("can't open a packet socket")?;
            if index != 0 {
                bind(fd.as_raw_fd(), &address(index)?)?;
            }
            Ok(Self { fd })
        })
    }

    /// Makes room for `bytes` of frames that wait to be read. What the host's
    /// limit doesn't allow is not an error.
    pub(crate) fn set_buffer(&self, bytes: usize) {
        // A smaller buffer loses frames under load, which a capture says.
        let _ = setsockopt(&self.fd, sockopt::RcvBuf, &bytes);
    }

    /// Sends a frame. The socket must be of one device.
    ///
    /// # Errors
    ///
    /// When the device is down or the frame too long.
    pub(crate) fn send(&self, frame: &[u8]) -> Result<()> {
        send(self.fd.as_raw_fd(), frame, MsgFlags::empty()).context("can't send a frame")?;
        Ok(())
    }

    /// Receives a frame; none when nothing comes within `limit`.
    ///
    /// # Errors
    ///
    /// When the device goes away.
    pub(crate) fn receive(&self, buffer: &mut [u8], limit: Duration) -> Result<Option<Received>> {
        // Zero would mean for ever.
        let limit_us = i64::try_from(limit.as_micros())?.max(1);
        setsockopt(
            &self.fd,
            sockopt::ReceiveTimeout,
            &TimeVal::microseconds(limit_us),
        )?;
        match recvfrom::<LinkAddr>(self.fd.as_raw_fd(), buffer) {
            Ok((len, from)) => Ok(Some(Received {
                len,
                link: from.map_or(0, |from| u32::try_from(from.ifindex()).unwrap_or_default()),
                outgoing: from.is_some_and(|from| from.pkttype() == libc::PACKET_OUTGOING),
            })),
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(None),
            Err(error) => Err(error).context("can't receive a frame"),
        }
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn address(index: u32) -> Result<LinkAddr> {
    // SAFETY: `sockaddr_ll` is plain integers, for which zeroes are values.
    let mut raw: sockaddr_ll = unsafe { zeroed() };
    raw.sll_family = u16::try_from(libc::AF_PACKET)?;
    raw.sll_protocol = u16::try_from(libc::ETH_P_ALL)?.to_be();
    raw.sll_ifindex = i32::try_from(index)?;
    let len = u32::try_from(size_of::<sockaddr_ll>())?;
    // SAFETY: the pointer is to a whole, initialized `sockaddr_ll` of that
    // length and family, which is copied before `raw` goes away.
    unsafe { LinkAddr::from_raw((&raw const raw).cast(), Some(len)) }.context("not a link address")
}
