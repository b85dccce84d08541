//! The step `tracer`: scripts of `dtrace/`, run by the real DTrace.
//!
//! Purpose   what a script prints is compared with what `xded replay` says of
//!           the same frames.
//! Terms     tracer  DTrace for Linux: `DTRACE`, or one that is put below
//!                   `target/dtrace` by `dtrace/get-dtrace-linux.sh`
//! Flow      tracer -> compile all scripts at once; beside it, for each job:
//!           opte-trace -c 'xded replay ..' -> compare
//! Failure   who isn't root or can't get DTrace skips the step.

mod ask;
mod beside;
mod compile;
mod elsewhere;
mod name;
mod reason;

pub(crate) use ask::begin;
pub(crate) use beside::serve;

use crate::case::{self, Replay};
use crate::install::{find, is_root};
use crate::step::{self, Outcome, Step};
use crate::workspace;
use anyhow::{Context, Result, ensure};
use opte_core::DropReason;
use serde_json::Value;
use std::collections::BTreeMap;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// A script on a case, and what holds of its lines.
type Run = (&'static str, &'static str, fn(&Told) -> Result<()>);

const RUNS: &[Run] = &[
    ("limits", "opte-flowlife", ended_flows_have_lines),
    ("malformed", "opte-bad-packet", bad_packets_are_told),
    ("real-curl", "opte-ipproto", packets_are_counted),
    ("real-curl", "opte-tcpstate", connections_come_and_go),
    ("snat", "opte-nat", ports_are_taken),
    ("real-ping", "opte-port-process", every_frame_has_a_line),
    ("protocols", "opte-sctpio", an_init_is_sent_and_received),
    ("protocols", "opte-sctpstate", an_association_begins),
    ("gateway", "opte-arp", who_asks_by_arp),
    ("icmp-errors", "opte-icmpio", errors_quote_packets),
];

/// Scripts for bpftrace, of the same names.
const TWINS: &[Run] = &[
    ("limits", "opte-flowlife", ended_flows_have_lines),
    ("malformed", "opte-drop", drops_have_lines),
    ("malformed", "opte-drops", something_is_printed),
    ("real-curl", "opte-count", something_is_printed),
    ("real-curl", "opte-ipio", something_is_printed),
    ("real-curl", "opte-perf-layer", something_is_printed),
    ("real-curl", "opte-perf-port", something_is_printed),
    ("real-curl", "opte-rule-match", something_is_printed),
    ("real-curl", "opte-tcpstate", something_is_printed),
    ("real-ping", "opte-port-process", every_frame_has_a_line),
];

/// What a script printed, and what the replay wrote.
pub(crate) struct Told {
    /// The words of each line, the header's too.
    lines: Vec<Vec<String>>,
    /// A verdict for each frame that went in.
    verdicts: Vec<Value>,
}

impl Told {
    /// Lines whose first word is this.
    fn of<'a>(&'a self, first: &'a str) -> impl Iterator<Item = &'a [String]> {
        let lines = self.lines.iter().map(Vec::as_slice);
        lines.filter(move |line| line.first().is_some_and(|word| word == first))
    }

    fn of_text(text: &str) -> Self {
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect();
        Self {
            lines: text.lines().map(words).collect(),
            verdicts: Vec::new(),
        }
    }

    /// Lines that begin with these words, of which `*` is any.
    pub(crate) fn like<'a>(&'a self, pattern: &'a [&str]) -> impl Iterator<Item = &'a [String]> {
        let lines = self.lines.iter().map(Vec::as_slice);
        lines.filter(|line| {
            let mut pairs = pattern.iter().zip(*line);
            line.len() >= pattern.len() && pairs.all(|(want, word)| *want == "*" || want == word)
        })
    }

    /// How many such lines there are.
    pub(crate) fn count(&self, pattern: &[&str]) -> usize {
        self.like(pattern).count()
    }

    /// The sum of the numbers at a place of such lines.
    pub(crate) fn sum(&self, pattern: &[&str], place: usize) -> usize {
        let number = |line: &[String]| line.get(place)?.parse::<usize>().ok();
        self.like(pattern).filter_map(number).sum()
    }

    /// How many values the distribution has whose title begins so.
    pub(crate) fn values(&self, title: &[&str]) -> usize {
        let title = self.lines.iter().position(|line| {
            line.len() >= title.len() && line.iter().zip(title).all(|(word, want)| word == want)
        });
        let lines = self
            .lines
            .iter()
            .skip(title.map_or(usize::MAX, |at| at + 1));
        let lines = lines.take_while(|line| !line.is_empty());
        let count = |line: &Vec<String>| line.last()?.parse::<usize>().ok();
        lines.filter_map(count).sum()
    }

    /// Lines that aren't headers: those that have this many words and no
    /// header's first word.
    fn events(&self) -> impl Iterator<Item = &[String]> {
        let lines = self.lines.iter().map(Vec::as_slice);
        lines.filter(|line| {
            let first = line.first().map_or("", String::as_str);
            !matches!(first, "" | "PORT" | "CPU" | "SADDR" | "Tracing...")
        })
    }
}

/// What `tracer` is told.
#[derive(clap::Args)]
pub(crate) struct Args {}

/// Runs the step alone.
pub(crate) fn run(Args {}: Args) -> Result<ExitCode> {
    let root = workspace::root();
    Ok(step::run_all(vec![Step::new("tracer", || check(&root))]).finish())
}

/// What is traced: a script on a case.
struct Job {
    case: &'static str,
    script: &'static str,
    by: PathBuf,
    holds: Holds,
}

/// What has to hold of what a script prints.
enum Holds {
    OfLines(fn(&Told) -> Result<()>),
    /// It names these reasons, and counts what the counters count.
    OfReasons(Vec<DropReason>),
}

/// Runs everything.
pub(crate) fn check(root: &Path) -> Result<Outcome> {
    let tracer = match tracer(root)? {
        Ok(tracer) => tracer,
        Err(why) => return Ok(Outcome::skip(why)),
    };
    let (driver, tests) = (case::driver(root)?, workspace::tests(root, reason::TESTS)?);
    let mut outcome = Outcome::default();
    let mut jobs = jobs(&tracer);
    if find("bpftrace").is_none() {
        let why = "bpftrace isn't installed, so its scripts weren't run";
        outcome.skips.push(why.to_owned());
        jobs.retain(|job| job.by == tracer);
    }
    outcome.note = format!("{} runs on cases", jobs.len());
    let first = || {
        let injected = "opte-drops on reasons without a case".to_owned();
        vec![
            ("dtrace/*.d".to_owned(), compile::check(root, &tracer)),
            (injected, reason::injected(root, &tracer, &tests)),
            (
                "scripts on ports with long names".to_owned(),
                name::check(root, &tracer, &driver),
            ),
            (
                "scripts on tcpdump's capture".to_owned(),
                elsewhere::check(root, &tracer, &driver),
            ),
        ]
    };
    let results = side_by_side(&jobs, first, |job| {
        let what = format!("{} on {} by {}", job.script, job.case, job.by.display());
        (what, job.run(root, &driver))
    });
    for (what, result) in results {
        match result {
            Ok(()) => outcome.passed += 1,
            Err(error) => outcome.failures.push(format!("{what}: {error:#}")),
        }
    }
    Ok(outcome)
}

/// Everything that is traced.
fn jobs(tracer: &Path) -> Vec<Job> {
    let job = |by: &Path, (case, script, holds): (_, _, Holds)| Job {
        case,
        script,
        by: by.to_owned(),
        holds,
    };
    let lines = |&(case, script, holds): &Run| (case, script, Holds::OfLines(holds));
    let runs = RUNS.iter().map(lines);
    let reasons = reason::cases();
    let reasons = reasons
        .into_iter()
        .map(|(case, reasons)| (case, "opte-drops", Holds::OfReasons(reasons)));
    let runs = runs.chain(reasons).map(|run| job(tracer, run));
    let twins = TWINS.iter().map(lines);
    let twins = twins.map(|run| job(Path::new("bpftrace"), run));
    runs.chain(twins).collect()
}

/// Does some things, and something for each job, on all processors; results in
/// the order in which they come. A tracer mostly computes: it makes its types
/// of the kernel's anew each time.
fn side_by_side<T: Send>(
    jobs: &[Job],
    first: impl FnOnce() -> Vec<T>,
    each: impl Fn(&Job) -> T + Sync,
) -> Vec<T> {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    let (next, results) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let keep = |result| {
        results
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(result)
    };
    let work = || {
        while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            keep(each(job));
        }
    };
    thread::scope(|scope| {
        for _ in 1..processors {
            scope.spawn(work);
        }
        first().into_iter().for_each(keep);
        work();
    });
    results.into_inner().unwrap_or_else(PoisonError::into_inner)
}

impl Job {
    fn run(&self, root: &Path, driver: &Path) -> Result<()> {
        let by = self.by.file_name().unwrap_or_default().to_string_lossy();
        let work = format!("target/tracer/{}-{}-{by}", self.case, self.script);
        let replay = case::replay(root, driver, self.case, &root.join(work))?;
        let told = trace(root, &self.by, &replay, self.script)?;
        match &self.holds {
            Holds::OfLines(holds) => holds(&told),
            Holds::OfReasons(reasons) => reason::agree(&told, &replay, reasons),
        }
    }
}

/// The tracer, or why there is none.
pub(crate) fn tracer(root: &Path) -> Result<Result<PathBuf, String>> {
    if !cfg!(target_os = "linux") || !is_root() {
        return Ok(Err("tracing is for root on Linux".to_owned()));
    }
    if let Some(tracer) = std::env::var_os("DTRACE") {
        return Ok(Ok(tracer.into()));
    }
    let (folder, script) = (
        root.join("target/dtrace"),
        root.join("dtrace/get-dtrace-linux.sh"),
    );
    let tracer = folder.join("dtrace");
    let made = |path: &Path| path.metadata().and_then(|file| file.modified()).ok();
    if made(&tracer) >= made(&script) {
        return Ok(Ok(tracer));
    }
    if find("apt-get").is_none() {
        return Ok(Err("there is no DTrace; set DTRACE".to_owned()));
    }
    let done = Command::new(script)
        .arg(&folder)
        .output()
        .context("can't run get-dtrace-linux.sh")?;
    Ok(match done.status.success() {
        true => Ok(tracer),
        false => Err(format!("can't get DTrace: {}", text(&done))),
    })
}

/// Runs a script on a replay.
fn trace(root: &Path, tracer: &Path, replay: &Replay, script: &str) -> Result<Told> {
    let words: Option<Vec<&str>> = replay.words.iter().map(|word| word.to_str()).collect();
    let words = words.context("a path isn't UTF-8")?;
    let spaced = words.iter().any(|word| word.contains(char::is_whitespace));
    ensure!(!spaced, "the tracer splits commands at blanks: {words:?}");
    let done = opte_trace(root, tracer, &words.join(" "), script)?;
    replay
        .compare()
        .context("being watched changes what happens")?;
    let printed = String::from_utf8_lossy(&done.stdout);
    let verdicts = std::fs::read_to_string(replay.out.join("verdicts.jsonl"))?;
    Ok(Told {
        verdicts: verdicts
            .lines()
            .map(serde_json::from_str)
            .collect::<Result<_, _>>()?,
        ..Told::of_text(&printed)
    })
}

/// Runs a script on a program that ends.
fn opte_trace(root: &Path, tracer: &Path, command: &str, script: &str) -> Result<Output> {
    let done = Command::new(root.join("dtrace/opte-trace"))
        .env("DTRACE", tracer)
        .args(["-c", command, script])
        .output()
        .context("can't run opte-trace")?;
    ensure!(done.status.success(), "{}", text(&done));
    let lost = losses(&String::from_utf8_lossy(&done.stderr));
    ensure!(lost.is_empty(), "the tracer lost something: {lost}");
    Ok(done)
}

/// What a tracer says of lines that it can't print: dropped records, and
/// clauses that it gave up. Its exit status says nothing about them.
fn losses(errors: &str) -> String {
    let is_loss = |line: &&str| line.starts_with("dtrace: ") || line.starts_with("Lost ");
    errors
        .lines()
        .filter(is_loss)
        .collect::<Vec<_>>()
        .join("; ")
}

fn text(done: &Output) -> String {
    let (out, errors) = (&done.stdout, &done.stderr);
    [out, errors]
        .map(|text| String::from_utf8_lossy(text).into_owned())
        .join("\n")
}

/// The reason of each dropped frame, and how many there are.
fn dropped(told: &Told) -> BTreeMap<String, u64> {
    let mut dropped = BTreeMap::new();
    for verdict in &told.verdicts {
        if let Some(reason) = verdict.get("reason").and_then(Value::as_str) {
            *dropped.entry(reason.to_owned()).or_insert(0) += 1;
        }
    }
    dropped
}

/// PORT DIR LAYER RULE PROTO LOCAL PORT REMOTE PORT REASON
fn drops_have_lines(told: &Told) -> Result<()> {
    for (reason, count) in dropped(told) {
        let lines = told.lines.iter();
        let lines = lines.filter(|line| line.last() == Some(&reason)).count();
        ensure!(
            u64::try_from(lines)? == count,
            "{lines} lines for {count} of {reason}"
        );
    }
    Ok(())
}

fn something_is_printed(told: &Told) -> Result<()> {
    let lines = told.lines.iter().filter(|line| line.len() > 1);
    ensure!(lines.count() > 1, "nothing but a header");
    Ok(())
}

/// PORT DIR BYTES TYPE ERROR
fn bad_packets_are_told(told: &Told) -> Result<()> {
    let expected = dropped(told);
    let mut lines = 0;
    for line in told.events() {
        let reason = line.last().context("an empty line")?;
        ensure!(
            expected.contains_key(reason),
            "nothing was dropped for {reason}"
        );
        lines += 1;
    }
    ensure!(lines > 0, "nothing is printed");
    Ok(())
}

/// SADDR DADDR PROTO COUNT
fn packets_are_counted(told: &Told) -> Result<()> {
    let mut total = 0;
    let mut seen = [false; 2];
    for line in told.events() {
        let [from, _, proto, count] = line else {
            continue;
        };
        if proto == "TCP" {
            total += count.parse::<usize>()?;
            seen[usize::from(from.contains(':'))] = true;
        }
    }
    // Each packet is sent by one guest and, if nothing drops it, got by the other.
    let tcp = |verdict: &&Value| verdict.to_string().contains("tcp ");
    let sent = told.verdicts.iter().filter(tcp).count();
    ensure!(seen == [true, true], "an IP version isn't printed");
    ensure!(
        total == 2 * sent,
        "{total} packets are printed, {sent} were sent"
    );
    Ok(())
}

/// CPU DELTA LOCAL PORT REMOTE PORT OLD -> NEW
fn connections_come_and_go(told: &Told) -> Result<()> {
    let is =
        |line: &[String], old: &str, new: &str| line.len() == 9 && line[6] == old && line[8] == new;
    for (old, new) in [
        ("CLOSED", "SYN_SENT"),
        ("LISTEN", "SYN_RECEIVED"),
        ("SYN_RECEIVED", "ESTABLISHED"),
        ("LAST_ACK", "TIME_WAIT"),
    ] {
        for v6 in [false, true] {
            let found = told
                .of("0")
                .chain(told.of("1"))
                .any(|line| is(line, old, new) && line[2].contains(':') == v6);
            ensure!(found, "no {old} -> {new} for IPv6 = {v6}");
        }
    }
    Ok(())
}

/// PORT EVENT PROTO LOCAL PORT EXTERNAL PORT REMOTE PORT
fn ports_are_taken(told: &Told) -> Result<()> {
    let is_alloc = |line: &&[String]| line.get(1).is_some_and(|word| word == "alloc");
    let mut taken = 0;
    for line in told.events().filter(is_alloc) {
        ensure!(line.len() == 9 && line[3] != line[5], "{line:?}");
        taken += 1;
    }
    ensure!(taken > 0, "nothing is taken");
    Ok(())
}

/// PORT PROTO LOCAL PORT REMOTE PORT MS PKTS-OUT PKTS-IN BYTES-OUT BYTES-IN END
fn ended_flows_have_lines(told: &Told) -> Result<()> {
    for ending in [
        ["1004", "1", "0", "50", "0", "evicted"],
        ["1005", "1", "0", "50", "0", "idle"],
        ["1001", "3", "1", "150", "51", "idle"],
        ["1002", "1", "1", "50", "51", "idle"],
        ["1003", "1", "2", "50", "102", "idle"],
    ] {
        let [from, carried @ ..] = ending;
        let flow = ["g1", "*", "10.0.0.1", from, "10.0.0.2", "53", "*"];
        let line = [&flow[..], &carried].concat();
        ensure!(told.count(&line) == 1, "not one line {line:?}");
    }
    ensure!(told.events().count() == 5, "other flows ended too");
    Ok(())
}

/// PORT DIR PATH PROTO LOCAL PORT REMOTE PORT RESULT
fn every_frame_has_a_line(told: &Told) -> Result<()> {
    let sent = told
        .events()
        .filter(|line| line.get(1).is_some_and(|dir| dir == "out"));
    let (sent, frames) = (sent.count(), told.verdicts.len());
    ensure!(sent == frames, "{sent} lines for {frames} frames");
    Ok(())
}

/// CPU LADDR:LPORT -> RADDR:RPORT VTAG CHUNK BYTES
fn an_init_is_sent_and_received(told: &Told) -> Result<()> {
    let [from, to] = ["10.0.0.1:3000", "10.0.0.2:3001"];
    for line in [["*", from, "->", to], ["*", to, "<-", from]] {
        let line = [line.as_slice(), &["0", "1", "32"]].concat();
        ensure!(told.count(&line) == 1, "not one line {line:?}");
    }
    Ok(())
}

/// CPU DELTA LOCAL PORT REMOTE PORT OLD -> NEW
fn an_association_begins(told: &Told) -> Result<()> {
    for (local, new) in [("10.0.0.1", "SYN_SENT"), ("10.0.0.2", "LISTEN")] {
        let line = ["*", "*", local, "*", "*", "*", "CLOSED", "->", new];
        ensure!(told.count(&line) == 1, "not one line {line:?}");
    }
    Ok(())
}

/// PORT -> OP SENDER MAC TARGET
fn who_asks_by_arp(told: &Told) -> Result<()> {
    let (guest, gateway) = ("a8:40:25:f0:00:01", "a8:40:25:ff:77:77");
    let lines: Vec<String> = told.of("g1").map(|words| words.join(" ")).collect();
    let expected = [
        format!("g1 -> request 10.0.0.1 {guest} 10.0.0.254"),
        format!("g1 <- reply 10.0.0.254 {gateway} 10.0.0.1"),
        format!("g1 -> request 0.0.0.0 {guest} 10.0.0.1"),
        format!("g1 -> request 10.0.0.1 {guest} 10.0.0.1"),
        format!("g1 -> request 10.0.0.1 {guest} 10.0.0.2"),
        format!("g1 -> request 10.0.0.2 {guest} 10.0.0.254"),
    ];
    ensure!(lines == expected, "{lines:#?}");
    Ok(())
}

/// PORT -> SADDR DADDR TYPE CODE QUOTED
fn errors_quote_packets(told: &Told) -> Result<()> {
    for line in [
        "g1 <- 10.0.0.254 10.0.0.1 11 0 UDP 10.0.0.1 > 1.1.1.1",
        "g1 <- 198.51.100.1 10.0.0.1 3 4 TCP 10.0.0.1 > 1.1.1.1",
        "g1 -> 10.0.0.1 1.1.1.1 3 3 UDP 1.1.1.1 > 10.0.0.1",
        "g1 -> fd77::1 2001:db8:1::1 128 0 -",
        "g1 <- 2001:db8:77::1 fd77::1 3 0 ICMPv6 fd77::1 > 2001:db8:1::1",
        "g1 -> fd77::1 2001:db8:1::1 1 4 UDP 2001:db8:1::1 > fd77::1",
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        ensure!(told.count(&words) > 0, "no line {line}");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
