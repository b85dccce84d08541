//! A host under load: what benches and cost tests measure.
//!
//! Purpose   a host with one guest, far guests on other hosts and an underlay
//!           whose next hop is known, in memory.
//! Terms     rig       the host, and a router as its only neighbour
//!           traffic   frames of many flows, replayed in bursts
//! Rules     what is held equal with other engines stands at [`traffic`].
#![expect(dead_code, unreachable_pub, reason = "each program uses a part of it")]

pub mod flows;
pub mod frame;
pub mod rng;
pub mod traffic;

use opte_core::api::dump::DirStats;
use opte_core::api::{
    Command, ConfigError, FwRule, LinkSpec, Name, PortId, PortSpec, Response, RouteSpec, Setup, V2p,
};
use opte_core::event::{Observer, Unobserved};
use opte_core::frame::SliceFrame;
use opte_core::host::{Devices, Host, HostConfig, Lane, LinkDevice};
use opte_core::limits::PORT_FLOWS_DEFAULT;
use opte_core::verdict::{LinkId, Output, Verdict};
use opte_core::wire::{MacAddr, Vni};
use opte_core::{Direction, Instant, LayerId};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

pub type Raw = parking_lot::RawMutex;

/// The guest.
pub const GUEST: MacAddr = MacAddr([0xa8, 0x40, 0x25, 0xf0, 0, 1]);
/// The host's only link, and where its tunnels end.
pub const LINK: MacAddr = MacAddr([2, 0xee, 0, 0, 1, 0]);
pub const TUNNEL: Ipv6Addr = Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 1);
/// The VPC.
pub const VNI: u32 = 7;
/// Far guests, on [`SLEDS`] hosts.
pub const PEERS: u32 = 256;
pub const SLEDS: u32 = 16;
/// Bytes in front of each frame.
pub const HEADROOM: usize = 128;
/// Threads that may work at once, besides the one that sets up.
pub const LANES: usize = 3;

const SETUP: &str = r#"
v2b = [{ prefix = "0.0.0.0/0", endpoints = ["fd00:99::1"] },
       { prefix = "::/0", endpoints = ["fd00:99::1"] }]
[underlay]
address = "fd00:1::1"
link = [{ name = "u0" }]
route = [{ dest = "fd00::/16", via = "fd00:ff::1", link = "u0" }]
[[port]]
name = "guest"
mac = "A8:40:25:F0:00:01"
vni = 7
routes = ["10.0.0.0/16 sub4=10.0.0.0/16 system", "fd00:7::/64 sub6=fd00:7::/64 system",
          "0.0.0.0/0 ig system", "::/0 ig system"]
ipv4 = { address = "10.0.0.1", gateway = "10.0.255.254" }
ipv6 = { address = "fd00:7::1", gateway = "fd00:7::fe" }
external = { snat = [{ address = "203.0.113.9", first_port = 4096, last_port = 65535 }] }
"#;

const ROUTER: &str = r#"
[underlay]
address = "fd00:ff::1"
link = [{ name = "u0" }]
route = [{ dest = "fd00::/16", link = "u0" }]
"#;

/// What a rig has besides the usual. Firewall: inbound denied, outbound allowed.
pub struct Shape {
    pub flows_max: u32,
    pub rules: Vec<FwRule>,
    pub routes: Vec<RouteSpec>,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            flows_max: PORT_FLOWS_DEFAULT,
            rules: Vec::new(),
            routes: Vec::new(),
        }
    }
}

impl Shape {
    /// Room for so many flows, and never less than the product's default.
    pub fn for_flows(flows: u32) -> Self {
        Self {
            flows_max: flows.next_power_of_two().max(PORT_FLOWS_DEFAULT),
            ..Self::default()
        }
    }
}

/// A host and its neighbour.
pub struct Rig<O = Unobserved> {
    pub host: Host<Raw, O>,
    pub port: PortId,
    router: Mutex<(Host<Raw, Unobserved>, Lane<Raw>)>,
    started: std::time::Instant,
    skipped_ms: AtomicU64,
}

impl Rig {
    /// A rig, and the lane of the thread that makes it.
    pub fn new(shape: Shape) -> (Self, Lane<Raw>) {
        Self::observed(shape, Unobserved)
    }
}

impl<O: Observer> Rig<O> {
    /// A rig that an observer may watch.
    pub fn observed(shape: Shape, observer: O) -> (Self, Lane<Raw>) {
        let config = |lanes, seed| HostConfig { seed, lanes };
        let host = Host::new(config(LANES, 7), observer);
        let router = Host::new(config(1, 8), Unobserved);
        let (mut lane, router_lane) = (host.lane(0).unwrap(), router.lane(0).unwrap());
        let mut rig = Self {
            host,
            port: PortId(0),
            router: Mutex::new((router, router_lane)),
            started: std::time::Instant::now(),
            skipped_ms: AtomicU64::new(1_000),
        };
        let router: Setup = toml::from_str(ROUTER).unwrap();
        rig.router_command(Command::Apply(router));
        let mut setup: Setup = toml::from_str(SETUP).unwrap();
        setup.v2p = (0..PEERS)
            .flat_map(|peer| [peer4(peer), peer6(peer)])
            .collect();
        let port = &mut setup.ports[0];
        port.options.flows_max = shape.flows_max;
        port.rules = shape.rules;
        port.routes.extend(shape.routes);
        rig.command(&mut lane, Command::Apply(setup));
        rig.port = rig.entry(&mut lane).id;
        // Lets the host find its next hop, so that no frame has to wait for it.
        flows::Flows::establish(&rig, &mut lane, flows::Kind::Udp4, 1);
        rig.clear(&mut lane);
        (rig, lane)
    }

    /// The time now. What [`Rig::skip_ms`] has skipped counts.
    #[inline]
    pub fn now(&self) -> Instant {
        let elapsed = u64::try_from(self.started.elapsed().as_nanos()).unwrap();
        Instant::from_nanos(elapsed).plus_millis(self.skipped_ms.load(Ordering::Relaxed))
    }

    /// Lets time pass.
    pub fn skip_ms(&self, millis: u64) {
        self.skipped_ms.fetch_add(millis, Ordering::Relaxed);
    }

    pub fn name(&self) -> Name {
        "guest".parse().unwrap()
    }

    /// Gives the host a command, which must be accepted.
    pub fn command(&self, lane: &mut Lane<Raw>, command: Command) -> Response {
        let mut wire = Wire::default();
        let answer = self
            .host
            .command(command, self.now(), &mut NoDevices(LINK), &mut wire);
        self.carry(lane, wire);
        answer.unwrap()
    }

    fn router_command(&self, command: Command) {
        let router = &self.router.lock().unwrap().0;
        let mut devices = NoDevices(MacAddr([2, 0xee, 0, 0, 0xff, 0]));
        router
            .command(command, self.now(), &mut devices, &mut Wire::default())
            .unwrap();
    }

    /// Does what time asks for.
    pub fn tick(&self, lane: &mut Lane<Raw>) {
        let mut wire = Wire::default();
        self.host.tick(lane, self.now(), &mut wire);
        self.carry(lane, wire);
    }

    /// Sends one frame of the guest (`Out`) or from the underlay (`In`), and
    /// what became of it. A next hop that isn't known yet is found first.
    pub fn send(&self, lane: &mut Lane<Raw>, dir: Direction, bytes: &[u8]) -> (Verdict, Vec<u8>) {
        loop {
            let mut buffer = vec![0; HEADROOM];
            buffer.extend(bytes);
            let end = buffer.len();
            let mut frame = SliceFrame::new(&mut buffer, HEADROOM, end);
            let mut wire = Wire::default();
            let now = self.now();
            let verdict = match dir {
                Direction::Out => self.host.tx(lane, self.port, &mut frame, now, &mut wire),
                Direction::In => self.host.rx(lane, LinkId(0), &mut frame, now, &mut wire),
            };
            let bytes = frame.bytes().to_vec();
            self.carry(lane, wire);
            if verdict != Verdict::Held {
                return (verdict, bytes);
            }
        }
    }

    /// Takes what the host sends about the underlay to the router and back.
    fn carry(&self, lane: &mut Lane<Raw>, mut wire: Wire) {
        let (router, router_lane) = &mut *self.router.lock().unwrap();
        while !wire.0.is_empty() {
            let mut answers = Wire::default();
            for mut bytes in wire.0.drain(..) {
                let end = bytes.len();
                let mut frame = SliceFrame::new(&mut bytes, 0, end);
                let _ = router.rx(router_lane, LinkId(0), &mut frame, self.now(), &mut answers);
            }
            for mut bytes in answers.0.drain(..) {
                let end = bytes.len();
                let mut frame = SliceFrame::new(&mut bytes, 0, end);
                let _ = self
                    .host
                    .rx(lane, LinkId(0), &mut frame, self.now(), &mut wire);
            }
        }
    }

    fn entry(&self, lane: &mut Lane<Raw>) -> opte_core::api::dump::PortEntry {
        match self.command(lane, Command::ListPorts(0)) {
            Response::Ports(page) => page.entries.into_iter().next().unwrap(),
            other => panic!("{other:?}"),
        }
    }

    /// The port's counters of one direction.
    pub fn stats(&self, lane: &mut Lane<Raw>, dir: Direction) -> DirStats {
        let stats = self.entry(lane).stats;
        match dir {
            Direction::In => stats.inbound,
            Direction::Out => stats.outbound,
        }
    }

    /// Flows now.
    pub fn flows(&self, lane: &mut Lane<Raw>) -> u32 {
        self.entry(lane).flows
    }

    /// Forgets every flow.
    pub fn clear(&self, lane: &mut Lane<Raw>) {
        self.command(lane, Command::ClearLft(self.name(), LayerId::Firewall));
        assert_eq!(self.flows(lane), 0);
    }
}

/// A far guest's IPv4 and IPv6 address.
pub fn peer_addr4(peer: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x0a00_0100 + peer)
}

pub fn peer_addr6(peer: u32) -> Ipv6Addr {
    Ipv6Addr::from((0xfd00_0007_u128 << 96) + 0x1_0000 + u128::from(peer))
}

fn peer4(peer: u32) -> V2p {
    mapping(peer, peer_addr4(peer).into())
}

fn peer6(peer: u32) -> V2p {
    mapping(peer, peer_addr6(peer).into())
}

fn mapping(peer: u32, address: IpAddr) -> V2p {
    let [_, _, a, b] = peer.to_be_bytes();
    let sled = u16::try_from(0x100 + peer % SLEDS).unwrap();
    V2p {
        vni: Vni::new(VNI).unwrap(),
        address,
        mac: MacAddr([0xa8, 0x40, 0x25, 0xf1, a, b]),
        sled: Ipv6Addr::new(0xfd00, sled, 0, 0, 0, 0, 0, 1),
    }
}

/// Frames that a host sends on its link by itself.
#[derive(Default)]
struct Wire(Vec<Vec<u8>>);

impl Output for Wire {
    fn to_port(&mut self, _: PortId, _: &[u8]) {}

    fn to_link(&mut self, _: LinkId, frame: &[u8]) {
        self.0.push(frame.to_vec());
    }
}

/// Devices in name only; links have this address.
struct NoDevices(MacAddr);

impl Devices for NoDevices {
    fn open_port(&mut self, _: PortId, _: &PortSpec) -> Result<(), ConfigError> {
        Ok(())
    }

    fn close_port(&mut self, _: PortId) {}

    fn open_link(&mut self, _: LinkId, _: &LinkSpec) -> Result<LinkDevice, ConfigError> {
        Ok(LinkDevice {
            mac: self.0,
            mtu: 9_000,
        })
    }

    fn close_link(&mut self, _: LinkId) {}
}
