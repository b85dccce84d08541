//! Debian's package, tried: installed, used, upgraded and purged by Debian's
//! own dpkg in a tree of its own.
//!
//! Flow      step: debootstrap makes `target/package/debian`, once; two
//!                 versions of the package; then, in namespaces for mounts,
//!                 processes and the network, this program again: `inside`
//!           inside: what is written goes to a layer above the tree; each
//!                 command runs by chroot
//!
//! systemd doesn't run there. Its own tools look the unit over, and the program
//! is started as the unit says: command line, user, capabilities. That the
//! unit's filters (system calls, devices, file systems) let the driver work is
//! not proved here.

use super::{deb, folder};
use crate::install;
use crate::step::Outcome;
use crate::workspace::output;
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// What trying a package takes besides dpkg, and Debian's packages of it.
const TOOLS: [(&str, &str); 5] = [
    ("debootstrap", "debootstrap"),
    ("dpkg", "dpkg"),
    ("objcopy", "binutils"),
    ("systemd-analyze", "systemd"),
    ("unshare", "util-linux"),
];
/// Debian's release of the tree.
const RELEASE: &str = "bookworm";
/// How exposed systemd may say that the service is: of 100, "OK"
/// is below 50.
const EXPOSURE_MAX: &str = "25";
const UNIT: &str = "lib/systemd/system/xded.service";

/// Makes the package in two versions and tries them.
pub(super) fn step(root: &Path) -> Result<Outcome> {
    if !install::is_root() || !Path::new("/etc/debian_version").exists() {
        let why = "trying Debian's package takes root on Debian";
        return Ok(Outcome::skip(why));
    }
    let missing = || {
        TOOLS
            .iter()
            .filter(|(program, _)| install::find(program).is_none())
    };
    let packages: Vec<_> = missing().map(|(_, package)| *package).collect();
    if !packages.is_empty() {
        install::install(&packages)?;
    }
    if let Some((program, _)) = missing().next() {
        return Ok(Outcome::skip(format!(
            "{program} isn't installed and can't be"
        )));
    }
    let Some(tree) = tree(root)? else {
        return Ok(Outcome::skip(
            "debootstrap can't make a tree: is there a network?",
        ));
    };
    let programs = deb::test_programs(root)?;
    let first = deb::make(root, &programs, super::VERSION)?;
    let second = deb::make(root, &programs, &deb::next_version())?;
    let mut trial = Command::new("unshare");
    trial
        .args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--"])
        .arg(std::env::current_exe()?)
        .args(["package", "trial"])
        .args([&tree, &first, &second]);
    let told = trial.output().context("cannot run unshare")?;
    let text = String::from_utf8_lossy(&told.stdout);
    let done = text.lines().filter(|line| line.starts_with("ok ")).count();
    if !told.status.success() {
        let errors = String::from_utf8_lossy(&told.stderr);
        return Ok(Outcome::fail(format!("{text}{errors}")));
    }
    let mib = fs::metadata(&first)?.len() >> 20;
    let mut outcome = Outcome::pass(format!("{mib} MiB (tests' programs), {done} checks"));
    outcome.passed = done;
    Ok(outcome)
}

/// A small Debian, made once.
fn tree(root: &Path) -> Result<Option<PathBuf>> {
    let tree = folder(root).join("debian");
    if tree.join("usr/bin/dpkg").exists() {
        return Ok(Some(tree));
    }
    fs::create_dir_all(folder(root))?;
    println!("  making a tree of {RELEASE}");
    let new = folder(root).join("debian.new");
    if new.exists() {
        fs::remove_dir_all(&new)?;
    }
    let done = Command::new("debootstrap")
        .args(["--variant=minbase", RELEASE])
        .arg(&new)
        .arg("http://deb.debian.org/debian")
        .output()?;
    if !done.status.success() {
        return Ok(None);
    }
    fs::rename(&new, &tree)?;
    Ok(Some(tree))
}

/// The trial, in namespaces that end with it. Each thing that is as it should
/// be is a line that begins with `ok`.
pub(super) fn inside(tree: &Path, packages: &[PathBuf]) -> Result<()> {
    let [first, second] = packages else {
        bail!("two packages, please");
    };
    let place = Place::mount(tree)?;
    for (name, package) in [("first.deb", first), ("second.deb", second)] {
        fs::copy(package, place.path(name))?;
    }
    installed(&place)?;
    unit(&place)?;
    used(&place)?;
    upgraded(&place)?;
    purged(&place)
}

fn ok(what: &str) {
    println!("ok {what}");
}

fn installed(place: &Place) -> Result<()> {
    place.run(&["dpkg", "--install", "/first.deb"])?;
    ok("dpkg installs it with what the tree has");
    let changed = place.run(&["dpkg", "--verify", "opte"])?;
    ensure!(changed.is_empty(), "dpkg --verify: {changed}");
    ok("every file is as it was packed");
    let user = place.run(&["getent", "passwd", "opte"])?;
    let fields: Vec<&str> = user.trim().split(':').collect();
    let id: u32 = fields.get(2).unwrap_or(&"0").parse()?;
    ensure!(
        (1..1000).contains(&id) && user.contains("nologin"),
        "the user: {user}"
    );
    ok("a system user that nobody can log in as");
    place.run(&[
        "bash",
        "-n",
        "/usr/share/bash-completion/completions/opteadm",
    ])?;
    place.run(&["opte-trace", "-l"])?;
    ok("completions are a script; opte-trace finds its own");
    Ok(())
}

/// What systemd's own tools say of the unit.
fn unit(place: &Place) -> Result<()> {
    let root = format!("--root={}", place.root.display());
    // Other units aren't there.
    let mut verify = Command::new("systemd-analyze");
    verify.args([
        "verify",
        "--man=no",
        "--recursive-errors=no",
        &root,
        "xded.service",
    ]);
    let said = verify.output()?;
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    let about = said.lines().find(|line| line.contains("xded.service"));
    ensure!(about.is_none(), "systemd-analyze verify: {said}");
    ok("systemd-analyze verify has nothing to say of the unit");
    let told = output(
        Command::new("systemd-analyze")
            .args([
                "security",
                "--no-pager",
                "--offline=true",
                "--threshold",
                EXPOSURE_MAX,
            ])
            .args([&root, "xded.service"]),
    )?;
    let level = told.lines().find(|line| line.contains("Overall exposure"));
    ok(level
        .context("no exposure level")?
        .trim_start_matches(['→', ' ']));
    output(Command::new("systemd-tmpfiles").args(["--create", &root, "opte.conf"]))?;
    Ok(())
}

fn used(place: &Place) -> Result<()> {
    let driver = place.start()?;
    ok("the driver starts as the unit says, as its user, with two capabilities");
    let version = place.run(&["opteadm", "version"])?;
    ensure!(
        version.contains("driver") && version.contains("both"),
        "{version}"
    );
    ok("opteadm finds it by itself, and they speak a version");
    place.run(&[
        "opteadm",
        "apply",
        "/usr/share/doc/opte/examples/one-port.toml",
    ])?;
    let ports = place.run(&["opteadm", "list-ports", "-o", "name", "-p"])?;
    ensure!(ports == "g1\n", "list-ports: {ports}");
    ok("a setup is applied; its port has a TAP device");
    let member = [
        "setpriv",
        "--reuid=nobody",
        "--regid=nogroup",
        "--groups=opte",
    ];
    place.run(&[&member[..], &["opteadm", "stats"]].concat())?;
    let other = [
        "setpriv",
        "--reuid=nobody",
        "--regid=nogroup",
        "--clear-groups",
    ];
    let refused = place.run(&[&other[..], &["opteadm", "stats"]].concat());
    let why = refused
        .err()
        .context("anybody may administer the driver")?
        .to_string();
    ensure!(why.contains("not yours to use"), "{why}");
    ok("members of its group may administer it, others may not");
    driver.stop()
}

fn upgraded(place: &Place) -> Result<()> {
    let conf = place.path("etc/opte/setup.toml");
    let example = fs::read_to_string(place.path("usr/share/doc/opte/examples/one-port.toml"))?;
    fs::write(&conf, &example)?;
    let running = place.start()?;
    place.run(&["dpkg", "--install", "/second.deb"])?;
    ensure!(
        fs::read_to_string(&conf)? == example,
        "the setup was replaced"
    );
    ok("an upgrade under a running driver keeps what the operator wrote");
    let version = place.run(&["dpkg-query", "--showformat=${Version}", "--show", "opte"])?;
    ensure!(version == deb::next_version(), "{version}");
    place.run(&["opteadm", "list-ports"])?;
    running.stop()?;
    let next = place.start()?;
    let ports = place.run(&["opteadm", "list-ports", "-o", "name", "-p"])?;
    ensure!(ports == "g1\n", "list-ports: {ports}");
    ok("the old program answers until it is stopped; the new one starts from the setup");
    next.stop()
}

fn purged(place: &Place) -> Result<()> {
    let list = place.run(&["dpkg", "--listfiles", "opte"])?;
    let files: Vec<PathBuf> = list
        .lines()
        .map(|path| place.path(path.trim_start_matches('/')))
        .filter(|path| path.is_file())
        .collect();
    ensure!(files.len() > 50, "only {} files", files.len());
    place.run(&["dpkg", "--remove", "opte"])?;
    ensure!(
        place.path("etc/opte/setup.toml").exists(),
        "removal took the setup"
    );
    ok("removal keeps the setup");
    place.run(&["dpkg", "--purge", "opte"])?;
    let left: Vec<_> = files.iter().filter(|path| path.exists()).collect();
    ensure!(left.is_empty(), "purged, and there still are {left:?}");
    ensure!(!place.path("etc/opte").exists(), "/etc/opte is left");
    ensure!(
        !place.path("usr/share/opte").exists(),
        "/usr/share/opte is left"
    );
    ok("a purge leaves no file");
    place.run(&["getent", "passwd", "opte"])?;
    ok("the user stays, as its number may be on files");
    Ok(())
}

/// The tree with a layer for what is written.
struct Place {
    root: PathBuf,
}

impl Place {
    fn mount(tree: &Path) -> Result<Self> {
        let layer = tree.with_file_name("trial");
        fs::create_dir_all(&layer)?;
        let mount = |args: &[&str], at: &Path| output(Command::new("mount").args(args).arg(at));
        // A container's own file system can't be the upper layer.
        mount(&["-t", "tmpfs", "tmpfs"], &layer)?;
        let [upper, work, root] = ["upper", "work", "root"].map(|name| layer.join(name));
        for folder in [&upper, &work, &root] {
            fs::create_dir_all(folder)?;
        }
        let layers = format!(
            "lowerdir={},upperdir={},workdir={}",
            tree.display(),
            upper.display(),
            work.display()
        );
        mount(&["-t", "overlay", "overlay", "-o", &layers], &root)?;
        let place = Self { root };
        mount(&["-t", "proc", "proc"], &place.path("proc"))?;
        mount(&["-t", "tmpfs", "tmpfs"], &place.path("run"))?;
        fs::create_dir_all(place.path("dev/net"))?;
        // As udev makes it: for everybody, since the capability counts.
        place.run(&["mknod", "-m", "0666", "/dev/net/tun", "c", "10", "200"])?;
        Ok(place)
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("chroot");
        command
            .arg(&self.root)
            .args(words)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("DEBIAN_FRONTEND", "noninteractive");
        command
    }

    fn run(&self, words: &[&str]) -> Result<String> {
        output(&mut self.command(words))
    }

    /// What the installed unit has for a setting.
    fn setting(&self, name: &str) -> Result<String> {
        let unit = fs::read_to_string(self.path(UNIT))?;
        let found = unit
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        Ok(found
            .with_context(|| format!("the unit has no {name}"))?
            .to_owned())
    }

    /// Starts the driver as systemd would by the unit.
    fn start(&self) -> Result<Driver> {
        let [user, folder] = [self.setting("User")?, self.setting("RuntimeDirectory")?];
        let run = format!("/run/{folder}");
        self.run(&[
            "install", "-d", "-o", &user, "-g", &user, "-m", "0755", &run,
        ])?;
        let capabilities = self.setting("AmbientCapabilities")?.to_lowercase();
        let plus: Vec<String> = capabilities
            .split(' ')
            .map(|name| format!("+{}", name.trim_start_matches("cap_")))
            .collect();
        let plus = plus.join(",");
        let [bound, inherited, ambient] = [
            format!("--bounding-set=-all,{plus}"),
            format!("--inh-caps=-all,{plus}"),
            format!("--ambient-caps=-all,{plus}"),
        ];
        let (reuid, regid) = (format!("--reuid={user}"), format!("--regid={user}"));
        let mut words = vec!["setpriv", &reuid, &regid, "--init-groups", "--no-new-privs"];
        words.extend([&*inherited, &*ambient, &*bound, "--"]);
        let line = self.setting("ExecStart")?;
        words.extend(line.split(' '));
        let mut command = self.command(&words);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let out = child.stdout.take().context("no standard output")?;
        let mut ready = String::new();
        BufReader::new(out).read_line(&mut ready)?;
        if !ready.contains("ready on") {
            let told = child.wait_with_output()?;
            bail!("{line}: {}", String::from_utf8_lossy(&told.stderr));
        }
        Ok(Driver(child))
    }
}

/// The driver as it runs.
struct Driver(Child);

impl Driver {
    fn stop(mut self) -> Result<()> {
        let id = self.0.id().to_string();
        output(Command::new("kill").args(["-TERM", &id]))?;
        let status = self.0.wait()?;
        ensure!(status.success(), "the driver ended with {status}");
        Ok(())
    }
}
