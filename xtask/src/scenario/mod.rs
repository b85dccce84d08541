//! `cargo xtask scenario`: the whole product with real programs, end to end.
//!
//! Purpose   golden cases and the demo say what we think that guests do.
//!           Here Debian's own clients, servers and daemons run on Linux's
//!           stacks behind real drivers, and have to be content.
//!
//! Terms     scenario  a file in this folder: a sentence, the programs that it
//!                     needs, and a function
//!           place     a guest, a sled, or the `internet`, by name
//!           context   what a scenario is given ([`Ctx`])
//!
//! Flow      run | check -> for each: sandbox -> contained -> play -> judge
//!
//! Rules     C1  each scenario has a sandbox, a rack and a scratch folder
//!               (`target/scenario/NAME`) of its own. Every process that it
//!               started is gone after it, daemons included.
//!           C2  every wait has an end, and is for a condition: no bare sleeps.
//!           C3  whatever a scenario is about, the underlay was recorded and
//!               tshark has nothing to say against any frame on it.
//!
//! Failure   a scenario that fails prints its commands with their output, the
//!           logs of servers and drivers, and why. A missing program or right
//!           is a skip, which in CI is a failure (step::S3).
//!
//! A new scenario is a file with a `SCENARIO`, and a line in [`SCENARIOS`].
//! `tunnel` is the one to start from.

mod bad_weather;
mod context;
mod dhcp_dhclient;
mod dhcp_dhcpcd;
mod dhcp_networkd;
mod dhcp_udhcpc;
mod dhcp_udhcpc6;
mod fragments;
mod group;
mod jumbo;
mod lease;
mod mtu;
mod outside;
mod page;
mod play;
mod probes;
mod protocols;
mod qemu;
mod routing;
mod rules;
mod sctp;
mod tour;
mod trace;
mod tunnel;
mod tutorial;

pub(crate) use context::{Ctx, Unplayable};
pub(crate) use play::{Args, check, run};

use anyhow::Result;

/// All of them, in the order in which they run.
const SCENARIOS: &[Scenario] = &[
    bad_weather::SCENARIO,
    dhcp_dhclient::SCENARIO,
    dhcp_dhcpcd::SCENARIO,
    dhcp_networkd::SCENARIO,
    dhcp_udhcpc::SCENARIO,
    dhcp_udhcpc6::SCENARIO,
    fragments::SCENARIO,
    group::SCENARIO,
    jumbo::SCENARIO,
    lease::SCENARIO,
    mtu::SCENARIO,
    outside::SCENARIO,
    probes::SCENARIO,
    protocols::SCENARIO,
    qemu::SCENARIO,
    routing::SCENARIO,
    rules::SCENARIO,
    sctp::SCENARIO,
    trace::SCENARIO,
    tunnel::SCENARIO,
    tour::SCENARIO,
    tutorial::SCENARIO,
];

/// A program, and the Debian package that has it.
pub(crate) type Program = (&'static str, &'static str);

/// An end-to-end test.
pub(crate) struct Scenario {
    /// Its name, which is that of its file with dashes.
    name: &'static str,
    /// What it shows, as one sentence.
    about: &'static str,
    /// Programs that it runs. `tshark` is needed by every scenario, and
    /// nobody has to say so.
    programs: &'static [Program],
    /// Plays it.
    run: fn(&mut Ctx) -> Result<()>,
}

/// What every scenario needs.
const COMMON: &[Program] = &[("tshark", "tshark")];

/// The programs of all scenarios.
pub(crate) fn programs() -> impl Iterator<Item = Program> {
    let own = SCENARIOS.iter().flat_map(|scenario| scenario.programs);
    COMMON.iter().chain(own).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace;

    #[test]
    fn every_scenario_is_a_file_and_every_file_a_scenario() {
        let folder = workspace::root().join("xtask/src/scenario");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
            .filter_map(|file| file.strip_suffix(".rs").map(|name| name.replace('_', "-")))
            .filter(|name| {
                !["mod", "context", "page", "play", "elsewhere"].contains(&name.as_str())
            })
            .collect();
        files.sort();
        let mut names: Vec<_> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        names.sort_unstable();
        assert_eq!(files, names);
        for Scenario { name, about, .. } in SCENARIOS {
            assert!(about.ends_with('.'), "{name}: {about}");
        }
    }
}
