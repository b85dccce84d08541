//! `list-layers`, `dump-layer`, `clear-lft`.

use crate::cell::Cell;
use crate::failure::Failure;
use crate::listing::{Column, PortFormat, Printer, print_pages, print_rows};
use crate::session::Session;
use crate::text;
use clap::Args;
use opte_core::LayerId;
use opte_core::api::dump::{
    DefaultAction, FlowKey, LayerDumpEntry, LayerEntry, LayerFlow, RuleEntry, RuleText,
};
use opte_core::api::{Command, Name, Page, Response};
use std::io::Write;

/// `list-layers`.
#[derive(Args, Debug)]
pub(crate) struct List {
    #[command(flatten)]
    format: PortFormat,
}

impl List {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let (port, format) = self.format.resolve()?;
        print_rows(session, &format, LAYERS, |session| {
            session.call(Command::ListLayers(port), |response| match response {
                Response::Layers(layers) => Some(layers),
                _ => None,
            })
        })
    }
}

fn default_action(action: DefaultAction) -> Cell {
    Cell::text(match action {
        DefaultAction::Allow => "allow",
        DefaultAction::StatefulAllow => "stateful-allow",
        DefaultAction::Deny => "deny",
    })
}

const LAYERS: &[Column<LayerEntry>] = &[
    Column::new("layer", |l| Cell::text(l.layer)),
    Column::new("default_in", |l| default_action(l.default_in)),
    Column::new("default_out", |l| default_action(l.default_out)),
    Column::new("rules_in", |l| Cell::count(l.rules_in)),
    Column::new("rules_out", |l| Cell::count(l.rules_out)),
    Column::new("flows", |l| Cell::count(l.flows)),
    Column::extra("default_hits_in", |l| Cell::Count(l.default_hits_in)),
    Column::extra("default_hits_out", |l| Cell::Count(l.default_hits_out)),
];

/// `clear-lft`.
#[derive(Args, Debug)]
pub(crate) struct ClearLft {
    /// The port
    #[arg(short, long)]
    port: Name,
    /// The layer
    layer: LayerId,
}

impl ClearLft {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        session.perform(Command::ClearLft(self.port, self.layer))
    }
}

/// `dump-layer`.
#[derive(Args, Debug)]
pub(crate) struct Dump {
    #[command(flatten)]
    format: PortFormat,
    /// The layer: gateway, firewall, router, nat or overlay
    layer: LayerId,
    /// Print only the rules, in the form in which set-fw-rules and
    /// add-router-entry take them
    #[arg(long, conflicts_with_all = ["json", "output", "parsable"])]
    rules: bool,
}

impl Dump {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let (port, format) = self.format.resolve()?;
        let request = |cursor| Command::DumpLayer(port, self.layer, cursor);
        if self.rules {
            session.pages(request, layer_page, |session, entries| {
                let out = &mut session.out;
                entries.iter().try_for_each(|entry| rule_line(out, entry))
            })
        } else if format.is_default() {
            sections(session, request)
        } else {
            print_pages(session, &format, ENTRIES, request, layer_page)
        }
    }
}

fn layer_page(response: Response) -> Option<Page<LayerDumpEntry>> {
    match response {
        Response::Layer(page) => Some(page),
        _ => None,
    }
}

/// A rule as text that can be fed back; what the engine made itself is a comment.
fn rule_line(out: &mut impl Write, entry: &LayerDumpEntry) -> Result<(), Failure> {
    if let LayerDumpEntry::Rule(rule) = entry {
        match &rule.predicates {
            RuleText::Firewall(rule) => writeln!(out, "{rule}")?,
            RuleText::Route(route) => writeln!(out, "{route}")?,
            RuleText::BuiltIn(matches, does) => writeln!(out, "# {matches} -> {does}")?,
        }
    }
    Ok(())
}

/// For people: the rules, then the flows, each with the columns that it has.
fn sections(session: &mut Session, request: impl Fn(u64) -> Command) -> Result<(), Failure> {
    let mut rules = Printer::table(ENTRIES, RULE_FIELDS);
    let mut flows = Printer::table(ENTRIES, FLOW_FIELDS);
    let mut previous = None;
    session.pages(request, layer_page, |session, entries| {
        let out = &mut session.out;
        let is_rule = |entry: &LayerDumpEntry| matches!(entry, LayerDumpEntry::Rule(_));
        for run in entries.chunk_by(|a, b| is_rule(a) == is_rule(b)) {
            let kind = run.first().map(is_rule);
            if previous.is_some() && previous != kind {
                writeln!(out)?;
            }
            previous = kind;
            match kind {
                Some(true) => rules.rows(out, run)?,
                _ => flows.rows(out, run)?,
            }
        }
        Ok(())
    })
}

const RULE_FIELDS: &[&str] = &["id", "dir", "priority", "packets", "bytes", "idle", "rule"];
const FLOW_FIELDS: &[&str] = &[
    "proto", "local", "remote", "outside", "opened", "by", "idle",
];

fn rule(entry: &LayerDumpEntry, cell: impl FnOnce(&RuleEntry) -> Cell) -> Cell {
    match entry {
        LayerDumpEntry::Rule(rule) => cell(rule),
        LayerDumpEntry::Flow(_) => Cell::None,
    }
}

fn flow(entry: &LayerDumpEntry, cell: impl FnOnce(&LayerFlow) -> Cell) -> Cell {
    match entry {
        LayerDumpEntry::Rule(_) => Cell::None,
        LayerDumpEntry::Flow(flow) => cell(flow),
    }
}

/// The guest's end of a flow.
pub(crate) fn local(key: &FlowKey) -> String {
    text::end(key.proto, key.local, key.local_port)
}

/// The far end of a flow; with what the guest's messages are, for ICMP.
pub(crate) fn remote(key: &FlowKey) -> String {
    if key.proto.is_icmp() {
        return text::end(key.proto, key.remote, text::icmp_kind(key.remote_port));
    }
    text::end(key.proto, key.remote, key.remote_port)
}

const ENTRIES: &[Column<LayerDumpEntry>] = &[
    Column::new("kind", |e| {
        Cell::text(match e {
            LayerDumpEntry::Rule(_) => "rule",
            LayerDumpEntry::Flow(_) => "flow",
        })
    }),
    Column::new("id", |e| rule(e, |r| Cell::count(r.id))),
    Column::new("dir", |e| rule(e, |r| Cell::text(r.dir))),
    Column::new("priority", |e| {
        rule(e, |r| r.priority.map_or(Cell::None, Cell::count))
    }),
    Column::new("packets", |e| rule(e, |r| Cell::Count(r.packets))),
    Column::new("bytes", |e| rule(e, |r| Cell::Bytes(r.bytes))),
    Column::new("idle", |e| match e {
        LayerDumpEntry::Rule(rule) => rule.idle_ms.map_or(Cell::None, Cell::Millis),
        LayerDumpEntry::Flow(flow) => Cell::Millis(flow.idle_ms),
    }),
    Column::new("rule", |e| {
        rule(e, |r| match &r.predicates {
            RuleText::Firewall(rule) => Cell::text(rule),
            RuleText::Route(route) => Cell::text(route),
            RuleText::BuiltIn(matches, does) => Cell::Text(format!("{matches} -> {does}")),
        })
    }),
    Column::new("proto", |e| flow(e, |f| Cell::text(f.key.proto))),
    Column::new("local", |e| flow(e, |f| Cell::Text(local(&f.key)))),
    Column::new("remote", |e| flow(e, |f| Cell::Text(remote(&f.key)))),
    Column::new("outside", |e| {
        flow(e, |f| Cell::maybe(f.outside.as_ref().map(local)))
    }),
    Column::new("opened", |e| flow(e, |f| Cell::text(f.opened))),
    Column::new("by", |e| {
        flow(e, |f| match f.rule {
            0 => Cell::text("default"),
            id => Cell::count(id),
        })
    }),
];
