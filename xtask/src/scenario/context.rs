//! What a scenario is given: a rack, programs to run in it, and ways to look.
//!
//! Everything that is run or waited for is told on standard output, so that
//! who reads why a scenario failed reads what it did.

use crate::demo::rack::PLANS;
use crate::lab::capture::Capture;
use crate::lab::home::Home;
use crate::lab::link::wait_until;
use crate::lab::process::{self, Output, Process};
use crate::lab::rack::{Driver, Plan, Rack, Tenant};
use crate::script::Scene;
use crate::{install, tshark};
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

/// How long a program may take, unless a scenario says otherwise.
const PROGRAM_LIMIT: Duration = Duration::from_secs(30);
/// How long a server may take to be ready, and a condition to come true.
const WAIT_LIMIT: Duration = Duration::from_secs(30);
/// Lines of a log that are shown after a failure.
const LOG_LINES: usize = 60;

/// An error that says that a scenario can't be played on this machine, as for
/// want of a kernel module. It is a skip, not a failure.
#[derive(Debug)]
pub(crate) struct Unplayable(pub(crate) String);

impl fmt::Display for Unplayable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unplayable {}

/// What a scenario is given.
pub(crate) struct Ctx {
    driver: Driver,
    opteadm: PathBuf,
    folder: PathBuf,
    rack: Option<Rack>,
    capture: Option<Capture>,
    /// One for each guest in which something was run, by name.
    homes: BTreeMap<String, Home>,
    /// Servers' logs, by what was started.
    logs: Vec<(String, PathBuf)>,
}

impl Ctx {
    /// A context without a rack, whose files are in `folder`.
    pub(super) fn new(programs: &Path, folder: PathBuf) -> Self {
        Self {
            driver: Driver::Xded(programs.join("xded")),
            opteadm: programs.join("opteadm"),
            folder,
            rack: None,
            capture: None,
            homes: BTreeMap::new(),
            logs: Vec::new(),
        }
    }

    /// Builds a rack from setup files and starts the drivers. The guests have
    /// no addresses yet; the underlay is recorded from now on.
    ///
    /// # Errors
    ///
    /// When a part can't be made, or a driver doesn't start.
    pub(crate) fn build(&mut self, plans: &[Plan<'_>]) -> Result<()> {
        let rack = self.rack.insert(Rack::wire(plans, &self.folder)?);
        self.capture = Some(rack.record(&self.folder.join("underlay.pcapng"))?);
        rack.start(&self.driver)
    }

    /// Builds the demo's rack: `g1` and `g2` on `sled-a`, `g3` on `sled-b`, of
    /// one VPC and dual stack, and the `internet`. See `xtask/src/demo`'s
    /// setup files for addresses and rules.
    ///
    /// # Errors
    ///
    /// As [`Self::build`].
    pub(crate) fn build_demo(&mut self) -> Result<()> {
        self.build(&PLANS)
    }

    /// Gives every guest its addresses and routes, without asking the engine
    /// for them, but for the IPv6 router.
    ///
    /// # Errors
    ///
    /// When a guest hears no router.
    pub(crate) fn give_addresses(&self) -> Result<()> {
        // Each waits a second or more for its link-local address; together
        // they wait once.
        let tenants = &self.rack()?.tenants;
        thread::scope(|scope| {
            let threads: Vec<_> = tenants
                .iter()
                .map(|tenant| scope.spawn(|| tenant.give()))
                .collect();
            threads
                .into_iter()
                .try_for_each(|thread| match thread.join() {
                    Ok(given) => given,
                    Err(panic) => std::panic::resume_unwind(panic),
                })
        })
    }

    /// Has `dhclient` and its own script configure a guest for IPv4 (`-4`) or
    /// IPv6 (`-6`), and returns what they printed. The client goes on in the
    /// background.
    ///
    /// # Errors
    ///
    /// When there is no lease.
    pub(crate) fn dhclient(&mut self, guest: &str, family: &str) -> Result<String> {
        self.run(guest, &format!("dhclient {family} -1 -v {guest}"))
    }

    /// The rack.
    ///
    /// # Errors
    ///
    /// When none was built.
    pub(crate) fn rack(&self) -> Result<&Rack> {
        self.rack.as_ref().context("no rack was built")
    }

    /// Where files of the scenario go.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A guest with its port.
    ///
    /// # Errors
    ///
    /// When there is none of this name.
    pub(crate) fn tenant(&self, name: &str) -> Result<&Tenant> {
        self.rack()?.tenant(name)
    }

    /// Runs a line of shell at a place to its end; it has to succeed. Returns
    /// what it printed, errors included.
    ///
    /// # Errors
    ///
    /// When it fails or takes longer than half a minute.
    pub(crate) fn run(&mut self, place: &str, line: &str) -> Result<String> {
        let done = self.attempt(place, line, PROGRAM_LIMIT)?;
        ensure!(done.success, "`{line}` failed at {place}:\n{}", done.text);
        Ok(done.text)
    }

    /// Runs a line of shell at a place to its end, which may be a failure.
    ///
    /// # Errors
    ///
    /// When it takes longer than `limit` or can't be started.
    pub(crate) fn attempt(&mut self, place: &str, line: &str, limit: Duration) -> Result<Output> {
        println!("{place}$ {line}");
        let command = self.shell(place, line)?;
        let namespace = self.rack()?.namespace(place)?;
        let done = namespace.run(|| process::output(command, limit))?;
        quote(&done.text);
        Ok(done)
    }

    /// Starts a program at a place, which runs until it is dropped, and waits
    /// until it prints `ready`; an empty `ready` is not waited for.
    ///
    /// # Errors
    ///
    /// When it can't be started, ends, or isn't ready in time.
    pub(crate) fn start(&mut self, place: &str, line: &str, ready: &str) -> Result<Process> {
        println!("{place}$ {line} &");
        // The shell makes way, so that a signal reaches the program.
        let command = self.shell(place, &format!("exec {line}"))?;
        let name = line.split_whitespace().next().context("no program")?;
        let log = format!("{}-{place}-{name}.log", self.logs.len());
        let log = self.folder.join(log.replace('/', "-"));
        let namespace = self.rack()?.namespace(place)?;
        let mut process = Process::spawn(namespace, name, command, &log)?;
        self.logs.push((format!("{place}$ {line}"), log));
        if !ready.is_empty() {
            process.wait_for_line(ready, WAIT_LIMIT)?;
        }
        Ok(process)
    }

    /// `sh -c LINE` in the private folders of a place.
    fn shell(&mut self, place: &str, line: &str) -> Result<Command> {
        if !self.homes.contains_key(place) {
            let home = Home::new(place, &self.folder.join(place))?;
            self.homes.insert(place.to_owned(), home);
        }
        let mut command = Command::new("sh");
        command.args(["-c", line]);
        command.env("PATH", install::search_path());
        if let Some(home) = self.homes.get(place) {
            home.furnish(&mut command);
        }
        Ok(command)
    }

    /// Runs `opteadm` for a sled; it has to succeed.
    ///
    /// # Errors
    ///
    /// When it doesn't.
    pub(crate) fn opteadm(&self, sled: &str, args: &[&str]) -> Result<String> {
        println!("{sled}$ opteadm {}", args.join(" "));
        let command = self.rack()?.sled(sled)?.opteadm(&self.opteadm, args);
        let done = process::output(command, PROGRAM_LIMIT)?;
        quote(&done.text);
        ensure!(done.success, "`opteadm {}` failed", args.join(" "));
        Ok(done.text)
    }

    /// Applies another setup to a sled.
    ///
    /// # Errors
    ///
    /// When it is refused.
    pub(crate) fn apply(&self, sled: &str, setup: &str) -> Result<String> {
        let file = format!("{sled}.next.toml");
        std::fs::write(self.folder.join(&file), setup)?;
        self.opteadm(sled, &["apply", &file])
    }

    /// Waits until `look` finds something; `what` says what.
    ///
    /// # Errors
    ///
    /// Those of `look`, and when it finds nothing in half a minute.
    pub(crate) fn wait<T>(
        &mut self,
        what: &str,
        mut look: impl FnMut(&mut Self) -> Result<Option<T>>,
    ) -> Result<T> {
        println!("waiting until {what}");
        wait_until(WAIT_LIMIT, || look(self))?
            .with_context(|| format!("waited {WAIT_LIMIT:?} in vain until {what}"))
    }

    /// Ends the recording of the underlay, if it still goes on, and returns
    /// the wanted fields of those frames that tshark's display filter takes.
    /// A field that occurs several times in a frame is joined by commas.
    ///
    /// # Errors
    ///
    /// When tshark doesn't know the filter or a field.
    pub(crate) fn underlay(&mut self, filter: &str, fields: &[&str]) -> Result<Vec<Vec<String>>> {
        let capture = self.finish_capture()?;
        let mut command = Command::new("tshark");
        command
            .args(["-n", "-T", "fields", "-Y", filter, "-r"])
            .arg(capture);
        for field in fields {
            command.args(["-e", field]);
        }
        let done = command.output().context("can't run tshark")?;
        ensure!(
            done.status.success(),
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
        let text = String::from_utf8(done.stdout)?;
        let frames = text.lines().map(|line| line.split('\t').map(str::to_owned));
        Ok(frames.map(Iterator::collect).collect())
    }

    fn finish_capture(&mut self) -> Result<PathBuf> {
        if let Some(capture) = self.capture.take() {
            let recorded = capture.finish()?;
            let left_out = recorded.left_out;
            ensure!(left_out == 0, "{left_out} frames didn't fit the recording");
        }
        Ok(self.folder.join("underlay.pcapng"))
    }

    /// What holds after every scenario: drivers run, and tshark finds nothing
    /// wrong with the underlay (rule C3).
    pub(super) fn judge(&mut self) -> Result<()> {
        // A scenario that makes its own world judges it itself.
        let Some(rack) = &mut self.rack else {
            return Ok(());
        };
        for sled in &mut rack.sleds {
            sled.check()?;
        }
        // A scenario on one sled may leave the underlay silent.
        if self.underlay("frame", &["frame.number"])?.is_empty() {
            return Ok(());
        }
        let capture = self.finish_capture()?;
        let mut scene = Scene::default();
        for sled in &self.rack()?.sleds {
            let setup = std::fs::read_to_string(self.folder.join(sled.setup_file()))?;
            scene.vnis.extend(Scene::parse(&setup)?.vnis);
        }
        let judged = tshark::check([(capture.as_path(), &scene)])?;
        println!("tshark judged {}", judged.note);
        let problems = [judged.failures, judged.skips].concat();
        if !problems.is_empty() {
            bail!("tshark says of the underlay:\n{}", problems.join("\n"));
        }
        Ok(())
    }

    /// Tells what servers and drivers printed.
    pub(super) fn tell_logs(&self) {
        let sleds = self.rack.iter().flat_map(|rack| &rack.sleds);
        let drivers = sleds.map(|sled| (format!("xded of {}", sled.name), sled.log()));
        for (what, log) in self.logs.iter().cloned().chain(drivers) {
            println!("-- {what} printed:");
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let last = lines.len().saturating_sub(LOG_LINES);
            if last > 0 {
                println!("    | ... ({last} lines more in {})", log.display());
            }
            quote(&lines.get(last..).unwrap_or_default().join("\n"));
        }
    }
}

/// Tells what a program printed.
fn quote(text: &str) {
    for line in text.lines() {
        println!("    | {line}");
    }
}
