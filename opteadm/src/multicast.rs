//! `set-m2p`, `clear-m2p`, `dump-m2p`, `set-mcast-fwd`, `clear-mcast-fwd`,
//! `dump-mcast-fwd`, `mcast-subscribe`, `mcast-unsubscribe`,
//! `mcast-unsubscribe-all`, `dump-mcast-subs`, `set-mcast-listen`,
//! `set-mcast-vni`.

use crate::cell::Cell;
use crate::failure::Failure;
use crate::listing::{Column, PlainFormat, print_pages};
use crate::session::Session;
use clap::{Args, ValueEnum};
use opte_core::api::{
    Command, M2p, McastForward, McastHop, McastOrigin, McastSub, Name, Response, SourceFilter,
};
use opte_core::wire::Vni;
use std::net::{IpAddr, Ipv6Addr};

/// `set-m2p`.
#[derive(Args, Debug)]
pub(crate) struct SetM2p {
    /// The group that guests send to
    group: IpAddr,
    /// Its underlay group, in ff04::/16
    underlay: Ipv6Addr,
    /// The VPC whose own the group is
    #[arg(long)]
    vni: Option<Vni>,
}

impl SetM2p {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let Self {
            group,
            underlay,
            vni,
        } = self;
        session.perform(Command::SetM2p(vec![M2p {
            group,
            underlay,
            vni,
        }]))
    }
}

/// `clear-m2p`.
#[derive(Args, Debug)]
pub(crate) struct ClearM2p {
    /// The group that guests send to
    group: IpAddr,
    /// The VPC whose own the group is
    #[arg(long)]
    vni: Option<Vni>,
}

impl ClearM2p {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        session.perform(Command::ClearM2p(self.vni, self.group))
    }
}

/// `dump-m2p`.
#[derive(Args, Debug)]
pub(crate) struct DumpM2p {
    #[command(flatten)]
    format: PlainFormat,
}

impl DumpM2p {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let format = self.format.resolve();
        print_pages(
            session,
            &format,
            M2P,
            Command::DumpM2p,
            |response| match response {
                Response::M2p(page) => Some(page),
                _ => None,
            },
        )
    }
}

const M2P: &[Column<M2p>] = &[
    Column::new("group", |m| Cell::text(m.group)),
    Column::new("underlay", |m| Cell::text(m.underlay)),
    Column::new("vni", |m| Cell::maybe(m.vni)),
];

/// `set-mcast-fwd`.
#[derive(Args, Debug)]
pub(crate) struct SetForward {
    /// The underlay group
    underlay: Ipv6Addr,
    /// Next hops, ADDRESS or ADDRESS,MODE
    #[arg(required = true)]
    hops: Vec<McastHop>,
}

impl SetForward {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        session.perform(Command::SetMcastFwd(self.underlay, self.hops))
    }
}

/// `clear-mcast-fwd`.
#[derive(Args, Debug)]
pub(crate) struct ClearForward {
    /// The underlay group
    underlay: Ipv6Addr,
    /// Addresses of the next hops to remove; all without any
    addresses: Vec<Ipv6Addr>,
}

impl ClearForward {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        session.perform(Command::ClearMcastFwd(self.underlay, self.addresses))
    }
}

/// `dump-mcast-fwd`.
#[derive(Args, Debug)]
pub(crate) struct DumpForward {
    #[command(flatten)]
    format: PlainFormat,
}

impl DumpForward {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let format = self.format.resolve();
        print_pages(
            session,
            &format,
            FORWARD,
            Command::DumpMcastFwd,
            |response| match response {
                Response::McastFwd(page) => Some(page),
                _ => None,
            },
        )
    }
}

const FORWARD: &[Column<McastForward>] = &[
    Column::new("underlay", |f| Cell::text(f.underlay)),
    // Blanks between them, because a next hop has a comma itself.
    Column::new("hops", |f| {
        let words: Vec<String> = f.hops.iter().map(ToString::to_string).collect();
        Cell::Text(words.join(" "))
    }),
];

/// `mcast-subscribe`.
#[derive(Args, Debug)]
pub(crate) struct Subscribe {
    /// The port
    #[arg(short, long)]
    port: Name,
    /// The group
    group: IpAddr,
    /// Sources: any, include=ADDRESS,.. or exclude=ADDRESS,..
    #[arg(default_value_t = SourceFilter::ANY)]
    filter: SourceFilter,
}

impl Subscribe {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        session.perform(Command::McastSubscribe(self.port, self.group, self.filter))
    }
}

/// `mcast-unsubscribe`.
#[derive(Args, Debug)]
pub(crate) struct Unsubscribe {
    /// The port
    #[arg(short, long)]
    port: Name,
    /// The group
    group: IpAddr,
}

impl Unsubscribe {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        session.perform(Command::McastUnsubscribe(self.port, self.group))
    }
}

/// `mcast-unsubscribe-all`.
#[derive(Args, Debug)]
#[group(required = true, multiple = true)]
pub(crate) struct UnsubscribeAll {
    /// The port; every port without one
    #[arg(short, long)]
    port: Option<Name>,
    /// The group; every group without one
    group: Option<IpAddr>,
}

impl UnsubscribeAll {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        session.perform(Command::McastUnsubscribeAll(self.port, self.group))
    }
}

/// `dump-mcast-subs`.
#[derive(Args, Debug)]
pub(crate) struct DumpSubscriptions {
    #[command(flatten)]
    format: PlainFormat,
}

impl DumpSubscriptions {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let format = self.format.resolve();
        print_pages(
            session,
            &format,
            SUBSCRIPTIONS,
            Command::DumpMcastSubs,
            |response| match response {
                Response::McastSubs(page) => Some(page),
                _ => None,
            },
        )
    }
}

const SUBSCRIPTIONS: &[Column<McastSub>] = &[
    Column::new("group", |s| Cell::text(s.group)),
    Column::new("port", |s| Cell::text(s.port)),
    Column::new("filter", |s| Cell::text(&s.filter)),
    Column::new("by", |s| {
        Cell::text(match s.by {
            McastOrigin::Operator => "operator",
            McastOrigin::Guest => "guest",
        })
    }),
    Column::new("expires", |s| s.expires_ms.map_or(Cell::None, Cell::Millis)),
];

/// `set-mcast-listen`.
#[derive(Args, Debug)]
pub(crate) struct Listen {
    /// The port
    #[arg(short, long)]
    port: Name,
    /// Whether its guest may join groups
    #[arg(value_enum)]
    state: State,
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum State {
    /// It may
    On,
    /// It may not, and leaves the groups that it has joined
    Off,
}

impl Listen {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        session.perform(Command::SetMcastListen(self.port, self.state == State::On))
    }
}

/// `set-mcast-vni`.
#[derive(Args, Debug)]
pub(crate) struct SetVni {
    /// The VNI of the fleet's groups
    vni: Vni,
}

impl SetVni {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        session.perform(Command::SetMcastVni(self.vni))
    }
}
