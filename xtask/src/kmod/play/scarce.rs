//! Memory that is short for packets of every kind: those of guests and of links,
//! fragments, translated ones and those that come back to this host, copies for
//! groups, and what the engine says itself.

use super::golden::Scene;
use super::{Play, end};
use crate::case::{self, Case};
use crate::workspace;
use anyhow::{Context as _, Result, ensure};
use std::collections::BTreeMap;
use xde_loader::{Layout, Sled};

/// What this file plays.
pub(super) const PLAYS: &[Play] = &[
    ("each allocation fails: to other hosts", |module| {
        each(module, "overlay")
    }),
    ("each allocation fails: from links", |module| {
        each(module, "boundary")
    }),
    ("each allocation fails: neighbours", |module| {
        each(module, "underlay")
    }),
    ("each allocation fails: fragments", |module| {
        each(module, "fragments")
    }),
    ("each allocation fails: translation", |module| {
        each(module, "snat")
    }),
    ("each allocation fails: hairpins", |module| {
        each(module, "nat-hairpin")
    }),
    ("each allocation fails: groups", |module| {
        each(module, "multicast")
    }),
    ("each allocation fails: too large", |module| {
        each(module, "too-big")
    }),
];

/// Frames that come later are left out: nothing is in between but time.
const UNTIL: u64 = 3_000_000_000;
/// How a guest's packet lies in memory that has to be copied.
const LAYOUTS: [usize; 2] = [128, 0];

fn case(name: &str) -> Result<Case> {
    let mut cases = case::list(&workspace::root(), None)?.into_iter();
    let found = cases.find(|case| case.name == name);
    found.with_context(|| format!("no case {name}"))
}

/// A golden case, again and again: each time another one of the allocations
/// fails that its packets and ticks make, and only that one. What doesn't come
/// out then is counted, and nothing is left behind.
fn each(module: &[u8], name: &str) -> Result<()> {
    let scene = Scene::read(&case(name)?)?.until(UNTIL);
    for room in LAYOUTS {
        let layout = Layout {
            room,
            ..Layout::default()
        };
        let run = |fault: Option<u64>| -> Result<Run> {
            let sled = scene.host(module)?;
            let (before, lost) = (sled.allocations(), lost(&sled)?);
            sled.fail_memory_once(fault);
            let out = scene.carry(&sled, &layout)?.into_iter();
            let run = Run {
                out: out.map(|(place, frames)| (place, frames.len())).collect(),
                allocations: sled.allocations() - before,
                lost: self::lost(&sled)? - lost,
            };
            sled.fail_memory_once(None);
            end(sled)?;
            Ok(run)
        };
        let whole = run(None)?;
        ensure!(whole.lost == 0, "{} lost with memory", whole.lost);
        let mut losses = 0;
        for number in 0..whole.allocations {
            let context = || format!("{name}, room {room}: allocation {number}");
            let run = run(Some(number)).with_context(context)?;
            let missing = whole.missing(&run);
            ensure!(
                missing == 0 || run.lost > 0,
                "{}: {missing} frames are gone, and none is counted",
                context()
            );
            losses += run.lost;
        }
        ensure!(losses > 0, "{name}: nothing is ever lost");
    }
    Ok(())
}

/// What came of a case.
struct Run {
    /// Frames that went to each place.
    out: BTreeMap<String, usize>,
    /// Allocations that may fail.
    allocations: u64,
    /// Packets that there was no memory for.
    lost: u64,
}

impl Run {
    /// Frames of this run that another one doesn't have. They are counted, not
    /// compared: an answer may quote less of a packet that isn't in one piece.
    fn missing(&self, other: &Self) -> usize {
        let came = |place: &str| other.out.get(place).copied().unwrap_or(0);
        let each = self.out.iter();
        each.map(|(place, count)| count.saturating_sub(came(place)))
            .sum()
    }
}

/// What the engine and the module count for want of memory.
fn lost(sled: &Sled) -> Result<u64> {
    let stats = sled.kstat("xde:0:host")?;
    let get = |name: &str| stats.get(name).copied().with_context(|| name.to_owned());
    Ok(get("out_of_memory")? + get("no_memory")?)
}
