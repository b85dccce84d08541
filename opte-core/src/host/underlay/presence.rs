//! What the packet path and the shells may ask of the underlay without its
//! lock: our addresses, the paths, generations and counters.
//!
//! Written with the lock held (rule L2 in `mod.rs`), read by everybody.

use super::path::Slab;
use super::plan::LINK_IDS;
use super::seq::Seq;
use crate::DropReason;
use crate::verdict::LinkId;
use crate::wire::MacAddr;
use core::net::Ipv6Addr;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// One for every link number.
const STATIONS: usize = 32;
const _: () = assert!(LINK_IDS == 32);

/// The lock-free side of an underlay.
#[derive(Debug)]
pub(super) struct Presence {
    /// The paths' slots.
    pub(super) slab: Slab,
    /// The tunnel address; the tag says whether there is one.
    address: Seq<2>,
    stations: [Station; STATIONS],
    /// Counts changes of links, routes and address.
    generation: AtomicU32,
    /// Frames that waited and were given up: not resolved, no room.
    unresolved: AtomicU64,
    queue_full: AtomicU64,
}

/// One link's part.
#[derive(Debug)]
struct Station {
    /// The bytes of the MAC address, then those of the MTU; zero without a link.
    word: AtomicU64,
    rx: Counter,
    tx: Counter,
}

impl Station {
    const fn new() -> Self {
        Self {
            word: AtomicU64::new(0),
            rx: Counter::new(),
            tx: Counter::new(),
        }
    }
}

/// Frames and their bytes.
#[derive(Debug)]
struct Counter {
    packets: AtomicU64,
    bytes: AtomicU64,
}

/// Our addresses on one link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ours {
    /// The link's MAC address.
    pub(super) mac: MacAddr,
    /// Bytes of IP packet that the link carries.
    pub(super) mtu: u16,
    /// Our tunnel address.
    pub(super) tunnel: Ipv6Addr,
}

impl Ours {
    /// Whether the address is one of ours on this link.
    pub(super) fn has(&self, address: &Ipv6Addr) -> bool {
        *address == self.tunnel || *address == self.mac.link_local()
    }
}

impl Presence {
    /// Neither links nor an address.
    pub(super) fn new() -> Self {
        Self {
            slab: Slab::new(),
            address: Seq::new(),
            stations: [const { Station::new() }; STATIONS],
            generation: AtomicU32::new(0),
            unresolved: AtomicU64::new(0),
            queue_full: AtomicU64::new(0),
        }
    }

    /// Our tunnel address. `None` also while it is being changed.
    #[inline]
    pub(super) fn address(&self) -> Option<Ipv6Addr> {
        let (there, words) = self.address.load_patiently()?;
        (there != 0).then(|| from_words(words))
    }

    pub(super) fn set_address(&self, address: Option<Ipv6Addr>) {
        // Readers lose sight of it for a moment: not for nothing.
        if self.address() == address {
            return;
        }
        let there = u64::from(address.is_some());
        self.address
            .store(there, to_words(address.unwrap_or(Ipv6Addr::UNSPECIFIED)));
    }

    /// MAC address and MTU of a link.
    #[inline]
    pub(super) fn station(&self, link: LinkId) -> Option<(MacAddr, u16)> {
        let station = self.stations.get(usize::from(link.0))?;
        let word = station.word.load(Ordering::Acquire);
        let [a, b, c, d, e, f, g, h] = word.to_ne_bytes();
        let mtu = u16::from_be_bytes([g, h]);
        (word != 0).then_some((MacAddr([a, b, c, d, e, f]), mtu))
    }

    /// Whether a link has this MAC address.
    #[inline]
    pub(super) fn is_station(&self, link: LinkId, mac: MacAddr) -> bool {
        let Some(station) = self.stations.get(usize::from(link.0)) else {
            return false;
        };
        // Compared as words, since each packet is.
        let word = station.word.load(Ordering::Acquire);
        let [a, b, c, d, e, f] = mac.0;
        let mac = u64::from_ne_bytes([a, b, c, d, e, f, 0, 0]);
        let mac_bits = u64::from_ne_bytes([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0]);
        word != 0 && word & mac_bits == mac
    }

    pub(super) fn set_station(&self, link: LinkId, station: Option<(MacAddr, u16)>) {
        let Some(cell) = self.stations.get(usize::from(link.0)) else {
            return;
        };
        let word = station.map_or(0, |(mac, mtu)| {
            let ([a, b, c, d, e, f], [g, h]) = (mac.0, mtu.to_be_bytes());
            u64::from_ne_bytes([a, b, c, d, e, f, g, h])
        });
        if word == 0 {
            for counter in [&cell.rx, &cell.tx] {
                counter.packets.store(0, Ordering::Relaxed);
                counter.bytes.store(0, Ordering::Relaxed);
            }
        }
        cell.word.store(word, Ordering::Release);
    }

    /// Our addresses on a link.
    pub(super) fn ours(&self, link: LinkId) -> Option<Ours> {
        let (mac, mtu) = self.station(link)?;
        let tunnel = self.address()?;
        Some(Ours { mac, mtu, tunnel })
    }

    pub(super) fn generation(&self) -> u32 {
        self.generation.load(Ordering::Acquire)
    }

    pub(super) fn bump_generation(&self) {
        self.generation.fetch_add(1, Ordering::Release);
    }

    pub(super) fn count_rx(&self, link: LinkId, len: usize) {
        if let Some(station) = self.stations.get(usize::from(link.0)) {
            station.rx.add(len);
        }
    }

    pub(super) fn count_tx(&self, link: LinkId, len: usize) {
        if let Some(station) = self.stations.get(usize::from(link.0)) {
            station.tx.add(len);
        }
    }

    /// Packets and bytes received and sent by the underlay itself.
    pub(super) fn traffic(&self, link: LinkId) -> [(u64, u64); 2] {
        let station = self.stations.get(usize::from(link.0));
        station.map_or_else(Default::default, |s| [s.rx.get(), s.tx.get()])
    }

    pub(super) fn count_drop(&self, reason: DropReason) {
        let counter = match reason {
            DropReason::NextHopQueueFull => &self.queue_full,
            _ => &self.unresolved,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn drops(&self) -> [(DropReason, u64); 2] {
        [
            (DropReason::NextHopUnresolved, &self.unresolved),
            (DropReason::NextHopQueueFull, &self.queue_full),
        ]
        .map(|(reason, counter)| (reason, counter.load(Ordering::Relaxed)))
    }
}

impl Counter {
    const fn new() -> Self {
        Self {
            packets: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }

    fn add(&self, len: usize) {
        self.packets.fetch_add(1, Ordering::Relaxed);
        let len = u64::try_from(len).unwrap_or(u64::MAX);
        self.bytes.fetch_add(len, Ordering::Relaxed);
    }

    fn get(&self) -> (u64, u64) {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (load(&self.packets), load(&self.bytes))
    }
}

fn to_words(address: Ipv6Addr) -> [u64; 2] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = address.octets();
    [
        u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
        u64::from_ne_bytes([i, j, k, l, m, n, o, p]),
    ]
}

#[inline]
fn from_words([high, low]: [u64; 2]) -> Ipv6Addr {
    let ([a, b, c, d, e, f, g, h], [i, j, k, l, m, n, o, p]) =
        (high.to_ne_bytes(), low.to_ne_bytes());
    Ipv6Addr::from_octets([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_back_as_they_were_set() {
        let presence = Presence::new();
        assert_eq!(presence.address(), None);
        let address = "fd00:1:2:3:4:5:6:7".parse().unwrap();
        presence.set_address(Some(address));
        assert_eq!(presence.address(), Some(address));
        presence.set_address(None);
        assert_eq!(presence.address(), None);

        let mac = MacAddr([0xa8, 0x40, 0x25, 1, 2, 3]);
        presence.set_station(LinkId(31), Some((mac, 9_000)));
        assert_eq!(presence.station(LinkId(31)), Some((mac, 9_000)));
        assert_eq!(presence.station(LinkId(30)), None);
        assert!(presence.is_station(LinkId(31), mac));
        assert!(!presence.is_station(LinkId(31), MacAddr([2; 6])));
        assert!(!presence.is_station(LinkId(30), MacAddr::ZERO));
        assert_eq!(presence.station(LinkId(32)), None);
    }

    #[test]
    fn counters_start_again_with_the_link() {
        let presence = Presence::new();
        let link = LinkId(4);
        presence.set_station(link, Some((MacAddr([2; 6]), 1_500)));
        presence.count_rx(link, 60);
        presence.count_tx(link, 70);
        presence.count_tx(link, 70);
        assert_eq!(presence.traffic(link), [(1, 60), (2, 140)]);
        presence.set_station(link, None);
        assert_eq!(presence.traffic(link), [(0, 0), (0, 0)]);
    }
}
