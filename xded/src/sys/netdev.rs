//! Attributes of a network device, by name and in the namespace of the process.

use super::check;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Bytes of a device name, its terminating zero included (`IFNAMSIZ`).
pub(crate) const NAME_SIZE: usize = libc::IFNAMSIZ;

/// What a device says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attributes {
    /// The kernel's number for it.
    pub(crate) index: libc::c_int,
    /// Its hardware type (`ARPHRD_*`).
    pub(crate) hardware: u16,
    /// Its hardware address.
    pub(crate) mac: [u8; 6],
    /// Bytes of IP packet that it carries.
    pub(crate) mtu: u32,
}

/// Asks the kernel about the device `name`.
pub(crate) fn attributes(name: &str) -> io::Result<Attributes> {
    let socket = any_socket()?;
    let ask = |operation| -> io::Result<libc::ifreq> {
        let mut request = request(name)?;
        // SAFETY: the operation is one of the SIOCGIF* below, which read the
        // name and write one member of the union.
        unsafe { ioctl(socket.as_fd(), operation, &mut request) }?;
        Ok(request)
    };
    let index = ask(libc::SIOCGIFINDEX)?;
    let hardware = ask(libc::SIOCGIFHWADDR)?;
    let mtu = ask(libc::SIOCGIFMTU)?;
    // SAFETY: SIOCGIFHWADDR has written a sockaddr.
    let address = unsafe { hardware.ifr_ifru.ifru_hwaddr };
    let [a, b, c, d, e, f, ..] = address.sa_data.map(libc::c_char::cast_unsigned);
    Ok(Attributes {
        // SAFETY: SIOCGIFINDEX has written an int.
        index: unsafe { index.ifr_ifru.ifru_ifindex },
        hardware: address.sa_family,
        mac: [a, b, c, d, e, f],
        // SAFETY: SIOCGIFMTU has written an int.
        mtu: u32::try_from(unsafe { mtu.ifr_ifru.ifru_mtu }).unwrap_or_default(),
    })
}

/// Sets the MTU of the device `name`.
pub(crate) fn set_mtu(name: &str, mtu: u16) -> io::Result<()> {
    let socket = any_socket()?;
    let mut request = request(name)?;
    request.ifr_ifru.ifru_mtu = libc::c_int::from(mtu);
    // SAFETY: SIOCSIFMTU reads the name and the int.
    unsafe { ioctl(socket.as_fd(), libc::SIOCSIFMTU, &mut request) }
}

/// An `ifreq` that names `name` and is zero otherwise.
pub(super) fn request(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: `ifreq` is made of integers, arrays and a union of those (and of
    // a pointer that nothing here reads); all zeroes is a value of it.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let fits = !name.is_empty() && name.len() < NAME_SIZE && !name.contains('\0');
    if !fits {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    Ok(request)
}

/// Carries out an `ioctl` that takes an `ifreq`.
///
/// # Safety
///
/// `operation` takes a pointer to an `ifreq` and doesn't keep it, and the
/// member of the union that it reads is set.
pub(super) unsafe fn ioctl(
    fd: BorrowedFd<'_>,
    operation: libc::Ioctl,
    request: &mut libc::ifreq,
) -> io::Result<()> {
    // SAFETY: the pointer is valid for the call; the rest is the caller's word.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), operation, std::ptr::from_mut(request)) })?;
    Ok(())
}

/// A socket to ask device questions with; which kind doesn't matter.
pub(super) fn any_socket() -> io::Result<OwnedFd> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    Ok(socket_with(
        AddressFamily::INET6,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )?)
}
