//! Fields that are newer than the message that their object travels in.
//!
//! The wire form of an object can't grow: an older reader would take what
//! follows for something else. In files such a field is like any other; on the
//! wire it takes no bytes, and travels beside its object in a message, or a
//! part of one, of its own.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub(super) fn serialize<T: Serialize, S: Serializer>(
    field: &T,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match serializer.is_human_readable() {
        true => field.serialize(serializer),
        // No bytes.
        false => serializer.serialize_unit(),
    }
}

pub(super) fn deserialize<'de, T: DeserializeOwned + Default, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    match deserializer.is_human_readable() {
        true => T::deserialize(deserializer),
        false => <()>::deserialize(deserializer).map(|()| T::default()),
    }
}

/// As [`deserialize`], for a number that is `N` when it isn't there.
pub(super) fn deserialize_or<'de, D: Deserializer<'de>, const N: u32>(
    deserializer: D,
) -> Result<u32, D::Error> {
    match deserializer.is_human_readable() {
        true => u32::deserialize(deserializer),
        false => <()>::deserialize(deserializer).map(|()| N),
    }
}
