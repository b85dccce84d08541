//! What layers do without anybody having written a rule, as listings show it.

use crate::api::PortSpec;
use crate::port::Policy;
use crate::{Direction, LayerId};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// Direction, what matches, what happens.
pub(super) type BuiltIn = (Direction, String, String);

/// A layer's built-in rules.
pub(super) fn built_in(policy: &Policy, layer: LayerId) -> impl Iterator<Item = BuiltIn> {
    let spec = &policy.spec;
    let rules = match layer {
        LayerId::Gateway => gateway(spec),
        LayerId::Nat => nat(spec),
        LayerId::Overlay => [
            rule(
                Direction::Out,
                format!("mapped address of vni {}", spec.vni),
                "encapsulate",
            ),
            rule(
                Direction::In,
                format!("vni {}, mac {}", spec.vni, spec.mac),
                "decapsulate",
            ),
        ]
        .into(),
        LayerId::Firewall | LayerId::Router => Vec::new(),
    };
    rules.into_iter()
}

fn rule(dir: Direction, matches: String, does: &str) -> BuiltIn {
    (dir, matches, does.to_string())
}

/// What the guest may send from, and what it is answered.
fn gateway(spec: &PortSpec) -> Vec<BuiltIn> {
    let v4 = spec
        .ipv4
        .map(|c| (c.address.to_string(), c.gateway.to_string(), "arp"));
    let v6 = spec
        .ipv6
        .map(|c| (c.address.to_string(), c.gateway.to_string(), "ndp"));
    let mut rules = Vec::new();
    for (address, gateway, discovery) in [v4, v6].into_iter().flatten() {
        rules.extend([
            rule(
                Direction::Out,
                format!("{discovery} for {gateway}"),
                "reply",
            ),
            rule(
                Direction::Out,
                format!("echo request to {gateway}"),
                "reply",
            ),
            rule(
                Direction::Out,
                format!("source {} {address}", spec.mac),
                "allow",
            ),
            rule(
                Direction::In,
                format!("destination {} {address}", spec.mac),
                "allow",
            ),
        ]);
    }
    if spec.ipv4.is_some() {
        rules.push(rule(Direction::Out, "dhcp".to_string(), "reply"));
    }
    let attached = spec
        .attached_subnets
        .iter()
        .map(|prefix| (prefix, true, true));
    let transit = spec
        .transit
        .iter()
        .map(|t| (&t.prefix, t.outbound, t.inbound));
    for (prefix, outbound, inbound) in attached.chain(transit) {
        if outbound {
            rules.push(rule(Direction::Out, format!("source {prefix}"), "allow"));
        }
        if inbound {
            rules.push(rule(
                Direction::In,
                format!("destination {prefix}"),
                "allow",
            ));
        }
    }
    rules
}

/// What is translated, and to what.
fn nat(spec: &PortSpec) -> Vec<BuiltIn> {
    let external = &spec.external;
    let whole = |text: String| {
        [
            rule(Direction::Out, text.clone(), "translate source"),
            rule(Direction::In, text, "translate destination"),
        ]
    };
    let floating = external
        .floating
        .iter()
        .map(|floating| match floating.gateway {
            Some(id) => format!("floating {} of ig={id}", floating.address),
            None => format!("floating {}", floating.address),
        });
    let ephemeral = external
        .ephemeral
        .iter()
        .map(|address| format!("ephemeral {address}"));
    let mut rules: Vec<_> = floating.chain(ephemeral).flat_map(whole).collect();
    for snat in &external.snat {
        let text = format!(
            "snat {} ports {}-{}",
            snat.address, snat.first_port, snat.last_port
        );
        rules.push(rule(
            Direction::Out,
            text.clone(),
            "translate source and port",
        ));
        rules.push(rule(Direction::In, text, "translate back"));
    }
    rules
}
