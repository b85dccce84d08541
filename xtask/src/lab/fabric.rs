//! The network between sleds: a bridge, cables to it, and an outside.

use super::Namespace;
use super::boundary::{Boundary, Mapping};
use super::link::Links;
use super::weather::{Relay, Weather};
use anyhow::{Context, Result};
use opte_core::api::{PortSpec, Prefix, Setup};
use std::net::{IpAddr, Ipv6Addr};

/// The bridge's device.
const BRIDGE: &str = "fabric";
/// The cable that has the weather: away from the switch, and at it.
const STORM: [&str; 2] = ["storm", "calm"];
/// The internet's device.
const INTERNET: &str = "inet";

/// Whose IP stack a cable's far device belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stack {
    /// Linux's own.
    Linux,
    /// A driver's: Linux has to be silent there.
    Ours,
}

/// A switch. It holds its namespace, because one that nobody holds goes away
/// and takes both ends of its cables along.
#[derive(Debug)]
pub(crate) struct Fabric {
    namespace: Namespace,
    mtu: u32,
}

impl Fabric {
    /// Makes the switch in `namespace`.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub(crate) fn new(namespace: Namespace, mtu: u32) -> Result<Self> {
        let mut links = Links::open(&namespace)?;
        links.add_bridge(BRIDGE, mtu)?;
        // A switch has nothing to say on its own.
        links.silence(BRIDGE)?;
        links.set_up(BRIDGE)?;
        Ok(Self { namespace, mtu })
    }

    /// Where its ports are.
    pub(crate) fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Connects the device `device` of `namespace`, which is made here, to the
    /// switch's port `port`.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub(crate) fn cable(
        &self,
        port: &str,
        (namespace, device): (&Namespace, &str),
        stack: Stack,
    ) -> Result<()> {
        let mut here = Links::open(&self.namespace)?;
        here.add_veth(port, (namespace, device), self.mtu)?;
        here.plug(port, BRIDGE)?;
        let mut there = Links::open(namespace)?;
        if stack == Stack::Ours {
            there.silence(device)?;
        }
        here.set_up(port)?;
        there.set_up(device)?;
        here.settle(port)?;
        there.settle(device)
    }

    /// Puts bad weather of our own between the switch and what hangs on its port
    /// `port`, which has one once.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub(crate) fn storm(&self, port: &str, weather: Weather) -> Result<Relay> {
        let mut links = Links::open(&self.namespace)?;
        let [near, far] = STORM;
        links.add_veth(near, (&self.namespace, far), self.mtu)?;
        for device in [near, far, port] {
            links.silence(device)?;
        }
        for device in STORM {
            links.set_up(device)?;
        }
        links.unplug(port)?;
        links.plug(far, BRIDGE)?;
        links.settle(near)?;
        Relay::start(&self.namespace, [port, near], weather)
    }
}

/// Makes the boundary that `setups` know, at `edge`'s device on the underlay,
/// and the internet behind it, which has `addresses`.
///
/// # Errors
///
/// When the setups have no boundary or the kernel refuses.
pub(crate) fn outside(
    (edge, device): (&Namespace, &str),
    (internet, addresses): (&Namespace, &[IpAddr]),
    setups: &[&Setup],
) -> Result<Boundary> {
    let endpoint = setups
        .iter()
        .flat_map(|setup| &setup.v2b)
        .flat_map(|v2b| &v2b.endpoints)
        .next()
        .context("no boundary in the setups")?
        .address;
    Links::open(edge)?.add_address(device, IpAddr::V6(endpoint), 64)?;
    let mut table = Vec::new();
    for setup in setups {
        let underlay = setup
            .underlay
            .as_ref()
            .context("a setup without underlay")?;
        for port in &setup.ports {
            table.extend(mappings(port, underlay.address));
        }
    }
    let mut routed: Vec<Prefix> = table.iter().map(|mapping| mapping.external).collect();
    routed.sort();
    routed.dedup();
    let boundary = Boundary::start((edge, endpoint), (internet, INTERNET), table)?;
    let mut links = Links::open(internet)?;
    for address in addresses {
        links.add_address(INTERNET, *address, whole(address))?;
    }
    for prefix in routed {
        links.add_route((prefix.addr(), prefix.bits()), None, INTERNET)?;
    }
    Ok(boundary)
}

/// Bits of a prefix that is one address.
pub(crate) const fn whole(address: &IpAddr) -> u8 {
    if address.is_ipv6() { 128 } else { 32 }
}

/// A port's lines in the boundary's table.
pub(crate) fn mappings(port: &PortSpec, sled: Ipv6Addr) -> Vec<Mapping> {
    let mapping = |external, ports| Mapping {
        external,
        ports,
        vni: port.vni.get(),
        mac: port.mac.0,
        sled,
    };
    let external = &port.external;
    let shared = external
        .snat
        .iter()
        .map(|snat| mapping(Prefix::host(snat.address), snat.first_port..=snat.last_port));
    let floating = external.floating.iter().map(|floating| floating.address);
    let whole = floating
        .chain(external.ephemeral.iter().copied())
        .map(Prefix::host)
        .chain(port.attached_subnets.iter().copied())
        .map(|prefix| mapping(prefix, 0..=u16::MAX));
    shared.chain(whole).collect()
}
