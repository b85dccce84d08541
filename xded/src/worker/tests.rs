//! A worker whose devices are socket pairs.

use super::*;
use crate::device::{Kind, Registry, Shared};
use crate::replay::neighbour;
use crate::sys::probe::Probes;
use crate::testing::{SETUP, udp};
use opte_core::DropReason;
use opte_core::api::{Command, ConfigError, LinkSpec, PortId, PortSpec, Response, Setup};
use opte_core::host::{Devices, HostConfig, LinkDevice};
use opte_core::verdict::Discard;
use opte_core::wire::MacAddr;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::thread::JoinHandle;

/// Devices that are pairs of sockets: one end is the driver's, the other one
/// is the guest or the wire.
struct Cables {
    shared: Arc<Shared>,
    poll: Arc<Poll>,
    /// The guests' ends, by port number.
    guests: Vec<UnixDatagram>,
    /// The wire's end.
    wire: Option<UnixDatagram>,
}

impl Cables {
    fn plug(&self, source: Source, kind: Kind) -> UnixDatagram {
        let (far, near) = UnixDatagram::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        far.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let device = Arc::new(Device::new(kind, OwnedFd::from(near), "cable"));
        let placed = self
            .shared
            .update(|table| table.set(source, Some(Arc::clone(&device))));
        placed.unwrap();
        self.poll.add(source, &device).unwrap();
        far
    }
}

impl Devices for Cables {
    fn open_port(&mut self, id: PortId, _: &PortSpec) -> Result<(), ConfigError> {
        assert_eq!(usize::try_from(id.0).unwrap(), self.guests.len());
        self.guests.push(self.plug(Source::Port(id), Kind::Tap));
        Ok(())
    }

    fn close_port(&mut self, _: PortId) {}

    fn open_link(&mut self, id: LinkId, spec: &LinkSpec) -> Result<LinkDevice, ConfigError> {
        self.wire = Some(self.plug(Source::Link(id), Kind::Packet));
        Ok(LinkDevice {
            mac: MacAddr([2, 0, 0, 0, 0, 1]),
            mtu: spec.mtu,
        })
    }

    fn close_link(&mut self, _: LinkId) {}
}

/// A worker at work.
struct Bench {
    engine: Arc<Engine>,
    cables: Cables,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Bench {
    fn start() -> Self {
        let config = HostConfig { seed: 1, lanes: 1 };
        let engine = Arc::new(Engine::new(config, Probes));
        let shared = Arc::new(Shared::default());
        let poll = Arc::new(Poll::new().unwrap());
        let (clock, stop) = (Clock::start(), Arc::new(AtomicBool::new(false)));
        let mut cables = Cables {
            shared: Arc::clone(&shared),
            poll: Arc::clone(&poll),
            guests: Vec::new(),
            wire: None,
        };
        let setup: Setup = toml::from_str(SETUP).unwrap();
        let apply = Command::Apply(setup);
        engine
            .command(apply, clock.now(), &mut cables, &mut Discard)
            .unwrap();
        let parts = Parts {
            engine: Arc::clone(&engine),
            poll,
            view: shared.view(),
            clock,
            stop: Arc::clone(&stop),
            ticks: true,
        };
        let mut worker = Worker::new(engine.lane(0).unwrap(), parts);
        let thread = Some(std::thread::spawn(move || worker.run()));
        Self {
            engine,
            cables,
            stop,
            thread,
        }
    }

    /// Sends a frame from a guest.
    fn send(&self, guest: usize, frame: &[u8]) {
        self.cables.guests[guest].send(frame).unwrap();
    }

    /// The next frame that a guest gets.
    fn receive(&self, guest: usize) -> Vec<u8> {
        receive(&self.cables.guests[guest])
    }

    /// A port's drops for one reason.
    fn drops(&mut self, port: &str, reason: DropReason) -> u64 {
        let command = Command::Stats(Some(port.parse().unwrap()));
        let now = Instant::ZERO;
        let answer = self
            .engine
            .command(command, now, &mut self.cables, &mut Discard);
        let Ok(Response::Stats(stats)) = answer else {
            panic!("{answer:?}")
        };
        let mut drops = stats.drops.iter();
        let found = drops.find(|counter| counter.name == reason.name());
        found.map_or(0, |counter| counter.value)
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.cables.poll.wake();
        self.thread.take().unwrap().join().unwrap().unwrap();
    }
}

fn receive(socket: &UnixDatagram) -> Vec<u8> {
    let mut frame = vec![0; 2_048];
    let len = socket.recv(&mut frame).unwrap();
    frame.truncate(len);
    frame
}

#[test]
fn frames_go_to_the_guest_next_door_in_their_order() {
    let bench = Bench::start();
    for number in 0..200_u8 {
        let mut frame = udp(1, 2);
        *frame.last_mut().unwrap() = number;
        bench.send(0, &frame);
        // The pair of sockets holds few frames.
        assert_eq!(bench.receive(1).last(), Some(&number));
    }
}

#[test]
fn frames_go_to_another_host_in_a_tunnel() {
    let bench = Bench::start();
    let wire = bench.cables.wire.as_ref().unwrap();
    bench.send(0, &udp(1, 3));
    // The engine looks for its next hop; the wire answers.
    loop {
        let frame = receive(wire);
        if let Some(answer) = neighbour::answer(&frame) {
            wire.send(&answer).unwrap();
        } else if frame[20] == 17 {
            assert_eq!(&frame[70..][14..], &udp(1, 3)[14..]);
            break;
        }
    }
}

#[test]
fn a_guest_that_does_not_read_loses_its_frames_and_nobody_elses() {
    let mut bench = Bench::start();
    // More than the sockets between the driver and guest 1 hold.
    for _ in 0..2_000 {
        bench.send(0, &udp(1, 2));
    }
    // The answer to guest 0 shows that all frames before it were dealt with.
    let arp = [
        &[0xff; 6][..],
        &[0xa8, 0x40, 0x25, 0xf0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1],
        &[0xa8, 0x40, 0x25, 0xf0, 0, 1, 10, 0, 0, 1],
        &[0, 0, 0, 0, 0, 0, 10, 0, 0, 254],
    ]
    .concat();
    bench.send(0, &arp);
    assert_eq!(bench.receive(0)[12..14], [8, 6]);
    let lost = bench.drops("guest1", DropReason::DeviceFull);
    assert!(lost > 0 && lost < 2_000, "{lost}");
}

#[test]
fn what_a_link_had_no_room_for_is_counted() {
    use crate::sys::tests::{Cable, inside, taken};
    if !inside("worker::tests::what_a_link_had_no_room_for_is_counted") {
        return;
    }
    let config = HostConfig { seed: 1, lanes: 1 };
    let engine = Arc::new(Engine::new(config, Probes));
    let shared = Arc::new(Shared::default());
    let cable = Cable::new("net0");
    let link = Arc::new(cable.open_link());
    let placed = shared.update(|table| table.set(Source::Link(LinkId(3)), Some(Arc::clone(&link))));
    placed.unwrap();
    let parts = Parts {
        engine: Arc::clone(&engine),
        poll: Arc::new(Poll::new().unwrap()),
        view: shared.view(),
        clock: Clock::start(),
        stop: Arc::default(),
        ticks: true,
    };
    let mut worker = Worker::new(engine.lane(0).unwrap(), parts);
    let mut devices = Registry::new(shared, Vec::new(), BTreeMap::new());
    let mut counted = || {
        let stats = Command::Stats(None);
        let response = engine.command(stats, Instant::ZERO, &mut devices, &mut Discard);
        let Ok(Response::Stats(stats)) = response else {
            panic!("{response:?}")
        };
        let mut drops = stats.drops.iter();
        drops
            .find(|counter| counter.name == DropReason::LinkFull.name())
            .map_or(0, |counter| counter.value)
    };
    worker.count_overflows();
    assert_eq!(counted(), 0);
    // Nobody reads: what doesn't fit in the queue is lost.
    let sent = 20_000;
    for _ in 0..sent {
        cable.send();
    }
    worker.count_overflows();
    let lost = counted();
    let taken = taken(&link);
    assert!(lost > 0);
    assert_eq!(taken + lost, sent);
    worker.count_overflows();
    assert_eq!(counted(), lost);
}
