//! Group membership: IGMP of versions 1 to 3 (RFC 1112, RFC 2236, RFC 3376)
//! for IPv4, MLD of versions 1 and 2 (RFC 2710, RFC 3810) for IPv6.
//!
//! The newest versions of both have one layout but for the size of addresses,
//! and what the older ones say is a special case of it, so all of them are
//! read as a list of [`Record`]s.
//!
//! Rules     G1  A message is from the link itself: its hop limit is 1, MLD's
//!               source is link-local and MLD has a router alert option (RFC
//!               3376 section 4, RFC 3810 section 6.2). A host that has no
//!               link-local address yet says what it listens to from the
//!               unspecified one (RFC 3590 section 4), which a router passes
//!               over and a switch, as a port is, hears (RFC 4541 section 3).
//!           G2  A message is well-formed as a whole before a record of it is
//!               looked at. Records after the first [`MCAST_RECORDS_MAX`] are
//!               left out, and the message says so.
//!           G3  Unknown kinds of records are read over (RFC 3376 section
//!               4.2.12).

use super::ethernet::{self, EtherType};
use super::ip::{Datagram, Ends};
use super::{MacAddr, Writer, ipv4, ipv6};
use crate::DropReason;
use crate::flow::Proto;
use crate::limits::MCAST_RECORDS_MAX;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// IGMP.
pub const IGMP: Proto = Proto(2);
/// Hop limit of every message.
pub const HOP_LIMIT: u8 = 1;
/// Every IPv4 host on the link.
const ALL_HOSTS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 1);
/// Every router that speaks MLD's version 2 (RFC 3810 section 5.2.14).
const ALL_ROUTERS_V2: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16);
/// Internetwork control (RFC 3376 section 4).
const TRAFFIC_CLASS: u8 = 0xc0;

const IGMP_QUERY: u8 = 0x11;
const IGMP_V1_REPORT: u8 = 0x12;
const IGMP_V2_REPORT: u8 = 0x16;
const IGMP_V2_LEAVE: u8 = 0x17;
const IGMP_V3_REPORT: u8 = 0x22;
/// Type of MLD's question.
pub const MLD_QUERY: u8 = 130;
const MLD_V1_REPORT: u8 = 131;
const MLD_V1_DONE: u8 = 132;
const MLD_V2_REPORT: u8 = 143;

/// A message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'p> {
    /// Who listens to what?
    Query {
        /// Milliseconds within which it is to be answered.
        answer_ms: u32,
    },
    /// A host says what it listens to.
    Report(Report<'p>),
}

/// What a host says that it listens to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report<'p> {
    /// Who says so. The unspecified address when the host has none.
    pub source: IpAddr,
    body: Body<'p>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body<'p> {
    /// An older version's only group.
    One(Change, IpAddr),
    /// Records, found to be well-formed, and how many there are.
    Many { bytes: &'p [u8], count: usize },
}

/// What becomes of a host's interest in one group (RFC 3376 section 4.2.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'p> {
    /// What the sources are for.
    pub change: Change,
    /// The group, which may be any address.
    pub group: IpAddr,
    sources: &'p [u8],
}

/// What the sources of a record are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// They are those that are heard.
    IsInclude,
    /// They are those that aren't heard.
    IsExclude,
    /// From now on they are those that are heard; without any, nothing is.
    ToInclude,
    /// From now on they are those that aren't heard.
    ToExclude,
    /// They are heard, too.
    Allow,
    /// They are heard no longer.
    Block,
}

impl Change {
    /// The record type on the wire.
    const fn kind(self) -> u8 {
        match self {
            Self::IsInclude => 1,
            Self::IsExclude => 2,
            Self::ToInclude => 3,
            Self::ToExclude => 4,
            Self::Allow => 5,
            Self::Block => 6,
        }
    }
}

/// Why bytes are no such message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The IP packet is malformed.
    Ip(super::ip::Error),
    /// It isn't from the link (rule G1).
    NotOnLink,
    /// The packet is a fragment.
    Fragment,
    /// The message ends early.
    Truncated,
    /// The checksum is wrong.
    Checksum,
    /// No type of these protocols.
    Kind,
}

impl From<super::ip::Error> for Error {
    fn from(error: super::ip::Error) -> Self {
        Self::Ip(error)
    }
}

impl From<Error> for DropReason {
    fn from(error: Error) -> Self {
        match error {
            Error::Ip(error) => error.into(),
            Error::Checksum => Self::BadChecksum,
            Error::Fragment => Self::Fragment,
            Error::NotOnLink | Error::Truncated | Error::Kind => Self::BadMembership,
        }
    }
}

/// Whether a packet with this protocol, and type of ICMP message, is one.
#[must_use]
pub const fn is_membership(proto: Proto, icmp_kind: u8) -> bool {
    let is_mld = proto.0 == Proto::ICMPV6.0 && super::icmpv6::is_listener_discovery(icmp_kind);
    proto.0 == IGMP.0 || is_mld
}

impl<'p> Message<'p> {
    /// Reads the whole packet that an Ethernet frame of type `ethertype`
    /// carries.
    ///
    /// # Errors
    ///
    /// When it isn't one of these messages, or malformed.
    pub fn parse(ethertype: EtherType, packet: &'p [u8]) -> Result<Self, Error> {
        let datagram = Datagram::parse(ethertype, packet)?;
        if datagram.is_fragment() {
            return Err(Error::Fragment);
        }
        let message = datagram.payload;
        let (pseudo, on_link) = match datagram.ends {
            Ends::V4 { .. } if datagram.proto == IGMP => (super::checksum::Sum::ZERO, true),
            Ends::V6 { source, .. } if datagram.proto == Proto::ICMPV6 => (
                datagram.ends.pseudo_header(datagram.proto, message.len()),
                has_router_alert(packet)
                    && (ipv6::is_link_local(source)
                        || source.is_unspecified() && message.first() != Some(&MLD_QUERY)),
            ),
            _ => return Err(Error::Kind),
        };
        let &[kind, ..] = message else {
            return Err(Error::Truncated);
        };
        if !on_link || datagram.hop_limit != HOP_LIMIT {
            return Err(Error::NotOnLink);
        }
        if !pseudo.bytes(message).is_valid() {
            return Err(Error::Checksum);
        }
        Self::of_kind(datagram.proto, kind, datagram.ends.source(), message)
    }

    fn of_kind(proto: Proto, kind: u8, source: IpAddr, message: &'p [u8]) -> Result<Self, Error> {
        let report = |body| Ok(Self::Report(Report { source, body }));
        if proto == IGMP {
            let group = || field(message, 4).map(|group| IpAddr::V4(Ipv4Addr::from_octets(group)));
            match kind {
                IGMP_QUERY => group().map(|_| Self::Query {
                    answer_ms: igmp_answer_ms(message),
                }),
                IGMP_V1_REPORT | IGMP_V2_REPORT => report(Body::One(Change::IsExclude, group()?)),
                IGMP_V2_LEAVE => report(Body::One(Change::ToInclude, group()?)),
                IGMP_V3_REPORT => report(Body::many::<4>(message)?),
                _ => Err(Error::Kind),
            }
        } else {
            let group = || field(message, 8).map(|group| IpAddr::V6(Ipv6Addr::from_octets(group)));
            match kind {
                MLD_QUERY => group().map(|_| Self::Query {
                    answer_ms: mld_answer_ms(message),
                }),
                MLD_V1_REPORT => report(Body::One(Change::IsExclude, group()?)),
                MLD_V1_DONE => report(Body::One(Change::ToInclude, group()?)),
                MLD_V2_REPORT => report(Body::many::<16>(message)?),
                _ => Err(Error::Kind),
            }
        }
    }
}

impl<'p> Body<'p> {
    /// The records of a report of the newest version, with addresses of `N`
    /// bytes (RFC 3376 section 4.2, RFC 3810 section 5.2).
    fn many<const N: usize>(message: &'p [u8]) -> Result<Self, Error> {
        let [count_0, count_1] = field(message, 6)?;
        let count = usize::from(u16::from_be_bytes([count_0, count_1]));
        let bytes = message.get(8..).ok_or(Error::Truncated)?;
        let mut rest = bytes;
        for _ in 0..count.min(MCAST_RECORDS_MAX) {
            (_, rest) = RawRecord::<N>::split(rest)?;
        }
        Ok(Self::Many { bytes, count })
    }
}

impl<'p> Report<'p> {
    /// Every record of a known kind, of the first [`MCAST_RECORDS_MAX`].
    pub fn records(&self) -> impl Iterator<Item = Record<'p>> {
        let (one, (bytes, count)) = match self.body {
            Body::One(change, group) => {
                let sources = &[][..];
                let record = Record {
                    change,
                    group,
                    sources,
                };
                (Some(record), (&[][..], 0))
            }
            Body::Many { bytes, count } => (None, (bytes, count)),
        };
        let is_v4 = self.source.is_ipv4();
        let mut rest = bytes;
        let records = (0..count.min(MCAST_RECORDS_MAX)).map_while(move |_| {
            let (record, after) = match is_v4 {
                true => RawRecord::<4>::split(rest).map(|(raw, rest)| (raw.known(), rest)),
                false => RawRecord::<16>::split(rest).map(|(raw, rest)| (raw.known(), rest)),
            }
            .ok()?;
            rest = after;
            Some(record)
        });
        one.into_iter().chain(records.flatten())
    }

    /// Whether there are records that [`Report::records`] leaves out.
    #[must_use]
    pub const fn is_cut(&self) -> bool {
        matches!(self.body, Body::Many { count, .. } if count > MCAST_RECORDS_MAX)
    }
}

impl<'p> Record<'p> {
    /// A record whose sources are addresses one after the other.
    #[cfg(test)]
    pub(crate) const fn new(change: Change, group: IpAddr, sources: &'p [u8]) -> Self {
        Self {
            change,
            group,
            sources,
        }
    }

    /// The sources, of the group's family.
    pub fn sources(&self) -> impl Iterator<Item = IpAddr> + use<'p> {
        let (v4, v6): (&[u8], &[u8]) = match self.group {
            IpAddr::V4(_) => (self.sources, &[]),
            IpAddr::V6(_) => (&[], self.sources),
        };
        let v4 = v4
            .as_chunks()
            .0
            .iter()
            .map(|bytes: &[u8; 4]| IpAddr::from(*bytes));
        let v6 = v6
            .as_chunks()
            .0
            .iter()
            .map(|bytes: &[u8; 16]| IpAddr::from(*bytes));
        v4.chain(v6)
    }
}

/// A record with addresses of `N` bytes.
struct RawRecord<'p, const N: usize> {
    kind: u8,
    group: [u8; N],
    sources: &'p [u8],
}

impl<'p, const N: usize> RawRecord<'p, N> {
    /// Splits a record off the front.
    fn split(bytes: &'p [u8]) -> Result<(Self, &'p [u8]), Error> {
        let ([kind, aux_words, n0, n1], rest) =
            bytes.split_first_chunk().ok_or(Error::Truncated)?;
        let (group, rest) = rest.split_first_chunk().ok_or(Error::Truncated)?;
        let sources_len = usize::from(u16::from_be_bytes([*n0, *n1])).saturating_mul(N);
        let (sources, rest) = rest.split_at_checked(sources_len).ok_or(Error::Truncated)?;
        let aux_len = usize::from(*aux_words) << 2;
        let (_, rest) = rest.split_at_checked(aux_len).ok_or(Error::Truncated)?;
        let record = Self {
            kind: *kind,
            group: *group,
            sources,
        };
        Ok((record, rest))
    }

    /// The record, if its kind is known (rule G3).
    fn known(self) -> Option<Record<'p>>
    where
        IpAddr: From<[u8; N]>,
    {
        let change = match self.kind {
            1 => Change::IsInclude,
            2 => Change::IsExclude,
            3 => Change::ToInclude,
            4 => Change::ToExclude,
            5 => Change::Allow,
            6 => Change::Block,
            _ => return None,
        };
        Some(Record {
            change,
            group: IpAddr::from(self.group),
            sources: self.sources,
        })
    }
}

/// The `N` bytes at a place of a message.
fn field<const N: usize>(message: &[u8], at: usize) -> Result<[u8; N], Error> {
    let bytes = message.get(at..).and_then(<[u8]>::first_chunk);
    bytes.copied().ok_or(Error::Truncated)
}

/// RFC 3376 section 4.1.1: tenths of a second, above 127 as a floating-point
/// number.
fn igmp_answer_ms(message: &[u8]) -> u32 {
    let code = message.get(1).copied().unwrap_or(0);
    let tenths = match code {
        128.. => u32::from(code & 0x0f | 0x10) << (u32::from(code >> 4 & 7).wrapping_add(3)),
        _ => u32::from(code),
    };
    tenths.saturating_mul(100)
}

/// RFC 3810 section 5.1.3: milliseconds, above 32,767 as a floating-point
/// number.
fn mld_answer_ms(message: &[u8]) -> u32 {
    let code = u16::from_be_bytes(field(message, 4).unwrap_or_default());
    match code {
        0x8000.. => {
            u32::from(code & 0x0fff | 0x1000) << (u32::from(code >> 12 & 7).wrapping_add(3))
        }
        _ => u32::from(code),
    }
}

/// Whether a well-formed IPv6 packet starts with a hop-by-hop header that has
/// a router alert option (RFC 2711).
fn has_router_alert(packet: &[u8]) -> bool {
    let Ok((header, rest)) = ipv6::Header::read(packet) else {
        return false;
    };
    let &[_, words, ..] = rest else {
        return false;
    };
    let len = usize::from(words).saturating_add(1) << 3;
    let mut options = rest.get(2..len).unwrap_or_default();
    if header.next_header != Proto(0) {
        return false;
    }
    // Each round takes a byte or more of the header.
    while let [kind, after @ ..] = options {
        options = match (kind, after) {
            (0, after) => after,
            (5, [2, ..]) => return true,
            (_, [len, after @ ..]) => after.get(usize::from(*len)..).unwrap_or_default(),
            _ => return false,
        };
    }
    false
}

/// A frame in which the station `mac` says what becomes of its interest in
/// some groups, for all their sources (RFC 3810 section 5.2).
#[must_use]
pub fn report(mac: MacAddr, records: &[(Change, Ipv6Addr)]) -> alloc::vec::Vec<u8> {
    const RECORD_LEN: usize = 20;
    let message_len = records.len().saturating_mul(RECORD_LEN).saturating_add(8);
    let ends = Ends::V6 {
        source: mac.link_local(),
        destination: ALL_ROUTERS_V2,
    };
    let mut out = Writer::with_capacity(message_len.saturating_add(62));
    let header = ethernet::Header {
        destination: MacAddr::of_group(IpAddr::V6(ALL_ROUTERS_V2)),
        source: mac,
        ethertype: EtherType::IPV6,
    };
    header.emit(&mut out);
    let header = ipv6::Header {
        source: mac.link_local(),
        destination: ALL_ROUTERS_V2,
        next_header: Proto(0),
        hop_limit: HOP_LIMIT,
        traffic_class: TRAFFIC_CLASS,
        flow_label: 0,
        payload_len: u16::try_from(message_len.saturating_add(8)).unwrap_or(u16::MAX),
    };
    header.emit(&mut out);
    out.put(&ROUTER_ALERT);
    let start = out.len();
    out.put(&[MLD_V2_REPORT, 0, 0, 0, 0, 0]);
    out.put_u16(u16::try_from(records.len()).unwrap_or(u16::MAX));
    for (change, group) in records {
        out.put(&[change.kind(), 0, 0, 0]);
        out.put(&group.octets());
    }
    let pseudo = ends.pseudo_header(Proto::ICMPV6, message_len);
    out.seal(start, start.saturating_add(2), pseudo);
    out.into_bytes()
}

/// A hop-by-hop header with a router alert for MLD (RFC 2711), and padding.
const ROUTER_ALERT: [u8; 8] = [Proto::ICMPV6.0, 0, 5, 2, 0, 0, 1, 0];

/// A router's question to every host of the link what it listens to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GeneralQuery {
    /// Hosts answer within this many milliseconds, 12 700 at most.
    pub answer_ms: u16,
    /// The question is asked again after this many seconds, 127 at most.
    pub interval_s: u8,
    /// How often a message may be lost before it matters, 7 at most.
    pub robustness: u8,
}

impl GeneralQuery {
    /// A whole frame from the router with these addresses. An IPv6 address has
    /// to be link-local.
    #[must_use]
    pub fn frame(&self, mac: MacAddr, source: IpAddr) -> alloc::vec::Vec<u8> {
        let mut out = Writer::with_capacity(96);
        let (group, ethertype) = match source {
            IpAddr::V4(_) => (IpAddr::V4(ALL_HOSTS), EtherType::IPV4),
            IpAddr::V6(_) => (IpAddr::V6(ipv6::ALL_NODES), EtherType::IPV6),
        };
        let header = ethernet::Header {
            destination: MacAddr::of_group(group),
            source: mac,
            ethertype,
        };
        header.emit(&mut out);
        match source {
            IpAddr::V4(source) => self.emit_igmp(source, &mut out),
            IpAddr::V6(source) => self.emit_mld(source, &mut out),
        }
        out.into_bytes()
    }

    /// RFC 3376 section 4.1.
    fn emit_igmp(&self, source: Ipv4Addr, out: &mut Writer) {
        let header = ipv4::Header {
            source,
            destination: ALL_HOSTS,
            proto: IGMP,
            ttl: HOP_LIMIT,
            traffic_class: TRAFFIC_CLASS,
            identification: 0,
            dont_fragment: true,
            more_fragments: false,
            fragment_offset: 0,
            total_len: 36,
            // Router alert (RFC 2113).
            options: &[0x94, 4, 0, 0],
        };
        header.emit(out);
        let start = out.len();
        let tenths = u8::try_from(self.answer_ms / 100).unwrap_or(127).min(127);
        out.put(&[IGMP_QUERY, tenths, 0, 0, 0, 0, 0, 0]);
        out.put(&[self.robustness & 7, self.interval_s.min(127), 0, 0]);
        out.seal(start, start.saturating_add(2), super::checksum::Sum::ZERO);
    }

    /// RFC 3810 section 5.1.
    fn emit_mld(&self, source: Ipv6Addr, out: &mut Writer) {
        const MESSAGE_LEN: u16 = 28;
        let ends = Ends::V6 {
            source,
            destination: ipv6::ALL_NODES,
        };
        let header = ipv6::Header {
            source,
            destination: ipv6::ALL_NODES,
            next_header: Proto(0),
            hop_limit: HOP_LIMIT,
            traffic_class: TRAFFIC_CLASS,
            flow_label: 0,
            payload_len: MESSAGE_LEN.saturating_add(8),
        };
        header.emit(out);
        out.put(&ROUTER_ALERT);
        let start = out.len();
        out.put(&[MLD_QUERY, 0, 0, 0]);
        out.put_u16(self.answer_ms);
        out.put_u16(0);
        out.put(&[0; 16]);
        out.put(&[self.robustness & 7, self.interval_s.min(127), 0, 0]);
        let pseudo = ends.pseudo_header(Proto::ICMPV6, usize::from(MESSAGE_LEN));
        out.seal(start, start.saturating_add(2), pseudo);
    }
}

#[cfg(test)]
mod tests;
