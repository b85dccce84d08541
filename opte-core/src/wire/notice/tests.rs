//! What is said about packets of every kind, and what is not.

use super::*;
use crate::wire::ethernet::EtherType;
use crate::wire::icmp;
use crate::wire::testing::survives_anything;
use core::net::{Ipv4Addr, Ipv6Addr};

const V4: Ends = Ends::V4 {
    source: Ipv4Addr::new(10, 0, 0, 1),
    destination: Ipv4Addr::new(192, 0, 2, 9),
};
const V6: Ends = Ends::V6 {
    source: Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1),
    destination: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9),
};
const NOTICES: [Notice; 4] = [
    Notice::TooBig { mtu: 1_400 },
    Notice::TimeExceeded,
    Notice::Prohibited,
    Notice::Refused,
];

fn router(ends: &Ends) -> IpAddr {
    match ends {
        Ends::V4 { .. } => IpAddr::V4(Ipv4Addr::new(10, 0, 0, 254)),
        Ends::V6 { .. } => IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0xfe)),
    }
}

fn packet(ends: Ends, proto: Proto, payload: &[u8]) -> Vec<u8> {
    let datagram = Datagram {
        ends,
        proto,
        hop_limit: 9,
        traffic_class: 0,
        fragment: None,
        payload,
    };
    let mut out = Writer::default();
    datagram.emit(&mut out);
    out.into_bytes()
}

fn segment(ends: Ends, flags: Flags, data: &[u8]) -> Vec<u8> {
    let header = tcp::Header {
        source_port: 1_000,
        destination_port: 443,
        sequence: 0xffff_fffe,
        acknowledgment: 77,
        flags,
        window: 100,
        checksum: 0,
        urgent: 0,
        options: &[1, 1, 1, 0],
    };
    let mut out = Writer::default();
    header.emit(&ends, data, &mut out);
    packet(ends, Proto::TCP, out.bytes())
}

fn ethertype(answer: &[u8]) -> EtherType {
    match answer[0] >> 4 {
        4 => EtherType::IPV4,
        _ => EtherType::IPV6,
    }
}

fn told(notice: Notice, ends: &Ends, offender: &[u8]) -> Option<(Ends, Failure, Vec<u8>)> {
    let answer = notice.about(offender, router(ends))?;
    let datagram = Datagram::parse(ethertype(&answer), &answer).unwrap();
    let message = Message::parse(&datagram.ends, datagram.payload).unwrap();
    let Message::Error { failure, quote } = message else {
        panic!("{message:?}")
    };
    Some((datagram.ends, failure, quote.to_vec()))
}

#[test]
fn an_error_goes_from_the_router_to_the_sender_and_quotes_it() {
    for ends in [V4, V6] {
        let offender = packet(ends, Proto::UDP, &[7; 100]);
        for (notice, code) in [
            (Notice::TooBig { mtu: 1_400 }, None),
            (NOTICES[2], Some(())),
        ] {
            let (told, failure, quote) = told(notice, &ends, &offender).unwrap();
            assert_eq!(told.source(), router(&ends));
            assert_eq!(told.destination(), ends.source());
            assert_eq!(quote, offender);
            match (code, failure) {
                (None, Failure::TooBig { mtu }) => assert_eq!(mtu, 1_400),
                (Some(()), Failure::Unreachable { code }) => {
                    assert_eq!(code, if ends == V4 { 13 } else { 1 });
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn a_quote_ends_where_every_link_does_or_the_packet_does() {
    for (ends, most) in [(V4, 576), (V6, 1_280)] {
        let long = packet(ends, Proto::UDP, &[7; 2_000]);
        for notice in NOTICES {
            let answer = notice.about(&long, router(&ends)).unwrap();
            assert_eq!(answer.len(), most);
        }
        // What Ethernet pads is no part of the packet.
        let mut short = packet(ends, Proto::UDP, &[7; 8]);
        let len = short.len();
        short.extend([0; 30]);
        let (_, _, quote) = told(Notice::TimeExceeded, &ends, &short).unwrap();
        assert_eq!(quote.len(), len);
    }
}

#[test]
fn a_refused_segment_is_reset_as_rfc_9293_says() {
    for ends in [V4, V6] {
        for (flags, data, expected) in [
            (Flags::SYN, 0, (0, 0xffff_ffff, Flags::RST.with(Flags::ACK))),
            (
                Flags::SYN.with(Flags::FIN),
                3,
                (0, 3, Flags::RST.with(Flags::ACK)),
            ),
            (Flags::ACK, 5, (77, 0, Flags::RST)),
        ] {
            let offender = segment(ends, flags, &[1; 9][..data]);
            let answer = Notice::Refused.about(&offender, router(&ends)).unwrap();
            let datagram = Datagram::parse(ethertype(&answer), &answer).unwrap();
            assert_eq!(datagram.ends, ends.reverse(), "as if from whom it was for");
            let sum = ends.pseudo_header(Proto::TCP, datagram.payload.len());
            assert!(sum.bytes(datagram.payload).is_valid());
            let (reset, rest) = tcp::Header::parse(datagram.payload).unwrap();
            assert_eq!(
                (reset.sequence, reset.acknowledgment, reset.flags),
                expected
            );
            assert_eq!((reset.source_port, reset.destination_port), (443, 1_000));
            assert!(rest.is_empty() && answer.len() <= offender.len());
            // Whoever is refused with an error gets one for TCP too.
            assert!(told(Notice::Prohibited, &ends, &offender).is_some());
        }
    }
}

#[test]
fn nothing_is_said_about_answers_later_fragments_and_crowds() {
    let silent = |offender: &[u8], ends: &Ends| {
        for notice in NOTICES {
            assert_eq!(
                notice.about(offender, router(ends)),
                None,
                "{offender:02x?}"
            );
        }
    };
    for ends in [V4, V6] {
        for notice in NOTICES {
            let offender = packet(ends, Proto::UDP, &[7; 8]);
            silent(&notice.about(&offender, router(&ends)).unwrap(), &ends);
        }
        let syn = segment(ends, Flags::SYN, &[]);
        silent(&Notice::Refused.about(&syn, router(&ends)).unwrap(), &ends);
        silent(&segment(ends, Flags::RST, &[]), &ends);
        silent(&packet(ends, icmp::proto(ends.family()), &[]), &ends);
        silent(&packet(ends.reverse(), Proto::UDP, &[0; 8])[..10], &ends);
    }
    for kind in [3, 4, 5, 11, 12] {
        silent(&packet(V4, Proto::ICMP, &[kind; 8]), &V4);
    }
    for kind in [0, 5, 127, 135, 137] {
        silent(&packet(V6, Proto::ICMPV6, &[kind; 8]), &V6);
    }
    let mut later = packet(V4, Proto::UDP, &[7; 8]);
    (later[6], later[7]) = (0, 1);
    silent(&later, &V4);
    (later[6], later[7]) = (0x20, 0);
    assert!(
        Notice::Prohibited.about(&later, router(&V4)).is_some(),
        "a first one"
    );
    for (at, bad) in [
        (12, 224),
        (12, 127),
        (12, 255),
        (12, 240),
        (16, 224),
        (16, 255),
    ] {
        let mut crowd = packet(V4, Proto::UDP, &[7; 8]);
        crowd[at] = bad;
        silent(&crowd, &V4);
    }
    for at in [8, 24] {
        let mut crowd = packet(V6, Proto::UDP, &[7; 8]);
        crowd[at] = 0xff;
        silent(&crowd, &V6);
        crowd[at..at + 16].fill(0);
        silent(&crowd, &V6);
    }
}

#[test]
fn a_router_of_the_other_family_says_nothing() {
    let offender = packet(V4, Proto::UDP, &[7; 8]);
    assert_eq!(Notice::Prohibited.about(&offender, router(&V6)), None);
}

#[test]
fn whatever_it_is_about_an_answer_is_sound() {
    for ends in [V4, V6] {
        for good in [
            segment(ends, Flags::SYN, &[]),
            packet(ends, Proto::UDP, &[7; 60]),
        ] {
            survives_anything(&good, |offender| {
                for notice in NOTICES {
                    let Some(answer) = notice.about(offender, router(&ends)) else {
                        continue;
                    };
                    assert!(answer.len() <= offender.len() + 48, "rule T3");
                    let datagram = Datagram::parse(ethertype(&answer), &answer).unwrap();
                    if datagram.proto == Proto::TCP {
                        let pseudo = datagram.ends.pseudo_header(Proto::TCP, 20);
                        assert!(pseudo.bytes(datagram.payload).is_valid());
                    } else {
                        assert!(icmp::checksum_is_right(&datagram.ends, datagram.payload));
                    }
                    for again in NOTICES {
                        assert_eq!(again.about(&answer, router(&ends)), None, "rule T1");
                    }
                }
            });
        }
    }
}
