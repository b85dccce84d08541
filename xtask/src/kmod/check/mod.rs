//! What is checked about the module, and what is measured.
//!
//! Flow      `file`: sections, symbols, relocations, probe sites
//!           `code`: instructions and frames of each function
//!           `graph`: who calls whom -> depth of stack, panics
//!
//! Rules     L1  `limits.toml` says how deep the stack of each entry point may
//!               be, lists what panics there are, and says how many
//!               instructions a packet may take; lists and numbers only shrink.
//!           L2  the debug variant has checks everywhere: its frames and stacks
//!               may be larger by so much, a check that fails is the end of a
//!               way, and lists aren't of it.

mod code;
mod file;
mod graph;
mod sabotage;

use super::Variant;
use super::elf::Module;
use anyhow::{Context, Result};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// What the checks found.
pub(super) struct Checked {
    /// One sentence each.
    pub(super) findings: Vec<String>,
    /// For people.
    pub(super) report: String,
}

/// What kernels export: names and the module of each.
#[derive(Deserialize)]
struct Facts {
    functions: BTreeMap<String, Function>,
}

#[derive(Deserialize)]
struct Function {
    module: String,
}

/// `limits.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Limits {
    /// Bytes that a frame may have, except on a stack that is larger.
    frame_max: u64,
    /// What the debug variant may take of a kernel's stack, of a hundred parts
    /// of what the other may (rule L2).
    debug_percent: u64,
    /// Entry points by name, and how deep the stack below each may become.
    entries: BTreeMap<String, Entry>,
    /// Functions that can panic.
    panics: Panics,
    /// Functions that call each other in a circle.
    recursion: BTreeMap<String, Circle>,
    /// What a packet of the cached path may take.
    instructions: Instructions,
}

/// Instructions that a packet of the cached path may take.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Instructions {
    /// The engine's part, in times of what the engine's benchmark counts.
    pub(super) engine: f64,
    /// All of them, by the packet's way.
    pub(super) ways: BTreeMap<String, u32>,
}

impl Limits {
    /// Makes them the debug variant's.
    fn widen(&mut self) {
        let percent = self.debug_percent;
        let wide = |bytes: u64| bytes.saturating_mul(percent) / 100;
        self.frame_max = wide(self.frame_max);
        for entry in self.entries.values_mut().filter(|entry| !entry.own_stack) {
            entry.stack_max = wide(entry.stack_max);
        }
    }
}

/// Functions that can panic, by what reaches them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Panics {
    /// An entry point of packets does.
    packets: BTreeSet<String>,
    /// Only other entry points do.
    commands: BTreeSet<String>,
}

/// Why a circle of calls ends, and after how many rounds.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Circle {
    /// A frame counts so many times.
    rounds: u64,
    /// For people.
    #[serde(rename = "why")]
    _why: String,
}

/// An entry point.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// Bytes of stack.
    stack_max: u64,
    /// Whether it runs on a stack of its own, where frames may be large.
    #[serde(default)]
    own_stack: bool,
    /// Whether packets enter here.
    #[serde(default)]
    packets: bool,
    /// Rounds of a circle that are possible here, where fewer are: packets
    /// sort short lists.
    rounds_max: Option<u64>,
}

/// Checks a module, and that the checks find what is wrong with one.
pub(super) fn module(bytes: &[u8], facts: &str, limits: &str, variant: Variant) -> Result<Checked> {
    let facts: Facts = serde_json::from_str(facts).context("the table of facts")?;
    let mut limits: Limits = toml::from_str(limits).context("limits.toml")?;
    if variant == Variant::Debug {
        limits.widen();
    }
    let (mut findings, mut report, code) = read(bytes, &facts)?;
    let missed = sabotage::missed(bytes, |spoilt| Ok(read(spoilt, &facts)?.0))?;
    findings.extend(missed);
    let (more, text) = graph::check(&code, &limits, variant);
    findings.extend(more);
    report.push_str(&text);
    Ok(Checked { findings, report })
}

/// How many instructions a packet may take.
pub(super) fn instructions(limits: &str) -> Result<Instructions> {
    let limits: Limits = toml::from_str(limits).context("limits.toml")?;
    Ok(limits.instructions)
}

/// What the file and its code say by themselves.
fn read(bytes: &[u8], facts: &Facts) -> Result<(Vec<String>, String, code::Code)> {
    let module = Module::parse(bytes)?;
    let (mut findings, report) = file::check(&module, facts);
    let code = code::read(&module)?;
    findings.extend(code.findings.iter().cloned());
    Ok((findings, report, code))
}
