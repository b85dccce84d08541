//! Devices, addresses and routes of one namespace.

use super::Namespace;
use super::netlink::Netlink;
use anyhow::{Context, Result};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL};
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoData, InfoKind, InfoVeth, LinkAttribute,
    LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use std::net::{IpAddr, Ipv6Addr};
use std::thread;
use std::time::{Duration, Instant};

/// How often the kernel's state is looked at while waiting for it to change.
const POLL: Duration = Duration::from_millis(10);

/// How long a device may take to carry frames.
const CARRIER_LIMIT: Duration = Duration::from_secs(30);

/// A device as the kernel describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    /// Its number in its namespace.
    pub(crate) index: u32,
    /// Its hardware address; zeroes when it has none.
    pub(crate) mac: [u8; 6],
    /// Whether it is up and has a carrier.
    pub(crate) running: bool,
}

/// A route as the kernel describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    /// First address of the destination; none for a default route.
    pub(crate) destination: Option<IpAddr>,
    /// Its prefix length.
    pub(crate) bits: u8,
    /// The next hop; none when the destination is on the link.
    pub(crate) via: Option<IpAddr>,
}

/// The devices of one namespace.
pub(crate) struct Links {
    netlink: Netlink,
}

impl Links {
    /// Opens the namespace's device table.
    ///
    /// # Errors
    ///
    /// When the namespace has no netlink.
    pub(crate) fn open(namespace: &Namespace) -> Result<Self> {
        Netlink::open(namespace).map(|netlink| Self { netlink })
    }

    /// Makes a virtual cable between `name` here and `peer` in `there`, both
    /// ends with this MTU and down.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub(crate) fn add_veth(
        &mut self,
        name: &str,
        (there, peer): (&Namespace, &str),
        mtu: u32,
    ) -> Result<()> {
        let mut far = new_link(peer, mtu);
        far.attributes.push(LinkAttribute::NetNsFd(there.raw_fd()));
        let mut near = new_link(name, mtu);
        near.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(far))),
        ]));
        self.create(RouteNetlinkMessage::NewLink(near))
            .with_context(|| format!("can't make the veth {name}"))
    }

    /// Makes a bridge, down.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub(crate) fn add_bridge(&mut self, name: &str, mtu: u32) -> Result<()> {
        let mut link = new_link(name, mtu);
        link.attributes
            .push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(
                InfoKind::Bridge,
            )]));
        self.create(RouteNetlinkMessage::NewLink(link))
            .with_context(|| format!("can't make the bridge {name}"))
    }

    /// Plugs `name` into the bridge `bridge`.
    ///
    /// # Errors
    ///
    /// When either doesn't exist.
    pub(crate) fn plug(&mut self, name: &str, bridge: &str) -> Result<()> {
        let bridge = self.get(bridge)?.index;
        self.change(name, LinkAttribute::Controller(bridge))
    }

    /// Unplugs `name` from its bridge.
    ///
    /// # Errors
    ///
    /// When it doesn't exist.
    pub(crate) fn unplug(&mut self, name: &str) -> Result<()> {
        self.change(name, LinkAttribute::Controller(0))
    }

    /// Moves `name` to another namespace. It arrives there down and without
    /// addresses.
    ///
    /// # Errors
    ///
    /// When it doesn't exist or the other side has a device of that name.
    pub(crate) fn move_to(&mut self, name: &str, namespace: &Namespace) -> Result<()> {
        self.change(name, LinkAttribute::NetNsFd(namespace.raw_fd()))
            .with_context(|| format!("can't move {name} to {}", namespace.name()))
    }

    /// Sets the MTU of `name`.
    ///
    /// # Errors
    ///
    /// When it doesn't exist or the device refuses the MTU.
    pub(crate) fn set_mtu(&mut self, name: &str, mtu: u32) -> Result<()> {
        self.change(name, LinkAttribute::Mtu(mtu))
    }

    /// Sets the hardware address of `name`.
    ///
    /// # Errors
    ///
    /// When it doesn't exist.
    pub(crate) fn set_mac(&mut self, name: &str, mac: [u8; 6]) -> Result<()> {
        self.change(name, LinkAttribute::Address(mac.to_vec()))
    }

    /// Keeps Linux's own IPv6 off `name`, which must be down: the device is
    /// somebody else's.
    ///
    /// # Errors
    ///
    /// When it doesn't exist.
    pub(crate) fn silence(&mut self, name: &str) -> Result<()> {
        let no_address = vec![AfSpecInet6::AddrGenMode(In6AddrGenMode::None)];
        let spec = vec![AfSpecUnspec::Inet6(no_address)];
        self.change(name, LinkAttribute::AfSpecUnspec(spec))
    }

    /// Sets `name` up.
    ///
    /// # Errors
    ///
    /// When it doesn't exist.
    pub(crate) fn set_up(&mut self, name: &str) -> Result<()> {
        let mut link = LinkMessage::default();
        link.header.index = self.get(name)?.index;
        link.header.flags = LinkFlags::Up;
        link.header.change_mask = LinkFlags::Up;
        self.netlink
            .request(RouteNetlinkMessage::SetLink(link), 0)
            .with_context(|| format!("can't set {name} up"))?;
        Ok(())
    }

    /// Waits until `name` carries frames. A cable does some time after both of
    /// its ends are up: Linux looks at carriers once a second.
    ///
    /// # Errors
    ///
    /// When it doesn't exist or carries nothing for a long time.
    pub(crate) fn settle(&mut self, name: &str) -> Result<()> {
        wait_until(CARRIER_LIMIT, || Ok(self.get(name)?.running.then_some(())))?
            .with_context(|| format!("{name} has no carrier"))
    }

    /// Adds an address to `name`. Duplicate address detection is off: the lab
    /// knows who has which, and doesn't want to wait.
    ///
    /// # Errors
    ///
    /// When the device doesn't exist or has the address.
    pub(crate) fn add_address(&mut self, name: &str, address: IpAddr, bits: u8) -> Result<()> {
        let mut message = AddressMessage::default();
        message.header.family = family(address);
        message.header.prefix_len = bits;
        message.header.index = self.get(name)?.index;
        message.header.flags = AddressHeaderFlags::Nodad;
        message.attributes = vec![
            AddressAttribute::Local(address),
            AddressAttribute::Address(address),
        ];
        self.create(RouteNetlinkMessage::NewAddress(message))
            .with_context(|| format!("can't add {address}/{bits} to {name}"))
    }

    /// Adds a route by the device `name`, through `via` or to the link itself.
    ///
    /// # Errors
    ///
    /// When the device doesn't exist or the kernel can't reach `via`.
    pub(crate) fn add_route(
        &mut self,
        (destination, bits): (IpAddr, u8),
        via: Option<IpAddr>,
        name: &str,
    ) -> Result<()> {
        let mut route = RouteMessage::default();
        route.header.address_family = family(destination);
        route.header.destination_prefix_length = bits;
        route.header.table = RouteHeader::RT_TABLE_MAIN;
        route.header.protocol = RouteProtocol::Static;
        route.header.kind = RouteType::Unicast;
        route.header.scope = match via {
            Some(_) => RouteScope::Universe,
            None => RouteScope::Link,
        };
        route
            .attributes
            .push(RouteAttribute::Oif(self.get(name)?.index));
        if bits > 0 {
            route
                .attributes
                .push(RouteAttribute::Destination(RouteAddress::from(destination)));
        }
        if let Some(via) = via {
            route
                .attributes
                .push(RouteAttribute::Gateway(RouteAddress::from(via)));
        }
        self.create(RouteNetlinkMessage::NewRoute(route))
            .with_context(|| format!("can't add a route to {destination}/{bits}"))
    }

    /// The unicast routes of the main table, of one family.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub(crate) fn routes(&mut self, ipv6: bool) -> Result<Vec<Route>> {
        let mut request = RouteMessage::default();
        request.header.address_family = match ipv6 {
            true => AddressFamily::Inet6,
            false => AddressFamily::Inet,
        };
        let answers = self
            .netlink
            .request(RouteNetlinkMessage::GetRoute(request), NLM_F_DUMP)?;
        let routes = answers.into_iter().filter_map(|answer| match answer {
            RouteNetlinkMessage::NewRoute(route) => Some(route),
            _ => None,
        });
        Ok(routes
            .filter(|route| {
                route.header.table == RouteHeader::RT_TABLE_MAIN
                    && route.header.kind == RouteType::Unicast
            })
            .map(|route| {
                let address = |pick: fn(&RouteAttribute) -> Option<&RouteAddress>| match route
                    .attributes
                    .iter()
                    .find_map(pick)
                {
                    Some(RouteAddress::Inet(v4)) => Some(IpAddr::V4(*v4)),
                    Some(RouteAddress::Inet6(v6)) => Some(IpAddr::V6(*v6)),
                    _ => None,
                };
                Route {
                    destination: address(|a| match a {
                        RouteAttribute::Destination(to) => Some(to),
                        _ => None,
                    }),
                    bits: route.header.destination_prefix_length,
                    via: address(|a| match a {
                        RouteAttribute::Gateway(via) => Some(via),
                        _ => None,
                    }),
                }
            })
            .collect())
    }

    /// The link-local IPv6 address of `name`, once it is known to be nobody
    /// else's.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub(crate) fn link_local(&mut self, name: &str) -> Result<Option<Ipv6Addr>> {
        let index = self.get(name)?.index;
        let mut request = AddressMessage::default();
        request.header.family = AddressFamily::Inet6;
        let answers = self
            .netlink
            .request(RouteNetlinkMessage::GetAddress(request), NLM_F_DUMP)?;
        Ok(answers.into_iter().find_map(|answer| {
            let RouteNetlinkMessage::NewAddress(message) = answer else {
                return None;
            };
            let settled = !message
                .header
                .flags
                .intersects(AddressHeaderFlags::Tentative | AddressHeaderFlags::Dadfailed);
            message.attributes.iter().find_map(|a| match a {
                AddressAttribute::Address(IpAddr::V6(address))
                    if message.header.index == index
                        && settled
                        && address.is_unicast_link_local() =>
                {
                    Some(*address)
                }
                _ => None,
            })
        }))
    }

    /// The device `name`.
    ///
    /// # Errors
    ///
    /// When it doesn't exist.
    pub(crate) fn get(&mut self, name: &str) -> Result<Link> {
        let mut request = LinkMessage::default();
        request.attributes = vec![LinkAttribute::IfName(name.into())];
        let answers = self
            .netlink
            .request(RouteNetlinkMessage::GetLink(request), 0)
            .with_context(|| format!("no device {name}"))?;
        let message = answers
            .into_iter()
            .find_map(|answer| match answer {
                RouteNetlinkMessage::NewLink(link) => Some(link),
                _ => None,
            })
            .with_context(|| format!("no device {name}"))?;
        let mut link = Link {
            index: message.header.index,
            mac: [0; 6],
            running: message.header.flags.contains(LinkFlags::Running),
        };
        for attribute in message.attributes {
            if let LinkAttribute::Address(bytes) = attribute {
                link.mac = bytes.try_into().unwrap_or_default();
            }
        }
        Ok(link)
    }

    fn change(&mut self, name: &str, attribute: LinkAttribute) -> Result<()> {
        let mut link = LinkMessage::default();
        link.header.index = self.get(name)?.index;
        link.attributes = vec![attribute];
        self.netlink
            .request(RouteNetlinkMessage::SetLink(link), 0)
            .with_context(|| format!("can't change {name}"))?;
        Ok(())
    }

    fn create(&mut self, request: RouteNetlinkMessage) -> Result<()> {
        self.netlink.request(request, NLM_F_CREATE | NLM_F_EXCL)?;
        Ok(())
    }
}

/// Calls `look` until it finds something, at most for `limit`.
///
/// # Errors
///
/// Those of `look`.
pub(crate) fn wait_until<T>(
    limit: Duration,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<Option<T>> {
    let start = Instant::now();
    loop {
        match look()? {
            None if start.elapsed() < limit => thread::sleep(POLL),
            found => return Ok(found),
        }
    }
}

fn new_link(name: &str, mtu: u32) -> LinkMessage {
    let mut link = LinkMessage::default();
    link.attributes = vec![LinkAttribute::IfName(name.into()), LinkAttribute::Mtu(mtu)];
    link
}

const fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}
