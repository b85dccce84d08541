//! Rules about Rust sources: lengths, and words that must not be there.

use super::{Broken, Finding, Source};
use proc_macro2::{Delimiter, Span, TokenStream, TokenTree};
use syn::visit::{self, Visit};

/// Lines of a file, tests included.
const FILE_LINES_MAX: usize = 800;
/// Lines of a function, from `fn` to its closing brace.
const FN_LINES_MAX: usize = 70;
/// Macros that leave work undone or talk to the developer only.
const MACROS: &[&str] = &["todo", "unimplemented", "dbg"];
/// Crates without a word of unsafe code.
const SAFE: &[&str] = &["opte-core/"];

/// Everything that is wrong with one source.
pub(super) fn inspect(source: &Source<'_>, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let lines = text.lines().count();
    if lines > FILE_LINES_MAX {
        findings.push(Finding {
            path: source.path.to_owned(),
            line: 0,
            what: Broken::TooLong {
                object: source.path.to_owned(),
                lines,
                cap: FILE_LINES_MAX,
            },
        });
    }
    if !text.starts_with("//!") {
        findings.push(source.finding(1, "doesn't open with `//!`: say what the file is for"));
    }
    match text.parse::<TokenStream>() {
        Ok(tokens) => words(source, tokens, &mut findings),
        Err(error) => findings.push(source.finding(0, format!("isn't Rust: {error}"))),
    }
    match syn::parse_file(text) {
        Ok(file) => findings.extend(functions(source, &file)),
        Err(error) => findings.push(source.finding(0, format!("isn't Rust: {error}"))),
    }
    findings
}

/// Looks for forbidden words: in tokens rather than in text, so that comments
/// and strings don't count, and macro bodies do.
fn words(source: &Source<'_>, tokens: TokenStream, findings: &mut Vec<Finding>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    for (at, token) in tokens.iter().enumerate() {
        let next = |n: usize| tokens.get(at + n);
        match token {
            TokenTree::Ident(ident) => {
                let word = ident.to_string();
                if MACROS.contains(&word.as_str()) && is_punct(next(1), '!') {
                    findings.push(source.finding(line(ident.span()), format!("`{word}!`")));
                }
                if word == "unsafe" && SAFE.iter().any(|c| source.path.starts_with(c)) {
                    findings.push(
                        source.finding(line(ident.span()), "`unsafe` in a crate that does without"),
                    );
                }
            }
            TokenTree::Punct(punct) if punct.as_char() == '#' => {
                let inner = is_punct(next(1), '!');
                if let Some(TokenTree::Group(group)) = next(if inner { 2 } else { 1 })
                    && group.delimiter() == Delimiter::Bracket
                {
                    attribute(source, group.stream(), findings);
                }
            }
            TokenTree::Group(group) => words(source, group.stream(), findings),
            _ => {}
        }
    }
}

/// A lint exception is `expect` with a reason, at any depth of `cfg_attr`.
fn attribute(source: &Source<'_>, tokens: TokenStream, findings: &mut Vec<Finding>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    for pair in tokens.windows(2) {
        let [TokenTree::Ident(name), TokenTree::Group(group)] = pair else {
            continue;
        };
        let has_reason = || {
            group
                .stream()
                .into_iter()
                .any(|t| matches!(t, TokenTree::Ident(word) if word == "reason"))
        };
        let problem = match name.to_string().as_str() {
            "allow" => "`allow`: write `expect` with a reason",
            "expect" if !has_reason() => "`expect` without a reason",
            "cfg_attr" => {
                attribute(source, group.stream(), findings);
                continue;
            }
            _ => continue,
        };
        findings.push(source.finding(line(name.span()), problem));
    }
}

fn is_punct(token: Option<&TokenTree>, c: char) -> bool {
    matches!(token, Some(TokenTree::Punct(p)) if p.as_char() == c)
}

fn line(span: Span) -> usize {
    span.start().line
}

/// Functions that are too long.
fn functions(source: &Source<'_>, file: &syn::File) -> Vec<Finding> {
    let mut visitor = Functions {
        source,
        scope: Vec::new(),
        findings: Vec::new(),
    };
    visitor.visit_file(file);
    visitor.findings
}

struct Functions<'a> {
    source: &'a Source<'a>,
    /// Modules, types and functions around the place we are at.
    scope: Vec<String>,
    findings: Vec<Finding>,
}

impl Functions<'_> {
    fn function(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let first = line(signature.fn_token.span);
        let last = block.brace_token.span.close().end().line;
        let lines = last.saturating_sub(first) + 1;
        if lines > FN_LINES_MAX {
            let path = self.source.path;
            let scope: String = self.scope.iter().map(|s| format!("{s}::")).collect();
            self.findings.push(Finding {
                path: path.to_owned(),
                line: first,
                what: Broken::TooLong {
                    object: format!("{path}::{scope}{}", signature.ident),
                    lines,
                    cap: FN_LINES_MAX,
                },
            });
        }
    }

    fn within(&mut self, name: String, visit: impl FnOnce(&mut Self)) {
        self.scope.push(name);
        visit(self);
        self.scope.pop();
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_fn(&mut self, f: &'ast syn::ItemFn) {
        self.function(&f.sig, &f.block);
        self.within(f.sig.ident.to_string(), |v| visit::visit_item_fn(v, f));
    }

    fn visit_impl_item_fn(&mut self, f: &'ast syn::ImplItemFn) {
        self.function(&f.sig, &f.block);
        self.within(f.sig.ident.to_string(), |v| visit::visit_impl_item_fn(v, f));
    }

    fn visit_trait_item_fn(&mut self, f: &'ast syn::TraitItemFn) {
        if let Some(block) = &f.default {
            self.function(&f.sig, block);
        }
        self.within(f.sig.ident.to_string(), |v| {
            visit::visit_trait_item_fn(v, f);
        });
    }

    fn visit_item_mod(&mut self, m: &'ast syn::ItemMod) {
        self.within(m.ident.to_string(), |v| visit::visit_item_mod(v, m));
    }

    fn visit_item_impl(&mut self, i: &'ast syn::ItemImpl) {
        self.within(type_name(&i.self_ty), |v| visit::visit_item_impl(v, i));
    }
}

fn type_name(ty: &syn::Type) -> String {
    match ty {
        syn::Type::Path(path) => path.path.segments.last(),
        syn::Type::Reference(reference) => return type_name(&reference.elem),
        _ => None,
    }
    .map_or_else(|| "_".to_owned(), |segment| segment.ident.to_string())
}
