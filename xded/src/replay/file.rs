//! Writes pcapng files that depend on nothing but the frames.

use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::blocks::section_header::SectionHeaderBlock;
use pcap_file::{DataLink, Endianness, PcapError, PcapResult};
use std::borrow::Cow;
use std::io::{self, Write};
use std::time::Duration;

/// A pcapng file with one interface. Little-endian on every machine, times in
/// nanoseconds, no options that name a system, a program or a time of writing.
pub(super) struct PcapngFile<W: Write> {
    writer: PcapNgWriter<W>,
    count: u64,
}

impl<W: Write> PcapngFile<W> {
    /// A file with the headers written; `interface` is the interface's name.
    pub(super) fn new(to: W, interface: &str) -> io::Result<Self> {
        let section = SectionHeaderBlock {
            endianness: Endianness::Little,
            ..SectionHeaderBlock::default()
        };
        let start = || -> PcapResult<_> {
            let mut writer = PcapNgWriter::with_section_header(to, section)?;
            writer.write_pcapng_block(InterfaceDescriptionBlock {
                linktype: DataLink::ETHERNET,
                snaplen: 0,
                options: vec![
                    InterfaceDescriptionOption::IfName(Cow::Borrowed(interface)),
                    InterfaceDescriptionOption::IfTsResol(9),
                ],
            })?;
            Ok(writer)
        };
        let writer = start().map_err(plain)?;
        Ok(Self { writer, count: 0 })
    }

    /// Appends a frame that was captured at `time_ns` (since 1970) and returns
    /// its index.
    pub(super) fn write(&mut self, time_ns: u64, frame: &[u8]) -> io::Result<u64> {
        let block = EnhancedPacketBlock {
            interface_id: 0,
            timestamp: Duration::from_nanos(time_ns),
            original_len: u32::try_from(frame.len()).unwrap_or(u32::MAX),
            data: Cow::Borrowed(frame),
            options: Vec::new(),
        };
        self.writer.write_pcapng_block(block).map_err(plain)?;
        let index = self.count;
        self.count = index.saturating_add(1);
        Ok(index)
    }

    /// What was written to.
    pub(super) fn into_inner(self) -> W {
        self.writer.into_inner()
    }
}

fn plain(error: PcapError) -> io::Error {
    match error {
        PcapError::IoError(error) => error,
        other => io::Error::other(other.to_string()),
    }
}
