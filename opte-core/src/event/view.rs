//! Structures that probes pass the address of, and how C sees them.
//!
//! Each has C's layout here and a description ([`View`]) from which the types
//! of `dtrace/lib/opte.d` are written. A test has a C compiler compare both.

use crate::Direction;
use crate::api::{Name, PortId};
use crate::flow::tuple::{self, Family, Proto, Tuple};
use crate::wire::packet::{self, ETHERNET_LEN};
use crate::wire::{MacAddr, Vni};
use core::ffi::CStr;
use core::fmt;
use core::mem::{offset_of, size_of};

/// How C sees a structure.
#[derive(Clone, Copy, Debug)]
pub struct View {
    /// The type's name in C.
    pub c_name: &'static str,
    /// What it is: a sentence.
    pub about: &'static str,
    /// Bytes.
    pub size: usize,
    /// Its fields, in order.
    pub fields: &'static [Field],
}

/// A field of such a structure.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// Its declaration in C.
    pub c_decl: &'static str,
    /// What it is: a sentence.
    pub about: &'static str,
    /// Bytes in front of it.
    pub offset: usize,
}

macro_rules! view {
    ($ty:ty = $c_name:literal, $about:expr => $($field:ident $decl:literal $fabout:expr;)+) => {
        View {
            c_name: $c_name,
            about: $about.trim_ascii(),
            size: size_of::<$ty>(),
            fields: &[$(Field {
                name: stringify!($field),
                c_decl: $decl,
                about: $fabout.trim_ascii(),
                offset: offset_of!($ty, $field),
            },)+],
        }
    };
}

macro_rules! views {
    ($($(#[doc = $doc:literal])+ $name:ident = $c_name:literal { $($(#[doc = $fdoc:literal])+ $field:ident: $fty:ty = $decl:literal,)+ })+) => {
        $(
            $(#[doc = $doc])+
            #[derive(Clone, Copy, PartialEq, Eq)]
            #[repr(C)]
            pub struct $name { $($(#[doc = $fdoc])+ pub $field: $fty,)+ }
        )+

        /// Every structure that a probe passes the address of.
        pub const VIEWS: &[View] = &[
            NAME,
            KEY,
            $(view!($name = $c_name, concat!($($doc,)+) => $($field $decl concat!($($fdoc,)+);)+),)+
        ];
    };
}

const NAME: View = View {
    c_name: "opte_name_t",
    about: "A name; what is left is zeroes.",
    size: size_of::<Name>(),
    fields: &[Field {
        name: "text",
        c_decl: "char text[32]",
        about: "The name, with a zero behind it.",
        offset: 0,
    }],
};

const KEY: View = view!(Tuple = "opte_key_t", "The key of a flow, as its guest sees it." =>
    local "uint8_t local[16]" "The guest's address, an IPv4 address in its IPv4-mapped form.";
    remote "uint8_t remote[16]" "The far end's address, in the same form.";
    local_port "uint16_t local_port" "The guest's port, or the identifier of an ICMP query.";
    remote_port "uint16_t remote_port" "The far end's port, or type and code of an ICMP message: of a query or its answer, as the guest sends it.";
    proto "uint8_t proto" "The IP protocol.";
    family "uint8_t family" "The IP version, 4 or 6.";
);

views! {
    /// A port.
    PortTag = "opte_port_t" {
        /// Its name, with a zero behind it.
        name: [u8; 32] = "char name[32]",
        /// Its number on the host.
        id: u32 = "uint32_t id",
        /// The virtual network that it is in.
        vni: u32 = "uint32_t vni",
        /// The guest's MAC address.
        mac: [u8; 6] = "uint8_t mac[6]",
        /// The virtual gateway's MAC address.
        gateway_mac: [u8; 6] = "uint8_t gateway_mac[6]",
    }
    /// What a flow was when it ended.
    Ending = "opte_ending_t" {
        /// Milliseconds that it lived.
        lifetime_ms: u64 = "uint64_t lifetime_ms",
        /// Milliseconds since its last packet.
        idle_ms: u64 = "uint64_t idle_ms",
        /// Packets from the guest.
        packets_out: u64 = "uint64_t packets_out",
        /// Packets for the guest.
        packets_in: u64 = "uint64_t packets_in",
        /// Bytes of frames from the guest.
        bytes_out: u64 = "uint64_t bytes_out",
        /// Bytes of frames for the guest.
        bytes_in: u64 = "uint64_t bytes_in",
        /// Direction in which it was opened.
        opened: u8 = "uint8_t opened",
        /// State of a TCP connection or SCTP association.
        state: u8 = "uint8_t state",
    }
    /// A packet as the guest sees it.
    PacketView = "opte_packet_t" {
        /// Address of the frame, from the Ethernet header on; zero when there is none.
        frame: u64 = "uint64_t frame",
        /// A number for its flow, the same in both directions; zero when it has none.
        flow_id: u64 = "uint64_t flow_id",
        /// Bytes of the frame.
        frame_len: u32 = "uint32_t frame_len",
        /// Bytes of it that are at the address.
        head_len: u32 = "uint32_t head_len",
        /// Bytes behind the IP header.
        payload_len: u32 = "uint32_t payload_len",
        /// Offset of the IP or ARP header in the frame.
        ip: u16 = "uint16_t ip",
        /// Offset of the transport header; zero when there is none.
        transport: u16 = "uint16_t transport",
        /// The frame's ethertype.
        ethertype: u16 = "uint16_t ethertype",
        /// Which way it goes: 1 to the guest, 2 from it.
        dir: u8 = "uint8_t dir",
        /// State of its connection: before a segment of the guest, after one for it.
        state: u8 = "uint8_t state",
        /// Source address, an IPv4 address in its IPv4-mapped form.
        src: [u8; 16] = "uint8_t src[16]",
        /// Destination address, in the same form.
        dst: [u8; 16] = "uint8_t dst[16]",
        /// The flow key; without a transport header it has no ports.
        key: Tuple = "opte_key_t key",
    }
}

impl PortTag {
    /// What probes show of a port.
    #[must_use]
    pub fn new(id: PortId, name: &Name, vni: Vni, [mac, gateway_mac]: [MacAddr; 2]) -> Self {
        Self {
            name: *name.as_padded(),
            id: id.0,
            vni: vni.get(),
            mac: mac.0,
            gateway_mac: gateway_mac.0,
        }
    }

    /// The port's number.
    #[must_use]
    pub const fn id(&self) -> PortId {
        PortId(self.id)
    }
}

impl fmt::Debug for PortTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = CStr::from_bytes_until_nul(&self.name).unwrap_or_default();
        write!(f, "{} {}", name.to_bytes().escape_ascii(), self.id)
    }
}

impl fmt::Debug for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} ms, idle {} ms, packets {}+{}, bytes {}+{}",
            self.lifetime_ms,
            self.idle_ms,
            self.packets_out,
            self.packets_in,
            self.bytes_out,
            self.bytes_in
        )
    }
}

impl fmt::Debug for PacketView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} of {} bytes", self.key, self.frame_len)
    }
}

impl PacketView {
    /// A packet without headers, of a flow.
    pub(crate) fn of_key(dir: Direction, key: &Tuple) -> Self {
        let (src, dst) = ends(dir, key);
        Self {
            frame: 0,
            flow_id: flow_id(key),
            frame_len: 0,
            head_len: 0,
            payload_len: 0,
            ip: 0,
            transport: 0,
            ethertype: match key.family {
                Family::V4 => 0x0800,
                Family::V6 => 0x86dd,
            },
            dir: dir.number(),
            state: 0,
            src,
            dst,
            key: *key,
        }
    }

    /// A frame that goes `dir`, of which `frame_len` bytes exist.
    pub(crate) fn of_frame(dir: Direction, head: &[u8], frame_len: usize) -> Self {
        let short = |len: usize| u16::try_from(len).unwrap_or(u16::MAX);
        let long = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
        let parsed = packet::parse(head, frame_len, dir);
        let key = parsed.map_or_else(|_| addresses(head, dir), |packet| packet.tuple);
        let ethertype = ethertype(head).unwrap_or(0);
        let transport = parsed.map_or(0, |packet| packet.transport);
        let header_len = match key.family {
            Family::V4 => head
                .get(ETHERNET_LEN)
                .map_or(0, |b| u32::from(b & 0x0f) << 2),
            Family::V6 => 40,
        };
        let ip_len = ip_len(head);
        Self {
            frame: u64::try_from(head.as_ptr().addr()).unwrap_or(0),
            flow_id: parsed.map_or(0, |packet| flow_id(&packet.tuple)),
            frame_len: long(frame_len),
            head_len: long(head.len()),
            payload_len: ip_len.saturating_sub(header_len),
            ip: short(ETHERNET_LEN),
            transport: short(transport),
            ethertype,
            ..Self::of_key(dir, &key)
        }
    }
}

/// Source and destination of a packet of a flow.
const fn ends(dir: Direction, key: &Tuple) -> ([u8; 16], [u8; 16]) {
    match dir {
        Direction::Out => (key.local, key.remote),
        Direction::In => (key.remote, key.local),
    }
}

/// A number for a flow that tracers can use as a key (FNV-1a).
fn flow_id(key: &Tuple) -> u64 {
    let ports = [key.local_port.to_be_bytes(), key.remote_port.to_be_bytes()];
    let bytes = key.local.iter().chain(&key.remote);
    let bytes = bytes.chain(ports.as_flattened()).chain([&key.proto.0]);
    bytes.fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The frame's ethertype.
fn ethertype(head: &[u8]) -> Option<u16> {
    let bytes = head.get(12..).and_then(<[u8]>::first_chunk);
    bytes.map(|bytes| u16::from_be_bytes(*bytes))
}

/// Bytes of the IP packet, header included, by its own word.
fn ip_len(head: &[u8]) -> u32 {
    let field = |at: usize| {
        let bytes = head.get(at..).and_then(<[u8]>::first_chunk);
        bytes.map_or(0, |bytes| u32::from(u16::from_be_bytes(*bytes)))
    };
    match ethertype(head) {
        Some(0x0800) => field(16),
        Some(0x86dd) => field(18).saturating_add(40),
        _ => 0,
    }
}

/// A key with what addresses and protocol a frame has.
fn addresses(head: &[u8], dir: Direction) -> Tuple {
    let ip = head.get(ETHERNET_LEN..).unwrap_or_default();
    let mut key = packet::Packet::EMPTY.tuple;
    let (src, dst, proto) = match (ethertype(head), ip) {
        (Some(0x0800), [_, _, _, _, _, _, _, _, _, proto, _, _, rest @ ..]) => {
            let v4 = |at: usize| {
                let four = rest.get(at..).and_then(<[u8]>::first_chunk::<4>);
                tuple::from_ip(core::net::IpAddr::from(four.copied().unwrap_or_default()))
            };
            (v4(0), v4(4), *proto)
        }
        (Some(0x86dd), [_, _, _, _, _, _, proto, _, rest @ ..]) => {
            key.family = Family::V6;
            let v6 = |at: usize| {
                let sixteen = rest.get(at..).and_then(<[u8]>::first_chunk::<16>);
                sixteen.copied().unwrap_or_default()
            };
            (v6(0), v6(16), *proto)
        }
        _ => return key,
    };
    key.proto = Proto(proto);
    (key.local, key.remote) = match dir {
        Direction::Out => (src, dst),
        Direction::In => (dst, src),
    };
    key
}
