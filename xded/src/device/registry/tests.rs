//! The registry against the kernel, in a namespace of its own.

use super::*;
use crate::sys::tests::inside;
use opte_core::api::Setup;

fn spec(mac: &str) -> PortSpec {
    let text = format!("[[port]]\nname = \"guest0\"\nmac = \"{mac}\"\nvni = 1\nmtu = 1300\n");
    let setup: Setup = toml::from_str(&text).unwrap();
    setup.ports.into_iter().next().unwrap()
}

fn mac() -> MacAddr {
    MacAddr(netdev::attributes("guest0").unwrap().mac)
}

#[test]
fn a_port_that_is_replaced_hands_its_tap_on() {
    if !inside("device::registry::tests::a_port_that_is_replaced_hands_its_tap_on") {
        return;
    }
    let shared = Arc::new(Shared::default());
    let polls = vec![Arc::new(Poll::new().unwrap())];
    let mut registry = Registry::new(shared, polls, BTreeMap::new());
    let one = spec("A8:40:25:F0:00:01");
    let mut two = spec("A8:40:25:F0:00:02");
    two.mtu = 1_200;
    let mtu = || netdev::attributes("guest0").unwrap().mtu;
    registry.open_port(PortId(0), &one).unwrap();
    let index = netdev::attributes("guest0").unwrap().index;
    assert_eq!(mtu(), 1_300);
    registry.set_port_mtu(PortId(0), 1_400);
    assert_eq!(mtu(), 1_400);
    // Refused by the system, or a port that isn't there: no harm.
    registry.set_port_mtu(PortId(0), 1);
    registry.set_port_mtu(PortId(9), 1_400);
    assert_eq!(mtu(), 1_400);
    // A replacement that comes to nothing leaves the TAP as it is at every
    // moment, also what its owner set.
    netdev::set_mtu("guest0", 1_350).unwrap();
    registry.open_port(PortId(1), &two).unwrap();
    assert_eq!((mac(), mtu()), (one.mac, 1_350));
    registry.close_port(PortId(1));
    assert_eq!((mac(), mtu()), (one.mac, 1_350));
    // One that succeeds keeps the device.
    registry.open_port(PortId(1), &two).unwrap();
    registry.close_port(PortId(0));
    assert_eq!((mac(), mtu()), (two.mac, 1_200));
    assert_eq!(netdev::attributes("guest0").unwrap().index, index);
    registry.close_port(PortId(1));
    assert!(netdev::attributes("guest0").is_err());
    // And again, at once.
    registry.open_port(PortId(0), &one).unwrap();
    assert_eq!(mac(), one.mac);
}

#[test]
fn what_the_system_refuses_names_the_object() {
    let shared = Arc::new(Shared::default());
    let mut registry = Registry::new(shared, Vec::new(), BTreeMap::new());
    let link = LinkSpec {
        name: "no-such-device".into(),
        mtu: 1_500,
    };
    let error = registry.open_link(LinkId(0), &link).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("link no-such-device: device "), "{text}");
    assert_eq!(error.code, ErrorCode::NotFound);
    let mut port = spec("A8:40:25:F0:00:01");
    port.name = "a_name_of_16_chr".parse().unwrap();
    let error = registry.open_port(PortId(0), &port).unwrap_err();
    assert!(error.to_string().contains("15 characters"), "{error}");
}

#[test]
fn a_tap_that_somebody_else_has_is_waited_for_and_then_named() {
    if !inside("device::registry::tests::a_tap_that_somebody_else_has_is_waited_for_and_then_named")
    {
        return;
    }
    let shared = Arc::new(Shared::default());
    let polls = vec![Arc::new(Poll::new().unwrap())];
    let mut registry = Registry::new(shared, polls, BTreeMap::new());
    let port = spec("A8:40:25:F0:00:01");
    let other = sys::tap::open("guest0").unwrap();
    let error = registry.open_port(PortId(0), &port).unwrap_err();
    assert_eq!(error.code, ErrorCode::InUse);
    // It is given back by one who takes longer than a call on a TAP does.
    registry.wait_for_taps(Duration::from_secs(60));
    let dying = thread::spawn(move || {
        thread::sleep(BUSY_PATIENCE * 3);
        drop(other);
    });
    registry.open_port(PortId(0), &port).unwrap();
    dying.join().unwrap();
}

#[test]
fn a_device_that_is_no_tap_is_not_taken_for_one() {
    if !inside("device::registry::tests::a_device_that_is_no_tap_is_not_taken_for_one") {
        return;
    }
    let mut registry = Registry::new(Arc::default(), Vec::new(), BTreeMap::new());
    let mut port = spec("A8:40:25:F0:00:01");
    port.name = "lo".parse().unwrap();
    let error = registry.open_port(PortId(0), &port).unwrap_err();
    assert_eq!(error.code, ErrorCode::Exists);
    let text = error.to_string();
    assert!(
        text.starts_with("port lo: device lo exists already"),
        "{text}"
    );
    assert!(text.contains("no TAP"), "{text}");
}

/// Deletes a device, as an operator does.
fn delete(name: &str) {
    let mut ip = std::process::Command::new("ip");
    assert!(ip.args(["link", "del", name]).status().unwrap().success());
}

#[test]
fn a_tap_that_somebody_deleted_is_made_again() {
    if !inside("device::registry::tests::a_tap_that_somebody_deleted_is_made_again") {
        return;
    }
    let shared = Arc::new(Shared::default());
    let polls = vec![Arc::new(Poll::new().unwrap())];
    let mut registry = Registry::new(Arc::clone(&shared), polls, BTreeMap::new());
    let port = spec("A8:40:25:F0:00:01");
    registry.open_port(PortId(0), &port).unwrap();
    let index = || netdev::attributes("guest0").unwrap().index;
    let device = || shared.view().table().get(Source::Port(PortId(0))).cloned();
    let (before, first) = (index(), device().unwrap());
    // One that is there is left alone.
    registry.make_lost_taps();
    assert_eq!(index(), before);
    assert!(Arc::ptr_eq(&device().unwrap(), &first));
    registry.set_port_mtu(PortId(0), 1_250);
    delete("guest0");
    assert!(first.is_gone());
    registry.make_lost_taps();
    assert_ne!(index(), before);
    assert_eq!(mac(), port.mac);
    assert_eq!(netdev::attributes("guest0").unwrap().mtu, 1_250);
    assert!(!device().unwrap().is_gone());
}
