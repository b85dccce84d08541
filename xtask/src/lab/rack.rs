//! Sleds with drivers, their guests, and what is around them.
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
//! underlay is recorded. What there is follows from the setups alone: a sled
//! each, its links and its guests, and an edge if any of them knows a boundary.
//!
//! Flow      wire (namespaces and cables; the time to start recording)
//!           -> start (drivers, boundary, guests) -> tenants: give or ask

use super::Namespace;
use super::boundary::Boundary;
use super::capture::Capture;
use super::fabric::{Fabric, Stack, outside};
use super::guest::Guest;
use super::link::Links;
use super::process::Process;
use super::weather::{Storm, Weather};
use anyhow::{Context, Result};
use opte_core::api::{PortSpec, Setup};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Bytes of IP packet on the fabric: enough for every link of a setup.
const FABRIC_MTU: u32 = 9_000;
/// The edge's device on the underlay.
const EDGE_DEVICE: &str = "net0";
/// The edge's name, which is that of its port of the fabric.
const EDGE: &str = "edge";
/// The host on the internet.
pub(crate) const INTERNET_V4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
/// The same, over IPv6.
pub(crate) const INTERNET_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x13, 0, 0, 0, 0, 0x10);
/// How long a driver may take to start.
const START_LIMIT: Duration = Duration::from_secs(10);

/// What a sled is made from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan<'a> {
    /// Its name, which its files have too.
    pub(crate) name: &'a str,
    /// Its setup file's text.
    pub(crate) setup: &'a str,
}

/// Sleds with other setup files.
pub(crate) fn with_setups<'s>(plans: &[Plan<'s>], setups: &'s [String]) -> Vec<Plan<'s>> {
    let pairs = plans.iter().zip(setups);
    pairs.map(|(plan, setup)| Plan { setup, ..*plan }).collect()
}

/// What carries a sled's packets: a program that this is the path of.
#[derive(Clone, Debug)]
pub(crate) enum Driver {
    /// `xded`.
    Xded(PathBuf),
    /// The kernel module, in the loader that is in this `xtask`.
    Module(PathBuf),
}

impl Driver {
    /// What it calls itself.
    const fn name(&self) -> &'static str {
        match self {
            Self::Xded(_) => "xded",
            Self::Module(_) => "xde",
        }
    }

    /// The command that runs it, as it is shown.
    pub(crate) const fn program(&self) -> &'static str {
        match self {
            Self::Xded(_) => "xded",
            Self::Module(_) => "cargo xtask",
        }
    }

    /// What the program is told, as it is shown.
    pub(crate) fn arguments(&self, sled: &Sled) -> [String; 5] {
        let (setup, socket) = (sled.setup_file(), sled.socket());
        match self {
            Self::Xded(_) => ["run", "--setup", &setup, "--socket", &socket].map(str::to_owned),
            Self::Module(_) => ["kmod", "--drive", &setup, "--serve", &socket].map(str::to_owned),
        }
    }

    fn command(&self, sled: &Sled) -> Command {
        let (Self::Xded(program) | Self::Module(program)) = self;
        let mut command = Command::new(program);
        command.args(self.arguments(sled)).current_dir(&sled.folder);
        command
    }
}

/// A sled.
pub(crate) struct Sled {
    /// Its name.
    pub(crate) name: String,
    /// What its driver is told.
    pub(crate) setup: Setup,
    /// Where it lives.
    pub(crate) namespace: Namespace,
    /// Its driver, once it was started.
    pub(crate) driver: Option<Process>,
    folder: PathBuf,
    ports: Vec<String>,
}

/// A guest with what its sled was told about it.
pub(crate) struct Tenant {
    /// The guest.
    pub(crate) guest: Guest,
    /// Its port.
    pub(crate) port: PortSpec,
    /// Number of its sled.
    pub(crate) sled: usize,
}

/// Everything.
pub(crate) struct Rack {
    /// The sleds, as planned.
    pub(crate) sleds: Vec<Sled>,
    /// The guests of all sleds, once they were started.
    pub(crate) tenants: Vec<Tenant>,
    /// A host on the internet.
    pub(crate) internet: Namespace,
    /// Between the underlay and the internet, if a setup knows it.
    pub(crate) boundary: Option<Boundary>,
    edge: Option<Namespace>,
    fabric: Fabric,
}

impl Rack {
    /// Makes namespaces and cables. Files of the sleds go to `folder`.
    ///
    /// # Errors
    ///
    /// When a setup can't be read or a part not be made.
    pub(crate) fn wire(plans: &[Plan<'_>], folder: &Path) -> Result<Self> {
        let fabric = Fabric::new(Namespace::new("fabric")?, FABRIC_MTU)?;
        let sleds = plans
            .iter()
            .map(|plan| Sled::wire(plan, &fabric, folder))
            .collect::<Result<Vec<_>>>()?;
        let mut edge = None;
        if sleds.iter().any(|sled| !sled.setup.v2b.is_empty()) {
            let namespace = Namespace::new(EDGE)?;
            fabric.cable(EDGE, (&namespace, EDGE_DEVICE), Stack::Linux)?;
            edge = Some(namespace);
        }
        Ok(Self {
            sleds,
            tenants: Vec::new(),
            internet: Namespace::new("internet")?,
            boundary: None,
            edge,
            fabric,
        })
    }

    /// Records what crosses the underlay into the file `path`.
    ///
    /// # Errors
    ///
    /// When the file can't be made.
    pub(crate) fn record(&self, path: &Path) -> Result<Capture> {
        let ports = self.sleds.iter().flat_map(|sled| &sled.ports);
        let edge = self.edge.as_ref().map(|_| EDGE);
        let ports: Vec<&str> = ports.map(String::as_str).chain(edge).collect();
        Capture::start(self.fabric.namespace(), &ports, path)
    }

    /// Starts the drivers, waits until they are ready, and adds the boundary
    /// and the guests, which have no addresses yet.
    ///
    /// # Errors
    ///
    /// When a driver doesn't start or a part can't be made.
    pub(crate) fn start(&mut self, driver: &Driver) -> Result<()> {
        for sled in &mut self.sleds {
            sled.start(driver)?;
        }
        if let Some(edge) = &self.edge {
            let setups: Vec<&Setup> = self.sleds.iter().map(|sled| &sled.setup).collect();
            let internet_at = [IpAddr::V4(INTERNET_V4), IpAddr::V6(INTERNET_V6)];
            let internet = (&self.internet, internet_at.as_slice());
            self.boundary = Some(outside((edge, EDGE_DEVICE), internet, &setups)?);
        }
        for (number, sled) in self.sleds.iter().enumerate() {
            for port in &sled.setup.ports {
                self.tenants.push(Tenant {
                    guest: Guest::adopt(&sled.namespace, port.name.as_str())?,
                    port: port.clone(),
                    sled: number,
                });
            }
        }
        Ok(())
    }

    /// Has bad weather between a sled's first link and the fabric: the kernel's,
    /// if it has any.
    ///
    /// # Errors
    ///
    /// When there is none of this name, or the kernel refuses.
    pub(crate) fn storm(&self, sled: &str, weather: Weather) -> Result<Storm> {
        let sled = self.sled(sled)?;
        let links = sled
            .setup
            .underlay
            .iter()
            .flat_map(|underlay| &underlay.links);
        let device = links.map(|link| link.name.to_string()).next();
        let port = sled.ports.first().context("no link")?;
        let ends = [
            (self.fabric.namespace().clone(), port.clone()),
            (sled.namespace.clone(), device.context("no link")?),
        ];
        Storm::of_kernel(ends, weather).or_else(|why| {
            println!("the weather is our own, for the kernel makes none: {why}");
            self.fabric.storm(port, weather).map(Storm::Relay)
        })
    }

    /// The guest of this name.
    pub(crate) fn tenant(&self, name: &str) -> Result<&Tenant> {
        let tenant = self.tenants.iter().find(|tenant| tenant.guest.name == name);
        tenant.with_context(|| format!("no guest {name}"))
    }

    /// The sled of this name.
    pub(crate) fn sled(&self, name: &str) -> Result<&Sled> {
        let sled = self.sleds.iter().find(|sled| sled.name == name);
        sled.with_context(|| format!("no sled {name}"))
    }

    /// The namespace of a guest, of a sled, of the `internet`, or of the
    /// `fabric`.
    pub(crate) fn namespace(&self, name: &str) -> Result<&Namespace> {
        match name {
            "internet" => return Ok(&self.internet),
            "fabric" => return Ok(self.fabric.namespace()),
            _ => {}
        }
        let tenant = self.tenant(name).map(|tenant| &tenant.guest.namespace);
        tenant.or_else(|_| self.sled(name).map(|sled| &sled.namespace))
    }
}

impl Sled {
    fn wire(plan: &Plan<'_>, fabric: &Fabric, folder: &Path) -> Result<Self> {
        let Plan { name, setup: text } = *plan;
        let setup: Setup = toml::from_str(text).with_context(|| format!("setup of {name}"))?;
        let namespace = Namespace::new(name)?;
        Links::open(&namespace)?.set_up("lo")?;
        let links = setup.underlay.iter().flat_map(|underlay| &underlay.links);
        let mut ports = Vec::new();
        for (number, link) in links.enumerate() {
            let port = match number {
                0 => name.to_owned(),
                _ => format!("{name}-{number}"),
            };
            fabric.cable(&port, (&namespace, &link.name), Stack::Ours)?;
            ports.push(port);
        }
        let sled = Self {
            name: name.to_owned(),
            setup,
            namespace,
            driver: None,
            folder: folder.to_owned(),
            ports,
        };
        std::fs::write(folder.join(sled.setup_file()), text)?;
        Ok(sled)
    }

    fn start(&mut self, driver: &Driver) -> Result<()> {
        // A rack that was killed leaves its socket behind.
        let _ = std::fs::remove_file(self.folder.join(self.socket()));
        let (name, command) = (driver.name(), driver.command(self));
        let mut driver = Process::spawn(&self.namespace, name, command, &self.log())?;
        driver.wait_for_line(&format!("{name}: ready"), START_LIMIT)?;
        self.driver = Some(driver);
        Ok(())
    }

    /// Name of the setup file in the rack's folder.
    pub(crate) fn setup_file(&self) -> String {
        format!("{}.toml", self.name)
    }

    /// Name of the control socket in the rack's folder. It is used from there,
    /// because the address of a socket is a hundred bytes at most.
    pub(crate) fn socket(&self) -> String {
        format!("{}.sock", self.name)
    }

    /// What the driver printed.
    pub(crate) fn log(&self) -> PathBuf {
        self.folder.join(format!("{}.log", self.name))
    }

    /// `opteadm ARGS` for this sled.
    pub(crate) fn opteadm(&self, program: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(["--socket", &self.socket()])
            .args(args)
            .current_dir(&self.folder);
        command
    }

    /// Fails when the driver has ended.
    ///
    /// # Errors
    ///
    /// With its last words.
    pub(crate) fn check(&mut self) -> Result<()> {
        let driver = self.driver.as_mut();
        driver.context("the driver was never started")?.check()
    }

    /// Ends the driver, which has to be there and to end well.
    ///
    /// # Errors
    ///
    /// With its last words.
    pub(crate) fn end(&mut self) -> Result<()> {
        let driver = self.driver.as_mut();
        driver.context("the driver was never started")?.end()
    }
}

impl Tenant {
    /// The guest's address of one family.
    pub(crate) fn address(&self, ipv6: bool) -> Result<IpAddr> {
        let v4 = self.port.ipv4.map(|config| IpAddr::V4(config.address));
        let v6 = self.port.ipv6.map(|config| IpAddr::V6(config.address));
        if ipv6 { v6 } else { v4 }.context("a port without an address of this family")
    }

    /// Gives the guest the addresses and routes that DHCP would give it.
    ///
    /// # Errors
    ///
    /// When its stack refuses, or hears no router.
    pub(crate) fn give(&self) -> Result<()> {
        let mut links = Links::open(&self.guest.namespace)?;
        let device = self.guest.name.as_str();
        if let Some(config) = self.port.ipv4 {
            let gateway = IpAddr::V4(config.gateway);
            links.add_address(device, IpAddr::V4(config.address), 32)?;
            links.add_route((gateway, 32), None, device)?;
            let default = (IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
            links.add_route(default, Some(gateway), device)?;
        }
        if let Some(config) = self.port.ipv6 {
            self.guest.set_ipv6(config.address)?;
            // The default route is what the router advertises.
            self.guest.ipv6_router()?;
        }
        Ok(())
    }
}
