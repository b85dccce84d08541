//! The user namespace in which this program is root, and nowhere else.
//!
//! A process with threads can't make a user namespace, so the program is run
//! again: the child makes it between fork and exec, when it has one thread.

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid};
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

/// How a sandbox ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The program in it ended by itself.
    Ended(ExitStatus),
    /// It took too long and was killed.
    TimedOut,
    /// The kernel doesn't allow one.
    Refused(Errno),
}

/// Runs `command` in a new user and network namespace and waits for it.
///
/// Root, where user namespaces are forbidden, gets a network namespace alone.
/// The command dies with the calling thread.
///
/// # Errors
///
/// When the program can't be started for another reason than a refusal.
pub(crate) fn run(mut command: impl FnMut() -> Command, limit: Duration) -> io::Result<Outcome> {
    let user = CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET;
    let child = match spawn(&mut command(), user) {
        Err(error) if refused(&error).is_some() && Uid::effective().is_root() => {
            spawn(&mut command(), CloneFlags::CLONE_NEWNET)
        }
        result => result,
    };
    match child {
        Ok(child) => wait(child, limit),
        Err(error) => match refused(&error) {
            Some(errno) => Ok(Outcome::Refused(errno)),
            None => Err(error),
        },
    }
}

/// Runs `command`, inside of a sandbox, as the first process of a process and
/// mount namespace of its own, and waits for it. When it ends, however it
/// does, so does every process that it has started, daemons included.
///
/// # Errors
///
/// When the namespaces can't be made or the program not be started.
pub(crate) fn contain(mut command: Command) -> io::Result<ExitStatus> {
    let work = move || {
        // It is for the processes that this thread starts from now on.
        unshare(CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS)?;
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>)?;
        let enter = || -> io::Result<()> {
            set_pdeathsig(Signal::SIGKILL)?;
            // Where a container forbids it, programs see all processes, which
            // is no harm.
            let _ = mount(
                Some("proc"),
                "/proc",
                Some("proc"),
                MsFlags::empty(),
                None::<&str>,
            );
            Ok(())
        };
        // SAFETY: `enter` runs between fork and exec, and makes two system
        // calls on strings that exist already; short ones are copied to the
        // stack.
        unsafe { command.pre_exec(enter) };
        command.spawn()?.wait()
    };
    match thread::spawn(work).join() {
        Ok(ended) => ended,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// What to tell someone whose kernel refuses.
#[must_use]
pub(crate) fn advice(errno: Errno, with_sudo: &str) -> String {
    format!(
        "This needs a user namespace, and the kernel doesn't allow one here: {errno}.\n\
         \n\
         Where a sysctl forbids it, one of these allows it until the next boot:\n\
         \x20   sudo sysctl kernel.unprivileged_userns_clone=1            (Debian)\n\
         \x20   sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0 (Ubuntu 24.04 and later)\n\
         \x20   sudo sysctl user.max_user_namespaces=15000                (RHEL)\n\
         In a container, run it with the capability SYS_ADMIN and an unconfined seccomp profile.\n\
         \n\
         Or run it as root. Even then everything happens in namespaces of its own:\n\
         \x20   {with_sudo}"
    )
}

fn spawn(command: &mut Command, flags: CloneFlags) -> io::Result<Child> {
    let uid_map = format!("0 {} 1", Uid::effective());
    let gid_map = format!("0 {} 1", Gid::effective());
    let enter = move || -> io::Result<()> {
        unshare(flags)?;
        if flags.contains(CloneFlags::CLONE_NEWUSER) {
            // Without this, user_namespaces(7) forbids an unprivileged gid_map.
            fs::write("/proc/self/setgroups", "deny")?;
            fs::write("/proc/self/uid_map", &uid_map)?;
            fs::write("/proc/self/gid_map", &gid_map)?;
        }
        set_pdeathsig(Signal::SIGKILL)?;
        Ok(())
    };
    // SAFETY: `enter` runs between fork and exec in a process with one thread.
    // It makes system calls on strings that exist already, and `fs::write`
    // keeps a path this short on its stack, so no allocator lock is taken.
    unsafe { command.pre_exec(enter) };
    command.spawn()
}

/// The error number, if it is one by which kernels refuse namespaces: by
/// policy, by limit or by not having them.
fn refused(error: &io::Error) -> Option<Errno> {
    let errno = Errno::from_raw(error.raw_os_error()?);
    matches!(
        errno,
        Errno::EPERM
            | Errno::EACCES
            | Errno::ENOSPC
            | Errno::EUSERS
            | Errno::EINVAL
            | Errno::ENOSYS
    )
    .then_some(errno)
}

fn wait(mut child: Child, limit: Duration) -> io::Result<Outcome> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Outcome::Ended(status));
        }
        if start.elapsed() >= limit {
            child.kill()?;
            child.wait()?;
            return Ok(Outcome::TimedOut);
        }
        thread::sleep(Duration::from_millis(20));
    }
}
