//! `limits.toml`: what the module may take, and what is assumed of it.
//!
//! Rules     L1  the file says how deep the stack of each entry point may be,
//!               lists the frames that are large, what panics there are and what
//!               calls by pointers reach, and says how many instructions a
//!               packet may take; lists and numbers only shrink.
//!           L2  the debug variant has checks everywhere: its frames and stacks
//!               may be larger by so much, a check that fails is the end of a
//!               way, and the lists of panics aren't of it.
//!           L3  a pattern is a function's name without the number that tells it
//!               from others of its name, or the beginning of one (`a.b.*`) or
//!               its end (`*.b`).

use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// `limits.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Limits {
    /// Bytes that a frame may have, unless it is in `frames`.
    pub(super) frame_max: u64,
    /// What the debug variant may take of a stack, of a hundred parts of what
    /// the other may (rule L2).
    pub(super) debug_percent: u64,
    /// Entry points by name, and how deep the stack below each may become.
    pub(super) entries: BTreeMap<String, Entry>,
    /// Frames that are larger, below entry points with a stack of their own.
    pub(super) frames: BTreeMap<String, u64>,
    /// Functions that can panic.
    pub(super) panics: Panics,
    /// Functions that every circle of calls goes through.
    pub(super) recursion: BTreeMap<String, Circle>,
    /// Which methods some functions call.
    pub(super) methods: Vec<Calls>,
    /// Which functions some call by a pointer that is no virtual table's.
    pub(super) pointers: Vec<Calls>,
    /// What a packet of the cached path may take.
    pub(super) instructions: Instructions,
}

/// Instructions that a packet of the cached path may take.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Instructions {
    /// The engine's part, in times of what the engine's benchmark counts.
    pub(in super::super) engine: f64,
    /// All of them, by the packet's way.
    pub(in super::super) ways: BTreeMap<String, u32>,
}

/// Functions that can panic, by what reaches them.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Panics {
    /// An entry point of packets does.
    pub(super) packets: BTreeSet<String>,
    /// Only other entry points do.
    pub(super) commands: BTreeSet<String>,
}

/// Why a circle of calls ends, and after how many rounds.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Circle {
    /// A frame counts so many times.
    pub(super) rounds: u64,
    /// For people.
    #[serde(rename = "why")]
    _why: String,
}

/// Whom functions call by pointers, where types say more than code does.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Calls {
    /// Who calls (rule L3).
    by: Vec<String>,
    /// Who may be called.
    to: Vec<String>,
    /// Pointers live no longer than the function that takes the address: below
    /// an entry point only what is taken there is called.
    #[serde(default)]
    pub(super) borrowed: bool,
    /// For people.
    #[serde(rename = "why")]
    _why: String,
}

/// An entry point.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    /// Bytes of stack.
    pub(super) stack_max: u64,
    /// Whether it runs on a stack of its own, where frames may be large.
    #[serde(default)]
    pub(super) own_stack: bool,
    /// Whether packets enter here.
    #[serde(default)]
    pub(super) packets: bool,
    /// Rounds of a circle that are possible here, where fewer are: packets
    /// sort short lists.
    pub(super) rounds_max: Option<u64>,
}

impl Limits {
    /// Makes them the debug variant's.
    pub(super) fn widen(&mut self) {
        let percent = self.debug_percent;
        let wide = |bytes: u64| bytes.saturating_mul(percent) / 100;
        self.frame_max = wide(self.frame_max);
        self.frames
            .values_mut()
            .for_each(|bytes| *bytes = wide(*bytes));
        for entry in self.entries.values_mut().filter(|entry| !entry.own_stack) {
            entry.stack_max = wide(entry.stack_max);
        }
    }

    /// What is said of the methods that a function calls.
    pub(super) fn methods_of(&self, name: &str) -> Vec<&Calls> {
        of(&self.methods, name)
    }

    /// What is said of the functions that a function calls by pointers.
    pub(super) fn pointers_of(&self, name: &str) -> Vec<&Calls> {
        of(&self.pointers, name)
    }

    /// What is said of who calls a function by a pointer.
    pub(super) fn callers_of(&self, name: &str) -> impl Iterator<Item = &Calls> {
        self.pointers.iter().filter(move |calls| calls.is_to(name))
    }
}

impl Calls {
    /// Whether this says what a function calls.
    pub(super) fn is_by(&self, name: &str) -> bool {
        self.by.iter().any(|pattern| matches(pattern, name))
    }

    /// Whether this says that the address is taken, and nobody calls it.
    pub(super) fn is_by_nobody(&self) -> bool {
        self.by.is_empty()
    }

    /// Whether this says that a function may be called.
    pub(super) fn is_to(&self, name: &str) -> bool {
        self.to.iter().any(|pattern| matches(pattern, name))
    }
}

fn of<'l>(list: &'l [Calls], name: &str) -> Vec<&'l Calls> {
    list.iter().filter(|calls| calls.is_by(name)).collect()
}

/// Rule L3.
fn matches(pattern: &str, name: &str) -> bool {
    let name = unnumbered(name);
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(end), _) => name.ends_with(end),
        (None, Some(start)) => name.starts_with(start),
        (None, None) => name == pattern,
    }
}

/// A function's name without the number that tells it from others of its name.
pub(super) fn plain(name: &str) -> &str {
    match name.rsplit_once('.') {
        Some((plain, number)) if number.bytes().all(|b| b.is_ascii_digit()) => plain,
        _ => name,
    }
}

/// As [`plain`], less the number that the compiler gave to one of several
/// pieces of the same name, which is another in every build.
pub(super) fn unnumbered(name: &str) -> &str {
    plain(name).trim_end_matches(|c: char| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_a_name_or_an_end_of_one() {
        for (pattern, name, yes) in [
            ("core.fmt.write", "core.fmt.write", true),
            ("core.fmt.write", "core.fmt.write.2", true),
            ("core.fmt.write", "core.fmt.write_all", false),
            ("core.fmt.*", "core.fmt.Formatter.pad", true),
            ("core.fmt.*", "xde.core.fmt.pad", false),
            ("*.fmt", "u8.fmt2134", true),
            ("*.fmt", "u8.fmt.3", true),
            ("*.fmt", "opte_core.fmt.pad", false),
            ("*.closure", "a.b.closure0.2", true),
        ] {
            assert_eq!(matches(pattern, name), yes, "{pattern} {name}");
        }
    }
}
