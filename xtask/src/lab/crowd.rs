//! Many TCP connections at once, each of which has to end as it should.
//!
//! A client says how it wants to end and how much it sends; the server sends
//! all of it back.

use super::Namespace;
use anyhow::{Context, Result, bail, ensure};
use nix::libc::linger;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{Backlog, listen, setsockopt, sockopt};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

/// How long a connection may take to be made, and to wait for anything.
const LIMIT: Duration = Duration::from_secs(60);
/// How long the server waits for a reset.
const RESET_LIMIT: Duration = Duration::from_secs(1);
/// How often the server looks whether it shall end, in milliseconds.
const STOP_POLL_MS: u16 = 50;
/// Connections that may wait for the server.
const BACKLOG: i32 = 4_000;
/// Bytes that clients send, in turn: less than buffers hold, so that who
/// writes it all before it reads doesn't wait for ever.
const SIZES: [u32; 5] = [1, 10, 400, 3_000, 20_000];

/// Who ends a connection, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Ending {
    /// The client closes first.
    Client = 0,
    /// The server closes first.
    Server = 1,
    /// The client resets it when it has all.
    Reset = 2,
}

const ENDINGS: [Ending; 4] = [
    Ending::Client,
    Ending::Server,
    Ending::Client,
    Ending::Reset,
];

/// Makes `count` connections from `clients` to `address`, which is in
/// `servers`, so many at once. Says what happened to those that failed.
///
/// # Errors
///
/// When nobody can listen at `address`.
pub(crate) fn meet(
    clients: &Namespace,
    (servers, address): (&Namespace, SocketAddr),
    count: u32,
    at_once: u32,
) -> Result<Vec<String>> {
    let listener = servers
        .run(|| TcpListener::bind(address).with_context(|| format!("can't listen on {address}")))?;
    // Room for all who call at once: Linux resets those that it has none for.
    listen(&listener, Backlog::new(BACKLOG)?)?;
    let (stop, next) = (AtomicBool::new(false), AtomicU32::new(0));
    let failures = Mutex::new(Vec::new());
    let fail = |text: String| {
        if let Ok(mut failures) = failures.lock() {
            failures.push(text);
        }
    };
    let work = || loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= count {
            return;
        }
        if let Err(error) = call(address, number) {
            fail(format!("connection {number}: {error:#}"));
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| serve(&listener, &stop, &fail));
        let called = clients.run(|| {
            thread::scope(|scope| {
                for _ in 0..at_once {
                    scope.spawn(work);
                }
            });
            Ok(())
        });
        stop.store(true, Ordering::Relaxed);
        called
    })?;
    Ok(failures.into_inner().unwrap_or_default())
}

/// One connection of a client.
fn call(address: SocketAddr, number: u32) -> Result<()> {
    let of = |list: usize| usize::try_from(number).map(|number| number % list);
    let (ending, len) = (ENDINGS[of(ENDINGS.len())?], SIZES[of(SIZES.len())?]);
    let mut stream = TcpStream::connect_timeout(&address, LIMIT).context("connect")?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    let [.., low] = number.to_be_bytes();
    let sent: Vec<u8> = (0..len)
        .map(|at| low.wrapping_add(at.to_le_bytes()[0]))
        .collect();
    let [a, b, c, d] = len.to_be_bytes();
    stream
        .write_all(&[ending as u8, a, b, c, d])
        .context("write")?;
    stream.write_all(&sent).context("write")?;
    let mut back = vec![0; sent.len()];
    if ending == Ending::Client {
        stream.shutdown(Shutdown::Write).context("shutdown")?;
    }
    stream.read_exact(&mut back).context("read")?;
    ensure!(back == sent, "other bytes came back");
    if ending == Ending::Reset {
        let at_once = linger {
            l_onoff: 1,
            l_linger: 0,
        };
        return setsockopt(&stream, sockopt::Linger, &at_once).context("linger");
    }
    ensure!(
        stream.read(&mut [0]).context("end")? == 0,
        "more bytes came back"
    );
    Ok(())
}

fn serve(listener: &TcpListener, stop: &AtomicBool, fail: &(dyn Fn(String) + Sync)) {
    thread::scope(|scope| {
        while !stop.load(Ordering::Relaxed) {
            let mut ready = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
            if !matches!(poll(&mut ready, PollTimeout::from(STOP_POLL_MS)), Ok(1)) {
                continue;
            }
            if let Ok((stream, peer)) = listener.accept() {
                scope.spawn(move || {
                    if let Err(error) = answer(stream) {
                        fail(format!("connection of {peer}: {error:#}"));
                    }
                });
            }
        }
    });
}

/// One connection of the server.
fn answer(mut stream: TcpStream) -> Result<()> {
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    let mut head = [0; 5];
    stream.read_exact(&mut head).context("read")?;
    let [ending, len @ ..] = head;
    let mut body = vec![0; u32::from_be_bytes(len).try_into()?];
    stream.read_exact(&mut body).context("read")?;
    stream.write_all(&body).context("write")?;
    if ending == Ending::Server as u8 {
        stream.shutdown(Shutdown::Write).context("shutdown")?;
    }
    let resets = ending == Ending::Reset as u8;
    if resets {
        // A reset isn't sent again when it is lost.
        stream.set_read_timeout(Some(RESET_LIMIT))?;
    }
    match stream.read(&mut [0]) {
        Ok(0) if !resets => Ok(()),
        Ok(_) => bail!("no end, but more"),
        Err(error) => match error.kind() {
            ErrorKind::ConnectionReset | ErrorKind::WouldBlock if resets => Ok(()),
            _ => Err(error).context("end"),
        },
    }
}
