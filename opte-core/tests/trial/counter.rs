//! Shells that declare counters before there are values know all of them.

use super::{stats, world};
use opte_core::api::counter::{HOST, POOLS, TRAFFIC};
use opte_core::api::{Command, Setting};
use std::collections::BTreeSet;
use std::ffi::CStr;

const POOLS_OF_BOTH_FAMILIES: &str = r#"
external = { snat = [{ address = "203.0.113.5", first_port = 4096, last_port = 4111 },
                     { address = "2001:db8::9", first_port = 4096, last_port = 4111 }] }"#;

#[test]
fn what_is_told_is_declared() {
    let sled = world(POOLS_OF_BOTH_FAMILIES);
    let limit = Setting {
        number: 1,
        value: 9_000,
    };
    sled.command(Command::SetHostOptions(vec![limit])).unwrap();
    let of_port = POOLS.as_flattened();
    for (port, own) in [(None, &HOST[..]), (Some("g1"), of_port)] {
        let text = |name: &&CStr| name.to_str().unwrap().to_owned();
        let declared: BTreeSet<_> = TRAFFIC.iter().chain(own).map(text).collect();
        assert_eq!(declared.len(), TRAFFIC.len() + own.len());
        let told = stats(&sled, port).counters;
        let told: BTreeSet<_> = told.into_iter().map(|counter| counter.name).collect();
        let missing: Vec<_> = told.difference(&declared).collect();
        assert!(missing.is_empty(), "{missing:?}");
        // All but those pools' that no flow has anything of.
        let silent = declared.difference(&told);
        assert!(
            silent.clone().all(|name| name.ends_with("_used")),
            "{silent:?}"
        );
    }
}
