//! What a Markdown file links to, names, and can be linked to.

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};
use std::collections::{BTreeMap, BTreeSet};

/// A link of a page.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) line: usize,
    /// As it is written.
    pub(super) to: String,
}

/// A Markdown file.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) links: Vec<Link>,
    /// Lines and texts in backquotes.
    pub(super) names: Vec<(usize, String)>,
    /// Headings, as links call them.
    pub(super) headings: BTreeSet<String>,
}

impl Page {
    /// Reads a file's text.
    pub(super) fn read(text: &str) -> Self {
        let mut page = Self::default();
        let mut heading: Option<String> = None;
        let mut seen = BTreeMap::new();
        let line = |at: usize| {
            text.as_bytes()[..at]
                .iter()
                .filter(|b| **b == b'\n')
                .count()
                + 1
        };
        for (event, range) in Parser::new_ext(text, Options::ENABLE_TABLES).into_offset_iter() {
            match event {
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    page.links.push(Link {
                        line: line(range.start),
                        to: dest_url.into_string(),
                    });
                }
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => {
                    let id = identifier(&heading.take().unwrap_or_default());
                    let times = seen.entry(id.clone()).or_insert(0);
                    page.headings.insert(match *times {
                        0 => id,
                        again => format!("{id}-{again}"),
                    });
                    *times += 1;
                }
                Event::Text(text) | Event::Code(text) if heading.is_some() => {
                    heading.get_or_insert_default().push_str(&text);
                }
                Event::Code(text) => page.names.push((line(range.start), text.into_string())),
                _ => {}
            }
        }
        page
    }
}

/// What links call a heading, on GitHub as in an mdBook.
fn identifier(heading: &str) -> String {
    heading
        .trim()
        .chars()
        .filter_map(|c| match c {
            ' ' => Some('-'),
            _ if c.is_alphanumeric() || c == '-' || c == '_' => Some(c.to_ascii_lowercase()),
            _ => None,
        })
        .collect()
}
