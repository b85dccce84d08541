//! Who calls whom: how deep the stack becomes, and where a panic may come from.
//!
//! Rules     G1  a call through a virtual table may reach every function that is
//!               at this place of one, and any other call by a pointer every
//!               function whose address is taken, unless `limits.toml` says
//!               more from types: `methods` for traits, `pointers` for others. A
//!               call by such a pointer that it doesn't list is a finding.
//!           G2  what the language's library has for a kind of panic alone is the
//!               end of a way: who calls that can panic (`panics`).
//!           G3  every circle of calls goes through a function that is listed
//!               with the reason for which it ends and the rounds that it makes
//!               at most.
//!           G4  a frame over the limit is listed with its size, and only what
//!               runs on a stack of its own reaches it.

use super::super::Variant;
use super::code::{Callee, Code, Function};
use super::depth::{self, Cost, Edges};
use super::entry::{self, functions_named};
use super::limits::{Calls, Entry, Limits, plain};
use super::panics;
use std::collections::{BTreeMap, BTreeSet};

/// Bytes that a listed frame may have in reserve: compilers differ.
const SLACK: u64 = 512;

/// Checks depth, frames and panics of every entry point.
pub(super) fn check(code: &Code, limits: &Limits, variant: Variant) -> (Vec<String>, String) {
    let graph = Graph::new(code, limits, variant);
    let mut findings = entry::check(code, limits);
    findings.extend(graph.pointers());
    findings.extend(graph.uncalled());
    let mut report = String::from("stack, and the deepest way\n");
    let (mut circles, mut on_own) = (BTreeSet::new(), BTreeSet::new());
    let (mut packets, mut commands) = (Edges::new(), Edges::new());
    for (name, entry) in &limits.entries {
        for start in functions_named(code, name) {
            let edges = graph.below(start);
            let cost = |at: u64| graph.cost(at, entry);
            let found = depth::deepest(&edges, start, &cost);
            let (depth, most) = (found.bytes, entry.stack_max);
            report.push_str(&format!("  {name}: {depth} of {most}\n"));
            for at in &found.way {
                let function = &code.functions[at];
                report.push_str(&format!("    {:>6} {}\n", function.frame, function.name));
            }
            if depth > most {
                findings.push(format!(
                    "{name} takes {depth} bytes of stack; {most} is the limit"
                ));
            }
            for circle in found.endless {
                let names = graph.names(&circle);
                findings.push(format!("functions call each other: {}", names.join(", ")));
            }
            circles.extend(found.circles);
            findings.extend(graph.frames(entry, &edges));
            if entry.own_stack {
                on_own.extend(edges.keys().copied());
            }
            let of = if entry.packets {
                &mut packets
            } else {
                &mut commands
            };
            for (at, to) in edges {
                of.entry(at).or_default().extend(to);
            }
        }
    }
    report.push_str("circles\n");
    for circle in &circles {
        report.push_str(&format!("  {}\n", graph.names(circle).join(" ")));
    }
    if variant == Variant::Release {
        findings.extend(graph.listed_frames(&on_own));
        commands.retain(|at, _| !packets.contains_key(at));
        let (more, text) = panics::check(code, &limits.panics, &packets, &commands);
        findings.extend(more);
        report.push_str(&text);
    }
    findings.sort();
    findings.dedup();
    (findings, report)
}

/// The functions of the module, and what is known of their calls.
struct Graph<'c> {
    code: &'c Code,
    limits: &'c Limits,
    /// Functions whose address is taken.
    taken: BTreeSet<u64>,
    /// Functions that are the end of a way: the debug variant's panics, as what
    /// they take of the stack is nobody's (rule L2).
    cut: BTreeSet<u64>,
}

impl<'c> Graph<'c> {
    fn new(code: &'c Code, limits: &'c Limits, variant: Variant) -> Self {
        let ends = code.functions.iter().filter(|(_, function)| {
            variant == Variant::Debug && panics::end(&function.name).is_some()
        });
        Self {
            code,
            limits,
            taken: code.taken(),
            cut: ends.map(|(at, _)| *at).collect(),
        }
    }

    /// Who calls whom of the functions that are reached from one.
    fn below(&self, start: u64) -> Edges {
        let mut taken = self.code.tables.others.clone();
        loop {
            let before = taken.len();
            let (mut edges, mut rest) = (Edges::new(), vec![start]);
            while let Some(at) = rest.pop() {
                if edges.contains_key(&at) {
                    continue;
                }
                let callees = self.callees(at, &taken);
                taken.extend(&self.code.functions[&at].takes);
                rest.extend(&callees);
                edges.insert(at, callees);
            }
            if taken.len() == before {
                return edges;
            }
        }
    }

    /// Whom a function calls, when these addresses are taken below its entry
    /// point.
    fn callees(&self, at: u64, taken: &BTreeSet<u64>) -> BTreeSet<u64> {
        let function = &self.code.functions[&at];
        let calls = function.calls.iter();
        let mut callees: BTreeSet<u64> = calls
            .flat_map(|call| self.reached_by(function, call, taken))
            .collect();
        callees.retain(|to| !self.cut.contains(to));
        callees
    }

    /// Whom a call of a function reaches (rule G1).
    fn reached_by(
        &self,
        function: &Function,
        call: &Callee,
        taken: &BTreeSet<u64>,
    ) -> BTreeSet<u64> {
        let of = |to: &u64| self.code.functions[to].name.as_str();
        let (rules, from) = match (call, self.methods(call)) {
            (Callee::Kernel(_), _) => return BTreeSet::new(),
            (Callee::Own(to), _) => return BTreeSet::from([*to]),
            (_, Some(methods)) => (self.limits.methods_of(&function.name), methods),
            (_, None) => (self.limits.pointers_of(&function.name), &self.taken),
        };
        if rules.is_empty() {
            return from.clone();
        }
        let mut reached = BTreeSet::new();
        for rule in rules {
            let may = |to: &&u64| rule.is_to(of(to)) && (!rule.borrowed || taken.contains(to));
            reached.extend(from.iter().filter(may));
        }
        reached
    }

    /// What is at the place of virtual tables that a call goes by, if there is
    /// such a place.
    fn methods(&self, call: &Callee) -> Option<&BTreeSet<u64>> {
        match call {
            Callee::Table(place) => self.code.tables.methods.get(place),
            _ => None,
        }
    }

    /// Calls by pointers of which nobody says what they reach, or which the lists
    /// have reach nobody.
    fn pointers(&self) -> Vec<String> {
        let mut findings = Vec::new();
        for function in self.code.functions.values() {
            let name = &function.name;
            let calls = function.calls.iter();
            for call in calls.filter(|call| matches!(call, Callee::Pointer | Callee::Table(_))) {
                if self.is_open(call) && self.limits.pointers_of(name).is_empty() {
                    findings.push(format!(
                        "{name} calls by a pointer, and isn't in the list of what pointers reach"
                    ));
                } else if self.reached_by(function, call, &self.taken).is_empty() {
                    findings.push(format!(
                        "{name} calls by a pointer, and the list says that this reaches nobody"
                    ));
                }
            }
        }
        findings
    }

    /// A call by a pointer that is no virtual table's.
    fn is_open(&self, call: &Callee) -> bool {
        matches!(call, Callee::Pointer | Callee::Table(_)) && self.methods(call).is_none()
    }

    /// Functions that are said to be called by a pointer, where nobody of whom
    /// this is said does so: what calls them was taken for something else.
    fn uncalled(&self) -> Vec<String> {
        let calls = |rule: &Calls, to: u64| {
            let mut functions = self.code.functions.values();
            rule.is_by_nobody()
                || functions.any(|function| {
                    let mut calls = function.calls.iter();
                    rule.is_by(&function.name)
                        && calls.any(|call| self.is_open(call) || *call == Callee::Own(to))
                })
        };
        let mut findings = Vec::new();
        for to in &self.taken {
            let name = &self.code.functions[to].name;
            let mut callers = self.limits.callers_of(name).peekable();
            if callers.peek().is_some() && !callers.any(|rule| calls(rule, *to)) {
                findings.push(format!(
                    "{name} is in the list of what pointers reach, and none does"
                ));
            }
        }
        findings
    }

    fn cost(&self, at: u64, entry: &Entry) -> Cost {
        let function = &self.code.functions[&at];
        let rounds_max = entry.rounds_max.unwrap_or(u64::MAX);
        let circle = self.limits.recursion.get(plain(&function.name));
        Cost {
            frame: function.frame,
            rounds: circle.map(|circle| circle.rounds.min(rounds_max)),
        }
    }

    /// Frames below an entry point that are too large.
    fn frames(&self, entry: &Entry, edges: &Edges) -> Vec<String> {
        let functions = edges.keys().map(|at| &self.code.functions[at]);
        let allowed = |name: &str| match self.limits.frames.get(plain(name)) {
            Some(bytes) if entry.own_stack => (*bytes).max(self.limits.frame_max),
            _ => self.limits.frame_max,
        };
        functions
            .filter(|function| function.frame > allowed(&function.name))
            .map(|f| {
                let most = allowed(&f.name);
                format!(
                    "{}: a frame of {} bytes; {most} is the limit",
                    f.name, f.frame
                )
            })
            .collect()
    }

    /// Entries of the list of large frames that allow more than is needed.
    fn listed_frames(&self, reached: &BTreeSet<u64>) -> Vec<String> {
        let mut largest: BTreeMap<&str, u64> = BTreeMap::new();
        for at in reached {
            let function = &self.code.functions[at];
            let frame = largest.entry(plain(&function.name)).or_default();
            *frame = (*frame).max(function.frame);
        }
        let mut findings = Vec::new();
        for (name, bytes) in &self.limits.frames {
            let frame = largest.get(name.as_str()).copied().unwrap_or(0);
            if frame <= self.limits.frame_max {
                findings.push(format!(
                    "{name} has no large frame; take it off the list of frames"
                ));
            } else if frame.saturating_add(SLACK) < *bytes {
                findings.push(format!(
                    "{name}: a frame of {frame} bytes; the list of frames allows {bytes}"
                ));
            }
        }
        findings
    }

    fn names(&self, functions: &BTreeSet<u64>) -> Vec<&str> {
        let names = functions.iter().map(|at| &self.code.functions[at].name);
        names.map(String::as_str).collect()
    }
}

#[cfg(test)]
mod tests;
