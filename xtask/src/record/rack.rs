//! What a scene is played on: the case's host, and what its setup talks about.
//!
//! The host has the guests of `setup.toml`. If the case has a `far.toml`, there
//! is a second host with it; if the setup knows a boundary, there are the
//! boundary and the internet.

use super::recorder::Recorder;
use crate::lab::Namespace;
use crate::lab::boundary::Boundary;
use crate::lab::fabric::{Fabric, Stack, outside};
use crate::lab::guest::Guest;
use crate::lab::link::Links;
use crate::lab::process::{self, Process};
use crate::script::{Frame, Place};
use anyhow::{Context, Result, bail, ensure};
use opte_core::api::{PortSpec, Setup};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Bytes of IP packet on the underlay.
const UNDERLAY_MTU: u32 = 9_000;
/// How long a driver may take to start.
const START_LIMIT: Duration = Duration::from_secs(10);
/// How long a program of a scene may take.
const PROGRAM_LIMIT: Duration = Duration::from_secs(30);
/// The host on the internet, in both families.
const INTERNET: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x13, 0, 0, 0, 0, 0x10)),
];

/// Who gives guests their addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Addresses {
    /// We do, before anything is recorded.
    Given,
    /// The scene does.
    Asked,
}

/// Everything.
pub(super) struct Rack {
    guests: Vec<(Guest, PortSpec)>,
    internet: Namespace,
    recorders: Vec<Recorder>,
    // Held until the end.
    _boundary: Option<Boundary>,
    _drivers: Vec<Process>,
    _fabric: Fabric,
}

impl Rack {
    /// Builds it, and starts to record.
    pub(super) fn build(
        case: &Path,
        driver: &Path,
        work: &Path,
        addresses: Addresses,
    ) -> Result<Self> {
        let fabric = Fabric::new(Namespace::new("fabric")?, UNDERLAY_MTU)?;
        let internet = Namespace::new("internet")?;
        let mut hosts = Vec::new();
        for name in ["setup", "far"] {
            let path = case.join(name).with_extension("toml");
            if path.is_file() {
                let setup: Setup = toml::from_str(&std::fs::read_to_string(&path)?)
                    .with_context(|| path.display().to_string())?;
                let namespace = Namespace::new(name)?;
                Links::open(&namespace)?.set_up("lo")?;
                fabric.cable(name, (&namespace, link(&setup)?), Stack::Ours)?;
                hosts.push((name, path, setup, namespace));
            }
        }
        let (_, _, near, sled) = hosts.first().context("the case has no setup.toml")?;
        let mut recorders = Vec::new();
        if hosts.len() > 1 || !near.v2b.is_empty() {
            // Before the driver starts: neighbour discovery is a part of it.
            let place = Place::Rx(link(near)?.to_owned());
            recorders.push(Recorder::start(sled, place)?);
        }
        let boundary = match near.v2b.is_empty() {
            true => None,
            false => {
                let edge = Namespace::new("edge")?;
                fabric.cable("edge", (&edge, "net0"), Stack::Linux)?;
                let setups: Vec<&Setup> = hosts.iter().map(|host| &host.2).collect();
                let at = (&internet, INTERNET.as_slice());
                Some(outside((&edge, "net0"), at, &setups)?)
            }
        };
        let (mut drivers, mut guests) = (Vec::new(), Vec::new());
        for (name, path, setup, namespace) in &hosts {
            let mut command = Command::new(driver);
            command.arg("run").arg("--setup").arg(path);
            command
                .arg("--socket")
                .arg(work.join(name).with_extension("sock"));
            let log = work.join(name).with_extension("log");
            let mut driver = Process::spawn(namespace, "xded", command, &log)?;
            driver.wait_for_line("xded: ready", START_LIMIT)?;
            drivers.push(driver);
            for port in &setup.ports {
                let guest = Guest::adopt(namespace, port.name.as_str())?;
                if addresses == Addresses::Given {
                    give(&guest, port)?;
                }
                if *name == "setup" {
                    let place = Place::Tx(guest.name.clone());
                    recorders.push(Recorder::start(&guest.namespace, place)?);
                }
                guests.push((guest, port.clone()));
            }
        }
        Ok(Self {
            guests,
            internet,
            recorders,
            _boundary: boundary,
            _drivers: drivers,
            _fabric: fabric,
        })
    }

    /// The namespace of a guest, or of the `internet`.
    pub(super) fn namespace(&self, name: &str) -> Result<&Namespace> {
        if name == "internet" {
            return Ok(&self.internet);
        }
        Ok(&self.guest(name)?.0.namespace)
    }

    /// Gives a guest its addresses, where they are asked for.
    pub(super) fn give(&self, name: &str) -> Result<()> {
        let (guest, port) = self.guest(name)?;
        give(guest, port)
    }

    fn guest(&self, name: &str) -> Result<&(Guest, PortSpec)> {
        let guest = self.guests.iter().find(|(guest, _)| guest.name == name);
        guest.with_context(|| format!("no guest {name}"))
    }

    /// Runs a program to its end; it has to succeed. The words of `line` have
    /// no quotes.
    pub(super) fn program(&self, guest: &str, line: &str) -> Result<()> {
        let namespace = self.namespace(guest)?;
        let mut words = line.split_whitespace();
        let mut command = Command::new(words.next().context("no program")?);
        command.args(words);
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
        println!("{guest}$ {line}");
        let done = namespace.run(|| process::output(command, PROGRAM_LIMIT))?;
        ensure!(done.success, "{line} failed:\n{}", done.text);
        Ok(())
    }

    /// Starts a program that serves until the rack goes away.
    pub(super) fn server(&self, guest: &str, line: &str, log: &Path) -> Result<Process> {
        let mut words = line.split_whitespace();
        let name = words.next().context("no program")?;
        let mut command = Command::new(name);
        command.args(words);
        Process::spawn(self.namespace(guest)?, name, command, log)
    }

    /// Ends the recording.
    pub(super) fn finish(&mut self) -> Result<Vec<Frame>> {
        let mut frames = Vec::new();
        for recorder in self.recorders.drain(..) {
            frames.extend(recorder.finish()?);
        }
        Ok(frames)
    }
}

/// The name of a setup's underlay link.
fn link(setup: &Setup) -> Result<&str> {
    let links = setup
        .underlay
        .as_ref()
        .map(|underlay| underlay.links.as_slice());
    match links {
        Some([link]) => Ok(&link.name),
        _ => bail!("a recorded host has one underlay link"),
    }
}

/// Gives a guest the addresses and routes that DHCP would give it.
fn give(guest: &Guest, port: &PortSpec) -> Result<()> {
    let mut links = Links::open(&guest.namespace)?;
    let device = guest.name.as_str();
    if let Some(config) = port.ipv4 {
        let gateway = IpAddr::V4(config.gateway);
        links.add_address(device, IpAddr::V4(config.address), 32)?;
        links.add_route((gateway, 32), None, device)?;
        let default = (IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
        links.add_route(default, Some(gateway), device)?;
    }
    if let Some(config) = port.ipv6 {
        guest.set_ipv6(config.address)?;
        // The default route is what the router advertises.
        guest.ipv6_router()?;
    }
    Ok(())
}
