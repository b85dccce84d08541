//! DHCP exchanges message by message, and clients that are up to no good.

use super::super::testing::*;
use super::super::{Config, outbound};
use super::*;
use crate::api::DhcpOptions;
use crate::flow::Proto;
use crate::wire::name::tests as names;
use std::string::{String, ToString};
use std::vec;

const NONE: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
const ALL: Ipv4Addr = Ipv4Addr::BROADCAST;
const OTHER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 77);
const CLIENT: &[u8] = &[1, 0xa8, 0x40, 0x25, 0xf0, 0, 1];

/// What a client sends.
#[derive(Clone)]
struct Sent {
    ends: (Ipv4Addr, Ipv4Addr),
    header: Header,
    options: Vec<(u8, Vec<u8>)>,
}

impl Sent {
    /// A message of `kind` from a client without address.
    fn new(kind: Kind) -> Self {
        Self {
            ends: (NONE, ALL),
            header: Header {
                op: Op::Request,
                transaction: 0xdead_beef,
                secs: 7,
                broadcast: false,
                client: NONE,
                your: NONE,
                next_server: NONE,
                relay: NONE,
                mac: MAC,
            },
            options: vec![(code::KIND, vec![kind.0])],
        }
    }

    fn with(mut self, code: u8, data: &[u8]) -> Self {
        self.options.push((code, data.to_vec()));
        self
    }

    fn address(self, code: u8, address: Ipv4Addr) -> Self {
        self.with(code, &address.octets())
    }

    fn broadcast(mut self) -> Self {
        self.header.broadcast = true;
        self
    }

    /// From a client that has `address` and says so.
    fn having(mut self, address: Ipv4Addr, destination: Ipv4Addr) -> Self {
        self.header.client = address;
        self.ends = (address, destination);
        self
    }

    fn data(&self) -> Vec<u8> {
        let mut data = Writer::default();
        let mut options = OptionWriter::new(&self.header, 1_400, &mut data);
        for (code, data) in &self.options {
            assert!(options.put(*code, data));
        }
        options.finish();
        data.into_bytes()
    }

    fn frame(&self) -> Vec<u8> {
        frame_of(self.ends, &self.data())
    }

    fn reply(&self) -> Received {
        Received::read(&reply(&config(), &self.frame()))
    }

    fn refused(&self) -> DropReason {
        refused(&config(), &self.frame())
    }
}

fn frame_of((source, destination): (Ipv4Addr, Ipv4Addr), data: &[u8]) -> Vec<u8> {
    let ends = ends(source, destination);
    let mut out = Writer::default();
    udp::emit(&ends, CLIENT_PORT, SERVER_PORT, data, &mut out);
    let mac = if destination.is_broadcast() {
        MacAddr::BROADCAST
    } else {
        GATEWAY_MAC
    };
    from_guest(mac, &datagram(ends, Proto::UDP, 64, out.bytes()))
}

/// What a client is sent.
#[derive(Debug)]
struct Received {
    mac: MacAddr,
    destination: IpAddr,
    header: Header,
    options: Vec<(u8, Vec<u8>)>,
    data_len: usize,
}

impl Received {
    fn read(frame: &[u8]) -> Self {
        let (ethernet, datagram) = split(frame);
        assert_eq!(datagram.ends.source(), IpAddr::V4(GATEWAY4));
        assert_eq!((datagram.hop_limit, datagram.proto), (64, Proto::UDP));
        let (udp, data) = udp::Header::parse(datagram.payload).unwrap();
        assert_eq!((udp.source_port, udp.destination_port), (67, 68));
        assert!(data.len() >= 300);
        let (header, options) = Header::parse(data).unwrap();
        assert_eq!((header.op, header.transaction), (Op::Reply, 0xdead_beef));
        assert_eq!((header.mac, header.secs), (MAC, 0));
        assert_eq!((header.next_server, header.relay), (NONE, NONE));
        let mut joined: Vec<(u8, Vec<u8>)> = Vec::new();
        for (code, data) in options.iter() {
            match joined.last_mut() {
                Some((last, sofar)) if *last == code => sofar.extend(data),
                _ => joined.push((code, data.to_vec())),
            }
        }
        Self {
            mac: ethernet.destination,
            destination: datagram.ends.destination(),
            header,
            options: joined,
            data_len: data.len(),
        }
    }

    fn get(&self, code: u8) -> Option<&[u8]> {
        let mut found = self.options.iter().filter(|(found, _)| *found == code);
        let first = found.next().map(|(_, data)| &data[..]);
        assert!(found.next().is_none(), "{code} twice");
        first
    }

    fn codes(&self) -> Vec<u8> {
        self.options.iter().map(|(code, _)| *code).collect()
    }

    fn check_lease(&self, kind: Kind) {
        assert_eq!(self.get(code::KIND), Some(&[kind.0][..]));
        assert_eq!(self.header.your, IP4);
        assert_eq!(self.get(code::SERVER), Some(&GATEWAY4.octets()[..]));
        let seconds = |seconds: u32| Some(Vec::from(seconds.to_be_bytes()));
        let get = |code| self.get(code).map(Vec::from);
        assert_eq!(get(code::LEASE), seconds(3_600));
        assert_eq!(get(code::RENEW), seconds(1_800));
        assert_eq!(get(code::REBIND), seconds(3_150));
        assert_eq!(self.get(code::SUBNET_MASK), Some(&[255; 4][..]));
    }

    /// Every option of [`config`].
    fn check_everything(&self) {
        assert_eq!(self.get(code::ROUTER), Some(&GATEWAY4.octets()[..]));
        assert_eq!(
            self.get(code::ROUTES),
            Some(&[32, 10, 0, 0, 1, 0, 0, 0, 0, 0, 10, 0, 0, 1][..])
        );
        assert_eq!(self.get(code::DNS), Some(&[9, 9, 9, 9, 8, 8, 8, 8][..]));
        assert_eq!(self.get(code::NTP), Some(&[10, 9, 9, 9][..]));
        assert_eq!(self.get(code::HOST_NAME), Some(&b"guest"[..]));
        assert_eq!(self.get(code::DOMAIN), Some(&b"vpc.example.com"[..]));
        assert_eq!(self.get(code::MTU), Some(&[5, 0xdc][..]));
        let search = self.get(code::SEARCH).unwrap();
        assert_eq!(search, b"\x03vpc\x07example\x03com\x00\xc0\x04");
        assert_eq!(names::read(search), config().dhcp.search);
    }

    fn check_nak(&self) {
        let codes: Vec<u8> = self.codes();
        let codes: Vec<_> = codes.iter().filter(|c| **c != code::CLIENT).collect();
        assert_eq!(codes, [&code::KIND, &code::SERVER, &code::TEXT]);
        assert_eq!(self.get(code::KIND), Some(&[Kind::NAK.0][..]));
        assert_eq!((self.header.your, self.header.client), (NONE, NONE));
        assert_eq!(
            (self.mac, self.destination),
            (MacAddr::BROADCAST, ALL.into())
        );
    }
}

fn selecting(address: Ipv4Addr) -> Sent {
    Sent::new(Kind::REQUEST)
        .address(code::SERVER, GATEWAY4)
        .address(code::REQUESTED, address)
}

#[test]
fn a_discover_gets_an_offer() {
    let offer = Sent::new(Kind::DISCOVER)
        .address(code::REQUESTED, OTHER)
        .reply();
    offer.check_lease(Kind::OFFER);
    offer.check_everything();
    assert_eq!(offer.header.client, NONE);
    assert!(!offer.header.broadcast);
    assert_eq!((offer.mac, offer.destination), (MAC, IP4.into()));
    assert_eq!(offer.get(code::CLIENT), None);
}

#[test]
fn a_client_that_may_skip_the_offer_gets_its_lease() {
    let rapid = Sent::new(Kind::DISCOVER).with(code::RAPID_COMMIT, &[]);
    let ack = rapid.reply();
    ack.check_lease(Kind::ACK);
    ack.check_everything();
    assert_eq!(ack.get(code::RAPID_COMMIT), Some(&[][..]));
    assert_eq!((ack.mac, ack.destination), (MAC, IP4.into()));
    // Elsewhere the option says nothing.
    let ack = selecting(IP4).with(code::RAPID_COMMIT, &[]).reply();
    assert_eq!(ack.get(code::RAPID_COMMIT), None);
    let long = Sent::new(Kind::DISCOVER).with(code::RAPID_COMMIT, &[1]);
    assert_eq!(long.refused(), DropReason::BadDhcp);
}

#[test]
fn a_shorter_lease_can_be_had_and_a_longer_one_cannot() {
    for (wish_s, lease_s) in [
        (0, 20),
        (9, 20),
        (600, 600),
        (3_600, 3_600),
        (7_200, 3_600),
        (FOREVER, 3_600),
    ] {
        let wish = u32::to_be_bytes(wish_s);
        for sent in [Sent::new(Kind::DISCOVER), selecting(IP4)] {
            let reply = sent.with(code::LEASE, &wish).reply();
            assert_eq!(
                reply.get(code::LEASE),
                Some(&u32::to_be_bytes(lease_s)[..]),
                "{wish_s}"
            );
        }
    }
}

#[test]
fn the_broadcast_flag_is_minded() {
    for sent in [Sent::new(Kind::DISCOVER), selecting(IP4)] {
        let reply = sent.broadcast().reply();
        assert!(reply.header.broadcast);
        assert_eq!(
            (reply.mac, reply.destination),
            (MacAddr::BROADCAST, ALL.into())
        );
    }
}

#[test]
fn a_client_selects() {
    let ack = selecting(IP4).with(code::CLIENT, CLIENT).reply();
    ack.check_lease(Kind::ACK);
    ack.check_everything();
    assert_eq!((ack.mac, ack.destination), (MAC, IP4.into()));
    // RFC 6842.
    assert_eq!(ack.get(code::CLIENT), Some(CLIENT));
    selecting(OTHER).reply().check_nak();
    // Another server's offer.
    let sent = Sent::new(Kind::REQUEST)
        .address(code::SERVER, OTHER)
        .address(code::REQUESTED, IP4);
    assert_eq!(sent.refused(), DropReason::DhcpNotAnswered);
    let sent = Sent::new(Kind::REQUEST).address(code::SERVER, GATEWAY4);
    assert_eq!(sent.refused(), DropReason::BadDhcp);
}

#[test]
fn a_client_comes_back_from_a_reboot() {
    let sent = |address| Sent::new(Kind::REQUEST).address(code::REQUESTED, address);
    let ack = sent(IP4).reply();
    ack.check_lease(Kind::ACK);
    assert_eq!(ack.header.client, NONE);
    assert_eq!((ack.mac, ack.destination), (MAC, IP4.into()));
    sent(OTHER).reply().check_nak();
    assert_eq!(
        sent(OTHER)
            .with(code::CLIENT, CLIENT)
            .reply()
            .get(code::CLIENT),
        Some(CLIENT)
    );
}

#[test]
fn a_client_renews_and_rebinds() {
    for destination in [GATEWAY4, ALL] {
        let ack = Sent::new(Kind::REQUEST).having(IP4, destination).reply();
        ack.check_lease(Kind::ACK);
        ack.check_everything();
        assert_eq!(ack.header.client, IP4);
        assert_eq!((ack.mac, ack.destination), (MAC, IP4.into()));
        // An address that it had once.
        Sent::new(Kind::REQUEST)
            .having(OTHER, destination)
            .reply()
            .check_nak();
    }
    // The broadcast flag is for clients without address.
    let ack = Sent::new(Kind::REQUEST)
        .having(IP4, ALL)
        .broadcast()
        .reply();
    assert_eq!((ack.mac, ack.destination), (MAC, IP4.into()));
    assert_eq!(Sent::new(Kind::REQUEST).refused(), DropReason::BadDhcp);
}

#[test]
fn a_client_informs_itself() {
    let own = Ipv4Addr::new(192, 168, 7, 9);
    for (address, destination) in [(IP4, GATEWAY4), (IP4, ALL), (own, ALL)] {
        let ack = Sent::new(Kind::INFORM).having(address, destination).reply();
        assert_eq!(ack.get(code::KIND), Some(&[Kind::ACK.0][..]));
        ack.check_everything();
        assert_eq!((ack.header.client, ack.header.your), (address, NONE));
        assert_eq!((ack.mac, ack.destination), (MAC, address.into()));
        for code in [code::LEASE, code::RENEW, code::REBIND] {
            assert_eq!(ack.get(code), None);
        }
    }
    assert_eq!(Sent::new(Kind::INFORM).refused(), DropReason::BadDhcp);
    let sent = Sent::new(Kind::INFORM).having(OTHER, ALL);
    assert_eq!(sent.refused(), DropReason::SpoofedIp);
}

#[test]
fn release_and_decline_get_no_answer() {
    let release = |address, server| {
        Sent::new(Kind::RELEASE)
            .having(address, GATEWAY4)
            .address(code::SERVER, server)
            .refused()
    };
    let own = Ipv4Addr::new(192, 168, 7, 9);
    assert_eq!(release(IP4, GATEWAY4), DropReason::DhcpReleased);
    assert_eq!(release(own, GATEWAY4), DropReason::DhcpNotAnswered);
    assert_eq!(release(IP4, OTHER), DropReason::DhcpNotAnswered);
    let decline = |address, server| {
        Sent::new(Kind::DECLINE)
            .address(code::REQUESTED, address)
            .address(code::SERVER, server)
            .refused()
    };
    assert_eq!(decline(IP4, GATEWAY4), DropReason::DhcpDeclined);
    assert_eq!(decline(OTHER, GATEWAY4), DropReason::DhcpNotAnswered);
    assert_eq!(decline(IP4, OTHER), DropReason::DhcpNotAnswered);
    for kind in [Kind::OFFER, Kind::ACK, Kind::NAK, Kind(0), Kind(99)] {
        assert_eq!(Sent::new(kind).refused(), DropReason::DhcpNotAnswered);
    }
}

#[test]
fn the_parameter_list_is_minded() {
    let ack = selecting(IP4)
        .with(code::PARAMETERS, &[code::MTU, code::LEASE, 200, code::DNS])
        .with(code::PARAMETERS, &[code::DNS, code::ROUTER])
        .reply();
    ack.check_lease(Kind::ACK);
    assert_eq!(
        ack.codes(),
        [
            code::KIND,
            code::SERVER,
            code::LEASE,
            code::RENEW,
            code::REBIND,
            code::SUBNET_MASK,
            code::MTU,
            code::DNS,
            code::ROUTER
        ]
    );
    let none = selecting(IP4).with(code::PARAMETERS, &[]).reply();
    assert_eq!(none.codes().last(), Some(&code::SUBNET_MASK));
    let every: Vec<u8> = (0..=255).collect();
    let all = selecting(IP4).with(code::PARAMETERS, &every).reply();
    all.check_lease(Kind::ACK);
    all.check_everything();
}

/// A configuration that has more to say than fits.
fn talkative() -> Config {
    let label = "x".repeat(60);
    let name = |i: usize| [&label[..], &label, &i.to_string(), "example"].join(".");
    Config {
        dhcp: DhcpOptions {
            search: (0..9).map(name).collect(),
            dns4: vec![OTHER; 9],
            ..config().dhcp
        },
        ..config()
    }
}

#[test]
fn a_reply_fits_what_the_client_takes() {
    let config = talkative();
    let received = |sent: Sent| Received::read(&reply(&config, &sent.frame()));
    let small = received(selecting(IP4));
    assert_eq!(small.get(code::SEARCH), None);
    assert!(small.data_len <= 576 - 28);
    assert_eq!(small.get(code::DNS).map(<[u8]>::len), Some(8 * 4));
    // Less than the least doesn't count.
    let tiny = received(selecting(IP4).with(code::MESSAGE_LEN_MAX, &[0, 99]));
    assert_eq!(tiny.codes(), small.codes());
    for len_max in [1_500, 65_535_u16] {
        let large = received(selecting(IP4).with(code::MESSAGE_LEN_MAX, &len_max.to_be_bytes()));
        assert!(large.data_len > 576 && large.data_len <= 1_500 - 28);
        let search = names::read(large.get(code::SEARCH).unwrap());
        assert_eq!(search, config.dhcp.search[..DHCP_LIST_MAX]);
    }
}

#[test]
fn only_what_is_known_is_said() {
    let config = Config {
        dhcp: DhcpOptions {
            hostname: Some("not a name".to_string()),
            domain: Some(String::new()),
            search: vec!["..".to_string()],
            ..DhcpOptions::default()
        },
        ..config()
    };
    let frame = Sent::new(Kind::DISCOVER).frame();
    let offer = Received::read(&reply(&config, &frame));
    for code in [
        code::HOST_NAME,
        code::DOMAIN,
        code::SEARCH,
        code::DNS,
        code::NTP,
    ] {
        assert_eq!(offer.get(code), None, "{code}");
    }
    // A day.
    assert_eq!(offer.get(code::LEASE), Some(&[0, 1, 0x51, 0x80][..]));
}

#[test]
fn times_are_in_order() {
    assert_eq!(times(86_400), [43_200, 75_600]);
    assert_eq!(times(FOREVER), [FOREVER, FOREVER]);
    for lease_s in [0, 1, 2, 7, 8, 9, 1_000, FOREVER - 1] {
        let [renew_s, rebind_s] = times(lease_s);
        assert!(renew_s <= rebind_s && rebind_s <= lease_s);
    }
}

#[test]
fn only_the_guest_is_served() {
    let mut relayed = Sent::new(Kind::DISCOVER);
    relayed.header.relay = OTHER;
    assert_eq!(relayed.refused(), DropReason::DhcpNotAnswered);
    let mut other = Sent::new(Kind::DISCOVER);
    other.header.mac = GATEWAY_MAC;
    assert_eq!(other.refused(), DropReason::DhcpNotAnswered);
    let mut server = Sent::new(Kind::DISCOVER);
    server.header.op = Op::Reply;
    assert_eq!(server.refused(), DropReason::DhcpNotAnswered);
    let mut spoofed = Sent::new(Kind::DISCOVER);
    spoofed.ends.0 = OTHER;
    assert_eq!(spoofed.refused(), DropReason::SpoofedIp);
    for source in [GATEWAY4, ALL, Ipv4Addr::new(224, 0, 0, 1)] {
        let sent = Sent::new(Kind::REQUEST).having(source, ALL);
        assert_eq!(sent.refused(), DropReason::SpoofedIp);
    }
    let bootp = Sent {
        options: vec![],
        ..Sent::new(Kind::DISCOVER)
    };
    assert_eq!(bootp.refused(), DropReason::DhcpNotAnswered);
    let only6 = Config {
        ipv4: None,
        ..config()
    };
    let frame = Sent::new(Kind::DISCOVER).frame();
    assert_eq!(refused(&only6, &frame), DropReason::FamilyOff);
    // To another machine, by unicast: somebody else's traffic.
    let sent = Sent::new(Kind::DISCOVER).having(IP4, OTHER);
    assert_eq!(outbound(&config(), &sent.frame()), Ok(None));
}

#[test]
fn malformed_messages_are_refused() {
    for (code, data) in [
        (code::REQUESTED, &[1, 2, 3][..]),
        (code::SERVER, &[1, 2, 3, 4, 5]),
        (code::MESSAGE_LEN_MAX, &[1]),
        (code::CLIENT, &[1]),
        (code::KIND, &[1]),
        (code::OVERLOAD, &[9]),
    ] {
        let sent = Sent::new(Kind::DISCOVER).with(code, data);
        assert_eq!(sent.refused(), DropReason::BadDhcp, "{code}");
    }
    let twice = selecting(IP4).address(code::REQUESTED, IP4);
    assert_eq!(twice.refused(), DropReason::BadDhcp);
    let data = Sent::new(Kind::DISCOVER).data();
    let with = |at: usize, value: u8| {
        let mut data = data.clone();
        data[at] = value;
        refused(&config(), &frame_of((NONE, ALL), &data))
    };
    assert_eq!(with(2, 5), DropReason::BadDhcp);
    assert_eq!(with(236, 0), DropReason::BadDhcp);
    assert_eq!(with(241, 200), DropReason::BadDhcp);
    for len in 0..244 {
        let frame = frame_of((NONE, ALL), &data[..len]);
        assert_eq!(refused(&config(), &frame), DropReason::BadDhcp, "{len}");
    }
    reply(&config(), &frame_of((NONE, ALL), &data[..244]));
}

#[test]
fn checksums_may_be_left_to_a_device() {
    let good = Sent::new(Kind::DISCOVER).frame();
    let with = |checksum: u16| {
        let mut frame = good.clone();
        frame[40..42].copy_from_slice(&checksum.to_be_bytes());
        outbound(&config(), &frame).map(|reply| reply.is_some())
    };
    let len = good.len() - 34;
    let partial = ends(NONE, ALL).pseudo_header(Proto::UDP, len).fold();
    assert_eq!(with(partial), Ok(true));
    assert_eq!(with(0), Ok(true));
    assert_eq!(with(partial ^ 1), Err(DropReason::BadChecksum));
}

#[test]
fn anything_may_come() {
    let sent = selecting(IP4)
        .with(code::CLIENT, CLIENT)
        .with(code::MESSAGE_LEN_MAX, &[5, 0xdc])
        .with(code::PARAMETERS, EVERYTHING);
    let good = sent.frame();
    survives(&good);
    // Without a checksum, random bytes reach the options.
    let mut unchecked = good;
    unchecked[40..42].copy_from_slice(&[0, 0]);
    survives(&unchecked);
}
