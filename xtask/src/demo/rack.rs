//! The arrangement that is shown.
//!
//! ```text
//!    g1        g2              g3                 internet
//!     | TAP     | TAP           | TAP                | TUN
//!   +-+---------+-+          +--+---+           +----+-----+
//!   | xded        | sled A   | xded | sled B    | boundary | edge
//!   +-----+-------+          +--+---+           +----+-----+
//!     net0|                 net0|                net0|
//!   ======+=====================+====================+======  fabric
//! ```
//!
//! Every name is a network namespace. The fabric is a bridge; it is where the
//! underlay is recorded. What the sleds are told stands in `sled_a.toml` and
//! `sled_b.toml`; all addresses here are read from them.

use super::Paths;
use crate::lab::Namespace;
use crate::lab::boundary::Boundary;
use crate::lab::capture::Capture;
use crate::lab::fabric::{Fabric, Stack, outside};
use crate::lab::guest::Guest;
use crate::lab::link::Links;
use crate::lab::process::Process;
use anyhow::{Context, Result};
use opte_core::api::{PortSpec, Setup};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// Bytes of IP packet on the underlay.
const UNDERLAY_MTU: u32 = 9_000;
/// The underlay device of a sled, and of the edge.
const NET0: &str = "net0";
/// The host on the internet.
pub(super) const INTERNET_V4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
/// The same, over IPv6.
pub(super) const INTERNET_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x13, 0, 0, 0, 0, 0x10);
/// How long a driver may take to start.
const START_LIMIT: Duration = Duration::from_secs(10);

/// A sled with its driver.
pub(super) struct Sled {
    /// Control socket, relative to the demo's folder.
    pub(super) socket: &'static str,
    /// The setup file, relative to the demo's folder.
    pub(super) setup_file: &'static str,
    /// What is in it.
    pub(super) setup: Setup,
    /// Where it lives.
    pub(super) namespace: Namespace,
    /// Its driver.
    pub(super) driver: Process,
}

/// A guest with what its sled was told about it.
pub(super) struct Tenant {
    /// The guest.
    pub(super) guest: Guest,
    /// Its port.
    pub(super) port: PortSpec,
    /// Number of its sled.
    pub(super) sled: usize,
}

impl Tenant {
    /// The guest's address of one family.
    pub(super) fn address(&self, ipv6: bool) -> Result<IpAddr> {
        let v4 = self.port.ipv4.map(|config| IpAddr::V4(config.address));
        let v6 = self.port.ipv6.map(|config| IpAddr::V6(config.address));
        if ipv6 { v6 } else { v4 }.context("a port without an address of this family")
    }
}

/// Everything.
pub(super) struct Rack {
    /// The sleds, A and B.
    pub(super) sleds: Vec<Sled>,
    /// The guests, g1 to g3.
    pub(super) tenants: Vec<Tenant>,
    /// A host on the internet.
    pub(super) internet: Namespace,
    /// Between the underlay and the internet.
    pub(super) boundary: Boundary,
    /// The recording; none after it was finished.
    pub(super) capture: Option<Capture>,
    /// Held, because a network namespace that nobody holds goes away, and
    /// takes both ends of its cables along.
    _fabric: Fabric,
}

/// What a sled is made from.
struct Plan {
    name: &'static str,
    socket: &'static str,
    file: &'static str,
    log: &'static str,
    text: &'static str,
}

const PLANS: [Plan; 2] = [
    Plan {
        name: "sled-a",
        socket: "sled-a.sock",
        file: "sled-a.toml",
        log: "sled-a.log",
        text: include_str!("sled_a.toml"),
    },
    Plan {
        name: "sled-b",
        socket: "sled-b.sock",
        file: "sled-b.toml",
        log: "sled-b.log",
        text: include_str!("sled_b.toml"),
    },
];

impl Rack {
    /// Builds it and waits until both drivers are ready.
    ///
    /// # Errors
    ///
    /// When a part can't be made or a driver doesn't start.
    pub(super) fn build(paths: &Paths) -> Result<Self> {
        let fabric = Namespace::new("fabric")?;
        let edge = Namespace::new("edge")?;
        let internet = Namespace::new("internet")?;
        let fabric = Fabric::new(fabric, UNDERLAY_MTU)?;
        fabric.cable("edge", (&edge, NET0), Stack::Linux)?;

        let namespaces = PLANS
            .iter()
            .map(|plan| {
                let namespace = Namespace::new(plan.name)?;
                Links::open(&namespace)?.set_up("lo")?;
                fabric.cable(plan.name, (&namespace, NET0), Stack::Ours)?;
                Ok(namespace)
            })
            .collect::<Result<Vec<_>>>()?;
        let ports = [PLANS[0].name, PLANS[1].name, "edge"];
        let capture = Capture::start(fabric.namespace(), &ports, &paths.capture())?;

        let sleds = PLANS
            .iter()
            .zip(namespaces)
            .map(|(plan, namespace)| Sled::start(plan, namespace, paths))
            .collect::<Result<Vec<_>>>()?;
        let setups: Vec<&Setup> = sleds.iter().map(|sled| &sled.setup).collect();
        let internet_at = [IpAddr::V4(INTERNET_V4), IpAddr::V6(INTERNET_V6)];
        let boundary = outside((&edge, NET0), (&internet, &internet_at), &setups)?;
        let mut tenants = Vec::new();
        for (number, sled) in sleds.iter().enumerate() {
            for port in &sled.setup.ports {
                tenants.push(Tenant {
                    guest: Guest::adopt(&sled.namespace, port.name.as_str())?,
                    port: port.clone(),
                    sled: number,
                });
            }
        }
        Ok(Self {
            sleds,
            tenants,
            internet,
            boundary,
            capture: Some(capture),
            _fabric: fabric,
        })
    }

    /// The guest of this name.
    pub(super) fn tenant(&self, name: &str) -> Result<&Tenant> {
        self.tenants
            .iter()
            .find(|tenant| tenant.guest.name == name)
            .with_context(|| format!("no guest {name}"))
    }
}

impl Sled {
    fn start(plan: &Plan, namespace: Namespace, paths: &Paths) -> Result<Self> {
        let setup = toml::from_str(plan.text).with_context(|| format!("in {}", plan.file))?;
        std::fs::write(paths.folder.join(plan.file), plan.text)?;
        // A demo that was killed leaves its socket behind.
        let _ = std::fs::remove_file(paths.folder.join(plan.socket));
        let mut command = Command::new(&paths.xded);
        command
            .args(["run", "--setup", plan.file, "--socket", plan.socket])
            .current_dir(&paths.folder);
        let log = paths.folder.join(plan.log);
        let mut driver = Process::spawn(&namespace, "xded", command, &log)?;
        driver.wait_for_line("xded: ready", START_LIMIT)?;
        Ok(Self {
            socket: plan.socket,
            setup_file: plan.file,
            setup,
            namespace,
            driver,
        })
    }
}

impl Paths {
    /// The recording of the underlay.
    pub(super) fn capture(&self) -> PathBuf {
        self.folder.join("underlay.pcapng")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::fabric::mappings;
    use std::collections::BTreeSet;

    fn setups() -> Vec<Setup> {
        PLANS
            .iter()
            .map(|plan| toml::from_str(plan.text).unwrap())
            .collect()
    }

    #[test]
    fn the_sleds_agree_on_where_everything_is() {
        let setups = setups();
        let [a, b] = setups.as_slice() else {
            panic!("two sleds")
        };
        assert_eq!(a.v2p, b.v2p);
        assert_eq!(a.v2b, b.v2b);
        for setup in &setups {
            let here = setup.underlay.as_ref().unwrap().address;
            for port in &setup.ports {
                let own: Vec<_> = a.v2p.iter().filter(|v2p| v2p.mac == port.mac).collect();
                assert_eq!(own.len(), 2);
                assert!(
                    own.iter()
                        .all(|v2p| v2p.sled == here && v2p.vni == port.vni)
                );
            }
        }
    }

    #[test]
    fn no_two_guests_share_an_address_or_an_external_port() {
        let mut seen = BTreeSet::new();
        for setup in setups() {
            for port in &setup.ports {
                let mut address = |ip: IpAddr| assert!(seen.insert((ip, 0)), "{ip} twice");
                address(IpAddr::V4(port.ipv4.unwrap().address));
                address(IpAddr::V6(port.ipv6.unwrap().address));
                for mapping in mappings(port, Ipv6Addr::LOCALHOST) {
                    for port in mapping.ports {
                        assert!(seen.insert((mapping.external, port)), "{port} twice");
                    }
                }
            }
        }
    }
}
