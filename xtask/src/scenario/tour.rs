//! The tour in `README.md`, done as it says, and compared with what it shows.

use super::{Ctx, Scenario, page};
use anyhow::Result;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "tour",
    about: "the commands of README's tour, and what it shows of what they print.",
    programs: &[
        ("bash", "bash"),
        ("ip", "iproute2"),
        ("ping", "iputils-ping"),
        ("unshare", "util-linux"),
    ],
    run,
};

fn run(_: &mut Ctx) -> Result<()> {
    page::follow("README.md", Some("A tour: five minutes"))
}
