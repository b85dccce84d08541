//! A capture that nothing of ours has made, replayed and traced.
//!
//! Purpose   golden cases are what we think that guests send, or were recorded
//!           at our own devices. Here tcpdump records two guests of Linux's
//!           behind a router of Linux's (`elsewhere.sh`), and what scripts
//!           print of a replay is compared with what tshark reads in the files.
//! Flow      record -> tx-g1.pcap, tx-g2.pcap -> scripts on a replay -> compare

use super::{Told, opte_trace, text};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

const RECORD: &str = include_str!("elsewhere.sh");
const SETUP: &str = include_str!("elsewhere.toml");
/// How long recording may take, in seconds: it is a few, of which `timeout`
/// makes an end should the script wait for what doesn't come.
const RECORD_LIMIT_S: &str = "120";
const GUESTS: [&str; 2] = ["g1", "g2"];
/// What tshark tells of each frame; what a frame hasn't is empty.
const FIELDS: [&str; 11] = [
    "ip.src",
    "ipv6.src",
    "ip.dst",
    "ipv6.dst",
    "tcp.srcport",
    "tcp.dstport",
    "tcp.len",
    "icmp.type",
    "icmpv6.type",
    "arp.opcode",
    "arp.dst.proto_ipv4",
];

/// Lines without what differs from run to run, each with how often it is there.
type Lines = BTreeMap<String, usize>;

/// Records, and compares what every script prints.
pub(super) fn check(root: &Path, tracer: &Path, driver: &Path) -> Result<()> {
    let work = root.join("target/tracer/elsewhere");
    let _ = fs::remove_dir_all(&work);
    fs::create_dir_all(&work)?;
    fs::write(work.join("setup.toml"), SETUP)?;
    let recorded = Command::new("unshare")
        .args(["-n", "-m", "timeout", RECORD_LIMIT_S])
        .args(["sh", "-c", RECORD, "record"])
        .arg(&work)
        .output()
        .context("can't run unshare")?;
    let status = recorded.status;
    ensure!(status.success(), "{status}: {}", text(&recorded));
    let captured = captured(&work)?;
    for (script, read) in [
        ("opte-ipio", ipio as fn(&Told) -> Lines),
        ("opte-tcpio", tcpio),
        ("opte-icmpio", icmpio),
        ("opte-arp", arp),
    ] {
        let folder = work.display();
        let command = format!(
            "{} replay --setup {folder}/setup.toml --out {folder}/{script} \
             tx:g1={folder}/tx-g1.pcap tx:g2={folder}/tx-g2.pcap",
            driver.display()
        );
        let done = opte_trace(root, tracer, &command, script)?;
        let printed = read(&Told::of_text(&text(&done)));
        let captured = captured.get(script).context("nothing was recorded")?;
        ensure!(
            printed == *captured,
            "{script}: {printed:#?} of {captured:#?}"
        );
    }
    Ok(())
}

/// What each script has to print, by tshark.
fn captured(work: &Path) -> Result<BTreeMap<&'static str, Lines>> {
    let mut all: BTreeMap<&str, Lines> = BTreeMap::new();
    for guest in GUESTS {
        let capture = work.join(format!("tx-{guest}.pcap"));
        let mut command = Command::new("tshark");
        command
            .args(["-n", "-T", "fields", "-E", "occurrence=f", "-r"])
            .arg(capture);
        for field in FIELDS {
            command.args(["-e", field]);
        }
        let done = command.output().context("can't run tshark")?;
        ensure!(done.status.success(), "{}", text(&done));
        for line in String::from_utf8(done.stdout)?.lines() {
            let fields: Vec<&str> = line.split('\t').collect();
            let [
                v4,
                v6,
                to4,
                to6,
                sport,
                dport,
                len,
                icmp,
                icmp6,
                arp,
                target,
            ] = fields.as_slice()
            else {
                anyhow::bail!("tshark says {line:?}");
            };
            let mut add = |script, line: String| {
                *all.entry(script).or_default().entry(line).or_insert(0) += 1;
            };
            if !arp.is_empty() {
                add("opte-arp", format!("{guest} {arp} {target}"));
                continue;
            }
            let (from, to) = (format!("{v4}{v6}"), format!("{to4}{to6}"));
            add("opte-ipio", format!("{guest} {from} {to}"));
            if !len.is_empty() {
                add("opte-tcpio", format!("{from}:{sport} {to}:{dport} {len}"));
            }
            if !icmp.is_empty() || !icmp6.is_empty() {
                add("opte-icmpio", format!("{guest} {from} {to} {icmp}{icmp6}"));
            }
        }
    }
    // It is all there, over both.
    let lines = |script| all.get(script).map_or(0, |lines| lines.values().sum());
    let least = [("opte-arp", 1), ("opte-icmpio", 12), ("opte-tcpio", 60)];
    for (script, least) in least {
        ensure!(lines(script) >= least, "{} of {script}", lines(script));
    }
    Ok(all)
}

/// Lines of what guests sent, by these places of their words.
fn sent(told: &Told, arrow: usize, line: impl Fn(&[String]) -> Option<String>) -> Lines {
    let mut lines = Lines::new();
    let all = told.lines.iter();
    for words in all.filter(|words| words.get(arrow).is_some_and(|word| word == "->")) {
        if let Some(line) = line(words) {
            *lines.entry(line).or_insert(0) += 1;
        }
    }
    lines
}

/// CPU DELTA SOURCE -> DEST INT BYTES
fn ipio(told: &Told) -> Lines {
    sent(told, 3, |words| match words {
        [_, _, from, _, to, port, _] => Some(format!("{port} {from} {to}")),
        _ => None,
    })
}

/// CPU LADDR:LPORT -> RADDR:RPORT BYTES FLAGS
fn tcpio(told: &Told) -> Lines {
    sent(told, 2, |words| match words {
        [_, from, _, to, bytes, _] => Some(format!("{from} {to} {bytes}")),
        _ => None,
    })
}

/// PORT -> SADDR DADDR TYPE CODE QUOTED
fn icmpio(told: &Told) -> Lines {
    sent(told, 1, |words| match words {
        [port, _, from, to, kind, ..] => Some(format!("{port} {from} {to} {kind}")),
        _ => None,
    })
}

/// PORT -> OP SENDER MAC TARGET
fn arp(told: &Told) -> Lines {
    sent(told, 1, |words| match words {
        [port, _, op, _, _, target] => {
            let number = if op == "request" { 1 } else { 2 };
            Some(format!("{port} {number} {target}"))
        }
        _ => None,
    })
}
