//! IGMP and MLD, well-formed and not.

use super::*;
use crate::wire::checksum::Sum;
use crate::wire::testing::{Rng, refuses_truncation, survives_anything};
use std::vec::Vec;

/// A packet of IGMP or MLD around `message`, with its checksum filled in.
fn packet(source: &str, message: &[u8]) -> (EtherType, Vec<u8>) {
    let mut out = Writer::default();
    match source.parse().unwrap() {
        IpAddr::V4(source) => {
            let header = ipv4::Header {
                source,
                destination: Ipv4Addr::new(224, 0, 0, 22),
                proto: IGMP,
                ttl: 1,
                traffic_class: 0,
                identification: 0,
                dont_fragment: false,
                more_fragments: false,
                fragment_offset: 0,
                total_len: (24 + message.len()) as u16,
                options: &[0x94, 4, 0, 0],
            };
            header.emit(&mut out);
            let start = out.len();
            out.put(message);
            out.seal(start, start + 2, Sum::ZERO);
            (EtherType::IPV4, out.into_bytes())
        }
        IpAddr::V6(source) => {
            let destination = "ff02::16".parse().unwrap();
            let header = ipv6::Header {
                source,
                destination,
                next_header: Proto(0),
                hop_limit: 1,
                traffic_class: 0,
                flow_label: 0,
                payload_len: (8 + message.len()) as u16,
            };
            header.emit(&mut out);
            out.put(&[58, 0, 5, 2, 0, 0, 1, 0]);
            let start = out.len();
            out.put(message);
            let ends = Ends::V6 {
                source,
                destination,
            };
            let pseudo = ends.pseudo_header(Proto::ICMPV6, message.len());
            out.seal(start, start + 2, pseudo);
            (EtherType::IPV6, out.into_bytes())
        }
    }
}

fn records(source: &str, message: &[u8]) -> Result<Vec<(Change, IpAddr, Vec<IpAddr>)>, Error> {
    let (ethertype, packet) = packet(source, message);
    let Message::Report(report) = Message::parse(ethertype, &packet)? else {
        return Ok(Vec::new());
    };
    let records = report.records();
    Ok(records
        .map(|r| (r.change, r.group, r.sources().collect()))
        .collect())
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

const V4: &str = "10.0.0.1";
const V6: &str = "fe80::1";

/// A report of version 3 with two records, one with auxiliary data.
fn igmp_v3() -> Vec<u8> {
    let mut message = std::vec![0x22, 0, 0, 0, 0, 0, 0, 2];
    message.extend([
        1, 1, 0, 2, 239, 1, 1, 1, 10, 0, 0, 7, 10, 0, 0, 8, 9, 9, 9, 9,
    ]);
    message.extend([4, 0, 0, 0, 239, 1, 1, 2]);
    message
}

fn mld_v2() -> Vec<u8> {
    let address = |text: &str| text.parse::<Ipv6Addr>().unwrap().octets();
    let mut message = std::vec![143, 0, 0, 0, 0, 0, 0, 1, 6, 0, 0, 1];
    message.extend(address("ff0e::7"));
    message.extend(address("fd00::9"));
    message
}

#[test]
fn reports_of_every_version_are_read() {
    assert_eq!(
        records(V4, &igmp_v3()).unwrap(),
        [
            (
                Change::IsInclude,
                ip("239.1.1.1"),
                std::vec![ip("10.0.0.7"), ip("10.0.0.8")]
            ),
            (Change::ToExclude, ip("239.1.1.2"), Vec::new()),
        ]
    );
    assert_eq!(
        records(V6, &mld_v2()).unwrap(),
        [(Change::Block, ip("ff0e::7"), std::vec![ip("fd00::9")])]
    );
    for (kind, change) in [
        (0x12, Change::IsExclude),
        (0x16, Change::IsExclude),
        (0x17, Change::ToInclude),
    ] {
        let one = records(V4, &[kind, 0, 0, 0, 239, 1, 1, 1]).unwrap();
        assert_eq!(one, [(change, ip("239.1.1.1"), Vec::new())]);
    }
    for (kind, change) in [(131, Change::IsExclude), (132, Change::ToInclude)] {
        let mut message = std::vec![kind, 0, 0, 0, 0, 0, 0, 0];
        message.extend("ff0e::7".parse::<Ipv6Addr>().unwrap().octets());
        let one = records(V6, &message).unwrap();
        assert_eq!(one, [(change, ip("ff0e::7"), Vec::new())]);
    }
    // A host without an address may report (RFC 3376 section 4.2.13, RFC 3590
    // section 4), and not ask.
    assert!(records("0.0.0.0", &igmp_v3()).is_ok());
    assert_eq!(records("::", &mld_v2()), records(V6, &mld_v2()));
    let query = [&[MLD_QUERY][..], &[0; 23]].concat();
    assert_eq!(records("::", &query), Err(Error::NotOnLink));
    assert_eq!(records("2001:db8::1", &mld_v2()), Err(Error::NotOnLink));
}

#[test]
fn unknown_records_are_read_over_and_too_many_left_out() {
    let mut message = igmp_v3();
    message[8] = 9;
    assert_eq!(records(V4, &message).unwrap().len(), 1);
    let many = MCAST_RECORDS_MAX + 3;
    let mut message = std::vec![0x22, 0, 0, 0, 0, 0];
    message.extend((many as u16).to_be_bytes());
    message.extend([4, 0, 0, 0, 239, 1, 1, 2].repeat(many));
    let (ethertype, packet) = packet(V4, &message);
    let Ok(Message::Report(report)) = Message::parse(ethertype, &packet) else {
        panic!()
    };
    assert_eq!(report.records().count(), MCAST_RECORDS_MAX);
    assert!(report.is_cut());
}

#[test]
fn what_is_not_from_the_link_is_refused() {
    let (_, good) = packet(V6, &mld_v2());
    let read = |packet: &[u8]| Message::parse(EtherType::IPV6, packet).map(drop);
    let change = |at: usize, value: u8| {
        let mut packet = good.clone();
        packet[at] = value;
        read(&packet).unwrap_err()
    };
    assert!(read(&good).is_ok());
    assert_eq!(change(7, 64), Error::NotOnLink, "hop limit");
    assert_eq!(change(8, 0x20), Error::NotOnLink, "source");
    assert_eq!(change(42, 0x1e), Error::NotOnLink, "no router alert");
    assert_eq!(change(51, 1), Error::Checksum);
    let (_, mut igmp) = packet(V4, &igmp_v3());
    igmp[26] ^= 1;
    assert_eq!(Message::parse(EtherType::IPV4, &igmp), Err(Error::Checksum));
    assert_eq!(records(V4, &[0x55, 0, 0, 0, 0, 0, 0, 0]), Err(Error::Kind));
}

/// Cut at any byte, a packet is refused; so is a message in a packet that
/// has the right length and checksum for what is left.
#[test]
fn messages_cut_anywhere_are_refused() {
    for (source, message) in [(V4, igmp_v3()), (V6, mld_v2())] {
        let (ethertype, whole) = packet(source, &message);
        refuses_truncation(&whole, |bytes| Message::parse(ethertype, bytes));
        for len in 0..message.len() {
            assert!(
                records(source, &message[..len]).is_err(),
                "{len} of {source}"
            );
        }
    }
    for len in 0..8 {
        assert!(records(V4, &[0x16, 0, 0, 0, 239, 1, 1, 1][..len]).is_err());
    }
}

#[test]
fn nothing_breaks_the_reader() {
    for (source, message) in [(V4, igmp_v3()), (V6, mld_v2())] {
        let (ethertype, whole) = packet(source, &message);
        let run = |bytes: &[u8]| {
            if let Ok(Message::Report(report)) = Message::parse(ethertype, bytes) {
                report.records().for_each(|r| r.sources().for_each(drop));
            }
        };
        survives_anything(&whole, run);
        // And with a checksum that is right, so that the records are reached.
        survives_anything(&message, |message| run(&packet(source, message).1));
    }
}

/// Reports made from random records read back as those records.
#[test]
fn reports_read_as_they_were_written() {
    for seed in 0..500 {
        let mut rng = Rng::new(seed);
        let mut message = std::vec![0x22, 0, 0, 0, 0, 0, 0, 0];
        let mut wanted = Vec::new();
        for _ in 0..rng.below(9) {
            let (kind, group) = (1 + rng.below(6) as u8, [239, rng.u8(), rng.u8(), rng.u8()]);
            let sources: Vec<[u8; 4]> = (0..rng.below(5)).map(|_| [10, 0, rng.u8(), 1]).collect();
            let aux = rng.below(3);
            message.extend([kind, aux as u8, 0, sources.len() as u8]);
            message.extend(group);
            message.extend(sources.concat());
            message.extend(std::vec![7; aux * 4]);
            let sources: Vec<IpAddr> = sources.into_iter().map(IpAddr::from).collect();
            wanted.push((kind, IpAddr::from(group), sources));
            message[7] += 1;
        }
        let got = records(V4, &message).unwrap();
        let got: Vec<_> = got
            .into_iter()
            .map(|(change, group, sources)| (change as u8 + 1, group, sources))
            .collect();
        assert_eq!(got, wanted, "seed {seed}");
    }
}

#[test]
fn a_query_is_a_message_of_its_own_protocol() {
    let query = GeneralQuery {
        answer_ms: 10_000,
        interval_s: 125,
        robustness: 2,
    };
    for source in ["10.0.0.254", "fe80::1"] {
        let frame = query.frame(MacAddr::GATEWAY, ip(source));
        let (header, packet) = ethernet::Header::parse(&frame).unwrap();
        assert!(header.destination.is_multicast());
        let message = Message::parse(header.ethertype, packet);
        let asked = Message::Query { answer_ms: 10_000 };
        assert_eq!(message, Ok(asked), "{source}");
    }
}
