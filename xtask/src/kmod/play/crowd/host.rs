//! The host that is crowded: its guests, links, commands and time, each in a
//! thread of its own.

use super::{datagram, is_udp, setup};
use crate::kmod::play::golden::neighbour;
use crate::kmod::play::storm::packets;
use crate::kmod::play::{LINK, attached, command, prepare};
use anyhow::{Context as _, Result, bail, ensure};
use opte_core::LayerId;
use opte_core::api::{Command, Name, Response, RouteSpec, Setting, Setup};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use xde_loader::{Context, Sled};

/// Chains that each guest sends at least, and frames that come in by each link.
const CHAINS: usize = 250;
/// Datagrams of a chain.
const CHAIN: u16 = 4;
/// Times that everything else is done.
const TURNS: u64 = 10;
/// MAC's number of it.
const MAC_STAT_OPACKETS: u32 = 1_014;
/// Why packets of neighbour discovery are dropped, too: an answer came when its
/// link had been opened anew or was about to be closed, or the link of a question
/// was gone.
const OF_OTHERS: [&str; 3] = ["ndp_not_answered", "no_link", "link_full"];

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
pub(super) struct Host {
    pub(super) sled: Sled,
    setup: Setup,
    counts: Arc<Counts>,
    /// In ticks.
    time: AtomicU64,
    done: AtomicBool,
}

impl Host {
    pub(super) fn new(module: &[u8]) -> Result<Self> {
        let setup: Setup = toml::from_str(&setup::here())?;
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
    pub(super) fn guest(&self, from: u8, to: u8, context: Context) -> Result<()> {
        let (name, text) = (setup::name(from), setup::here());
        let ports = 1_000..1_000 + 10 * CHAIN;
        let frames = ports.map(|port| datagram(&text, from, to, port));
        let frames = frames.collect::<Result<Vec<_>>>()?;
        let chains: Vec<_> = frames.chunks(CHAIN.into()).map(packets).collect();
        for (count, chain) in chains.iter().cycle().enumerate() {
            if !self.goes_on(count) {
                break;
            }
            let sent = self.sled.guest_sends(&name, chain, context);
            self.given(sent, chain.len(), "no port g3")?;
        }
        Ok(())
    }

    /// Frames that come in by a link, as long as it is open.
    pub(super) fn link(&self, name: &str, frames: &[Vec<u8>]) -> Result<()> {
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
    pub(super) fn often(&self, work: fn(&Self, u64) -> Result<()>) -> Result<()> {
        (0..TURNS).try_for_each(|turn| work(self, turn))
    }

    /// Packets need be given no longer.
    pub(super) fn finish(&self) {
        self.done.store(true, Ordering::Relaxed);
    }

    /// Whether one more of those is to be given that were given so often.
    fn goes_on(&self, count: usize) -> bool {
        count < CHAINS || !self.done.load(Ordering::Relaxed)
    }

    fn command(&self, it: Command) -> Result<Response> {
        let shown = format!("{it:?}");
        command(&self.sled, it).with_context(|| shown)
    }

    pub(super) fn port_goes_and_comes(&self, _: u64) -> Result<()> {
        let spec = self.setup.ports.last().context("no port")?;
        self.command(Command::DeletePort(spec.name))?;
        self.command(Command::CreatePort(spec.clone()))?;
        Ok(())
    }

    /// One of two links, and now and then the whole underlay.
    pub(super) fn link_goes_and_comes(&self, turn: u64) -> Result<()> {
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
    pub(super) fn change(&self, turn: u64) -> Result<()> {
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
    pub(super) fn look(&self, turn: u64) -> Result<()> {
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
    pub(super) fn ticks(&self) -> Result<()> {
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
    pub(super) fn settle(&self) -> Result<()> {
        for _ in 0..100 {
            self.answer("u0")?;
            self.answer("u1")?;
            self.tick()?;
        }
        Ok(())
    }

    /// Rule P1.
    pub(super) fn adds_up(&self) -> Result<()> {
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
