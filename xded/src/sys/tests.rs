//! TAPs and packet sockets against the kernel, in a namespace of their own.
//!
//! A test of this file starts the test program again, in new user and network
//! namespaces, with the name of the test that is to run there.

#[path = "../../../xtask/src/skip.rs"]
mod skip;

use super::tap::OpenError;
use super::{netdev, packet, retire, tap};
use crate::device::{Batch, Device, Kind};
use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Set in the process that is inside of the namespaces.
const INSIDE: &str = "XDED_TEST_INSIDE_NAMESPACE";

/// Whether this process is inside of namespaces of its own. If not, the test
/// program runs `test` again in there, and the answer is `false`.
pub(crate) fn inside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let tun = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/net/tun");
    if let Err(error) = tun {
        skip::skip(test, &format!("/dev/net/tun: {error}"));
        return false;
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    child
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1");
    let maps = [
        rustix::process::getuid().as_raw(),
        rustix::process::getgid().as_raw(),
    ]
    .map(|id| format!("0 {id} 1"));
    // SAFETY: between fork and exec only async-signal-safe calls are made:
    // unshare(2), and open, write and close with strings that exist already.
    unsafe { child.pre_exec(move || enter(&maps)) };
    match child.output() {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr);
            let out = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success(), "inside: {out}{text}");
            assert!(out.contains("1 passed"), "{test} is no test: {out}");
        }
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            skip::skip(test, &format!("no user namespaces: {error}"));
        }
        Err(error) => panic!("{error}"),
    }
    false
}

/// Enters a new user namespace, as its root, and a new network namespace. The
/// maps are of user and group.
fn enter([user, group]: &[String; 2]) -> std::io::Result<()> {
    // SAFETY: takes flags and touches no memory.
    super::check(unsafe { libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNET) })
        .map_err(|_| ErrorKind::PermissionDenied)?;
    std::fs::write("/proc/self/setgroups", "deny")?;
    std::fs::write("/proc/self/uid_map", user)?;
    std::fs::write("/proc/self/gid_map", group)
}

/// Sets a device up.
fn set_up(name: &str) {
    let socket = netdev::any_socket().unwrap();
    let mut request = netdev::request(name).unwrap();
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(libc::IFF_UP).unwrap();
    // SAFETY: SIOCSIFFLAGS reads the name and the flags.
    unsafe { netdev::ioctl(socket.as_fd(), libc::SIOCSIFFLAGS, &mut request) }.unwrap();
}

const MAC: [u8; 6] = [0xa8, 0x40, 0x25, 0xf0, 0, 1];

/// An Ethernet frame from somebody to `MAC`.
fn frame(ethertype: [u8; 2], payload: &[u8]) -> Vec<u8> {
    [&MAC[..], &[2, 0, 0, 0, 0, 9], &ethertype, payload].concat()
}

/// The frames that are there now, IPv6 of the kernel's own left out: a device
/// that is set up makes the kernel look for routers and duplicates.
fn received(device: &Device) -> Vec<Vec<u8>> {
    let (mut frames, mut batch) = (Vec::new(), Batch::new());
    while device.receive(&mut batch).is_ok() {
        for index in 0..batch.count() {
            let (slot, start, end) = batch.frames().nth(index).unwrap();
            frames.push(slot[start..end].to_vec());
        }
    }
    frames.retain(|frame| frame[6..12] != MAC);
    frames
}

/// A network device whose far end is a TAP's descriptor.
pub(crate) struct Cable {
    end: Device,
    name: String,
    mac: [u8; 6],
}

impl Cable {
    /// The device `name` with the hardware address `MAC`, up.
    pub(crate) fn new(name: &str) -> Self {
        Self::with_mac(name, MAC)
    }

    /// One with another address.
    pub(crate) fn with_mac(name: &str, mac: [u8; 6]) -> Self {
        let end = Device::new(Kind::Tap, tap::open(name).unwrap(), name);
        tap::set_mac(end.as_fd(), mac).unwrap();
        set_up(name);
        Self {
            end,
            name: name.into(),
            mac,
        }
    }

    /// The driver's side.
    pub(crate) fn open_link(&self) -> Device {
        let attributes = netdev::attributes(&self.name).unwrap();
        Device::new(Kind::Packet, packet::open(&attributes).unwrap(), "cable")
    }

    /// A frame that a link takes comes in.
    pub(crate) fn send(&self) {
        let mut frame = frame([0x86, 0xdd], &[0x60; 1_400]);
        frame[..6].copy_from_slice(&self.mac);
        self.end.send(&frame).unwrap();
    }
}

/// How many frames are there now.
pub(crate) fn taken(device: &Device) -> u64 {
    u64::try_from(received(device).len()).unwrap()
}

#[test]
fn a_tap_has_the_guests_address_and_goes_with_its_descriptor() {
    if !inside("sys::tests::a_tap_has_the_guests_address_and_goes_with_its_descriptor") {
        return;
    }
    let fd = tap::open("guest0").unwrap();
    tap::set_mac(fd.as_fd(), MAC).unwrap();
    netdev::set_mtu("guest0", 1_400).unwrap();
    let attributes = netdev::attributes("guest0").unwrap();
    assert_eq!(attributes.mac, MAC);
    assert_eq!(attributes.mtu, 1_400);
    assert_eq!(attributes.hardware, libc::ARPHRD_ETHER);
    let busy = tap::open("guest0").unwrap_err();
    assert!(
        matches!(&busy, OpenError::Refused(why) if why.raw_os_error() == Some(libc::EBUSY)),
        "{busy:?}"
    );
    // It is down: the guest can't take a frame.
    let device = Device::new(Kind::Tap, fd.try_clone().unwrap(), "guest0");
    let down = device.send(&frame([8, 0], &[0; 46])).unwrap_err();
    assert_eq!(down.raw_os_error(), Some(libc::EIO));
    tap::adopt(fd.as_fd()).unwrap();
    drop(device);
    retire(fd.as_fd()).unwrap();
    let gone = netdev::attributes("guest0").unwrap_err();
    assert_eq!(gone.raw_os_error(), Some(libc::ENODEV));
    assert!(tap::adopt(fd.as_fd()).is_err());
    tap::open("guest0").unwrap();
}

#[test]
fn a_tap_of_another_shape_is_not_adopted() {
    if !inside("sys::tests::a_tap_of_another_shape_is_not_adopted") {
        return;
    }
    let (tun, tap, no_pi) = (libc::IFF_TUN, libc::IFF_TAP, libc::IFF_NO_PI);
    for (name, flags) in [
        ("packets0", tap),
        ("header0", tap | no_pi | libc::IFF_VNET_HDR),
        ("tunnel0", tun | no_pi),
        ("tunnel1", tun),
    ] {
        let fd = tap::attach(tap::maker().unwrap(), name, flags).unwrap();
        let why = tap::adopt(fd.as_fd()).unwrap_err().to_string();
        assert!(why.contains("with IFF_NO_PI and without"), "{name}: {why}");
    }
    let fd = tap::attach(tap::maker().unwrap(), "guest0", tap | no_pi).unwrap();
    // The question can be asked again and leaves no filter behind: the
    // bit is IFF_NOFILTER, too.
    for _ in 0..2 {
        tap::adopt(fd.as_fd()).unwrap();
        assert_ne!(tap::flags(fd.as_fd()).unwrap() & libc::IFF_NO_PI, 0);
    }
}

#[test]
fn a_packet_socket_takes_what_comes_in_and_only_ipv6_without_a_tag() {
    if !inside("sys::tests::a_packet_socket_takes_what_comes_in_and_only_ipv6_without_a_tag") {
        return;
    }
    // The far end of the cable is a TAP's descriptor.
    let cable = Device::new(Kind::Tap, tap::open("net0").unwrap(), "net0");
    tap::set_mac(cable.as_fd(), MAC).unwrap();
    set_up("net0");
    let attributes = netdev::attributes("net0").unwrap();
    let link = Device::new(Kind::Packet, packet::open(&attributes).unwrap(), "net0");
    let (wanted, other) = (frame([0x86, 0xdd], &[0x60; 46]), frame([8, 0], &[0x45; 46]));
    let tagged = frame([0x81, 0], &[&[0, 5, 0x86, 0xdd][..], &[0x60; 46]].concat());
    let mut elsewhere = wanted.clone();
    elsewhere[5] = 0xee;
    for sent in [&other, &tagged, &elsewhere, &wanted] {
        cable.send(sent).unwrap();
    }
    assert_eq!(received(&link), std::slice::from_ref(&wanted));
    // What the link sends comes out at the far end and not back at the link.
    received(&cable);
    link.send(&wanted).unwrap();
    assert_eq!(received(&cable), [wanted]);
    assert!(received(&link).is_empty());
    // The device goes: the socket says so once and is quiet then.
    drop(cable);
    let mut batch = Batch::new();
    let down = link.receive(&mut batch).unwrap_err();
    assert_eq!(down.raw_os_error(), Some(libc::ENETDOWN));
    let quiet = link.receive(&mut batch).unwrap_err();
    assert_eq!(quiet.kind(), ErrorKind::WouldBlock);
    let gone = netdev::attributes("net0").unwrap_err();
    assert_eq!(gone.raw_os_error(), Some(libc::ENODEV));
}

#[test]
fn names_and_descriptors_that_cannot_be_are_refused() {
    for name in ["", "a-name-of-16-byt", "nul\0"] {
        assert!(netdev::attributes(name).is_err(), "{name:?}");
    }
    for fd in [-1, 0, 1, 2, 1_000_000] {
        assert!(super::claim_inherited(fd).is_err(), "{fd}");
    }
    let null = std::fs::File::open("/dev/null").unwrap();
    assert!(tap::adopt(null.as_fd()).is_err());
    assert!(null.as_raw_fd() > 2);
}
