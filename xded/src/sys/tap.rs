//! TAP devices: the guest's side of a port.
//!
//! A TAP that the driver makes lives as long as its descriptor. Whoever holds
//! the device (a network namespace that it was moved to, a VM) *is* the guest,
//! so its hardware address is the guest's.

use super::check;
use super::netdev::{self, ioctl, request};
use rustix::fs::{Mode, OFlags};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// What every descriptor must be: Ethernet frames, nothing in front of them.
///
/// `IFF_VNET_HDR` (checksum and segmentation left to the other side) is what
/// would be added here; `Device::receive` then has a header to strip.
const FLAGS: libc::c_int = libc::IFF_TAP | libc::IFF_NO_PI;

/// Flags that say what a read from the descriptor looks like.
const SHAPE: libc::c_int = libc::IFF_TUN | libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;

/// Where TAP devices are made.
pub(crate) const MAKER: &str = "/dev/net/tun";

/// Why there is no TAP.
#[derive(Debug)]
pub(crate) enum OpenError {
    /// [`MAKER`] can't be opened.
    Maker(io::Error),
    /// There is a device of this name, and it is no TAP that could be taken:
    /// it is of another kind, or has several queues.
    Other,
    /// The kernel won't make it.
    Refused(io::Error),
}

impl From<OpenError> for io::Error {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Maker(error) | OpenError::Refused(error) => error,
            OpenError::Other => ErrorKind::AlreadyExists.into(),
        }
    }
}

/// Makes the TAP device `name`, or attaches to a persistent one of that name.
pub(crate) fn open(name: &str) -> Result<OwnedFd, OpenError> {
    let maker = maker().map_err(OpenError::Maker)?;
    match attach(maker, name, FLAGS) {
        Err(error)
            if error.raw_os_error() == Some(libc::EINVAL) && netdev::attributes(name).is_ok() =>
        {
            Err(OpenError::Other)
        }
        done => done.map_err(OpenError::Refused),
    }
}

/// A descriptor that can become a TAP.
pub(super) fn maker() -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(rustix::fs::open(MAKER, flags, Mode::empty())?)
}

/// The device `name` with these flags, behind `fd`.
pub(super) fn attach(fd: OwnedFd, name: &str, flags: libc::c_int) -> io::Result<OwnedFd> {
    let mut attach = request(name)?;
    attach.ifr_ifru.ifru_flags = short(flags);
    // SAFETY: TUNSETIFF reads the name and the flags of an `ifreq` and writes
    // the name.
    unsafe { ioctl(fd.as_fd(), libc::TUNSETIFF, &mut attach) }?;
    Ok(fd)
}

/// Checks that a descriptor from somebody else is a TAP of the shape that the
/// driver reads, and makes it non-blocking.
pub(crate) fn adopt(fd: BorrowedFd<'_>) -> io::Result<()> {
    let no_tap = |_| io::Error::other("it is not an attached TAP device");
    let mut flags = flags(fd).map_err(no_tap)?;
    if flags & libc::IFF_TAP != 0 {
        flags = flags_with_filter(fd).map_err(no_tap)?;
    }
    if flags & SHAPE != FLAGS {
        return Err(io::Error::other(
            "it must be a TAP device with IFF_NO_PI and without IFF_VNET_HDR",
        ));
    }
    let status = rustix::fs::fcntl_getfl(fd)?;
    rustix::fs::fcntl_setfl(fd, status | OFlags::NONBLOCK)?;
    Ok(())
}

/// What TUNGETIFF says of the device behind `fd`.
pub(super) fn flags(fd: BorrowedFd<'_>) -> io::Result<libc::c_int> {
    // SAFETY: an all-zero `ifreq` is a value (see `request`).
    let mut answer: libc::ifreq = unsafe { std::mem::zeroed() };
    // SAFETY: TUNGETIFF writes the name and the flags of an `ifreq`; a
    // descriptor that is no TUN/TAP refuses it.
    unsafe { ioctl(fd, libc::TUNGETIFF, &mut answer) }?;
    // SAFETY: TUNGETIFF has written the flags.
    Ok(libc::c_int::from(unsafe { answer.ifr_ifru.ifru_flags }))
}

/// The flags that the device behind `fd` has while a filter is attached.
///
/// Without one the kernel sets `IFF_NOFILTER` in the answer, which is the same
/// bit as `IFF_NO_PI`, so every TAP would seem to have that. The filter takes
/// every frame, and a filter that was there before is gone afterwards.
fn flags_with_filter(fd: BorrowedFd<'_>) -> io::Result<libc::c_int> {
    let mut accept = [libc::sock_filter {
        code: u16::try_from(libc::BPF_RET | libc::BPF_K).unwrap_or_default(),
        jt: 0,
        jf: 0,
        k: u32::MAX,
    }];
    let mut filter = libc::sock_fprog {
        len: 1,
        filter: accept.as_mut_ptr(),
    };
    let raw = fd.as_raw_fd();
    // SAFETY: TUNATTACHFILTER reads a `sock_fprog` and copies its program
    // during the call; both outlive it.
    check(unsafe { libc::ioctl(raw, libc::TUNATTACHFILTER, &raw mut filter) })?;
    let flags = flags(fd);
    // SAFETY: TUNDETACHFILTER is declared to take a `sock_fprog` and reads
    // none.
    check(unsafe { libc::ioctl(raw, libc::TUNDETACHFILTER, &raw mut filter) })?;
    flags
}

/// Gives the device behind `fd` the hardware address `mac`, whichever network
/// namespace it is in.
pub(crate) fn set_mac(fd: BorrowedFd<'_>, mac: [u8; 6]) -> io::Result<()> {
    // SAFETY: an all-zero `ifreq` is a value (see `request`).
    let mut hardware: libc::ifreq = unsafe { std::mem::zeroed() };
    let mut address = libc::sockaddr {
        sa_family: libc::ARPHRD_ETHER,
        sa_data: [0; 14],
    };
    for (to, from) in address.sa_data.iter_mut().zip(mac) {
        *to = from.cast_signed();
    }
    hardware.ifr_ifru.ifru_hwaddr = address;
    // SAFETY: on a TUN/TAP descriptor, SIOCSIFHWADDR reads the address.
    unsafe { ioctl(fd, libc::SIOCSIFHWADDR, &mut hardware) }
}

/// Sets the MTU of the device behind `fd`, whatever it is called by now.
///
/// It has to be in the network namespace of this process: entering another
/// takes a capability that the driver gives up, and another device there may
/// have the name.
pub(crate) fn set_mtu(fd: BorrowedFd<'_>, mtu: u16) -> io::Result<()> {
    let name = name(fd)?;
    // A kernel that can't tell is believed to have it here.
    if let Ok(there) = namespace(fd) {
        let there = rustix::fs::fstat(&there)?;
        let here = rustix::fs::stat("/proc/thread-self/ns/net")?;
        if (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino) {
            let why = "it is in another network namespace, where its owner sets the MTU";
            return Err(io::Error::other(why));
        }
    }
    netdev::set_mtu(&name, mtu)
}

/// The name that the device behind `fd` has where it is.
fn name(fd: BorrowedFd<'_>) -> io::Result<String> {
    // SAFETY: an all-zero `ifreq` is a value (see `request`).
    let mut answer: libc::ifreq = unsafe { std::mem::zeroed() };
    // SAFETY: TUNGETIFF writes the name and the flags of an `ifreq`.
    unsafe { ioctl(fd, libc::TUNGETIFF, &mut answer) }?;
    let name = answer.ifr_name.map(libc::c_char::cast_unsigned);
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8(name.to_vec()).map_err(io::Error::other)
}

/// The network namespace that the device behind `fd` is in.
fn namespace(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    /// `_IO('T', 227)` of linux/if_tun.h.
    const TUNGETDEVNETNS: libc::Ioctl = 0x54e3;
    // SAFETY: TUNGETDEVNETNS takes no argument and returns a descriptor.
    let namespace = check(unsafe { libc::ioctl(fd.as_raw_fd(), TUNGETDEVNETNS) })?;
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(namespace) })
}

/// The flags as the `short` of an `ifreq`; the ones used here fit.
fn short(flags: libc::c_int) -> libc::c_short {
    libc::c_short::try_from(flags).unwrap_or_default()
}
