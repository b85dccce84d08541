//! Neighbours that answer: the rest of the underlay, as far as a replay needs it.
//!
//! A capture of what a guest sent holds no answers to the engine's neighbour
//! discovery, and without a next hop nothing would leave. So every solicited
//! neighbour answers at once (RFC 4861 section 4.4), with a hardware address
//! that follows from its IPv6 address.

use opte_core::wire::MacAddr;
use std::net::Ipv6Addr;

/// Ethernet, IPv6, and a neighbour message with one link-layer address option.
const LEN: usize = ETHERNET + IPV6 + MESSAGE;
const ETHERNET: usize = 14;
const IPV6: usize = 40;
const MESSAGE: usize = 32;

const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
/// It is a router, it was asked, and it overrides what was known.
const FLAGS: u8 = 0xe0;
const TARGET_LINK_LAYER: u8 = 2;

/// The hardware address of the neighbour at `address`: 02:4E ("N") and the
/// last four bytes of the address.
pub(super) fn mac(address: Ipv6Addr) -> MacAddr {
    let [.., a, b, c, d] = address.octets();
    MacAddr([0x02, 0x4e, a, b, c, d])
}

/// The answer to `frame`, if it is a solicitation that somebody would answer:
/// not the sender's own check for a duplicate address.
pub(crate) fn answer(frame: &[u8]) -> Option<Vec<u8>> {
    let (ethernet, packet) = frame.split_first_chunk::<ETHERNET>()?;
    let (header, message) = packet.split_first_chunk::<IPV6>()?;
    let [.., 0x86, 0xdd] = ethernet else {
        return None;
    };
    let &[_, _, _, _, _, _, 58, 255, ref addresses @ ..] = header else {
        return None;
    };
    let (source, _) = addresses.split_first_chunk::<16>()?;
    let &[SOLICITATION, 0, _, _, _, _, _, _, ref rest @ ..] = message else {
        return None;
    };
    let (target, _) = rest.split_first_chunk::<16>()?;
    let (source, target) = (Ipv6Addr::from(*source), Ipv6Addr::from(*target));
    if source.is_unspecified() || target.is_multicast() {
        return None;
    }
    let &[_, _, _, _, _, _, ref asker @ ..] = ethernet;
    let asker = asker.first_chunk::<6>()?;
    Some(advertisement(MacAddr(*asker), source, target))
}

fn advertisement(to_mac: MacAddr, to: Ipv6Addr, from: Ipv6Addr) -> Vec<u8> {
    let from_mac = mac(from);
    let mut message = vec![ADVERTISEMENT, 0, 0, 0, FLAGS, 0, 0, 0];
    message.extend(from.octets());
    message.extend([TARGET_LINK_LAYER, 1]);
    message.extend(from_mac.0);
    let sum = checksum(from, to, &message).to_be_bytes();
    if let Some(place) = message.get_mut(2..4) {
        place.copy_from_slice(&sum);
    }
    let mut frame = Vec::with_capacity(LEN);
    frame.extend(to_mac.0);
    frame.extend(from_mac.0);
    frame.extend([0x86, 0xdd]);
    frame.extend([0x60, 0, 0, 0, 0, 32, 58, 255]);
    frame.extend(from.octets());
    frame.extend(to.octets());
    frame.extend(message);
    frame
}

/// The ICMPv6 checksum (RFC 4443 section 2.3) of a message of even length.
fn checksum(from: Ipv6Addr, to: Ipv6Addr, message: &[u8]) -> u16 {
    let length = u32::try_from(message.len()).unwrap_or_default();
    let words = [from.octets(), to.octets()].concat();
    let pairs = words.chunks(2).chain(message.chunks(2));
    let sum = pairs.fold(length.wrapping_add(58), |sum, pair| {
        let word = pair
            .iter()
            .fold(0, |word, byte| word << 8 | u32::from(*byte));
        sum.wrapping_add(word)
    });
    let folded = (sum & 0xffff).wrapping_add(sum >> 16);
    let folded = (folded & 0xffff).wrapping_add(folded >> 16);
    !u16::try_from(folded & 0xffff).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn solicitation(source: &str, target: &str) -> Vec<u8> {
        let (source, target): (Ipv6Addr, Ipv6Addr) =
            (source.parse().unwrap(), target.parse().unwrap());
        let mut frame = vec![0x33, 0x33, 0xff, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x86, 0xdd];
        frame.extend([0x60, 0, 0, 0, 0, 24, 58, 255]);
        frame.extend(source.octets());
        frame.extend([0xff; 16]);
        frame.extend([SOLICITATION, 0, 0, 0, 0, 0, 0, 0]);
        frame.extend(target.octets());
        frame
    }

    #[test]
    fn a_solicitation_is_answered_with_a_valid_advertisement() {
        let frame = answer(&solicitation("fe80::1", "fd00::102:304")).unwrap();
        assert_eq!(frame.len(), LEN);
        assert_eq!(&frame[..6], [2, 0, 0, 0, 0, 1]);
        assert_eq!(&frame[6..12], [2, 0x4e, 1, 2, 3, 4]);
        let (from, to) = ("fd00::102:304".parse().unwrap(), "fe80::1".parse().unwrap());
        // Over a message with its checksum in place, the sum comes out as zero.
        assert_eq!(checksum(from, to, &frame[54..]), 0);
        assert_eq!(answer(&frame), None);
    }

    #[test]
    fn nobody_answers_anything_else() {
        assert_eq!(answer(&solicitation("::", "fe80::1")), None);
        let whole = solicitation("fe80::1", "fe80::2");
        for len in 0..whole.len() {
            assert_eq!(answer(&whole[..len]), None);
        }
    }
}
