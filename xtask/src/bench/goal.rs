//! What figures have to reach, and what today's best engine reaches: the
//! fastest comparable one (a five-layer VPC pipeline with flow cache, TCP
//! tracking, NAT and Geneve), rebuilt and run on a 2-core x86-64 Linux machine.

/// What a figure has to reach.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Goal {
    AtMost(f64),
    AtLeast(f64),
    /// Nothing: it explains another figure.
    None,
}

use Goal::{AtLeast, AtMost};

/// A pattern of names, the goal, and today's best. The first that fits counts;
/// in a pattern `*` stands for any one word.
const GOALS: &[(&str, Goal, &str)] = &[
    ("hit/clocked/*/*/*/flows_1/ns", AtMost(65.0), "100"),
    (
        "hit/batch32/*/*/*/flows_1000000/ns",
        AtMost(100.0),
        "1740-2230",
    ),
    ("hit/snat_tcp4/*/*/flows_1/ns", AtMost(50.0), "126-138"),
    ("hit/*/*/*/flows_1/ns", AtMost(40.0), "100-124"),
    ("hit/*/*/*/flows_1000/ns", AtMost(55.0), "177-207"),
    ("hit/*/*/*/flows_10000/ns", AtMost(75.0), "809-1109"),
    ("hit/*/*/*/flows_100000/ns", AtMost(120.0), "1240-1730"),
    ("hit/*/*/*/flows_1000000/ns", AtMost(170.0), "1740-2230"),
    ("hit/*/*/*/*/allocs", AtMost(0.0), "0-3"),
    ("hit/*/*/*/*/instructions", AtMost(350.0), "835-1901"),
    ("miss/out/rules_1/ns", AtMost(700.0), "2707"),
    ("miss/out/rules_1000/ns", AtMost(1_000.0), "19200"),
    ("miss/out/*/ns", AtMost(1_000.0), "2700+7/rule"),
    ("miss/routes_10000/ratio", AtMost(1.05), "linear"),
    ("miss/*/ns", Goal::None, "-"),
    ("miss/*/allocs", AtMost(0.0), "18-44"),
    ("miss/out/*/allocs", AtMost(0.0), "18-44"),
    ("miss/out/*/instructions", AtMost(4_000.0), "16200+188/rule"),
    ("lpm/*/ns", AtMost(15.0), "10.3 at 10k"),
    ("mem/bytes_per_flow", AtMost(256.0), "6337-6890"),
    ("mem/*/bytes_per_flow", AtMost(256.0), "6337-6890"),
    ("full/*/ns", AtMost(2_000.0), "77M-305M"),
    ("expire/idle_tick/ns", AtMost(20_000.0), "247M"),
    ("expire/stall_max/ns", AtMost(50_000.0), "1940M"),
    (
        "policy/replace_rules/*/ns",
        AtMost(1_000_000.0),
        "19M, breaks",
    ),
    ("policy/replace_rules/*/lost", AtMost(0.0), "all"),
    ("threads/2/same_flow/ratio", AtLeast(1.2), "0.2-0.8"),
    ("threads/2/out_in_one_flow/ratio", AtLeast(1.2), "0.2-0.8"),
    ("threads/2/*/*/ratio", AtLeast(1.9), "1.2-1.7"),
    ("tail/*/p999_ns", AtMost(2_000.0), "220000"),
    ("setup/connections_per_s", AtLeast(700_000.0), "95000"),
    ("probe/disabled/ratio", AtMost(1.01), "-"),
    ("watched/perf_port/ratio", AtLeast(0.95), "-"),
    ("attack/*/ratio", AtLeast(0.8), "0"),
];

/// The table's first line.
pub(super) const HEAD: &str =
    "figure                                               measured          goal    today's best";

/// A figure's line of the table.
pub(super) fn line(name: &str, value: f64) -> String {
    let (goal, best) = of(name);
    let (text, ok) = match goal {
        AtMost(most) => (format!("≤ {most}"), Some(value <= most)),
        AtLeast(least) => (format!("≥ {least}"), Some(value >= least)),
        Goal::None => ("-".to_owned(), None),
    };
    let mark = match ok {
        Some(true) => "✓",
        Some(false) => "✗",
        None => "",
    };
    let digits = if value.abs() < 10.0 && value.fract() != 0.0 {
        2
    } else {
        0
    };
    format!("{name:<46} {value:>14.digits$}  {text:>12}  {best:>14}  {mark}")
}

fn of(name: &str) -> (Goal, &'static str) {
    GOALS
        .iter()
        .find(|(pattern, ..)| fits(pattern, name))
        .map_or((Goal::None, "-"), |(_, goal, best)| (*goal, *best))
}

fn fits(pattern: &str, name: &str) -> bool {
    let mut words = name.split('/');
    pattern
        .split('/')
        .all(|part| words.next().is_some_and(|word| part == "*" || part == word))
        && words.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_pattern_that_fits_counts() {
        assert_eq!(of("hit/tcp6/in/64B/flows_1/ns").0, AtMost(40.0));
        assert_eq!(of("hit/snat_tcp4/in/64B/flows_1/ns").0, AtMost(50.0));
        assert_eq!(of("threads/2/same_flow/ratio").0, AtLeast(1.2));
        assert_eq!(of("threads/2/same_port/flows_1000/ratio").0, AtLeast(1.9));
        assert_eq!(of("something/else").0, Goal::None);
    }

    #[test]
    fn a_line_says_whether_the_goal_is_reached() {
        assert!(line("attack/syn_flood/ratio", 0.9).ends_with('✓'));
        assert!(line("attack/syn_flood/ratio", 0.7).ends_with('✗'));
        assert!(line("full/new_flow/ns", 900.4).contains(" 900 "));
    }
}
