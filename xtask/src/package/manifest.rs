//! IPS manifests: actions, one a line (pkg(7)).

use anyhow::{Context, Result, bail, ensure};

/// One action: what it is, its payload or licence file, and its attributes in
/// their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Action {
    pub(super) kind: String,
    pub(super) payload: Option<String>,
    pub(super) attributes: Vec<(String, String)>,
}

impl Action {
    /// An attribute's first value.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.attributes.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The action as a line.
    pub(super) fn line(&self) -> String {
        let mut words = vec![self.kind.clone()];
        words.extend(self.payload.clone());
        words.extend(self.attributes.iter().map(|(name, value)| {
            let quoted = value.is_empty() || value.contains([' ', '\t', '"']);
            match quoted {
                true => format!("{name}=\"{}\"", value.replace('"', "\\\"")),
                false => format!("{name}={value}"),
            }
        }));
        words.join(" ")
    }
}

/// Reads a manifest, with `$(NAME)` replaced.
pub(super) fn parse(text: &str, variables: &[(&str, &str)]) -> Result<Vec<Action>> {
    let mut text = text.replace("\\\n", " ");
    for (name, value) in variables {
        text = text.replace(&format!("$({name})"), value);
    }
    ensure!(!text.contains("$("), "a variable that nobody sets");
    let lines = text.lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| action(line).with_context(|| line.to_owned()))
        .collect()
}

fn action(line: &str) -> Result<Action> {
    let mut words = words(line)?.into_iter();
    let kind = words.next().context("an empty action")?;
    let mut payload = None;
    let mut attributes = Vec::new();
    for word in words {
        match word.split_once('=') {
            Some((name, value)) => attributes.push((name.to_owned(), value.to_owned())),
            None if payload.is_none() && attributes.is_empty() => payload = Some(word),
            None => bail!("`{word}` is no attribute"),
        }
    }
    Ok(Action {
        kind,
        payload,
        attributes,
    })
}

/// Words; quotes keep blanks together.
fn words(line: &str) -> Result<Vec<String>> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for character in line.chars() {
        match character {
            '"' => quoted = !quoted,
            ' ' | '\t' if !quoted => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            other => word.push(other),
        }
    }
    ensure!(!quoted, "a quote without its end");
    if !word.is_empty() {
        words.push(word);
    }
    Ok(words)
}
