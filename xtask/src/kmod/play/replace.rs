//! Ports that take the place of one of the same name.

use super::storm::packets;
use super::{Play, SETUP, attached, command, end, prepare};
use crate::script::{self, Scene};
use anyhow::{Context as _, Result, ensure};
use opte_core::api::{Command, Setup};
use xde_loader::{Context, Sled};

/// What this file plays.
pub(super) const PLAYS: &[Play] = &[
    ("a port in use is replaced", in_use),
    ("a failure at each step of a replacement", failing),
    ("a port is replaced while its guest waits", waiting),
];

/// The host of the golden case, with `g1` as `change` has it.
struct Version {
    text: String,
    setup: Setup,
}

impl Version {
    fn new(change: impl Fn(&str) -> String) -> Result<Self> {
        let text = change(SETUP);
        let setup = toml::from_str(&text)?;
        Ok(Self { text, setup })
    }

    /// What `g1` sends to `g2` and to another host.
    fn frames(&self) -> Result<Vec<Vec<u8>>> {
        let script = "0.0 tx g1 udp 10.0.0.1:1000 > 10.0.0.2:53 len 32";
        let frames = script::compile(script, &Scene::parse(&self.text)?)?;
        Ok(frames.into_iter().map(|frame| frame.bytes).collect())
    }

    /// How many of these packets reach `g2`.
    fn pass(&self, sled: &Sled) -> Result<usize> {
        let frames = self.frames()?;
        sled.guest_sends("g1", &packets(&frames), Context::Packet)?;
        let sent = sled.take_sent();
        Ok(sent.iter().filter(|(to, _)| to == "g2").count())
    }
}

const OLD: [u8; 6] = [0xa8, 0x40, 0x25, 0xf0, 0, 1];
const NEW: [u8; 6] = [0xa8, 0x40, 0x25, 0xf0, 0, 0x77];

/// `g1` as it is in the golden case.
fn old() -> Result<Version> {
    Version::new(str::to_owned)
}

/// `g1` with another MAC address and MTU.
fn new() -> Result<Version> {
    Version::new(|text| {
        text.replace("F0:00:01", "F0:00:77").replacen(
            "vni = 7\nipv4",
            "vni = 7\nmtu = 1400\nipv4",
            1,
        )
    })
}

fn in_use(module: &[u8]) -> Result<()> {
    let (old, new) = (old()?, new()?);
    // Another network, so that its packets don't reach `g2`.
    let elsewhere = Version::new(|text| text.replacen("vni = 7\nipv4", "vni = 8\nipv4", 1))?;
    let sled = attached(module)?;
    prepare(&sled, &old.setup);
    command(&sled, Command::Apply(old.setup.clone()))?;
    sled.use_port("g1", true)?;
    let (address, handle) = sled.port_address("g1").context("no g1")?;
    ensure!(address == OLD && old.pass(&sled)? == 1, "g1 doesn't work");
    let [_, before @ ..] = sled.holdings();
    for _ in 0..3 {
        for (version, address, mtu, passes) in [
            (&new, NEW, 1_400, 1),
            (&elsewhere, OLD, 1_500, 0),
            (&old, OLD, 1_500, 1),
        ] {
            command(&sled, Command::Apply(version.setup.clone()))?;
            // It is the same datalink, which whoever uses it keeps.
            let now = sled.port_address("g1");
            ensure!(now == Some((address, handle)), "{now:?}");
            let state = sled.port_state("g1");
            ensure!(state == Some((true, mtu)), "{state:?}");
            let passed = version.pass(&sled)?;
            ensure!(passed == passes, "{passed} packets of {address:x?}");
            let [_, after @ ..] = sled.holdings();
            ensure!(before == after, "something is left: {after:?}");
        }
    }
    command(&sled, Command::Apply(new.setup.clone()))?;
    ensure!(old.pass(&sled)? == 0, "packets of the old address pass");
    let stats = sled.kstat("xde:0:g1")?;
    ensure!(stats.get("out_packets") == Some(&1), "{stats:?}");
    sled.use_port("g1", false)?;
    end(sled)
}

/// `g1` is replaced and `g3` is new, so that the command can fail behind the
/// replacement. Until it succeeds the old port is whole.
fn failing(module: &[u8]) -> Result<()> {
    let old = old()?;
    let new = Version::new(|text| {
        let more = "\n[[port]]\nname = \"g3\"\nmac = \"A8:40:25:F0:00:03\"\nvni = 7\n\
                    ipv4 = { address = \"10.0.0.3\", gateway = \"10.0.0.254\" }\n";
        text.replace("F0:00:01", "F0:00:77") + more
    })?;
    let sled = attached(module)?;
    prepare(&sled, &new.setup);
    command(&sled, Command::Apply(old.setup.clone()))?;
    sled.use_port("g1", true)?;
    let before = sled.port_address("g1");
    let [_, holdings @ ..] = sled.holdings();
    for count in 0..100 {
        sled.fail_step_after(Some(count));
        let done = command(&sled, Command::Apply(new.setup.clone()));
        sled.fail_step_after(None);
        if sled.port_state("g3").is_some() {
            ensure!(count > 4, "only {count} steps can fail");
            ensure!(new.pass(&sled)? == 1, "the new port doesn't work");
            sled.use_port("g1", false)?;
            return end(sled);
        }
        ensure!(done.is_err(), "it succeeds without g3");
        ensure!(sled.port_address("g1") == before, "failing after {count}");
        ensure!(old.pass(&sled)? == 1, "failing after {count}: no packets");
        ensure!(new.pass(&sled)? == 0, "failing after {count}: both pass");
        command(&sled, Command::ListPorts(0))?;
        let [_, after @ ..] = sled.holdings();
        ensure!(holdings == after, "failing after {count} leaves {after:?}");
    }
    anyhow::bail!("it never succeeds")
}

/// What MAC keeps for the datalink goes through the port that has it then.
fn waiting(module: &[u8]) -> Result<()> {
    let [a, b] = super::storm::wired(module)?;
    let frames = super::frames(super::storm::PASSING)?;
    a.guest_sends("g1", &packets(&frames), Context::Packet)?;
    super::storm::settle([&a, &b])?;
    let chain: Vec<_> = std::iter::repeat_n(frames, 100).flatten().collect();
    a.set_link_room("u0", Some(0))?;
    a.guest_sends("g1", &packets(&chain), Context::Packet)?;
    let (link, port) = a.kept("u0", "g1");
    ensure!(link > 0 && port > 0, "nothing waits");
    // Another host's side of the same network has the address from now on.
    let mut setup = super::storm::sled_a()?;
    for port in &mut setup.ports {
        port.mac = "A8:40:25:F0:00:77".parse().map_err(anyhow::Error::msg)?;
    }
    command(&a, Command::Apply(setup))?;
    ensure!(a.kept("u0", "g1") == (link, port), "what waits is lost");
    a.set_link_room("u0", None)?;
    ensure!(a.kept("u0", "g1") == (0, 0), "something waits");
    ensure!(a.take_sent().len() == link, "of an address that is gone");
    end(a)?;
    end(b)
}
