//! Plays the module in the loader: life and death, commands, golden cases.
//!
//! Terms     play   one thing that is done to a sled and checked; each has a
//!                  sled of its own, and ends with it unloaded and nothing left
//!
//! The loader is `xde/loader`; what it stands for and what it can't is said
//! there and in `xde/README.md`.

mod bridge;
mod callbacks;
mod crowd;
mod drive;
mod engine;
mod golden;
mod input;
mod life;
mod offload;
mod opteadm;
mod probe;
mod replace;
mod retire;
mod room;
mod scarce;
mod statistics;
mod storm;
mod work;

pub(super) use bridge::serve;
pub(super) use drive::drive;
pub(super) use work::{CHAIN, CODE, WAYS, work};

use crate::script::{self, Scene};
use crate::step::Outcome;
use anyhow::{Result, bail, ensure};
use opte_core::api::{Command, Response, Setup};
use opte_ioctl::client::{Client, ClientError};
use std::path::Path;
use xde_loader::Sled;

/// The hardware address of the first link.
const LINK: [u8; 6] = [0x02, 0x58, 0x44, 0x45, 0, 0];

/// Plays everything.
pub(super) fn all(root: &Path, module: &Path) -> Result<Outcome> {
    let bytes = std::fs::read(module)?;
    let mut outcome = Outcome::default();
    let mut record = |name: &str, done: Result<()>| match done {
        Ok(()) => outcome.passed += 1,
        Err(error) => outcome.failures.push(format!("{name}: {error:#}")),
    };
    let plays = life::PLAYS.iter().chain(storm::PLAYS).chain(room::PLAYS);
    let plays = plays.chain(replace::PLAYS).chain(offload::PLAYS);
    let plays = plays.chain(retire::PLAYS).chain(statistics::PLAYS);
    let plays = plays
        .chain(probe::PLAYS)
        .chain(callbacks::PLAYS)
        .chain(crowd::PLAYS);
    let plays = plays.chain(scarce::PLAYS);
    for (name, play) in plays.chain(opteadm::PLAYS) {
        let before = Sled::loaded();
        let done = play(&bytes).and_then(|()| {
            // Only at the end is known what is left behind.
            ensure!(Sled::loaded() == before, "it doesn't end its sleds");
            Ok(())
        });
        record(name, done);
    }
    for (name, done) in golden::all(root, &bytes)? {
        record(&name, done);
    }
    outcome.note = format!("{} plays", outcome.passed + outcome.failures.len());
    Ok(outcome)
}

/// A play: what it is called, and what it does with the module.
type Play = (&'static str, fn(&[u8]) -> Result<()>);

/// `opteadm`'s way to a sled.
struct Tool<'s>(&'s Sled);

impl Client for Tool<'_> {
    fn exchange(&mut self, request: &[u8]) -> Result<Vec<u8>, ClientError> {
        self.0.ioctl(request).map_err(|error| ClientError::Io {
            path: "/dev/xde".to_owned(),
            source: std::io::Error::other(format!("{error:#}")),
        })
    }
}

/// Has a command carried out.
fn command(sled: &Sled, command: Command) -> Result<Response> {
    Ok(Tool(sled).call(command)?)
}

/// A sled with the module attached.
fn attached(module: &[u8]) -> Result<Sled> {
    let sled = Sled::load(module)?;
    attach(&sled)?;
    Ok(sled)
}

/// As [`attached`], with somebody who watches all probes from the start.
fn watched(module: &[u8]) -> Result<Sled> {
    let sled = Sled::load(module)?;
    sled.watch(true)?;
    attach(&sled)?;
    Ok(sled)
}

/// Attaches the module, and opens its node.
fn attach(sled: &Sled) -> Result<()> {
    sled.attach()?;
    ensure!(sled.open()? == 0, "the node can't be opened");
    Ok(())
}

/// A sled with two guests and an underlay that they reach.
fn two_guests(module: &[u8]) -> Result<Sled> {
    let sled = attached(module)?;
    let setup = setup()?;
    prepare(&sled, &setup);
    command(&sled, Command::Apply(setup))?;
    // What the underlay says of itself.
    let _ = sled.take_sent();
    Ok(sled)
}

/// Makes what a setup needs to be there: datalink ids and NICs.
fn prepare(sled: &Sled, setup: &Setup) {
    for port in &setup.ports {
        sled.create_datalink_id(port.name.as_str());
    }
    let links = setup.underlay.iter().flat_map(|underlay| &underlay.links);
    for (index, link) in links.enumerate() {
        let [high, low] = u16::try_from(index).unwrap_or(0).to_be_bytes();
        let [a, b, c, d, ..] = LINK;
        sled.plug(&link.name, [a, b, c, d, high, low], link.mtu);
    }
}

/// Takes everything away and the module out; nothing may be left or broken.
fn end(sled: Sled) -> Result<()> {
    command(&sled, Command::Apply(Setup::default()))?;
    gone(sled)
}

/// As [`end`], for a sled without ports and links.
fn gone(sled: Sled) -> Result<()> {
    ensure!(sled.detach()?, "detach is refused: {:?}", sled.console());
    let left = sled.unload()?;
    if left.is_empty() {
        return Ok(());
    }
    let shown: Vec<_> = left.iter().take(5).cloned().collect();
    bail!("{} violations: {}", left.len(), shown.join("; "))
}

/// Two guests of one VPC on one host.
const SETUP: &str = include_str!("../../../../opte-core/tests/cases/same-host/setup.toml");

fn setup() -> Result<Setup> {
    Ok(toml::from_str(SETUP)?)
}

/// Frames of a script between the guests `g1` and `g2`.
fn frames(script: &str) -> Result<Vec<Vec<u8>>> {
    let frames = script::compile(script, &Scene::parse(SETUP)?)?;
    Ok(frames.into_iter().map(|frame| frame.bytes).collect())
}
