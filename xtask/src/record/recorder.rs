//! Keeps what passes a device.

use crate::case::capture;
use crate::lab::Namespace;
use crate::lab::packet::PacketSocket;
use crate::script::{Frame, Place};
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Frames that one input may have.
const FRAMES_MAX: usize = 200;
/// Bytes of frames that one input may have, so that its file stays below the
/// limit for captures.
const BYTES_MAX: usize = 56 << 10;
/// Bytes of the largest frame.
const FRAME_LEN_MAX: usize = 65_536;
/// How often a recorder looks whether it shall end.
const STOP_POLL: Duration = Duration::from_millis(50);

/// A running recorder.
pub(super) struct Recorder {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Vec<Frame>>>,
}

impl Recorder {
    /// Records what enters a host by `place`, which is a device of `namespace`:
    /// what leaves a guest, or what comes in by a link (rule R1).
    pub(super) fn start(namespace: &Namespace, place: Place) -> Result<Self> {
        let socket = PacketSocket::open(namespace, Some(place.parts().1))?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let outgoing = matches!(place, Place::Tx(_));
            let mut buffer = vec![0; FRAME_LEN_MAX];
            let mut frames = Vec::new();
            loop {
                let stop = stopped.load(Ordering::Relaxed);
                let Some(received) = socket.receive(&mut buffer, STOP_POLL)? else {
                    if stop {
                        return Ok(frames);
                    }
                    continue;
                };
                if received.outgoing == outgoing {
                    frames.push(Frame {
                        time: received.time,
                        place: place.clone(),
                        bytes: buffer.get(..received.len).unwrap_or_default().to_vec(),
                    });
                }
            }
        });
        Ok(Self { stop, thread })
    }

    /// Ends it, after what waits was read.
    pub(super) fn finish(self) -> Result<Vec<Frame>> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.join() {
            Ok(frames) => frames,
            Err(_) => bail!("a recorder panicked"),
        }
    }
}

/// Writes frames into a case's folder, one file per place, and says what.
pub(super) fn write(mut frames: Vec<Frame>, case: &Path) -> Result<String> {
    frames.sort_by_key(|frame| frame.time);
    let all = frames.len();
    let first = frames.first().context("nothing was recorded")?.time;
    let mut sizes: BTreeMap<Place, (usize, usize)> = BTreeMap::new();
    let mut kept = Vec::new();
    for frame in frames {
        let (count, bytes) = sizes.entry(frame.place.clone()).or_default();
        *count += 1;
        *bytes += frame.bytes.len();
        if *count > FRAMES_MAX || *bytes > BYTES_MAX {
            // All inputs end here: half a conversation would be another one.
            break;
        }
        let time = frame.time.saturating_sub(first);
        kept.push(Frame { time, ..frame });
    }
    for entry in std::fs::read_dir(case)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "pcap") {
            std::fs::remove_file(path)?;
        }
    }
    capture::write_inputs(&kept, case)?;
    Ok(match kept.len() {
        kept if kept == all => format!("{all} frames"),
        kept => format!("the first {kept} of {all} frames"),
    })
}
