//! The guests' traffic, as an operating system's network providers would show it.
//!
//! Purpose   nobody can look into a guest, but each of its frames comes by
//!           here: so here are the probes that its own `ip`, `tcp` and `udp`
//!           providers would have.
//! Flow      Host::tx -> process -> tell_frame, as the guest sent it
//!           Host::rx -> process -> deliver -> tell_frame, as the guest gets it
//!           answers of the gateway -> to_guest -> tell_frame
//! Rules     T1  whether anybody watches is looked at with each tick
//!               (`Env::watched`); all else is out of the line of a hit.
//!           T2  a flow may be looked up here, so no flow and no shard is held.

use super::{Dropped, Env, Port};
use crate::Direction;
use crate::event::{Event, Observer, PacketView, Probe, observe};
use crate::flow::table::Name;
use crate::flow::tcp::State;
use crate::flow::{Flow, Proto, Tuple};
use crate::frame::Frame;
use crate::verdict::Output;
use lock_api::RawMutex;

/// The probes of this module.
pub(crate) const TRAFFIC: &[Probe] = &[
    Probe::GldSend,
    Probe::GldReceive,
    Probe::IpSend,
    Probe::IpReceive,
    Probe::IpDropIn,
    Probe::IpDropOut,
    Probe::TcpSend,
    Probe::TcpReceive,
    Probe::TcpStateChange,
    Probe::TcpConnectRequest,
    Probe::TcpConnectEstablished,
    Probe::TcpConnectRefused,
    Probe::TcpAcceptEstablished,
    Probe::TcpAcceptRefused,
    Probe::UdpSend,
    Probe::UdpReceive,
    Probe::UdpStreamOpen,
    Probe::UdpStreamClose,
    Probe::IcmpSend,
    Probe::IcmpReceive,
    Probe::ArpSend,
    Probe::ArpReceive,
    Probe::SctpSend,
    Probe::SctpReceive,
    Probe::SctpStateChange,
    Probe::SctpWindow,
];

/// Fires the event `$out` or `$in`, by the direction.
macro_rules! either {
    ($env:expr, $dir:expr, $out:ident, $in:ident { $($field:ident),+ }) => {{
        let event = match $dir {
            Direction::Out => Event::$out { $($field),+ },
            Direction::In => Event::$in { $($field),+ },
        };
        fire($env.observer, &event);
    }};
}

/// Fires an event if somebody wants it.
fn fire(observer: &impl Observer, event: &Event<'_>) {
    if observer.enabled(event.probe()) {
        observer.event(event);
    }
}

impl<R: RawMutex> Port<R> {
    /// Sends the guest a frame that was made here.
    pub(crate) fn to_guest<O: Observer>(
        &self,
        env: &Env<'_, R, O>,
        frame: &[u8],
        out: &mut impl Output,
    ) {
        if O::CAN_WATCH && env.watched {
            self.tell_bytes(env, Direction::In, frame, frame.len());
        }
        out.to_port(self.id, frame);
    }

    /// Tells of a frame that the guest sends or gets.
    #[cold]
    #[inline(never)]
    pub(crate) fn tell_frame<O: Observer>(
        &self,
        env: &Env<'_, R, O>,
        dir: Direction,
        frame: &impl Frame,
    ) {
        self.tell_bytes(env, dir, frame.head(), frame.frame_len());
    }

    fn tell_bytes<O: Observer>(
        &self,
        env: &Env<'_, R, O>,
        dir: Direction,
        head: &[u8],
        frame_len: usize,
    ) {
        let mut view = PacketView::of_frame(dir, head, frame_len);
        if view.transport != 0 {
            view.state = self.state_of(&view.key);
        }
        let (port, packet) = (&self.tag, &view);
        either!(env, dir, GldSend, GldReceive { port, packet });
        match packet.ethertype {
            0x0806 => either!(env, dir, ArpSend, ArpReceive { port, packet }),
            0x0800 | 0x86dd => either!(env, dir, IpSend, IpReceive { port, packet }),
            _ => {}
        }
        if packet.transport == 0 {
            return;
        }
        match packet.key.proto {
            Proto::TCP => either!(env, dir, TcpSend, TcpReceive { port, packet }),
            Proto::UDP => either!(env, dir, UdpSend, UdpReceive { port, packet }),
            Proto::SCTP => {
                either!(env, dir, SctpSend, SctpReceive { port, packet });
                if let Some(window) = sctp_window(head, packet.transport) {
                    let event = Event::SctpWindow {
                        port,
                        packet,
                        window,
                    };
                    fire(env.observer, &event);
                }
            }
            proto if proto.is_icmp() => {
                either!(env, dir, IcmpSend, IcmpReceive { port, packet });
            }
            _ => {}
        }
    }

    /// The state of a connection, by its inside key (rule T2).
    fn state_of(&self, key: &Tuple) -> u8 {
        if !matches!(key.proto, Proto::TCP | Proto::SCTP) {
            return 0;
        }
        let hash = self.table.hash(key);
        let found = self.table.find(Direction::Out, Name::Inside, key, hash);
        found.map_or(0, |(_, flow)| flow.tcp.state().number())
    }

    /// Tells of a dropped packet.
    pub(super) fn tell_drop<O: Observer>(
        &self,
        env: &Env<'_, R, O>,
        dir: Direction,
        dropped: &Dropped,
    ) {
        if let Some(key) = dropped.key.as_ref().filter(|_| O::CAN_WATCH && env.watched) {
            let (port, packet) = (&self.tag, &PacketView::of_key(dir, key));
            either!(env, dir, IpDropOut, IpDropIn { port, packet });
        }
    }

    /// Tells of a flow that was opened by a packet which goes `dir`.
    pub(super) fn tell_open<O: Observer>(
        &self,
        env: &Env<'_, R, O>,
        dir: Direction,
        flow: &Flow,
        frame: &impl Frame,
    ) {
        if flow.inside.proto == Proto::TCP {
            let (port, key, old) = (&self.tag, &flow.inside, State::Closed.number());
            let new = flow.tcp.state().number();
            observe!(
                env.observer,
                TcpFlowState {
                    port,
                    dir,
                    key,
                    old,
                    new
                }
            );
        }
        if !(O::CAN_WATCH && env.watched) {
            return;
        }
        match flow.inside.proto {
            Proto::UDP => {
                let packet = &self.view(dir, flow, frame);
                let port = &self.tag;
                fire(env.observer, &Event::UdpStreamOpen { port, packet });
            }
            Proto::TCP | Proto::SCTP => self.tell_state(env, dir, flow, State::Closed, frame),
            _ => {}
        }
    }

    /// Tells of a connection that isn't in the state `old` any more.
    pub(super) fn tell_state<O: Observer>(
        &self,
        env: &Env<'_, R, O>,
        dir: Direction,
        flow: &Flow,
        old: State,
        frame: &impl Frame,
    ) {
        if !(O::CAN_WATCH && env.watched) {
            return;
        }
        let (port, packet) = (&self.tag, &self.view(dir, flow, frame));
        let old_number = old.number();
        if flow.inside.proto == Proto::SCTP {
            let event = Event::SctpStateChange {
                port,
                packet,
                old: old_number,
            };
            return fire(env.observer, &event);
        }
        let event = Event::TcpStateChange {
            port,
            packet,
            old: old_number,
        };
        fire(env.observer, &event);
        let opening = matches!(old, State::Listen | State::SynSent | State::SynReceived);
        let by_guest = flow.opened == Direction::Out;
        let event = match (flow.tcp.state(), by_guest) {
            (State::SynSent, true) if old == State::Closed => {
                Event::TcpConnectRequest { port, packet }
            }
            (State::Established, true) if opening => Event::TcpConnectEstablished { port, packet },
            (State::Established, false) if opening => Event::TcpAcceptEstablished { port, packet },
            (State::Reset, true) if opening => Event::TcpConnectRefused { port, packet },
            (State::Reset, false) if opening => Event::TcpAcceptRefused { port, packet },
            _ => return,
        };
        fire(env.observer, &event);
    }

    /// Tells of a flow that has ended.
    pub(super) fn tell_end<O: Observer>(&self, env: &Env<'_, R, O>, flow: &Flow) {
        if O::CAN_WATCH && env.watched && flow.inside.proto == Proto::UDP {
            let (port, packet) = (&self.tag, &PacketView::of_key(flow.opened, &flow.inside));
            fire(env.observer, &Event::UdpStreamClose { port, packet });
        }
    }

    /// A packet of a flow, with the names that the guest knows it by.
    fn view(&self, dir: Direction, flow: &Flow, frame: &impl Frame) -> PacketView {
        let named = PacketView::of_key(dir, &flow.inside);
        PacketView {
            src: named.src,
            dst: named.dst,
            key: named.key,
            flow_id: named.flow_id,
            state: flow.tcp.state().number(),
            ..PacketView::of_frame(dir, frame.head(), frame.frame_len())
        }
    }
}

/// What the first chunk of an SCTP packet says of its sender's window. INIT,
/// INIT ACK and SACK have it at the same place (RFC 9260 sections 3.3.2 to
/// 3.3.4), and come before other chunks.
fn sctp_window(head: &[u8], transport: u16) -> Option<u32> {
    let (_, packet) = head.split_at_checked(usize::from(transport))?;
    let window = packet.get(20..).and_then(<[u8]>::first_chunk)?;
    let says = matches!(packet.get(12), Some(1..=3));
    says.then(|| u32::from_be_bytes(*window))
}
