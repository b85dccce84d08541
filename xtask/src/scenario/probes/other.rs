//! What is neither TCP nor UDP: ARP, ICMP and SCTP.

use super::{Ctx, DATA, LIMIT, PINGS, Told, UDP_PORT, exactly, families, ping, same, watch};
use crate::lab::link::wait_until;
use crate::scenario::sctp::{FOLDER, serve};
use anyhow::{Context, Result, ensure};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

/// Requests for the gateway's address, and for one that nobody answers for.
const ASKED: usize = 3;
const UNANSWERED: usize = 2;
/// Messages of an association, of which each fills a packet, and their bytes.
const MESSAGES: usize = 100;
const LEN: usize = 1_200;
/// Where its server is.
const PORT: u16 = 7_777;
/// How long a program may take that may fail, and one that is called until it
/// doesn't.
const BRIEF: Duration = Duration::from_secs(30);
const CALLS: Duration = Duration::from_secs(75);

pub(super) fn play(ctx: &mut Ctx) -> Result<()> {
    let families = families(ctx)?;
    let rule = format!("dir=in priority=50 action=allow protocols=sctp ports={PORT}");
    ctx.opteadm("sled-a", &["add-fw-rule", "-p", "g2", &rule])?;
    let scripts = [
        "opte-arp",
        "opte-icmpio",
        "opte-sctpio",
        "opte-sctpstate",
        "opte-sctpflight",
    ];
    let [(_, b4, _), _] = families;
    let [arp, icmpio, sctpio, states, flight] = watch(ctx, scripts, |ctx| {
        ask(ctx, b4)?;
        for (_, b, _) in families {
            ping(ctx, b)?;
            unreachable(ctx, SocketAddr::new(b, UDP_PORT))?;
        }
        pour(ctx, b4)
    })?;
    asked(&arp, b4)?;
    for (a, b, _) in families {
        messages(&icmpio, a, b)?;
    }
    let (a4, b4, _) = families[0];
    association(&sctpio, &states, &flight, (a4, b4))
}

/// g1 asks for the gateway's address, which is given, and for g2's, which isn't
/// told: all is behind the gateway.
fn ask(ctx: &mut Ctx, other: IpAddr) -> Result<()> {
    ctx.run("g1", &format!("busybox arping -c {ASKED} -I g1 10.0.0.1"))?;
    let line = format!("busybox arping -c {UNANSWERED} -w {UNANSWERED} -I g1 {other}");
    let answered = ctx.attempt("g1", &line, BRIEF)?.success;
    ensure!(!answered, "somebody answers for {other}");
    Ok(())
}

/// PORT -> OP SENDER MAC TARGET
fn asked(told: &Told, other: IpAddr) -> Result<()> {
    let other = other.to_string();
    let (guest, gateway) = ("a8:40:25:f0:00:01", "a8:40:25:ff:77:77");
    // Linux may ask for itself as well.
    let request = ["g1", "->", "request", "10.0.0.11", guest, "10.0.0.1"];
    let requests = told.count(&request);
    ensure!(requests >= ASKED, "arp: {requests} requests");
    let reply = ["g1", "<-", "reply", "10.0.0.1", gateway, "10.0.0.11"];
    exactly("arp", told, &reply, requests)?;
    let request = ["g1", "->", "request", "10.0.0.11", guest, &other];
    let requests = told.count(&request);
    ensure!(
        (1..=UNANSWERED + 1).contains(&requests),
        "arp: {requests} requests for {other}"
    );
    exactly("arp", told, &["g1", "<-", "reply", &other], 0)
}

/// A datagram to a port of g2 where nobody listens; g1's socket hears of it.
fn unreachable(ctx: &Ctx, to: SocketAddr) -> Result<()> {
    println!("a datagram to nobody at {to}");
    let any = match to {
        SocketAddr::V4(_) => "0.0.0.0:0",
        SocketAddr::V6(_) => "[::]:0",
    };
    let socket = ctx.tenant("g1")?.guest.namespace.run(|| {
        let socket = UdpSocket::bind(any)?;
        socket.connect(to)?;
        Ok(socket)
    })?;
    socket.set_read_timeout(Some(LIMIT))?;
    socket.send(DATA)?;
    let heard = socket.recv(&mut [0; 8]).map_err(|error| error.kind());
    ensure!(
        heard == Err(ErrorKind::ConnectionRefused),
        "{to}: {heard:?}"
    );
    Ok(())
}

/// PORT -> SADDR DADDR TYPE CODE QUOTED
fn messages(told: &Told, a: IpAddr, b: IpAddr) -> Result<()> {
    let ([request, reply], [kind, code]) = match a {
        IpAddr::V4(_) => (["8", "0"], ["3", "3"]),
        IpAddr::V6(_) => (["128", "129"], ["1", "4"]),
    };
    let [a, b] = [a, b].map(|address| address.to_string());
    for (port, way, from, to, kind) in [
        ("g1", "->", &a, &b, request),
        ("g2", "<-", &a, &b, request),
        ("g2", "->", &b, &a, reply),
        ("g1", "<-", &b, &a, reply),
    ] {
        let line = [port, way, from, to, kind, "0", "-"];
        exactly("icmpio", told, &line, PINGS)?;
    }
    for (port, way) in [("g2", "->"), ("g1", "<-")] {
        let line = [port, way, &b, &a, kind, code, "UDP", &a, ">", &b];
        exactly("icmpio", told, &line, 1)?;
    }
    Ok(())
}

/// An association of usrsctp from g1 to g2, with messages one way.
fn pour(ctx: &mut Ctx, to: IpAddr) -> Result<()> {
    let many = format!("tsctp -n {MESSAGES} -l {LEN} -p {PORT}");
    let mut server = serve(ctx, "g2", &many)?;
    let call = format!("{FOLDER}/{many} {to} > poured.txt 2>&1");
    // One that hangs is called again, as one that is refused.
    let sent = wait_until(CALLS, || {
        let done = ctx.attempt("g1", &call, BRIEF);
        Ok(done.is_ok_and(|done| done.success).then_some(()))
    })?;
    sent.context("no call has sent every message")?;
    let bytes = MESSAGES * LEN;
    server.wait_for_line(&format!("{LEN}, {MESSAGES}, {MESSAGES}, {bytes}, "), BRIEF)?;
    server.stop();
    Ok(())
}

/// What was sent is counted, each SACK has its line, and at last nothing is in
/// flight. Numbers of types are those of RFC 9260 section 3.2.
fn association(
    sctpio: &Told,
    states: &Told,
    flight: &Told,
    (a, b): (IpAddr, IpAddr),
) -> Result<()> {
    let (a, b) = (a.to_string(), b.to_string());
    let server = format!("{b}:{PORT}");
    let chunks = |way: &str, chunk: &str| {
        let pattern = ["*", "*", way, &server, "*", chunk];
        let of_guest = |line: &&[String]| line[1].starts_with(&format!("{a}:"));
        sctpio.like(&pattern).filter(of_guest).count()
    };
    let (data, sacks) = (chunks("->", "0"), chunks("<-", "3"));
    // The first may be bundled with a cookie, and one be sent again.
    ensure!(data + 1 >= MESSAGES, "sctpio: {data} packets of data");
    ensure!(sacks >= MESSAGES / 4, "sctpio: {sacks} acknowledgements");
    let at = PORT.to_string();
    let pattern = [&a, "*", &b, &at];
    same("sctpflight", flight.count(&pattern), sacks)?;
    let lines: Vec<_> = flight.like(&pattern).collect();
    let last = lines.last().context("nothing was in flight")?;
    ensure!(last[4] == "0", "sctpflight: at last {} in flight", last[4]);
    let most: usize = last[5].parse()?;
    ensure!((1..=MESSAGES).contains(&most), "sctpflight: at most {most}");
    let is_timed = |line: &&&[String]| line[7].parse::<u64>().is_ok_and(|us| us > 0);
    ensure!(lines.iter().any(|line| is_timed(&line)), "no round trip");
    for new in ["SYN_SENT", "ESTABLISHED", "TIME_WAIT"] {
        let line = ["*", "*", &a, "*", &b, &at, "*", "->", new];
        // A call that came too soon was refused, and there was another.
        ensure!(states.count(&line) >= 1, "sctpstate: not {new}");
    }
    Ok(())
}
