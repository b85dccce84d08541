//! Debian's package, tried: installed, used, upgraded and purged by Debian's
//! own dpkg in a tree of its own.
//!
//! Flow      step: debootstrap makes `target/package/debian`, once; two
//!                 versions of the package; then, in namespaces for mounts,
//!                 processes and the network, this program again: `inside`
//!           inside: systemd boots in the tree (`place`), and each command runs
//!                 beside it; so maintainer scripts, unit and driver meet the
//!                 systemd that an operator's do
//!
//! Rules     T1  under the unit the driver makes no system call that the unit's
//!               filter refuses: here such a call ends it, where on a host it
//!               fails.

mod place;

use self::place::Place;
use super::{deb, folder};
use crate::install;
use crate::step::Outcome;
use crate::workspace::output;
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What trying a package takes besides dpkg, and Debian's packages of it.
const TOOLS: [(&str, &str); 7] = [
    ("debootstrap", "debootstrap"),
    ("dpkg", "dpkg"),
    ("ip", "iproute2"),
    ("objcopy", "binutils"),
    ("ping", "iputils-ping"),
    ("systemd-analyze", "systemd"),
    ("unshare", "util-linux"),
];
/// Debian's release of the tree.
const RELEASE: &str = "bookworm";
/// How exposed systemd may say that the service is: of 100, "OK"
/// is below 50.
const EXPOSURE_MAX: &str = "25";
/// Rule T1.
const STRICT: &str = "[Service]\nSystemCallErrorNumber=kill\n";
/// A port whose guest may ping, and be pinged.
const ONE_PORT: &str = "usr/share/doc/opte/examples/one-port.toml";

/// Makes the package in two versions and tries them.
pub(super) fn step(root: &Path) -> Result<Outcome> {
    if !install::is_root() || !install::is_debian() {
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
        .args(["--mount", "--mount-proc", "--net", "--pid", "--fork"])
        .args(["--kill-child", "--"])
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
    if tree.join("usr/lib/systemd/systemd").exists() {
        return Ok(Some(tree));
    }
    fs::create_dir_all(folder(root))?;
    println!("  making a tree of {RELEASE}");
    let new = folder(root).join("debian.new");
    for old in [&new, &tree] {
        if old.exists() {
            fs::remove_dir_all(old)?;
        }
    }
    let done = Command::new("debootstrap")
        .args(["--variant=minbase", "--include=systemd", RELEASE])
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
    let place = Place::boot(tree)?;
    for (name, package) in [("first.deb", first), ("second.deb", second)] {
        fs::copy(package, place.path(name))?;
    }
    let strict = place.path("etc/systemd/system/xded.service.d");
    fs::create_dir_all(&strict)?;
    fs::write(strict.join("strict.conf"), STRICT)?;
    ok("systemd boots in the tree");
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
    let root = format!("--root={}", place.path("").display());
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
    Ok(())
}

fn used(place: &Place) -> Result<()> {
    confined(place)?;
    let version = place.run(&["opteadm", "version"])?;
    ensure!(
        version.contains("driver") && version.contains("both"),
        "{version}"
    );
    ok("opteadm finds it by itself, and they speak a version");
    place.run(&["opteadm", "apply", &format!("/{ONE_PORT}")])?;
    ensure_port(place)?;
    ok("a setup is applied; its port has a TAP device");
    packets()?;
    ok("packets pass: the guest finds its gateway, which answers");
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
    let why = refused.err().context("anybody may administer the driver")?;
    let why = format!("{why:#}");
    ensure!(why.contains("not yours to use"), "{why}");
    ok("members of its group may administer it, others may not");
    place.run(&["systemctl", "stop", "xded.service"])?;
    let result = place.property("Result")?;
    ensure!(result == "success", "it ended with {result}");
    ok("it stops when it is told to");
    Ok(())
}

/// Whether the unit's filters are what the driver runs under.
fn confined(place: &Place) -> Result<()> {
    let status = place.run(&["cat", &format!("/proc/{}/status", place.driver()?)])?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.map(str::trim).context("no such field")
    };
    // Network administration and raw sockets.
    for (name, expected) in [
        ("Seccomp:", "2"),
        ("NoNewPrivs:", "1"),
        ("CapBnd:", "0000000000003000"),
        ("CapEff:", "0000000000003000"),
    ] {
        let found = field(name)?;
        ensure!(found == expected, "{name} {found}, not {expected}");
    }
    ok("the unit runs it with filtered system calls, and with two capabilities");
    Ok(())
}

/// Whether there is the port of [`ONE_PORT`].
fn ensure_port(place: &Place) -> Result<()> {
    let ports = place.run(&["opteadm", "list-ports", "-o", "name", "-p"])?;
    ensure!(ports == "g1\n", "list-ports: {ports}");
    Ok(())
}

/// This machine's own stack as the guest of [`ONE_PORT`].
fn packets() -> Result<()> {
    let ip = |line: &str| output(Command::new("ip").args(line.split(' ')));
    ip("link set g1 address a8:40:25:f0:00:01 up")?;
    ip("address add 10.0.0.1/24 dev g1")?;
    output(Command::new("ping").args(["-c", "3", "-i", "0.2", "-W", "5", "10.0.0.254"]))?;
    Ok(())
}

fn upgraded(place: &Place) -> Result<()> {
    let conf = place.path("etc/opte/setup.toml");
    let example = fs::read_to_string(place.path(ONE_PORT))?;
    fs::write(&conf, &example)?;
    place.run(&["systemctl", "start", "xded.service"])?;
    ensure_port(place)?;
    ok("it starts from the setup");
    let before = place.driver()?;
    place.run(&["dpkg", "--install", "/second.deb"])?;
    ensure!(
        fs::read_to_string(&conf)? == example,
        "the setup was replaced"
    );
    ok("an upgrade under a running driver keeps what the operator wrote");
    let version = place.run(&["dpkg-query", "--showformat=${Version}", "--show", "opte"])?;
    ensure!(version == deb::next_version(), "{version}");
    ensure!(place.driver()? != before, "the old program still runs");
    ensure_port(place)?;
    packets()?;
    ok("the new program runs in the old one's place, and packets pass again");
    Ok(())
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
    let state = place.property("ActiveState")?;
    ensure!(state == "inactive", "it is removed, and the unit {state}");
    ok("removal stops it");
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
