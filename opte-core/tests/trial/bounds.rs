//! Full tables, and clocks that leap.

use super::{BOUNDARY, counter, stats, world};
use crate::sim::frame::Flow;
use crate::{ALLOW_ALL, G1, G2, Verdict, geneve, two_guests};
use opte_core::DropReason;
use opte_core::frame::Offload;

#[test]
fn a_port_may_have_one_flow_at_a_time() {
    let sled = world("options = { flows_max = 1 }");
    for host in 10..200 {
        let flow = Flow::new(G1, &format!("10.0.0.1:1000 > 10.0.0.2:{host}"));
        sled.local("g1", &flow.udp(b"")).unwrap();
        assert_eq!(stats(&sled, Some("g1")).flows, 1);
    }
    // An answered one doesn't give way.
    let flow = Flow::new(G1, "10.0.0.1:1000 > 10.0.0.2:199");
    sled.local("g2", &flow.back(G2).udp(b"")).unwrap();
    let other = Flow::new(G1, "10.0.0.1:1000 > 10.0.0.2:9");
    assert_eq!(
        sled.local("g1", &other.udp(b"")),
        Err(DropReason::PortFlowsFull)
    );
}

#[test]
fn segments_out_of_nowhere_hold_no_place() {
    let more = r#"
options = { flows_max = 64 }
external = { floating = [{ address = "203.0.113.5" }] }
rules = ["dir=in priority=1 action=allow protocols=tcp ports=80"]"#;
    let sled = world(more);
    let mut refused = 0;
    for port in 1..=1_000 {
        let call = Flow {
            dst_mac: G1,
            ..Flow::new(BOUNDARY, &format!("198.51.100.1:{port} > 203.0.113.5:80"))
        };
        for flags in ["A", "FA"] {
            let (verdict, _) = sled.rx(&geneve(BOUNDARY, &call.tcp(flags, 1, 1, b"")));
            refused += usize::from(verdict == Verdict::Dropped(DropReason::PortFlowsFull));
        }
    }
    assert_eq!(refused, 0, "they push out each other");
    let flow = Flow::new(G1, "10.0.0.1:1000 > 10.0.0.2:53");
    sled.local("g1", &flow.udp(b"")).unwrap();
    for _ in 0..10 {
        sled.advance(10_000);
    }
    assert_eq!(stats(&sled, Some("g1")).flows, 0, "and end soon");
}

#[test]
fn a_clock_that_leaps_ends_what_is_over_and_hangs_nobody() {
    let sled = two_guests(ALLOW_ALL);
    for day in [0_u64, 1, 7, 365, 36_500] {
        for port in 1..=100 {
            let flow = Flow::new(G1, &format!("10.0.0.1:{port} > 10.0.0.2:80"));
            sled.local("g1", &flow.udp(b"")).unwrap();
        }
        assert_eq!(stats(&sled, None).flows, 200);
        sled.advance(0);
        assert_eq!(stats(&sled, None).flows, 200, "the clock stands still");
        sled.advance(day * 86_400_000 + 40_000);
        sled.advance(100);
        assert_eq!(stats(&sled, None).flows, 0, "{day} days");
    }
}

#[test]
fn a_leap_of_the_clock_spares_what_lives() {
    let more = format!("options = {{ tcp_established_s = 604800 }}\n{ALLOW_ALL}");
    let sled = crate::Sled::with(
        1,
        &(crate::port("g1", 1, &more) + &crate::port("g2", 2, &more)),
    );
    let flow = Flow::new(G1, "10.0.0.1:1000 > 10.0.0.2:80");
    sled.local("g1", &flow.tcp("S", 1, 0, b"")).unwrap();
    sled.local("g2", &flow.back(G2).tcp("SA", 9, 2, b""))
        .unwrap();
    sled.local("g1", &flow.tcp("A", 2, 10, b"")).unwrap();
    sled.advance(6 * 86_400_000);
    sled.advance(1_000);
    assert_eq!(stats(&sled, None).flows, 2);
    sled.advance(86_400_000);
    sled.advance(1_000);
    assert_eq!(stats(&sled, None).flows, 0);
    assert_eq!(counter(&stats(&sled, None), "ports"), 2);
}

#[test]
fn flows_that_live_don_t_hide_those_that_give_way() {
    let sled = world("options = { flows_max = 64 }");
    let flow = |n: usize| Flow::new(G1, &format!("10.0.0.1:{} > 10.0.0.2:53", 1_000 + n));
    let answered = |n| {
        sled.local("g1", &flow(n).udp(b"")).unwrap();
        sled.local("g2", &flow(n).back(G2).udp(b"")).unwrap();
    };
    (0..40).for_each(answered);
    sled.advance(175_000);
    (0..40).for_each(answered);
    // A few packets are refused while the way to them is cleared.
    let refused = (40..200).filter(|n| sled.local("g1", &flow(*n).udp(b"")).is_err());
    assert!(refused.count() <= 3);
    (0..40).for_each(answered);
}

#[test]
fn a_shorter_timeout_holds_for_flows_that_are_there() {
    let setup = |seconds: u32| {
        let more = format!("options = {{ udp_one_way_s = {seconds} }}\n{ALLOW_ALL}");
        crate::port("g1", 1, &more) + &crate::port("g2", 2, &more)
    };
    let sled = crate::Sled::with(1, &setup(600));
    let flow = Flow::new(G1, "10.0.0.1:1000 > 10.0.0.2:53");
    sled.local("g1", &flow.udp(b"")).unwrap();
    sled.advance(60_000);
    assert_eq!(stats(&sled, None).flows, 2);
    sled.apply(&setup(30)).unwrap();
    sled.advance(2_000);
    assert_eq!(stats(&sled, None).flows, 0);
}

#[test]
fn large_segments_fit_who_gets_them() {
    let small = crate::port("g2", 2, ALLOW_ALL);
    let sled = crate::Sled::with(1, &(crate::port("g1", 1, "mtu = 9000") + &small));
    let flow = Flow::new(G1, "10.0.0.1:1000 > 10.0.0.2:80");
    sled.local("g1", &flow.tcp("S", 1, 0, b"")).unwrap();
    let large = flow.tcp("A", 2, 1, &[7; 8_000]);
    for (segment_len, fits) in [(1_460, true), (1_461, false), (4_000, false), (0, false)] {
        let offload = Offload {
            checksum_partial: true,
            segment_len,
        };
        let (verdict, _) = sled.tx_offloaded("g1", &large, offload);
        let expected = match fits {
            true => Verdict::Port(sled.port("g2")),
            false => Verdict::Dropped(DropReason::TooBig),
        };
        assert_eq!(verdict, expected, "{segment_len}");
    }
}
