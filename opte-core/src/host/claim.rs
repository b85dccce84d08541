//! What several ports of a setup can't have at once.
//!
//! Purpose   two ports with one external address, or with overlapping ports of
//!           a shared one, would answer for each other. A setup that says so is
//!           refused. Commands may pass through such a state: an address moves
//!           from port to port in two of them. Attached subnets may be the same:
//!           two routers stand in for each other that way.

use crate::api::external::Claim;
use crate::api::{ConfigError, ErrorCode, ObjectKind, PortSpec};
use alloc::collections::BTreeMap;

/// Checks that no two ports of a setup claim the same.
pub(super) fn check(ports: &[PortSpec]) -> Result<(), ConfigError> {
    let mut all = BTreeMap::new();
    for spec in ports {
        for claim in spec.external.claims() {
            all.insert((claim.address, claim.first_port, all.len()), (claim, spec));
        }
    }
    let mut all = all.into_values();
    let Some((mut widest, mut whose)) = all.next() else {
        return Ok(());
    };
    for (claim, spec) in all {
        let ends = |claim: &Claim| (claim.address, claim.last_port);
        let overlaps = (claim.address, claim.first_port) <= ends(&widest);
        if overlaps && spec.name != whose.name {
            let error = ConfigError::new(ErrorCode::Exists, ObjectKind::Port, spec.name);
            let hint = alloc::format!("it is port {}'s", whose.name);
            return Err(error.field(claim.field, claim.address).hint(hint));
        }
        if ends(&claim) > ends(&widest) {
            (widest, whose) = (claim, spec);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Setup;
    use std::string::ToString as _;

    fn refusal(ports: [&str; 2]) -> Option<std::string::String> {
        let text: std::string::String = (1..)
            .zip(ports)
            .map(|(at, rest)| {
                std::format!(
                    "[[port]]\nname = \"g{at}\"\nmac = \"2:0:0:0:0:{at}\"\nvni = 1\n{rest}\n"
                )
            })
            .collect();
        let setup: Setup = toml::from_str(&text).unwrap();
        check(&setup.ports).err().map(|error| error.to_string())
    }

    #[test]
    fn two_ports_cannot_have_the_same() {
        let snat = |first, last| {
            std::format!(
                "[[port.external.snat]]\naddress = \"192.0.2.1\"\nfirst_port = {first}\nlast_port = {last}"
            )
        };
        let floating = "[port.external]\nfloating = [{ address = \"192.0.2.1\" }]";
        let ephemeral = "[port.external]\nephemeral = [\"192.0.2.1\"]";
        for (ports, field) in [
            ([snat(1_024, 2_047), snat(1_500, 1_600)], "external.snat"),
            ([snat(1_024, 2_047), snat(2_047, 3_000)], "external.snat"),
            ([floating.into(), floating.into()], "external.floating"),
            ([floating.into(), snat(1_024, 2_047)], "external.snat"),
            ([ephemeral.into(), floating.into()], "external.floating"),
        ] {
            let why = refusal([&ports[0], &ports[1]]).unwrap();
            assert!(why.contains(field) && why.contains("it is port g"), "{why}");
            let alone = refusal([&ports[0], ""]);
            assert_eq!(alone, None, "{field}");
        }
        let neighbours = [snat(1_024, 2_047), snat(2_048, 4_095)];
        assert_eq!(refusal([&neighbours[0], &neighbours[1]]), None);
    }
}
