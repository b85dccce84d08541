//! SCTP associations as seen from the middle (RFC 9260).
//!
//! Purpose   tell which state an association is in, so that it lives as long
//!           as it should, and keep packets out that don't know its tags.
//! Terms     tag     the number that a side has chosen and wants to see in every
//!                   packet to it (verification tag, section 3.1)
//! Shape     both tags and the state are kept where a TCP connection of the
//!           flow would be, with the states of TCP that mean the same.
//! Rules     G1  a packet carries the tag of whom it is for. A side's tag is
//!               learnt from its INIT or INIT ACK, or from the first packet to
//!               it when the engine came later (section 8.5).
//!           G2  INIT carries no tag. ABORT and SHUTDOWN COMPLETE may carry the
//!               sender's own one instead, and say so (section 8.5.1).
//!           G3  a side may announce another tag: who has restarted asks anew
//!               (section 5.2.2), and who gets an INIT twice, because the answer
//!               was lost, answers by two tags (section 5.1, for it remembers
//!               neither). The old one holds until a COOKIE ECHO or COOKIE ACK
//!               to this side bears the other: nobody sends that who hasn't seen
//!               the answer. So a forged INIT changes nothing. Until then only
//!               what answers an INIT or a COOKIE ECHO may bear the other.
//!           G4  each address of a side with several is a flow of its own,
//!               which is picked up by its first packet (section 5.4).
//! Failure   `SctpBadTag`, `SctpNoFlow`.

use super::tcp::{Connection, State};
use crate::wire::packet::Segment;
use crate::{Direction, DropReason};

/// Types of chunks that matter here (section 3.2).
mod chunk {
    pub(super) const INIT: u8 = 1;
    pub(super) const INIT_ACK: u8 = 2;
    pub(super) const ABORT: u8 = 6;
    pub(super) const ERROR: u8 = 9;
    pub(super) const SHUTDOWN: u8 = 7;
    pub(super) const SHUTDOWN_ACK: u8 = 8;
    pub(super) const COOKIE_ECHO: u8 = 10;
    pub(super) const COOKIE_ACK: u8 = 11;
    pub(super) const SHUTDOWN_COMPLETE: u8 = 14;
}

/// An SCTP packet as tracking sees it: its tag and its first chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// The packet's verification tag.
    pub tag: u32,
    /// The chunk's type.
    pub kind: u8,
    /// The T bit: the tag is the sender's own.
    pub reflected: bool,
    /// The tag that an INIT or INIT ACK announces.
    pub announced: u32,
}

impl Chunk {
    /// What the parser has put where a TCP segment would be.
    #[must_use]
    pub const fn of(segment: &Segment) -> Self {
        Self {
            tag: segment.seq,
            kind: segment.flags,
            reflected: segment.window & 1 != 0,
            announced: segment.ack,
        }
    }

    /// Whether it asks for a new association.
    #[must_use]
    pub const fn opens(&self) -> bool {
        self.kind == chunk::INIT
    }
}

/// An association whose first packet seen is `first`, sent `dir`.
///
/// # Errors
///
/// When it neither opens an association nor may join one.
pub fn open(first: &Chunk, dir: Direction, mid_stream: bool) -> Result<Connection, DropReason> {
    let joins = !matches!(
        first.kind,
        chunk::INIT_ACK | chunk::ABORT | chunk::SHUTDOWN_COMPLETE
    );
    let fits = first.opens() || (mid_stream && joins);
    if !fits {
        return Err(DropReason::SctpNoFlow);
    }
    let state = match first.opens() {
        true => State::Closed,
        false => State::Established,
    };
    let mut association = Connection::holding([[0; 2]; 2], state);
    step(&mut association, first, dir)?;
    Ok(association)
}

/// Takes a packet into account.
///
/// # Errors
///
/// When it has a wrong tag; nothing changes then.
pub fn step(kept: &mut Connection, packet: &Chunk, dir: Direction) -> Result<(), DropReason> {
    let [mut guest, mut far] = kept.held().map(Tags::of);
    let before = kept.state();
    let (sender, receiver) = match dir {
        Direction::Out => (&mut guest, &mut far),
        Direction::In => (&mut far, &mut guest),
    };
    let state = match packet.opens() {
        true => ask(sender, packet, dir, before)?,
        false => take(sender, receiver, packet, before)?,
    };
    *kept = Connection::holding([guest.both(), far.both()], state);
    Ok(())
}

/// An INIT: the first packet of an association, a copy of it, or the first of
/// another one that shall take its place (G3).
fn ask(
    sender: &mut Tags,
    packet: &Chunk,
    dir: Direction,
    before: State,
) -> Result<State, DropReason> {
    if packet.tag != 0 || packet.announced == 0 {
        return Err(DropReason::SctpBadTag); // G2
    }
    sender.announce(packet.announced, before);
    Ok(match (before, dir) {
        (State::Closed, Direction::Out) => State::SynSent,
        (State::Closed, Direction::In) => State::Listen,
        _ => before,
    })
}

/// Any other packet.
fn take(
    sender: &mut Tags,
    receiver: &mut Tags,
    packet: &Chunk,
    before: State,
) -> Result<State, DropReason> {
    let to_offered = packet.tag != 0 && packet.tag == receiver.offered;
    match packet.kind {
        // What answers an INIT bears the tag that this has announced.
        chunk::INIT_ACK if to_offered => {
            sender.announce(packet.announced, before);
            return Ok(match before {
                State::SynSent | State::Listen => State::SynReceived,
                _ => before,
            });
        }
        chunk::ERROR if to_offered => return Ok(before),
        chunk::ABORT if to_offered && !packet.reflected => {
            receiver.offered = 0;
            return Ok(before);
        }
        chunk::COOKIE_ECHO if to_offered => {
            receiver.settle();
            return Ok(before);
        }
        chunk::COOKIE_ACK if to_offered => {
            receiver.settle();
            return Ok(State::Established);
        }
        _ => {}
    }
    let ends = matches!(packet.kind, chunk::ABORT | chunk::SHUTDOWN_COMPLETE);
    let expected = match packet.reflected && ends {
        true => &mut sender.current,
        false => &mut receiver.current,
    };
    if *expected == 0 && !ends {
        *expected = packet.tag; // G1
    }
    if packet.tag != *expected || packet.tag == 0 {
        return Err(DropReason::SctpBadTag);
    }
    let is_opening = matches!(before, State::SynSent | State::Listen | State::SynReceived);
    Ok(match (packet.kind, before) {
        (chunk::INIT_ACK, _) if is_opening => {
            sender.announce(packet.announced, before);
            State::SynReceived
        }
        (chunk::COOKIE_ACK, State::SynReceived) => State::Established,
        (chunk::ABORT, _) => State::Reset,
        (chunk::SHUTDOWN_COMPLETE, _) => State::TimeWait,
        (chunk::SHUTDOWN | chunk::SHUTDOWN_ACK, State::Established) => State::FinWait1,
        (chunk::COOKIE_ECHO, State::Closed) => State::SynReceived,
        _ => before,
    })
}

/// The tags of one side; zero for none.
#[derive(Clone, Copy, Debug)]
struct Tags {
    /// What packets to it bear.
    current: u32,
    /// What it has announced last, if that is another one (G3).
    offered: u32,
}

impl Tags {
    const fn of([current, offered]: [u32; 2]) -> Self {
        Self { current, offered }
    }

    const fn both(self) -> [u32; 2] {
        [self.current, self.offered]
    }

    /// The side announces a tag, in an association of this state.
    fn announce(&mut self, tag: u32, state: State) {
        let is_new = matches!(state, State::Closed | State::SynSent | State::Listen);
        if self.current == 0 && is_new {
            self.current = tag;
        } else if tag != self.current {
            self.offered = tag;
        }
    }

    /// What it has announced last holds from now on.
    const fn settle(&mut self) {
        *self = Self::of([self.offered, 0]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Direction::{In, Out};

    fn packet(kind: u8, tag: u32, announced: u32) -> Chunk {
        Chunk {
            tag,
            kind,
            reflected: false,
            announced,
        }
    }

    /// An association that the guest (tag 7) has opened with the far end (9).
    fn opened() -> Connection {
        let mut kept = open(&packet(chunk::INIT, 0, 7), Out, false).unwrap();
        assert_eq!(kept.state(), State::SynSent);
        for (kind, tag, announced, dir, state) in [
            (chunk::INIT_ACK, 7, 9, In, State::SynReceived),
            (chunk::COOKIE_ECHO, 9, 0, Out, State::SynReceived),
            (chunk::COOKIE_ACK, 7, 0, In, State::Established),
            (0, 9, 0, Out, State::Established),
        ] {
            step(&mut kept, &packet(kind, tag, announced), dir).unwrap();
            assert_eq!(kept.state(), state, "{kind}");
        }
        kept
    }

    #[test]
    fn an_association_opens_and_closes() {
        let mut kept = opened();
        for (kind, tag, dir, state) in [
            (chunk::SHUTDOWN, 9, Out, State::FinWait1),
            (chunk::SHUTDOWN_ACK, 7, In, State::FinWait1),
            (chunk::SHUTDOWN_COMPLETE, 9, Out, State::TimeWait),
        ] {
            step(&mut kept, &packet(kind, tag, 0), dir).unwrap();
            assert_eq!(kept.state(), state, "{kind}");
        }
    }

    #[test]
    fn a_packet_without_the_tag_is_refused_and_changes_nothing() {
        let kept = opened();
        for (kind, tag, dir) in [
            (0, 7, Out),
            (0, 9, In),
            (0, 0, In),
            (chunk::ABORT, 9, In),
            (chunk::ABORT, 0, In),
            (chunk::SHUTDOWN_COMPLETE, 8, Out),
            (chunk::INIT, 7, In),
        ] {
            let mut now = kept;
            let result = step(&mut now, &packet(kind, tag, 1), dir);
            assert_eq!(result, Err(DropReason::SctpBadTag), "{kind} {tag} {dir}");
            assert_eq!(now, kept);
        }
    }

    #[test]
    fn an_abort_ends_it_by_either_tag() {
        for (tag, reflected) in [(7, false), (9, true)] {
            let mut kept = opened();
            let abort = Chunk {
                reflected,
                ..packet(chunk::ABORT, tag, 0)
            };
            step(&mut kept, &abort, In).unwrap();
            assert_eq!(kept.state(), State::Reset);
        }
    }

    /// Takes packets, and says which was refused.
    fn steps(kept: &mut Connection, packets: &[(u8, u32, u32, Direction)]) {
        for (kind, tag, announced, dir) in packets {
            let result = step(kept, &packet(*kind, *tag, *announced), *dir);
            assert_eq!(result, Ok(()), "{kind} {tag} {dir}");
        }
    }

    #[test]
    fn an_init_on_a_live_association_changes_nothing_by_itself() {
        let mut kept = opened();
        // Somebody who knows the ports says that he is the far end. The guest
        // answers to the real one, which has asked for nothing.
        steps(
            &mut kept,
            &[
                (chunk::INIT, 0, 99, In),
                (chunk::INIT_ACK, 99, 77, Out),
                (0, 9, 0, Out),
                (0, 7, 0, In),
            ],
        );
        for (kind, tag) in [
            (0, 77),
            (0, 99),
            (chunk::ABORT, 99),
            (chunk::COOKIE_ECHO, 99),
            (chunk::COOKIE_ACK, 99),
        ] {
            let before = kept;
            let forged = step(&mut kept, &packet(kind, tag, 0), In);
            assert_eq!(forged, Err(DropReason::SctpBadTag), "{kind} {tag}");
            assert_eq!(kept, before);
        }
        let reflected = Chunk {
            reflected: true,
            ..packet(chunk::ABORT, 99, 0)
        };
        assert!(step(&mut kept, &reflected, In).is_err());
        assert_eq!(kept.state(), State::Established);
    }

    #[test]
    fn who_restarts_gets_an_association_with_other_tags() {
        for (mine, other) in [(Out, In), (In, Out)] {
            let mut kept = opened();
            let (old, old_other) = match mine {
                Out => (7, 9),
                In => (9, 7),
            };
            steps(
                &mut kept,
                &[
                    (chunk::INIT, 0, 100, mine),
                    (chunk::INIT_ACK, 100, 101, other),
                    // Nothing is decided yet.
                    (0, old, 0, other),
                    (chunk::COOKIE_ECHO, 101, 0, mine),
                    (chunk::COOKIE_ACK, 100, 0, other),
                    (0, 101, 0, mine),
                    (0, 100, 0, other),
                ],
            );
            assert_eq!(kept.state(), State::Established);
            for (tag, dir) in [(old, other), (old_other, mine)] {
                let late = step(&mut kept, &packet(chunk::ABORT, tag, 0), dir);
                assert_eq!(late, Err(DropReason::SctpBadTag), "{tag}");
            }
        }
    }

    #[test]
    fn a_restart_that_is_refused_leaves_the_association() {
        let mut kept = opened();
        steps(
            &mut kept,
            &[
                (chunk::INIT, 0, 100, Out),
                (chunk::ABORT, 100, 0, In),
                (0, 7, 0, In),
                (0, 9, 0, Out),
            ],
        );
        assert_eq!(kept.state(), State::Established);
        assert!(step(&mut kept, &packet(chunk::COOKIE_ACK, 100, 0), In).is_err());
    }

    #[test]
    fn an_init_that_is_answered_twice_is_accepted_by_either_tag() {
        for tag in [7, 8] {
            let mut kept = open(&packet(chunk::INIT, 0, 9), In, false).unwrap();
            steps(
                &mut kept,
                &[
                    (chunk::INIT_ACK, 9, 7, Out),
                    (chunk::INIT, 0, 9, In),
                    (chunk::INIT_ACK, 9, 8, Out),
                    (chunk::COOKIE_ECHO, tag, 0, In),
                    (chunk::COOKIE_ACK, 9, 0, Out),
                    (0, tag, 0, In),
                    (0, 9, 0, Out),
                ],
            );
            assert_eq!(kept.state(), State::Established);
            assert!(step(&mut kept, &packet(0, 15 - tag, 0), In).is_err());
        }
    }

    #[test]
    fn an_init_with_another_tag_is_answered_by_that() {
        // The client has given up and begins again before anything came back.
        let mut kept = open(&packet(chunk::INIT, 0, 7), Out, false).unwrap();
        steps(
            &mut kept,
            &[
                (chunk::INIT, 0, 70, Out),
                (chunk::INIT_ACK, 70, 9, In),
                (chunk::COOKIE_ECHO, 9, 0, Out),
                (chunk::ERROR, 70, 0, In),
                (chunk::COOKIE_ACK, 70, 0, In),
                (0, 70, 0, In),
            ],
        );
        assert_eq!(kept.state(), State::Established);
    }

    #[test]
    fn one_that_is_under_way_is_joined_if_it_may_be() {
        let data = packet(0, 9, 0);
        assert_eq!(open(&data, Out, false), Err(DropReason::SctpNoFlow));
        let mut kept = open(&data, Out, true).unwrap();
        assert_eq!(kept.state(), State::Established);
        let forged = step(&mut kept, &packet(0, 8, 0), Out);
        assert_eq!(forged, Err(DropReason::SctpBadTag));
        step(&mut kept, &packet(0, 7, 0), In).unwrap();
        assert!(step(&mut kept, &packet(0, 6, 0), In).is_err(), "learnt");
        for kind in [chunk::ABORT, chunk::INIT_ACK, chunk::SHUTDOWN_COMPLETE] {
            let first = open(&packet(kind, 9, 1), In, true);
            assert_eq!(first, Err(DropReason::SctpNoFlow));
        }
    }
}
