//! The engine's golden cases, through the module: the same bytes and counters.
//!
//! What `xded replay` does with a case is done with a sled: its clock is the
//! capture's, its random numbers are the seed, neighbours answer. Each case is
//! played with packets that lie in memory in one piece, again cut up, and again
//! by guests that leave checksums to their device.

#[path = "../../../../xded/src/replay/neighbour.rs"]
mod neighbour;

use super::{LINK, attached, command, end, statistics};
use crate::case::{self, Case};
use crate::script::{self, Place};
use anyhow::{Result, bail, ensure};
use opte_core::Direction;
use opte_core::api::dump::{Counter, Stats};
use opte_core::api::{Command, Response, Setup};
use opte_core::flow::Proto;
use opte_core::wire::offload::{Pieces, Unfinished};
use opte_core::wire::packet;
use pcap_file::pcap::PcapReader;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use xde_loader::{Context, Layout, Sled};

/// The clock when the first frame comes, in nanoseconds (as in `xded replay`).
const START: u64 = 1_000_000_000;
/// Between two ticks.
const TICK: u64 = 100_000_000;
/// Ticks in one gap between frames.
const TICKS_MAX: u64 = 1_024;
/// After the last frame.
const SETTLE: u64 = 5_000_000_000;

/// Plays every case that has something expected.
pub(super) fn all(root: &Path, module: &[u8]) -> Result<Vec<(String, Result<()>)>> {
    let mut done = Vec::new();
    for case in case::list(root, None)? {
        if !case.expected().is_dir() {
            continue;
        }
        for (name, layout) in layouts() {
            let played = play(&case, module, &layout);
            done.push((format!("case {} {name}", case.name), played));
        }
    }
    Ok(done)
}

fn layouts() -> [(&'static str, Layout); 3] {
    let whole = Layout {
        room: 128,
        ..Layout::default()
    };
    let cut = Layout {
        room: 2,
        blocks: vec![14, 20, 8],
        shared: true,
        ..Layout::default()
    };
    let unsummed = Layout {
        room: 128,
        blocks: vec![60, 7, 33],
        unsummed: true,
        ..Layout::default()
    };
    [
        ("in one piece", whole),
        ("cut up", cut),
        ("without checksums", unsummed),
    ]
}

/// Frames by place (`port-NAME`, `link-NAME`), each with its time.
type Frames = BTreeMap<String, Vec<(u64, Vec<u8>)>>;

fn play(case: &Case, module: &[u8], layout: &Layout) -> Result<()> {
    let text = fs::read_to_string(case.setup())?;
    let setup: Setup = toml::from_str(&text)?;
    let inputs = inputs(case)?;
    let sled = attached(module)?;
    plug(&sled, &setup, &inputs);
    sled.set_time(START);
    command(&sled, Command::ApplyParts(setup.clone().into_parts()))?;
    let arguments = fs::read_to_string(case.dir.join("arguments.txt")).unwrap_or_default();
    let mut player = Player {
        sled: &sled,
        setup: &setup,
        layout,
        neighbours: !arguments.contains("--no-neighbours"),
        first: inputs.first().map_or(0, |input| input.time),
        last_tick: START,
        out: Frames::new(),
    };
    player.hear(0)?;
    for input in &inputs {
        player.frame(input)?;
    }
    player.tick_until(player.last_tick + SETTLE)?;
    let out = player.out;
    compare_frames(&case.expected(), &setup, &out)?;
    compare_counters(&case.expected(), &sled, &setup)?;
    end(sled)
}

/// A frame that goes in.
struct Input {
    time: u64,
    place: Place,
    bytes: Vec<u8>,
}

/// Everything that goes in, in the order of times and then of file names.
fn inputs(case: &Case) -> Result<Vec<Input>> {
    let mut by_name: BTreeMap<(String, String), Vec<Input>> = BTreeMap::new();
    let mut add = |input: Input| {
        let (way, name) = input.place.parts();
        let key = (way.to_owned(), name.to_owned());
        by_name.entry(key).or_default().push(input);
    };
    let script = case.dir.join("frames.txt");
    if script.is_file() {
        let text = fs::read_to_string(&script)?;
        for frame in script::compile(&text, &case.scene()?)? {
            add(Input {
                // A capture has microseconds.
                time: u64::try_from(frame.time.as_micros())? * 1_000,
                place: frame.place,
                bytes: frame.bytes,
            });
        }
    }
    for entry in fs::read_dir(&case.dir)? {
        let path = entry?.path();
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        let is_capture = path.extension().is_some_and(|e| e == "pcap");
        let Some((way, name)) = stem.filter(|_| is_capture).and_then(|s| s.split_once('-')) else {
            continue;
        };
        let place = match way {
            "tx" => Place::Tx(name.to_owned()),
            _ => Place::Rx(name.to_owned()),
        };
        let mut reader = PcapReader::new(fs::File::open(&path)?)?;
        while let Some(packet) = reader.next_packet() {
            let packet = packet?;
            add(Input {
                time: u64::try_from(packet.timestamp.as_nanos())?,
                place: place.clone(),
                bytes: packet.data.into_owned(),
            });
        }
    }
    let mut inputs: Vec<Input> = by_name.into_values().flatten().collect();
    inputs.sort_by_key(|input| input.time);
    Ok(inputs)
}

/// Makes datalink ids and NICs. A NIC has the address that frames to the host
/// had when they were captured, if there are such frames.
fn plug(sled: &Sled, setup: &Setup, inputs: &[Input]) {
    super::prepare(sled, setup);
    let Some(underlay) = &setup.underlay else {
        return;
    };
    for (index, link) in underlay.links.iter().enumerate() {
        let [high, low] = u16::try_from(index).unwrap_or(0).to_be_bytes();
        let [a, b, c, d, ..] = LINK;
        let own = [a, b, c, d, high, low];
        let here = inputs
            .iter()
            .filter(|input| input.place == Place::Rx(link.name.clone()));
        let recorded = here.filter_map(|input| to_host(&input.bytes, &underlay.address.octets()));
        sled.plug(
            &link.name,
            recorded.into_iter().next().unwrap_or(own),
            link.mtu,
        );
    }
}

fn to_host(bytes: &[u8], address: &[u8; 16]) -> Option<[u8; 6]> {
    let to_us = bytes.get(12..14) == Some(&[0x86, 0xdd]) && bytes.get(38..54) == Some(address);
    let mac = *bytes.first_chunk::<6>()?;
    (to_us && mac[0] & 1 == 0).then_some(mac)
}

/// A guest's frame without its transport checksum, if it has one and it is right.
fn unsummed(bytes: &[u8]) -> Option<Vec<u8>> {
    let packet = packet::parse(bytes, bytes.len(), Direction::Out).ok()?;
    let unfinished = Unfinished::read(bytes, bytes.len(), 0)?;
    let mut frame = bytes.to_vec();
    let (headers, rest) = frame.split_at_mut(unfinished.headers());
    let payload = rest.get(..unfinished.payload())?;
    unfinished.finish(headers, Pieces::default().bytes(payload));
    let is_right = frame == bytes;
    let at = packet.transport
        + if packet.tuple.proto == Proto::UDP {
            6
        } else {
            16
        };
    frame.get_mut(at..at + 2)?.fill(0x5a);
    is_right.then_some(frame)
}

/// A case that is being played.
struct Player<'p> {
    sled: &'p Sled,
    setup: &'p Setup,
    layout: &'p Layout,
    neighbours: bool,
    /// The capture's time that is [`START`] to the sled.
    first: u64,
    last_tick: u64,
    out: Frames,
}

impl Player<'_> {
    fn frame(&mut self, input: &Input) -> Result<()> {
        let since = input.time.saturating_sub(self.first);
        let now = START + since;
        self.tick_until(now)?;
        self.sled.set_time(now);
        match &input.place {
            Place::Tx(port) => {
                let mut layout = self.layout.clone();
                let unsummed = unsummed(&input.bytes).filter(|_| layout.unsummed);
                layout.unsummed = unsummed.is_some();
                let bytes = unsummed.as_ref().unwrap_or(&input.bytes);
                self.sled
                    .guest_sends(port, &[(bytes, layout)], Context::Packet)?;
            }
            Place::Rx(link) => self.receive(link, &input.bytes)?,
        }
        self.hear(since)
    }

    fn receive(&self, link: &str, bytes: &[u8]) -> Result<()> {
        let packet = [(bytes, self.layout.clone())];
        self.sled.link_receives(link, &packet, Context::Interrupt)
    }

    /// Keeps what was sent, and has neighbours answer.
    fn hear(&mut self, since: u64) -> Result<()> {
        let mut sent: std::collections::VecDeque<_> = self.sled.take_sent().into();
        while let Some((name, bytes)) = sent.pop_front() {
            let is_port = self
                .setup
                .ports
                .iter()
                .any(|port| port.name.as_str() == name);
            let kind = if is_port { "port" } else { "link" };
            let answer = neighbour::answer(&bytes).filter(|_| !is_port && self.neighbours);
            let place = self.out.entry(format!("{kind}-{name}")).or_default();
            place.push((self.first + since, bytes));
            if let Some(answer) = answer {
                self.receive(&name, &answer)?;
                sent.extend(self.sled.take_sent());
            }
        }
        Ok(())
    }

    fn tick_until(&mut self, now: u64) -> Result<()> {
        let gap_ms = now.saturating_sub(self.last_tick) / 1_000_000;
        let step = gap_ms.div_ceil(TICKS_MAX).max(TICK / 1_000_000) * 1_000_000;
        while self.last_tick + step <= now {
            self.last_tick += step;
            self.sled.set_time(self.last_tick);
            self.sled.tick()?;
            self.hear(self.last_tick - START)?;
        }
        Ok(())
    }
}

/// Every frame of every place, byte for byte and at its time.
fn compare_frames(expected: &Path, setup: &Setup, out: &Frames) -> Result<()> {
    let ports = setup.ports.iter().map(|port| format!("port-{}", port.name));
    let links = setup.underlay.iter().flat_map(|underlay| &underlay.links);
    let links = links.map(|link| format!("link-{}", link.name));
    for place in ports.chain(links) {
        let file = fs::read(expected.join(format!("{place}.pcapng")))?;
        let want = case::capture::frames(&file)?;
        let have = out.get(&place).map_or(&[][..], Vec::as_slice);
        for (number, (want, have)) in want.iter().zip(have).enumerate() {
            let bytes = |frame: &[u8]| frame.iter().map(|b| format!("{b:02x}")).collect::<String>();
            ensure!(
                want.1 == have.1,
                "{place}: frame {number} is {} instead of {}",
                bytes(&have.1),
                bytes(&want.1)
            );
            ensure!(
                want.0 == have.0,
                "{place}: frame {number} at {} not {}",
                have.0,
                want.0
            );
        }
        let (want, have) = (want.len(), have.len());
        ensure!(want == have, "{place}: {have} frames, {want} expected");
    }
    Ok(())
}

/// Every counter that moved.
fn compare_counters(expected: &Path, sled: &Sled, setup: &Setup) -> Result<()> {
    let text = fs::read_to_string(expected.join("counters.json"))?;
    let want: Value = serde_json::from_str(&text)?;
    let ask = |port| -> Result<Value> {
        match command(sled, Command::Stats(port))? {
            Response::Stats(stats) => Ok(group(stats)),
            other => bail!("{other:?}"),
        }
    };
    let mut ports = Map::new();
    for port in &setup.ports {
        ports.insert(port.name.to_string(), ask(Some(port.name))?);
        statistics::compare(sled, Some(port.name))?;
    }
    statistics::compare(sled, None)?;
    let have = json!({ "host": ask(None)?, "ports": ports });
    ensure!(want == have, "counters: {have}, expected {want}");
    Ok(())
}

fn group(stats: Stats) -> Value {
    let moved = |counters: Vec<Counter>| -> Map<String, Value> {
        let moved = counters.into_iter().filter(|counter| counter.value != 0);
        moved
            .map(|counter| (counter.name, counter.value.into()))
            .collect()
    };
    let (counters, drops) = (moved(stats.counters), moved(stats.drops));
    json!({ "flows": stats.flows, "counters": counters, "drops": drops })
}
