//! A program's manual page, and its page of the book, made of its command line.
//!
//! Tests of `opteadm` and `xded` include this file: they compare the pages with
//! the command line of today. `cargo xtask manual` writes what is missing.

use clap::{Arg, ArgAction, Command};
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

/// The same for the book, in Markdown.
pub(crate) fn markdown(command: Command) -> String {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let name = command.get_name().to_owned();
    let about = |command: &Command| {
        let long = command.get_long_about().or(command.get_about());
        sentences(&long.map(ToString::to_string).unwrap_or_default())
    };
    let mut page = format!(
        "# {name}\n\n<!-- Written by `cargo xtask manual` from the command line. -->\n\n{}\n",
        about(&command)
    );
    let everywhere = arguments(command.get_arguments());
    if !everywhere.is_empty() {
        page += &format!("Before or behind any command:\n\n{everywhere}\n");
    }
    if let Some(notes) = command.get_after_help() {
        page += &format!("{}\n", sentences(&notes.to_string()));
    }
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        let usage = sub.clone().render_usage().to_string();
        let usage = usage.trim_start_matches("Usage: ");
        page += &format!(
            "## {}\n\n{}\n```text\n{usage}\n```\n\n",
            sub.get_name(),
            about(sub)
        );
        let own = sub.get_arguments().filter(|arg| !arg.is_global_set());
        let own = arguments(own);
        if !own.is_empty() {
            page += &format!("{own}\n");
        }
        let examples = sub.get_after_help().map(ToString::to_string);
        let examples = examples.unwrap_or_default();
        let lines = examples.lines().filter_map(|line| line.strip_prefix("  "));
        let lines: Vec<&str> = lines.collect();
        if !lines.is_empty() {
            page += &format!("```sh\n{}\n```\n\n", lines.join("\n"));
        }
    }
    format!("{}\n", tidy(&page).trim_end())
}

/// A table of arguments, without those that every program has.
fn arguments<'a>(args: impl Iterator<Item = &'a Arg>) -> String {
    let mut text = String::new();
    for arg in args {
        if ["help", "version"].contains(&arg.get_id().as_str()) || arg.is_hide_set() {
            continue;
        }
        let help = arg.get_long_help().or(arg.get_help());
        let mut help = sentences(&help.map(ToString::to_string).unwrap_or_default());
        let values = arg.get_possible_values();
        let named = arg.get_action().takes_values() && !values.is_empty();
        if named {
            let values: Vec<&str> = values.iter().map(|value| value.get_name()).collect();
            help += &format!(" One of: {}.", values.join(", "));
        }
        let usual: Vec<_> = arg.get_default_values().iter().collect();
        if let (ArgAction::Set, [usual]) = (arg.get_action(), &usual[..])
            && !usual.is_empty()
        {
            help += &format!(" Default: {}.", usual.to_string_lossy());
        }
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        let help = help.replace('|', "\\|").replace('<', "\\<");
        let long = arg.to_string().replace('|', "\\|");
        let name = match arg.get_short() {
            Some(short) if arg.get_long().is_some() => format!("-{short}, {long}"),
            _ => long,
        };
        text += &format!("| `{name}` | {help} |\n");
    }
    match text.is_empty() {
        true => text,
        false => format!("| argument | what |\n| --- | --- |\n{text}"),
    }
}

/// Paragraphs that end as sentences do, in lines of their own.
fn sentences(text: &str) -> String {
    let paragraphs = text.split("\n\n").map(|paragraph| {
        let end = match paragraph.ends_with(['.', ':', '!']) {
            true => "",
            false => ".",
        };
        format!("{}{end}\n", paragraph.trim_end())
    });
    let paragraphs: Vec<String> = paragraphs.collect();
    paragraphs.join("\n")
}

/// Compares a page with the file of this folder.
pub(crate) fn hold(file: &str, page: &str) {
    hold_at(&format!("pkg/man/{file}"), page);
}

/// Compares a page with a file of the project, or writes it with `BLESS=1` in
/// the environment.
pub(crate) fn hold_at(file: &str, page: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, page).unwrap();
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        there == page,
        "{file} isn't of today: run `cargo xtask manual`"
    );
}
