//! Domain names on the wire (RFC 1035 section 3.1), as DHCP and router
//! advertisements hand them out.

use super::Writer;
use crate::limits::DOMAIN_LEN_MAX;
use alloc::vec::Vec;

/// Bytes of a label.
const LABEL_LEN_MAX: usize = 63;
/// Bytes of a name with its end (RFC 1035 section 2.3.4).
const WIRE_LEN_MAX: usize = 255;
/// A byte with these bits begins a pointer of 14 bits (RFC 1035 section
/// 4.1.4).
const POINTER: u16 = 0xc000;

/// Whether `name` can be put on the wire: labels of letters, digits, hyphens
/// and underscores with dots between them, and at most one dot behind.
#[must_use]
pub fn is_valid(name: &str) -> bool {
    let is_fine = |b: &u8| b.is_ascii_alphanumeric() || *b == b'-' || *b == b'_';
    bare(name).len() <= DOMAIN_LEN_MAX
        && labels(name)
            .all(|label| (1..=LABEL_LEN_MAX).contains(&label.len()) && label.iter().all(is_fine))
}

/// A name without the dot that may end it.
#[must_use]
pub fn bare(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

/// The labels of a name.
fn labels(name: &str) -> impl Iterator<Item = &[u8]> {
    bare(name).as_bytes().split(|b| *b == b'.')
}

/// Whether `bytes` are labels, not compressed: a name to its end, or the
/// beginning of one (RFC 4704 section 4.2).
#[must_use]
pub fn is_wire(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    // Each round takes a byte at least.
    while let Some((len, after)) = rest.split_first() {
        let len = usize::from(*len);
        if len == 0 {
            return after.is_empty() && bytes.len() <= WIRE_LEN_MAX;
        }
        match after.get(len..) {
            Some(after) if len <= LABEL_LEN_MAX => rest = after,
            _ => return false,
        }
    }
    bytes.len() < WIRE_LEN_MAX
}

/// Appends the labels of a valid name without its end: whoever reads it has
/// to know the domain.
pub fn emit_part(name: &str, out: &mut Writer) {
    labels(name).for_each(|label| emit_label(label, out));
}

/// Appends the name of a host in a domain, unless one of them isn't valid or
/// both are too long together.
pub fn emit_in(host: &str, domain: &str, out: &mut Writer) {
    let len = bare(host).len().saturating_add(bare(domain).len());
    if is_valid(host) && is_valid(domain) && len < DOMAIN_LEN_MAX {
        emit_part(host, out);
        emit([domain], out);
    }
}

/// Appends names, one after another. One that isn't valid is left out.
pub fn emit<'n>(names: impl IntoIterator<Item = &'n str>, out: &mut Writer) {
    for name in names.into_iter().filter(|name| is_valid(name)) {
        emit_part(name, out);
        out.put_u8(0);
    }
}

/// Appends names, one after another, each as short as a pointer into what is
/// before it can make it (RFC 3397 section 2). Pointers count from where the
/// first name starts. One that isn't valid is left out.
pub fn emit_compressed<'n>(names: impl IntoIterator<Item = &'n str>, out: &mut Writer) {
    let start = out.len();
    // Every tail of a name that is written in full, and where it is.
    let mut tails: Vec<(&[u8], u16)> = Vec::new();
    for name in names.into_iter().filter(|name| is_valid(name)) {
        let mut rest = Some(bare(name).as_bytes());
        while let Some(tail) = rest {
            let known = tails
                .iter()
                .find(|(known, _)| known.eq_ignore_ascii_case(tail));
            if let Some((_, at)) = known {
                out.put_u16(POINTER | at);
                break;
            }
            if let Ok(at) = u16::try_from(out.len().saturating_sub(start))
                && at & POINTER == 0
            {
                tails.push((tail, at));
            }
            let mut parts = tail.splitn(2, |b| *b == b'.');
            emit_label(parts.next().unwrap_or_default(), out);
            rest = parts.next();
            if rest.is_none() {
                out.put_u8(0);
            }
        }
    }
}

fn emit_label(label: &[u8], out: &mut Writer) {
    out.put_u8(u8::try_from(label.len()).unwrap_or(0));
    out.put(label);
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::string::{String, ToString};
    use std::vec;

    /// Every name in `bytes`; pointers have to go backwards.
    pub(crate) fn read(bytes: &[u8]) -> Vec<String> {
        let mut names = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let mut labels = Vec::new();
            let (mut here, mut jumped) = (at, false);
            loop {
                let len = usize::from(bytes[here]);
                if len >= 0xc0 {
                    let to = (len & 0x3f) << 8 | usize::from(bytes[here + 1]);
                    assert!(to < here);
                    if !jumped {
                        at = here + 2;
                    }
                    (here, jumped) = (to, true);
                } else {
                    labels.push(String::from_utf8(bytes[here + 1..][..len].to_vec()).unwrap());
                    here += len + 1;
                    if len == 0 {
                        break;
                    }
                }
            }
            if !jumped {
                at = here;
            }
            labels.pop();
            names.push(labels.join("."));
        }
        names
    }

    fn compressed(names: &[&str]) -> Vec<u8> {
        let mut out = Writer::default();
        out.put(b"in front");
        emit_compressed(names.iter().copied(), &mut out);
        out.into_bytes().split_off(8)
    }

    #[test]
    fn the_example_of_rfc_3397() {
        assert_eq!(
            compressed(&["eng.apple.com.", "marketing.apple.com."]),
            b"\x03eng\x05apple\x03com\x00\x09marketing\xc0\x04"
        );
    }

    #[test]
    fn compressed_names_read_as_they_were_written() {
        let names = ["a.b.c", "b.c", "x.A.B.C", "c", "d", "a.b.c", "d.d"];
        let bytes = compressed(&names);
        let read = read(&bytes);
        assert_eq!(read.len(), names.len());
        for (read, name) in read.iter().zip(names) {
            assert!(read.eq_ignore_ascii_case(name), "{read} {name}");
        }
        assert_eq!(bytes.len(), 7 + 2 + 2 + 2 + 2 + 3 + 2 + 2 + 2, "{bytes:?}");
    }

    #[test]
    fn names_are_written_in_full() {
        let mut out = Writer::default();
        emit(["a.bc", "not..valid", "d."], &mut out);
        assert_eq!(out.bytes(), b"\x01a\x02bc\x00\x01d\x00");
        assert_eq!(read(out.bytes()), ["a.bc", "d"]);
    }

    #[test]
    fn names_have_their_bounds() {
        let label = "x".repeat(63);
        let longest = [&label[..], &label, &label, &label[..61]].join(".");
        assert_eq!(longest.len(), DOMAIN_LEN_MAX);
        for good in ["a", "a.", "A-1._tcp", &label, &longest] {
            assert!(is_valid(good), "{good}");
        }
        let too_long = longest.clone() + "y";
        let bad_label = label + "y";
        for bad in [
            "", ".", "a..b", ".a", "a b", "a\0", "é", &too_long, &bad_label,
        ] {
            assert!(!is_valid(bad), "{bad}");
        }
    }

    #[test]
    fn labels_on_the_wire_are_checked() {
        let label = [&[63][..], &[b'x'; 63]].concat();
        let longest = [&label[..], &label, &label, &[61], &[b'y'; 61], &[0]].concat();
        assert_eq!(longest.len(), WIRE_LEN_MAX);
        for good in [
            &b""[..],
            b"\0",
            b"\x01a",
            b"\x01a\0",
            b"\x01a\x02bc\0",
            &longest,
        ] {
            assert!(is_wire(good), "{good:?}");
        }
        let too_long = [&label[..], &longest].concat();
        for bad in [
            &b"\x01"[..],
            b"\x02a",
            b"\0\0",
            b"\x01a\0a",
            b"\xc0\x00",
            &[64; 65],
            &too_long,
        ] {
            assert!(!is_wire(bad), "{bad:?}");
        }
        let mut out = Writer::default();
        emit_part("a.bc.", &mut out);
        assert_eq!(out.bytes(), b"\x01a\x02bc");
    }

    #[test]
    fn pointers_stay_in_reach() {
        let names: Vec<String> = (0..200)
            .map(|i| vec![i.to_string().repeat(20); 4].join("."))
            .collect();
        let names: Vec<&str> = names.iter().chain(&names).map(String::as_str).collect();
        let bytes = compressed(&names);
        assert!(bytes.len() > 0x4000);
        assert_eq!(read(&bytes), names);
    }
}
