//! SCTP associations of usrsctp, a whole stack in user space: of the kernel it
//! needs nothing but raw sockets.
//!
//! Its servers say nothing when they are ready. A server is there when its raw
//! sockets are, and has bound its port when an association comes about: who
//! calls a moment too soon is refused, and calls again.

use super::outside::{PLANS, turn_back};
use super::{Ctx, Scenario};
use crate::lab::process::Process;
use crate::lab::rack::{INTERNET_V4, INTERNET_V6};
use anyhow::{Result, ensure};
use std::time::Duration;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "sctp",
    about: "usrsctp opens associations inside of a VPC and by floating addresses, out and in, sends both ways and shuts them down.",
    programs: &[
        ("grep", "grep"),
        ("stdbuf", "coreutils"),
        ("sysctl", "procps"),
        // Debian has these in a folder that nobody searches.
        ("../lib/usrsctp/tsctp", "libusrsctp-examples"),
    ],
    run,
};

pub(super) const FOLDER: &str = "/usr/lib/usrsctp";
/// The first port of a client.
const PORT_MIN: usize = 50_000;
/// Lines that a server sends back.
const LINES: u32 = 50;
/// Messages of an association that sends one way, and bytes of each.
const MESSAGES: u64 = 1_000;
const LEN: u64 = 1_200;
/// How long an association may take.
const BRIEF: Duration = Duration::from_secs(20);
/// What tracking refuses, in counters.
const REFUSALS: [&str; 3] = ["sctp_bad_tag", "sctp_no_flow", "bad_transport"];

/// g1 and g3, which are of one VPC, learn about each other.
const VPC: [(&str, &str); 8] = [
    (
        "sled-a",
        "set-v2p 1001 10.0.0.13 A8:40:25:F0:00:03 fd00:99::b",
    ),
    (
        "sled-a",
        "set-v2p 1001 fd77:1::13 A8:40:25:F0:00:03 fd00:99::b",
    ),
    (
        "sled-a",
        "add-router-entry -p g1 10.0.0.0/24 sub4=10.0.0.0/24 system",
    ),
    (
        "sled-a",
        "add-router-entry -p g1 fd77:1::/64 sub6=fd77:1::/64 system",
    ),
    (
        "sled-b",
        "set-v2p 1001 10.0.0.11 A8:40:25:F0:00:01 fd00:99::a",
    ),
    (
        "sled-b",
        "set-v2p 1001 fd77:1::11 A8:40:25:F0:00:01 fd00:99::a",
    ),
    (
        "sled-b",
        "add-router-entry -p g3 10.0.0.0/24 sub4=10.0.0.0/24 system",
    ),
    (
        "sled-b",
        "add-router-entry -p g3 fd77:1::/64 sub6=fd77:1::/64 system",
    ),
];

fn run(ctx: &mut Ctx) -> Result<()> {
    ctx.build(&PLANS)?;
    ctx.give_addresses()?;
    turn_back(ctx)?;
    for (sled, command) in VPC {
        ctx.opteadm(sled, &command.split(' ').collect::<Vec<_>>())?;
    }
    let (v4, v6) = (INTERNET_V4.to_string(), INTERNET_V6.to_string());
    // From sled to sled; out; in; and by the boundary from sled to sled.
    let mut port = PORT_MIN;
    for (from, to, addresses) in [
        ("g1", "g3", ["10.0.0.13", "fd77:1::13"]),
        ("g2", "internet", [v4.as_str(), v6.as_str()]),
        ("internet", "g2", ["198.51.100.2", "2001:db8:51::2"]),
        ("g3", "g2", ["198.51.100.2", "2001:db8:51::2"]),
        ("g2", "g3", ["198.51.100.3", "2001:db8:51::3"]),
    ] {
        for address in addresses {
            port = converse(ctx, from, (to, address), port)?;
        }
        let [v4, _] = addresses;
        pour(ctx, from, (to, v4))?;
    }
    for (sled, port) in [("sled-a", "g1"), ("sled-a", "g2"), ("sled-b", "g3")] {
        let counters = ctx.opteadm(sled, &["stats", "-p", port])?;
        for refusal in REFUSALS {
            ensure!(!counters.contains(refusal), "{port} refused: {refusal}");
        }
    }
    // Nobody comes in where no rule lets him, and nobody gets out by a shared
    // address: it would need a pool for SCTP.
    for (from, address, port, guest, reason) in [
        ("internet", "198.51.100.2", "9", "g2", "firewall_default"),
        ("g1", v4.as_str(), "7777", "g1", "no_external_address"),
    ] {
        let line = format!("timeout 3 {FOLDER}/tsctp -n 1 -p {port} {address} > refused.txt 2>&1");
        let called = ctx.attempt(from, &line, BRIEF)?.success;
        ensure!(!called, "{address} was reached");
        let counters = ctx.opteadm("sled-a", &["stats", "-p", guest])?;
        ensure!(counters.contains(reason), "not for that reason");
    }
    // That is what it was about: tshark finds the associations on the underlay.
    for address in [
        "ip.dst == 10.0.0.13",
        "ipv6.dst == fd77:1::13",
        "ip.dst == 198.51.100.2",
        "ipv6.dst == 2001:db8:51::2",
    ] {
        let filter = format!("geneve && sctp && {address}");
        let found = ctx.underlay(&filter, &["frame.number"])?.len();
        ensure!(found > 10, "{found} packets with {address} crossed");
    }
    Ok(())
}

/// An association whose server sends back each of a few lines. The client shuts
/// it down when somebody has looked at it. Its port is `port` or, if it wasn't
/// heard, the next one: the client that gave up may still be there. Returns the
/// first port that wasn't used.
fn converse(ctx: &mut Ctx, from: &str, (to, address): (&str, &str), port: usize) -> Result<usize> {
    let mut server = serve(ctx, to, "echo_server")?;
    let lines = format!("seq -f 'line %g' {LINES}; until test -e looked; do sleep 0.05; done");
    let mut call = |port: usize| -> Result<(Process, usize)> {
        ctx.run(from, "rm -f looked")?;
        let client = format!("stdbuf -oL {FOLDER}/client {address} 7 {port}");
        let mut client = ctx.start(from, &format!("sh -c \"({lines}) | {client}\""), "")?;
        client.wait_for_line("SCTP_COMM_UP", BRIEF)?;
        Ok((client, port))
    };
    let (mut client, port) = call(port).or_else(|_| call(port + 1))?;
    client.wait_for_line(&format!("line {LINES}"), BRIEF)?;
    are(ctx, [from, to], (address, port), "ESTABLISHED")?;
    ctx.run(from, "touch looked")?;
    client.wait_for_line("SCTP_SHUTDOWN_COMP", BRIEF)?;
    are(ctx, [from, to], (address, port), "CLOSED")?;
    server.stop();
    Ok(port + 1)
}

/// An association with many messages one way.
fn pour(ctx: &mut Ctx, from: &str, (to, address): (&str, &str)) -> Result<()> {
    let many = format!("tsctp -n {MESSAGES} -l {LEN} -p 7777");
    let mut server = serve(ctx, to, &many)?;
    let call = format!("{FOLDER}/{many} {address} > poured.txt 2>&1");
    ctx.wait("every message is sent", |ctx| {
        let sent = ctx.attempt(from, &call, BRIEF)?.success;
        Ok(sent.then_some(()))
    })?;
    // Their length, how many there were, and how many bytes.
    let line = format!("{LEN}, {MESSAGES}, {MESSAGES}, {}, ", MESSAGES * LEN);
    server.wait_for_line(&line, BRIEF)?;
    server.stop();
    Ok(())
}

/// Starts a server and waits for its raw sockets.
pub(super) fn serve(ctx: &mut Ctx, place: &str, server: &str) -> Result<Process> {
    let process = ctx.start(place, &format!("stdbuf -oL {FOLDER}/{server}"), "")?;
    ctx.wait("the server has its sockets", |ctx| {
        // The protocol's number stands where others have a port.
        let line = "grep -q ':0084 ' /proc/net/raw && grep -q ':0084 ' /proc/net/raw6";
        let found = ctx.attempt(place, line, BRIEF)?.success;
        Ok(found.then_some(()))
    })?;
    Ok(process)
}

/// Waits until both ports that are on its way see an association in this
/// state. Each side tries all addresses of the other, and every one is a flow of
/// its own; this is about the one that was called.
fn are(
    ctx: &mut Ctx,
    guests: [&str; 2],
    (address, port): (&str, usize),
    wanted: &str,
) -> Result<()> {
    let ipv6 = address.contains(':');
    for (sled, guest) in [("sled-a", "g1"), ("sled-a", "g2"), ("sled-b", "g3")] {
        if !guests.contains(&guest) {
            continue;
        }
        ctx.wait(&format!("{guest}'s association is {wanted}"), |ctx| {
            let fields = "proto,local,remote,state";
            let dump = ctx.opteadm(
                sled,
                &["dump-tcp-flows", "--port", guest, "-o", fields, "-P"],
            )?;
            let mut flows = dump.lines().filter(|line| {
                let ends = line.replace('\\', "") + ":";
                ends.starts_with("sctp:")
                    && ends.contains(&format!(":{port}:"))
                    && ends.contains('[') == ipv6
            });
            let is_it = flows.any(|line| line.ends_with(&format!(":{wanted}")));
            Ok(is_it.then_some(()))
        })?;
    }
    Ok(())
}
