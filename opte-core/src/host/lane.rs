//! Lanes: what each CPU or thread has for itself.

use super::Host;
use super::burst::GROUP;
use super::view::View;
use crate::event::Observer;
use crate::port::errand::Errands;
use crate::wire::packet::Packet;
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, Ordering};
use lock_api::RawMutex;

/// One CPU's or thread's private view of a host: cached configuration, and the
/// counters that nobody else writes. Needed for every frame, so that frames on
/// different CPUs share no written memory.
#[derive(Debug)]
pub struct Lane<R: RawMutex> {
    pub(super) index: usize,
    pub(super) view: Arc<View<R>>,
    /// Where the headers of a frame are parsed into, and those of a group of
    /// frames kept while their flows' memory is asked for ([`super::burst`]).
    pub(super) packets: Box<[Packet; GROUP]>,
    /// What a frame has given rise to.
    pub(super) errands: Errands,
    /// Which lanes of the host are taken.
    taken: Arc<[AtomicBool]>,
}

impl<R: RawMutex, O: Observer> Host<R, O> {
    /// The lane of CPU or thread `index`; `None` while somebody has it, or if
    /// there is none.
    pub fn lane(&self, index: usize) -> Option<Lane<R>> {
        // Pairs with the release below: counters have one writer after the
        // other.
        let is_taken = self.lanes.get(index)?.swap(true, Ordering::Acquire);
        (!is_taken).then(|| Lane {
            index,
            view: self.view(),
            packets: Box::new([Packet::EMPTY; GROUP]),
            errands: Errands::default(),
            taken: Arc::clone(&self.lanes),
        })
    }

    /// Has a lane see what the host's ports are now. Every frame does; a lane
    /// without frames would keep the memory of ports that were deleted. A
    /// shell calls this when it closes a port's device, or before it waits.
    /// It costs a load when nothing has changed.
    pub fn refresh(&self, lane: &mut Lane<R>) {
        self.renew(lane);
    }
}

impl<R: RawMutex> Drop for Lane<R> {
    fn drop(&mut self) {
        if let Some(taken) = self.taken.get(self.index) {
            taken.store(false, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::dump::Stats;
    use crate::api::{Command, ConfigError, LinkSpec, Name, PortId, PortSpec, Response, Setup};
    use crate::event::Unobserved;
    use crate::frame::SliceFrame;
    use crate::host::{Devices, HostConfig, LinkDevice};
    use crate::port::Port;
    use crate::verdict::{Discard, LinkId};
    use crate::wire::MacAddr;
    use crate::{DropReason, Instant};
    use alloc::sync::Weak;
    use std::vec;

    type Raw = parking_lot::RawMutex;
    type TestHost = Host<Raw, Unobserved>;

    struct NoDevices;

    impl Devices for NoDevices {
        fn open_port(&mut self, _: PortId, _: &PortSpec) -> Result<(), ConfigError> {
            Ok(())
        }

        fn close_port(&mut self, _: PortId) {}

        fn open_link(&mut self, _: LinkId, _: &LinkSpec) -> Result<LinkDevice, ConfigError> {
            Ok(LinkDevice {
                mac: MacAddr([2; 6]),
                mtu: 9_000,
            })
        }

        fn close_link(&mut self, _: LinkId) {}
    }

    fn command(host: &TestHost, command: Command) -> Response {
        let now = Instant::from_millis(1);
        host.command(command, now, &mut NoDevices, &mut Discard)
            .unwrap()
    }

    /// A host with two lanes and the port g1.
    fn host() -> TestHost {
        let host = Host::new(HostConfig { seed: 1, lanes: 2 }, Unobserved);
        create(&host);
        host
    }

    fn create(host: &TestHost) {
        let text = "[[port]]\nname = \"g1\"\nmac = \"A8:40:25:F0:00:01\"\nvni = 1\n\
                    ipv4 = { address = \"10.0.0.1\", gateway = \"10.0.0.254\" }\n";
        let setup: Setup = toml::from_str(text).unwrap();
        command(host, Command::Apply(setup));
    }

    fn name() -> Name {
        "g1".parse().unwrap()
    }

    fn port(host: &TestHost) -> Weak<Port<Raw>> {
        Arc::downgrade(&host.named(&name()).unwrap())
    }

    /// A frame that the port counts and drops.
    fn send(host: &TestHost, lane: &mut Lane<Raw>) {
        let mut bytes = vec![0; 60];
        let mut frame = SliceFrame::new(&mut bytes, 0, 60);
        let now = Instant::from_millis(2);
        // Whatever becomes of it.
        let _ = host.tx(lane, PortId(0), &mut frame, now, &mut Discard);
    }

    fn stats(host: &TestHost) -> Stats {
        match command(host, Command::Stats(None)) {
            Response::Stats(stats) => stats,
            other => panic!("{other:?}"),
        }
    }

    fn counter(host: &TestHost, name: &str) -> u64 {
        let stats = stats(host);
        let mut all = stats.counters.iter().chain(&stats.drops);
        all.find(|counter| counter.name == name)
            .map_or(0, |counter| counter.value)
    }

    #[test]
    fn a_lane_has_one_owner_at_a_time() {
        let host = host();
        let first = host.lane(0).unwrap();
        assert!(host.lane(0).is_none());
        let second = host.lane(1).unwrap();
        assert!(host.lane(2).is_none());
        drop(first);
        assert!(host.lane(1).is_none());
        let again = host.lane(0).unwrap();
        assert!(host.lane(0).is_none());
        drop((again, second));
        assert!(host.lane(1).is_some());
    }

    #[test]
    fn a_deleted_port_goes_when_every_lane_was_refreshed() {
        let host = host();
        let (mut busy, mut idle) = (host.lane(0).unwrap(), host.lane(1).unwrap());
        let port = port(&host);
        command(&host, Command::DeletePort(name()));
        send(&host, &mut busy);
        assert!(port.upgrade().is_some(), "the idle lane has it");
        host.refresh(&mut idle);
        assert!(port.upgrade().is_none());
    }

    #[test]
    fn totals_of_a_host_never_go_back() {
        let host = host();
        let (mut lane, mut late) = (host.lane(0).unwrap(), host.lane(1).unwrap());
        for round in 1..=3 {
            for _ in 0..5 {
                send(&host, &mut lane);
            }
            assert_eq!(counter(&host, "out_packets"), 6 * round - 1);
            command(&host, Command::DeletePort(name()));
            assert_eq!(counter(&host, "out_packets"), 6 * round - 1);
            // On its way through the port when that went.
            let view = Arc::clone(&late.view);
            let env = host.env_of(&view, &late.errands, late.index, Instant::from_millis(2));
            let gone = env.view.port(PortId(0)).unwrap();
            gone.stats
                .lane(late.index)
                .dir(crate::Direction::Out)
                .packets
                .add(1);
            gone.dropped(&env, crate::Direction::Out, &DropReason::Truncated.into());
            assert_eq!(counter(&host, "out_packets"), 6 * round);
            drop(view);
            host.refresh(&mut lane);
            host.refresh(&mut late);
            create(&host);
            // For the lane's view to have it.
            host.refresh(&mut late);
            assert_eq!(counter(&host, "out_packets"), 6 * round);
            assert_eq!(counter(&host, "truncated"), round);
            assert_eq!(counter(&host, "ports"), 1);
        }
    }
}
