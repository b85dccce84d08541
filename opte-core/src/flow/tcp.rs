//! TCP connections as seen from the middle (RFC 9293).
//!
//! Purpose   tell from the segments of both sides which state the guest's end
//!           of a connection is in, so that it lives as long as it should, and
//!           believe only who knows the connection.
//! Terms     side      the guest, or the far end: what it has said (SYN, FIN),
//!                     what of it is acknowledged, the window that it offers
//!           believed  a segment that changes our state
//!           refused   one that is dropped
//! Shape     the state follows from the two sides; simultaneous open and close,
//!           data with FIN and any retransmission need no case of their own.
//!           What a side may send is between a window before and a window after
//!           what is acknowledged of it, by the largest window ever offered to it.
//! Flow      advance  the common segment: data or acknowledgement inside of
//!                    what both sides are known to have sent
//!           step     any other one -- reset, SYN, or take
//! Rules     T1  no segment of a live connection is refused. When in doubt it
//!               passes and is not believed: the end that gets it knows better.
//!           T2  refused is what no TCP sends, and in an open connection what
//!               is outside of the window for sure. The end that gets it
//!               would discard it or ask back; nothing is lost.
//!           T3  a reset is believed at exactly the place that its receiver
//!               expects next, as far as we know (RFC 5961 section 3). Elsewhere
//!               in the window it passes: its receiver asks back, and the
//!               answer to that is exact.
//!           T4  a SYN in an open connection passes and is remembered (RFC 5961
//!               section 4). If its receiver answers with SYN and ACK of just
//!               that one, the old connection was gone.
//!           T5  data, acknowledgements and FIN are believed when sequence and
//!               acknowledgement number both fit (RFC 5961 section 5).
//! Failure   a connection that was joined in mid-stream has unknown windows:
//!           a quarter of the numbers before and after what was seen fits, and
//!           nothing is refused.

mod side;
mod state;

pub use side::Scale;
pub use state::State;

use crate::wire::packet::Segment;
use crate::{Direction, DropReason};
use side::{Side, later, units};

/// A connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    guest: Side,
    far: Side,
    /// The low half of the acknowledgement that answers the SYN of the side
    /// that has [`Side::ASKED`].
    asked: [u8; 2],
    /// The state that follows from the sides, kept so that a packet that
    /// changes nothing computes nothing.
    state: State,
}

impl Connection {
    /// A flow that isn't TCP, or has seen no segment.
    pub const NONE: Self = Self {
        guest: Side::SILENT,
        far: Side::SILENT,
        asked: [0; 2],
        state: State::Closed,
    };

    /// The place of a connection, with what another protocol keeps in it: two
    /// numbers of the guest, two of the far end, and a state.
    pub(super) fn holding([guest, far]: [[u32; 2]; 2], state: State) -> Self {
        let mut place = Self::NONE;
        [place.guest.end, place.guest.una] = guest;
        [place.far.end, place.far.una] = far;
        place.state = state;
        place
    }

    /// The numbers that such a place holds.
    pub(super) const fn held(&self) -> [[u32; 2]; 2] {
        let (guest, far) = (self.guest, self.far);
        [[guest.end, guest.una], [far.end, far.una]]
    }

    /// The guest's state.
    #[must_use]
    #[inline]
    pub const fn state(&self) -> State {
        self.state
    }

    /// A connection whose first segment seen is `segment`, sent `dir`; `scale`
    /// is of meaning when it is a SYN.
    ///
    /// A segment from the middle of a stream makes an established connection
    /// when `mid_stream` allows it: the engine may have been restarted under
    /// a running guest.
    ///
    /// # Errors
    ///
    /// When the segment neither opens a connection nor may join one.
    pub fn open(
        segment: &Segment,
        dir: Direction,
        scale: Scale,
        mid_stream: bool,
    ) -> Result<Self, DropReason> {
        check_flags(segment)?;
        let mut connection = Self::NONE;
        if !is_first(segment) {
            if !mid_stream || segment.has(Segment::SYN | Segment::RST) {
                return Err(DropReason::TcpNoFlow);
            }
            let (sender, receiver) = connection.sides(dir);
            *sender = Side::joined(segment.seq);
            *receiver = Side::joined(segment.ack);
        }
        connection.step(segment, dir, dir, scale)?;
        Ok(connection)
    }

    /// Whether the connection makes room for the one that `segment` asks for:
    /// it is over, or nobody has ever `answered` what made us believe in it.
    /// After both sides have closed, the SYN's number has to be after all that
    /// its sender has sent (RFC 9293 section 3.6.1).
    #[must_use]
    pub fn yields_to(&self, segment: &Segment, dir: Direction, answered: bool) -> bool {
        let sender = match dir {
            Direction::Out => &self.guest,
            Direction::In => &self.far,
        };
        is_first(segment)
            && match self.state {
                State::Closed | State::Reset => true,
                State::TimeWait => later(sender.end, segment.seq) == segment.seq,
                _ => self.is_joined() && !answered,
            }
    }

    /// Takes the common segment into account: data or an acknowledgement on an
    /// established connection, between what is acknowledged and what was sent
    /// or right after it. False when it is another, and nothing is done.
    #[inline(always)]
    pub fn advance(&mut self, segment: &Segment, dir: Direction) -> bool {
        let controls = Segment::SYN | Segment::FIN | Segment::RST | Segment::ACK;
        if self.state != State::Established || segment.flags & controls != Segment::ACK {
            return false;
        }
        let (sender, receiver) = self.sides(dir);
        let (start, flight) = (segment.seq.wrapping_sub(sender.una), sender.flight());
        if start > flight
            || segment.ack.wrapping_sub(receiver.una) > receiver.flight()
            || units(segment.window) > sender.window
        {
            return false;
        }
        // Counted from what is acknowledged, where nothing wraps.
        let end = start.wrapping_add(segment.len);
        if end > flight {
            sender.end = sender.una.wrapping_add(end);
        }
        receiver.una = segment.ack;
        true
    }

    /// Takes any segment into account. `opened` is the direction of the
    /// connection's first SYN; `scale` is of meaning when this is one.
    ///
    /// # Errors
    ///
    /// When no TCP sends it, or it can't belong to the connection. It changes
    /// nothing then, unless it shows that the connection is gone.
    #[inline(never)]
    pub fn step(
        &mut self,
        segment: &Segment,
        dir: Direction,
        opened: Direction,
        scale: Scale,
    ) -> Result<(), DropReason> {
        check_flags(segment)?;
        if self.state == State::Reset {
            return Ok(());
        }
        if segment.has(Segment::RST) {
            return self.reset(segment, dir);
        }
        if !segment.has(Segment::SYN) {
            self.take(segment, dir)?;
        } else if segment.has(Segment::ACK) {
            self.answer(segment, dir, opened, scale)?;
        } else {
            self.ask(segment, dir, scale);
        }
        self.state = self.derive();
        Ok(())
    }

    /// Data, an acknowledgement, a FIN.
    fn take(&mut self, segment: &Segment, dir: Direction) -> Result<(), DropReason> {
        let is_open = self.is_open();
        let (sender, receiver) = self.sides(dir);
        if !(sender.has(Side::SYN) && receiver.has(Side::SYN)) {
            // Nothing to go by yet; whoever waits for a SYN answers it with a reset.
            return Ok(());
        }
        if !sender.may_send(segment.seq, receiver) {
            let is_clear = is_open && !receiver.has(Side::UNSURE);
            return refuse(is_clear && !sender.may_have_sent(segment.seq));
        }
        if receiver.may_be_acked(segment.ack, sender) {
            receiver.acknowledged(segment.ack);
            sender.sends(segment, receiver);
        }
        Ok(())
    }

    /// A SYN without acknowledgement.
    fn ask(&mut self, segment: &Segment, dir: Direction, scale: Scale) {
        let is_open = self.is_open();
        let (sender, receiver) = self.sides(dir);
        if !sender.has(Side::SYN) {
            *sender = Side::opening(segment, scale);
            if receiver.has(Side::SYN) {
                sender.agree(receiver);
            }
        } else if segment.seq == sender.una && !is_open {
            sender.repeats(segment, scale);
            if receiver.has(Side::SYN) {
                sender.agree(receiver);
            }
        } else if !sender.is_past(segment.seq, receiver) {
            sender.say(Side::ASKED);
            receiver.unsay(Side::ASKED);
            self.asked = low_half(segment.seq.wrapping_add(1));
        }
    }

    /// A SYN with acknowledgement.
    fn answer(
        &mut self,
        segment: &Segment,
        dir: Direction,
        opened: Direction,
        scale: Scale,
    ) -> Result<(), DropReason> {
        let is_open = self.is_open();
        let is_asked = self.asked == low_half(segment.ack);
        let (sender, receiver) = self.sides(dir);
        if receiver.has(Side::ASKED) && is_asked {
            if opened == dir {
                // Who asked anew is who answered before: that is another
                // connection to every rule, judged when the SYN comes again.
                self.state = State::Reset;
                return Err(DropReason::TcpNoFlow);
            }
            // Not seen closely, and a late copy of both segments of the first
            // handshake may lead here, so nothing is refused from now on.
            *receiver = Side::joined(segment.ack);
            *sender = Side::opening(segment, scale).unsure();
            return Ok(());
        }
        let acked = segment.ack.wrapping_sub(receiver.una);
        let fits = acked <= receiver.flight() && (acked > 0 || receiver.has(Side::SYN_ACKED));
        if is_open || !receiver.has(Side::SYN) || !fits {
            // A copy, or one that its receiver answers with a reset.
            return Ok(());
        }
        // Who knows what it acknowledges is believed; a stranger may have sent
        // the SYN that we know.
        if !sender.has(Side::SYN) || sender.una.wrapping_sub(segment.seq) > 1 {
            *sender = Side::opening(segment, scale);
        } else if sender.una == segment.seq {
            sender.repeats(segment, scale);
        }
        sender.agree(receiver);
        receiver.acknowledged(segment.ack);
        Ok(())
    }

    /// A reset.
    fn reset(&mut self, segment: &Segment, dir: Direction) -> Result<(), DropReason> {
        let is_open = self.is_open();
        let is_asked = self.asked == low_half(segment.ack);
        let (sender, receiver) = self.sides(dir);
        let exact =
            sender.has(Side::SYN) && (segment.seq == sender.una || segment.seq == sender.end);
        let acked = segment.ack.wrapping_sub(receiver.una);
        let refuses_syn = segment.has(Segment::ACK)
            && if is_open {
                receiver.has(Side::ASKED) && is_asked
            } else {
                acked > 0 && acked <= receiver.flight()
            };
        if exact || refuses_syn {
            self.state = State::Reset;
            return Ok(());
        }
        // Also what answers a SYN that we don't remember.
        let is_clear = is_open && !receiver.has(Side::UNSURE) && !receiver.has(Side::ASKED);
        refuse(is_clear && !sender.may_send(segment.seq, receiver))
    }

    /// Whether a segment that begins at `sequence` may be on its way `dir`: in
    /// the window, or sent again from before.
    #[must_use]
    pub fn may_be_under_way(&self, sequence: u32, dir: Direction) -> bool {
        let mut connection = *self;
        let (sender, receiver) = connection.sides(dir);
        !sender.has(Side::SYN) || sender.may_send(sequence, receiver)
    }

    /// The side that sends a segment, and the one that gets it.
    #[inline(always)]
    const fn sides(&mut self, dir: Direction) -> (&mut Side, &mut Side) {
        match dir {
            Direction::Out => (&mut self.guest, &mut self.far),
            Direction::In => (&mut self.far, &mut self.guest),
        }
    }

    /// Whether it was first seen in mid-stream.
    const fn is_joined(&self) -> bool {
        self.guest.has(Side::UNSURE) && self.far.has(Side::UNSURE)
    }

    /// Whether both sides have opened the connection.
    const fn is_open(&self) -> bool {
        let both = Side::SYN | Side::SYN_ACKED;
        self.guest.has(both) && self.far.has(both)
    }

    /// The guest's state, from what both sides have said.
    const fn derive(&self) -> State {
        let (guest, far) = (&self.guest, &self.far);
        match (guest.has(Side::FIN), far.has(Side::FIN)) {
            (true, true) => match (guest.fin_acked(), far.fin_acked()) {
                (true, true) => State::TimeWait,
                (true, false) => State::FinWait2,
                (false, _) if guest.has(Side::FIRST) => State::Closing,
                (false, _) => State::LastAck,
            },
            (true, false) if guest.fin_acked() => State::FinWait2,
            (true, false) => State::FinWait1,
            (false, true) => State::CloseWait,
            (false, false) => match (guest.has(Side::SYN), far.has(Side::SYN)) {
                (true, true) if self.is_open() => State::Established,
                (true, true) => State::SynReceived,
                (true, false) => State::SynSent,
                (false, true) => State::Listen,
                (false, false) => State::Closed,
            },
        }
    }
}

/// Whether a segment asks for a connection.
#[must_use]
pub const fn is_first(segment: &Segment) -> bool {
    segment.has(Segment::SYN) && !segment.has(Segment::ACK)
}

/// SYN goes with neither RST nor FIN, and nothing goes without any of SYN, RST
/// and ACK.
fn check_flags(segment: &Segment) -> Result<(), DropReason> {
    let syn = segment.has(Segment::SYN);
    let ends = segment.has(Segment::RST | Segment::FIN);
    let any = segment.has(Segment::SYN | Segment::RST | Segment::ACK);
    if (syn && ends) || !any {
        Err(DropReason::TcpBadFlags)
    } else {
        Ok(())
    }
}

const fn refuse(it: bool) -> Result<(), DropReason> {
    if it {
        Err(DropReason::TcpOutOfWindow)
    } else {
        Ok(())
    }
}

/// The lower bytes of a number.
const fn low_half(number: u32) -> [u8; 2] {
    let [a, b, _, _] = number.to_le_bytes();
    [a, b]
}

#[cfg(test)]
mod tests;
