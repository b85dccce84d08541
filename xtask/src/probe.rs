//! `cargo xtask probes`: what follows from the declaration of the probes.
//!
//! Purpose   `docs/probes.md` and the C types in `dtrace/lib/opte.d` are
//!           written from `opte_core::event`; `check` holds them to it.

use crate::step::Outcome;
use crate::workspace;
use anyhow::{Context, Result};
use opte_core::event::view::VIEWS;
use opte_core::event::{FlowEnd, Path as Found, Probe, Stale};
use opte_core::flow::tcp::State;
use opte_core::{Direction, LayerId};
use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

const PAGE: &str = "docs/probes.md";
const TYPES: &str = "dtrace/lib/opte.d";
/// The same types for bpftrace.
const BPF_TYPES: &str = "dtrace/lib/opte.bt";
/// Around what is written of `TYPES`.
const MARKS: [&str; 2] = [
    "/* From opte-core/src/event.rs, by `cargo xtask probes`. */\n",
    "/* By hand from here. */\n",
];

/// What `probes` is told.
#[derive(clap::Args)]
pub(crate) struct Args {}

/// Writes the files.
pub(crate) fn run(Args {}: Args) -> Result<ExitCode> {
    let root = workspace::root();
    for (path, text) in files(&root)? {
        std::fs::write(root.join(path), text).context(path)?;
        println!("{path}");
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether the files are what would be written.
pub(crate) fn check(root: &Path) -> Result<Outcome> {
    let stale = |(path, text): (&str, String)| {
        let there = std::fs::read_to_string(root.join(path)).unwrap_or_default();
        (there != text).then(|| format!("{path} isn't of today: run `cargo xtask probes`"))
    };
    let failures = files(root)?.into_iter().filter_map(stale).collect();
    Ok(Outcome::of(
        failures,
        format!("{} probes", Probe::ALL.len()),
    ))
}

fn files(root: &Path) -> Result<[(&'static str, String); 3]> {
    let old = std::fs::read_to_string(root.join(TYPES)).context(TYPES)?;
    let [begin, end] = MARKS;
    let (before, rest) = old.split_once(begin).context("opte.d has lost its mark")?;
    let (_, after) = rest.split_once(end).context("opte.d has lost its mark")?;
    let types = format!("{before}{begin}{}{end}{after}", types());
    Ok([(PAGE, page()), (TYPES, types), (BPF_TYPES, bpf_types())])
}

/// The structures as bpftrace reads them: it knows no typedefs.
fn bpf_types() -> String {
    let [begin, _] = MARKS;
    let mut text = begin.to_owned();
    for view in VIEWS {
        let name = view.c_name.trim_end_matches("_t");
        let _ = writeln!(text, "\n/* {} */\nstruct {name} {{", view.about);
        for field in view.fields {
            let declared = field
                .c_decl
                .replace("uint8_t", "unsigned char")
                .replace("uint16_t", "unsigned short")
                .replace("uint32_t", "unsigned int")
                .replace("uint64_t", "unsigned long")
                .replace("opte_key_t", "struct opte_key");
            let _ = writeln!(text, "\t{declared};");
        }
        text += "};\n";
    }
    text
}

/// The page about probes.
fn page() -> String {
    let mut text = String::from(INTRODUCTION);
    for probe in Probe::ALL {
        let _ = writeln!(text, "\n### {}\n\n{}\n", probe.name(), probe.when());
        text += "| argument | type | what |\n| --- | --- | --- |\n";
        for (number, arg) in probe.args().iter().enumerate() {
            let (name, c_type, about) = (arg.name, arg.c_type, arg.about);
            let _ = writeln!(text, "| arg{number} {name} | `{c_type}` | {about} |");
        }
    }
    text += "\n## Structures\n\nPadding is as a C compiler makes it.\n";
    for view in VIEWS {
        let _ = writeln!(
            text,
            "\n### {}\n\n{} {} bytes.\n",
            view.c_name, view.about, view.size
        );
        text += "| offset | field | what |\n| --- | --- | --- |\n";
        for field in view.fields {
            let (offset, declared, about) = (field.offset, field.c_decl, field.about);
            let _ = writeln!(text, "| {offset} | `{declared}` | {about} |");
        }
    }
    text += "\n## Numbers\n";
    for (name, about, numbers) in numbers() {
        let _ = writeln!(
            text,
            "\n### {name}\n\n{about}\n\n| number | name |\n| --- | --- |"
        );
        for (number, name) in numbers {
            let _ = writeln!(text, "| {number} | {name} |");
        }
    }
    text
}

const INTRODUCTION: &str = "# Probes

<!-- Written by `cargo xtask probes` from opte-core/src/event.rs. -->

Every fact that the engine tells is a probe. In `xded` it is a static user
probe of the provider `opte` (`opte1234:::drop` of the process 1234); in an
illumos kernel it is an SDT probe of the same name and arguments. Arguments
are integers, and addresses of structures that exist anyway and are valid
while the probe fires. Nothing is formatted, allocated or copied for a probe,
and nothing is done at all for one that nobody watches.

Addresses are IPv4-mapped IPv6 addresses in one form of 16 bytes; ports are in
the machine's byte order. A `char *` is a string of C. An address is zero where
there is nothing to point at. A direction is 1 to the guest and 2 from it.

## Stability

| what | name | data | class |
| --- | --- | --- | --- |
| provider | Evolving | Evolving | Common |
| module | Private | Private | Unknown |
| function | Private | Private | Unknown |
| name | Evolving | Evolving | Common |
| arguments | Evolving | Evolving | Common |

Bytes at `frame` and in packets are as the protocols' standards have them:
Standard, Standard, Common. Probes and arguments are added at the end and never
change their meaning within a version of the contract.

## The probes
";

type Numbers = (&'static str, &'static str, Vec<(u8, &'static str)>);

/// Every enumeration that is an argument, by its names in D.
fn numbers() -> Vec<Numbers> {
    vec![
        (
            "opte_dir",
            "Directions.",
            [Direction::In, Direction::Out]
                .map(|it| (it.number(), it.name()))
                .to_vec(),
        ),
        (
            "opte_layer",
            "Layers; zero is none.",
            LayerId::ALL.map(|it| (it.number(), it.name())).to_vec(),
        ),
        (
            "opte_path",
            "How a decision was found.",
            Found::ALL.map(|it| (it.number(), it.name())).to_vec(),
        ),
        (
            "opte_stale",
            "What made a cached decision stale.",
            Stale::ALL.map(|it| (it.number(), it.name())).to_vec(),
        ),
        (
            "opte_why",
            "Why a flow ended.",
            FlowEnd::ALL.map(|it| (it.number(), it.name())).to_vec(),
        ),
        (
            "opte_state",
            "States of a connection.",
            State::ALL.map(|it| (it.number(), it.name())).to_vec(),
        ),
    ]
}

/// The types and names for D.
fn types() -> String {
    let mut text = String::new();
    for view in VIEWS {
        let _ = writeln!(
            text,
            "\n/* {} */\ntypedef struct {} {{",
            view.about,
            tag(view.c_name)
        );
        for field in view.fields {
            let _ = writeln!(text, "\t{};", field.c_decl);
        }
        let _ = writeln!(text, "}} {};", view.c_name);
    }
    for (name, about, numbers) in numbers() {
        let _ = writeln!(text, "\n/* {about} */\ninline string {name}[uint8_t n] =");
        for (number, word) in numbers {
            let _ = writeln!(text, "\tn == {number} ? \"{word}\" :");
        }
        text += "\t\"-\";\n";
    }
    text.push('\n');
    text
}

/// The tag of a structure.
fn tag(c_name: &str) -> &str {
    c_name.trim_end_matches("_t")
}
