//! SCTP associations of usrsctp, a whole stack in user space: of the kernel it
//! needs nothing but raw sockets.

use super::outside::PLANS;
use super::{Ctx, Scenario};
use crate::lab::rack::{INTERNET_V4, INTERNET_V6};
use anyhow::{Result, ensure};
use std::time::Duration;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "sctp",
    about: "usrsctp opens associations through floating addresses, out and in, sends messages both ways and shuts them down.",
    // Debian has these programs in a folder that nobody searches.
    programs: &[("../lib/usrsctp/tsctp", "libusrsctp-examples")],
    run,
};

const FOLDER: &str = "/usr/lib/usrsctp";
/// Messages of an association that sends one way, and bytes of each.
const MESSAGES: u64 = 1_000;
const LEN: u64 = 1_200;
/// What tracking refuses, in counters.
const REFUSALS: [&str; 3] = ["sctp_bad_tag", "sctp_no_flow", "bad_transport"];

fn run(ctx: &mut Ctx) -> Result<()> {
    ctx.build(&PLANS)?;
    ctx.give_addresses()?;
    let (v4, v6) = (INTERNET_V4.to_string(), INTERNET_V6.to_string());
    // Out; in; and by the boundary from sled to sled.
    for (from, to, addresses) in [
        ("g2", "internet", [v4.as_str(), v6.as_str()]),
        ("internet", "g2", ["198.51.100.2", "2001:db8:51::2"]),
        ("g3", "g2", ["198.51.100.2", "2001:db8:51::2"]),
        ("g2", "g3", ["198.51.100.3", "2001:db8:51::3"]),
    ] {
        for address in addresses {
            converse(ctx, from, (to, address))?;
        }
        let [v4, _] = addresses;
        pour(ctx, from, (to, v4))?;
    }
    for (sled, port) in [("sled-a", "g2"), ("sled-b", "g3")] {
        let counters = ctx.opteadm(sled, &["stats", "-p", port])?;
        for refusal in REFUSALS {
            ensure!(!counters.contains(refusal), "{port} refused: {refusal}");
        }
    }
    // Nobody comes in where no rule lets him, and nobody gets out by a shared
    // address: it would need a pool for SCTP.
    for (from, address, port, sled, reason) in [
        ("internet", "198.51.100.2", "9", "g2", "firewall_default"),
        ("g1", v4.as_str(), "7777", "g1", "no_external_address"),
    ] {
        let line = format!("timeout 3 {FOLDER}/tsctp -n 1 -p {port} {address} > refused.txt 2>&1");
        let called = ctx.attempt(from, &line, Duration::from_secs(10))?.success;
        ensure!(!called, "{address} was reached");
        let counters = ctx.opteadm("sled-a", &["stats", "-p", sled])?;
        ensure!(counters.contains(reason), "not for that reason");
    }
    Ok(())
}

/// An association whose server sends back each of a few lines.
fn converse(ctx: &mut Ctx, from: &str, (to, address): (&str, &str)) -> Result<()> {
    let mut server = ctx.start(
        to,
        &format!("stdbuf -oL {FOLDER}/echo_server"),
        "Bind called port",
    )?;
    let call = format!("(seq -f 'line %g' 50; sleep 2) | {FOLDER}/client {address} 7 0 2>&1");
    let told = ctx.run(from, &call)?;
    for what in [
        "SCTP_COMM_UP",
        "line 1\n",
        "line 50\n",
        "SCTP_SHUTDOWN_COMP",
    ] {
        ensure!(told.contains(what), "`{what}` is missing");
    }
    server.stop();
    Ok(())
}

/// An association with many messages one way.
fn pour(ctx: &mut Ctx, from: &str, (to, address): (&str, &str)) -> Result<()> {
    let many = format!("{FOLDER}/tsctp -n {MESSAGES} -l {LEN} -p 7777");
    let mut server = ctx.start(to, &format!("stdbuf -oL {many}"), "Bind called port")?;
    ctx.run(from, &format!("{many} {address} > poured.txt 2>&1"))?;
    // Their length, how many there were, and how many bytes.
    let line = format!("{LEN}, {MESSAGES}, {MESSAGES}, {}, ", MESSAGES * LEN);
    server.wait_for_line(&line, Duration::from_secs(20))?;
    server.stop();
    Ok(())
}
