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

mod kind;
mod raw;
pub mod view;

use crate::api::Name;
use crate::flow::Tuple;
use crate::wire::Vni;
use crate::{Direction, DropReason, LayerId};
use core::ffi::CStr;
pub use kind::{FlowEnd, Path, Stale};
pub use raw::{ARGS_MAX, Arg, Raw};
pub use view::{Ending, PacketView, PortTag};

/// Hands the declaration of every probe to the macro `$consumer`.
///
/// A shell that makes probes of events is generated from it, as this module is.
/// An entry is `Variant = provider__name "probe-name" { fields }`; every probe
/// has two to six arguments, which are its fields.
#[macro_export]
macro_rules! each_probe {
    ($consumer:ident) => {
        $consumer! {
        /// A frame came to a port.
        PortProcessEntry = port__process__entry "port-process-entry" {
            /// The port.
            port: &'a PortTag,
            /// Which way the frame goes.
            dir: Direction,
            /// Bytes of the frame.
            len: u32,
        },
        /// A port is done with a frame.
        PortProcessReturn = port__process__return "port-process-return" {
            /// The port.
            port: &'a PortTag,
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
        BadPacket = bad__packet "bad-packet" {
            /// The port.
            port: &'a PortTag,
            /// Which way the frame goes.
            dir: Direction,
            /// The frame's bytes, from the Ethernet header on.
            frame: &'a [u8],
            /// Bytes that are there.
            len: u32,
            /// What is wrong with it.
            reason: DropReason,
        },
        /// A frame was dropped.
        Drop = drop "drop" {
            /// The port, when it got that far.
            port: Option<&'a PortTag>,
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
        LayerProcessEntry = layer__process__entry "layer-process-entry" {
            /// The port.
            port: &'a PortTag,
            /// The layer.
            layer: LayerId,
            /// Direction in which the flow was opened.
            dir: Direction,
            /// The flow key.
            key: &'a Tuple,
        },
        /// A layer has decided about a flow.
        LayerProcessReturn = layer__process__return "layer-process-return" {
            /// The port.
            port: &'a PortTag,
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
        RuleMatch = rule__match "rule-match" {
            /// The port.
            port: &'a PortTag,
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
        RuleDeny = rule__deny "rule-deny" {
            /// The port.
            port: &'a PortTag,
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
        RuleNoMatch = rule__no__match "rule-no-match" {
            /// The port.
            port: &'a PortTag,
            /// The layer.
            layer: LayerId,
            /// Direction in which the flow was opened.
            dir: Direction,
            /// The flow key.
            key: &'a Tuple,
        },
        /// A cached decision was used.
        UftHit = uft__hit "uft-hit" {
            /// The port.
            port: &'a PortTag,
            /// Which way the frame goes.
            dir: Direction,
            /// The flow key.
            key: &'a Tuple,
        },
        /// A cached decision was thrown away because what it was made from changed.
        UftInvalidate = uft__invalidate "uft-invalidate" {
            /// The port.
            port: &'a PortTag,
            /// Which way the frame goes.
            dir: Direction,
            /// The flow key.
            key: &'a Tuple,
            /// Which generation changed.
            cause: Stale,
        },
        /// A flow ended.
        FlowExpire = flow__expire "flow-expire" {
            /// The port.
            port: &'a PortTag,
            /// The flow key inside of the port.
            key: &'a Tuple,
            /// Why it ended.
            why: FlowEnd,
            /// How long it lived and what it carried.
            ending: &'a Ending,
        },
        /// A header transformation was compiled for a flow.
        HtRun = ht__run "ht-run" {
            /// The port.
            port: &'a PortTag,
            /// Direction of the transformation.
            dir: Direction,
            /// The flow key before.
            before: &'a Tuple,
            /// The flow key after.
            after: &'a Tuple,
        },
        /// A stateful action could not get its resource.
        GenDescFail = gen__desc__fail "gen-desc-fail" {
            /// The port.
            port: &'a PortTag,
            /// The layer.
            layer: LayerId,
            /// Direction in which the flow was opened.
            dir: Direction,
            /// The flow key.
            key: &'a Tuple,
            /// What was missing.
            reason: DropReason,
        },
        /// A static action could not build its transformation.
        GenHtFail = gen__ht__fail "gen-ht-fail" {
            /// The port.
            port: &'a PortTag,
            /// The layer.
            layer: LayerId,
            /// Direction in which the flow was opened.
            dir: Direction,
            /// The flow key.
            key: &'a Tuple,
            /// What was missing.
            reason: DropReason,
        },
        /// A frame goes to another guest of this host.
        GuestLoopback = guest__loopback "guest-loopback" {
            /// The port it came from.
            from: &'a PortTag,
            /// The port it goes to.
            to: &'a PortTag,
            /// The flow key at the sending port.
            key: &'a Tuple,
        },
        /// A TCP connection changed its state.
        TcpFlowState = tcp__flow__state "tcp-flow-state" {
            /// The port.
            port: &'a PortTag,
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
        NatAlloc = nat__alloc "nat-alloc" {
            /// The port.
            port: &'a PortTag,
            /// The flow key inside of the port.
            key: &'a Tuple,
            /// The flow key outside.
            outside: &'a Tuple,
        },
        /// An external port was given back.
        NatFree = nat__free "nat-free" {
            /// The port.
            port: &'a PortTag,
            /// The flow key outside.
            outside: &'a Tuple,
        },
        /// No external port was free.
        NatExhausted = nat__exhausted "nat-exhausted" {
            /// The port.
            port: &'a PortTag,
            /// The flow key inside of the port.
            key: &'a Tuple,
        },
        /// The underlay looked for the next hop to a tunnel end point.
        NextHop = next__hop "next-hop" {
            /// The tunnel end point.
            dst: [u8; 16],
            /// The neighbour that frames to it go through.
            gateway: [u8; 16],
            /// Number of the link.
            link: u16,
            /// Whether its MAC address is known.
            resolved: bool,
        },
        /// A command came in.
        IoctlEntry = ioctl__entry "ioctl-entry" {
            /// The command's number.
            command: u16,
            /// The command's name.
            name: &'a CStr,
            /// Bytes of the request.
            len: u32,
            /// The newest version of the contract that the client speaks.
            version: u16,
        },
        /// A command is done, by the same thread.
        IoctlReturn = ioctl__return "ioctl-return" {
            /// The command's number.
            command: u16,
            /// The command's name.
            name: &'a CStr,
            /// Zero, or the error's code.
            error: u16,
            /// Bytes of the response.
            len: u32,
        },
        /// A change of the configuration was committed or refused.
        ConfigChange = config__change "config-change" {
            /// The port's name, when it was about a port.
            port: Option<Name>,
            /// The host's configuration generation afterwards.
            generation: u64,
            /// Zero, or the error's code when the change was refused.
            error: u16,
        },
        /// A port told the sender of a packet that it goes nowhere: an ICMP error
        /// or a TCP reset.
        Answer = answer "answer" {
            /// The port.
            port: &'a PortTag,
            /// Which way the packet went.
            dir: Direction,
            /// The packet's flow key.
            key: &'a Tuple,
            /// Bytes of the answer's IP packet.
            len: u32,
        },
        /// A guest has declined the address that DHCP gave it.
        DhcpDecline = dhcp__decline "dhcp-decline" {
            /// The port.
            port: &'a PortTag,
            /// The address, which another host seems to use, an IPv4 address in its
            /// IPv4-mapped form.
            address: [u8; 16],
        },
        /// A cached decision about a TCP connection was used for the last time: the connection is over.
        UftTcpClosed = uft__tcp__closed "uft-tcp-closed" {
            /// The port.
            port: &'a PortTag,
            /// Which way the segment went that ended it.
            dir: Direction,
            /// The flow key.
            key: &'a Tuple,
        },
        /// A segment of a TCP connection is refused.
        TcpFlowDrop = tcp__flow__drop "tcp-flow-drop" {
            /// The port.
            port: &'a PortTag,
            /// Which way the segment goes.
            dir: Direction,
            /// The flow key.
            key: &'a Tuple,
            /// The connection's state, as `flow::tcp::State` numbers it.
            state: u8,
            /// The segment's flags, FIN in bit 0 to CWR in bit 7.
            flags: u8,
            /// Why.
            reason: DropReason,
        },
        /// A TCP segment that can't open a connection belongs to none.
        TcpErr = tcp__err "tcp-err" {
            /// The port.
            port: &'a PortTag,
            /// Which way the segment goes.
            dir: Direction,
            /// The flow key.
            key: &'a Tuple,
            /// The segment's flags, FIN in bit 0 to CWR in bit 7.
            flags: u8,
            /// Why it can't.
            reason: DropReason,
        },
        /// The guest sends a frame.
        GldSend = gld__send "gld-send" {
            /// The port.
            port: &'a PortTag,
            /// The packet as the guest sees it.
            packet: &'a PacketView,
        },
        /// The guest gets a frame.
        GldReceive = gld__receive "gld-receive" {
            /// The port.
            port: &'a PortTag,
            /// The packet as the guest sees it.
            packet: &'a PacketView,
        },
        /// The guest sends an IP packet.
        IpSend = ip__send "ip-send" {
            /// The port.
            port: &'a PortTag,
            /// The packet as the guest sees it.
            packet: &'a PacketView,
        },
        /// The guest gets an IP packet.
        IpReceive = ip__receive "ip-receive" {
            /// The port.
            port: &'a PortTag,
            /// The packet as the guest sees it.
            packet: &'a PacketView,
        },
        /// A packet for the guest is dropped; `packet` has its addresses and no headers.
        IpDropIn = ip__drop__in "ip-drop-in" {
            /// The port.
            port: &'a PortTag,
            /// The packet as the guest sees it.
            packet: &'a PacketView,
        },
        /// A packet of the guest is dropped; `packet` has its addresses and no headers.
        IpDropOut = ip__drop__out "ip-drop-out" {
            /// The port.
            port: &'a PortTag,
            /// The packet as the guest sees it.
            packet: &'a PacketView,
        },
        /// The guest sends a TCP segment.
        TcpSend = tcp__send "tcp-send" {
            /// The port.
            port: &'a PortTag,
            /// The packet as the guest sees it.
            packet: &'a PacketView,
        },
        /// The guest gets a TCP segment.
        TcpReceive = tcp__receive "tcp-receive" {
            /// The port.
            port: &'a PortTag,
            /// The packet as the guest sees it.
            packet: &'a PacketView,
        },
        /// The guest asks for a TCP connection.
        TcpConnectRequest = tcp__connect__request "tcp-connect-request" {
            /// The port.
            port: &'a PortTag,
            /// The packet as the guest sees it.
            packet: &'a PacketView,
        },
        /// A TCP connection that the guest asked for is there.
        TcpConnectEstablished = tcp__connect__established "tcp-connect-established" {
            /// The port.
            port: &'a PortTag,
            /// The packet as the guest sees it.
            packet: &'a PacketView,
        },
        /// A TCP connection that the guest asked for is refused by the far end.
        TcpConnectRefused = tcp__connect__refused "tcp-connect-refused" {
            /// The port.
            port: &'a PortTag,
            /// The packet as the guest sees it.
            packet: &'a PacketView,
        },
        /// A TCP connection that the guest was asked for is there.
        TcpAcceptEstablished = tcp__accept__established "tcp-accept-established" {
            /// The port.
            port: &'a PortTag,
            /// The packet as the guest sees it.
            packet: &'a PacketView,
        },
        /// A TCP connection that the guest was asked for is refused by it.
        TcpAcceptRefused = tcp__accept__refused "tcp-accept-refused" {
            /// The port.
            port: &'a PortTag,
            /// The packet as the guest sees it.
            packet: &'a PacketView,
        },
        /// The guest sends a UDP datagram.
        UdpSend = udp__send "udp-send" {
            /// The port.
            port: &'a PortTag,
            /// The packet as the guest sees it.
            packet: &'a PacketView,
        },
        /// The guest gets a UDP datagram.
        UdpReceive = udp__receive "udp-receive" {
            /// The port.
            port: &'a PortTag,
            /// The packet as the guest sees it.
            packet: &'a PacketView,
        },
        /// A UDP flow was opened.
        UdpStreamOpen = udp__stream__open "udp-stream-open" {
            /// The port.
            port: &'a PortTag,
            /// The packet as the guest sees it.
            packet: &'a PacketView,
        },
        /// A UDP flow has ended; `packet` has its addresses and no headers.
        UdpStreamClose = udp__stream__close "udp-stream-close" {
            /// The port.
            port: &'a PortTag,
            /// The packet as the guest sees it.
            packet: &'a PacketView,
        },
        /// The guest sends an ICMP or ICMPv6 message.
        IcmpSend = icmp__send "icmp-send" {
            /// The port.
            port: &'a PortTag,
            /// The packet as the guest sees it.
            packet: &'a PacketView,
        },
        /// The guest gets an ICMP or ICMPv6 message.
        IcmpReceive = icmp__receive "icmp-receive" {
            /// The port.
            port: &'a PortTag,
            /// The packet as the guest sees it.
            packet: &'a PacketView,
        },
        /// The guest sends an ARP frame.
        ArpSend = arp__send "arp-send" {
            /// The port.
            port: &'a PortTag,
            /// The packet as the guest sees it.
            packet: &'a PacketView,
        },
        /// The guest gets an ARP frame.
        ArpReceive = arp__receive "arp-receive" {
            /// The port.
            port: &'a PortTag,
            /// The packet as the guest sees it.
            packet: &'a PacketView,
        },
        /// The guest sends an SCTP packet.
        SctpSend = sctp__send "sctp-send" {
            /// The port.
            port: &'a PortTag,
            /// The packet as the guest sees it.
            packet: &'a PacketView,
        },
        /// The guest gets an SCTP packet.
        SctpReceive = sctp__receive "sctp-receive" {
            /// The port.
            port: &'a PortTag,
            /// The packet as the guest sees it.
            packet: &'a PacketView,
        },
        /// A TCP connection of the guest changed its state.
        TcpStateChange = tcp__state__change "tcp-state-change" {
            /// The port.
            port: &'a PortTag,
            /// The packet that changed it, with the new state.
            packet: &'a PacketView,
            /// The state before, as `flow::tcp::State` numbers it.
            old: u8,
        },
        /// An SCTP association of the guest changed its state.
        SctpStateChange = sctp__state__change "sctp-state-change" {
            /// The port.
            port: &'a PortTag,
            /// The packet that changed it, with the new state.
            packet: &'a PacketView,
            /// The state before, as `flow::tcp::State` numbers it.
            old: u8,
        },
        /// A guest's frame for a group is about to be copied.
        McastTx = mcast__tx "mcast-tx" {
            /// The port.
            port: &'a PortTag,
            /// The network that the group is in.
            vni: Vni,
            /// The underlay group.
            underlay: [u8; 16],
            /// The flow key: the group is the remote end.
            key: &'a Tuple,
        },
        /// A frame for a group came from the underlay.
        McastRx = mcast__rx "mcast-rx" {
            /// Number of the link.
            link: u16,
            /// The network that the group is in.
            vni: Vni,
            /// The underlay group.
            underlay: [u8; 16],
            /// The flow key: the group is the local end.
            key: &'a Tuple,
        },
        /// A copy goes to a guest, if its port lets it pass.
        McastDeliver = mcast__deliver "mcast-deliver" {
            /// The port.
            port: &'a PortTag,
            /// The network that the group is in.
            vni: Vni,
            /// The group.
            group: [u8; 16],
            /// Who sent it.
            source: [u8; 16],
        },
        /// A port joined a group, left it or hears other sources of it.
        McastMember = mcast__member "mcast-member" {
            /// The port.
            port: &'a PortTag,
            /// The group.
            group: [u8; 16],
            /// Whether it is a member now.
            joined: bool,
        },
        /// A group has another underlay group, or other next hops.
        McastMap = mcast__map "mcast-map" {
            /// The network that the group is in.
            vni: Vni,
            /// The group.
            group: [u8; 16],
            /// The underlay group; none when the mapping is gone.
            underlay: Option<[u8; 16]>,
        },
        /// A packet of an SCTP association says how much its sender has room for: INIT, INIT ACK or SACK.
        SctpWindow = sctp__rwnd__assoc__val "sctp-rwnd-assoc-val" {
            /// The port.
            port: &'a PortTag,
            /// The packet as the guest sees it.
            packet: &'a PacketView,
            /// Bytes of the window, as observed (RFC 9260 sections 3.3.2 and 3.3.4).
            window: u32,
        },
        /// A port has been done with frames, each of which took about as long; told ten times a second.
        PortLatency = port__latency "port-latency" {
            /// The port.
            port: &'a PortTag,
            /// Which way the frames went.
            dir: Direction,
            /// How the decisions were found.
            path: Path,
            /// Nanoseconds that each took at least: a power of two; less than twice as many.
            ns: u64,
            /// How many frames.
            frames: u32,
        },
        }
    };
}

macro_rules! events {
    ($($(#[doc = $doc:literal])+ $variant:ident = $ident:ident $name:literal { $($(#[doc = $fdoc:literal])+ $field:ident: $ty:ty,)* },)+) => {
        /// A probe point.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Probe { $($(#[doc = $doc])+ $variant,)+ }

        impl Probe {
            /// Every probe point.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The probe's one spelling.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// When it fires: a sentence.
            #[must_use]
            pub const fn when(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc,)+).trim_ascii(),)+ }
            }

            /// Its arguments, in order.
            #[must_use]
            pub fn args(self) -> &'static [Arg] {
                args_of(self)
            }
        }

        #[expect(clippy::extra_unused_lifetimes, reason = "the fields' types name it")]
        fn args_of<'a>(probe: Probe) -> &'static [Arg] {
            match probe {
                $(Probe::$variant => const {
                    &[$(Arg {
                        name: stringify!($field),
                        about: concat!($($fdoc,)+).trim_ascii(),
                        c_type: <$ty as Raw>::C_TYPE,
                    },)*]
                },)+
            }
        }

        /// What happened, with its arguments.
        #[derive(Clone, Copy, Debug)]
        pub enum Event<'a> {
            $($(#[doc = $doc])+ $variant { $($(#[doc = $fdoc])+ $field: $ty,)* },)+
        }

        impl Event<'_> {
            /// The probe point that fires this event.
            #[must_use]
            pub const fn probe(&self) -> Probe {
                match self { $(Self::$variant { .. } => Probe::$variant,)+ }
            }

            /// The arguments as probes pass them: integers, and addresses of
            /// what the event has or refers to. Unused ones are zero.
            #[must_use]
            pub fn raw(&self) -> [u64; ARGS_MAX] {
                let mut raw = [0; ARGS_MAX];
                match self {
                    $(Self::$variant { $($field,)* } => {
                        let values = [$(Raw::raw($field),)*];
                        for (place, value) in raw.iter_mut().zip(values) {
                            *place = value;
                        }
                    })+
                }
                raw
            }
        }
    };
}

each_probe!(events);

/// Who watches the engine.
pub trait Observer {
    /// Whether anybody can ever watch.
    const CAN_WATCH: bool = true;

    /// Whether anybody wants this event. Asked before the arguments are put
    /// together, so it must be cheap.
    fn enabled(&self, probe: Probe) -> bool;

    /// Monotonic time in nanoseconds, from whenever; read when somebody wants
    /// to know how long something takes.
    fn clock_ns(&self) -> u64 {
        0
    }

    /// Something happened. A flow and its part of the table may be locked, so
    /// this is quick and calls nothing of the host's.
    fn event(&self, event: &Event<'_>);
}

/// Nobody watches.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unobserved;

impl Observer for Unobserved {
    const CAN_WATCH: bool = false;

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
