//! Packet sockets: whole Ethernet frames of a namespace's devices (packet(7)).

use super::Namespace;
use super::link::Links;
use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::libc::{self, sockaddr_ll};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType,
    SockaddrLike, bind, recvmsg, send, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeSpec, TimeVal, TimeValLike};
use std::io::IoSliceMut;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, SystemTime};

/// A frame that a packet socket received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    /// Bytes of the frame.
    pub(crate) len: usize,
    /// The device's number.
    pub(crate) link: u32,
    /// Whether the frame left by the device, rather than came in by it.
    pub(crate) outgoing: bool,
    /// When it passed the device, since 1970. Sockets of all namespaces go by
    /// the same clock, so times tell which of two frames was first.
    pub(crate) time: Duration,
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
            setsockopt(&fd, sockopt::ReceiveTimestampns, &true)?;
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
        let mut room = [IoSliceMut::new(buffer)];
        let mut control = nix::cmsg_space!(TimeSpec);
        let fd = self.fd.as_raw_fd();
        let got = recvmsg::<LinkAddr>(fd, &mut room, Some(&mut control), MsgFlags::empty());
        let message = match got {
            Ok(message) => message,
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(None),
            Err(error) => return Err(error).context("can't receive a frame"),
        };
        let stamp = message.cmsgs()?.find_map(|found| match found {
            ControlMessageOwned::ScmTimestampns(time) => Some(Duration::from(time)),
            _ => None,
        });
        let from = message.address;
        Ok(Some(Received {
            len: message.bytes,
            link: from.map_or(0, |from| u32::try_from(from.ifindex()).unwrap_or_default()),
            outgoing: from.is_some_and(|from| from.pkttype() == libc::PACKET_OUTGOING),
            time: match stamp {
                Some(time) => time,
                None => SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?,
            },
        }))
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
