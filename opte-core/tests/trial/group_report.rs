//! What a host tells switches of the groups that it hears.

use super::group::*;
use super::name;
use crate::sim::{Sent, Sled};
use opte_core::api::{Command, SourceFilter};
use opte_core::wire::MacAddr;
use opte_core::wire::ethernet;
use opte_core::wire::membership::{Change, GeneralQuery, Message};
use std::net::IpAddr;

/// The records of the MLD reports among frames on links.
fn told(sent: &Sent) -> Vec<(Change, String)> {
    let frames = sent.links.iter().map(|(_, frame)| frame);
    let reports = frames.filter(|frame| frame[20] == 0);
    let records = reports.flat_map(|frame| {
        let (header, packet) = ethernet::Header::parse(frame).unwrap();
        assert_eq!(header.destination, MacAddr([0x33, 0x33, 0, 0, 0, 0x16]));
        let Ok(Message::Report(report)) = Message::parse(header.ethertype, packet) else {
            panic!("{frame:x?}")
        };
        let records = report.records().map(|r| (r.change, r.group.to_string()));
        records.collect::<Vec<_>>()
    });
    records.collect()
}

/// What is told in so many milliseconds.
fn told_in(sled: &Sled, millis: u64) -> Vec<(Change, String)> {
    let ticks = (0..millis / 100).flat_map(|_| told(&sled.advance(100)));
    ticks.collect()
}

fn subscribe(sled: &Sled, port: &str, group: &str) {
    let filter = SourceFilter::ANY;
    let command = Command::McastSubscribe(name(port), ip(group), filter);
    sled.command(command).unwrap();
}

/// A question of a switch on the link, about every group or one.
fn query(group: Option<&str>) -> Vec<u8> {
    let mac = MacAddr([2, 0, 0, 0, 0, 0x51]);
    let query = GeneralQuery {
        answer_ms: 1_000,
        interval_s: 125,
        robustness: 2,
    };
    let mut frame = query.frame(mac, IpAddr::V6(mac.link_local()));
    if let Some(group) = group {
        let IpAddr::V6(to) = ip(group) else { panic!() };
        frame[..6].copy_from_slice(&MacAddr::of_group(to.into()).0);
        frame[38..54].copy_from_slice(&to.octets());
        frame[70..86].copy_from_slice(&to.octets());
        // The checksum is the same: the address is in it twice more, and
        // all-nodes once less.
        mend(&mut frame);
    }
    frame
}

/// Fills in the checksum of an ICMPv6 message behind eight bytes of options.
fn mend(frame: &mut [u8]) {
    let len = frame.len() - 62;
    let mut bytes = frame[22..54].to_vec();
    bytes.extend((len as u32).to_be_bytes());
    bytes.extend([0, 0, 0, 58]);
    let at = bytes.len() + 2;
    bytes.extend(&frame[62..]);
    seal(&mut bytes, at);
    frame[64..66].copy_from_slice(&bytes[at..at + 2]);
}

#[test]
fn members_make_their_underlay_group_known_and_take_it_back() {
    let sled = Sled::with(1, &setup(1, "", &(port(11, 7) + &port(12, 7))));
    assert_eq!(told_in(&sled, 5_000), [], "nobody listens");
    let underlay = "ff04::e001:101".to_owned();
    subscribe(&sled, "g11", GROUP);
    let joined = vec![(Change::ToExclude, underlay.clone()); 2];
    assert_eq!(told_in(&sled, 5_000), joined, "twice");
    subscribe(&sled, "g12", GROUP);
    assert_eq!(told_in(&sled, 5_000), [], "known already");
    for port in ["g11", "g12"] {
        let leave = Command::McastUnsubscribe(name(port), ip(GROUP));
        sled.command(leave).unwrap();
        let wanted = match port {
            "g11" => Vec::new(),
            _ => vec![(Change::ToInclude, underlay.clone()); 2],
        };
        assert_eq!(told_in(&sled, 5_000), wanted);
    }
}

#[test]
fn a_querier_is_told_everything_within_its_time() {
    let sled = Sled::with(1, &setup(1, &members(&["g11"]), &port(11, 7)));
    told_in(&sled, 5_000);
    let all = [
        "ff02::1:ff00:1",
        "ff02::1:ff00:100",
        "ff04::6:101",
        "ff04::e001:101",
    ];
    let all = all.map(|group| (Change::IsExclude, group.to_owned()));
    for group in [None, Some("ff04::e001:101"), Some("ff04::9")] {
        // However often it is asked.
        for _ in 0..100 {
            _ = sled.rx(&query(group));
        }
        let got = told_in(&sled, 3_000);
        assert_eq!(got, all, "{group:?}");
    }
    // Not for what isn't a question of the link.
    let mut bad = query(None);
    bad[21] = 64;
    _ = sled.rx(&bad);
    assert_eq!(told_in(&sled, 3_000), []);
}

/// A thousand groups: told whole, and a few frames at a time.
#[test]
fn many_groups_are_told_a_few_reports_at_a_time() {
    let (mut ports, mut m2p, mut member) = (String::new(), String::new(), String::new());
    for guest in 0..16_u8 {
        ports += &port(20 + guest, 7);
        for n in 0..64 {
            let group = format!("239.7.{guest}.{n}");
            m2p += &format!("{{ group = \"{group}\", underlay = \"ff04::{guest:x}:{n:x}\" }},");
            let port = 20 + guest;
            member += &format!("{{ port = \"g{port}\", group = \"{group}\" }},");
        }
    }
    let text = setup(1, &format!("member = [{member}]"), &ports)
        .replace("m2p = [", &format!("m2p = [{m2p}"));
    let sled = Sled::with(1, &text);
    let told_slowly = |millis: u64| {
        let mut all = Vec::new();
        for _ in 0..millis / 100 {
            let sent = sled.advance(100);
            let reports = sent.links.iter().filter(|(_, frame)| frame[20] == 0);
            assert!(reports.count() <= 17, "two kinds, and what is left of one");
            all.extend(told(&sent));
        }
        all
    };
    let changes = told_slowly(5_000);
    let mut joined: Vec<_> = changes
        .into_iter()
        .filter(|(c, _)| *c == Change::ToExclude)
        .collect();
    assert_eq!(joined.len(), 2 * 1_024);
    joined.sort_by(|a, b| a.1.cmp(&b.1));
    joined.dedup();
    assert_eq!(joined.len(), 1_024);
    for _ in 0..3 {
        _ = sled.rx(&query(None));
        // Asked again while it answers.
        let mut all = told_slowly(1_200);
        _ = sled.rx(&query(None));
        all.extend(told_slowly(4_000));
        assert!(all.iter().all(|(change, _)| *change == Change::IsExclude));
        all.sort_by(|a, b| a.1.cmp(&b.1));
        let count = all.len();
        all.dedup();
        assert_eq!(all.len(), 1_026, "and two of neighbour discovery");
        assert!(count <= 2 * 1_026, "{count}");
    }
}

/// A link that comes later is told what was joined before.
#[test]
fn a_new_link_is_told_too() {
    let text = setup(1, &members(&["g11"]), &port(11, 7));
    let sled = Sled::with(1, &text);
    told_in(&sled, 5_000);
    let more = text.replace(
        "{ name = \"u0\" }]",
        "{ name = \"u0\" }, { name = \"u1\" }]",
    );
    sled.apply(&more).unwrap();
    let sent = sled.advance(100);
    let links: Vec<_> = sent
        .links
        .iter()
        .filter(|(_, f)| f[20] == 0)
        .map(|(id, _)| id.0)
        .collect();
    assert_eq!(links, [1]);
    assert_eq!(told(&sent).len(), 4);
}
