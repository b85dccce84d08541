//! Listings: the same rows as a table, as JSON or as fields for a script.
//!
//! Terms     column     a named cell of a row; some are shown only when `-o`
//!                      names them
//!           parsable   `-o FIELD,... -p`: no header, a colon between fields; a
//!                      colon or a backslash inside of a field has a backslash
//!                      before it, as dladm(8) does it
//!
//! Rules     L1  `-p` alone is "parsable" everywhere; where a command has a
//!               port, `-p PORT` names it, so `-p g1 -o rule -p` is both. The
//!               long forms are `--port PORT` and `--parsable`.
//!           L2  Parsable output needs `-o`, so that a script doesn't break
//!               when a listing gets another column.

use crate::cell::Cell;
use crate::failure::Failure;
use crate::session::Session;
use clap::Args;
use opte_core::api::{Command, Name, Page, Response};
use serde::Serialize;
use std::io::Write;

/// How a listing is to be printed.
#[derive(Args, Debug, Default)]
pub(crate) struct Format {
    /// Print JSON
    #[arg(long, conflicts_with_all = ["output"], help_heading = "Output")]
    pub(crate) json: bool,

    /// Show these fields, or "all"; a wrong one is answered with their names
    #[arg(
        short,
        long,
        value_name = "FIELD",
        value_delimiter = ',',
        help_heading = "Output"
    )]
    output: Option<Vec<String>>,

    /// Print no header and a colon between fields; \: and \\ inside of them
    #[arg(short = 'P', long, requires = "output", help_heading = "Output")]
    parsable: bool,
}

/// A listing's options where there is no port.
#[derive(Args, Debug)]
pub(crate) struct PlainFormat {
    #[command(flatten)]
    format: Format,

    /// The same as --parsable
    #[arg(short = 'p', requires = "output", help_heading = "Output")]
    short_parsable: bool,
}

impl PlainFormat {
    /// The format that is asked for.
    pub(crate) fn resolve(self) -> Format {
        Format {
            parsable: self.format.parsable || self.short_parsable,
            ..self.format
        }
    }
}

/// A listing's options where there is a port (rule L1).
#[derive(Args, Debug)]
pub(crate) struct PortFormat {
    /// The port; without a value, -p is the same as --parsable
    #[arg(short = 'p', long = "port", value_name = "PORT")]
    #[arg(num_args = 0..=1, default_missing_value = "", action = clap::ArgAction::Append)]
    port: Vec<String>,

    #[command(flatten)]
    format: Format,
}

impl PortFormat {
    /// The port, if there is one, and the format.
    pub(crate) fn resolve_optional(mut self) -> Result<(Option<Name>, Format), Failure> {
        let mut ports = self.port.iter().filter(|port| !port.is_empty());
        let port = ports.next();
        if let Some(second) = ports.next() {
            let first = port.map_or("", String::as_str);
            let text = format!("one port at a time, not both {first} and {second}");
            return Err(Failure::Usage(text));
        }
        let port = port
            .map(|text| text.parse())
            .transpose()
            .map_err(|why: &str| Failure::Usage(format!("--port: {why}")))?;
        if self.port.iter().any(String::is_empty) {
            self.format.parsable = true;
        }
        if self.format.parsable && self.format.output.is_none() {
            return Err(Failure::Usage(
                "parsable output needs fields: -o FIELD,... -p".into(),
            ));
        }
        Ok((port, self.format))
    }

    /// The port and the format.
    pub(crate) fn resolve(self) -> Result<(Name, Format), Failure> {
        match self.resolve_optional()? {
            (Some(port), format) => Ok((port, format)),
            (None, _) => Err(Failure::Usage("which port? Name it with -p PORT".into())),
        }
    }
}

impl Format {
    /// Whether a column of which this is true is shown, where none is that
    /// nobody asked for. JSON has all of them.
    pub(crate) fn shows(&self, is_it: fn(&str) -> bool) -> bool {
        let mut named = self.output.iter().flatten();
        self.json || named.any(|name| name == "all" || is_it(name))
    }

    /// Whether this is the table for people, with the columns of our choice.
    pub(crate) const fn is_default(&self) -> bool {
        !self.json && self.output.is_none()
    }
}

/// A column of a listing.
pub(crate) struct Column<T> {
    name: &'static str,
    shown: bool,
    cell: fn(&T) -> Cell,
}

impl<T> Column<T> {
    /// A column that is always shown.
    pub(crate) const fn new(name: &'static str, cell: fn(&T) -> Cell) -> Self {
        Self {
            name,
            shown: true,
            cell,
        }
    }

    /// A column that is shown when `-o` names it.
    pub(crate) const fn extra(name: &'static str, cell: fn(&T) -> Cell) -> Self {
        Self {
            shown: false,
            ..Self::new(name, cell)
        }
    }
}

enum Style {
    Table,
    Records,
    Parsable,
    Json,
}

/// Prints rows as they come.
pub(crate) struct Printer<T: 'static> {
    columns: Vec<&'static Column<T>>,
    style: Style,
    /// Width of each column so far: it only grows, so that pages that come
    /// later are out of line at worst, never cut.
    widths: Vec<usize>,
    /// Whether a column's words stand at its right edge, as far as is known.
    right: Vec<bool>,
    begun: bool,
}

impl<T: Serialize> Printer<T> {
    /// A printer of these columns in this format.
    pub(crate) fn new(format: &Format, columns: &'static [Column<T>]) -> Result<Self, Failure> {
        let style = match format {
            Format { json: true, .. } => Style::Json,
            Format { parsable: true, .. } => Style::Parsable,
            _ => Style::Table,
        };
        let columns: Vec<_> = match format.output.as_deref() {
            None => columns.iter().filter(|column| column.shown).collect(),
            Some([all]) if all == "all" => columns.iter().collect(),
            Some(names) => names
                .iter()
                .map(|name| find(columns, name))
                .collect::<Result<_, _>>()?,
        };
        Ok(Self {
            widths: vec![0; columns.len()],
            right: vec![false; columns.len()],
            columns,
            style,
            begun: false,
        })
    }

    /// A table of certain columns.
    pub(crate) fn table(columns: &'static [Column<T>], names: &[&str]) -> Self {
        let named = |name: &&str| columns.iter().find(|column| column.name == *name);
        let columns: Vec<_> = names.iter().filter_map(named).collect();
        Self {
            widths: vec![0; columns.len()],
            right: vec![false; columns.len()],
            columns,
            style: Style::Table,
            begun: false,
        }
    }

    /// A block of lines for each row, with a line for each column.
    pub(crate) fn records(columns: &'static [Column<T>]) -> Self {
        let columns: Vec<_> = columns.iter().collect();
        Self {
            widths: vec![0; columns.len()],
            right: vec![false; columns.len()],
            columns,
            style: Style::Records,
            begun: false,
        }
    }

    /// Prints some rows.
    pub(crate) fn rows(&mut self, out: &mut impl Write, rows: &[T]) -> Result<(), Failure> {
        if rows.is_empty() {
            return Ok(());
        }
        match self.style {
            Style::Table => self.table_rows(out, rows)?,
            Style::Records => self.record_rows(out, rows)?,
            Style::Parsable => self.parsable_rows(out, rows)?,
            Style::Json => self.json_rows(out, rows)?,
        }
        self.begun = true;
        Ok(())
    }

    /// Prints what belongs after the last row.
    pub(crate) fn finish(self, out: &mut impl Write) -> Result<(), Failure> {
        if matches!(self.style, Style::Json) {
            out.write_all(if self.begun { b"\n]\n" } else { b"[]\n" })?;
        }
        Ok(())
    }

    fn table_rows(&mut self, out: &mut impl Write, rows: &[T]) -> Result<(), Failure> {
        let table: Vec<Vec<Cell>> = rows
            .iter()
            .map(|row| self.columns.iter().map(|c| (c.cell)(row)).collect())
            .collect();
        let text: Vec<Vec<String>> = table
            .iter()
            .map(|row| row.iter().map(Cell::human).collect())
            .collect();
        let heads: Vec<String> = self.columns.iter().map(|c| c.name.to_uppercase()).collect();
        for line in text.iter().chain([&heads]) {
            for (width, word) in self.widths.iter_mut().zip(line) {
                *width = (*width).max(word.chars().count());
            }
        }
        // Numbers stand at the right edge of their column, unless it has text.
        for (at, right) in self.right.iter_mut().enumerate() {
            let cells = || table.iter().filter_map(|row| row.get(at));
            if cells().any(|cell| matches!(cell, Cell::Text(_))) {
                *right = false;
            } else if cells().any(Cell::is_number) {
                *right = true;
            }
        }
        let heads = (!self.begun).then_some(&heads);
        for line in heads.into_iter().chain(&text) {
            let padded = line.iter().zip(&self.widths).zip(&self.right);
            let words: Vec<String> = padded
                .map(|((word, width), right)| {
                    if *right {
                        format!("{word:>width$}")
                    } else {
                        format!("{word:<width$}")
                    }
                })
                .collect();
            writeln!(out, "{}", words.join("  ").trim_end())?;
        }
        Ok(())
    }

    fn record_rows(&mut self, out: &mut impl Write, rows: &[T]) -> Result<(), Failure> {
        let names = self.columns.iter().map(|column| column.name.len());
        let width = names.max().unwrap_or(0).saturating_add(1);
        for row in rows {
            if self.begun {
                writeln!(out)?;
            }
            self.begun = true;
            for column in &self.columns {
                let name = format!("{}:", column.name);
                writeln!(out, "{name:<width$} {}", (column.cell)(row).human())?;
            }
        }
        Ok(())
    }

    fn parsable_rows(&self, out: &mut impl Write, rows: &[T]) -> Result<(), Failure> {
        // Where there is nothing to tell apart, a line is the field as it is.
        let field: fn(&str) -> String = match self.columns.len() {
            1 => |field| String::from(field),
            _ => escape,
        };
        for row in rows {
            let cells = self.columns.iter().map(|column| (column.cell)(row).raw());
            let fields: Vec<String> = cells.map(|cell| field(&cell)).collect();
            writeln!(out, "{}", fields.join(":"))?;
        }
        Ok(())
    }

    fn json_rows(&mut self, out: &mut impl Write, rows: &[T]) -> Result<(), Failure> {
        for row in rows {
            out.write_all(if self.begun { b",\n  " } else { b"[\n  " })?;
            self.begun = true;
            serde_json::to_writer(&mut *out, row).map_err(std::io::Error::from)?;
        }
        Ok(())
    }
}

fn find<T>(columns: &'static [Column<T>], name: &str) -> Result<&'static Column<T>, Failure> {
    columns.iter().find(|c| c.name == name).ok_or_else(|| {
        let known: Vec<&str> = columns.iter().map(|c| c.name).collect();
        Failure::Usage(format!(
            "there is no field `{name}`; there are {}",
            known.join(", ")
        ))
    })
}

fn escape(field: &str) -> String {
    let mut text = String::with_capacity(field.len());
    for c in field.chars() {
        if matches!(c, ':' | '\\') {
            text.push('\\');
        }
        text.push(c);
    }
    text
}

/// Prints all pages of a listing.
pub(crate) fn print_pages<T: Serialize>(
    session: &mut Session,
    format: &Format,
    columns: &'static [Column<T>],
    request: impl Fn(u64) -> Command,
    expect: fn(Response) -> Option<Page<T>>,
) -> Result<(), Failure> {
    let mut printer = Printer::new(format, columns)?;
    session.pages(request, expect, |session, rows| {
        printer.rows(&mut session.out, rows)
    })?;
    printer.finish(&mut session.out)
}

/// Prints a listing that came in one piece.
pub(crate) fn print_rows<T: Serialize>(
    session: &mut Session,
    format: &Format,
    columns: &'static [Column<T>],
    fetch: impl FnOnce(&mut Session) -> Result<Vec<T>, Failure>,
) -> Result<(), Failure> {
    let mut printer = Printer::new(format, columns)?;
    let rows = fetch(session)?;
    printer.rows(&mut session.out, &rows)?;
    printer.finish(&mut session.out)
}
