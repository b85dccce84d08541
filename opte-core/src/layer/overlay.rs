//! The overlay: who the inner frame goes to, and the way there.
//!
//! Purpose   turns a route's target into a [`Forward`]: a port of this host, or
//!           a path over the underlay, the VNI and the inner MAC address. What
//!           is for an external address of a guest of this host goes to it as
//!           if the boundary had sent it back (hairpinning).
//! Rules     O1  generations are read before what they stand for, so a rewrite
//!               is never stamped newer than it is.
//!           O2  nothing is changed here but paths of the underlay, which are
//!               shared and cost nothing when nobody uses them.
//! Failure   no mapping, no boundary, no route on the underlay.

use crate::DropReason;
use crate::api::RouteTarget;
use crate::event::Observer;
use crate::flow::Tuple;
use crate::flow::record::{Forward, Next};
use crate::host::mapping::Stamp;
use crate::keyed::Keyed;
use crate::port::Env;
use crate::wire::{MacAddr, Vni};
use core::net::{IpAddr, Ipv6Addr};
use lock_api::RawMutex;

/// UDP source ports of tunnels: the dynamic range (RFC 6335), as RFC 8926
/// section 3.3 recommends.
const SOURCE_PORT_FIRST: u16 = 49_152;

/// Where a guest of the VPC is.
struct Peer {
    place: Place,
    mac: MacAddr,
    stamp: Stamp,
}

enum Place {
    Sled(Ipv6Addr),
    Port(u32),
}

/// The way of a flow from a port of VPC `vni`, which has this key inside, along
/// a route to `target`. `choice` chooses among equals.
pub(crate) fn forward<R: RawMutex, O: Observer>(
    env: &Env<'_, R, O>,
    vni: Vni,
    target: RouteTarget,
    flow: &Tuple,
    choice: u32,
) -> Result<Forward, DropReason> {
    let underlay = env.underlay.generation(); // O1
    let remote = &flow.remote_ip();
    let path = |sled: &Ipv6Addr, vni| {
        let path = env.underlay.path_for(sled, choice, env.now, env.observer);
        path.map(|path| Next::Path(path, vni))
    };
    let peer = match target {
        RouteTarget::Ip(next) => find_peer(env, vni, &next),
        RouteTarget::Subnet(_) => find_peer(env, vni, remote),
        RouteTarget::Gateway(_) => {
            if let Some(next_door) = near(env, flow, choice, underlay) {
                return Ok(next_door);
            }
            let boundary = env.mappings.boundary(remote, choice);
            let (endpoint, mapping) = boundary.ok_or(DropReason::NoV2b)?;
            let (to, mac) = (path(&endpoint.address, endpoint.vni)?, MacAddr::BOUNDARY);
            return Ok(Forward {
                to,
                mac,
                source_port: source_port(choice),
                mapping,
                underlay,
            });
        }
        RouteTarget::Drop => return Err(DropReason::RouteDrop),
    };
    let Peer {
        place,
        mac,
        stamp: mapping,
    } = peer.ok_or(DropReason::NoV2p)?;
    let to = match place {
        Place::Sled(sled) => path(&sled, vni)?,
        Place::Port(port) => Next::Port(port),
    };
    Ok(Forward {
        to,
        mac,
        source_port: source_port(choice),
        mapping,
        underlay,
    })
}

/// The way to a guest of this host by its external address, whichever VPC it
/// is in.
fn near<R: RawMutex, O>(
    env: &Env<'_, R, O>,
    flow: &Tuple,
    choice: u32,
    underlay: u32,
) -> Option<Forward> {
    let (port, mapping) = env.mappings.near(flow)?;
    let port = env.view.port(port)?;
    Some(Forward {
        to: Next::Outside(port.id.0),
        mac: port.mac,
        source_port: source_port(choice),
        mapping,
        underlay,
    })
}

/// When it was asked whether an address of the VPC is somebody's. A flow that a
/// rule about VPCs has judged depends on the answer besides its way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct VpcStamps {
    /// Of the address itself.
    addr: Stamp,
    /// Of every mapping there is.
    all: Stamp,
}

/// The stamps for asking about an address, taken before it is asked (O1).
pub(crate) fn vpc_stamps<R: RawMutex, O>(
    env: &Env<'_, R, O>,
    vni: Vni,
    addr: &IpAddr,
) -> VpcStamps {
    VpcStamps {
        addr: env.mappings.stamp(vni, addr),
        all: env.mappings.stamp_of_all(),
    }
}

impl VpcStamps {
    /// A stamp that is out of date when the answer may be, or the way whose
    /// stamp is `way`. Where these are two mappings, as for a flow by way of
    /// another guest, one stamp can't name both and any change counts.
    pub(crate) fn covering(self, way: Stamp) -> Stamp {
        match way.slot == self.addr.slot {
            true => self.addr,
            false => self.all,
        }
    }
}

/// Whether an address of the VPC is somebody's.
pub(crate) fn is_peer<R: RawMutex, O>(env: &Env<'_, R, O>, vni: Vni, addr: &IpAddr) -> bool {
    find_peer(env, vni, addr).is_some()
}

/// Who has an address of the VPC: by the mappings, or a port of this host.
fn find_peer<R: RawMutex, O>(env: &Env<'_, R, O>, vni: Vni, addr: &IpAddr) -> Option<Peer> {
    let stamp = env.mappings.stamp(vni, addr); // O1
    let (place, mac) = match env.mappings.resolve(vni, addr) {
        Some(found) if Some(found.sled) == env.underlay.address() => {
            let port = env.view.port_by_mac(found.mac, vni)?;
            (Place::Port(port.id.0), found.mac)
        }
        Some(found) => (Place::Sled(found.sled), found.mac),
        None => {
            let port = env.view.port_by_addr(addr, vni)?;
            (Place::Port(port.id.0), port.mac)
        }
    };
    Some(Peer { place, mac, stamp })
}

/// What a flow is told apart by among equals: next hops, end points, paths, and
/// the tunnel's source port, which takes 14 of the 32 bits.
pub(crate) fn choice(key: &Keyed, inside: &Tuple) -> u32 {
    u32::try_from(key.hash(inside) >> 32).unwrap_or(0)
}

/// The tunnel's UDP source port: the flow's entropy (RFC 8926 section 3.3).
fn source_port(choice: u32) -> u16 {
    let [low, high, ..] = choice.to_le_bytes();
    SOURCE_PORT_FIRST | (u16::from_le_bytes([low, high]) & 0x3fff)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::tuple::from_ip;
    use crate::flow::{Family, Proto};
    use std::vec;
    use std::vec::Vec;

    const FLOWS: u32 = 1 << 20;

    /// A flow of a guest that opens one after the other to some servers.
    fn flow(n: u32) -> Tuple {
        let end = |last| from_ip(IpAddr::from([10, 0, 0, last]));
        let [a, b, server, _] = n.to_le_bytes();
        Tuple {
            local: end(1),
            remote: end(server),
            local_port: u16::from_le_bytes([a, b]),
            remote_port: 443,
            proto: Proto::TCP,
            family: Family::V4,
        }
    }

    fn ports() -> Vec<u16> {
        let key = Keyed::new(1, "choice");
        (0..FLOWS)
            .map(|n| source_port(choice(&key, &flow(n))))
            .collect()
    }

    /// What a switch might choose a path by: CRC-16 of the source port, the
    /// only part of the outer headers in which flows of a tunnel differ.
    fn crc(port: u16) -> u32 {
        let mut crc = port;
        for _ in 0..16 {
            crc = (crc << 1) ^ if crc & 0x8000 != 0 { 0x1021 } else { 0 };
        }
        u32::from(crc)
    }

    /// The value that chi-square of so many buckets stays below in 99 % of all
    /// cases (Wilson and Hilferty's approximation).
    fn chi_square_max(buckets: u32) -> f64 {
        let df = f64::from(buckets - 1);
        let spread = 2.0 / (9.0 * df);
        let root = 1.0 - spread + 2.326 * spread.sqrt();
        df * root * root * root
    }

    #[test]
    fn flows_of_a_tunnel_spread_evenly_over_equal_paths() {
        let ports = ports();
        assert!(ports.iter().all(|port| *port >= SOURCE_PORT_FIRST));
        for (what, hash) in [("port", u32::from as fn(u16) -> u32), ("crc", crc)] {
            for buckets in [2_u32, 3, 4, 5, 8, 16, 32, 64, 128, 16_384] {
                let mut counts = vec![0_u32; buckets as usize];
                for port in &ports {
                    counts[(hash(*port) % buckets) as usize] += 1;
                }
                // Some numbers of buckets don't divide the number of ports.
                let mut shares = vec![0_u32; buckets as usize];
                for port in SOURCE_PORT_FIRST..=u16::MAX {
                    shares[(hash(port) % buckets) as usize] += 1;
                }
                let expected = |share: u32| f64::from(share) * f64::from(FLOWS) / 16_384.0;
                let pairs = || counts.iter().zip(&shares);
                let chi_square: f64 = pairs()
                    .map(|(n, share)| (f64::from(*n) - expected(*share)).powi(2) / expected(*share))
                    .sum();
                assert!(
                    chi_square < chi_square_max(buckets),
                    "{buckets} buckets by {what}: {chi_square}"
                );
                if buckets <= 8 {
                    let even = f64::from(FLOWS) / f64::from(buckets);
                    let worst = counts.iter().map(|n| f64::from(*n) / even);
                    let worst = worst.fold(f64::MAX, f64::min);
                    assert!(worst >= 0.99, "{buckets} buckets by {what}: {worst}");
                }
            }
        }
    }

    #[test]
    fn the_two_directions_of_a_flow_take_ports_of_their_own() {
        let key = Keyed::new(1, "choice");
        let port = |tuple: &Tuple| source_port(choice(&key, tuple));
        let same = (0..FLOWS >> 4).filter(|n| {
            let one = flow(*n);
            let other = Tuple {
                local: one.remote,
                remote: one.local,
                local_port: one.remote_port,
                remote_port: one.local_port,
                ..one
            };
            port(&one) == port(&other)
        });
        // One in 16,384 by chance.
        assert!(same.count() < 20);
    }
}
