//! What is refused, and what changes.

use super::{
    Ctx, DATA, DATAGRAMS, LIMIT, Told, UDP_PORT, datagrams, exactly, families, same, socket, watch,
};
use crate::lab::group::{self, Member};
use crate::lab::packet::PacketSocket;
use crate::lab::rack::{INTERNET_V4, INTERNET_V6};
use crate::script::{self, Scene};
use anyhow::{Result, ensure};
use std::fs;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Ports from which g1 sends: to g2 and back, to what g2 doesn't allow, to the
/// internet, to nobody, and to g3.
const FROM: u16 = 6_101;
const DENIED_FROM: u16 = 6_300;
const SYN_FROM: u16 = 6_301;
const OUTSIDE_FROM: [u16; 3] = [6_401, 6_402, 6_403];
const NOBODY_FROM: u16 = 6_500;
const MOVED_FROM: u16 = 6_200;
/// Ports that nobody allows, and that a rule of g2 denies.
const CLOSED_PORT: u16 = 9;
const DENIED_PORT: u16 = 8_080;
/// A host that doesn't answer.
const ELSEWHERE: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x99, 0, 0, 0, 0, 0, 0xc);

/// An underlay group for the group that nobody joins.
const UNDERLAY_GROUP: &str = "ff04::777";

/// Addresses of one family.
struct Family {
    a: IpAddr,
    b: IpAddr,
    /// g3's, on the other sled.
    c: IpAddr,
    nobody: IpAddr,
    internet: IpAddr,
    group: IpAddr,
    other_group: IpAddr,
}

/// What scripts say of every family.
struct Seen {
    drop: Told,
    nat: Told,
    desc: Told,
    ht_fail: Told,
    ht: Told,
    stale: Told,
    expire: Told,
    life: Told,
    groups: Told,
}

pub(super) fn play(ctx: &mut Ctx) -> Result<()> {
    let families = all(ctx)?;
    let scripts = [
        "opte-drop",
        "opte-nat",
        "opte-gen-desc-fail",
        "opte-gen-ht-fail",
        "opte-ht",
        "opte-uft-invalidate",
        "opte-flow-expire",
        "opte-flowlife",
        "opte-mcast-delivery",
        "opte-drops",
        "opte-config",
        "opte-ioctl",
        "opte-perf-ioctl",
        "opte-next-hop",
    ];
    let mut counted = 0;
    let told = watch(ctx, scripts, |ctx| {
        counted = everything(ctx, &families)?;
        Ok(())
    })?;
    let [
        drop,
        nat,
        desc,
        ht_fail,
        ht,
        stale,
        expire,
        life,
        groups,
        totals @ ..,
    ] = told;
    let seen = Seen {
        drop,
        nat,
        desc,
        ht_fail,
        ht,
        stale,
        expire,
        life,
        groups,
    };
    for family in &families {
        drops(&seen, family)?;
        translation(&seen, family)?;
        changes(&seen, family)?;
    }
    sums(&seen, totals, counted)
}

/// Everybody's addresses.
fn all(ctx: &Ctx) -> Result<[Family; 2]> {
    let [(a4, b4, _), (a6, b6, _)] = families(ctx)?;
    let c = |ipv6| ctx.tenant("g3")?.address(ipv6);
    Ok([
        Family {
            a: a4,
            b: b4,
            c: c(false)?,
            nobody: "10.0.0.99".parse()?,
            internet: INTERNET_V4.into(),
            group: "239.1.1.1".parse()?,
            other_group: "239.1.1.7".parse()?,
        },
        Family {
            a: a6,
            b: b6,
            c: c(true)?,
            nobody: "fd77:1::99".parse()?,
            internet: INTERNET_V6.into(),
            group: "ff0e::101".parse()?,
            other_group: "ff0e::107".parse()?,
        },
    ])
}

/// All that happens; how many frames g2's firewall has refused.
fn everything(ctx: &mut Ctx, families: &[Family]) -> Result<usize> {
    let before = refused(ctx)?;
    for family in families {
        happen(ctx, family)?;
    }
    let nobody = ctx.opteadm("sled-a", &["delete-xde", "nobody"]);
    ensure!(nobody.is_err(), "a port was deleted that isn't there");
    let wanted = families.len() * (DATAGRAMS + 1);
    let counted = ctx.wait("g2 has refused everything", |ctx| {
        let counted = refused(ctx)? - before;
        Ok((counted >= wanted).then_some(counted))
    })?;
    ctx.opteadm("sled-a", &["delete-xde", "g2"])?;
    Ok(counted)
}

/// All that happens in one family.
fn happen(ctx: &mut Ctx, family: &Family) -> Result<()> {
    let Family { a, b, .. } = *family;
    datagrams(
        ctx,
        (SocketAddr::new(a, FROM), SocketAddr::new(b, UDP_PORT)),
    )?;
    let denied = socket(ctx, "g1", SocketAddr::new(a, DENIED_FROM))?;
    for _ in 0..DATAGRAMS {
        denied.send_to(DATA, SocketAddr::new(b, CLOSED_PORT))?;
    }
    one_syn(ctx, a, b)?;
    for from in OUTSIDE_FROM {
        let outside = socket(ctx, "g1", SocketAddr::new(a, from))?;
        outside.send_to(DATA, SocketAddr::new(family.internet, CLOSED_PORT))?;
    }
    let lost = socket(ctx, "g1", SocketAddr::new(a, NOBODY_FROM))?;
    lost.send_to(DATA, SocketAddr::new(family.nobody, CLOSED_PORT))?;
    move_guest(ctx, a, family.c)?;
    groups(ctx, family)
}

/// g3 moves to another host while g1 has a flow to it.
fn move_guest(ctx: &mut Ctx, from: IpAddr, g3: IpAddr) -> Result<()> {
    let from = SocketAddr::new(from, MOVED_FROM);
    let (socket, to) = (socket(ctx, "g1", from)?, SocketAddr::new(g3, UDP_PORT));
    socket.send_to(DATA, to)?;
    ctx.wait("g1 has a flow to g3", |ctx| {
        let flows = ctx.opteadm("sled-a", &["dump-uft", "-p", "g1"])?;
        let number = MOVED_FROM.to_string();
        let is_it = |line: &str| line.contains(&g3.to_string()) && line.contains(&number);
        Ok(flows.lines().any(is_it).then_some(()))
    })?;
    let [g3, elsewhere] = [g3.to_string(), ELSEWHERE.to_string()];
    let mapping = ["set-v2p", "1001", &g3, "A8:40:25:F0:00:03", &elsewhere];
    ctx.opteadm("sled-a", &mapping)?;
    socket.send_to(DATA, to)?;
    Ok(())
}

/// A SYN of g1 that g2's firewall denies. It is made by hand: Linux, which gets
/// no answer, would send another.
fn one_syn(ctx: &Ctx, from: IpAddr, to: IpAddr) -> Result<()> {
    let (from, to) = (
        SocketAddr::new(from, SYN_FROM),
        SocketAddr::new(to, DENIED_PORT),
    );
    println!("a SYN from {from} to {to}");
    let sled = ctx.rack()?.sled("sled-a")?;
    let setup = fs::read_to_string(ctx.folder().join(sled.setup_file()))?;
    let line = format!("0 tx g1 tcp {from} > {to} syn seq 1");
    let frames = script::compile(&line, &Scene::parse(&setup)?)?;
    let socket = PacketSocket::open(&ctx.tenant("g1")?.guest.namespace, Some("g1"))?;
    frames
        .iter()
        .try_for_each(|frame| socket.send(&frame.bytes))
}

/// g2 hears a group for a while, to which g1 and g3 send; another group gets
/// its underlay group and loses it.
fn groups(ctx: &Ctx, family: &Family) -> Result<()> {
    let [group, other] = [family.group, family.other_group].map(|group| group.to_string());
    let sled = |words: &[&str]| ctx.opteadm("sled-a", words);
    sled(&["set-m2p", &other, UNDERLAY_GROUP])?;
    sled(&["clear-m2p", &other])?;
    sled(&["mcast-subscribe", "-p", "g2", &group])?;
    let at = SocketAddr::new(family.group, UDP_PORT);
    let namespace = |guest| -> Result<_> { Ok(&ctx.tenant(guest)?.guest.namespace) };
    let member = Member::join(namespace("g2")?, "g2", at, None)?;
    for (guest, from) in [("g1", family.a), ("g3", family.c)] {
        for _ in 0..DATAGRAMS {
            group::send(namespace(guest)?, from, at, "all")?;
        }
        for _ in 0..DATAGRAMS {
            let heard = member.hear(LIMIT)?.map(|(_, from)| from);
            ensure!(heard == Some(from), "g2 heard {heard:?}");
        }
    }
    sled(&["mcast-unsubscribe", "-p", "g2", &group])?;
    Ok(())
}

/// What the driver has counted of frames that g2's firewall refused.
fn refused(ctx: &Ctx) -> Result<usize> {
    let stats = ctx.opteadm("sled-a", &["stats", "-p", "g2"])?;
    let lines = stats.lines().filter(|line| line.contains("firewall_de"));
    let number = |line: &str| line.split_whitespace().last()?.parse::<usize>().ok();
    Ok(lines.filter_map(number).sum())
}

/// Every refused frame has a line, with the rule that refused it.
fn drops(seen: &Seen, family: &Family) -> Result<()> {
    let [a, b, internet, nobody] = [family.a, family.b, family.internet, family.nobody];
    let [a, b, internet, nobody] = [a, b, internet, nobody].map(|address| address.to_string());
    let from = DENIED_FROM.to_string();
    let line = [
        "g2",
        "in",
        "firewall",
        "0",
        "UDP",
        &b,
        "9",
        &a,
        &from,
        "firewall_default",
    ];
    exactly("drop", &seen.drop, &line, DATAGRAMS)?;
    let (from, at) = (SYN_FROM.to_string(), DENIED_PORT.to_string());
    let line = [
        "g2",
        "in",
        "firewall",
        "*",
        "TCP",
        &b,
        &at,
        &a,
        &from,
        "firewall_deny",
    ];
    exactly("drop", &seen.drop, &line, 1)?;
    let rule = seen.drop.sum(&line, 3);
    ensure!(rule > 0, "drop: the rule that denies has no id");
    let from = OUTSIDE_FROM[2].to_string();
    let line = [
        "g1",
        "out",
        "nat",
        "0",
        "UDP",
        &a,
        &from,
        &internet,
        "9",
        "snat_exhausted",
    ];
    exactly("drop", &seen.drop, &line, 1)?;
    let line = [
        "g1",
        "nat",
        "out",
        "UDP",
        &a,
        &from,
        &internet,
        "9",
        "snat_exhausted",
    ];
    exactly("gen-desc-fail", &seen.desc, &line, 1)?;
    let from = NOBODY_FROM.to_string();
    let line = [
        "g1", "out", "overlay", "0", "UDP", &a, &from, &nobody, "9", "no_v2p",
    ];
    exactly("drop", &seen.drop, &line, 1)?;
    let line = [
        "g1", "overlay", "out", "UDP", &a, &from, &nobody, "9", "no_v2p",
    ];
    exactly("gen-ht-fail", &seen.ht_fail, &line, 1)
}

/// Two flows get the two external ports, the third gets none.
fn translation(seen: &Seen, family: &Family) -> Result<()> {
    let [a, internet] = [family.a, family.internet].map(|address| address.to_string());
    let external = match family.a {
        IpAddr::V4(_) => "198.51.100.1",
        IpAddr::V6(_) => "2001:db8:51::1",
    };
    let mut ports = Vec::new();
    for from in [OUTSIDE_FROM[0], OUTSIDE_FROM[1]].map(|port| port.to_string()) {
        let line = [
            "g1", "alloc", "UDP", &a, &from, external, "*", &internet, "9",
        ];
        exactly("nat", &seen.nat, &line, 1)?;
        let port = seen.nat.sum(&line, 6).to_string();
        let line = [
            "g1", "out", "UDP", &a, &from, external, &port, &internet, "9",
        ];
        exactly("ht", &seen.ht, &line, 1)?;
        ports.push(port);
    }
    ports.sort();
    ensure!(ports == ["10000", "10001"], "nat: external ports {ports:?}");
    let from = OUTSIDE_FROM[2].to_string();
    let line = [
        "g1",
        "exhausted",
        "UDP",
        &a,
        &from,
        "-",
        "0",
        &internet,
        "9",
    ];
    exactly("nat", &seen.nat, &line, 1)
}

/// A moved guest, a group, and a deleted port.
fn changes(seen: &Seen, family: &Family) -> Result<()> {
    let [a, b, c, group] = [family.a, family.b, family.c, family.group];
    let [a, b, c, group] = [a, b, c, group].map(|address| address.to_string());
    let (from, at) = (MOVED_FROM.to_string(), UDP_PORT.to_string());
    let line = ["g1", "out", "UDP", &a, &from, &c, &at, "mapping"];
    exactly("uft-invalidate", &seen.stale, &line, 1)?;

    let other = family.other_group.to_string();
    for (line, count) in [
        (["join", "g2", "1001", &group, "-"], 1),
        (["leave", "g2", "1001", &group, "-"], 1),
        (["send", "g1", "77", &group, "*"], DATAGRAMS),
        (["receive", "-", "77", &group, "*"], DATAGRAMS),
        (["deliver", "g2", "77", &group, &a], DATAGRAMS),
        (["deliver", "g2", "77", &group, &c], DATAGRAMS),
        (["map", "-", "77", &other, UNDERLAY_GROUP], 1),
        (["unmap", "-", "77", &other, "-"], 1),
    ] {
        exactly("mcast-delivery", &seen.groups, &line, count)?;
    }

    let from = FROM.to_string();
    let header = if family.a.is_ipv4() {
        14 + 20 + 8
    } else {
        14 + 40 + 8
    };
    let (packets, bytes) = (
        DATAGRAMS.to_string(),
        (DATAGRAMS * (header + DATA.len())).to_string(),
    );
    let flow = ["g2", "UDP", &b, &at, &a, &from];
    let line = [
        &flow[..],
        &["*", &packets, &packets, &bytes, &bytes, "cleared"],
    ]
    .concat();
    exactly("flowlife", &seen.life, &line, 1)?;
    let line = [&flow[..], &["cleared", "*", "*", &packets, &packets]].concat();
    exactly("flow-expire", &seen.expire, &line, 1)
}

/// Totals, commands and what they changed.
fn sums(seen: &Seen, totals: [Told; 5], counted: usize) -> Result<()> {
    let [drops, config, ioctl, perf_ioctl, next_hop] = totals;
    for reason in [
        "firewall_default",
        "firewall_deny",
        "snat_exhausted",
        "no_v2p",
    ] {
        let total = drops.sum(&["*", "*", "*", "*", reason], 5);
        let pattern = ["*", "*", "*", "*", "*", "*", "*", "*", "*", reason];
        same("drops", total, seen.drop.count(&pattern))?;
    }
    let line = ["g2", "in", "firewall", "*"];
    same(
        "drops and the driver's counters",
        drops.sum(&line, 5),
        counted,
    )?;

    exactly("config", &config, &["*", "*", "refused"], 1)?;
    ensure!(
        config.count(&["*", "*", "ok"]) >= 7,
        "config: changes are missing"
    );
    let commands = ioctl.like(&["*", "*", "*", "*", "*"]);
    let commands: Vec<&str> = commands.map(|line| line[0].as_str()).collect();
    for (name, count) in [("set-v2p", 2), ("delete-port", 2), ("mcast-subscribe", 2)] {
        let seen = commands.iter().filter(|command| **command == name).count();
        ensure!(seen == count, "ioctl: {seen} times {name}: {commands:?}");
        let title = format!("{name}:");
        same("perf-ioctl", perf_ioctl.values(&["command", &title]), count)?;
    }
    let elsewhere = ELSEWHERE.to_string();
    let looked = next_hop.count(&[&elsewhere, &elsewhere, "*", "unresolved"]);
    ensure!(looked >= 1, "next-hop: nothing about {elsewhere}");
    Ok(())
}
