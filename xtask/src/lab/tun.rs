//! TUN and TAP devices: packets or frames in and out of a namespace's stack.

use super::Namespace;
use super::link::Links;
use anyhow::{Context, Result, bail, ensure};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc::{self, ifreq};
use std::fs::{File, OpenOptions};
use std::io;
use std::mem::zeroed;
use std::os::fd::AsRawFd;

mod ioctl {
    nix::ioctl_write_ptr_bad!(
        set_interface,
        nix::request_code_write!(b'T', 202, size_of::<nix::libc::c_int>()),
        nix::libc::ifreq
    );
}

/// The device that makes TUN and TAP devices.
const PATH: &str = "/dev/net/tun";

/// Fails when this user can't make devices; better at once than by a longer
/// story later. `with_sudo` is what to run as root instead.
///
/// # Errors
///
/// With what to do about it.
pub(crate) fn check(with_sudo: &str) -> Result<()> {
    match OpenOptions::new().read(true).write(true).open(PATH) {
        Ok(_) => Ok(()),
        Err(error) => bail!("{}", advice(&error, with_sudo)),
    }
}

/// What to tell someone who can't open the device.
fn advice(error: &io::Error, with_sudo: &str) -> String {
    let what = format!("can't open {PATH}, of which guests' network devices are made: {error}");
    let container = format!("In a container, start that with `--device {PATH}`.");
    if error.kind() == io::ErrorKind::PermissionDenied {
        return format!(
            "{what}\n\
             Only root may open it here. Either give it the mode that distributions give it,\n\
             until the next boot (nobody gains rights over the machine's network by it):\n\
             \x20   sudo chmod 0666 {PATH}\n\
             or run it as root; even then everything happens in namespaces of its own:\n\
             \x20   {with_sudo}\n\
             {container}"
        );
    }
    format!(
        "{what}\nIf the kernel has it as a module, this loads it:\n\
             \x20   sudo modprobe tun\n{container}"
    )
}

/// Makes the TUN device `name` in `namespace`, up. Reads and writes of the
/// file are one IP packet each, without a header in front. The device lives as
/// long as the file.
///
/// # Errors
///
/// When `/dev/net/tun` isn't there or may not be opened by this user.
pub(crate) fn open(namespace: &Namespace, name: &str) -> Result<File> {
    let file = make(namespace, name, libc::IFF_TUN)?;
    Links::open(namespace)?.set_up(name)?;
    Ok(file)
}

/// Makes the TAP device `name` in `namespace`, down. Reads and writes of the
/// file are one Ethernet frame each; a read doesn't wait for one. Whoever has
/// the device may take it to another namespace.
///
/// # Errors
///
/// As [`open`].
pub(crate) fn open_tap(namespace: &Namespace, name: &str) -> Result<File> {
    let file = make(namespace, name, libc::IFF_TAP)?;
    fcntl(&file, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok(file)
}

fn make(namespace: &Namespace, name: &str, kind: libc::c_int) -> Result<File> {
    namespace.run(|| {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(PATH)
            .with_context(|| format!("can't open {PATH}"))?;
        attach(&file, name, kind)?;
        Ok(file)
    })
}

fn attach(file: &File, name: &str, kind: libc::c_int) -> Result<()> {
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
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(kind | libc::IFF_NO_PI)?;
    // SAFETY: TUNSETIFF reads an `ifreq` of which name and flags are set, and
    // keeps no pointer to it.
    unsafe { ioctl::set_interface(file.as_raw_fd(), &raw const request) }
        .with_context(|| format!("can't make the device {name}"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_not_open_the_device_is_told_what_to_do() {
        let advice = |kind: io::ErrorKind| advice(&kind.into(), "sudo it");
        let refused = advice(io::ErrorKind::PermissionDenied);
        for what in ["\n    sudo chmod 0666 /dev/net/tun\n", "\n    sudo it\n"] {
            assert!(refused.contains(what), "{refused}");
        }
        let missing = advice(io::ErrorKind::NotFound);
        assert!(missing.contains("\n    sudo modprobe tun\n"), "{missing}");
        assert!(!missing.contains("chmod"), "{missing}");
    }
}
