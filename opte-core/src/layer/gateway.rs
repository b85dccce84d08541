//! The gateway: which addresses a flow may have at its two ends.
//!
//! Purpose   a guest sends from its own addresses and is sent what is for
//!           them; what cannot be routed doesn't cross the gateway.
//! Terms     own        the port's address, one in an attached subnet, or one
//!                      that the guest may forward for
//!           attached   an external subnet that is the guest's without NAT
//!           named      an address that the operator configured by itself
//! Rules     G1  an IPv4 link-local address stops at the gateway (RFC 3927
//!               section 7), but for one that is named: a route into
//!               169.254.0.0/16 for a far end, a transit prefix or attached
//!               subnet in it for a near one. That is how a service of the
//!               operator, as 169.254.169.254 for metadata, is reached.
//! Failure   spoofed, not for this port, a group, or an address that no host
//!           beyond a router has (RFC 1812 section 5.3.7, RFC 6890).
//!
//! What the gateway answers itself is in [`crate::hairpin`].

use super::router::RouteTable;
use crate::api::multicast::is_routable_group;
use crate::api::{PortSpec, Prefix};
use crate::flow::{Family, Proto, Tuple};
use crate::wire::MacAddr;
use crate::wire::membership::is_membership;
use crate::{Direction, DropReason};
use core::net::{IpAddr, Ipv4Addr};

/// Decides about a flow that is opened in direction `opened`.
pub(crate) fn admit(
    spec: &PortSpec,
    routes: &RouteTable,
    opened: Direction,
    key: &Tuple,
) -> Result<(), DropReason> {
    let (local, remote) = (key.local_ip(), key.remote_ip());
    let destination = match opened {
        Direction::Out => remote,
        Direction::In => local,
    };
    let has_family = match key.family {
        Family::V4 => spec.ipv4.is_some(),
        Family::V6 => spec.ipv6.is_some(),
    };
    if is_group(&destination) {
        Err(DropReason::NoMulticast)
    } else if !has_family {
        Err(DropReason::FamilyOff)
    } else if !is_own(spec, &local, opened) {
        Err(match opened {
            Direction::Out => DropReason::SpoofedIp,
            Direction::In => DropReason::NotForPort,
        })
    } else if !(is_routable(&local) || is_own_link_local(spec, &local))
        || !(is_routable(&remote) || is_link_local_with_route(routes, &remote))
        || is_on_link(spec, &remote)
    {
        // Also where a wide transit prefix would allow it.
        Err(DropReason::Martian)
    } else {
        Ok(())
    }
}

/// Decides about a packet for a group that travels `dir` in a frame to the MAC
/// address `to`; `icmp_kind` is the type of an ICMP message.
///
/// Every group has its own MAC address (RFC 1112 section 6.4, RFC 2464 section
/// 7), and a packet for one host doesn't come in a frame for many (RFC 1122
/// section 3.3.6). What a guest says of its memberships is for the gateway; who
/// it says it is, is looked at when the message is read.
pub(crate) fn admit_to_group(
    spec: &PortSpec,
    dir: Direction,
    key: &Tuple,
    icmp_kind: u8,
    to: MacAddr,
) -> Result<(), DropReason> {
    let (group, source) = match dir {
        Direction::Out => (key.remote_ip(), key.local_ip()),
        Direction::In => (key.local_ip(), key.remote_ip()),
    };
    let has_family = match key.family {
        Family::V4 => spec.ipv4.is_some(),
        Family::V6 => spec.ipv6.is_some(),
    };
    if group == IpAddr::V4(Ipv4Addr::BROADCAST) {
        return Err(DropReason::NoMulticast);
    }
    if !group.is_multicast() || to != MacAddr::of_group(group) {
        return Err(DropReason::BadDestinationMac);
    }
    if !has_family {
        return Err(DropReason::FamilyOff);
    }
    if is_membership(key.proto, icmp_kind) {
        return match dir {
            Direction::Out => Ok(()),
            // The guest's only querier is the gateway.
            Direction::In => Err(DropReason::MembershipNotHeard),
        };
    }
    match dir {
        Direction::Out if !is_own(spec, &source, dir) => Err(DropReason::SpoofedIp),
        _ if !is_routable(&source) => Err(DropReason::Martian),
        Direction::In if is_on_link(spec, &source) => Err(DropReason::Martian),
        _ if !is_routable_group(&group) => Err(DropReason::GroupScope),
        _ if key.proto == Proto::TCP => Err(DropReason::TcpToGroup),
        _ => Ok(()),
    }
}

/// Whether `addr` is the guest's to send from (`Out`) or to be sent to (`In`).
pub(crate) fn is_own(spec: &PortSpec, addr: &IpAddr, dir: Direction) -> bool {
    let port = match addr {
        IpAddr::V4(v4) => spec.ipv4.is_some_and(|c| c.address == *v4),
        IpAddr::V6(v6) => spec.ipv6.is_some_and(|c| c.address == *v6),
    };
    port || is_attached(spec, addr)
        || spec.transit.iter().any(|transit| {
            let allowed = match dir {
                Direction::In => transit.inbound,
                Direction::Out => transit.outbound,
            };
            allowed && transit.prefix.contains(addr)
        })
}

/// Whether `addr` is in an attached subnet.
pub(crate) fn is_attached(spec: &PortSpec, addr: &IpAddr) -> bool {
    spec.attached_subnets
        .iter()
        .any(|prefix| prefix.contains(addr))
}

/// Whether an address stands for more than one host. What is a subnet's own
/// broadcast address isn't known here.
pub(crate) fn is_group(addr: &IpAddr) -> bool {
    addr.is_multicast() || *addr == IpAddr::V4(Ipv4Addr::BROADCAST)
}

/// Whether a packet may come in from `addr` that reports about another: from
/// any host beyond a router, or inside of the VPC from a gateway.
pub(crate) fn may_report(spec: &PortSpec, addr: &IpAddr, external: bool) -> bool {
    is_routable(addr) && !(external && is_on_link(spec, addr))
}

/// Whether `addr` is on the guest's link: the guest itself or its gateway.
fn is_on_link(spec: &PortSpec, addr: &IpAddr) -> bool {
    let is = |address: IpAddr, gateway: IpAddr| *addr == address || *addr == gateway;
    spec.ipv4
        .is_some_and(|c| is(c.address.into(), c.gateway.into()))
        || spec
            .ipv6
            .is_some_and(|c| is(c.address.into(), c.gateway.into()))
}

/// Whether a near end is link-local and named (G1).
fn is_own_link_local(spec: &PortSpec, addr: &IpAddr) -> bool {
    let named = |prefix: &Prefix| prefix.contains(addr) && is_link_local(prefix);
    spec.attached_subnets.iter().any(named)
        || spec.transit.iter().any(|transit| named(&transit.prefix))
}

/// Whether a far end is link-local and named (G1).
fn is_link_local_with_route(routes: &RouteTable, addr: &IpAddr) -> bool {
    is_link_local(&Prefix::host(*addr))
        && routes
            .find(addr, 0)
            .is_some_and(|route| is_link_local(&route.spec.dest))
}

/// Whether all addresses of a prefix are IPv4 link-local ones.
fn is_link_local(prefix: &Prefix) -> bool {
    prefix.bits() >= 16 && matches!(prefix.addr(), IpAddr::V4(v4) if v4.is_link_local())
}

/// Whether an address can be that of a host beyond a router.
pub(crate) fn is_routable(addr: &IpAddr) -> bool {
    let nobodys = is_mapped(addr) || addr.is_unspecified() || addr.is_loopback();
    !(nobodys || is_on_link_only(addr) || is_group(addr))
}

/// Whether an address is an IPv4 one, mapped: none on a wire (RFC 4291 section
/// 2.5.5.2).
pub(crate) fn is_mapped(addr: &IpAddr) -> bool {
    matches!(addr, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some())
}

/// Whether no router passes on what comes from an address (RFC 3927 section
/// 2.7, RFC 4291 section 2.5.6).
pub(crate) fn is_on_link_only(addr: &IpAddr) -> bool {
    match addr {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::tuple::from_ip;
    use Direction::{In, Out};

    use crate::layer::router::Route;
    use std::vec::Vec;

    fn spec() -> PortSpec {
        let text = r#"
            name = "g1"
            mac = "A8:40:25:F0:00:01"
            vni = 7
            ipv4 = { address = "10.0.0.1", gateway = "10.0.0.254" }
            attached_subnets = ["192.0.2.0/28"]
            transit = [{ prefix = "172.16.0.0/12", inbound = false },
                       { prefix = "169.254.7.0/24" }, { prefix = "168.0.0.0/6" }]
        "#;
        toml::from_str(text).unwrap()
    }

    fn admit_text(dir: Direction, local: &str, remote: &str) -> Result<(), DropReason> {
        let (local, remote): (IpAddr, IpAddr) = (local.parse().unwrap(), remote.parse().unwrap());
        let key = Tuple {
            local: from_ip(local),
            remote: from_ip(remote),
            local_port: 1,
            remote_port: 2,
            proto: Proto::UDP,
            family: Family::of(&local),
        };
        let routes = [
            "0.0.0.0/0 ig system",
            "168.0.0.0/6 ip4=10.0.0.9 custom",
            "169.254.169.254/32 ip4=10.0.0.9 system",
        ];
        let routes = routes.iter().zip(1..);
        let routes: Vec<_> = routes
            .map(|(text, id)| Route::new(id, text.parse().unwrap()))
            .collect();
        admit(&spec(), &RouteTable::build(routes), dir, &key)
    }

    #[test]
    fn own_addresses_pass_and_others_have_their_reason() {
        for (dir, local, remote, result) in [
            (Out, "10.0.0.1", "10.0.0.2", Ok(())),
            (In, "10.0.0.1", "10.0.0.2", Ok(())),
            (Out, "192.0.2.9", "8.8.8.8", Ok(())),
            (In, "192.0.2.9", "8.8.8.8", Ok(())),
            (Out, "172.16.0.9", "8.8.8.8", Ok(())),
            (In, "172.16.0.9", "8.8.8.8", Err(DropReason::NotForPort)),
            (Out, "10.0.0.2", "10.0.0.1", Err(DropReason::SpoofedIp)),
            (In, "10.0.0.2", "10.0.0.1", Err(DropReason::NotForPort)),
            (Out, "fd00::1", "fd00::2", Err(DropReason::FamilyOff)),
            (Out, "10.0.0.1", "224.0.0.251", Err(DropReason::NoMulticast)),
            (
                Out,
                "10.0.0.1",
                "255.255.255.255",
                Err(DropReason::NoMulticast),
            ),
            (In, "10.0.0.1", "224.0.0.1", Err(DropReason::Martian)),
            (Out, "10.0.0.1", "10.0.0.1", Err(DropReason::Martian)),
            (Out, "10.0.0.1", "169.254.0.1", Err(DropReason::Martian)),
            (Out, "10.0.0.1", "169.254.169.253", Err(DropReason::Martian)),
            (Out, "10.0.0.1", "169.254.169.254", Ok(())),
            (In, "10.0.0.1", "169.254.169.254", Ok(())),
            (Out, "169.254.7.1", "10.0.0.2", Ok(())),
            (In, "169.254.7.1", "10.0.0.2", Ok(())),
            (Out, "169.254.8.1", "10.0.0.2", Err(DropReason::Martian)),
            (In, "10.0.0.1", "169.254.7.1", Err(DropReason::Martian)),
            (Out, "10.0.0.1", "168.0.0.1", Ok(())),
            (Out, "10.0.0.1", "127.0.0.1", Err(DropReason::Martian)),
            (Out, "10.0.0.1", "0.0.0.0", Err(DropReason::Martian)),
        ] {
            assert_eq!(
                admit_text(dir, local, remote),
                result,
                "{dir} {local} {remote}"
            );
        }
    }
}
