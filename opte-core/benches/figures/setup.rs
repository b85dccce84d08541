//! Whole TCP connections per second on one core: opened by the guest, both
//! directions used, closed by both sides, and their room given back.

use crate::rig::flows::Kind;
use crate::rig::frame::{self, ACK, Ends, FIN, SYN, Says};
use crate::rig::traffic::{BURST, Traffic};
use crate::rig::{GUEST, Rig, Shape, VNI};
use crate::{Figures, median};
use opte_core::Direction;
use opte_core::wire::MacAddr;

const CONNECTIONS: u32 = 16_384;
/// Which way each packet of a connection goes, and what it says: guest's and
/// far end's sequence numbers start at 1,000 and 500,000.
const PACKETS: [(Direction, Says); 6] = [
    (Direction::Out, says(SYN, 1_000, 0)),
    (Direction::In, says(SYN | ACK, 500_000, 1_001)),
    (Direction::Out, says(ACK, 1_001, 500_001)),
    (Direction::Out, says(FIN | ACK, 1_001, 500_001)),
    (Direction::In, says(FIN | ACK, 500_001, 1_002)),
    (Direction::Out, says(ACK, 1_002, 500_002)),
];

const fn says(flags: u8, seq: u32, ack: u32) -> Says {
    Says { flags, seq, ack }
}

pub(crate) fn run(figures: &Figures) {
    if !figures.wants("setup") {
        return;
    }
    let (rig, mut lane) = Rig::new(Shape::default());
    // Packets of 64 connections side by side, so that no burst is of one only.
    let mut traffic = PACKETS.map(|(dir, says)| {
        let frames = (0..CONNECTIONS).map(|n| packet(&Kind::Tcp4.ends(n), dir, says));
        Traffic::new(dir, frames)
    });
    let mut rates = Vec::new();
    for _ in 0..=figures.runs() {
        let mut time = 0.0;
        for _ in 0..CONNECTIONS as usize / BURST {
            for traffic in &mut traffic {
                let (took, passed) = traffic.burst(&rig, &mut lane);
                assert_eq!(passed as usize, BURST, "all go on");
                time += took.as_secs_f64();
            }
        }
        // The room that they had is given back two minutes later.
        rig.skip_ms(130_000);
        while rig.flows(&mut lane) > 0 {
            let start = std::time::Instant::now();
            rig.tick(&mut lane);
            time += start.elapsed().as_secs_f64();
        }
        rates.push(f64::from(CONNECTIONS) / time);
    }
    figures.tell("setup/connections_per_s", median(rates.split_off(1)));
}

fn packet(ends: &Ends, dir: Direction, says: Says) -> Vec<u8> {
    match dir {
        Direction::Out => frame::inner(MacAddr::GATEWAY, GUEST, ends, says, 0),
        Direction::In => {
            let peer = MacAddr([0xa8, 0x40, 0x25, 0xf1, 0, 0]);
            let inner = frame::inner(GUEST, peer, &ends.back(), says, 0);
            frame::geneve(VNI, false, &inner)
        }
    }
}
