//! Debian's package: an `ar` archive of two compressed `tar` archives (deb(5)).

use super::{Content, Item, VERSION, elf, folder, gzip, install, time};
use crate::workspace::{self, output};
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Programs that go into the package.
pub(super) struct Programs {
    pub(super) xded: PathBuf,
    pub(super) opteadm: PathBuf,
}

/// As they are built for release.
pub(super) fn release_programs(root: &Path) -> Result<Programs> {
    let build = |package| workspace::one(root, &["build", "--release", "--package", package]);
    Ok(Programs {
        xded: build("xded")?,
        opteadm: build("opteadm")?,
    })
}

/// As they are built for tests, which is quicker.
pub(super) fn test_programs(root: &Path) -> Result<Programs> {
    Ok(Programs {
        xded: workspace::program(root, "xded")?,
        opteadm: workspace::program(root, "opteadm")?,
    })
}

/// What the maintainer may change: dpkg keeps it.
const CONFFILES: &str = "/etc/opte/setup.toml\n";

/// Makes the package and says where it is.
pub(super) fn make(root: &Path, programs: &Programs, version: &str) -> Result<PathBuf> {
    let items = items(root, programs, version)?;
    let time = time(root);
    let mut package = b"!<arch>\n".to_vec();
    member(&mut package, "debian-binary", time, b"2.0\n");
    let control = tar(&control(root, &items, version)?, time)?;
    member(&mut package, "control.tar.gz", time, &gzip(&control)?);
    member(
        &mut package,
        "data.tar.gz",
        time,
        &gzip(&tar(&items, time)?)?,
    );
    let folder = folder(root);
    fs::create_dir_all(&folder)?;
    let path = folder.join(format!("opte_{version}_amd64.deb"));
    fs::write(&path, package)?;
    Ok(path)
}

/// A member of an `ar` archive: a header of 60 bytes, and an even number of
/// bytes.
fn member(archive: &mut Vec<u8>, name: &str, time: u64, bytes: &[u8]) {
    let len = bytes.len();
    let header = format!(
        "{name:<16}{time:<12}{:<6}{:<6}{:<8}{len:<10}`\n",
        0, 0, 100_644
    );
    archive.extend(header.into_bytes());
    archive.extend(bytes);
    if len % 2 == 1 {
        archive.push(b'\n');
    }
}

/// A `tar` archive of what belongs to root.
fn tar(items: &[Item], time: u64) -> Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    for item in items {
        let mut header = tar::Header::new_gnu();
        header.set_mode(item.mode);
        header.set_mtime(time);
        header.set_uid(0);
        header.set_gid(0);
        header.set_username("root")?;
        header.set_groupname("root")?;
        let (kind, bytes, slash) = match &item.content {
            Content::Folder => (tar::EntryType::Directory, &[][..], "/"),
            Content::File(bytes) => (tar::EntryType::Regular, &bytes[..], ""),
        };
        header.set_entry_type(kind);
        header.set_size(u64::try_from(bytes.len())?);
        let name = format!("./{}{slash}", item.path);
        builder.append_data(&mut header, name, bytes)?;
    }
    Ok(builder.into_inner()?)
}

/// Everything that is installed, with the folders that it is in.
fn items(root: &Path, programs: &Programs, version: &str) -> Result<Vec<Item>> {
    let put = |from: &str, to: &str, mode| install::file(&root.join(from), to.to_owned(), mode);
    let mut items = vec![
        program(root, &programs.xded, "usr/sbin/xded")?,
        program(root, &programs.opteadm, "usr/sbin/opteadm")?,
        put("dtrace/opte-trace", "usr/sbin/opte-trace", 0o755)?,
        put(
            "pkg/deb/xded.service",
            "lib/systemd/system/xded.service",
            0o644,
        )?,
        put(
            "pkg/deb/tmpfiles.conf",
            "usr/lib/tmpfiles.d/opte.conf",
            0o644,
        )?,
        put("pkg/deb/setup.toml", "etc/opte/setup.toml", 0o644)?,
        put("pkg/deb/copyright", "usr/share/doc/opte/copyright", 0o644)?,
    ];
    items.extend(install::scripts(root, "usr/share/opte/dtrace")?);
    let examples = "usr/share/doc/opte/examples";
    items.extend(install::files(
        &root.join("opteadm/setup"),
        examples,
        0o644,
        |name| name.ends_with(".toml"),
    )?);
    for page in crate::manual::PAGES {
        let (_, section) = page.rsplit_once('.').context("a page without a section")?;
        // The kernel module's is for illumos.
        if section == "4d" {
            continue;
        }
        let text = fs::read(root.join("pkg/man").join(page))?;
        items.push(compressed(
            format!("usr/share/man/man{section}/{page}.gz"),
            &text,
        )?);
    }
    items.push(compressed(
        "usr/share/doc/opte/changelog.gz".to_owned(),
        format!("opte ({version}) unstable; urgency=medium\n\n  * See the sources' history.\n")
            .as_bytes(),
    )?);
    for (shell, path) in [
        ("bash", "usr/share/bash-completion/completions/opteadm"),
        ("zsh", "usr/share/zsh/vendor-completions/_opteadm"),
        ("fish", "usr/share/fish/vendor_completions.d/opteadm.fish"),
    ] {
        let script = output(Command::new(&programs.opteadm).args(["completions", shell]))?;
        items.push(Item {
            path: path.to_owned(),
            mode: 0o644,
            content: Content::File(script.into_bytes()),
        });
    }
    Ok(with_folders(items))
}

/// A program without what only debuggers read. Notes stay, so probes do.
fn program(root: &Path, from: &Path, path: &str) -> Result<Item> {
    let name = from.file_name().context("a program without a name")?;
    let folder = folder(root);
    fs::create_dir_all(&folder)?;
    let stripped = folder.join(name);
    let mut objcopy = Command::new("objcopy");
    output(objcopy.arg("--strip-debug").args([from, &stripped]))?;
    install::file(&stripped, path.to_owned(), 0o755)
}

fn compressed(path: String, bytes: &[u8]) -> Result<Item> {
    Ok(Item {
        path,
        mode: 0o644,
        content: Content::File(gzip(bytes)?),
    })
}

/// Items in order, each folder before what is in it.
fn with_folders(items: Vec<Item>) -> Vec<Item> {
    let mut folders = BTreeSet::new();
    for item in &items {
        let parents = Path::new(&item.path).ancestors().skip(1);
        folders.extend(parents.filter_map(|p| p.to_str()).map(str::to_owned));
    }
    folders.remove("");
    let folders = folders.into_iter().map(|path| Item {
        path,
        mode: 0o755,
        content: Content::Folder,
    });
    let mut all: Vec<Item> = folders.chain(items).collect();
    all.sort_by(|a, b| a.path.cmp(&b.path));
    all
}

/// The control archive.
fn control(root: &Path, items: &[Item], version: &str) -> Result<Vec<Item>> {
    let of = |path: &str| {
        items.iter().find_map(|item| match &item.content {
            Content::File(bytes) if item.path == path => Some(&bytes[..]),
            _ => None,
        })
    };
    let programs = ["usr/sbin/xded", "usr/sbin/opteadm"].map(|path| of(path).unwrap_or_default());
    let glibc = elf::glibc(&programs).context("programs that need no C library")?;
    let bytes = items.iter().map(|item| match &item.content {
        Content::File(bytes) => bytes.len(),
        Content::Folder => 0,
    });
    let kib = bytes.sum::<usize>().div_ceil(1024);
    let text = format!(
        "Package: opte\nVersion: {version}\nArchitecture: amd64\nSection: net\nPriority: optional\n\
         Maintainer: The OPTE contributors <opte@invalid>\nInstalled-Size: {kib}\n\
         Depends: libc6 (>= {glibc}), libgcc-s1, passwd\nSuggests: bpftrace, qemu-system-x86\n\
         Description: virtual switch for the guests of a host\n \
         OPTE sits between a guest's virtual network interface and the physical\n \
         network: firewall, router, translation and overlay of a virtual private\n \
         cloud. This is its driver in user space, xded, with its tools.\n"
    );
    let file = |path: &str, mode, bytes: Vec<u8>| Item {
        path: path.to_owned(),
        mode,
        content: Content::File(bytes),
    };
    let mut control = vec![
        file("control", 0o644, text.into_bytes()),
        file("conffiles", 0o644, CONFFILES.into()),
    ];
    for script in ["postinst", "prerm", "postrm"] {
        let bytes = fs::read(root.join("pkg/deb").join(script))?;
        control.push(file(script, 0o755, bytes));
    }
    Ok(control)
}

/// The next version after this one, for trying an upgrade.
pub(super) fn next_version() -> String {
    format!("{VERSION}+next")
}
