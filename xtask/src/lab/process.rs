//! A long-running child: logged, awaited by what it prints, killed on drop.

use super::Namespace;
use super::link::wait_until;
use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::File;
use std::io::{BufRead, BufReader, PipeReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// How long a child that nobody needs any more may take to end by itself, and
/// one that has to end well.
const STOP_LIMIT: Duration = Duration::from_secs(3);
const END_LIMIT: Duration = Duration::from_secs(30);

/// A child that runs until it is stopped or dropped.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    lines: Receiver<String>,
    log: PathBuf,
}

impl Process {
    /// Starts `command` in `namespace`; its standard output and error go to
    /// the file `log`.
    ///
    /// # Errors
    ///
    /// When the program can't be started or the log not be made.
    pub(crate) fn spawn(
        namespace: &Namespace,
        name: &str,
        mut command: Command,
        log: &Path,
    ) -> Result<Self> {
        let file = File::create(log).with_context(|| format!("can't make {}", log.display()))?;
        let (output, input) = std::io::pipe()?;
        command
            .stdin(Stdio::null())
            .stdout(input.try_clone()?)
            .stderr(input);
        let child = namespace
            .spawn(&mut command)
            .with_context(|| format!("can't start {name}"))?;
        // The command holds the pipe's writing end; without this its reader
        // would never see the end.
        drop(command);
        let (sender, lines) = channel();
        thread::spawn(move || copy_lines(output, file, &sender));
        Ok(Self {
            name: name.into(),
            child,
            lines,
            log: log.into(),
        })
    }

    /// Waits until the child prints a line that contains `text`, and returns it.
    ///
    /// # Errors
    ///
    /// When that doesn't happen within `limit` or the child ends before.
    pub(crate) fn wait_for_line(&mut self, text: &str, limit: Duration) -> Result<String> {
        let end = Instant::now() + limit;
        let mut last = String::new();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let why = match self.lines.recv_timeout(left) {
                Ok(line) if line.contains(text) => return Ok(line),
                Ok(line) => {
                    last = line;
                    continue;
                }
                Err(RecvTimeoutError::Timeout) => format!("didn't print `{text}` in {limit:?}"),
                Err(RecvTimeoutError::Disconnected) => "ended".into(),
            };
            bail!("{} {why}; see {} ({last})", self.name, self.log.display());
        }
    }

    /// Fails when the child has ended.
    ///
    /// # Errors
    ///
    /// With its status and last line, so that the reader needn't open the log.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => {
                let last = self.lines.try_iter().last().unwrap_or_default();
                bail!(
                    "{} ended ({status}); see {} ({last})",
                    self.name,
                    self.log.display()
                )
            }
        }
    }

    /// Asks the child to end and waits for it.
    ///
    /// # Errors
    ///
    /// When it has ended before, or doesn't end well.
    pub(crate) fn end(&mut self) -> Result<()> {
        self.check()?;
        self.stop_within(END_LIMIT);
        match self.child.wait()? {
            status if status.success() => Ok(()),
            status => {
                let last = self.lines.iter().last().unwrap_or_default();
                let log = self.log.display();
                bail!("{} ended with {status}; see {log} ({last})", self.name)
            }
        }
    }

    /// Asks the child to end, and makes it when it doesn't.
    pub(crate) fn stop(&mut self) {
        self.stop_within(STOP_LIMIT);
    }

    fn stop_within(&mut self, limit: Duration) {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        let start = Instant::now();
        if !matches!(self.child.try_wait(), Ok(None)) || kill(pid, Signal::SIGTERM).is_err() {
            return;
        }
        while start.elapsed() < limit {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        // Both fail only when the child is gone, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a command that ended printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Output {
    /// Whether its exit status was zero.
    pub(crate) success: bool,
    /// Its standard output and error, as they came.
    pub(crate) text: String,
}

/// Runs `command` to its end, and kills it after `limit`.
///
/// # Errors
///
/// When it can't be started or takes longer.
pub(crate) fn output(mut command: Command, limit: Duration) -> Result<Output> {
    let (mut output, input) = std::io::pipe()?;
    command
        .stdin(Stdio::null())
        .stdout(input.try_clone()?)
        .stderr(input);
    let mut child = command
        .spawn()
        .with_context(|| format!("can't start {}", command.get_program().display()))?;
    drop(command);
    let reader = thread::spawn(move || {
        let mut bytes = Vec::new();
        // What came before an error is what there is to show.
        let _ = output.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    });
    let ended = wait_until(limit, || Ok(child.try_wait()?))?;
    if ended.is_none() {
        // It fails only when the child has ended just now.
        let _ = child.kill();
        child.wait()?;
    }
    let text = reader.join().unwrap_or_default();
    match ended {
        Some(status) => Ok(Output {
            success: status.success(),
            text,
        }),
        None => bail!("a command took longer than {limit:?}; it printed: {text}"),
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}

fn copy_lines(output: PipeReader, mut log: File, lines: &Sender<String>) {
    for line in BufReader::new(output).lines() {
        let Ok(line) = line else { return };
        // A full disk or a process that nobody waits for any more is no
        // reason to stop reading: the child would block on its output.
        let _ = writeln!(log, "{line}");
        let _ = lines.send(line);
    }
}
