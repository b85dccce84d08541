//! Where a guest's programs live: folders of their own in place of this
//! machine's.
//!
//! Purpose   clients and daemons write leases, sockets, process numbers and
//!           `/etc/resolv.conf`. What they write must reach neither this
//!           machine nor another guest.
//!
//! Flow      new: mount namespace -> private folders -> furnish(command)
//!
//! Rules     O1  `/etc` is a copy; `/run` is empty; of what else programs keep
//!               below `/var` there are the folders without what is in them.
//!           O2  the host name is the guest's own, too.

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::chdir;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread;

/// A folder of this machine, and what a guest has in its place.
const FOLDERS: &[(&str, Contents)] = &[
    ("/etc", Contents::Copy),
    ("/run", Contents::Nothing),
    ("/var/cache", Contents::Folders),
    ("/var/lib", Contents::Folders),
    ("/var/log", Contents::Folders),
    ("/var/spool", Contents::Folders),
];

/// What a private folder has in it at first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Contents {
    /// What the machine's has, as far as this user may read it.
    Copy,
    /// The machine's folders, empty.
    Folders,
    /// Nothing.
    Nothing,
}

/// A guest's folders, which are gone with this and the last program in them.
#[derive(Clone, Debug)]
pub(crate) struct Home {
    scratch: PathBuf,
    mounts: Arc<File>,
    host_name: Arc<File>,
}

impl Home {
    /// Makes a home for the guest `name`. Its programs' working folder is
    /// `scratch`; what they write there stays.
    ///
    /// # Errors
    ///
    /// When the kernel refuses, as it does outside of a contained sandbox.
    pub(crate) fn new(name: &str, scratch: &Path) -> Result<Self> {
        let private = scratch.join("private");
        fs::create_dir_all(&private)?;
        let work = || -> Result<Self> {
            unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS)?;
            // In memory, because the copy of /etc may have secrets in it.
            let (tmpfs, plain) = (Some("tmpfs"), MsFlags::empty());
            mount(tmpfs, &private, tmpfs, plain, None::<&str>).context("no tmpfs")?;
            // The scratch folder may be below a folder that is replaced.
            let kept = File::open(scratch)?;
            let there = FOLDERS
                .iter()
                .filter(|(folder, _)| Path::new(folder).is_dir());
            for (folder, contents) in there {
                let own = private.join(folder.trim_start_matches('/'));
                fill(Path::new(folder), &own, *contents)?;
                bind(&own, Path::new(folder))?;
            }
            if !scratch.is_dir() {
                fs::create_dir_all(scratch)?;
                let kept = format!("/proc/self/fd/{}", kept.as_raw_fd());
                bind(Path::new(&kept), scratch)?;
            }
            nix::unistd::sethostname(name)?;
            Ok(Self {
                scratch: scratch.to_owned(),
                mounts: Arc::new(File::open("/proc/thread-self/ns/mnt")?),
                host_name: Arc::new(File::open("/proc/thread-self/ns/uts")?),
            })
        };
        let made = thread::scope(|scope| scope.spawn(work).join());
        made.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            .with_context(|| format!("can't make private folders for {name}"))
    }

    /// Has `command` run in this home.
    pub(crate) fn furnish(&self, command: &mut Command) {
        let (mounts, host_name) = (Arc::clone(&self.mounts), Arc::clone(&self.host_name));
        let scratch = self.scratch.clone();
        let enter = move || -> io::Result<()> {
            setns(&*mounts, CloneFlags::CLONE_NEWNS)?;
            setns(&*host_name, CloneFlags::CLONE_NEWUTS)?;
            // Entering a mount namespace leads to its root.
            chdir(&scratch)?;
            Ok(())
        };
        // SAFETY: `enter` runs between fork and exec, and makes three system
        // calls without touching memory that another thread may have locked:
        // a path this short is copied to the stack.
        unsafe { command.pre_exec(enter) };
        command
            .env("HOME", &self.scratch)
            .env("TMPDIR", &self.scratch);
    }
}

/// Makes what `own` shall have of `folder`.
fn fill(folder: &Path, own: &Path, contents: Contents) -> Result<()> {
    fs::create_dir_all(own)?;
    match contents {
        Contents::Nothing => {}
        Contents::Copy => {
            // What may not be read or not be owned is left out, with a
            // complaint that nobody needs.
            Command::new("cp")
                .arg("-a")
                .arg(folder.join("."))
                .arg(own)
                .output()
                .context("can't run cp")?;
        }
        Contents::Folders => {
            for entry in fs::read_dir(folder)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    fs::create_dir_all(own.join(entry.file_name()))?;
                }
            }
        }
    }
    Ok(())
}

/// Has `from` seen in place of `at`.
fn bind(from: &Path, at: &Path) -> Result<()> {
    mount(Some(from), at, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .with_context(|| format!("can't replace {}", at.display()))
}
