//! Each rule on a small input that breaks it and one that doesn't.

use super::exception::{Exceptions, settle};
use super::*;

fn found(path: &str, bytes: &[u8]) -> Vec<String> {
    inspect(&Source { path, bytes })
        .iter()
        .map(Finding::to_string)
        .collect()
}

/// The findings of a source that is otherwise in order.
fn in_rust(body: &str) -> Vec<String> {
    found("opte-core/src/a.rs", format!("//! A.\n{body}\n").as_bytes())
}

#[track_caller]
fn one(findings: &[String], part: &str) {
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert!(findings[0].contains(part), "{findings:?}");
}

#[track_caller]
fn none(findings: &[String]) {
    assert!(findings.is_empty(), "{findings:?}");
}

#[test]
fn a_source_opens_with_its_purpose() {
    none(&in_rust("fn f() {}"));
    one(&found("a.rs", b"fn f() {}\n"), "open with `//!`");
}

#[test]
fn unfinished_work_is_found_in_macros_too_but_not_in_comments() {
    for word in MACROS_TO_TRY {
        one(&in_rust(&format!("fn f() {{ {word}!() }}")), word);
        one(&in_rust(&format!("m! {{ fn f() {{ {word}!() }} }}")), word);
        none(&in_rust(&format!(
            "// {word}!()\nconst A: &str = \"{word}!()\";"
        )));
        none(&in_rust(&format!("fn {word}() {{}}")));
    }
}

const MACROS_TO_TRY: [&str; 3] = ["todo", "unimplemented", "dbg"];

#[test]
fn the_core_has_no_unsafe_word() {
    let body = "unsafe fn f() {}";
    one(&in_rust(body), "unsafe");
    none(&in_rust("#![forbid(unsafe_code)]"));
    none(&found(
        "xded/src/a.rs",
        format!("//! A.\n{body}\n").as_bytes(),
    ));
}

#[test]
fn lint_exceptions_are_expected_with_a_reason() {
    one(&in_rust("#[allow(dead_code)]\nfn f() {}"), "`allow`");
    one(&in_rust("#![allow(dead_code)]"), "`allow`");
    one(
        &in_rust("#[cfg_attr(test, allow(dead_code))]\nfn f() {}"),
        "`allow`",
    );
    one(
        &in_rust("#[expect(dead_code)]\nfn f() {}"),
        "without a reason",
    );
    none(&in_rust(
        "#[expect(dead_code, reason = \"soon\")]\nfn f() {}",
    ));
    none(&in_rust("fn f() { a.expect(b); allow(c) }"));
}

#[test]
fn long_files_and_functions_are_found() {
    let lines = |n: usize| "\n".repeat(n);
    none(&in_rust(&lines(798)));
    one(&in_rust(&lines(799)), "801 lines");
    let function = |n| {
        format!(
            "struct T;\nimpl T {{\n#[inline]\nfn f() {{{}}}\n}}",
            lines(n)
        )
    };
    none(&in_rust(&function(69)));
    one(&in_rust(&function(70)), "a.rs::T::f has 71 lines");
    let nested = format!("fn a() {{ fn b() {{{}}} }}", lines(70));
    assert_eq!(in_rust(&nested).len(), 2);
}

#[test]
fn white_space_is_in_order() {
    one(&found("a.md", b"a \n"), "end of the line");
    one(&found("a.md", b"a\r\n"), "end of the line");
    one(&found("a.toml", b"\ta = 1\n"), "tab");
    one(&found("a.md", b"a"), "newline");
    none(&found("Makefile", b"\ta\n"));
    none(&found("a.md", b"a\n\nb\n"));
}

#[test]
fn places_on_a_machine_are_found() {
    let place = |parts: [&str; 3]| parts.concat();
    one(
        &found("a.md", place(["see /ro", "ot/", "x\n"]).as_bytes()),
        "names a place",
    );
    one(
        &found("a.md", place(["`../sha", "red/", "x`\n"]).as_bytes()),
        "names a place",
    );
    one(
        &found("a.md", place(["cd sha", "red/", "x\n"]).as_bytes()),
        "names a place",
    );
    none(&found("a.md", place(["net/ro", "ot/", "x\n"]).as_bytes()));
    none(&found("a.md", place(["un", "sha", "red/x\n"]).as_bytes()));
}

#[test]
fn binaries_are_small_captures_of_tests() {
    one(&found("a.bin", b"\0"), "binary");
    one(&found("xded/a.pcap", b"\0"), "binary");
    one(&found("opte-core/tests/a.bin", b"\xff\xfe"), "binary");
    none(&found("opte-core/tests/cases/a/expect/a.pcapng", b"\0"));
    one(
        &found("opte-core/tests/a.pcap", &[0; 64 * 1024 + 1]),
        "a capture may",
    );
    let large = "a\n".repeat(128 * 1024 + 1);
    one(&found("a.txt", large.as_bytes()), "bytes");
}

fn long(lines: usize) -> Vec<Finding> {
    vec![Finding {
        path: "a.rs".to_owned(),
        line: 0,
        what: Broken::TooLong {
            object: "a.rs".to_owned(),
            lines,
            cap: 800,
        },
    }]
}

#[test]
fn exceptions_only_shrink() {
    let list: Exceptions = toml::from_str("[files]\n\"a.rs\" = 900\n").unwrap();
    let left = |findings| -> Vec<String> {
        settle(findings, &list)
            .iter()
            .map(Finding::to_string)
            .collect()
    };
    none(&left(long(900)));
    one(&left(long(901)), "901 lines");
    one(&left(long(899)), "shrink its entry from 900");
    one(&left(Vec::new()), "remove its entry");
    assert_eq!(settle(long(801), &Exceptions::default()), long(801));
}
