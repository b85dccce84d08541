//! Everything at the same time: guests, links, commands, ticks, statistics.
//!
//! Terms     given     a UDP packet that MAC hands to the module: of a guest, or
//!                     in a tunnel from a link
//!           taken     one that the module hands to MAC
//!
//! Rules     P1  packets are conserved: what was given was taken or dropped, and
//!               each drop is counted once, whatever came or went meanwhile.
//!           P2  nothing else is asserted of the order in which things happen.

mod host;
mod setup;

use self::host::Host;
use super::golden::neighbour;
use super::storm::packets;
use super::{Play, attached, command, end, prepare};
use crate::script::{self, Scene};
use anyhow::{Context as _, Result, ensure};
use opte_core::api::{Command, Setup};
use std::thread;
use xde_loader::Context;

/// What this file plays.
pub(super) const PLAYS: &[Play] = &[("a crowd of threads", crowd)];

fn crowd(module: &[u8]) -> Result<()> {
    let tunnel = tunnelled(module)?;
    let whole = Host::new(module)?;
    let (host, tunnel) = (&whole, &tunnel[..]);
    thread::scope(|scope| {
        let packets = [
            scope.spawn(|| host.guest(1, 9, Context::Packet)),
            scope.spawn(|| host.guest(1, 3, Context::Interrupt)),
            scope.spawn(|| host.guest(2, 1, Context::Interrupt)),
            scope.spawn(|| host.guest(3, 2, Context::Packet)),
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
        host.finish();
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
    let text = setup::there();
    let setup: Setup = toml::from_str(&text)?;
    let sled = attached(module)?;
    prepare(&sled, &setup);
    command(&sled, Command::Apply(setup))?;
    let mut frames = Vec::new();
    for (to, first) in [(1, 100), (3, 300)] {
        for port in first..first + 20 {
            let frame = datagram(&text, setup::AWAY, to, port)?;
            sled.guest_sends(
                &setup::name(setup::AWAY),
                &packets(&[frame]),
                Context::Packet,
            )?;
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

/// A datagram of one guest to another, by the setup of the one that sends.
fn datagram(setup: &str, from: u8, to: u8, port: u16) -> Result<Vec<u8>> {
    let (name, [from, to]) = (setup::name(from), [from, to].map(setup::address));
    let script = format!("0.0 tx {name} udp {from}:{port} > {to}:53 len 64");
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
