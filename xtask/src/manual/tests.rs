//! Pages as man(1) would read them.

use super::*;

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
