//! Probes: that each has a site, and tells what the engine says.

use super::engine::Engine;
use super::golden::{Event, Machine};
use super::{Play, attached, end, gone, input, prepare, setup, watched};
use anyhow::{Context as _, Result, ensure};
use opte_core::api::{Command, M2p, McastHop, Name, Setup, SourceFilter};
use opte_core::event::Probe;
use std::collections::BTreeSet;
use xde_loader::{Layout, Told};

/// What this file plays.
pub(super) const PLAYS: &[Play] = &[("sites of probes", sites)];

/// Every declared probe has a site, and no other has.
fn sites(module: &[u8]) -> Result<()> {
    let sled = attached(module)?;
    let declared: BTreeSet<_> = Probe::ALL.iter().map(|probe| probe.name()).collect();
    let sites: BTreeSet<_> = sled.probe_names().iter().map(String::as_str).collect();
    ensure!(
        declared == sites,
        "declared alone or with a site alone: {:?}",
        declared.symmetric_difference(&sites)
    );
    gone(sled)
}

/// Commands that no golden case has, and refused ones, on the engine and on the
/// module: the probes that fired.
pub(super) fn of_commands(module: &[u8]) -> Result<Vec<Event>> {
    let setup = setup()?;
    let engine = Engine::new(input::nics(&setup, &[]))?;
    let sled = watched(module)?;
    prepare(&sled, &setup);
    let told = |machine: &dyn Machine| -> Result<Vec<Event>> {
        machine.set_time(1_000_000_000);
        for command in commands()? {
            // Also what is refused is told of.
            let _ = machine.command(command);
        }
        Ok(machine.take_events())
    };
    let (want, have) = (told(&engine)?, told(&sled)?);
    compare(&want, &have, &Layout::default())?;
    let refused = want.iter().filter(|(name, told)| {
        name == "ioctl-return" && told.get(2).is_some_and(|error| *error != Told::Number(0))
    });
    ensure!(
        refused.count() == 3,
        "other commands than these are refused"
    );
    end(sled)?;
    Ok(want)
}

fn commands() -> Result<Vec<Command>> {
    let name = |text: &str| text.parse::<Name>().map_err(anyhow::Error::msg);
    let (group, underlay) = ("239.1.1.1".parse()?, "ff04::e001:101".parse()?);
    let mapping = M2p {
        group,
        underlay,
        vni: None,
    };
    let hop: McastHop = "fd00:2::1".parse().map_err(anyhow::Error::msg)?;
    Ok(vec![
        Command::ListPorts(0),
        Command::Apply(setup()?),
        Command::SetM2p(vec![mapping]),
        Command::SetMcastFwd(underlay, vec![hop]),
        Command::McastSubscribe(name("g1")?, group, SourceFilter::ANY),
        Command::McastUnsubscribe(name("g1")?, group),
        Command::McastUnsubscribe(name("g1")?, group),
        Command::ClearM2p(None, group),
        Command::ClearM2p(None, group),
        Command::DeletePort(name("g1")?),
        Command::DeletePort(name("g1")?),
        Command::Apply(Setup::default()),
    ])
}

/// Whether these are all probes that there are.
pub(super) fn all_of(fired: &BTreeSet<String>) -> Result<()> {
    let silent = Probe::ALL
        .iter()
        .filter(|probe| !fired.contains(probe.name()));
    let silent: Vec<_> = silent.map(|probe| probe.name()).collect();
    ensure!(silent.is_empty(), "nothing has {silent:?} fire");
    Ok(())
}

/// Whether probes told the same, in the same order.
pub(super) fn compare(want: &[Event], have: &[Event], layout: &Layout) -> Result<()> {
    let is_whole = layout.blocks.is_empty();
    for (number, pair) in want.iter().zip(have).enumerate() {
        let (want, have) = pair;
        let same = want.0 == have.0
            && want.1.len() == have.1.len()
            && want
                .1
                .iter()
                .zip(&have.1)
                .all(|(want, have)| match is_whole {
                    true => want == have,
                    false => is_same_but_for_blocks(want, have),
                });
        ensure!(same, "probe {number} is {have:?} instead of {want:?}");
    }
    let longer = want.iter().zip(have).count();
    let more = want.get(longer).or(have.get(longer));
    ensure!(
        want.len() == have.len(),
        "{} probes, not {}: {:?}",
        have.len(),
        want.len(),
        more.context("one of them is longer")?
    );
    Ok(())
}

/// Whether two arguments are the same, except that less of a packet may lie in
/// one piece.
fn is_same_but_for_blocks(want: &Told, have: &Told) -> bool {
    match (want, have) {
        (Told::Packet(want, all), Told::Packet(have, part)) => {
            let mut view = **have;
            view.head_len = want.head_len;
            **want == view && all.starts_with(part) && part.len() >= have.transport.into()
        }
        (want, have) => want == have,
    }
}
