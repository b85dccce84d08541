//! Fragments through a port: see `flow::fragment` for what is remembered.
//!
//! Those of packets to groups are no different, but that what they follow is no
//! flow: whatever was decided for the first holds for the others
//! (`port::group`).

use super::edit::NearEnd;
use super::errand::{Errand, ROOM};
use super::fast::{Onward, Taken, name_of};
use super::process::{Arrival, Went};
use super::{Dropped, Env, Policy, Port, closer};
use crate::event::{Observer, Path};
use crate::fallible;
use crate::flow::fragment::{First, Key, Turn};
use crate::flow::record::NatKind;
use crate::frame::{Frame, SliceFrame};
use crate::layer::gateway;
use crate::verdict::{Output, Verdict};
use crate::wire::membership::is_membership;
use crate::wire::packet::{self, Packet, Piece, Segment};
use crate::{Direction, DropReason, LayerId};
use alloc::vec::Vec;
use lock_api::RawMutex;

/// The first fragment of a packet: whose, and which part.
pub(super) struct FirstPiece {
    key: Key,
    piece: Piece,
    /// Whether the packet is to a group.
    pub(super) to_group: bool,
}

impl<R: RawMutex> Port<R> {
    /// Takes a fragment through the port, unless it is the first of its packet.
    /// `packet` becomes what is known of that.
    #[inline(never)]
    pub(super) fn fragment<O: Observer>(
        &self,
        env: &Env<'_, R, O>,
        (dir, external): (Direction, bool),
        packet: &mut Packet,
        frame: &mut impl Frame,
        out: &mut impl Output,
    ) -> Result<FirstPiece, Went> {
        let len = frame.frame_len();
        let policy = self.policy();
        let (piece, to_group) = match self.piece(&policy, packet, frame, dir) {
            Ok(read) => read,
            Err(dropped) => {
                let ended = self.conclude(env, dir, None, Path::None, Err(dropped), out);
                return Err(Went::Ended(ended));
            }
        };
        let key = Key {
            dir,
            external,
            family: packet.tuple.family,
            local: packet.tuple.local,
            remote: packet.tuple.remote,
            proto: piece.proto,
            id: piece.id,
        };
        let before = Some(&packet.tuple);
        if piece.is_first() {
            return match self.fragments.check(&key, &piece, env.now) {
                Ok(()) => Ok(FirstPiece {
                    key,
                    piece,
                    to_group,
                }),
                Err(reason) => {
                    let refused = Err(reason.into());
                    let ended = self.conclude(env, dir, before, Path::None, refused, out);
                    Err(Went::Ended(ended))
                }
            };
        }
        let copy = || {
            let bytes = frame.gather().then(|| frame.head().get(..len))??;
            fallible::copy(ROOM, bytes)
        };
        let followed = match self.fragments.follow(&key, &piece, env.now, copy) {
            Ok(Turn::Held) => return Err(Went::Ended(Verdict::Held)),
            Ok(Turn::Follow(first)) if to_group => {
                self.later_piece_to_group(env, (&key, &first), packet, frame);
                return Err(Went::ToGroup);
            }
            Ok(Turn::Follow(first)) => {
                self.later_piece(env, &policy, (&key, &first, &piece), packet, frame)
            }
            Err(reason) => Err(reason.into()),
        };
        Err(Went::of(followed.map_err(|dropped| {
            let before = Some(&packet.tuple);
            self.conclude(env, dir, before, Path::Hit, Err(dropped), out)
        })))
    }

    /// Reads a fragment, which has to be from or for the guest, or for a group;
    /// whether it is for one. What a guest says of its memberships comes in one
    /// piece.
    fn piece(
        &self,
        policy: &Policy,
        packet: &mut Packet,
        frame: &impl Frame,
        dir: Direction,
    ) -> Result<(Piece, bool), Dropped> {
        let refused = |reason| Dropped::by(LayerId::Gateway, reason);
        let head = frame.head();
        let piece = packet.read_piece(head, frame.frame_len(), dir)?;
        let local = packet.tuple.local_ip();
        let is_own = gateway::is_own(&policy.spec, &local, dir);
        let to = packet::macs(head).map(|(to, _)| to);
        let to = to.filter(|to| to.is_multicast());
        if let Some(to) = to {
            let (spec, kind) = (&policy.spec, packet.icmp.0);
            gateway::admit_to_group(spec, dir, &packet.tuple, kind, to).map_err(refused)?;
            if is_membership(packet.tuple.proto, kind) {
                return Err(refused(DropReason::BadMembership));
            }
        }
        match dir {
            Direction::Out if !is_own => Err(refused(DropReason::SpoofedIp)),
            Direction::In if to.is_none() && !is_own && !self.nat.owns(&local) => {
                Err(refused(DropReason::NotForPort))
            }
            _ if !piece.is_first() && packet.ip_len > policy.spec.mtu => {
                Err(DropReason::TooBig.into())
            }
            _ => Ok((piece, to.is_some())),
        }
    }

    /// Has what waited for a first fragment follow it, if that went on.
    #[inline(never)]
    pub(super) fn follow_first<O: Observer>(
        &self,
        env: &Env<'_, R, O>,
        arrival: &Arrival<'_>,
        FirstPiece {
            key,
            piece,
            to_group,
        }: &FirstPiece,
        went_on: bool,
        out: &mut impl Output,
    ) {
        let packet = arrival.packet;
        let payload = u16::try_from(packet.segment.len).unwrap_or(u16::MAX);
        let first = went_on.then_some(First {
            tuple: packet.tuple,
            segment: packet.segment,
            header_len: piece.end.saturating_sub(payload),
        });
        for held in self.fragments.settle(key, first) {
            self.release(env, (key, first.as_ref(), *to_group), held, out);
        }
    }

    /// Sends a fragment on that waited, or drops it.
    #[inline(never)]
    fn release<O: Observer>(
        &self,
        env: &Env<'_, R, O>,
        (key, first, to_group): (&Key, Option<&First>, bool),
        mut held: Vec<u8>,
        out: &mut impl Output,
    ) {
        let dir = key.dir;
        let end = held.len();
        let mut frame = SliceFrame::new(&mut held, ROOM, end);
        let mut packet = Packet::EMPTY;
        let len = frame.frame_len();
        let piece = packet.read_piece(frame.head(), len, dir);
        let followed = match (first, piece) {
            (Some(first), Ok(_)) if to_group => {
                self.later_piece_to_group(env, (key, first), &mut packet, &mut frame);
                Ok(None)
            }
            (Some(first), Ok(piece)) => {
                let policy = self.policy();
                let piece = (key, first, &piece);
                let onward = self.later_piece(env, &policy, piece, &mut packet, &mut frame);
                onward.map(Some)
            }
            _ => Err(DropReason::Fragment.into()),
        };
        match (followed, dir) {
            (Ok(_), Direction::In) => self.to_guest(env, frame.bytes(), out),
            (Ok(onward), Direction::Out) => {
                let port = self.id;
                env.errands.put(Errand {
                    port,
                    packet,
                    onward,
                    frame: held,
                });
            }
            (Err(dropped), _) => {
                let key = Some(packet.tuple);
                self.dropped(env, dir, &Dropped { key, ..dropped });
            }
        }
    }

    /// A later fragment takes the way of the first, and has only addresses to
    /// be rewritten.
    fn later_piece<O: Observer>(
        &self,
        env: &Env<'_, R, O>,
        policy: &Policy,
        (key, first, piece): (&Key, &First, &Piece),
        packet: &mut Packet,
        frame: &mut impl Frame,
    ) -> Result<Onward, Dropped> {
        let dir = key.dir;
        packet.tuple = first.tuple;
        // To TCP it is as if the segment so far were sent again; a FIN stands
        // behind all of it.
        packet.segment = Segment {
            len: u32::from(piece.end.saturating_sub(first.header_len)),
            flags: match piece.more {
                true => first.segment.flags & !Segment::FIN,
                false => first.segment.flags,
            },
            ..first.segment
        };
        let arrival = Arrival {
            dir,
            packet,
            external: key.external,
            len: frame.frame_len(),
        };
        let flow = self.borrow(env, policy, &arrival, &first.tuple)?;
        let flow = flow.ok_or(DropReason::Fragment)?;
        self.count_piece(env, &arrival, frame)?;
        if policy.spec.options.decrement_ttl
            && dir == Direction::Out
            && !closer::count_hop(frame.head_mut(), key.family)
        {
            return Err(DropReason::TtlExceeded.into());
        }
        self.address(&flow, dir, frame.head_mut());
        if flow.nat != NatKind::None {
            NearEnd::of(&flow, dir).apply_address(frame.head_mut(), key.family, dir);
        }
        self.stats.lane(env.lane).dir(dir).hits.add(1);
        Ok(Onward::of(&flow))
    }

    /// A later fragment of a packet to a group.
    fn later_piece_to_group<O: Observer>(
        &self,
        env: &Env<'_, R, O>,
        (key, first): (&Key, &First),
        packet: &mut Packet,
        frame: &mut impl Frame,
    ) {
        packet.tuple = first.tuple;
        let arrival = Arrival {
            dir: key.dir,
            packet,
            external: key.external,
            len: frame.frame_len(),
        };
        self.passed_to_group(env, &arrival, frame, Path::Hit);
    }

    /// Counts a fragment for its flow.
    fn count_piece<O: Observer>(
        &self,
        env: &Env<'_, R, O>,
        arrival: &Arrival<'_>,
        frame: &impl Frame,
    ) -> Result<(), Dropped> {
        let (dir, packet) = (arrival.dir, arrival.packet);
        let hash = self.table.hash(&packet.tuple);
        let name = name_of(arrival.external);
        let Some((_, mut flow)) = self.table.find(dir, name, &packet.tuple, hash) else {
            return Ok(());
        };
        match self.take_into_account(env, &mut flow, arrival, frame) {
            Taken::Refused(reason) => Err(reason.into()),
            Taken::Same | Taken::StateChanged | Taken::Over => Ok(()),
        }
    }

    /// Counts the fragments that waited too long.
    pub(crate) fn expire_fragments<O: Observer>(&self, env: &Env<'_, R, O>) {
        let lost = self.fragments.expire(env.now);
        for (dir, lost) in [Direction::In, Direction::Out].into_iter().zip(lost) {
            for _ in 0..lost {
                self.dropped(env, dir, &DropReason::FragmentTimeout.into());
            }
        }
    }
}
