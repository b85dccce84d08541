//! Rule sets against asking rule after rule.

use super::*;
use crate::Direction;
use crate::api::{AddressSet, FwAction, FwRule, HostFilter, Name, PortRange, Prefix, ProtoFilter};
use crate::flow::Proto;
use crate::wire::Vni;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::vec::Vec;

fn set(rules: &[&str]) -> RuleSet {
    let rules = rules.iter().zip(1..);
    RuleSet::build(
        rules
            .map(|(text, id)| Rule::new(id, text.parse().unwrap()))
            .collect(),
    )
}

fn query(remote: &str, proto: Proto, dest_port: u16) -> Query {
    Query {
        dir: Direction::In,
        remote: remote.parse().unwrap(),
        remote_vni: None,
        proto,
        icmp: None,
        source_port: 40_000,
        dest_port,
    }
}

fn id(set: &RuleSet, query: &Query) -> Option<u32> {
    set.find(query).map(|rule| rule.id)
}

#[test]
fn evaluation_order_is_priority_then_deny_then_insertion() {
    let set = set(&[
        "dir=in priority=9 action=deny",
        "dir=in priority=5 action=allow ports=80",
        "dir=in priority=5 action=allow hosts=10.0.0.0/8",
        "dir=in priority=5 action=deny protocols=udp",
        "dir=out priority=1 action=deny",
    ]);
    assert_eq!(id(&set, &query("10.0.0.1", Proto::TCP, 80)), Some(2));
    assert_eq!(id(&set, &query("10.0.0.1", Proto::TCP, 81)), Some(3));
    assert_eq!(id(&set, &query("10.0.0.1", Proto::UDP, 80)), Some(4));
    assert_eq!(id(&set, &query("9.0.0.1", Proto::TCP, 81)), Some(1));
    let order: Vec<_> = set.iter().map(|rule| rule.id).collect();
    assert_eq!(order, [4, 2, 3, 1, 5]);
    assert_eq!((set.len(Direction::In), set.len(Direction::Out)), (4, 1));
    assert_eq!(set.get(3).unwrap().spec.hosts.len(), 1);
    assert!(set.get(6).is_none());
}

#[test]
fn port_filters_ask_for_a_protocol_with_ports() {
    let set = set(&["dir=in priority=1 action=allow ports=0-65535"]);
    for (proto, want) in [
        (Proto::TCP, Some(1)),
        (Proto::UDP, Some(1)),
        (Proto::SCTP, Some(1)),
        (Proto::ICMP, None),
        (Proto(47), None),
    ] {
        assert_eq!(id(&set, &query("10.0.0.1", proto, 0)), want, "{proto}");
    }
}

#[test]
fn an_icmp_filter_asks_for_type_and_code() {
    let set = set(&[
        "dir=in priority=1 action=allow protocols=icmp:3/4,icmp6:2",
        "dir=in priority=2 action=deny protocols=icmp:0",
        "dir=in priority=3 action=allow protocols=icmp",
    ]);
    let icmp = |proto, icmp| Query {
        icmp,
        ..query("10.0.0.1", proto, 0)
    };
    assert_eq!(id(&set, &icmp(Proto::ICMP, Some((3, 4)))), Some(1));
    assert_eq!(id(&set, &icmp(Proto::ICMP, Some((3, 3)))), Some(3));
    assert_eq!(id(&set, &icmp(Proto::ICMP, Some((0, 9)))), Some(2));
    assert_eq!(id(&set, &icmp(Proto::ICMP, None)), Some(3));
    assert_eq!(id(&set, &icmp(Proto::ICMPV6, Some((2, 7)))), Some(1));
    assert_eq!(id(&set, &icmp(Proto::ICMPV6, Some((3, 4)))), None);
}

#[test]
fn hosts_are_addresses_of_either_family_or_a_vpc() {
    let set = set(&["dir=in priority=1 action=allow hosts=10.0.0.0/8,fd00::/16,vni=7"]);
    let from = |remote, vni| Query {
        remote_vni: Vni::new(vni),
        ..query(remote, Proto::TCP, 1)
    };
    assert_eq!(id(&set, &from("10.9.9.9", 8)), Some(1));
    assert_eq!(id(&set, &from("fd00::1", 8)), Some(1));
    assert_eq!(id(&set, &from("11.0.0.1", 7)), Some(1));
    assert_eq!(id(&set, &from("11.0.0.1", 8)), None);
    assert_eq!(id(&set, &query("11.0.0.1", Proto::TCP, 1)), None);
}

/// A small generator (xorshift*); equal seeds give equal tests.
pub(super) struct Rng(u64);

impl Rng {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(super) fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 33) % n
    }

    fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len() as u64) as usize]
    }

    /// A list that is empty (any) half of the time.
    fn list<T>(&mut self, max: u64, item: impl Fn(&mut Self) -> T) -> Vec<T> {
        let len = self.below(2) * (1 + self.below(max));
        (0..len).map(|_| item(self)).collect()
    }

    /// Addresses close together, so that rules overlap.
    fn address(&mut self) -> IpAddr {
        let low = self.below(64);
        if self.below(2) == 0 {
            let top = self.pick(&[0x0a00_0000, 0x0a00_4000, 0xc0a8_0000]);
            Ipv4Addr::from_bits(top + low as u32).into()
        } else {
            let top = self.pick(&[0xfd00_u128 << 112, 0xfd01 << 112, 0xfd00_0001 << 96]);
            Ipv6Addr::from_bits(top + u128::from(low)).into()
        }
    }

    fn host(&mut self) -> HostFilter {
        match self.below(12) {
            0 | 1 => HostFilter::Vni(Vni::new(self.below(4) as u32).unwrap()),
            2 | 3 => HostFilter::Set(set_name(self.below(4))),
            _ => HostFilter::Prefix(self.prefix()),
        }
    }

    /// Three of the four sets that rules name.
    fn sets(&mut self) -> AddressSets {
        let sets: Vec<_> = (0..3)
            .map(|n| AddressSet {
                name: set_name(n),
                prefixes: self.list(9, Self::prefix),
            })
            .collect();
        AddressSets::build(&sets).unwrap()
    }

    fn prefix(&mut self) -> Prefix {
        let addr = self.address();
        let (bits, lens): (u8, &[u8]) = match addr {
            IpAddr::V4(_) => (32, &[0, 8, 17, 26, 27, 30, 31, 32]),
            IpAddr::V6(_) => (128, &[0, 15, 16, 64, 122, 125, 128]),
        };
        let len = self.pick(lens);
        match addr {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shl(u32::from(bits - len)).unwrap_or(0);
                Prefix::new(Ipv4Addr::from_bits(v4.to_bits() & mask).into(), len).unwrap()
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(u32::from(bits - len)).unwrap_or(0);
                Prefix::new(Ipv6Addr::from_bits(v6.to_bits() & mask).into(), len).unwrap()
            }
        }
    }

    fn proto(&mut self) -> Proto {
        let other = Proto(self.below(256) as u8);
        self.pick(&[
            Proto::TCP,
            Proto::TCP,
            Proto::UDP,
            Proto::SCTP,
            Proto::ICMP,
            Proto::ICMPV6,
            other,
        ])
    }

    fn proto_filter(&mut self) -> ProtoFilter {
        let proto = self.proto();
        let icmp_type = (proto.is_icmp() && self.below(2) == 0).then(|| self.below(4) as u8);
        ProtoFilter {
            proto,
            icmp_type,
            icmp_code: icmp_type
                .filter(|_| self.below(2) == 0)
                .map(|_| self.below(3) as u8),
        }
    }

    fn port(&mut self) -> u16 {
        let any = self.below(65_536) as u16;
        let low = self.below(12) as u16;
        self.pick(&[low, low, low, any, 65_535])
    }

    fn range(&mut self) -> PortRange {
        let (a, b) = (self.port(), self.port());
        let b = if self.below(2) == 0 { a } else { b };
        PortRange {
            first: a.min(b),
            last: a.max(b),
        }
    }

    fn rule(&mut self) -> FwRule {
        FwRule {
            dir: self.pick(&[Direction::In, Direction::Out]),
            priority: self.below(8) as u16,
            action: self.pick(&[FwAction::Allow, FwAction::Deny]),
            hosts: self.list(4, Self::host),
            protocols: self.list(3, Self::proto_filter),
            ports: self.list(3, Self::range),
            source_ports: self.list(2, Self::range),
        }
    }

    fn query(&mut self) -> Query {
        let proto = self.proto();
        let icmp = (self.below(4) != 0).then(|| (self.below(4) as u8, self.below(3) as u8));
        Query {
            dir: self.pick(&[Direction::In, Direction::Out]),
            remote: self.address(),
            remote_vni: Vni::new(self.below(5) as u32).filter(|vni| vni.get() != 4),
            proto,
            icmp: icmp.filter(|_| proto.is_icmp()),
            source_port: self.port(),
            dest_port: self.port(),
        }
    }
}

fn set_name(n: u64) -> Name {
    std::format!("set{n}").parse().unwrap()
}

/// The rule's meaning, spelled out.
fn fits(rule: &FwRule, sets: &AddressSets, query: &Query) -> bool {
    let ported = [Proto::TCP, Proto::UDP, Proto::SCTP].contains(&query.proto);
    let port = |ranges: &[PortRange], port: u16| {
        if ranges.is_empty() {
            return true;
        }
        let inside = ranges.iter().any(|r| r.first <= port && port <= r.last);
        ported && inside
    };
    let host = rule.hosts.is_empty()
        || rule.hosts.iter().any(|host| match host {
            HostFilter::Prefix(prefix) => prefix.contains(&query.remote),
            HostFilter::Vni(vni) => query.remote_vni == Some(*vni),
            HostFilter::Set(name) => {
                let mut prefixes = sets.get(name).unwrap_or_default().iter();
                prefixes.any(|prefix| prefix.contains(&query.remote))
            }
        });
    let proto = rule.protocols.is_empty()
        || rule.protocols.iter().any(|want| {
            want.proto == query.proto
                && want
                    .icmp_type
                    .is_none_or(|kind| query.icmp.is_some_and(|icmp| icmp.0 == kind))
                && want
                    .icmp_code
                    .is_none_or(|code| query.icmp.is_some_and(|icmp| icmp.1 == code))
        });
    rule.dir == query.dir
        && host
        && proto
        && port(&rule.ports, query.dest_port)
        && port(&rule.source_ports, query.source_port)
}

fn oracle(rules: &[Rule], sets: &AddressSets, query: &Query) -> Option<u32> {
    let numbered = rules.iter().enumerate();
    numbered
        .filter(|(_, rule)| fits(&rule.spec, sets, query))
        .min_by_key(|(at, rule)| (rule.spec.priority, rule.spec.action == FwAction::Allow, *at))
        .map(|(_, rule)| rule.id)
}

#[test]
fn the_classifier_agrees_with_a_linear_scan() {
    for seed in 0..if cfg!(miri) { 3 } else { 300 } {
        let mut rng = Rng::new(seed);
        let len = rng.pick(&[0, 1, 3, 20, 100, 700]);
        let rules: Vec<_> = (1..=len).map(|id| Rule::new(id, rng.rule())).collect();
        let sets = rng.sets();
        let set = RuleSet::build_with(rules.clone(), &sets);
        for _ in 0..200 {
            let query = rng.query();
            let want = oracle(&rules, &sets, &query);
            assert_eq!(id(&set, &query), want, "seed {seed} {query:?}");
        }
    }
}

#[test]
fn a_classifier_that_ran_out_of_room_is_right_all_the_same() {
    for seed in 0..if cfg!(miri) { 3 } else { 300 } {
        let mut rng = Rng::new(seed);
        let rules: Vec<_> = (1..=200).map(|id| Rule::new(id, rng.rule())).collect();
        let bounds = dimension::Bounds {
            classes: 1 + rng.below(40) as usize,
            set_bytes: rng.below(2_000) as usize,
            members: rng.below(300) as usize,
        };
        let sets = rng.sets();
        let set = RuleSet::build_within(rules.clone(), &sets, bounds);
        for _ in 0..100 {
            let query = rng.query();
            let want = oracle(&rules, &sets, &query);
            assert_eq!(id(&set, &query), want, "seed {seed} {query:?}");
        }
    }
}

#[test]
fn direct_evaluation_means_the_same() {
    let mut rng = Rng::new(1);
    for _ in 0..20_000 {
        let (rule, sets, query) = (rng.rule(), rng.sets(), rng.query());
        let query = Query {
            dir: rule.dir,
            ..query
        };
        assert_eq!(
            predicate::matches(&rule, &sets, &query),
            fits(&rule, &sets, &query),
            "{rule} {query:?}"
        );
    }
}
