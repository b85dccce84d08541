//! Programs that no package of Debian has, made of a package's sources.
//!
//! `udhcpc6` is a part of busybox that Debian leaves out. Its source package is
//! fetched by `apt-get`, which checks who signed it, with lists of its own so
//! that the machine's stay as they are; it is built with nothing else in it,
//! in about half a minute, and kept in `target/tools`.

use super::find;
use crate::workspace;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What building takes, as a program and its package.
pub(super) const TOOLS: &[(&str, &str)] = &[
    ("apt-get", "apt"),
    ("bzip2", "bzip2"),
    ("gcc", "gcc"),
    ("make", "make"),
    ("tar", "tar"),
];
/// What is built.
const PROGRAM: &str = "udhcpc6";
/// Of what.
const SOURCE: &str = "busybox";
/// The program's own settings, where they aren't "no".
const SETTINGS: &str = r#"
CONFIG_LFS=y
CONFIG_FEATURE_IPV6=y
CONFIG_UDHCPC6=y
CONFIG_FEATURE_UDHCPC6_RFC3646=y
CONFIG_FEATURE_UDHCPC6_RFC4704=y
CONFIG_FEATURE_UDHCPC6_RFC4833=y
CONFIG_FEATURE_UDHCPC6_RFC5970=y
CONFIG_UDHCPC_DEFAULT_SCRIPT=""
CONFIG_UDHCPC_DEFAULT_INTERFACE="eth0"
"#;

/// Whether a program is one that is built.
pub(super) fn makes(program: &str) -> bool {
    program == PROGRAM
}

/// Where such programs are.
pub(crate) fn folder() -> PathBuf {
    workspace::root().join("target/tools")
}

/// Builds what isn't there; why it can't be, if so.
pub(super) fn all() -> Option<String> {
    if find(PROGRAM).is_some() {
        return None;
    }
    println!("  building {PROGRAM} of the source package {SOURCE}");
    let failed = build().err()?;
    Some(format!("{PROGRAM} can't be built: {failed:#}"))
}

fn build() -> Result<()> {
    let folder = folder().join(SOURCE);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    let source = folder.join("source");
    fs::create_dir_all(&source)?;
    fetch(&folder)?;
    let packed = fs::read_dir(&folder)?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .find(|name| name.contains(".orig.tar."))
        .context("the source package has no sources")?;
    let packed = folder.join(packed);
    run(Command::new("tar")
        .args(["--strip-components=1", "-xf"])
        .arg(&packed)
        .current_dir(&source))?;
    configure(&source)?;
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    run(make(&source).arg(format!("-j{jobs}")))?;
    fs::copy(source.join(SOURCE), self::folder().join(PROGRAM))?;
    Ok(fs::remove_dir_all(&folder)?)
}

/// Fetches the source package of this machine's release into `folder`.
fn fetch(folder: &Path) -> Result<()> {
    let lists = Lists::new(folder, "deb-src")?;
    let apt = || {
        let mut apt = Command::new("apt-get");
        apt.arg("-q").args(&lists.settings).current_dir(folder);
        apt
    };
    run(apt().arg("update"))?;
    run(apt().args(["source", "--download-only", SOURCE]))
}

/// Lists of this machine's release that are not the machine's.
pub(super) struct Lists {
    /// What leads `apt` to them.
    pub(super) settings: Vec<String>,
}

impl Lists {
    /// Empty lists in `folder`, of sources (`deb-src`) or packages (`deb`).
    pub(super) fn new(folder: &Path, kind: &str) -> Result<Self> {
        let release = fs::read_to_string("/etc/os-release").context("no Debian")?;
        let name = release
            .lines()
            .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
            .context("a release without a name")?;
        for part in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(folder.join(part))?;
        }
        let sources = folder.join("sources.list");
        let line = format!("{kind} http://deb.debian.org/debian {name} main\n");
        fs::write(&sources, line)?;
        let set = |name: &str, path: &Path| format!("-o{name}={}", path.display());
        let settings = vec![
            "-oDir::Etc::sourceparts=-".to_owned(),
            set("Dir::Etc::sourcelist", &sources),
            set("Dir::State::lists", &folder.join("lists")),
            set("Dir::Cache", &folder.join("cache")),
        ];
        Ok(Self { settings })
    }
}

/// Says "no" to all but [`SETTINGS`].
fn configure(source: &Path) -> Result<()> {
    run(make(source).arg("allnoconfig"))?;
    let file = source.join(".config");
    let settings = SETTINGS.lines().filter_map(|line| line.split_once('='));
    let is_ours = |line: &str| {
        let line = line.trim_start_matches("# ");
        settings
            .clone()
            .any(|(name, _)| line.split([' ', '=']).next() == Some(name))
    };
    let all = fs::read_to_string(&file)?;
    let rest: Vec<_> = all.lines().filter(|line| !is_ours(line)).collect();
    fs::write(&file, rest.join("\n") + SETTINGS)?;
    // New questions are answered with what is proposed.
    let answers = folder_file(source, "answers", &"\n".repeat(1_000))?;
    run(make(source).arg("oldconfig").stdin(answers))
}

/// A file with this text in it, to be read.
fn folder_file(folder: &Path, name: &str, text: &str) -> Result<fs::File> {
    let path = folder.join(name);
    fs::write(&path, text)?;
    Ok(fs::File::open(path)?)
}

fn make(source: &Path) -> Command {
    let mut make = Command::new("make");
    // A job server of cargo's isn't its own.
    make.current_dir(source).env_remove("MAKEFLAGS");
    make
}

pub(super) fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().display().to_string();
    let done = command
        .output()
        .with_context(|| format!("can't run {program}"))?;
    let errors = String::from_utf8_lossy(&done.stderr);
    let last = errors.lines().last().unwrap_or_default();
    ensure!(done.status.success(), "{program}: {last}");
    Ok(())
}
