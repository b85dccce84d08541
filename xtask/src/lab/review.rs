//! Judges a recording of the underlay, frame by frame.
//!
//! Checksums of inner packets are checked too: they have to be right on the
//! wire, whatever the guests' devices left to be done later.

use super::geneve::{self, Geneve};
use super::ip::{ETHERNET_LEN, ETHERTYPE_V4, ETHERTYPE_V6, checksum};
use anyhow::{Context, Result};
use pcap_file::pcapng::{Block, PcapNgReader};
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

const IPV6_LEN: usize = 40;
const UDP_LEN: usize = 8;
const PROTO_ICMP: u8 = 1;
const PROTO_TCP: u8 = 6;
const PROTO_UDP: u8 = 17;
const PROTO_ICMP6: u8 = 58;
/// Complaints that are kept: a few tell it all.
const WRONG_MAX: usize = 5;

/// What is to be said about a recording.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Review {
    /// Geneve frames.
    pub(crate) tunnelled: u64,
    /// What is wrong, with the frame's number.
    pub(crate) wrong: Vec<String>,
}

/// Reads the recording at `path`.
///
/// # Errors
///
/// When it isn't a pcapng file.
pub(crate) fn review(path: &Path) -> Result<Review> {
    let mut reader = PcapNgReader::new(BufReader::new(File::open(path)?))?;
    let (mut review, mut number) = (Review::default(), 0_u64);
    while let Some(block) = reader.next_block() {
        let Block::EnhancedPacket(packet) = block.context("not a recording")? else {
            continue;
        };
        number += 1;
        match judge(&packet.data) {
            Ok(tunnelled) => review.tunnelled += u64::from(tunnelled),
            Err(why) if review.wrong.len() < WRONG_MAX => {
                review.wrong.push(format!("frame {number}: {why}"));
            }
            Err(_) => {}
        }
    }
    Ok(review)
}

/// Whether a frame is a tunnelled one, and if so, a good one.
fn judge(frame: &[u8]) -> Result<bool, &'static str> {
    let Some((ethernet, packet)) = frame.split_at_checked(ETHERNET_LEN) else {
        return Err("a frame without a header");
    };
    if ethernet[12..] != ETHERTYPE_V6.to_be_bytes() {
        return Err("a frame that isn't IPv6");
    }
    let (ip, rest) = split_ipv6(packet)?;
    if ip[6] != PROTO_UDP {
        // Neighbour discovery.
        return Ok(false);
    }
    let (udp, payload) = rest
        .split_at_checked(UDP_LEN)
        .ok_or("a truncated UDP header")?;
    if udp[2..4] != geneve::PORT.to_be_bytes() {
        return Ok(false);
    }
    if ethernet[..6] == [0; 6] || ethernet[6..12] == [0; 6] {
        return Err("a zero MAC address");
    }
    if usize::from(u16::from_be_bytes([udp[4], udp[5]])) != rest.len() {
        return Err("a UDP length other than IP's");
    }
    if udp[6..8] != [0, 0] && checksum(&[&pseudo_v6(ip, rest.len()), rest]) != 0 {
        return Err("a wrong outer UDP checksum");
    }
    let geneve = Geneve::parse(payload)?;
    let (inner, packet) = geneve
        .inner
        .split_at_checked(ETHERNET_LEN)
        .ok_or("an inner frame without a header")?;
    match u16::from_be_bytes([inner[12], inner[13]]) {
        ETHERTYPE_V4 => judge_v4(packet)?,
        ETHERTYPE_V6 => {
            let (ip, rest) = split_ipv6(packet)?;
            judge_transport(ip[6], rest, &pseudo_v6(ip, rest.len()))?;
        }
        _ => return Err("an inner frame that isn't IP"),
    }
    Ok(true)
}

/// A whole IPv6 packet's header and the rest.
fn split_ipv6(packet: &[u8]) -> Result<(&[u8], &[u8]), &'static str> {
    let (ip, rest) = packet
        .split_at_checked(IPV6_LEN)
        .ok_or("a truncated IPv6 header")?;
    if ip[0] >> 4 != 6 {
        return Err("an IPv6 frame of another version");
    }
    if usize::from(u16::from_be_bytes([ip[4], ip[5]])) != rest.len() {
        return Err("an IPv6 length other than the frame's");
    }
    Ok((ip, rest))
}

fn judge_v4(packet: &[u8]) -> Result<(), &'static str> {
    let header_len = packet.first().map_or(0, |b| usize::from(b & 0x0f) * 4);
    if header_len < 20 {
        return Err("an inner IPv4 header too short");
    }
    let (ip, rest) = packet
        .split_at_checked(header_len)
        .ok_or("a truncated inner IPv4 header")?;
    if usize::from(u16::from_be_bytes([ip[2], ip[3]])) != packet.len() {
        return Err("an inner IPv4 length other than the frame's");
    }
    if checksum(&[ip]) != 0 {
        return Err("a wrong inner IPv4 header checksum");
    }
    if ip[6] & 0x3f != 0 || ip[7] != 0 {
        // A fragment's transport checksum is of the whole packet.
        return Ok(());
    }
    let mut pseudo = [0; 12];
    pseudo[..8].copy_from_slice(&ip[12..20]);
    pseudo[9] = ip[9];
    let len = u16::try_from(rest.len()).unwrap_or(u16::MAX);
    pseudo[10..].copy_from_slice(&len.to_be_bytes());
    judge_transport(ip[9], rest, &pseudo)
}

fn judge_transport(proto: u8, transport: &[u8], pseudo: &[u8]) -> Result<(), &'static str> {
    let right = match proto {
        PROTO_ICMP => checksum(&[transport]) == 0,
        PROTO_UDP if transport.get(6..8) == Some(&[0, 0]) => true,
        PROTO_TCP | PROTO_UDP | PROTO_ICMP6 => checksum(&[pseudo, transport]) == 0,
        _ => true,
    };
    if right {
        Ok(())
    } else {
        Err("a wrong inner transport checksum")
    }
}

fn pseudo_v6(ip: &[u8], len: usize) -> Vec<u8> {
    let len = u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes();
    [&ip[8..40], &len, &[0, 0, 0, ip[6]]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tunnelled echo request with right checksums.
    fn frame() -> Vec<u8> {
        let mut icmp = [8, 0, 0, 0, 0, 7, 0, 1];
        let sum = checksum(&[&icmp]);
        icmp[2..4].copy_from_slice(&sum.to_be_bytes());
        let mut ip = [
            0x45, 0, 0, 28, 0, 0, 0, 0, 64, 1, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
        ];
        let sum = checksum(&[&ip]);
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        let inner = [&[2; 12][..], &[8, 0], &ip, &icmp].concat();
        let payload = Geneve {
            vni: 7,
            external: false,
            inner: &inner,
        }
        .emit();
        let len = u16::try_from(UDP_LEN + payload.len())
            .unwrap()
            .to_be_bytes();
        let udp = [0xc0, 0, 0x17, 0xc1, len[0], len[1], 0, 0];
        let mut outer = [0; IPV6_LEN];
        outer[0] = 0x60;
        outer[4..6].copy_from_slice(&len);
        outer[6] = PROTO_UDP;
        [&[2; 12][..], &[0x86, 0xdd], &outer, &udp, &payload].concat()
    }

    #[test]
    fn a_good_frame_is_good_and_no_bit_of_the_inner_packet_may_change() {
        let good = frame();
        assert_eq!(judge(&good), Ok(true));
        for at in good.len() - 28..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x04;
            assert!(judge(&bad).is_err(), "byte {at}");
        }
        for len in 0..good.len() {
            assert!(judge(&good[..len]).is_err(), "{len} bytes");
        }
    }
}
