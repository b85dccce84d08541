//! Makes an enum of `opte_core::api` a table of numbered messages.
//!
//! One line per message: `number "name" Variant(field: Type, ...)`. The payload
//! is the fields, one after the other, as postcard; the enum's own
//! discriminant is never on the wire (C1, C2 in `lib.rs`).

use crate::meter::{Meter, Metered};
use alloc::vec::Vec;
use opte_core::api::list::at_most;
use opte_core::limits::REQUEST_MEMORY_MAX;
use serde::{Deserialize, Deserializer};

/// Why a payload isn't what its number says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadError {
    /// No message has this number.
    UnknownNumber,
    /// The payload ends early, or a value in it is impossible.
    Malformed,
    /// There are bytes after the payload's end.
    TrailingBytes,
    /// What is in the payload takes up more memory than
    /// [`REQUEST_MEMORY_MAX`].
    TooMuchMemory,
}

impl PayloadError {
    /// The reason in words.
    #[must_use]
    pub const fn explanation(self) -> &'static str {
        match self {
            Self::UnknownNumber => "no message has this number",
            Self::Malformed => "the payload ends early, or a value in it is impossible",
            Self::TrailingBytes => "there are bytes after the payload's end",
            Self::TooMuchMemory => "what is in the payload takes up too much memory",
        }
    }
}

/// Reads a `T` that takes up all of `bytes`.
pub(crate) fn whole<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, PayloadError> {
    let meter = Meter::new(REQUEST_MEMORY_MAX);
    let mut reader = postcard::Deserializer::from_bytes(bytes);
    let value = T::deserialize(Metered::new(&mut reader, &meter));
    match (value, reader.finalize()) {
        _ if meter.is_exceeded() => Err(PayloadError::TooMuchMemory),
        (Ok(value), Ok([])) => Ok(value),
        (Ok(_), Ok(_)) => Err(PayloadError::TrailingBytes),
        _ => Err(PayloadError::Malformed),
    }
}

/// A list of at most `MAX` entries, on its way in.
pub(crate) struct List<T, const MAX: usize>(Vec<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for List<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        at_most::<_, _, MAX>(deserializer).map(Self)
    }
}

impl<T, const MAX: usize> From<List<T, MAX>> for Vec<T> {
    fn from(list: List<T, MAX>) -> Self {
        list.0
    }
}

macro_rules! messages {
    ($what:ident: $($number:literal $name:literal $variant:ident $(($($field:ident: $ty:ty),+))?,)+) => {
        /// Every message's number and name.
        pub const ALL: &[(u16, &str)] = &[$(($number, $name),)+];

        /// The number of a message.
        #[must_use]
        pub const fn number(message: &$what) -> u16 {
            match message {
                $($what::$variant { .. } => $number,)+
            }
        }

        /// The payload of a message.
        ///
        /// # Errors
        ///
        /// None in practice: the encoder asks for a `Result`, but writing to
        /// memory doesn't fail and every value has an encoding.
        pub fn encode(message: &$what) -> Result<Vec<u8>, postcard::Error> {
            match message {
                $($what::$variant $(($($field),+))? => {
                    postcard::to_allocvec(&($($($field,)+)?))
                })+
            }
        }

        /// The message with this number and payload.
        ///
        /// # Errors
        ///
        /// When the number is unknown or the payload isn't the number's.
        pub fn decode(number: u16, payload: &[u8]) -> Result<$what, PayloadError> {
            match number {
                $($number => {
                    let ($($($field,)+)?) = whole::<($($($ty,)+)?)>(payload)?;
                    Ok($what::$variant $(($($field.into()),+))?)
                })+
                _ => Err(PayloadError::UnknownNumber),
            }
        }
    };
}
pub(crate) use messages;
