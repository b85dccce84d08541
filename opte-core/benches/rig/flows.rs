//! Flows of the guest: who talks to whom, and how they are established.

use super::frame::{self, ACK, Ends, SYN, Says, TCP, UDP};
use super::{GUEST, PEERS, Raw, Rig, VNI, peer_addr4, peer_addr6};
use opte_core::Direction;
use opte_core::event::Observer;
use opte_core::host::Lane;
use opte_core::verdict::Verdict;
use opte_core::wire::MacAddr;
use std::net::{IpAddr, Ipv4Addr};

/// What flows are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Udp4,
    Tcp4,
    Udp6,
    Tcp6,
    /// To the internet, behind a port of a shared address.
    SnatTcp4,
}

const OUT_SEQ: u32 = 1_000;
const IN_SEQ: u32 = 500_000;

/// A packet's place in its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The first one from the guest.
    Open,
    /// The first one to the guest.
    Answer,
    /// Any one after those.
    Data,
}

impl Kind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Udp4 => "udp4",
            Self::Tcp4 => "tcp4",
            Self::Udp6 => "udp6",
            Self::Tcp6 => "tcp6",
            Self::SnatTcp4 => "snat_tcp4",
        }
    }

    const fn is_tcp(self) -> bool {
        matches!(self, Self::Tcp4 | Self::Tcp6 | Self::SnatTcp4)
    }

    /// The ends of flow `number`, from the guest's point of view. Flows differ
    /// in their peer and both ports.
    pub fn ends(self, number: u32) -> Ends {
        let (peer, rest) = (number % PEERS, number / PEERS);
        let (v4, v6) = (Ipv4Addr::new(10, 0, 0, 1), "fd00:7::1".parse().unwrap());
        let (src, dst): (IpAddr, IpAddr) = match self {
            Self::Udp4 | Self::Tcp4 => (v4.into(), peer_addr4(peer).into()),
            Self::Udp6 | Self::Tcp6 => (IpAddr::V6(v6), peer_addr6(peer).into()),
            Self::SnatTcp4 => (v4.into(), Ipv4Addr::from(0xc612_0000 + peer).into()),
        };
        Ends {
            proto: if self.is_tcp() { TCP } else { UDP },
            src,
            dst,
            sport: u16::try_from(1_024 + rest % 60_000).unwrap(),
            dport: u16::try_from(80 + rest / 60_000).unwrap(),
        }
    }

    /// A frame of the guest.
    pub fn out(self, ends: &Ends, stage: Stage, len: usize) -> Vec<u8> {
        let says = match stage {
            Stage::Open => says(SYN, OUT_SEQ, 0),
            _ => says(ACK, OUT_SEQ + 1, IN_SEQ + 1),
        };
        let len = if self.is_tcp() && stage == Stage::Open {
            0
        } else {
            len
        };
        frame::inner(MacAddr::GATEWAY, GUEST, ends, says, len)
    }

    /// A frame for the guest, as it comes from the underlay; `outside` are the
    /// ends as the far end sees them.
    pub fn into(self, outside: &Ends, stage: Stage, len: usize) -> Vec<u8> {
        let says = match stage {
            Stage::Answer => says(SYN | ACK, IN_SEQ, OUT_SEQ + 1),
            _ => says(ACK, IN_SEQ + 1, OUT_SEQ + 1),
        };
        let len = if self.is_tcp() && stage == Stage::Answer {
            0
        } else {
            len
        };
        let peer = MacAddr([0xa8, 0x40, 0x25, 0xf1, 0, 0]);
        let inner = frame::inner(GUEST, peer, &outside.back(), says, len);
        match self {
            Self::SnatTcp4 => frame::geneve(99, true, &inner),
            _ => frame::geneve(VNI, false, &inner),
        }
    }
}

const fn says(flags: u8, seq: u32, ack: u32) -> Says {
    Says { flags, seq, ack }
}

/// Flows that are there.
pub struct Flows {
    pub kind: Kind,
    pub count: u32,
    /// The ends as the far end sees them, where they differ.
    translated: Vec<Ends>,
}

impl Flows {
    /// Opens flows from number zero on, with packets in both directions; TCP
    /// connections are established.
    pub fn establish<O: Observer>(
        rig: &Rig<O>,
        lane: &mut Lane<Raw>,
        kind: Kind,
        count: u32,
    ) -> Self {
        let mut flows = Self {
            kind,
            count,
            translated: Vec::new(),
        };
        for number in 0..count {
            let ends = kind.ends(number);
            let (verdict, sent) = rig.send(lane, Direction::Out, &kind.out(&ends, Stage::Open, 64));
            assert!(matches!(verdict, Verdict::Link(_)), "{number}: {verdict:?}");
            if kind == Kind::SnatTcp4 {
                flows.translated.push(Ends {
                    src: IpAddr::from(<[u8; 4]>::try_from(&sent[96..100]).unwrap()),
                    sport: u16::from_be_bytes([sent[104], sent[105]]),
                    ..ends
                });
            }
            let answer = kind.into(&flows.outside(number), Stage::Answer, 64);
            let (verdict, _) = rig.send(lane, Direction::In, &answer);
            assert!(matches!(verdict, Verdict::Port(_)), "{number}: {verdict:?}");
            if kind.is_tcp() {
                let (verdict, _) = rig.send(lane, Direction::Out, &kind.out(&ends, Stage::Data, 0));
                assert!(matches!(verdict, Verdict::Link(_)), "{number}: {verdict:?}");
            }
        }
        flows
    }

    /// The ends of a flow as the far end sees them.
    pub fn outside(&self, number: u32) -> Ends {
        match self.translated.get(number as usize) {
            Some(ends) => *ends,
            None => self.kind.ends(number),
        }
    }

    /// A packet of a flow.
    pub fn packet(&self, number: u32, dir: Direction, len: usize) -> Vec<u8> {
        match dir {
            Direction::Out => self.kind.out(&self.kind.ends(number), Stage::Data, len),
            Direction::In => self.kind.into(&self.outside(number), Stage::Data, len),
        }
    }
}
