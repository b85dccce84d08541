//! What a replay tells: `verdicts.jsonl` and `counters.json`.

use super::recorder::{Pass, Record};
use super::sinks::{Place, Sinks};
use opte_core::api::PortId;
use opte_core::api::dump::{Counter, Stats};
use opte_core::verdict::Verdict;
use serde::Serialize;
use std::collections::BTreeMap;

/// One line of `verdicts.jsonl`. Fields that don't apply are null.
#[derive(Debug, Serialize)]
pub(super) struct Line<'a> {
    /// Side and file name of the input.
    pub(super) input: &'a str,
    /// The frame's number in its input, from 0.
    pub(super) index: usize,
    /// When it was captured: seconds since 1970 with nine decimals.
    pub(super) time: String,
    /// The port that dealt with it first.
    pub(super) port: Option<&'a str>,
    /// `in` or `out`, as the port sees it.
    pub(super) direction: &'static str,
    /// `link`, `port`, `consumed`, `held` or `dropped`.
    pub(super) verdict: &'static str,
    /// Link or port that it went to.
    pub(super) to: Option<&'a str>,
    /// Layer that dropped it.
    pub(super) layer: Option<&'static str>,
    /// Rule that dropped it.
    pub(super) rule: Option<u32>,
    /// Why it was dropped.
    pub(super) reason: Option<&'static str>,
    /// The flow as it came.
    pub(super) before: Option<String>,
    /// The flow as it left.
    pub(super) after: Option<String>,
    /// `hit`, `miss`, or `none` when it was decided before any look-up.
    pub(super) path: Option<&'static str>,
    /// Rules that decided, when the layers were asked.
    pub(super) rules: Vec<RuleRef>,
    /// The receiving guest's port, when the frame stayed on the host.
    pub(super) delivery: Option<Delivery<'a>>,
    /// Frames in the result files that came of it.
    pub(super) outputs: &'a [Place],
}

/// A rule that decided.
#[derive(Debug, Serialize)]
pub(super) struct RuleRef {
    layer: &'static str,
    rule: u32,
}

/// The second port that dealt with a frame.
#[derive(Debug, Serialize)]
pub(super) struct Delivery<'a> {
    port: Option<&'a str>,
    before: Option<String>,
    after: Option<String>,
    path: &'static str,
}

/// The part of a line that the engine decides.
pub(super) struct Decision<'r, 'a> {
    pub(super) record: &'r Record,
    pub(super) verdict: Verdict,
    pub(super) sinks: &'a Sinks,
}

impl<'a> Line<'a> {
    /// The line of one frame. `port` and `direction` are where it was put in,
    /// for frames that no port dealt with.
    pub(super) fn new(
        input: &'a str,
        index: usize,
        time_ns: u64,
        (port, direction): (Option<PortId>, &'static str),
        decision: &Decision<'_, 'a>,
    ) -> Self {
        let Decision {
            record,
            verdict,
            sinks,
        } = decision;
        let name = |id: PortId| sinks.port_name(id);
        let flow = |pass: Option<&Pass>, after: bool| {
            let tuple = pass.and_then(|pass| if after { pass.after } else { pass.before });
            tuple.map(|tuple| tuple.to_string())
        };
        let first = record.passes.first();
        let drop = record.drop;
        let (what, to) = match *verdict {
            Verdict::Link(id) => ("link", sinks.link_name(id)),
            Verdict::Port(id) => ("port", name(id)),
            Verdict::Consumed => ("consumed", None),
            Verdict::Held => ("held", None),
            Verdict::Dropped(_) => ("dropped", None),
        };
        let reason = match *verdict {
            Verdict::Dropped(reason) => Some(reason.name()),
            _ => None,
        };
        let dropped = drop.filter(|_| reason.is_some());
        Self {
            input,
            index,
            time: seconds(time_ns),
            port: first
                .map(|pass| pass.port)
                .or(drop.and_then(|drop| drop.port))
                .or(port)
                .and_then(name),
            direction: first.map_or(direction, |pass| pass.dir.name()),
            verdict: what,
            to,
            layer: dropped
                .and_then(|drop| drop.layer)
                .map(|layer| layer.name()),
            rule: dropped.map(|drop| drop.rule).filter(|rule| *rule != 0),
            reason,
            before: flow(first, false),
            after: flow(first, true),
            path: first.map(|pass| pass.path.name()),
            rules: record
                .rules
                .iter()
                .map(|(layer, rule)| RuleRef {
                    layer: layer.name(),
                    rule: *rule,
                })
                .collect(),
            delivery: record.passes.get(1).map(|pass| Delivery {
                port: name(pass.port),
                before: flow(Some(pass), false),
                after: flow(Some(pass), true),
                path: pass.path.name(),
            }),
            outputs: sinks.written(),
        }
    }
}

/// Nanoseconds as seconds with nine decimals. Text, because a JSON number has
/// not enough digits for every reader.
fn seconds(ns: u64) -> String {
    format!("{}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000)
}

/// `counters.json`.
#[derive(Debug, Default, Serialize)]
pub(super) struct Counters {
    /// The host's.
    pub(super) host: Group,
    /// Each port's.
    pub(super) ports: BTreeMap<String, Group>,
}

/// The counters of the host or a port; those that are zero are left out.
#[derive(Debug, Default, Serialize)]
pub(super) struct Group {
    /// Flows at the end.
    flows: u32,
    counters: BTreeMap<String, u64>,
    drops: BTreeMap<String, u64>,
}

impl From<Stats> for Group {
    fn from(stats: Stats) -> Self {
        let sorted = |counters: Vec<Counter>| {
            let counters = counters.into_iter();
            counters
                .filter(|counter| counter.value != 0)
                .map(|counter| (counter.name, counter.value))
                .collect()
        };
        Self {
            flows: stats.flows,
            counters: sorted(stats.counters),
            drops: sorted(stats.drops),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_nine_decimals() {
        assert_eq!(seconds(0), "0.000000000");
        assert_eq!(seconds(1_700_000_000_000_000_001), "1700000000.000000001");
    }

    #[test]
    fn counters_are_sorted_and_without_zeroes() {
        let counter = |name: &str, value| Counter {
            name: name.into(),
            value,
        };
        let group = Group::from(Stats {
            generation: 9,
            flows: 1,
            counters: vec![counter("b", 2), counter("z", 0), counter("a", 1)],
            drops: vec![counter("no_route", 3)],
        });
        assert_eq!(
            serde_json::to_string(&group).unwrap(),
            r#"{"flows":1,"counters":{"a":1,"b":2},"drops":{"no_route":3}}"#
        );
    }
}
