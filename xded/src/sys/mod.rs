//! Everything in `xded` that Linux offers only through raw calls.
//!
//! Purpose   TAP devices ([`tap`]), packet sockets ([`packet`]), device
//!           attributes ([`netdev`]) and static probes ([`probe`]). What `rustix` offers safely (`read`,
//!           `epoll`, capabilities) is not repeated here.
//!
//! Rules     S1  this is the only module with `unsafe`; what it hands out are
//!               owned descriptors and plain values.
//!           S2  a structure given to the kernel is initialised whole, and its
//!               size is the size that the call is told.
//!           S3  a descriptor number becomes an [`OwnedFd`] exactly once.
//!
//! Failure   `io::Error` with the kernel's errno; callers name the device.

pub(crate) mod netdev;
pub(crate) mod packet;
pub(crate) mod probe;
pub(crate) mod tap;

#[cfg(test)]
pub(crate) mod tests;

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Turns the `-1` of a C call into the error that it stands for.
fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// Takes a descriptor that this process was started with, and keeps it from
/// being inherited further.
///
/// The standard streams and numbers that aren't open are refused. The caller
/// claims each number once and before anything else opens descriptors of its
/// own (rule S3); `main` does so while it reads the command line.
pub(crate) fn claim_inherited(fd: RawFd) -> io::Result<OwnedFd> {
    if fd <= libc::STDERR_FILENO {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: F_SETFD takes an integer and touches no memory; a number that
    // isn't open gives EBADF.
    check(unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    // SAFETY: the descriptor is open (fcntl said so) and, by this function's
    // contract, nothing else in the process owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Lets go of what `fd` refers to while other threads may still use the number.
///
/// The descriptor refers to `/dev/null` afterwards, so a thread that still
/// has it reads nothing and writes nowhere, and the device behind it is gone
/// as soon as no call on it is under way, however long somebody keeps the
/// number. Nobody has to be waited for.
pub(crate) fn retire(fd: BorrowedFd<'_>) -> io::Result<()> {
    let null = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    // SAFETY: both descriptors are open and borrowed for the call; the number
    // stays open and owned by whoever owns `fd`, only what is behind it changes.
    check(unsafe { libc::dup3(null.as_raw_fd(), fd.as_raw_fd(), libc::O_CLOEXEC) })?;
    Ok(())
}
