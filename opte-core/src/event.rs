//! Every probe point of the engine, declared once.
//!
//! The engine tells its [`Observer`] what happens; shells make SDT and USDT
//! probes of it, tests and `xded replay` record it. Firing an event formats
//! nothing, allocates nothing and copies nothing: arguments are integers and
//! references to values that exist anyway.
//!
//! The observer is a type parameter, so an observer whose
//! [`Observer::enabled`] is `false` costs nothing at all, and one that tests a
//! flag costs a load and a branch.

use crate::api::{Name, PortId};
use crate::flow::Tuple;
use crate::wire::Vni;
use crate::{Direction, DropReason, LayerId};
use core::net::{IpAddr, Ipv6Addr};

macro_rules! events {
    ($($(#[$doc:meta])+ $variant:ident = $name:literal { $($(#[$fdoc:meta])+ $field:ident: $ty:ty,)* },)+) => {
        /// A probe point.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Probe { $($(#[$doc])+ $variant,)+ }

        impl Probe {
            /// Every probe point.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The probe's one spelling.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }

        /// What happened, with its arguments.
        #[derive(Clone, Copy, Debug)]
        pub enum Event<'a> {
            $($(#[$doc])+ $variant { $($(#[$fdoc])+ $field: $ty,)* },)+
        }

        impl Event<'_> {
            /// The probe point that fires this event.
            #[must_use]
            pub const fn probe(&self) -> Probe {
                match self { $(Self::$variant { .. } => Probe::$variant,)+ }
            }
        }
    };
}

events! {
    /// A frame came to a port.
    PortProcessEntry = "port-process-entry" {
        /// The port.
        port: PortId,
        /// Which way the frame goes.
        dir: Direction,
        /// Bytes of the frame.
        len: u32,
    },
    /// A port is done with a frame.
    PortProcessReturn = "port-process-return" {
        /// The port.
        port: PortId,
        /// Which way the frame goes.
        dir: Direction,
        /// The flow key as the frame came, if it has one.
        before: Option<&'a Tuple>,
        /// The flow key as the frame left, if it has one.
        after: Option<&'a Tuple>,
        /// How the decision was found.
        path: Path,
        /// Why the frame was dropped, if it was.
        drop: Option<DropReason>,
    },
    /// A frame could not be parsed.
    BadPacket = "bad-packet" {
        /// The port.
        port: PortId,
        /// Which way the frame goes.
        dir: Direction,
        /// What is wrong with it.
        reason: DropReason,
        /// Bytes of the frame.
        len: u32,
    },
    /// A frame was dropped.
    Drop = "drop" {
        /// The port, when it got that far.
        port: Option<PortId>,
        /// Which way the frame goes.
        dir: Direction,
        /// The layer that decided, when one did.
        layer: Option<LayerId>,
        /// The rule that decided, zero when none did.
        rule: u32,
        /// Why.
        reason: DropReason,
        /// The flow key, when the frame has one.
        key: Option<&'a Tuple>,
    },
    /// A layer starts to decide about a flow.
    LayerProcessEntry = "layer-process-entry" {
        /// The port.
        port: PortId,
        /// The layer.
        layer: LayerId,
        /// Direction in which the flow was opened.
        dir: Direction,
        /// The flow key.
        key: &'a Tuple,
    },
    /// A layer has decided about a flow.
    LayerProcessReturn = "layer-process-return" {
        /// The port.
        port: PortId,
        /// The layer.
        layer: LayerId,
        /// Direction in which the flow was opened.
        dir: Direction,
        /// The flow key after the layer.
        key: &'a Tuple,
        /// Why the flow was refused, if it was.
        drop: Option<DropReason>,
    },
    /// A rule matched and allows.
    RuleMatch = "rule-match" {
        /// The port.
        port: PortId,
        /// The layer.
        layer: LayerId,
        /// Direction in which the flow was opened.
        dir: Direction,
        /// The flow key.
        key: &'a Tuple,
        /// The rule's id.
        rule: u32,
    },
    /// A rule matched and denies.
    RuleDeny = "rule-deny" {
        /// The port.
        port: PortId,
        /// The layer.
        layer: LayerId,
        /// Direction in which the flow was opened.
        dir: Direction,
        /// The flow key.
        key: &'a Tuple,
        /// The rule's id.
        rule: u32,
    },
    /// No rule of a layer matched; the layer's default applies.
    RuleNoMatch = "rule-no-match" {
        /// The port.
        port: PortId,
        /// The layer.
        layer: LayerId,
        /// Direction in which the flow was opened.
        dir: Direction,
        /// The flow key.
        key: &'a Tuple,
    },
    /// A cached decision was used.
    UftHit = "uft-hit" {
        /// The port.
        port: PortId,
        /// Which way the frame goes.
        dir: Direction,
        /// The flow key.
        key: &'a Tuple,
    },
    /// A cached decision was thrown away because what it was made from changed.
    UftInvalidate = "uft-invalidate" {
        /// The port.
        port: PortId,
        /// Which way the frame goes.
        dir: Direction,
        /// The flow key.
        key: &'a Tuple,
        /// Which generation changed.
        cause: Stale,
    },
    /// A flow ended.
    FlowExpire = "flow-expire" {
        /// The port.
        port: PortId,
        /// The flow key inside of the port.
        key: &'a Tuple,
        /// Why it ended.
        why: FlowEnd,
        /// Milliseconds that the flow lived.
        lifetime_ms: u64,
        /// Packets from the guest and to the guest.
        packets: [u64; 2],
        /// Bytes from the guest and to the guest.
        bytes: [u64; 2],
    },
    /// A header transformation was compiled for a flow.
    HtRun = "ht-run" {
        /// The port.
        port: PortId,
        /// Direction of the transformation.
        dir: Direction,
        /// The flow key before.
        before: &'a Tuple,
        /// The flow key after.
        after: &'a Tuple,
    },
    /// A stateful action could not get its resource.
    GenDescFail = "gen-desc-fail" {
        /// The port.
        port: PortId,
        /// The layer.
        layer: LayerId,
        /// The flow key.
        key: &'a Tuple,
        /// What was missing.
        reason: DropReason,
    },
    /// A static action could not build its transformation.
    GenHtFail = "gen-ht-fail" {
        /// The port.
        port: PortId,
        /// The layer.
        layer: LayerId,
        /// The flow key.
        key: &'a Tuple,
        /// What was missing.
        reason: DropReason,
    },
    /// A frame goes to another guest of this host.
    GuestLoopback = "guest-loopback" {
        /// The port it came from.
        from: PortId,
        /// The port it goes to.
        to: PortId,
        /// The flow key at the sending port.
        key: &'a Tuple,
    },
    /// A TCP connection changed its state.
    TcpFlowState = "tcp-flow-state" {
        /// The port.
        port: PortId,
        /// Which way the segment goes.
        dir: Direction,
        /// The flow key.
        key: &'a Tuple,
        /// The state before, as `flow::tcp::State` numbers it.
        old: u8,
        /// The state after.
        new: u8,
    },
    /// An external port was taken.
    NatAlloc = "nat-alloc" {
        /// The port.
        port: PortId,
        /// The flow key inside of the port.
        key: &'a Tuple,
        /// The flow key outside.
        outside: &'a Tuple,
    },
    /// An external port was given back.
    NatFree = "nat-free" {
        /// The port.
        port: PortId,
        /// The flow key outside.
        outside: &'a Tuple,
    },
    /// No external port was free.
    NatExhausted = "nat-exhausted" {
        /// The port.
        port: PortId,
        /// The flow key inside of the port.
        key: &'a Tuple,
    },
    /// The underlay looked for the next hop to a tunnel end point.
    NextHop = "next-hop" {
        /// The tunnel end point.
        dst: Ipv6Addr,
        /// The neighbour that frames to it go through.
        gateway: Ipv6Addr,
        /// Number of the link.
        link: u16,
        /// Whether its MAC address is known.
        resolved: bool,
    },
    /// A command came in.
    IoctlEntry = "ioctl-entry" {
        /// The command's number.
        command: u16,
        /// Bytes of the request.
        len: u32,
    },
    /// A command is done.
    IoctlReturn = "ioctl-return" {
        /// The command's number.
        command: u16,
        /// Zero, or the error's code.
        error: u16,
    },
    /// A guest's frame for a group is about to be copied.
    McastTx = "mcast-tx" {
        /// The port.
        port: PortId,
        /// The network that the group is in.
        vni: Vni,
        /// The underlay group.
        underlay: Ipv6Addr,
        /// The flow key: the group is the remote end.
        key: &'a Tuple,
    },
    /// A frame for a group came from the underlay.
    McastRx = "mcast-rx" {
        /// Number of the link.
        link: u16,
        /// The network that the group is in.
        vni: Vni,
        /// The underlay group.
        underlay: Ipv6Addr,
        /// The flow key: the group is the local end.
        key: &'a Tuple,
    },
    /// A copy goes to a guest, if its port lets it pass.
    McastDeliver = "mcast-deliver" {
        /// The port.
        port: PortId,
        /// The network that the group is in.
        vni: Vni,
        /// The group.
        group: IpAddr,
        /// Who sent it.
        source: IpAddr,
    },
    /// A port joined a group, left it or hears other sources of it.
    McastMember = "mcast-member" {
        /// The port.
        port: PortId,
        /// The group.
        group: IpAddr,
        /// Whether it is a member now.
        joined: bool,
    },
    /// A group has another underlay group, or other next hops.
    McastMap = "mcast-map" {
        /// The network that the group is in.
        vni: Vni,
        /// The group.
        group: IpAddr,
        /// The underlay group; none when the mapping is gone.
        underlay: Option<Ipv6Addr>,
    },
    /// Configuration was committed.
    ConfigChange = "config-change" {
        /// The port, when it was a port's.
        port: Option<Name>,
        /// The host's configuration generation afterwards.
        generation: u64,
    },
    /// A port told the sender of a packet that it goes nowhere: an ICMP error
    /// or a TCP reset.
    Answer = "answer" {
        /// The port.
        port: PortId,
        /// Which way the packet went.
        dir: Direction,
        /// The packet's flow key.
        key: &'a Tuple,
        /// Bytes of the answer's IP packet.
        len: u32,
    },
    /// A guest has declined the address that DHCP gave it.
    DhcpDecline = "dhcp-decline" {
        /// The port.
        port: PortId,
        /// The address, which another host seems to use.
        address: IpAddr,
    },
}

/// How a decision about a frame was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Path {
    /// Before any look-up: the frame was malformed, spoofed or a hairpin.
    None = 0,
    /// In the flow table.
    Hit = 1,
    /// By the layers.
    Miss = 2,
}

impl Path {
    /// The path's one spelling.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Hit => "hit",
            Self::Miss => "miss",
        }
    }
}

/// Which generation made a cached decision stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Stale {
    /// The port's rules, routes, addresses or external addresses.
    Policy = 1,
    /// A virtual to physical or virtual to boundary mapping.
    Mapping = 2,
    /// The underlay's links or routes.
    Underlay = 3,
    /// Nothing changed: it was not used for too long, or was cleared.
    Idle = 4,
}

/// Why a flow ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FlowEnd {
    /// No packet for as long as its state allows.
    Idle = 1,
    /// Closed by its protocol.
    Closed = 2,
    /// Gave way to another flow in a full table.
    Evicted = 3,
    /// A changed policy no longer allows it.
    Revoked = 4,
    /// An operator cleared it, or its port was deleted.
    Cleared = 5,
}

/// Who watches the engine.
pub trait Observer {
    /// Whether anybody wants this event. Asked before the arguments are put
    /// together, so it must be cheap.
    fn enabled(&self, probe: Probe) -> bool;

    /// Something happened. A flow and its part of the table may be locked, so
    /// this is quick and calls nothing of the host's.
    fn event(&self, event: &Event<'_>);
}

/// Nobody watches.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unobserved;

impl Observer for Unobserved {
    #[inline(always)]
    fn enabled(&self, _: Probe) -> bool {
        false
    }

    #[inline(always)]
    fn event(&self, _: &Event<'_>) {}
}

/// Fires an event at an observer: `observe!(observer, UftHit { port, dir, key })`.
macro_rules! observe {
    ($observer:expr, $variant:ident { $($field:tt)* }) => {
        if $crate::event::Observer::enabled($observer, $crate::event::Probe::$variant) {
            $crate::event::Observer::event(
                $observer,
                &$crate::event::Event::$variant { $($field)* },
            );
        }
    };
}
pub(crate) use observe;
