//! Packet sockets: the driver's side of an underlay link.
//!
//! The socket takes the incoming IPv6 frames of one device and nothing else:
//! no copies of frames that leave, and none that the kernel marks as meant for
//! another host. Those are frames to other MAC addresses, and frames with a
//! VLAN tag: the kernel strips the tag, so they would pass for untagged ones.
//! Neighbour discovery and replication come by multicast, so the device is
//! told to let all of it in.

use super::check;
use super::netdev::Attributes;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Bytes of frames that may wait on the socket, each way. A burst that comes
/// while the thread is busy elsewhere must fit.
const BUFFER_BYTES: libc::c_int = 8 << 20;

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
