//! Ports that are gone while something of theirs is still in use.

use super::storm::packets;
use super::{Play, attached, command, end, frames, prepare, setup, two_guests};
use anyhow::{Context as _, Result, ensure};
use opte_core::api::{Command, Name, PortSpec, Response};
use std::sync::{Arc, Barrier};
use xde_loader::{Context, Sled};

/// What this file plays.
pub(super) const PLAYS: &[Play] = &[
    ("a datalink that stays feeds no other port", kept_datalink),
    (
        "a datalink outlives the packets of both its ports",
        outlived,
    ),
];

fn name(text: &str) -> Result<Name> {
    text.parse().map_err(anyhow::Error::msg)
}

/// `g1` as the golden case has it, under another name.
fn in_place_of_g1(other: &str) -> Result<PortSpec> {
    let ports = setup()?.ports;
    let mut spec = ports.into_iter().next().context("no port")?;
    spec.name = name(other)?;
    Ok(spec)
}

/// Somebody has a hold of `g1`'s datalink when the port is deleted, of which the
/// module isn't told. The next port gets its number, and not its datalink's
/// packets.
fn kept_datalink(module: &[u8]) -> Result<()> {
    let sled = two_guests(module)?;
    let frames = frames(
        "0.0 tx g1 udp 10.0.0.1:1000 > 10.0.0.2:53 len 32
         0.0 tx g1 udp 10.0.0.1:1001 > 10.0.0.2:53 len 32",
    )?;
    sled.hold_port("g1", true)?;
    command(&sled, Command::DeletePort(name("g1")?))?;
    ensure!(sled.port_state("g1").is_some(), "its datalink is gone");
    let counted = |of: &str, what: &str| -> Result<u64> {
        let stats = sled.kstat(&format!("xde:0:{of}"))?;
        stats
            .get(what)
            .copied()
            .with_context(|| format!("no {what}"))
    };
    // Alone and in a chain, while nobody has the number and while g3 has.
    let send = |port: &str| -> Result<usize> {
        let _ = sled.take_sent();
        for chain in [&frames[..1], &frames[..]] {
            sled.guest_sends(port, &packets(chain), Context::Packet)?;
        }
        Ok(sled.take_sent().len())
    };
    ensure!(send("g1")? == 0, "a port that is deleted sends");
    sled.create_datalink_id("g3");
    let made = command(&sled, Command::CreatePort(in_place_of_g1("g3")?))?;
    ensure!(made == Response::Id(0), "{made:?} isn't the number of g1");
    let passed = send("g1")?;
    ensure!(
        passed == 0,
        "{passed} packets of g1's datalink pass as g3's"
    );
    ensure!(counted("g3", "out_packets")? == 0, "or are counted as its");
    ensure!(counted("host", "port_down")? == 6, "or not as dropped");
    ensure!(send("g3")? == 3, "g3 doesn't work");
    // It goes as soon as it can.
    sled.hold_port("g1", false)?;
    sled.tick()?;
    ensure!(sled.port_state("g1").is_none(), "it stays for good");
    ensure!(send("g3")? == 3, "and took g3 with it");
    end(sled)
}

/// A packet is on its way to `g2`'s guest, for longer than a command waits, while
/// the port is replaced and the new one is deleted.
fn outlived(module: &[u8]) -> Result<()> {
    let sled = attached(module)?;
    let mut setup = setup()?;
    prepare(&sled, &setup);
    let (arrives, goes_on) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let (arrived, may_go_on) = (Arc::clone(&arrives), Arc::clone(&goes_on));
    sled.set_outlet(move |to, _| {
        if to == "g2" {
            arrived.wait();
            may_go_on.wait();
        }
    });
    command(&sled, Command::Apply(setup.clone()))?;
    let frames = frames("0.0 tx g1 udp 10.0.0.1:1000 > 10.0.0.2:53 len 32")?;
    let replace_and_delete = |sled: &Sled| -> Result<bool> {
        let port = setup.ports.last_mut().context("no port")?;
        port.mac = "A8:40:25:F0:00:77".parse().map_err(anyhow::Error::msg)?;
        command(sled, Command::Apply(setup))?;
        command(sled, Command::DeletePort(name("g2")?))?;
        Ok(sled.port_state("g2").is_some())
    };
    let stays = std::thread::scope(|scope| {
        let guest = scope.spawn(|| sled.guest_sends("g1", &packets(&frames), Context::Packet));
        arrives.wait();
        let stays = replace_and_delete(&sled);
        goes_on.wait();
        let sent = guest.join();
        sent.map_err(|_| anyhow::anyhow!("a thread panicked"))??;
        stays
    })?;
    ensure!(stays, "the datalink goes under a packet's feet");
    sled.tick()?;
    ensure!(sled.port_state("g2").is_none(), "it stays for good");
    end(sled)
}
