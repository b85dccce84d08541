//! Packets of the cached path, for whoever looks at what they cost.
//!
//! Rules     N1  nobody watches a probe, so their sites are what an illumos
//!               kernel makes of them then (rule I1 of the loader's image).
//!           N2  frames have the room in front that the engine's benchmark
//!               gives them, as the two are compared.

use super::end;
use super::storm::{PASSING, packets, settle, wired};
use anyhow::{Result, ensure};
use std::path::Path;
use xde_loader::{Context, Layout};

/// Frames of a chain.
pub(in super::super) const CHAIN: usize = 64;
/// Bytes in front of a frame (rule N2).
const ROOM: usize = 128;

/// What is done, and the way of the engine's hits that it is compared
/// with. `copied` goes out with no room in front, as a zone's own packets do, so
/// that each gets a new head (rule B1 of the module's `ddi::mblk`); `lone` goes
/// out in chains of one, as all come in.
pub(in super::super) const WAYS: [(&str, &str); 4] = [
    ("out", "out"),
    ("copied", "out"),
    ("lone", "out"),
    ("in", "in"),
];

/// Sends so many chains from the guest, or to it, through two sleds that one
/// guest's frames go through. Says first where the module's code is in each.
pub(in super::super) fn work(module: &Path, way: &str, chains: u32) -> Result<()> {
    let [a, b] = wired(&std::fs::read(module)?)?;
    for code in [a.code(), b.code()] {
        println!("{CODE}{:#x} {:#x}", code.start, code.end);
    }
    let frames = super::frames(PASSING)?;
    a.guest_sends("g1", &packets(&frames), Context::Packet)?;
    ensure!(settle([&a, &b])?.len() == 1, "the sleds aren't connected");
    a.guest_sends("g1", &packets(&frames), Context::Packet)?;
    let sent: Vec<_> = a.take_sent().into_iter().map(|(_, bytes)| bytes).collect();
    ensure!(sent.len() == 1, "{} packets for one", sent.len());
    let chain = |frame: &Vec<u8>| vec![frame.clone(); CHAIN];
    let (out, back) = (frames.iter().flat_map(chain), sent.iter().flat_map(chain));
    let (out, back): (Vec<_>, Vec<_>) = (out.collect(), back.collect());
    for _ in 0..chains {
        let passed = match way {
            "out" | "copied" | "lone" => {
                let room = if way == "copied" { 0 } else { ROOM };
                let frames = with_room(&out, room);
                let chain = if way == "lone" { 1 } else { CHAIN };
                for chain in frames.chunks(chain) {
                    a.guest_sends("g1", chain, Context::Packet)?;
                }
                a.take_sent()
            }
            _ => {
                b.link_receives("u0", &packets(&back), Context::Interrupt)?;
                b.take_sent()
            }
        };
        ensure!(passed.len() == CHAIN, "{} of a chain", passed.len());
    }
    end(a)?;
    end(b)
}

/// How a line begins that says where the module's code is.
pub(in super::super) const CODE: &str = "code ";

fn with_room(frames: &[Vec<u8>], room: usize) -> Vec<(&[u8], Layout)> {
    let layout = Layout {
        room,
        ..Layout::default()
    };
    let each = frames.iter();
    each.map(|frame| (frame.as_slice(), layout.clone()))
        .collect()
}
