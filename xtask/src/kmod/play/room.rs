//! Full NICs: guests wait, nothing is lost, and nothing is counted twice.

use super::storm::{packets, settle, wired};
use super::{Play, command, end, frames, gone};
use anyhow::{Context as _, Result, ensure};
use opte_core::api::{Command, Setup};
use xde_loader::{Context, Sled};

/// What this file plays.
pub(super) const PLAYS: &[Play] = &[
    ("a full link slows its guest down", full_link),
    ("room that comes back at once", blink),
    ("room that nobody tells of", silence),
    ("nobody waits for whom nobody can slow down", no_guest),
    ("a port goes while its link is full", port_goes),
    ("a link goes while it is full", link_goes),
];

/// Packets of the chains here.
const CHAIN: u16 = 200;
/// Where an outer IPv6 header says what is in it, and UDP there.
const NEXT_HEADER: usize = 14 + 6;
const UDP: u8 = 17;
/// How many of them the module takes at once.
const GROUP: usize = 12;

/// A sled with `g1`, whose packets to `g2` go to the link `u0`, and one such
/// packet after another, each another one. They are counted in the kstat.
struct Scene {
    sled: Sled,
    other: Sled,
    chain: Vec<Vec<u8>>,
    counted: u64,
}

impl Scene {
    fn new(module: &[u8]) -> Result<Self> {
        let [sled, other] = wired(module)?;
        let lines = (0..CHAIN).map(|len| {
            let len = len + 10;
            format!("0.0 tx g1 udp 10.0.0.1:1000 > 10.0.0.2:53 len {len}\n")
        });
        let chain = frames(&lines.collect::<String>())?;
        let first = chain.get(..1).context("no frames")?;
        sled.guest_sends("g1", &packets(first), Context::Packet)?;
        settle([&sled, &other])?;
        let counted = taken(&sled)?;
        Ok(Self {
            sled,
            other,
            chain,
            counted,
        })
    }

    /// Sends the chain with room for `room` packets on the link.
    fn send(&self, room: usize) -> Result<()> {
        self.sled.set_link_room("u0", Some(room))?;
        let chain = packets(&self.chain);
        self.sled.guest_sends("g1", &chain, Context::Packet)
    }

    /// Packets of `g1` that the engine counted since the beginning.
    fn counted(&self) -> Result<u64> {
        Ok(taken(&self.sled)? - self.counted)
    }

    /// Everything came out, once and in order.
    fn all_came(&self, chains: usize) -> Result<()> {
        let mut sent = self.sled.take_sent();
        // Not what a tick says of the underlay.
        sent.retain(|(_, bytes)| bytes.get(NEXT_HEADER) == Some(&UDP));
        let each = self.chain.iter().map(Vec::len);
        let want = std::iter::repeat_n(each, chains).flatten();
        let encap = sent.first().context("nothing was sent")?.1.len();
        let encap = encap - self.chain.first().map_or(0, Vec::len);
        let came: Vec<usize> = sent.iter().map(|(_, bytes)| bytes.len() - encap).collect();
        ensure!(
            came.iter().copied().eq(want),
            "{} packets of {} chains, or in another order",
            came.len(),
            chains
        );
        let want = u64::from(CHAIN) * u64::try_from(chains)?;
        let counted = self.counted()?;
        ensure!(counted == want, "{counted} packets are counted, not {want}");
        Ok(())
    }

    fn end(self) -> Result<()> {
        ensure!(
            self.sled.violations().is_empty(),
            "{:?}",
            self.sled.violations()
        );
        end(self.sled)?;
        end(self.other)
    }
}

/// Packets that a sled's engine had of guests.
fn taken(sled: &Sled) -> Result<u64> {
    let stats = sled.kstat("xde:0:g1")?;
    stats.get("out_packets").copied().context("no out_packets")
}

fn full_link(module: &[u8]) -> Result<()> {
    let scene = Scene::new(module)?;
    scene.send(6)?;
    let kept = scene.sled.kept("u0", "g1");
    let rest = usize::from(CHAIN) - GROUP;
    ensure!(kept == (GROUP - 6, rest), "MAC keeps {kept:?}");
    ensure!(scene.counted()? == GROUP as u64, "packets that wait count");
    // While the guest waits, the module takes nothing.
    let chain = packets(&scene.chain);
    scene.sled.guest_sends("g1", &chain, Context::Interrupt)?;
    let kept = scene.sled.kept("u0", "g1");
    ensure!(kept.1 == rest + usize::from(CHAIN), "MAC keeps {kept:?}");
    // Some room isn't enough while packets wait for it.
    scene.sled.set_link_room("u0", Some(1))?;
    let kept = scene.sled.kept("u0", "g1");
    ensure!(kept.0 == GROUP - 7, "MAC keeps {kept:?}");
    scene.sled.tick()?;
    scene.sled.resume()?;
    ensure!(scene.sled.kept("u0", "g1") == kept, "a tick gave it room");
    // Room for some of what waits: the guest goes on, and waits again.
    scene.sled.set_link_room("u0", Some(100))?;
    let again = scene.sled.kept("u0", "g1");
    ensure!(again.0 > 0 && again.1 < kept.1, "MAC keeps {again:?}");
    scene.sled.set_link_room("u0", None)?;
    ensure!(scene.sled.kept("u0", "g1") == (0, 0), "something waits");
    ensure!(scene.sled.dropped() == 0, "packets were dropped");
    scene.all_came(2)?;
    scene.end()
}

/// The room is there before the module can wait for it.
fn blink(module: &[u8]) -> Result<()> {
    let scene = Scene::new(module)?;
    scene.sled.have_link_blink("u0");
    scene.send(6)?;
    ensure!(scene.sled.kept("u0", "g1") == (0, 0), "something waits");
    scene.all_came(1)?;
    scene.end()
}

fn silence(module: &[u8]) -> Result<()> {
    let scene = Scene::new(module)?;
    scene.send(0)?;
    scene.sled.set_link_room_silently("u0", None);
    scene.sled.resume()?;
    ensure!(scene.sled.kept("u0", "g1").1 > 0, "the guest knew");
    scene.sled.tick()?;
    scene.sled.resume()?;
    ensure!(scene.sled.kept("u0", "g1") == (0, 0), "something waits");
    scene.all_came(1)?;
    scene.end()
}

/// What ticks and commands send is dropped, and stops nobody.
fn no_guest(module: &[u8]) -> Result<()> {
    let scene = Scene::new(module)?;
    scene.sled.set_link_room("u0", Some(0))?;
    // The address is announced again.
    for seconds in 0..120 {
        scene.sled.set_time(1_000_000_000 * (10 + seconds));
        scene.sled.tick()?;
    }
    ensure!(scene.sled.dropped() > 0, "nothing was sent in two minutes");
    ensure!(scene.sled.kept("u0", "g1") == (0, 0), "something waits");
    scene.sled.set_link_room("u0", None)?;
    scene.end()
}

fn port_goes(module: &[u8]) -> Result<()> {
    let scene = Scene::new(module)?;
    scene.send(6)?;
    let name = "g1".parse().map_err(anyhow::Error::msg)?;
    command(&scene.sled, Command::DeletePort(name))?;
    ensure!(scene.sled.port_state("g1").is_none(), "the port is there");
    scene.sled.set_link_room("u0", None)?;
    scene.sled.tick()?;
    ensure!(
        scene.sled.take_sent().len() == GROUP,
        "what MAC had for the link is lost"
    );
    scene.end()
}

/// The guest doesn't wait for what is gone; its packets have nowhere to go.
fn link_goes(module: &[u8]) -> Result<()> {
    let Scene {
        sled, other, chain, ..
    } = Scene::new(module)?;
    sled.set_link_room("u0", Some(10))?;
    sled.guest_sends("g1", &packets(&chain), Context::Packet)?;
    command(&sled, Command::ClearUnderlay)?;
    sled.tick()?;
    sled.resume()?;
    ensure!(sled.kept("u0", "g1") == (0, 0), "the guest waits for ever");
    let dropped = taken(&sled)?;
    ensure!(dropped > u64::from(CHAIN), "{dropped} packets were taken");
    command(&sled, Command::Apply(Setup::default()))?;
    gone(sled)?;
    end(other)
}
