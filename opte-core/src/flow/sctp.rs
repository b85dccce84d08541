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
//!           G3  a second INIT on a live association changes nothing here: the
//!               side that gets it asks whether it is meant (section 5.2.2).
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
    let mut association = Connection::holding([0, 0], state);
    step(&mut association, first, dir)?;
    Ok(association)
}

/// Takes a packet into account.
///
/// # Errors
///
/// When it has a wrong tag; nothing changes then.
pub fn step(kept: &mut Connection, packet: &Chunk, dir: Direction) -> Result<(), DropReason> {
    let [mut guest, mut far] = kept.held();
    let before = kept.state();
    let (sender, receiver) = match dir {
        Direction::Out => (&mut guest, &mut far),
        Direction::In => (&mut far, &mut guest),
    };
    if packet.opens() {
        return open_again(kept, packet, dir, before);
    }
    let ends = matches!(packet.kind, chunk::ABORT | chunk::SHUTDOWN_COMPLETE);
    let expected = match packet.reflected && ends {
        true => &mut *sender,
        false => &mut *receiver,
    };
    if *expected == 0 && !ends {
        *expected = packet.tag; // G1
    }
    if packet.tag != *expected || packet.tag == 0 {
        return Err(DropReason::SctpBadTag);
    }
    let state = match (packet.kind, before) {
        (chunk::INIT_ACK, State::SynSent | State::Listen) => {
            *sender = packet.announced;
            State::SynReceived
        }
        (chunk::COOKIE_ACK, State::SynReceived) => State::Established,
        (chunk::ABORT, _) => State::Reset,
        (chunk::SHUTDOWN_COMPLETE, _) => State::TimeWait,
        (chunk::SHUTDOWN | chunk::SHUTDOWN_ACK, State::Established) => State::FinWait1,
        (chunk::COOKIE_ECHO, State::Closed) => State::SynReceived,
        _ => before,
    };
    *kept = Connection::holding([guest, far], state);
    Ok(())
}

/// An INIT: the first packet of an association, or a stray one.
fn open_again(
    kept: &mut Connection,
    packet: &Chunk,
    dir: Direction,
    before: State,
) -> Result<(), DropReason> {
    if packet.tag != 0 || packet.announced == 0 {
        return Err(DropReason::SctpBadTag); // G2
    }
    let state = match (before, dir) {
        (State::Closed, Direction::Out) => State::SynSent,
        (State::Closed, Direction::In) => State::Listen,
        // Both sides open at once (section 5.2.1), or the INIT is sent again.
        (State::SynSent | State::Listen, _) => before,
        _ => return Ok(()), // G3
    };
    let [mut guest, mut far] = kept.held();
    match dir {
        Direction::Out => guest = packet.announced,
        Direction::In => far = packet.announced,
    }
    *kept = Connection::holding([guest, far], state);
    Ok(())
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

    #[test]
    fn an_init_on_a_live_association_changes_nothing() {
        let mut kept = opened();
        step(&mut kept, &packet(chunk::INIT, 0, 99), In).unwrap();
        assert_eq!(kept, opened());
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
