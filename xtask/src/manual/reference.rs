//! The book's reference, as far as the code knows it.
//!
//! Rules     F1  what a table says is declared once, in the code; the sentences
//!               around it are here.

use super::limit;
use anyhow::{Context, Result};
use opte_core::api::port::PortOptions;
use opte_core::api::{ConfigError, ErrorCode, HostOptions, ObjectKind, PortSpec, Setting};
use opte_core::{DropReason, LayerId};
use opte_ioctl::envelope::{HEADER_LEN, VERSION_MAX, VERSION_MIN};
use opte_ioctl::hello::CAPABILITIES;
use opte_ioctl::{command, device, response};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// Pages below `docs/reference/`.
pub(super) fn pages(root: &Path) -> Result<Vec<(&'static str, String)>> {
    Ok(vec![
        ("docs/reference/drop-reasons.md", drop_reasons()),
        ("docs/reference/limits.md", limits(root)?),
        ("docs/reference/options.md", options()?),
        ("docs/reference/contract.md", contract(root)?),
    ])
}

/// The head of a page that is written from `source`.
fn head(title: &str, source: &str) -> String {
    format!("# {title}\n\n<!-- Written by `cargo xtask manual` from {source}. -->\n\n")
}

/// A table.
fn table<const N: usize>(
    columns: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let heads = [columns.map(str::to_owned), ["---"; N].map(str::to_owned)];
    let lines = heads.into_iter().chain(rows);
    lines
        .map(|line| format!("| {} |\n", line.join(" | ")))
        .collect()
}

const DROPS: &str = "\
Every frame that goes nowhere has exactly one of these reasons. Each is a counter: of the port and direction, or of the
host when no port is known yet. `opteadm stats` and `opteadm stats -p PORT` show those that aren't zero, kstats all of
them. The probe [`drop`](../probes.md#drop) has the reason as a string; `opte-trace opte-drop` prints it with port,
layer, rule and addresses. Names and numbers never change their meaning; new ones are added at the end.

What to do about the usual ones is in [Why is a packet dropped?](../how-to/dropped-packet.md).

";

fn drop_reasons() -> String {
    let text = head("Drop reasons", "opte-core/src/drop.rs") + DROPS;
    let columns = ["number", "reason and counter", "what it means"];
    let row = |reason: &DropReason| {
        let (name, why) = (reason.name(), reason.explanation());
        [
            reason.number().to_string(),
            format!("`{name}`"),
            why.to_owned(),
        ]
    };
    text + &table(columns, DropReason::ALL.iter().map(row))
}

const LIMITS: &str = "\
Everything that can grow has a bound. Reaching one by configuration is a refusal (`limit-reached`, or `out-of-range`
with what would be allowed); reaching one by packets is a [drop reason](drop-reasons.md). These are built in; what can
be set for a host or a port is in [Options](options.md).

";

fn limits(root: &Path) -> Result<String> {
    const SOURCE: &str = "opte-core/src/limits.rs";
    let source = fs::read_to_string(root.join(SOURCE)).context(SOURCE)?;
    let text = head("Limits", SOURCE) + LIMITS;
    let limits = limit::all(&source)?.into_iter();
    let rows = limits.map(|it| [format!("`{}`", it.name), grouped(it.value), it.about]);
    Ok(text + &table(["limit", "value", "what"], rows))
}

/// A number with a comma after each thousand.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

const OPTIONS: &str = "\
The setup file has them as `[port.options]` and `[host]`, where [The setup file](setup-file.md) says what they mean.
`opteadm set-port-options -p PORT NAME=VALUE` and `opteadm set-host-options NAME=VALUE` change them while everything
runs. Names that end with `_s` are seconds. Numbers are those of the contract.

";

/// Options with what they are unless told, and what they may be.
fn options() -> Result<String> {
    let mut text = head("Options", "opte-core/src/api/setting.rs") + OPTIONS;
    let bare = "name = \"p\"\nmac = \"A8:40:25:F0:00:01\"\nvni = 1\n";
    let port: PortSpec = toml::from_str(bare)?;
    debug_assert_eq!(port.options, PortOptions::default());
    text += "## Of a port\n\n";
    text += &settings(&port.settings(), port_names()?, |setting| {
        port.clone().set(setting)
    })?;
    text += "\nAn `mtu` above 1500 has to fit the underlay's links, too.\n\n## Of the host\n\n";
    let host = HostOptions::default();
    let names = vec![(1, "flows_max".to_owned())];
    text += &settings(&host.settings(), names, |setting| {
        HostOptions::default().set(setting)
    })?;
    Ok(text)
}

/// Numbers and names of a port's settings, as the refusal of another one says.
fn port_names() -> Result<Vec<(u16, String)>> {
    let why = Setting::of_port("?=1").err().context("`?` is a setting")?;
    let (_, names) = why.split_once("none of ").context("no list of settings")?;
    names
        .split(", ")
        .map(|name| {
            let setting = Setting::of_port(&format!("{name}=1")).map_err(anyhow::Error::msg)?;
            Ok((setting.number, name.to_owned()))
        })
        .collect()
}

/// A table of settings. What a setting may be is what the refusal of a value
/// that nothing may have says.
fn settings(
    usual: &[Setting],
    names: Vec<(u16, String)>,
    set: impl Fn(Setting) -> Result<(), ConfigError>,
) -> Result<String> {
    let mut rows = Vec::new();
    for (number, name) in names {
        let value = usual.iter().find(|setting| setting.number == number);
        let value = value.with_context(|| name.clone())?.value;
        let value_max = u64::MAX;
        let refused = set(Setting {
            number,
            value: value_max,
        });
        let range = match (name.as_str(), refused.err()) {
            // Whether it fits is a question about the port as a whole.
            ("mtu", _) => format!(
                "{} (with IPv6 {}) to {}",
                opte_core::limits::PORT_MTU_MIN,
                opte_core::limits::PORT_MTU_V6_MIN,
                opte_core::limits::PORT_MTU_MAX
            ),
            (_, Some(error)) => error.hint,
            (_, None) => "any".to_owned(),
        };
        let (value, range) = match range.as_str() {
            "0 to 1" => (
                if value == 0 { "false" } else { "true" }.to_owned(),
                "switch".to_owned(),
            ),
            _ => (value.to_string(), range),
        };
        rows.push([number.to_string(), format!("`{name}`"), value, range]);
    }
    Ok(table(["number", "name", "default", "range"], rows))
}

const CONTRACT: &str = "\
`opteadm` and a driver exchange requests and responses: a header of fixed form, and a payload in
[postcard](https://postcard.jamesmunns.com/wire-format). The crate `opte-ioctl` is all of it, for both sides; its golden
bytes are in `opte-ioctl/tests/golden.txt`, and those of the first version in `opte-ioctl/tests/first_version.txt`.

";

const VERSIONS: &str = "\
A sender names the range of versions that it understands, and the driver answers in the newest of them that it speaks
itself. Numbers are append-only and a number's payload never changes: what needs more gets a new number, and the old one
is still understood. So an older `opteadm` works with a newer driver. A newer one learns from the hello exchange which
capabilities there are, and a command that the driver doesn't know is refused as `unknown-command`. `opteadm version`
shows both sides.

";

fn contract(root: &Path) -> Result<String> {
    let mut text = head("The contract", "opte-ioctl/src/") + CONTRACT;
    text += "## Transport\n\n";
    text += &table(
        ["driver", "how"],
        [
            [
                "`xded`".to_owned(),
                "a Unix stream socket (`/run/xded.sock`): each message after its length, four bytes, little-endian"
                    .to_owned(),
            ],
            [
                "`xde`".to_owned(),
                format!(
                    "one ioctl, {:#010x}, of `{}`, on a structure of addresses and lengths (`opte-ioctl/src/device.rs`)",
                    device::COMMAND,
                    device::PATH
                ),
            ],
        ],
    );
    let _ = write!(
        text,
        "\n## Header\n\n{HEADER_LEN} bytes. Numbers are little-endian; a payload of exactly the stated length follows.\n\n"
    );
    text += &picture(root, "opte-ioctl/src/envelope.rs")?;
    let _ = write!(
        text,
        "\nNo flag is defined yet. A receiver ignores the low eight that it doesn't know and refuses a message for one \
         of the high\neight.\n\n## Versions\n\nThis version speaks {VERSION_MIN} to {VERSION_MAX}.\n\n{VERSIONS}"
    );
    text += "Capabilities:\n\n";
    text += &table(["number", "capability"], named(CAPABILITIES));
    text += "\n## Requests\n\n0 is hello, which works between tools and drivers of any age.\n\n";
    text += &table(["number", "request"], named(command::ALL));
    text += "\n## Responses\n\n0 is the answer to hello. A refusal has the number 0, too, and a status.\n\n";
    text += &table(["number", "response"], named(response::ALL));
    text += "\nListings come in pages; a request for the next one has the cursor of the last. A setup is applied as parts \
             (`apply-parts`),\neach with a number and its bytes; one that a driver doesn't know is refused.\n";
    text += "\n## Refusals\n\nA status is one of these, and the payload says which object, which field, which value and \
             why. `opteadm` prints that as one\nsentence with the code behind it, as \
             `port g1: mtu 9 is out of range (576 to 65000) [E3 out-of-range]`.\n\n";
    let codes = ErrorCode::ALL.iter().map(|code| {
        let (name, about) = (code.name(), code.explanation());
        let number = u16::from(*code).to_string();
        [number, format!("`{name}`"), about.to_owned()]
    });
    text += &table(["number", "code", "what is refused …"], codes);
    text += "\nObjects:\n\n";
    let kinds = ObjectKind::ALL.iter();
    text += &table(
        ["number", "object"],
        kinds.map(|kind| [u16::from(*kind).to_string(), kind.name().to_owned()]),
    );
    text += "\nLayers, in the order in which what a guest sends passes them:\n\n";
    let layers = LayerId::ALL.iter();
    text += &table(
        ["number", "layer"],
        layers.map(|layer| [layer.number().to_string(), layer.name().to_owned()]),
    );
    Ok(text)
}

fn named<'a>(numbers: &'a [(u16, &str)]) -> impl Iterator<Item = [String; 2]> + 'a {
    let row = |(number, name): &(u16, &str)| [number.to_string(), format!("`{name}`")];
    numbers.iter().map(row)
}

/// The picture in the head of a source file.
fn picture(root: &Path, file: &str) -> Result<String> {
    let source = fs::read_to_string(root.join(file)).context(file.to_owned())?;
    let lines = source.lines().map_while(|line| line.strip_prefix("//!"));
    let lines = lines.map(|line| line.strip_prefix(' ').unwrap_or(line));
    let mut text = String::new();
    for line in lines.skip_while(|line| *line != "```text") {
        text += line;
        text += "\n";
        if line == "```" {
            return Ok(text);
        }
    }
    anyhow::bail!("{file} has no picture")
}
