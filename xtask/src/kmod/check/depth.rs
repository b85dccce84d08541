//! How deep the stack becomes: the longest way through a graph of calls.
//!
//! Functions that reach each other are one knot of the graph; between knots
//! there are no circles, so the longest way is found knot by knot. Inside of a
//! knot, a way visits the functions of the list of circles as often as the list
//! says, and between two visits it takes at most the longest way through the
//! rest, in which no circle may be left.

use std::collections::{BTreeMap, BTreeSet};

/// Who calls whom.
pub(super) type Edges = BTreeMap<u64, BTreeSet<u64>>;

/// What a function takes.
#[derive(Clone, Copy)]
pub(super) struct Cost {
    /// Bytes of its frame.
    pub(super) frame: u64,
    /// How often it is on the stack at most, if it is listed.
    pub(super) rounds: Option<u64>,
}

/// The longest way.
#[derive(Default)]
pub(super) struct Deepest {
    pub(super) bytes: u64,
    /// Functions of it, in their order; those of a circle as they lie.
    pub(super) way: Vec<u64>,
    /// Functions that reach each other.
    pub(super) circles: Vec<BTreeSet<u64>>,
    /// Circles that no listed function is in.
    pub(super) endless: Vec<BTreeSet<u64>>,
}

/// The longest way from a function.
pub(super) fn deepest(edges: &Edges, start: u64, cost: &impl Fn(u64) -> Cost) -> Deepest {
    let mut found = Deepest::default();
    let knots = knots(edges);
    // By the knot: bytes, and the next knot.
    let mut below: Vec<(u64, Option<usize>)> = Vec::new();
    let of: BTreeMap<u64, usize> = knots
        .iter()
        .enumerate()
        .flat_map(|(index, knot)| knot.iter().map(move |at| (*at, index)))
        .collect();
    for (index, knot) in knots.iter().enumerate() {
        let inside = if is_circle(edges, knot) {
            found.circles.push(knot.clone());
            around(edges, knot, cost, &mut found.endless)
        } else {
            knot.iter().map(|at| cost(*at).frame).sum()
        };
        // Callees come before callers.
        let next = knot
            .iter()
            .filter_map(|at| edges.get(at))
            .flatten()
            .filter_map(|to| of.get(to))
            .filter(|to| **to != index)
            .max_by_key(|to| below.get(**to).map(|(bytes, _)| *bytes));
        let behind = next.and_then(|to| below.get(*to)).map_or(0, |it| it.0);
        below.push((inside.saturating_add(behind), next.copied()));
    }
    let mut knot = of.get(&start).copied();
    found.bytes = knot.and_then(|at| below.get(at)).map_or(0, |it| it.0);
    while let Some(at) = knot {
        found.way.extend(knots.get(at).into_iter().flatten());
        knot = below.get(at).and_then(|it| it.1);
    }
    found
}

/// The most that a way inside of a circle takes.
fn around(
    edges: &Edges,
    knot: &BTreeSet<u64>,
    cost: &impl Fn(u64) -> Cost,
    endless: &mut Vec<BTreeSet<u64>>,
) -> u64 {
    let (mut visits, mut bytes) = (0_u64, 0_u64);
    let mut rest = Edges::new();
    for at in knot {
        let Cost { frame, rounds } = cost(*at);
        match rounds {
            Some(rounds) => {
                visits = visits.saturating_add(rounds);
                bytes = bytes.saturating_add(frame.saturating_mul(rounds));
            }
            None => {
                rest.insert(*at, edges.get(at).cloned().unwrap_or_default());
            }
        }
    }
    let unlisted = rest.clone();
    for callees in rest.values_mut() {
        callees.retain(|to| unlisted.contains_key(to));
    }
    let mut longest = BTreeMap::new();
    for inner in knots(&rest) {
        if is_circle(&rest, &inner) {
            endless.push(inner.clone());
        }
        let behind = inner.iter().filter_map(|at| rest.get(at)).flatten();
        let behind = behind.filter_map(|to| longest.get(to)).max().copied();
        let frames: u64 = inner.iter().map(|at| cost(*at).frame).sum();
        let bytes = frames.saturating_add(behind.unwrap_or(0));
        longest.extend(inner.into_iter().map(|at| (at, bytes)));
    }
    let between = longest.into_values().max().unwrap_or(0);
    bytes.saturating_add(between.saturating_mul(visits.saturating_add(1)))
}

/// Whether functions of a knot call each other, or the only one calls itself.
fn is_circle(edges: &Edges, knot: &BTreeSet<u64>) -> bool {
    let calls_itself = |at: &u64| edges.get(at).is_some_and(|to| to.contains(at));
    knot.len() > 1 || knot.iter().any(calls_itself)
}

/// Functions by whether they reach each other, callees before callers.
fn knots(edges: &Edges) -> Vec<BTreeSet<u64>> {
    let mut search = Search {
        edges,
        numbers: BTreeMap::new(),
        path: Vec::new(),
        knots: Vec::new(),
        done: BTreeSet::new(),
    };
    for at in edges.keys() {
        if !search.numbers.contains_key(at) {
            search.visit(*at);
        }
    }
    search.knots
}

/// Tarjan's search for strongly connected components.
struct Search<'e> {
    edges: &'e Edges,
    /// In the order of their visits.
    numbers: BTreeMap<u64, usize>,
    path: Vec<u64>,
    knots: Vec<BTreeSet<u64>>,
    done: BTreeSet<u64>,
}

impl Search<'_> {
    /// The lowest number that is reached and not done.
    fn visit(&mut self, at: u64) -> usize {
        let own = self.numbers.len();
        self.numbers.insert(at, own);
        let place = self.path.len();
        self.path.push(at);
        let mut lowest = own;
        for to in self.edges.get(&at).into_iter().flatten() {
            let reached = match self.numbers.get(to) {
                None if self.edges.contains_key(to) => self.visit(*to),
                Some(number) if !self.done.contains(to) => *number,
                _ => continue,
            };
            lowest = lowest.min(reached);
        }
        if lowest == own {
            let knot: BTreeSet<u64> = self.path.drain(place..).collect();
            self.done.extend(&knot);
            self.knots.push(knot);
        }
        lowest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Functions by number: frame, rounds, callees.
    fn ask(graph: &[(u64, u64, Option<u64>, &[u64])]) -> Deepest {
        let edges: Edges = graph
            .iter()
            .map(|(at, _, _, to)| (*at, to.iter().copied().collect()))
            .collect();
        let cost = |at: u64| {
            let it = graph.iter().find(|it| it.0 == at);
            let (frame, rounds) = it.map_or((0, None), |it| (it.1, it.2));
            Cost { frame, rounds }
        };
        deepest(&edges, 1, &cost)
    }

    #[test]
    fn the_longest_way_counts_and_not_the_first() {
        let found = ask(&[
            (1, 10, None, &[2, 3]),
            (2, 100, None, &[]),
            (3, 20, None, &[4]),
            (4, 90, None, &[]),
            // Nobody calls it.
            (5, 1_000, None, &[1]),
        ]);
        assert_eq!((found.bytes, found.way), (120, vec![1, 3, 4]));
        assert!(found.circles.is_empty() && found.endless.is_empty());
    }

    #[test]
    fn a_way_that_enters_a_circle_elsewhere_is_as_deep() {
        // 2 -> 3 -> 4 -> 2, and each of them goes on to 5. Whoever counts a
        // circle once from where it was entered gets 4's depth wrong.
        let circle = |entered: u64| {
            ask(&[
                (1, 1, None, &[entered]),
                (2, 10, Some(1), &[3]),
                (3, 20, None, &[4]),
                (4, 30, None, &[2, 5]),
                (5, 7, None, &[]),
            ])
            .bytes
        };
        // At most: 3 and 4, once 2, 3 and 4 again, 5.
        assert_eq!([2, 3, 4].map(circle), [1 + 50 + 10 + 50 + 7; 3]);
    }

    #[test]
    fn a_function_that_calls_itself_counts_as_often_as_the_list_says() {
        let found = ask(&[
            (1, 10, None, &[2]),
            (2, 30, Some(4), &[2, 3]),
            (3, 5, None, &[]),
        ]);
        assert_eq!(found.bytes, 10 + 4 * 30 + 5);
        assert_eq!(found.circles, [BTreeSet::from([2])]);
        assert!(found.endless.is_empty());
    }

    #[test]
    fn a_circle_without_a_listed_function_is_endless() {
        let found = ask(&[
            (1, 10, None, &[2]),
            (2, 10, Some(2), &[3]),
            (3, 10, None, &[4, 2]),
            (4, 10, None, &[3]),
        ]);
        assert_eq!(found.circles, [BTreeSet::from([2, 3, 4])]);
        assert_eq!(found.endless, [BTreeSet::from([3, 4])]);
        let found = ask(&[(1, 10, None, &[1])]);
        assert_eq!(found.endless, [BTreeSet::from([1])]);
    }
}
