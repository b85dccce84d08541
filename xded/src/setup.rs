//! The setup file: TOML of [`Setup`].

use anyhow::anyhow;
use opte_core::api::Setup;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Bytes of the largest setup file. Text takes more of them than an encoded
/// request, and what is in it has limits of its own.
const FILE_MAX: u64 = 64 << 20;

/// Reads a setup file.
///
/// # Errors
///
/// One sentence with the file, the line, the object and its field.
pub(crate) fn load(path: &Path) -> anyhow::Result<Setup> {
    let shown = path.display();
    let say = |error| anyhow!("{shown}: {error}");
    let text = File::open(path).and_then(read).map_err(say)?;
    parse(&text).map_err(|why| anyhow!("{shown}: {why}"))
}

/// All of a file, a pipe or a device: how long those are shows when they end.
fn read(file: impl Read) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.take(FILE_MAX.saturating_add(1))
        .read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|len| len > FILE_MAX) {
        let why = format!("it has more than {} MiB", FILE_MAX >> 20);
        return Err(io::Error::other(why));
    }
    String::from_utf8(bytes).map_err(|_| io::Error::other("it is no text in UTF-8"))
}

/// Parses the text of a setup file.
fn parse(text: &str) -> Result<Setup, String> {
    let whole = |error: &toml::de::Error| format!("{}{}", line(text, error), one_line(error));
    let document = toml::Deserializer::parse(text).map_err(|error| whole(&error))?;
    serde_path_to_error::deserialize(document).map_err(|error| {
        let place = place(text, &error.path().to_string());
        let error = error.into_inner();
        format!("{}{place}{}", line(text, &error), one_line(&error))
    })
}

/// `line 7: ` when the error knows where it is.
fn line(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start));
    before.map_or_else(String::new, |before| {
        format!("line {}: ", before.matches('\n').count().saturating_add(1))
    })
}

fn one_line(error: &toml::de::Error) -> String {
    error.message().trim().replace('\n', ", ")
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
    fn a_file_is_read_as_far_as_it_may_be_long() {
        let most = usize::try_from(FILE_MAX).unwrap();
        assert_eq!(read(&vec![b' '; most][..]).unwrap().len(), most);
        // Ends never, and says that it has no bytes.
        let zero = Path::new("/dev/zero");
        assert_eq!(std::fs::metadata(zero).unwrap().len(), 0);
        let why = load(zero).unwrap_err().to_string();
        assert_eq!(why, "/dev/zero: it has more than 64 MiB");
        let why = read(&b"\xff"[..]).unwrap_err().to_string();
        assert_eq!(why, "it is no text in UTF-8");
    }

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
            (
                "[underlay]\naddress = \"fd00::1\"\n[[underlay.link]]\nname = \"e\"\nmtu = 70000\n",
                &["line 5: ", "link e: mtu: "],
            ),
            ("[[port]]\nname = \"g\"\nvni = 1\n", &["port g: ", "mac"]),
            ("colour = 1\n", &["line 1: ", "colour"]),
            ("[[v2p]]\nvni = 1\n", &["v2p[0]: ", "missing field"]),
            ("[[port\n", &["line 1: "]),
        ] {
            let why = parse(text).unwrap_err();
            assert!(!why.contains('\n'), "{why}");
            for word in words {
                assert!(why.contains(word), "{why}");
            }
        }
    }
}
