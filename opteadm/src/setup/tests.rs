//! The setup files that ship, and those that are refused.

use super::*;

fn example(name: &str) -> (PathBuf, String) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("setup")
        .join(name);
    let text = std::fs::read_to_string(&file).unwrap();
    (file, text)
}

#[test]
fn every_example_is_a_setup_and_says_what_is_in_it() {
    let mut found = 0;
    for (name, what) in [
        (
            "one-port.toml",
            "1 port, 0 v2p mappings, 0 v2b prefixes, no underlay",
        ),
        (
            "two-sleds-a.toml",
            "1 port, 2 v2p mappings, 0 v2b prefixes, an underlay with 1 link and 1 route",
        ),
        (
            "two-sleds-b.toml",
            "1 port, 2 v2p mappings, 0 v2b prefixes, an underlay with 1 link and 1 route",
        ),
        (
            "address-sets.toml",
            "1 port, 2 address sets, 0 v2p mappings, 0 v2b prefixes, no underlay",
        ),
        (
            "multicast.toml",
            "2 ports, 2 groups, 0 v2p mappings, 0 v2b prefixes, an underlay with 1 link and 2 routes",
        ),
        (
            "dual-stack.toml",
            "2 ports, 4 v2p mappings, 0 v2b prefixes, an underlay with 0 links and 0 routes",
        ),
        (
            "snat-floating.toml",
            "3 ports, 0 v2p mappings, 1 v2b prefix, an underlay with 2 links and 2 routes",
        ),
    ] {
        let (file, text) = example(name);
        let setup = parse(&file, &text).unwrap();
        assert_eq!(summary(&setup), what, "{name}");
        // What is read survives being written and read again.
        let again: Setup = toml::from_str(&toml::to_string(&setup).unwrap()).unwrap();
        assert_eq!(again, setup);
        found += 1;
    }
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("setup");
    let files = std::fs::read_dir(dir).unwrap();
    let tomls = files.filter(|f| f.as_ref().unwrap().path().extension() == Some("toml".as_ref()));
    assert_eq!(tomls.count(), found, "an example without a test");
}

#[test]
fn the_documented_setup_is_one() {
    let (file, text) = example("../../docs/reference/setup-file.md");
    let mut blocks = 0;
    for block in text.split("```toml\n").skip(1) {
        let block = block.split("```").next().unwrap();
        parse(&file, block).unwrap_or_else(|error| panic!("{block}\n{error:?}"));
        blocks += 1;
    }
    assert!(blocks > 0);
}

/// What a wrong setup file is refused with.
fn refusal(text: &str) -> String {
    match parse(Path::new("s.toml"), text) {
        Err(Failure::Usage(text)) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_wrong_setup_is_refused_with_line_and_field() {
    let port = "[[port]]\nname = \"g1\"\nmac = \"2:0:0:0:0:1\"\nvni = 1\n";
    for (text, line, what) in [
        ("[[port]\n", "line 1", "unclosed array table"),
        ("[[prot]]\n", "line 1", "unknown field `prot`"),
        ("[[port]]\nname = \"g1\"\n", "line 1", "missing field `mac`"),
        ("[[port]]\nname = \"G1\"\n", "line 2", "a name is"),
        (&format!("{port}mtu = 70000\n"), "line 5", "port g1: mtu: "),
        (
            &format!("{port}colour = 1\n"),
            "line 5",
            "unknown field `colour`",
        ),
        (
            &format!("{port}rules = [\n\"dir=in priority=1 action=deny\",\n\"dir=up\"]\n"),
            "line 7",
            "a direction is in or out",
        ),
        (
            &format!("{port}ipv4 = {{ address = \"10.0.0.1\" }}\n"),
            "line 5",
            "missing field `gateway`",
        ),
        (
            &format!("{port}[port.options]\nudp = 1\n"),
            "line 6",
            "unknown field `udp`",
        ),
        (
            &format!("{port}[port.dhcp]\ndns4 = [{}]\n", "\"9.9.9.9\",".repeat(9)),
            "line 6",
            "at most 8 entries",
        ),
        (
            &format!("{port}[port.external]\nsnat = [{{}}]\n"),
            "line 6",
            "missing field `address`",
        ),
        ("[[v2p]]\nvni = 16777216\n", "line 2", "16777215"),
        ("[underlay]\naddress = \"10.0.0.1\"\n", "line 2", "address"),
    ] {
        let error = refusal(text);
        assert!(error.starts_with("s.toml: "), "{error}");
        assert!(
            error.contains(line) && error.contains(what),
            "{text}\n{error}"
        );
    }
}
