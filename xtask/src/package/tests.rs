//! Parts of packages by themselves.

use super::*;

#[test]
fn actions_are_read_and_written_alike() {
    let text = "# a comment\nset name=a value=\"b c\"\n\nfile x/y path=p \\\n  mode=0444\n";
    let actions = manifest::parse(text, &[]).unwrap();
    let lines: Vec<_> = actions.iter().map(manifest::Action::line).collect();
    assert_eq!(
        lines,
        ["set name=a value=\"b c\"", "file x/y path=p mode=0444"]
    );
    assert_eq!(actions[1].payload.as_deref(), Some("x/y"));
    assert!(manifest::parse("file a b path=c", &[]).is_err());
    assert!(manifest::parse("set value=\"b", &[]).is_err());
    assert!(manifest::parse("set value=$(X)", &[]).is_err());
    assert_eq!(
        manifest::parse("set v=$(X)", &[("X", "1")]).unwrap()[0].get("v"),
        Some("1")
    );
}

#[test]
fn the_same_bytes_are_compressed_the_same() {
    let once = gzip(b"abc").unwrap();
    assert_eq!(once, gzip(b"abc").unwrap());
    assert_eq!(once.get(4..8), Some(&[0; 4][..]), "a time is in it");
}

#[test]
fn the_newest_glibc_counts() {
    let programs: [&[u8]; 2] = [b"\0GLIBC_2.17\0GLIBC_2.34\0", b"GLIBC_2.4\0"];
    assert_eq!(elf::glibc(&programs).as_deref(), Some("2.34"));
    assert_eq!(elf::glibc(&[b"none"]), None);
}

#[test]
fn what_changed_is_told_by_commits() {
    let text = release::changes(&workspace::root(), "v0.0.0").unwrap();
    assert!(text.starts_with(&format!("# OPTE {VERSION}\n\n")), "{text}");
    assert!(!text.contains("* Merge branch"), "{text}");
}

#[test]
fn every_crate_has_the_one_version() {
    let root = workspace::root();
    let manifests = workspace::files(&root).unwrap();
    let manifests = manifests
        .iter()
        .filter(|file| file.ends_with("/Cargo.toml"));
    for file in manifests {
        let text = std::fs::read_to_string(root.join(file)).unwrap();
        assert!(text.contains("version.workspace = true"), "{file}");
    }
}

/// Lines of the script that operators run on illumos are command lines.
#[test]
fn the_script_for_illumos_knows_the_commands() {
    let root = workspace::root();
    let script = std::fs::read_to_string(root.join("pkg/verify-on-illumos.sh")).unwrap();
    let page = std::fs::read_to_string(root.join("pkg/man/opteadm.8")).unwrap();
    let calls = script
        .split("opteadm\" ")
        .chain(script.split("opteadm' "))
        .skip(1);
    for call in calls {
        let verb = call.split_whitespace().next().unwrap_or_default();
        let verb = verb.trim_end_matches(['"', '\'']);
        if verb.starts_with(char::is_alphabetic) {
            let section = format!(".SS \"opteadm {verb}\"");
            assert!(page.contains(&section), "opteadm {verb}");
        }
    }
}

/// Probes that the script lists are declared: DTrace takes what matches nothing
/// for an error.
#[test]
fn the_script_for_illumos_knows_the_probes() {
    let root = workspace::root();
    let script = std::fs::read_to_string(root.join("pkg/verify-on-illumos.sh")).unwrap();
    let page = std::fs::read_to_string(root.join("docs/probes.md")).unwrap();
    let (_, list) = script.split_once("for probe in ").unwrap();
    let (list, _) = list.split_once(';').unwrap();
    let names = list.split_whitespace().filter(|word| *word != "\\");
    for name in names {
        assert!(page.contains(&format!("### {name}\n")), "{name}");
    }
    // No function of the engine has a site: see `xde/src/ddi/probe.rs`.
    assert!(!script.contains("sdt:xde:opte"));
}
