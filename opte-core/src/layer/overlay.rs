//! The overlay: who the inner frame goes to, and the way there.
//!
//! Purpose   turns a route's target into a [`Forward`]: a port of this host, or
//!           a path over the underlay, the VNI and the inner MAC address.
//! Rules     O1  generations are read before what they stand for, so a rewrite
//!               is never stamped newer than it is.
//!           O2  nothing is changed here but paths of the underlay, which are
//!               shared and cost nothing when nobody uses them.
//! Failure   no mapping, no boundary, no route on the underlay.

use crate::DropReason;
use crate::api::RouteTarget;
use crate::event::Observer;
use crate::flow::record::{Forward, Next};
use crate::host::mapping::Stamp;
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

/// The way of a flow from a port of VPC `vni` to `remote`, along a route to
/// `target`. `choice` chooses among equals.
pub(crate) fn forward<R: RawMutex, O: Observer>(
    env: &Env<'_, R, O>,
    vni: Vni,
    target: RouteTarget,
    remote: &IpAddr,
    choice: u32,
) -> Result<Forward, DropReason> {
    let underlay = env.underlay.generation(); // O1
    let path = |sled: &Ipv6Addr, vni| {
        let path = env.underlay.path_for(sled, choice, env.now, env.observer);
        path.map(|path| Next::Path(path, vni))
    };
    let peer = match target {
        RouteTarget::Ip(next) => find_peer(env, vni, &next),
        RouteTarget::Subnet(_) => find_peer(env, vni, remote),
        RouteTarget::Gateway(_) => {
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

/// The tunnel's UDP source port: the flow's entropy (RFC 8926 section 3.3).
fn source_port(choice: u32) -> u16 {
    let [low, high, ..] = choice.to_le_bytes();
    SOURCE_PORT_FIRST | (u16::from_le_bytes([low, high]) & 0x3fff)
}
