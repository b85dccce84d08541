//! What is checked about the module, and what is measured.
//!
//! Flow      `file`: sections, symbols, relocations, probe sites
//!           `structure`: where the structures lie that the kernel writes to
//!           `code`: instructions, frames and calls of each function
//!           `graph`: who calls whom -> depth of stack (`depth`), `panics`
//!           `entry`: where the kernel enters
//!           `sabotage`: that all of these find what is wrong
//!
//! Rules     `limits.toml` says what the module may take: rules L1 to L3 of
//!           `limits`.

mod code;
mod depth;
mod entry;
mod file;
mod flow;
mod graph;
mod instruction;
mod limits;
#[cfg(test)]
mod made;
mod panics;
mod reference;
mod sabotage;
mod structure;
mod table;

use super::Variant;
use super::elf::Module;
use anyhow::{Context, Result};
use limits::{Instructions, Limits};
use serde::Deserialize;
use std::collections::BTreeMap;

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

/// Checks a module, and that the checks find what is wrong with one.
pub(super) fn module(bytes: &[u8], facts: &str, limits: &str, variant: Variant) -> Result<Checked> {
    let facts: Facts = serde_json::from_str(facts).context("the table of facts")?;
    let mut limits: Limits = toml::from_str(limits).context("limits.toml")?;
    if variant == Variant::Debug {
        limits.widen();
    }
    let check = |bytes: &[u8], part| look(bytes, part, &facts, &limits, variant);
    let mut checked = check(bytes, Part::Calls)?;
    let missed = sabotage::missed(bytes, variant, |spoilt, part| {
        Ok(check(spoilt, part)?.findings)
    })?;
    checked.findings.extend(missed);
    Ok(checked)
}

/// How far a check goes: each part goes on from those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    /// The file.
    File,
    /// Its instructions.
    Code,
    /// And who calls whom.
    Calls,
}

/// How many instructions a packet may take.
pub(super) fn instructions(limits: &str) -> Result<Instructions> {
    let limits: Limits = toml::from_str(limits).context("limits.toml")?;
    Ok(limits.instructions)
}

/// What is checked about a module, up to a part.
fn look(
    bytes: &[u8],
    part: Part,
    facts: &Facts,
    limits: &Limits,
    variant: Variant,
) -> Result<Checked> {
    let module = Module::parse(bytes)?;
    let (mut findings, mut report) = file::check(&module, facts);
    findings.extend(structure::check(&module));
    if part >= Part::Code {
        let code = code::read(&module)?;
        findings.extend(code.findings.iter().cloned());
        if part >= Part::Calls {
            let (more, text) = graph::check(&code, limits, variant);
            findings.extend(more);
            report.push_str(&text);
        }
    }
    Ok(Checked { findings, report })
}
