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
use std::path::Path;

/// Where `xded` listens unless told otherwise.
pub const SOCKET_PATH: &str = "/run/xded.sock";

/// How long a driver may stay silent.
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
    /// Connects to the driver that listens on `path`; it may stay silent for
    /// `timeout`, which is not zero.
    ///
    /// # Errors
    ///
    /// When nobody listens there, or not to the caller.
    pub fn connect(path: &Path, timeout: Duration) -> Result<Self, ClientError> {
        let name: String = path.to_string_lossy().into();
        let open = || {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(timeout))?;
            stream.set_write_timeout(Some(timeout))?;
            Ok(stream)
        };
        match open() {
            Ok(stream) => Ok(Self {
                stream,
                path: name,
                timeout,
                broken: false,
            }),
            Err(source) => Err(ClientError::from_io(&name, timeout, source)),
        }
    }

    fn receive(&mut self) -> io::Result<Vec<u8>> {
        let mut reader = FrameReader::new(RESPONSE_BYTES_MAX);
        let mut piece = vec![0; PIECE];
        loop {
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
        let hung_up = match self.stream.write_all(&frame) {
            Ok(()) => false,
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => true,
            Err(error) => return Err(fail(error)),
        };
        let response = self.receive().map_err(fail)?;
        self.broken = hung_up;
        Ok(response)
    }
}
