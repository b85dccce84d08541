//! Runs `scripts.txt`, whose head says what a script is.

use super::{Direction, Fate, In, Out, Scale, State, Tracker, segment};
use crate::DropReason;
use crate::wire::packet::Segment;
use std::string::String;
use std::vec::Vec;

const SCRIPTS: &str = include_str!("scripts.txt");

/// First numbers of the guest and of the far end. Each script runs with all of
/// these, so that numbers wrap somewhere.
const STARTS: &[(u32, u32)] = &[
    (0, 0),
    (1_000, 4_000_000_000),
    (u32::MAX, u32::MAX - 1),
    (u32::MAX - 12, u32::MAX - 1_010),
    (0x7fff_fff0, 0x7fff_ffff),
];

/// A line of a script.
struct Line {
    dir: Direction,
    segment: Segment,
    scale: Scale,
    state: String,
    fate: Fate,
}

/// Reads a line; numbers count from the starts.
fn parse(line: &str, (guest, far): (u32, u32)) -> Line {
    let mut words = line.split_whitespace().peekable();
    let dir = match words.next() {
        Some(">") => Out,
        Some("<") => In,
        _ => panic!("no direction: {line}"),
    };
    let (own, other) = match dir {
        Out => (guest, far),
        In => (far, guest),
    };
    let flags = words.next().expect("flags");
    let mut segment = segment(if flags == "-" { "" } else { flags }, 0, 0, 0);
    let mut number = |start: u32| {
        let word =
            words.next_if(|word| word.starts_with(|c: char| "=-".contains(c) || c.is_numeric()));
        word.map(|word| match word.strip_prefix('=') {
            Some(word) => word.parse().expect("a number"),
            None => start.wrapping_add_signed(word.parse().expect("a number")),
        })
    };
    segment.seq = number(own).expect("a sequence number");
    segment.ack = number(other).unwrap_or(0);
    let (mut scale, mut state, mut fate) = (Scale::Off, None, Fate::Passed);
    while let Some(word) = words.next() {
        let mut next = || words.next().expect("a value").parse().expect("a number");
        match word {
            "win" => segment.window = next(),
            "scale" => scale = Scale::Shift(u8::try_from(next()).expect("small")),
            "garbled" => scale = Scale::Unknown,
            "new" => fate = Fate::New,
            "outside" => fate = Fate::Refused(DropReason::TcpOutOfWindow),
            "no-flow" => fate = Fate::Refused(DropReason::TcpNoFlow),
            "bad-flags" => fate = Fate::Refused(DropReason::TcpBadFlags),
            _ => match word.strip_prefix('+') {
                Some(len) => segment.len = len.parse().expect("a length"),
                None => state = Some(String::from(word)),
            },
        }
    }
    let state = state.unwrap_or_else(|| panic!("no state: {line}"));
    Line {
        dir,
        segment,
        scale,
        state,
        fate,
    }
}

fn run(title: &str, lines: &[&str], starts: (u32, u32)) {
    let strict = lines.contains(&"no mid-stream");
    let mut tracker = Tracker::new(!strict);
    for text in lines.iter().filter(|line| **line != "no mid-stream") {
        let line = parse(text, starts);
        let fate = tracker.take(&line.segment, line.dir, line.scale);
        let got = (fate, tracker.state().name());
        assert_eq!(
            got,
            (line.fate, line.state.as_str()),
            "{title}: `{text}` from {starts:?}: {tracker:?}"
        );
    }
}

#[test]
fn scripts() {
    let mut count = 0;
    for script in SCRIPTS.split("\n== ").skip(1) {
        let mut lines = script
            .lines()
            .map(|line| line.split('#').next().unwrap_or(""));
        let title = lines.next().expect("a title").trim();
        let lines: Vec<&str> = lines
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect();
        for starts in STARTS {
            run(title, &lines, *starts);
        }
        count += 1;
    }
    assert!(count > 30, "only {count} scripts were found");
}

#[test]
fn states_are_spelt_as_scripts_spell_them() {
    for (state, name) in [
        (State::SynSent, "SYN_SENT"),
        (State::TimeWait, "TIME_WAIT"),
        (State::FinWait2, "FIN_WAIT_2"),
    ] {
        assert_eq!(state.name(), name);
    }
}
