//! The tracer's side of [`super::ask`], outside of a scenario's sandbox.
//!
//! Purpose   only the machine's root may trace, and tracers know processes by
//!           the machine's numbers; neither is to be had in a sandbox.
//! Flow      serve: trace-N.ask -> find the driver -> opte-trace for each
//!           script -> trace-N.ready -> trace-N.stop -> SIGINT -> trace-N.done
//! Failure   what goes wrong is the text of `ready` or `done`, which are empty
//!           otherwise.

use super::ask::{self, File};
use crate::workspace;
use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long scripts may take to be ready, and how long they may be silent when
/// they end.
const READY_LIMIT: Duration = Duration::from_secs(120);
const SILENCE_LIMIT: Duration = Duration::from_secs(3);
/// How long they may take to end; who hasn't after half of it is told again.
const END_LIMIT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(20);
/// A driver looks at who watches with each of its ticks, a tenth of a second
/// apart; until then frames aren't told.
const NOTICED: Duration = Duration::from_millis(150);

/// Serves a scenario whose files are in `folder` until it is over.
pub(crate) fn serve(folder: &Path, is_over: &AtomicBool) {
    for number in 0.. {
        let file = |what| ask::file(folder, number, what);
        if !wait(|| file(File::Ask).exists(), is_over) {
            return;
        }
        let mut tracing = Tracing::default();
        let begun = tracing.begin(folder, number, is_over);
        let said = begun.map_or_else(|error| format!("{error:#}"), |()| String::new());
        if ask::put(&file(File::Ready), &said).is_err() || !said.is_empty() {
            continue;
        }
        wait(|| file(File::Stop).exists(), is_over);
        let ended = tracing.end();
        let said = ended.map_or_else(|error| format!("{error:#}"), |()| String::new());
        if ask::put(&file(File::Done), &said).is_err() {
            return;
        }
    }
}

/// Waits for a condition; whether it came before the scenario's end.
fn wait(condition: impl Fn() -> bool, is_over: &AtomicBool) -> bool {
    while !condition() {
        if is_over.load(Ordering::Relaxed) {
            return false;
        }
        thread::sleep(PAUSE);
    }
    true
}

/// Tracers that run, with where they write their errors.
#[derive(Default)]
struct Tracing {
    children: Vec<(Child, PathBuf)>,
    outputs: Vec<PathBuf>,
}

/// How far tracers have come that are to end.
#[derive(Clone, Copy, PartialEq)]
struct Progress {
    running: usize,
    printed: u64,
}

impl Tracing {
    fn begin(&mut self, folder: &Path, number: usize, is_over: &AtomicBool) -> Result<()> {
        let root = workspace::root();
        let tracer = super::tracer(&root)?;
        let tracer = tracer.map_err(|why| anyhow::anyhow!("{}{why}", ask::UNPLAYABLE))?;
        let asked = fs::read_to_string(ask::file(folder, number, File::Ask))?;
        let mut lines = asked.lines();
        let sled = lines.next().context("nothing is asked for")?;
        let pid = driver(folder, sled)?.to_string();
        for (at, line) in lines.enumerate() {
            let out = ask::file(folder, number, File::Out(at));
            let errors = out.with_extension("errors");
            let child = Command::new(root.join("dtrace/opte-trace"))
                .env("DTRACE", &tracer)
                .args(["-p", &pid])
                .args(line.split('\t'))
                .stdin(Stdio::null())
                .stdout(fs::File::create(&out)?)
                .stderr(fs::File::create(&errors)?)
                .spawn()
                .context("can't run opte-trace")?;
            self.children.push((child, errors));
            self.outputs.push(out);
        }
        let start = Instant::now();
        // Every script prints something as soon as it watches.
        while !self.outputs.iter().all(|out| bytes_in(out) > 0) {
            for (child, errors) in &mut self.children {
                if child.try_wait()?.is_some() {
                    bail!("a script ended: {}", fs::read_to_string(errors)?);
                }
            }
            if is_over.load(Ordering::Relaxed) || start.elapsed() > READY_LIMIT {
                bail!("scripts weren't ready in {READY_LIMIT:?}");
            }
            thread::sleep(PAUSE);
        }
        thread::sleep(NOTICED);
        Ok(())
    }

    /// Interrupts what runs, as Ctrl-C does.
    fn interrupt(&mut self) -> Result<()> {
        for (child, _) in &mut self.children {
            if child.try_wait()?.is_none() {
                kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT)?;
            }
        }
        Ok(())
    }

    fn progress(&mut self) -> Result<Progress> {
        let mut running = 0;
        for (child, _) in &mut self.children {
            running += usize::from(child.try_wait()?.is_none());
        }
        let printed = self.outputs.iter().map(|out| bytes_in(out)).sum();
        Ok(Progress { running, printed })
    }

    /// Ends the scripts as Ctrl-C does, and waits for what they print then.
    ///
    /// What is silent for long (a tracer without its quick exit, see
    /// `get-dtrace-linux.sh`) is killed on drop.
    fn end(&mut self) -> Result<()> {
        self.interrupt()?;
        let (mut seen, mut since, start) = (None, Instant::now(), Instant::now());
        let mut again = false;
        // One that prints by itself is never silent, so that there is an end.
        while since.elapsed() < SILENCE_LIMIT && start.elapsed() < END_LIMIT {
            if start.elapsed() > END_LIMIT / 2 && !again {
                again = true;
                self.interrupt()?;
            }
            let now = self.progress()?;
            if now.running == 0 {
                break;
            }
            if seen != Some(now) {
                (seen, since) = (Some(now), Instant::now());
            }
            thread::sleep(PAUSE);
        }
        for (child, errors) in &mut self.children {
            let said = fs::read_to_string(&*errors)?;
            let failed = child.try_wait()?.is_some_and(|status| !status.success());
            if failed || !said.trim().is_empty() {
                bail!("a script says: {said}");
            }
        }
        self.children
            .retain_mut(|(child, _)| matches!(child.try_wait(), Ok(None)));
        Ok(())
    }
}

impl Drop for Tracing {
    fn drop(&mut self) {
        for (child, _) in &mut self.children {
            // These fail only when it is gone already, or has left nothing.
            let _ = child.kill();
            let _ = child.wait();
            let probes = fs::OpenOptions::new()
                .append(true)
                .open("/sys/kernel/debug/tracing/uprobe_events");
            if let Ok(mut probes) = probes {
                for name in ["BEGIN", "END"] {
                    let _ = writeln!(probes, "-:dt_{}_dtrace/{name}", child.id());
                }
            }
        }
    }
}

fn bytes_in(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |file| file.len())
}

/// The process of a sled's driver.
fn driver(folder: &Path, sled: &str) -> Result<u32> {
    let setup = format!("{sled}.toml");
    for entry in fs::read_dir("/proc")? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let Some(pid) = name.and_then(|name| name.parse().ok()) else {
            continue;
        };
        // Processes come and go.
        let line = fs::read(path.join("cmdline")).unwrap_or_default();
        let is_driver = line
            .split(|byte| *byte == 0)
            .any(|word| word == setup.as_bytes());
        if is_driver && fs::read_link(path.join("cwd")).is_ok_and(|cwd| cwd == folder) {
            return Ok(pid);
        }
    }
    bail!("there is no driver of {sled}")
}
