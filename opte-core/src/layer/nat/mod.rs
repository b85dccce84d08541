//! Address translation of one port.
//!
//! Purpose   decides by which external address and port a flow through an
//!           internet gateway is seen, and finds the guest's end for a packet
//!           that comes to one of them.
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
//!               allows the very same address and port; else it is gone at
//!               once, and its holders learn it from `still_valid`.
//!           N3  a 1:1 address stands for the port's own address only. What
//!               the guest forwards for others (transit prefixes) can use
//!               SNAT, where two inside ends never share an external one.
//!           N4  a mapping depends on the inside end alone (RFC 4787 REQ-1),
//!               and so does the choice among several floating addresses:
//!               all flows of one socket leave by one address.
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

mod plan;
mod pool;
#[cfg(test)]
mod tests;

use crate::api::{ExternalIps, Floating, GatewayId, Name, Snat};
use crate::flow::tuple::to_ip;
use crate::flow::{Family, Proto, Tuple};
use crate::keyed::Keyed;
use crate::{ConfigError, DropReason, Instant};
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use lock_api::{Mutex, RawMutex};
pub use plan::Plan;
use pool::{End, Grant, Pool};

/// What kind of external address a flow uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// 1:1, one of several.
    Floating = 1,
    /// 1:1, used outbound when no floating address fits.
    Ephemeral = 2,
    /// Shared; the port is mapped.
    Snat = 3,
}

/// A flow's external end. Whoever has one gives it back with [`Nat::release`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Outside {
    /// The external address.
    pub addr: IpAddr,
    /// The external port or echo identifier; with a 1:1 address, the guest's own.
    pub port: u16,
    /// What kind of address it is.
    pub kind: Kind,
    transport: Option<Transport>,
    stamp: u32,
}

/// What SNAT maps, each from a pool of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Transport {
    /// TCP ports.
    Tcp = 1,
    /// UDP ports.
    Udp = 2,
    /// ICMP and ICMPv6 echo identifiers.
    Echo = 3,
}

impl Transport {
    /// Every pool.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Echo];

    /// What SNAT could map of a flow.
    const fn of(tuple: &Tuple) -> Option<Self> {
        match (tuple.proto, tuple.family) {
            (Proto::TCP, _) => Some(Self::Tcp),
            (Proto::UDP, _) => Some(Self::Udp),
            (Proto::ICMP, Family::V4) | (Proto::ICMPV6, Family::V6) if tuple.is_echo() => {
                Some(Self::Echo)
            }
            _ => None,
        }
    }
}

/// How full a pool is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolUsage {
    /// IP version.
    pub family: Family,
    /// What is mapped.
    pub transport: Transport,
    /// Ports that a flow has.
    pub used: usize,
    /// Ports that rest after their last flow.
    pub resting: usize,
    /// Ports of the range.
    pub capacity: usize,
}

impl PoolUsage {
    /// What counters of the pool are called.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match (self.family, self.transport) {
            (Family::V4, Transport::Tcp) => "tcp4",
            (Family::V4, Transport::Udp) => "udp4",
            (Family::V4, Transport::Echo) => "echo4",
            (Family::V6, Transport::Tcp) => "tcp6",
            (Family::V6, Transport::Udp) => "udp6",
            (Family::V6, Transport::Echo) => "echo6",
        }
    }
}

/// The translation of one port.
pub struct Nat<R> {
    key: Keyed,
    inside: [Option<IpAddr>; 2],
    v4: Mutex<R, Side>,
    v6: Mutex<R, Side>,
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
    /// nothing; nothing else may be committed before the plan is.
    ///
    /// # Errors
    ///
    /// Too many addresses, one that isn't unicast, isn't of a family of the
    /// port or is given twice, a range without ports, or no memory.
    pub fn plan(&self, port: &Name, ips: &ExternalIps) -> Result<Plan, ConfigError> {
        // One after the other: nobody holds both (rule H4 in `host`).
        let v4 = self.v4.lock().snat;
        let v6 = self.v6.lock().snat;
        let current = [v4, v6];
        plan::check(port, ips, self.inside)?;
        Plan::new(port, ips, current)
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
            let by = (inside.proto, inside.local, inside.local_port); // N4
            let fitting = side.floating.iter().filter(|f| fits(f, gateway));
            let floating = self.key.rendezvous(by, fitting.map(|f| f.address));
            let ephemeral = side.ephemeral.map(|addr| (addr, Kind::Ephemeral));
            if let Some((addr, kind)) = floating.map(|a| (a, Kind::Floating)).or(ephemeral) {
                return Ok(Outside::whole(addr, kind, inside.local_port));
            }
        }
        let addr = side.snat.ok_or(DropReason::NoExternalAddress)?.address;
        let transport = Transport::of(inside).ok_or(DropReason::NoExternalAddress)?;
        side.pool(transport)
            .take(End::of(inside), now)
            .map(|grant| Outside::mapped(addr, transport, grant))
            .ok_or(DropReason::SnatExhausted)
    }

    /// Whether a flow may go on with the external end that it has. A flow that
    /// came in has no gateway, which restricts nothing.
    pub fn still_valid(&self, held: &Outside, gateway: Option<GatewayId>) -> bool {
        let mut side = self.side(Family::of(&held.addr)).lock();
        match held.transport {
            Some(transport) => {
                side.snat.is_some_and(|snat| snat.address == held.addr)
                    && side.pool(transport).holds(held.grant())
            }
            None => {
                side.ephemeral == Some(held.addr)
                    || side
                        .floating
                        .iter()
                        .any(|f| f.address == held.addr && fits(f, gateway))
            }
        }
    }

    /// The inside of a flow that comes to an external address, and what it
    /// came by. To a SNAT address only what has a mapping comes in, from
    /// anywhere (endpoint-independent filtering, RFC 4787 REQ-8): whether it
    /// is wanted is for the firewall to say.
    pub fn inbound(&self, outside: &Tuple) -> Option<(Tuple, Outside)> {
        let addr = outside.local_ip();
        let mut side = self.side(outside.family).lock();
        if let Some(kind) = side.whole(&addr) {
            let inside = outside.with_local(self.inside(outside.family)?, outside.local_port);
            return Some((inside, Outside::whole(addr, kind, outside.local_port)));
        }
        side.snat.filter(|snat| snat.address == addr)?;
        let transport = Transport::of(outside)?;
        let (end, grant) = side.pool(transport).take_by_port(outside.local_port)?;
        let inside = outside.with_local(to_ip(outside.family, end.addr), end.port);
        Some((inside, Outside::mapped(addr, transport, grant)))
    }

    /// Whether an address is one of the external ones.
    pub fn owns(&self, addr: &IpAddr) -> bool {
        let side = self.side(Family::of(addr)).lock();
        side.whole(addr).is_some() || side.snat.is_some_and(|snat| snat.address == *addr)
    }

    /// Gives back what [`Nat::outbound`] or [`Nat::inbound`] gave, once for
    /// each of their answers. The last one sends an external port to rest.
    pub fn release(&self, inside: &Tuple, held: &Outside, now: Instant) {
        if let Some(transport) = held.transport {
            let mut side = self.side(Family::of(&held.addr)).lock();
            let end = End::of(inside);
            side.pool(transport).release(end, held.grant(), now);
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

impl End {
    const fn of(inside: &Tuple) -> Self {
        Self {
            addr: inside.local,
            port: inside.local_port,
        }
    }
}

impl Outside {
    const fn whole(addr: IpAddr, kind: Kind, port: u16) -> Self {
        Self {
            addr,
            port,
            kind,
            transport: None,
            stamp: 0,
        }
    }

    const fn mapped(addr: IpAddr, transport: Transport, grant: Grant) -> Self {
        Self {
            addr,
            port: grant.port,
            kind: Kind::Snat,
            transport: Some(transport),
            stamp: grant.stamp,
        }
    }

    /// The external end that a flow remembers by its outside key, the kind of
    /// address and the stamp.
    pub(crate) fn held(outside: &Tuple, kind: Kind, stamp: u32) -> Self {
        let transport = match kind {
            Kind::Snat => Transport::of(outside),
            Kind::Floating | Kind::Ephemeral => None,
        };
        let (addr, port) = (outside.local_ip(), outside.local_port);
        Self {
            addr,
            port,
            kind,
            transport,
            stamp,
        }
    }

    /// Which grant of the port this is.
    pub(crate) const fn stamp(&self) -> u32 {
        self.stamp
    }

    const fn grant(&self) -> Grant {
        Grant {
            port: self.port,
            stamp: self.stamp,
        }
    }
}

/// Whether a flow to `gateway` may use a floating address. Each of them may
/// name a gateway; they must not name two different ones.
fn fits(floating: &Floating, gateway: Option<GatewayId>) -> bool {
    match (floating.gateway, gateway) {
        (Some(one), Some(other)) => one == other,
        _ => true,
    }
}

/// The external addresses of one family.
#[derive(Debug)]
struct Side {
    floating: Vec<Floating>,
    ephemeral: Option<IpAddr>,
    snat: Option<Snat>,
    tcp: Pool,
    udp: Pool,
    echo: Pool,
}

impl Side {
    fn new(seed: u64, purposes: [&str; 3]) -> Self {
        let [tcp, udp, echo] = purposes.map(|purpose| Pool::new(Keyed::new(seed, purpose)));
        Self {
            floating: Vec::new(),
            ephemeral: None,
            snat: None,
            tcp,
            udp,
            echo,
        }
    }

    fn pool(&mut self, transport: Transport) -> &mut Pool {
        match transport {
            Transport::Tcp => &mut self.tcp,
            Transport::Udp => &mut self.udp,
            Transport::Echo => &mut self.echo,
        }
    }

    /// Of what kind an address is, if it is a 1:1 address.
    fn whole(&self, addr: &IpAddr) -> Option<Kind> {
        let floating = self.floating.iter().any(|f| f.address == *addr);
        let ephemeral = self.ephemeral == Some(*addr);
        floating
            .then_some(Kind::Floating)
            .or(ephemeral.then_some(Kind::Ephemeral))
    }

    /// Puts a plan's side in place and returns what it replaces (N2).
    fn retarget(&mut self, mut plan: plan::Side) -> plan::Side {
        core::mem::swap(&mut self.floating, &mut plan.floating);
        core::mem::swap(&mut self.ephemeral, &mut plan.ephemeral);
        core::mem::swap(&mut self.snat, &mut plan.snat);
        let same_address = plan.snat.map(|s| s.address) == self.snat.map(|s| s.address);
        let range = self.snat.map(|s| s.first_port..=s.last_port);
        let keeps = |port| same_address && range.as_ref().is_some_and(|r| r.contains(&port));
        plan.ready = plan.ready.map(|[tcp, udp, echo]| {
            [
                self.tcp.retarget(tcp, keeps),
                self.udp.retarget(udp, keeps),
                self.echo.retarget(echo, keeps),
            ]
        });
        plan
    }

    fn usage(&mut self, family: Family) -> [PoolUsage; 3] {
        Transport::ALL.map(|transport| {
            let (used, resting, ready) = self.pool(transport).count();
            PoolUsage {
                family,
                transport,
                used,
                resting,
                capacity: used.saturating_add(resting).saturating_add(ready),
            }
        })
    }
}
