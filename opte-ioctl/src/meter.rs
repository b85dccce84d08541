//! Counts what a request takes up in memory while it is read.
//!
//! Purpose   an entry of a list can be seven bytes on the wire and a hundred
//!           in memory. Bounds of single lists don't sum up: a setup has rules
//!           in ports in a list. So each entry of whatever list, however deep,
//!           is paid for out of one budget before it is read.
//!
//! Flow      Metered wraps the deserializer, the visitor it is given, the
//!           access that visitor gets, and so on down; only entries of lists
//!           cost something, for everything else lives inside of one or is as
//!           long as its bytes on the wire.
//!
//! Failure   reading ends with an error of the format, and the meter says
//!           that it was the one to blame.

use core::cell::Cell;
use core::fmt;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, SeqAccess, VariantAccess, Visitor,
};

/// What is left of a budget.
#[derive(Debug)]
pub(crate) struct Meter {
    /// Bytes; none when something didn't fit.
    left: Cell<Option<usize>>,
}

impl Meter {
    pub(crate) const fn new(bytes: usize) -> Self {
        Self {
            left: Cell::new(Some(bytes)),
        }
    }

    /// Whether something didn't fit.
    pub(crate) const fn is_exceeded(&self) -> bool {
        self.left.get().is_none()
    }

    fn pay<E: Error>(&self, bytes: usize) -> Result<(), E> {
        let left = self.left.get().and_then(|left| left.checked_sub(bytes));
        self.left.set(left);
        match left {
            Some(_) => Ok(()),
            None => Err(E::custom("takes up too much memory")),
        }
    }
}

/// Something that reads, metered.
pub(crate) struct Metered<'m, T> {
    inner: T,
    meter: &'m Meter,
    /// Whether `inner` is or gets the entries of a list.
    list: bool,
}

impl<'m, T> Metered<'m, T> {
    pub(crate) const fn new(inner: T, meter: &'m Meter) -> Self {
        Self {
            inner,
            meter,
            list: false,
        }
    }

    fn list(inner: T, meter: &'m Meter) -> Self {
        Self {
            inner,
            meter,
            list: true,
        }
    }
}

/// Values with no list inside of them.
macro_rules! plain {
    ($($method:ident)+) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            self.inner.$method(visitor)
        })+
    };
}

/// Values that may have lists inside of them.
macro_rules! nested {
    ($($method:ident($($name:ident: $type:ty),*))+) => {
        $(fn $method<V: Visitor<'de>>(
            self,
            $($name: $type,)*
            visitor: V,
        ) -> Result<V::Value, D::Error> {
            self.inner.$method($($name,)* Metered::new(visitor, self.meter))
        })+
    };
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Metered<'_, D> {
    type Error = D::Error;

    plain! {
        deserialize_any deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32
        deserialize_i64 deserialize_i128 deserialize_u8 deserialize_u16 deserialize_u32
        deserialize_u64 deserialize_u128 deserialize_f32 deserialize_f64 deserialize_char
        deserialize_str deserialize_string deserialize_bytes deserialize_byte_buf
        deserialize_unit deserialize_identifier deserialize_ignored_any
    }

    nested! {
        deserialize_option()
        deserialize_newtype_struct(name: &'static str)
        deserialize_tuple(len: usize)
        deserialize_tuple_struct(name: &'static str, len: usize)
        deserialize_struct(name: &'static str, fields: &'static [&'static str])
        deserialize_enum(name: &'static str, variants: &'static [&'static str])
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_unit_struct(name, visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.inner
            .deserialize_seq(Metered::list(visitor, self.meter))
    }

    fn deserialize_map<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, D::Error> {
        Err(D::Error::custom("the contract has no maps"))
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

// The visits that a format makes for the values of `nested!` and for lists.
impl<'de, V: Visitor<'de>> Visitor<'de> for Metered<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }

    fn visit_some<D: Deserializer<'de>>(self, some: D) -> Result<V::Value, D::Error> {
        self.inner.visit_some(Metered::new(some, self.meter))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        let inner = Metered::new(inner, self.meter);
        self.inner.visit_newtype_struct(inner)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<V::Value, A::Error> {
        self.inner.visit_seq(Metered {
            inner: seq,
            meter: self.meter,
            list: self.list,
        })
    }

    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<V::Value, A::Error> {
        self.inner.visit_enum(Metered::new(data, self.meter))
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Metered<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<S::Value, D::Error> {
        self.inner.deserialize(Metered::new(value, self.meter))
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Metered<'_, A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        if self.list && self.inner.size_hint() != Some(0) {
            self.meter.pay(size_of::<S::Value>())?;
        }
        self.inner.next_element_seed(Metered::new(seed, self.meter))
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, 'm, A: EnumAccess<'de>> EnumAccess<'de> for Metered<'m, A> {
    type Error = A::Error;
    type Variant = Metered<'m, A::Variant>;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Self::Variant), A::Error> {
        let (value, variant) = self.inner.variant_seed(seed)?;
        Ok((value, Metered::new(variant, self.meter)))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Metered<'_, A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.inner.unit_variant()
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        self.inner
            .newtype_variant_seed(Metered::new(seed, self.meter))
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, A::Error> {
        self.inner
            .tuple_variant(len, Metered::new(visitor, self.meter))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        self.inner
            .struct_variant(fields, Metered::new(visitor, self.meter))
    }
}
