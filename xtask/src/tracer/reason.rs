//! Every reason for which frames are dropped, and a golden case in which one is.
//!
//! Purpose   nothing is dropped in silence: for each reason there is a frame,
//!           and its counter, its verdict and the lines of the scripts agree
//!           about port, direction, layer and rule.
//! Rules     R1  the list is a match over the enumeration: a new reason has to
//!               be given a place. Those without a case, which need a small
//!               limit, a device or a host that is not there, are injected by
//!               `opte-core/tests/trial/refusal.rs`, which is traced too.

use super::{Told, text};
use crate::case::Replay;
use anyhow::{Context, Result, bail, ensure};
use opte_core::DropReason;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// A golden case with a frame that is dropped for this reason.
const fn case_of(reason: DropReason) -> Option<&'static str> {
    use DropReason::*;
    match reason {
        DhcpDeclined | DhcpReleased => Some("dhcp-lease"),
        SpoofedMac | DhcpNotAnswered | BadDhcp | DhcpCrossing | NdpCrossing => {
            Some("dhcp6-refused")
        }
        FamilyOff | FirewallDeny | FirewallDefault => Some("firewall-v6"),
        FragmentOverlap | FragmentTimeout => Some("fragments"),
        NdpNotAnswered | BadNdp | IcmpNotAnswered | GatewayNotAnswered => Some("gateway"),
        TooBig | IcmpUnrelated | IcmpNotForwarded | TtlExceeded => Some("icmp-errors"),
        HostFlowsFull | TcpNoFlow => Some("limits"),
        BadTransport | UnknownEthertype | TcpBadFlags => Some("malformed"),
        BadExtension => Some("malformed-v6"),
        BadChecksum | SpoofedIp | BadDestinationMac | GroupScope | TcpToGroup
        | ReplicatedElsewhere | MulticastLoop | BadMembership | MembershipNotHeard => {
            Some("multicast")
        }
        OtherAddress => Some("floating"),
        NatFiltered => Some("nat-filter"),
        SnatExhausted | NoMapping => Some("nat-per-endpoint"),
        NextHopUnresolved => Some("next-hop"),
        NoExternalAddress | NoV2b | NoUnderlayRoute => Some("outside-refused"),
        Truncated | BadIp | VlanTagged | NotForPort | ArpNotAnswered | UnderlayNotForUs
        | UnderlayNotGeneve | BadUnderlay | BadGeneve | GeneveCriticalOption | NoPort
        | GeneveVersion | WrongVni | NoM2p => Some("overlay-refused"),
        FirewallReject => Some("reject"),
        NoRoute | RouteDrop | NoV2p | NoMulticast | Martian => Some("routes"),
        TcpOutOfWindow => Some("tcp-window"),
        // opte-core/tests/trial/refusal.rs.
        Fragment | BadArp | NextHopQueueFull | NoLink | PortFlowsFull | NoHeadroom | DeviceFull
        | PortDown | UnderlayFull | LinkFull | FragmentsFull | SctpNoFlow | SctpBadTag
        | MembershipFull | MembershipRate | MulticastRate | NoMemory => None,
    }
}

/// The test that injects the others, and the program that it is in.
const TEST: &str = "trial::refusal::every_reason_has_its_counter_and_its_probe";
pub(super) const TESTS: &str = "engine";

/// Has `opte-drops` watch the test that injects reasons without a case.
pub(super) fn injected(root: &Path, tracer: &Path, tests: &Path) -> Result<()> {
    let command = format!(
        "{} --exact {TEST} --nocapture --test-threads=1",
        tests.display()
    );
    let done = super::opte_trace(root, tracer, &command, "opte-drops")?;
    let told = Told::of_text(&text(&done));
    let printed = printed(&told);
    let all = DropReason::ALL.iter();
    for reason in all.filter(|reason| case_of(**reason).is_none()) {
        let name = reason.name();
        let pattern = ["injected", "*", "*", "*", "*", name];
        let line = told.like(&pattern).next();
        let line = line.with_context(|| format!("{name} isn't injected:\n{}", text(&done)))?;
        let [_, line @ .., count] = line else {
            bail!("{line:?}");
        };
        let found = <&[String; 5]>::try_from(line).ok();
        let found = found.and_then(|line| printed.get(line));
        ensure!(
            found == Some(&count.parse()?),
            "{found:?} printed for {line:?}, which was counted {count} times"
        );
    }
    Ok(())
}

/// The cases, each with its reasons.
pub(super) fn cases() -> BTreeMap<&'static str, Vec<DropReason>> {
    let mut cases: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for reason in DropReason::ALL {
        if let Some(case) = case_of(*reason) {
            cases.entry(case).or_default().push(*reason);
        }
    }
    cases
}

/// Whether `opte-drops` has printed of a case what its counters and verdicts
/// say, these reasons among them.
pub(super) fn agree(told: &Told, replay: &Replay, reasons: &[DropReason]) -> Result<()> {
    let text = std::fs::read_to_string(replay.out.join("counters.json"))?;
    let counters: Value = serde_json::from_str(&text)?;
    let printed = printed(told);
    for reason in reasons {
        let found = printed.keys().any(|line| line[4] == reason.name());
        ensure!(found, "{} isn't printed: {:#?}", reason.name(), told.lines);
    }
    let of_host = counters.pointer("/host/drops").context("no counters")?;
    same(of_host, &total(&printed, |_| true))?;
    let ports = counters.get("ports").and_then(Value::as_object);
    for (name, port) in ports.into_iter().flatten() {
        let drops = port.get("drops").context("no counters of a port")?;
        same(drops, &total(&printed, |port| port == name))?;
    }
    for verdict in &told.verdicts {
        let word = |name| verdict.get(name).and_then(Value::as_str).unwrap_or("-");
        let rule = verdict.get("rule").and_then(Value::as_u64).unwrap_or(0);
        // One that got next door was dropped by the port there.
        let next_door = verdict.get("delivery").is_some_and(|it| !it.is_null());
        if word("verdict") == "dropped" && !next_door {
            let line = ["port", "direction", "layer"].map(|name| word(name).to_owned());
            let [port, dir, layer] = line;
            let line = [
                port,
                dir,
                layer,
                rule.to_string(),
                word("reason").to_owned(),
            ];
            ensure!(printed.contains_key(&line), "{line:?} isn't printed");
        }
    }
    Ok(())
}

/// PORT DIR LAYER RULE REASON, and COUNT.
type Printed = BTreeMap<[String; 5], u64>;

fn printed(told: &Told) -> Printed {
    let mut lines = Printed::new();
    for line in told.like(&["*", "*", "*", "*", "*", "*"]) {
        let [port, dir, layer, rule, reason, count] = line else {
            continue;
        };
        if let Ok(count) = count.parse() {
            let key = [port, dir, layer, rule, reason].map(String::clone);
            lines.insert(key, count);
        }
    }
    lines
}

/// Frames by reason, of ports that are wanted.
fn total(printed: &Printed, wanted: impl Fn(&str) -> bool) -> BTreeMap<String, u64> {
    let mut total = BTreeMap::new();
    for ([port, .., reason], count) in printed {
        if wanted(port) {
            *total.entry(reason.clone()).or_insert(0) += count;
        }
    }
    total
}

fn same(counters: &Value, printed: &BTreeMap<String, u64>) -> Result<()> {
    let counted: BTreeMap<String, u64> = serde_json::from_value(counters.clone())?;
    ensure!(
        counted == *printed,
        "{counted:?} are counted, {printed:?} printed"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace;

    #[test]
    fn every_case_has_its_reasons() {
        for (case, reasons) in cases() {
            let file = format!("opte-core/tests/cases/{case}/expect/counters.json");
            let text = std::fs::read_to_string(workspace::root().join(file)).unwrap();
            for name in reasons.iter().map(|reason| reason.name()) {
                assert!(text.contains(&format!("\"{name}\"")), "{case}: {name}");
            }
        }
    }
}
