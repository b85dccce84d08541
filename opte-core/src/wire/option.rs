//! Options in a row, each with its own length: how NDP and DHCPv6 have them.
//!
//! Rules     O1  they fill what they are in exactly, and there is a bound on
//!               how many are walked.

/// Why bytes are no options in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// One has a length beyond the end, or none at all.
    Len,
    /// There are more than are walked.
    Limit,
}

/// Takes one off the front: what tells options apart, what is in it, the rest.
pub(super) type Split<K> = fn(&[u8]) -> Option<(K, &[u8], &[u8])>;

/// Checks that options fill `bytes` exactly, `max` of them at most (O1).
pub(super) fn check<K>(bytes: &[u8], max: usize, split: Split<K>) -> Result<(), Unfit> {
    let mut rest = bytes;
    for _ in 0..max {
        if rest.is_empty() {
            return Ok(());
        }
        (_, _, rest) = split(rest).ok_or(Unfit::Len)?;
    }
    match rest {
        [] => Ok(()),
        _ => Err(Unfit::Limit),
    }
}

/// The options of bytes that were checked, one after another.
pub(super) fn each<K>(bytes: &[u8], split: Split<K>) -> impl Iterator<Item = (K, &[u8])> {
    let mut rest = bytes;
    core::iter::from_fn(move || {
        let (kind, body, after) = split(rest)?;
        rest = after;
        Some((kind, body))
    })
}
