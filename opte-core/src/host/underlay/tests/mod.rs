//! Hosts on links in memory, with a clock of their own.

mod config;
mod failover;
mod model;
mod resolve;

use super::*;
use crate::api::{LinkSpec, Prefix};
use crate::event::{Event, Probe};
use crate::limits::ENCAP_LEN;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::vec;
use std::vec::Vec;

pub(super) type Under = Underlay<parking_lot::RawMutex>;

/// A small generator (xorshift64*), good enough for tests.
pub(super) struct Rng(u64);

impl Rng {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % n
    }
}

/// What an underlay handed out.
#[derive(Default)]
pub(super) struct Sent(pub(super) Vec<(LinkId, Vec<u8>)>);

impl Output for Sent {
    fn to_port(&mut self, port: crate::api::PortId, _: &[u8]) {
        panic!("a frame for port {port}");
    }

    fn to_link(&mut self, link: LinkId, frame: &[u8]) {
        self.0.push((link, frame.to_vec()));
    }
}

/// Remembers drops and next hops.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) drops: RefCell<Vec<DropReason>>,
    pub(super) next_hops: RefCell<Vec<(Ipv6Addr, Ipv6Addr, u16, bool)>>,
}

impl Observer for Seen {
    fn enabled(&self, _: Probe) -> bool {
        true
    }

    fn event(&self, event: &Event<'_>) {
        match *event {
            Event::Drop { reason, .. } => self.drops.borrow_mut().push(reason),
            Event::NextHop {
                dst,
                gateway,
                link,
                resolved,
            } => {
                let next_hop = (dst.into(), gateway.into(), link, resolved);
                self.next_hops.borrow_mut().push(next_hop);
            }
            _ => {}
        }
    }
}

/// A host.
pub(super) struct Node {
    pub(super) underlay: Under,
    pub(super) seen: Seen,
    /// Devices by link name.
    devices: Vec<(&'static str, LinkDevice)>,
    /// Names of the links that are open.
    ids: BTreeMap<LinkId, &'static str>,
    /// Geneve frames that came.
    pub(super) arrived: Vec<Vec<u8>>,
}

/// Hosts and the links between them: devices with one name are on one link.
pub(super) struct Net {
    pub(super) nodes: Vec<Node>,
    pub(super) now: Instant,
    on_the_way: VecDeque<(usize, &'static str, Vec<u8>)>,
    /// Nodes whose devices are dead.
    pub(super) dead: BTreeSet<usize>,
    /// Frames in a hundred that get lost.
    pub(super) loss: u64,
    rng: Rng,
    /// Neighbour discovery messages that were sent: node, type.
    pub(super) asked: Vec<(usize, u8)>,
    /// Geneve frames that node 0 sent.
    pub(super) geneve: u64,
}

pub(super) fn addr(node: usize) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, node as u16 + 1)
}

pub(super) fn mac(node: usize, link: usize) -> MacAddr {
    MacAddr([2, 0, 0, 0, link as u8, node as u8 + 1])
}

pub(super) const LINKS: [&str; 3] = ["net0", "net1", "net2"];

pub(super) fn route(dest: &str, via: Option<Ipv6Addr>, link: &str) -> UnderlayRoute {
    UnderlayRoute {
        dest: dest.parse::<Prefix>().unwrap(),
        via,
        link: link.into(),
    }
}

impl Net {
    /// `nodes` hosts, each on the first `links` links, with `routes`.
    pub(super) fn new(nodes: usize, links: usize, routes: &[UnderlayRoute]) -> Self {
        let mut net = Self {
            nodes: Vec::new(),
            now: Instant::from_millis(1_000),
            on_the_way: VecDeque::new(),
            dead: BTreeSet::new(),
            loss: 0,
            rng: Rng::new(1),
            asked: Vec::new(),
            geneve: 0,
        };
        for i in 0..nodes {
            let device = |link| LinkDevice {
                mac: mac(i, link),
                mtu: 9_000,
            };
            net.nodes.push(Node {
                underlay: Under::new(7),
                seen: Seen::default(),
                devices: (0..links).map(|l| (LINKS[l], device(l))).collect(),
                ids: BTreeMap::new(),
                arrived: Vec::new(),
            });
            net.configure(i, Some(&net.spec(i, links, routes)));
        }
        net.deliver();
        net.asked.clear();
        net
    }

    pub(super) fn spec(&self, node: usize, links: usize, routes: &[UnderlayRoute]) -> UnderlaySpec {
        UnderlaySpec {
            address: addr(node),
            links: (0..links)
                .map(|l| LinkSpec {
                    name: LINKS[l].into(),
                    mtu: 9_000,
                })
                .collect(),
            routes: routes.to_vec(),
        }
    }

    pub(super) fn configure(&mut self, node: usize, spec: Option<&UnderlaySpec>) {
        let n = &mut self.nodes[node];
        let plan = n.underlay.plan(spec).unwrap();
        n.ids.retain(|id, _| plan.closes().all(|gone| gone != *id));
        let devices: Vec<_> = plan
            .opens()
            .map(|(id, link)| {
                let device = n.devices.iter().find(|(name, _)| *name == link.name);
                let (name, device) = device.unwrap();
                n.ids.insert(id, name);
                (id, *device)
            })
            .collect();
        plan.admit(&devices).unwrap();
        self.call(node, |n, now, out| {
            n.underlay.commit(plan, &devices, now, out, &n.seen)
        });
    }

    /// Gives a node's device another MAC address, as after an exchange.
    pub(super) fn change_mac(&mut self, node: usize, link: usize, mac: MacAddr) {
        let n = &mut self.nodes[node];
        n.devices[link].1.mac = mac;
        let devices = [(LinkId(link as u16), n.devices[link].1)];
        let spec = self.nodes[node].underlay.spec().unwrap();
        let plan = self.nodes[node].underlay.plan(Some(&spec)).unwrap();
        self.call(node, |n, now, out| {
            n.underlay.commit(plan, &devices, now, out, &n.seen)
        });
    }

    /// Calls a node and puts what it sends on the way.
    pub(super) fn call<T>(
        &mut self,
        node: usize,
        call: impl FnOnce(&Node, Instant, &mut Sent) -> T,
    ) -> T {
        let mut out = Sent::default();
        let result = call(&self.nodes[node], self.now, &mut out);
        for (link, frame) in out.0 {
            self.put(node, link, frame);
        }
        result
    }

    fn put(&mut self, node: usize, link: LinkId, frame: Vec<u8>) {
        let link = self.nodes[node].ids.get(&link).copied();
        let link = link.expect("the link is open");
        if frame[20] == 58 {
            self.asked.push((node, frame[54]));
        } else if node == 0 {
            self.geneve += 1;
        }
        if !self.dead.contains(&node) && self.rng.below(100) >= self.loss {
            self.on_the_way.push_back((node, link, frame));
        }
    }

    /// Hands out everything that is on the way, and the answers to it.
    pub(super) fn deliver(&mut self) {
        while let Some((from, link, frame)) = self.on_the_way.pop_front() {
            for to in 0..self.nodes.len() {
                if to != from && !self.dead.contains(&to) {
                    self.receive(to, link, &frame);
                }
            }
        }
    }

    fn receive(&mut self, to: usize, link: &'static str, frame: &[u8]) {
        let node = &mut self.nodes[to];
        let Some(id) = node.ids.iter().find(|(_, name)| **name == link) else {
            return;
        };
        let id = *id.0;
        let destination = MacAddr(frame[..6].try_into().unwrap());
        let address = Ipv6Addr::from_octets(frame[38..54].try_into().unwrap());
        if node.underlay.is_ours(id, destination, &address) && frame[20] == 17 {
            node.arrived.push(frame.to_vec());
            return;
        }
        // A frame for others is for the network card to throw away.
        let device = node.devices.iter().find(|(name, _)| *name == link);
        let ours = device.unwrap().1.mac;
        if destination == ours || destination.is_multicast() {
            let _: Accept = self.call(to, |n, now, out| {
                n.underlay.rx(id, frame, now, out, &n.seen)
            });
        }
    }

    /// Lets time pass, with a tick every 100 ms.
    pub(super) fn run(&mut self, ms: u64) {
        for _ in 0..ms / 100 {
            self.now = self.now.plus_millis(100);
            for node in 0..self.nodes.len() {
                self.call(node, |n, now, out| n.underlay.tick(now, out, &n.seen));
            }
            self.deliver();
        }
    }

    pub(super) fn path(&self, node: usize, to: &Ipv6Addr, flow: u32) -> Result<PathId, DropReason> {
        let node = &self.nodes[node];
        node.underlay.path_for(to, flow, self.now, &node.seen)
    }

    /// Sends a frame of a flow the way the packet path does. `tag` is its last
    /// byte.
    pub(super) fn send(
        &mut self,
        node: usize,
        to: &Ipv6Addr,
        flow: u32,
        tag: u8,
    ) -> Result<Option<LinkId>, DropReason> {
        let id = self.path(node, to, flow)?;
        self.send_on(node, id, tag)
    }

    /// As `send`, with the path that the flow has.
    pub(super) fn send_on(
        &mut self,
        node: usize,
        id: PathId,
        tag: u8,
    ) -> Result<Option<LinkId>, DropReason> {
        let mut header = [0; ENCAP_LEN];
        let path = self.nodes[node].underlay.path(id);
        let path = path.ok_or(DropReason::NoUnderlayRoute)?;
        let link = path.write_header(&mut header);
        let mut frame = header.to_vec();
        frame.extend([0xee, tag]);
        match link {
            Some(link) => self.put(node, link, frame),
            None => self.call(node, |n, now, out| {
                n.underlay.hold(id, &frame, now, out, &n.seen)
            })?,
        }
        self.deliver();
        Ok(link)
    }

    /// The tags of what arrived since the last call.
    pub(super) fn arrived(&mut self, node: usize) -> Vec<u8> {
        let arrived = self.nodes[node].arrived.drain(..);
        arrived.map(|frame| *frame.last().unwrap()).collect()
    }

    /// A neighbour's state as `show` tells it.
    pub(super) fn state(&self, node: usize, neighbour: &Ipv6Addr) -> &'static str {
        let shown = self.nodes[node].underlay.show();
        let found = shown.neighbours.iter().find(|n| n.address == *neighbour);
        let state = found.map(|n| n.state.clone()).unwrap_or_default();
        let states = [
            "INCOMPLETE",
            "REACHABLE",
            "STALE",
            "DELAY",
            "PROBE",
            "UNREACHABLE",
        ];
        states.into_iter().find(|s| *s == state).unwrap_or("")
    }

    /// How many messages of a type a node sent since the last call.
    pub(super) fn asked(&mut self, node: usize, kind: u8) -> usize {
        let asked = self.asked.iter().filter(|a| **a == (node, kind)).count();
        self.asked.clear();
        asked
    }
}

pub(super) const SOLICITATION: u8 = 135;
pub(super) const ADVERTISEMENT: u8 = 136;

/// Everybody is a neighbour on the first link.
pub(super) fn flat() -> Vec<UnderlayRoute> {
    vec![route("fd00::/64", None, "net0")]
}
