//! Random traffic and configuration against a slow and obvious translation.

use super::*;
use std::vec::Vec;

type Port = (Family, u8, u16);

/// What ought to be: who has which port, how often, and who had it last.
#[derive(Default)]
struct Model {
    ips: ExternalIps,
    mapped: BTreeMap<(u8, [u8; 16], u16), (Port, usize)>,
    freed: BTreeMap<Port, Instant>,
}

impl Model {
    fn range(&self, family: Family) -> Option<Snat> {
        let of_family = |s: &&Snat| Family::of(&s.address) == family;
        self.ips.snat.iter().find(of_family).copied()
    }

    fn taken(&self, port: &Port) -> bool {
        self.mapped.values().any(|(taken, _)| taken == port)
    }

    /// A new mapping got `port`, or none: was that right?
    fn judge(&self, inside: &Tuple, port: Option<u16>, now: Instant) {
        let range = self.range(inside.family).unwrap();
        let ports = range.first_port.max(1)..=range.last_port;
        let full = |p: u16| (inside.family, inside.proto.0, p);
        let may = |p: &u16| {
            let rested = |since: &Instant| now.millis_since(*since) >= SNAT_REST_MS_MIN;
            !self.taken(&full(*p)) && self.freed.get(&full(*p)).is_none_or(rested)
        };
        let Some(port) = port else {
            assert_eq!(ports.clone().find(may), None);
            return;
        };
        assert!(ports.contains(&port) && may(&port));
        let unused = |p: &u16| may(p) && !self.freed.contains_key(&full(*p));
        let rests = |since: &Instant| now.millis_since(*since) < SNAT_REST_MS;
        if self.freed.get(&full(port)).is_some_and(rests) {
            assert_eq!(ports.clone().find(unused), None, "rests, but others don't");
        }
        let same = |p: &u16| p % 2 == inside.local_port % 2;
        assert!(same(&port) || !ports.clone().any(|p| unused(&p) && same(&p)));
    }

    fn take(&mut self, inside: &Tuple, port: u16) {
        let full = (inside.family, inside.proto.0, port);
        self.freed.remove(&full);
        let key = (inside.proto.0, inside.local, inside.local_port);
        self.mapped.entry(key).or_insert((full, 0)).1 += 1;
    }

    fn release(&mut self, inside: &Tuple, now: Instant) {
        let key = (inside.proto.0, inside.local, inside.local_port);
        let (port, flows) = self.mapped.get_mut(&key).unwrap();
        *flows -= 1;
        if *flows == 0 {
            self.freed.insert(*port, now);
            self.mapped.remove(&key);
        }
    }

    fn configure(&mut self, ips: ExternalIps) {
        let old = [self.range(Family::V4), self.range(Family::V6)];
        self.ips = ips;
        let new = [self.range(Family::V4), self.range(Family::V6)];
        let keeps = |(family, _, port): &Port| {
            let at = usize::from(*family == Family::V6);
            new[at].is_some_and(|s| {
                old[at].unwrap().address == s.address && (s.first_port..=s.last_port).contains(port)
            })
        };
        self.mapped.retain(|_, (port, _)| keeps(port));
        self.freed.retain(|port, _| keeps(port));
    }
}

fn random_ips(rng: &mut Rng) -> ExternalIps {
    let mut ips = ExternalIps::default();
    for addresses in [["203.0.113.1", "203.0.113.2"], [SNAT6, "2001:db8:1::2"]] {
        if rng.below(6) > 0 {
            let first = rng.pick(&[0, 1_020, 1_024, 1_030]);
            let address = addresses[usize::from(rng.below(5) == 0)];
            let len = rng.pick(&[1, 4, 12]);
            ips.snat.push(snat(address, first, first + len));
        }
    }
    if rng.below(3) == 0 {
        ips.ephemeral.push(ip("203.0.113.9"));
    }
    if rng.below(3) == 0 {
        ips.floating.push(floating("2001:db8:2::9", Some(G1)));
    }
    ips
}

fn random_flow(rng: &mut Rng) -> Tuple {
    let family = rng.pick(&[Family::V4, Family::V6]);
    let (echo, request) = match family {
        Family::V4 => (Proto::ICMP, 0x800),
        Family::V6 => (Proto::ICMPV6, 0x8000),
    };
    let proto = rng.pick(&[Proto::TCP, Proto::UDP, echo]);
    let local = rng.pick(&[5, 6, 5_000, 5_001, 5_002, 5_003]);
    // What isn't the key of an echo exchange is none that SNAT could map.
    let remote = if proto == echo { request } else { rng.below(3) };
    flow(proto, family, local, remote as u16)
}

struct Run {
    nat: Sut,
    model: Model,
    held: Vec<(Tuple, Outside)>,
    rng: Rng,
    now: Instant,
}

impl Run {
    fn outbound(&mut self) {
        let inside = random_flow(&mut self.rng);
        let gateway = self.rng.pick(&[None, Some(G1), Some(G2)]);
        let got = self.nat.outbound(&inside, gateway, self.now);
        let ips = &self.model.ips;
        let of_family = |a: &IpAddr| Family::of(a) == inside.family;
        let floating = ips.floating.iter().map(|f| f.address);
        let whole = floating.filter(|_| gateway == Some(G1));
        let whole = whole.chain(ips.ephemeral.iter().copied()).find(of_family);
        let key = (inside.proto.0, inside.local, inside.local_port);
        if let Some(addr) = whole {
            let got = got.unwrap();
            assert_eq!((got.addr, got.port), (addr, inside.local_port));
        } else if let Some(range) = self.model.range(inside.family) {
            match self.model.mapped.get(&key) {
                Some(((_, _, port), _)) => assert_eq!(got.unwrap().port, *port),
                None => self
                    .model
                    .judge(&inside, got.ok().map(|o| o.port), self.now),
            }
            match got {
                Ok(got) => {
                    assert_eq!((got.addr, got.kind), (range.address, Kind::Snat));
                    self.model.take(&inside, got.port);
                }
                Err(reason) => assert_eq!(reason, DropReason::SnatExhausted),
            }
        } else {
            assert_eq!(got, Err(DropReason::NoExternalAddress));
        }
        self.held.extend(got.ok().map(|outside| (inside, outside)));
    }

    fn inbound(&mut self) {
        let template = random_flow(&mut self.rng);
        let Some(range) = self.model.range(template.family) else {
            return;
        };
        let port = range.first_port + self.rng.below(6) as u16;
        let got = self.nat.inbound(&template.with_local(range.address, port));
        let full = (template.family, template.proto.0, port);
        let want = self.model.mapped.iter().find(|(_, (p, _))| *p == full);
        let want = want.map(|((_, local, local_port), _)| (*local, *local_port));
        assert_eq!(got.map(|i| (i.inside.local, i.inside.local_port)), want);
        if let Some(Inbound {
            inside,
            by: outside,
            ..
        }) = got
        {
            assert_eq!((outside.addr, outside.port), (range.address, port));
            self.model.take(&inside, port);
            self.held.push((inside, outside));
        }
    }

    fn release(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let (inside, outside) = self.held.swap_remove(self.rng.below(self.held.len()));
        if outside.kind == Kind::Snat && valid(&self.nat, &inside, &outside) {
            self.model.release(&inside, self.now);
        }
        self.nat.release(&inside, &outside, self.now);
    }

    fn configure(&mut self) {
        let ips = random_ips(&mut self.rng);
        set(&self.nat, &ips);
        // What survives is what has its port and range still.
        self.model.configure(ips);
        let mut left = BTreeMap::new();
        for (inside, outside) in self.held.iter().filter(|(_, o)| o.kind == Kind::Snat) {
            if valid(&self.nat, inside, outside) {
                let key = (inside.proto.0, inside.local, inside.local_port);
                left.entry(key)
                    .or_insert(((inside.family, inside.proto.0, outside.port), 0))
                    .1 += 1;
            }
        }
        assert_eq!(left, self.model.mapped);
    }

    fn check(&self) {
        for usage in self.nat.usage() {
            let of_pool = |(family, proto, _): &&Port| {
                *family == usage.family
                    && match Proto(*proto) {
                        Proto::TCP => usage.transport == Transport::Tcp,
                        Proto::UDP => usage.transport == Transport::Udp,
                        _ => usage.transport == Transport::Echo,
                    }
            };
            let mapped = self.model.mapped.values().map(|(port, _)| port);
            assert_eq!(usage.used, mapped.filter(of_pool).count());
            let range = self.model.range(usage.family);
            let ports = range.map_or(0, |s| s.last_port + 1 - s.first_port.max(1));
            assert_eq!(usage.capacity, usize::from(ports));
        }
    }
}

#[test]
fn translation_agrees_with_the_model() {
    for seed in 0..if cfg!(miri) { 2 } else { 300 } {
        std::println!("seed {seed}");
        let mut run = Run {
            nat: nat(),
            model: Model::default(),
            held: Vec::new(),
            rng: Rng(seed),
            now: NOW,
        };
        for _ in 0..400 {
            match run.rng.below(16) {
                0..7 => run.outbound(),
                7..9 => run.inbound(),
                9..14 => run.release(),
                14 => {
                    let ms = run.rng.pick(&[1, 500, 1_500, 30_000]);
                    run.now = run.now.plus_millis(ms);
                }
                _ if run.rng.below(3) == 0 => run.configure(),
                _ => {}
            }
            run.check();
        }
    }
}
