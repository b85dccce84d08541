//! Connections: scripts of segments, and a model of two real ends.

mod end;
mod model;
mod script;

use super::*;
use Direction::{In, Out};

/// A segment; flags by their letters.
fn segment(flags: &str, seq: u32, ack: u32, len: u32) -> Segment {
    let bit = |c| match c {
        'F' => Segment::FIN,
        'S' => Segment::SYN,
        'R' => Segment::RST,
        'A' => Segment::ACK,
        _ => panic!("flag {c}"),
    };
    Segment {
        seq,
        ack,
        len,
        window: 1000,
        flags: flags.chars().map(bit).fold(0, |a, b| a | b),
    }
}

/// A connection as a port keeps it: with what the flow knows besides.
#[derive(Clone, Debug)]
struct Tracker {
    connection: Option<Connection>,
    opened: Direction,
    answered: bool,
    mid_stream: bool,
}

/// What became of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Passed,
    /// It passed, and began a new connection in the place of another.
    New,
    Refused(DropReason),
}

impl Tracker {
    const fn new(mid_stream: bool) -> Self {
        Self {
            connection: None,
            opened: Out,
            answered: false,
            mid_stream,
        }
    }

    fn state(&self) -> State {
        self.connection.map_or(State::Closed, |c| c.state())
    }

    /// Takes a segment as a port does: by the short way if that will have it.
    fn take(&mut self, segment: &Segment, dir: Direction, scale: Scale) -> Fate {
        let old = self
            .connection
            .filter(|c| !c.yields_to(segment, dir, self.answered));
        let Some(mut connection) = old else {
            return match Connection::open(segment, dir, scale, self.mid_stream) {
                Ok(connection) => {
                    let was_there = self.connection.replace(connection).is_some();
                    (self.opened, self.answered) = (dir, false);
                    if was_there { Fate::New } else { Fate::Passed }
                }
                Err(reason) => Fate::Refused(reason),
            };
        };
        let mut long = connection;
        let stepped = long.step(segment, dir, self.opened, scale);
        if connection.advance(segment, dir) {
            assert_eq!(stepped, Ok(()));
            assert_eq!(long, connection, "both ways lead to the same place");
        }
        self.connection = Some(long);
        match stepped {
            Ok(()) => {
                self.answered |= dir != self.opened;
                Fate::Passed
            }
            Err(reason) => Fate::Refused(reason),
        }
    }
}

#[test]
fn a_connection_is_small() {
    // Every flow has one.
    assert_eq!((size_of::<Connection>(), align_of::<Connection>()), (25, 1));
}

#[test]
fn what_opens_nothing_is_refused() {
    let open = |flags, mid| {
        let opened = Connection::open(&segment(flags, 1, 1, 0), Out, Scale::Off, mid);
        opened.map(|c| c.state())
    };
    assert_eq!(open("A", false), Err(DropReason::TcpNoFlow));
    assert_eq!(open("A", true), Ok(State::Established));
    assert_eq!(open("FA", true), Ok(State::FinWait1));
    assert_eq!(open("SA", true), Err(DropReason::TcpNoFlow));
    assert_eq!(open("R", true), Err(DropReason::TcpNoFlow));
    for bad in ["SF", "SR", "F", "", "SFA", "SRA"] {
        assert_eq!(open(bad, true), Err(DropReason::TcpBadFlags), "{bad}");
    }
}

#[test]
fn scales_are_read_from_a_syn() {
    let mut header = [0; 24];
    header[12] = 0x60;
    let mut scale = |options: [u8; 4]| {
        header[20..].copy_from_slice(&options);
        Scale::read(&header)
    };
    assert_eq!(scale([1, 3, 3, 7]), Scale::Shift(7));
    assert_eq!(
        scale([3, 3, 15, 0]),
        Scale::Shift(14),
        "RFC 7323 section 2.3"
    );
    assert_eq!(scale([0, 3, 3, 7]), Scale::Off);
    assert_eq!(scale([1, 1, 1, 3]), Scale::Unknown);
    assert_eq!(Scale::read(&header[..22]), Scale::Unknown, "cut off");
}
