//! A TUN device: IP packets in and out of a namespace's stack.

use super::Namespace;
use super::link::Links;
use anyhow::{Context, Result, ensure};
use nix::libc::{self, ifreq};
use std::fs::{File, OpenOptions};
use std::mem::zeroed;
use std::os::fd::AsRawFd;

mod ioctl {
    nix::ioctl_write_ptr_bad!(
        set_interface,
        nix::request_code_write!(b'T', 202, size_of::<nix::libc::c_int>()),
        nix::libc::ifreq
    );
}

/// Makes the TUN device `name` in `namespace`, up. Reads and writes of the
/// file are one IP packet each, without a header in front. The device lives as
/// long as the file.
///
/// # Errors
///
/// When `/dev/net/tun` isn't there or may not be opened by this user.
pub(crate) fn open(namespace: &Namespace, name: &str) -> Result<File> {
    let file = namespace.run(|| {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/net/tun")
            .context("can't open /dev/net/tun")?;
        attach(&file, name)?;
        Ok(file)
    })?;
    Links::open(namespace)?.set_up(name)?;
    Ok(file)
}

fn attach(file: &File, name: &str) -> Result<()> {
    // SAFETY: `ifreq` is integers and a union of them, for which zeroes are
    // values.
    let mut request: ifreq = unsafe { zeroed() };
    // The last byte stays zero and ends the name.
    ensure!(
        name.len() < request.ifr_name.len(),
        "the name {name} is too long for a device"
    );
    for (place, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *place = libc::c_char::from_ne_bytes([byte]);
    }
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(libc::IFF_TUN | libc::IFF_NO_PI)?;
    // SAFETY: TUNSETIFF reads an `ifreq` of which name and flags are set, and
    // keeps no pointer to it.
    unsafe { ioctl::set_interface(file.as_raw_fd(), &raw const request) }
        .with_context(|| format!("can't make the device {name}"))?;
    Ok(())
}
