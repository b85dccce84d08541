//! What can be said of scripts without a tracer.

use super::losses;
use crate::workspace;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// All scripts.
fn scripts() -> Vec<PathBuf> {
    let scripts = super::compile::scripts(&workspace::root()).unwrap();
    assert!(scripts.len() > 30, "{scripts:?}");
    scripts
}

fn opte_trace(program: &Path, words: &[&str]) -> Output {
    Command::new(program)
        .env("DTRACE", "bpftrace")
        .args(words)
        .output()
        .unwrap()
}

/// The question that a script answers.
fn question(script: &Path) -> String {
    let text = fs::read_to_string(script).unwrap();
    let line = text.lines().nth(1).unwrap();
    line.trim_start_matches(" * ").to_owned()
}

fn name(script: &Path) -> &str {
    script.file_stem().unwrap().to_str().unwrap()
}

#[test]
fn the_readme_has_every_script_with_a_sample() {
    let readme = fs::read_to_string(workspace::root().join("dtrace/README")).unwrap();
    for script in scripts() {
        let (name, question) = (name(&script), question(&script));
        let has_twin = script.with_extension("bt").is_file();
        let star = if has_twin { "*" } else { "" };
        let entry = format!("\n{name}{star}\n    {question}\n");
        assert_eq!(readme.matches(&entry).count(), 1, "{entry}");
        let sample = format!("\n{name}\n\n    ");
        assert_eq!(readme.matches(&sample).count(), 1, "{name} has no sample");
    }
}

#[test]
fn an_installed_opte_trace_lists_every_script() {
    let tree = workspace::root().join("dtrace");
    let prefix = workspace::root().join("target/tracer/prefix");
    let _ = fs::remove_dir_all(&prefix);
    let (bin, lib) = (prefix.join("bin"), prefix.join("lib/opte"));
    fs::create_dir_all(&bin).unwrap();
    fs::create_dir_all(&lib).unwrap();
    let installed = bin.join("opte-trace");
    fs::copy(tree.join("opte-trace"), &installed).unwrap();
    std::os::unix::fs::symlink(&tree, lib.join("dtrace")).unwrap();
    for program in [tree.join("opte-trace"), installed] {
        let done = opte_trace(&program, &["-l"]);
        let listed = String::from_utf8(done.stdout).unwrap();
        for script in scripts() {
            let line = listed.lines().find(|line| {
                let mut words = line.split_whitespace();
                words.next() == Some(name(&script))
            });
            let line = line.unwrap_or_else(|| panic!("{}: {listed}", script.display()));
            assert!(line.ends_with(&question(&script)), "{line}");
        }
    }
    fs::remove_file(lib.join("dtrace")).unwrap();
    let done = opte_trace(&bin.join("opte-trace"), &["-l"]);
    assert!(!done.status.success(), "there are no scripts");
}

#[test]
#[cfg(target_os = "linux")]
fn opte_trace_says_what_is_missing() {
    let program = workspace::root().join("dtrace/opte-trace");
    let root = "tracing on Linux is for root";
    let own = std::process::id().to_string();
    let own = own.as_str();
    for (words, why) in [
        (vec!["opte-nothing"], "there is no script opte-nothing"),
        (vec!["--kernel", "opte-drop"], "no kernel module on Linux"),
        (
            vec!["-c", "/bin/true", "opte-ioctl"],
            "there is only bpftrace",
        ),
        (
            vec!["-c", "/bin/true", "-n", "BEGIN {}"],
            "there is only bpftrace",
        ),
        (vec!["-p", "one", "opte-drop"], "one is none"),
        (vec!["-p", "0", "opte-drop"], "0 is none"),
        (vec!["-p", "99999999", "opte-drop"], "no process 99999999"),
        (vec!["-p", own, "opte-drop"], "has no probes"),
        (vec!["-p", own, "-c", "xded", "opte-drop"], "one of -p, -c"),
        (vec!["-c", "/no/thing", "opte-drop"], "no program /no/thing"),
        (vec!["opte-drop", "-p", own], "stands in front"),
        (vec!["-n", "BEGIN {}", "opte-drop"], "not both"),
    ] {
        let done = opte_trace(&program, &words);
        let said = String::from_utf8(done.stderr).unwrap();
        assert!(!done.status.success(), "{words:?}");
        assert!(
            said.contains(why) || said.contains(root),
            "{words:?}: {said}"
        );
    }
    for (words, why) in [
        (&[][..], "which script"),
        (&["-p"], "the number of a process"),
        (&["-c", " ", "opte-drop"], "takes a command"),
        (&["-n"], "takes clauses"),
        (&["-x", "opte-drop"], "no option -x"),
    ] {
        let done = opte_trace(&program, words);
        let said = String::from_utf8(done.stderr).unwrap();
        assert_eq!(done.status.code(), Some(2), "{words:?}");
        assert!(said.contains(why), "{words:?}: {said}");
    }
    let help = opte_trace(&program, &["--help"]);
    assert!(help.status.success() && help.stderr.is_empty());
    assert!(!help.stdout.is_empty());
}

#[test]
fn what_a_tracer_loses_is_named() {
    let drop = "dtrace: 3 drops on CPU 0";
    let lost = losses(&format!("replayed\n{drop}\nLost 7 events\n"));
    assert_eq!(lost, format!("{drop}; Lost 7 events"));
    assert_eq!(losses("xded: ready\n"), "");
}
