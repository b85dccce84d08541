//! A thousand connections of Linux's own stack while the firewall's rules are
//! replaced, a thousand at a time.
//!
//! Shape     one thread sends data over the connections and back, round after
//!           round, while `opteadm` replaces the rules. TCP hides a lost packet
//!           by sending it again, so `ss` is asked who had to.

use super::{Ctx, Scenario};
use anyhow::{Context, Result, bail, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "rules",
    about: "1,000 connections carry data while 1,000 rules are replaced: none loses a packet, what is forbidden stops.",
    programs: &[("awk", "mawk"), ("grep", "grep"), ("ss", "iproute2")],
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
    set_rules(ctx, &ports, 0, |_| true)?;
    under_load(&mut pairs, |rounds| {
        for round in 1..=REPLACEMENTS {
            set_rules(ctx, &ports, round, |_| true)?;
            rounds()?;
        }
        Ok(())
    })?;
    for guest in ["g1", "g2"] {
        let again = retransmitting(ctx, guest)?;
        ensure!(again.is_empty(), "{guest} lost packets: {again:?}");
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
    let cut: Vec<u16> = forbidden.iter().map(|pair| pair.port).collect();
    let again = ctx.wait("g1 sends again what was cut", |ctx| {
        let again = retransmitting(ctx, "g1")?;
        Ok((!again.is_empty()).then_some(again))
    })?;
    ensure!(
        again.iter().all(|port| cut.contains(port)),
        "allowed connections lost packets: {again:?}"
    );
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

/// Local ports of a guest's connections that sent anything again.
fn retransmitting(ctx: &mut Ctx, guest: &str) -> Result<Vec<u16>> {
    let line = "ss -OHtin | grep ' retrans:' | awk '{ print $4 }'";
    let told = ctx.run(guest, line)?;
    let port = |line: &str| line.rsplit(':').next()?.parse().ok();
    let ports = told.lines().map(port).collect::<Option<Vec<u16>>>();
    ports.context("ss prints something else")
}
