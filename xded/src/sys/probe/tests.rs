//! What tracers find in this very program.

use super::*;
use std::collections::BTreeMap;
use std::ffi::CStr;
use std::os::unix::fs::FileExt;

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

/// A text amidst zeroes, so far from everything else that nothing brings its
/// page into memory before somebody reads it.
const APART: &[u8; 1 << 20] = &{
    let mut bytes = [0; 1 << 20];
    let mut at = 1 << 19;
    while at < (1 << 19) + 5 {
        bytes[at] = b'x';
        at += 1;
    }
    bytes
};
const UNREAD: &CStr = match CStr::from_bytes_with_nul(APART.split_at(1 << 19).1.split_at(6).0) {
    Ok(text) => text,
    Err(_) => panic!("it ends with a zero"),
};

/// Whether the page at an address is one that a tracer could read.
fn is_mapped(address: u64) -> bool {
    let page = address / u64::try_from(rustix::param::page_size()).unwrap();
    let pages = std::fs::File::open("/proc/self/pagemap").unwrap();
    let mut entry = [0; 8];
    pages.read_exact_at(&mut entry, page * 8).unwrap();
    // Documentation/admin-guide/mm/pagemap.rst: present.
    u64::from_ne_bytes(entry) >> 63 == 1
}

#[test]
fn a_text_is_in_memory_when_its_probe_fires() {
    let address = u64::try_from(UNREAD.as_ptr().addr()).unwrap();
    assert!(!is_mapped(address), "somebody has read it already");
    let event = Event::IoctlReturn {
        command: 1,
        name: UNREAD,
        error: 0,
        len: 0,
    };
    assert_eq!(event.raw()[1], address);
    assert!(is_mapped(address), "a tracer would see no text");
}
