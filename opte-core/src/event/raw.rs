//! How a field of an event becomes an argument of a probe.

use super::view::{Ending, PacketView, PortTag};
use super::{FlowEnd, Path, Stale};
use crate::api::Name;
use crate::flow::Tuple;
use crate::wire::Vni;
use crate::{Direction, DropReason, LayerId};
use core::ffi::CStr;

/// Arguments that a probe may have: as many as every tracer passes.
pub const ARGS_MAX: usize = 6;

/// An argument of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arg {
    /// Its name.
    pub name: &'static str,
    /// What it is, as a sentence.
    pub about: &'static str,
    /// Its type in C.
    pub c_type: &'static str,
}

/// A value that a probe can pass: an integer, or the address of something.
pub trait Raw {
    /// The argument's type in C.
    const C_TYPE: &'static str;

    /// The argument.
    fn raw(&self) -> u64;
}

/// The address of something.
fn address<T: ?Sized>(place: &T) -> u64 {
    let address = core::ptr::from_ref(place).addr();
    u64::try_from(address).unwrap_or(0)
}

macro_rules! integers {
    ($($ty:ty => $c:literal, |$value:ident| $number:expr;)+) => {
        $(impl Raw for $ty {
            const C_TYPE: &'static str = $c;

            fn raw(&self) -> u64 {
                let $value = *self;
                u64::from($number)
            }
        })+
    };
}

integers! {
    bool => "uint8_t", |value| value;
    u8 => "uint8_t", |value| value;
    u16 => "uint16_t", |value| value;
    u32 => "uint32_t", |value| value;
    u64 => "uint64_t", |value| value;
    Vni => "uint32_t", |value| value.get();
    Direction => "uint8_t", |value| value.number();
    LayerId => "uint8_t", |value| value.number();
    Option<LayerId> => "uint8_t", |value| value.map_or(0, LayerId::number);
    Path => "uint8_t", |value| value.number();
    Stale => "uint8_t", |value| value.number();
    FlowEnd => "uint8_t", |value| value.number();
}

macro_rules! addresses {
    ($($ty:ty => $c:literal;)+) => {
        $(
            impl Raw for &$ty {
                const C_TYPE: &'static str = $c;

                fn raw(&self) -> u64 {
                    address(*self)
                }
            }

            impl Raw for Option<&$ty> {
                const C_TYPE: &'static str = $c;

                fn raw(&self) -> u64 {
                    self.map_or(0, address)
                }
            }
        )+
    };
}

addresses! {
    PortTag => "opte_port_t *";
    Tuple => "opte_key_t *";
    Ending => "opte_ending_t *";
    PacketView => "opte_packet_t *";
    [u8] => "uint8_t *";
}

impl Raw for &CStr {
    const C_TYPE: &'static str = "char *";

    fn raw(&self) -> u64 {
        let text = self.to_bytes_with_nul();
        // A tracer can't wait for a page that was never looked at, and takes
        // it for an empty text. So both ends are read, which is more than
        // having their addresses.
        core::hint::black_box((text.first().copied(), text.last().copied()));
        address(text)
    }
}

impl Raw for DropReason {
    const C_TYPE: &'static str = "char *";

    fn raw(&self) -> u64 {
        self.c_name().raw()
    }
}

impl Raw for Option<DropReason> {
    const C_TYPE: &'static str = "char *";

    fn raw(&self) -> u64 {
        self.map_or(0, |reason| reason.raw())
    }
}

impl Raw for Option<Name> {
    const C_TYPE: &'static str = "opte_name_t *";

    fn raw(&self) -> u64 {
        self.as_ref().map_or(0, |name| address(name.as_padded()))
    }
}

impl Raw for [u8; 16] {
    const C_TYPE: &'static str = "uint8_t *";

    fn raw(&self) -> u64 {
        address(self)
    }
}

impl Raw for Option<[u8; 16]> {
    const C_TYPE: &'static str = "uint8_t *";

    fn raw(&self) -> u64 {
        self.as_ref().map_or(0, address)
    }
}
