//! TCP segments that change more than a connection's numbers: out of the hit's line.

use super::fast::Taken;
use super::{Env, Port};
use crate::Direction;
use crate::event::{Observer, observe};
use crate::flow::tcp::Scale;
use crate::flow::{Flow, Proto};
use crate::frame::Frame;
use crate::wire::packet::{Packet, Segment};
use lock_api::RawMutex;

impl<R: RawMutex> Port<R> {
    /// Takes a segment of a flow into account that isn't a common one.
    #[inline(never)]
    pub(super) fn track<O: Observer>(
        &self,
        env: &Env<'_, R, O>,
        flow: &mut Flow,
        dir: Direction,
        packet: &Packet,
        frame: &impl Frame,
    ) -> Taken {
        if makes_room(flow, dir, packet) {
            return Taken::Over;
        }
        let before = flow.tcp.state();
        let opened = flow.opened;
        let scale = scale(packet, frame);
        if let Err(reason) = flow.tcp.step(&packet.segment, dir, opened, scale) {
            observe!(
                env.observer,
                TcpFlowDrop {
                    port: &self.tag,
                    dir,
                    key: &flow.inside,
                    state: before.number(),
                    flags: packet.segment.flags,
                    reason,
                }
            );
            return Taken::Refused(reason);
        }
        let now = flow.tcp.state();
        if now == before {
            return Taken::Same;
        }
        observe!(
            env.observer,
            TcpFlowState {
                port: &self.tag,
                dir,
                key: &flow.inside,
                old: before.number(),
                new: now.number()
            }
        );
        if now.is_over() {
            observe!(
                env.observer,
                UftTcpClosed {
                    port: &self.tag,
                    dir,
                    key: &flow.inside,
                }
            );
        }
        self.tell_state(env, dir, flow, before, frame);
        Taken::StateChanged
    }
}

/// Whether the flow ends for the connection that the packet asks for.
pub(super) fn makes_room(flow: &Flow, dir: Direction, packet: &Packet) -> bool {
    packet.tuple.proto == Proto::TCP && flow.tcp.yields_to(&packet.segment, dir, flow.answered)
}

/// What a SYN says about window scaling; nobody asks it of other packets.
pub(super) fn scale(packet: &Packet, frame: &impl Frame) -> Scale {
    match frame.head().get(packet.transport..) {
        Some(transport) if packet.segment.has(Segment::SYN) => Scale::read(transport),
        _ => Scale::Unknown,
    }
}
