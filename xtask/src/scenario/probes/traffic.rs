//! Frames that pass.

use super::{
    Ctx, DATA, DATAGRAMS, PINGS, TCP_PORT, Told, UDP_PORT, connection, datagrams, exactly,
    families, ping, same, watch,
};
use anyhow::{Result, ensure};
use std::net::{IpAddr, SocketAddr};

/// The port from which g1 sends datagrams.
const FROM: u16 = 6_100;

/// What scripts say of every family.
struct Seen {
    ipio: Told,
    ipproto: Told,
    tcpio: Told,
    tcpstate: Told,
    frames: Told,
    hits: Told,
    rules: Told,
    layers: Told,
    loopback: Told,
    top: Told,
    connlat: Told,
}

pub(super) fn play(ctx: &mut Ctx) -> Result<()> {
    let families = families(ctx)?;
    let scripts = [
        "opte-ipio",
        "opte-ipproto",
        "opte-tcpio",
        "opte-tcpstate",
        "opte-port-process",
        "opte-uft-hit",
        "opte-rule-match",
        "opte-layer-process",
        "opte-guest-loopback",
        "opte-top",
        "opte-connlat",
        "opte-tcp-flow-state",
        "opte-count",
        "opte-perf-port",
        "opte-perf-layer",
        "opte-info",
    ];
    let told = watch(ctx, scripts, |ctx| {
        for (a, b, _) in families {
            connection(ctx, SocketAddr::new(b, TCP_PORT))?;
            datagrams(
                ctx,
                (SocketAddr::new(a, FROM), SocketAddr::new(b, UDP_PORT)),
            )?;
            ping(ctx, b)?;
        }
        ctx.dhclient("g2", "-4")?;
        ctx.dhclient("g2", "-6")?;
        Ok(())
    })?;
    let [
        ipio,
        ipproto,
        tcpio,
        tcpstate,
        frames,
        hits,
        rules,
        layers,
        loopback,
        top,
        connlat,
        totals @ ..,
    ] = told;
    let seen = Seen {
        ipio,
        ipproto,
        tcpio,
        tcpstate,
        frames,
        hits,
        rules,
        layers,
        loopback,
        top,
        connlat,
    };
    for (a, b, icmp) in families {
        packets(&seen, a, b, icmp)?;
        flows(&seen, a, b, icmp)?;
        connections(&seen, a, b)?;
    }
    talkers(&seen.top, &families)?;
    leases(&seen)?;
    sums(&seen, totals)
}

/// Every packet has its lines, where it is sent and where it is received.
fn packets(seen: &Seen, a: IpAddr, b: IpAddr, icmp: &str) -> Result<()> {
    let [a, b] = [a, b].map(|address| address.to_string());
    let [a, b] = [a.as_str(), b.as_str()];
    for (bytes, count) in [("64", PINGS), ("15", DATAGRAMS)] {
        for (left, way, right, port) in [
            (a, "->", b, "g1"),
            (b, "<-", a, "g2"),
            (b, "->", a, "g2"),
            (a, "<-", b, "g1"),
        ] {
            let line = ["*", "*", left, way, right, port, bytes];
            exactly("ipio", &seen.ipio, &line, count)?;
        }
    }
    for (from, to) in [(a, b), (b, a)] {
        for (proto, count) in [(icmp, PINGS), ("UDP", DATAGRAMS)] {
            let printed = seen.ipproto.sum(&[from, to, proto], 3);
            same("ipproto", printed, 2 * count)?;
        }
        let segments = |way: &str, left: &str, right: &str| {
            let of = |word: &String, address: &str| {
                word.rsplit_once(':').is_some_and(|(it, _)| it == address)
            };
            let pattern = ["*", "*", way, "*"];
            let lines = seen.tcpio.like(&pattern);
            lines
                .filter(|line| of(&line[1], left) && of(&line[3], right))
                .count()
        };
        let (sent, received) = (segments("->", from, to), segments("<-", to, from));
        ensure!(sent >= 4, "tcpio: {sent} segments from {from}");
        same("tcpio", received, sent)?;
        same("ipproto", seen.ipproto.sum(&[from, to, "TCP"], 3), 2 * sent)?;
    }
    Ok(())
}

/// Bytes of g1's and g2's datagrams, as `opte-top` has them. DTrace for Linux
/// reads an aggregation and then empties it; what comes in between is in no
/// print. So a total is what happened, or less, and all of a family's may be
/// lost. `opte-count` and `opte-perf-port` empty nothing and are held to all.
fn talkers(top: &Told, families: &[(IpAddr, IpAddr, &str)]) -> Result<()> {
    let mut total = 0;
    for (a, b, _) in families {
        let header = if a.is_ipv4() {
            14 + 20 + 8
        } else {
            14 + 40 + 8
        };
        let most = 2 * DATAGRAMS * (header + DATA.len());
        for (port, local, remote) in [
            (
                "g1",
                SocketAddr::new(*a, FROM),
                SocketAddr::new(*b, UDP_PORT),
            ),
            (
                "g2",
                SocketAddr::new(*b, UDP_PORT),
                SocketAddr::new(*a, FROM),
            ),
        ] {
            let words = [local, remote].map(|end| [end.ip().to_string(), end.port().to_string()]);
            let [[local, number], [remote, other]] = &words;
            let bytes = top.sum(&[port, local, number, remote, other, "UDP"], 6);
            ensure!(bytes <= most, "top: {bytes} of {local} are over {most}");
            total += bytes;
        }
    }
    ensure!(total > 0, "top: nothing of any family");
    Ok(())
}

/// How frames were decided about.
fn flows(seen: &Seen, a: IpAddr, b: IpAddr, icmp: &str) -> Result<()> {
    let [a, b] = [a, b].map(|address| address.to_string());
    let [a, b] = [a.as_str(), b.as_str()];
    let udp_port = UDP_PORT.to_string();
    for (proto, at, count) in [(icmp, "*", PINGS), ("UDP", udp_port.as_str(), DATAGRAMS)] {
        let there = [("g1", "out", a, "*", b, at), ("g2", "in", b, at, a, "*")];
        let back = [("g2", "out", b, at, a, "*"), ("g1", "in", a, "*", b, at)];
        for (port, dir, local, lport, remote, rport) in there.into_iter().chain(back) {
            let line = |path| [port, dir, path, proto, local, lport, remote, rport, "ok"];
            if proto == "UDP" {
                exactly("port-process", &seen.frames, &line("*"), count)?;
            } else {
                // Its far end's number is the type of the message.
                let line = [port, dir, "*", proto, local, "*", remote];
                exactly("port-process", &seen.frames, &line, count)?;
            }
        }
        for (port, dir, local, remote) in [("g1", "out", a, b), ("g2", "in", b, a)] {
            let line = [port, dir, "miss", proto, local, "*", remote];
            exactly("port-process", &seen.frames, &line, 1)?;
            for layer in ["gateway", "firewall"] {
                let line = [port, layer, dir, proto, local, "*", remote, "*", "ok"];
                exactly("layer-process", &seen.layers, &line, 1)?;
            }
        }
        let line = ["g2", "firewall", "in", proto, b, "*", a, "*", "*", "allow"];
        exactly("rule-match", &seen.rules, &line, 1)?;
        let line = [
            "g1", "firewall", "out", proto, a, "*", b, "*", "0", "default",
        ];
        exactly("rule-match", &seen.rules, &line, 1)?;
        exactly(
            "guest-loopback",
            &seen.loopback,
            &["g1", "g2", proto, a, "*", b],
            count,
        )?;
        exactly(
            "guest-loopback",
            &seen.loopback,
            &["g2", "g1", proto, b, "*", a],
            count,
        )?;
    }
    for proto in [icmp, "UDP", "TCP"] {
        for (port, local, remote) in [("g1", a, b), ("g2", b, a)] {
            for dir in ["in", "out"] {
                let cached = [port, dir, "hit", proto, local, "*", remote];
                let cached = seen.frames.count(&cached);
                ensure!(cached > 0, "port-process: no {proto} from the cache");
                let line = [port, dir, proto, local, "*", remote];
                exactly("uft-hit", &seen.hits, &line, cached)?;
            }
        }
    }
    Ok(())
}

/// A connection's states, at both of its ends.
fn connections(seen: &Seen, a: IpAddr, b: IpAddr) -> Result<()> {
    let [a, b] = [a, b].map(|address| address.to_string());
    let [a, b] = [a.as_str(), b.as_str()];
    let at = TCP_PORT.to_string();
    let server = ["*", "*", b, &at, a, "*"];
    let client = ["*", "*", a, "*", b, &at];
    for (end, old, new) in [
        (client, "CLOSED", "SYN_SENT"),
        (client, "*", "ESTABLISHED"),
        (client, "ESTABLISHED", "FIN_WAIT_1"),
        (client, "*", "TIME_WAIT"),
        (server, "LISTEN", "SYN_RECEIVED"),
        (server, "*", "ESTABLISHED"),
        (server, "ESTABLISHED", "CLOSE_WAIT"),
        (server, "*", "TIME_WAIT"),
    ] {
        let line = [end.as_slice(), &[old, "->", new]].concat();
        exactly("tcpstate", &seen.tcpstate, &line, 1)?;
    }
    let syns = seen.tcpio.like(&["*", "*", "->"]);
    let syns = syns.filter(|line| {
        line[1].starts_with(&format!("{a}:"))
            && line.last().is_some_and(|flags| flags.starts_with("(SYN"))
    });
    same("tcpio: connections", syns.count(), 1)?;
    let title = format!("{b}:");
    same(
        "connlat",
        seen.connlat.values(&["port", "g1", "to", &title]),
        1,
    )
}

/// What the gateway gave g2 by DHCP, as guest's traffic and as frames.
fn leases(seen: &Seen) -> Result<()> {
    for (from, to, client, server) in [
        ("0.0.0.0", "255.255.255.255", "68", "67"),
        ("*", "ff02::1:2", "546", "547"),
    ] {
        let sent = seen.ipio.count(&["*", "*", from, "->", to, "g2"]);
        let line = ["g2", "out", "none", "UDP", from, client, to, server, "ok"];
        let answered = seen.frames.count(&line);
        ensure!(
            answered >= 2,
            "port-process: {answered} messages to {to} were answered"
        );
        same("ipio: DHCP", sent, answered)?;
    }
    let offered = seen.ipio.count(&["*", "*", "*", "<-", "10.0.0.1", "g2"]);
    ensure!(offered >= 2, "ipio: {offered} messages from the gateway");
    Ok(())
}

/// Totals are what scripts that print lines printed.
fn sums(seen: &Seen, totals: [Told; 5]) -> Result<()> {
    let [states, counts, perf_port, perf_layer, info] = totals;
    let ports = ["g1", "g2"];
    let of_ports = |told: &Told| ports.map(|port| told.count(&[port])).iter().sum::<usize>();
    let total = |event| counts.sum(&[event], 1);
    same(
        "count: guest-loopback",
        total("guest-loopback"),
        of_ports(&seen.loopback),
    )?;
    same("count: uft-hit", total("uft-hit"), of_ports(&seen.hits))?;
    let changes = total("tcp-flow-state") + total("tcp-flow-drop");
    same("count: tcp-flow-state", changes, of_ports(&states))?;
    for port in ports {
        let mut cached = 0;
        for dir in ["in", "out"] {
            let frames = seen.frames.count(&[port, dir, "hit"]);
            let (dir, path) = (format!("{dir},"), "hit:");
            let title = ["port", &format!("{port},"), &dir, path];
            same("perf-port", perf_port.values(&title), frames)?;
            cached += frames;
        }
        // It empties what it has printed, as `opte-top` does.
        let hits = info.sum(&[port], 3);
        ensure!(
            (1..=cached).contains(&hits),
            "info: {hits} HITS of {cached}"
        );
    }
    for layer in ["router", "nat", "overlay"] {
        let title = ["layer", &format!("{layer},"), "out:"];
        let decided = seen.layers.count(&["*", layer, "out"]);
        same("perf-layer", perf_layer.values(&title), decided)?;
    }
    Ok(())
}
