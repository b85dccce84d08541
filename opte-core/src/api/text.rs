//! Serde for types that are text for people and plain fields for machines.

/// Text (`Display`, `FromStr`) in human-readable formats; `$wire` otherwise.
///
/// `$to` turns a reference into the wire form, `$from` a wire form into an
/// `Option` of the value, so a value off the wire is checked like a parsed one.
macro_rules! serde_text {
    ($type:ty, $wire:ty, $to:expr, $from:expr, $expect:literal) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                if s.is_human_readable() {
                    s.collect_str(self)
                } else {
                    let to: fn(&$type) -> $wire = $to;
                    serde::Serialize::serialize(&to(self), s)
                }
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                use serde::de::Error;
                if d.is_human_readable() {
                    d.deserialize_str($crate::api::text::Text::new($expect))
                } else {
                    let from: fn($wire) -> Option<$type> = $from;
                    from(<$wire as serde::Deserialize>::deserialize(d)?)
                        .ok_or_else(|| D::Error::custom($expect))
                }
            }
        }
    };
}
pub(crate) use serde_text;

/// A field that only people write and read: machines' formats don't have it,
/// so that a struct whose bytes mustn't change can grow. To machines it goes
/// by a command of its own.
pub(crate) mod people_only {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<T: Serialize, S: Serializer>(
        value: &T,
        s: S,
    ) -> Result<S::Ok, S::Error> {
        if s.is_human_readable() {
            value.serialize(s)
        } else {
            // Nothing at all, on the wire.
            s.serialize_unit()
        }
    }

    pub(crate) fn deserialize<'de, T, D>(d: D) -> Result<T, D::Error>
    where
        T: Deserialize<'de> + Default,
        D: Deserializer<'de>,
    {
        if d.is_human_readable() {
            T::deserialize(d)
        } else {
            <()>::deserialize(d).map(|()| T::default())
        }
    }
}

use crate::flow::{Family, Proto};
use crate::wire::{MacAddr, Vni};
use core::{fmt, marker::PhantomData, str::FromStr};

/// Parses text where it is read, so that a file's reader can say where it is.
pub(crate) struct Text<T> {
    expect: &'static str,
    parsed: PhantomData<T>,
}

impl<T> Text<T> {
    pub(crate) const fn new(expect: &'static str) -> Self {
        Self {
            expect,
            parsed: PhantomData,
        }
    }
}

impl<T: FromStr<Err: fmt::Display>> serde::de::Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expect)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        text.parse()
            .map_err(|why| E::custom(alloc::format!("`{text}`: {why}")))
    }
}

serde_text!(
    MacAddr,
    [u8; 6],
    |mac| mac.0,
    |bytes| Some(MacAddr(bytes)),
    "a MAC address"
);
serde_text!(
    Proto,
    u8,
    |proto| proto.0,
    |number| Some(Proto(number)),
    "a protocol"
);

// A VNI is a number in every format.
impl serde::Serialize for Vni {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_u32(self.get())
    }
}

impl<'de> serde::Deserialize<'de> for Vni {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_u32(VniVisitor)
    }
}

/// Takes any number, so that what is said of a wrong one is about VNIs.
struct VniVisitor;

impl serde::de::Visitor<'_> for VniVisitor {
    type Value = Vni;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(VNI)
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Vni, E> {
        let vni = u32::try_from(number).ok().and_then(Vni::new);
        vni.ok_or_else(wrong_vni)
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Vni, E> {
        let number = u64::try_from(number).map_err(|_| wrong_vni())?;
        self.visit_u64(number)
    }
}

const VNI: &str = "a number from 0 to 16777215";

fn wrong_vni<E: serde::de::Error>() -> E {
    E::custom(format_args!("a VNI is {VNI}"))
}

impl serde::Serialize for Family {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_u8(match self {
            Self::V4 => 4,
            Self::V6 => 6,
        })
    }
}

impl<'de> serde::Deserialize<'de> for Family {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        match <u8 as serde::Deserialize>::deserialize(d)? {
            4 => Ok(Self::V4),
            6 => Ok(Self::V6),
            _ => Err(serde::de::Error::custom("an IP version is 4 or 6")),
        }
    }
}
