//! What a scene is played on: the case's host, and what its setup talks about.
//!
//! The host has the guests of `setup.toml`. If the case has a `far.toml`, there
//! is a second host with it; if the setup knows a boundary, there are the
//! boundary and the internet.

use super::recorder::Recorder;
use crate::install;
use crate::lab::Namespace;
use crate::lab::process::{self, Process};
use crate::lab::rack::{self, Plan, Tenant};
use crate::script::{Frame, Place};
use anyhow::{Context, Result, bail, ensure};
use opte_core::api::Setup;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// How long a program of a scene may take.
const PROGRAM_LIMIT: Duration = Duration::from_secs(30);

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
    rack: rack::Rack,
    recorders: Vec<Recorder>,
}

impl Rack {
    /// Builds it, and starts to record.
    pub(super) fn build(
        case: &Path,
        driver: &Path,
        work: &Path,
        addresses: Addresses,
    ) -> Result<Self> {
        let mut texts = Vec::new();
        for name in ["setup", "far"] {
            let path = case.join(name).with_extension("toml");
            if path.is_file() {
                texts.push((name, std::fs::read_to_string(path)?));
            }
        }
        let plans: Vec<_> = texts
            .iter()
            .map(|(name, setup)| Plan { name, setup })
            .collect();
        let mut rack = rack::Rack::wire(&plans, work)?;
        let near = rack.sleds.first().context("the case has no setup.toml")?;
        let mut recorders = Vec::new();
        if rack.sleds.len() > 1 || !near.setup.v2b.is_empty() {
            // Before the driver starts: neighbour discovery is a part of it.
            let place = Place::Rx(link(&near.setup)?.to_owned());
            recorders.push(Recorder::start(&near.namespace, place)?);
        }
        rack.start(&rack::Driver::Xded(driver.to_owned()))?;
        for tenant in &rack.tenants {
            if addresses == Addresses::Given {
                tenant.give()?;
            }
            if tenant.sled == 0 {
                let place = Place::Tx(tenant.guest.name.clone());
                recorders.push(Recorder::start(&tenant.guest.namespace, place)?);
            }
        }
        Ok(Self { rack, recorders })
    }

    /// The namespace of a guest, or of the `internet`.
    pub(super) fn namespace(&self, name: &str) -> Result<&Namespace> {
        self.rack.namespace(name)
    }

    /// Gives a guest its addresses, where they are asked for.
    pub(super) fn give(&self, name: &str) -> Result<()> {
        self.rack.tenant(name).and_then(Tenant::give)
    }

    /// Runs a program to its end; it has to succeed. The words of `line` have
    /// no quotes.
    pub(super) fn program(&self, guest: &str, line: &str) -> Result<()> {
        let namespace = self.namespace(guest)?;
        let mut words = line.split_whitespace();
        let mut command = Command::new(words.next().context("no program")?);
        command.args(words);
        command.env("PATH", install::search_path());
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
