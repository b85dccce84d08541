//! The packet script: frames as a text that a reviewer can read.
//!
//! Purpose   golden cases need frames from guests and from the underlay. A
//!           capture can't be reviewed; a line can:
//!           `0.010 tx g1 udp 10.0.0.1:1000 > 10.0.0.2:53 len 32`.
//!           The language is described in `opte-core/tests/cases/README.md`.
//!
//! Terms     scene    what the case's setup says of ports, links and
//!                    addresses; the source of default MAC addresses
//!           spec     one line, parsed
//!           place    where a frame enters the host: a port or a link
//!
//! Flow      text -> word::Words -> spec::Spec -> emit -> Frame
//!
//! Rules     P1  a script means the same bytes forever: no clock, no
//!               randomness, no default that depends on another line.
//!           P2  frames are right (lengths, checksums) unless the line says
//!               otherwise.
//!           P3  this code shares nothing with the engine: a mistake in the
//!               engine's parser must not be repeated in its tests.
//!
//! Failure   a line that isn't understood is an error that names the line and
//!           the word.

mod dhcp;
mod dhcp6;
mod emit;
mod scene;
mod spec;
#[cfg(test)]
mod tests;
mod wire;
mod word;

use anyhow::{Context, Result, bail, ensure};
pub(crate) use scene::Scene;
use std::collections::BTreeMap;
use std::time::Duration;
use word::Words;

/// Where a frame enters the host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// The guest of this port sends it.
    Tx(String),
    /// It comes from this underlay link.
    Rx(String),
}

impl Place {
    /// `tx` or `rx`, and the name of the port or link.
    pub(crate) fn parts(&self) -> (&'static str, &str) {
        match self {
            Self::Tx(port) => ("tx", port),
            Self::Rx(link) => ("rx", link),
        }
    }
}

/// A frame and when it enters the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Since the start of the script.
    pub(crate) time: Duration,
    pub(crate) place: Place,
    pub(crate) bytes: Vec<u8>,
}

/// Compiles a script. Frames are in order of time.
pub(crate) fn compile(text: &str, scene: &Scene) -> Result<Vec<Frame>> {
    let mut names = BTreeMap::new();
    let mut frames: Vec<Frame> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.split('#').next().unwrap_or_default();
        let found = statement(line, scene, &mut names);
        let frame = found.with_context(|| format!("line {number}: `{}`", line.trim()))?;
        if let Some(frame) = frame {
            let last = frames.last().map_or(Duration::ZERO, |f| f.time);
            ensure!(frame.time >= last, "line {number}: time goes backwards");
            frames.push(frame);
        }
    }
    Ok(frames)
}

/// One line: nothing, a name or a frame.
fn statement(
    line: &str,
    scene: &Scene,
    names: &mut BTreeMap<String, String>,
) -> Result<Option<Frame>> {
    let line = substitute(line, names)?;
    let mut words = Words::new(&line);
    if words.is_empty() {
        return Ok(None);
    }
    if words.take("let") {
        let name = words.next("a name")?.to_owned();
        words.expect("=")?;
        let value = words.rest();
        ensure!(!value.is_empty(), "`{name}` has no value");
        ensure!(
            names.insert(name.clone(), value).is_none(),
            "`{name}` has a value already"
        );
        return Ok(None);
    }
    let time = time(words.next("a time in seconds")?)?;
    let place = match words.next("tx or rx")? {
        "tx" => Place::Tx(words.next("a port")?.to_owned()),
        "rx" => Place::Rx(words.next("a link")?.to_owned()),
        other => bail!("`{other}`: a frame enters by `tx PORT` or `rx LINK`"),
    };
    let spec = spec::parse(&mut words)?;
    let bytes = emit::frame(&spec, scene, &emit::Side::of(&place, scene)?)?;
    Ok(Some(Frame { time, place, bytes }))
}

/// Puts values in the place of `$NAME`, also inside of a word as in `$web:80`.
fn substitute(line: &str, names: &BTreeMap<String, String>) -> Result<String> {
    let mut parts = line.split('$');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .unwrap_or(part.len());
        let (name, rest) = part.split_at(end);
        let value = names
            .get(name)
            .with_context(|| format!("`${name}` has no value: write `let {name} = ..` first"))?;
        out.push_str(value);
        out.push_str(rest);
    }
    Ok(out)
}

/// Seconds with up to six decimals, exactly.
fn time(word: &str) -> Result<Duration> {
    let (seconds, decimals) = word.split_once('.').unwrap_or((word, ""));
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    ensure!(
        !seconds.is_empty() && decimals.len() <= 6 && digits(seconds) && digits(decimals),
        "`{word}`: a time is seconds with up to six decimals"
    );
    let micros: u32 = format!("{decimals:0<6}").parse()?;
    Ok(Duration::new(seconds.parse()?, micros * 1_000))
}
