//! Commands about a port's translation.

use super::Host;
use crate::api::nat::PoolEntry;
use crate::api::{ConfigError, ExternalIps, Name, NatChange, NatEntry, Response};
use crate::event::Observer;
use crate::flow::Family;
use crate::layer::nat::PoolUsage;
use crate::port::Port;
use alloc::vec::Vec;
use core::net::IpAddr;
use lock_api::RawMutex;

impl<R: RawMutex, O: Observer> Host<R, O> {
    /// Changes how a port's external addresses are used.
    pub(super) fn set_nat(&self, name: &Name, change: NatChange) -> Result<Response, ConfigError> {
        self.change_external(name, |old| ExternalIps {
            nat: change.apply(old.nat),
            ..old.clone()
        })
    }

    /// Replaces a port's external addresses and changes how they are used.
    pub(super) fn set_external_nat(
        &self,
        name: &Name,
        external: ExternalIps,
        change: NatChange,
    ) -> Result<Response, ConfigError> {
        self.change_external(name, |old| ExternalIps {
            nat: change.apply(old.nat),
            ..external
        })
    }

    /// How a port's external addresses are used, and how full its pools are.
    pub(super) fn show_nat(&self, port: &Port<R>) -> Response {
        let policy = port.policy();
        let external = &policy.spec.external;
        let pools = external.snat.iter().flat_map(|snat| {
            let family = Family::of(&snat.address);
            let usage = port.nat.usage().into_iter();
            usage
                .filter(move |pool| pool.family == family)
                .map(|pool| entry(snat.address, &pool))
        });
        let pools: Vec<_> = pools.collect();
        Response::Nat(NatEntry {
            generation: u64::from(policy.generation),
            options: external.nat,
            pools,
        })
    }
}

fn entry(address: IpAddr, pool: &PoolUsage) -> PoolEntry {
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    PoolEntry {
        address,
        transport: pool.transport,
        mappings: number(pool.used),
        resting: number(pool.resting),
        ports: number(pool.capacity),
    }
}
