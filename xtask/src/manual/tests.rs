//! Pages as man(1) would read them.

use super::*;
use opte_core::api::counter::{HOST, POOLS, TRAFFIC};

#[test]
fn markdown_becomes_requests_and_text_never_does() {
    let text = "## A `b`\n\none -x\n.two\n\n| k | what | default |\n| --- | --- | --- |\n| `a` | b | c |\n\n```\n.x \\y\n```\n\n* item\n";
    let page = markdown::page("x", "5", "1", text);
    let expected = ".TH X 5 \"\" \"OPTE 1\" \"OPTE\"\n.SH \"A \\fBb\\fR\"\n.PP\none \\-x\n\\&.two\n\
                    .TP\n\\fBa\\fR\nb\n.br\ndefault: c\n.PP\n.RS 4\n.nf\n\\&.x \\ey\n.fi\n.RE\n\
                    .IP \\(bu 2\nitem\n";
    assert_eq!(page, expected);
}

#[test]
fn a_key_that_is_not_described_is_found() {
    let root = workspace::root();
    let page = fs::read_to_string(root.join(SETUP)).unwrap();
    assert_eq!(key::missing(&page).unwrap(), Vec::<String>::new());
    let without = page.replace("`gateway_mac`", "");
    let missing = key::missing(&without).unwrap();
    assert_eq!(missing.len(), 1, "{missing:?}");
    assert!(missing[0].contains("gateway_mac"), "{missing:?}");
}

#[test]
fn every_page_names_its_version_and_what_the_code_declares() {
    let root = workspace::root();
    for (file, text) in pages(&root).unwrap() {
        assert!(text.starts_with(".TH ") && text.contains(VERSION), "{file}");
    }
    let device = device("");
    assert!(device.contains("firewall_deny") && device.contains("uft-hit"));
}

#[test]
fn every_counter_is_on_its_page() {
    let root = workspace::root();
    let page = fs::read_to_string(root.join("docs/reference/counters.md")).unwrap();
    // Of the pools one of a kind is named in full.
    let of_ports = POOLS.first().into_iter().flatten();
    let all = TRAFFIC.iter().chain(&HOST).chain(of_ports);
    for name in all.map(|name| name.to_str().unwrap()) {
        assert!(page.contains(&format!("`{name}`")), "{name}");
    }
}

#[test]
fn every_reason_on_a_page_is_one() {
    // Words in backquotes at the beginning of a row of a table about reasons.
    let root = workspace::root();
    for page in [
        "how-to/dropped-packet.md",
        "how-to/external-addresses.md",
        "how-to/multicast.md",
        "operations/watching.md",
    ] {
        let text = fs::read_to_string(root.join("docs").join(page)).unwrap();
        let mut about_reasons = false;
        let mut count = 0;
        for line in text.lines() {
            if !line.starts_with('|') {
                about_reasons = false;
            }
            let first = line.split('|').nth(1).unwrap_or_default();
            about_reasons |= first.contains("reason");
            if !about_reasons {
                continue;
            }
            for name in first.split('`').skip(1).step_by(2) {
                let known = DropReason::ALL.iter().any(|reason| reason.name() == name);
                assert!(known, "{page}: {name}");
                count += 1;
            }
        }
        assert!(count > 5, "{page} has no table of reasons");
    }
}
