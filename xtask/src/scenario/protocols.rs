//! Protocols without ports: what programs send by raw sockets, and VRRP.

use super::{Ctx, Scenario};
use crate::lab::process::Process;
use anyhow::{Result, ensure};
use std::time::Duration;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "protocols",
    about: "GRE, ESP, AH, VRRP and IP in IP between two sleds follow the rules; keepalived's daemons agree who is master once they may.",
    programs: &[
        ("grep", "grep"),
        ("keepalived", "keepalived"),
        ("socat", "socat"),
        ("stdbuf", "coreutils"),
    ],
    run,
};

/// How long what may fail may take, and what a daemon may wait for.
const BRIEF: Duration = Duration::from_secs(20);
/// Protocols, and what is sent by each: an IP header, a GRE header, an SPI with
/// a number, an authentication header, and an advertisement of VRRP. Of IPv6,
/// AH is a header on the way to what it protects.
const PROTOCOLS: [(bool, u8, &str); 8] = [
    (false, 4, "4500001400000000400066e80a0000010a000002"),
    (false, 47, "00000800"),
    (false, 50, "0000000100000001"),
    (
        false,
        51,
        "3b0400000000000100000001000000000000000000000000",
    ),
    (false, 112, "21016401000170fb0a0000010000000000000000"),
    (
        true,
        41,
        "6000000000003b40fd770001000000000000000000000011fd770001000000000000000000000013",
    ),
    (true, 47, "00000800"),
    (true, 50, "0000000100000001"),
];

fn run(ctx: &mut Ctx) -> Result<()> {
    ctx.build_demo()?;
    ctx.give_addresses()?;
    for (ipv6, protocol, data) in PROTOCOLS {
        raw(ctx, ipv6, protocol, data)?;
    }
    vrrp(ctx)
}

/// A program on g3 sends back what comes by a protocol, while a rule lets it in.
fn raw(ctx: &mut Ctx, ipv6: bool, protocol: u8, data: &str) -> Result<()> {
    let (family, table, to) = match ipv6 {
        false => ("IP4", "raw", ctx.tenant("g3")?.address(ipv6)?.to_string()),
        true => (
            "IP6",
            "raw6",
            format!("[{}]", ctx.tenant("g3")?.address(ipv6)?),
        ),
    };
    let mut server = ctx.start(
        "g3",
        &format!("socat {family}-RECVFROM:{protocol},fork PIPE"),
        "",
    )?;
    ctx.wait("the server has its socket", |ctx| {
        // The protocol's number stands where others have a port.
        let line = format!("grep -q ':{protocol:04X} ' /proc/net/{table}");
        let found = ctx.attempt("g3", &line, BRIEF)?.success;
        Ok(found.then_some(()))
    })?;
    let bytes = (0..data.len() / 2).map(|at| u8::from_str_radix(&data[2 * at..2 * at + 2], 16));
    let octal = bytes.map(|byte| Ok(format!("\\{:03o}", byte?)));
    let octal = octal.collect::<Result<String>>()?;
    let is_answered = |ctx: &mut Ctx| -> Result<bool> {
        let send = format!("printf '{octal}' | socat -t 0.5 - {family}-SENDTO:{to}:{protocol}");
        let heard = ctx.run("g1", &format!("{send} | od -A n -v -t x1 | tr -d ' \\n'"))?;
        Ok(heard.contains(data))
    };
    ensure!(!is_answered(ctx)?, "{protocol} came in without a rule");
    let rule = format!("dir=in priority=50 action=allow protocols={protocol}");
    let id = ctx.opteadm("sled-b", &["add-fw-rule", "-p", "g3", &rule])?;
    ctx.wait(&format!("{protocol} is answered"), |ctx| {
        Ok(is_answered(ctx)?.then_some(()))
    })?;
    ctx.opteadm("sled-b", &["rm-fw-rule", "-p", "g3", "in", id.trim()])?;
    ensure!(!is_answered(ctx)?, "{protocol} goes on without its rule");
    server.stop();
    Ok(())
}

/// g1 and g3 tell each other by VRRP that they live; g3 goes first. Each
/// daemon takes over when it hears nobody better.
fn vrrp(ctx: &mut Ctx) -> Result<()> {
    // What g1 says would let g3's part of the flow in.
    let silent = "dir=out priority=50 action=deny protocols=112";
    ctx.opteadm("sled-a", &["add-fw-rule", "-p", "g1", silent])?;
    let mut first = keepalived(ctx, ("g3", "g1"), 102)?;
    first.wait_for_line("Entering MASTER STATE", BRIEF)?;
    let mut second = keepalived(ctx, ("g1", "g3"), 101)?;
    second.wait_for_line("Entering MASTER STATE", BRIEF)?;
    let stats = ctx.opteadm("sled-a", &["stats", "-p", "g1"])?;
    ensure!(stats.contains("firewall_default"), "g1 was told of g3");
    let hear = "dir=in priority=50 action=allow protocols=112";
    ctx.opteadm("sled-a", &["add-fw-rule", "-p", "g1", hear])?;
    second.wait_for_line("Entering BACKUP STATE", BRIEF)?;
    first.stop();
    second.wait_for_line("Entering MASTER STATE", BRIEF)?;
    Ok(())
}

/// Starts the daemon of a guest, which speaks to another one only. Without a
/// name it would ask for its own by DNS.
fn keepalived(ctx: &mut Ctx, (guest, other): (&str, &str), priority: u8) -> Result<Process> {
    let own = ctx.tenant(guest)?.address(false)?;
    let other = ctx.tenant(other)?.address(false)?;
    let configuration = format!(
        "cat > keepalived.conf <<'END'
global_defs {{
  router_id {guest}
}}
vrrp_instance guests {{
  state BACKUP
  interface {guest}
  virtual_router_id 7
  priority {priority}
  advert_int 1
  unicast_src_ip {own}
  unicast_peer {{
    {other}
  }}
  virtual_ipaddress {{
    10.0.0.99/32 dev lo
  }}
}}
END"
    );
    ctx.run(guest, &configuration)?;
    let line = "stdbuf -oL keepalived -P -n -l -f keepalived.conf -p k.pid -r v.pid";
    ctx.start(guest, line, "Startup complete")
}
