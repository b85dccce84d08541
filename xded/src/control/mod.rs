//! Control: commands from `opteadm` over a Unix socket.
//!
//! Purpose   carries out the same messages as the kernel driver's ioctls, and
//!           looks after devices that went away (`lost`).
//!
//! Flow      Listener -> one thread per client: request -> Control::command
//!           -> Host::command (with the Registry as its `Devices`) -> response
//!
//! Rules     C1  packets never wait for a client: no packet thread reads or
//!               writes this socket, and no lock is held while one does.
//!           C2  commands are carried out one at a time; between two, nothing
//!               is locked.
//!           C3  a client gets [`CLIENT_PATIENCE`] for each request, from the
//!               answer before it to its last byte, and for taking the answer;
//!               a request has at most `REQUEST_BYTES_MAX`, and there are at
//!               most [`CLIENTS_MAX`] clients.
//!
//! Failure   a refused command is an answer, and so is that there are too many
//!           clients. A client that breaks the framing or is too slow loses its
//!           connection, nobody else notices.

mod listener;
mod lost;

pub(crate) use listener::{Listener, PREDECESSOR_PATIENCE};
pub(crate) use lost::look_after;

use crate::clock::Clock;
use crate::device::{Registry, Source, View};
use crate::engine::{Engine, Lane, undelivered};
use crate::worker::Sender;
use anyhow::Context;
use lost::Unfinished;
use opte_core::api::{Command, ConfigError, ErrorCode, ObjectKind, PortId, Response};
use opte_core::limits::REQUEST_BYTES_MAX;
use opte_core::verdict::{LinkId, Output};
use opte_ioctl::frame::{self, FrameReader};
use opte_ioctl::patient::Patient;
use opte_ioctl::{Driver, serve_observed};
use parking_lot::Mutex;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// Who answers.
const DRIVER: Driver = Driver {
    name: env!("CARGO_PKG_NAME"),
    version: env!("CARGO_PKG_VERSION"),
};
/// Bytes taken from a client by one read.
const READ_BYTES: usize = 64 << 10;
/// Clients at one time.
const CLIENTS_MAX: usize = 16;
/// How long a client may take for a request, and for taking its answer.
const CLIENT_PATIENCE: Duration = Duration::from_secs(30);
/// Pause after a failed accept; out of descriptors, for example.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Carries out commands.
pub(crate) struct Control {
    engine: Arc<Engine>,
    clock: Clock,
    parts: Mutex<Parts>,
}

/// What one command at a time needs.
struct Parts {
    lane: Lane,
    registry: Registry,
    output: ControlOutput,
    /// The underlay that a link was taken out of and not put into again.
    unfinished: Option<Unfinished>,
}

impl Control {
    /// With the engine's view `lane`, the devices, and sight of them.
    pub(crate) fn new(
        engine: Arc<Engine>,
        lane: Lane,
        registry: Registry,
        view: View,
        clock: Clock,
    ) -> Self {
        let output = ControlOutput {
            view,
            sender: Sender::new(),
        };
        Self {
            engine,
            clock,
            parts: Mutex::new(Parts {
                lane,
                registry,
                output,
                unfinished: None,
            }),
        }
    }

    /// Carries out a command.
    pub(crate) fn command(&self, command: Command) -> Result<Response, ConfigError> {
        self.carry_out(&mut self.parts.lock(), command)
    }

    fn carry_out(&self, parts: &mut Parts, command: Command) -> Result<Response, ConfigError> {
        let now = self.clock.now();
        let result = self
            .engine
            .command(command, now, &mut parts.registry, &mut parts.output);
        for (lost, count) in parts.output.sender.take_failed() {
            undelivered(&self.engine, &mut parts.lane, lost, count);
        }
        self.engine.refresh(&mut parts.lane);
        result
    }
}

/// Sends what a command makes, also to devices that the command has opened.
struct ControlOutput {
    view: View,
    sender: Sender,
}

impl ControlOutput {
    fn send(&mut self, to: Source, frame: &[u8]) {
        self.view.refresh();
        self.sender.with(self.view.table()).send(to, frame, None);
    }
}

impl Output for ControlOutput {
    fn to_port(&mut self, port: PortId, frame: &[u8]) {
        self.send(Source::Port(port), frame);
    }

    fn to_link(&mut self, link: LinkId, frame: &[u8]) {
        self.send(Source::Link(link), frame);
    }
}

/// Takes clients on a thread of its own, until the process ends.
pub(crate) fn serve(listener: Arc<Listener>, control: Arc<Control>) -> anyhow::Result<()> {
    let clients = Arc::new(AtomicUsize::new(0));
    thread::Builder::new()
        .name("control".into())
        .spawn(move || {
            loop {
                match listener.socket().accept() {
                    Ok((stream, _)) => admit(stream, &control, &clients),
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a client");
                        thread::sleep(ACCEPT_PAUSE);
                    }
                }
            }
        })
        .context("cannot start a thread")?;
    Ok(())
}

/// Gives a client its thread, or turns it away.
fn admit(stream: UnixStream, control: &Arc<Control>, clients: &Arc<AtomicUsize>) {
    /// One of the places for clients, given back when it is dropped.
    struct Place(Arc<AtomicUsize>);
    impl Drop for Place {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
    }
    let taken = clients.fetch_add(1, Ordering::Relaxed);
    let place = Place(Arc::clone(clients));
    if taken >= CLIENTS_MAX {
        tracing::warn!(limit = CLIENTS_MAX, "too many clients; one was turned away");
        if let Err(error) = turn_away(&stream) {
            tracing::debug!(%error, "a client was turned away without a word");
        }
        return;
    }
    let control = Arc::clone(control);
    let started = thread::Builder::new().name("client".into()).spawn(move || {
        let _place = place;
        if let Err(error) = client(&stream, &control, CLIENT_PATIENCE) {
            tracing::debug!(%error, "a client is gone");
        }
    });
    if let Err(error) = started {
        tracing::warn!(%error, "cannot start a thread for a client");
    }
}

/// Says why there is no place for a client. Its connection is new, so there is
/// room for the answer and nobody is waited for.
fn turn_away(stream: &UnixStream) -> io::Result<()> {
    let full = ConfigError::new(ErrorCode::LimitReached, ObjectKind::Request, "")
        .hint(format_args!("too many clients, {CLIENTS_MAX} at most"));
    let refusal = frame::emit(&opte_ioctl::refuse(&full)).map_err(io::Error::other)?;
    Patient::new(stream, ACCEPT_PAUSE).write_all(&refusal)
}

/// Answers one client's requests, one after the other, until it hangs up.
fn client(stream: &UnixStream, control: &Control, patience: Duration) -> io::Result<()> {
    let mut stream = Patient::new(stream, patience);
    let mut reader = FrameReader::new(REQUEST_BYTES_MAX);
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let len = stream.read(&mut buffer)?;
        if len == 0 {
            return Ok(());
        }
        let mut input = buffer.get(..len).unwrap_or_default();
        loop {
            let response = match reader.next_frame(&mut input) {
                Ok(None) => break,
                Ok(Some(request)) => {
                    let command = |it| control.command(it);
                    serve_observed(&request, command, &DRIVER, control.engine.observer())
                }
                Err(too_large) => {
                    let refusal = frame::emit(&too_large.refusal()).map_err(io::Error::other)?;
                    stream.start();
                    stream.write_all(&refusal)?;
                    return Err(io::Error::other(too_large));
                }
            };
            let response = frame::emit(&response).map_err(io::Error::other)?;
            // However long the command took, the client gets its time.
            stream.start();
            stream.write_all(&response)?;
            stream.start();
        }
    }
}

#[cfg(test)]
mod tests;
