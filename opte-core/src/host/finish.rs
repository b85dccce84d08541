//! Frames that are no hit, to their end.
//!
//! Purpose   what a frame needs beyond the cached path, one step after the
//!           other from one loop, so that each step has the stack for itself
//!           (rule H6).
//! Flow      `Port::process` -- no hit --> finish: `Port::resume` -> leave
//!           -> next door, no hit --> `Port::resume` there -> ..; errands

use super::{Entry, Host};
use crate::event::Observer;
use crate::flow::record::Next;
use crate::frame::{Frame, SliceFrame};
use crate::port::errand::{self, Errand};
use crate::port::{Dropped, Env, Left, Onward, Port, Went};
use crate::verdict::{Output, Verdict};
use crate::wire::packet::Packet;
use crate::{Direction, DropReason, LayerId};
use lock_api::RawMutex;

/// Why a frame that its port let pass isn't on its way yet.
#[derive(Debug)]
pub(super) enum Stop<'e, R: RawMutex> {
    /// It goes nowhere.
    NotSent(DropReason),
    /// The port next door has no answer at once.
    Left(Entry<'e, R>, Left),
}

/// A port, and the direction through it with whether the frame came from
/// outside of the VPC.
type At<'e, R> = (&'e Port<R>, (Direction, bool));

impl<R: RawMutex, O: Observer> Host<R, O> {
    /// Takes a frame to its end of which a port has left something to do, and
    /// runs the errands that come of it.
    #[inline(never)]
    pub(super) fn finish(
        &self,
        env: &Env<'_, R, O>,
        at: At<'_, R>,
        (frame, packet): (&mut impl Frame, &mut Packet),
        left: Left,
        out: &mut impl Output,
    ) -> Verdict {
        let verdict = self.take_on(env, at, (frame, packet), left, out);
        if env.errands.is_any() {
            self.run_errands(env, out);
        }
        verdict
    }

    #[inline(never)]
    fn run_errands(&self, env: &Env<'_, R, O>, out: &mut impl Output) {
        env.errands.run(|errand| self.run(env, errand, out));
    }

    /// As [`Self::finish`], for a frame that a hit let pass.
    #[inline(never)]
    pub(super) fn stopped(
        &self,
        env: &Env<'_, R, O>,
        port: &Port<R>,
        (frame, packet, onward): (&mut impl Frame, &mut Packet, Onward),
        stop: Stop<'_, R>,
        out: &mut impl Output,
    ) -> Verdict {
        match stop {
            Stop::NotSent(reason) => self.not_sent(env, port, (frame, packet, onward), reason, out),
            Stop::Left(entry, left) => self.finish(env, entry.at(), (frame, packet), left, out),
        }
    }

    /// Takes a frame from port to port. Only a guest's goes on from one, and
    /// none from there, so there are two rounds at most.
    #[inline(always)]
    fn take_on<'e>(
        &self,
        env: &Env<'e, R, O>,
        mut at: At<'e, R>,
        (frame, packet): (&mut impl Frame, &mut Packet),
        mut left: Left,
        out: &mut impl Output,
    ) -> Verdict {
        loop {
            let (port, way) = at;
            let onward = match (
                port.resume(env, way, packet, (&mut *frame, &left), out),
                way.0,
            ) {
                (Went::Ended(verdict), _) => return verdict,
                (Went::ToGroup, _) => return self.sent_to_group(env, port, frame, packet, out),
                (Went::On(_), Direction::In) => {
                    if O::CAN_WATCH && env.watched {
                        port.tell_frame(env, Direction::In, frame);
                    }
                    return Verdict::Port(port.id);
                }
                (Went::On(onward), Direction::Out) => onward,
            };
            match self.leave(env, port, (&mut *frame, packet), onward, out) {
                Ok(verdict) => return verdict,
                Err(Stop::NotSent(reason)) => {
                    return self.not_sent(env, port, (frame, packet, onward), reason, out);
                }
                Err(Stop::Left(entry, next)) => (at, left) = (entry.at(), next),
            }
        }
    }

    /// Sends a frame that a port made itself, or had kept.
    #[inline(never)]
    fn run(&self, env: &Env<'_, R, O>, errand: Errand, out: &mut impl Output) {
        let Errand {
            port,
            mut packet,
            onward,
            frame: mut bytes,
        } = errand;
        let Some(port) = env.view.port(port) else {
            return;
        };
        let end = bytes.len();
        let mut frame = SliceFrame::new(&mut bytes, errand::ROOM, end);
        let Some(onward) = onward else {
            // What becomes of copies is told and counted as they are made.
            let _ = self.sent_to_group(env, port, &mut frame, &packet, out);
            return;
        };
        let verdict = match self.leave(env, port, (&mut frame, &mut packet), onward, out) {
            Ok(verdict) => verdict,
            Err(Stop::NotSent(reason)) => {
                self.not_sent(env, port, (&mut frame, &packet, onward), reason, out)
            }
            Err(Stop::Left(entry, left)) => {
                self.take_on(env, entry.at(), (&mut frame, &mut packet), left, out)
            }
        };
        match verdict {
            Verdict::Link(link) => out.to_link(link, frame.bytes()),
            Verdict::Port(port) => out.to_port(port, frame.bytes()),
            Verdict::Held | Verdict::Consumed | Verdict::Dropped(_) => {}
        }
    }

    /// As [`Self::go_on`], out of line.
    #[inline(never)]
    fn leave<'e>(
        &self,
        env: &Env<'e, R, O>,
        port: &Port<R>,
        frame: (&mut impl Frame, &mut Packet),
        onward: Onward,
        out: &mut impl Output,
    ) -> Result<Verdict, Stop<'e, R>> {
        self.go_on(env, port, frame, onward, out)
    }

    /// What becomes of a guest's frame that its port let pass, and that went
    /// nowhere all the same.
    #[inline(never)]
    fn not_sent(
        &self,
        env: &Env<'_, R, O>,
        port: &Port<R>,
        (frame, packet, onward): (&mut impl Frame, &Packet, Onward),
        reason: DropReason,
        out: &mut impl Output,
    ) -> Verdict {
        match (reason, onward.to) {
            // Where the flow goes is no more: its next packet looks again.
            (DropReason::NoPort | DropReason::NoUnderlayRoute, _) => port.forget_way(&packet.tuple),
            (DropReason::TooBig, Next::Path(path, _)) => {
                if let Some(path) = self.underlay.path(path) {
                    port.too_big_for_path(env, frame, packet, path.mtu(), out);
                }
            }
            _ => {}
        }
        let dropped = Dropped {
            key: Some(packet.tuple),
            ..Dropped::by(LayerId::Overlay, reason)
        };
        port.dropped(env, Direction::Out, &dropped);
        Verdict::Dropped(reason)
    }
}
