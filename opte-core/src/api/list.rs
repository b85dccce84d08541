//! Lists with a bound that is checked while they are read.
//!
//! A list of a million one-byte entries would take a hundred times its wire
//! size in memory before a plan could refuse it, so the reader stops at the
//! first entry too many. What a list may hold is in `limits.rs`.

use alloc::vec::Vec;
use core::{fmt, marker::PhantomData};
use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};

/// Entries that memory is reserved for on the word of a length field.
const RESERVED_MAX: usize = 256;

/// Reads a list of at most `MAX` entries, for `#[serde(deserialize_with)]`.
///
/// # Errors
///
/// When there are more, or an entry is wrong.
pub fn at_most<'de, D, T, const MAX: usize>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    deserializer.deserialize_seq(AtMost::<T, MAX>(PhantomData))
}

struct AtMost<T, const MAX: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for AtMost<T, MAX> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {MAX} entries")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
        let reserved = seq.size_hint().unwrap_or(0).min(RESERVED_MAX).min(MAX);
        let mut list = Vec::with_capacity(reserved);
        while let Some(entry) = seq.next_element()? {
            if list.len() >= MAX {
                return Err(A::Error::invalid_length(MAX.saturating_add(1), &self));
            }
            if list.len() == list.capacity() {
                // Twice as much as is there, but not more than is to come.
                let to_come = seq.size_hint().map_or(usize::MAX, |n| n.saturating_add(1));
                list.reserve_exact(to_come.min(list.len().max(RESERVED_MAX)));
            }
            list.push(entry);
        }
        Ok(list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    #[derive(Deserialize)]
    struct Three(#[serde(deserialize_with = "at_most::<_, _, 3>")] Vec<u8>);

    #[test]
    fn one_entry_too_many_is_refused() {
        let read = |bytes: &[u8]| postcard::from_bytes::<Three>(bytes).map(|three| three.0);
        assert_eq!(read(&[0]), Ok(vec![]));
        assert_eq!(read(&[3, 1, 2, 3]), Ok(vec![1, 2, 3]));
        assert!(read(&[4, 1, 2, 3, 4]).is_err());
        assert!(read(&[0xff, 0xff, 0xff, 0xff, 0x0f, 1]).is_err());
    }
}
