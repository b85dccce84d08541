//! Names and numbers of objects.

use super::text::serde_text;
use crate::limits::NAME_LEN_MAX;
use alloc::string::String;
use core::{fmt, str::FromStr};
use serde::{Deserialize, Serialize};

/// A port's number on its host: stable while the port exists, then reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PortId(pub u32);

impl fmt::Display for PortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The name of a port: `[a-z][a-z0-9_]{0,30}`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    // Unused bytes are zero, so comparing and hashing the array is right. One
    // always is, so that probes can pass it as a string of C.
    bytes: [u8; SIZE],
}

/// Bytes of a name with the zero behind it.
const SIZE: usize = NAME_LEN_MAX.saturating_add(1);

impl Name {
    const WHY: &str =
        "a name is a letter a-z and then up to 30 letters a-z, digits and underscores";

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let len = self
            .bytes
            .iter()
            .position(|b| *b == 0)
            .unwrap_or(NAME_LEN_MAX);
        self.bytes
            .get(..len)
            .and_then(|b| str::from_utf8(b).ok())
            .unwrap_or_default()
    }

    /// The name as bytes, padded with zeroes, of which there is at least one.
    #[must_use]
    pub const fn as_padded(&self) -> &[u8; SIZE] {
        &self.bytes
    }
}

impl FromStr for Name {
    type Err = &'static str;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; SIZE];
        let (name, _zero) = bytes.split_at_mut(NAME_LEN_MAX);
        let place = name.get_mut(..s.len()).ok_or(Self::WHY)?;
        let tail_ok = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        if !s.starts_with(|c: char| c.is_ascii_lowercase()) || !s.bytes().all(tail_ok) {
            return Err(Self::WHY);
        }
        place.copy_from_slice(s.as_bytes());
        Ok(Self { bytes })
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

serde_text!(
    Name,
    String,
    |name| String::from(name.as_str()),
    |text: String| text.parse().ok(),
    "a letter a-z and then up to 30 letters a-z, digits and underscores"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for good in ["a", "opte0", "guest_1", "abcdefghijklmnopqrstuvwxyz01234"] {
            assert_eq!(good.parse::<Name>().unwrap().as_str(), good);
        }
        for bad in [
            "",
            "A",
            "0a",
            "_a",
            "a-b",
            "a b",
            "é",
            "abcdefghijklmnopqrstuvwxyz012345",
        ] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
    }
}
