//! A thousand connections of Linux's own stack while the firewall's rules are
//! replaced, a thousand at a time.
//!
//! Shape     one thread sends data over the connections and back, round after
//!           round, while `opteadm` replaces the rules. TCP hides a lost packet
//!           by sending it again, so `ss` is asked what either side has sent and
//!           the other one received. That something was sent again says less:
//!           it may just have been slow.

use super::{Ctx, Scenario};
use anyhow::{Context, Result, bail, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "rules",
    about: "1,000 connections carry data while 1,000 rules are replaced: none loses a packet, what is forbidden stops.",
    programs: &[("ip", "iproute2"), ("ss", "iproute2")],
    run,
};

const CONNECTIONS: usize = 1_000;
/// Connections whose data is on the way at one time: fewer than a TAP holds.
const WINDOW: usize = 50;
/// Times that the rules are replaced while everything is allowed.
const REPLACEMENTS: u32 = 8;
/// Bytes each way, on each connection, in each round.
const MESSAGE_LEN: usize = 200;
const PORT: u16 = 7_000;
/// How long one message may take. A lost one comes again after 200 ms.
const MESSAGE_LIMIT: Duration = Duration::from_secs(10);

const SETUP: &str = r#"
[underlay]
address = "fd00:99::a"
link = [{ name = "net0" }]

[[port]]
name = "g1"
mac = "A8:40:25:F0:00:01"
vni = 1001
ipv4 = { address = "10.0.0.11", gateway = "10.0.0.1" }
routes = ["10.0.0.0/24 sub4=10.0.0.0/24 system"]

[[port]]
name = "g2"
mac = "A8:40:25:F0:00:02"
vni = 1001
ipv4 = { address = "10.0.0.12", gateway = "10.0.0.1" }
routes = ["10.0.0.0/24 sub4=10.0.0.0/24 system"]
rules = ["dir=in priority=1 action=allow protocols=tcp ports=7000"]
"#;

fn run(ctx: &mut Ctx) -> Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most).context("can't open so many sockets")?;
    let setup = SETUP;
    ctx.build(&[crate::lab::rack::Plan {
        name: "sled-a",
        setup,
    }])?;
    ctx.give_addresses()?;
    let mut pairs = connect(ctx)?;
    let ports: Vec<u16> = pairs.iter().map(|pair| pair.port).collect();
    let ways = [Way::begin(ctx, "g1", "g2")?, Way::begin(ctx, "g2", "g1")?];
    set_rules(ctx, &ports, 0, |_| true)?;
    under_load(&mut pairs, |rounds| {
        for round in 1..=REPLACEMENTS {
            set_rules(ctx, &ports, round, |_| true)?;
            rounds()?;
        }
        Ok(())
    })?;
    for way in &ways {
        way.has_lost_nothing(ctx, &ports)?;
    }

    // Every tenth is forbidden now; the others don't notice.
    let is_allowed = |at: usize| !at.is_multiple_of(10);
    let (allowed, forbidden): (Vec<_>, Vec<_>) = pairs
        .into_iter()
        .enumerate()
        .partition(|(at, _)| is_allowed(*at));
    let mut allowed: Vec<Pair> = allowed.into_iter().map(|(_, pair)| pair).collect();
    let mut forbidden: Vec<Pair> = forbidden.into_iter().map(|(_, pair)| pair).collect();
    under_load(&mut allowed, |rounds| {
        set_rules(ctx, &ports, REPLACEMENTS + 1, is_allowed)?;
        for pair in &mut forbidden {
            pair.client.write_all(&[0; MESSAGE_LEN])?;
        }
        rounds()?;
        rounds()
    })?;
    for pair in &mut forbidden {
        pair.server.set_nonblocking(true)?;
        match pair.server.read(&mut [0; 1]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            other => bail!("port {} is forbidden and reads {other:?}", pair.port),
        }
    }
    let [there, _] = &ways;
    let missing = there.missing(ctx)?;
    for Pair { port, .. } in &forbidden {
        let is_missing = missing.get(port).is_some_and(|count| *count > 0);
        ensure!(is_missing, "what port {port} sent came through");
    }
    let ports: Vec<u16> = allowed.iter().map(|pair| pair.port).collect();
    for way in &ways {
        way.has_lost_nothing(ctx, &ports)?;
    }
    let stats = ctx.opteadm("sled-a", &["stats", "-p", "g2"])?;
    ensure!(stats.contains("firewall_deny"), "no drop is counted");
    Ok(())
}

/// A connection, both of its ends.
struct Pair {
    client: TcpStream,
    server: TcpStream,
    /// The client's port.
    port: u16,
}

/// Opens the connections, from `g1` to `g2`.
fn connect(ctx: &Ctx) -> Result<Vec<Pair>> {
    let to = SocketAddr::new(ctx.tenant("g2")?.address(false)?, PORT);
    let listener = ctx
        .tenant("g2")?
        .guest
        .namespace
        .run(|| TcpListener::bind(to).context("can't listen"))?;
    println!("opening {CONNECTIONS} connections from g1 to {to}");
    ctx.tenant("g1")?.guest.namespace.run(|| {
        let open = |_| -> Result<Pair> {
            let client = TcpStream::connect_timeout(&to, MESSAGE_LIMIT)?;
            let (server, from) = listener.accept()?;
            for end in [&client, &server] {
                end.set_read_timeout(Some(MESSAGE_LIMIT))?;
                end.set_nodelay(true)?;
            }
            Ok(Pair {
                client,
                server,
                port: from.port(),
            })
        };
        (0..CONNECTIONS).map(open).collect()
    })
}

/// Sends data over all connections and back until `work` is done. It is given
/// a function that waits for a whole round.
fn under_load(
    pairs: &mut [Pair],
    work: impl FnOnce(&dyn Fn() -> Result<()>) -> Result<()>,
) -> Result<()> {
    let (stop, rounds) = (AtomicBool::new(false), AtomicU32::new(0));
    thread::scope(|scope| {
        let pump = scope.spawn(|| -> Result<()> {
            while !stop.load(Ordering::Relaxed) {
                exchange(pairs, rounds.load(Ordering::Relaxed))?;
                rounds.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        });
        let wait = || {
            let now = rounds.load(Ordering::Relaxed);
            // The round that is under way began before.
            while rounds.load(Ordering::Relaxed) < now.saturating_add(2) {
                ensure!(!pump.is_finished(), "the data stopped");
                thread::sleep(Duration::from_millis(5));
            }
            Ok(())
        };
        let worked = work(&wait);
        stop.store(true, Ordering::Relaxed);
        let pumped = match pump.join() {
            Ok(pumped) => pumped,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        // Why the data stopped says more than that it did.
        pumped?;
        println!("{} rounds of data", rounds.load(Ordering::Relaxed));
        worked
    })
}

/// One message there and back on every connection.
fn exchange(pairs: &mut [Pair], round: u32) -> Result<()> {
    for window in pairs.chunks_mut(WINDOW) {
        let message = |pair: &Pair| {
            let mut message = [0; MESSAGE_LEN];
            message[..4].copy_from_slice(&round.to_be_bytes());
            message[4..6].copy_from_slice(&pair.port.to_be_bytes());
            message
        };
        for pair in &mut *window {
            let message = message(pair);
            pair.client.write_all(&message)?;
        }
        for pair in &mut *window {
            let expected = message(pair);
            receive(&mut pair.server, &expected).with_context(|| here(pair, "g2"))?;
            pair.server.write_all(&expected)?;
        }
        for pair in &mut *window {
            let expected = message(pair);
            receive(&mut pair.client, &expected).with_context(|| here(pair, "g1"))?;
        }
    }
    Ok(())
}

fn here(pair: &Pair, place: &str) -> String {
    format!("the connection from port {}, at {place}", pair.port)
}

fn receive(stream: &mut TcpStream, expected: &[u8; MESSAGE_LEN]) -> Result<()> {
    let mut message = [0; MESSAGE_LEN];
    stream.read_exact(&mut message)?;
    ensure!(message == *expected, "other data than was sent");
    Ok(())
}

/// Replaces the rules of `g2` by one for each connection, with priorities that
/// differ from round to round.
fn set_rules(
    ctx: &Ctx,
    ports: &[u16],
    round: u32,
    is_allowed: impl Fn(usize) -> bool,
) -> Result<()> {
    let mut text = String::new();
    for (at, port) in ports.iter().enumerate() {
        let number = u32::try_from(at)?;
        let priority = (number * 7 + round * 13) % 1_000;
        let action = if is_allowed(at) { "allow" } else { "deny" };
        writeln!(
            text,
            "dir=in priority={priority} action={action} hosts=10.0.0.11 protocols=tcp ports={PORT} source_ports={port}"
        )?;
    }
    let file = ctx.folder().join("rules.txt");
    std::fs::write(&file, text)?;
    let file = file.to_str().context("a folder with a strange name")?;
    ctx.opteadm("sled-a", &["set-fw-rules", "-p", "g2", file])?;
    Ok(())
}

/// A direction of all connections.
struct Way {
    from: &'static str,
    to: &'static str,
    /// What was missing when they had been opened: not every segment of a
    /// handshake counts on both sides.
    before: BTreeMap<u16, i64>,
}

impl Way {
    fn begin(ctx: &mut Ctx, from: &'static str, to: &'static str) -> Result<Self> {
        let before = BTreeMap::new();
        let mut way = Self { from, to, before };
        way.before = way.missing(ctx)?;
        Ok(way)
    }

    /// Segments of each connection that were sent and have not been received,
    /// by the client's port: they were lost or are on the way.
    fn missing(&self, ctx: &mut Ctx) -> Result<BTreeMap<u16, i64>> {
        // The receiver is asked first: what is sent in between is missing for
        // now, and hides nothing that was lost.
        let received = segments(ctx, self.to)?;
        let sent = segments(ctx, self.from)?;
        let both = sent.into_iter().map(|(port, (sent, _))| {
            let (_, received) = received.get(&port).context("half a connection")?;
            let before = self.before.get(&port).unwrap_or(&0);
            Ok((port, sent - received - before))
        });
        both.collect()
    }

    /// Waits until everything has arrived, but for what the sender's own device
    /// dropped: a driver that gets no time to read never saw it.
    fn has_lost_nothing(&self, ctx: &mut Ctx, ports: &[u16]) -> Result<()> {
        let Self { from, to, .. } = self;
        ctx.wait(&format!("{to} has received what {from} sent"), |ctx| {
            let missing = self.missing(ctx)?;
            let missing = ports.iter().map(|port| missing.get(port).copied());
            let missing: Option<i64> = missing.sum();
            let missing = missing.context("a connection is gone")?;
            let line = format!("ip -s -j link show dev {from}");
            let devices: serde_json::Value = serde_json::from_str(&ctx.run(from, &line)?)?;
            let dropped = devices.pointer("/0/stats64/tx/dropped");
            let dropped = dropped.and_then(serde_json::Value::as_i64);
            let dropped = dropped.context("ip prints something else")?;
            println!("{missing} are missing, {dropped} were dropped by {from}");
            Ok((missing <= dropped).then_some(()))
        })
    }
}

/// Segments of a guest's connections, sent and received, by the client's port.
fn segments(ctx: &mut Ctx, guest: &str) -> Result<BTreeMap<u16, (i64, i64)>> {
    let file = ctx.folder().join(format!("{guest}.ss"));
    ctx.run(guest, &format!("ss -OHtin > {}", file.display()))?;
    let connection = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let port = |word: &str| word.rsplit(':').next()?.parse::<u16>().ok();
        let ends = [port(words.get(3)?)?, port(words.get(4)?)?];
        // What is zero isn't told.
        let count = |name| {
            let told = words.iter().find_map(|word| word.strip_prefix(name));
            told.unwrap_or("0").parse().ok()
        };
        Some((
            ends.into_iter().find(|end| *end != PORT)?,
            (count("segs_out:")?, count("segs_in:")?),
        ))
    };
    let told = std::fs::read_to_string(file)?;
    let all = told.lines().map(connection).collect::<Option<_>>();
    all.context("ss prints something else")
}
