//! The language, line by line. That frames are right is for tshark to say
//! (`crate::tshark`); here is what a line means.

use super::*;

const SETUP: &str = r#"
    [underlay]
    address = "fd00::1"
    link = [{ name = "u0" }, { name = "u1" }]

    [[v2p]]
    vni = 7
    address = "10.0.0.9"
    mac = "a8:40:25:f0:00:09"
    sled = "fd00::2"

    [[v2b]]
    prefix = "0.0.0.0/0"
    endpoints = ["fd00::99", "fd00::98,100"]

    [[port]]
    name = "g1"
    mac = "a8:40:25:f0:00:01"
    vni = 7
    ipv4 = { address = "10.0.0.1", gateway = "10.0.0.254" }
    external.snat = [{ address = "192.0.2.1", first_port = 1, last_port = 9 }]

    [[port]]
    name = "g2"
    mac = "a8:40:25:f0:00:02"
    vni = "8"
    gateway_mac = "02:00:00:00:00:01"
    external.snat = [{ address = "192.0.2.1", first_port = 10, last_port = 19 }]
"#;

fn frames(script: &str) -> Result<Vec<Frame>> {
    compile(script, &Scene::parse(SETUP).unwrap())
}

/// The frame of a script of one line.
fn frame(line: &str) -> Vec<u8> {
    let mut frames = frames(line).unwrap();
    assert_eq!(frames.len(), 1);
    frames.remove(0).bytes
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn error(script: &str) -> String {
    format!("{:#}", frames(script).unwrap_err())
}

#[test]
fn a_whole_frame_by_hand() {
    // The checksums were added up by hand.
    assert_eq!(
        hex(&frame("0 tx g1 udp 10.0.0.1:1000 > 10.0.0.2:53 data 6869")),
        "a84025ff7777a84025f000010800\
         4500001e000000004011\
         66cd0a0000010a000002\
         03e80035000a7f51\
         6869"
            .replace(' ', "")
    );
}

#[test]
fn lines_carry_time_and_place() {
    let found = frames(
        "# a comment\n\n0.5 tx g1 raw 00 # said so\n0.5 rx u1 raw 01\n12.000001 tx g2 raw 02:03\n",
    )
    .unwrap();
    let summary: Vec<_> = found
        .iter()
        .map(|f| (f.time.as_micros(), f.place.parts(), f.bytes.as_slice()))
        .collect();
    assert_eq!(
        summary,
        [
            (500_000, ("tx", "g1"), [0].as_slice()),
            (500_000, ("rx", "u1"), [1].as_slice()),
            (12_000_001, ("tx", "g2"), [2, 3].as_slice()),
        ]
    );
}

#[test]
fn names_stand_for_what_they_were_given() {
    let named = "let a = 10.0.0.2\nlet to = > $a:53\n0 tx g1 udp 10.0.0.1:1 $to len 3";
    let plain = "0 tx g1 udp 10.0.0.1:1 > 10.0.0.2:53 len 3";
    assert_eq!(frames(named).unwrap(), frames(plain).unwrap());
    assert!(error("0 tx g1 udp $a:1 > 10.0.0.2:2").contains("`$a` has no value"));
    assert!(error("let a = 1\nlet a = 2").contains("has a value already"));
}

#[test]
fn mac_addresses_follow_from_the_setup() {
    let macs = |line: &str| hex(frame(line).get(..12).unwrap());
    assert_eq!(
        macs("0 tx g1 udp 1.1.1.1:1 > 1.1.1.2:2"),
        "a84025ff7777a84025f00001"
    );
    assert_eq!(
        macs("0 tx g2 udp 1.1.1.1:1 > 1.1.1.2:2"),
        "020000000001a84025f00002"
    );
    assert_eq!(
        macs("0 tx g1 arp who-has 10.0.0.254 tell 10.0.0.1"),
        "ffffffffffffa84025f00001"
    );
    assert_eq!(
        macs("0 tx g1 udp 1.1.1.1:1 > 224.129.2.3:2"),
        "01005e010203a84025f00001"
    );
    assert_eq!(
        macs("0 tx g1 ns fd77::12:3456 from fd77::1"),
        "3333ff123456a84025f00001"
    );
    assert_eq!(
        macs("0 rx u1 udp [::1]:1 > [::2]:2"),
        "0258444500010200000000fe"
    );
    assert_eq!(
        macs("0 tx g1 udp 1.1.1.1:1 > 1.1.1.2:2 smac 02:00:00:00:00:0a dmac 02:00:00:00:00:0b"),
        "02000000000b02000000000a"
    );
}

/// The inner frame's MAC addresses, in `geneve` without options.
fn inner_macs(line: &str) -> String {
    hex(frame(line).get(70..82).unwrap())
}

#[test]
fn inner_mac_addresses_follow_from_the_addresses() {
    let geneve = "0 rx u0 geneve fd00::2 > fd00::1 vni 7 /";
    assert_eq!(
        inner_macs(&format!("{geneve} udp 10.0.0.9:1 > 10.0.0.1:2")),
        "a84025f00001a84025f00009"
    );
    assert_eq!(
        inner_macs(&format!("{geneve} udp 1.1.1.1:1 > 10.0.0.1:2")),
        "a84025f00001a84025777777"
    );
    // A shared address doesn't say which guest.
    let shared = format!("{geneve} udp 1.1.1.1:1 > 192.0.2.1:2");
    assert!(
        error(&shared).contains("several guests"),
        "{}",
        error(&shared)
    );
    assert!(error(&format!("{geneve} udp 1.1.1.1:1 > 9.9.9.9:2")).contains("nobody has"));
    assert_eq!(
        inner_macs(&format!("{shared} dmac a8:40:25:f0:00:02")),
        "a84025f00002a84025777777"
    );
}

#[test]
fn geneve_says_what_its_options_are() {
    let line = "0 rx u0 geneve fd00::2 > fd00::1 vni 0x010203 sport 50000 outside option 1:0x82:01020304 / raw ff";
    assert_eq!(
        hex(frame(line).get(54..).unwrap()),
        // UDP, Geneve with the critical bit, two options, the inner frame.
        "c35017c1001d0000 0340655801020300 01290000 0001820101020304 ff".replace(' ', "")
    );
}

#[test]
fn fragments_are_pieces_of_one_datagram() {
    let line = |rest: &str| format!("0 tx g1 udp 10.0.0.1:1 > 10.0.0.2:2 len 100 {rest}");
    let whole = frame(&line(""));
    let payload = |frame: &[u8]| frame.get(34..).unwrap().to_vec();
    let pieces: Vec<Vec<u8>> = (0..3)
        .map(|n| frame(&line(&format!("ip-id 5 fragment 48 {n}"))))
        .collect();
    let joined: Vec<u8> = pieces.iter().flat_map(|p| payload(p)).collect();
    assert_eq!(joined, payload(&whole));
    let offsets: Vec<String> = pieces.iter().map(|p| hex(p.get(18..22).unwrap())).collect();
    assert_eq!(offsets, ["00052000", "00052006", "0005000c"]);
    assert!(error(&line("fragment 48 3")).contains("no fragment 3"));
}

#[test]
fn frames_can_be_wrong_on_purpose() {
    let line = "0 tx g1 tcp 10.0.0.1:1 > 10.0.0.2:2 syn";
    let (right, wrong) = (frame(line), frame(&format!("{line} bad-checksum")));
    let differ: Vec<usize> = (0..right.len())
        .filter(|at| right[*at] != wrong[*at])
        .collect();
    assert_eq!(differ, [50, 51]);
    assert_eq!(frame(&format!("{line} cut 20")), right[..20]);
    assert_eq!(frame(&format!("{line} trailer 0102"))[54..], [1, 2]);
    assert_eq!(
        hex(&frame(&format!("{line} vlan 5"))[12..18]),
        "810000050800"
    );
}

#[test]
fn what_is_not_understood_is_named() {
    for (script, words) in [
        ("0 tx g3 raw 00", "no port `g3`"),
        ("0 rx u9 raw 00", "no link `u9`"),
        ("0 from g1 raw 00", "`from`"),
        ("x tx g1 raw 00", "a time is seconds"),
        ("0.1234567 tx g1 raw 00", "six decimals"),
        (
            "1 tx g1 raw 00\n0 tx g1 raw 00",
            "line 2: time goes backwards",
        ),
        ("0 tx g1", "the kind of frame is missing"),
        ("0 tx g1 quic 1.1.1.1:1", "`quic` is no kind"),
        (
            "0 tx g1 udp 1.1.1.1 > 1.1.1.2:2",
            "`1.1.1.1` isn't ADDRESS:PORT",
        ),
        (
            "0 tx g1 udp 1.1.1.1:1 1.1.1.2:2",
            "`1.1.1.2:2` where `>` should be",
        ),
        ("0 tx g1 udp 1.1.1.1:1 > [::1]:2", "different families"),
        (
            "0 tx g1 udp 1.1.1.1:1 > 1.1.1.2:2 syn",
            "`syn` says nothing about",
        ),
        (
            "0 tx g1 udp 1.1.1.1:1 > 1.1.1.2:2 / raw 00",
            "carries nothing",
        ),
        ("0 tx g1 raw 0", "isn't bytes"),
        ("0 rx u0 geneve ::1 > ::2 vni 0x1000000 / raw 00", "24 bits"),
        ("0 rx u0 geneve ::1 > ::2 vni 7", "carries a frame"),
        (
            "0 tx g1 tcp 1.1.1.1:1 > 1.1.1.2:2 seq",
            "a sequence number is missing",
        ),
        ("0 tx g1 icmp 1.1.1.1 > 1.1.1.2 hello", "`hello`"),
        ("0 tx g1 dhcp offer xid 1", "`offer`"),
        ("0 tx g1 dhcp6 reply xid 1 from ::", "`reply`"),
        ("0 tx g1 dhcp6 solicit xid 16777216 from ::", "24 bits"),
        ("0 tx g1 dhcp6 solicit xid 1 from :: want fd00::1", "`want`"),
    ] {
        let found = error(script);
        assert!(found.contains(words), "{script}: {found}");
        assert!(found.contains("line "), "{script}: {found}");
    }
}

#[test]
fn the_scene_knows_every_vni() {
    let scene = Scene::parse(SETUP).unwrap();
    assert_eq!(Vec::from_iter(scene.vnis), [7, 8, 99, 100]);
    assert!(Scene::parse("a = ").is_err());
}
