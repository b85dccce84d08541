//! A program's manual page, made of its command line.
//!
//! Tests of `opteadm` and `xded` include this file: they compare the page in
//! this folder with the command line of today. `cargo xtask manual` writes what
//! is missing.

use clap::Command;
use clap_mangen::Man;
use std::path::Path;

/// The page of a program whose commands are explained in it.
pub(crate) fn of(command: Command, see_also: &[&str]) -> String {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let name = command.get_name().to_owned();
    let version = command.get_version().unwrap_or_default().to_owned();
    let man = Man::new(command.clone())
        .title(name.to_uppercase())
        .section("8")
        .source(format!("OPTE {version}"))
        .manual("System administration");
    let mut page = Vec::new();
    // Writing to memory doesn't fail.
    man.render_title(&mut page).unwrap();
    man.render_name_section(&mut page).unwrap();
    man.render_synopsis_section(&mut page).unwrap();
    man.render_description_section(&mut page).unwrap();
    man.render_options_section(&mut page).unwrap();
    page.extend(b".SH COMMANDS\n");
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        page.extend(format!(".SS \"{name} {}\"\n", sub.get_name()).into_bytes());
        page.extend(explained(sub));
    }
    if command.get_after_help().is_some() {
        man.render_extra_section(&mut page).unwrap();
    }
    page.extend(format!(".SH \"SEE ALSO\"\n{}\n", see_also.join(", ")).into_bytes());
    let page = String::from_utf8(page).unwrap();
    tidy(&page.replace(".SH EXTRA", ".SH NOTES"))
}

/// A command without the headings that a page of its own would have, and
/// without the options that all commands have.
fn explained(sub: &Command) -> Vec<u8> {
    let own = sub.clone().mut_args(|arg| {
        let everywhere = ["help", "version"].contains(&arg.get_id().as_str());
        let hidden = everywhere || arg.is_global_set() || arg.is_hide_set();
        arg.hide(hidden)
    });
    let man = Man::new(own);
    let mut text = Vec::new();
    man.render_synopsis_section(&mut text).unwrap();
    text.extend(b".PP\n");
    man.render_description_section(&mut text).unwrap();
    man.render_options_section(&mut text).unwrap();
    if sub.get_after_help().is_some() {
        text.extend(b".PP\n");
        man.render_extra_section(&mut text).unwrap();
    }
    let text = String::from_utf8(text).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with(".SH "));
    lines
        .flat_map(|line| [line, "\n"])
        .collect::<String>()
        .into()
}

/// No white space where an editor would take it away.
fn tidy(page: &str) -> String {
    let lines = page.lines().map(str::trim_end);
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// Compares a page with the file of this folder, or writes it with `BLESS=1`
/// in the environment.
pub(crate) fn hold(file: &str, page: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../pkg/man")
        .join(file);
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, page).unwrap();
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        there == page,
        "pkg/man/{file} isn't of today: run `cargo xtask manual`"
    );
}
