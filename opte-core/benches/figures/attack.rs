//! What is left to established flows while somebody attacks: of every hundred
//! packets one is the attacker's, and the figure is the time that the other
//! 99 take without it over the time that all take with it. No packet of an
//! established flow may be lost or miss.

use crate::rig::flows::{Flows, Kind, Stage};
use crate::rig::traffic::{BURST, Traffic};
use crate::rig::{GUEST, Raw, Rig, Shape, VNI, frame};
use crate::{Figures, median};
use opte_core::Direction;
use opte_core::api::FwRule;
use opte_core::host::Lane;
use opte_core::wire::MacAddr;

/// The victims.
const FLOWS: u32 = 1_000;
/// Packets of the attacker: more than there is room for flows.
const ATTACKS: u32 = 100_000;

pub(crate) fn run(figures: &Figures) {
    let attack = |name: &str, shape: Shape, traffic: &dyn Fn() -> Traffic| {
        if figures.wants(&format!("attack/{name}")) {
            measure(figures, name, shape, traffic());
        }
    };
    let open = || {
        vec![rule(
            "dir=in priority=1 action=allow protocols=tcp ports=80",
        )]
    };
    let shape = Shape {
        rules: open(),
        ..Shape::default()
    };
    attack("syn_flood", shape, &syn_flood);
    attack("udp_sweep", Shape::default(), &udp_sweep);
    attack("fragment_flood", Shape::default(), &fragments);
    let shape = Shape {
        rules: masks(),
        ..Shape::default()
    };
    attack("rule_masks", shape, &udp_sweep);
}

fn rule(text: &str) -> FwRule {
    text.parse().expect("a rule")
}

/// Strangers ask for connections with a port that is open, and never go on.
fn syn_flood() -> Traffic {
    let peer = MacAddr([0xa8, 0x40, 0x25, 0xf1, 0, 0]);
    let says = frame::Says {
        flags: frame::SYN,
        seq: 1,
        ack: 0,
    };
    let frames = (0..ATTACKS).map(|n| {
        let ends = frame::Ends {
            dport: 80,
            ..Kind::Tcp4.ends(n + FLOWS).back()
        };
        frame::geneve(VNI, false, &frame::inner(GUEST, peer, &ends, says, 0))
    });
    Traffic::new(Direction::In, frames)
}

/// The guest sends one packet to every port of many others.
fn udp_sweep() -> Traffic {
    let frames =
        (0..ATTACKS).map(|n| Kind::Udp4.out(&Kind::Udp4.ends(n + 2 * FLOWS), Stage::Open, 64));
    Traffic::new(Direction::Out, frames)
}

fn fragments() -> Traffic {
    let frames = (0..ATTACKS).map(|n| {
        let mut frame = Kind::Udp4.out(&Kind::Udp4.ends(n), Stage::Open, 64);
        // An offset, which the checksum doesn't know of; nobody verifies it.
        frame[21] = 1;
        frame
    });
    Traffic::new(Direction::Out, frames)
}

/// Rules that differ in which bits they look at, as many ways as there are;
/// what passes passes by the last.
fn masks() -> Vec<FwRule> {
    let mut rules = Vec::new();
    for len in 1..=32_u32 {
        for bits in 0..16_u32 {
            let addr = std::net::Ipv4Addr::from(0xc000_0000_u32 >> (32 - len) << (32 - len));
            let ports = format!("{}-{}", 40_000 + bits, 40_000 + (1 << bits) / 2 + bits);
            let source = format!("{}-{}", bits, (1_u32 << bits) + bits);
            rules.push(rule(&format!(
                "dir=out priority={} action=deny hosts={addr}/{len} protocols=udp ports={ports} source_ports={source}",
                len * 16 + bits
            )));
        }
    }
    rules
}

fn measure(figures: &Figures, name: &str, shape: Shape, mut attack: Traffic) {
    let (rig, mut lane) = Rig::new(shape);
    let flows = Flows::establish(&rig, &mut lane, Kind::Tcp4, FLOWS);
    let mut victims = Traffic::of(&flows, Direction::Out, 64);
    let mut alone = Vec::new();
    for _ in 0..=figures.runs() {
        alone.push(seconds(&rig, &mut lane, &mut victims, None));
    }
    let alone = median(alone);
    // The attack began long before: every table is as full as it gets.
    for _ in 0..ATTACKS as usize / BURST {
        attack.burst(&rig, &mut lane);
    }
    let ratios = (0..figures.runs())
        .map(|_| alone / seconds(&rig, &mut lane, &mut victims, Some(&mut attack)))
        .collect();
    figures.tell(&format!("attack/{name}/ratio"), median(ratios));
}

/// Seconds that a run takes, with an attack or without.
fn seconds(
    rig: &Rig,
    lane: &mut Lane<Raw>,
    victims: &mut Traffic,
    mut attack: Option<&mut Traffic>,
) -> f64 {
    let mut time = 0.0;
    for _ in 0..20 {
        let before = rig.stats(lane, victims.dir).hits;
        for _ in 0..99 {
            let (took, passed) = victims.burst(rig, lane);
            time += took.as_secs_f64();
            assert_eq!(passed as usize, BURST, "no victim's packet is lost");
        }
        let hits = rig.stats(lane, victims.dir).hits - before;
        assert_eq!(hits as usize, 99 * BURST, "every victim's packet is a hit");
        if let Some(attack) = &mut attack {
            time += attack.burst(rig, lane).0.as_secs_f64();
        }
    }
    time
}
