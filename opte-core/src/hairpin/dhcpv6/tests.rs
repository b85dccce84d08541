//! DHCPv6 exchanges message by message, and clients that are up to no good.

use super::super::testing::*;
use super::super::{Config, outbound};
use super::*;
use crate::api::DhcpOptions;
use crate::flow::Proto;
use crate::wire::MacAddr;
use crate::wire::name::tests as names;
use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

const GROUP: Ipv6Addr = dhcpv6::ALL_SERVERS;
const OTHER: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x77);
const CLIENT: &[u8] = &[0, 1, 0, 1, 9, 8, 7, 6, 0xa8, 0x40, 0x25, 0xf0, 0, 1];
const SERVER: [u8; 10] = dhcpv6::duid_of(GATEWAY_MAC);

/// What a client sends.
#[derive(Clone)]
struct Sent {
    ends: (Ipv6Addr, Ipv6Addr),
    kind: Kind,
    options: Vec<(u16, Vec<u8>)>,
}

impl Sent {
    /// A message of `kind`, to whom it goes, from a client without address.
    fn new(kind: Kind) -> Self {
        let bare = Self {
            ends: (LOCAL6, GROUP),
            kind,
            options: vec![(code::CLIENT, CLIENT.to_vec())],
        };
        match kind {
            Kind::REQUEST | Kind::RENEW | Kind::RELEASE | Kind::DECLINE => {
                bare.with(code::SERVER, &SERVER)
            }
            _ => bare,
        }
    }

    fn with(mut self, code: u16, data: &[u8]) -> Self {
        self.options.push((code, data.to_vec()));
        self
    }

    fn without(mut self, code: u16) -> Self {
        self.options.retain(|(found, _)| *found != code);
        self
    }

    fn to(mut self, destination: Ipv6Addr) -> Self {
        self.ends.1 = destination;
        self
    }

    fn from(mut self, source: Ipv6Addr) -> Self {
        self.ends.0 = source;
        self
    }

    fn ia(mut self, kind: IaKind, id: u32, addresses: &[Ipv6Addr]) -> Self {
        let (mut inner, mut out) = (Writer::default(), Writer::default());
        for address in addresses {
            let lease = Lease {
                address: *address,
                preferred_s: 11,
                valid_s: 12,
            };
            lease.emit(&mut inner);
        }
        dhcpv6::emit_ia(kind, id, [1, 2], inner.bytes(), &mut out);
        let option = out.into_bytes();
        let code = u16::from_be_bytes([option[0], option[1]]);
        self.options.push((code, option[4..].to_vec()));
        self
    }

    /// With an IA for addresses.
    fn na(self, id: u32, addresses: &[Ipv6Addr]) -> Self {
        self.ia(IaKind::Address, id, addresses)
    }

    fn asking(self, codes: &[u16]) -> Self {
        let codes: Vec<u8> = codes.iter().flat_map(|code| code.to_be_bytes()).collect();
        self.with(code::PARAMETERS, &codes)
    }

    fn data(&self) -> Vec<u8> {
        let header = Header {
            kind: self.kind,
            transaction: 0x00be_efed,
        };
        let mut data = Writer::default();
        let mut options = OptionWriter::new(&header, 60_000, &mut data);
        for (code, data) in &self.options {
            options.put(*code, data);
        }
        data.into_bytes()
    }

    fn frame(&self) -> Vec<u8> {
        frame_of(self.ends, &self.data())
    }

    fn reply(&self) -> Received {
        self.reply_of(&config())
    }

    fn reply_of(&self, config: &Config) -> Received {
        Received::read(&reply(config, &self.frame()), self)
    }

    fn refused(&self) -> DropReason {
        refused(&config(), &self.frame())
    }
}

fn frame_of((source, destination): (Ipv6Addr, Ipv6Addr), data: &[u8]) -> Vec<u8> {
    let ends = ends(source, destination);
    let mut out = Writer::default();
    udp::emit(&ends, CLIENT_PORT, SERVER_PORT, data, &mut out);
    let mac = if destination.is_multicast() {
        MacAddr::of_group(destination.into())
    } else {
        GATEWAY_MAC
    };
    from_guest(mac, &datagram(ends, Proto::UDP, 1, out.bytes()))
}

/// An IA in a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Given {
    code: u16,
    id: u32,
    times: [u32; 2],
    leases: Vec<(Ipv6Addr, u32, u32)>,
    status: Option<u16>,
}

impl Given {
    fn read(code: u16, data: &[u8]) -> Self {
        let word = |at: usize| u32::from_be_bytes(data[at..at + 4].try_into().unwrap());
        let (times, fixed_len) = match code {
            code::IA_TA => ([0; 2], 4),
            _ => ([word(4), word(8)], 12),
        };
        let mut given = Self {
            code,
            id: word(0),
            times,
            leases: Vec::new(),
            status: None,
        };
        for (code, data) in Options::parse(&data[fixed_len..]).unwrap().iter() {
            match code {
                code::ADDRESS => {
                    let (address, rest) = data.split_at(16);
                    let address: [u8; 16] = address.try_into().unwrap();
                    let preferred = u32::from_be_bytes(rest[..4].try_into().unwrap());
                    let valid = u32::from_be_bytes(rest[4..].try_into().unwrap());
                    given.leases.push((address.into(), preferred, valid));
                }
                code::STATUS => given.status = Some(u16::from_be_bytes([data[0], data[1]])),
                _ => panic!("{code} in an IA"),
            }
        }
        given
    }

    /// The port's address, for as long as [`config`] says.
    fn lease(id: u32) -> Self {
        Self {
            code: code::IA_NA,
            id,
            times: [1_800, 2_880],
            leases: vec![(IP6, 3_600, 3_600)],
            status: None,
        }
    }

    fn refusal(code: u16, id: u32, status: Status) -> Self {
        Self {
            code,
            id,
            times: [0; 2],
            leases: vec![],
            status: Some(status.0),
        }
    }
}

/// What a client is sent.
#[derive(Debug)]
struct Received {
    kind: Kind,
    options: Vec<(u16, Vec<u8>)>,
    len: usize,
}

impl Received {
    fn read(frame: &[u8], sent: &Sent) -> Self {
        let (ethernet, datagram) = split(frame);
        let (source, destination) = sent.ends;
        let from = match destination {
            GROUP => gateway_local(),
            own => own,
        };
        assert_eq!(datagram.ends, ends(from, source));
        assert_eq!(ethernet.destination, MAC);
        assert_eq!((datagram.hop_limit, datagram.proto), (64, Proto::UDP));
        let (udp, data) = udp::Header::parse(datagram.payload).unwrap();
        assert_eq!((udp.source_port, udp.destination_port), (547, 546));
        let (header, options) = Header::parse(data).unwrap();
        assert_eq!(header.transaction, 0x00be_efed);
        let received = Self {
            kind: header.kind,
            options: options.iter().map(|(c, d)| (c, d.to_vec())).collect(),
            len: datagram.payload.len(),
        };
        // Both identifiers, whatever the message (section 18.3).
        assert_eq!(received.get(code::SERVER), Some(&SERVER[..]));
        let client = sent.options.iter().find(|(code, _)| *code == code::CLIENT);
        let client = client.map(|(_, data)| &data[..]);
        assert_eq!(received.get(code::CLIENT), client);
        received
    }

    fn get(&self, code: u16) -> Option<&[u8]> {
        let mut found = self.options.iter().filter(|(found, _)| *found == code);
        let first = found.next().map(|(_, data)| &data[..]);
        assert!(found.next().is_none(), "{code} twice");
        first
    }

    /// Codes after the two identifiers.
    fn codes(&self) -> Vec<u16> {
        let codes = self.options.iter().map(|(code, _)| *code);
        codes.filter(|code| *code > code::SERVER).collect()
    }

    fn status(&self) -> Option<Status> {
        let data = self.get(code::STATUS)?;
        Some(Status(u16::from_be_bytes([data[0], data[1]])))
    }

    fn given(&self) -> Vec<Given> {
        let ias = [code::IA_NA, code::IA_TA, code::IA_PD];
        let found = self.options.iter().filter(|(code, _)| ias.contains(code));
        found.map(|(code, data)| Given::read(*code, data)).collect()
    }

    /// Every option of [`config`].
    fn check_everything(&self) {
        let dns: Vec<u8> = config()
            .dhcp
            .dns6
            .iter()
            .flat_map(Ipv6Addr::octets)
            .collect();
        assert_eq!(self.get(code::DNS), Some(&dns[..]));
        let search = self.get(code::SEARCH).unwrap();
        assert_eq!(search, b"\x03vpc\x07example\x03com\0\x07example\x03com\0");
        assert_eq!(names::read(search), config().dhcp.search);
    }
}

#[test]
fn a_solicitation_gets_an_advertisement() {
    // The hint is another's address, and isn't taken.
    for hint in [&[][..], &[IP6], &[OTHER]] {
        let advertise = Sent::new(Kind::SOLICIT).na(7, hint).reply();
        assert_eq!(advertise.kind, Kind::ADVERTISE);
        assert_eq!(advertise.get(code::PREFERENCE), Some(&[255][..]));
        assert_eq!(advertise.given(), [Given::lease(7)]);
        assert_eq!(advertise.get(code::RAPID_COMMIT), None);
        advertise.check_everything();
    }
}

#[test]
fn a_client_that_may_skip_the_advertisement_gets_its_lease() {
    let rapid = Sent::new(Kind::SOLICIT).with(code::RAPID_COMMIT, &[]);
    let reply = rapid.clone().na(7, &[]).reply();
    assert_eq!(reply.kind, Kind::REPLY);
    assert_eq!(reply.get(code::RAPID_COMMIT), Some(&[][..]));
    assert_eq!(reply.get(code::PREFERENCE), None);
    assert_eq!(reply.given(), [Given::lease(7)]);
    // Nothing to commit.
    let advertise = rapid.ia(IaKind::Prefix, 3, &[]).reply();
    assert_eq!(advertise.kind, Kind::ADVERTISE);
    // Elsewhere the option says nothing.
    let reply = Sent::new(Kind::REQUEST)
        .with(code::RAPID_COMMIT, &[])
        .na(7, &[])
        .reply();
    assert_eq!(reply.get(code::RAPID_COMMIT), None);
}

#[test]
fn a_client_asks_for_its_lease_and_keeps_it() {
    for kind in [Kind::REQUEST, Kind::RENEW, Kind::REBIND] {
        for addresses in [&[IP6][..], &[]] {
            let reply = Sent::new(kind).na(0xffff_fffe, addresses).reply();
            assert_eq!(reply.kind, Kind::REPLY);
            assert_eq!(reply.given(), [Given::lease(0xffff_fffe)]);
            assert_eq!(reply.get(code::STATUS), None);
            reply.check_everything();
        }
    }
    // From its new address, as some do.
    let reply = Sent::new(Kind::RENEW).from(IP6).na(7, &[IP6]).reply();
    assert_eq!(reply.given(), [Given::lease(7)]);
}

#[test]
fn a_wrong_address_is_refused_or_ends() {
    let request = Sent::new(Kind::REQUEST).na(7, &[OTHER]).reply();
    let not_on_link = Given::refusal(code::IA_NA, 7, Status::NOT_ON_LINK);
    assert_eq!(request.given(), std::slice::from_ref(&not_on_link));
    let request = Sent::new(Kind::REQUEST).na(7, &[IP6, OTHER]).reply();
    assert_eq!(request.given(), [not_on_link]);
    for kind in [Kind::RENEW, Kind::REBIND] {
        for addresses in [&[OTHER][..], &[OTHER, IP6]] {
            let reply = Sent::new(kind).na(7, addresses).reply();
            let mut both = Given::lease(7);
            both.leases.push((OTHER, 0, 0));
            assert_eq!(reply.given(), [both]);
        }
        let many = [OTHER; DHCPV6_ADDRESSES_MAX + 1];
        let reply = Sent::new(kind).na(7, &many).reply();
        assert_eq!(reply.given()[0].leases.len(), DHCPV6_ADDRESSES_MAX + 1);
    }
}

#[test]
fn one_box_gets_the_address() {
    let sent = |kind| {
        Sent::new(kind)
            .ia(IaKind::Prefix, 1, &[])
            .ia(IaKind::Temporary, 2, &[])
            .na(3, &[])
            .na(4, &[])
    };
    let none = |code, id, status| Given::refusal(code, id, status);
    for kind in [Kind::SOLICIT, Kind::REQUEST] {
        assert_eq!(
            sent(kind).reply().given(),
            [
                none(code::IA_PD, 1, Status::NO_PREFIXES),
                none(code::IA_TA, 2, Status::NO_ADDRESSES),
                Given::lease(3),
                none(code::IA_NA, 4, Status::NO_ADDRESSES),
            ]
        );
    }
    // The second has the address, so the second keeps it.
    for kind in [Kind::SOLICIT, Kind::REQUEST, Kind::RENEW, Kind::REBIND] {
        let reply = Sent::new(kind)
            .na(3, &[])
            .na(4, &[IP6])
            .na(5, &[IP6])
            .reply();
        let third = match kind {
            Kind::RENEW | Kind::REBIND => Status::NO_BINDING,
            _ => Status::NO_ADDRESSES,
        };
        assert_eq!(
            reply.given(),
            [
                none(code::IA_NA, 3, Status::NO_ADDRESSES),
                Given::lease(4),
                none(code::IA_NA, 5, third),
            ]
        );
    }
    let reply = Sent::new(Kind::RENEW)
        .ia(IaKind::Prefix, 1, &[])
        .ia(IaKind::Temporary, 2, &[IP6])
        .reply();
    assert_eq!(
        reply.given(),
        [
            none(code::IA_PD, 1, Status::NO_BINDING),
            none(code::IA_TA, 2, Status::NO_BINDING),
        ]
    );
}

#[test]
fn a_client_confirms_its_addresses() {
    let confirm = |addresses: &[Ipv6Addr]| Sent::new(Kind::CONFIRM).na(7, addresses);
    for (addresses, status) in [
        (&[IP6][..], Status::SUCCESS),
        (&[OTHER], Status::NOT_ON_LINK),
        (&[IP6, OTHER], Status::NOT_ON_LINK),
    ] {
        let reply = confirm(addresses).reply();
        assert_eq!((reply.kind, reply.status()), (Kind::REPLY, Some(status)));
        assert_eq!(reply.codes(), [code::STATUS]);
    }
    assert_eq!(confirm(&[]).refused(), DropReason::DhcpNotAnswered);
    let none = Sent::new(Kind::CONFIRM);
    assert_eq!(none.refused(), DropReason::DhcpNotAnswered);
    let both = confirm(&[IP6]).na(8, &[OTHER]).reply();
    assert_eq!(both.status(), Some(Status::NOT_ON_LINK));
}

#[test]
fn a_client_gives_its_address_back() {
    for kind in [Kind::RELEASE, Kind::DECLINE] {
        let reply = Sent::new(kind).na(7, &[IP6]).reply();
        assert_eq!(reply.kind, Kind::REPLY);
        assert_eq!(reply.status(), Some(Status::SUCCESS));
        assert_eq!(reply.codes(), [code::STATUS]);
        let reply = Sent::new(kind)
            .na(7, &[OTHER])
            .na(8, &[IP6])
            .ia(IaKind::Prefix, 9, &[])
            .reply();
        assert_eq!(reply.status(), Some(Status::SUCCESS));
        assert_eq!(
            reply.given(),
            [
                Given::refusal(code::IA_NA, 7, Status::NO_BINDING),
                Given::refusal(code::IA_PD, 9, Status::NO_BINDING),
            ]
        );
    }
}

#[test]
fn a_declined_address_is_told_of() {
    let declined = |sent: &Sent| {
        let answer = outbound(&config(), &sent.frame()).unwrap().unwrap();
        answer.declined
    };
    let ip6 = IpAddr::V6(IP6);
    let decline = Sent::new(Kind::DECLINE).na(7, &[OTHER, IP6]);
    assert_eq!(declined(&decline), Some(ip6));
    // Not heard, not ours, not declined.
    assert_eq!(declined(&decline.to(gateway_local())), None);
    assert_eq!(declined(&Sent::new(Kind::DECLINE).na(7, &[OTHER])), None);
    assert_eq!(declined(&Sent::new(Kind::RELEASE).na(7, &[IP6])), None);
}

#[test]
fn a_client_informs_itself() {
    let inform = Sent::new(Kind::INFORMATION_REQUEST);
    for sent in [
        inform.clone(),
        inform.clone().without(code::CLIENT),
        inform.clone().with(code::SERVER, &SERVER),
    ] {
        let reply = sent.reply();
        assert_eq!(reply.kind, Kind::REPLY);
        reply.check_everything();
        assert_eq!(reply.get(code::REFRESH), Some(&[0, 0, 0x0e, 0x10][..]));
        assert!(reply.given().is_empty());
    }
    let reply = inform.clone().asking(&[code::DNS]).reply();
    assert_eq!(reply.codes(), [code::DNS]);
    let short = Config {
        dhcp: DhcpOptions {
            lease_s: Some(60),
            ..config().dhcp
        },
        ..config()
    };
    let reply = inform.reply_of(&short);
    assert_eq!(reply.get(code::REFRESH), Some(&[0, 0, 2, 0x58][..]));
}

#[test]
fn the_parameter_list_is_minded() {
    let solicit = || Sent::new(Kind::REQUEST).na(7, &[]);
    let codes = |list: &[u16]| {
        let mut codes = solicit().asking(list).reply().codes();
        assert_eq!(codes.remove(0), code::IA_NA);
        codes
    };
    assert_eq!(codes(&[]), [0_u16; 0]);
    assert_eq!(codes(&[code::SEARCH, 999, code::SEARCH]), [code::SEARCH]);
    // Nothing is known of NTP, and what is for others isn't said.
    let more = [code::NTP, code::SNTP, code::REFRESH, code::DNS];
    assert_eq!(codes(&more), [code::DNS]);
    let odd = solicit().with(code::PARAMETERS, &[0, 23, 0]);
    assert_eq!(odd.refused(), DropReason::BadDhcp);
}

#[test]
fn ntp_servers_have_an_option_each() {
    let with_ntp = Config {
        dhcp: DhcpOptions {
            ntp6: vec![IP6, OTHER],
            ..config().dhcp
        },
        ..config()
    };
    let sent = Sent::new(Kind::SOLICIT).na(7, &[]);
    let reply = sent.asking(&[code::NTP, code::SNTP]).reply_of(&with_ntp);
    let ntp = |server: Ipv6Addr| (code::NTP, [&[0, 1, 0, 16][..], &server.octets()].concat());
    assert!(reply.options.contains(&ntp(IP6)));
    assert!(reply.options.contains(&ntp(OTHER)));
    let both = [IP6.octets(), OTHER.octets()].concat();
    assert_eq!(reply.get(code::SNTP), Some(&both[..]));
}

#[test]
fn a_client_is_told_its_full_name() {
    let with = |hostname: Option<&str>, domain: Option<&str>| Config {
        dhcp: DhcpOptions {
            hostname: hostname.map(String::from),
            domain: domain.map(String::from),
            ..config().dhcp
        },
        ..config()
    };
    let sent = |flags: u8, name: &[u8]| {
        Sent::new(Kind::REQUEST)
            .na(7, &[])
            .with(code::FQDN, &[&[flags], name].concat())
    };
    let told = |config: &Config, sent: Sent| sent.reply_of(config).get(code::FQDN).map(Vec::from);
    let full = with(Some("guest"), Some("example.com"));
    let is = |flags: u8, name: &[u8]| Some([&[flags], name].concat());
    let name = b"\x05guest\x07example\x03com\0";
    // No update, and not as the client wanted it where it wanted one.
    assert_eq!(told(&full, sent(0, b"")), is(4, name));
    assert_eq!(told(&full, sent(1, b"\x03own\0")), is(6, name));
    assert_eq!(told(&full, sent(4, b"\x03own")), is(4, name));
    let asked = Sent::new(Kind::REQUEST).na(7, &[]).asking(&[code::FQDN]);
    assert_eq!(told(&full, asked), is(4, name));
    // Who doesn't ask isn't told.
    assert_eq!(told(&full, Sent::new(Kind::REQUEST).na(7, &[])), None);
    let part = with(Some("guest"), None);
    assert_eq!(told(&part, sent(1, b"\x03own\0")), is(6, b"\x05guest"));
    // Its own name, if it has one.
    let none = with(None, Some("example.com"));
    assert_eq!(told(&none, sent(1, b"\x03own\0")), is(6, b"\x03own\0"));
    assert_eq!(told(&none, sent(1, b"")), None);
    for bad in [&b""[..], b"\0\x05own", b"\0\xc0\x01"] {
        let bad = Sent::new(Kind::SOLICIT).with(code::FQDN, bad);
        assert_eq!(bad.refused(), DropReason::BadDhcp);
    }
}

#[test]
fn a_reply_fits_in_a_packet() {
    let label = "x".repeat(60);
    let name = |i: usize| [&label[..], &label, &label, &i.to_string()].join(".");
    let talkative = Config {
        mtu: 1_280,
        dhcp: DhcpOptions {
            search: (0..9).map(name).collect(),
            dns6: vec![OTHER; 9],
            ntp6: vec![OTHER; 9],
            ..config().dhcp
        },
        ..config()
    };
    let reply = Sent::new(Kind::RENEW)
        .na(7, &[OTHER; 9])
        .reply_of(&talkative);
    assert!(reply.len <= 1_280 - 40);
    assert_eq!(reply.get(code::DNS).map(<[u8]>::len), Some(8 * 16));
    assert_eq!(reply.get(code::SEARCH), None);
    // More boxes than there is room for answers.
    let many = (0..60).fold(Sent::new(Kind::SOLICIT), |sent, id| sent.na(id, &[]));
    let reply = many.reply_of(&talkative);
    assert!(reply.len <= 1_280 - 40);
    assert_eq!(reply.given()[0], Given::lease(0));
}

#[test]
fn only_what_is_known_is_said() {
    let config = Config {
        dhcp: DhcpOptions {
            search: vec!["..".to_string()],
            ..DhcpOptions::default()
        },
        ..config()
    };
    let reply = Sent::new(Kind::REQUEST).na(7, &[]).reply_of(&config);
    assert_eq!(reply.codes(), [code::IA_NA]);
    let given = &reply.given()[0];
    assert_eq!(given.leases, [(IP6, 86_400, 86_400)]);
}

#[test]
fn times_are_in_order() {
    assert_eq!(times(86_400), [43_200, 69_120]);
    assert_eq!(times(FOREVER), [FOREVER, FOREVER]);
    for lease_s in [0, 1, 2, 7, 8, 9, 1_000, FOREVER - 1] {
        let [renew_s, rebind_s] = times(lease_s);
        assert!(renew_s <= rebind_s && rebind_s <= lease_s);
    }
}

#[test]
fn identifiers_are_as_they_have_to_be() {
    let every = [
        Kind::SOLICIT,
        Kind::REQUEST,
        Kind::CONFIRM,
        Kind::RENEW,
        Kind::REBIND,
        Kind::RELEASE,
        Kind::DECLINE,
    ];
    let other = dhcpv6::duid_of(MAC);
    for kind in every {
        let good = Sent::new(kind).na(7, &[IP6]);
        good.reply();
        let no_client = good.clone().without(code::CLIENT);
        assert_eq!(no_client.refused(), DropReason::BadDhcp, "{kind:?}");
        let is_for_one = good.options.iter().any(|(code, _)| *code == code::SERVER);
        let wrong = match is_for_one {
            true => good.clone().without(code::SERVER),
            false => good.clone().with(code::SERVER, &SERVER),
        };
        assert_eq!(wrong.refused(), DropReason::BadDhcp, "{kind:?}");
        if is_for_one {
            let others = wrong.with(code::SERVER, &other);
            assert_eq!(others.refused(), DropReason::DhcpNotAnswered, "{kind:?}");
        }
        for code in [code::CLIENT, code::SERVER] {
            for duid in [&[0, 1][..], &[0; 131]] {
                let bad = good.clone().without(code).with(code, duid);
                assert_eq!(bad.refused(), DropReason::BadDhcp);
            }
        }
        let twice = good.with(code::CLIENT, CLIENT);
        assert_eq!(twice.refused(), DropReason::BadDhcp);
    }
    let inform = Sent::new(Kind::INFORMATION_REQUEST);
    let others = inform.clone().with(code::SERVER, &other);
    assert_eq!(others.refused(), DropReason::DhcpNotAnswered);
    assert_eq!(inform.na(7, &[]).refused(), DropReason::BadDhcp);
    for kind in [0, 2, 7, 10, 12, 13, 14, 255].map(Kind) {
        let sent = Sent::new(kind).na(7, &[IP6]);
        assert_eq!(sent.refused(), DropReason::DhcpNotAnswered);
    }
}

#[test]
fn unicast_is_answered_with_use_multicast() {
    for gateway in [GATEWAY6, gateway_local()] {
        for kind in [Kind::REQUEST, Kind::RENEW, Kind::RELEASE, Kind::DECLINE] {
            let reply = Sent::new(kind).na(7, &[IP6]).to(gateway).reply();
            assert_eq!(reply.kind, Kind::REPLY);
            assert_eq!(reply.status(), Some(Status::USE_MULTICAST));
            assert_eq!(reply.codes(), [code::STATUS]);
        }
        for kind in [Kind::SOLICIT, Kind::CONFIRM, Kind::REBIND] {
            let sent = Sent::new(kind).na(7, &[IP6]).to(gateway);
            assert_eq!(sent.refused(), DropReason::DhcpNotAnswered);
        }
        let inform = Sent::new(Kind::INFORMATION_REQUEST).to(gateway);
        assert_eq!(inform.refused(), DropReason::DhcpNotAnswered);
    }
}

#[test]
fn only_the_guest_is_served() {
    let sent = Sent::new(Kind::SOLICIT).na(7, &[]);
    for source in [OTHER, Ipv6Addr::UNSPECIFIED, gateway_local(), GATEWAY6] {
        let spoofed = sent.clone().from(source);
        assert_eq!(spoofed.refused(), DropReason::SpoofedIp, "{source}");
    }
    let only4 = Config {
        ipv6: None,
        ..config()
    };
    assert_eq!(refused(&only4, &sent.frame()), DropReason::FamilyOff);
    // To another machine, and to relays' group of servers: not the gateway's.
    let servers: Ipv6Addr = "ff05::1:3".parse().unwrap();
    for destination in [OTHER, servers] {
        let sent = sent.clone().to(destination);
        assert_eq!(outbound(&config(), &sent.frame()), Ok(None));
    }
    let mut frame = sent.frame();
    frame[11] ^= 1;
    assert_eq!(refused(&config(), &frame), DropReason::SpoofedMac);
}

#[test]
fn malformed_messages_are_refused() {
    for (code, data) in [
        (code::IA_NA, &[0; 11][..]),
        (code::IA_TA, &[0; 3]),
        (code::IA_PD, &[0; 13]),
        (code::RAPID_COMMIT, &[0]),
        (code::PARAMETERS, &[0]),
    ] {
        let sent = Sent::new(Kind::SOLICIT).with(code, data);
        assert_eq!(sent.refused(), DropReason::BadDhcp, "{code}");
    }
    let data = Sent::new(Kind::SOLICIT).na(7, &[IP6]).data();
    let client_end = 4 + 4 + CLIENT.len();
    for len in 0..data.len() {
        let frame = frame_of((LOCAL6, GROUP), &data[..len]);
        if len == client_end {
            reply(&config(), &frame);
        } else {
            assert_eq!(refused(&config(), &frame), DropReason::BadDhcp, "{len}");
        }
    }
    // A checksum there must be (RFC 8200 section 8.1).
    let mut frame = frame_of((LOCAL6, GROUP), &data);
    frame[60..62].copy_from_slice(&[0, 0]);
    assert_eq!(refused(&config(), &frame), DropReason::BadChecksum);
}

#[test]
fn anything_may_come() {
    let sent = Sent::new(Kind::REQUEST)
        .na(7, &[IP6])
        .ia(IaKind::Temporary, 8, &[OTHER])
        .ia(IaKind::Prefix, 9, &[])
        .asking(&[code::DNS, code::SEARCH, code::FQDN])
        .with(code::FQDN, b"\x01\x03own\0");
    survives(&sent.frame());
    // With a right checksum, random bytes reach the options.
    let config = config();
    crate::wire::testing::survives_anything(&sent.data(), |data| {
        let frame = frame_of((LOCAL6, GROUP), data);
        if let Ok(Some(answer)) = outbound(&config, &frame) {
            check_reply(&config, &answer.frame);
        }
    });
}
