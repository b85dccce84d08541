//! What a probe tells: its arguments, and what they are the addresses of.
//!
//! A tracer follows an argument as its declared type says while the probe
//! fires, and so does this. Whatever an argument is, to look is harmless: Linux
//! is asked for the bytes, which refuses where there are none.

use opte_core::event::{Ending, PacketView, PortTag, Probe};
use opte_core::flow::Tuple;
use std::fmt;
use std::mem::{MaybeUninit, offset_of, size_of};

/// A probe that fired.
#[derive(Clone, Debug)]
pub struct Fired {
    /// Its name, as DTrace has it.
    pub name: String,
    /// `arg0` to `arg5`.
    pub arguments: [u64; 6],
    /// What the arguments tell, as many as are declared.
    pub told: Vec<Told>,
}

impl Fired {
    /// Follows the arguments, which are what they are only now.
    pub(crate) fn new(name: String, arguments: [u64; 6]) -> Self {
        let told = follow(&name, &arguments);
        Self {
            name,
            arguments,
            told,
        }
    }
}

/// What an argument tells.
#[derive(Clone, PartialEq, Eq)]
pub enum Told {
    /// An integer.
    Number(u64),
    /// A null pointer.
    Nothing,
    /// A string.
    Text(String),
    /// Bytes of an address or a frame.
    Bytes(Vec<u8>),
    /// A port.
    Port(PortTag),
    /// A flow's key.
    Key(Tuple),
    /// What a flow was.
    Ending(Ending),
    /// A packet without its address, and the bytes that were there.
    Packet(Box<PacketView>, Vec<u8>),
    /// Something that isn't what it is declared to be, as a tracer would find.
    Wrong(String),
}

impl Told {
    /// What a packet tells whose frame is in memory right now; `None` if it
    /// isn't.
    #[must_use]
    pub fn of_packet(mut view: PacketView) -> Option<Self> {
        let head = match std::mem::take(&mut view.frame) {
            0 => Vec::new(),
            frame => bytes(frame, view.head_len.into())?,
        };
        Some(Self::Packet(Box::new(view), head))
    }
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Nothing => write!(f, "null"),
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Bytes(bytes) => write!(f, "{}", hex(bytes)),
            Self::Port(port) => write!(f, "port {port:?} of {} {:x?}", port.vni, port.mac),
            Self::Key(key) => write!(f, "{key:?}"),
            Self::Ending(ending) => write!(f, "{ending:?}, state {}", ending.state),
            Self::Packet(view, head) => write!(
                f,
                "{view:?} id {:x} ip {} transport {} payload {} type {:x} dir {} state {} head {}",
                view.flow_id,
                view.ip,
                view.transport,
                view.payload_len,
                view.ethertype,
                view.dir,
                view.state,
                hex(head)
            ),
            Self::Wrong(why) => write!(f, "{why}"),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What the arguments of a probe tell right now; nothing of one that isn't
/// declared.
pub(crate) fn follow(name: &str, arguments: &[u64; 6]) -> Vec<Told> {
    let probe = Probe::ALL.iter().find(|probe| probe.name() == name);
    let declared = probe.map_or(&[][..], |probe| probe.args());
    let values = declared.iter().zip(arguments).enumerate();
    let told = values.map(|(number, (argument, value))| {
        // A frame's length comes after it; all other bytes are an address.
        let len = match argument.name {
            "frame" => arguments.get(number + 1).copied().unwrap_or(0),
            _ => 16,
        };
        one(argument.c_type, *value, len)
    });
    told.collect()
}

/// What one argument tells.
fn one(c_type: &str, value: u64, len: u64) -> Told {
    let told = match c_type {
        "uint8_t" | "uint16_t" | "uint32_t" | "uint64_t" => {
            let bits = c_type.trim_matches(|c: char| !c.is_ascii_digit());
            let fits = bits == "64" || bits.parse().is_ok_and(|bits: u32| value >> bits == 0);
            return match fits {
                true => Told::Number(value),
                false => Told::Wrong(format!("{value:#x} is no {c_type}")),
            };
        }
        _ if value == 0 => return Told::Nothing,
        "char *" => text(value, 256).map(Told::Text),
        "opte_name_t *" => text(value, 32).map(Told::Text),
        "uint8_t *" => bytes(value, len).map(Told::Bytes),
        // SAFETY: a port has fields of every value.
        "opte_port_t *" => unsafe { there(value) }.map(Told::Port),
        // SAFETY: what a flow was has fields of every value.
        "opte_ending_t *" => unsafe { there(value) }.map(Told::Ending),
        "opte_key_t *" => key(value).map(Told::Key),
        "opte_packet_t *" => packet(value),
        _ => None,
    };
    told.unwrap_or_else(|| Told::Wrong(format!("{value:#x} is the address of no {c_type}")))
}

/// A string with its end within so many bytes.
fn text(address: u64, max: u64) -> Option<String> {
    let mut found = Vec::new();
    while (found.len() as u64) < max {
        // Not across the end of a page.
        let at = address + found.len() as u64;
        found.extend(bytes(at, 64 - at % 64)?);
        if let Some(end) = found.iter().position(|byte| *byte == 0) {
            found.truncate(end);
            return String::from_utf8(found)
                .ok()
                .filter(|text| (text.len() as u64) < max);
        }
    }
    None
}

fn key(address: u64) -> Option<Tuple> {
    let family = bytes(address + offset_of!(Tuple, family) as u64, 1)?;
    // SAFETY: the family is one of those that there are, and the other fields
    // have every value.
    matches!(family[..], [4 | 6]).then(|| unsafe { there(address) })?
}

fn packet(address: u64) -> Option<Told> {
    key(address + offset_of!(PacketView, key) as u64)?;
    // SAFETY: the key is one, and the other fields have every value.
    let view = unsafe { there(address) }?;
    Told::of_packet(view)
}

/// Bytes at an address, if they are all there.
fn bytes(address: u64, len: u64) -> Option<Vec<u8>> {
    const MAX: u64 = 128 << 10;
    let mut found = vec![0; usize::try_from(len).ok().filter(|_| len <= MAX)?];
    copy(address, found.as_mut_ptr(), found.len()).then_some(found)
}

/// What is at an address, if there is memory.
///
/// # Safety
///
/// What may be there is a `T`, whatever bytes it has.
unsafe fn there<T>(address: u64) -> Option<T> {
    let mut place = MaybeUninit::<T>::uninit();
    let all = copy(address, place.as_mut_ptr().cast(), size_of::<T>());
    // SAFETY: all of its bytes were written, and the caller's promise.
    all.then(|| unsafe { place.assume_init() })
}

/// Copies bytes of this process that may not be there; whether they all were.
fn copy(address: u64, to: *mut u8, len: usize) -> bool {
    let Ok(from) = usize::try_from(address) else {
        return false;
    };
    let local = libc::iovec {
        iov_base: to.cast(),
        iov_len: len,
    };
    let remote = libc::iovec {
        iov_base: std::ptr::with_exposed_provenance_mut(from),
        iov_len: len,
    };
    let this = std::process::id().cast_signed();
    // SAFETY: room for as many bytes; the other side may be anything.
    let done =
        unsafe { libc::process_vm_readv(this, &raw const local, 1, &raw const remote, 1, 0) };
    usize::try_from(done) == Ok(len)
}

#[cfg(test)]
mod tests {
    use super::{Told, follow};
    use opte_core::flow::{Family, Proto, Tuple};

    #[test]
    fn arguments_are_followed_as_far_as_they_go() {
        let text = c"firewall_deny".as_ptr().expose_provenance() as u64;
        // The texts of these probes are at their end.
        let told = |reason: u64| follow("layer-process-return", &[0, 3, 2, 0, reason, 0]);
        let four = |last| {
            let numbers = [Told::Number(3), Told::Number(2)];
            let [layer, dir] = numbers;
            vec![Told::Nothing, layer, dir, Told::Nothing, last]
        };
        assert_eq!(told(text), four(Told::Text("firewall_deny".into())));
        assert_eq!(told(0), four(Told::Nothing));
        assert!(matches!(told(8)[4], Told::Wrong(_)), "page zero");
        let unended = [b'x'; 512];
        let unended = unended.as_ptr().expose_provenance() as u64;
        assert!(matches!(told(unended)[4], Told::Wrong(_)), "it never ends");
    }

    #[test]
    fn what_is_of_another_type_is_said_to_be() {
        let key = Tuple {
            local: [1; 16],
            remote: [2; 16],
            local_port: 3,
            remote_port: 4,
            proto: Proto::UDP,
            family: Family::V6,
        };
        let place = (&raw const key).expose_provenance() as u64;
        let told = follow("uft-hit", &[0, 1, place, 0, 0, 0]);
        assert_eq!(told[2], Told::Key(key));
        let other = [7_u8; 64].as_ptr().expose_provenance() as u64;
        let told = follow("uft-hit", &[0, 0x100, other, 0, 0, 0]);
        assert!(matches!(told[1], Told::Wrong(_)), "{told:?}");
        assert!(matches!(told[2], Told::Wrong(_)), "{told:?}");
        assert_eq!(follow("nosuch", &[0; 6]), []);
    }
}
