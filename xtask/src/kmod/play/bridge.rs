//! The way from the real `opteadm` to a sled: a socket as `xded` has, whose
//! requests become ioctls of the module.

use super::{Play, attached, end, frames, prepare, setup};
use crate::workspace;
use anyhow::{Context as _, Result, ensure};
use opte_core::limits::REQUEST_BYTES_MAX;
use opte_ioctl::frame::{self, FrameReader};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use xde_loader::{Context, Layout, Sled};

/// What this file plays.
pub(super) const PLAYS: &[Play] = &[("the real opteadm", real_tool)];

/// Loads the module and serves `opteadm` until the process is ended. Datalinks
/// and NICs of any name are there.
pub(in super::super) fn serve(module: &Path, socket: &Path) -> Result<()> {
    let sled = attached(&std::fs::read(module)?)?;
    sled.set_open_world(true);
    let listener = UnixListener::bind(socket).context("cannot listen")?;
    println!("the module answers on {}", socket.display());
    for stream in listener.incoming() {
        if let Err(error) = answer(&sled, stream?) {
            eprintln!("a client is gone: {error:#}");
        }
    }
    Ok(())
}

/// Answers one client until it hangs up.
pub(super) fn answer(sled: &Sled, mut stream: UnixStream) -> Result<()> {
    let mut reader = FrameReader::new(REQUEST_BYTES_MAX);
    let mut buffer = vec![0; 64 << 10];
    loop {
        let len = stream.read(&mut buffer)?;
        if len == 0 {
            return Ok(());
        }
        let mut input = buffer.get(..len).unwrap_or_default();
        while let Some(request) = reader.next_frame(&mut input)? {
            let response = sled.ioctl(&request)?;
            stream.write_all(&frame::emit(&response)?)?;
        }
    }
}

/// `opteadm` itself, with commands of every kind.
fn real_tool(module: &[u8]) -> Result<()> {
    let root = workspace::root();
    let program = workspace::program(&root, "opteadm")?;
    let sled = attached(module)?;
    let wanted = setup()?;
    prepare(&sled, &wanted);
    let socket = root.join("target/xde/opteadm.sock");
    let _ = std::fs::remove_file(&socket);
    let listener = UnixListener::bind(&socket)?;
    listener.set_nonblocking(true)?;
    let tool = Tool {
        program,
        socket,
        listener,
    };
    for turn in TURNS {
        if turn.arguments == ["dump-uft", "-p", "g1"] {
            a_packet(&sled)?;
        }
        tool.take(&root, &sled, turn)?;
    }
    std::fs::remove_file(&tool.socket)?;
    end(sled)
}

/// What `opteadm` is told, and words that it answers.
struct Turn {
    arguments: &'static [&'static str],
    success: bool,
    words: &'static str,
}

const fn turn(arguments: &'static [&'static str], success: bool, words: &'static str) -> Turn {
    Turn {
        arguments,
        success,
        words,
    }
}

const TURNS: &[Turn] = &[
    turn(&["version"], true, "xde"),
    turn(
        &["apply", "opte-core/tests/cases/same-host/setup.toml"],
        true,
        "+ port g1",
    ),
    turn(&["list-ports"], true, "10.0.0.2"),
    turn(&["list-layers", "-p", "g1"], true, "firewall"),
    turn(&["dump-layer", "-p", "g1", "firewall"], true, ""),
    turn(&["dump-v2p"], true, "A8:40:25:F0:00:01"),
    turn(&["dump-uft", "-p", "g1"], true, "10.0.0.2"),
    turn(&["stats"], true, "out_packets"),
    turn(&["delete-xde", "nosuch"], false, "does not exist"),
    turn(&["delete-xde", "g2"], true, ""),
    turn(&["list-ports", "--json"], true, "g1"),
];

/// A flow to look at.
fn a_packet(sled: &Sled) -> Result<()> {
    let frames = frames("0.0 tx g1 udp 10.0.0.1:1000 > 10.0.0.2:53 len 32")?;
    let packets: Vec<_> = frames
        .iter()
        .map(|f| (f.as_slice(), Layout::default()))
        .collect();
    sled.guest_sends("g1", &packets, Context::Packet)
}

/// The program and where it is told to go.
struct Tool {
    program: PathBuf,
    socket: PathBuf,
    listener: UnixListener,
}

impl Tool {
    fn take(&self, root: &Path, sled: &Sled, turn: &Turn) -> Result<()> {
        let mut running = Command::new(&self.program)
            .args(turn.arguments)
            .arg("--socket")
            .arg(&self.socket)
            .current_dir(root)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot run opteadm")?;
        // It connects, or ends without.
        while running.try_wait()?.is_none() {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false)?;
                    answer(sled, stream)?;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::yield_now(),
                Err(error) => return Err(error.into()),
            }
        }
        let done = running.wait_with_output()?;
        let (out, error) = (
            String::from_utf8_lossy(&done.stdout),
            String::from_utf8_lossy(&done.stderr),
        );
        let shown = turn.arguments.join(" ");
        ensure!(
            done.status.success() == turn.success,
            "opteadm {shown}: {out}{error}"
        );
        ensure!(
            out.contains(turn.words) || error.contains(turn.words),
            "opteadm {shown}: no `{}` in {out}{error}",
            turn.words
        );
        Ok(())
    }
}
