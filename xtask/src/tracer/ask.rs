//! How a scenario in its sandbox has scripts run on a driver of its rack.
//!
//! Terms     trace     scripts that watch one driver at the same time
//! Flow      begin -> the scenario's traffic -> Trace::end -> [`Told`]
//!
//! The other side is [`super::beside`]; both speak by files in the scenario's
//! folder.

use super::Told;
use crate::lab::link::wait_until;
use crate::scenario::Unplayable;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What an answer begins with that says why nothing can be traced here.
pub(super) const UNPLAYABLE: &str = "no tracer: ";
/// How long scripts may take to be ready or to end: longer than the other side
/// waits for them, which knows what it has waited for.
const LIMIT: Duration = Duration::from_secs(210);

/// A file of a trace.
#[derive(Clone, Copy)]
pub(super) enum File {
    /// The sled, then a line for each script: its words, with tabs between.
    Ask,
    /// All scripts watch.
    Ready,
    /// They shall end.
    Stop,
    /// They have.
    Done,
    /// What the script of this number printed.
    Out(usize),
}

/// Where a file of the trace of this number is.
pub(super) fn file(folder: &Path, number: usize, what: File) -> PathBuf {
    let last = match what {
        File::Ask => "ask".to_owned(),
        File::Ready => "ready".to_owned(),
        File::Stop => "stop".to_owned(),
        File::Done => "done".to_owned(),
        File::Out(at) => format!("{at}.out"),
    };
    folder.join(format!("trace-{number}.{last}"))
}

/// Makes a file that is there whole or not at all.
pub(super) fn put(path: &Path, text: &str) -> Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, text)?;
    Ok(fs::rename(new, path)?)
}

/// Scripts that watch a driver.
pub(crate) struct Trace {
    folder: PathBuf,
    number: usize,
    scripts: Vec<String>,
}

/// Starts scripts of `dtrace/` on the driver of a sled, and waits until all of
/// them watch. Each is what `opte-trace` is told: a name, or `-n`, a tab and
/// clauses, of which one prints something at once.
///
/// # Errors
///
/// [`Unplayable`] where nothing can be traced; others when a script doesn't
/// start.
pub(crate) fn begin(folder: &Path, sled: &str, scripts: &[&str]) -> Result<Trace> {
    let number = (0..).find(|number| !file(folder, *number, File::Ask).exists());
    let number = number.context("too many traces")?;
    let text = [&[sled], scripts].concat().join("\n");
    put(&file(folder, number, File::Ask), &text)?;
    println!("tracing {sled}: {}", scripts.join(", "));
    let said = answer(&file(folder, number, File::Ready))?;
    if let Some(why) = said.strip_prefix(UNPLAYABLE) {
        return Err(Unplayable(why.to_owned()).into());
    }
    if !said.is_empty() {
        bail!("{said}");
    }
    Ok(Trace {
        folder: folder.to_owned(),
        number,
        scripts: scripts.iter().map(|script| (*script).to_owned()).collect(),
    })
}

impl Trace {
    /// Ends the scripts; what each printed, in their order.
    ///
    /// # Errors
    ///
    /// When one failed.
    pub(crate) fn end(self) -> Result<Vec<Told>> {
        let file = |what| file(&self.folder, self.number, what);
        put(&file(File::Stop), "")?;
        let said = answer(&file(File::Done))?;
        if !said.is_empty() {
            bail!("{said}");
        }
        let told = |(at, name): (usize, &String)| {
            let text = fs::read(file(File::Out(at)))?;
            let text = String::from_utf8_lossy(&text);
            println!("-- {name} printed:\n{text}");
            Ok(Told::of_text(&text))
        };
        self.scripts.iter().enumerate().map(told).collect()
    }
}

/// Waits for a file of the other side.
fn answer(path: &Path) -> Result<String> {
    let there = wait_until(LIMIT, || Ok(fs::read_to_string(path).ok()))?;
    there.with_context(|| format!("no answer in {}", path.display()))
}
