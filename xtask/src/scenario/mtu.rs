//! A port's MTU changes while its guest is at work.

use super::{Ctx, Scenario};
use crate::demo::rack::PLANS;
use anyhow::{Result, ensure};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "mtu",
    about: "a changed MTU holds for a guest that is at work.",
    programs: &[("ping", "iputils-ping")],
    run,
};

fn run(ctx: &mut Ctx) -> Result<()> {
    ctx.build_demo()?;
    ctx.give_addresses()?;
    let whole = "ping -c 1 -W 2 -M do -s 1472 10.0.0.13";
    ctx.run("g1", whole)?;
    let [sled, _] = PLANS;
    let name = "name = \"g1\"";
    let less = sled.setup.replacen(name, &format!("{name}\nmtu = 1400"), 1);
    ctx.apply(sled.name, &less)?;
    // The device is in the guest's namespace, where a driver that gave up
    // CAP_SYS_ADMIN has no say; the port's limit holds all the same.
    let refused = ctx.attempt("g1", whole, std::time::Duration::from_secs(10))?;
    ensure!(!refused.success, "g1 sends packets of 1500 bytes");
    ctx.run("g1", "ping -c 1 -W 2 -M do -s 1372 10.0.0.13")?;
    ctx.apply(sled.name, sled.setup)?;
    ctx.run("g1", whole)?;
    Ok(())
}
