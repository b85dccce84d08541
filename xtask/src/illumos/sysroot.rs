//! What programs for illumos are linked with on another system.

use super::toolchain::Binutils;
use crate::workspace;
use anyhow::{Context, Result};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Names by library.
const LIBRARIES: &str = include_str!("libraries.toml");
/// A program's first instructions.
const START: &str = include_str!("start.s");

/// What a library of illumos exports, as far as programs of ours use it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Library {
    #[serde(default)]
    pub(super) functions: Vec<String>,
    /// Bytes by name.
    #[serde(default)]
    pub(super) data: BTreeMap<String, u64>,
}

/// The libraries by the names that programs have in them.
pub(super) fn libraries() -> Result<BTreeMap<String, Library>> {
    toml::from_str(LIBRARIES).context("libraries.toml")
}

/// Makes the folder and says which program links.
pub(super) fn make(folder: &Path, binutils: &Binutils) -> Result<PathBuf> {
    let lib = folder.join("lib");
    fs::create_dir_all(&lib)?;
    assemble(binutils, START, &folder.join("start.o"))?;
    for (name, library) in libraries()? {
        let object = folder.join(format!("{name}.o"));
        assemble(binutils, &stub(&library), &object)?;
        let stub = lib.join(&name);
        let mut link = Command::new(&binutils.ld);
        link.args(["-shared", "--hash-style=sysv", "-soname", &name, "-o"])
            .args([&stub, &object]);
        workspace::output(&mut link)?;
        // As `-lc` asks for it.
        let (short, _) = name.split_once(".so").context("not a library's name")?;
        fs::copy(&stub, lib.join(format!("{short}.so")))?;
    }
    write_linker(folder, binutils)
}

fn assemble(binutils: &Binutils, source: &str, object: &Path) -> Result<()> {
    let file = object.with_extension("s");
    fs::write(&file, source)?;
    let mut assembler = Command::new(&binutils.assembler);
    workspace::output(assembler.arg("-o").args([object, &file]))?;
    Ok(())
}

/// Functions of one byte, and data of the size that it has.
fn stub(library: &Library) -> String {
    let mut text = String::from("\t.text\n");
    for name in &library.functions {
        let _ = writeln!(
            text,
            "\t.globl {name}\n\t.type {name}, @function\n{name}:\tret\n\t.size {name}, 1"
        );
    }
    text.push_str("\t.data\n");
    for (name, size) in &library.data {
        let _ = writeln!(
            text,
            "\t.balign 8\n\t.globl {name}\n\t.type {name}, @object\n{name}:\t.zero {size}\n\t.size {name}, {size}"
        );
    }
    text.push_str("\t.section .note.GNU-stack, \"\", @progbits\n");
    text
}

/// A program that rustc can take for illumos' C compiler, as which it links.
fn write_linker(folder: &Path, binutils: &Binutils) -> Result<PathBuf> {
    let script = format!(
        r#"#!/bin/sh
# Links as the C compiler of illumos would: rustc's words for it made GNU ld's.
count=$#
while [ $count -gt 0 ]; do
	word=$1
	shift
	count=$((count - 1))
	case $word in
	-m64 | -std=* | -nodefaultlibs | -nostartfiles | -fuse-ld=*) ;;
	-Wl,-z,ignore) set -- "$@" --as-needed ;;
	-Wl,-M*) ;;
	-Wl,*)
		old=$IFS
		IFS=,
		for part in ${{word#-Wl,}}; do set -- "$@" "$part"; done
		IFS=$old
		;;
	*) set -- "$@" "$word" ;;
	esac
done
exec '{ld}' -m elf_x86_64 --dynamic-linker=/lib/amd64/ld.so.1 --hash-style=sysv \
	--gc-sections -z nostart-stop-gc --strip-debug '{folder}/start.o' -L '{folder}/lib' "$@" -lc
"#,
        ld = binutils.ld.display(),
        folder = folder.display()
    );
    // rustc tells by the name how to talk to it.
    let path = folder.join("illumos-gcc");
    if !fs::read_to_string(&path).is_ok_and(|old| old == script) {
        fs::write(&path, script)?;
    }
    make_executable(&path)?;
    Ok(path)
}

#[cfg(unix)]
fn make_executable(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    Ok(fs::set_permissions(
        path,
        fs::Permissions::from_mode(0o755),
    )?)
}
