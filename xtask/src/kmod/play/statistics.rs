//! What kstat and MAC show, beside what the engine answers.

use super::storm::packets;
use super::{Play, SETUP, attached, command, end, frames, prepare};
use anyhow::{Result, bail, ensure};
use opte_core::api::{Command, Name, Response, Setup};
use opte_core::limits::NAME_LEN_MAX;
use opte_ioctl::device;
use std::collections::BTreeMap;
use xde_loader::{Context, Sled};

/// What this file plays.
pub(super) const PLAYS: &[Play] = &[
    ("statistics", statistics),
    ("statistics of the longest names", longest_names),
];

/// Statistics that the engine knows nothing of.
const OF_THE_MODULE: [&str; 1] = ["no_memory"];

/// All counters and drops of the host or a port are in its kstat, and nothing
/// else is that isn't zero.
pub(super) fn compare(sled: &Sled, port: Option<Name>) -> Result<()> {
    let Response::Stats(stats) = command(sled, Command::Stats(port))? else {
        bail!("another answer");
    };
    let told = stats.counters.into_iter().chain(stats.drops);
    let mut told: BTreeMap<_, _> = told.map(|it| (it.name, it.value)).collect();
    told.insert("flows".into(), stats.flows.into());
    let of = port.map_or_else(|| "xde:0:host".into(), |name| kstat_of("xde", name));
    let mut shown = sled.kstat(&of)?;
    for (name, value) in told {
        let shown = shown.remove(&name);
        ensure!(
            shown == Some(value),
            "{of}: {name} is {shown:?}, not {value}"
        );
    }
    shown.retain(|name, value| *value != 0 && !OF_THE_MODULE.contains(&name.as_str()));
    ensure!(shown.is_empty(), "{of} has more: {shown:?}");
    Ok(())
}

/// Where the statistics of a port are.
fn kstat_of(module: &str, port: Name) -> String {
    let (instance, name) = device::kstat_of(&port);
    format!("{module}:{instance}:{name}")
}

/// A guest with shared addresses of both families, on a host with a limit.
fn with_shared_address() -> Result<Setup> {
    let external = "vni = 7\nexternal = { snat = [\
                    { address = \"192.0.2.1\", first_port = 1024, last_port = 2047 }, \
                    { address = \"2001:db8::1\", first_port = 1024, last_port = 2047 }] }\nipv4";
    let text = SETUP.replacen("vni = 7\nipv4", external, 1);
    Ok(toml::from_str(&format!(
        "[host]\nflows_max = 9000\n{text}"
    ))?)
}

fn statistics(module: &[u8]) -> Result<()> {
    let sled = attached(module)?;
    let setup = with_shared_address()?;
    prepare(&sled, &setup);
    command(&sled, Command::ApplyParts(setup.into_parts()))?;
    let frames = frames(
        "0.0 tx g1 udp 10.0.0.1:1000 > 10.0.0.2:53 len 32
         0.0 tx g1 udp 10.0.0.1:1000 > 10.0.0.3:53 len 32",
    )?;
    sled.guest_sends("g1", &packets(&frames), Context::Packet)?;
    let g1: Name = "g1".parse().map_err(anyhow::Error::msg)?;
    let g2 = "g2".parse().map_err(anyhow::Error::msg)?;
    for port in [None, Some(g1), Some(g2)] {
        compare(&sled, port)?;
    }
    let (host, port) = (sled.kstat("xde:0:host")?, sled.kstat("xde:0:g1")?);
    for (stats, name, value) in [
        (&host, "ports", 2),
        (&host, "out_packets", 2),
        (&host, "flows_max", 9_000),
        (&port, "out_packets", 2),
        (&port, "no_v2p", 1),
        (&port, "snat_tcp4_ports", 1_024),
        (&port, "snat_echo6_ports", 1_024),
    ] {
        ensure!(stats.get(name) == Some(&value), "{name}: {stats:?}");
    }
    layers(&sled, g1)?;
    ensure!(sled.port_statistic("g1", 1_014)? == 2, "MAC_STAT_OPACKETS");
    ensure!(sled.port_statistic("g2", 1_012)? == 1, "MAC_STAT_IPACKETS");
    ensure!(sled.port_statistic("g2", 1_010).is_err(), "collisions");
    end(sled)
}

/// What each layer of `g1` has and did.
fn layers(sled: &Sled, port: Name) -> Result<()> {
    let layers = sled.kstat("xde_layer:0:g1")?;
    let Response::Layers(entries) = command(sled, Command::ListLayers(port))? else {
        bail!("another answer");
    };
    for entry in entries {
        let get = |name: &str| layers.get(&format!("{}_{name}", entry.layer)).copied();
        ensure!(
            get("flows") == Some(entry.flows.into())
                && get("default_hits_in") == Some(entry.default_hits_in)
                && get("default_hits_out") == Some(entry.default_hits_out),
            "{entry:?} isn't what {layers:?} says"
        );
    }
    ensure!(layers.get("router_rules_out") == Some(&2), "{layers:?}");
    Ok(())
}

/// Two ports whose names differ in a character that kstat has no room for.
fn longest_names(module: &[u8]) -> Result<()> {
    let sled = attached(module)?;
    let start = "a_name_of_thirty_characters_is";
    let names = ["1", "2"].map(|end| format!("{start}{end}"));
    ensure!(
        names.iter().all(|name| name.len() == NAME_LEN_MAX),
        "{names:?}"
    );
    let [one, two] = &names;
    let text = SETUP.replace("\"g1\"", &format!("\"{one}\""));
    let text = text.replace("\"g2\"", &format!("\"{two}\""));
    let setup: Setup = toml::from_str(&text)?;
    prepare(&sled, &setup);
    command(&sled, Command::Apply(setup))?;
    let frames = frames("0.0 tx g1 udp 10.0.0.1:1000 > 10.0.0.2:53 len 32")?;
    sled.guest_sends(one, &packets(&frames), Context::Packet)?;
    for (name, packets) in names.iter().zip([("out_packets", 1), ("in_packets", 1)]) {
        let port = name.parse().map_err(anyhow::Error::msg)?;
        compare(&sled, Some(port))?;
        let stats = sled.kstat(&kstat_of("xde", port))?;
        ensure!(
            stats.get(packets.0) == Some(&packets.1),
            "{name}: {stats:?}"
        );
        sled.kstat(&kstat_of("xde_layer", port))?;
    }
    end(sled)
}
