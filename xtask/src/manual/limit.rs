//! The constants of a file with their values and what is written about them.

use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use syn::{BinOp, Expr, ExprLit, Item, Lit, Meta};

/// A constant.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Limit {
    pub(super) name: String,
    pub(super) value: u64,
    /// As a paragraph.
    pub(super) about: String,
}

/// All of a file, as they stand there.
pub(super) fn all(source: &str) -> Result<Vec<Limit>> {
    let mut known = BTreeMap::new();
    let mut limits = Vec::new();
    for item in syn::parse_file(source)?.items {
        let Item::Const(item) = item else { continue };
        let name = item.ident.to_string();
        let value = value(&item.expr, &known).with_context(|| name.clone())?;
        known.insert(name.clone(), value);
        let lines: Vec<String> = item.attrs.iter().filter_map(|a| doc(&a.meta)).collect();
        limits.push(Limit {
            name,
            value,
            about: lines.join(" "),
        });
    }
    Ok(limits)
}

/// A line of documentation.
fn doc(meta: &Meta) -> Option<String> {
    match meta {
        Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
            Expr::Lit(ExprLit {
                lit: Lit::Str(text),
                ..
            }) => Some(text.value().trim().to_owned()),
            _ => None,
        },
        _ => None,
    }
}

/// What an expression of numbers and earlier constants is.
fn value(expr: &Expr, known: &BTreeMap<String, u64>) -> Result<u64> {
    match expr {
        Expr::Lit(ExprLit {
            lit: Lit::Int(number),
            ..
        }) => Ok(number.base10_parse()?),
        Expr::Path(path) => {
            let name = path.path.get_ident().context("a path")?.to_string();
            known.get(&name).copied().context(name)
        }
        Expr::Paren(inner) => value(&inner.expr, known),
        Expr::Binary(both) => {
            let (left, right) = (value(&both.left, known)?, value(&both.right, known)?);
            let result = match both.op {
                BinOp::Add(_) => left.checked_add(right),
                BinOp::Mul(_) => left.checked_mul(right),
                BinOp::Shl(_) => u32::try_from(right)
                    .ok()
                    .and_then(|by| left.checked_shl(by)),
                _ => bail!("an operator that isn't known here"),
            };
            result.context("too large")
        }
        _ => bail!("an expression that isn't known here"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_are_computed() {
        let source = "/// One\n/// two.\npub const A: u32 = 1_000;\nuse x::y;\n\
                      /// B.\npub const B: usize = 4 * A + (1 << 4);\n";
        let found = all(source).unwrap();
        assert_eq!(
            (found[0].value, found[0].about.as_str()),
            (1_000, "One two.")
        );
        assert_eq!(found[1].value, 4_016);
        assert!(all("pub const A: u32 = f();").is_err());
    }
}
