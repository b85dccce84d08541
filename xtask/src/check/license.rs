//! What our dependencies are licensed under, and where they come from.
//!
//! Rules     C1  a dependency's licence expression must be satisfiable with
//!               licences of [`ALLOWED`] only.
//!           C2  a dependency comes from crates.io or from this repository.

use super::metadata::{Metadata, Package};
use crate::step::Outcome;
use anyhow::Result;
use std::path::Path;

/// Licences that go with MPL-2.0 in a kernel module and in a tool.
const ALLOWED: &[&str] = &[
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "MIT",
    "MPL-2.0",
    "Unicode-3.0",
    "Zlib",
];

/// Licence exceptions: they only add permissions.
const ALLOWED_EXCEPTIONS: &[&str] = &["LLVM-exception"];

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Checks every dependency, on whatever platform it is used.
pub(super) fn check(root: &Path) -> Result<Outcome> {
    let metadata = Metadata::read(root)?;
    let failures = metadata
        .packages
        .iter()
        .flat_map(|package| {
            [
                wrong_license(package),
                wrong_source(package, &metadata.workspace_root),
            ]
        })
        .flatten()
        .collect();
    Ok(Outcome::of(
        failures,
        format!("{} packages", metadata.packages.len()),
    ))
}

/// Rule C1.
fn wrong_license(package: &Package) -> Option<String> {
    let Package { name, version, .. } = package;
    let Some(text) = &package.license else {
        return Some(format!("{name} {version}: names no licence"));
    };
    let expression = match spdx::Expression::parse_mode(text, spdx::ParseMode::LAX) {
        Ok(expression) => expression,
        Err(error) => return Some(format!("{name} {version}: `{text}`: {}", error.reason)),
    };
    let fine = expression.evaluate(|wanted| {
        let license = wanted.license.id().map(|id| id.name);
        let addition = wanted.addition.as_ref();
        license.is_some_and(|name| ALLOWED.contains(&name))
            && addition.is_none_or(|exception| {
                ALLOWED_EXCEPTIONS.contains(&exception.to_string().as_str())
            })
    });
    (!fine).then(|| format!("{name} {version}: licence `{text}` isn't one that we take"))
}

/// Rule C2.
fn wrong_source(package: &Package, root: &str) -> Option<String> {
    let Package { name, version, .. } = package;
    let fine = match &package.source {
        Some(source) => source == CRATES_IO,
        None => Path::new(&package.manifest_path).starts_with(root),
    };
    let from = package.source.as_ref().unwrap_or(&package.manifest_path);
    (!fine).then(|| format!("{name} {version}: from {from}, not from crates.io"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(license: Option<&str>, source: Option<&str>, manifest_path: &str) -> Package {
        Package {
            name: "a".to_owned(),
            version: "1.0.0".to_owned(),
            license: license.map(str::to_owned),
            source: source.map(str::to_owned),
            manifest_path: manifest_path.to_owned(),
            dependencies: Vec::new(),
        }
    }

    #[test]
    fn an_expression_needs_one_good_way() {
        for (license, fine) in [
            ("MIT", true),
            ("MIT/Apache-2.0", true),
            ("GPL-3.0-only OR MIT", true),
            ("GPL-3.0-only AND MIT", false),
            ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
            ("Apache-2.0 WITH LLVM-exception", true),
            ("Apache-2.0 WITH Classpath-exception-2.0", false),
            ("AGPL-3.0-only", false),
            ("LicenseRef-Ours", false),
            ("Nonsense", false),
        ] {
            let wrong = wrong_license(&package(Some(license), None, ""));
            assert_eq!(wrong.is_none(), fine, "{license}: {wrong:?}");
        }
        assert!(wrong_license(&package(None, None, "")).is_some());
    }

    #[test]
    fn sources_are_ours_or_the_registry() {
        for (source, path, fine) in [
            (Some(CRATES_IO), "/x/a/Cargo.toml", true),
            (Some("git+https://example.com/a"), "/x/a/Cargo.toml", false),
            (
                Some("registry+https://example.com/i"),
                "/x/Cargo.toml",
                false,
            ),
            (None, "/repo/a/Cargo.toml", true),
            (None, "/elsewhere/a/Cargo.toml", false),
        ] {
            let wrong = wrong_source(&package(None, source, path), "/repo");
            assert_eq!(wrong.is_none(), fine, "{source:?} {path}");
        }
    }
}
