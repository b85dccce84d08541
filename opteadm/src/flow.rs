//! `dump-uft`, `clear-uft`, `dump-tcp-flows`.

use crate::cell::Cell;
use crate::failure::Failure;
use crate::layer::{local, remote};
use crate::listing::{Column, PortFormat, print_pages};
use crate::session::Session;
use clap::Args;
use opte_core::api::dump::{TcpEntry, UftAction, UftEntry};
use opte_core::api::{Command, Name, Response};

/// `dump-uft`.
#[derive(Args, Debug)]
pub(crate) struct DumpUft {
    #[command(flatten)]
    format: PortFormat,
}

impl DumpUft {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let (port, format) = self.format.resolve()?;
        let request = |cursor| Command::DumpUft(port, cursor);
        print_pages(session, &format, UFT, request, |response| match response {
            Response::Uft(page) => Some(page),
            _ => None,
        })
    }
}

/// Where packets go, in one word for people and for programs.
fn action(action: &UftAction) -> String {
    match action {
        UftAction::Deliver => "deliver".into(),
        UftAction::Local(port) => format!("local={port}"),
        UftAction::Encapsulate {
            sled,
            vni,
            mac,
            source_port,
        } => format!("sled={sled},vni={vni},mac={mac},port={source_port}"),
    }
}

const UFT: &[Column<UftEntry>] = &[
    Column::new("dir", |e| Cell::text(e.dir)),
    Column::new("proto", |e| Cell::text(e.before.proto)),
    Column::new("local", |e| Cell::Text(local(&e.before))),
    Column::new("remote", |e| Cell::Text(remote(&e.before))),
    Column::extra("local_after", |e| Cell::Text(local(&e.after))),
    Column::extra("remote_after", |e| Cell::Text(remote(&e.after))),
    // What translation makes of the guest's end, where it changes it.
    Column::new("becomes", |e| {
        Cell::maybe((e.before != e.after).then(|| local(&e.after)))
    }),
    Column::new("packets", |e| Cell::Count(e.packets)),
    Column::new("bytes", |e| Cell::Bytes(e.bytes)),
    Column::new("idle", |e| Cell::Millis(e.idle_ms)),
    Column::new("current", |e| {
        Cell::text(if e.current { "yes" } else { "no" })
    }),
    Column::new("action", |e| Cell::Text(action(&e.action))),
];

/// `clear-uft`.
#[derive(Args, Debug)]
pub(crate) struct ClearUft {
    /// The port
    #[arg(short, long)]
    port: Name,
}

impl ClearUft {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        session.perform(Command::ClearUft(self.port))
    }
}

/// `dump-tcp-flows`.
#[derive(Args, Debug)]
pub(crate) struct DumpTcp {
    #[command(flatten)]
    format: PortFormat,
}

impl DumpTcp {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let (port, format) = self.format.resolve()?;
        let request = |cursor| Command::DumpTcpFlows(port, cursor);
        print_pages(session, &format, TCP, request, |response| match response {
            Response::Tcp(page) => Some(page),
            _ => None,
        })
    }
}

const TCP: &[Column<TcpEntry>] = &[
    Column::new("proto", |e| Cell::text(e.key.proto)),
    Column::new("local", |e| Cell::Text(local(&e.key))),
    Column::new("remote", |e| Cell::Text(remote(&e.key))),
    Column::new("opened", |e| Cell::text(e.opened)),
    Column::new("state", |e| Cell::text(&e.state)),
    Column::new("packets_out", |e| Cell::Count(e.packets_out)),
    Column::new("packets_in", |e| Cell::Count(e.packets_in)),
    Column::new("bytes_out", |e| Cell::Bytes(e.bytes_out)),
    Column::new("bytes_in", |e| Cell::Bytes(e.bytes_in)),
    Column::new("idle", |e| Cell::Millis(e.idle_ms)),
    Column::new("expires", |e| Cell::Millis(e.expires_ms)),
];
