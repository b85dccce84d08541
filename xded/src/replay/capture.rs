//! Reads capture files: pcap and pcapng, Ethernet only.
//!
//! A file is read whole and checked whole before anything is replayed, so a
//! bad one leaves no results behind.

use crate::cli::InputArg;
use crate::engine::FRAME_MAX;
use anyhow::anyhow;
use pcap_file::pcap::PcapParser;
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::blocks::section_header::SectionHeaderBlock;
use pcap_file::pcapng::{Block, PcapNgParser};
use pcap_file::{DataLink, PcapError, TsResolution};
use std::fs::File;
use std::io::Read;
use std::ops::Range;

/// Bytes of the largest capture file: it is kept in memory.
const FILE_MAX: u64 = 2 << 30;
/// First bytes of a pcapng file: its section header's type.
const PCAPNG: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
/// First bytes of a pcap file: microseconds or nanoseconds, either byte order.
const PCAP: [[u8; 4]; 4] = [
    [0xa1, 0xb2, 0xc3, 0xd4],
    [0xd4, 0xc3, 0xb2, 0xa1],
    [0xa1, 0xb2, 0x3c, 0x4d],
    [0x4d, 0x3c, 0xb2, 0xa1],
];

/// The frames of one input.
#[derive(Debug, Default)]
pub(super) struct Capture {
    /// The frames' bytes, one after the other.
    bytes: Vec<u8>,
    packets: Vec<Packet>,
}

/// One frame of a capture.
#[derive(Debug)]
pub(super) struct Packet {
    /// When it was captured, in nanoseconds since 1970.
    pub(super) time_ns: u64,
    place: Range<usize>,
}

impl Capture {
    /// Reads and checks an input's file. The error is one sentence that names
    /// the input.
    pub(super) fn load(input: &InputArg) -> anyhow::Result<Self> {
        let read = || -> std::io::Result<Vec<u8>> {
            let mut bytes = Vec::new();
            let more = FILE_MAX.saturating_add(1);
            File::open(&input.file)?
                .take(more)
                .read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let bytes = read().map_err(|error| anyhow!("{}: {error}", input.text))?;
        Self::parse(&bytes).map_err(|why| anyhow!("{}: {why}", input.text))
    }

    /// The frames in the bytes of a capture file.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        if u64::try_from(bytes.len()).is_ok_and(|len| len > FILE_MAX) {
            return Err(format!("it has more than {FILE_MAX} bytes"));
        }
        match bytes.first_chunk() {
            Some(magic) if *magic == PCAPNG => pcapng(bytes),
            Some(magic) if PCAP.contains(magic) => pcap(bytes),
            None if bytes.is_empty() => Err("it is empty".into()),
            _ => Err("it is neither a pcap nor a pcapng file".into()),
        }
    }

    /// The frames, in the order of the file.
    pub(super) fn packets(&self) -> &[Packet] {
        &self.packets
    }

    /// The bytes of a frame.
    pub(super) fn bytes(&self, packet: &Packet) -> &[u8] {
        self.bytes.get(packet.place.clone()).unwrap_or_default()
    }

    /// Appends a frame.
    fn add(&mut self, time_ns: u64, frame: &[u8]) -> Result<(), String> {
        if frame.len() > FRAME_MAX {
            let len = frame.len();
            return Err(self.wrong(&format!("has {len} bytes, more than {FRAME_MAX}")));
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(frame);
        let place = start..self.bytes.len();
        self.packets.push(Packet { time_ns, place });
        Ok(())
    }

    /// A sentence about the frame that comes next.
    fn wrong(&self, why: &str) -> String {
        format!("frame {} {why}", self.packets.len())
    }
}

/// What the parser says about a part of a file.
fn broken(part: &str, number: usize, error: &PcapError) -> String {
    match error {
        PcapError::IncompleteBuffer => {
            format!("{part} {number} is cut off by the end of the file")
        }
        other => format!("{part} {number} cannot be read ({other})"),
    }
}

fn pcap(all: &[u8]) -> Result<Capture, String> {
    let (mut rest, parser) = PcapParser::new(all).map_err(|_| "its header is cut off")?;
    let header = parser.header();
    check_version("pcap", 2, header.version_major, header.version_minor)?;
    check_link(header.datalink)?;
    let unit_ns: u64 = match header.ts_resolution {
        TsResolution::MicroSecond => 1_000,
        TsResolution::NanoSecond => 1,
    };
    let mut found = Capture::default();
    while !rest.is_empty() {
        // Raw: the parsed form refuses frames that a snap length has cut.
        let (next, packet) = parser
            .next_raw_packet(rest)
            .map_err(|error| broken("frame", found.packets.len(), &error))?;
        let fraction_ns = u64::from(packet.ts_frac).saturating_mul(unit_ns);
        let time_ns = u64::from(packet.ts_sec)
            .saturating_mul(1_000_000_000)
            .saturating_add(fraction_ns);
        found.add(time_ns, &packet.data)?;
        rest = next;
    }
    Ok(found)
}

fn pcapng(all: &[u8]) -> Result<Capture, String> {
    let (mut rest, mut parser) = PcapNgParser::new(all).map_err(|error| match error {
        PcapError::IncompleteBuffer => "its header is cut off".to_owned(),
        other => format!("its header cannot be read ({other})"),
    })?;
    check_section(parser.section())?;
    let mut found = Capture::default();
    // The section header is block 0.
    for number in 1.. {
        if rest.is_empty() {
            break;
        }
        let (next, block) = parser
            .next_block(rest)
            .map_err(|error| broken("block", number, &error))?;
        let (interface, ticks, data) = match block {
            Block::SectionHeader(section) => {
                check_section(&section)?;
                rest = next;
                continue;
            }
            Block::InterfaceDescription(interface) => {
                check_link(interface.linktype)?;
                rest = next;
                continue;
            }
            // The parser calls the raw counter nanoseconds; it is in the
            // interface's unit.
            Block::EnhancedPacket(packet) => {
                let ticks = u64::try_from(packet.timestamp.as_nanos()).unwrap_or(u64::MAX);
                (packet.interface_id, ticks, packet.data)
            }
            Block::Packet(packet) => (
                u32::from(packet.interface_id),
                packet.timestamp,
                packet.data,
            ),
            Block::SimplePacket(_) => return Err(found.wrong("has no time")),
            _ => {
                rest = next;
                continue;
            }
        };
        let interface = usize::try_from(interface)
            .ok()
            .and_then(|index| parser.interfaces().get(index))
            .ok_or_else(|| found.wrong("is from an interface that the file doesn't describe"))?;
        let time_ns = nanoseconds(interface, ticks)
            .ok_or_else(|| found.wrong("has a time that is out of range"))?;
        found.add(time_ns, &data)?;
        rest = next;
    }
    Ok(found)
}

/// A time in an interface's unit, in nanoseconds since 1970.
fn nanoseconds(interface: &InterfaceDescriptionBlock<'_>, ticks: u64) -> Option<u64> {
    let (mut resolution, mut offset_s) = (6, 0);
    for option in &interface.options {
        match option {
            InterfaceDescriptionOption::IfTsResol(value) => resolution = *value,
            InterfaceDescriptionOption::IfTsOffset(value) => offset_s = value.cast_signed(),
            _ => {}
        }
    }
    // The top bit chooses a power of two; otherwise it is a power of ten.
    let exponent = u32::from(resolution & 0x7f);
    let base: u128 = if resolution & 0x80 == 0 { 10 } else { 2 };
    let per_second = base.checked_pow(exponent)?;
    let ns = u128::from(ticks).checked_mul(1_000_000_000)? / per_second;
    let offset_ns = i128::from(offset_s).checked_mul(1_000_000_000)?;
    u64::try_from(i128::try_from(ns).ok()?.checked_add(offset_ns)?).ok()
}

fn check_section(section: &SectionHeaderBlock<'_>) -> Result<(), String> {
    check_version("pcapng", 1, section.major_version, section.minor_version)
}

/// A minor version adds what readers may pass over.
fn check_version(format: &str, known: u16, major: u16, minor: u16) -> Result<(), String> {
    if major == known {
        return Ok(());
    }
    Err(format!("it is {format} {major}.{minor}, not {known}"))
}

fn check_link(link: DataLink) -> Result<(), String> {
    if link == DataLink::ETHERNET {
        return Ok(());
    }
    Err(format!(
        "its link type is {} ({link:?}), not Ethernet (1)",
        u32::from(link)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::file::PcapngFile;

    /// A pcap file with two frames, in microseconds, little-endian.
    pub(crate) fn small_pcap() -> Vec<u8> {
        let mut bytes = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0];
        bytes.extend([0; 8]);
        bytes.extend(96_u32.to_le_bytes());
        bytes.extend(1_u32.to_le_bytes());
        for (sec, usec, data, original) in [
            (1_u32, 2_u32, &b"first"[..], 5_u32),
            (3, 4, b"second", 1_500),
        ] {
            bytes.extend(sec.to_le_bytes());
            bytes.extend(usec.to_le_bytes());
            bytes.extend((data.len() as u32).to_le_bytes());
            bytes.extend(original.to_le_bytes());
            bytes.extend(data);
        }
        bytes
    }

    fn small_pcapng() -> Vec<u8> {
        let mut file = PcapngFile::new(Vec::new(), "eth0").unwrap();
        file.write(5, b"first").unwrap();
        file.write(1_700_000_000_123_456_789, b"second!").unwrap();
        file.into_inner()
    }

    fn content(bytes: Vec<u8>) -> Result<Vec<(u64, Vec<u8>)>, String> {
        let capture = Capture::parse(&bytes)?;
        let frames = capture.packets().iter();
        Ok(frames
            .map(|packet| (packet.time_ns, capture.bytes(packet).to_vec()))
            .collect())
    }

    #[test]
    fn both_formats_are_read() {
        assert_eq!(
            content(small_pcap()).unwrap(),
            [
                (1_000_002_000, b"first".to_vec()),
                (3_000_004_000, b"second".to_vec())
            ]
        );
        assert_eq!(
            content(small_pcapng()).unwrap(),
            [
                (5, b"first".to_vec()),
                (1_700_000_000_123_456_789, b"second!".to_vec())
            ]
        );
    }

    #[test]
    fn a_file_that_ends_early_is_refused_or_shorter() {
        for (whole, header) in [(small_pcap(), 24), (small_pcapng(), 28)] {
            let all = content(whole.clone()).unwrap();
            for len in 0..whole.len() {
                match content(whole.get(..len).unwrap().to_vec()) {
                    // Cut between two frames: nobody can tell.
                    Ok(frames) => assert!(all.starts_with(&frames) && frames.len() < all.len()),
                    Err(why) if len >= header => assert!(why.contains("cut off"), "{len}: {why}"),
                    Err(why) => assert!(!why.is_empty()),
                }
            }
        }
    }

    #[test]
    fn no_damage_makes_the_reader_panic() {
        for whole in [small_pcap(), small_pcapng()] {
            for at in 0..whole.len() {
                for value in [0x00, 0x01, 0x7f, 0x80, 0xff] {
                    let mut bytes = whole.clone();
                    bytes[at] = value;
                    let _ = content(bytes);
                }
            }
        }
    }

    #[test]
    fn other_files_are_refused_with_the_reason() {
        assert!(content(Vec::new()).unwrap_err().contains("empty"));
        assert!(content(b"hello".to_vec()).unwrap_err().contains("neither"));
        let mut raw_ip = small_pcap();
        raw_ip[20] = 101;
        let why = content(raw_ip).unwrap_err();
        assert!(why.contains("link type is 101"), "{why}");
    }

    #[test]
    fn units_of_time_are_understood() {
        let interface = |options| InterfaceDescriptionBlock {
            linktype: DataLink::ETHERNET,
            snaplen: 0,
            options,
        };
        use InterfaceDescriptionOption::{IfTsOffset, IfTsResol};
        for (options, ticks, ns) in [
            (vec![], 7, Some(7_000)),
            (vec![IfTsResol(9)], 7, Some(7)),
            (vec![IfTsResol(0)], 7, Some(7_000_000_000)),
            (vec![IfTsResol(0x81)], 3, Some(1_500_000_000)),
            (vec![IfTsResol(9), IfTsOffset(2)], 7, Some(2_000_000_007)),
            (
                vec![IfTsResol(0), IfTsOffset(u64::MAX)],
                3,
                Some(2_000_000_000),
            ),
            (vec![IfTsResol(0), IfTsOffset(u64::MAX)], 0, None),
            (vec![IfTsResol(0)], u64::MAX, None),
            (vec![IfTsResol(127)], 1, None),
        ] {
            assert_eq!(
                nanoseconds(&interface(options.clone()), ticks),
                ns,
                "{options:?}"
            );
        }
    }
}
