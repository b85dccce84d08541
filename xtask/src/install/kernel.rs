//! The kernel that virtual machines of tests run: Debian's, unpacked beside the
//! programs that were built here, not installed.
//!
//! Flow      lists -> name of the newest package -> .deb -> image and modules
//!
//! 26 MB come over the network (8 MB of lists more, where the machine's own
//! are too old), and 15 MB stay: the image as `vmlinuz`, and below `modules`
//! what drives a virtual network device, its dependencies included.

use super::build::{Lists, folder, run};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The package that depends on the newest image for virtual machines.
const PACKAGE: &str = "linux-image-cloud-amd64";
/// What is looked for, as if it were a program.
const IMAGE: &str = "vmlinuz";
/// What drives the devices that a virtual machine has here.
const DRIVERS: [&str; 2] = ["virtio_pci", "virtio_net"];

/// Whether this is what is fetched.
pub(super) fn fetches(program: &str) -> bool {
    program == IMAGE
}

/// The modules' files, each after those that it depends on.
#[cfg(target_os = "linux")]
pub(crate) fn modules() -> Result<Vec<PathBuf>> {
    let order = fs::read_to_string(folder().join("modules/order"))?;
    let names = order.lines();
    Ok(names
        .map(|name| folder().join("modules").join(name))
        .collect())
}

/// Fetches the kernel if it isn't there; why it can't be had, if so.
pub(super) fn fetch() -> Option<String> {
    if super::find(IMAGE).is_some() {
        return None;
    }
    if std::env::consts::ARCH != "x86_64" {
        return Some(format!(
            "no {IMAGE}: virtual machines are tried on x86-64 only"
        ));
    }
    println!("  fetching {PACKAGE} (26 MB) for virtual machines");
    let failed = unpack().err()?;
    Some(format!("{PACKAGE} can't be had: {failed:#}"))
}

fn unpack() -> Result<()> {
    let work = folder().join("linux");
    if work.exists() {
        fs::remove_dir_all(&work)?;
    }
    fs::create_dir_all(&work)?;
    download(&work)?;
    let package = only(&work, |name| name.ends_with(".deb"))?;
    let tree = work.join("tree");
    run(Command::new("dpkg-deb").arg("-x").arg(&package).arg(&tree))?;
    let kernels = tree.join("lib/modules");
    let kernel = only(&kernels, |_| true)?;
    take(&kernel.join("kernel"), &folder().join("modules"))?;
    // It comes last: it is what is looked for.
    let image = only(&tree.join("boot"), |name| name.starts_with(IMAGE))?;
    fs::copy(image, folder().join(IMAGE))?;
    Ok(fs::remove_dir_all(&work)?)
}

/// Downloads the package of the image, by the machine's lists or else by the
/// release's as they are now, which are kept here.
fn download(work: &Path) -> Result<()> {
    if download_by(work, &[]).is_ok() {
        return Ok(());
    }
    let lists = Lists::new(work, "deb")?;
    let mut update = Command::new("apt-get");
    run(update.arg("-q").args(&lists.settings).arg("update"))?;
    download_by(work, &lists.settings)
}

/// Downloads it by the lists that these settings of `apt` lead to.
fn download_by(work: &Path, settings: &[String]) -> Result<()> {
    let done = Command::new("apt-cache")
        .args(settings)
        .args(["depends", "--important", PACKAGE])
        .output()
        .context("can't run apt-cache")?;
    let told = String::from_utf8(done.stdout)?;
    let image = told
        .split_whitespace()
        .find(|word| word.starts_with("linux-image-") && *word != PACKAGE)
        .with_context(|| format!("no list has {PACKAGE}"))?;
    run(Command::new("apt-get")
        .args(settings)
        .args(["-q", "download", image])
        .current_dir(work))
}

/// Takes the drivers, what they depend on first, and writes down their order.
fn take(tree: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    let found = Command::new("find")
        .arg(tree)
        .args(["-name", "*.ko"])
        .output()
        .context("can't run find")?;
    let found = String::from_utf8(found.stdout)?;
    let found: Vec<&Path> = found.lines().map(Path::new).collect();
    let mut order = Order {
        found,
        taken: BTreeSet::new(),
        names: String::new(),
    };
    for driver in DRIVERS {
        order.take(driver, to)?;
    }
    Ok(fs::write(to.join("order"), order.names)?)
}

/// Modules in the order in which they are loaded.
struct Order<'a> {
    found: Vec<&'a Path>,
    taken: BTreeSet<String>,
    names: String,
}

impl Order<'_> {
    fn take(&mut self, module: &str, to: &Path) -> Result<()> {
        if !self.taken.insert(module.to_owned()) {
            return Ok(());
        }
        let file = format!("{module}.ko");
        // Who asks for a module may write `-` as `_`, but these have neither.
        let path = self.found.iter().find(|path| path.ends_with(&file));
        // What isn't a module is in the image.
        let Some(path) = path else { return Ok(()) };
        let bytes = fs::read(path)?;
        for other in depends(&bytes) {
            self.take(&other, to)?;
        }
        fs::write(to.join(&file), bytes)?;
        self.names.push_str(&file);
        self.names.push('\n');
        Ok(())
    }
}

/// What a module says that it depends on: `depends=a,b` and a zero.
fn depends(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let at = module.windows(KEY.len()).position(|window| window == KEY);
    let rest = at
        .and_then(|at| module.get(at + KEY.len()..))
        .unwrap_or_default();
    let list = rest.split(|byte| *byte == 0).next().unwrap_or_default();
    let list = String::from_utf8_lossy(list);
    let names = list.split(',').filter(|name| !name.is_empty());
    names.map(str::to_owned).collect()
}

/// The one entry of a folder whose name is right.
fn only(folder: &Path, is_right: impl Fn(&str) -> bool) -> Result<PathBuf> {
    let entries = fs::read_dir(folder)?.filter_map(Result::ok);
    let mut right = entries.filter(|entry| entry.file_name().to_str().is_some_and(&is_right));
    let found = right.next();
    ensure!(right.next().is_none(), "several in {}", folder.display());
    let found = found.with_context(|| format!("not in {}", folder.display()))?;
    Ok(found.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_says_what_it_depends_on() {
        let module = b"\x7fELF\0license=GPL\0depends=virtio_ring,virtio\0name=virtio_net\0";
        assert_eq!(depends(module), ["virtio_ring", "virtio"]);
        assert!(depends(b"\0depends=\0name=virtio\0").is_empty());
        assert!(depends(b"\x7fELF").is_empty());
    }
}
