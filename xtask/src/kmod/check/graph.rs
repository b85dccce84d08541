//! Who calls whom: how deep the stack becomes, and where a panic may come from.
//!
//! Rules     G1  a call by a pointer counts as a call by the function that
//!               takes the address. What is between the two isn't counted
//!               twice: formatting, and the comparisons of sorts.
//!           G2  what the language's library has for a kind of panic alone is the
//!               end of a way: who calls that can panic. No memory is listed
//!               apart: a command waits for it, and a packet has a reserve
//!               (rules A1 to A3 of the module's `ddi::kmem`).
//!           G3  a circle of calls has to be listed with the reason for which
//!               it ends and the rounds that it makes at most.

use super::super::Variant;
use super::code::{Callee, Code};
use super::{Entry, Limits};
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

/// Checks depth and panics of every entry point.
pub(super) fn check(code: &Code, limits: &Limits, variant: Variant) -> (Vec<String>, String) {
    let mut findings = Vec::new();
    let own_stack = limits.entries.iter().filter(|(_, entry)| entry.own_stack);
    let mut cut: BTreeSet<u64> = own_stack
        .flat_map(|(name, _)| functions_named(code, name))
        .collect();
    if variant == Variant::Debug {
        // Rule L2: what a panic takes of the stack is nobody's.
        let functions = code.functions.iter();
        let ends = functions.filter(|(_, function)| end(&function.name).is_some());
        cut.extend(ends.map(|(at, _)| *at));
    }
    let mut graph = Graph::new(code, limits, &cut);
    let mut report = String::from("stack, and the deepest way\n");
    let (mut seen, mut by_packets) = (BTreeSet::new(), BTreeSet::new());
    for (name, entry) in &limits.entries {
        let starts = functions_named(code, name);
        if starts.is_empty() {
            findings.push(format!("there is no function {name}"));
        }
        graph.depths.clear();
        graph.rounds_max = entry.rounds_max.unwrap_or(u64::MAX);
        for start in starts {
            let (depth, way) = graph.deepest(start);
            report.push_str(&format!("  {name}: {depth} of {}\n", entry.stack_max));
            for function in way {
                let function = &code.functions[&function];
                report.push_str(&format!("    {:>6} {}\n", function.frame, function.name));
            }
            if depth > entry.stack_max {
                let most = entry.stack_max;
                findings.push(format!(
                    "{name} takes {depth} bytes of stack; {most} is the limit"
                ));
            }
            let reached = graph.reached(start);
            findings.extend(frames(code, limits, entry, &reached));
            if entry.packets {
                by_packets.extend(&reached);
            }
            seen.extend(reached);
        }
    }
    findings.sort();
    findings.dedup();
    if variant == Variant::Release {
        let by_commands = seen.difference(&by_packets).copied().collect();
        let (more, text) = lists(code, &graph, limits, [by_packets, by_commands]);
        findings.extend(more);
        report.push_str(&text);
    }
    (findings, report)
}

/// Checks the circles and panics of what packets reach, and of what only
/// commands do, against the lists of them.
fn lists(
    code: &Code,
    graph: &Graph<'_>,
    limits: &Limits,
    [by_packets, by_commands]: [BTreeSet<u64>; 2],
) -> (Vec<String>, String) {
    let (mut findings, mut report) = (Vec::new(), String::new());
    let seen = by_packets.union(&by_commands).copied().collect();
    let circles = graph.circles(&seen);
    report.push_str("circles\n");
    for circle in &circles {
        let names: Vec<_> = circle
            .iter()
            .map(|f| code.functions[f].name.as_str())
            .collect();
        report.push_str(&format!("  {}\n", names.join(" ")));
        let is_listed = |name: &&str| limits.recursion.contains_key(plain(name));
        if !names.iter().all(is_listed) {
            findings.push(format!("functions call each other: {}", names.join(", ")));
        }
    }
    for (of, seen, listed) in [
        ("packets", by_packets, &limits.panics.packets),
        ("commands", by_commands, &limits.panics.commands),
    ] {
        let (more, text) = panics(code, graph, &seen, of, listed);
        findings.extend(more);
        report.push_str(&text);
    }
    (findings, report)
}

/// A function's name without the number that tells it from others of its name.
fn plain(name: &str) -> &str {
    match name.rsplit_once('.') {
        Some((plain, number)) if number.bytes().all(|b| b.is_ascii_digit()) => plain,
        _ => name,
    }
}

/// As [`plain`], less the number that the compiler gave to one of several
/// pieces of the same name, which is another in every build.
fn unnumbered(name: &str) -> &str {
    plain(name).trim_end_matches(|c: char| c.is_ascii_digit())
}

/// The functions of a name: a generic one may be there several times.
fn functions_named(code: &Code, name: &str) -> Vec<u64> {
    let functions = code.functions.iter();
    functions
        .filter(|(_, function)| plain(&function.name) == name)
        .map(|(at, _)| *at)
        .collect()
}

/// Frames that are too large.
fn frames(code: &Code, limits: &Limits, entry: &Entry, reached: &BTreeSet<u64>) -> Vec<String> {
    if entry.own_stack {
        return Vec::new();
    }
    let functions = reached.iter().map(|at| &code.functions[at]);
    functions
        .filter(|function| function.frame > limits.frame_max)
        .map(|f| format!("{}: a frame of {} bytes", f.name, f.frame))
        .collect()
}

/// Functions that can panic against the list of those that may.
fn panics(
    code: &Code,
    graph: &Graph<'_>,
    seen: &BTreeSet<u64>,
    of: &str,
    listed: &BTreeSet<String>,
) -> (Vec<String>, String) {
    let mut found: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for at in seen {
        let name = &code.functions[at].name;
        if end(name).is_some() {
            continue;
        }
        let callees = graph.edges[at].iter();
        for kind in callees.filter_map(|to| end(&code.functions[to].name)) {
            let kinds = found.entry(unnumbered(name).to_owned()).or_default();
            kinds.insert(kind);
        }
    }
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
fn end(name: &str) -> Option<&'static str> {
    let mut ends = ENDS.iter();
    ends.find(|(start, _)| name.contains(start))
        .map(|(_, kind)| *kind)
}

/// Whether a function's call through a table may be of another: formatting
/// calls what writes (rule G1 has the rest of it).
fn may_call(code: &Code, from: u64, to: u64) -> bool {
    let writes = |name: &str| ["write_str", "write_char", "write_fmt"].contains(&last(name));
    !code.functions[&from].name.starts_with("core.fmt.") || writes(plain(&code.functions[&to].name))
}

/// The last part of a name.
fn last(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

/// The functions of the module and who calls whom.
struct Graph<'c> {
    code: &'c Code,
    limits: &'c Limits,
    edges: BTreeMap<u64, BTreeSet<u64>>,
    /// The deepest way from a function: bytes, and the next function of it.
    depths: BTreeMap<u64, (u64, Option<u64>)>,
    /// Functions that are being looked at, in their order.
    path: Vec<u64>,
    /// Rounds of a circle that count at most.
    rounds_max: u64,
}

impl<'c> Graph<'c> {
    /// Functions of `cut` are nobody's callees: they run on another stack.
    fn new(code: &'c Code, limits: &'c Limits, cut: &BTreeSet<u64>) -> Self {
        let edges = code.functions.iter().map(|(at, function)| {
            let mut to = BTreeSet::new();
            for call in &function.calls {
                match call {
                    Callee::Own(callee) => {
                        to.insert(*callee);
                    }
                    Callee::Table(place) => {
                        let entries = code.tables.get(place).into_iter().flatten();
                        to.extend(entries.filter(|to| may_call(code, *at, **to)));
                    }
                    // Counted where the address is taken (rule G1).
                    Callee::Kernel(_) | Callee::Pointer => {}
                }
            }
            to.extend(function.takes.iter().filter(|to| *to != at));
            to.retain(|to| !cut.contains(to));
            (*at, to)
        });
        Self {
            code,
            limits,
            edges: edges.collect(),
            depths: BTreeMap::new(),
            path: Vec::new(),
            rounds_max: u64::MAX,
        }
    }

    /// Bytes of stack from a function on, and the way that takes them.
    fn deepest(&mut self, start: u64) -> (u64, Vec<u64>) {
        let depth = self.depth(start);
        let (mut way, mut next) = (Vec::new(), Some(start));
        while let Some(at) = next {
            way.push(at);
            next = self.depths.get(&at).and_then(|(_, next)| *next);
        }
        (depth, way)
    }

    /// A circle counts once ([`Graph::circles`] shows it).
    fn depth(&mut self, at: u64) -> u64 {
        if let Some((depth, _)) = self.depths.get(&at) {
            return *depth;
        }
        if self.path.contains(&at) {
            return 0;
        }
        self.path.push(at);
        let callees: Vec<u64> = self.edges[&at].iter().copied().collect();
        let below = callees.into_iter().map(|to| (self.depth(to), to)).max();
        self.path.pop();
        let function = &self.code.functions[&at];
        let circle = self.limits.recursion.get(plain(&function.name));
        let rounds = circle.map_or(1, |circle| circle.rounds.min(self.rounds_max));
        let frame = function.frame.saturating_mul(rounds);
        let (deepest, next) = below.map_or((0, None), |(depth, to)| (depth, Some(to)));
        let depth = frame.saturating_add(deepest);
        // Inside of a circle the result depends on where it was entered.
        self.depths
            .insert(at, (depth, next.filter(|_| deepest > 0)));
        depth
    }

    /// Every function that can be reached.
    fn reached(&self, start: u64) -> BTreeSet<u64> {
        let (mut seen, mut rest) = (BTreeSet::new(), vec![start]);
        while let Some(at) = rest.pop() {
            if seen.insert(at) {
                rest.extend(&self.edges[&at]);
            }
        }
        seen
    }

    /// Functions that reach themselves, those of one circle together.
    fn circles(&self, among: &BTreeSet<u64>) -> Vec<BTreeSet<u64>> {
        let mut circles: Vec<BTreeSet<u64>> = Vec::new();
        let below: BTreeMap<u64, BTreeSet<u64>> = among
            .iter()
            .map(|at| {
                let callees = self.edges[at].iter();
                (*at, callees.flat_map(|to| self.reached(*to)).collect())
            })
            .collect();
        for at in among {
            if !below[at].contains(at) || circles.iter().any(|circle| circle.contains(at)) {
                continue;
            }
            let circle = below[at].iter().filter(|to| below[*to].contains(at));
            circles.push(circle.copied().collect());
        }
        circles
    }
}
