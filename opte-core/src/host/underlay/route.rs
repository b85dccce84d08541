//! Routes of the underlay and the choice between equally good ones.
//!
//! Purpose   which neighbour, on which link, forwards to a tunnel end point.
//! Terms     next hop    a link and a neighbour on it; with `via: None` the
//!                       destination itself is the neighbour
//!           equal cost  next hops of one and the same prefix
//! Rules     U1  the longest prefix alone decides; there are no metrics.
//!           U2  a flow goes to the next hop with the highest keyed hash of
//!               (flow, destination, next hop): "rendezvous". Taking one next
//!               hop away moves the flows that it had and no others, and
//!               putting one in moves only flows to it.
//!           U3  the key is secret, so nobody can pick flows that all go one
//!               way.

use crate::api::Prefix;
use crate::rule::Lpm;
use crate::verdict::LinkId;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::hash::Hasher;
use core::net::{IpAddr, Ipv6Addr};
use siphasher::sip::SipHasher13;

/// Where a route leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NextHop {
    /// The link.
    pub(super) link: LinkId,
    /// The neighbour that forwards; none when the destination itself is one.
    pub(super) via: Option<Ipv6Addr>,
}

impl NextHop {
    /// The neighbour that a frame to `dest` goes to.
    pub(super) fn neighbour(&self, dest: &Ipv6Addr) -> Ipv6Addr {
        self.via.unwrap_or(*dest)
    }
}

/// All routes: a snapshot that is replaced and never changed.
#[derive(Debug, Default)]
pub(super) struct Routes {
    /// Positions in `sets`.
    table: Lpm<u32>,
    sets: Vec<Vec<NextHop>>,
}

impl Routes {
    /// The table of `routes`; those with the same prefix share its flows.
    pub(super) fn build(routes: impl IntoIterator<Item = (Prefix, NextHop)>) -> Self {
        let mut sets: BTreeMap<Prefix, Vec<NextHop>> = BTreeMap::new();
        for (prefix, hop) in routes {
            sets.entry(prefix).or_default().push(hop);
        }
        Self {
            table: Lpm::build(sets.keys().copied().zip(0..)),
            sets: sets.into_values().collect(),
        }
    }

    /// The next hop for a flow to `dest`, of those that `usable` accepts.
    pub(super) fn pick(
        &self,
        key: u64,
        dest: &Ipv6Addr,
        flow_hash: u32,
        usable: impl Fn(&NextHop) -> bool,
    ) -> Option<NextHop> {
        let position = self.table.lookup(&IpAddr::V6(*dest))?;
        let hops = self.sets.get(usize::try_from(*position).ok()?)?;
        hops.iter()
            .filter(|hop| usable(hop))
            .max_by_key(|hop| (score(key, dest, flow_hash, hop), **hop))
            .copied()
    }
}

/// How much a flow wants a next hop.
fn score(key: u64, dest: &Ipv6Addr, flow_hash: u32, hop: &NextHop) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(key, u64::from(flow_hash));
    hasher.write(&dest.octets());
    hasher.write_u16(hop.link.0);
    hasher.write(&hop.neighbour(dest).octets());
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: u64 = 0x5eed;

    fn hop(link: u16, via: &str) -> NextHop {
        NextHop {
            link: LinkId(link),
            via: Some(via.parse().unwrap()),
        }
    }

    fn routes(hops: &[NextHop]) -> Routes {
        let prefix: Prefix = "fd00::/16".parse().unwrap();
        Routes::build(hops.iter().map(|hop| (prefix, *hop)))
    }

    fn four() -> Vec<NextHop> {
        std::vec![
            hop(0, "fe80::1"),
            hop(0, "fe80::2"),
            hop(1, "fe80::1"),
            NextHop {
                link: LinkId(2),
                via: None
            },
        ]
    }

    #[test]
    fn the_longest_prefix_decides() {
        let routes = Routes::build([
            ("::/0".parse().unwrap(), hop(0, "fe80::1")),
            ("fd00::/64".parse().unwrap(), hop(1, "fe80::2")),
        ]);
        let pick = |dest: &str| routes.pick(KEY, &dest.parse().unwrap(), 1, |_| true);
        assert_eq!(pick("fd00::9"), Some(hop(1, "fe80::2")));
        assert_eq!(pick("fd01::9"), Some(hop(0, "fe80::1")));
        assert_eq!(pick("fd00:0:0:1::"), Some(hop(0, "fe80::1")));
        assert_eq!(
            Routes::default().pick(KEY, &"fd00::9".parse().unwrap(), 1, |_| true),
            None
        );
    }

    #[test]
    fn flows_spread_evenly() {
        let hops = four();
        let routes = routes(&hops);
        let dest = "fd00::9".parse().unwrap();
        let mut counts = [0_u32; 4];
        for flow in 0..40_000 {
            let hop = routes.pick(KEY, &dest, flow, |_| true).unwrap();
            counts[hops.iter().position(|h| *h == hop).unwrap()] += 1;
        }
        let chi_square: f64 = counts
            .iter()
            .map(|n| (f64::from(*n) - 10_000.0).powi(2) / 10_000.0)
            .sum();
        // Three degrees of freedom: 16.3 is one in a thousand.
        assert!(chi_square < 16.3, "{counts:?}: {chi_square}");
    }

    #[test]
    fn taking_a_next_hop_away_moves_only_its_flows() {
        let hops = four();
        let before = routes(&hops);
        let gone = hops[1];
        let rest: Vec<_> = hops.into_iter().filter(|h| *h != gone).collect();
        let after = routes(&rest);
        let dest = "fd00::9".parse().unwrap();
        for flow in 0..2_000 {
            let old = before.pick(KEY, &dest, flow, |_| true).unwrap();
            let new = after.pick(KEY, &dest, flow, |_| true).unwrap();
            assert!(old == gone || old == new, "flow {flow}");
            // Refusing a next hop is the same as not having it.
            assert_eq!(before.pick(KEY, &dest, flow, |h| *h != gone), Some(new));
        }
    }

    #[test]
    fn the_choice_depends_on_key_and_destination() {
        let routes = routes(&four());
        let choices = |key: u64, dest: &str| -> Vec<_> {
            (0..64)
                .map(|flow| routes.pick(key, &dest.parse().unwrap(), flow, |_| true))
                .collect()
        };
        assert_ne!(choices(1, "fd00::9"), choices(2, "fd00::9"));
        assert_ne!(choices(1, "fd00::9"), choices(1, "fd00::a"));
    }
}
