//! What a setup says that scripts need: who has which address.

use super::word::hex;
use anyhow::{Context, Result, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use toml::{Table, Value};

/// The VNI of groups that a setup doesn't give another.
const MULTICAST_VNI: u32 = 77;

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mac(pub(crate) [u8; 6]);

impl Mac {
    pub(super) const BROADCAST: Self = Self([0xff; 6]);
    /// The virtual gateway, unless a port's setup says otherwise.
    const GATEWAY: Self = Self([0xa8, 0x40, 0x25, 0xff, 0x77, 0x77]);
    /// Inner address of the boundary's end points.
    pub(super) const BOUNDARY: Self = Self([0xa8, 0x40, 0x25, 0x77, 0x77, 0x77]);
    /// The only other station on an underlay link.
    pub(super) const NEIGHBOUR: Self = Self([0x02, 0, 0, 0, 0, 0xfe]);
}

impl FromStr for Mac {
    type Err = &'static str;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        hex(s)
            .ok()
            .filter(|_| s.len() == 17)
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .ok_or("six bytes with colons, as a8:40:25:f0:00:01")
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = self.0.iter().map(|b| format!("{b:02x}")).collect();
        f.write_str(&parts.join(":"))
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A guest's port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Port {
    pub(super) mac: Mac,
    pub(super) gateway_mac: Mac,
}

/// A setup, as far as scripts and judges need it.
#[derive(Debug, Default)]
pub(crate) struct Scene {
    pub(super) ports: BTreeMap<String, Port>,
    /// Links, in the setup's order.
    pub(super) links: Vec<String>,
    /// Inside and outside addresses, and the MAC addresses that have them.
    macs: BTreeMap<IpAddr, BTreeSet<Mac>>,
    /// Every VNI that a frame may carry.
    pub(crate) vnis: BTreeSet<u32>,
}

impl Scene {
    /// Reads a setup. What isn't there or isn't right is left out: the setup
    /// may be one that the engine has to refuse.
    pub(crate) fn parse(setup: &str) -> Result<Self> {
        let setup: Table = setup.parse().context("the setup isn't TOML")?;
        let mut scene = Self::default();
        for port in tables(&setup, "port") {
            scene.add_port(port);
        }
        for v2p in tables(&setup, "v2p") {
            let mac = text(v2p, "mac").and_then(|s| s.parse().ok());
            if let (Some(mac), Some(address)) = (mac, text(v2p, "address")) {
                scene.add_address(address, mac);
            }
        }
        for v2b in tables(&setup, "v2b") {
            for endpoint in list(v2b, "endpoints").filter_map(Value::as_str) {
                let vni = endpoint.split_once(',').map_or("99", |(_, vni)| vni);
                scene.vnis.extend(vni.trim().parse::<u32>());
            }
        }
        if let Some(multicast) = setup.get("multicast").and_then(Value::as_table) {
            let vni = number(multicast, "vni").unwrap_or(MULTICAST_VNI);
            scene.vnis.insert(vni);
            let own = tables(multicast, "m2p").filter_map(|m2p| number(m2p, "vni"));
            scene.vnis.extend(own);
        }
        if let Some(underlay) = setup.get("underlay").and_then(Value::as_table) {
            let names = tables(underlay, "link").filter_map(|link| text(link, "name"));
            scene.links = names.map(str::to_owned).collect();
        }
        Ok(scene)
    }

    fn add_port(&mut self, port: &Table) {
        if let Some(vni) = number(port, "vni") {
            self.vnis.insert(vni);
        }
        let mac = |key| text(port, key).and_then(|s| s.parse::<Mac>().ok());
        let (Some(name), Some(mac), gateway_mac) =
            (text(port, "name"), mac("mac"), mac("gateway_mac"))
        else {
            return;
        };
        let gateway_mac = gateway_mac.unwrap_or(Mac::GATEWAY);
        self.ports
            .insert(name.to_owned(), Port { mac, gateway_mac });
        for family in ["ipv4", "ipv6"] {
            let config = port.get(family).and_then(Value::as_table);
            if let Some(address) = config.and_then(|config| text(config, "address")) {
                self.add_address(address, mac);
            }
        }
        let Some(external) = port.get("external").and_then(Value::as_table) else {
            return;
        };
        for kind in ["snat", "floating"] {
            for entry in tables(external, kind) {
                self.add_address(text(entry, "address").unwrap_or_default(), mac);
            }
        }
        for address in list(external, "ephemeral").filter_map(Value::as_str) {
            self.add_address(address, mac);
        }
    }

    fn add_address(&mut self, address: &str, mac: Mac) {
        if let Ok(address) = address.parse() {
            self.macs.entry(address).or_default().insert(mac);
        }
    }

    /// Who has `address`; none when nobody has.
    pub(super) fn mac(&self, address: IpAddr) -> Result<Option<Mac>> {
        let macs: Vec<Mac> = self
            .macs
            .get(&address)
            .into_iter()
            .flatten()
            .copied()
            .collect();
        match macs.as_slice() {
            [] => Ok(None),
            [mac] => Ok(Some(*mac)),
            _ => bail!("several guests have {address}: say which with `dmac` or `smac`"),
        }
    }
}

/// MAC address of link number `index` in a replay: `xded replay --help`
/// promises it.
pub(super) fn link_mac(index: usize) -> Mac {
    let [high, low] = u16::try_from(index).unwrap_or(u16::MAX).to_be_bytes();
    Mac([0x02, 0x58, 0x44, 0x45, high, low])
}

fn list<'a>(table: &'a Table, key: &str) -> impl Iterator<Item = &'a Value> {
    table
        .get(key)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

fn tables<'a>(table: &'a Table, key: &str) -> impl Iterator<Item = &'a Table> {
    list(table, key).filter_map(Value::as_table)
}

fn text<'a>(table: &'a Table, key: &str) -> Option<&'a str> {
    table.get(key).and_then(Value::as_str)
}

/// A number, written as one or as text.
fn number(table: &Table, key: &str) -> Option<u32> {
    match table.get(key)? {
        Value::Integer(number) => (*number).try_into().ok(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}
