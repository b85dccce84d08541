//! `set-v2p`, `clear-v2p`, `dump-v2p`, `set-v2b`, `clear-v2b`, `dump-v2b`.

use crate::cell::Cell;
use crate::failure::{Failure, at_most};
use crate::listing::{Column, PlainFormat, print_pages};
use crate::session::Session;
use clap::Args;
use opte_core::api::{Command, Prefix, Response, TunnelEndpoint, V2b, V2p};
use opte_core::limits::V2B_ENDPOINTS_MAX;
use opte_core::wire::{MacAddr, Vni};
use std::net::{IpAddr, Ipv6Addr};

/// `set-v2p`.
#[derive(Args, Debug)]
pub(crate) struct SetV2p {
    /// The VPC
    vni: Vni,
    /// The guest's address
    address: IpAddr,
    /// The guest's MAC address
    mac: MacAddr,
    /// Tunnel address of the guest's host
    sled: Ipv6Addr,
}

impl SetV2p {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let Self {
            vni,
            address,
            mac,
            sled,
        } = self;
        session.perform(Command::SetV2p(vec![V2p {
            vni,
            address,
            mac,
            sled,
        }]))
    }
}

/// `clear-v2p`.
#[derive(Args, Debug)]
pub(crate) struct ClearV2p {
    /// The VPC
    vni: Vni,
    /// The guest's address
    address: IpAddr,
}

impl ClearV2p {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        session.perform(Command::ClearV2p(self.vni, self.address))
    }
}

/// `dump-v2p`.
#[derive(Args, Debug)]
pub(crate) struct DumpV2p {
    #[command(flatten)]
    format: PlainFormat,
}

impl DumpV2p {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let format = self.format.resolve();
        print_pages(
            session,
            &format,
            V2P,
            Command::DumpV2p,
            |response| match response {
                Response::V2p(page) => Some(page),
                _ => None,
            },
        )
    }
}

const V2P: &[Column<V2p>] = &[
    Column::new("vni", |m| Cell::count(m.vni.get())),
    Column::new("address", |m| Cell::text(m.address)),
    Column::new("mac", |m| Cell::text(m.mac)),
    Column::new("sled", |m| Cell::text(m.sled)),
];

/// `set-v2b`.
#[derive(Args, Debug)]
pub(crate) struct SetV2b {
    /// The prefix outside
    prefix: Prefix,
    /// Tunnel end points, ADDRESS or ADDRESS,VNI
    #[arg(required = true)]
    endpoints: Vec<TunnelEndpoint>,
}

impl SetV2b {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        at_most(V2B_ENDPOINTS_MAX, self.endpoints.len(), "end points")?;
        session.perform(Command::SetV2b(self.prefix, self.endpoints))
    }
}

/// `clear-v2b`.
#[derive(Args, Debug)]
pub(crate) struct ClearV2b {
    /// The prefix outside
    prefix: Prefix,
    /// Tunnel end points to remove; all without any
    endpoints: Vec<TunnelEndpoint>,
}

impl ClearV2b {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        at_most(V2B_ENDPOINTS_MAX, self.endpoints.len(), "end points")?;
        session.perform(Command::ClearV2b(self.prefix, self.endpoints))
    }
}

/// `dump-v2b`.
#[derive(Args, Debug)]
pub(crate) struct DumpV2b {
    #[command(flatten)]
    format: PlainFormat,
}

impl DumpV2b {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let format = self.format.resolve();
        print_pages(
            session,
            &format,
            V2B,
            Command::DumpV2b,
            |response| match response {
                Response::V2b(page) => Some(page),
                _ => None,
            },
        )
    }
}

const V2B: &[Column<V2b>] = &[
    Column::new("prefix", |m| Cell::text(m.prefix)),
    // Blanks between them, because an end point has a comma itself.
    Column::new("endpoints", |m| {
        let words: Vec<String> = m.endpoints.iter().map(ToString::to_string).collect();
        Cell::Text(words.join(" "))
    }),
];
