//! The module as a driver of real guests.
//!
//! Purpose   what `xded run` is to the demo, with the module in the loader:
//!           Linux's own network stacks talk through the very file that ships.
//! Terms     wire   a device of Linux that stands for a port's guest (a TAP) or
//!                  for a datalink of the underlay (a packet socket)
//! Flow      wires -> `Sled::guest_sends`, `Sled::link_receives` -> the module
//!           -> the sled's outlet -> wires; a thread each, one for the time,
//!           and the first one for `opteadm` and the signal that ends it all
//! Failure   what the module breaks ends the process at once; what it leaves
//!           behind makes it end badly.

use super::{attached, bridge, command, end};
use crate::lab::Namespace;
use crate::lab::link::Links;
use crate::lab::packet::PacketSocket;
use crate::lab::tun;
use anyhow::{Context as _, Result, ensure};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use opte_core::api::{Command, PortSpec, Setup};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use xde_loader::{Context, Layout, Sled};

/// Bytes of the largest frame.
const FRAME_LEN_MAX: usize = 65_536;
/// Frames of a guest that MAC hands over as one chain.
const CHAIN_MAX: usize = 32;
/// Time between two ticks.
const TICK: Duration = Duration::from_millis(100);
/// How often threads look whether they shall end.
const STOP_POLL: Duration = Duration::from_millis(50);

/// Applies `setup` to the module, carries packets and answers `opteadm` until
/// SIGTERM or SIGINT; then takes everything away again.
pub(in super::super) fn drive(module: &Path, setup: &Path, socket: &Path) -> Result<()> {
    // Before there are threads, so that none of them gets the signal.
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGINT);
    signals.thread_block()?;
    let signals = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC)?;

    let text = std::fs::read_to_string(setup).with_context(|| setup.display().to_string())?;
    let setup: Setup = toml::from_str(&text)?;
    let sled = attached(&std::fs::read(module)?)?;
    sled.start_clock();
    let wires = Arc::new(Wires::connect(&sled, &setup)?);
    let outlet = Arc::clone(&wires);
    sled.set_outlet(move |to, frame| outlet.send(to, frame));
    command(&sled, Command::Apply(setup))?;
    for port in wires.ports.keys() {
        sled.use_port(port, true)?;
    }
    let listener = UnixListener::bind(socket).context("cannot listen")?;
    println!("xde: ready");
    carry(&sled, &wires, || answer(&sled, &listener, &signals))?;
    for port in wires.ports.keys() {
        sled.use_port(port, false)?;
    }
    end(sled)?;
    println!("xde: gone, and nothing is left behind");
    Ok(())
}

/// Carries packets while `work` is done.
fn carry(sled: &Sled, wires: &Wires, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for (name, tap) in &wires.ports {
            scope.spawn(|| fatal(from_guest(sled, name, tap, &stop)));
        }
        for (name, socket) in &wires.links {
            scope.spawn(|| fatal(from_link(sled, name, socket, &stop)));
        }
        scope.spawn(|| fatal(tick(sled, &stop)));
        let done = work();
        stop.store(true, Ordering::Relaxed);
        done
    })
}

/// Ends the process when a thread fails: the others would go on without it.
fn fatal(done: Result<()>) {
    if let Err(error) = done {
        println!("xde: {error:#}");
        std::process::exit(1);
    }
}

/// Hands what a guest sends to the module.
fn from_guest(sled: &Sled, name: &str, mut tap: &File, stop: &AtomicBool) -> Result<()> {
    let mut buffer = vec![0; FRAME_LEN_MAX];
    while !stop.load(Ordering::Relaxed) {
        let mut frames = Vec::new();
        while frames.len() < CHAIN_MAX {
            match tap.read(&mut buffer) {
                Ok(len) => frames.push(buffer.get(..len).unwrap_or_default().to_vec()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // The device is on its way to another namespace.
                Err(error) if error.raw_os_error() == Some(nix::libc::EIO) => break,
                Err(error) => return Err(error).context(name.to_owned()),
            }
        }
        if frames.is_empty() {
            let mut ready = [PollFd::new(tap.as_fd(), PollFlags::POLLIN)];
            poll(&mut ready, PollTimeout::try_from(STOP_POLL)?)?;
            continue;
        }
        let packets: Vec<_> = frames
            .iter()
            .map(|frame| (frame.as_slice(), Layout::default()))
            .collect();
        sled.guest_sends(name, &packets, Context::Packet)?;
    }
    Ok(())
}

/// Hands what comes in by a link to the module.
fn from_link(sled: &Sled, name: &str, socket: &PacketSocket, stop: &AtomicBool) -> Result<()> {
    let mut buffer = vec![0; FRAME_LEN_MAX];
    while !stop.load(Ordering::Relaxed) {
        let received = socket.receive(&mut buffer, STOP_POLL)?;
        let Some(received) = received.filter(|received| !received.outgoing) else {
            continue;
        };
        let frame = buffer.get(..received.len).unwrap_or_default();
        let packet = (frame, Layout::default());
        sled.link_receives(name, &[packet], Context::Interrupt)?;
    }
    Ok(())
}

/// Calls the periodic handler, and looks whether a rule was broken.
fn tick(sled: &Sled, stop: &AtomicBool) -> Result<()> {
    while !stop.load(Ordering::Relaxed) {
        thread::sleep(TICK);
        sled.tick()?;
        let broken = sled.violations();
        ensure!(broken.is_empty(), "the module broke rules: {broken:?}");
    }
    Ok(())
}

/// Answers `opteadm` until there is a signal.
fn answer(sled: &Sled, listener: &UnixListener, signals: &SignalFd) -> Result<()> {
    loop {
        let mut ready = [
            PollFd::new(listener.as_fd(), PollFlags::POLLIN),
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
        ];
        poll(&mut ready, PollTimeout::NONE)?;
        let [called, told] = ready.map(|fd| fd.any().unwrap_or(false));
        if told {
            return Ok(());
        }
        if called && let Err(error) = bridge::answer(sled, listener.accept()?.0) {
            println!("xde: a client is gone: {error:#}");
        }
    }
}

/// The devices.
struct Wires {
    ports: BTreeMap<String, File>,
    links: BTreeMap<String, PacketSocket>,
}

impl Wires {
    /// Makes a TAP for each port, and a socket on each link, which is there.
    /// The sled has their datalinks.
    fn connect(sled: &Sled, setup: &Setup) -> Result<Self> {
        let here = Namespace::current()?;
        let mut devices = Links::open(&here)?;
        let mut wires = Self {
            ports: BTreeMap::new(),
            links: BTreeMap::new(),
        };
        for port in &setup.ports {
            let name = port.name.as_str();
            let tap = tun::open_tap(&here, name)?;
            devices.set_mac(name, port.mac.0)?;
            devices.set_mtu(name, mtu(port))?;
            sled.create_datalink_id(name);
            wires.ports.insert(name.to_owned(), tap);
        }
        for link in setup.underlay.iter().flat_map(|underlay| &underlay.links) {
            let socket = PacketSocket::open(&here, Some(&link.name))?;
            sled.plug(&link.name, devices.get(&link.name)?.mac, link.mtu);
            wires.links.insert(link.name.clone(), socket);
        }
        Ok(wires)
    }

    /// Sends a frame. What a device has no room for is lost, as on any wire.
    fn send(&self, to: &str, frame: &[u8]) {
        if let Some(mut tap) = self.ports.get(to) {
            let _ = tap.write(frame);
        } else if let Some(socket) = self.links.get(to) {
            let _ = socket.send(frame);
        }
    }
}

/// Bytes of IP packet that a port takes.
fn mtu(port: &PortSpec) -> u32 {
    port.mtu.into()
}
