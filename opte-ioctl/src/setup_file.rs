//! The setup file: TOML of [`Setup`], as drivers start from it and `opteadm
//! apply` sends it.
//!
//! Failure   one sentence with the line, the object and its field. It quotes
//!           what it is about, but not without bound and nothing that a
//!           terminal would obey.

use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use opte_core::api::{Setup, range_of};
use std::io::{self, Read};

/// Bytes of the largest text that is read. Text takes more of them than an
/// encoded request, and what is in it has limits of its own.
pub const TEXT_MAX: u64 = 64 << 20;

/// Characters of the longest sentence about a text.
const SENTENCE_MAX: usize = 400;

/// What the types that values are read into are called by people.
const TYPES: [(&str, &str); 4] = [
    ("expected u8", "expected 0 to 255"),
    ("expected u16", "expected 0 to 65535"),
    ("expected u32", "expected 0 to 4294967295"),
    ("expected u64", "expected a positive number"),
];

/// Reads a text to its end: how long a pipe or a device is shows when it ends.
///
/// # Errors
///
/// When it can't be read, is longer than [`TEXT_MAX`] or isn't UTF-8.
pub fn read(from: impl Read) -> io::Result<String> {
    let mut bytes = Vec::new();
    from.take(TEXT_MAX.saturating_add(1))
        .read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|len| len > TEXT_MAX) {
        let why = format!("it has more than {} MiB", TEXT_MAX >> 20);
        return Err(io::Error::other(why));
    }
    String::from_utf8(bytes).map_err(|_| io::Error::other("it is no text in UTF-8"))
}

/// Parses the text of a setup file.
///
/// # Errors
///
/// A sentence about the first thing in it that is wrong.
pub fn parse(text: &str) -> Result<Setup, String> {
    let whole = |error: &toml::de::Error| format!("{}{}", line(text, error), sentence(error, ""));
    let document = toml::Deserializer::parse(text).map_err(|error| tame(&whole(&error)))?;
    serde_path_to_error::deserialize(document).map_err(|error| {
        let path = error.path().to_string();
        let place = place(text, &path);
        let error = error.into_inner();
        tame(&format!(
            "{}{place}{}",
            line(text, &error),
            sentence(&error, &path)
        ))
    })
}

/// `line 7: ` when the error knows where it is.
fn line(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start));
    before.map_or_else(String::new, |before| {
        format!("line {}: ", before.matches('\n').count().saturating_add(1))
    })
}

/// What is wrong, in one line; a number's range is that of its field.
fn sentence(error: &toml::de::Error, path: &str) -> String {
    let text = error.message().trim().replace('\n', ", ");
    let told = TYPES.iter().find_map(|(name, meaning)| {
        let start = text.strip_suffix(name)?;
        let range = range_of(&without_indices(path));
        Some(range.map_or_else(
            || format!("{start}{meaning}"),
            |range| format!("{start}expected {range}"),
        ))
    });
    told.unwrap_or(text)
}

/// `port.ipv4` for `port[0].ipv4`.
fn without_indices(path: &str) -> String {
    let parts = path.split('[').enumerate().map(|(at, part)| match at {
        0 => part,
        _ => part.split_once(']').map_or(part, |(_, rest)| rest),
    });
    parts.collect()
}

/// A sentence without what a terminal would obey, and not too long.
fn tame(sentence: &str) -> String {
    let mut tamed = String::new();
    for c in sentence.chars().take(SENTENCE_MAX) {
        match c.is_control() {
            true => tamed.extend(c.escape_default()),
            false => tamed.push(c),
        }
    }
    if sentence.chars().nth(SENTENCE_MAX).is_some() {
        tamed.push('…');
    }
    tamed
}

/// `port guest0: mac: ` for the path `port[0].mac`; the path itself where no
/// name is known.
fn place(text: &str, path: &str) -> String {
    if path.is_empty() || path == "." {
        return String::new();
    }
    let named = || {
        let (list, rest) = path.split_once('[')?;
        let (index, field) = rest.split_once(']')?;
        let mut value: &toml::Value = &toml::Value::Table(text.parse().ok()?);
        for key in list.split('.') {
            value = value.get(key)?;
        }
        let object = value.get(index.parse::<usize>().ok()?)?;
        let name = object.get("name")?.as_str()?;
        let kind = list.rsplit('.').next()?;
        let field = field.trim_start_matches('.');
        let colon = if field.is_empty() { "" } else { ": " };
        Some(format!("{kind} {name}: {field}{colon}"))
    };
    named().unwrap_or_else(|| format!("{path}: "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setup_is_read() {
        let setup = parse(
            r#"
            [underlay]
            address = "fd00::1"
            link = [{ name = "eth0" }]

            [[port]]
            name = "guest0"
            mac = "A8:40:25:F0:00:01"
            vni = 7
            ipv4 = { address = "10.0.0.1", gateway = "10.0.0.254" }
            rules = ["dir=in priority=1 action=allow"]
            "#,
        )
        .unwrap();
        assert_eq!(setup.ports.len(), 1);
        assert_eq!(setup.underlay.unwrap().links.len(), 1);
        assert_eq!(parse("").unwrap(), Setup::default());
    }

    #[test]
    fn errors_name_the_line_the_object_and_the_field() {
        for (text, words) in [
            (
                "[[port]]\nname = \"guest0\"\nmac = \"zz\"\nvni = 1\n",
                ["line 3: ", "port guest0: mac: `zz`: a MAC address"].as_slice(),
            ),
            ("[[port]]\nname = \"g\"\nvni = 1\n", &["port g: ", "mac"]),
            ("colour = 1\n", &["line 1: ", "colour"]),
            (
                "[[port]]\nname = \"g\"\nmac = \"A8:40:25:F0:00:01\"\nvni = -1\n",
                &[
                    "line 4: ",
                    "port g: vni: a VNI is a number from 0 to 16777215",
                ],
            ),
            (
                "[[v2p]]\nvni = 4294967296\n",
                &[
                    "line 2: ",
                    "v2p[0].vni: a VNI is a number from 0 to 16777215",
                ],
            ),
            (
                "[multicast]\nvni = \"x\"\n",
                &[
                    "line 2: ",
                    "multicast.vni: ",
                    "expected a number from 0 to 16777215",
                ],
            ),
            ("[[v2p]]\nvni = 1\n", &["v2p[0]: ", "missing field"]),
            ("[[port\n", &["line 1: "]),
            (
                "[[port]]\nname = 5\n",
                &["line 2: ", "expected a letter a-z"],
            ),
        ] {
            let why = parse(text).unwrap_err();
            assert!(!why.contains('\n'), "{why}");
            for word in words {
                assert!(why.contains(word), "{why}");
            }
        }
    }

    #[test]
    fn a_number_has_the_range_of_its_field() {
        for (text, words) in [
            (
                "[underlay]\naddress = \"fd00::1\"\n[[underlay.link]]\nname = \"e\"\nmtu = 70000\n",
                &["line 5: ", "link e: mtu: ", "expected 1350 to 65535"],
            ),
            (
                "[[port]]\nname = \"g\"\nmtu = 70000\n",
                &["line 3: ", "port g: mtu: ", "expected 576 to 65000"],
            ),
            (
                "[[port]]\nname = \"g\"\n[port.options]\nudp_s = -1\n",
                &[
                    "line 4: ",
                    "port g: options.udp_s: ",
                    "expected 1 to 604800",
                ],
            ),
            (
                "[host]\nflows_max = 4294967296\n",
                &["line 2: ", "host.flows_max: ", "expected 1 to 8388608"],
            ),
            (
                "[[port]]\nname = \"g\"\n[port.dhcp]\nlease_s = -1\n",
                &[
                    "line 4: ",
                    "port g: dhcp.lease_s: ",
                    "expected 0 to 4294967295",
                ],
            ),
        ] {
            let why = parse(text).unwrap_err();
            assert!(words.iter().all(|word| why.contains(word)), "{why}");
        }
    }

    #[test]
    fn a_sentence_is_short_and_shows_what_a_terminal_would_obey() {
        let long = "x".repeat(900_000);
        for text in [
            format!("[underlay]\naddress = \"{long}\"\n"),
            format!("{long} = 1\n"),
            String::from("[underlay]\naddress = \"\\u001b[31m\"\n"),
        ] {
            let why = parse(&text).unwrap_err();
            assert!(why.len() < 2 * SENTENCE_MAX, "{}", why.len());
            assert!(!why.chars().any(char::is_control), "{why:?}");
        }
    }

    #[test]
    fn a_text_without_end_is_not_read_for_ever() {
        let why = read(io::repeat(b'a')).unwrap_err();
        assert_eq!(why.to_string(), "it has more than 64 MiB");
        assert_eq!(read(&b"a = 1"[..]).unwrap(), "a = 1");
        let why = read(&[0xff; 3][..]).unwrap_err();
        assert_eq!(why.to_string(), "it is no text in UTF-8");
    }
}
