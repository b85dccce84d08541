//! `xded replay`: captures in, captures and decisions out.
//!
//! Purpose   shows what the engine does with given frames, at any time and
//!           without a device: to debug a configuration, to test one, to
//!           reproduce a report.
//!
//! Terms     input    a capture file and the port or link that its frames
//!                    come from
//!           script   the frames of all inputs in the order of their times
//!
//! Flow      Capture::load -> script -> Replay::frame -> Host::tx or Host::rx
//!           -> Sinks (captures), Line (verdicts.jsonl), Counters
//!
//! Rules     R1  the same setup, inputs and seed give the same bytes: time
//!               comes from the captures, chance from the seed, and no result
//!               names a machine, a path or the present.
//!           R2  the setup is in place when the first frame comes. Between
//!               frames the engine's tick runs as in `xded run`, in a long gap
//!               less often ([`TICKS_PER_GAP_MAX`]), and for [`SETTLE_MS`]
//!               after the last frame.
//!           R3  everything that can be wrong with the inputs is found before
//!               the first result is written; results get their names at the
//!               end, all of them.
//!
//! Failure   one sentence that names the input or the file, exit code 1.

mod capture;
mod file;
pub(crate) mod neighbour;
mod recorder;
mod report;
mod results;
mod sinks;
#[cfg(test)]
mod tests;

use crate::cli::{self, InputArg, Side};
use crate::device::Source;
use crate::engine::{HEADROOM, Lane, Lock, TICK_MS};
use crate::setup;
use anyhow::{Context, anyhow, bail};
use capture::{Capture, Packet};
use opte_core::Instant;
use opte_core::api::{Command, Response, Setup};
use opte_core::frame::SliceFrame;
use opte_core::host::{Host, HostConfig};
use opte_core::verdict::{Output, Verdict};
use opte_core::wire::MacAddr;
use recorder::Recorder;
use report::{Counters, Decision, Group, Line};
use results::Folder;
use sinks::{Names, Sinks};
use std::collections::BTreeMap;
use std::io::Write;

/// The engine's time of the first frame. Not zero, so that no frame comes at
/// the very start of time.
const START: Instant = Instant::from_millis(1_000);
/// Ticks in one gap between frames.
const TICKS_PER_GAP_MAX: u64 = 1_024;
/// Milliseconds that the engine is given after the last frame.
const SETTLE_MS: u64 = 5_000;
/// Answers of neighbours that one frame may lead to.
const ANSWERS_PER_FRAME_MAX: usize = 64;

/// Runs a replay.
pub(crate) fn run(args: &cli::Replay) -> anyhow::Result<()> {
    let setup = setup::load(&args.setup)?;
    let captures = args.inputs.iter().map(Capture::load);
    let captures = captures.collect::<anyhow::Result<Vec<_>>>()?;

    let recorder = Recorder::default();
    let config = HostConfig {
        seed: args.seed,
        lanes: 1,
    };
    let host = Host::<Lock, _>::new(config, recorder.clone());
    let mut names = Names {
        recorded: recorded_macs(&setup, &args.inputs, &captures),
        ..Names::default()
    };
    let mut held_back = HeldBack::default();
    host.command(Command::Apply(setup), START, &mut names, &mut held_back)
        .map_err(|error| anyhow!("{}: {}", args.setup.display(), error.coded()))?;
    let sources = args.inputs.iter().map(|input| source(input, &names));
    let sources = sources.collect::<anyhow::Result<Vec<_>>>()?;

    let mut folder = Folder::open(&args.out)?;
    let mut verdicts = folder.create("verdicts.jsonl")?;
    let mut counters = folder.create("counters.json")?;
    let sinks = Sinks::create(&mut folder, names, !args.no_neighbours)?;
    let mut replay = Replay {
        lane: host.lane(0).context("the engine has no lane")?,
        host,
        recorder,
        sinks,
        first_ns: 0,
        last_tick: START,
        buffer: Vec::new(),
    };
    let labels: Vec<_> = args.inputs.iter().map(label).collect();
    let script = script(&captures);
    replay.first_ns = script.first().map_or(0, |step| step.packet.time_ns);
    replay.release(held_back);
    for step in &script {
        let known = sources.get(step.input).zip(labels.get(step.input));
        let (source, input) = known.context("an input without a source")?;
        let bytes = step.capture.bytes(step.packet);
        let line = replay.frame(*source, input, step, bytes);
        serde_json::to_writer(&mut verdicts, &line).context("--out: verdicts.jsonl")?;
        verdicts.write_all(b"\n").context("--out: verdicts.jsonl")?;
    }
    replay.settle();

    serde_json::to_writer_pretty(&mut counters, &replay.counters()?)
        .context("--out: counters.json")?;
    counters.write_all(b"\n").context("--out: counters.json")?;
    counters.flush().context("--out: counters.json")?;
    verdicts.flush().context("--out: verdicts.jsonl")?;
    replay.sinks.finish()?;
    folder.commit()
}

/// The hardware address that each link had when its capture was taken: where
/// the first frame to the host's tunnel address went.
fn recorded_macs(
    setup: &Setup,
    inputs: &[InputArg],
    captures: &[Capture],
) -> BTreeMap<String, MacAddr> {
    let Some(underlay) = &setup.underlay else {
        return BTreeMap::new();
    };
    let address = underlay.address.octets();
    let mac = |bytes: &[u8]| {
        let to_us = bytes.get(12..14) == Some(&[0x86, 0xdd]) && bytes.get(38..54) == Some(&address);
        let mac = bytes.first_chunk().map(|mac| MacAddr(*mac))?;
        (to_us && !mac.is_multicast()).then_some(mac)
    };
    let found = inputs.iter().zip(captures).filter_map(|(input, capture)| {
        let Side::Rx(link) = &input.side else {
            return None;
        };
        let packets = capture.packets().iter();
        let mac = packets.map(|packet| capture.bytes(packet)).find_map(mac)?;
        Some((link.clone(), mac))
    });
    found.collect()
}

/// The engine's side of an input.
fn source(input: &InputArg, names: &Names) -> anyhow::Result<Source> {
    match &input.side {
        Side::Tx(port) => {
            let mut known = names.ports.iter();
            let found = known.find(|(_, name)| *name == port.as_str());
            let (id, _) =
                found.with_context(|| format!("{}: the setup has no port {port}", input.text))?;
            Ok(Source::Port(*id))
        }
        Side::Rx(link) => {
            let mut known = names.links.iter();
            let found = known.find(|(_, name)| *name == link);
            let (id, _) =
                found.with_context(|| format!("{}: the setup has no link {link}", input.text))?;
            Ok(Source::Link(*id))
        }
    }
}

/// An input's name in the results: without the folder that its file is in.
fn label(input: &InputArg) -> String {
    let file = input.file.file_name().unwrap_or_default();
    let side = match &input.side {
        Side::Tx(port) => format!("tx:{port}"),
        Side::Rx(link) => format!("rx:{link}"),
    };
    format!("{side}={}", file.to_string_lossy())
}

/// One frame of the script.
struct Step<'c> {
    /// The input's number on the command line.
    input: usize,
    /// The frame's number in its input.
    index: usize,
    capture: &'c Capture,
    packet: &'c Packet,
}

/// All frames by time; equal times in the order of the command line, then in
/// the order of the file.
fn script(captures: &[Capture]) -> Vec<Step<'_>> {
    let mut steps: Vec<_> = captures
        .iter()
        .enumerate()
        .flat_map(|(input, capture)| {
            let packets = capture.packets().iter().enumerate();
            packets.map(move |(index, packet)| Step {
                input,
                index,
                capture,
                packet,
            })
        })
        .collect();
    // Stable, so the order that the steps were listed in decides ties.
    steps.sort_by_key(|step| step.packet.time_ns);
    steps
}

/// An engine in the middle of a replay.
struct Replay {
    host: Host<Lock, Recorder>,
    lane: Lane,
    recorder: Recorder,
    sinks: Sinks,
    /// Capture time that is [`START`] to the engine.
    first_ns: u64,
    last_tick: Instant,
    buffer: Vec<u8>,
}

impl Replay {
    /// Puts one frame in and tells what became of it.
    fn frame<'a>(
        &'a mut self,
        source: Source,
        input: &'a str,
        step: &Step<'_>,
        bytes: &[u8],
    ) -> Line<'a> {
        let time_ns = step.packet.time_ns;
        let since_start = time_ns.saturating_sub(self.first_ns);
        let now = Instant::from_nanos(START.as_nanos().saturating_add(since_start));
        self.tick_until(now);
        self.sinks.begin(time_ns);
        self.recorder.take();
        let verdict = self.put_in(source, bytes, now);
        let record = self.recorder.take();
        self.hear_neighbours(now);
        let from = match source {
            Source::Port(port) => (Some(port), "out"),
            Source::Link(_) => (None, "in"),
        };
        let decision = Decision {
            record: &record,
            verdict,
            sinks: &self.sinks,
        };
        Line::new(input, step.index, time_ns, from, &decision)
    }

    /// Hands a frame to the engine and does what it says.
    fn put_in(&mut self, source: Source, bytes: &[u8], now: Instant) -> Verdict {
        self.buffer.clear();
        self.buffer.resize(HEADROOM, 0);
        self.buffer.extend_from_slice(bytes);
        let end = self.buffer.len();
        let mut frame = SliceFrame::new(&mut self.buffer, HEADROOM, end);
        let (lane, sinks) = (&mut self.lane, &mut self.sinks);
        let verdict = match source {
            Source::Port(port) => self.host.tx(lane, port, &mut frame, now, sinks),
            Source::Link(link) => self.host.rx(lane, link, &mut frame, now, sinks),
        };
        match verdict {
            Verdict::Link(link) => sinks.to_link(link, frame.bytes()),
            Verdict::Port(port) => sinks.to_port(port, frame.bytes()),
            Verdict::Consumed | Verdict::Held | Verdict::Dropped(_) => {}
        }
        verdict
    }

    /// Puts in what neighbours answer to what was just sent.
    fn hear_neighbours(&mut self, now: Instant) {
        for _ in 0..ANSWERS_PER_FRAME_MAX {
            let Some((link, answer)) = self.sinks.next_answer() else {
                return;
            };
            let _ = self.put_in(Source::Link(link), &answer, now);
        }
    }

    /// Sends what the setup made the engine send.
    fn release(&mut self, held_back: HeldBack) {
        self.sinks.begin(self.first_ns);
        for (to, frame) in held_back.frames {
            match to {
                Source::Port(port) => self.sinks.to_port(port, &frame),
                Source::Link(link) => self.sinks.to_link(link, &frame),
            }
        }
        self.hear_neighbours(START);
    }

    /// Runs the ticks that are due until `now`.
    fn tick_until(&mut self, now: Instant) {
        let step_ms = tick_step_ms(now.millis_since(self.last_tick));
        loop {
            let next = self.last_tick.plus_millis(step_ms);
            if next > now {
                return;
            }
            self.last_tick = next;
            let since_start = next.as_nanos().saturating_sub(START.as_nanos());
            self.sinks.begin(self.first_ns.saturating_add(since_start));
            self.host.tick(&mut self.lane, next, &mut self.sinks);
            self.hear_neighbours(next);
        }
    }

    /// Lets the engine finish what it waits for.
    fn settle(&mut self) {
        let end = self.last_tick.plus_millis(SETTLE_MS);
        self.tick_until(end);
    }

    /// What was counted.
    fn counters(&mut self) -> anyhow::Result<Counters> {
        let names = self.sinks.port_names();
        let mut ask = |port| -> anyhow::Result<Group> {
            let command = Command::Stats(port);
            let (now, mut none) = (self.last_tick, Names::default());
            match self.host.command(command, now, &mut none, &mut self.sinks) {
                Ok(Response::Stats(stats)) => Ok(stats.into()),
                Ok(other) => bail!("the engine answered {other:?} instead of counters"),
                Err(error) => Err(error.into()),
            }
        };
        let host = ask(None)?;
        let ports = names.into_iter().map(|name| {
            let known = name.parse().map_err(|why: &str| anyhow!(why))?;
            Ok((name, ask(Some(known))?))
        });
        let ports = ports.collect::<anyhow::Result<_>>()?;
        Ok(Counters { host, ports })
    }
}

/// Milliseconds between the ticks in a gap between frames.
fn tick_step_ms(gap_ms: u64) -> u64 {
    gap_ms.div_ceil(TICKS_PER_GAP_MAX).max(TICK_MS)
}

/// Frames that the engine sends before there are files to write them to.
#[derive(Debug, Default)]
struct HeldBack {
    frames: Vec<(Source, Vec<u8>)>,
}

impl Output for HeldBack {
    fn to_port(&mut self, port: opte_core::api::PortId, frame: &[u8]) {
        self.frames.push((Source::Port(port), frame.to_vec()));
    }

    fn to_link(&mut self, link: opte_core::verdict::LinkId, frame: &[u8]) {
        self.frames.push((Source::Link(link), frame.to_vec()));
    }
}
