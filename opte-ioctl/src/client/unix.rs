//! The way to a driver in user space: a Unix socket.

use super::{Client, ClientError};
use crate::frame::{self, FrameReader};
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;
use opte_core::limits::RESPONSE_BYTES_MAX;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Instant;

/// Where `xded` listens unless told otherwise.
pub const SOCKET_PATH: &str = "/run/xded.sock";

/// How long a driver may take to answer.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes that are read at once.
const PIECE: usize = 64 << 10;

/// A connection to a driver's socket. Requests go one after the other.
#[derive(Debug)]
pub struct UnixClient {
    stream: UnixStream,
    path: String,
    timeout: Duration,
    /// Whether an exchange broke off: what comes next on the stream may belong
    /// to it, so it is not used any more.
    broken: bool,
}

impl UnixClient {
    /// Connects to the driver that listens on `path`; that, and each request,
    /// may take `timeout`, which is not zero.
    ///
    /// # Errors
    ///
    /// When nobody listens there, or not to the caller.
    pub fn connect(path: &Path, timeout: Duration) -> Result<Self, ClientError> {
        let name: String = path.to_string_lossy().into();
        match connect_within(path.into(), timeout) {
            Ok(stream) => Ok(Self {
                stream,
                path: name,
                timeout,
                broken: false,
            }),
            Err(source) => Err(ClientError::from_io(&name, timeout, source)),
        }
    }

    /// Sends a frame; false when the driver hangs up meanwhile.
    fn send(&mut self, mut frame: &[u8], end: Instant) -> io::Result<bool> {
        while !frame.is_empty() {
            self.stream.set_write_timeout(Some(left(end)?))?;
            match self.stream.write(frame) {
                Ok(len) => frame = frame.get(len..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if hung_up(error.kind()) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn receive(&mut self, end: Instant) -> io::Result<Vec<u8>> {
        let mut reader = FrameReader::new(RESPONSE_BYTES_MAX);
        let mut piece = vec![0; PIECE];
        loop {
            self.stream.set_read_timeout(Some(left(end)?))?;
            let len = match self.stream.read(&mut piece) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let mut input = piece.get(..len).unwrap_or_default();
            match reader.next_frame(&mut input) {
                Ok(Some(_)) if !input.is_empty() => {
                    return Err(io::Error::other("there are bytes after the answer"));
                }
                Ok(Some(envelope)) => return Ok(envelope),
                Ok(None) => {}
                Err(error) => return Err(io::Error::other(error)),
            }
        }
    }
}

/// Connects to a socket. Where many wait for a listener the kernel lets us
/// wait too, without an end; then a thread is left to it.
fn connect_within(path: PathBuf, timeout: Duration) -> io::Result<UnixStream> {
    let (done, wait) = mpsc::channel();
    std::thread::Builder::new().spawn(move || done.send(UnixStream::connect(path)))?;
    let late = |_| io::Error::from(io::ErrorKind::TimedOut);
    wait.recv_timeout(timeout).map_err(late)?
}

/// Whether a driver hangs up on who sends.
const fn hung_up(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
    )
}

/// The time that is left until `end`.
fn left(end: Instant) -> io::Result<Duration> {
    let left = end.saturating_duration_since(Instant::now());
    match left.is_zero() {
        true => Err(io::ErrorKind::TimedOut.into()),
        false => Ok(left),
    }
}

impl Client for UnixClient {
    fn exchange(&mut self, request: &[u8]) -> Result<Vec<u8>, ClientError> {
        if self.broken {
            let path = self.path.clone();
            return Err(ClientError::Closed { path });
        }
        let frame = frame::emit(request).map_err(|error| ClientError::RequestTooLarge {
            len: error.len,
            max: opte_core::limits::REQUEST_BYTES_MAX,
        })?;
        self.broken = true;
        let (path, timeout) = (self.path.clone(), self.timeout);
        let fail = |source| ClientError::from_io(&path, timeout, source);
        // A driver that refuses a request early may hang up while the rest of
        // it is being sent: its answer is there to be read all the same.
        let end = Instant::now().checked_add(timeout);
        let end = end.ok_or_else(|| fail(io::ErrorKind::InvalidInput.into()))?;
        let whole = self.send(&frame, end).map_err(fail)?;
        let response = self.receive(end).map_err(fail)?;
        self.broken = !whole;
        Ok(response)
    }
}
