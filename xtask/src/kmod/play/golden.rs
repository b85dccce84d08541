//! The engine's golden cases, through the module: the same bytes and counters,
//! and the same probes with the same arguments.
//!
//! What `xded replay` does with a case is done with a sled: its clock is the
//! capture's, its random numbers are the seed, neighbours answer. Each case is
//! played with packets that lie in memory in one piece, again cut up, and again
//! by guests that leave checksums to their device. All that its probes tell is
//! compared with what the engine tells by itself of the same case; once more
//! nobody watches.

#[path = "../../../../xded/src/replay/neighbour.rs"]
pub(super) mod neighbour;

use super::engine::Engine;
use super::input::{self, Input};
use super::{attached, command, end, probe, statistics, watched};
use crate::case::{self, Case};
use crate::script::Place;
use anyhow::{Result, bail, ensure};
use opte_core::api::dump::{Counter, Stats};
use opte_core::api::{Command, Response, Setup};
use opte_core::host::LinkDevice;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use xde_loader::{Context, Layout, Sent, Sled, Told};

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
    let of_commands = probe::of_commands(module);
    let names = |events: &[Event]| -> Vec<String> {
        let names = events.iter().map(|(name, _)| name.clone());
        names.collect()
    };
    let mut fired = BTreeSet::from_iter(names(of_commands.as_deref().unwrap_or_default()));
    let mut done = vec![("probes of commands".to_owned(), of_commands.map(drop))];
    for case in case::list(root, None)? {
        if !case.expected().is_dir() {
            continue;
        }
        let scene = Scene::read(&case)?;
        let alone = scene.engine()?;
        fired.extend(names(&alone));
        for (name, layout, watched) in layouts() {
            let told = if watched { &alone[..] } else { &[] };
            let played = scene.module(module, &layout, watched, told);
            done.push((format!("case {} {name}", case.name), played));
        }
    }
    done.push(("all probes fire".to_owned(), probe::all_of(&fired)));
    Ok(done)
}

/// How packets lie in memory, and whether somebody watches all probes.
fn layouts() -> [(&'static str, Layout, bool); 4] {
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
        ("in one piece", whole.clone(), true),
        ("cut up", cut, true),
        ("without checksums", unsummed, true),
        ("unwatched", whole, false),
    ]
}

/// Frames by place (`port-NAME`, `link-NAME`), each with its time.
pub(super) type Frames = BTreeMap<String, Vec<(u64, Vec<u8>)>>;

/// What a case is played on: a sled, or the engine by itself.
pub(super) trait Machine {
    fn command(&self, command: Command) -> Result<Response>;
    fn set_time(&self, nanos: u64);
    fn guest_sends(&self, port: &str, frame: &[u8], layout: &Layout) -> Result<()>;
    fn link_receives(&self, link: &str, frame: &[u8], layout: &Layout) -> Result<()>;
    fn tick(&self) -> Result<()>;
    fn take_sent(&self) -> Vec<Sent>;
    /// What probes told since the last call.
    fn take_events(&self) -> Vec<Event>;
}

impl Machine for Sled {
    fn command(&self, command: Command) -> Result<Response> {
        super::command(self, command)
    }

    fn set_time(&self, nanos: u64) {
        Self::set_time(self, nanos);
    }

    fn guest_sends(&self, port: &str, frame: &[u8], layout: &Layout) -> Result<()> {
        Self::guest_sends(self, port, &[(frame, layout.clone())], Context::Packet)
    }

    fn link_receives(&self, link: &str, frame: &[u8], layout: &Layout) -> Result<()> {
        Self::link_receives(self, link, &[(frame, layout.clone())], Context::Interrupt)
    }

    fn tick(&self) -> Result<()> {
        Self::tick(self)
    }

    fn take_sent(&self) -> Vec<Sent> {
        Self::take_sent(self)
    }

    fn take_events(&self) -> Vec<Event> {
        let fired = self.take_probes().into_iter();
        fired.map(|probe| (probe.name, probe.told)).collect()
    }
}

/// A probe that fired, and what its arguments tell.
pub(super) type Event = (String, Vec<Told>);

/// A case as it is read.
pub(super) struct Scene {
    expected: PathBuf,
    setup: Setup,
    inputs: Vec<Input>,
    nics: BTreeMap<String, LinkDevice>,
    neighbours: bool,
}

impl Scene {
    pub(super) fn read(case: &Case) -> Result<Self> {
        let setup: Setup = toml::from_str(&fs::read_to_string(case.setup())?)?;
        let inputs = input::inputs(case)?;
        let arguments = fs::read_to_string(case.dir.join("arguments.txt")).unwrap_or_default();
        Ok(Self {
            expected: case.expected(),
            nics: input::nics(&setup, &inputs),
            setup,
            inputs,
            neighbours: !arguments.contains("--no-neighbours"),
        })
    }

    /// What the engine tells by itself; it is one that does what is expected.
    fn engine(&self) -> Result<Vec<Event>> {
        let engine = Engine::new(self.nics.clone())?;
        let (frames, mut events) = self.play(&engine, &Layout::default())?;
        compare_frames(&self.expected, &self.setup, &frames)?;
        engine.command(Command::Apply(Setup::default()))?;
        events.extend(engine.take_events());
        Ok(events)
    }

    /// Has the module do the same, and its probes tell this.
    fn module(
        &self,
        module: &[u8],
        layout: &Layout,
        is_watched: bool,
        told: &[Event],
    ) -> Result<()> {
        let sled = match is_watched {
            true => watched(module)?,
            false => attached(module)?,
        };
        self.prepare(&sled);
        let (frames, mut events) = self.play(&sled, layout)?;
        compare_frames(&self.expected, &self.setup, &frames)?;
        compare_counters(&self.expected, &sled, &self.setup)?;
        let _ = sled.take_events();
        sled.command(Command::Apply(Setup::default()))?;
        events.extend(sled.take_events());
        probe::compare(told, &events, layout)?;
        end(sled)
    }

    /// Makes datalink ids and NICs.
    fn prepare(&self, sled: &Sled) {
        super::prepare(sled, &self.setup);
        for (name, nic) in &self.nics {
            sled.plug(name, nic.mac.0, nic.mtu);
        }
    }

    /// The same without frames later than so many nanoseconds after the first.
    pub(super) fn until(mut self, nanos: u64) -> Self {
        let first = self.inputs.first().map_or(0, |input| input.time);
        self.inputs.retain(|input| input.time - first <= nanos);
        self
    }

    /// A sled with the setup.
    pub(super) fn host(&self, module: &[u8]) -> Result<Sled> {
        let sled = attached(module)?;
        self.prepare(&sled);
        self.begin(&sled)?;
        Ok(sled)
    }

    /// All frames, and what is told meanwhile.
    fn play(&self, machine: &dyn Machine, layout: &Layout) -> Result<(Frames, Vec<Event>)> {
        self.begin(machine)?;
        let frames = self.carry(machine, layout)?;
        Ok((frames, machine.take_events()))
    }

    fn begin(&self, machine: &dyn Machine) -> Result<()> {
        machine.set_time(START);
        machine.command(Command::ApplyParts(self.setup.clone().into_parts()))?;
        Ok(())
    }

    /// Has all frames go in; what comes out until some time later.
    pub(super) fn carry(&self, machine: &dyn Machine, layout: &Layout) -> Result<Frames> {
        let mut player = Player {
            machine,
            setup: &self.setup,
            layout,
            neighbours: self.neighbours,
            first: self.inputs.first().map_or(0, |input| input.time),
            last_tick: START,
            out: Frames::new(),
        };
        player.hear(0)?;
        for input in &self.inputs {
            player.frame(input)?;
        }
        player.tick_until(player.last_tick + SETTLE)?;
        Ok(player.out)
    }
}

/// A case that is being played.
struct Player<'p> {
    machine: &'p dyn Machine,
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
        self.machine.set_time(now);
        match &input.place {
            Place::Tx(port) => {
                let mut layout = self.layout.clone();
                let unsummed = input::unsummed(&input.bytes).filter(|_| layout.unsummed);
                layout.unsummed = unsummed.is_some();
                let bytes = unsummed.as_ref().unwrap_or(&input.bytes);
                self.machine.guest_sends(port, bytes, &layout)?;
            }
            Place::Rx(link) => self.receive(link, &input.bytes)?,
        }
        self.hear(since)
    }

    fn receive(&self, link: &str, bytes: &[u8]) -> Result<()> {
        self.machine.link_receives(link, bytes, self.layout)
    }

    /// Keeps what was sent, and has neighbours answer.
    fn hear(&mut self, since: u64) -> Result<()> {
        let mut sent: std::collections::VecDeque<_> = self.machine.take_sent().into();
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
                sent.extend(self.machine.take_sent());
            }
        }
        Ok(())
    }

    fn tick_until(&mut self, now: u64) -> Result<()> {
        let gap_ms = now.saturating_sub(self.last_tick) / 1_000_000;
        let step = gap_ms.div_ceil(TICKS_MAX).max(TICK / 1_000_000) * 1_000_000;
        while self.last_tick + step <= now {
            self.last_tick += step;
            self.machine.set_time(self.last_tick);
            self.machine.tick()?;
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
