//! Where the kernel enters: what the file itself hands to it.
//!
//! The kernel finds the three exported names by itself. Any other function it
//! calls by an address, from a structure in data (`dev_ops`, `cb_ops`, MAC's
//! callbacks) or from an argument (`mac_promisc_add`, `ddi_periodic_add`,
//! `thread_create`). So whatever's address is taken is an entry point, unless it
//! is a method in a virtual table, or `limits.toml` says who of the module calls
//! it. Both ways are checked: what is handed over is listed, and what is listed
//! is handed over.

use super::super::build::ENTRIES;
use super::code::Code;
use super::limits::{Limits, plain};
use std::collections::BTreeSet;

/// Compares the entry points of the file with those that are listed.
pub(super) fn check(code: &Code, limits: &Limits) -> Vec<String> {
    let mut findings = Vec::new();
    let entries: BTreeSet<&str> = found(code, limits);
    for name in &entries {
        if !limits.entries.contains_key(*name) {
            findings.push(format!(
                "{name} is handed to the kernel, and isn't in the list of entry points"
            ));
        }
    }
    for name in limits.entries.keys() {
        if !entries.contains(name.as_str()) {
            findings.push(format!(
                "{name} isn't handed to the kernel; take it off the list of entry points"
            ));
        }
    }
    findings
}

/// Names of functions that the kernel may call.
fn found<'c>(code: &'c Code, limits: &Limits) -> BTreeSet<&'c str> {
    let taken = code.taken();
    let handed = taken.iter().filter_map(|at| code.functions.get(at));
    let handed = handed.map(|function| function.name.as_str());
    let named = code.functions.values().map(|f| f.name.as_str());
    named
        .filter(|name| ENTRIES.contains(name))
        .chain(handed.filter(|name| limits.callers_of(name).next().is_none()))
        .map(plain)
        .collect()
}

/// The functions of a name: a generic one may be there several times.
pub(super) fn functions_named(code: &Code, name: &str) -> Vec<u64> {
    let functions = code.functions.iter();
    functions
        .filter(|(_, function)| plain(&function.name) == name)
        .map(|(at, _)| *at)
        .collect()
}
