//! Guests of two sleds join groups, by IGMP and MLD, and hear each other.

use super::{Ctx, Scenario};
use crate::demo::rack::PLANS;
use crate::lab::group::{Member, send};
use crate::lab::rack::with_setups;
use anyhow::{Context, Result, ensure};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "group",
    about: "multicast sockets on two sleds join, hear what they asked for, and leave again.",
    programs: &[("bridge", "iproute2"), ("ip", "iproute2")],
    run,
};

/// What the demo's setups lack.
pub(super) const MULTICAST: &str = r#"
[[underlay.route]]
dest = "ff04::/16"
link = "net0"

[multicast]
m2p = [
    { group = "239.1.1.1", underlay = "ff04::e001:101" },
    { group = "ff0e::101", underlay = "ff04::101" },
]
forward = [
    { underlay = "ff04::e001:101", hops = ["ff04::e001:101"] },
    { underlay = "ff04::101", hops = ["ff04::101"] },
]
"#;

const GROUP_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(239, 1, 1, 1));
const PORT: u16 = 6_000;
/// Frames that are sent, each of which is on the underlay once: short texts,
/// and by each family one that takes three fragments.
const SENT: usize = 11 + 2 * 3;
const LONG_LEN: usize = 4_000;
/// How long something may take to arrive, and what nobody sends is waited for.
const ARRIVAL: Duration = Duration::from_secs(5);
const SILENCE: Duration = Duration::from_millis(300);

/// Which sled a guest is on.
const GUESTS: [(&str, &str); 3] = [("g1", "sled-a"), ("g2", "sled-a"), ("g3", "sled-b")];

fn run(ctx: &mut Ctx) -> Result<()> {
    let setups = PLANS.map(|plan| [plan.setup, MULTICAST].concat());
    ctx.build(&with_setups(&PLANS, &setups))?;
    // A switch that asks who listens, and sends groups to nobody else.
    ctx.run(
        "fabric",
        "ip addr add fe80::5/64 dev fabric nodad && ip link set fabric type bridge \
         mcast_startup_query_interval 100 mcast_query_response_interval 100 mcast_querier 1",
    )?;
    ctx.give_addresses()?;
    for (guest, sled) in GUESTS {
        ctx.opteadm(sled, &["set-mcast-listen", "-p", guest, "on"])?;
        let rule = "dir=in priority=50 action=allow protocols=udp ports=6000";
        ctx.opteadm(sled, &["add-fw-rule", "-p", guest, rule])?;
    }
    for sled in ["sled-a", "sled-b"] {
        ctx.wait(&format!("the switch knows {sled}"), |ctx| {
            let known = heard_by_switch(ctx, sled, "ff02::1:ff")?;
            Ok(known.then_some(()))
        })?;
    }
    let before = inbound(ctx)?;
    for ipv6 in [false, true] {
        everybody_hears(ctx, ipv6)?;
        only_one_source(ctx, ipv6)?;
    }
    the_operator_decides(ctx)?;
    ensure!(
        inbound(ctx)? == before,
        "g1, which joined nothing, was sent something"
    );
    let copies = ctx.underlay("geneve.vni == 77", &["eth.dst", "ipv6.dst"])?;
    ensure!(
        copies.len() == SENT,
        "{} copies of {SENT} frames",
        copies.len()
    );
    for copy in copies {
        // Outer and inner addresses, in this order.
        let outer = copy
            .iter()
            .map(|field| field.split(',').next().unwrap_or_default());
        let outer: Vec<_> = outer.collect();
        let good = [
            ["33:33:e0:01:01:01", "ff04::e001:101"],
            ["33:33:00:00:01:01", "ff04::101"],
        ];
        ensure!(good.iter().any(|good| outer == good), "a copy to {outer:?}");
    }
    Ok(())
}

/// Members on both sleds hear a sender once; and when they are gone, so is
/// their membership, at the switch too.
fn everybody_hears(ctx: &mut Ctx, ipv6: bool) -> Result<()> {
    let group = SocketAddr::new(group(ipv6)?, PORT);
    let members = [join(ctx, "g2", group, None)?, join(ctx, "g3", group, None)?];
    // A sled tells the switch a moment after it has heard a guest.
    for sled in ["sled-a", "sled-b"] {
        switch_hears(ctx, sled, ipv6, true)?;
    }
    for sender in ["g1", "g2"] {
        let from = tell(ctx, sender, group)?;
        for (name, member) in ["g2", "g3"].into_iter().zip(&members) {
            let heard = member.hear(ARRIVAL)?;
            let heard = heard.with_context(|| format!("{name} doesn't hear {sender}"))?;
            ensure!(heard == (sender.into(), from), "{name} hears {heard:?}");
            let again = member.hear(SILENCE)?;
            ensure!(again.is_none(), "{name} hears it again: {again:?}");
        }
    }
    let (tenant, long) = (ctx.tenant("g1")?, "long ".repeat(LONG_LEN / 5));
    let from = tenant.address(ipv6)?;
    println!("g1 sends fragments to {group}");
    send(&tenant.guest.namespace, from, group, &long)?;
    for (name, member) in ["g2", "g3"].into_iter().zip(&members) {
        let heard = member.hear(ARRIVAL)?;
        ensure!(
            heard == Some((long.clone(), from)),
            "{name} doesn't hear it all"
        );
    }
    drop(members);
    for (guest, sled) in [("g2", "sled-a"), ("g3", "sled-b")] {
        ctx.wait(&format!("{guest} has left {}", group.ip()), |ctx| {
            let subs = subscriptions(ctx, sled, guest, group.ip())?;
            Ok(subs.is_empty().then_some(()))
        })?;
        switch_hears(ctx, sled, ipv6, false)?;
    }
    Ok(())
}

/// A member for one source hears that one only, and the engine knows it.
fn only_one_source(ctx: &mut Ctx, ipv6: bool) -> Result<()> {
    let group = SocketAddr::new(group(ipv6)?, PORT);
    let source = ctx.tenant("g2")?.address(ipv6)?;
    let member = join(ctx, "g3", group, Some(source))?;
    ctx.wait("sled-b knows the source", |ctx| {
        let subs = subscriptions(ctx, "sled-b", "g3", group.ip())?;
        let filter = format!("include={source}").replace(':', "\\:");
        Ok(subs.contains(&filter).then_some(()))
    })?;
    switch_hears(ctx, "sled-b", ipv6, true)?;
    tell(ctx, "g1", group)?;
    let from = tell(ctx, "g2", group)?;
    let heard = member.hear(ARRIVAL)?;
    ensure!(heard == Some(("g2".into(), from)), "g3 hears {heard:?}");
    ensure!(member.hear(SILENCE)?.is_none(), "g3 hears more than that");
    Ok(())
}

/// Without IGMP, who hears is the operator's to say.
fn the_operator_decides(ctx: &mut Ctx) -> Result<()> {
    let group = SocketAddr::new(GROUP_V4, PORT);
    ctx.opteadm("sled-b", &["set-mcast-listen", "-p", "g3", "off"])?;
    let member = Member::join(&ctx.tenant("g3")?.guest.namespace, "g3", group, None)?;
    tell(ctx, "g1", group)?;
    ensure!(member.hear(SILENCE)?.is_none(), "g3 may not join");
    ctx.opteadm(
        "sled-b",
        &[
            "mcast-subscribe",
            "-p",
            "g3",
            "239.1.1.1",
            "exclude=10.0.0.12",
        ],
    )?;
    switch_hears(ctx, "sled-b", false, true)?;
    tell(ctx, "g2", group)?;
    let from = tell(ctx, "g1", group)?;
    let heard = member.hear(ARRIVAL)?;
    ensure!(heard == Some(("g1".into(), from)), "g3 hears {heard:?}");
    Ok(())
}

fn group(ipv6: bool) -> Result<IpAddr> {
    Ok(if ipv6 { "ff0e::101".parse()? } else { GROUP_V4 })
}

/// Has a guest join a group, and waits until its sled has heard of it.
fn join(ctx: &mut Ctx, guest: &str, group: SocketAddr, source: Option<IpAddr>) -> Result<Member> {
    println!("{guest} joins {group}");
    let member = Member::join(&ctx.tenant(guest)?.guest.namespace, guest, group, source)?;
    let sled = GUESTS.iter().find(|(name, _)| *name == guest);
    let (_, sled) = sled.context("no such guest")?;
    ctx.wait(&format!("{sled} has heard of it"), |ctx| {
        let subs = subscriptions(ctx, sled, guest, group.ip())?;
        Ok((!subs.is_empty()).then_some(()))
    })?;
    Ok(member)
}

/// Has a guest send its name to a group; returns its address.
fn tell(ctx: &Ctx, guest: &str, group: SocketAddr) -> Result<IpAddr> {
    println!("{guest} sends to {group}");
    let tenant = ctx.tenant(guest)?;
    let from = tenant.address(group.is_ipv6())?;
    send(&tenant.guest.namespace, from, group, guest)?;
    Ok(from)
}

/// The filters with which a guest is in a group, as its sled knows it.
fn subscriptions(ctx: &Ctx, sled: &str, guest: &str, group: IpAddr) -> Result<String> {
    let fields = "port,group,filter";
    let all = ctx.opteadm(sled, &["dump-mcast-subs", "-o", fields, "-p"])?;
    let line = format!("{guest}:{}:", group.to_string().replace(':', "\\:"));
    let ours = all.lines().filter(|l| l.starts_with(&line));
    Ok(ours.collect::<Vec<_>>().join("\n"))
}

/// Waits until the switch sends frames for the underlay group to a sled, or no
/// longer does.
fn switch_hears(ctx: &mut Ctx, sled: &str, ipv6: bool, wanted: bool) -> Result<()> {
    let group = if ipv6 { "ff04::101" } else { "ff04::e001:101" };
    let what = format!("the switch has {sled} in {group}: {wanted}");
    ctx.wait(&what, |ctx| {
        let known = heard_by_switch(ctx, sled, group)?;
        Ok((known == wanted).then_some(()))
    })
}

/// Whether the switch knows that a sled listens to a group that starts so.
fn heard_by_switch(ctx: &mut Ctx, sled: &str, group: &str) -> Result<bool> {
    let all = ctx.run("fabric", "bridge mdb show dev fabric")?;
    let entry = format!("port {sled} grp {group}");
    Ok(all.lines().any(|line| line.contains(&entry)))
}

/// What went through g1's port towards it.
fn inbound(ctx: &Ctx) -> Result<String> {
    let stats = ctx.opteadm("sled-a", &["stats", "-p", "g1"])?;
    let packets = stats.lines().find(|line| line.contains("in_packets"));
    Ok(packets.unwrap_or_default().to_owned())
}
