//! Packets under bad conditions: little memory, odd blocks, many threads.

use super::{Play, attached, command, end, frames, prepare, setup, two_guests};
use anyhow::{Context as _, Result, ensure};
use opte_core::api::{Command, Setup};
use std::thread;
use xde_loader::{Context, Layout, Sent, Sled};

/// What this file plays.
pub(super) const PLAYS: &[Play] = &[
    ("every way for a packet to lie in memory", layouts),
    ("no memory for packets", no_memory),
    ("no memory for ticks", no_memory_for_ticks),
    ("no memory for long", no_memory_for_long),
    ("threads", threads),
    ("two sleds", two_sleds),
];

const SCRIPT: &str = "0.0 tx g1 udp 10.0.0.1:1000 > 10.0.0.2:53 len 1000
    0.0 tx g1 tcp 10.0.0.1:1001 > 10.0.0.2:80 syn seq 100 mss 1460";

/// A packet comes out the same however it came in.
fn layouts(module: &[u8]) -> Result<()> {
    let sled = two_guests(module)?;
    let frames = frames(SCRIPT)?;
    let mut first = None;
    for room in [0, 69, 70, 200] {
        for shared in [false, true] {
            for blocks in [
                vec![],
                vec![14],
                vec![1; 80],
                vec![14, 0, 20, 8],
                vec![400, 300],
            ] {
                let layout = Layout {
                    room,
                    blocks,
                    shared,
                    ..Layout::default()
                };
                let packets: Vec<_> = frames
                    .iter()
                    .map(|f| (f.as_slice(), layout.clone()))
                    .collect();
                sled.guest_sends("g1", &packets, Context::Interrupt)?;
                let sent = sled.take_sent();
                let before = first.get_or_insert_with(|| sent.clone());
                ensure!(*before == sent, "{layout:?} comes out otherwise");
            }
        }
    }
    let sent = first.context("nothing was sent")?;
    ensure!(
        sent.len() == 2 && sent.iter().all(|(to, _)| to == "g2"),
        "{sent:?}"
    );
    end(sled)
}

/// Packets are lost and nothing else, and it works again with memory.
fn no_memory(module: &[u8]) -> Result<()> {
    let sled = two_guests(module)?;
    for left in 0..40 {
        // New flows, so that the engine wants memory, too.
        let script = format!(
            "0.0 tx g1 udp 10.0.0.1:{} > 10.0.0.2:53 len 900",
            2_000 + left
        );
        let frames = frames(&script)?;
        let packets: Vec<_> = frames
            .iter()
            .map(|f| (f.as_slice(), Layout::default()))
            .collect();
        for context in [Context::Interrupt, Context::Packet] {
            sled.fail_memory_after(Some(left));
            sled.guest_sends("g1", &packets, context)?;
            sled.fail_memory_after(None);
        }
        sled.guest_sends("g1", &packets, Context::Packet)?;
        ensure!(
            !sled.take_sent().is_empty(),
            "nothing comes through with memory again"
        );
    }
    ensure!(sled.violations().is_empty(), "{:?}", sled.violations());
    end(sled)
}

/// Thousands of flows while there is no memory at all: what is remembered of
/// packets has no use for the reserve, so others still find it. Flows that are
/// known go on; with memory all do.
fn no_memory_for_long(module: &[u8]) -> Result<()> {
    let sled = two_guests(module)?;
    let flow = |from: u16| format!("0.0 tx g1 udp 10.0.0.1:{from} > 10.0.0.2:53 len 900\n");
    let known = frames(&flow(1))?;
    let strange = frames(&(2..2_000).map(flow).collect::<String>())?;
    let room = Layout {
        room: 128,
        ..Layout::default()
    };
    let send = |frames: &[Vec<u8>]| -> Result<usize> {
        for frame in frames {
            let packet = [(frame.as_slice(), room.clone())];
            sled.guest_sends("g1", &packet, Context::Interrupt)?;
        }
        Ok(sled.take_sent().len())
    };
    ensure!(send(&known)? == 1, "nothing comes through");
    sled.fail_memory_after(Some(0));
    let sent = send(&strange)?;
    ensure!(sent < 200, "{sent} flows without memory");
    ensure!(send(&known)? == 1, "a known flow needs memory");
    sled.tick()?;
    sled.fail_memory_after(None);
    sled.tick()?;
    let sent = send(&strange)?;
    ensure!(sent == strange.len(), "{sent} flows with memory");
    ensure!(sled.violations().is_empty(), "{:?}", sled.violations());
    end(sled)
}

/// Ticks hold locks that packets wait for, so they don't wait for memory (which
/// the double would take for a violation). They ask a neighbour that is silent,
/// and give up what waits for it.
fn no_memory_for_ticks(module: &[u8]) -> Result<()> {
    let [sled, other] = wired(module)?;
    let frames = frames(PASSING)?;
    sled.guest_sends("g1", &packets(&frames), Context::Packet)?;
    for tick in 1..50 {
        sled.set_time(1_000_000_000 + tick * 100_000_000);
        sled.fail_memory_after(Some(tick % 4));
        sled.tick()?;
        sled.fail_memory_after(None);
    }
    ensure!(sled.violations().is_empty(), "{:?}", sled.violations());
    let stats = sled.kstat("xde:0:host")?;
    let given_up = stats.get("next_hop_unresolved");
    ensure!(given_up == Some(&1), "ticks did nothing: {stats:?}");
    let _ = sled.take_sent();
    end(sled)?;
    end(other)
}

/// Guests on many CPUs, a timer, and commands at the same time.
fn threads(module: &[u8]) -> Result<()> {
    let whole = two_guests(module)?;
    let sled = &whole;
    let script = SCRIPT.replace("10.0.0.1:1000 > 10.0.0.2:53", "10.0.0.2:53 > 10.0.0.1:1000");
    let script = script.replace("tx g1 udp", "tx g2 udp");
    let (out, back) = (frames(SCRIPT)?, frames(&script)?);
    let (out, back) = (&out, &back);
    let send = move |port: &str, frames: &[Vec<u8>]| -> Result<()> {
        let packets: Vec<_> = frames
            .iter()
            .map(|f| (f.as_slice(), Layout::default()))
            .collect();
        (0..300).try_for_each(|_| sled.guest_sends(port, &packets, Context::Packet))
    };
    thread::scope(|scope| {
        let guests = [
            scope.spawn(move || send("g1", out)),
            scope.spawn(move || send("g1", out)),
            scope.spawn(move || send("g2", &back[..1])),
        ];
        let timer = scope.spawn(|| (0..100).try_for_each(|_| sled.tick()));
        let commands = scope.spawn(|| -> Result<()> {
            for _ in 0..30 {
                command(sled, Command::ListPorts(0))?;
                command(sled, Command::Apply(setup()?))?;
                command(
                    sled,
                    Command::ClearUft("g1".parse().map_err(anyhow::Error::msg)?),
                )?;
            }
            Ok(())
        });
        let all = guests.into_iter().chain([timer, commands]);
        let ended = |thread: thread::ScopedJoinHandle<'_, Result<()>>| thread.join();
        let mut results = all.map(ended);
        results.try_for_each(|result| result.map_err(|_| anyhow::anyhow!("a thread panicked"))?)
    })?;
    ensure!(sled.violations().is_empty(), "{:?}", sled.violations());
    let sent = sled.take_sent();
    ensure!(sent.len() >= 1_200, "{} packets came through", sent.len());
    end(whole)
}

/// Two modules, each in its kernel, on one wire.
fn two_sleds(module: &[u8]) -> Result<()> {
    let [a, b] = wired(module)?;
    let frames = frames(PASSING)?;
    a.guest_sends("g1", &packets(&frames), Context::Packet)?;
    let arrived = settle([&a, &b])?;
    ensure!(arrived.len() == 1, "{} packets arrived", arrived.len());
    let (port, bytes) = arrived.first().context("none")?;
    ensure!(
        port == "g2" && bytes.len() == 142,
        "{port}: {} bytes",
        bytes.len()
    );
    end(a)?;
    end(b)
}

/// A frame from one sled's guest to the other's.
pub(super) const PASSING: &str = "0.0 tx g1 udp 10.0.0.1:1000 > 10.0.0.2:53 len 100";

/// Frames as packets in one piece.
pub(super) fn packets(frames: &[Vec<u8>]) -> Vec<(&[u8], Layout)> {
    let each = frames.iter();
    each.map(|f| (f.as_slice(), Layout::default())).collect()
}

/// Two sleds on one wire: with `g1`, and with `g2`.
pub(super) fn wired(module: &[u8]) -> Result<[Sled; 2]> {
    let sleds = [attached(module)?, attached(module)?];
    let setups = [sled_a()?, sled_b()?];
    for ((sled, setup), number) in sleds.iter().zip(&setups).zip(1..) {
        prepare(sled, setup);
        let link = setup.underlay.as_ref().and_then(|u| u.links.first());
        let name = &link.context("no link")?.name;
        sled.plug(name, [2, 0, 0, 0, 0, number], 9_000);
        command(sled, Command::Apply(setup.clone()))?;
    }
    Ok(sleds)
}

/// Carries what was sent to and fro, as neighbour discovery does before there
/// is a packet. What arrived at guests.
pub(super) fn settle([a, b]: [&Sled; 2]) -> Result<Vec<Sent>> {
    let mut arrived = Vec::new();
    for _ in 0..8 {
        for (from, to) in [(a, b), (b, a)] {
            for (name, bytes) in from.take_sent() {
                if name == "u0" {
                    let packet = [(bytes.as_slice(), Layout::default())];
                    to.link_receives("u0", &packet, Context::Interrupt)?;
                } else {
                    arrived.push((name, bytes));
                }
            }
        }
    }
    Ok(arrived)
}

/// A setup in which both hosts are on one link.
fn on_link() -> Result<Setup> {
    let mut setup = setup()?;
    let underlay = setup.underlay.iter_mut();
    for route in underlay.flat_map(|underlay| &mut underlay.routes) {
        route.via = None;
    }
    for mapping in &mut setup.v2p {
        if mapping.mac == "A8:40:25:F0:00:02".parse().map_err(anyhow::Error::msg)? {
            mapping.sled = "fd00:2::1".parse()?;
        }
    }
    Ok(setup)
}

/// The setup of the host of `g1` alone.
pub(super) fn sled_a() -> Result<Setup> {
    let mut setup = on_link()?;
    setup.ports.truncate(1);
    Ok(setup)
}

/// The setup of the host of `g2` alone, which has the other address.
fn sled_b() -> Result<Setup> {
    let mut setup = on_link()?;
    setup.ports.remove(0);
    if let Some(underlay) = &mut setup.underlay {
        underlay.address = "fd00:2::1".parse()?;
    }
    Ok(setup)
}
