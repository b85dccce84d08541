//! What callgrind saw of the module's code.
//!
//! Its report has lines of an address and a cost, and lines `key=value`. Of
//! these `calls=` matters: the line below says from where, and its cost is that
//! of all that was called; and `cob=` in front, as then what is called is of
//! another file, and its address one in there.

use anyhow::{Context as _, Result, ensure};
use std::collections::BTreeMap;
use std::ops::Range;

/// How callgrind is asked for such a report.
pub(super) const OPTIONS: [&str; 4] = [
    "--tool=callgrind",
    "--dump-instr=yes",
    "--dump-line=no",
    "--compress-pos=no",
];

/// What was executed of the module, by offset into its code.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Profile {
    /// How often each instruction was.
    pub(super) costs: BTreeMap<u64, i64>,
    /// What calls took in all, by the instruction that calls and the first one of
    /// what it calls.
    pub(super) calls: BTreeMap<(u64, u64), i64>,
}

impl Profile {
    /// Reads a report, of a process with the module's code in these places.
    pub(super) fn parse(report: &str, places: &[Range<u64>]) -> Result<Self> {
        ensure!(
            report.lines().any(|line| line == "positions: instr"),
            "callgrind's report isn't by instruction"
        );
        let offset = |address: &str| {
            let address = u64::from_str_radix(address.strip_prefix("0x")?, 16).ok()?;
            let place = places.iter().find(|place| place.contains(&address))?;
            Some(address - place.start)
        };
        let mut profile = Self::default();
        let (mut call, mut elsewhere) = (None, false);
        for line in report.lines() {
            let mut words = line.split_whitespace();
            if line.starts_with("cob=") {
                elsewhere = true;
            } else if line.starts_with("calls=") {
                let target = words.nth(1).context("a call of nothing")?;
                call = Some(offset(target).filter(|_| !elsewhere));
                elsewhere = false;
            } else if let Some(at) = words.next().filter(|word| word.starts_with("0x")) {
                let cost = words.next().context("an address without a cost")?;
                let cost: i64 = cost.parse()?;
                match (call.take(), offset(at)) {
                    (None, Some(at)) => *profile.costs.entry(at).or_default() += cost,
                    (Some(Some(target)), Some(at)) => {
                        *profile.calls.entry((at, target)).or_default() += cost;
                    }
                    _ => {}
                }
            }
        }
        Ok(profile)
    }

    /// What is more here than in `other`.
    pub(super) fn minus(mut self, other: &Self) -> Self {
        subtract(&mut self.costs, &other.costs);
        subtract(&mut self.calls, &other.calls);
        self
    }
}

fn subtract<K: Copy + Ord>(from: &mut BTreeMap<K, i64>, counts: &BTreeMap<K, i64>) {
    for (key, count) in counts {
        *from.entry(*key).or_default() -= count;
    }
    from.retain(|_, count| *count != 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = "version: 1\npositions: instr\nevents: Ir\n\
        ob=(1) /bin/x\nfn=(1) main\n0x40 5\ncob=(2) ???\ncfn=(2) 0x1000\ncalls=1 0x1000 \n0x41 700\n\n\
        ob=(2)\nfn=(2)\n0x1000 30\n0x1001 2\ncfn=(4) 0x1010\ncalls=2 0x1010 \n0x1001 60\n\
        cob=(1)\ncfn=(1)\ncalls=2 0x1004 \n0x1002 900\n0x1002 1\n\n\
        fn=(4)\n0x1010 60\n\nob=(1)\nfn=(3) other\n0x2000 4\n";

    #[test]
    fn only_the_modules_own_code_counts_wherever_it_is() {
        let one = Profile::parse(REPORT, &[0x900..0x910, 0x1000..0x1020]).expect("a report");
        assert_eq!(
            one.costs,
            BTreeMap::from([(0, 30), (1, 2), (2, 1), (0x10, 60)])
        );
        assert_eq!(one.calls, BTreeMap::from([((1, 0x10), 60)]));
        let two = [0x1000..0x1010, 0x1010..0x1020];
        let two = Profile::parse(REPORT, &two).expect("a report");
        assert_eq!(two.costs, BTreeMap::from([(0, 90), (1, 2), (2, 1)]));
    }

    #[test]
    fn the_difference_is_what_one_run_has_more() {
        let place = 0x1000..0x1020;
        let parse = |text: &str| Profile::parse(text, std::slice::from_ref(&place)).expect("one");
        let more = REPORT.replace("0x1010 60", "0x1010 90\n0x1011 3");
        let more = more.replace("0x1001 60", "0x1001 93");
        let difference = parse(&more).minus(&parse(REPORT));
        assert_eq!(difference.costs, BTreeMap::from([(0x10, 30), (0x11, 3)]));
        assert_eq!(difference.calls, BTreeMap::from([((1, 0x10), 33)]));
    }

    #[test]
    fn a_report_by_line_is_refused() {
        let refused = Profile::parse("positions: line\n10 5\n", &[]);
        assert!(refused.is_err_and(|error| error.to_string().contains("by instruction")));
    }
}
