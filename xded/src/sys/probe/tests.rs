//! What tracers find in this very program.

use super::*;
use std::collections::BTreeMap;

/// Notes of static probes in an ELF file of this machine: for each probe its
/// provider, name and arguments.
fn notes(elf: &[u8]) -> Vec<(String, String, String)> {
    let marker = b"stapsdt\0";
    let mut found = Vec::new();
    for (at, window) in elf.windows(marker.len()).enumerate() {
        // In front of the owner's name: its length, the description's, and 3.
        if window != marker || at < 12 || elf[at - 12..at - 8] != [8, 0, 0, 0] {
            continue;
        }
        // The description: three addresses, then three strings.
        let mut texts = elf[at + marker.len() + 24..].split(|byte| *byte == 0);
        let mut text = || String::from_utf8_lossy(texts.next().unwrap()).into_owned();
        found.push((text(), text(), text()));
    }
    found
}

#[test]
fn every_probe_of_the_engine_is_there_once_with_its_arguments() {
    let elf = std::fs::read("/proc/self/exe").unwrap();
    let mut counts: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (provider, name, args) in notes(&elf) {
        assert_eq!(provider, "opte");
        let count = args.split_whitespace().count();
        assert!(
            args.split_whitespace().all(|arg| arg.starts_with("8@")),
            "{args}"
        );
        counts.entry(name).or_default().push(count);
    }
    for probe in Probe::ALL {
        let found = counts.remove(probe.name());
        assert_eq!(found, Some(vec![probe.args().len()]), "{}", probe.name());
    }
    assert!(counts.is_empty(), "{counts:?}");
}

#[test]
fn nobody_watches_unless_asked() {
    for probe in Probe::ALL {
        assert!(!Probes.enabled(*probe));
    }
}
