//! Packets larger than a frame, by shared and by floating addresses.

use super::outside::PLANS;
use super::{Ctx, Scenario};
use crate::lab::ping::{Series, ping};
use crate::lab::rack::{INTERNET_V4, INTERNET_V6};
use crate::lab::weather::Weather;
use anyhow::{Context, Result, ensure};
use std::time::Duration;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "fragments",
    about: "Pings and datagrams of several fragments pass through translation both ways, in any order and when some come twice.",
    programs: &[("python3", "python3")],
    run,
};

/// Sends datagrams back, or has them sent back.
const ECHO: &str = include_str!("echo.py");
const PORT: &str = "7777";
/// Bytes of a ping that takes three fragments.
const PING_LEN: usize = 4_000;
/// No frame is lost, so every packet has to arrive.
const WEATHER: Weather = Weather {
    loss: 0,
    copies: 100,
    delay_max: Duration::from_millis(3),
};

fn run(ctx: &mut Ctx) -> Result<()> {
    ctx.build(&PLANS)?;
    ctx.give_addresses()?;
    let mut servers = Vec::new();
    for place in ["internet", "g1", "g2", "g3"] {
        ctx.run(place, &format!("cat > echo.py <<'END'\n{ECHO}END"))?;
    }
    for place in ["internet", "g2"] {
        let serve = format!("/usr/bin/python3 echo.py serve {PORT}");
        servers.push(ctx.start(place, &serve, "echo: ready")?);
    }
    exchange(ctx, 3, 10)?;
    // That is what it was about.
    for address in ["ip.addr == 198.51.100.1", "ipv6.addr == 2001:db8:51::1"] {
        for way in ["ipv6.src == fd00:99::a", "ipv6.dst == fd00:99::a"] {
            let piece = "(ip.flags.mf == 1 || ipv6.fraghdr.more == 1)";
            let filter = format!("geneve && {piece} && {address} && {way}");
            let found = ctx.underlay(&filter, &["frame.number"])?.len();
            ensure!(found >= 10, "only {found} fragments with {address}, {way}");
        }
    }
    let storm = ctx.rack()?.storm("sled-a", WEATHER)?;
    exchange(ctx, 100, 100)?;
    let damage = storm.end()?;
    println!("{damage:?}");
    ensure!(
        damage.reaches([0, 100, 100]),
        "the weather was too good: {damage:?}"
    );
    for port in ["g1", "g2"] {
        let counters = ctx.opteadm("sled-a", &["stats", "-p", port])?;
        for refusal in ["fragments_full", "fragment_timeout"] {
            ensure!(
                !counters.contains(refusal),
                "{port} has refused some: {refusal}"
            );
        }
    }
    Ok(())
}

/// So many pings and datagrams each way; every one is answered.
fn exchange(ctx: &mut Ctx, pings: u16, datagrams: u32) -> Result<()> {
    for ipv6 in [false, true] {
        let (internet, g2) = match ipv6 {
            false => (INTERNET_V4.to_string(), "198.51.100.2"),
            true => (INTERNET_V6.to_string(), "2001:db8:51::2"),
        };
        for (from, to) in [
            // Out by a shared address and by a floating one, and in.
            ("g1", internet.as_str()),
            ("g2", internet.as_str()),
            ("internet", g2),
            // Next door by the outside addresses of both.
            ("g1", g2),
        ] {
            let series = Series {
                payload_len: PING_LEN,
                ..Series::of(pings)
            };
            let echoes = ping(ctx.rack()?.namespace(from)?, to.parse()?, &series)?;
            println!("{from} pings {to}: {echoes}");
            ensure!(echoes.all(), "not every ping was answered");
            let ask = format!("/usr/bin/python3 echo.py ask {to} {PORT} {datagrams}");
            let told = ctx.run(from, &ask)?;
            let answered = told.trim().strip_prefix("answered ").context("no count")?;
            ensure!(answered == datagrams.to_string(), "{told}");
        }
    }
    Ok(())
}
