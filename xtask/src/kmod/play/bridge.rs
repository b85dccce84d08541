//! The way from the real `opteadm` to a sled: a socket as `xded` has, whose
//! requests become ioctls of the module.

use super::attached;
use anyhow::{Context as _, Result};
use opte_core::limits::REQUEST_BYTES_MAX;
use opte_ioctl::frame::{self, FrameReader};
use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use xde_loader::Sled;

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
pub(super) fn answer(sled: &Sled, stream: UnixStream) -> Result<()> {
    answer_noting(sled, stream, |_, _| ())
}

/// As [`answer`], and shows each request with its response.
pub(super) fn answer_noting(
    sled: &Sled,
    mut stream: UnixStream,
    mut note: impl FnMut(&[u8], &[u8]),
) -> Result<()> {
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
            note(&request, &response);
            stream.write_all(&frame::emit(&response)?)?;
        }
    }
}
