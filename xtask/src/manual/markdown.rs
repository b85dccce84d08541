//! Manual pages from the little of Markdown that our documents use.

use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, Options, Parser, Tag, TagEnd};

/// A page of `man(7)`'s macros. A table's rows become items: the first cell
/// in bold, the others behind it.
pub(super) fn page(name: &str, section: &str, version: &str, text: &str) -> String {
    let title = name.to_uppercase();
    let mut writer = Writer {
        out: format!(".TH {title} {section} \"\" \"OPTE {version}\" \"OPTE\"\n"),
        line: String::new(),
        table: None,
        verbatim: false,
    };
    for event in Parser::new_ext(text, Options::ENABLE_TABLES) {
        writer.take(&event);
    }
    writer.out
}

struct Writer {
    out: String,
    /// Of the block that is being read.
    line: String,
    table: Option<Table>,
    verbatim: bool,
}

#[derive(Default)]
struct Table {
    head: Vec<String>,
    row: Vec<String>,
}

impl Writer {
    fn take(&mut self, event: &Event<'_>) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(*tag),
            Event::Text(text) if self.verbatim => self.out.push_str(&verbatim(text)),
            Event::Text(text) => self.line.push_str(&escaped(text)),
            Event::Code(text) => {
                self.line.push_str("\\fB");
                self.line.push_str(&escaped(text));
                self.line.push_str("\\fR");
            }
            Event::SoftBreak | Event::HardBreak => self.line.push('\n'),
            _ => {}
        }
    }

    fn start(&mut self, tag: &Tag<'_>) {
        match tag {
            Tag::CodeBlock(CodeBlockKind::Fenced(_) | CodeBlockKind::Indented) => {
                self.verbatim = true;
                self.out.push_str(".PP\n.RS 4\n.nf\n");
            }
            Tag::Table(_) => self.table = Some(Table::default()),
            Tag::Item => self.out.push_str(".IP \\(bu 2\n"),
            Tag::Emphasis => self.line.push_str("\\fI"),
            Tag::Strong => self.line.push_str("\\fB"),
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Heading(level) => {
                let macro_name = match level {
                    HeadingLevel::H1 | HeadingLevel::H2 => ".SH",
                    _ => ".SS",
                };
                let text = std::mem::take(&mut self.line);
                self.put(&format!("{macro_name} \"{}\"", text.replace('"', "\\(dq")));
            }
            TagEnd::Paragraph => {
                let text = std::mem::take(&mut self.line);
                self.put(&format!(".PP\n{}", shielded(&text)));
            }
            TagEnd::Item => {
                let text = std::mem::take(&mut self.line);
                if !text.is_empty() {
                    self.put(&shielded(&text));
                }
            }
            TagEnd::CodeBlock => {
                self.verbatim = false;
                self.out.push_str(".fi\n.RE\n");
            }
            TagEnd::Emphasis | TagEnd::Strong => self.line.push_str("\\fR"),
            TagEnd::TableCell => {
                let cell = std::mem::take(&mut self.line);
                if let Some(table) = &mut self.table {
                    table.row.push(cell);
                }
            }
            TagEnd::TableHead => {
                if let Some(table) = &mut self.table {
                    table.head = std::mem::take(&mut table.row);
                }
            }
            TagEnd::TableRow => self.row(),
            TagEnd::Table => self.table = None,
            _ => {}
        }
    }

    /// An item of a list: the first cell, then the others.
    fn row(&mut self) {
        let Some(table) = &mut self.table else { return };
        let row = std::mem::take(&mut table.row);
        let mut cells = row.iter().zip(&table.head);
        let tag = cells.next().map_or("", |(cell, _)| cell).to_owned();
        let mut text = String::new();
        for (number, (cell, head)) in cells.enumerate() {
            if number > 0 {
                text.push_str(&format!("\n.br\n{head}: "));
            }
            text.push_str(cell);
        }
        self.put(&format!(".TP\n{}\n{}", shielded(&tag), shielded(&text)));
    }

    fn put(&mut self, text: &str) {
        self.out.push_str(text.trim_end());
        self.out.push('\n');
    }
}

/// Text in which nothing is a request, and hyphens can be copied.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-")
}

fn verbatim(text: &str) -> String {
    let lines = escaped(text);
    let lines = lines.lines().map(|line| shield(line.trim_end()) + "\n");
    lines.collect()
}

/// Lines that begin as a request would are none, but breaks that are meant.
fn shielded(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(shield).collect();
    lines.join("\n")
}

fn shield(line: &str) -> String {
    let is_request = line.starts_with(['.', '\'']) && line != ".br";
    if is_request {
        format!("\\&{line}")
    } else {
        line.to_owned()
    }
}
