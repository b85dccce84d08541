//! The figures of the engine: one line `NAME VALUE` each.
//!
//! `cargo xtask bench` runs this and says what the figures should be; names are
//! explained there. Usage:
//!
//! ```text
//! figures [PREFIX] [--quick]     measures what a name of which begins so
//! figures --count CASE BURSTS    sets CASE up and runs so many bursts, for
//!                                callgrind to count instructions
//! ```

mod attack;
mod count;
mod expire;
mod heap;
mod hit;
mod machine;
mod memory;
mod miss;
mod policy;
mod probe;
#[path = "../rig/mod.rs"]
mod rig;
mod setup;
mod thread;

/// What was asked for, and where figures go.
pub(crate) struct Figures {
    prefix: String,
    pub(crate) quick: bool,
}

impl Figures {
    /// Whether any name that begins with `stem` and a slash is asked for.
    pub(crate) fn wants(&self, stem: &str) -> bool {
        let stem = format!("{stem}/");
        stem.starts_with(&self.prefix) || self.prefix.starts_with(&stem)
    }

    /// Tells a figure, if it is asked for.
    pub(crate) fn tell(&self, name: &str, value: f64) {
        if name.starts_with(&self.prefix) {
            println!("{name} {value}");
        }
    }

    /// Runs that a median is made of.
    pub(crate) const fn runs(&self) -> usize {
        if self.quick { 3 } else { 7 }
    }
}

/// The middle of some numbers.
pub(crate) fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

fn main() {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    // Cargo tells every bench program that it is one.
    args.retain(|arg| arg != "--bench");
    if let [flag, case, bursts] = args.as_slice()
        && flag == "--count"
    {
        return count::run(case, bursts.parse().expect("a number of bursts"));
    }
    let quick = args.iter().any(|arg| arg == "--quick");
    args.retain(|arg| arg != "--quick");
    let prefix = args.into_iter().next().unwrap_or_default();
    let figures = Figures { prefix, quick };
    machine::run(&figures);
    hit::run(&figures);
    miss::run(&figures);
    memory::run(&figures);
    expire::run(&figures);
    policy::run(&figures);
    probe::run(&figures);
    thread::run(&figures);
    setup::run(&figures);
    attack::run(&figures);
}
