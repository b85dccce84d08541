//! Everything at the same time: guests, links, commands, ticks, statistics.
//!
//! Terms     given     a UDP packet that MAC hands to the module: of a guest, or
//!                     in a tunnel from a link
//!           taken     one that the module hands to MAC
//!
//! Rules     P1  packets are conserved: what was given was taken or dropped, and
//!               each drop is counted once, whatever came or went meanwhile.
//!           P2  nothing else is asserted of the order in which things happen.

use super::golden::neighbour;
use super::storm::packets;
use super::{LINK, Play, attached, command, end, prepare};
use crate::script::{self, Scene};
use anyhow::{Context as _, Result, bail, ensure};
use opte_core::LayerId;
use opte_core::api::{Command, Name, Response, RouteSpec, Setting, Setup};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use xde_loader::{Context, Sled};

/// What this file plays.
pub(super) const PLAYS: &[Play] = &[("a crowd of threads", crowd)];

/// Chains that each guest sends at least, and frames that come in by each link.
const CHAINS: usize = 250;

/// Two guests that stay, `g1` and `g2`, one that comes and goes, a link that
/// stays and one that comes and goes, and a guest `g9` on another host.
const HERE: &str = r#"
[underlay]
address = "fd00:1::1"
link = [{ name = "u0" }, { name = "u1" }]
route = [{ dest = "fd00::/16", via = "fe80::1", link = "u0" }]

[[v2p]]
vni = 7
address = "10.0.0.9"
mac = "A8:40:25:F0:00:09"
sled = "fd00:2::1"

[[v2p]]
vni = 7
address = "10.0.0.1"
mac = "A8:40:25:F0:00:01"
sled = "fd00:1::1"

[[v2p]]
vni = 7
address = "10.0.0.2"
mac = "A8:40:25:F0:00:02"
sled = "fd00:1::1"

[[v2p]]
vni = 7
address = "10.0.0.3"
mac = "A8:40:25:F0:00:03"
sled = "fd00:1::1"

[[port]]
name = "g1"
mac = "A8:40:25:F0:00:01"
vni = 7
ipv4 = { address = "10.0.0.1", gateway = "10.0.0.254" }
rules = ["dir=in priority=1 action=allow protocols=udp"]
routes = ["10.0.0.0/24 sub4=10.0.0.0/24 system"]

[[port]]
name = "g2"
mac = "A8:40:25:F0:00:02"
vni = 7
ipv4 = { address = "10.0.0.2", gateway = "10.0.0.254" }
rules = ["dir=in priority=1 action=allow protocols=udp"]
routes = ["10.0.0.0/24 sub4=10.0.0.0/24 system"]

[[port]]
name = "g3"
mac = "A8:40:25:F0:00:03"
vni = 7
ipv4 = { address = "10.0.0.3", gateway = "10.0.0.254" }
rules = ["dir=in priority=1 action=allow protocols=udp"]
routes = ["10.0.0.0/24 sub4=10.0.0.0/24 system"]
"#;

/// The other host.
const THERE: &str = r#"
[underlay]
address = "fd00:2::1"
link = [{ name = "u0" }]
route = [{ dest = "fd00::/16", via = "fe80::1", link = "u0" }]

[[v2p]]
vni = 7
address = "10.0.0.1"
mac = "A8:40:25:F0:00:01"
sled = "fd00:1::1"

[[v2p]]
vni = 7
address = "10.0.0.3"
mac = "A8:40:25:F0:00:03"
sled = "fd00:1::1"

[[port]]
name = "g9"
mac = "A8:40:25:F0:00:09"
vni = 7
ipv4 = { address = "10.0.0.9", gateway = "10.0.0.254" }
routes = ["10.0.0.0/24 sub4=10.0.0.0/24 system"]
"#;

fn crowd(module: &[u8]) -> Result<()> {
    let tunnel = tunnelled(module)?;
    let whole = Host::new(module)?;
    let (host, tunnel) = (&whole, &tunnel[..]);
    thread::scope(|scope| {
        let packets = [
            scope.spawn(|| host.guest("g1", "10.0.0.1", "10.0.0.9", Context::Packet)),
            scope.spawn(|| host.guest("g1", "10.0.0.1", "10.0.0.3", Context::Interrupt)),
            scope.spawn(|| host.guest("g2", "10.0.0.2", "10.0.0.1", Context::Interrupt)),
            scope.spawn(|| host.guest("g3", "10.0.0.3", "10.0.0.2", Context::Packet)),
            scope.spawn(move || host.link("u0", tunnel)),
            scope.spawn(move || host.link("u1", tunnel)),
            scope.spawn(|| host.ticks()),
        ];
        let others = [
            scope.spawn(|| host.often(Host::port_goes_and_comes)),
            scope.spawn(|| host.often(Host::link_goes_and_comes)),
            scope.spawn(|| host.often(Host::change)),
            scope.spawn(|| host.often(Host::look)),
        ];
        let ended = |thread: thread::ScopedJoinHandle<'_, Result<()>>| {
            let ended = thread.join();
            ended.map_err(|_| anyhow::anyhow!("a thread panicked"))?
        };
        let others: Vec<_> = others.map(ended).into_iter().collect();
        host.done.store(true, Ordering::Relaxed);
        let packets = packets.map(ended);
        others
            .into_iter()
            .chain(packets)
            .collect::<Result<Vec<_>>>()
    })?;
    host.settle()?;
    host.adds_up()?;
    end(whole.sled)
}

/// What comes out of the other host of packets to `g1` and `g3`.
fn tunnelled(module: &[u8]) -> Result<Vec<Vec<u8>>> {
    let setup: Setup = toml::from_str(THERE)?;
    let sled = attached(module)?;
    prepare(&sled, &setup);
    command(&sled, Command::Apply(setup))?;
    let mut frames = Vec::new();
    for (to, first) in [("10.0.0.1", 100), ("10.0.0.3", 300)] {
        for port in first..first + 20 {
            let frame = datagram(THERE, "g9", "10.0.0.9", to, port)?;
            sled.guest_sends("g9", &packets(&[frame]), Context::Packet)?;
            for _ in 0..2 {
                for (_, bytes) in sled.take_sent() {
                    if let Some(answer) = neighbour::answer(&bytes) {
                        sled.link_receives("u0", &packets(&[answer]), Context::Interrupt)?;
                    } else if is_udp(&bytes) {
                        frames.push(bytes);
                    }
                }
            }
        }
    }
    ensure!(frames.len() == 40, "{} packets in tunnels", frames.len());
    end(sled)?;
    Ok(frames)
}

/// A datagram of a guest.
fn datagram(setup: &str, guest: &str, from: &str, to: &str, port: u16) -> Result<Vec<u8>> {
    let script = format!("0.0 tx {guest} udp {from}:{port} > {to}:53 len 64");
    let frames = script::compile(&script, &Scene::parse(setup)?)?;
    let frame = frames.into_iter().next().context("no frame")?;
    Ok(frame.bytes)
}

/// Whether it is a UDP packet: also one in a tunnel.
fn is_udp(frame: &[u8]) -> bool {
    match frame.get(12..14) {
        Some([0x08, 0x00]) => frame.get(23) == Some(&17),
        Some([0x86, 0xdd]) => frame.get(20) == Some(&17),
        _ => false,
    }
}

/// What is counted, and what neighbours were asked.
#[derive(Default)]
struct Counts {
    given: AtomicU64,
    taken: AtomicU64,
    asked: Mutex<Vec<(String, Vec<u8>)>>,
}

impl Counts {
    /// The module hands a frame to MAC.
    fn take(&self, to: &str, frame: &[u8]) {
        if is_udp(frame) {
            self.taken.fetch_add(1, Ordering::Relaxed);
        } else if let Some(answer) = neighbour::answer(frame) {
            self.asked().push((to.to_owned(), answer));
        }
    }

    fn asked(&self) -> MutexGuard<'_, Vec<(String, Vec<u8>)>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The host that is crowded.
struct Host {
    sled: Sled,
    setup: Setup,
    counts: Arc<Counts>,
    /// In ticks.
    time: AtomicU64,
    done: AtomicBool,
}

impl Host {
    fn new(module: &[u8]) -> Result<Self> {
        let setup: Setup = toml::from_str(HERE)?;
        let sled = attached(module)?;
        prepare(&sled, &setup);
        let counts = Arc::new(Counts::default());
        let told = Arc::clone(&counts);
        sled.set_outlet(move |to, frame| told.take(to, frame));
        command(&sled, Command::Apply(setup.clone()))?;
        Ok(Self {
            sled,
            setup,
            counts,
            time: AtomicU64::new(0),
            done: AtomicBool::new(false),
        })
    }

    /// A guest that sends chains, as long as its port is there.
    fn guest(&self, name: &str, from: &str, to: &str, context: Context) -> Result<()> {
        let ports = 1_000..1_000 + 10 * CHAIN;
        let frames = ports.map(|port| datagram(HERE, name, from, to, port));
        let frames = frames.collect::<Result<Vec<_>>>()?;
        let chains: Vec<_> = frames.chunks(CHAIN.into()).map(packets).collect();
        for (count, chain) in chains.iter().cycle().enumerate() {
            if !self.goes_on(count) {
                break;
            }
            let sent = self.sled.guest_sends(name, chain, context);
            self.given(sent, chain.len(), "no port g3")?;
        }
        Ok(())
    }

    /// Frames that come in by a link, as long as it is open.
    fn link(&self, name: &str, frames: &[Vec<u8>]) -> Result<()> {
        for (count, frame) in frames.iter().cycle().enumerate() {
            if !self.goes_on(count) {
                break;
            }
            self.answer(name)?;
            let mut frame = frame.clone();
            let [a, b, c, d, e, _] = LINK;
            frame.splice(..6, [a, b, c, d, e, u8::from(name == "u1")]);
            let came = self
                .sled
                .link_receives(name, &packets(&[frame]), Context::Interrupt);
            self.given(came, 1, "nobody listens on u")?;
        }
        Ok(())
    }

    /// Counts what was given, unless the datalink isn't there.
    fn given(&self, done: Result<()>, count: usize, gone: &str) -> Result<()> {
        match done {
            Err(error) if error.to_string().starts_with(gone) => return Ok(()),
            done => done?,
        }
        self.counts.given.fetch_add(count as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Neighbours on a link answer.
    fn answer(&self, link: &str) -> Result<()> {
        let asked = std::mem::take(&mut *self.counts.asked());
        let (here, others): (Vec<_>, Vec<_>) = asked.into_iter().partition(|(to, _)| to == link);
        self.counts.asked().extend(others);
        for (_, answer) in here {
            let came = self
                .sled
                .link_receives(link, &packets(&[answer]), Context::Interrupt);
            if let Err(error) = came {
                ensure!(error.to_string().starts_with("nobody listens"), "{error:#}");
            }
        }
        Ok(())
    }

    /// Does something often enough to matter, while packets are given.
    fn often(&self, work: fn(&Self, u64) -> Result<()>) -> Result<()> {
        (0..TURNS).try_for_each(|turn| work(self, turn))
    }

    /// Whether one more of those is to be given that were given so often.
    fn goes_on(&self, count: usize) -> bool {
        count < CHAINS || !self.done.load(Ordering::Relaxed)
    }

    fn command(&self, it: Command) -> Result<Response> {
        let shown = format!("{it:?}");
        command(&self.sled, it).with_context(|| shown)
    }

    fn port_goes_and_comes(&self, _: u64) -> Result<()> {
        let spec = self.setup.ports.last().context("no port")?;
        self.command(Command::DeletePort(spec.name))?;
        self.command(Command::CreatePort(spec.clone()))?;
        Ok(())
    }

    /// One of two links, and now and then the whole underlay.
    fn link_goes_and_comes(&self, turn: u64) -> Result<()> {
        let all = self.setup.underlay.clone().context("no underlay")?;
        if turn % 4 == 3 {
            self.command(Command::ClearUnderlay)?;
        } else {
            let mut less = all.clone();
            less.links.truncate(1);
            self.command(Command::SetUnderlay(less))?;
        }
        self.command(Command::SetUnderlay(all))?;
        Ok(())
    }

    /// Rules, routes, mappings, options and flows of those that stay.
    fn change(&self, turn: u64) -> Result<()> {
        let name = |text: &str| text.parse::<Name>().map_err(anyhow::Error::msg);
        let (g1, g2) = (name("g1")?, name("g2")?);
        let action = if turn.is_multiple_of(3) {
            "deny"
        } else {
            "allow"
        };
        let rule = format!("dir=in priority=1 action={action} protocols=udp hosts=set=some");
        let rule = rule.parse().map_err(anyhow::Error::msg)?;
        let prefix = |text: &str| text.parse().map_err(anyhow::Error::msg);
        let some = vec![prefix("10.0.0.0/24")?, prefix("192.0.2.0/24")?];
        let route: RouteSpec = "10.0.0.9/32 drop custom"
            .parse()
            .map_err(anyhow::Error::msg)?;
        let mapping = self.setup.v2p.first().context("no mapping")?;
        let short = Setting {
            number: 4,
            value: 60 + turn % 2,
        };
        for command in [
            Command::SetAddressSet(name("some")?, some),
            Command::SetFwRules(g2, vec![rule]),
            Command::AddRoute(g1, route),
            Command::ClearUft(g1),
            Command::DelRoute(g1, route),
            Command::ClearV2p(mapping.vni, mapping.address),
            Command::ClearLft(g2, LayerId::Firewall),
            Command::SetV2p(vec![*mapping]),
            Command::SetPortOptions(g1, vec![short]),
        ] {
            self.command(command)?;
        }
        Ok(())
    }

    /// Everything is read; what isn't there is said to be.
    fn look(&self, turn: u64) -> Result<()> {
        self.command(Command::ListPorts(0))?;
        self.command(Command::ShowUnderlay)?;
        self.look_at(["g3", "g1", "g2"][usize::try_from(turn % 3)?])?;
        self.sled.kstat("xde:0:host")?;
        self.sled.port_statistic("g1", MAC_STAT_OPACKETS)?;
        Ok(())
    }

    fn look_at(&self, name: &str) -> Result<()> {
        let port = name.parse().map_err(anyhow::Error::msg)?;
        for command in [
            Command::DumpUft(port, 0),
            Command::DumpLayer(port, LayerId::Firewall, 0),
            Command::ListLayers(port),
            Command::Stats(Some(port)),
            Command::DumpRoutes(port, 0),
        ] {
            let told = self.command(command);
            ensure!(told.is_ok() || name == "g3", "{told:?}");
        }
        for of in [format!("xde:0:{name}"), format!("xde_layer:0:{name}")] {
            let told = self.sled.kstat(&of);
            ensure!(told.is_ok() || name == "g3", "{told:?}");
        }
        Ok(())
    }

    /// The time goes by.
    fn ticks(&self) -> Result<()> {
        let mut count = 0;
        while self.goes_on(count) {
            self.tick()?;
            count += 1;
        }
        Ok(())
    }

    fn tick(&self) -> Result<()> {
        let ticks = self.time.fetch_add(1, Ordering::Relaxed);
        self.sled.set_time(1_000_000_000 + ticks * 100_000_000);
        self.sled.tick()
    }

    /// Gives what waits for neighbours the time that it needs.
    fn settle(&self) -> Result<()> {
        for _ in 0..100 {
            self.answer("u0")?;
            self.answer("u1")?;
            self.tick()?;
        }
        Ok(())
    }

    /// Rule P1.
    fn adds_up(&self) -> Result<()> {
        let Response::Stats(stats) = self.command(Command::Stats(None))? else {
            bail!("another answer");
        };
        let dropped: u64 = stats.drops.iter().map(|drop| drop.value).sum();
        let others = stats.drops.iter();
        let others = others.filter(|drop| OF_OTHERS.contains(&drop.name.as_str()));
        let others: u64 = others.map(|drop| drop.value).sum();
        let [given, taken] =
            [&self.counts.given, &self.counts.taken].map(|it| it.load(Ordering::Relaxed));
        ensure!(
            (taken + dropped - others..=taken + dropped).contains(&given),
            "{given} packets were given, {taken} were taken and {dropped} dropped: {stats:?}"
        );
        // Those of guests and links that stay.
        let least = (3 * usize::from(CHAIN) + 1) * CHAINS;
        ensure!(
            given >= least as u64 && taken > 0 && dropped > 0,
            "it was quiet: {given} {taken} {dropped}"
        );
        let host = self.sled.kstat("xde:0:host")?;
        ensure!(host.get("no_memory") == Some(&0), "{host:?}");
        Ok(())
    }
}

/// Datagrams of a chain.
const CHAIN: u16 = 4;
/// Times that everything else is done.
const TURNS: u64 = 10;
/// MAC's number of it.
const MAC_STAT_OPACKETS: u32 = 1_014;
/// Why packets of neighbour discovery are dropped, too: an answer came when its
/// link had been opened anew, or the link of a question was gone.
const OF_OTHERS: [&str; 2] = ["ndp_not_answered", "link_full"];
