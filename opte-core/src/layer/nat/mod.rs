//! Address translation of one port.
//!
//! Purpose   decides by which external address and port a flow through an
//!           internet gateway is seen, and finds the guest's end for a packet
//!           that comes to one of them. What the RFCs ask of it, and the test
//!           for each, is listed in `docs/nat-conformance.md`.
//!
//! Terms     inside    the flow key with the guest's own address and port
//!           outside   the flow key with the external address and port
//!           1:1       an address that is the guest's alone (floating or
//!                     ephemeral): ports stay, every protocol passes
//!           SNAT      an address and a range of its ports: TCP and UDP ports
//!                     and ICMP echo identifiers are mapped, from a pool each
//!
//! Flow      new flow out -> outbound -> flow table keeps `Outside` -> release
//!           packet in -> inbound -> the same
//!           set-external-ips -> plan -> commit; a living flow's next packet
//!           -> still_valid, and if not: release, outbound
//!
//! Rules     N1  the two families share nothing. Each has one lock, held for
//!               one decision or one commit, so a packet sees all of a change
//!               or nothing of it.
//!           N2  a mapping is kept through a commit if the new configuration
//!               allows the very same address and port, whatever it says of
//!               new mappings; else it is gone at once, and its holders learn
//!               it from `still_valid`.
//!           N3  a 1:1 address stands for the port's own address only. What
//!               the guest forwards for others (transit prefixes) can use
//!               SNAT, where two inside ends never share an external one.
//!           N4  on what of the far end a mapping depends, and who may come in
//!               by it, is the port's configuration (`NatOptions`) and never
//!               load or time (RFC 4787 REQ-11). The choice among several
//!               floating addresses depends on the guest alone, or on its
//!               socket.
//!           N5  a floating address that belongs to an internet gateway is used
//!               by flows that a route sends to that very gateway; one that
//!               belongs to none, by flows to any. A route to no certain
//!               gateway uses only the latter: it would otherwise show the
//!               guest by an address of a gateway that its VPC doesn't lead
//!               that flow to.
//!           N6  a flow that came in is answered by the address that it came
//!               to, whatever gateway the way back has.
//!
//! Failure   `NoExternalAddress` when no address fits, also for a protocol
//!           (SCTP, GRE, ESP; ICMP other than echo) that only a 1:1 address
//!           could carry; `SnatExhausted` when every port is taken.
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::as_conversions,
        clippy::arithmetic_side_effects
    )
)]

mod outside;
mod plan;
mod pool;
mod ports;
mod side;
#[cfg(test)]
mod tests;
pub(crate) mod timer;

use crate::api::{ExternalIps, GatewayId, Name, Pooling};
use crate::flow::tuple::to_ip;
use crate::flow::{Family, Proto, Tuple};
use crate::keyed::Keyed;
use crate::{ConfigError, DropReason, Instant};
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use lock_api::{Mutex, RawMutex};
pub use outside::{Kind, Outside, PoolUsage, Transport};
pub use plan::Plan;
use side::Side;

/// The translation of one port.
pub struct Nat<R> {
    key: Keyed,
    inside: [Option<IpAddr>; 2],
    v4: Mutex<R, Side>,
    v6: Mutex<R, Side>,
}

/// By what a flow leaves that has an external end already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// By the address that it came to (rule N6).
    Arrival,
    /// By an internet gateway, perhaps a certain one (rule N5).
    Gateway(Option<GatewayId>),
}

/// Who a packet from outside is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inbound {
    /// The flow inside.
    pub inside: Tuple,
    /// The external end that it came to, with a reference to it.
    pub by: Outside,
    /// Whether filtering lets its sender open a flow. Who has one already may
    /// go on with it.
    pub admits: bool,
}

impl<R: RawMutex> Nat<R> {
    /// No external addresses yet, for a port with these addresses of its own.
    #[must_use]
    pub fn new(seed: u64, ipv4: Option<Ipv4Addr>, ipv6: Option<Ipv6Addr>) -> Self {
        Self {
            key: Keyed::new(seed, "nat floating"),
            inside: [ipv4.map(IpAddr::V4), ipv6.map(IpAddr::V6)],
            v4: Mutex::new(Side::new(seed, ["nat tcp4", "nat udp4", "nat echo4"])),
            v6: Mutex::new(Side::new(seed, ["nat tcp6", "nat udp6", "nat echo6"])),
        }
    }

    /// Checks external addresses and prepares the change to them. Changes
    /// nothing.
    ///
    /// # Errors
    ///
    /// Too many addresses, one that isn't unicast, isn't of a family of the
    /// port or is given twice, or a range without ports.
    pub fn plan(&self, port: &Name, ips: &ExternalIps) -> Result<Plan, ConfigError> {
        plan::check(port, ips, self.inside)?;
        Ok(Plan::new(ips))
    }

    /// Makes a plan real. Cannot fail.
    pub fn commit(&self, plan: Plan) {
        for (side, plan) in [(&self.v4, plan.v4), (&self.v6, plan.v6)] {
            // What is replaced is freed after the lock is given back.
            let _old = side.lock().retarget(plan);
        }
    }

    /// The external end for a new flow to an internet gateway: a floating
    /// address that fits `gateway`, else the ephemeral one, else a port of the
    /// SNAT address. An end that the flow's inside end has already is shared.
    ///
    /// # Errors
    ///
    /// [`DropReason::NoExternalAddress`] or [`DropReason::SnatExhausted`].
    pub fn outbound(
        &self,
        inside: &Tuple,
        gateway: Option<GatewayId>,
        now: Instant,
    ) -> Result<Outside, DropReason> {
        let mut side = self.side(inside.family).lock();
        if self.inside(inside.family) == Some(inside.local_ip()) {
            // N4: whose address this is, or whose socket.
            let by = match side.pooling {
                Pooling::Paired => (Proto(0), inside.local, 0),
                Pooling::Arbitrary => (inside.proto, inside.local, inside.local_port),
            };
            let floating = self.key.rendezvous(by, side.fitting(gateway));
            let ephemeral = side.ephemeral.map(|addr| (addr, Kind::Ephemeral));
            if let Some((addr, kind)) = floating.map(|a| (a, Kind::Floating)).or(ephemeral) {
                return Ok(Outside::whole(addr, kind, inside.local_port));
            }
        }
        let addr = side.snat.ok_or(DropReason::NoExternalAddress)?.address;
        let transport = Transport::of(inside).ok_or(DropReason::NoExternalAddress)?;
        side.pool(transport)
            .take(inside, now)
            .map(|grant| Outside::mapped(addr, transport, grant))
            .ok_or(DropReason::SnatExhausted)
    }

    /// Whether a flow may go on with the external end that it has.
    pub fn still_valid(&self, inside: &Tuple, held: &Outside, via: Via) -> bool {
        let mut side = self.side(inside.family).lock();
        match held.transport() {
            Some(transport) => {
                side.snat.is_some_and(|snat| snat.address == held.addr)
                    && side.pool(transport).holds(inside, held.grant())
            }
            None => match via {
                Via::Arrival => side.whole(&held.addr).is_some(),
                Via::Gateway(gateway) => {
                    side.ephemeral == Some(held.addr)
                        || side.fitting(gateway).any(|addr| addr == held.addr)
                }
            },
        }
    }

    /// The inside of a flow that comes to an external address, and what it
    /// came by. To a SNAT address only what has a mapping comes in. Whether it
    /// is wanted is for the firewall to say.
    pub fn inbound(&self, outside: &Tuple) -> Option<Inbound> {
        let addr = outside.local_ip();
        let mut side = self.side(outside.family).lock();
        if let Some(kind) = side.whole(&addr) {
            return Some(Inbound {
                inside: outside.with_local(self.inside(outside.family)?, outside.local_port),
                by: Outside::whole(addr, kind, outside.local_port),
                admits: true,
            });
        }
        side.snat.filter(|snat| snat.address == addr)?;
        let transport = Transport::of(outside)?;
        let (end, grant, admits) = side.pool(transport).take_by_port(outside)?;
        Some(Inbound {
            inside: outside.with_local(to_ip(outside.family, end.addr), end.port),
            by: Outside::mapped(addr, transport, grant),
            admits,
        })
    }

    /// Whether an address is one of the external ones.
    pub fn owns(&self, addr: &IpAddr) -> bool {
        let side = self.side(Family::of(addr)).lock();
        side.whole(addr).is_some() || side.snat.is_some_and(|snat| snat.address == *addr)
    }

    /// Gives back what [`Nat::outbound`] or [`Nat::inbound`] gave, once for
    /// each of their answers. The last one sends an external port to rest,
    /// counted from `last`: now, or when the flow's last packet came.
    pub fn release(&self, inside: &Tuple, held: &Outside, last: Instant) {
        if let Some(transport) = held.transport() {
            let mut side = self.side(inside.family).lock();
            side.pool(transport).release(inside, held.grant(), last);
        }
    }

    /// How full the pools are, empty ones included.
    pub fn usage(&self) -> [PoolUsage; 6] {
        let [a, b, c] = self.v4.lock().usage(Family::V4);
        let [d, e, f] = self.v6.lock().usage(Family::V6);
        [a, b, c, d, e, f]
    }

    fn side(&self, family: Family) -> &Mutex<R, Side> {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }

    fn inside(&self, family: Family) -> Option<IpAddr> {
        let [v4, v6] = self.inside;
        match family {
            Family::V4 => v4,
            Family::V6 => v6,
        }
    }
}

impl<R> fmt::Debug for Nat<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nat")
            .field("inside", &self.inside)
            .finish_non_exhaustive()
    }
}
