//! From sources to one relocatable ELF file.

use super::toolchain::Toolchain;
use super::{Variant, built, finish, folder};
use crate::workspace;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The target's name.
const TARGET: &str = "x86_64-illumos-kmod";
/// The module's entry points, its only exported symbols.
pub(super) const ENTRIES: [&str; 3] = ["_init", "_info", "_fini"];

/// One section of each kind, since krtld doesn't look at names, and nothing
/// that it has no use for.
const SCRIPT: &str = "SECTIONS {
  .text   0 : { *(.text.unlikely .text.unlikely.*) *(.text .text.*) }
  .rodata 0 : { *(.rodata .rodata.*) *(.data.rel.ro .data.rel.ro.*) }
  .data   0 : { *(.data .data.*) }
  .bss    0 : { *(.bss .bss.*) *(COMMON) }
  /DISCARD/ : { *(.eh_frame) *(.eh_frame_hdr) *(.gcc_except_table*) *(.comment) *(.note.*)
                *(.llvmbc) *(.llvmcmd) }
}
";

/// Builds the module and says where it is.
pub(super) fn module(root: &Path, toolchain: &Toolchain, variant: Variant) -> Result<PathBuf> {
    let folder = folder(root, variant);
    fs::create_dir_all(&folder)?;
    let library = library(root, toolchain, variant)?;
    let script = folder.join("module.ld");
    fs::write(&script, SCRIPT)?;
    let linked = super::linked(root, variant);
    let mut link = Command::new(&toolchain.ld);
    link.arg("-r");
    for entry in ENTRIES {
        link.args(["-u", entry]);
    }
    link.args(["--gc-sections", "-T"]).arg(&script);
    link.arg("-o").arg(&linked).arg(&library);
    workspace::output(&mut link)?;
    let stripped = folder.join("stripped.o");
    let mut strip = Command::new(&toolchain.objcopy);
    strip.arg("--strip-debug");
    for entry in ENTRIES {
        strip.arg(format!("--keep-global-symbol={entry}"));
    }
    workspace::output(strip.arg(&linked).arg(&stripped))?;
    let module = built(root, variant);
    let bytes = fs::read(&stripped)?;
    fs::write(&module, finish::module(&bytes)?)?;
    Ok(module)
}

/// Compiles the static library. Both variants share a folder, as each profile
/// has one of its own there.
fn library(root: &Path, toolchain: &Toolchain, variant: Variant) -> Result<PathBuf> {
    let folder = folder(root, Variant::Release);
    let spec = folder.join(format!("{TARGET}.json"));
    write_if_changed(&spec, &target(toolchain)?)?;
    let build = folder.join("build");
    let mut cargo = Command::new(&toolchain.cargo);
    cargo
        .args(["rustc", "--quiet", "--locked", "--package=xde", "--lib"])
        .args(["--crate-type=staticlib", "-Zjson-target-spec"])
        .arg("-Zbuild-std=core,alloc")
        .arg("--target")
        .arg(&spec)
        .arg("--target-dir")
        .arg(&build)
        .args(["--profile", variant.profile()])
        .current_dir(root)
        .env("RUSTC", &toolchain.rustc)
        .env("RUSTC_BOOTSTRAP", "1")
        // Those of another cargo, which started this program.
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("CARGO_MANIFEST_DIR")
        // Line tables, of which the module is stripped: with them the compiler
        // makes the same functions, but in another order. So they are always on,
        // for what `--count` counts to be what ships. This is the least that has
        // the whole names of functions that were inlined.
        .env("CARGO_PROFILE_RELEASE_DEBUG", "limited")
        .env("CARGO_ENCODED_RUSTFLAGS", "");
    workspace::output(&mut cargo)?;
    let built = build.join(TARGET).join(variant.profile());
    Ok(built.join("libxde.a"))
}

/// The target: the compiler's own for freestanding code, as an illumos kernel
/// wants it. Made from the compiler's, as the format changes between releases.
fn target(toolchain: &Toolchain) -> Result<String> {
    let text = toolchain.ask(&[
        "-Zunstable-options",
        "--print=target-spec-json",
        "--target=x86_64-unknown-none",
    ])?;
    let mut spec: Value = serde_json::from_str(&text).context("the target's description")?;
    let fields = spec.as_object_mut().context("the target's description")?;
    for field in [
        "crt-objects-fallback",
        "position-independent-executables",
        "relro-level",
        "static-position-independent-executables",
        "supported-sanitizers",
    ] {
        fields.remove(field);
    }
    let ours = json!({
        "os": "illumos",
        "is-like-solaris": true,
        "linker-is-gnu": false,
        "target-family": ["unix"],
        // Modules are loaded in the top 2 GiB and have no GOT.
        "relocation-model": "static",
        "code-model": "kernel",
        "plt-by-default": true,
        // fbt, stack() and the debugger follow them.
        "frame-pointer": "always",
        "default-uwtable": false,
        "executables": false,
    });
    for (name, value) in ours.as_object().into_iter().flatten() {
        fields.insert(name.clone(), value.clone());
    }
    Ok(serde_json::to_string_pretty(&spec)?)
}

/// A changed time would have cargo build everything again.
fn write_if_changed(path: &Path, text: &str) -> Result<()> {
    if fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    fs::write(path, text).with_context(|| path.display().to_string())
}
