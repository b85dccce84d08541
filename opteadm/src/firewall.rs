//! `add-fw-rule`, `rm-fw-rule`, `set-fw-rules`.

use crate::failure::Failure;
use crate::session::Session;
use crate::setup::read_input;
use clap::{Args, ValueEnum};
use opte_core::Direction;
use opte_core::api::{Command, FwRule, Name};
use opte_core::limits::FW_RULES_MAX;
use std::path::{Path, PathBuf};

/// `add-fw-rule`.
#[derive(Args, Debug)]
pub(crate) struct Add {
    /// The port
    #[arg(short, long)]
    port: Name,
    /// The rule: dir=in|out priority=NUMBER action=allow|deny|reject, and optionally
    /// hosts=, protocols=, ports= and source_ports= with lists
    #[arg(required = true, value_name = "KEY=VALUE")]
    rule: Vec<String>,
}

impl Add {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let rule = self.rule.join(" ").parse().map_err(Failure::Usage)?;
        session.perform(Command::AddFwRule(self.port, rule))
    }
}

/// A direction on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Dir {
    /// Towards the guest
    In,
    /// From the guest
    Out,
}

/// `rm-fw-rule`.
#[derive(Args, Debug)]
pub(crate) struct Remove {
    /// The port
    #[arg(short, long)]
    port: Name,
    /// The rule's direction
    #[arg(value_enum)]
    dir: Dir,
    /// The rule's id
    id: u32,
}

impl Remove {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let dir = match self.dir {
            Dir::In => Direction::In,
            Dir::Out => Direction::Out,
        };
        session.perform(Command::RmFwRule(self.port, dir, self.id))
    }
}

/// `set-fw-rules`.
#[derive(Args, Debug)]
pub(crate) struct Set {
    /// The port
    #[arg(short, long)]
    port: Name,
    /// File with one rule per line; # begins a comment; - is standard input
    #[arg(default_value = "-")]
    file: PathBuf,
}

impl Set {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let rules = parse_rules(&self.file, &read_input(&self.file)?).map_err(Failure::Usage)?;
        session.perform(Command::SetFwRules(self.port, rules))
    }
}

fn parse_rules(file: &Path, text: &str) -> Result<Vec<FwRule>, String> {
    let mut rules = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.split_once('#').map_or(line, |(rule, _)| rule).trim();
        if line.is_empty() {
            continue;
        }
        let place = || format!("{}:{}", file.display(), at.saturating_add(1));
        let rule = line.parse().map_err(|why| format!("{}: {why}", place()))?;
        if rules.len() >= FW_RULES_MAX {
            return Err(format!("{}: more than {FW_RULES_MAX} rules", place()));
        }
        rules.push(rule);
    }
    Ok(rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_empty_lines_are_skipped_and_errors_have_a_line() {
        let file = Path::new("rules.txt");
        let rules = parse_rules(
            file,
            "# all\n\ndir=in priority=1 action=deny # none\n  dir=out priority=2 action=allow\n",
        );
        assert_eq!(rules.unwrap().len(), 2);
        let error = parse_rules(file, "\ndir=in priority=1\n").unwrap_err();
        assert_eq!(
            error,
            "rules.txt:2: a rule needs action=allow, action=deny or action=reject"
        );
        let many = "dir=in priority=1 action=deny\n".repeat(FW_RULES_MAX + 1);
        let error = parse_rules(file, &many).unwrap_err();
        assert_eq!(error, "rules.txt:16385: more than 16384 rules");
    }
}
