//! A flow's external end, and what kinds of them there are.

use super::pool::Grant;
use crate::flow::{Family, Proto, Tuple};
use core::net::IpAddr;
use serde::{Deserialize, Serialize};

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

/// A flow's external end. Whoever has one gives it back with [`Nat::release`](super::Nat::release).
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
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

    /// Its one spelling.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Echo => "echo",
        }
    }

    /// What SNAT could map of a flow.
    pub(super) const fn of(tuple: &Tuple) -> Option<Self> {
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
    /// Mappings that a flow has: of as many ports, unless one port serves
    /// several far ends.
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

impl Outside {
    pub(super) const fn whole(addr: IpAddr, kind: Kind, port: u16) -> Self {
        Self {
            addr,
            port,
            kind,
            transport: None,
            stamp: 0,
        }
    }

    pub(super) const fn mapped(addr: IpAddr, transport: Transport, grant: Grant) -> Self {
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

    /// What is mapped, if the port is.
    pub(super) const fn transport(&self) -> Option<Transport> {
        self.transport
    }

    /// Which grant of the port this is.
    pub(crate) const fn stamp(&self) -> u32 {
        self.stamp
    }

    pub(super) const fn grant(&self) -> Grant {
        Grant {
            port: self.port,
            stamp: self.stamp,
        }
    }
}
