//! The tracer's side of [`super::ask`], outside of a scenario's sandbox.
//!
//! Purpose   only the machine's root may trace, and tracers know processes by
//!           the machine's numbers; neither is to be had in a sandbox.
//! Flow      serve: trace-N.ask -> find the driver -> opte-trace for each
//!           script -> trace-N.ready -> trace-N.stop -> SIGTERM -> trace-N.done
//! Rules     B1  scripts that print only at the end do so between SIGTERM and
//!               their exit. So that exit is waited for: what they printed so
//!               far says nothing.
//!           B2  DTrace takes SIGTERM as it takes Ctrl-C, SIGINT. That one it
//!               leaves ignored if it was ignored before: so it is in all that
//!               a script of shell starts in the background.
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

/// How long scripts may take to be ready, and to end. On an idle machine it is
/// seconds; a busy one may starve them for long.
const READY_LIMIT: Duration = Duration::from_secs(180);
const END_LIMIT: Duration = Duration::from_secs(180);
const PAUSE: Duration = Duration::from_millis(20);

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

/// Scripts that run.
#[derive(Default)]
struct Tracing {
    scripts: Vec<Script>,
}

/// A tracer that runs a script.
struct Script {
    /// What `opte-trace` was told.
    name: String,
    child: Child,
    /// What it prints, and what it complains of.
    out: PathBuf,
    errors: PathBuf,
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
            let name = line.to_owned();
            self.scripts.push(Script {
                name,
                child,
                out,
                errors,
            });
        }
        let start = Instant::now();
        // Every script prints something as soon as it watches.
        while !self.scripts.iter().all(Script::has_printed) {
            for script in &mut self.scripts {
                if script.child.try_wait()?.is_some() {
                    bail!("{} ended: {}", script.name, script.complaints()?);
                }
            }
            if is_over.load(Ordering::Relaxed) || start.elapsed() > READY_LIMIT {
                let late = self.scripts.iter().filter(|script| !script.has_printed());
                bail!("not ready in {READY_LIMIT:?}: {}", names(late));
            }
            thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// Ends the scripts, and waits until they are gone (rule B1). They are told
    /// once: the second time DTrace leaves out what it hasn't printed yet.
    fn end(&mut self) -> Result<()> {
        let start = Instant::now();
        let mut running = self.running()?;
        for script in &running {
            let process = Pid::from_raw(script.child.id().cast_signed());
            kill(process, Signal::SIGTERM)?;
        }
        while !running.is_empty() {
            if start.elapsed() > END_LIMIT {
                let late = names(running.iter().map(|script| &**script));
                bail!("not ended {END_LIMIT:?} after SIGTERM: {late}");
            }
            thread::sleep(PAUSE);
            running = self.running()?;
        }
        for script in &mut self.scripts {
            let (status, said) = (script.child.wait()?, script.complaints()?);
            if !status.success() || !said.trim().is_empty() {
                bail!("{} says: {said} ({status})", script.name);
            }
        }
        self.scripts.clear();
        Ok(())
    }

    fn running(&mut self) -> Result<Vec<&mut Script>> {
        let mut running = Vec::new();
        for script in &mut self.scripts {
            if script.child.try_wait()?.is_none() {
                running.push(script);
            }
        }
        Ok(running)
    }
}

impl Script {
    fn has_printed(&self) -> bool {
        fs::metadata(&self.out).is_ok_and(|file| file.len() > 0)
    }

    fn complaints(&self) -> Result<String> {
        Ok(fs::read_to_string(&self.errors)?)
    }
}

impl Drop for Tracing {
    fn drop(&mut self) {
        for Script { child, .. } in &mut self.scripts {
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

fn names<'s>(scripts: impl Iterator<Item = &'s Script>) -> String {
    let names: Vec<_> = scripts.map(|script| script.name.as_str()).collect();
    names.join(", ")
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
