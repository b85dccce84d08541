//! Neighbour discovery for IPv6 (RFC 4861), with DNS options (RFC 8106).
//!
//! Rules     N1  What section 6.1 and 7.1 demand of a message on receipt is
//!               checked in one place, [`Message::parse`]: hop limit 255,
//!               checksum, code, lengths, options, addresses that fit.
//!           N2  A message with a fragment header is refused (RFC 6980).
//!           N3  Options end after [`NDP_OPTIONS_MAX`]; unknown ones are read
//!               over.

use super::icmp;
use super::ip::{Datagram, Ends};
use super::option::{self, Unfit};
use super::{MacAddr, Writer, ipv6};
use crate::DropReason;
use crate::flow::Proto;
use crate::limits::NDP_OPTIONS_MAX;
use core::net::Ipv6Addr;

/// The hop limit of every message: no router lets it through.
pub const HOP_LIMIT: u8 = 255;

const ROUTER_SOLICITATION: u8 = 133;
const ROUTER_ADVERTISEMENT: u8 = 134;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;

const SOURCE_LINK_ADDR: u8 = 1;
const TARGET_LINK_ADDR: u8 = 2;
const PREFIX: u8 = 3;
const MTU: u8 = 5;
const RDNSS: u8 = 25;
const DNSSL: u8 = 31;

/// A neighbour discovery message without its options. Redirects aren't read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// Is a router here?
    RouterSolicitation,
    /// Yes, and this is how the link works.
    RouterAdvertisement(RouterAdvertisement),
    /// Who has `target`?
    NeighbourSolicitation {
        /// An address.
        target: Ipv6Addr,
    },
    /// The sender has `target`.
    NeighbourAdvertisement {
        /// An address.
        target: Ipv6Addr,
        /// The sender is a router.
        router: bool,
        /// It answers a solicitation of the receiver's.
        solicited: bool,
        /// It replaces what the receiver knows.
        overrides: bool,
    },
}

/// How a link works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouterAdvertisement {
    /// Hop limit for packets that leave; zero says nothing about it.
    pub hop_limit: u8,
    /// Addresses are had by DHCPv6.
    pub managed: bool,
    /// Everything else is had by DHCPv6.
    pub other: bool,
    /// Seconds for which the sender is a default router.
    pub lifetime_s: u16,
    /// Milliseconds for which a neighbour is taken to be there; zero says
    /// nothing about it.
    pub reachable_ms: u32,
    /// Milliseconds between solicitations; zero says nothing about it.
    pub retransmit_ms: u32,
}

/// Why a packet is no neighbour discovery message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// It isn't ICMPv6, or of a type that isn't read here.
    Kind,
    /// It ends before the message does.
    Truncated,
    /// The hop limit isn't 255: it comes from another link.
    HopLimit,
    /// It has a fragment header (N2).
    Fragment,
    /// The checksum is wrong.
    Checksum,
    /// The code isn't zero.
    Code,
    /// An option has no length or one beyond the message.
    OptionLen,
    /// More options than are walked.
    OptionLimit,
    /// Source, destination, target and link-layer address don't go together.
    Address,
}

impl From<Unfit> for Error {
    fn from(unfit: Unfit) -> Self {
        match unfit {
            Unfit::Len => Self::OptionLen,
            Unfit::Limit => Self::OptionLimit,
        }
    }
}

impl From<Error> for DropReason {
    fn from(error: Error) -> Self {
        match error {
            Error::Checksum => Self::BadChecksum,
            _ => Self::BadNdp,
        }
    }
}

impl Message {
    /// Reads a message, with everything that has to be checked on receipt.
    ///
    /// # Errors
    ///
    /// What is wrong with it; such a message has to be dropped without a word.
    pub fn parse<'p>(datagram: &Datagram<'p>) -> Result<(Self, Options<'p>), Error> {
        let Ends::V6 {
            source,
            destination,
        } = datagram.ends
        else {
            return Err(Error::Kind);
        };
        if datagram.proto != Proto::ICMPV6 {
            return Err(Error::Kind);
        }
        if datagram.fragment.is_some() {
            return Err(Error::Fragment);
        }
        let ([kind, code, _, _], body) = datagram
            .payload
            .split_first_chunk()
            .ok_or(Error::Truncated)?;
        let (message, options) = Self::read(*kind, body)?;
        if datagram.hop_limit != HOP_LIMIT {
            return Err(Error::HopLimit);
        }
        if *code != 0 {
            return Err(Error::Code);
        }
        if !icmp::checksum_is_right(&datagram.ends, datagram.payload) {
            return Err(Error::Checksum);
        }
        let options = Options::parse(options)?;
        if message.addresses_fit(source, destination, options) {
            Ok((message, options))
        } else {
            Err(Error::Address)
        }
    }

    /// Reads what follows the checksum of a message of type `kind`; the rest
    /// is options.
    fn read(kind: u8, body: &[u8]) -> Result<(Self, &[u8]), Error> {
        let (word, rest) = body.split_first_chunk::<4>().ok_or(match kind {
            ROUTER_SOLICITATION..=NEIGHBOUR_ADVERTISEMENT => Error::Truncated,
            _ => Error::Kind,
        })?;
        match kind {
            ROUTER_SOLICITATION => Ok((Self::RouterSolicitation, rest)),
            ROUTER_ADVERTISEMENT => {
                let [hop_limit, flags, l0, l1] = *word;
                let (reachable, rest) = rest.split_first_chunk().ok_or(Error::Truncated)?;
                let (retransmit, rest) = rest.split_first_chunk().ok_or(Error::Truncated)?;
                let advertisement = RouterAdvertisement {
                    hop_limit,
                    managed: flags & 0x80 != 0,
                    other: flags & 0x40 != 0,
                    lifetime_s: u16::from_be_bytes([l0, l1]),
                    reachable_ms: u32::from_be_bytes(*reachable),
                    retransmit_ms: u32::from_be_bytes(*retransmit),
                };
                Ok((Self::RouterAdvertisement(advertisement), rest))
            }
            NEIGHBOUR_SOLICITATION | NEIGHBOUR_ADVERTISEMENT => {
                let (target, rest) = rest.split_first_chunk().ok_or(Error::Truncated)?;
                let target = Ipv6Addr::from_octets(*target);
                let [flags, ..] = *word;
                let message = if kind == NEIGHBOUR_SOLICITATION {
                    Self::NeighbourSolicitation { target }
                } else {
                    Self::NeighbourAdvertisement {
                        target,
                        router: flags & 0x80 != 0,
                        solicited: flags & 0x40 != 0,
                        overrides: flags & 0x20 != 0,
                    }
                };
                Ok((message, rest))
            }
            _ => Err(Error::Kind),
        }
    }

    /// RFC 4861 sections 6.1.1, 6.1.2, 7.1.1 and 7.1.2.
    fn addresses_fit(&self, source: Ipv6Addr, destination: Ipv6Addr, options: Options<'_>) -> bool {
        if source.is_multicast() {
            return false;
        }
        let names_its_mac = options
            .iter()
            .any(|option| matches!(option, Opt::SourceLinkAddr(_)));
        match *self {
            Self::RouterSolicitation => !(source.is_unspecified() && names_its_mac),
            Self::RouterAdvertisement(_) => ipv6::is_link_local(source),
            Self::NeighbourSolicitation { target } => {
                let is_probe = source.is_unspecified();
                let probe_fits = destination == ipv6::solicited_node(target) && !names_its_mac;
                !target.is_multicast() && (!is_probe || probe_fits)
            }
            Self::NeighbourAdvertisement {
                target, solicited, ..
            } => !(target.is_multicast() || destination.is_multicast() && solicited),
        }
    }

    /// Appends the message with options and checksum, to go between `ends`.
    pub fn emit(&self, ends: &Ends, options: &[Opt<'_>], out: &mut Writer) {
        let start = out.len();
        let flag = |bit: u8, is_set: bool| if is_set { bit } else { 0 };
        let mut header = |kind: u8| {
            out.put_u8(kind);
            out.put_u8(0);
            out.put_u16(0);
        };
        match *self {
            Self::RouterSolicitation => {
                header(ROUTER_SOLICITATION);
                out.put_u32(0);
            }
            Self::RouterAdvertisement(advertisement) => {
                header(ROUTER_ADVERTISEMENT);
                out.put_u8(advertisement.hop_limit);
                out.put_u8(flag(0x80, advertisement.managed) | flag(0x40, advertisement.other));
                out.put_u16(advertisement.lifetime_s);
                out.put_u32(advertisement.reachable_ms);
                out.put_u32(advertisement.retransmit_ms);
            }
            Self::NeighbourSolicitation { target } => {
                header(NEIGHBOUR_SOLICITATION);
                out.put_u32(0);
                out.put(&target.octets());
            }
            Self::NeighbourAdvertisement {
                target,
                router,
                solicited,
                overrides,
            } => {
                header(NEIGHBOUR_ADVERTISEMENT);
                out.put_u8(flag(0x80, router) | flag(0x40, solicited) | flag(0x20, overrides));
                out.put(&[0; 3]);
                out.put(&target.octets());
            }
        }
        for option in options {
            option.emit(out);
        }
        icmp::seal(ends, start, out);
    }
}

/// The options of a message: every length checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options<'p>(&'p [u8]);

/// An option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opt<'p> {
    /// MAC address of the sender.
    SourceLinkAddr(MacAddr),
    /// MAC address of the target.
    TargetLinkAddr(MacAddr),
    /// A prefix of the link.
    Prefix(PrefixOption),
    /// Bytes of IP packet that the link takes.
    Mtu(u32),
    /// DNS servers (RFC 8106 section 5.1).
    Rdnss {
        /// Seconds for which they may be used.
        lifetime_s: u32,
        /// The servers.
        servers: Servers<'p>,
    },
    /// Domains to search (RFC 8106 section 5.2).
    Dnssl {
        /// Seconds for which they may be used.
        lifetime_s: u32,
        /// Names as labels ([`super::name`]), not compressed. They may be
        /// followed by zeros.
        names: &'p [u8],
    },
    /// Any other, and those above with a length that they can't have.
    Other {
        /// Type.
        kind: u8,
        /// What follows type and length.
        body: &'p [u8],
    },
}

/// A prefix of the link (RFC 4861 section 4.6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefixOption {
    /// The prefix.
    pub prefix: Ipv6Addr,
    /// How many leading bits count.
    pub bits: u8,
    /// Its addresses are neighbours.
    pub on_link: bool,
    /// Nodes make addresses of it (RFC 4862).
    pub autonomous: bool,
    /// Seconds for which the prefix is valid.
    pub valid_s: u32,
    /// Seconds for which addresses made of it are preferred.
    pub preferred_s: u32,
}

/// DNS servers: off the wire, or to be put there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Servers<'p> {
    /// 16 bytes each.
    Wire(&'p [[u8; 16]]),
    /// Addresses.
    List(&'p [Ipv6Addr]),
}

impl<'p> Servers<'p> {
    /// The servers, one after another.
    pub fn iter(&self) -> impl Iterator<Item = Ipv6Addr> + 'p {
        let (wire, list): (&[[u8; 16]], &[Ipv6Addr]) = match *self {
            Self::Wire(wire) => (wire, &[]),
            Self::List(list) => (&[], list),
        };
        let wire = wire.iter().map(|bytes| Ipv6Addr::from_octets(*bytes));
        wire.chain(list.iter().copied())
    }
}

impl<'p> Options<'p> {
    /// Checks that options fill `bytes` exactly.
    ///
    /// # Errors
    ///
    /// When one has no length or one beyond the end, or there are too many.
    pub fn parse(bytes: &'p [u8]) -> Result<Self, Error> {
        option::check(bytes, NDP_OPTIONS_MAX, split)?;
        Ok(Self(bytes))
    }

    /// The options, one after another.
    pub fn iter(&self) -> impl Iterator<Item = Opt<'p>> + use<'p> {
        option::each(self.0, split).map(|(kind, body)| Opt::parse(kind, body))
    }
}

/// Takes an option off the front: type, what follows the length, the rest.
fn split(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let [kind, len, ..] = bytes else { return None };
    let (option, rest) = bytes.split_at_checked(usize::from(*len) << 3)?;
    // A length of zero leaves nothing to take two bytes off.
    Some((*kind, option.get(2..)?, rest))
}

impl<'p> Opt<'p> {
    fn parse(kind: u8, body: &'p [u8]) -> Self {
        Self::parse_known(kind, body).unwrap_or(Self::Other { kind, body })
    }

    fn parse_known(kind: u8, body: &'p [u8]) -> Option<Self> {
        match (kind, body) {
            (SOURCE_LINK_ADDR, mac) => Some(Self::SourceLinkAddr(MacAddr(mac.try_into().ok()?))),
            (TARGET_LINK_ADDR, mac) => Some(Self::TargetLinkAddr(MacAddr(mac.try_into().ok()?))),
            (MTU, [_, _, mtu @ ..]) => Some(Self::Mtu(u32::from_be_bytes(mtu.try_into().ok()?))),
            (PREFIX, [bits, flags, rest @ ..]) => {
                let (valid, rest) = rest.split_first_chunk()?;
                let (preferred, rest) = rest.split_first_chunk()?;
                let (_, prefix) = rest.split_first_chunk::<4>()?;
                let prefix: [u8; 16] = prefix.try_into().ok()?;
                Some(Self::Prefix(PrefixOption {
                    prefix: Ipv6Addr::from_octets(prefix),
                    bits: (*bits <= 128).then_some(*bits)?,
                    on_link: flags & 0x80 != 0,
                    autonomous: flags & 0x40 != 0,
                    valid_s: u32::from_be_bytes(*valid),
                    preferred_s: u32::from_be_bytes(*preferred),
                }))
            }
            (RDNSS | DNSSL, [_, _, rest @ ..]) => {
                let (lifetime, rest) = rest.split_first_chunk()?;
                let lifetime_s = u32::from_be_bytes(*lifetime);
                if kind == DNSSL {
                    let names = (!rest.is_empty()).then_some(rest)?;
                    return Some(Self::Dnssl { lifetime_s, names });
                }
                let ([_, ..], []) = rest.as_chunks::<16>() else {
                    return None;
                };
                let servers = Servers::Wire(rest.as_chunks().0);
                Some(Self::Rdnss {
                    lifetime_s,
                    servers,
                })
            }
            _ => None,
        }
    }

    /// Appends the option, padded to a multiple of eight bytes. One that would
    /// be too long for its length field is left out.
    pub fn emit(&self, out: &mut Writer) {
        let start = out.len();
        let mut body = Writer::default();
        let kind = match *self {
            Self::SourceLinkAddr(mac) => {
                body.put(&mac.0);
                SOURCE_LINK_ADDR
            }
            Self::TargetLinkAddr(mac) => {
                body.put(&mac.0);
                TARGET_LINK_ADDR
            }
            Self::Mtu(mtu) => {
                body.put_u16(0);
                body.put_u32(mtu);
                MTU
            }
            Self::Prefix(option) => {
                option.emit(&mut body);
                PREFIX
            }
            Self::Rdnss {
                lifetime_s,
                servers,
            } => {
                body.put_u16(0);
                body.put_u32(lifetime_s);
                servers.iter().for_each(|server| body.put(&server.octets()));
                RDNSS
            }
            Self::Dnssl { lifetime_s, names } => {
                body.put_u16(0);
                body.put_u32(lifetime_s);
                body.put(names);
                DNSSL
            }
            Self::Other { kind, body: other } => {
                body.put(other);
                kind
            }
        };
        let units = body.len().saturating_add(2).div_ceil(8);
        let Ok(len) = u8::try_from(units) else { return };
        out.put_u8(kind);
        out.put_u8(len);
        out.put(body.bytes());
        out.pad_to(start.saturating_add(units << 3));
    }
}

impl PrefixOption {
    fn emit(&self, body: &mut Writer) {
        let on_link = if self.on_link { 0x80 } else { 0 };
        let autonomous = if self.autonomous { 0x40 } else { 0 };
        body.put_u8(self.bits);
        body.put_u8(on_link | autonomous);
        body.put_u32(self.valid_s);
        body.put_u32(self.preferred_s);
        body.put_u32(0);
        body.put(&self.prefix.octets());
    }
}

#[cfg(test)]
mod tests;
