//! The external addresses of one family.

use super::outside::{Kind, PoolUsage, Transport};
use super::plan;
use super::pool::{Mode, Pool};
use crate::api::{Floating, GatewayId, Pooling, Snat};
use crate::flow::Family;
use crate::keyed::Keyed;
use alloc::vec::Vec;
use core::net::IpAddr;

/// Addresses, how they are used, and the ports of the shared one.
#[derive(Debug)]
pub(super) struct Side {
    floating: Vec<Floating>,
    pub(super) ephemeral: Option<IpAddr>,
    pub(super) snat: Option<Snat>,
    pub(super) pooling: Pooling,
    mode: Mode,
    tcp: Pool,
    udp: Pool,
    echo: Pool,
}

impl Side {
    /// No addresses. `purposes` name the keys of the three pools.
    pub(super) fn new(seed: u64, purposes: [&str; 3]) -> Self {
        let [tcp, udp, echo] = purposes.map(|purpose| Pool::new(Keyed::new(seed, purpose)));
        Self {
            floating: Vec::new(),
            ephemeral: None,
            snat: None,
            pooling: Pooling::default(),
            mode: Mode::default(),
            tcp,
            udp,
            echo,
        }
    }

    /// The pool of what SNAT maps.
    pub(super) fn pool(&mut self, transport: Transport) -> &mut Pool {
        match transport {
            Transport::Tcp => &mut self.tcp,
            Transport::Udp => &mut self.udp,
            Transport::Echo => &mut self.echo,
        }
    }

    /// Of what kind an address is, if it is a 1:1 address.
    pub(super) fn whole(&self, addr: &IpAddr) -> Option<Kind> {
        let floating = self.floating.iter().any(|f| f.address == *addr);
        let ephemeral = self.ephemeral == Some(*addr);
        floating
            .then_some(Kind::Floating)
            .or(ephemeral.then_some(Kind::Ephemeral))
    }

    /// The floating addresses that a flow to a gateway may use (rule N5).
    pub(super) fn fitting(&self, gateway: Option<GatewayId>) -> impl Iterator<Item = IpAddr> {
        let fits = move |f: &&Floating| f.gateway.is_none() || f.gateway == gateway;
        self.floating.iter().filter(fits).map(|f| f.address)
    }

    /// Puts a plan in place and returns what it replaces (rule N2).
    pub(super) fn retarget(&mut self, mut plan: plan::Side) -> plan::Side {
        core::mem::swap(&mut self.floating, &mut plan.floating);
        core::mem::swap(&mut self.ephemeral, &mut plan.ephemeral);
        core::mem::swap(&mut self.snat, &mut plan.snat);
        core::mem::swap(&mut self.pooling, &mut plan.pooling);
        core::mem::swap(&mut self.mode, &mut plan.mode);
        if (plan.snat, plan.mode) != (self.snat, self.mode) {
            let same_address = plan.snat.map(|s| s.address) == self.snat.map(|s| s.address);
            // Port zero alone is no port.
            let range = self.snat.map_or(0..=0, |s| s.first_port..=s.last_port);
            for pool in [&mut self.tcp, &mut self.udp, &mut self.echo] {
                pool.retarget(range.clone(), self.mode, |port| {
                    same_address && range.contains(&port)
                });
            }
        }
        plan
    }

    /// How full the pools are.
    pub(super) fn usage(&mut self, family: Family) -> [PoolUsage; 3] {
        Transport::ALL.map(|transport| {
            let (used, resting, capacity) = self.pool(transport).count();
            PoolUsage {
                family,
                transport,
                used,
                resting,
                capacity,
            }
        })
    }
}
