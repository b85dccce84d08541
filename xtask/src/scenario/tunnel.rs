//! Guests on two sleds talk over the underlay.

use super::{Ctx, Scenario};
use anyhow::{Context, Result, ensure};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "tunnel",
    about: "ping and iperf3 between guests of two sleds, IPv4 and IPv6, in well-formed Geneve.",
    programs: &[("iperf3", "iperf3"), ("ping", "iputils-ping")],
    run,
};

fn run(ctx: &mut Ctx) -> Result<()> {
    ctx.build_demo()?;
    ctx.give_addresses()?;
    for ipv6 in [false, true] {
        let to = ctx.tenant("g3")?.address(ipv6)?;
        ctx.run("g1", &format!("ping -c 3 -i 0.2 -W 2 {to}"))?;
        // The one port that the demo's rules allow from the VPC.
        let server = "iperf3 --server --one-off --forceflush --port 5001";
        let _server = ctx.start("g3", server, "Server listening")?;
        // A megabyte: more than a window, and little to judge.
        let client = format!("iperf3 --client {to} --port 5001 --time 1 --bitrate 8M --json");
        let report: serde_json::Value = serde_json::from_str(&ctx.run("g1", &client)?)?;
        let bytes = |pointer| report.pointer(pointer).and_then(serde_json::Value::as_u64);
        let sent = bytes("/end/sum_sent/bytes").context("iperf3 doesn't say what it sent")?;
        let received = bytes("/end/sum_received/bytes").unwrap_or(0);
        // The server stops counting when the client stops sending.
        ensure!(received >= sent / 2, "{received} bytes of {sent} arrived");
    }
    let flows = ctx.opteadm("sled-a", &["dump-uft", "-p", "g1"])?;
    ensure!(flows.contains("10.0.0.13"), "no flow to g3 is listed");
    // Tunnel end points, VNI and destination port, as tshark reads them.
    let fields = ["ipv6.src", "geneve.vni", "udp.dstport"];
    for (sled, source) in [("sled-a", "fd00:99::a"), ("sled-b", "fd00:99::b")] {
        let filter = format!("geneve && ipv6.src == {source}");
        let frames = ctx.underlay(&filter, &fields)?;
        ensure!(!frames.is_empty(), "no tunnelled frame from {sled}");
        for frame in frames {
            // Guests' own IPv6 sources come after the tunnel's.
            let [from, vni, port] = frame.as_slice() else {
                anyhow::bail!("tshark prints {frame:?}");
            };
            let good = from.starts_with(source) && vni == "0x0003e9" && port.starts_with("6081");
            ensure!(good, "{sled} sent {frame:?}");
        }
    }
    Ok(())
}
