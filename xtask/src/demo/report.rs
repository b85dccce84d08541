//! What the demo says, and what it found out.

use anyhow::Result;
use serde_json::{Map, Value, json};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

/// Everything that is to be found out, in the order of the tour. An item that
/// the tour doesn't reach stays false, so a demo can't succeed by stopping
/// early.
const ITEMS: &[(&str, &str)] = &[
    ("dhcp", "every guest has its IPv4 lease"),
    ("router_advertisement", "every guest heard its IPv6 router"),
    ("ping_gateway", "the virtual gateway answers, IPv4 and IPv6"),
    ("ping_same_sled", "ping g1 to g2"),
    ("ping6_same_sled", "ping g1 to g2, IPv6"),
    ("tcp_same_sled", "TCP g1 to g2"),
    ("tcp6_same_sled", "TCP g1 to g2, IPv6"),
    ("ping_other_sled", "ping g1 to g3, through the tunnel"),
    (
        "ping6_other_sled",
        "ping g1 to g3, through the tunnel, IPv6",
    ),
    ("tcp_other_sled", "TCP g1 to g3, through the tunnel"),
    ("tcp6_other_sled", "TCP g1 to g3, through the tunnel, IPv6"),
    ("snat_tcp", "TCP g1 to the internet, from a shared address"),
    (
        "snat6_tcp",
        "TCP g1 to the internet, from a shared address, IPv6",
    ),
    (
        "snat_ping",
        "ping g1 to the internet, from a shared address",
    ),
    (
        "floating_in",
        "TCP from the internet to g3's floating address",
    ),
    (
        "floating6_in",
        "TCP from the internet to g3's floating address, IPv6",
    ),
    (
        "floating_out",
        "TCP g3 to the internet, from its floating address",
    ),
    ("denied", "the firewall denies TCP g1 to g2:8080"),
    ("deny_reason_shown", "opteadm says why"),
    (
        "live_rule_change",
        "after a rule was added, the same connection works",
    ),
    (
        "listings",
        "ports, layers, flows and connections can be listed",
    ),
    (
        "underlay_capture",
        "every recorded tunnel frame is well-formed",
    ),
    (
        "drivers_alive",
        "both drivers ran to the end, and ended well",
    ),
];

/// What is measured, where zero is as wrong as false.
const NUMBERS: &[(&str, &str)] = &[
    ("tcp_other_sled_gbps", "throughput g1 to g3, Gb/s"),
    ("tcp6_other_sled_gbps", "throughput g1 to g3, Gb/s, IPv6"),
    ("seconds", "time that all of this took"),
];

/// The demo's voice and memory.
pub(super) struct Report {
    json: bool,
    items: Map<String, Value>,
}

impl Report {
    /// A report in which nothing is true yet. With `json` it speaks on
    /// standard error, and standard output gets the object alone.
    pub(super) fn new(json: bool) -> Self {
        let unknown = ITEMS.iter().map(|(name, _)| (*name, Value::Bool(false)));
        let zero = NUMBERS.iter().map(|(name, _)| (*name, json!(0)));
        let items = unknown
            .chain(zero)
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        Self { json, items }
    }

    /// Says something.
    pub(super) fn say(&self, text: &str) {
        // A reader that went away, as `head` does, is no reason to stop.
        let _ = match self.json {
            true => writeln!(std::io::stderr(), "{text}"),
            false => writeln!(std::io::stdout(), "{text}"),
        };
    }

    /// Shows what was printed by a command, set off from what the demo says.
    pub(super) fn quote(&self, text: &str) {
        for line in text.trim_end().lines() {
            self.say(&format!("    | {line}"));
        }
    }

    /// Says whether something is as it should be.
    pub(super) fn note(&self, what: &str, result: Result<String>) -> bool {
        let good = result.is_ok();
        match result {
            Ok(found) => self.say(&format!("    ok    {what}: {found}")),
            Err(error) => self.say(&format!("    WRONG {what}: {error:#}")),
        }
        good
    }

    /// Says whether an item is as it should be, and remembers it.
    pub(super) fn check(&mut self, item: &str, what: &str, result: Result<String>) {
        let good = self.note(what, result);
        self.set(item, good);
    }

    /// Remembers an item.
    pub(super) fn set(&mut self, item: &str, good: bool) {
        self.items.insert(item.into(), Value::Bool(good));
    }

    /// Notes a number.
    pub(super) fn number(&mut self, item: &str, value: f64) {
        // Three digits: nobody reads more, and the last ones are noise.
        let rounded = (value * 1_000.0).round() / 1_000.0;
        self.items.insert(item.into(), json!(rounded));
    }

    /// Whether everything is as it should be.
    pub(super) fn good(&self) -> bool {
        let wrong = |value: &Value| *value == Value::Bool(false) || value.as_f64() == Some(0.0);
        !self.items.values().any(wrong)
    }

    /// Prints the summary.
    pub(super) fn finish(&self, folder: &Path) -> Result<()> {
        self.say(&self.table());
        self.say(&format!(
            "Setup files, logs and the recording underlay.pcapng are in {}.",
            folder.display()
        ));
        if self.json {
            let object = Value::Object(self.items.clone());
            writeln!(std::io::stdout(), "{object}")?;
        }
        Ok(())
    }

    fn table(&self) -> String {
        let mut table = String::from("\n== Summary\n");
        for (name, what) in ITEMS.iter().chain(NUMBERS) {
            let value = match self.items.get(*name) {
                Some(Value::Bool(true)) => "ok".into(),
                Some(Value::Number(number)) => number.to_string(),
                _ => "WRONG".into(),
            };
            // Writing to a string can't fail.
            let _ = writeln!(table, "    {name:<22}{value:<8}{what}");
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;

    #[test]
    fn a_report_is_good_when_every_item_is() {
        let mut report = Report::new(true);
        assert!(!report.good());
        for (item, _) in ITEMS {
            assert!(!report.good());
            report.check(item, "", Ok(String::new()));
        }
        for (item, _) in NUMBERS {
            assert!(!report.good());
            report.number(item, 1.234_56);
        }
        assert!(report.good());
        assert_eq!(report.items["tcp_other_sled_gbps"], json!(1.235));
        report.number("seconds", 0.000_1);
        assert!(!report.good());
        report.number("seconds", 1.0);
        report.check("dhcp", "", Err(anyhow!("no")));
        assert!(!report.good());
    }
}
