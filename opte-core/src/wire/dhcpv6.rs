//! DHCP for IPv6 on the wire (RFC 8415).
//!
//! Terms     DUID   what a client or a server calls itself, for good
//!           IA     identity association: what a client keeps its addresses in
//!
//! Rules     X1  Options fill what they are in exactly. Holding [`Options`] is
//!               the proof that their lengths fit.
//!           X2  No more than [`DHCPV6_OPTIONS_MAX`] options stand in a row, and
//!               they nest three deep: message, IA, address. Each level is read
//!               by a call of its own, so that no input makes anything recurse.
//!           X3  Relays' messages have another form and aren't read: the guest
//!               and its gateway are on one link.

use super::option::{self, Unfit};
use super::{MacAddr, Writer};
use crate::DropReason;
use crate::limits::DHCPV6_OPTIONS_MAX;
use core::net::Ipv6Addr;

/// The UDP port that servers listen on.
pub const SERVER_PORT: u16 = 547;
/// The UDP port that clients listen on.
pub const CLIENT_PORT: u16 = 546;
/// Bytes before the options.
pub const HEADER_LEN: usize = 4;
/// The group that clients send to: all servers and relays on the link (section
/// 7.1).
pub const ALL_SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);
/// A lifetime without end (section 7.7).
pub const FOREVER: u32 = u32::MAX;

/// Bytes of a DUID (section 11.1): its type, and 1 to 128 more.
const DUID_LEN: core::ops::RangeInclusive<usize> = 3..=130;

/// Option codes.
pub mod code {
    /// The client's DUID.
    pub const CLIENT: u16 = 1;
    /// The server's DUID.
    pub const SERVER: u16 = 2;
    /// Addresses for good.
    pub const IA_NA: u16 = 3;
    /// Addresses for a while.
    pub const IA_TA: u16 = 4;
    /// An address in an IA.
    pub const ADDRESS: u16 = 5;
    /// Options that the client asks for.
    pub const PARAMETERS: u16 = 6;
    /// How much a server wants to be chosen.
    pub const PREFERENCE: u16 = 7;
    /// How something went.
    pub const STATUS: u16 = 13;
    /// Two messages instead of four.
    pub const RAPID_COMMIT: u16 = 14;
    /// DNS servers (RFC 3646).
    pub const DNS: u16 = 23;
    /// Domains to search (RFC 3646).
    pub const SEARCH: u16 = 24;
    /// Prefixes to delegate.
    pub const IA_PD: u16 = 25;
    /// A prefix in an IA.
    pub const PREFIX: u16 = 26;
    /// NTP servers' addresses, as older clients ask for them (RFC 4075).
    pub const SNTP: u16 = 31;
    /// Seconds until the client asks for information again.
    pub const REFRESH: u16 = 32;
    /// The client's full name (RFC 4704).
    pub const FQDN: u16 = 39;
    /// An NTP server (RFC 5908).
    pub const NTP: u16 = 56;
}

/// What a message is (section 7.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Kind(pub u8);

impl Kind {
    /// Which servers are there?
    pub const SOLICIT: Self = Self(1);
    /// One, and this is what it has.
    pub const ADVERTISE: Self = Self(2);
    /// May I have this?
    pub const REQUEST: Self = Self(3);
    /// Am I still on the link that my addresses are for?
    pub const CONFIRM: Self = Self(4);
    /// May I keep this? To the server that gave it.
    pub const RENEW: Self = Self(5);
    /// May I keep this? To any server.
    pub const REBIND: Self = Self(6);
    /// What a server has to say.
    pub const REPLY: Self = Self(7);
    /// The addresses aren't needed any more.
    pub const RELEASE: Self = Self(8);
    /// Somebody else uses the addresses.
    pub const DECLINE: Self = Self(9);
    /// No addresses; what else is there to know?
    pub const INFORMATION_REQUEST: Self = Self(11);
    /// A relay's, towards servers.
    pub const RELAY_FORWARD: Self = Self(12);
    /// A relay's, towards clients.
    pub const RELAY_REPLY: Self = Self(13);
}

/// How something went (section 21.13).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Status(pub u16);

impl Status {
    /// Well.
    pub const SUCCESS: Self = Self(0);
    /// There are no addresses for an IA.
    pub const NO_ADDRESSES: Self = Self(2);
    /// The server has given nothing for an IA.
    pub const NO_BINDING: Self = Self(3);
    /// An address isn't of this link.
    pub const NOT_ON_LINK: Self = Self(4);
    /// The client has to send to the group.
    pub const USE_MULTICAST: Self = Self(5);
    /// There are no prefixes for an IA.
    pub const NO_PREFIXES: Self = Self(6);

    /// For people, in English (section 21.13).
    const fn text(self) -> &'static str {
        match self {
            Self::SUCCESS => "done",
            Self::NO_ADDRESSES => "no address for this",
            Self::NO_BINDING => "not given by this server",
            Self::NOT_ON_LINK => "not an address of this link",
            Self::USE_MULTICAST => "send to the group",
            Self::NO_PREFIXES => "no prefixes are delegated",
            _ => "",
        }
    }

    /// Appends the status as an option.
    pub fn emit(self, out: &mut Writer) {
        let mut data = Writer::default();
        data.put_u16(self.0);
        data.put(self.text().as_bytes());
        emit_option(code::STATUS, data.bytes(), out);
    }
}

/// What every message begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What it is.
    pub kind: Kind,
    /// Tells one exchange of a client from another; 24 bits.
    pub transaction: u32,
}

/// Why bytes are no DHCPv6 message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// They end before the header, or a fixed part of an option, does.
    Truncated,
    /// It is from or for a relay (X3).
    Relayed,
    /// An option is longer than what it is in.
    OptionLen,
    /// More options than are walked.
    OptionLimit,
    /// A DUID is too short or too long.
    Duid,
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
            Error::Relayed => Self::DhcpNotAnswered,
            _ => Self::BadDhcp,
        }
    }
}

impl Header {
    /// Reads a message: its header and its options.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<(Self, Options<'_>), Error> {
        let ([kind, t0, t1, t2], rest) = bytes.split_first_chunk().ok_or(Error::Truncated)?;
        let header = Self {
            kind: Kind(*kind),
            transaction: u32::from_be_bytes([0, *t0, *t1, *t2]),
        };
        match header.kind {
            Kind::RELAY_FORWARD | Kind::RELAY_REPLY => Err(Error::Relayed),
            _ => Ok((header, Options::parse(rest)?)),
        }
    }

    /// Appends the header.
    pub fn emit(&self, out: &mut Writer) {
        let [_, t0, t1, t2] = self.transaction.to_be_bytes();
        out.put(&[self.kind.0, t0, t1, t2]);
    }
}

/// Options in a row: every length checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options<'p>(&'p [u8]);

impl<'p> Options<'p> {
    /// Checks that options fill `bytes` exactly (X1, X2).
    ///
    /// # Errors
    ///
    /// When one is longer than what is left, or there are too many.
    pub fn parse(bytes: &'p [u8]) -> Result<Self, Error> {
        option::check(bytes, DHCPV6_OPTIONS_MAX, split)?;
        Ok(Self(bytes))
    }

    /// Codes and data, one after another.
    pub fn iter(&self) -> impl Iterator<Item = (u16, &'p [u8])> + use<'p> {
        option::each(self.0, split)
    }
}

/// Takes an option off the front: code, data, the rest.
fn split(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let ([c0, c1, l0, l1], rest) = bytes.split_first_chunk()?;
    let len = usize::from(u16::from_be_bytes([*l0, *l1]));
    let (data, rest) = rest.split_at_checked(len)?;
    Some((u16::from_be_bytes([*c0, *c1]), data, rest))
}

/// Appends an option. One that would be too long for its length field is left
/// out.
pub fn emit_option(code: u16, data: &[u8], out: &mut Writer) {
    if let Ok(len) = u16::try_from(data.len()) {
        out.put_u16(code);
        out.put_u16(len);
        out.put(data);
    }
}

/// What an IA is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IaKind {
    /// Addresses for good (section 21.4).
    Address,
    /// Addresses for a while (section 21.5).
    Temporary,
    /// Prefixes for the client's other links (section 21.21).
    Prefix,
}

impl IaKind {
    const fn of(code: u16) -> Option<Self> {
        match code {
            code::IA_NA => Some(Self::Address),
            code::IA_TA => Some(Self::Temporary),
            code::IA_PD => Some(Self::Prefix),
            _ => None,
        }
    }

    const fn code(self) -> u16 {
        match self {
            Self::Address => code::IA_NA,
            Self::Temporary => code::IA_TA,
            Self::Prefix => code::IA_PD,
        }
    }

    /// Bytes before the options in it: the id and, but for temporary
    /// addresses, T1 and T2.
    const fn fixed_len(self) -> usize {
        match self {
            Self::Temporary => 4,
            Self::Address | Self::Prefix => 12,
        }
    }
}

/// An IA as a client sends it. What it wishes for T1 and T2 isn't kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ia<'p> {
    /// What it is for.
    pub kind: IaKind,
    /// The client's number for it.
    pub id: u32,
    options: Options<'p>,
}

/// An address in an IA (section 21.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The address.
    pub address: Ipv6Addr,
    /// Seconds for which it is preferred.
    pub preferred_s: u32,
    /// Seconds for which it is valid.
    pub valid_s: u32,
}

impl<'p> Ia<'p> {
    /// Reads an option; `None` when it is no IA.
    ///
    /// # Errors
    ///
    /// When it, or what is in it, is cut off.
    pub fn parse(code: u16, data: &'p [u8]) -> Result<Option<Self>, Error> {
        let Some(kind) = IaKind::of(code) else {
            return Ok(None);
        };
        let (id, _) = data.split_first_chunk().ok_or(Error::Truncated)?;
        let inner = data.get(kind.fixed_len()..).ok_or(Error::Truncated)?;
        let options = Options::parse(inner)?;
        for (code, data) in options.iter() {
            match code {
                code::ADDRESS => _ = Lease::parse(data)?,
                // Lifetimes, length and prefix (section 21.22).
                code::PREFIX => _ = Options::parse(data.get(25..).ok_or(Error::Truncated)?)?,
                _ => {}
            }
        }
        Ok(Some(Self {
            kind,
            id: u32::from_be_bytes(*id),
            options,
        }))
    }

    /// The addresses in it.
    pub fn addresses(&self) -> impl Iterator<Item = Ipv6Addr> + use<'p> {
        let addresses = self.options.iter().filter(|(c, _)| *c == code::ADDRESS);
        addresses.filter_map(|(_, data)| Some(Lease::parse(data).ok()?.address))
    }
}

impl Lease {
    /// Reads an address option's data.
    fn parse(data: &[u8]) -> Result<Self, Error> {
        let (address, rest) = data.split_first_chunk().ok_or(Error::Truncated)?;
        let (preferred, rest) = rest.split_first_chunk().ok_or(Error::Truncated)?;
        let (valid, rest) = rest.split_first_chunk().ok_or(Error::Truncated)?;
        Options::parse(rest)?;
        Ok(Self {
            address: Ipv6Addr::from_octets(*address),
            preferred_s: u32::from_be_bytes(*preferred),
            valid_s: u32::from_be_bytes(*valid),
        })
    }

    /// Appends the address as an option.
    pub fn emit(&self, out: &mut Writer) {
        let mut data = Writer::with_capacity(24);
        data.put(&self.address.octets());
        data.put_u32(self.preferred_s);
        data.put_u32(self.valid_s);
        emit_option(code::ADDRESS, data.bytes(), out);
    }
}

/// Appends an IA with `options`, already written, in it; `times` are T1 and T2
/// in seconds, which one for temporary addresses doesn't have.
pub fn emit_ia(kind: IaKind, id: u32, times: [u32; 2], options: &[u8], out: &mut Writer) {
    let mut data = Writer::default();
    data.put_u32(id);
    if kind != IaKind::Temporary {
        times.into_iter().for_each(|time| data.put_u32(time));
    }
    data.put(options);
    emit_option(kind.code(), data.bytes(), out);
}

/// Checks a DUID, which is opaque but for its length (section 11.1).
///
/// # Errors
///
/// When it is too short or too long.
pub fn check_duid(data: &[u8]) -> Result<&[u8], Error> {
    if DUID_LEN.contains(&data.len()) {
        Ok(data)
    } else {
        Err(Error::Duid)
    }
}

/// The DUID of who has the Ethernet address `mac` for good: DUID-LL (section
/// 11.4).
#[must_use]
pub const fn duid_of(mac: MacAddr) -> [u8; 10] {
    let [a, b, c, d, e, f] = mac.0;
    [0, 3, 0, 1, a, b, c, d, e, f]
}

/// Writes options behind a header, in as many bytes as the receiver takes.
#[derive(Debug)]
pub struct OptionWriter<'w> {
    out: &'w mut Writer,
    end: usize,
}

impl<'w> OptionWriter<'w> {
    /// Appends `header`, and gets ready to append options until the message
    /// has `len_max` bytes.
    #[must_use]
    pub fn new(header: &Header, len_max: usize, out: &'w mut Writer) -> Self {
        let end = out.len().saturating_add(len_max);
        header.emit(out);
        Self { out, end }
    }

    /// Appends an option; nothing is done when it doesn't fit.
    pub fn put(&mut self, code: u16, data: &[u8]) {
        let mut option = Writer::with_capacity(data.len().saturating_add(4));
        emit_option(code, data, &mut option);
        self.put_whole(&option);
    }

    /// Appends an option that is written already, as [`OptionWriter::put`].
    pub fn put_whole(&mut self, option: &Writer) {
        if self.out.len().saturating_add(option.len()) <= self.end {
            self.out.put(option.bytes());
        }
    }
}

#[cfg(test)]
mod tests;
