//! The lab by itself, without a driver: every piece against Linux's own stack.
//!
//! A test runs the test program again, for itself alone, in a sandbox.

use super::boundary::{Boundary, Mapping, allow_no_checksum};
use super::capture::Capture;
use super::dhcp::{self, Lease};
use super::geneve::{self, Geneve};
use super::guest::Guest;
use super::ip::{Datagram, checksum};
use super::link::{Links, wait_until};
use super::packet::PacketSocket;
use super::ping::{Series, ping};
use super::process::Process;
use super::sandbox::{self, Outcome};
use super::{Namespace, tcp};
use crate::skip::skip as skip_test;
use anyhow::{Context, Result, bail, ensure};
use dhcproto::v4::{DhcpOption, Message, MessageType, Opcode, OptionCode};
use dhcproto::{Decodable, Decoder, Encodable};
use nix::sys::signal::kill;
use nix::unistd::Pid;
use opte_core::api::Prefix;
use pcap_file::pcapng::{Block, PcapNgReader};
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

const INSIDE: &str = "OPTE_LAB_TEST";
const LIMIT: Duration = Duration::from_secs(60);
/// How long one thing may take, and what nobody sends is waited for.
const SHORT: Duration = Duration::from_secs(30);
const SILENCE: Duration = Duration::from_secs(1);
const MTU: u32 = 9_000;

/// Runs `body` in a sandbox, or says loudly why it can't.
fn in_sandbox(test: &str, body: impl FnOnce() -> Result<()>) {
    if std::env::var_os(INSIDE).is_some() {
        return body().unwrap_or_else(|error| panic!("{error:?}"));
    }
    let again = || {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", &format!("lab::tests::{test}"), "--nocapture"])
            .env(INSIDE, "1");
        command
    };
    match sandbox::run(again, LIMIT).unwrap() {
        Outcome::Ended(status) => assert!(status.success(), "{test} in its sandbox: {status}"),
        Outcome::TimedOut => panic!("{test} took longer than {LIMIT:?}"),
        Outcome::Refused(errno) => skip_test(test, &format!("no user namespaces: {errno}")),
    }
}

fn scratch(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("opte-lab-{}-{name}", std::process::id()))
}

fn v4(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, last))
}

fn v6(last: u16) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last))
}

/// Two namespaces with a cable between them: device `a` in the first, `b` in
/// the second, addresses that end in 1 and 2.
fn pair() -> Result<(Namespace, Namespace)> {
    let (a, b) = (Namespace::new("a")?, Namespace::new("b")?);
    let mut links = Links::open(&a)?;
    links.add_veth("a", (&b, "b"), MTU)?;
    links.set_up("a")?;
    links.add_address("a", v4(1), 24)?;
    links.add_address("a", v6(1), 64)?;
    let mut links = Links::open(&b)?;
    links.set_up("b")?;
    links.settle("b")?;
    Links::open(&a)?.settle("a")?;
    links.add_address("b", v4(2), 24)?;
    links.add_address("b", v6(2), 64)?;
    Ok((a, b))
}

#[test]
fn namespaces_talk_by_a_cable_and_a_capture_sees_it() {
    in_sandbox("namespaces_talk_by_a_cable_and_a_capture_sees_it", || {
        let (a, b) = pair()?;
        let path = scratch("cable.pcapng");
        let capture = Capture::start(&b, &["b"], &path)?;
        for to in [v4(2), v6(2)] {
            ensure!(ping(&a, to, &Series::of(3))?.all(), "no replies from {to}");
            let address = SocketAddr::new(to, 8_080);
            let _server = tcp::Server::start(&b, address)?;
            let exchange = tcp::exchange(&a, address, SHORT)?;
            let from = if to.is_ipv4() { v4(1) } else { v6(1) };
            assert_eq!((exchange.seen_as.ip(), exchange.bytes), (from, 6));
        }
        let nobody = Series {
            limit: SILENCE,
            ..Series::of(1)
        };
        let silent = ping(&a, v4(3), &nobody)?;
        assert_eq!(silent.times, []);
        let recorded = capture.finish()?;
        assert_eq!(recorded.left_out, 0);
        let frames = frames_of(&path)?;
        assert_eq!(u64::try_from(frames.len())?, recorded.frames);
        // Only what came in by `b`: three requests of each family, no replies.
        let count = |ethertype: [u8; 2], (at, proto): (usize, u8), (behind, kind): (usize, u8)| {
            let is_it = |frame: &&Vec<u8>| {
                frame[12..14] == ethertype && frame[at] == proto && frame[behind] == kind
            };
            frames.iter().filter(is_it).count()
        };
        assert_eq!(count([0x08, 0x00], (23, 1), (34, 8)), 3);
        assert_eq!(count([0x08, 0x00], (23, 1), (34, 0)), 0);
        assert_eq!(count([0x86, 0xdd], (20, 58), (54, 128)), 3);
        assert_eq!(count([0x86, 0xdd], (20, 58), (54, 129)), 0);
        std::fs::remove_file(&path)?;
        Ok(())
    });
}

#[test]
fn a_client_gets_the_lease_that_a_server_gives() {
    in_sandbox("a_client_gets_the_lease_that_a_server_gives", || {
        let (a, b) = pair()?;
        let (client, server) = (
            PacketSocket::open(&a, Some("a"))?,
            PacketSocket::open(&b, Some("b"))?,
        );
        let mac = Links::open(&a)?.get("a")?.mac;
        let lease = thread::scope(|scope| -> Result<Lease> {
            let served = scope.spawn(|| serve_lease(&server));
            let lease = dhcp::acquire(&client, mac, SHORT)?;
            served.join().unwrap()?;
            Ok(lease)
        })?;
        let (own, router) = (Ipv4Addr::new(192, 0, 2, 9), Ipv4Addr::new(192, 0, 2, 1));
        let expected = Lease {
            address: own,
            bits: 32,
            server: router,
            lease_s: 60,
            routes: vec![
                (router, 32, Ipv4Addr::UNSPECIFIED),
                (Ipv4Addr::UNSPECIFIED, 0, router),
            ],
            dns: vec![],
            hostname: Some("g".into()),
            mtu: Some(1_400),
        };
        assert_eq!(lease, expected);
        // And Linux takes these routes, in this order.
        let mut links = Links::open(&a)?;
        links.add_address("a", IpAddr::V4(lease.address), lease.bits)?;
        for (to, bits, via) in lease.routes {
            let via = (via != Ipv4Addr::UNSPECIFIED).then_some(IpAddr::V4(via));
            links.add_route((IpAddr::V4(to), bits), via, "a")?;
        }
        let default = links
            .routes(false)?
            .into_iter()
            .find(|route| route.bits == 0);
        assert_eq!(
            default.and_then(|route| route.via),
            Some(IpAddr::V4(router))
        );
        Ok(())
    });
}

/// Answers until it has acknowledged a request. The client may ask more than
/// once: it doesn't wait for ever.
fn serve_lease(socket: &PacketSocket) -> Result<()> {
    let router = Ipv4Addr::new(192, 0, 2, 1);
    let mut buffer = [0; 2_048];
    loop {
        let received = socket.receive(&mut buffer, SHORT)?.context("no request")?;
        let datagram = Datagram::parse(&buffer[..received.len]).unwrap();
        let Some(datagram) = datagram.filter(|d| d.destination.1 == 67) else {
            continue;
        };
        let request = Message::decode(&mut Decoder::new(datagram.payload))?;
        let kind = match request.opts().msg_type() {
            Some(MessageType::Discover) => MessageType::Offer,
            Some(MessageType::Request) => MessageType::Ack,
            other => bail!("the client sends {other:?}"),
        };
        let requested = request.opts().get(OptionCode::RequestedIpAddress);
        assert_eq!(requested.is_some(), kind == MessageType::Ack);
        let mut answer = Message::default();
        answer
            .set_opcode(Opcode::BootReply)
            .set_xid(request.xid())
            .set_chaddr(request.chaddr())
            .set_yiaddr([192, 0, 2, 9]);
        for option in [
            DhcpOption::MessageType(kind),
            DhcpOption::ServerIdentifier(router),
            DhcpOption::SubnetMask(Ipv4Addr::BROADCAST),
            DhcpOption::AddressLeaseTime(60),
            DhcpOption::Hostname("g".into()),
            DhcpOption::InterfaceMtu(1_400),
            DhcpOption::Router(vec![Ipv4Addr::LOCALHOST]),
            DhcpOption::ClasslessStaticRoute(vec![
                ("192.0.2.1/32".parse()?, Ipv4Addr::UNSPECIFIED),
                ("0.0.0.0/0".parse()?, router),
            ]),
        ] {
            answer.opts_mut().insert(option);
        }
        let payload = answer.to_vec()?;
        let reply = Datagram {
            source: (router, 67),
            destination: (Ipv4Addr::BROADCAST, 68),
            payload: &payload,
        };
        socket.send(&reply.emit([0xff; 6], [2, 0, 0, 0, 0, 1]))?;
        if kind == MessageType::Ack {
            return Ok(());
        }
    }
}

#[test]
fn a_guest_asks_for_a_router_and_takes_it() {
    in_sandbox("a_guest_asks_for_a_router_and_takes_it", || {
        let (a, b) = pair()?;
        let socket = PacketSocket::open(&b, Some("b"))?;
        let guest = Guest {
            name: "a".into(),
            namespace: a,
        };
        let (own, router) = thread::scope(|scope| {
            let served = scope.spawn(|| answer_solicitation(&socket));
            let found = guest.ipv6_router()?;
            served.join().unwrap()?;
            anyhow::Ok(found)
        })?;
        ensure!(own.is_unicast_link_local(), "{own}");
        assert_eq!(router, ROUTER);
        Ok(())
    });
}

const ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x77);

/// Waits for a router solicitation and advertises [`ROUTER`] to all nodes.
fn answer_solicitation(socket: &PacketSocket) -> Result<()> {
    let mut buffer = [0; 2_048];
    loop {
        let received = socket.receive(&mut buffer, SHORT)?;
        received.context("no router solicitation")?;
        if buffer[12..14] == [0x86, 0xdd] && buffer[20] == 58 && buffer[54] == 133 {
            break;
        }
    }
    // Type 134, hop limit 64, managed addresses, 1800 s (RFC 4861 section 4.2).
    let mut icmp = [134, 0, 0, 0, 64, 0x80, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
    let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let ip = [
        &[0x60, 0, 0, 0, 0, 16, 58, 255][..],
        &ROUTER.octets(),
        &all_nodes.octets(),
    ]
    .concat();
    let sum = checksum(&[&ip[8..], &[0, 0, 0, 16, 0, 0, 0, 58], &icmp]);
    icmp[2..4].copy_from_slice(&sum.to_be_bytes());
    let ethernet = [0x33, 0x33, 0, 0, 0, 1, 2, 0, 0, 0, 0, 1, 0x86, 0xdd];
    socket.send(&[&ethernet[..], &ip, &icmp].concat())
}

#[test]
fn the_boundary_joins_a_tunnel_and_the_internet() {
    const TEST: &str = "the_boundary_joins_a_tunnel_and_the_internet";
    in_sandbox(TEST, || {
        if let Err(error) = File::options().read(true).write(true).open("/dev/net/tun") {
            skip_test(TEST, &format!("/dev/net/tun: {error}"));
            return Ok(());
        }
        let external = Ipv4Addr::new(198, 51, 100, 1);
        let Edge {
            sled,
            here,
            there,
            boundary,
        } = edge(external)?;
        let socket = sled.run(|| {
            let socket = UdpSocket::bind(SocketAddrV6::new(here, geneve::PORT, 0, 0))?;
            socket.set_read_timeout(Some(SHORT))?;
            allow_no_checksum(&socket)?;
            Ok(socket)
        })?;
        let to = SocketAddrV6::new(there, geneve::PORT, 0, 0);
        let mac = [0xa8, 0x40, 0x25, 0x77, 0x77, 0x77];
        // Of these three, identifier 7 alone has a mapping for its reply, and
        // the last isn't addressed to the boundary.
        for (identifier, mac) in [(8, mac), (7, mac), (7, [2; 6])] {
            let inner = [&mac[..], &[2; 6], &[8, 0], &echo(external, identifier)].concat();
            let geneve = Geneve {
                vni: 99,
                external: false,
                inner: &inner,
            };
            socket.send_to(&geneve.emit(), to)?;
        }
        let mut buffer = [0; 2_048];
        let len = socket.recv(&mut buffer)?;
        let reply = Geneve::parse(&buffer[..len]).unwrap();
        assert_eq!((reply.vni, reply.external), (5, true));
        assert_eq!(
            reply.inner[..14],
            [2, 2, 2, 2, 2, 2, 168, 64, 37, 119, 119, 119, 8, 0]
        );
        // An echo reply of identifier 7 to the external address.
        assert_eq!(reply.inner[30..34], external.octets());
        assert_eq!((reply.inner[34], &reply.inner[38..40]), (0, &[0, 7][..]));
        drop(socket);
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counts = || {
            let counters = boundary.counters();
            (
                read(&counters.outbound),
                read(&counters.inbound),
                read(&counters.refused),
            )
        };
        // A packet is counted after it is sent, so it may be here before.
        let settled = wait_until(SHORT, || Ok((counts() == (2, 1, 2)).then_some(())))?;
        ensure!(settled.is_some(), "{:?}", counts());
        Ok(())
    });
}

struct Edge {
    sled: Namespace,
    here: Ipv6Addr,
    there: Ipv6Addr,
    boundary: Boundary,
}

/// A sled, a boundary that takes `external` with identifier 7 for a guest of
/// it, and the host 10.0.0.10 on the internet.
fn edge(external: Ipv4Addr) -> Result<Edge> {
    let (sled, underlay) = pair()?;
    let internet = Namespace::new("internet")?;
    let (IpAddr::V6(here), IpAddr::V6(there)) = (v6(1), v6(2)) else {
        unreachable!()
    };
    let mapping = Mapping {
        external: Prefix::host(IpAddr::V4(external)),
        ports: 7..=7,
        vni: 5,
        mac: [2; 6],
        sled: here,
    };
    let boundary = Boundary::start((&underlay, there), (&internet, "inet"), vec![mapping])?;
    let mut links = Links::open(&internet)?;
    links.add_address("inet", v4(10), 24)?;
    links.add_route((IpAddr::V4(external), 32), None, "inet")?;
    Ok(Edge {
        sled,
        here,
        there,
        boundary,
    })
}

/// An echo request to 10.0.0.10.
fn echo(from: Ipv4Addr, identifier: u8) -> Vec<u8> {
    let mut icmp = [8, 0, 0, 0, 0, identifier, 0, 1];
    let sum = checksum(&[&icmp]);
    icmp[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut ip = [
        0x45, 0, 0, 28, 0, 0, 0, 0, 64, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 10,
    ];
    ip[12..16].copy_from_slice(&from.octets());
    let sum = checksum(&[&ip]);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    [&ip[..], &icmp].concat()
}

#[test]
fn a_process_lives_as_long_as_its_handle() {
    in_sandbox("a_process_lives_as_long_as_its_handle", || {
        let namespace = Namespace::new("n")?;
        let log = scratch("process.log");
        let script = |text: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", text]);
            command
        };
        let mut process = Process::spawn(
            &namespace,
            "sleeper",
            script("echo starting; echo ready $$; exec sleep 1000"),
            &log,
        )?;
        let line = process.wait_for_line("ready", SHORT)?;
        let pid: i32 = line.trim_start_matches("ready ").parse()?;
        process.check()?;
        ensure!(kill(Pid::from_raw(pid), None).is_ok());
        drop(process);
        ensure!(kill(Pid::from_raw(pid), None).is_err(), "it lives on");
        assert_eq!(
            std::fs::read_to_string(&log)?,
            format!("starting\n{line}\n")
        );

        let mut process = Process::spawn(&namespace, "failer", script("echo why; exit 3"), &log)?;
        let error = process
            .wait_for_line("ready", SHORT)
            .unwrap_err()
            .to_string();
        ensure!(
            error.contains("failer ended") && error.contains("why"),
            "{error}"
        );
        std::fs::remove_file(&log)?;
        Ok(())
    });
}

fn frames_of(path: &PathBuf) -> Result<Vec<Vec<u8>>> {
    let mut reader = PcapNgReader::new(File::open(path)?)?;
    let mut frames = Vec::new();
    while let Some(block) = reader.next_block() {
        if let Block::EnhancedPacket(packet) = block? {
            frames.push(packet.data.into_owned());
        }
    }
    Ok(frames)
}
