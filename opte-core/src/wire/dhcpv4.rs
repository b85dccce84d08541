//! DHCP for IPv4 on the wire (RFC 2131, RFC 2132).
//!
//! Rules     D1  The options end with an end option; what follows it counts
//!               for nothing.
//!           D2  Where the overload option says so, options go on in the file
//!               field and then in the server name field (RFC 2131 section
//!               4.1).
//!           D3  No more than [`DHCP_OPTIONS_MAX`] options are walked. Holding
//!               [`Options`] is the proof that they are well-formed.
//!           D4  Data too long for one option goes on in the next of the same
//!               code (RFC 3396).

use super::{MacAddr, Writer};
use crate::DropReason;
use crate::limits::DHCP_OPTIONS_MAX;
use core::net::Ipv4Addr;

/// The UDP port that servers listen on.
pub const SERVER_PORT: u16 = 67;
/// The UDP port that clients listen on.
pub const CLIENT_PORT: u16 = 68;
/// Bytes before the options, the magic cookie included.
pub const FIXED_LEN: usize = 240;
/// Bytes that a message has at least: BOOTP clients and relays count on it
/// (RFC 1542 section 2.1).
pub const MESSAGE_LEN_MIN: usize = 300;

const MAGIC: [u8; 4] = [99, 130, 83, 99];
const BROADCAST: u16 = 0x8000;
const SERVER_NAME_LEN: usize = 64;
const FILE_LEN: usize = 128;
/// Ethernet, and the length of its addresses.
const HARDWARE: [u8; 2] = [1, 6];

/// Option codes.
pub mod code {
    /// Nothing; has no length.
    pub const PAD: u8 = 0;
    /// Subnet mask.
    pub const SUBNET_MASK: u8 = 1;
    /// Default routers.
    pub const ROUTER: u8 = 3;
    /// DNS servers.
    pub const DNS: u8 = 6;
    /// The client's host name.
    pub const HOST_NAME: u8 = 12;
    /// The client's domain.
    pub const DOMAIN: u8 = 15;
    /// MTU of the interface.
    pub const MTU: u8 = 26;
    /// NTP servers.
    pub const NTP: u8 = 42;
    /// Address that the client asks for.
    pub const REQUESTED: u8 = 50;
    /// Seconds of the lease.
    pub const LEASE: u8 = 51;
    /// Options go on in other fields.
    pub const OVERLOAD: u8 = 52;
    /// What the message is.
    pub const KIND: u8 = 53;
    /// Which server is meant, or answers.
    pub const SERVER: u8 = 54;
    /// Options that the client asks for.
    pub const PARAMETERS: u8 = 55;
    /// Text for people.
    pub const TEXT: u8 = 56;
    /// Bytes of IP packet that the client takes.
    pub const MESSAGE_LEN_MAX: u8 = 57;
    /// Seconds until the client renews (T1).
    pub const RENEW: u8 = 58;
    /// Seconds until the client asks any server (T2).
    pub const REBIND: u8 = 59;
    /// What the client calls itself.
    pub const CLIENT: u8 = 61;
    /// Two messages instead of four (RFC 4039).
    pub const RAPID_COMMIT: u8 = 80;
    /// Domains to search (RFC 3397).
    pub const SEARCH: u8 = 119;
    /// Routes (RFC 3442).
    pub const ROUTES: u8 = 121;
    /// Nothing follows; has no length.
    pub const END: u8 = 255;
}

/// What a message is (option 53).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Kind(pub u8);

impl Kind {
    /// Which servers are there?
    pub const DISCOVER: Self = Self(1);
    /// An address, to be requested.
    pub const OFFER: Self = Self(2);
    /// May I have, or keep, this address?
    pub const REQUEST: Self = Self(3);
    /// Somebody else uses the address.
    pub const DECLINE: Self = Self(4);
    /// Yes.
    pub const ACK: Self = Self(5);
    /// No.
    pub const NAK: Self = Self(6);
    /// The address isn't needed any more.
    pub const RELEASE: Self = Self(7);
    /// I have an address; what else is there to know?
    pub const INFORM: Self = Self(8);
}

/// Who sent a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Op {
    /// A client.
    Request = 1,
    /// A server.
    Reply = 2,
}

/// The fixed part of a message, less what servers never fill in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Who sent it.
    pub op: Op,
    /// Tells one exchange of a client from another.
    pub transaction: u32,
    /// Seconds since the client began.
    pub secs: u16,
    /// The client can't take unicast yet.
    pub broadcast: bool,
    /// The client's address, if it can answer ARP for it (`ciaddr`).
    pub client: Ipv4Addr,
    /// The address that the client is given (`yiaddr`).
    pub your: Ipv4Addr,
    /// Where the client boots from (`siaddr`).
    pub next_server: Ipv4Addr,
    /// The relay, if there is one (`giaddr`).
    pub relay: Ipv4Addr,
    /// The client's MAC address (`chaddr`).
    pub mac: MacAddr,
}

/// Why bytes are no DHCP message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// They end before the fixed part does.
    Truncated,
    /// Neither a request nor a reply.
    Op,
    /// The client isn't on Ethernet.
    Hardware,
    /// There is no magic cookie, so this is BOOTP.
    Magic,
    /// An option is longer than its field, or there is no end option.
    OptionLen,
    /// The overload option has a value that means nothing.
    Overload,
    /// More options than are walked.
    OptionLimit,
}

impl From<Error> for DropReason {
    fn from(_: Error) -> Self {
        Self::BadDhcp
    }
}

impl Header {
    /// Reads a message: the fixed part and its options.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<(Self, Options<'_>), Error> {
        let ([op, hardware @ .., _], rest) =
            bytes.split_first_chunk::<4>().ok_or(Error::Truncated)?;
        let (transaction, rest) = rest.split_first_chunk().ok_or(Error::Truncated)?;
        let ([s0, s1, f0, f1], rest) = rest.split_first_chunk().ok_or(Error::Truncated)?;
        let (client, rest) = rest.split_first_chunk().ok_or(Error::Truncated)?;
        let (your, rest) = rest.split_first_chunk().ok_or(Error::Truncated)?;
        let (next_server, rest) = rest.split_first_chunk().ok_or(Error::Truncated)?;
        let (relay, rest) = rest.split_first_chunk().ok_or(Error::Truncated)?;
        let ([m0, m1, m2, m3, m4, m5, ..], rest) =
            rest.split_first_chunk::<16>().ok_or(Error::Truncated)?;
        let (server_name, rest) = rest
            .split_first_chunk::<SERVER_NAME_LEN>()
            .ok_or(Error::Truncated)?;
        let (file, rest) = rest
            .split_first_chunk::<FILE_LEN>()
            .ok_or(Error::Truncated)?;
        let (magic, options) = rest.split_first_chunk().ok_or(Error::Truncated)?;
        if *hardware != HARDWARE {
            return Err(Error::Hardware);
        }
        if *magic != MAGIC {
            return Err(Error::Magic);
        }
        let header = Self {
            op: match op {
                1 => Op::Request,
                2 => Op::Reply,
                _ => return Err(Error::Op),
            },
            transaction: u32::from_be_bytes(*transaction),
            secs: u16::from_be_bytes([*s0, *s1]),
            broadcast: u16::from_be_bytes([*f0, *f1]) & BROADCAST != 0,
            client: Ipv4Addr::from_octets(*client),
            your: Ipv4Addr::from_octets(*your),
            next_server: Ipv4Addr::from_octets(*next_server),
            relay: Ipv4Addr::from_octets(*relay),
            mac: MacAddr([*m0, *m1, *m2, *m3, *m4, *m5]),
        };
        Ok((header, Options::parse(options, file, server_name)?))
    }

    /// Appends the fixed part and the magic cookie.
    pub fn emit(&self, out: &mut Writer) {
        let start = out.len();
        out.put_u8(match self.op {
            Op::Request => 1,
            Op::Reply => 2,
        });
        out.put(&HARDWARE);
        out.put_u8(0);
        out.put_u32(self.transaction);
        out.put_u16(self.secs);
        out.put_u16(if self.broadcast { BROADCAST } else { 0 });
        for address in [self.client, self.your, self.next_server, self.relay] {
            out.put(&address.octets());
        }
        out.put(&self.mac.0);
        let magic_at = FIXED_LEN.saturating_sub(MAGIC.len());
        out.pad_to(start.saturating_add(magic_at));
        out.put(&MAGIC);
    }
}

/// The options of a message: every length checked, overload seen to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options<'p> {
    areas: [&'p [u8]; 3],
}

impl<'p> Options<'p> {
    fn parse(options: &'p [u8], file: &'p [u8], server_name: &'p [u8]) -> Result<Self, Error> {
        let mut budget = DHCP_OPTIONS_MAX;
        let mut overload = 0;
        check(options, &mut budget, |code, data| {
            if code == code::OVERLOAD {
                overload = match data {
                    [which @ 1..=3] => *which,
                    _ => return Err(Error::Overload),
                };
            }
            Ok(())
        })?;
        let mut areas = [options, &[], &[]];
        let [_, second, third] = &mut areas;
        if overload & 1 != 0 {
            check(file, &mut budget, |_, _| Ok(()))?;
            *second = file;
        }
        if overload & 2 != 0 {
            check(server_name, &mut budget, |_, _| Ok(()))?;
            *third = server_name;
        }
        Ok(Self { areas })
    }

    /// Codes and data, one after another, in the order in which pieces of a
    /// long option belong together (D4).
    pub fn iter(&self) -> impl Iterator<Item = (u8, &'p [u8])> + use<'p> {
        self.areas.into_iter().flat_map(|area| {
            let mut rest = area;
            core::iter::from_fn(move || {
                let (code, data, after) = split(rest).ok()??;
                rest = after;
                Some((code, data))
            })
        })
    }
}

/// Walks the options in one field up to its end option.
fn check(
    bytes: &[u8],
    budget: &mut usize,
    mut each: impl FnMut(u8, &[u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut rest = bytes;
    // Each round costs one of the budget.
    while let Some((code, data, after)) = split(rest)? {
        *budget = budget.checked_sub(1).ok_or(Error::OptionLimit)?;
        each(code, data)?;
        rest = after;
    }
    Ok(())
}

/// An option and what follows it, or `None` at the end option.
type Step<'p> = Option<(u8, &'p [u8], &'p [u8])>;

/// Takes an option off the front, and the padding before it.
fn split(bytes: &[u8]) -> Result<Step<'_>, Error> {
    let padding = bytes.iter().take_while(|byte| **byte == code::PAD).count();
    let (code, rest) = bytes
        .get(padding..)
        .and_then(<[u8]>::split_first)
        .ok_or(Error::OptionLen)?;
    if *code == code::END {
        return Ok(None);
    }
    let (len, rest) = rest.split_first().ok_or(Error::OptionLen)?;
    let (data, rest) = rest
        .split_at_checked(usize::from(*len))
        .ok_or(Error::OptionLen)?;
    Ok(Some((*code, data, rest)))
}

/// Writes options behind a header, in as many bytes as the receiver takes.
#[derive(Debug)]
pub struct OptionWriter<'w> {
    out: &'w mut Writer,
    start: usize,
    end: usize,
}

impl<'w> OptionWriter<'w> {
    /// Appends `header`, and gets ready to append options until the message
    /// has `len_max` bytes.
    #[must_use]
    pub fn new(header: &Header, len_max: usize, out: &'w mut Writer) -> Self {
        let start = out.len();
        header.emit(out);
        Self {
            end: start.saturating_add(len_max),
            start,
            out,
        }
    }

    /// Appends an option; `false`, and nothing is done, when it doesn't fit.
    pub fn put(&mut self, code: u8, data: &[u8]) -> bool {
        let pieces = data.len().div_ceil(255).max(1);
        let len = data.len().saturating_add(pieces.saturating_mul(2));
        // One byte is kept for the end option.
        if self.out.len().saturating_add(len) >= self.end {
            return false;
        }
        let mut rest = data;
        for _ in 0..pieces {
            let (piece, after) = rest.split_at_checked(255).unwrap_or((rest, &[]));
            self.out.put_u8(code);
            self.out.put_u8(u8::try_from(piece.len()).unwrap_or(0));
            self.out.put(piece);
            rest = after;
        }
        true
    }

    /// Ends the message.
    pub fn finish(self) {
        self.out.put_u8(code::END);
        self.out.pad_to(self.start.saturating_add(MESSAGE_LEN_MIN));
    }
}

#[cfg(test)]
mod tests;
