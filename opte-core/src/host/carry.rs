//! Frames that didn't take the cached path, or that a port made itself or kept,
//! on their way out.

use super::Host;
use crate::api::PortId;
use crate::event::Observer;
use crate::flow::record::Next;
use crate::frame::{Frame, SliceFrame};
use crate::port::{Carrier, Env, Onward, Port};
use crate::verdict::{Output, Verdict};
use crate::wire::packet::Packet;
use lock_api::RawMutex;

impl<R: RawMutex, O: Observer> Carrier<R, O> for Host<R, O> {
    #[inline(never)]
    fn send_on(
        &self,
        env: &Env<'_, R, O>,
        port: &Port<R>,
        frame: (&mut impl Frame, &Packet),
        onward: Onward,
        out: &mut impl Output,
    ) -> Verdict {
        self.go_on(env, port, frame, onward, out)
    }

    fn send_to_group(
        &self,
        env: &Env<'_, R, O>,
        port: &Port<R>,
        (frame, packet): (&mut impl Frame, &Packet),
        out: &mut impl Output,
    ) -> Verdict {
        self.sent_to_group(env, port, frame, packet, out)
    }

    #[inline(never)]
    fn carry(
        &self,
        env: &Env<'_, R, O>,
        port: &Port<R>,
        frame: &mut SliceFrame<'_>,
        packet: &Packet,
        onward: Onward,
        out: &mut impl Output,
    ) {
        let sent = match onward.to {
            Next::Path(path, vni) => {
                self.encapsulate(env, frame, packet, (path, vni), onward.source_port, out)
            }
            Next::Port(to) => {
                let next_door = (port.id, PortId(to), false);
                self.deliver_next_door(env, frame, next_door, &packet.tuple, (&Nowhere, out))
            }
            Next::Outside(to) => {
                let next_door = (port.id, PortId(to), true);
                self.deliver_next_door(env, frame, next_door, &packet.tuple, (&Nowhere, out))
            }
        };
        match sent {
            Ok(Verdict::Link(link)) => out.to_link(link, frame.bytes()),
            Ok(Verdict::Port(port)) => out.to_port(port, frame.bytes()),
            Ok(Verdict::Held | Verdict::Consumed | Verdict::Dropped(_)) => {}
            Err(reason) => {
                let _ = self.not_sent(env, port, (frame, packet, onward), reason, out);
            }
        }
    }
}

/// Carries nothing: what a port has to say about a frame that was carried to
/// it stays unsaid, so that no frame can make a chain of ports speak.
struct Nowhere;

impl<R: RawMutex, O> Carrier<R, O> for Nowhere {
    fn send_on(
        &self,
        _: &Env<'_, R, O>,
        _: &Port<R>,
        _: (&mut impl Frame, &Packet),
        _: Onward,
        _: &mut impl Output,
    ) -> Verdict {
        // Only what guests send goes on, and nothing of theirs comes here.
        Verdict::Consumed
    }

    fn send_to_group(
        &self,
        _: &Env<'_, R, O>,
        _: &Port<R>,
        _: (&mut impl Frame, &Packet),
        _: &mut impl Output,
    ) -> Verdict {
        Verdict::Consumed
    }

    fn carry(
        &self,
        _: &Env<'_, R, O>,
        _: &Port<R>,
        _: &mut SliceFrame<'_>,
        _: &Packet,
        _: Onward,
        _: &mut impl Output,
    ) {
    }
}
