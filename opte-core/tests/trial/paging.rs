//! Listings of more than one page have every entry once.

use super::name;
use crate::sim::frame::Flow;
use crate::{ALLOW_ALL, G1, Sled, port, two_guests};
use opte_core::api::dump::LayerDumpEntry;
use opte_core::api::page::Page;
use opte_core::api::{Command, Response};
use opte_core::{Direction, LayerId};
use std::collections::BTreeMap;

/// All entries, and how many pages they took.
fn all<T>(sled: &Sled, mut page: impl FnMut(&Sled, u64) -> Page<T>) -> (Vec<T>, usize) {
    let (mut entries, mut cursor) = (Vec::new(), 0);
    for pages in 1..100 {
        let next = page(sled, cursor);
        assert!(next.entries.len() <= 1_024);
        entries.extend(next.entries);
        match next.next {
            Some(next) => assert!(std::mem::replace(&mut cursor, next) < next),
            None => return (entries, pages),
        }
    }
    panic!("a listing without an end")
}

macro_rules! listing {
    ($sled:expr, $response:ident, $command:expr) => {
        all($sled, |sled, cursor| {
            let command: fn(u64) -> Command = $command;
            match sled.command(command(cursor)) {
                Ok(Response::$response(page)) => page,
                other => panic!("{other:?}"),
            }
        })
    };
}

const FLOWS: u32 = 2_500;

#[test]
fn every_flow_is_listed_once() {
    let sled = two_guests(ALLOW_ALL);
    for n in 0..FLOWS {
        let flow = Flow::new(G1, &format!("10.0.0.1:{} > 10.0.0.2:{}", n + 1, n % 7 + 1));
        let frame = match n % 2 {
            0 => flow.udp(b""),
            _ => flow.tcp("S", 1, 0, b""),
        };
        sled.local("g1", &frame).unwrap();
        sled.events("");
    }
    let (uft, pages) = listing!(&sled, Uft, |at| Command::DumpUft(name("g1"), at));
    assert!(pages > 2);
    let mut seen = BTreeMap::new();
    for entry in uft {
        *seen
            .entry((entry.before.local_port, entry.dir == Direction::In))
            .or_insert(0) += 1;
    }
    assert!(seen.values().all(|count| *count == 1));
    assert_eq!(seen.len(), 2 * FLOWS as usize, "one for each direction");

    let (tcp, pages) = listing!(&sled, Tcp, |at| Command::DumpTcpFlows(name("g1"), at));
    let mut ports: Vec<_> = tcp.iter().map(|entry| entry.key.local_port).collect();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!((tcp.len(), ports.len(), pages), (1_250, 1_250, 2));

    let (layer, _) = listing!(&sled, Layer, |at| {
        Command::DumpLayer(name("g2"), LayerId::Firewall, at)
    });
    let flows = layer
        .iter()
        .filter(|e| matches!(e, LayerDumpEntry::Flow(_)));
    assert_eq!(flows.count(), FLOWS as usize);
    assert_eq!(layer.len(), FLOWS as usize + 1, "and the rule");
}

#[test]
fn every_rule_route_mapping_and_port_is_listed_once() {
    let rules: Vec<_> = (1..=2_000)
        .map(|n| format!("\"dir=in priority={n} action=allow ports={n} protocols=tcp\""))
        .collect();
    let setup = port("g1", 1, &format!("rules = [{}]", rules.join(",")));
    let sled = Sled::with(1, &setup);
    for n in 0..1_500_u32 {
        let route = format!("100.{}.{}.0/24 ip4=10.0.0.2 custom", n / 256, n % 256);
        let add = Command::AddRoute(name("g1"), route.parse().unwrap());
        sled.command(add).unwrap();
    }
    let (rules, pages) = listing!(&sled, Layer, |at| {
        Command::DumpLayer(name("g1"), LayerId::Firewall, at)
    });
    assert_eq!(rules.len(), 2_000);
    assert!(pages > 1);
    let (routes, _) = listing!(&sled, Routes, |at| Command::DumpRoutes(name("g1"), at));
    let mut ids: Vec<_> = routes.iter().map(|route| route.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((routes.len(), ids.len()), (1_504, 1_504));
    let (routes, _) = listing!(&sled, Layer, |at| {
        Command::DumpLayer(name("g1"), LayerId::Router, at)
    });
    assert_eq!(routes.len(), 1_504);
}

#[test]
fn a_cursor_from_nowhere_ends_the_listing() {
    let sled = two_guests(ALLOW_ALL);
    for cursor in [
        7,
        u64::from(u32::MAX),
        (1 << 40) - 1,
        (1 << 40) | 77,
        u64::MAX,
    ] {
        for command in [
            Command::ListPorts(cursor),
            Command::DumpUft(name("g1"), cursor),
            Command::DumpTcpFlows(name("g1"), cursor),
            Command::DumpLayer(name("g1"), LayerId::Nat, cursor),
            Command::DumpLayer(name("g1"), LayerId::Router, cursor),
            Command::DumpRoutes(name("g1"), cursor),
            Command::DumpV2p(cursor),
            Command::DumpV2b(cursor),
        ] {
            let _ = sled.command(command).unwrap();
        }
    }
    let uft = |cursor| match sled.command(Command::DumpUft(name("g1"), cursor)) {
        Ok(Response::Uft(page)) => page.next,
        other => panic!("{other:?}"),
    };
    assert_eq!(uft(u64::MAX), None);
}
