//! A TCP server and client between namespaces.
//!
//! The client sends, closes its side, and reads one line: as whom the server
//! saw it, and how many bytes arrived. So one exchange proves both directions,
//! shows address translation and measures throughput.

use super::Namespace;
use anyhow::{Context, Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long either side waits for the other in mid-connection.
const IDLE_LIMIT: Duration = Duration::from_secs(30);
/// How often the server looks whether it shall end, in milliseconds.
const STOP_POLL_MS: u16 = 50;
/// What every client begins with.
const HELLO: &[u8] = b"hello\n";
/// Bytes of one write.
const CHUNK_LEN: usize = 128 << 10;

/// A server that counts what it is sent, until it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens on `address` in `namespace`.
    ///
    /// # Errors
    ///
    /// When the address isn't there or the port is taken.
    pub(crate) fn start(namespace: &Namespace, address: SocketAddr) -> Result<Self> {
        let listener = namespace.run(|| {
            TcpListener::bind(address).with_context(|| format!("can't listen on {address}"))
        })?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || serve(&listener, &stopped));
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A server that panicked has served nobody, which its client told.
            let _ = thread.join();
        }
    }
}

/// What the server told at the end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exchange {
    /// The client's address as the server saw it.
    pub(crate) seen_as: SocketAddr,
    /// Bytes that the server received.
    pub(crate) bytes: u64,
    /// How long it took from the first write to the server's answer.
    pub(crate) time: Duration,
}

impl Exchange {
    /// Gigabits of payload per second.
    #[must_use]
    pub(crate) fn gbps(&self) -> f64 {
        // Both are far below the 2^53 from which on f64 would round.
        #[expect(clippy::cast_precision_loss, reason = "a measured figure")]
        let bits = (self.bytes * 8) as f64;
        bits / self.time.as_secs_f64() / 1e9
    }
}

/// A connection from a namespace.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
}

impl Connection {
    /// Connects from `namespace` to `address` and says hello.
    ///
    /// # Errors
    ///
    /// When the connection isn't made within `limit`.
    pub(crate) fn open(
        namespace: &Namespace,
        address: SocketAddr,
        limit: Duration,
    ) -> Result<Self> {
        let mut stream = namespace.run(|| {
            TcpStream::connect_timeout(&address, limit)
                .with_context(|| format!("no connection to {address}"))
        })?;
        stream.set_read_timeout(Some(IDLE_LIMIT))?;
        stream.set_write_timeout(Some(IDLE_LIMIT))?;
        stream.write_all(HELLO)?;
        Ok(Self { stream })
    }

    /// Sends as fast as it goes for as long as `sending`, closes the
    /// connection and reads what the server tells.
    ///
    /// # Errors
    ///
    /// When the connection breaks or stalls.
    pub(crate) fn finish(mut self, sending: Duration) -> Result<Exchange> {
        let chunk = vec![b'x'; CHUNK_LEN];
        let start = Instant::now();
        while start.elapsed() < sending {
            self.stream.write_all(&chunk)?;
        }
        self.stream.shutdown(Shutdown::Write)?;
        let mut answer = String::new();
        self.stream
            .read_to_string(&mut answer)
            .context("the server doesn't answer")?;
        let time = start.elapsed();
        let Some((seen_as, bytes)) = answer.trim_end().split_once(' ') else {
            bail!("the server answers with `{answer}`");
        };
        Ok(Exchange {
            seen_as: seen_as.parse()?,
            bytes: bytes.parse()?,
            time,
        })
    }
}

/// Connects, says hello and no more.
///
/// # Errors
///
/// When the connection isn't made within `limit` or breaks.
pub(crate) fn exchange(
    namespace: &Namespace,
    address: SocketAddr,
    limit: Duration,
) -> Result<Exchange> {
    Connection::open(namespace, address, limit)?.finish(Duration::ZERO)
}

fn serve(listener: &TcpListener, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let mut ready = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
        if !matches!(poll(&mut ready, PollTimeout::from(STOP_POLL_MS)), Ok(1)) {
            continue;
        }
        let Ok((stream, peer)) = listener.accept() else {
            continue;
        };
        // The client sees a broken connection and reports it.
        let _ = count(stream, peer);
    }
}

fn count(mut stream: TcpStream, peer: SocketAddr) -> std::io::Result<()> {
    stream.set_read_timeout(Some(IDLE_LIMIT))?;
    stream.set_write_timeout(Some(IDLE_LIMIT))?;
    let mut chunk = vec![0; CHUNK_LEN];
    let mut bytes = 0_u64;
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(len) => bytes += u64::try_from(len).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    writeln!(stream, "{peer} {bytes}")
}
