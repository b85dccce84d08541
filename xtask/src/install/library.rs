//! Rust's own library for other targets.

use super::{find, is_root};
use std::path::Path;
use std::process::Command;

/// Whether the compiler on the path has its library for `target`, which is
/// installed where that is ours to do.
pub(crate) fn find_or_install(target: &str) -> bool {
    if !is_there(target) && is_root() && find("rustup").is_some() {
        println!("  installing Rust's library for {target}");
        // What it says is said again by the compiler, if it matters.
        let add = ["target", "add", target];
        drop(Command::new("rustup").args(add).output());
    }
    is_there(target)
}

fn is_there(target: &str) -> bool {
    let asked = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", target])
        .output();
    asked
        .ok()
        .filter(|answer| answer.status.success())
        .and_then(|answer| String::from_utf8(answer.stdout).ok())
        .is_some_and(|folder| Path::new(folder.trim()).is_dir())
}
