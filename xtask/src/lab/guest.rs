//! A guest: a Linux network stack whose only device is a driver's TAP.

use super::Namespace;
use super::dhcp::{self, Lease};
use super::link::{Links, wait_until};
use super::packet::PacketSocket;
use anyhow::{Context, Result, ensure};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// How long DHCP may take.
const DHCP_LIMIT: Duration = Duration::from_secs(10);
/// How long a guest's device may take to appear.
const DEVICE_LIMIT: Duration = Duration::from_secs(30);
/// How long Linux may take to trust its link-local address and to hear a
/// router: a second for the former (RFC 4862), and up to three solicitations
/// four seconds apart for the latter (RFC 4861 section 6.3.7).
const ROUTER_LIMIT: Duration = Duration::from_secs(14);

/// A guest.
#[derive(Clone, Debug)]
pub(crate) struct Guest {
    /// Its name, which is that of its device.
    pub(crate) name: String,
    /// Where it lives.
    pub(crate) namespace: Namespace,
}

impl Guest {
    /// Makes a guest around the device `name`, which a driver has made or is
    /// about to make in `sled`. The driver keeps the other side.
    ///
    /// # Errors
    ///
    /// When the device doesn't appear or can't be moved.
    pub(crate) fn adopt(sled: &Namespace, name: &str) -> Result<Self> {
        let namespace = Namespace::new(name)?;
        let mut there = Links::open(sled)?;
        wait_until(DEVICE_LIMIT, || Ok(there.get(name).ok()))?
            .with_context(|| format!("no device {name} appears in {}", sled.name()))?;
        there.move_to(name, &namespace)?;
        let mut links = Links::open(&namespace)?;
        links.set_up("lo")?;
        links.set_up(name)?;
        links.settle(name)?;
        Ok(Self {
            name: name.into(),
            namespace,
        })
    }

    /// Gets an IPv4 lease and does what it says: address, routes, MTU.
    ///
    /// # Errors
    ///
    /// When there is no lease or the stack doesn't take what is in it.
    pub(crate) fn dhcp(&self) -> Result<Lease> {
        let mut links = Links::open(&self.namespace)?;
        let mac = links.get(&self.name)?.mac;
        let socket = PacketSocket::open(&self.namespace, Some(&self.name))?;
        let lease = dhcp::acquire(&socket, mac, DHCP_LIMIT)
            .with_context(|| format!("{} has no lease", self.name))?;
        if let Some(mtu) = lease.mtu {
            links.set_mtu(&self.name, u32::from(mtu))?;
        }
        links.add_address(&self.name, IpAddr::V4(lease.address), lease.bits)?;
        for (destination, bits, via) in &lease.routes {
            let via = (*via != Ipv4Addr::UNSPECIFIED).then_some(IpAddr::V4(*via));
            links.add_route((IpAddr::V4(*destination), *bits), via, &self.name)?;
        }
        Ok(lease)
    }

    /// Waits until the stack has its own link-local address and, by router
    /// advertisement, a default route; returns both, the router second.
    ///
    /// # Errors
    ///
    /// When either doesn't happen in time.
    pub(crate) fn ipv6_router(&self) -> Result<(Ipv6Addr, Ipv6Addr)> {
        let mut links = Links::open(&self.namespace)?;
        let own = wait_until(ROUTER_LIMIT, || links.link_local(&self.name))?
            .with_context(|| format!("{} gets no link-local address", self.name))?;
        let router = wait_until(ROUTER_LIMIT, || {
            let routes = links.routes(true)?;
            Ok(routes.iter().find_map(|route| match route.via {
                Some(IpAddr::V6(via)) if route.bits == 0 => Some(via),
                _ => None,
            }))
        })?
        .with_context(|| format!("{} hears no router advertisement", self.name))?;
        ensure!(
            router.is_unicast_link_local(),
            "the router's address {router} isn't link-local"
        );
        Ok((own, router))
    }

    /// Gives the device an IPv6 address, as DHCPv6 would.
    ///
    /// # Errors
    ///
    /// When the stack refuses.
    pub(crate) fn set_ipv6(&self, address: Ipv6Addr) -> Result<()> {
        Links::open(&self.namespace)?.add_address(&self.name, IpAddr::V6(address), 128)
    }
}
