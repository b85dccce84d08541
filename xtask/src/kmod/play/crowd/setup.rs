//! The setups of the two hosts, whose guests differ by a number.

use std::fmt::Write as _;

/// The guests of the host that is crowded: `g1` and `g2` stay, `g3` comes and
/// goes.
const GUESTS: [u8; 3] = [1, 2, 3];
/// The guest of the other host.
pub(super) const AWAY: u8 = 9;

/// The addresses of the two hosts.
const HERE: &str = "fd00:1::1";
const THERE: &str = "fd00:2::1";

/// The host that is crowded, with a link that stays and one that comes and
/// goes. The other host's guest is the first of its mappings.
pub(super) fn here() -> String {
    let mut text = underlay(HERE, &["u0", "u1"]);
    text += &mapping(AWAY, THERE);
    for guest in GUESTS {
        text += &mapping(guest, HERE);
        text += &port(guest);
    }
    text
}

/// The other host.
pub(super) fn there() -> String {
    let mut text = underlay(THERE, &["u0"]);
    for guest in GUESTS {
        text += &mapping(guest, HERE);
    }
    text + &port(AWAY)
}

/// An IPv4 address of a guest.
pub(super) fn address(guest: u8) -> String {
    format!("10.0.0.{guest}")
}

/// The name of a guest's port.
pub(super) fn name(guest: u8) -> String {
    format!("g{guest}")
}

fn underlay(address: &str, links: &[&str]) -> String {
    let mut text = format!("[underlay]\naddress = \"{address}\"\n");
    text += "route = [{ dest = \"fd00::/16\", via = \"fe80::1\", link = \"u0\" }]\n";
    for link in links {
        let _ = writeln!(text, "[[underlay.link]]\nname = \"{link}\"");
    }
    text
}

fn mapping(guest: u8, sled: &str) -> String {
    format!(
        "[[v2p]]\nvni = 7\naddress = \"{}\"\nmac = \"{}\"\nsled = \"{sled}\"\n",
        address(guest),
        mac(guest)
    )
}

fn port(guest: u8) -> String {
    format!(
        "[[port]]\nname = \"{}\"\nmac = \"{}\"\nvni = 7\n\
         ipv4 = {{ address = \"{}\", gateway = \"10.0.0.254\" }}\n\
         rules = [\"dir=in priority=1 action=allow protocols=udp\"]\n\
         routes = [\"10.0.0.0/24 sub4=10.0.0.0/24 system\"]\n",
        name(guest),
        mac(guest),
        address(guest)
    )
}

fn mac(guest: u8) -> String {
    format!("A8:40:25:F0:00:{guest:02X}")
}
