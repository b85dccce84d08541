//! What an engine must keep to whatever is thrown at it: frames that nobody
//! would send, configuration that changes under live flows, many threads.

mod account;
mod address;
mod apply;
mod bounds;
mod change;
mod counter;
mod firewall;
mod group;
mod group_abuse;
mod group_fragment;
mod group_report;
mod impossible;
mod memory;
mod model;
mod option;
mod overlay;
mod paging;
mod refusal;
mod service;
mod stress;
mod watch;

use crate::sim::Sled;
use crate::sim::frame::{Flow, icmp6};
use crate::{G2, MacAddr, port, underlay, v2p};
use opte_core::api::dump::Stats;
use opte_core::api::{Command, Name, Response};
use std::net::Ipv6Addr;

/// SplitMix64.
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).unwrap()
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// Station of the fake boundary.
pub(crate) const BOUNDARY: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x99]);

/// What g2 has.
pub(crate) const NEXT_DOOR: &str = r#"external = { ephemeral = ["203.0.113.200"] }
rules = ["dir=in priority=100 action=allow"]"#;

/// A sled with g1, which has `more`, and g2; g3 is on a sled that isn't there.
pub(crate) fn world(more: &str) -> Sled {
    let setup = underlay(1) + &v2p(3, 2) + &port("g1", 1, more) + &port("g2", 2, NEXT_DOOR);
    let sled = Sled::with(1, &setup);
    let flow = Flow::new(G2, "10.0.0.2:9 > 198.51.100.99:9");
    crate::learn_boundary_by(&sled, "g2", flow, BOUNDARY);
    sled
}

pub(crate) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// Statistics of a port, or of the host.
pub(crate) fn stats(sled: &Sled, port: Option<&str>) -> Stats {
    let Ok(Response::Stats(stats)) = sled.command(Command::Stats(port.map(name))) else {
        panic!("no statistics")
    };
    stats
}

pub(crate) fn counter(stats: &Stats, name: &str) -> u64 {
    let found = stats.counters.iter().find(|c| c.name == name);
    found.map_or(0, |c| c.value)
}

/// External ports that flows of g1 hold, of all pools.
pub(crate) fn external_ports_used(sled: &Sled) -> u64 {
    let pools = ["tcp4", "udp4", "echo4", "tcp6", "udp6", "echo6"];
    let stats = stats(sled, Some("g1"));
    pools
        .iter()
        .map(|pool| counter(&stats, &format!("snat_{pool}_used")))
        .sum()
}

/// Answers what the sled asks on the underlay: every neighbour is the
/// boundary's station. Returns the frames that had waited for that.
pub(crate) fn answer_solicitations(sled: &Sled) -> Vec<Vec<u8>> {
    let mut waited = Vec::new();
    let asked: Vec<_> = sled.wire.borrow_mut().drain(..).collect();
    for (_, asked) in asked {
        // ICMPv6, a neighbour solicitation.
        if asked[20] != 58 || asked[54] != 135 {
            continue;
        }
        let mut message = vec![136, 0, 0, 0, 0x60, 0, 0, 0];
        message.extend(&asked[62..78]);
        message.extend([2, 1]);
        message.extend(BOUNDARY.0);
        let addr = |bytes: &[u8]| Ipv6Addr::from(<[u8; 16]>::try_from(bytes).unwrap()).into();
        let flow = Flow {
            src_mac: BOUNDARY,
            dst_mac: MacAddr(asked[6..12].try_into().unwrap()),
            src: addr(&asked[62..78]),
            dst: addr(&asked[22..38]),
            sport: 0,
            dport: 0,
        };
        let (_, sent) = sled.rx(&icmp6(&flow, message));
        waited.extend(sent.links.into_iter().map(|(_, frame)| frame));
    }
    sled.wire.borrow_mut().clear();
    waited
}
