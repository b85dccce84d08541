//! Captures: written as pcap, read as pcapng.

use crate::script::{Frame, Place};
use anyhow::{Context, Result};
use pcap_file::DataLink;
use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};
use pcap_file::pcapng::PcapNgReader;
use pcap_file::pcapng::blocks::Block;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Writes one capture per place, and says which is where.
pub(crate) fn write_inputs(frames: &[Frame], dir: &Path) -> Result<BTreeMap<Place, PathBuf>> {
    fs::create_dir_all(dir)?;
    let mut by_place: BTreeMap<Place, Vec<&Frame>> = BTreeMap::new();
    for frame in frames {
        by_place.entry(frame.place.clone()).or_default().push(frame);
    }
    let mut paths = BTreeMap::new();
    for (place, frames) in by_place {
        let (way, name) = place.parts();
        let path = dir.join(format!("{way}-{name}.pcap"));
        fs::write(&path, pcap(&frames)?)?;
        paths.insert(place, path);
    }
    Ok(paths)
}

/// The frames as a capture file.
pub(crate) fn pcap(frames: &[&Frame]) -> Result<Vec<u8>> {
    let header = PcapHeader {
        datalink: DataLink::ETHERNET,
        ..PcapHeader::default()
    };
    let mut writer = PcapWriter::with_header(Vec::new(), header)?;
    for frame in frames {
        let len = u32::try_from(frame.bytes.len())?;
        writer.write_packet(&PcapPacket::new(frame.time, len, &frame.bytes))?;
    }
    Ok(writer.into_writer())
}

/// The blocks of a capture, each as the text and the bytes that matter: a
/// frame's own bytes, or nothing for what isn't a frame.
pub(super) fn blocks(file: &[u8]) -> Result<Vec<(String, Vec<u8>)>> {
    let mut reader = PcapNgReader::new(file).context("not a pcapng file")?;
    let mut blocks = Vec::new();
    while let Some(block) = reader.next_block() {
        blocks.push(match block? {
            Block::EnhancedPacket(packet) => (
                format!(
                    "at {} on interface {}, {} bytes, options {:?}",
                    // The unit is the interface's; only equality matters here.
                    packet.timestamp.as_nanos(),
                    packet.interface_id,
                    packet.original_len,
                    packet.options
                ),
                packet.data.into_owned(),
            ),
            other => (format!("{other:?}"), Vec::new()),
        });
    }
    Ok(blocks)
}

/// The frames of a capture and when each was captured, in nanoseconds.
pub(crate) fn frames(file: &[u8]) -> Result<Vec<(u64, Vec<u8>)>> {
    let mut reader = PcapNgReader::new(file).context("not a pcapng file")?;
    let mut frames = Vec::new();
    while let Some(block) = reader.next_block() {
        if let Block::EnhancedPacket(packet) = block? {
            let time = u64::try_from(packet.timestamp.as_nanos())?;
            frames.push((time, packet.data.into_owned()));
        }
    }
    Ok(frames)
}
