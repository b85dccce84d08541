//! Replays: the order of frames, bad inputs, and equal results.

use super::file::PcapngFile;
use super::*;
use crate::testing::{self, SETUP, udp};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Seconds since 1970 of the first frame, in nanoseconds.
const T0: u64 = 1_700_000_000_000_000_000;
const MS: u64 = 1_000_000;

/// A setup and captures in a folder, and what a replay makes of them.
struct Bench {
    folder: testing::Folder,
    args: cli::Replay,
}

impl Bench {
    fn new() -> Self {
        let folder = testing::Folder::new("replay");
        let args = cli::Replay {
            setup: folder.file("setup.toml", SETUP),
            out: folder.path().join("out"),
            seed: 0,
            no_neighbours: false,
            inputs: Vec::new(),
        };
        Self { folder, args }
    }

    /// Adds an input with these bytes as its file.
    fn file(mut self, side: &str, name: &str, content: impl AsRef<[u8]>) -> Self {
        let path = self.folder.file(name, content);
        let text = format!("{side}={}", path.display());
        self.args.inputs.push(text.parse().unwrap());
        self
    }

    /// Adds an input with these frames.
    fn input(self, side: &str, name: &str, frames: &[(u64, Vec<u8>)]) -> Self {
        self.file(side, name, capture(frames))
    }

    fn run(&self) -> anyhow::Result<()> {
        super::run(&self.args)
    }

    /// Every result, by file name.
    fn results(&self) -> BTreeMap<String, Vec<u8>> {
        std::fs::read_dir(&self.args.out)
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let name = entry.file_name().into_string().unwrap();
                (name, std::fs::read(entry.path()).unwrap())
            })
            .collect()
    }

    /// The lines of `verdicts.jsonl`.
    fn verdicts(&self) -> Vec<serde_json::Value> {
        let text = String::from_utf8(self.results()["verdicts.jsonl"].clone()).unwrap();
        let lines = text.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    fn counters(&self) -> serde_json::Value {
        serde_json::from_slice(&self.results()["counters.json"]).unwrap()
    }

    /// Frames of a result file.
    fn frames(&self, name: &str) -> Vec<(u64, Vec<u8>)> {
        let path: PathBuf = self.args.out.join(name);
        let input: InputArg = format!("rx:x={}", path.display()).parse().unwrap();
        let capture = Capture::load(&input).unwrap();
        let packets = capture.packets().iter();
        packets
            .map(|packet| (packet.time_ns, capture.bytes(packet).to_vec()))
            .collect()
    }
}

/// A pcapng file with these frames.
fn capture(frames: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let mut file = PcapngFile::new(Vec::new(), "x").unwrap();
    for (time_ns, frame) in frames {
        file.write(*time_ns, frame).unwrap();
    }
    file.into_inner()
}

#[test]
fn inputs_merge_by_time_then_by_command_line() {
    let captures = [
        capture(&[(5, vec![0]), (1, vec![1]), (5, vec![2])]),
        capture(&[(5, vec![3]), (2, vec![4])]),
    ]
    .map(|bytes| Capture::parse(&bytes).unwrap());
    let order: Vec<_> = script(&captures)
        .iter()
        .map(|step| (step.input, step.index, step.capture.bytes(step.packet)[0]))
        .collect();
    assert_eq!(
        order,
        [(0, 1, 1), (1, 1, 4), (0, 0, 0), (0, 2, 2), (1, 0, 3)]
    );
}

#[test]
fn ticks_are_dense_in_short_gaps_and_few_in_long_ones() {
    for (gap_ms, step_ms) in [
        (0, 100),
        (99, 100),
        (60_000, 100),
        (102_400, 100),
        (102_401, 101),
    ] {
        assert_eq!(tick_step_ms(gap_ms), step_ms);
    }
    let year_ms = 365 * 86_400_000;
    assert!(year_ms / tick_step_ms(year_ms) <= TICKS_PER_GAP_MAX);
    assert!(tick_step_ms(u64::MAX) > 0);
}

#[test]
fn bad_inputs_are_named_and_leave_no_results() {
    let good = [(T0, udp(1, 2))];
    let mut cut = capture(&good);
    cut.pop();
    let mut wifi = capture(&good);
    // The link type in the interface description.
    wifi[36] = 105;
    let mut newer = capture(&good);
    // The major version in the section header.
    newer[12] = 7;
    for (bench, words) in [
        (
            Bench::new().file("tx:guest0", "a", "text"),
            "/a: it is neither",
        ),
        (
            Bench::new().file("tx:guest0", "a", cut),
            "/a: block 2 is cut off",
        ),
        (
            Bench::new().file("tx:guest0", "a", newer),
            "/a: it is pcapng 7.0, not 1",
        ),
        (
            Bench::new().file("tx:guest0", "a", wifi),
            "/a: its link type is 105",
        ),
        (
            Bench::new().input("tx:guest7", "a", &good),
            "/a: the setup has no port guest7",
        ),
        (
            Bench::new().input("rx:net7", "a", &good),
            "/a: the setup has no link net7",
        ),
    ] {
        let error = format!("{:#}", bench.run().unwrap_err());
        assert!(error.contains(words), "{error}");
        assert!(error.starts_with(&bench.args.inputs[0].text), "{error}");
        assert_eq!(error.lines().count(), 1);
        assert!(!bench.args.out.exists(), "{error}");
    }
    let mut bench = Bench::new().input("tx:guest0", "a", &good);
    bench.args.inputs[0].file = bench.folder.path().join("missing");
    assert!(bench.run().is_err());
    let mut bench = Bench::new().input("tx:guest0", "a", &good);
    bench.args.out = bench.folder.file("no-folder", "");
    let error = format!("{:#}", bench.run().unwrap_err());
    assert!(error.starts_with("--out "), "{error}");
}

#[test]
fn frames_between_guests_of_the_host_are_told_and_captured() {
    let bench = Bench::new()
        .input(
            "tx:guest0",
            "a",
            &[(T0, udp(1, 2)), (T0 + 20 * MS, udp(1, 2))],
        )
        .input("tx:guest1", "b", &[(T0 + 10 * MS, udp(2, 9))]);
    bench.run().unwrap();
    let lines = bench.verdicts();
    let [first, other, second] = &lines[..] else {
        panic!("{lines:?}")
    };
    assert_eq!(first["input"], "tx:guest0=a");
    assert_eq!(first["time"], "1700000000.000000000");
    assert_eq!(
        (&first["port"], &first["direction"]),
        (&"guest0".into(), &"out".into())
    );
    assert_eq!(
        (&first["verdict"], &first["to"]),
        (&"port".into(), &"guest1".into())
    );
    assert_eq!(first["path"], "miss");
    assert_eq!(first["before"], "udp 10.0.0.1:1000 10.0.0.2:2000");
    assert_eq!(first["delivery"]["port"], "guest1");
    assert_eq!(first["outputs"][0]["file"], "port-guest1.pcapng");
    assert_eq!(
        (&second["path"], &second["index"]),
        (&"hit".into(), &1.into())
    );
    assert_eq!(second["outputs"][0]["index"], 1);
    assert_eq!(
        (&other["input"], &other["verdict"]),
        (&"tx:guest1=b".into(), &"dropped".into())
    );
    assert_eq!(
        (&other["layer"], &other["reason"]),
        (&"overlay".into(), &"no_v2p".into())
    );
    let delivered = bench.frames("port-guest1.pcapng");
    let times: Vec<_> = delivered.iter().map(|(time, _)| *time).collect();
    assert_eq!(times, [T0, T0 + 20 * MS]);
    // The gateway's address is in front; the payload is as it was.
    assert_eq!(delivered[0].1[14..], udp(1, 2)[14..]);
    let counters = bench.counters();
    assert_eq!(counters["ports"]["guest1"]["drops"]["no_v2p"], 1);
    assert_eq!(counters["ports"]["guest1"]["counters"]["in_packets"], 2);
}

#[test]
fn the_underlay_answers_unless_it_is_told_not_to() {
    let frames = [(T0, udp(1, 3)), (T0 + MS, udp(1, 3))];
    let mut bench = Bench::new().input("tx:guest0", "a", &frames);
    bench.run().unwrap();
    let verdicts = |bench: &Bench| -> Vec<String> {
        let lines = bench.verdicts().into_iter();
        lines
            .map(|line| line["verdict"].as_str().unwrap().into())
            .collect()
    };
    assert_eq!(verdicts(&bench), ["held", "link"]);
    let tunnelled = |bench: &Bench| {
        let frames = bench.frames("link-net0.pcapng").into_iter();
        // Next header UDP to port 6081.
        frames
            .filter(|(_, frame)| frame[20] == 17 && frame[56..58] == [0x17, 0xc1])
            .map(|(time, _)| time)
            .collect::<Vec<_>>()
    };
    assert_eq!(tunnelled(&bench), [T0, T0 + MS]);
    bench.args.no_neighbours = true;
    bench.run().unwrap();
    assert_eq!(verdicts(&bench), ["held", "held"]);
    assert!(tunnelled(&bench).is_empty());
    assert_eq!(bench.counters()["host"]["drops"]["next_hop_unresolved"], 2);
}

#[test]
fn the_same_inputs_give_the_same_bytes() {
    let mut frames: Vec<_> = (0..200)
        .map(|at| (T0 + at * 700 * MS, udp(1, u8::try_from(at % 4).unwrap())))
        .collect();
    // A gap of a day.
    frames.push((T0 + 86_400_000 * MS, udp(1, 3)));
    let run = |seed| {
        let mut bench = Bench::new()
            .input("tx:guest0", "a", &frames)
            .input("rx:net0", "b", &frames);
        bench.args.seed = seed;
        bench.run().unwrap();
        let results = bench.results();
        let names: Vec<_> = results.keys().cloned().collect();
        assert_eq!(
            names,
            [
                "counters.json",
                "link-net0.pcapng",
                "port-guest0.pcapng",
                "port-guest1.pcapng",
                "verdicts.jsonl"
            ]
        );
        results
    };
    assert!(run(1) == run(1));
    // The source port of the tunnel follows from the seed.
    assert!(run(1)["link-net0.pcapng"] != run(2)["link-net0.pcapng"]);
}
