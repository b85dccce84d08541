//! `docs/tutorial.md`, done as it says, and compared with what it shows. What
//! the page records on its switch is judged as the other scenarios' underlay
//! is.

use super::{Ctx, Scenario, page};
use crate::script::Scene;
use crate::{tshark, workspace};
use anyhow::{Context, Result, ensure};
use std::fs;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "tutorial",
    about: "the tutorial's commands, and what it shows of what they print.",
    programs: &[
        ("bash", "bash"),
        ("curl", "curl"),
        ("dhclient", "isc-dhcp-client"),
        ("ip", "iproute2"),
        ("ping", "iputils-ping"),
        ("python3", "python3"),
        ("dumpcap", "wireshark-common"),
        ("unshare", "util-linux"),
    ],
    run,
};

/// Where the page has its files.
const FOLDER: &str = "target/tutorial";

fn run(_: &mut Ctx) -> Result<()> {
    page::follow("docs/tutorial.md", None)?;
    let folder = workspace::root().join(FOLDER);
    let mut scene = Scene::default();
    for host in ["host-a.toml", "host-b.toml"] {
        let setup = fs::read_to_string(folder.join(host)).context(host)?;
        scene.vnis.extend(Scene::parse(&setup)?.vnis);
    }
    let judged = tshark::check([(folder.join("underlay.pcapng").as_path(), &scene)])?;
    ensure!(judged.failures.is_empty(), "{}", judged.failures.join("\n"));
    Ok(())
}
