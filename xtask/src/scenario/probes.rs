//! Scripts of `dtrace/` by the real tracer, on drivers with guests.
//!
//! Purpose   what the scripts print is what happened: lines and totals are
//!           compared with what guests did, and with each other.
//! Rules     D1  Linux's stacks say things of their own at any time. So what is
//!               counted is between addresses and ports that only this uses.

mod manual;
mod other;
mod refusal;
mod traffic;

use super::group::MULTICAST;
use super::{Ctx, Scenario};
use crate::demo::rack::PLANS;
use crate::lab::rack::with_setups;
use crate::tracer::Told;
use anyhow::{Context, Result, ensure};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "probes",
    about: "scripts print, line by line and in their totals, what guests did and what was refused, over IPv4 and IPv6.",
    programs: &[
        ("busybox", "busybox"),
        ("cpp", "cpp"),
        ("dhclient", "isc-dhcp-client"),
        ("ping", "iputils-ping"),
        ("stdbuf", "coreutils"),
        ("../lib/usrsctp/tsctp", "libusrsctp-examples"),
    ],
    run,
};

/// A port of g2 that its firewall allows for TCP, and one for UDP.
const TCP_PORT: u16 = 5_001;
const UDP_PORT: u16 = 6_000;
/// Echo requests, datagrams, and bytes of a datagram.
const PINGS: usize = 5;
const DATAGRAMS: usize = 3;
const DATA: &[u8] = b"sevenby";
/// What all echo requests have for an identifier.
const ECHO_ID: u16 = 77;
/// How long anything of this may take.
const LIMIT: Duration = Duration::from_secs(30);

/// g1's external ports, of which it has two.
const EXTERNAL_PORTS: [&str; 2] = ["last_port = 10999", "last_port = 10001"];

fn run(ctx: &mut Ctx) -> Result<()> {
    let [many, two] = EXTERNAL_PORTS;
    let setups = PLANS.map(|plan| [&plan.setup.replace(many, two), MULTICAST].concat());
    ctx.build(&with_setups(&PLANS, &setups))?;
    ctx.give_addresses()?;
    let rule = format!("dir=in priority=50 action=allow protocols=udp ports={UDP_PORT}");
    ctx.opteadm("sled-a", &["add-fw-rule", "-p", "g2", &rule])?;
    traffic::play(ctx)?;
    manual::play(ctx)?;
    other::play(ctx)?;
    refusal::play(ctx)
}

/// The addresses of g1 and g2 of each family, and the name of its ICMP.
fn families(ctx: &Ctx) -> Result<[(IpAddr, IpAddr, &'static str); 2]> {
    let of = |ipv6, icmp| -> Result<_> {
        let address = |guest| ctx.tenant(guest)?.address(ipv6);
        Ok((address("g1")?, address("g2")?, icmp))
    };
    Ok([of(false, "ICMP")?, of(true, "ICMPv6")?])
}

/// A socket of a guest.
fn socket(ctx: &Ctx, guest: &str, at: SocketAddr) -> Result<UdpSocket> {
    let namespace = &ctx.tenant(guest)?.guest.namespace;
    let socket = namespace.run(|| UdpSocket::bind(at).with_context(|| at.to_string()))?;
    socket.set_read_timeout(Some(LIMIT))?;
    Ok(socket)
}

/// Datagrams from g1 to g2, each of which is answered.
fn datagrams(ctx: &Ctx, (from, to): (SocketAddr, SocketAddr)) -> Result<()> {
    println!("{DATAGRAMS} datagrams from {from} to {to} and back");
    let (client, server) = (socket(ctx, "g1", from)?, socket(ctx, "g2", to)?);
    let mut buffer = [0; 64];
    for _ in 0..DATAGRAMS {
        client.send_to(DATA, to)?;
        let (len, back) = server.recv_from(&mut buffer)?;
        server.send_to(buffer.get(..len).unwrap_or_default(), back)?;
        client.recv_from(&mut buffer)?;
    }
    Ok(())
}

/// A connection from g1 to g2, five bytes each way, closed by the client.
fn connection(ctx: &Ctx, to: SocketAddr) -> Result<()> {
    println!("a connection from g1 to {to}");
    let listener = ctx
        .tenant("g2")?
        .guest
        .namespace
        .run(|| Ok(TcpListener::bind(to)?))?;
    let connect = || Ok(TcpStream::connect_timeout(&to, LIMIT)?);
    let mut client = ctx.tenant("g1")?.guest.namespace.run(connect)?;
    let (mut server, _) = listener.accept()?;
    let mut bytes = [0; 5];
    for (from, to) in [(&mut client, &mut server)] {
        for end in [&*from, &*to] {
            end.set_read_timeout(Some(LIMIT))?;
        }
        from.write_all(b"hello")?;
        to.read_exact(&mut bytes)?;
        to.write_all(&bytes)?;
        from.read_exact(&mut bytes)?;
    }
    drop(client);
    ensure!(server.read(&mut bytes)? == 0, "more than was sent");
    Ok(())
}

/// Echo requests from g1, each after the answer to the one before. One `ping`
/// for all of them wouldn't wait long for the last answer.
fn ping(ctx: &mut Ctx, to: IpAddr) -> Result<()> {
    for _ in 0..PINGS {
        // With an identifier in common they are one flow.
        ctx.run("g1", &format!("ping -c 1 -W 20 -e {ECHO_ID} {to}"))?;
    }
    Ok(())
}

/// Starts scripts, has something happen, and hands on what each printed.
fn watch<const N: usize>(
    ctx: &mut Ctx,
    scripts: [&str; N],
    happen: impl FnOnce(&mut Ctx) -> Result<()>,
) -> Result<[Told; N]> {
    let trace = crate::tracer::begin(ctx.folder(), "sled-a", &scripts)?;
    // With each command the driver looks at who watches; without one, frames
    // aren't told before its next tick.
    ctx.opteadm("sled-a", &["list-ports"])?;
    happen(ctx)?;
    let told = trace.end()?;
    told.try_into()
        .ok()
        .context("another number of scripts has printed something")
}

/// A script has so many lines that begin with these words.
fn exactly(script: &str, told: &Told, pattern: &[&str], wanted: usize) -> Result<()> {
    let lines = told.count(pattern);
    ensure!(
        lines == wanted,
        "{script}: {lines} lines {pattern:?} instead of {wanted}"
    );
    Ok(())
}

/// Two numbers are the same.
fn same(what: &str, left: usize, right: usize) -> Result<()> {
    ensure!(left == right, "{what}: {left} instead of {right}");
    Ok(())
}
