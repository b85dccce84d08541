//! Two real ends with a bad network between them, and us in the middle.

use super::end::{End, Sent};
use super::{Connection, Direction, Fate, In, Out, Scale, Side, State, Tracker, low_half};
use crate::DropReason;
use crate::rng::Rng;
use crate::wire::packet::Segment;
use std::vec::Vec;

/// Ticks in which every connection must have come to its end.
const TICKS: u32 = 60_000;

/// How bad the network is: chances in a thousand.
#[derive(Clone, Copy, Debug)]
struct Weather {
    loss: usize,
    copies: usize,
    delay: usize,
}

/// Segments on their way, with the ticks that they still need.
#[derive(Debug, Default)]
struct Way(Vec<(usize, Sent)>);

impl Way {
    fn send(&mut self, sent: Sent, weather: Weather, rng: &mut Rng) {
        if rng.below(1_000) < weather.loss {
            return;
        }
        self.0.push((1 + rng.below(weather.delay), sent));
        if rng.below(1_000) < weather.copies {
            self.0.push((1 + rng.below(3 * weather.delay), sent));
        }
    }

    fn arrived(&mut self) -> Vec<Sent> {
        for (ticks, _) in &mut self.0 {
            *ticks -= 1;
        }
        let (here, still): (Vec<_>, Vec<_>) = self.0.drain(..).partition(|way| way.0 == 0);
        self.0 = still;
        here.into_iter().map(|way| way.1).collect()
    }
}

/// Guest, engine, network, far end.
struct World {
    rng: Rng,
    guest: End,
    far: End,
    tracker: Tracker,
    /// To the guest, from the engine; to the engine, from the far end; and back.
    to_guest: Way,
    to_us: Way,
    from_guest: Way,
    to_far: Way,
    weather: Weather,
    /// Whether the engine knows the connection from its first segment on.
    knows_all: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng(seed);
        let opens = rng.below(5);
        let guest = End::new(&mut rng, opens < 3);
        let far = End::new(&mut rng, opens > 1);
        let weather = Weather {
            loss: rng.pick(&[0, 20, 200]),
            copies: rng.pick(&[0, 50, 300]),
            delay: rng.pick(&[1, 4, 20]),
        };
        Self {
            guest,
            far,
            tracker: Tracker::new(true),
            to_guest: Way::default(),
            to_us: Way::default(),
            from_guest: Way::default(),
            to_far: Way::default(),
            weather,
            knows_all: true,
            rng,
        }
    }

    /// A segment comes to the engine, and goes on if it may.
    fn pass(&mut self, sent: Sent, dir: Direction) {
        let (segment, scale) = sent;
        let before = self.tracker.clone();
        let fate = self.tracker.take(&segment, dir, scale);
        if let Fate::Refused(reason) = fate {
            // Who comes late doesn't know what opens no connection.
            let is_late = !self.knows_all && reason == DropReason::TcpNoFlow;
            // A reset that answers a copy of a SYN, say.
            let receiver = if dir == Out { &self.far } else { &self.guest };
            let is_void = segment.has(Segment::RST) && !receiver.obeys(&segment);
            assert!(
                is_late || is_void,
                "{dir:?} {segment:?} {reason:?}\n{before:?}\n{:?}\n{:?}",
                self.guest,
                self.far
            );
            return;
        }
        // Next to the guest little is lost, but some is.
        let near = Weather {
            loss: self.weather.loss / 10,
            copies: 0,
            delay: 2,
        };
        match dir {
            Out => self.to_far.send(sent, self.weather, &mut self.rng),
            In => self.to_guest.send(sent, near, &mut self.rng),
        }
    }

    fn tick(&mut self) {
        for (segment, scale) in self.to_guest.arrived() {
            self.from_guest
                .0
                .extend(self.guest.take(&segment, scale).map(|sent| (1, sent)));
        }
        for (segment, scale) in self.to_far.arrived() {
            if let Some(sent) = self.far.take(&segment, scale) {
                self.to_us.send(sent, self.weather, &mut self.rng);
            }
        }
        for sent in self.guest.tick(&mut self.rng) {
            self.from_guest.0.push((1, sent));
        }
        for sent in self.far.tick(&mut self.rng) {
            self.to_us.send(sent, self.weather, &mut self.rng);
        }
        for sent in self.from_guest.arrived() {
            self.pass(sent, Out);
        }
        for sent in self.to_us.arrived() {
            self.pass(sent, In);
        }
    }

    fn is_quiet(&self) -> bool {
        [&self.to_guest, &self.to_us, &self.from_guest, &self.to_far]
            .iter()
            .all(|way| way.0.is_empty())
    }

    fn is_over(&self) -> bool {
        self.guest.is_done() && self.far.is_done() && self.is_quiet()
    }

    /// Runs until both ends are done. `also` may interfere after each tick.
    fn run(&mut self, mut also: impl FnMut(&mut Self, u32)) {
        let (mut ticks, mut has_begun) = (0, false);
        while !self.is_over() {
            self.tick();
            also(self, ticks);
            ticks += 1;
            assert!(ticks < TICKS, "no end\n{:?}\n{:?}", self.guest, self.far);
            // The state of another connection may be there at first.
            has_begun |= self.tracker.state() != State::Reset;
            assert!(
                self.may_be_reset() || !has_begun || self.tracker.state() != State::Reset,
                "it lives\n{:?}\n{:?}\n{:?}",
                self.tracker,
                self.guest,
                self.far
            );
        }
    }

    /// Whether one end has gone: given up, or closed in peace, from when on it
    /// resets what comes late.
    fn may_be_reset(&self) -> bool {
        let is_gone = |end: &End| end.is_dead || end.state == State::Closed;
        is_gone(&self.guest) || is_gone(&self.far)
    }

    /// What is believed at the end is what has happened.
    fn check_end(&self) {
        let state = self.tracker.state();
        let expected = state == State::TimeWait || self.may_be_reset() && state == State::Reset;
        assert!(expected, "{state:?}\n{:?}\n{:?}", self.guest, self.far);
    }
}

/// Says which seed it is when a test fails.
fn seeds(count: u64, mut body: impl FnMut(u64)) {
    struct Tell(u64);
    impl Drop for Tell {
        fn drop(&mut self) {
            if std::thread::panicking() {
                std::eprintln!("seed {}", self.0);
            }
        }
    }
    for seed in 0..if cfg!(miri) { 2 } else { count } {
        let _tell = Tell(seed);
        body(seed);
    }
}

#[test]
fn no_segment_of_a_connection_is_refused_and_the_last_state_is_right() {
    seeds(600, |seed| {
        let mut world = World::new(seed);
        for _ in 0..2 {
            world.run(|_, _| ());
            world.check_end();
            // The same ports again, after all that was sent before.
            let opens = world.rng.below(2) == 0;
            world.guest = End::again(&mut world.rng, opens, &world.guest);
            world.far = End::again(&mut world.rng, !opens, &world.far);
        }
    });
}

#[test]
fn a_connection_that_is_given_up_is_over() {
    seeds(400, |seed| {
        let mut world = World::new(seed);
        let when = world.rng.below(60) as u32;
        let who = world.rng.below(2);
        world.run(|world, tick| {
            if tick != when || world.guest.is_done() || world.far.is_done() {
                return;
            }
            if who == 0 && world.guest.una > 0 {
                let sent = world.guest.abort();
                world.from_guest.0.push((1, sent));
            } else if who == 1 && world.far.una > 0 {
                let sent = world.far.abort();
                world.to_us.send(sent, world.weather, &mut world.rng);
            }
        });
        world.check_end();
    });
}

#[test]
fn who_comes_late_breaks_nothing() {
    seeds(400, |seed| {
        let mut world = World::new(seed);
        let mut when = world.rng.below(60) as u32;
        world.run(|world, tick| {
            let is_open = |end: &End| end.state.number() >= State::Established.number();
            if tick >= when && is_open(&world.guest) && is_open(&world.far) {
                when = u32::MAX;
                world.tracker = Tracker::new(true);
                world.knows_all = false;
            }
        });
    });
}

/// What a segment can't change unless it is believed.
fn belief(connection: &Connection) -> (State, [(u32, u32, u8); 2]) {
    let sides = [connection.guest, connection.far];
    (
        connection.state,
        sides.map(|side| (side.end, side.una, side.window)),
    )
}

/// Whether a stranger's segment could be believed, had it hit by chance: less
/// than two of the largest windows, as coarsely as we know them, from where both sides are.
fn could_hit(forged: &Segment, sender: &End, receiver: &End) -> bool {
    let window = 300_000 + (256 << sender.shift.max(receiver.shift));
    let near = |a: u32, b: u32| a.wrapping_sub(b).min(b.wrapping_sub(a)) <= 2 * window;
    let knows = near(forged.seq, sender.seq(sender.una));
    let exact = [sender.una, sender.nxt]
        .iter()
        .any(|at| sender.seq(*at) == forged.seq);
    match forged.has(Segment::RST) {
        true => knows && exact,
        false => knows && near(forged.ack, receiver.seq(receiver.una)),
    }
}

/// A stranger's segment: numbers from anywhere, or not very far off.
fn forge(rng: &mut Rng, sender: &End, receiver: &End) -> Segment {
    let flags = [
        Segment::RST,
        Segment::RST | Segment::ACK,
        Segment::SYN,
        Segment::SYN | Segment::ACK,
        Segment::ACK,
        Segment::ACK | Segment::FIN,
    ];
    let mut number = |end: &End| match rng.below(3) {
        0 => end
            .seq(end.una)
            .wrapping_add(rng.below(1 << 22) as u32)
            .wrapping_sub(1 << 21),
        _ => rng.next() as u32,
    };
    let (seq, ack) = (number(sender), number(receiver));
    Segment {
        seq,
        ack,
        len: rng.pick(&[0, 1, 1_400]),
        window: rng.next() as u16,
        flags: rng.pick(&flags),
    }
}

#[test]
fn a_stranger_changes_nothing_without_luck() {
    let (mut forged, mut lucky) = (0, 0);
    seeds(300, |seed| {
        let mut world = World::new(seed);
        world.run(|world, _| {
            let Some(mut connection) = world.tracker.connection else {
                return;
            };
            if !connection.is_open() || world.tracker.state() == State::Reset {
                return;
            }
            for _ in 0..20 {
                let dir = world.rng.pick(&[In, Out]);
                let (sender, receiver) = match dir {
                    Out => (&world.guest, &world.far),
                    In => (&world.far, &world.guest),
                };
                let segment = forge(&mut world.rng, sender, receiver);
                let before = connection;
                forged += 1;
                if connection.yields_to(&segment, dir, true) {
                    assert_eq!(connection.state, State::TimeWait);
                    continue;
                }
                if !connection.advance(&segment, dir) {
                    let scale = Scale::Shift(14);
                    let _ = connection.step(&segment, dir, world.tracker.opened, scale);
                }
                if belief(&connection) != belief(&before) {
                    let answers =
                        segment.has(Segment::SYN) && before.asked == low_half(segment.ack);
                    let could = could_hit(&segment, sender, receiver);
                    assert!(could || answers, "{dir:?} {segment:?} {before:?}");
                    // That was luck; it didn't happen.
                    lucky += 1;
                    connection = before;
                }
            }
            // Including what it was made to remember.
            world.tracker.connection = Some(connection);
        });
        let asked = |c: Connection| c.guest.has(Side::ASKED) || c.far.has(Side::ASKED);
        assert!(world.tracker.connection.is_some_and(asked) || seed > 0);
    });
    assert!(
        forged > 10_000 && lucky < forged / 100,
        "{lucky} of {forged}"
    );
}
