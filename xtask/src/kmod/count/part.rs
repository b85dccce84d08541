//! Which part of the module's work an instruction is of.
//!
//! Terms     stack   the names of the function that an instruction lies in and
//!                   of those that the compiler has put into it there, the
//!                   outermost first
//!
//! Rules     P1  the innermost name of a stack that [`NAMES`] knows decides. So
//!               all that the engine inlines is the engine's, the module's own
//!               `Frame`, locks and probes included; but what it calls when it
//!               has decided about a packet is not.
//!           P2  a stack without such a name is of the part of who called the
//!               function that it lies in; of several ones' parts, by what
//!               callgrind says that the calls took.
//!           P3  in doubt it is the engine's: a function that nobody called whom
//!               callgrind knows of.

use super::profile::Profile;
use std::collections::BTreeMap;

/// A part of the module's work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    /// What the engine's benchmark times.
    Engine,
    /// A packet becomes the module's: mblk, marks, a head of its own.
    Taking,
    /// It goes where the engine says: sorted, its device found, handed to MAC.
    Sending,
    /// The rest: entry, lane, clock, a look at the devices, loops.
    Rest,
}

/// How the names of functions begin that a part begins with.
const NAMES: [(&str, Part); 11] = [
    ("opte_core.host.Host.tx", Part::Engine),
    ("opte_core.host.Host.rx", Part::Engine),
    ("xde.ddi.mblk.Received.", Part::Taking),
    ("xde.finish.finish", Part::Taking),
    ("xde.finish.sum_up", Part::Taking),
    ("xde.packet.send", Part::Sending),
    ("xde.outbox.Outbox.put", Part::Sending),
    ("xde.outbox.Outbox.settle", Part::Sending),
    ("xde.outbox.Outbox.send", Part::Sending),
    ("xde.packet.", Part::Rest),
    ("xde.entry.", Part::Rest),
];

/// Instructions by the part that they are of; or of one, as they are shared out.
pub(super) type Shares = BTreeMap<Part, f64>;

/// What is known of a place in the code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Where the function starts that it lies in.
    pub(super) function: u64,
    pub(super) stack: Vec<String>,
}

/// Shares what was executed out among the parts. Places of everything in the
/// profile are in `places`.
pub(super) fn share(profile: &Profile, places: &BTreeMap<u64, Place>) -> Shares {
    let callers = callers(profile, places);
    let mut shares = Shares::new();
    for (at, cost) in &profile.costs {
        let parts = parts_of(*at, places, &callers);
        let parts = parts.unwrap_or_else(|| whole(Part::Engine));
        add(&mut shares, &parts, *cost as f64);
    }
    shares
}

/// Rounds in which parts are handed on from callers to called: what is called
/// over more functions than that, none of which is of a part by its name, is in
/// doubt.
const ROUNDS: usize = 32;

/// The parts of each function's callers, as far as they are known.
fn callers(profile: &Profile, places: &BTreeMap<u64, Place>) -> BTreeMap<u64, Shares> {
    let mut known = BTreeMap::new();
    for _ in 0..ROUNDS {
        let mut next: BTreeMap<u64, Shares> = BTreeMap::new();
        for ((site, target), cost) in profile.calls.iter().filter(|(_, cost)| **cost > 0) {
            if let Some(parts) = parts_of(*site, places, &known) {
                add(next.entry(*target).or_default(), &parts, *cost as f64);
            }
        }
        for parts in next.values_mut() {
            let all: f64 = parts.values().sum();
            parts.values_mut().for_each(|part| *part /= all);
        }
        if next == known {
            break;
        }
        known = next;
    }
    known
}

/// The parts that an instruction is of; they sum up to one.
fn parts_of(
    at: u64,
    places: &BTreeMap<u64, Place>,
    callers: &BTreeMap<u64, Shares>,
) -> Option<Shares> {
    let place = places.get(&at)?;
    let named = place.stack.iter().rev().find_map(|name| named(name));
    let of_callers = || callers.get(&place.function).cloned();
    named.map(whole).or_else(of_callers)
}

fn whole(part: Part) -> Shares {
    Shares::from([(part, 1.0)])
}

fn add(shares: &mut Shares, parts: &Shares, cost: f64) {
    for (part, share) in parts {
        *shares.entry(*part).or_default() += share * cost;
    }
}

fn named(name: &str) -> Option<Part> {
    let mut known = NAMES.iter();
    let found = known.find(|(start, _)| name.starts_with(start));
    found.map(|(_, part)| *part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(function: u64, stack: &[&str]) -> Place {
        let stack = stack.iter().map(|name| (*name).to_owned()).collect();
        Place { function, stack }
    }

    /// Parts of a module whose instruction number n was executed 2^n times.
    fn shares(stacks: &[(u64, u64, &[&str])], calls: &[(u64, u64, i64)]) -> Vec<(Part, f64)> {
        let each = stacks.iter();
        let places = each.map(|(at, function, stack)| (*at, place(*function, stack)));
        let places: BTreeMap<_, _> = places.collect();
        let each = calls.iter();
        let profile = Profile {
            costs: places.keys().map(|at| (*at, 1 << at)).collect(),
            calls: each
                .map(|(site, target, cost)| ((*site, *target), *cost))
                .collect(),
        };
        share(&profile, &places).into_iter().collect()
    }

    const WORK: &str = "xde.packet.work";
    const BURST: &str = "opte_core.host.Host.tx_burst";
    const DONE: &str = "xde.packet.from_guest.closure1";

    #[test]
    fn the_innermost_name_that_is_known_decides() {
        let stacks: &[(u64, u64, &[&str])] = &[
            (0, 0, &[WORK]),
            (
                1,
                0,
                &[WORK, "xde.ddi.mblk.Received.take", "core.slice.len"],
            ),
            (2, 0, &[WORK, BURST, "xde.ddi.mblk.Message.head"]),
            (3, 0, &[WORK, BURST, DONE, "xde.packet.send", "x"]),
            (4, 0, &[WORK, BURST, DONE]),
        ];
        let expected = [
            (Part::Engine, 4.0),
            (Part::Taking, 2.0),
            (Part::Sending, 8.0),
            (Part::Rest, 17.0),
        ];
        assert_eq!(shares(stacks, &[]), expected);
    }

    #[test]
    fn a_function_is_of_the_part_of_who_calls_it() {
        let stacks: &[(u64, u64, &[&str])] = &[
            (0, 0, &[WORK]),
            (1, 0, &[WORK, "opte_core.host.Host.rx"]),
            // Called by the engine, and by what that calls.
            (2, 2, &["opte_core.port.Port.process"]),
            (3, 3, &["compiler_builtins.memcpy"]),
            // Called by the rest.
            (4, 4, &["xde.lane.take"]),
            // By both: a quarter of it by the rest.
            (5, 5, &["memset"]),
            // A part by its name, whoever calls it.
            (6, 6, &["xde.outbox.Outbox.put_elsewhere"]),
        ];
        let calls = [
            (1, 2, 12),
            (2, 3, 8),
            (0, 4, 16),
            (0, 5, 8),
            (3, 5, 24),
            (1, 6, 64),
        ];
        let expected = [
            (Part::Engine, 2.0 + 4.0 + 8.0 + 24.0),
            (Part::Sending, 64.0),
            (Part::Rest, 1.0 + 16.0 + 8.0),
        ];
        assert_eq!(shares(stacks, &calls), expected);
    }

    #[test]
    fn in_doubt_it_is_the_engines() {
        // A circle that nobody is known to call, and one that the rest calls.
        let stacks: &[(u64, u64, &[&str])] = &[
            (0, 0, &[WORK]),
            (1, 1, &["xde.ddi.kmem.alloc"]),
            (2, 2, &["xde.ddi.kmem.refill"]),
            (3, 3, &["core.slice.sort"]),
        ];
        let calls = [(1, 2, 4), (2, 1, 4), (0, 3, 8), (3, 3, 4)];
        let expected = [(Part::Engine, 6.0), (Part::Rest, 9.0)];
        assert_eq!(shares(stacks, &calls), expected);
    }
}
