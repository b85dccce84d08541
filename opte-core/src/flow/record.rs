//! What is remembered of one flow.
//!
//! Rules     F1  a flow is folded into its rules' counters before it has moved
//!               2^32 bytes since the last time: whenever the count of a
//!               direction passes a multiple of `FOLD_AT`. So half a counter
//!               is enough to know what is new.

use super::tcp;
use super::tuple::{Proto, Tuple};
use crate::api::PortOptions;
use crate::host::mapping::Stamp;
use crate::host::underlay::PathId;
use crate::layer::nat::{Kind, timer};
use crate::time::Coarse;
use crate::wire::checksum::Diff;
use crate::wire::{MacAddr, Vni};
use crate::{Direction, Instant};

/// A flow: connection state, and the cached rewrite of each direction.
///
/// All of it is one record of three cache lines, its lock included, which are
/// asked for at once; the compiler orders the fields so that none are wasted.
#[derive(Clone, Copy, Debug)]
#[repr(Rust, packed(4))]
pub struct Flow {
    /// The flow as the guest's packets name it.
    pub inside: Tuple,
    /// The guest's address as the far end sees it; `inside.local` without translation.
    pub outside_local: [u8; 16],
    /// The guest's port as the far end sees it.
    pub outside_port: u16,
    /// What owns the outside address.
    pub nat: NatKind,
    /// Which life of the external port it holds.
    pub nat_stamp: u32,
    /// Direction of the packet that opened it.
    pub opened: Direction,
    /// Whether the far end is outside of the VPC.
    pub external: bool,
    /// Whether packets have gone both ways.
    pub answered: bool,
    /// Whether the record holds a flow at all.
    pub live: bool,
    /// Whether policy refuses the connection now. It is remembered while
    /// somebody tries, so that none of its segments opens it anew.
    pub revoked: bool,
    /// The TCP connection, when it is one, or the SCTP association (`flow::sctp`).
    pub tcp: tcp::Connection,
    /// ICMP type and code of the packet that opened it.
    pub icmp: (u8, u8),
    /// When it was opened.
    pub created: Coarse,
    /// When its last packet came.
    pub last: Coarse,
    /// Packets: inbound, outbound.
    pub packets: [u64; 2],
    /// Bytes of frames as the guest sees them: inbound, outbound.
    pub bytes: [u64; 2],
    /// The low halves of the packets and bytes, of both directions, that the
    /// rules' counters have already (rule F1).
    folded: (u32, u32),
    /// The firewall rule that allowed it; zero for the default.
    pub fw_rule: u32,
    /// The route that it follows; zero for none.
    pub route: u32,
    /// The port's policy generation that the rewrites were made from.
    policy: u32,
    /// The directions for which there is a rewrite.
    rewrites: Directions,
    /// Checksum differences of translation; zero without.
    pub diff: Difference,
    /// Where outbound packets go.
    pub forward: Forward,
}

/// Bytes of one direction between two foldings, less than a packet: half of
/// half of what 32 bits can tell.
const FOLD_AT: u64 = 1 << 30;

/// A set of directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Directions(u8);

impl Directions {
    const NONE: Self = Self(0);
    const BOTH: Self = Self(3);

    #[inline(always)]
    const fn only(dir: Direction) -> Self {
        match dir {
            Direction::In => Self(1),
            Direction::Out => Self(2),
        }
    }

    #[inline(always)]
    const fn has(self, dir: Direction) -> bool {
        self.0 & Self::only(dir).0 != 0
    }

    const fn with(self, dir: Direction) -> Self {
        Self(self.0 | Self::only(dir).0)
    }

    const fn without(self, dir: Direction) -> Self {
        Self(self.0 & !Self::only(dir).0)
    }
}

/// What owns the outside address of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum NatKind {
    /// No translation.
    None = 0,
    /// A floating address.
    Floating = 1,
    /// The ephemeral address.
    Ephemeral = 2,
    /// A port of a shared address.
    Snat = 3,
}

/// What translation of the local end adds to one's complement sums, outbound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Of what the addresses are part of: the IPv4 header, a pseudo-header.
    pub addresses: Diff,
    /// Of the transport checksum: of what it covers, addresses and ports.
    pub transport: Diff,
}

impl Difference {
    /// From one local end to another.
    #[must_use]
    pub fn between(from: &Tuple, to: &Tuple) -> Self {
        let addresses = Diff::NONE.replace_addr(&from.local, &to.local);
        let ports = Diff::NONE.replace_u16(from.local_port, to.local_port);
        // ICMP has no pseudo-header (RFC 792); ICMPv6 has (RFC 4443 section 2.3).
        let transport = match from.proto {
            Proto::ICMP => ports,
            _ => addresses.plus(ports),
        };
        Self {
            addresses,
            transport,
        }
    }

    /// The way back.
    #[must_use]
    #[inline]
    pub const fn reverse(self) -> Self {
        Self {
            addresses: self.addresses.reverse(),
            transport: self.transport.reverse(),
        }
    }
}

/// Where outbound packets of a flow go. Packed, for there is one in every flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(Rust, packed(2))]
pub struct Forward {
    /// How they get there.
    pub to: Next,
    /// Destination MAC address of the inner frame.
    pub mac: MacAddr,
    /// UDP source port of the tunnel.
    pub source_port: u16,
    /// Which state of the mapping this was made from.
    pub mapping: Stamp,
    /// The underlay's generation then.
    pub underlay: u32,
}

/// The next hop of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// A path over the underlay, in this VNI.
    Path(PathId, Vni),
    /// A port of this host.
    Port(u32),
    /// A port of this host, by its external address: what comes there comes
    /// from outside of the VPC.
    Outside(u32),
}

impl Flow {
    /// A record that holds no flow.
    pub(super) const VACANT: Self = Self {
        inside: Tuple {
            local: [0; 16],
            remote: [0; 16],
            local_port: 0,
            remote_port: 0,
            proto: Proto(0),
            family: super::Family::V4,
        },
        outside_local: [0; 16],
        outside_port: 0,
        nat: NatKind::None,
        nat_stamp: 0,
        opened: Direction::Out,
        external: false,
        answered: false,
        live: false,
        revoked: false,
        tcp: tcp::Connection::NONE,
        icmp: (0, 0),
        created: Coarse::ZERO,
        last: Coarse::ZERO,
        packets: [0; 2],
        bytes: [0; 2],
        folded: (0, 0),
        fw_rule: 0,
        route: 0,
        policy: 0,
        rewrites: Directions::NONE,
        diff: Difference {
            addresses: Diff::NONE,
            transport: Diff::NONE,
        },
        forward: Forward {
            to: Next::Port(u32::MAX),
            mac: MacAddr::ZERO,
            source_port: 0,
            mapping: Stamp::NEVER,
            underlay: 0,
        },
    };

    /// A new flow without translation and without rewrites.
    #[must_use]
    pub fn new(inside: Tuple, opened: Direction, now: Instant) -> Self {
        Self {
            inside,
            outside_local: inside.local,
            outside_port: inside.local_port,
            opened,
            live: true,
            created: now.into(),
            last: now.into(),
            ..Self::VACANT
        }
    }

    /// The flow as the far end's packets name it.
    #[must_use]
    pub const fn outside(&self) -> Tuple {
        Tuple {
            local: self.outside_local,
            local_port: self.outside_port,
            ..self.inside
        }
    }

    /// Whether `key`, of a packet going `dir`, names this flow. The name of a
    /// record without a flow is nobody's: an IPv4 key holds mapped addresses.
    #[inline]
    #[must_use]
    pub fn is_named(&self, dir: Direction, key: &Tuple) -> bool {
        let (local, local_port) = match dir {
            Direction::Out => (self.inside.local, self.inside.local_port),
            Direction::In => (self.outside_local, self.outside_port),
        };
        let named = key.local == local
            && key.local_port == local_port
            && key.far_end() == self.inside.far_end();
        debug_assert!(self.live || !named, "{key:?} names a record without a flow");
        named
    }

    /// Seconds that it may be without a packet.
    #[must_use]
    pub fn timeout_s(&self, options: &PortOptions) -> u32 {
        self.timeout_if(self.answered, options)
    }

    /// Seconds after which it may be over, also if it is answered meanwhile,
    /// which nobody says when it happens.
    #[must_use]
    pub fn timeout_min_s(&self, options: &PortOptions) -> u32 {
        let answered = self.timeout_if(true, options);
        self.timeout_s(options).min(answered)
    }

    fn timeout_if(&self, answered: bool, options: &PortOptions) -> u32 {
        let own = self.own_timeout_if(answered, options);
        match self.nat {
            NatKind::Snat if !self.revoked => {
                own.max(timer::least_s(&self.inside, answered, self.tcp.state()))
            }
            _ => own,
        }
    }

    /// The same by the port's options alone.
    const fn own_timeout_if(&self, answered: bool, options: &PortOptions) -> u32 {
        use tcp::State;
        match self.inside.proto {
            // Longer than the pauses between retransmissions (RFC 6298 section 5.7).
            Proto::TCP | Proto::SCTP if self.revoked => options.tcp_closing_s,
            // Also one picked up in the middle, until the other side says
            // something: a lone segment proves no connection.
            Proto::TCP | Proto::SCTP if !answered => options.tcp_opening_s,
            // An association has the states of TCP that mean the same.
            Proto::TCP | Proto::SCTP => match self.tcp.state() {
                State::Closed | State::Listen | State::SynSent | State::SynReceived => {
                    options.tcp_opening_s
                }
                State::Established => options.tcp_established_s,
                State::FinWait1
                | State::FinWait2
                | State::CloseWait
                | State::Closing
                | State::LastAck => options.tcp_closing_s,
                State::TimeWait => options.tcp_time_wait_s,
                State::Reset => options.tcp_reset_s,
            },
            Proto::UDP if answered => options.udp_s,
            Proto::UDP => options.udp_one_way_s,
            Proto::ICMP | Proto::ICMPV6 => options.icmp_s,
            _ => options.other_s,
        }
    }

    /// Whether it gives way to a new flow when the table is full: half open,
    /// finished, revoked, or never answered.
    #[must_use]
    pub const fn gives_way(&self) -> bool {
        use tcp::State;
        !self.answered
            || self.revoked
            || matches!(self.inside.proto, Proto::TCP | Proto::SCTP)
                && matches!(
                    self.tcp.state(),
                    State::Closed
                        | State::Listen
                        | State::SynSent
                        | State::SynReceived
                        | State::TimeWait
                        | State::Reset
                )
    }

    /// The policy generation that the rewrite for `dir` was made from, if there is one.
    #[must_use]
    #[inline(always)]
    pub const fn rewrite(&self, dir: Direction) -> Option<u32> {
        match self.rewrites.has(dir) {
            true => Some(self.policy),
            false => None,
        }
    }

    /// Says that there is a rewrite for `dir` now, of this policy generation.
    /// A rewrite of another generation is none.
    pub const fn set_rewrite(&mut self, dir: Direction, generation: u32) {
        let others = match self.policy == generation {
            true => self.rewrites,
            false => Directions::NONE,
        };
        (self.policy, self.rewrites) = (generation, others.with(dir));
    }

    /// As [`Flow::set_rewrite`], for both directions.
    pub const fn set_rewrites(&mut self, generation: u32) {
        (self.policy, self.rewrites) = (generation, Directions::BOTH);
    }

    /// Takes over the rewrites of a copy of this flow.
    pub const fn take_rewrites(&mut self, of: &Self) {
        (self.policy, self.rewrites) = (of.policy, of.rewrites);
    }

    /// Forgets the rewrite for `dir`.
    pub const fn forget_rewrite(&mut self, dir: Direction) {
        self.rewrites = self.rewrites.without(dir);
    }

    /// Forgets both rewrites; how many there were.
    pub const fn forget_rewrites(&mut self) -> u32 {
        let had = self.rewrites.0.count_ones();
        self.rewrites = Directions::NONE;
        had
    }

    /// Packets and bytes that went `dir`.
    #[must_use]
    pub const fn counts(&self, dir: Direction) -> (u64, u64) {
        let ([packets_in, packets_out], [bytes_in, bytes_out]) = (self.packets, self.bytes);
        match dir {
            Direction::In => (packets_in, bytes_in),
            Direction::Out => (packets_out, bytes_out),
        }
    }

    /// Counts a packet of `len` bytes. Whether it is time to fold (rule F1).
    #[inline(always)]
    #[must_use]
    pub fn count(&mut self, dir: Direction, len: usize) -> bool {
        // Place by place: the record is packed, so that nothing borrows its fields.
        let (packets, before) = self.counts(dir);
        let bytes = before.wrapping_add(u64::try_from(len).unwrap_or(u64::MAX));
        let packets = packets.wrapping_add(1);
        match dir {
            Direction::In => (self.packets[0], self.bytes[0]) = (packets, bytes),
            Direction::Out => (self.packets[1], self.bytes[1]) = (packets, bytes),
        }
        (before ^ bytes) & FOLD_AT != 0
    }

    /// The packets and bytes that the rules' counters don't have yet.
    #[must_use]
    pub fn fold(&mut self) -> (u64, u64) {
        let ([p0, p1], [b0, b1]) = (self.packets, self.bytes);
        let now = (low(p0.wrapping_add(p1)), low(b0.wrapping_add(b1)));
        let new = (
            now.0.wrapping_sub(self.folded.0),
            now.1.wrapping_sub(self.folded.1),
        );
        self.folded = now;
        (new.0.into(), new.1.into())
    }
}

/// The lower half of a number.
const fn low(number: u64) -> u32 {
    let [_, _, _, _, a, b, c, d] = number.to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

impl NatKind {
    /// The kind of external address, if there is one.
    #[must_use]
    pub const fn kind(self) -> Option<Kind> {
        match self {
            Self::None => None,
            Self::Floating => Some(Kind::Floating),
            Self::Ephemeral => Some(Kind::Ephemeral),
            Self::Snat => Some(Kind::Snat),
        }
    }
}

impl From<Kind> for NatKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Floating => Self::Floating,
            Kind::Ephemeral => Self::Ephemeral,
            Kind::Snat => Self::Snat,
        }
    }
}

/// Position of a direction in a pair: inbound first.
#[inline]
#[must_use]
pub const fn side(dir: Direction) -> usize {
    match dir {
        Direction::In => 0,
        Direction::Out => 1,
    }
}
