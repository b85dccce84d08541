//! Network namespaces held by file descriptor.

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::Arc;
use std::{io, panic, thread};

/// A network stack of its own. Clones are the same namespace; it goes away
/// with the last clone, socket and process in it.
#[derive(Clone, Debug)]
pub(crate) struct Namespace {
    name: Arc<str>,
    file: Arc<File>,
}

impl Namespace {
    /// Makes a namespace. `name` is for messages only.
    ///
    /// # Errors
    ///
    /// When the kernel refuses, as it does outside of the sandbox.
    pub(crate) fn new(name: &str) -> Result<Self> {
        let make = || -> io::Result<File> {
            unshare(CloneFlags::CLONE_NEWNET)?;
            File::open("/proc/thread-self/ns/net")
        };
        // The thread is left behind with its namespace; only the file stays.
        let file =
            on_thread(make).with_context(|| format!("can't make a network namespace ({name})"))?;
        Ok(Self {
            name: name.into(),
            file: Arc::new(file),
        })
    }

    /// The namespace that this thread is in.
    ///
    /// # Errors
    ///
    /// When `/proc` isn't there.
    pub(crate) fn current() -> Result<Self> {
        let file = File::open("/proc/thread-self/ns/net").context("can't see the namespace")?;
        Ok(Self {
            name: "here".into(),
            file: Arc::new(file),
        })
    }

    /// The name for messages.
    #[must_use]
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Runs `work` on a thread inside of the namespace.
    ///
    /// # Errors
    ///
    /// Those of `work`, and when the namespace can't be entered.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        on_thread(|| {
            setns(&self.file, CloneFlags::CLONE_NEWNET)
                .with_context(|| format!("can't enter the namespace {}", self.name))?;
            work()
        })
    }

    /// Starts `command` inside of the namespace. It is killed when the calling
    /// thread ends (rule N2).
    ///
    /// # Errors
    ///
    /// When the program can't be started.
    pub(crate) fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        let file = Arc::clone(&self.file);
        let enter = move || -> io::Result<()> {
            setns(&*file, CloneFlags::CLONE_NEWNET)?;
            set_pdeathsig(Signal::SIGKILL)?;
            Ok(())
        };
        // SAFETY: `enter` runs between fork and exec, and makes two system
        // calls without touching memory that another thread may have locked.
        unsafe { command.pre_exec(enter) };
        command.spawn()
    }

    /// The descriptor's number, for a netlink attribute. It is good as long as
    /// the namespace is.
    #[must_use]
    pub(crate) fn raw_fd(&self) -> i32 {
        self.file.as_raw_fd()
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Runs `work` on a thread of its own, so that what it does to its thread
/// stays there.
fn on_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| match scope.spawn(work).join() {
        Ok(value) => value,
        Err(payload) => panic::resume_unwind(payload),
    })
}
