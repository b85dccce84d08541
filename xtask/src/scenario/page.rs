//! Pages whose commands are done as they say, and compared with what they show.
//!
//! Terms     block     a fenced block of a page that is marked `sh`
//!           shown     the block marked `text` that follows one at once
//!
//! Rules     T1  one shell reads all blocks, in their order. A block ends before
//!               the next one begins.
//!           T2  what a block prints is what is shown for it, and nothing if
//!               nothing is; [`plain`] says what may differ.

use crate::{install, workspace};
use anyhow::{Context, Result, ensure};
use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

/// What the shell prints when a block is over.
const OVER: &str = "-- the block is over";
/// How long a block may take: the first one may have to wait for cargo.
const LIMIT: Duration = Duration::from_secs(120);

/// Does what a page of the sources says, or its part below one heading.
///
/// # Errors
///
/// A block that prints something else than is shown, or doesn't end; a page or
/// a heading that isn't there.
pub(super) fn follow(page: &str, heading: Option<&str>) -> Result<()> {
    let text = fs::read_to_string(workspace::root().join(page)).context(page.to_owned())?;
    let part = match heading {
        Some(heading) => {
            section(&text, heading).with_context(|| format!("{page}: no {heading}"))?
        }
        None => &text,
    };
    let mut shell = Shell::start()?;
    let blocks = blocks(part);
    let commands: String = blocks.iter().map(|block| block.text.as_str()).collect();
    for Block { text, shown } in blocks {
        println!("$ {}", text.trim_end());
        let printed = shell.take(&text)?;
        println!("{printed}");
        let (is, should) = (plain(&printed, &commands), plain(&shown, &commands));
        ensure!(
            is == should,
            "{page}: this prints something else than is shown:\n{text}\n\
             -- printed\n{printed}\n-- shown\n{shown}\n-- compared\n{is:#?}\n{should:#?}"
        );
    }
    Ok(())
}

/// What is below a heading of the second rank, to the next one.
fn section<'p>(page: &'p str, heading: &str) -> Option<&'p str> {
    let (_, part) = page.split_once(&format!("\n## {heading}\n"))?;
    Some(part.split_once("\n## ").map_or(part, |(part, _)| part))
}

/// A shell that is told one block after the other.
struct Shell {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
}

impl Shell {
    fn start() -> Result<Self> {
        let (output, errors) = std::io::pipe()?;
        let mut command = Command::new("bash");
        command
            .current_dir(workspace::root())
            .env("PATH", install::search_path())
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::piped())
            .stdout(errors.try_clone()?)
            .stderr(errors);
        let mut child = command.spawn().context("can't start bash")?;
        // The reader sees the end only when nobody can write any more.
        drop(command);
        let input = child.stdin.take().context("no input")?;
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            child,
            input,
            lines,
        })
    }

    /// Has a block done; returns what it printed.
    fn take(&mut self, block: &str) -> Result<String> {
        // What ends a block has to be read by whichever shell reads then.
        writeln!(self.input, "{block}\necho; echo '{OVER}'")?;
        let mut printed = String::new();
        loop {
            let line = self.lines.recv_timeout(LIMIT);
            let line = line.with_context(|| format!("after {LIMIT:?}:\n{block}{printed}"))?;
            if line == OVER {
                return Ok(printed);
            }
            printed.push_str(&line);
            printed.push('\n');
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // It fails only when the shell has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Commands, and what the page shows of what they print.
#[derive(Debug, Default, PartialEq, Eq)]
struct Block {
    text: String,
    shown: String,
}

/// The blocks of a page.
fn blocks(page: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    // What a block's text is for: commands, what they print, or nothing.
    let mut kind = String::new();
    let mut behind_commands = false;
    for event in Parser::new_ext(page, Options::ENABLE_TABLES) {
        match event {
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(name))) => {
                kind = match &*name {
                    "text" if !behind_commands => String::new(),
                    name => name.to_owned(),
                };
                if kind == "sh" {
                    blocks.push(Block::default());
                }
            }
            Event::End(TagEnd::CodeBlock) => {
                behind_commands = kind == "sh";
                kind.clear();
            }
            Event::Start(_) => behind_commands = false,
            Event::Text(text) => match (kind.as_str(), blocks.last_mut()) {
                ("sh", Some(block)) => block.text.push_str(&text),
                ("text", Some(block)) => block.shown.push_str(&text),
                _ => {}
            },
            _ => {}
        }
    }
    blocks
}

/// Columns whose numbers depend on when one looks, or on chance.
const VARYING: [&str; 5] = ["PACKETS", "BYTES", "IDLE", "MAPPINGS", "RESTING"];

/// What has to be the same: lines without empty ones, cells without the space
/// between them, and a star for times, for what varies (rule T2), for `stats`'
/// counters, and for ports that no command names. What ping adds when replies
/// took longer than it waits between requests is left out.
fn plain(text: &str, commands: &str) -> Vec<String> {
    let mut varying: Vec<usize> = Vec::new();
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines
        .map(|line| {
            let line = line.split_once(", pipe ").map_or(line, |(line, _)| line);
            let cells: Vec<&str> = line.split_whitespace().collect();
            let header = cells.iter().any(|cell| VARYING.contains(cell));
            if header {
                let all = cells.iter().enumerate();
                let here = all.filter(|(_, cell)| VARYING.contains(cell));
                varying = here.map(|(at, _)| at).collect();
                return cells.join(" ");
            }
            // Identifiers of ping may be any number, those of the page as well.
            let commands = if cells.contains(&"icmp") {
                ""
            } else {
                commands
            };
            let counter = matches!(cells[..], ["state" | "count" | "drop", _, _]);
            let star = |(at, cell): (usize, &&str)| -> String {
                let chance = varying.contains(&at) || counter && at == 2;
                let next = cells.get(at + 1).copied().unwrap_or_default();
                match chance || is_time(cell, next) {
                    true => "*".to_owned(),
                    false => without_chance(cell, commands),
                }
            };
            let cells: Vec<String> = cells.iter().enumerate().map(star).collect();
            cells.join(" ")
        })
        .collect()
}

/// A cell with a star for each number behind a colon or an equals sign that the
/// page's commands don't have in such a place: a port that somebody chose.
fn without_chance(cell: &str, commands: &str) -> String {
    let mut text = String::new();
    let digits = |c: char| c.is_ascii_digit();
    for part in cell.split_inclusive([':', '=']) {
        let end = part.find(|c| !digits(c)).unwrap_or(part.len());
        let (number, rest) = part.split_at(end);
        let chosen = match text.chars().next_back() {
            Some(sign @ (':' | '=')) if !number.is_empty() => {
                let behind = commands.split(sign).skip(1);
                let mut numbers = behind.map(|text| text.split(|c| !digits(c)).next());
                !numbers.any(|named| named == Some(number))
            }
            _ => false,
        };
        text += if chosen { "*" } else { number };
        text += rest;
    }
    text
}

/// Whether a word is a time, as `1.5s`, `20ms` or, before a unit, `0.1/0.2`.
fn is_time(word: &str, next: &str) -> bool {
    const UNITS: [&str; 6] = ["ns", "µs", "us", "ms", "s", "milliseconds"];
    let digits = word.trim_end_matches(|c: char| !c.is_ascii_digit());
    let number = digits
        .chars()
        .all(|c| c.is_ascii_digit() || "./".contains(c));
    let unit = &word[digits.len()..];
    let unit = unit.trim_end_matches(',');
    let next = next.trim_end_matches(',');
    !digits.is_empty() && number && (UNITS.contains(&unit) || UNITS.contains(&next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_commands_and_what_they_print() {
        let page = "```text\npicture\n```\n\nA\n\n```sh\na\nb\n```\n\n```text\nc\n```\n\n\
                    ```sh\nd\n```\n\nThen:\n\n```text\nnot shown\n```\n\n```toml\ne\n```\n";
        let block = |text: &str, shown: &str| Block {
            text: text.to_owned(),
            shown: shown.to_owned(),
        };
        assert_eq!(blocks(page), [block("a\nb\n", "c\n"), block("d\n", "")]);
    }

    #[test]
    fn a_part_ends_with_the_next_heading() {
        let page = "# A\n\n## B\n\nb\n\n### C\n\nc\n\n## D\n\nd\n";
        assert_eq!(section(page, "B"), Some("\nb\n\n### C\n\nc\n"));
        assert_eq!(section(page, "D"), Some("\nd\n"));
        assert_eq!(section(page, "C"), None);
    }

    #[test]
    fn times_and_counters_may_differ_and_nothing_else() {
        let same = [
            (
                "3 received, 0% packet loss, time 402ms",
                "3 received, 0% packet loss, time 7ms",
            ),
            ("rtt = 0.1/0.2/0.3/0.1 ms", "rtt = 4.1/5.2/9.3/0.7 ms"),
            (
                "rtt = 0.1/0.2/0.3/0.1 ms",
                "rtt = 4.1/5.2/1200.3/0.7 ms, pipe 2",
            ),
            ("after 1501 milliseconds", "after 1502 milliseconds"),
            ("drop  no_route   3", "drop no_route 17"),
            (
                "10.0.0.1:34567 sled=x,port=50001",
                "10.0.0.1:44444 sled=x,port=2",
            ),
            ("icmp 10.0.0.1:8080", "icmp 10.0.0.1:7"),
            (
                "ID  PACKETS  IDLE  RULE\n 1   3   20ms dir=in",
                "ID PACKETS IDLE RULE\n1 4 1.2s dir=in\n\n",
            ),
        ];
        let plain = |text| plain(text, "ping 10.0.0.1:8080 priority=1");
        for (a, b) in same {
            assert_eq!(plain(a), plain(b));
        }
        let other = [
            ("0% packet loss", "100% packet loss"),
            ("10.0.0.1", "10.0.0.2"),
            ("10.0.0.1:8080", "10.0.0.1:80"),
            ("priority=1", "priority=2"),
            ("drop no_route 3", "drop bad_ip 3"),
            ("ID PACKETS\n1 3", "ID PACKETS\n2 3"),
            ("a", "a\nb"),
        ];
        for (a, b) in other {
            assert_ne!(plain(a), plain(b));
        }
    }
}
