//! A shell for tests: hosts joined by an underlay in memory, a clock that
//! stands still unless told, and frames made by hand.
#![expect(
    unreachable_pub,
    reason = "a module of tests, whose items are for all of them"
)]

pub mod frame;

use crate::HEAP;
use opte_core::api::{
    Command, ConfigError, ErrorCode, LinkSpec, ObjectKind, PortId, PortSpec, Response, Setup,
};
use opte_core::event::{Event, Observer, Probe};
use opte_core::frame::{Offload, SliceFrame};
use opte_core::host::{Devices, Host, HostConfig, Lane, LinkDevice};
use opte_core::verdict::{LinkId, Lost, Output, Verdict};
use opte_core::wire::MacAddr;
use opte_core::{DropReason, Instant};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

type Raw = parking_lot::RawMutex;

/// A probe, so that tracers see what is dropped here (`cargo xtask tracer`).
#[usdt::provider(provider = "opte")]
mod opte {
    fn drop(port: u64, dir: u64, layer: u64, rule: u64, reason: u64, key: u64) {}
}

/// Remembers the names of what happened, unless it is deaf.
#[derive(Default)]
pub struct Record {
    pub heard: Mutex<Vec<String>>,
    pub deaf: AtomicBool,
}

impl Observer for Record {
    fn enabled(&self, _: Probe) -> bool {
        !self.deaf.load(Ordering::Relaxed)
    }

    fn event(&self, event: &Event<'_>) {
        if let Event::Drop { .. } = event {
            let [port, dir, layer, rule, reason, key] = event.raw();
            opte::drop!(|| (port, dir, layer, rule, reason, key));
        }
        let note = || self.heard.lock().unwrap().push(format!("{event:?}"));
        HEAP.without(usize::MAX, note);
    }
}

/// What came out of a host.
#[derive(Default, Debug)]
pub struct Sent {
    pub ports: Vec<(PortId, Vec<u8>)>,
    pub links: Vec<(LinkId, Vec<u8>)>,
}

impl Output for Sent {
    fn to_port(&mut self, port: PortId, frame: &[u8]) {
        HEAP.without(usize::MAX, || self.ports.push((port, frame.to_vec())));
    }

    fn to_link(&mut self, link: LinkId, frame: &[u8]) {
        HEAP.without(usize::MAX, || self.links.push((link, frame.to_vec())));
    }
}

/// Devices that are always there, unless told to fail.
#[derive(Default)]
pub struct TestDevices {
    pub number: u8,
    pub fail: Option<&'static str>,
    /// Fails the next but so many devices to be opened.
    pub fail_after: Option<usize>,
    /// What was opened, and with a minus what was closed.
    pub open: Vec<String>,
}

impl TestDevices {
    fn open(&mut self, kind: ObjectKind, name: &str, id: String) -> Result<(), ConfigError> {
        let now = self.fail_after.as_mut().is_some_and(|left| {
            let fails = *left == 0;
            *left = left.wrapping_sub(1);
            fails
        });
        if now || self.fail == Some(name) {
            return Err(ConfigError::new(ErrorCode::System, kind, name));
        }
        self.open.push(id);
        Ok(())
    }
}

impl Devices for TestDevices {
    fn open_port(&mut self, id: PortId, spec: &PortSpec) -> Result<(), ConfigError> {
        self.open(ObjectKind::Port, spec.name.as_str(), format!("{id}"))
    }

    fn close_port(&mut self, id: PortId) {
        self.open.push(format!("-{id}"));
    }

    fn set_port_mtu(&mut self, id: PortId, mtu: u16) {
        self.open.push(format!("{id} mtu {mtu}"));
    }

    fn open_link(&mut self, id: LinkId, spec: &LinkSpec) -> Result<LinkDevice, ConfigError> {
        self.open(
            ObjectKind::Link,
            spec.name.as_str(),
            format!("link {}", id.0),
        )?;
        Ok(LinkDevice {
            mac: MacAddr([2, 0xee, 0, 0, self.number, id.0 as u8]),
            mtu: 9_000,
        })
    }

    fn close_link(&mut self, id: LinkId) {
        self.open.push(format!("-link {}", id.0));
    }
}

/// One host with its lane.
pub struct Sled {
    pub host: Host<Raw, Record>,
    lane: RefCell<Lane<Raw>>,
    pub devices: RefCell<TestDevices>,
    pub now: RefCell<Instant>,
    /// Frames that the host sent on links and nobody took yet.
    pub wire: RefCell<VecDeque<(LinkId, Vec<u8>)>>,
    /// Bytes from which on packets and ticks get no block of memory.
    pub scarce: Cell<usize>,
}

impl Sled {
    pub fn new(number: u8) -> Self {
        let host = Host::new(HostConfig { seed: 7, lanes: 1 }, Record::default());
        let lane = RefCell::new(host.lane(0).unwrap());
        let devices = RefCell::new(TestDevices {
            number,
            ..TestDevices::default()
        });
        let now = RefCell::new(Instant::from_millis(1_000));
        Self {
            host,
            lane,
            devices,
            now,
            wire: RefCell::default(),
            scarce: Cell::new(usize::MAX),
        }
    }

    /// A sled in the state that a setup describes.
    pub fn with(number: u8, setup: &str) -> Self {
        let sled = Self::new(number);
        sled.apply(setup).unwrap();
        sled
    }

    pub fn apply(&self, setup: &str) -> Result<Response, ConfigError> {
        let setup: Setup = toml::from_str(setup).unwrap();
        self.command(Command::Apply(setup))
    }

    pub fn command(&self, command: Command) -> Result<Response, ConfigError> {
        let mut sent = Sent::default();
        let now = *self.now.borrow();
        let result = self
            .host
            .command(command, now, &mut *self.devices.borrow_mut(), &mut sent);
        self.wire.borrow_mut().extend(sent.links);
        result
    }

    pub fn advance(&self, millis: u64) -> Sent {
        let now = self.now.borrow().plus_millis(millis);
        *self.now.borrow_mut() = now;
        let mut sent = Sent::default();
        let mut lane = self.lane.borrow_mut();
        let tick = || self.host.tick(&mut lane, now, &mut sent);
        HEAP.without(self.scarce.get(), tick);
        self.wire.borrow_mut().extend(sent.links.iter().cloned());
        sent
    }

    fn run(
        &self,
        frame: &[u8],
        offload: Offload,
        decide: impl FnOnce(
            &Host<Raw, Record>,
            &mut Lane<Raw>,
            &mut SliceFrame<'_>,
            &mut Sent,
        ) -> Verdict,
    ) -> (Verdict, Sent) {
        let mut buffer = vec![0; 128 + frame.len()];
        buffer[128..].copy_from_slice(frame);
        let end = buffer.len();
        let mut slice = SliceFrame::new(&mut buffer, 128, end);
        slice.offload = offload;
        let mut sent = Sent::default();
        let mut lane = self.lane.borrow_mut();
        let decide = || decide(&self.host, &mut lane, &mut slice, &mut sent);
        let verdict = HEAP.without(self.scarce.get(), decide);
        match verdict {
            Verdict::Link(link) => sent.links.push((link, slice.bytes().to_vec())),
            Verdict::Port(port) => sent.ports.push((port, slice.bytes().to_vec())),
            _ => {}
        }
        self.wire.borrow_mut().extend(sent.links.iter().cloned());
        (verdict, sent)
    }

    /// A guest sends a frame.
    pub fn tx(&self, port: &str, frame: &[u8]) -> (Verdict, Sent) {
        self.tx_offloaded(port, frame, Offload::default())
    }

    /// A guest sends a frame that is to be finished.
    pub fn tx_offloaded(&self, port: &str, frame: &[u8], offload: Offload) -> (Verdict, Sent) {
        let id = self.port(port);
        let now = *self.now.borrow();
        self.run(frame, offload, |host, lane, frame, sent| {
            host.tx(lane, id, frame, now, sent)
        })
    }

    /// A frame of the port of this number, in a buffer without room for more.
    pub fn tx_tight(&self, port: PortId, frame: &[u8]) -> Verdict {
        let mut buffer = frame.to_vec();
        let end = buffer.len();
        let mut frame = SliceFrame::new(&mut buffer, 0, end);
        let (now, mut sent) = (*self.now.borrow(), Sent::default());
        let mut lane = self.lane.borrow_mut();
        self.host.tx(&mut lane, port, &mut frame, now, &mut sent)
    }

    /// A device doesn't take a frame.
    pub fn lose(&self, lost: Lost) {
        self.host.undelivered(&mut self.lane.borrow_mut(), lost);
    }

    /// A frame comes from the underlay.
    pub fn rx(&self, frame: &[u8]) -> (Verdict, Sent) {
        let now = *self.now.borrow();
        self.run(frame, Offload::default(), |host, lane, frame, sent| {
            host.rx(lane, LinkId(0), frame, now, sent)
        })
    }

    /// The frame that a guest's frame becomes at a guest of the same host.
    pub fn local(&self, port: &str, frame: &[u8]) -> Result<Vec<u8>, DropReason> {
        match self.tx(port, frame) {
            (Verdict::Port(_), sent) => Ok(sent.ports.last().unwrap().1.clone()),
            (Verdict::Dropped(reason), _) => Err(reason),
            other => panic!("neither delivered nor dropped: {other:?}"),
        }
    }

    pub fn port(&self, name: &str) -> PortId {
        let Ok(Response::Ports(page)) = self.command(Command::ListPorts(0)) else {
            panic!()
        };
        page.entries
            .iter()
            .find(|port| port.name.as_str() == name)
            .unwrap()
            .id
    }

    /// A drop counter of the host, all ports together.
    pub fn drops(&self, reason: DropReason) -> u64 {
        let Ok(Response::Stats(stats)) = self.command(Command::Stats(None)) else {
            panic!()
        };
        stats
            .drops
            .iter()
            .find(|c| c.name == reason.name())
            .map_or(0, |c| c.value)
    }

    /// Events since the last call whose text has `what` in it.
    pub fn events(&self, what: &str) -> Vec<String> {
        let all = std::mem::take(&mut *self.host.observer().heard.lock().unwrap());
        all.into_iter()
            .filter(|event| event.starts_with(what))
            .collect()
    }
}

/// Carries frames between two sleds until there are none; what reached guests.
pub fn carry(a: &Sled, b: &Sled) -> Vec<(Verdict, Vec<u8>)> {
    let mut delivered = Vec::new();
    for _ in 0..1_000 {
        let from_a = a.wire.borrow_mut().pop_front();
        let from_b = b.wire.borrow_mut().pop_front();
        if from_a.is_none() && from_b.is_none() {
            return delivered;
        }
        for (to, frame) in [(b, from_a), (a, from_b)] {
            if let Some((_, frame)) = frame {
                let (verdict, sent) = to.rx(&frame);
                delivered.extend(sent.ports.into_iter().map(|(_, frame)| (verdict, frame)));
            }
        }
    }
    panic!("the sleds never stop talking");
}
