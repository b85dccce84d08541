//! The little of IP that the lab's own clients need.

use std::net::Ipv4Addr;

/// Bytes of an Ethernet header.
pub(crate) const ETHERNET_LEN: usize = 14;
/// EtherType of IPv4.
pub(crate) const ETHERTYPE_V4: u16 = 0x0800;
/// EtherType of IPv6.
pub(crate) const ETHERTYPE_V6: u16 = 0x86dd;

const IPV4_LEN: usize = 20;
const UDP_LEN: usize = 8;
const PROTO_UDP: u8 = 17;

/// The Internet checksum (RFC 1071) of `parts` as if they were one piece.
/// Every part but the last has an even length.
pub(crate) fn checksum(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let sum = words.fold(0_u64, |sum, word| {
        let [high, low] = [word[0], word.get(1).copied().unwrap_or(0)];
        sum + u64::from(u16::from_be_bytes([high, low]))
    });
    let folded = (0..4).fold(sum, |sum, _| (sum & 0xffff) + (sum >> 16));
    !u16::try_from(folded).unwrap_or(u16::MAX)
}

/// A UDP datagram over IPv4 that was received, or is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Datagram<'a> {
    /// Where it comes from.
    pub(crate) source: (Ipv4Addr, u16),
    /// Where it goes.
    pub(crate) destination: (Ipv4Addr, u16),
    /// What it carries.
    pub(crate) payload: &'a [u8],
}

impl<'a> Datagram<'a> {
    /// The datagram in an Ethernet frame, if there is one without options or
    /// fragments in it.
    ///
    /// # Errors
    ///
    /// When there is one and its lengths or checksums are wrong: the lab judges
    /// what it is sent.
    pub(crate) fn parse(frame: &'a [u8]) -> Result<Option<Self>, &'static str> {
        let Some((ethernet, packet)) = frame.split_at_checked(ETHERNET_LEN) else {
            return Ok(None);
        };
        if ethernet[12..] != ETHERTYPE_V4.to_be_bytes() {
            return Ok(None);
        }
        let Some((ip, _)) = packet.split_at_checked(IPV4_LEN) else {
            return Err("a truncated IPv4 header");
        };
        if ip[0] != 0x45 || ip[9] != PROTO_UDP || ip[6] & 0x3f != 0 || ip[7] != 0 {
            return Ok(None);
        }
        let total = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
        let udp = packet
            .get(IPV4_LEN..total)
            .ok_or("an IPv4 total length beyond the frame")?;
        let (header, payload) = udp
            .split_at_checked(UDP_LEN)
            .ok_or("a truncated UDP header")?;
        if checksum(&[ip]) != 0 {
            return Err("a wrong IPv4 header checksum");
        }
        if usize::from(u16::from_be_bytes([header[4], header[5]])) != udp.len() {
            return Err("a UDP length other than IP's");
        }
        let (source, destination) = (address(&ip[12..16]), address(&ip[16..20]));
        let sum = checksum(&[&pseudo_header(source, destination, udp.len()), udp]);
        // A sender may leave the checksum out over IPv4 (RFC 768).
        if header[6..8] != [0, 0] && sum != 0 {
            return Err("a wrong UDP checksum");
        }
        Ok(Some(Self {
            source: (source, u16::from_be_bytes([header[0], header[1]])),
            destination: (destination, u16::from_be_bytes([header[2], header[3]])),
            payload,
        }))
    }

    /// The datagram in an Ethernet frame.
    pub(crate) fn emit(&self, to: [u8; 6], from: [u8; 6]) -> Vec<u8> {
        let udp_len = UDP_LEN + self.payload.len();
        let total = u16::try_from(IPV4_LEN + udp_len).unwrap_or(u16::MAX);
        let (source, destination) = (self.source.0, self.destination.0);

        let mut ip = [0; IPV4_LEN];
        ip[0] = 0x45;
        ip[2..4].copy_from_slice(&total.to_be_bytes());
        ip[8] = 64;
        ip[9] = PROTO_UDP;
        ip[12..16].copy_from_slice(&source.octets());
        ip[16..20].copy_from_slice(&destination.octets());
        let sum = checksum(&[&ip]);
        ip[10..12].copy_from_slice(&sum.to_be_bytes());

        let mut udp = [0; UDP_LEN];
        udp[0..2].copy_from_slice(&self.source.1.to_be_bytes());
        udp[2..4].copy_from_slice(&self.destination.1.to_be_bytes());
        udp[4..6].copy_from_slice(&u16::try_from(udp_len).unwrap_or(u16::MAX).to_be_bytes());
        let pseudo = pseudo_header(source, destination, udp_len);
        // Zero means no checksum, so its twin in one's complement stands for it.
        let sum = match checksum(&[&pseudo, &udp, self.payload]) {
            0 => u16::MAX,
            sum => sum,
        };
        udp[6..8].copy_from_slice(&sum.to_be_bytes());

        [
            &to[..],
            &from,
            &ETHERTYPE_V4.to_be_bytes(),
            &ip,
            &udp,
            self.payload,
        ]
        .concat()
    }
}

fn address(bytes: &[u8]) -> Ipv4Addr {
    Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3])
}

fn pseudo_header(source: Ipv4Addr, destination: Ipv4Addr, udp_len: usize) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[0..4].copy_from_slice(&source.octets());
    bytes[4..8].copy_from_slice(&destination.octets());
    bytes[9] = PROTO_UDP;
    let len = u16::try_from(udp_len).unwrap_or(u16::MAX);
    bytes[10..12].copy_from_slice(&len.to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_rfc_1071_section_3() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(checksum(&[&bytes]), !0xddf2);
        assert_eq!(checksum(&[&bytes[..4], &bytes[4..]]), !0xddf2);
        assert_eq!(checksum(&[&[0x12]]), !0x1200);
    }

    #[test]
    fn a_datagram_is_read_as_it_was_written_and_a_broken_one_is_told() {
        let datagram = Datagram {
            source: (Ipv4Addr::UNSPECIFIED, 68),
            destination: (Ipv4Addr::BROADCAST, 67),
            payload: b"seven b",
        };
        let frame = datagram.emit([0xff; 6], [2, 0, 0, 0, 0, 1]);
        assert_eq!(Datagram::parse(&frame), Ok(Some(datagram)));
        // Version and length, fragment bits, protocol and EtherType make it
        // another kind of frame; any other byte of the packet breaks it.
        for at in ETHERNET_LEN..frame.len() {
            let mut bad = frame.clone();
            bad[at] ^= 0x20;
            let parsed = Datagram::parse(&bad);
            assert!(matches!(parsed, Ok(None) | Err(_)), "byte {at}: {parsed:?}");
        }
        for len in 0..frame.len() {
            let parsed = Datagram::parse(&frame[..len]);
            assert!(matches!(parsed, Ok(None) | Err(_)), "{len} bytes");
        }
    }
}
