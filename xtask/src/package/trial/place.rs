//! The tree with a layer for what is written, and systemd as its first process.
//!
//! systemd gets namespaces of its own for processes, mounts and control groups
//! (below the group that this program is in), and shares the network with the
//! trial.

use crate::workspace::output;
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// What makes the tree systemd's.
const BOOT: &str = include_str!("boot.sh");
/// How long systemd may take until it listens: it takes a second.
const LIMIT: Duration = Duration::from_secs(60);

/// The tree, booted. All of it ends with it.
pub(super) struct Place {
    root: PathBuf,
    group: PathBuf,
    /// `unshare`, whose only child is systemd.
    boot: Child,
    systemd: String,
}

impl Place {
    /// Boots systemd in the tree.
    pub(super) fn boot(tree: &Path) -> Result<Self> {
        let layer = tree.with_file_name("trial");
        fs::create_dir_all(&layer)?;
        let mount = |args: &[&str], at: &Path| output(Command::new("mount").args(args).arg(at));
        // A container's own file system can't be the upper layer.
        mount(&["-t", "tmpfs", "tmpfs"], &layer)?;
        let [upper, work, root] = ["upper", "work", "root"].map(|name| layer.join(name));
        let groups = layer.join("groups");
        for folder in [&upper, &work, &root, &groups] {
            fs::create_dir_all(folder)?;
        }
        let layers = format!(
            "lowerdir={},upperdir={},workdir={}",
            tree.display(),
            upper.display(),
            work.display()
        );
        mount(&["-t", "overlay", "overlay", "-o", &layers], &root)?;
        mount(&["-t", "cgroup2", "cgroup2"], &groups)?;
        let own = fs::read_to_string("/proc/self/cgroup")?;
        let own = own.lines().find_map(|line| line.strip_prefix("0::/"));
        let name = format!("opte-trial-{}", std::process::id());
        let group = groups.join(own.unwrap_or_default()).join(name);
        fs::create_dir(&group)?;
        let mut boot = Command::new("sh");
        boot.args([
            "-c",
            "echo 0 > \"$1/cgroup.procs\" && shift && exec \"$@\"",
            "sh",
        ])
        .arg(&group)
        .args(["unshare", "--mount", "--pid", "--cgroup", "--uts", "--ipc"])
        .args(["--fork", "--kill-child", "--", "sh", "-c", BOOT, "sh"])
        .arg(&root)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
        let boot = boot.spawn().context("cannot run unshare")?;
        let mut place = Self {
            root,
            group,
            boot,
            systemd: String::new(),
        };
        place.await_systemd()?;
        Ok(place)
    }

    /// Waits until systemd has started what it starts at boot.
    fn await_systemd(&mut self) -> Result<()> {
        let id = self.boot.id();
        let start = Instant::now();
        let children = format!("/proc/{id}/task/{id}/children");
        loop {
            let child = fs::read_to_string(&children).unwrap_or_default();
            child.trim().clone_into(&mut self.systemd);
            // It has another root than this program, and listens in it.
            let socket = format!("/proc/{}/root/run/systemd/private", self.systemd);
            if !self.systemd.is_empty() && Path::new(&socket).exists() {
                break;
            }
            if let Some(status) = self.boot.try_wait()? {
                bail!("systemd can't be booted: {status}");
            }
            ensure!(start.elapsed() < LIMIT, "systemd doesn't listen");
            thread::sleep(Duration::from_millis(20));
        }
        // Whether each unit of a host starts in a tree isn't the question.
        let done = self
            .command(&["systemctl", "is-system-running", "--wait"])
            .output()?;
        let state = String::from_utf8_lossy(&done.stdout);
        let state = state.trim();
        ensure!(
            ["running", "degraded"].contains(&state),
            "systemd is {state}"
        );
        Ok(())
    }

    /// A file of the tree.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// A command beside systemd.
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--all", "--target", &self.systemd, "--"])
            .args(words)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("DEBIAN_FRONTEND", "noninteractive");
        command
    }

    pub(super) fn run(&self, words: &[&str]) -> Result<String> {
        let done = output(&mut self.command(words));
        // What systemd says of the unit may tell why.
        done.with_context(|| {
            let told = self
                .command(&["systemctl", "status", "--no-pager", "xded.service"])
                .output();
            let told = told.map(|told| told.stdout).unwrap_or_default();
            String::from_utf8_lossy(&told).into_owned()
        })
    }

    /// What systemd knows of the unit.
    pub(super) fn property(&self, name: &str) -> Result<String> {
        let told = self.run(&["systemctl", "show", "--value", "-p", name, "xded.service"])?;
        Ok(told.trim().to_owned())
    }

    /// The driver's process, as the tree numbers it.
    pub(super) fn driver(&self) -> Result<u32> {
        let id = self.property("MainPID")?.parse()?;
        ensure!(id != 0, "the driver doesn't run");
        Ok(id)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What systemd started ends with it, and `unshare` then.
        drop(output(Command::new("kill").args(["-KILL", &self.systemd])));
        drop(self.boot.wait());
        drop(remove(&self.group));
    }
}

/// Removes a control group and those in it, which nobody is in.
fn remove(group: &Path) -> io::Result<()> {
    for entry in fs::read_dir(group)? {
        let path = entry?.path();
        if path.is_dir() {
            remove(&path)?;
        }
    }
    fs::remove_dir(group)
}
