//! Records what crosses the underlay, as a pcapng file.

use super::Namespace;
use super::link::Links;
use super::packet::{PacketSocket, Received};
use anyhow::{Context, Result};
use pcap_file::DataLink;
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use std::borrow::Cow;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Bytes that a capture takes up at most; what comes after is only counted.
const BYTES_MAX: u64 = 64 << 20;
/// Bytes of the largest frame.
const FRAME_LEN_MAX: usize = 65_536;
/// Bytes of frames that may wait in the kernel.
const BUFFER_LEN: usize = 4 << 20;
/// How often the thread looks whether it shall end.
const STOP_POLL: Duration = Duration::from_millis(50);
/// How long frames that wait may take to be read at the end.
const DRAIN_LIMIT: Duration = Duration::from_millis(500);
/// Time stamps are in units of 10 to the minus this, of a second.
const TIME_DIGITS: u8 = 9;

/// What was recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Recorded {
    /// Frames in the file.
    pub(crate) frames: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// Frames that came when the file was full.
    pub(crate) left_out: u64,
}

/// A running capture.
#[derive(Debug)]
pub(crate) struct Capture {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Recorded>>>,
}

impl Capture {
    /// Records frames that come in by any of `devices` of `namespace`. On a
    /// switch's ports that is every frame once.
    ///
    /// # Errors
    ///
    /// When a device doesn't exist or the file can't be made.
    pub(crate) fn start(namespace: &Namespace, devices: &[&str], path: &Path) -> Result<Self> {
        let socket = PacketSocket::open(namespace, None)?;
        socket.set_buffer(BUFFER_LEN);
        let file = File::create(path).with_context(|| format!("can't make {}", path.display()))?;
        let mut writer = PcapNgWriter::new(BufWriter::new(file))?;
        let mut links = Links::open(namespace)?;
        let mut interfaces = Vec::new();
        for device in devices {
            interfaces.push(links.get(device)?.index);
            writer.write_pcapng_block(InterfaceDescriptionBlock {
                linktype: DataLink::ETHERNET,
                snaplen: 0,
                options: vec![
                    InterfaceDescriptionOption::IfName(Cow::Borrowed(device)),
                    InterfaceDescriptionOption::IfTsResol(TIME_DIGITS),
                ],
            })?;
        }
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let recorder = Recorder {
            socket,
            writer,
            interfaces,
            recorded: Recorded::default(),
        };
        let thread = thread::spawn(move || recorder.run(&stopped));
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }

    /// Ends the capture and completes the file.
    ///
    /// # Errors
    ///
    /// When recording failed, as on a full disk.
    pub(crate) fn finish(mut self) -> Result<Recorded> {
        self.join()
    }

    fn join(&mut self) -> Result<Recorded> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(recorded)) => recorded,
            Some(Err(_)) => Err(anyhow::anyhow!("the capture panicked")),
            None => Ok(Recorded::default()),
        }
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        // Dropped without `finish`, so another error is on its way up.
        let _ = self.join();
    }
}

struct Recorder {
    socket: PacketSocket,
    writer: PcapNgWriter<BufWriter<File>>,
    interfaces: Vec<u32>,
    recorded: Recorded,
}

impl Recorder {
    fn run(mut self, stop: &AtomicBool) -> Result<Recorded> {
        let mut buffer = vec![0; FRAME_LEN_MAX];
        let mut end = None;
        while end.is_none_or(|end| Instant::now() < end) {
            if end.is_none() && stop.load(Ordering::Relaxed) {
                // What waits in the kernel now was to be seen.
                end = Some(Instant::now() + DRAIN_LIMIT);
            }
            match self.socket.receive(&mut buffer, STOP_POLL)? {
                Some(received) => self.record(&buffer, received)?,
                None if end.is_some() => break,
                None => {}
            }
        }
        std::io::Write::flush(self.writer.get_mut())?;
        Ok(self.recorded)
    }

    fn record(&mut self, buffer: &[u8], received: Received) -> Result<()> {
        let interface = self.interfaces.iter().position(|i| *i == received.link);
        let (Some(interface), false) = (interface, received.outgoing) else {
            return Ok(());
        };
        let data = buffer.get(..received.len).unwrap_or(buffer);
        let len = u64::try_from(data.len())?;
        if self.recorded.bytes + len > BYTES_MAX {
            self.recorded.left_out += 1;
            return Ok(());
        }
        self.recorded.frames += 1;
        self.recorded.bytes += len;
        self.writer.write_pcapng_block(EnhancedPacketBlock {
            interface_id: u32::try_from(interface)?,
            timestamp: received.time,
            original_len: u32::try_from(data.len())?,
            data: Cow::Borrowed(data),
            options: Vec::new(),
        })?;
        Ok(())
    }
}
