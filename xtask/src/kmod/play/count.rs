//! Instructions of the module per packet of the cached path.
//!
//! Terms     run   this program under callgrind, with two sleds in the loader
//!                 that one guest's frames go through
//! Rules     N0  nobody watches a probe, so their sites are what an illumos
//!               kernel makes of them then (rule I1 of the loader's image).
//!           N1  there is a run for N chains of frames and one for 2N; the
//!               difference counts, so that what isn't packets cancels.
//!           N2  frames have the room in front that the engine's benchmark
//!               gives them, as the two are compared.
//!           N3  what counts is the module's own code, which is of no file as
//!               callgrind sees it. The kernel's functions are doubles, whose
//!               cost says nothing.

use super::end;
use super::storm::{PASSING, packets, settle, wired};
use anyhow::{Context as _, Result, bail, ensure};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use xde_loader::{Context, Layout};

/// Frames of a chain.
const CHAIN: usize = 64;
/// Chains of the shorter run.
const CHAINS: u32 = 24;

/// Bytes in front of a frame (rule N2).
const ROOM: usize = 128;

/// What a run is about, and the way of the engine's hits that it is compared
/// with. `copied` goes out with no room in front, as a zone's own packets do, so
/// that each gets a new head (rule B1 of the module's `ddi::mblk`); `lone` goes
/// out in chains of one, as all come in.
pub(in super::super) const WAYS: [(&str, &str); 4] = [
    ("out", "out"),
    ("copied", "out"),
    ("lone", "out"),
    ("in", "in"),
];

/// What callgrind looks at: so many chains from the guest, or to it.
pub(in super::super) fn work(module: &Path, way: &str, chains: u32) -> Result<()> {
    let [a, b] = wired(&std::fs::read(module)?)?;
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

fn with_room(frames: &[Vec<u8>], room: usize) -> Vec<(&[u8], Layout)> {
    let layout = Layout {
        room,
        ..Layout::default()
    };
    let each = frames.iter();
    each.map(|frame| (frame.as_slice(), layout.clone()))
        .collect()
}

/// Instructions per packet; `None` where there is no valgrind.
pub(in super::super) fn count(folder: &Path, way: &str) -> Result<Option<f64>> {
    if Command::new("valgrind").arg("--version").output().is_err() {
        return Ok(None);
    }
    let once = instructions(folder, way, CHAINS)?;
    let twice = instructions(folder, way, 2 * CHAINS)?;
    let difference = twice.checked_sub(once).context("less for more packets")?;
    let packets = f64::from(CHAINS) * f64::from(u16::try_from(CHAIN)?);
    Ok(Some(difference as f64 / packets))
}

fn instructions(folder: &Path, way: &str, chains: u32) -> Result<u64> {
    let profile = folder.join("callgrind.out");
    let done = Command::new("valgrind")
        .arg("--tool=callgrind")
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(std::env::current_exe()?)
        .args(["kmod", "--work", way, "--chains", &chains.to_string()])
        .output()
        .context("cannot run valgrind")?;
    if !done.status.success() {
        let (out, error) = (&done.stdout, &done.stderr);
        let text = [out.as_slice(), error]
            .map(String::from_utf8_lossy)
            .concat();
        bail!("{way}: {}\n{text}", done.status);
    }
    let count = of_no_file(&std::fs::read_to_string(&profile)?);
    ensure!(count > 0, "callgrind saw nothing of the module");
    Ok(count)
}

/// Instructions of code that is of no file, from callgrind's report: lines are
/// `key=value` or a position and a cost; a value is a number in parentheses
/// and, the first time, what it stands for. A cost below `calls=` is another
/// function's.
fn of_no_file(report: &str) -> u64 {
    let (mut nameless, mut counts, mut is_call) = (BTreeSet::new(), false, false);
    let mut sum = 0;
    for line in report.lines() {
        if let Some((key, value)) = line.split_once('=') {
            let (number, name) = value.split_once(' ').unwrap_or((value, ""));
            if matches!(key, "ob" | "cob") && name == "???" {
                nameless.insert(number.to_owned());
            }
            match key {
                "ob" => counts = nameless.contains(number),
                "calls" => is_call = true,
                _ => {}
            }
            continue;
        }
        let is_cost = line.starts_with(|c: char| c.is_ascii_digit() || "+-*".contains(c));
        if is_cost && !std::mem::take(&mut is_call) && counts {
            let cost = line
                .split(' ')
                .nth(1)
                .and_then(|cost| cost.parse::<u64>().ok());
            sum += cost.unwrap_or(0);
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::of_no_file;

    #[test]
    fn only_what_is_of_no_file_counts() {
        let report = "version: 1\nevents: Ir\n\
                      ob=(1) /bin/x\nfn=(1) main\n10 5\ncob=(2) ???\ncfn=(2) 0x1\ncalls=1 0\n10 700\n\n\
                      ob=(2)\nfn=(2)\n0 30\n+1 2\ncob=(1)\ncfn=(1)\ncalls=2 10\n0 900\n* 1\n\n\
                      ob=(1)\nfn=(3) other\n3 4\n";
        assert_eq!(of_no_file(report), 33);
    }
}
