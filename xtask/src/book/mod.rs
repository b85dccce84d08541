//! `cargo xtask book`: what is written for people, as a book.
//!
//! Purpose   `docs/` is an mdBook. mdBook builds it here; `check` needs no
//!           mdBook, and holds every Markdown file of the project to its rules.
//!
//! Rules     B1  a link leads to a file that there is, and to a heading in it.
//!           B2  pages of the book link to pages of the book only: nothing else
//!               is there when it is read as a book. They name files instead.
//!           B3  `docs/SUMMARY.md` names every page of the book once.
//!           B4  what stands in backquotes and looks like a file of the project
//!               is one.
//!
//! Failure   links to other machines aren't followed.

mod page;
#[cfg(test)]
mod tests;

use crate::step::Outcome;
use crate::{install, workspace};
use anyhow::{Context, Result, ensure};
use page::{Link, Page};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Folder of the book's pages.
const BOOK: &str = "docs/";
const SUMMARY: &str = "docs/SUMMARY.md";
/// Where the book is built, as `docs/book.toml` says.
const BUILT: &str = "target/book";

/// What `book` is told.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// First have cargo build mdBook into target/tools, if it isn't there
    #[arg(long)]
    install: bool,
}

/// Builds the book.
pub(crate) fn run(args: Args) -> Result<ExitCode> {
    let root = workspace::root();
    let tools = root.join("target/tools");
    let own = tools.join("bin/mdbook");
    // It serves no pages and watches no files here; people search in them.
    let words = [
        "install",
        "mdbook",
        "--locked",
        "--no-default-features",
        "--features=search",
    ];
    let found = || {
        own.is_file()
            .then(|| own.clone())
            .or(install::find("mdbook"))
    };
    if args.install && found().is_none() {
        let done = Command::new("cargo")
            .args(words)
            .arg("--root")
            .arg(&tools)
            .status()
            .context("cannot run cargo")?;
        ensure!(done.success(), "mdBook can't be installed");
    }
    let program = found().with_context(|| {
        let words = words.join(" ");
        format!("there is no mdbook: run `cargo {words}`, or this command with --install")
    })?;
    let done = Command::new(program)
        .args(["build", "docs"])
        .current_dir(&root)
        .status()
        .context("cannot run mdbook")?;
    ensure!(done.success(), "the book can't be built");
    println!("{BUILT}/index.html");
    Ok(ExitCode::SUCCESS)
}

/// Checks every Markdown file of the project.
pub(crate) fn check(root: &Path) -> Result<Outcome> {
    let files = workspace::files(root)?;
    let mut pages = BTreeMap::new();
    for file in files.iter().filter(|file| file.ends_with(".md")) {
        let text = std::fs::read_to_string(root.join(file)).with_context(|| file.clone())?;
        pages.insert(file.as_str(), Page::read(&text));
    }
    let there = Files::new(&files);
    let mut wrong = Vec::new();
    for (file, page) in &pages {
        wrong.extend(
            page.links
                .iter()
                .filter_map(|link| astray(file, link, &there, &pages)),
        );
        let missing = |name: &&(usize, String)| there.lacks(&name.1);
        wrong.extend(
            page.names
                .iter()
                .filter(missing)
                .map(|(line, name)| format!("{file}:{line}: there is no `{name}`")),
        );
    }
    wrong.extend(summary(&pages));
    let links: usize = pages.values().map(|page| page.links.len()).sum();
    Ok(Outcome::of(
        wrong,
        format!("{} pages, {links} links", pages.len()),
    ))
}

/// Files of the project and the folders that they are in.
struct Files<'f> {
    all: BTreeSet<&'f str>,
}

impl<'f> Files<'f> {
    fn new(files: &'f [String]) -> Self {
        let mut all = BTreeSet::new();
        for file in files {
            all.insert(file.as_str());
            let slashes = file.match_indices('/');
            all.extend(slashes.filter_map(|(at, _)| file.get(..at)));
        }
        Self { all }
    }

    fn has(&self, path: &str) -> bool {
        path.is_empty() || self.all.contains(path.trim_end_matches('/'))
    }

    /// Whether a text looks like a path below one of the project's folders,
    /// and is none (rule B4). A word in capitals stands for anything.
    fn lacks(&self, text: &str) -> bool {
        let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
        let mut parts = text.trim_end_matches('/').split('/');
        let anything = |part: &str| part.chars().all(|c| c.is_ascii_uppercase());
        let below = parts.next().is_some_and(|top| self.all.contains(top));
        let looks = below && text.contains('/') && text.chars().all(plain) && !parts.any(anything);
        looks && !self.has(text)
    }
}

/// What is wrong with a link (rules B1 and B2).
fn astray(
    file: &str,
    link: &Link,
    there: &Files<'_>,
    pages: &BTreeMap<&str, Page>,
) -> Option<String> {
    let Link { line, to } = link;
    if to.contains("://") || to.starts_with("mailto:") {
        return None;
    }
    let (path, heading) = to.split_once('#').unwrap_or((to, ""));
    let target = match path {
        "" => Some(file.to_owned()),
        _ => resolve(file, path),
    };
    let why = match &target {
        Some(target) if there.has(target) => {
            let page = pages.get(target.as_str());
            let known = page.is_none_or(|page| page.headings.contains(heading));
            if !heading.is_empty() && !known {
                "has no such heading"
            } else if file.starts_with(BOOK) && !(target.starts_with(BOOK) && page.is_some()) {
                "isn't a page of the book: name it instead"
            } else {
                return None;
            }
        }
        _ => "isn't there",
    };
    Some(format!("{file}:{line}: {to} {why}"))
}

/// The path that `link` means in the file `from`, if it stays in the project.
fn resolve(from: &str, link: &str) -> Option<String> {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

/// Pages that aren't in the book's list once (rule B3).
fn summary(pages: &BTreeMap<&str, Page>) -> Vec<String> {
    let listed: Vec<PathBuf> = pages
        .get(SUMMARY)
        .into_iter()
        .flat_map(|page| &page.links)
        .map(|link| Path::new(BOOK).join(&link.to))
        .collect();
    pages
        .keys()
        .filter(|file| file.starts_with(BOOK) && **file != SUMMARY)
        .filter_map(|file| {
            let times = listed.iter().filter(|path| *path == Path::new(file));
            match times.count() {
                1 => None,
                count => Some(format!("{SUMMARY} has {file} {count} times")),
            }
        })
        .collect()
}
