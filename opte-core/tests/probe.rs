//! What the declaration of probes promises, and how C sees its structures.

use opte_core::event::view::VIEWS;
use opte_core::event::{ARGS_MAX, Probe};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::process::{Command, Stdio};

#[test]
fn probes_have_one_name_each_and_two_to_six_arguments() {
    let names: BTreeSet<_> = Probe::ALL.iter().map(|probe| probe.name()).collect();
    assert_eq!(names.len(), Probe::ALL.len());
    for probe in Probe::ALL {
        let args = probe.args();
        assert!((2..=ARGS_MAX).contains(&args.len()), "{}", probe.name());
        assert!(probe.when().ends_with('.'), "{}", probe.name());
        assert!(
            args.iter().all(|arg| arg.about.ends_with('.')),
            "{}",
            probe.name()
        );
    }
}

/// Every structure as C declares it, and a statement for each size and offset
/// that it has here.
fn c_program() -> String {
    let mut text = String::from("#include <stddef.h>\n#include <stdint.h>\n");
    for view in VIEWS {
        writeln!(text, "typedef struct {{").unwrap();
        for field in view.fields {
            writeln!(text, "\t{};", field.c_decl).unwrap();
        }
        writeln!(text, "}} {};", view.c_name).unwrap();
        let same = |what: String, number: usize| {
            format!("_Static_assert({what} == {number}, \"{what} isn't {number}\");\n")
        };
        text += &same(format!("sizeof({})", view.c_name), view.size);
        for field in view.fields {
            text += &same(
                format!("offsetof({}, {})", view.c_name, field.name),
                field.offset,
            );
        }
    }
    text
}

#[test]
fn a_c_compiler_lays_structures_out_as_they_are_here() {
    // The one that links every Rust program.
    let compile = |text: String| {
        let mut child = Command::new("cc")
            .args(["-x", "c", "-std=c11", "-fsyntax-only", "-"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("a C compiler");
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), text.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    let done = compile(c_program());
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    let wrong = c_program().replacen("uint32_t id", "uint64_t id", 1);
    assert!(!compile(wrong).status.success(), "nothing is compared");
}
