//! The way to a driver in user space: a Unix socket.

use super::{Client, ClientError};
use crate::frame::{self, FrameReader};
use crate::patient::Patient;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;
use opte_core::limits::RESPONSE_BYTES_MAX;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

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
}

/// Reads one answer.
fn receive(stream: &mut Patient<'_>) -> io::Result<Vec<u8>> {
    let mut reader = FrameReader::new(RESPONSE_BYTES_MAX);
    let mut piece = vec![0; PIECE];
    loop {
        let len = match stream.read(&mut piece)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            len => len,
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
        let mut stream = Patient::new(&self.stream, timeout);
        let whole = match stream.write_all(&frame) {
            Ok(()) => true,
            Err(error) if hung_up(error.kind()) => false,
            Err(error) => return Err(fail(error)),
        };
        let response = receive(&mut stream).map_err(fail)?;
        self.broken = !whole;
        Ok(response)
    }
}
