//! Packet sockets: the driver's side of an underlay link.
//!
//! The socket takes the incoming IPv6 frames of one device and nothing else:
//! no copies of frames that leave, and none that the kernel marks as meant for
//! another host. Those are frames to other MAC addresses, and frames with a
//! VLAN tag: the kernel strips the tag, so they would pass for untagged ones.
//! Neighbour discovery and replication come by multicast, so the device is
//! told to let all of it in. Which groups are wanted is the engine's to tell
//! the switches, by MLD (`opte_core::host::underlay`).

use super::check;
use super::netdev::Attributes;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Bytes of frames that may wait on the socket, each way. A burst that comes
/// while the thread is busy elsewhere must fit.
const BUFFER_BYTES: libc::c_int = 8 << 20;

/// Frames that one call moves.
pub(crate) const MESSAGES_MAX: usize = 64;

/// Where a filter finds what the kernel makes of a frame (`PACKET_*`).
const PACKET_TYPE: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_PKTTYPE).cast_unsigned();

/// Opens the device for raw frames, both ways, non-blocking.
pub(crate) fn open(device: &Attributes) -> io::Result<OwnedFd> {
    // Protocol zero: nothing is received before the filter is in place.
    let socket = socket_with(
        AddressFamily::PACKET,
        SocketType::RAW,
        SocketFlags::NONBLOCK | SocketFlags::CLOEXEC,
        None,
    )?;
    let fd = socket.as_fd();
    set_filter(fd)?;
    set_option(fd, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, &1_i32)?;
    set_buffer(fd, libc::SO_RCVBUFFORCE, libc::SO_RCVBUF)?;
    set_buffer(fd, libc::SO_SNDBUFFORCE, libc::SO_SNDBUF)?;
    let all_multicast = libc::packet_mreq {
        mr_ifindex: device.index,
        mr_type: u16::try_from(libc::PACKET_MR_ALLMULTI).unwrap_or_default(),
        mr_alen: 0,
        mr_address: [0; 8],
    };
    set_option(
        fd,
        libc::SOL_PACKET,
        libc::PACKET_ADD_MEMBERSHIP,
        &all_multicast,
    )?;
    bind(fd, device.index)?;
    Ok(socket)
}

/// Takes as many frames as are there and fit in `rooms`, one each, and returns
/// how many; `lens` gets their lengths. Doesn't wait.
pub(crate) fn receive<'b>(
    fd: BorrowedFd<'_>,
    rooms: impl Iterator<Item = &'b mut [u8]>,
    lens: &mut [usize; MESSAGES_MAX],
) -> io::Result<usize> {
    let pieces = rooms.map(|room| libc::iovec {
        iov_base: room.as_mut_ptr().cast(),
        iov_len: room.len(),
    });
    let mut messages = Messages::new();
    let count = messages.fill(pieces);
    let (list, flags) = (messages.headers.as_mut_ptr(), libc::MSG_DONTWAIT);
    // SAFETY: the first `count` headers point to one `iovec` each, those to
    // rooms that are borrowed mutably for the call, and the kernel keeps none
    // of it. A null timeout is none.
    let got =
        check(unsafe { libc::recvmmsg(fd.as_raw_fd(), list, count, flags, std::ptr::null_mut()) })?;
    for (len, header) in lens.iter_mut().zip(&messages.headers) {
        *len = usize::try_from(header.msg_len).unwrap_or_default();
    }
    Ok(usize::try_from(got).unwrap_or_default())
}

/// Sends frames in their order until one isn't taken, and returns how many
/// were; an error is about the first one. Doesn't wait.
pub(crate) fn send<'b>(
    fd: BorrowedFd<'_>,
    frames: impl Iterator<Item = &'b [u8]>,
) -> io::Result<usize> {
    let pieces = frames.map(|frame| libc::iovec {
        // sendmmsg(2) reads only, whatever the type says.
        iov_base: frame.as_ptr().cast_mut().cast(),
        iov_len: frame.len(),
    });
    let mut messages = Messages::new();
    let count = messages.fill(pieces);
    let (list, flags) = (messages.headers.as_mut_ptr(), libc::MSG_DONTWAIT);
    // SAFETY: the first `count` headers point to one `iovec` each, those to
    // frames that are borrowed for the call, and the kernel keeps none of it.
    let sent = check(unsafe { libc::sendmmsg(fd.as_raw_fd(), list, count, flags) })?;
    Ok(usize::try_from(sent).unwrap_or_default())
}

/// Whether the socket still has its device. It has none from the moment that
/// the device goes or leaves the network namespace, and never gets one again.
pub(crate) fn is_bound(fd: BorrowedFd<'_>) -> io::Result<bool> {
    // SAFETY: a `sockaddr_ll` is made of integers; all zeroes is a value of it.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    let mut len = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).unwrap_or_default();
    let place = (&raw mut address).cast();
    // SAFETY: `place` has room for `len` bytes, and both are written during
    // the call only.
    check(unsafe { libc::getsockname(fd.as_raw_fd(), place, &raw mut len) })?;
    Ok(address.sll_ifindex > 0)
}

/// Frames that came while the socket's queue was full, since the last call.
pub(crate) fn overflow(fd: BorrowedFd<'_>) -> io::Result<u32> {
    // The kernel's counters start again with each call (packet(7)). Version 1
    // of the ring, which is what a socket without one has.
    let mut statistics = libc::tpacket_stats {
        tp_packets: 0,
        tp_drops: 0,
    };
    let place = (&raw mut statistics).cast();
    let mut len = libc::socklen_t::try_from(size_of::<libc::tpacket_stats>()).unwrap_or_default();
    let (level, name) = (libc::SOL_PACKET, libc::PACKET_STATISTICS);
    // SAFETY: `place` has room for `len` bytes and both are written during the
    // call only; the structure is the one that the option has.
    check(unsafe { libc::getsockopt(fd.as_raw_fd(), level, name, place, &raw mut len) })?;
    Ok(statistics.tp_drops)
}

/// Arguments of `recvmmsg` and `sendmmsg`: one piece of memory per message.
struct Messages {
    headers: [libc::mmsghdr; MESSAGES_MAX],
    pieces: [libc::iovec; MESSAGES_MAX],
}

impl Messages {
    fn new() -> Self {
        // SAFETY: both are structures of integers and pointers; zeroes are
        // values of them, messages without memory.
        unsafe { std::mem::zeroed() }
    }

    /// Gives each message its piece, and returns how many have one. The
    /// headers point into this structure: it stays where it is until the call.
    fn fill(&mut self, pieces: impl Iterator<Item = libc::iovec>) -> libc::c_uint {
        let places = self.headers.iter_mut().zip(&mut self.pieces);
        let mut count = 0;
        for ((header, place), piece) in places.zip(pieces) {
            *place = piece;
            header.msg_hdr.msg_iov = place;
            header.msg_hdr.msg_iovlen = 1;
            count += 1;
        }
        count
    }
}

/// Sets the size of a buffer: forced where that is allowed, which is in the
/// first user namespace only, otherwise up to the system's limit.
fn set_buffer(fd: BorrowedFd<'_>, forced: libc::c_int, limited: libc::c_int) -> io::Result<()> {
    match set_option(fd, libc::SOL_SOCKET, forced, &BUFFER_BYTES) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            set_option(fd, libc::SOL_SOCKET, limited, &BUFFER_BYTES)
        }
        done => done,
    }
}

/// Keeps out what is meant for another host.
fn set_filter(fd: BorrowedFd<'_>) -> io::Result<()> {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const JUMP_IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    const OTHER_HOST: u32 = libc::PACKET_OTHERHOST as u32;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut program = [
        step(LOAD, 0, 0, PACKET_TYPE),
        step(JUMP_IF_EQUAL, 1, 0, OTHER_HOST),
        step(RETURN, 0, 0, u32::MAX),
        step(RETURN, 0, 0, 0),
    ];
    let filter = libc::sock_fprog {
        len: u16::try_from(program.len()).unwrap_or_default(),
        filter: program.as_mut_ptr(),
    };
    // The kernel copies the program during the call, so it may live here.
    set_option(fd, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &filter)
}

/// Starts reception of IPv6 frames on the device.
fn bind(fd: BorrowedFd<'_>, index: libc::c_int) -> io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: (libc::ETH_P_IPV6 as u16).to_be(),
        sll_ifindex: index,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let len = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).unwrap_or_default();
    // SAFETY: the address is a whole `sockaddr_ll`, the length is its size,
    // and the kernel reads it during the call only.
    check(unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), len) })?;
    Ok(())
}

/// Sets a socket option whose value is a `T` as the kernel knows it.
fn set_option<T>(
    fd: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
    value: &T,
) -> io::Result<()> {
    let len = libc::socklen_t::try_from(size_of::<T>()).unwrap_or_default();
    let value = std::ptr::from_ref(value).cast();
    // SAFETY: `value` points to `len` readable bytes for the call, and every
    // caller in this file gives the type that the option takes.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, value, len) })?;
    Ok(())
}
