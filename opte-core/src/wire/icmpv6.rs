//! The numbers of ICMPv6 (RFC 4443, RFC 4861, RFC 3810). Its messages are
//! those of [`super::icmp`], with a pseudo-header in the checksum.

use super::icmp::Numbers;

/// Type of an echo request.
pub const ECHO_REQUEST: u8 = 128;
/// Code of an ICMPv6 "unreachable": forbidden.
pub const PROHIBITED: u8 = 1;
/// Code of an ICMPv6 "unreachable": no such host.
pub const ADDRESS_UNREACHABLE: u8 = 3;
/// Code of an ICMPv6 "unreachable": nobody listens on the port.
pub const PORT_UNREACHABLE: u8 = 4;

pub(super) const NUMBERS: Numbers = Numbers {
    echo_request: ECHO_REQUEST,
    echo_reply: 129,
    unreachable: 1,
    too_big: (2, 0),
    time_exceeded: 3,
    parameter_problem: 4,
};

/// Whether messages of type `kind` are neighbour discovery, redirects
/// included: they have a meaning on one link only.
#[must_use]
pub const fn is_neighbour_discovery(kind: u8) -> bool {
    matches!(kind, 133..=137)
}

/// Whether messages of type `kind` are multicast listener discovery of either
/// version.
#[must_use]
pub const fn is_listener_discovery(kind: u8) -> bool {
    matches!(kind, 130..=132 | 143)
}

/// Whether messages of type `kind` report errors, known or not (RFC 4443
/// section 2.1).
#[must_use]
pub const fn is_error(kind: u8) -> bool {
    kind < 128
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_told_apart() {
        for kind in 0..=u8::MAX {
            let classes = [
                is_neighbour_discovery(kind),
                is_listener_discovery(kind),
                is_error(kind),
            ];
            assert!(classes.iter().filter(|class| **class).count() < 2, "{kind}");
        }
        assert!(is_neighbour_discovery(133) && is_neighbour_discovery(137));
        assert!(is_listener_discovery(143) && !is_listener_discovery(138));
    }
}
