//! Random traffic under random changes: nothing leaves, or comes in, by what
//! isn't configured at that moment, and all references are given back.

use super::{BOUNDARY, Rng, external_ports_used, name, stats, world};
use crate::sim::Sled;
use crate::sim::frame::{Flow, assert_checksums};
use crate::{ALLOW_ALL, G1, G3, V2p, Verdict, Vni, geneve, port};
use opte_core::LayerId;
use opte_core::api::{Command, ExternalIps, NatChange, PortSpec, Prefix, Setup, V2b};
use std::net::{IpAddr, Ipv6Addr};

/// What g1 may be configured with, one of these at a time.
const EXTERNAL: [&str; 8] = [
    "",
    r#"snat = [{ address = "203.0.113.9", first_port = 4096, last_port = 4127 }]"#,
    r#"snat = [{ address = "203.0.113.9", first_port = 4112, last_port = 4143 },
               { address = "2001:db8::9", first_port = 1, last_port = 99 }]"#,
    r#"snat = [{ address = "203.0.113.10", first_port = 4096, last_port = 4127 }]"#,
    r#"floating = [{ address = "203.0.113.5" }, { address = "203.0.113.6" }, { address = "2001:db8::5" }]"#,
    r#"floating = [{ address = "203.0.113.6" }]
ephemeral = ["203.0.113.7"]
snat = [{ address = "203.0.113.9", first_port = 4096, last_port = 4127 }]"#,
    r#"snat = [{ address = "203.0.113.9", first_port = 4096, last_port = 4127 }]
nat = { mapping = "address-and-port-dependent", filtering = "address-dependent" }"#,
    r#"snat = [{ address = "203.0.113.9", first_port = 4112, last_port = 4115 }]
nat = { mapping = "address-dependent", filtering = "address-and-port-dependent" }"#,
];

/// What is configured now.
struct Model {
    external: ExternalIps,
    attached: Option<Prefix>,
    has_boundary: bool,
    /// Where g3 is.
    sled: Option<Ipv6Addr>,
    /// Whether strangers may call g1's TCP port 80.
    serves: bool,
}

impl Model {
    /// Whether g1 may be seen with this address and port outside.
    fn is_external(&self, addr: IpAddr, port: u16) -> bool {
        let snat = self.external.snat.iter();
        let mut snat = snat.filter(|s| s.address == addr);
        self.external.floating.iter().any(|f| f.address == addr)
            || self.external.ephemeral.contains(&addr)
            || self.attached.is_some_and(|prefix| prefix.contains(&addr))
            || snat.any(|s| (s.first_port..=s.last_port).contains(&port))
    }
}

struct World {
    sled: Sled,
    rng: Rng,
    now: Model,
    /// What left by the boundary, as the far end saw it.
    sent: Vec<(Flow, u8)>,
    /// Frames that left by the boundary, and that came in by it.
    passed: (u32, u32),
}

impl World {
    fn command(&self, command: Command) {
        // Some are refused: what is there already, or isn't.
        let _ = self.sled.command(command);
    }

    /// Changes something.
    fn change(&mut self) {
        match self.rng.below(12) {
            0 | 1 => {
                let external: ExternalIps =
                    toml::from_str(EXTERNAL[self.rng.below(EXTERNAL.len())]).unwrap();
                self.now.external = external.clone();
                let nat = NatChange::to(external.nat);
                self.command(Command::SetNat(name("g1"), nat));
                self.command(Command::SetExternalIps(name("g1"), external));
            }
            2 => {
                let prefix: Prefix = "192.0.2.0/28".parse().unwrap();
                self.now.attached = match self.now.attached {
                    None => Some(prefix),
                    Some(_) => None,
                };
                self.command(match self.now.attached {
                    Some(_) => Command::AttachSubnet(name("g1"), prefix),
                    None => Command::DetachSubnet(name("g1"), prefix),
                });
            }
            3 => {
                let mapping = "prefix = \"0.0.0.0/0\"\nendpoints = [\"fd00:99::1\"]";
                let V2b { prefix, endpoints } = toml::from_str(mapping).unwrap();
                self.now.has_boundary = self.rng.below(4) > 0;
                self.command(match self.now.has_boundary {
                    true => Command::SetV2b(prefix, endpoints),
                    false => Command::ClearV2b(prefix, vec![]),
                });
            }
            4 => {
                let (vni, address) = (Vni::new(7).unwrap(), "10.0.0.3".parse().unwrap());
                let sleds = [None, Some("fd00:2::1"), Some("fd00:99::1")];
                self.now.sled = self.rng.pick(&sleds).map(|sled| sled.parse().unwrap());
                self.command(match self.now.sled {
                    None => Command::ClearV2p(vni, address),
                    Some(sled) => Command::SetV2p(vec![V2p {
                        vni,
                        address,
                        mac: G3,
                        sled,
                    }]),
                });
            }
            5 => {
                self.now.serves ^= true;
                let rule = "dir=in priority=1 action=allow protocols=tcp ports=80";
                let rules = self.now.serves.then(|| rule.parse().unwrap());
                self.command(Command::SetFwRules(name("g1"), rules.into_iter().collect()));
            }
            6 => {
                let route = "198.51.100.0/25 ip4=10.0.0.2 custom".parse().unwrap();
                let add = self.rng.below(3) == 0;
                self.command(match add {
                    true => Command::AddRoute(name("g1"), route),
                    false => Command::DelRoute(name("g1"), route),
                });
            }
            7 => self.command(Command::ClearUft(name("g1"))),
            8 => self.command(Command::ClearLft(name("g1"), LayerId::Nat)),
            9 => self.change_next_door(),
            _ => {
                for _ in 0..self.rng.below(8) {
                    self.sled.advance(5_000);
                    super::answer_solicitations(&self.sled);
                }
            }
        }
    }

    /// Takes g2 away, or brings it back.
    fn change_next_door(&mut self) {
        let setup: Setup = toml::from_str(&port("g2", 2, ALLOW_ALL)).unwrap();
        let spec: PortSpec = setup.ports[0].clone();
        let delete = self.rng.below(3) == 0;
        self.command(match delete {
            true => Command::DeletePort(name("g2")),
            false => Command::CreatePort(spec),
        });
    }

    fn flow(&mut self, froms: &[&str], tos: &[&str]) -> Flow {
        let (from, to) = (*self.rng.pick(froms), *self.rng.pick(tos));
        let (sport, dport) = (1_000 + self.rng.below(6), 80 + self.rng.below(2));
        match from.contains(':') {
            true => Flow::new(G1, &format!("[{from}]:{sport} > [{to}]:{dport}")),
            false => Flow::new(G1, &format!("{from}:{sport} > {to}:{dport}")),
        }
    }

    fn frame(&mut self, flow: &Flow) -> Vec<u8> {
        match self.rng.below(7) {
            0 | 1 => flow.udp(b"data"),
            2 => flow.ping(),
            3 => flow.tcp("S", 1, 0, b""),
            4 => flow.tcp("SA", 1, 2, b""),
            5 => flow.tcp("FA", 2, 2, b""),
            _ => flow.tcp("A", 2, 2, b"x"),
        }
    }

    /// The guest sends.
    fn tx(&mut self, step: usize) {
        let tos = [
            "10.0.0.2",
            "10.0.0.3",
            "198.51.100.1",
            "198.51.100.200",
            // Next door.
            "203.0.113.200",
        ];
        let flow = match self.rng.below(6) {
            0 => self.flow(&["fd00:7::1"], &["2001:db8:1::1", "fd00:7::2"]),
            1 => self.flow(&["192.0.2.1"], &tos),
            _ => self.flow(&["10.0.0.1"], &tos),
        };
        // Answers to what came to port 80, too.
        let flow = match self.rng.below(2) {
            0 => flow,
            _ => Flow {
                sport: flow.dport,
                dport: flow.sport,
                ..flow
            },
        };
        let frame = self.frame(&flow);
        let (verdict, sent) = self.sled.tx("g1", &frame);
        if !matches!(verdict, Verdict::Link(_)) {
            return;
        }
        let outer = &sent.links.last().unwrap().1;
        let inner = &outer[70..];
        assert_checksums(inner);
        let to = Ipv6Addr::from(<[u8; 16]>::try_from(&outer[38..54]).unwrap());
        if outer[66..69] == [0, 0, 7] {
            assert_eq!(Some(to), self.now.sled, "step {step}: g3 isn't there");
            return;
        }
        assert!(
            self.now.has_boundary || flow.src.is_ipv6(),
            "step {step}: no boundary"
        );
        self.passed.0 += 1;
        let (addr, l4): (IpAddr, _) = match flow.src {
            IpAddr::V4(_) => (<[u8; 4]>::try_from(&inner[26..30]).unwrap().into(), 34),
            IpAddr::V6(_) => (<[u8; 16]>::try_from(&inner[22..38]).unwrap().into(), 54),
        };
        let echo = matches!(inner[if l4 == 34 { 23 } else { 20 }], 1 | 58);
        let at = if echo { l4 + 4 } else { l4 };
        let port = u16::from_be_bytes([inner[at], inner[at + 1]]);
        let seen = Flow {
            src: addr,
            sport: port,
            ..flow
        };
        self.sent
            .push((seen, inner[if l4 == 34 { 23 } else { 20 }]));
        assert!(
            self.now.is_external(addr, port),
            "step {step}: left as {addr} {port}"
        );
    }

    /// Somebody outside calls or answers.
    fn rx(&mut self, step: usize) {
        let own = [
            "203.0.113.5",
            "203.0.113.6",
            "203.0.113.7",
            "203.0.113.9",
            "203.0.113.10",
            "192.0.2.1",
            "10.0.0.1",
        ];
        let mut flow = self.flow(&["198.51.100.1", "198.51.100.200", "10.0.0.3"], &own);
        (flow.src_mac, flow.dst_mac) = (BOUNDARY, G1);
        match self.rng.below(3) {
            0 => {}
            1 => (flow.sport, flow.dport) = (flow.dport, flow.sport),
            _ => (flow.sport, flow.dport) = (flow.dport, 4_096 + self.rng.below(48) as u16),
        }
        let mut frame = self.frame(&flow);
        if self.rng.below(2) == 0 && !self.sent.is_empty() {
            let back = 1 + self.rng.below(self.sent.len().min(30));
            let (seen, proto) = self.sent[self.sent.len() - back];
            flow = Flow {
                dst_mac: G1,
                ..seen.back(BOUNDARY)
            };
            frame = match proto {
                6 => flow.tcp("A", 2, 2, b""),
                17 => flow.udp(b"reply"),
                _ => flow.pong(),
            };
        }
        let (verdict, sent) = self.sled.rx(&geneve(BOUNDARY, &frame));
        if !matches!(verdict, Verdict::Port(_)) {
            return;
        }
        self.passed.1 += 1;
        assert_checksums(&sent.ports.last().unwrap().1);
        let port = match (frame[12], frame[23], frame[20]) {
            (8, 1, _) => u16::from_be_bytes([frame[38], frame[39]]),
            (0x86, _, 58) => u16::from_be_bytes([frame[58], frame[59]]),
            _ => flow.dport,
        };
        assert!(
            self.now.is_external(flow.dst, port),
            "step {step}: came by {} {port}",
            flow.dst
        );
    }
}

#[test]
fn nothing_is_stale_and_nothing_is_lost() {
    for seed in 0..8 {
        let mut world = World {
            sled: world(""),
            rng: Rng(seed),
            now: Model {
                external: ExternalIps::default(),
                attached: None,
                has_boundary: true,
                sled: Some("fd00:2::1".parse().unwrap()),
                serves: false,
            },
            sent: Vec::new(),
            passed: (0, 0),
        };
        for step in 0..2_500 {
            match world.rng.below(12) {
                0 => world.change(),
                n if n < 7 => world.tx(step),
                _ => world.rx(step),
            }
            super::answer_solicitations(&world.sled);
            if step.is_multiple_of(100) {
                world.sled.events("");
            }
        }
        let (left, came) = world.passed;
        assert!(left > 100 && came > 20, "seed {seed}: {left} {came}");
        let clear = Command::ClearLft(name("g1"), LayerId::Firewall);
        world.sled.command(clear).unwrap();
        assert_eq!(external_ports_used(&world.sled), 0, "seed {seed}");
        world.command(Command::DeletePort(name("g1")));
        world.command(Command::DeletePort(name("g2")));
        assert_eq!(stats(&world.sled, None).flows, 0, "seed {seed}");
    }
}
