//! What goes into a golden case: frames, and NICs as they were captured at.

use super::LINK;
use crate::case::Case;
use crate::script::{self, Place};
use anyhow::Result;
use opte_core::Direction;
use opte_core::api::Setup;
use opte_core::flow::Proto;
use opte_core::host::LinkDevice;
use opte_core::wire::MacAddr;
use opte_core::wire::offload::{Pieces, Unfinished};
use opte_core::wire::packet;
use pcap_file::pcap::PcapReader;
use std::collections::BTreeMap;
use std::fs;

/// A frame that goes in.
pub(super) struct Input {
    /// When it was captured, in nanoseconds.
    pub(super) time: u64,
    pub(super) place: Place,
    pub(super) bytes: Vec<u8>,
}

/// Everything that goes in, in the order of times and then of file names.
pub(super) fn inputs(case: &Case) -> Result<Vec<Input>> {
    let mut by_name: BTreeMap<(String, String), Vec<Input>> = BTreeMap::new();
    let mut add = |input: Input| {
        let (way, name) = input.place.parts();
        let key = (way.to_owned(), name.to_owned());
        by_name.entry(key).or_default().push(input);
    };
    let script = case.dir.join("frames.txt");
    if script.is_file() {
        let text = fs::read_to_string(&script)?;
        for frame in script::compile(&text, &case.scene()?)? {
            add(Input {
                // A capture has microseconds.
                time: u64::try_from(frame.time.as_micros())? * 1_000,
                place: frame.place,
                bytes: frame.bytes,
            });
        }
    }
    for entry in fs::read_dir(&case.dir)? {
        let path = entry?.path();
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        let is_capture = path.extension().is_some_and(|e| e == "pcap");
        let Some((way, name)) = stem.filter(|_| is_capture).and_then(|s| s.split_once('-')) else {
            continue;
        };
        let place = match way {
            "tx" => Place::Tx(name.to_owned()),
            _ => Place::Rx(name.to_owned()),
        };
        let mut reader = PcapReader::new(fs::File::open(&path)?)?;
        while let Some(packet) = reader.next_packet() {
            let packet = packet?;
            add(Input {
                time: u64::try_from(packet.timestamp.as_nanos())?,
                place: place.clone(),
                bytes: packet.data.into_owned(),
            });
        }
    }
    let mut inputs: Vec<Input> = by_name.into_values().flatten().collect();
    inputs.sort_by_key(|input| input.time);
    Ok(inputs)
}

/// The NICs of a setup. One has the address that frames to the host had when
/// they were captured, if there are such frames.
pub(super) fn nics(setup: &Setup, inputs: &[Input]) -> BTreeMap<String, LinkDevice> {
    let Some(underlay) = &setup.underlay else {
        return BTreeMap::new();
    };
    let links = underlay.links.iter().enumerate();
    let nics = links.map(|(index, link)| {
        let [high, low] = u16::try_from(index).unwrap_or(0).to_be_bytes();
        let [a, b, c, d, ..] = LINK;
        let place = Place::Rx(link.name.clone());
        let mut here = inputs.iter().filter(|input| input.place == place);
        let recorded = here.find_map(|input| to_host(&input.bytes, &underlay.address.octets()));
        let nic = LinkDevice {
            mac: MacAddr(recorded.unwrap_or([a, b, c, d, high, low])),
            mtu: link.mtu,
        };
        (link.name.clone(), nic)
    });
    nics.collect()
}

fn to_host(bytes: &[u8], address: &[u8; 16]) -> Option<[u8; 6]> {
    let to_us = bytes.get(12..14) == Some(&[0x86, 0xdd]) && bytes.get(38..54) == Some(address);
    let mac = *bytes.first_chunk::<6>()?;
    (to_us && mac[0] & 1 == 0).then_some(mac)
}

/// A guest's frame without its transport checksum, if it has one and it is right.
pub(super) fn unsummed(bytes: &[u8]) -> Option<Vec<u8>> {
    let packet = packet::parse(bytes, bytes.len(), Direction::Out).ok()?;
    let unfinished = Unfinished::read(bytes, bytes.len(), 0)?;
    let mut frame = bytes.to_vec();
    let (headers, rest) = frame.split_at_mut(unfinished.headers());
    let payload = rest.get(..unfinished.payload())?;
    unfinished.finish(headers, Pieces::default().bytes(payload));
    let is_right = frame == bytes;
    let at = packet.transport
        + if packet.tuple.proto == Proto::UDP {
            6
        } else {
            16
        };
    frame.get_mut(at..at + 2)?.fill(0x5a);
    is_right.then_some(frame)
}
