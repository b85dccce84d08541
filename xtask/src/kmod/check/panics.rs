//! Where a panic may come from.
//!
//! What the language's library has for a kind of panic alone is the end of a
//! way: who calls that can panic (rule G2). No memory is listed apart: a command
//! waits for it, and a packet has a reserve (rules A1 to A3 of the module's
//! `ddi::kmem`).

use super::code::{Callee, Code};
use super::depth::Edges;
use super::limits::{Panics, unnumbered};
use std::collections::{BTreeMap, BTreeSet};

/// Beginnings of the names of functions that end in the panic handler, and what
/// calls them, the more exact ones first.
const ENDS: [(&str, &str); 13] = [
    ("alloc.raw_vec.capacity_overflow", "a size"),
    ("alloc.raw_vec.handle_error", MEMORY),
    ("core.option.unwrap_failed", "an unwrap"),
    ("core.option.expect_failed", "an unwrap"),
    ("core.result.unwrap_failed", "an unwrap"),
    ("core.slice.index.slice_", "a range"),
    (
        "core.slice.copy_from_slice_impl.len_mismatch_fail",
        "a length",
    ),
    ("core.str.slice_error_fail", "a range"),
    ("core.cell.panic_already_", "a borrow"),
    ("core.panicking.panic_bounds_check", "an index"),
    ("core.panicking.panic_const_", "arithmetic"),
    ("core.panicking.panic_nounwind_fmt", MEMORY),
    ("core.panicking.", "an assertion"),
];
/// There is none.
const MEMORY: &str = "memory";
/// What the kernel has to end the system, and our handler of panics, which
/// everything of [`ENDS`] leads to.
const KERNEL: [&str; 3] = ["panic", "vpanic", "assfail"];
const HANDLER: &str = "__rustc.rust_begin_unwind";

/// What packets reach, and what only others do, against the lists of it.
pub(super) fn check(
    code: &Code,
    lists: &Panics,
    packets: &Edges,
    commands: &Edges,
) -> (Vec<String>, String) {
    let (mut findings, mut report) = (Vec::new(), String::new());
    for (of, edges, listed) in [
        ("packets", packets, &lists.packets),
        ("commands", commands, &lists.commands),
    ] {
        let (more, text) = compare(of, reached(code, edges), listed);
        findings.extend(more);
        report.push_str(&text);
    }
    (findings, report)
}

/// Functions that can panic, and of what.
fn reached(code: &Code, edges: &Edges) -> BTreeMap<String, BTreeSet<&'static str>> {
    let mut found: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for (at, callees) in edges {
        let function = &code.functions[at];
        let name = &function.name;
        if end(name).is_some() {
            continue;
        }
        let mut kinds: BTreeSet<_> = callees
            .iter()
            .filter_map(|to| end(&code.functions[to].name))
            .collect();
        let ends_system = function
            .calls
            .iter()
            .any(|call| matches!(call, Callee::Kernel(name) if KERNEL.contains(&name.as_str())));
        if ends_system && name != HANDLER {
            kinds.insert("the kernel's panic");
        }
        if !kinds.is_empty() {
            found
                .entry(unnumbered(name).to_owned())
                .or_default()
                .extend(kinds);
        }
    }
    found
}

fn compare(
    of: &str,
    mut found: BTreeMap<String, BTreeSet<&'static str>>,
    listed: &BTreeSet<String>,
) -> (Vec<String>, String) {
    let mut report = format!("functions of {of} that can panic, and of what\n");
    for (name, kinds) in &found {
        let kinds: Vec<_> = kinds.iter().copied().collect();
        report.push_str(&format!("  {name}: {}\n", kinds.join(", ")));
    }
    found.retain(|_, kinds| kinds.iter().any(|kind| *kind != MEMORY));
    let found: BTreeSet<_> = found.into_keys().collect();
    let mut findings = Vec::new();
    for name in found.difference(listed) {
        findings.push(format!(
            "{name} can panic, and isn't in the list of those of {of} that may"
        ));
    }
    for name in listed.difference(&found) {
        findings.push(format!("{name} can't panic; take it off the list of {of}"));
    }
    (findings, report)
}

/// What a function panics of, if it is for that alone (rule G2).
pub(super) fn end(name: &str) -> Option<&'static str> {
    let mut ends = ENDS.iter();
    ends.find(|(start, _)| name.contains(start))
        .map(|(_, kind)| *kind)
}
