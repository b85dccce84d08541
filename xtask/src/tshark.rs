//! tshark as an independent judge of frames that the engine sends.
//!
//! Purpose   our tests share our misunderstandings; Wireshark's dissectors
//!           don't.
//!
//! Rules     W1  an error of a dissector (malformed, a wrong length, a wrong
//!               checksum of any header, inner and outer) fails the frame.
//!           W2  a Geneve frame has one of the VNIs that its setup knows.
//!           W3  a zero UDP checksum over IPv6 is right for a tunnel
//!               (RFC 6935) and wrong for everything else.
//!           W4  the checksum of a TCP segment that an ICMP error quotes in part
//!               is nobody's to judge, though tshark does.
//!           W5  no frame in a capture is not judged: the counts must agree.

use crate::script::Scene;
use crate::step::Outcome;
use anyhow::{Context, Result, bail, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// Preferences that make tshark check what it otherwise believes, and not
/// take an unknown payload for some protocol by its looks.
const PREFERENCES: &[&str] = &[
    "ip.check_checksum:TRUE",
    "tcp.check_checksum:TRUE",
    "udp.check_checksum:TRUE",
    "udp.ignore_ipv6_zero_checksum:TRUE",
    "udplite.check_checksum:TRUE",
    "dccp.check_checksum:TRUE",
    "sctp.checksum:CRC-32c",
    "udp.try_heuristic_first:FALSE",
];

/// Ports whose payload is nobody's business but the guests': in scripts it
/// counts up, whatever the port. Left out are DHCP (67, 68), DHCPv6 (546, 547)
/// and Geneve (6081), in which the engine has a say, and the tunnel's source
/// ports (49152 on), for one port of the two is enough to go by.
const PAYLOADS: &[&str] = &[
    "tcp.port==1-65535,data",
    "udp.port==1-66,data",
    "udp.port==69-545,data",
    "udp.port==548-6080,data",
    "udp.port==6082-49151,data",
];

/// Fields that say whether a checksum is right, by themselves: what a
/// dissector calls an error differs between protocols and versions. UDP-Lite has
/// that of UDP.
const CHECKSUMS: &[&str] = &[
    "ip.checksum.status",
    "icmp.checksum.status",
    "icmpv6.checksum.status",
    "tcp.checksum.status",
    "udp.checksum.status",
    "sctp.checksum.status",
    "dccp.checksum.status",
];

/// A checksum's status when it is wrong (`PROTO_CHECKSUM_E_BAD`).
const CHECKSUM_BAD: &str = "0";

/// What else is asked of every frame.
const FIELDS: &[&str] = &[
    "frame.number",
    "frame.len",
    "ip.len",
    "ipv6.plen",
    "_ws.expert.severity",
    "_ws.expert.message",
    "geneve.vni",
    "tcp.checksum",
    "tcp.checksum_calculated",
    "udp.checksum",
    "udp.dstport",
    "eth.type",
];

/// `_ws.expert.severity` of an error (`PI_ERROR`).
const SEVERITY_ERROR: &str = "8388608";

/// Between the fields, and between the values of one field.
const TAB: char = '\t';
const VALUES: char = '|';

/// Whether tshark is installed.
pub(crate) fn is_there() -> bool {
    let version = Command::new("tshark").arg("--version").output();
    version.is_ok_and(|done| done.status.success())
}

/// Judges every capture. `captures` are files and the setups they come from.
pub(crate) fn check<'a>(
    captures: impl IntoIterator<Item = (&'a Path, &'a Scene)>,
) -> Result<Outcome> {
    if !is_there() {
        return Ok(Outcome::skip("tshark isn't installed"));
    }
    let mut outcome = Outcome::default();
    let (mut files, mut frames) = (0, 0);
    for (path, scene) in captures {
        files += 1;
        let judged = judge(path, &scene.vnis)?;
        frames += judged.frames;
        if judged.problems.is_empty() {
            outcome.passed += 1;
        }
        let name = path.display();
        let problems = judged.problems.into_iter();
        outcome
            .failures
            .extend(problems.map(|p| format!("{name}: {p}")));
    }
    if frames == 0 {
        // No verdict is never a pass.
        return Ok(Outcome::fail("there are no frames to judge"));
    }
    outcome.note = format!("{frames} frames in {files} captures");
    Ok(outcome)
}

/// What tshark thinks of a capture.
#[derive(Debug, PartialEq, Eq)]
struct Judged {
    frames: usize,
    problems: Vec<String>,
}

/// Runs tshark over one capture.
fn judge(capture: &Path, vnis: &BTreeSet<u32>) -> Result<Judged> {
    let mut command = Command::new("tshark");
    command.args(["-n", "-2", "-T", "fields", "-E", "separator=/t"]);
    command.args(["-E", "occurrence=a", "-E", &format!("aggregator={VALUES}")]);
    for preference in PREFERENCES {
        command.args(["-o", preference]);
    }
    for payload in PAYLOADS {
        command.args(["-d", payload]);
    }
    for field in FIELDS.iter().chain(CHECKSUMS) {
        command.args(["-e", field]);
    }
    let done = command
        .arg("-r")
        .arg(capture)
        .output()
        .context("cannot run tshark")?;
    if !done.status.success() {
        bail!(
            "{}: {}",
            capture.display(),
            String::from_utf8_lossy(&done.stderr).trim()
        );
    }
    let text = String::from_utf8_lossy(&done.stdout);
    let mut judged = Judged {
        frames: 0,
        problems: Vec::new(),
    };
    for line in text.lines() {
        let row = Row::parse(line)?;
        judged.frames += 1;
        ensure!(
            row.number() == judged.frames.to_string(),
            "tshark skipped frame {}",
            judged.frames
        );
        let problems = row.problems(vnis).into_iter();
        judged
            .problems
            .extend(problems.map(|p| format!("frame {}: {p}", row.number())));
    }
    Ok(judged)
}

/// The fields of one frame, each with all of its values: outer headers first.
struct Row<'a>(BTreeMap<&'static str, Vec<&'a str>>);

impl<'a> Row<'a> {
    fn parse(line: &'a str) -> Result<Self> {
        let columns: Vec<&str> = line.split(TAB).collect();
        ensure!(
            columns.len() == FIELDS.len() + CHECKSUMS.len(),
            "tshark printed `{line}`"
        );
        let names = FIELDS.iter().chain(CHECKSUMS).copied();
        let values = |column: &'a str| column.split(VALUES).filter(|v| !v.is_empty()).collect();
        Ok(Self(names.zip(columns.into_iter().map(values)).collect()))
    }

    fn values(&self, field: &str) -> &[&'a str] {
        self.0.get(field).map_or(&[], Vec::as_slice)
    }

    fn number(&self) -> &'a str {
        self.values("frame.number").first().copied().unwrap_or("?")
    }

    /// Whether the frame quotes a packet of which it has only a part (rule W4):
    /// one that says it is longer than the frame.
    fn quotes_in_part(&self) -> bool {
        let frame = self.values("frame.len").first().and_then(|v| number(v));
        let packets = ["ip.len", "ipv6.plen"].map(|field| self.values(field));
        packets.concat().iter().any(|len| number(len) > frame)
    }

    /// Whether a TCP checksum is minus zero where zero is right, which is the
    /// same to every receiver. Guests do that: Linux, when it sums up in
    /// software, for every protocol alike; and what isn't translated stays as
    /// it is.
    fn has_other_zero(&self, field: &str) -> bool {
        field == "tcp.checksum.status"
            && self.values("tcp.checksum") == ["0xffff"]
            && self.values("tcp.checksum_calculated") == ["0x0000"]
    }

    fn problems(&self, vnis: &BTreeSet<u32>) -> Vec<String> {
        let mut problems = Vec::new();
        // Rule W1. Severity and message of one remark have the same position.
        let messages = self.values("_ws.expert.message");
        for (at, severity) in self.values("_ws.expert.severity").iter().enumerate() {
            let message = messages.get(at).copied();
            let message = message.unwrap_or("an error without words");
            let is_of_part = self.quotes_in_part() && message.starts_with("Bad checksum");
            if *severity == SEVERITY_ERROR && !is_of_part {
                problems.push(message.to_owned());
            }
        }
        for field in CHECKSUMS {
            let is_excused = self.has_other_zero(field)
                || field == &"tcp.checksum.status" && self.quotes_in_part();
            if self.values(field).contains(&CHECKSUM_BAD) && !is_excused {
                problems.push(format!("{field} is bad"));
            }
        }
        // Rule W2.
        for vni in self.values("geneve.vni") {
            if number(vni).is_none_or(|number| !vnis.contains(&number)) {
                problems.push(format!("VNI {vni} isn't one of {vnis:?}"));
            }
        }
        // Rule W3.
        let inner = |field| self.values(field).last().copied();
        if inner("eth.type") == Some("0x86dd")
            && inner("udp.checksum") == Some("0x0000")
            && inner("udp.dstport") != Some("6081")
        {
            problems.push("a UDP datagram over IPv6 without a checksum".to_owned());
        }
        problems
    }
}

/// A number as tshark prints it, decimal or hexadecimal.
fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::capture::pcap;
    use crate::script::compile;

    const SETUP: &str = r#"
        underlay = { address = "fd00::1", link = [{ name = "u0" }] }
        [[port]]
        name = "g1"
        mac = "a8:40:25:f0:00:01"
        vni = 7
        ipv4 = { address = "10.0.0.1", gateway = "10.0.0.254" }
        ipv6 = { address = "fd77::1", gateway = "fd77::ff" }
    "#;

    /// Judges a script's frames; none without tshark, and says so.
    fn judged(name: &str, script: &str) -> Option<Vec<String>> {
        if !is_there() {
            crate::skip::skip(name, "tshark isn't installed");
            return None;
        }
        let scene = Scene::parse(SETUP).unwrap();
        let frames = compile(script, &scene).unwrap();
        let file = pcap(&frames.iter().collect::<Vec<_>>()).unwrap();
        let path = std::env::temp_dir().join(format!("judge-{}-{name}.pcap", std::process::id()));
        std::fs::write(&path, file).unwrap();
        let judged = judge(&path, &scene.vnis);
        std::fs::remove_file(&path).unwrap();
        let judged = judged.unwrap();
        assert_eq!(judged.frames, frames.len());
        Some(judged.problems)
    }

    #[test]
    fn right_frames_pass() {
        let problems = judged("right", include_str!("script/every_kind.txt"));
        assert_eq!(problems.unwrap_or_default(), [""; 0]);
    }

    /// What has to be said of each frame.
    const BROKEN: &[(&str, &str)] = &[
        (
            "udp.checksum",
            "udp 10.0.0.1:1 > 10.0.0.2:2 len 8 bad-checksum",
        ),
        (
            "tcp.checksum",
            "tcp 10.0.0.1:1 > 10.0.0.2:2 syn bad-checksum",
        ),
        (
            "tcp.checksum",
            "tcp [fd77::1]:1 > [fd77::2]:2 syn bad-checksum",
        ),
        (
            "icmp.checksum",
            "icmp 10.0.0.1 > 10.0.0.2 echo len 8 bad-checksum",
        ),
        (
            "icmpv6.checksum",
            "icmp fd77::1 > fd77::2 echo len 8 bad-checksum",
        ),
        ("ip.checksum", "udp 10.0.0.1:1 > 10.0.0.2:2 bad-ip-checksum"),
        ("alformed", "udp 10.0.0.1:1 > 10.0.0.2:2 len 8 cut 30"),
        (
            "VNI",
            "geneve fd00::1 > fd00::2 vni 8 / udp 10.0.0.2:1 > 10.0.0.1:2",
        ),
        (
            "udp.checksum",
            "geneve fd00::1 > fd00::2 vni 7 / udp 10.0.0.2:1 > 10.0.0.1:2 bad-checksum",
        ),
        (
            "udp.checksum",
            "ip 136 10.0.0.1 > 10.0.0.2 data 03e807d00000123468656c6c6f21",
        ),
        (
            "dccp.checksum",
            "ip 33 10.0.0.1 > 10.0.0.2 data 03e807d005001234010000000000000100000066",
        ),
        (
            "without a checksum",
            "ip 17 fd77::1 > fd77::2 data 0001000200080000",
        ),
    ];

    #[test]
    fn each_broken_frame_is_caught() {
        let lines = BROKEN.iter().zip(0..);
        let script: String = lines
            .map(|((_, frame), second)| format!("{second} tx g1 {frame}\n"))
            .collect();
        let Some(problems) = judged("broken", &script) else {
            return;
        };
        for ((what, frame), number) in BROKEN.iter().zip(1..) {
            let start = format!("frame {number}: ");
            let found = problems
                .iter()
                .any(|p| p.starts_with(&start) && p.contains(what));
            assert!(found, "{frame}: {problems:?}");
        }
    }
}
