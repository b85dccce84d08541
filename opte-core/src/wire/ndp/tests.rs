//! Neighbour discovery messages and their options.

use super::*;
use crate::wire::testing::{refuses_truncation, survives_anything};
use std::vec::Vec;

const ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
const HOST: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);
const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);

const ADVERTISEMENT: RouterAdvertisement = RouterAdvertisement {
    hop_limit: 64,
    managed: true,
    other: false,
    lifetime_s: 1_800,
    reachable_ms: 0x0102_0304,
    retransmit_ms: 0x0506_0708,
};

fn between(source: Ipv6Addr, destination: Ipv6Addr) -> Ends {
    Ends::V6 {
        source,
        destination,
    }
}

fn written(message: &Message, ends: &Ends, options: &[Opt<'_>]) -> Vec<u8> {
    let mut out = Writer::default();
    message.emit(ends, options, &mut out);
    out.into_bytes()
}

fn datagram(ends: Ends, payload: &[u8]) -> Datagram<'_> {
    Datagram {
        ends,
        proto: Proto::ICMPV6,
        hop_limit: HOP_LIMIT,
        traffic_class: 0,
        fragment: None,
        payload,
    }
}

/// Writes a message, reads it, and gives back the options' count.
fn through(message: Message, ends: Ends, options: &[Opt<'_>]) -> Result<usize, Error> {
    let bytes = written(&message, &ends, options);
    let (read, found) = Message::parse(&datagram(ends, &bytes))?;
    assert_eq!(read, message);
    Ok(found.iter().count())
}

#[test]
fn a_router_advertisement_on_the_wire() {
    let ends = between(ROUTER, ipv6::ALL_NODES);
    let bytes = written(
        &Message::RouterAdvertisement(ADVERTISEMENT),
        &ends,
        &[Opt::Mtu(1_500)],
    );
    assert_eq!(bytes[..2], [134, 0]);
    assert_eq!(
        bytes[4..],
        [
            64, 0x80, 0x07, 0x08, 1, 2, 3, 4, 5, 6, 7, 8, // fixed
            5, 1, 0, 0, 0, 0, 0x05, 0xdc, // MTU
        ]
    );
}

#[test]
fn a_neighbour_advertisement_on_the_wire() {
    let ends = between(ROUTER, HOST);
    let message = Message::NeighbourAdvertisement {
        target: ROUTER,
        router: true,
        solicited: true,
        overrides: true,
    };
    let bytes = written(&message, &ends, &[Opt::TargetLinkAddr(MAC)]);
    assert_eq!(bytes[..2], [136, 0]);
    assert_eq!(bytes[4..8], [0xe0, 0, 0, 0]);
    assert_eq!(bytes[8..24], ROUTER.octets());
    assert_eq!(bytes[24..], [2, 1, 2, 0, 0, 0, 0, 9]);
}

#[test]
fn messages_read_as_they_were_written() {
    let mac = [Opt::SourceLinkAddr(MAC)];
    let solicit = Message::NeighbourSolicitation { target: ROUTER };
    let group = ipv6::solicited_node(ROUTER);
    assert_eq!(
        through(
            Message::RouterSolicitation,
            between(HOST, ipv6::ALL_ROUTERS),
            &mac
        ),
        Ok(1)
    );
    assert_eq!(
        through(
            Message::RouterAdvertisement(ADVERTISEMENT),
            between(ROUTER, HOST),
            &mac
        ),
        Ok(1)
    );
    assert_eq!(through(solicit, between(HOST, group), &mac), Ok(1));
    assert_eq!(through(solicit, between(HOST, ROUTER), &[]), Ok(0));
    assert_eq!(
        through(solicit, between(Ipv6Addr::UNSPECIFIED, group), &[]),
        Ok(0)
    );
}

#[test]
fn addresses_have_to_fit() {
    let none = Ipv6Addr::UNSPECIFIED;
    let mac = [Opt::SourceLinkAddr(MAC)];
    let group = ipv6::solicited_node(ROUTER);
    let solicit = Message::NeighbourSolicitation { target: ROUTER };
    let advertise = |target, solicited| Message::NeighbourAdvertisement {
        target,
        router: false,
        solicited,
        overrides: false,
    };
    let rs = Message::RouterSolicitation;
    let ra = Message::RouterAdvertisement(ADVERTISEMENT);
    let global = "fd00::1".parse().unwrap();
    let refused = [
        (rs, between(none, ipv6::ALL_ROUTERS), &mac[..]),
        (ra, between(global, HOST), &[]),
        (solicit, between(none, group), &mac),
        (solicit, between(none, ROUTER), &[]),
        (solicit, between(group, ROUTER), &[]),
        (
            Message::NeighbourSolicitation { target: group },
            between(HOST, group),
            &[],
        ),
        (advertise(group, false), between(HOST, ROUTER), &[]),
        (advertise(HOST, true), between(HOST, ipv6::ALL_NODES), &[]),
    ];
    for (message, ends, options) in refused {
        assert_eq!(
            through(message, ends, options),
            Err(Error::Address),
            "{message:?} {ends:?}"
        );
    }
    assert_eq!(
        through(advertise(HOST, false), between(HOST, ipv6::ALL_NODES), &[]),
        Ok(0)
    );
}

#[test]
fn what_has_to_be_checked_on_receipt_is() {
    let ends = between(HOST, ROUTER);
    let message = Message::NeighbourSolicitation { target: ROUTER };
    let bytes = written(&message, &ends, &[]);
    let good = datagram(ends, &bytes);
    let refused = |datagram| Message::parse(&datagram).unwrap_err();
    assert!(Message::parse(&good).is_ok());
    assert_eq!(
        refused(Datagram {
            hop_limit: 254,
            ..good
        }),
        Error::HopLimit
    );
    let fragment = Some(super::super::ip::Fragment {
        offset: 0,
        more: false,
        identification: 1,
    });
    assert_eq!(refused(Datagram { fragment, ..good }), Error::Fragment);
    assert_eq!(
        refused(Datagram {
            proto: Proto::UDP,
            ..good
        }),
        Error::Kind
    );
    let changed = |at: usize, value: u8| {
        let mut bytes = bytes.clone();
        bytes[at] = value;
        Message::parse(&datagram(ends, &bytes)).unwrap_err()
    };
    assert_eq!(changed(1, 1), Error::Code);
    assert_eq!(changed(2, bytes[2] ^ 1), Error::Checksum);
    assert_eq!(changed(0, 137), Error::Kind);
    assert_eq!(DropReason::from(Error::Checksum), DropReason::BadChecksum);
    assert_eq!(DropReason::from(Error::HopLimit), DropReason::BadNdp);
}

#[test]
fn every_option_reads_as_it_was_written() {
    let servers = [ROUTER, HOST];
    let wire = [ROUTER.octets(), HOST.octets()];
    let prefix = PrefixOption {
        prefix: "fd00:1::".parse().unwrap(),
        bits: 64,
        on_link: true,
        autonomous: false,
        valid_s: 0x0102_0304,
        preferred_s: 0x0506_0708,
    };
    let options = [
        Opt::SourceLinkAddr(MAC),
        Opt::TargetLinkAddr(MAC),
        Opt::Prefix(prefix),
        Opt::Mtu(9_000),
        Opt::Rdnss {
            lifetime_s: 77,
            servers: Servers::List(&servers),
        },
        Opt::Dnssl {
            lifetime_s: 88,
            names: b"\x02ab\x00",
        },
        Opt::Other {
            kind: 200,
            body: &[1; 6],
        },
    ];
    let mut out = Writer::default();
    options.iter().for_each(|option| option.emit(&mut out));
    let read: Vec<_> = Options::parse(out.bytes()).unwrap().iter().collect();
    assert_eq!(read[..4], options[..4]);
    assert_eq!(
        read[4],
        Opt::Rdnss {
            lifetime_s: 77,
            servers: Servers::Wire(&wire)
        }
    );
    let Opt::Rdnss { servers: found, .. } = read[4] else {
        unreachable!()
    };
    assert_eq!(found.iter().collect::<Vec<_>>(), servers);
    assert_eq!(
        read[5],
        Opt::Dnssl {
            lifetime_s: 88,
            names: b"\x02ab\x00\0\0\0\0"
        }
    );
    assert_eq!(read[6], options[6]);
    assert_eq!(read.len(), 7);
    for option in options {
        let mut out = Writer::default();
        option.emit(&mut out);
        let len = out.len();
        assert_eq!(len % 8, 0);
        for cut in 1..len {
            assert_eq!(
                Options::parse(&out.bytes()[..cut]),
                Err(Error::OptionLen),
                "{option:?} {cut}"
            );
        }
    }
}

#[test]
fn odd_options_are_read_over_or_refused() {
    let first = |bytes: &[u8]| {
        let found = Options::parse(bytes)?;
        Ok(matches!(found.iter().next(), Some(Opt::Other { .. })))
    };
    // Two units of MAC address, a prefix of 129 bits, no server, half of one.
    let mut prefix = [0; 32];
    prefix[..3].copy_from_slice(&[3, 4, 129]);
    let mut half = [0; 24];
    half[..2].copy_from_slice(&[25, 2]);
    assert_eq!(
        first(&[1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        Ok(true)
    );
    assert_eq!(first(&prefix), Ok(true));
    assert_eq!(first(&[25, 1, 0, 0, 0, 0, 0, 1]), Ok(true));
    assert_eq!(first(&half[..16]), Ok(true));
    assert_eq!(first(&[31, 1, 0, 0, 0, 0, 0, 1]), Ok(true));
    assert_eq!(first(&[5, 0, 0, 0, 0, 0, 0, 0]), Err(Error::OptionLen));
    let most = [9, 1, 0, 0, 0, 0, 0, 0].repeat(NDP_OPTIONS_MAX);
    assert_eq!(first(&most), Ok(true));
    let more = [9, 1, 0, 0, 0, 0, 0, 0].repeat(NDP_OPTIONS_MAX + 1);
    assert_eq!(first(&more), Err(Error::OptionLimit));
}

#[test]
fn an_option_that_is_too_long_is_left_out() {
    let mut out = Writer::default();
    let names = [0; 255 * 8];
    Opt::Dnssl {
        lifetime_s: 1,
        names: &names,
    }
    .emit(&mut out);
    assert_eq!(out.len(), 0);
}

#[test]
fn short_and_random_messages_are_refused() {
    let ends = between(ROUTER, HOST);
    let options = [
        Opt::SourceLinkAddr(MAC),
        Opt::Mtu(1_500),
        Opt::Rdnss {
            lifetime_s: 1,
            servers: Servers::List(&[ROUTER]),
        },
    ];
    let bytes = written(
        &Message::RouterAdvertisement(ADVERTISEMENT),
        &ends,
        &options,
    );
    refuses_truncation(&bytes, |bytes| {
        Message::parse(&datagram(ends, bytes)).map(drop)
    });
    survives_anything(&bytes, |bytes| {
        // The checksum hides the options from random bytes, so ask for both.
        _ = Message::parse(&datagram(ends, bytes)).map(drop);
        let body = bytes.get(16..).unwrap_or_default();
        if let Ok(options) = Options::parse(body) {
            for option in options.iter() {
                let mut out = Writer::default();
                option.emit(&mut out);
                assert!(out.len() <= body.len());
            }
        }
    });
}
